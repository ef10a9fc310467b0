"""How wide the columns of the layer tree are: arithmetic on pixels and sample texts. Pure; no Qt."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from engine import numbers
from engine.graph import Shape
from engine.metrics import Metric
from engine.results import Analysis
from gui.models.columns import LayerColumn

NAME_ROOM = 180
"""Pixels that the layer column has beyond the indentation, so that names can be read."""
NAME_LEAST = 100
"""The same where no other column can give way any more: names are elided before anything is scrolled to."""
GIVES_WAY = ("output", "activation_bytes")
"""Columns that leave a narrow panel to the names, the first one first."""
FULL = 888.8
"""A number as wide as any of three digits; widths follow it and not the value, so that no tick moves a column."""


@dataclass(frozen=True)
class Fit:
    layer: int
    """Width of the layer column."""
    given_way: frozenset[str]
    """Columns for which there is no room; what does not fit without them is scrolled to."""


def fit(room: int, need: int, widths: Mapping[str, int], *, empty: Collection[str] = ()) -> Fit:
    """Columns of these ``widths`` beside a layer column of at least ``need`` in a panel with ``room`` pixels.

    Columns of ``empty`` have nothing to say now and give way before all others.
    """
    left = dict(widths)
    given_way = []
    for key in (*empty, *GIVES_WAY):
        if need + sum(left.values()) > room and key in left:
            del left[key]
            given_way.append(key)
    least = need - (NAME_ROOM - NAME_LEAST)
    return Fit(max(least, room - sum(left.values())), frozenset(given_way))


def samples(column: LayerColumn, analysis: Analysis | None) -> list[tuple[str, str]]:
    """(font, text) of the widest texts the column may show; ``body``, ``bold`` or ``small``."""
    if column.kind == "output":
        return [("small", longest_shape(analysis.layers.output_shapes) if analysis is not None else "")]
    metric = column.metric
    if metric is None:
        return []
    if column.kind == "difference":
        return [("bold", numbers.difference(100, 888.8)), ("bold", numbers.difference(100, 11.2))]
    value = _value(metric)
    if column.kind == "change":
        return [("body", f"{value} → {value}")]
    # An edit may make weights that nobody has looked at: no column moves for that either.
    all_counted = analysis is None or analysis.coverage.counted_calls == analysis.coverage.calls
    if metric.measured or (all_counted and not metric.weighed):
        return [("body", value)]
    return [("body", f"≥ {value}"), ("small", numbers.NOT_COUNTED)]


def longest_shape(outputs: Iterable[tuple[Shape, ...]]) -> str:
    """The text of the output with most characters; empty without any."""
    return max((shapes_text(shapes) for shapes in set(outputs)), key=len, default="")


def shapes_text(shapes: tuple[Shape, ...]) -> str:
    """``1×64×112×112``, ``100×4 +3`` for several, ``—`` for none."""
    if not shapes:
        return numbers.NOT_APPLICABLE
    return numbers.shape(shapes[0]) + (f" +{len(shapes) - 1}" if len(shapes) > 1 else "")


def _value(metric: Metric) -> str:
    if metric.unit == "bytes":
        return numbers.value(metric, FULL * 1024**2)
    scale = {"count": 1000.0**2, "seconds": 1e-3, "share": 1e-3}.get(metric.unit, 1.0)
    if metric.key == "macs_per_s":
        scale = 1000.0**3
    return numbers.value(metric, FULL * scale)
