"""HTML: one page that needs nothing but itself, good to read on a screen and on paper."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from typing import Any

from engine import numbers
from engine.errors import ExportError
from engine.export import summary, svg
from engine.export.formats import export_format
from engine.export.icicle import icicle
from engine.export.latency_words import latency_section
from engine.export.measured import imported, shown, timed, weighed
from engine.metrics import METRIC, Number, column
from engine.reconciliation import reconcile
from engine.results import FAMILIES, Analysis, Layers
from resources import read

CHARTS = ("macs", "latency_s", "params", "activation_bytes", "peak_activation_bytes")
ICICLES = ("macs", "params")
TABLE_KEYS = ("params", "macs", "flops", "activation_bytes", "peak_activation_bytes", "bytes_moved")
_MODULE_KEYS = ("params", "macs", "activation_bytes", "peak_activation_bytes")
_WEIGHED_KEYS = ("zeros", "sparsity", "nonzero_macs")
"""In the tables when the zeros in the weights are counted."""
_TIMED_KEYS = ("latency_s", "cpu_s")
"""In the tables when layers were timed."""

_TITLES = {
    "macs": "MACs per layer, in network order",
    "latency_s": "Measured time per layer, in network order",
    "params": "Parameters per layer, in network order",
    "activation_bytes": "Activations written per layer, in network order",
    "peak_activation_bytes": "Activations alive after each layer; the tallest is the peak",
}


@export_format("html", "Report for reading and printing (HTML)", ".html")
def write(analysis: Analysis, baseline: Analysis | None) -> bytes:
    """The page in UTF-8. Raises ExportError when jinja2 is missing (a foreign interpreter may lack it)."""
    try:
        from jinja2 import DictLoader, Environment, StrictUndefined
    except ImportError as error:
        raise ExportError("The HTML report needs the package jinja2, which is missing here.") from error
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.loader = DictLoader({name: read(name) for name in ("report.html", "report.css")})
    style = environment.get_template("report.css").render(
        tokens=json.loads(read("tokens.json")), families=FAMILIES
    )
    script = read("report.js")
    page = environment.get_template("report.html").render(
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        **_context(analysis, baseline),
    )
    # A lone surrogate (a file name that is not UTF-8) must not cost the report.
    return page.encode("utf-8", "replace")


def _hash(text: str) -> str:
    """What the content security policy lets run: this text and nothing else."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _context(analysis: Analysis, baseline: Analysis | None) -> dict[str, Any]:
    keys = (
        *TABLE_KEYS,
        *(_WEIGHED_KEYS if weighed(analysis, baseline) else ()),
        *(_TIMED_KEYS if timed(analysis, baseline) else ()),
    )
    return {
        "analysis": analysis,
        "model": analysis.model,
        "cards": summary.cards(analysis, baseline),
        "inputs": summary.input_sentence(analysis, baseline),
        "outputs": numbers.shapes(analysis.output_shapes),
        "baseline": summary.baseline_sentence(analysis, baseline) if baseline else "",
        "change": summary.what_changed(analysis, baseline) if baseline else "",
        "edits": analysis.python_lines(),
        "coverage": summary.coverage_sentence(analysis),
        "partial": analysis.coverage.counted_calls < analysis.coverage.calls,
        "mode": summary.MODES[analysis.mode],
        "charts": _charts(analysis, baseline),
        "icicles": [(METRIC[key].label, icicle(analysis, key)) for key in ICICLES],
        "modules": _modules(analysis, baseline, _module_keys(analysis, baseline)),
        "module_metrics": [METRIC[key] for key in _module_keys(analysis, baseline)],
        "layers": _layers(analysis, baseline, keys),
        "layer_metrics": [METRIC[key] for key in keys],
        "latency": latency_section(analysis, baseline),
        "imported": origin.words if (times := imported(analysis)) and (origin := times.origin) else "",
        "latency_before": baseline is not None and baseline.layer_times is not None,
        "parameters": _parameters(analysis),
        "reconciliation": reconcile(analysis, baseline),
        "metrics": shown(analysis, baseline),
        "conventions": summary.CONVENTIONS,
    }


def _module_keys(analysis: Analysis, baseline: Analysis | None) -> tuple[str, ...]:
    return (
        *_MODULE_KEYS,
        *(_WEIGHED_KEYS[1:] if weighed(analysis, baseline) else ()),
        *(("latency_s",) if timed(analysis, baseline) else ()),
    )


