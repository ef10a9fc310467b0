"""An analysis beside its baseline, with structures kept while ticks bring numbers only."""

from __future__ import annotations

from collections import deque
from collections.abc import Set

from engine.results import Analysis
from engine.tree import LayerStructure, idle_rows, structure_key
from engine.tree_values import NodeValues
from gui.models.cells import LayerCells

_recent: deque[tuple[Analysis, LayerStructure]] = deque(maxlen=4)
"""The last trees: all panels show the same ones, and one of 100,000 nodes takes a quarter of a second to make."""

_idle: deque[tuple[Analysis, frozenset[int]]] = deque(maxlen=4)


def structure_of(analysis: Analysis, hidden: Set[int]) -> LayerStructure:
    """The tree of ``analysis``; one that was made for an equal one is taken again."""
    key = structure_key(analysis, hidden)
    for known, structure in _recent:
        if structure.key == key and _labels(known) == _labels(analysis):
            return structure
    made = LayerStructure(analysis, hidden)
    _recent.append((analysis, made))
    return made


def idle_rows_of(analysis: Analysis) -> frozenset[int]:
    """Rows that cost nothing; looked for once per analysis, though every panel asks."""
    found = next((rows for known, rows in _idle if known is analysis), None)
    if found is None:
        found = idle_rows(analysis)
        _idle.append((analysis, found))
    return found


def _labels(analysis: Analysis) -> tuple[object, ...]:
    """What the key leaves out and nodes are labelled with."""
    return analysis.layers.op, analysis.model.class_name, analysis.model.name


class Comparer:
    """Makes LayerCells; keeps the last structure, and the baseline's values while it is the same object."""

    def __init__(self) -> None:
        self._structure: LayerStructure | None = None
        self._baseline: NodeValues | None = None
        self._baseline_hides = True

    def compare(
        self,
        analysis: Analysis,
        baseline: Analysis | None,
        *,
        hidden: Set[int] | None = None,
        failed: str = "",
    ) -> LayerCells:
        """``analysis`` against ``baseline``; the result's structure is the previous one when the tree is the same.

        ``hidden`` are the rows without a node of their own (those that cost nothing unless given); an empty set
        shows those of the baseline too. ``failed`` is the layer that stops the configuration asked for.
        """
        if hidden is None:
            hidden = idle_rows_of(analysis)
        if self._structure is None or self._structure.key != structure_key(analysis, hidden):
            self._structure = structure_of(analysis, hidden)
        self._take_baseline(baseline, bool(hidden))
        return LayerCells(NodeValues(self._structure, analysis), self._baseline, failed)

    def _take_baseline(self, baseline: Analysis | None, hides: bool) -> None:
        known = self._baseline
        if baseline is None:
            self._baseline = None
        elif known is None or known.analysis is not baseline or self._baseline_hides != hides:
            rows = idle_rows_of(baseline) if hides else frozenset[int]()
            self._baseline = NodeValues(structure_of(baseline, rows), baseline)
            self._baseline_hides = hides
