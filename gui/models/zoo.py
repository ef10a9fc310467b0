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
SORT_ROLE = Qt.ItemDataRole.UserRole + 1
SOURCE_ROLE = Qt.ItemDataRole.UserRole + 2
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
    """DisplayRole is text for eyes, SORT_ROLE the value, SOURCE_ROLE what to open."""

    def __init__(self, entries: tuple[ZooEntry, ...] = (), parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._entries = entries

    def set_entries(self, entries: tuple[ZooEntry, ...]) -> None:
        self.beginResetModel()
        self._entries = entries
        self.endResetModel()

    def rowCount(self, parent: Index = ROOT) -> int:
        return 0 if parent.isValid() else len(self._entries)

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
        entry, column = self._entries[index.row()], index.column()
        if role == Qt.ItemDataRole.DisplayRole:
            return _text(entry, column)
        if role == SORT_ROLE:
            return _value(entry, column)
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

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.setSortRole(SORT_ROLE)
        self._words: list[str] = []

    def set_search(self, text: str) -> None:
        self._words = text.lower().split()
        self.invalidate()

    def filterAcceptsRow(self, row: int, parent: Index) -> bool:
        model = self.sourceModel()
        text = " ".join(
            (
                str(model.index(row, NAME).data()),
                str(model.index(row, TASK).data()),
                str(model.index(row, NAME).data(SOURCE_ROLE)),
            )
        ).lower()
        return all(word in text or word in text.replace("-", "").replace("_", "") for word in self._words)


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