def _charts(analysis: Analysis, baseline: Analysis | None) -> list[dict[str, Any]]:
    charts = []
    for key in CHARTS:
        picture = svg.bars(analysis, baseline, key)
        if picture:
            shown = [family for family, _ in summary.families(analysis, key)]
            total = numbers.value(METRIC[key], getattr(analysis.totals, key))
            charts.append(
                {
                    "title": _TITLES[key],
                    "svg": picture,
                    "families": shown,
                    "total": total,
                    "ghost": '"ghost"' in picture,
                }
            )
    return charts


def _modules(analysis: Analysis, baseline: Analysis | None, keys: Sequence[str]) -> list[dict[str, Any]]:
    deepest, levels = summary.overview_depth(analysis), summary.depths(analysis)
    columns = {key: summary.module_totals(analysis, key) for key in keys}
    modules = analysis.modules
    before = (
        dict(zip(baseline.modules.path, summary.module_totals(baseline, "macs"), strict=True))
        if baseline
        else {}
    )
    rows = []
    for row, path in enumerate(modules.path):
        if levels[row] > deepest:
            continue
        macs = columns["macs"][row]
        rows.append(
            {
                "path": path,
                "name": path.rpartition(".")[2] or analysis.model.name,
                "class_name": modules.class_name[row],
                "level": min(levels[row], 8),
                "removed": modules.removed[row],
                "unused": not modules.calls[row] and not modules.removed[row],
                "values": [_cell(key, columns[key][row]) for key in keys],
                "share": numbers.share(macs, analysis.totals.macs),
                "bar": 100 * (macs or 0) / (analysis.totals.macs or 1),
                "difference": numbers.difference(before[path], macs) if path in before else "new",
            }
        )
    return rows


def _layers(analysis: Analysis, baseline: Analysis | None, keys: Sequence[str]) -> list[dict[str, Any]]:
    now = {key: column(analysis.layers, key) for key in keys}
    before = column(baseline.layers, "macs") if baseline else []
    rows = []
    for place, (row, old) in enumerate(
        summary.pair_rows(analysis.layers, baseline.layers if baseline else None)
    ):
        source, index = (analysis, row) if row is not None else (baseline, old)
        assert source is not None and index is not None
        layers = source.layers
        macs = now["macs"][row] if row is not None else 0
        previous = before[old] if old is not None else None
        rows.append(
            {
                "place": place + 1,
                "path": layers.path[index],
                "op": layers.op[index],
                "calls": layers.calls[index],
                "family": layers.family[index],
                "shared": layers.shared[index],
                "removed": row is None,
                "output": numbers.shapes(layers.output_shapes[index]) if row is not None else "",
                "dtype": layers.dtype[index],
                "formula": _formula(layers, index) if row is not None else "only in the baseline",
                "values": [_cell(key, now[key][row]) if row is not None else (key, "", "—") for key in keys],
                "difference": "new"
                if old is None
                else "removed"
                if row is None
                else numbers.difference(previous, macs),
                "factor": _factor(previous, macs),
            }
        )
    return rows


def _formula(layers: Layers, row: int) -> str:
    """That of MACs and FLOPs, and that of the MACs on non-zero weights."""
    more = layers.nonzero_formula[row] if layers.nonzero_formula else ""
    return "; ".join(filter(None, (layers.formula[row], more and f"on non-zero weights: {more}")))


def _factor(before: Number, now: Number) -> str:
    """What the difference column sorts by; empty, which sorts last, where there is no factor."""
    if before is None or now is None:
        return ""
    if before == now:
        return "1"
    return repr(now / before) if before else ""


def _cell(key: str, number: Number) -> tuple[str, str, str]:
    """(metric, value to sort by, text) of one number, to the last digit; of a time three, the others are noise."""
    if METRIC[key].unit == "seconds":
        return (
            key,
            "" if number is None else repr(number),
            "—" if number is None else numbers.duration(number),
        )
    if METRIC[key].unit == "share":
        return (key, "" if number is None else repr(number), numbers.value(key, number))
    return (key, "" if number is None else repr(number), numbers.exact(number))


def _parameters(analysis: Analysis) -> dict[str, Any]:
    totals = analysis.totals
    return {
        "trainable": numbers.exact(totals.trainable_params),
        "frozen": numbers.exact(totals.params - totals.trainable_params),
        "buffers": numbers.exact(totals.buffers),
        "untouched": numbers.exact(totals.untouched_params),
        "zeros": summary.zeros_sentence(analysis),
    }
