"""A table over columns of values, fast with a hundred thousand rows.

It sorts and filters itself: a proxy would call Python for every row, which takes seconds where this takes some
milliseconds per hundred thousand rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, Qt
from PySide6.QtGui import QColor

from gui.models.contents_pages import Column, Page, as_tsv
from gui.tooltips import plain_tooltip

Index = QModelIndex | QPersistentModelIndex
ROOT = QModelIndex()
ROW_ROLE = Qt.ItemDataRole.UserRole + 1
"""The row of the page, whatever the order and the filter."""


class ColumnTable(QAbstractTableModel):
    """One page; ``shown`` are the rows of the page that are there, in the order they are in."""

    def __init__(self, page: Page, caution: Callable[[], QColor], parent: QObject | None = None) -> None:
        """``caution`` gives the colour of flagged rows, whose text says the same in words."""
        super().__init__(parent)
        self.page = page
        self.shown: list[int] = list(range(page.rows))
        self._caution = caution
        self._words: tuple[str, ...] = ()
        self._only: Callable[[int], bool] | None = None
        self._sorting: tuple[int, Qt.SortOrder] | None = None
        self._haystack: list[str] = []

    def rowCount(self, parent: Index = ROOT) -> int:
        return 0 if parent.isValid() else len(self.shown)

    def columnCount(self, parent: Index = ROOT) -> int:
        return 0 if parent.isValid() else len(self.page.columns)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = 0) -> Any:
        if orientation != Qt.Orientation.Horizontal or section >= len(self.page.columns):
            return None
        column = self.page.columns[section]
        if role == Qt.ItemDataRole.DisplayRole:
            return column.title
        if role == Qt.ItemDataRole.ToolTipRole:
            return column.what
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return int(_alignment(column))
        if role == Qt.ItemDataRole.InitialSortOrderRole:
            return Qt.SortOrder.DescendingOrder if column.number else Qt.SortOrder.AscendingOrder
        return None

    def data(self, index: Index, role: int = 0) -> Any:
        if not index.isValid():
            return None
        row, column = self.shown[index.row()], self.page.columns[index.column()]
        if role == Qt.ItemDataRole.DisplayRole:
            return column.text(column.values[row])
        if role == Qt.ItemDataRole.ToolTipRole:
            return plain_tooltip((column.exact or column.text)(column.values[row]).strip())
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return int(_alignment(column))
        if role == Qt.ItemDataRole.ForegroundRole and row in self.page.flagged:
            return self._caution()
        if role == ROW_ROLE:
            return row
        return None

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """By value; column -1 is the order of the page."""
        self._sorting = (column, order) if column >= 0 else None
        self.layoutAboutToBeChanged.emit()
        old = self.persistentIndexList()
        rows = [self.shown[index.row()] for index in old]
        self._sort()
        if old:
            wanted = set(rows)
            places = {row: place for place, row in enumerate(self.shown) if row in wanted}
            new = [self.index(places[row], index.column()) for row, index in zip(rows, old, strict=True)]
            self.changePersistentIndexList(old, new)
        self.layoutChanged.emit()

    def set_filter(self, text: str) -> None:
        """Every word must stand in one of the columns that are searched."""
        words = tuple(text.casefold().split())
        if words != self._words:
            self._words = words
            self._choose()

    def set_only(self, only: Callable[[int], bool] | None) -> None:
        """Only the rows of the page for which ``only`` is true; None for all."""
        self._only = only
        self._choose()

    def tsv(self, rows: list[int] | None = None) -> str:
        """Rows of the page as tab-separated text; None for all that are shown."""
        return as_tsv(self.page, self.shown if rows is None else rows)

    def _choose(self) -> None:
        self.beginResetModel()
        rows = range(self.page.rows)
        if self._only is None:
            chosen = list(rows)
        else:
            chosen = [row for row in rows if self._only(row)]
        if self._words:
            texts = self._texts()
            for word in self._words:
                chosen = [row for row in chosen if word in texts[row]]
        self.shown = chosen
        self._sort()
        self.endResetModel()

    def _sort(self) -> None:
        if self._sorting is None:
            self.shown.sort()
            return
        column, order = self._sorting
        self.shown.sort()  # equal values keep the order of the page
        descending = order == Qt.SortOrder.DescendingOrder
        self.shown.sort(key=self.page.columns[column].values.__getitem__, reverse=descending)

    def _texts(self) -> list[str]:
        """What is searched, made once."""
        if not self._haystack:
            columns = [column.values for column in self.page.columns if column.searched]
            self._haystack = [" ".join(map(str, row)).casefold() for row in zip(*columns, strict=True)]
        return self._haystack


def _alignment(column: Column) -> Qt.AlignmentFlag:
    side = Qt.AlignmentFlag.AlignRight if column.number else Qt.AlignmentFlag.AlignLeft
    return side | Qt.AlignmentFlag.AlignVCenter
