"""Numbers per node of a LayerStructure: one analysis, aggregated as `engine.metrics` says, computed when asked for."""

from __future__ import annotations

from collections.abc import Sequence

from engine.metrics import METRIC, Number, column, combined, ratio
from engine.results import Analysis
from gui.models.structure import LayerStructure


class NodeValues:
    """Values of one analysis over its structure; each column and each aggregate is computed once, on demand."""

    def __init__(self, structure: LayerStructure, analysis: Analysis) -> None:
        self.structure = structure
        self.analysis = analysis
        self._columns: dict[str, Sequence[Number]] = {}
        self._aggregates: dict[tuple[int, str], Number] = {}

    def value(self, node: int, key: str) -> Number:
        """Metric ``key`` of ``node``; None where not counted or (a ratio) not applicable."""
        row = self.structure.row[node]
        if row >= 0:
            return self._column(key)[row]
        try:
            return self._aggregates[node, key]
        except KeyError:
            value = self._aggregates[node, key] = self._aggregate(node, key)
            return value

    def total(self, key: str) -> Number:
        """The model's own total: what the cards show."""
        value: Number = getattr(self.analysis.totals, key)
        return value

    def share(self, node: int, key: str) -> float | None:
        """``node``'s part of the model's total, 0 to 1; None for a ratio or when there is nothing to share."""
        if METRIC[key].combine == "ratio":
            return None
        return ratio(self.value(node, key), self.total(key))

    def unknown_rows(self, node: int, key: str) -> int:
        """How many operation rows at and below ``node`` are not counted in ``key``."""
        metric = METRIC[key]
        if metric.parts is not None:
            return self.unknown_rows(node, metric.parts[0])
        values = self._column(key)
        return sum(values[row] is None for row in self.structure.rows[node])

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
        if node == 0:
            return self.total(key)
        if metric.parts is not None:
            top, bottom = metric.parts
            return ratio(self.value(node, top), self.value(node, bottom))
        if metric.combine == "params":
            values: Sequence[int] = getattr(self.analysis.modules, key)
            return values[self.structure.module[node]]
        rows = self.structure.rows[node]
        if not rows:
            return 0
        values_of = self._column(key)
        return combined(key)([values_of[row] for row in rows])
