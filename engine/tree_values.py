"""Numbers per node of a LayerStructure, aggregated as `engine.metrics` says, and the same of a baseline beside them."""

from __future__ import annotations

from collections.abc import Sequence

from engine.graph import Shape
from engine.metrics import METRIC, Number, column, combined, module_column, ratio
from engine.results import Analysis
from engine.tree import LayerStructure, idle_rows


class NodeValues:
    """Values of one analysis over its structure; each column and each aggregate is computed once, on demand."""

    def __init__(self, structure: LayerStructure, analysis: Analysis) -> None:
        self.structure = structure
        self.analysis = analysis
        self._columns: dict[str, Sequence[Number]] = {}
        self._aggregates: dict[tuple[int, str], Number] = {}
        self._complete: dict[str, bool] = {}
        """By column, whether all rows are counted: asking so takes no look at each."""
        self._notes: dict[str, str] | None = None
        self._carriers: dict[str, str] | None = None

    def value(self, node: int, key: str) -> Number:
        """Metric ``key`` of ``node``; None where not counted or (a ratio) not applicable."""
        structure = self.structure
        row = structure.row[node]
        if row >= 0 and len(structure.rows[node]) == 1:
            return self._column(key)[row]
        try:
            return self._aggregates[node, key]
        except KeyError:
            value = self._aggregates[node, key] = self._aggregate(node, key)
            return value

    def total(self, key: str) -> Number:
        """The model's own total: what the cards show. Of what is measured layer by layer, the sum of the layers."""
        if METRIC[key].measured:
            return self.value(0, key)
        value: Number = getattr(self.analysis.totals, key)
        return value

    def share(self, node: int, key: str) -> float | None:
        """``node``'s part of the model's total, 0 to 1; None for a ratio or when there is nothing to share."""
        if METRIC[key].combine == "ratio":
            return None
        return ratio(self.value(node, key), self.total(key))

    def unknown_rows(self, node: int, key: str) -> int:
        """How many operation rows at and below ``node`` are not counted in ``key``; none where nobody looked."""
        metric = METRIC[key]
        if metric.parts is not None:
            return self.unknown_rows(node, metric.parts[0])
        if metric.weighed and not self.analysis.is_weighed:
            return 0
        values = self._column(key)
        if key not in self._complete:
            self._complete[key] = None not in values
        return 0 if self._complete[key] else sum(values[row] is None for row in self.structure.rows[node])

    def is_bounded(self, node: int, key: str) -> bool:
        """Whether the value of a module is a lower bound, because not all below it is counted in ``key``."""
        metric, row = METRIC[key], self.structure.row[node]
        if metric.combine == "sum":
            return row < 0 and not metric.measured and self.unknown_rows(node, key) > 0
        unknown = self.analysis.modules.unweighed_params
        if not metric.weighed or not unknown or (row >= 0 and len(self.structure.rows[node]) == 1):
            return False
        return unknown[self.structure.module[node]] > 0

    def is_nothing(self, node: int, key: str) -> bool:
        """Whether a value of 0 means that there is nothing to count, rather than a count of 0."""
        if not METRIC[key].weighed:
            return True
        return not self.value(node, "macs" if key == "nonzero_macs" else "params")

    def time_note(self, node: int) -> str:
        """How a row's time was found where it is not simply measured: split, or part of another row."""
        if self._notes is None:
            times = self.analysis.layer_times
            self._notes = dict(zip(times.row_id, times.note, strict=True)) if times is not None else {}
        row = self.structure.row[node]
        return self._notes.get(self.analysis.layers.id[row], "") if row >= 0 else ""

    def carrier(self, node: int) -> str:
        """The layer row that has this row's time, because one kernel did the work of both; empty for none."""
        if self._carriers is None:
            times = self.analysis.layer_times
            groups = times.groups if times is not None else ()
            self._carriers = {
                row: each.carrier for each in groups for row in each.row_ids if row != each.carrier
            }
        row = self.structure.row[node]
        return self._carriers.get(self.analysis.layers.id[row], "") if row >= 0 else ""

    def all_values(self, key: str) -> list[Number]:
        """One value per node, for sorting."""
        return [self.value(node, key) for node in range(len(self.structure))]

    def _column(self, key: str) -> Sequence[Number]:
        values = self._columns.get(key)
        if values is None:
            values = self._columns[key] = column(self.analysis.layers, key)
        return values

    def _aggregate(self, node: int, key: str) -> Number:
        metric = METRIC[key]
        if node == 0 and not metric.measured:
            return self.total(key)
        if metric.parts is not None:
            top, bottom = metric.parts
            return ratio(self.value(node, top), self.value(node, bottom))
        if metric.combine == "params":
            return module_column(self.analysis.modules, key)[self.structure.module[node]]
        rows = self.structure.rows[node]
        if not rows:
            return 0
        values_of = self._column(key)
        return combined(key)([values_of[row] for row in rows])


class Comparison:
    """The nodes of one analysis beside the nodes of the same name of its baseline, if there is one."""

    def __init__(self, values: NodeValues, baseline: NodeValues | None) -> None:
        self.values = values
        self.baseline = baseline
        self.structure: LayerStructure = values.structure
        self.analysis: Analysis = values.analysis
        self.is_baseline = is_same(values.analysis, baseline.analysis if baseline is not None else None)
        """Whether there is nothing to compare."""

    def before(self, node: int, key: str) -> Number:
        """The baseline's value of the node of the same name; None where it has no such node."""
        if self.baseline is None:
            return None
        other = self.baseline_node(node)
        return None if other is None else self.baseline.value(other, key)

    def baseline_node(self, node: int) -> int | None:
        """The baseline's node of this name; a module whose only operation went or changed is found by its path."""
        if self.baseline is None:
            return None
        structure = self.baseline.structure
        if structure is self.structure:
            return node
        found = structure.node_of_name.get(self.structure.names[node])
        if found is None and self.structure.stands_for_module(node):
            path = self.analysis.modules.path[self.structure.module[node]]
            found = structure.node_of_path.get(path)
        return found

    def output_shapes(self, node: int) -> tuple[Shape, ...]:
        """Shapes the node puts out: of its last operation, or of the model."""
        return _output_shapes(self.values, node)

    def output_shapes_before(self, node: int) -> tuple[Shape, ...]:
        """The same of the baseline; empty where it has no such node."""
        other = self.baseline_node(node)
        return () if other is None or self.baseline is None else _output_shapes(self.baseline, other)


def compared(analysis: Analysis, baseline: Analysis | None) -> Comparison:
    """A comparison without the rows that cost nothing."""

    def values(each: Analysis) -> NodeValues:
        return NodeValues(LayerStructure(each, idle_rows(each)), each)

    return Comparison(values(analysis), values(baseline) if baseline is not None else None)


def is_same(analysis: Analysis, baseline: Analysis | None) -> bool:
    """Whether there is nothing to compare: no baseline, or the same configuration of the same model."""
    return baseline is None or (
        baseline is analysis
        or (baseline.model == analysis.model and baseline.configuration == analysis.configuration)
    )


def _output_shapes(values: NodeValues, node: int) -> tuple[Shape, ...]:
    if node == 0 and values.analysis.output_shapes:
        return values.analysis.output_shapes
    rows = values.structure.rows[node]
    return values.analysis.layers.output_shapes[rows[-1]] if rows else ()
