"""The zoo as a table: one row per model, searchable by name and task, numbers sorted as numbers."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import (
    QAbstractTableModel,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    QSortFilterProxyModel,
    Qt,
)

from engine import numbers
from engine.results import ZooEntry

Index = QModelIndex | QPersistentModelIndex
ROOT = QModelIndex()
SOURCE_ROLE = Qt.ItemDataRole.UserRole + 1
NAME, LIBRARY, TASK, PARAMS, GMACS, INPUT = range(6)
HEADERS = ("Model", "Library", "Task", "Params", "MACs, published", "Input")
TOOLTIPS = (
    "What its library calls it",
    "The package it is of; timm's models are listed where timm is installed",
    "What it was trained for",
    "Parameters, as published with the weights or as the architecture has them",
    "Multiply–accumulates as published with the weights, at the stated input; open the model for those of others",
    "The input it is made for, at which the figures hold",
)


class ZooModel(QAbstractTableModel):
    """DisplayRole is text for eyes, SOURCE_ROLE what to open."""

    def __init__(self, entries: tuple[ZooEntry, ...] = (), parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._sorted_by, self._descending = NAME, False
        self.set_entries(entries)

    def set_entries(self, entries: tuple[ZooEntry, ...]) -> None:
        self.beginResetModel()
        # A search asks all of some 1,500 rows at every key, so what it looks through is made once.
        rows = [(entry, _sought(entry)) for entry in entries]
        self._rows = [rows[row] for row in self._order(rows)]
        self.endResetModel()

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Here and not in the proxy, which would ask for two values a comparison at every search."""
        self._sorted_by, self._descending = column, order == Qt.SortOrder.DescendingOrder
        self.layoutAboutToBeChanged.emit()
        before = self._order(self._rows)
        self._rows = [self._rows[row] for row in before]
        now = {row: place for place, row in enumerate(before)}
        old = self.persistentIndexList()
        self.changePersistentIndexList(old, [self.index(now[each.row()], each.column()) for each in old])
        self.layoutChanged.emit()

    def _order(self, rows: list[tuple[ZooEntry, str]]) -> list[int]:
        """Numbers of ``rows`` as they are sorted now."""
        return sorted(
            range(len(rows)),
            key=lambda row: _value(rows[row][0], self._sorted_by),
            reverse=self._descending,
        )

    def longest(self, column: int) -> str:
        """The text of ``column`` with most characters, its header's included."""
        return max((HEADERS[column], *(_text(entry, column) for entry, _ in self._rows)), key=len)

    def has_words(self, row: int, words: list[str]) -> bool:
        """Whether each of ``words``, in lower case, stands in the row's name, task or source."""
        text = self._rows[row][1]
        return all(word in text for word in words)

    def rowCount(self, parent: Index = ROOT) -> int:
        return 0 if parent.isValid() else len(self._rows)

    def columnCount(self, parent: Index = ROOT) -> int:
        return 0 if parent.isValid() else len(HEADERS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = 0) -> Any:
        if orientation == Qt.Orientation.Horizontal:
            if role == Qt.ItemDataRole.DisplayRole:
                return HEADERS[section]
            if role == Qt.ItemDataRole.ToolTipRole:
                return TOOLTIPS[section]
            if role == Qt.ItemDataRole.TextAlignmentRole:
                return int(_alignment(section))
        return None

    def data(self, index: Index, role: int = 0) -> Any:
        if not index.isValid():
            return None
        entry, column = self._rows[index.row()][0], index.column()
        if role == Qt.ItemDataRole.DisplayRole:
            return _text(entry, column)
        if role == SOURCE_ROLE:
            return entry.source
        if role == Qt.ItemDataRole.ToolTipRole:
            exact = _value(entry, column)
            return numbers.exact(int(exact)) if column == PARAMS and entry.params else entry.source
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return int(_alignment(column))
        return None


class ZooProxy(QSortFilterProxyModel):
    """Every word of the search must stand in the name, the task or the source, which begins with the library."""

    def __init__(self, model: ZooModel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._model = model
        self._words: list[str] = []
        self.setSourceModel(model)

    def set_search(self, text: str) -> None:
        self._words = text.lower().split()
        self.invalidate()

    def best(self) -> QModelIndex:
        """What is probably meant: the model of that name, or else one whose name begins so, or else the first."""
        sought = "_".join(self._words)
        names = [str(self.index(row, NAME).data()).lower() for row in range(self.rowCount())]
        begins = [row for row, name in enumerate(names) if name.startswith(sought)]
        exact = next((row for row in begins if names[row] == sought), None)
        return self.index(exact if exact is not None else begins[0] if begins else 0, NAME)

    def filterAcceptsRow(self, row: int, parent: Index) -> bool:
        return self._model.has_words(row, self._words)

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        self._model.sort(column, order)


def _sought(entry: ZooEntry) -> str:
    """What words are looked for in: also without the signs in names, so that ``vit b 16`` need not be spelled."""
    text = f"{entry.name} {entry.task} {entry.source}".lower()
    return f"{text} {text.replace('-', '').replace('_', '')}"


def _alignment(column: int) -> Qt.AlignmentFlag:
    side = Qt.AlignmentFlag.AlignRight if column in (PARAMS, GMACS, INPUT) else Qt.AlignmentFlag.AlignLeft
    return side | Qt.AlignmentFlag.AlignVCenter


def _text(entry: ZooEntry, column: int) -> str:
    if column == PARAMS:
        return numbers.count(entry.params) if entry.params is not None else numbers.NOT_APPLICABLE
    if column == GMACS:
        return numbers.count(entry.gmacs * 1e9) if entry.gmacs is not None else numbers.NOT_APPLICABLE
    return (entry.name, library(entry), entry.task, "", "", entry.input)[column]


def library(entry: ZooEntry) -> str:
    """``timm`` for ``timm:resnet50``."""
    return entry.source.partition(":")[0]


def _value(entry: ZooEntry, column: int) -> str | float:
    if column == PARAMS:
        return float(entry.params) if entry.params is not None else -1.0
    if column == GMACS:
        return entry.gmacs if entry.gmacs is not None else -1.0
    return (entry.name, library(entry), entry.task, "", "", entry.input)[column].lower()
