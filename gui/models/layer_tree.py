"""The layer tree as a Qt item model: structure from one analysis, numbers swapped in place by the next.

A slider tick brings an analysis of identical structure; then only the made cells are forgotten. Expansion, selection
and scroll position stay as they are.
"""

from __future__ import annotations

from typing import TypeAlias

from PySide6.QtCore import QAbstractItemModel, QModelIndex, QObject, QPersistentModelIndex, Qt, Signal

from engine.metrics import Number
from engine.results import Analysis, Layers
from engine.tree import LayerStructure, structure_key
from gui.models.cells import Cell, LayerCells
from gui.models.columns import DEFAULT_BARS, LayerColumn, columns
from gui.models.comparison import Comparer, idle_rows_of
from gui.models.roles import Role
from gui.state_words import times_sentence

Index: TypeAlias = QModelIndex | QPersistentModelIndex

_RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
_LEFT = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
_NOWHERE = QModelIndex()


class LayerTreeModel(QAbstractItemModel):
    """Modules and operations of one analysis, compared with a baseline; empty without an analysis.

    The internal id of an index is its node in `structure`.
    """

    numbers_changed = Signal()
    """Every cell may show something else. `dataChanged` goes out for the model's own row only: one signal per
    parent, as Qt would have it, takes 45 ms for 1,700 rows."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.structure: LayerStructure | None = None
        self.cells: LayerCells | None = None
        self.columns: tuple[LayerColumn, ...] = columns("macs")
        self.shows_idle = False
        """Whether rows that cost nothing have a place in the tree. Like `words` it counts from the next `show`."""
        self.words: tuple[str, ...] = ()
        """A search, in lower case: rows that cost nothing and are asked for by it have a place all the same."""
        self.failed = ""
        """Layer that stops the configuration asked for; counts from the next `show`."""
        self.removals: frozenset[str] = frozenset()
        """Paths of layers that are asked to be removed, where that cannot be computed; as ``failed``."""
        self._outdated = False
        self._comparer = Comparer()
        self._hidden: frozenset[int] = frozenset()
        self._hidden_of: Analysis | None = None
        self._hidden_for: tuple[bool, tuple[str, ...]] = (False, ())
        self._bars = frozenset(DEFAULT_BARS)
        self._made: dict[tuple[int, int], Cell] = {}

    # -- what it shows -------------------------------------------------------------------------------------------

    def show(self, analysis: Analysis | None, baseline: Analysis | None) -> bool:
        """Show ``analysis`` against ``baseline``; returns whether the tree itself changed (a model reset)."""
        if analysis is None:
            self.beginResetModel()
            self.structure = self.cells = None
            self._made.clear()
            self.endResetModel()
            return True
        cells = self._comparer.compare(
            analysis, baseline, hidden=self.hidden_rows(analysis), failed=self.failed
        )
        cells.outdated, cells.removals = self._outdated, self.removals
        if cells.structure is self.structure:
            self.cells = cells
            self._made.clear()
            self._numbers_changed()
            return False
        self.beginResetModel()
        self.structure, self.cells = cells.structure, cells
        self._made.clear()
        self.endResetModel()
        return True

    def set_outdated(self, outdated: bool) -> None:
        """Whether something else than what is shown is asked for: measured times look old then, also the next ones."""
        self._outdated = outdated
        cells = self.cells
        if cells is None or cells.outdated == outdated:
            return
        cells.outdated = outdated
        if cells.analysis.layer_times is not None and not cells.analysis.stale_times:
            self._made.clear()
            self._numbers_changed()

    def keeps_tree(self, analysis: Analysis) -> bool:
        """Whether showing ``analysis`` changes numbers only."""
        key = structure_key(analysis, self.hidden_rows(analysis))
        return self.structure is not None and self.structure.key == key

    def hidden_rows(self, analysis: Analysis) -> frozenset[int]:
        """Rows of ``analysis`` that cost nothing and that nobody asks for."""
        wanted = (self.shows_idle, self.words)
        if self._hidden_of is not analysis or self._hidden_for != wanted:
            self._hidden_of, self._hidden_for = analysis, wanted
            idle = frozenset() if self.shows_idle else idle_rows_of(analysis)
            if self.words:
                idle = frozenset(row for row in idle if not _asked_for(analysis.layers, row, self.words))
            self._hidden = idle
        return self._hidden

    def set_count_mode(self, mode: str) -> None:
        """``macs`` or ``flops``: which count the headline columns show."""
        self.columns = columns(mode)
        self._made.clear()
        self.headerDataChanged.emit(Qt.Orientation.Horizontal, 0, len(self.columns) - 1)
        self._numbers_changed()

    def set_bars(self, keys: frozenset[str]) -> None:
        """Keys of the value columns that carry an inline bar."""
        self._bars = keys
        self._made.clear()
        self._numbers_changed()

    def cell(self, node: int, section: int) -> Cell:
        """The cell of ``node`` in column ``section``, made on first use."""
        try:
            return self._made[node, section]
        except KeyError:
            assert self.cells is not None
            column = self.columns[section]
            made = self._made[node, section] = self.cells.cell(node, column, column.key in self._bars)
            return made

    def sort_key(self, node: int, section: int) -> Number | str:
        assert self.cells is not None
        return self.cells.sort_key(node, self.columns[section])

    def section_of(self, key: str) -> int:
        """Section of the column with ``key``; ValueError when there is none."""
        return [column.key for column in self.columns].index(key)

    def index_of(self, name: str, section: int = 0) -> QModelIndex:
        """Index of the node called ``name`` (or of the module with that path); invalid when it is not there."""
        node = self.structure.find(name) if self.structure is not None else None
        return _NOWHERE if node is None else self.index_of_node(node, section)

    def index_of_node(self, node: int, section: int = 0) -> QModelIndex:
        assert self.structure is not None
        return self.createIndex(self.structure.position[node], section, node)

    def name_of(self, index: Index) -> str | None:
        """Name of the node at ``index``; None for an invalid one."""
        if self.structure is None or not index.isValid():
            return None
        return self.structure.names[index.internalId()]

    # -- QAbstractItemModel --------------------------------------------------------------------------------------

    def index(self, row: int, column: int, parent: Index = _NOWHERE) -> QModelIndex:
        structure = self.structure
        if structure is None or row < 0 or not 0 <= column < len(self.columns):
            return QModelIndex()
        if not parent.isValid():
            return self.createIndex(0, column, 0) if row == 0 else QModelIndex()
        if parent.column() != 0:
            return QModelIndex()
        node = parent.internalId()
        children = structure.children[node]
        if row >= len(children):
            return QModelIndex()
        return self.createIndex(row, column, children[row])

    def parent(self, index: Index = _NOWHERE) -> QModelIndex:  # type: ignore[override]
        # PySide's stub joins this with QObject.parent(); Qt calls it with an index only.
        structure = self.structure
        if structure is None or not index.isValid():
            return QModelIndex()
        parent = structure.parent[index.internalId()]
        return QModelIndex() if parent < 0 else self.createIndex(structure.position[parent], 0, parent)

    def rowCount(self, parent: Index = _NOWHERE) -> int:
        if self.structure is None:
            return 0
        if not parent.isValid():
            return 1
        return len(self.structure.children[parent.internalId()]) if parent.column() == 0 else 0

    def columnCount(self, parent: Index = _NOWHERE) -> int:
        return len(self.columns)

    def hasChildren(self, parent: Index = _NOWHERE) -> bool:
        return self.rowCount(parent) > 0

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        if self.cells is None or self.structure is None or not index.isValid():
            return None
        node, section = index.internalId(), index.column()
        if role == Role.CELL:
            return self.cell(node, section)
        if role == Qt.ItemDataRole.DisplayRole:
            return self.cell(node, section).text
        if role == Role.SORT:
            return self.sort_key(node, section)
        if role == Role.NODE:
            return self.structure.names[node]
        if role == Qt.ItemDataRole.ToolTipRole:
            return self.cells.tooltip(node, self.columns[section])
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return _LEFT if section == 0 else _RIGHT
        if role == Role.BAR:
            return self.cell(node, section).bar
        if role == Role.GHOST:
            return self.cell(node, section).ghost
        if role == Role.FAMILY:
            return self.cell(node, section).family
        if role == Qt.ItemDataRole.AccessibleTextRole:
            cell = self.cell(node, section)
            return f"{self.columns[section].title}: {cell.text} {cell.flag}".strip()
        return None

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> object:
        if orientation != Qt.Orientation.Horizontal or not 0 <= section < len(self.columns):
            return None
        column = self.columns[section]
        if role == Qt.ItemDataRole.DisplayRole:
            return "Δ" if column.key == "headline.difference" else column.title
        if role == Qt.ItemDataRole.ToolTipRole:
            return self._column_tooltip(column)
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return _LEFT if section == 0 else _RIGHT
        if role == Role.COLUMN:
            return column.key
        if role == Qt.ItemDataRole.InitialSortOrderRole:
            # The most expensive layer first: that is what a click on a number asks for.
            return Qt.SortOrder.AscendingOrder if section == 0 else Qt.SortOrder.DescendingOrder
        return None

    # -- inside --------------------------------------------------------------------------------------------------

    def _column_tooltip(self, column: LayerColumn) -> str:
        cells, metric = self.cells, column.metric
        if cells is None or metric is None or not metric.measured:
            return column.tooltip
        times = cells.analysis.layer_times
        if times is None:
            return f"{column.tooltip}\nNot measured yet."
        if cells.is_stale(metric):
            words = times_sentence(times, cells.analysis.configuration)
            return f"{column.tooltip}\n{words}"
        return column.tooltip

    def _numbers_changed(self) -> None:
        if self.structure is not None:
            last = len(self.columns) - 1
            self.dataChanged.emit(self.createIndex(0, 0, 0), self.createIndex(0, last, 0))
            self.numbers_changed.emit()


def _asked_for(layers: Layers, row: int, words: tuple[str, ...]) -> bool:
    """Whether a search is for this row itself; a word of its module's path alone is no search for each view in it."""
    own = f"{layers.id[row].rpartition(':')[2]} {layers.family[row]}".casefold()
    every = f"{layers.id[row]} {own}".casefold()
    return all(word in every for word in words) and any(word in own for word in words)
