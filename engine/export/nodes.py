"""The metrics of every node of an ONNX graph under the names of the file, for tools that show that graph."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from engine.errors import ExportError
from engine.metrics import METRICS, column
from engine.results import Analysis


class NodeMetric(NamedTuple):
    """One number of one node."""

    node: str
    tensor: str
    key: str
    label: str
    """With its unit."""
    value: int | float


def node_metrics(analysis: Analysis) -> Iterator[NodeMetric]:
    """In execution order; what is not counted or not measured is left out. Raises ExportError without nodes."""
    modules, layers = analysis.modules, analysis.layers
    if not any(modules.node[1:]):
        raise ExportError(
            f"{analysis.model.name} has no nodes that another tool would know.",
            hint="This export is for ONNX models; JSON and CSV are for all.",
        )
    place = {path: index for index, path in enumerate(modules.path)}
    columns = [(metric, column(layers, metric.key)) for metric in METRICS]
    for row, path in enumerate(layers.path):
        module = place[path]
        for metric, values in columns:
            value = values[row]
            if value is not None:
                yield NodeMetric(
                    modules.node[module],
                    modules.tensor[module],
                    metric.key,
                    _label(metric.label, metric.unit),
                    value,
                )


def total_metrics(analysis: Analysis) -> Iterator[NodeMetric]:
    """The model's own numbers."""
    for metric in METRICS:
        value = getattr(analysis.totals, metric.key, None)
        if value is not None:
            yield NodeMetric("", "", metric.key, _label(metric.label, metric.unit), value)


def _label(label: str, unit: str) -> str:
    units = {"bytes": "bytes", "seconds": "s"}
    return f"{label} ({units[unit]})" if unit in units else label
