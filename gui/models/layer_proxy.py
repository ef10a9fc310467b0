"""Sorting within siblings and searching, over a LayerTreeModel.

Qt's own proxy asks Python for every comparison and every row: 100,000 rows took it 20 seconds. Here siblings are sorted
when they are looked at, by keys that are asked for once.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from operator import itemgetter

from PySide6.QtCore import QAbstractProxyModel, QModelIndex, QObject, Qt

from engine.tree import LayerStructure
from gui.models.layer_tree import Index, LayerTreeModel

_NOWHERE = QModelIndex()
_FLAGS = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
_LEAF = _FLAGS | Qt.ItemFlag.ItemNeverHasChildren


class LayerProxyModel(QAbstractProxyModel):
    """Rows sorted among their siblings by number, unknown ones last; a search keeps ancestors and what is below.

    The internal id of an index is its node in the structure, as in the source model.
    """

    def __init__(self, source: LayerTreeModel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._layers = source
        self._words: tuple[str, ...] = ()
        self._searched: LayerStructure | None = None
        """The structure that the next two speak about."""
        self._kept: frozenset[int] = frozenset()
        self._matching: tuple[int, ...] = ()
        self._texts: list[str] = []
        """What a search looks at, by node of ``_texts_of``."""
        self._texts_of: LayerStructure | None = None
        self._section = -1
        self._order = Qt.SortOrder.AscendingOrder
        self._shown: dict[int, list[int]] = {}
        """Node → its children as they are shown; made when first asked for."""
        self._position: dict[int, int] = {}
        """Node → its place among these."""
        self.setSourceModel(source)
        source.modelAboutToBeReset.connect(self.beginResetModel)
        source.modelReset.connect(self._on_reset)
        source.dataChanged.connect(self._on_data_changed)
        source.headerDataChanged.connect(self.headerDataChanged)

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
            self._searched = None
            self._rearrange()

    def resort(self) -> None:
        """Bring the rows into order after new numbers; does nothing in execution order."""
        if self._section > 0:
            self._rearrange()

    # -- QAbstractProxyModel -------------------------------------------------------------------------------------

    def mapToSource(self, index: Index) -> QModelIndex:
        if not index.isValid() or self._layers.structure is None:
            return QModelIndex()
        return self._layers.index_of_node(index.internalId(), index.column())

    def mapFromSource(self, index: Index) -> QModelIndex:
        return self._index_of(index.internalId(), index.column()) if index.isValid() else QModelIndex()

    def index(self, row: int, column: int, parent: Index = _NOWHERE) -> QModelIndex:
        if row < 0 or not 0 <= column < len(self._layers.columns):
            return QModelIndex()
        if not parent.isValid():
            is_root = row == 0 and self._layers.structure is not None
            return self.createIndex(0, column, 0) if is_root else QModelIndex()
        children = self._children(parent.internalId()) if parent.column() == 0 else []
        return self.createIndex(row, column, children[row]) if row < len(children) else QModelIndex()

    def parent(self, index: Index = _NOWHERE) -> QModelIndex:  # type: ignore[override]
        # PySide's stub joins this with QObject.parent(); Qt calls it with an index only.
        structure = self._layers.structure
        if structure is None or not index.isValid():
            return QModelIndex()
        above = structure.parent[index.internalId()]
        return QModelIndex() if above < 0 else self._index_of(above, 0)

    def rowCount(self, parent: Index = _NOWHERE) -> int:
        if self._layers.structure is None:
            return 0
        if not parent.isValid():
            return 1
        return len(self._children(parent.internalId())) if parent.column() == 0 else 0

    def columnCount(self, parent: Index = _NOWHERE) -> int:
        return len(self._layers.columns)

    def hasChildren(self, parent: Index = _NOWHERE) -> bool:
        return self.rowCount(parent) > 0

    def flags(self, index: Index) -> Qt.ItemFlag:
        structure = self._layers.structure
        if structure is None or not index.isValid():
            return Qt.ItemFlag.NoItemFlags
        return _FLAGS if structure.children[index.internalId()] else _LEAF

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        return self._layers.data(self.mapToSource(index), role)

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> object:
        return self._layers.headerData(section, orientation, role)

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort by ``column``; -1 for execution order."""
        if (column, order) != (self._section, self._order):
            self._section, self._order = column, order
            self._rearrange()

    def sortColumn(self) -> int:
        return self._section

    def sortOrder(self) -> Qt.SortOrder:
        return self._order

    # -- rows ----------------------------------------------------------------------------------------------------

    def _children(self, node: int) -> list[int]:
        """Children of ``node`` as they are shown."""
        found = self._shown.get(node)
        if found is None:
            found = self._shown[node] = self._arranged(node)
            self._position.update(zip(found, range(len(found)), strict=True))
        return found

    def _arranged(self, node: int) -> list[int]:
        structure = self._layers.structure
        assert structure is not None
        children = structure.children[node]
        if self._words:
            self.matches()
            children = [child for child in children if child in self._kept]
        if self._section < 0 or len(children) < 2:
            return children
        keys = [self._layers.sort_key(child, self._section) for child in children]
        reverse = self._order == Qt.SortOrder.DescendingOrder
        words = [
            (key.casefold(), child) for key, child in zip(keys, children, strict=True) if isinstance(key, str)
        ]
        numbers = [
            (key, child)
            for key, child in zip(keys, children, strict=True)
            if key is not None and not isinstance(key, str)
        ]
        unknown = [child for key, child in zip(keys, children, strict=True) if key is None]
        # Equal ones stay in order of execution.
        words.sort(key=itemgetter(0), reverse=reverse)
        numbers.sort(key=itemgetter(0), reverse=reverse)
        return [*(child for _, child in words), *(child for _, child in numbers), *unknown]

    def _index_of(self, node: int, column: int) -> QModelIndex:
        """Index of a node of the structure; invalid where the search leaves it out."""
        structure = self._layers.structure
        if structure is None:
            return QModelIndex()
        above = structure.parent[node]
        if above < 0:
            return self.createIndex(0, column, node)
        if node not in self._position:
            self._children(above)
        position = self._position.get(node)
        if position is None or not self._index_of(above, 0).isValid():
            return QModelIndex()
        return self.createIndex(position, column, node)

    def _rearrange(self) -> None:
        """Another order or another search: what is expanded and selected stays, as far as it is shown."""
        self.layoutAboutToBeChanged.emit()
        before = self.persistentIndexList()
        self._forget()
        after = [self._index_of(index.internalId(), index.column()) for index in before]
        self.changePersistentIndexList(before, after)
        self.layoutChanged.emit()

    def _forget(self) -> None:
        self._shown = {}
        self._position = {}

    def _on_reset(self) -> None:
        self._forget()
        self.endResetModel()

    def _on_data_changed(self, first: QModelIndex, last: QModelIndex) -> None:
        self.dataChanged.emit(self.mapFromSource(first), self.mapFromSource(last))

    # -- searching -----------------------------------------------------------------------------------------------

    def _find_matches(self) -> None:
        self._searched = structure = self._layers.structure
        if not self._words or structure is None:
            self._kept, self._matching = frozenset(), ()
            return
        matches = [
            node for node, text in enumerate(self._text_by_node()) if all(w in text for w in self._words)
        ]
        kept = set(matches)
        for node in matches:
            above = structure.parent[node]
            while above >= 0 and above not in kept:
                kept.add(above)
                above = structure.parent[above]
        below: Iterable[int] = matches
        while level := list(chain.from_iterable(structure.children[node] for node in below)):
            kept.update(level)
            below = level
        self._kept, self._matching = frozenset(kept), tuple(matches)

    def _text_by_node(self) -> list[str]:
        structure = self._layers.structure
        assert structure is not None
        if self._texts_of is not structure:
            self._texts_of = structure
            self._texts = [self._text(structure, node) for node in range(len(structure))]
        return self._texts

    def _text(self, structure: LayerStructure, node: int) -> str:
        cells = self._layers.cells
        assert cells is not None
        modules, layers = cells.analysis.modules, cells.analysis.layers
        row = structure.row[node]
        text = f"{structure.names[node]} {structure.labels[node]}"
        if structure.stands_for_module(node):
            text += f" {modules.class_name[structure.module[node]]}"
        if row >= 0:
            text += f" {layers.op[row]} {layers.family[row]}"
        return text.casefold()


def words_of(text: str) -> tuple[str, ...]:
    """The words of a search, in one letter case."""
    return tuple(text.casefold().split())
