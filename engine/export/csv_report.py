"""CSV: one row per layer, for spreadsheets and data frames.

There is no row of totals, which every pivot would add again: a column's sum is the total, except for parameters
of layers marked ``shared``, for the peak and for ratios. Zeros and what follows from them are there when the weights'
values are known. Measured columns are there when layers were timed; their sum
is an instrumented forward pass less its unattributed time. Empty is "not counted", never 0. With a baseline,
``baseline_`` columns follow, and layers that are only in the baseline have rows with empty numbers of their own.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from engine.export.formats import export_format
from engine.export.measured import row_times, timed, weighed
from engine.export.summary import pair_rows
from engine.graph import Shape
from engine.metrics import METRIC, METRICS, Number, column
from engine.results import Analysis, Layers

_ASCII = str.maketrans(
    {"×": "x", "·": "*", "−": "-", "–": "-", "—": "-", "√": "sqrt", "²": "^2", "Σ": "sum", "≤": "<="}
)
"""Signs of formulas that a spreadsheet without the right encoding would garble."""
_DANGEROUS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""Spreadsheets run a cell that begins so as a formula (OWASP: CSV injection)."""
_TEXT_BEFORE = ("id", "path", "op", "family", "dtype")
_PLAIN = ("calls", "shared")


@export_format("csv", "Table of layers for spreadsheets (CSV)", ".csv")
def write(analysis: Analysis, baseline: Analysis | None) -> bytes:
    """The table in UTF-8; a byte-order mark only when a name needs one to be read right by Excel."""
    times = timed(analysis, baseline)
    known = weighed(analysis, baseline)
    keys = [
        metric.key for metric in METRICS if (times or not metric.measured) and (known or not metric.weighed)
    ]
    header = [*_TEXT_BEFORE, *_PLAIN, *keys, "input_shapes", "output_shapes", "formula"]
    if times:
        header.append("latency_note")
    if baseline is not None:
        header += ["change", *(f"baseline_{key}" for key in keys)]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    now = _metric_columns(analysis.layers, keys)
    before = _metric_columns(baseline.layers, keys) if baseline else []
    # Two measurements are never equal; what changed is told by what is counted on both sides.
    both = analysis.is_weighed and baseline is not None and baseline.is_weighed
    counted = [
        at for at, key in enumerate(keys) if not METRIC[key].measured and (both or not METRIC[key].weighed)
    ]
    notes = row_times(analysis)
    for row, old in pair_rows(analysis.layers, baseline.layers if baseline else None):
        layers, index = (analysis.layers, row) if row is not None else (baseline.layers, old)  # type: ignore[union-attr]
        assert index is not None
        cells: list[object] = [_safe(getattr(layers, key)[index]) for key in _TEXT_BEFORE]
        cells += [getattr(layers, key)[index] if row is not None else None for key in _PLAIN]
        cells += _numbers(now, row)
        shapes = (layers.input_shapes, layers.output_shapes)
        cells += [_shapes(each[index]) if row is not None else "" for each in shapes]
        cells.append(_safe(layers.formula[index].translate(_ASCII)) if row is not None else "")
        if times:
            note = notes.get(layers.id[index]) if row is not None else None
            cells.append(_safe(note[2]) if note is not None else "")
        if baseline is not None:
            mine, theirs = _numbers(now, row), _numbers(before, old)
            cells.append(_change(row, old, all(mine[at] == theirs[at] for at in counted)))
            cells += theirs
        writer.writerow(cells)
    text = stream.getvalue()
    return text.encode("ascii" if text.isascii() else "utf-8-sig", "replace")


def _metric_columns(layers: Layers, keys: Sequence[str]) -> list[list[Number]]:
    return [list(column(layers, key)) for key in keys]


def _numbers(columns: list[list[Number]], row: int | None) -> list[Number]:
    return [None if row is None else each[row] for each in columns]


def _change(row: int | None, old: int | None, equal: bool) -> str:
    if row is None:
        return "removed"
    if old is None:
        return "added"
    return "same" if equal else "changed"


def _shapes(shapes: tuple[Shape, ...]) -> str:
    return " ".join("x".join(map(str, shape)) or "scalar" for shape in shapes)


def _safe(text: str) -> str:
    """``text`` as a cell that no spreadsheet takes for a formula; control characters become spaces."""
    clean = "".join(" " if ord(sign) < 32 else sign for sign in text)
    return f"'{clean}" if text.lstrip(" ").startswith(_DANGEROUS) else clean
