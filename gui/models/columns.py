"""The columns of the layer tree, all derived from `engine.metrics.METRICS`: a new metric brings its own columns.

The column of the current count (MACs or FLOPs) has the key ``headline``, the other count ``other``: the MACs|FLOPs
switch changes what they show and not which columns are visible.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from engine.metrics import METRIC, METRICS, Metric
from engine.results import Totals

Kind = Literal["layer", "output", "value", "difference", "change"]

COUNT_MODES = ("macs", "flops")


@dataclass(frozen=True)
class LayerColumn:
    """One column: what it shows (``change`` is "before → after") of which metric."""

    key: str
    kind: Kind
    title: str
    tooltip: str
    metric: Metric | None = None


DEFAULT_VISIBLE = ("output", "params", "headline", "headline.difference", "activation_bytes", "latency_s")
DEFAULT_BARS = ("headline",)

SPARSE = 0.05
"""Share of zeros in a model's weights from which on the layers' sparsity is worth a column."""

_LAYER = LayerColumn(
    "layer", "layer", "Layer", "Modules of the model with their executed operations, in execution order"
)
_APART = ", measured apart: no verdict"
_OUTPUT = LayerColumn("output", "output", "Output", "Shape of the output, batch first")


def slot(metric: Metric, count_mode: str) -> str:
    """Key under which ``metric`` stands while ``count_mode`` is current: ``headline``, ``other`` or its own."""
    if metric.key not in COUNT_MODES:
        return metric.key
    return "headline" if metric.key == count_mode else "other"


def ordered_metrics(count_mode: str) -> list[Metric]:
    """METRICS with the current count first among the counts, so that a slot keeps its place in both modes."""
    counts = iter(sorted((METRIC[key] for key in COUNT_MODES), key=lambda metric: metric.key != count_mode))
    return [next(counts) if metric.key in COUNT_MODES else metric for metric in METRICS]


def columns(count_mode: str) -> tuple[LayerColumn, ...]:
    """Every column there is, in display order; ``count_mode`` is ``macs`` or ``flops``."""
    found = [_LAYER, _OUTPUT]
    for metric in ordered_metrics(count_mode):
        key = slot(metric, count_mode)
        about = f"{metric.label}: {metric.description}"
        found += [
            LayerColumn(key, "value", metric.label, about, metric),
            LayerColumn(
                f"{key}.difference",
                "difference",
                f"Δ {metric.label}",
                f"{metric.label}: difference against the baseline{_APART if metric.measured else ''}",
                metric,
            ),
            LayerColumn(
                f"{key}.change",
                "change",
                f"{metric.label}, before → after",
                f"{metric.label} of the baseline → now",
                metric,
            ),
        ]
    return tuple(found)


def called_for(totals: Totals) -> frozenset[str]:
    """Keys of columns that a model with these totals should be seen with, though nobody chose them."""
    return frozenset({"sparsity"} if (totals.sparsity or 0) >= SPARSE else ())


def known_keys(keys: Iterable[str]) -> list[str]:
    """Those of ``keys`` that name a column; settings of another version may hold others."""
    known = {column.key for column in columns(COUNT_MODES[0])}
    return [key for key in keys if key in known]
