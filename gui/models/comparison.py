"""An analysis beside its baseline, with structures kept while ticks bring numbers only."""

from __future__ import annotations

from engine.results import Analysis
from gui.models.cells import LayerCells
from gui.models.structure import LayerStructure, structure_key
from gui.models.values import NodeValues


class Comparer:
    """Makes LayerCells; keeps the last structure, and the baseline's values while it is the same object."""

    def __init__(self) -> None:
        self._structure: LayerStructure | None = None
        self._baseline: NodeValues | None = None

    def compare(self, analysis: Analysis, baseline: Analysis | None) -> LayerCells:
        """``analysis`` against ``baseline``; the result's structure is the previous one when the tree is the same."""
        if self._structure is None or self._structure.key != structure_key(analysis):
            self._structure = LayerStructure(analysis)
        if baseline is None:
            self._baseline = None
        elif self._baseline is None or self._baseline.analysis is not baseline:
            self._baseline = NodeValues(LayerStructure(baseline), baseline)
        return LayerCells(NodeValues(self._structure, analysis), self._baseline)
