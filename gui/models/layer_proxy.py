"""Sorting within siblings and searching, over a LayerTreeModel."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

from PySide6.QtCore import QObject, QSortFilterProxyModel, Qt

from engine.metrics import Number
from engine.tree import LayerStructure
from gui.models.layer_tree import Index, LayerTreeModel


class LayerProxyModel(QSortFilterProxyModel):
    """Rows sorted among their siblings by number, unknown ones last; a search keeps ancestors and what is below."""

    def __init__(self, source: LayerTreeModel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._layers = source
        self._words: tuple[str, ...] = ()
        self._searched: LayerStructure | None = None
        """The structure that the next two speak about."""
        self._kept: frozenset[int] = frozenset()
        self._matching: tuple[int, ...] = ()
        # A tick must not re-sort and re-filter row by row from dataChanged: `resort` does it once.
        self.setDynamicSortFilter(False)
        self.setSourceModel(source)

    @property
    def is_searching(self) -> bool:
        return bool(self._words)

    def matches(self) -> tuple[int, ...]:
        """Nodes that match the search, in display order; empty without a search."""
        if self._searched is not self._layers.structure:
            self._find_matches()
        return self._matching

    def set_search(self, text: str) -> None:
        """Keep nodes whose path, operation, family or class contains every word of ``text``, in any letter case."""
        words = words_of(text)
        if words != self._words:
            self._words = words
            self._find_matches()
            # Never matched against: `filterAcceptsRow` decides. It tells Qt in every version that the filter changed.
            self.setFilterFixedString(text)

    def resort(self) -> None:
        """Bring the rows into order after new numbers; does nothing in execution order."""
        if self.sortColumn() > 0:
            self.sort(self.sortColumn(), self.sortOrder())

    # -- QSortFilterProxyModel -----------------------------------------------------------------------------------

    def filterAcceptsRow(self, source_row: int, source_parent: Index) -> bool:
        structure = self._layers.structure
        if not self._words or structure is None or not source_parent.isValid():
            return True
        if self._searched is not structure:
            self._find_matches()
        return structure.children[source_parent.internalId()][source_row] in self._kept

    def lessThan(self, left: Index, right: Index) -> bool:
        section = left.column()
        a = self._layers.sort_key(left.internalId(), section)
        b = self._layers.sort_key(right.internalId(), section)
        if isinstance(a, str) and isinstance(b, str):
            return a.casefold() < b.casefold()
        if a is None or b is None or isinstance(a, str) or isinstance(b, str):
            return _is_last(a, b, self.sortOrder())
        return a < b

    # -- inside --------------------------------------------------------------------------------------------------

    def _find_matches(self) -> None:
        self._searched = structure = self._layers.structure
        if not self._words or structure is None:
            self._kept, self._matching = frozenset(), ()
            return
        matches = [node for node in range(len(structure)) if self._matches(node)]
        kept = set(matches)
        for node in matches:
            kept.update(structure.ancestors(node))
        below: Iterable[int] = matches
        while level := list(chain.from_iterable(structure.children[node] for node in below)):
            kept.update(level)
            below = level
        self._kept, self._matching = frozenset(kept), tuple(matches)

    def _matches(self, node: int) -> bool:
        structure, cells = self._layers.structure, self._layers.cells
        assert structure is not None and cells is not None
        modules, layers = cells.analysis.modules, cells.analysis.layers
        module, row = structure.module[node], structure.row[node]
        text = f"{structure.names[node]} {structure.labels[node]}"
        if structure.stands_for_module(node):
            text += f" {modules.class_name[module]}"
        if row >= 0:
            text += f" {layers.op[row]} {layers.family[row]}"
        text = text.casefold()
        return all(word in text for word in self._words)


def words_of(text: str) -> tuple[str, ...]:
    """The words of a search, in one letter case."""
    return tuple(text.casefold().split())


def _is_last(a: Number | str, b: Number | str, order: Qt.SortOrder) -> bool:
    """Order of a pair with an unknown: unknown after known in both directions (Qt reverses the arguments)."""
    if order == Qt.SortOrder.AscendingOrder:
        return a is not None and b is None
    return a is None and b is not None
