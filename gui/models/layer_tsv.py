"""Rows of the layer tree as tab-separated text with exact numbers, for a spreadsheet."""

from __future__ import annotations

from collections.abc import Sequence

from engine import numbers
from engine.metrics import Metric, Number, ratio
from gui.models.cells import LayerCells
from gui.models.columns import LayerColumn
from gui.state_words import times_belong_to


def tsv(cells: LayerCells, nodes: Sequence[int], shown: Sequence[LayerColumn]) -> str:
    """One header line and one line per node: full path, operation, then ``shown`` without the layer column.

    Counts are integers, bytes are bytes, times seconds; what was not measured has no column.
    Unknown is ``not counted``, a ratio that does not apply is empty.
    """
    rest = [column for column in shown if column.kind != "layer" and not _is_unmeasured(cells, column)]
    header = ["Layer", "Operation or class"]
    for column in rest:
        header.extend(_titles(column, _unit_and_origin(cells, column.metric)))
    lines = ["\t".join(header)]
    for node in nodes:
        fields = [_path(cells, node), _what(cells, node)]
        for column in rest:
            fields.extend(_fields(cells, node, column))
        lines.append("\t".join(fields))
    return "\n".join(lines) + "\n"


def _is_unmeasured(cells: LayerCells, column: LayerColumn) -> bool:
    metric, analysis = column.metric, cells.analysis
    if metric is None:
        return False
    return (metric.measured and analysis.layer_times is None) or (metric.weighed and not analysis.is_weighed)


def _titles(column: LayerColumn, name: str) -> list[str]:
    if column.metric is None:
        return [column.title]
    if column.kind == "change":
        return [f"{name} before", f"{name} after"]
    return [f"{name} after/before" if column.kind == "difference" else name]


def _fields(cells: LayerCells, node: int, column: LayerColumn) -> list[str]:
    metric = column.metric
    if metric is None:
        shapes = cells.output_shapes(node)
        return [" ".join(numbers.shape(shape) for shape in shapes)]
    after = cells.values.value(node, metric.key)
    if column.kind == "value":
        return [_number(metric, after)]
    before = cells.before(node, metric.key)
    if column.kind == "change":
        return [_number(metric, before), _number(metric, after)]
    factor = ratio(after, before)
    return ["" if factor is None else repr(factor)]


def _unit_and_origin(cells: LayerCells, metric: Metric | None) -> str:
    """``Latency (s, of 1×3×64×64)``: label, unit, and what old measurements belong to."""
    if metric is None:
        return ""
    parts = [{"bytes": "bytes", "seconds": "s"}.get(metric.unit, metric.suffix)]
    times = cells.analysis.layer_times
    if times is not None and cells.is_stale(metric):
        parts.append(times_belong_to(times, cells.analysis.configuration))
    unit = ", ".join(part for part in parts if part)
    return f"{metric.label} ({unit})" if unit else metric.label


def _number(metric: Metric, value: Number) -> str:
    if value is None:
        return "" if metric.parts is not None or metric.measured else numbers.NOT_COUNTED
    return str(value)


def _path(cells: LayerCells, node: int) -> str:
    return cells.analysis.modules.path[cells.structure.module[node]] or cells.structure.labels[0]


def _what(cells: LayerCells, node: int) -> str:
    row = cells.structure.row[node]
    if row >= 0:
        return cells.analysis.layers.op[row]
    return cells.analysis.modules.class_name[cells.structure.module[node]]
