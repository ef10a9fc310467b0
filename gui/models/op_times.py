"""Executed operations with their times as a table: the drill-down, in execution order or sorted."""

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
from engine.graph import elements
from engine.measurement import OpTimes

Index = QModelIndex | QPersistentModelIndex
ROOT = QModelIndex()
SORT_ROLE = Qt.ItemDataRole.UserRole + 1
NODE_ROLE = Qt.ItemDataRole.UserRole + 2
"""What to select for a row: the layer's row, else the module it ran in."""
ORDER, TIME, SHARE, OP, PATH, SHAPE = range(6)
"""The numbers first: they are seen in a narrow panel too."""
HEADERS = ("#", "Time", "Share", "Operation", "Layer", "Output")
TOOLTIPS = (
    "Position in execution order",
    "Median over the timed passes, the cost of timing taken off",
    "Part of the sum over all operations",
    "What torch executed",
    "Innermost module being called",
    "Shape of the output",
)
NUMBERS = (ORDER, TIME, SHARE)


class OpTimesModel(QAbstractTableModel):
    """One row per executed operation; DisplayRole is text for eyes, SORT_ROLE the value."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.times: OpTimes | None = None
        self._total_s = 0.0

    def show(self, times: OpTimes | None) -> None:
        self.beginResetModel()
        self.times = times
        self._total_s = sum(times.latency_s) if times is not None else 0.0
        self.endResetModel()

    def tsv(self) -> str:
        """One header line and one line per operation, times in seconds; empty before anything was timed."""
        times = self.times
        if times is None:
            return ""
        lines = ["#\tOperation\tLayer\tTime (s)\tOutput"]
        for row, (op, path, seconds, shapes) in enumerate(
            zip(times.op, times.path, times.latency_s, times.output_shapes, strict=True), 1
        ):
            lines.append(f"{row}\t{op}\t{path or '(model)'}\t{seconds!r}\t{numbers.shapes(shapes)}")
        return "\n".join(lines) + "\n"

    def rowCount(self, parent: Index = ROOT) -> int:
        return 0 if parent.isValid() or self.times is None else len(self.times.op)

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
            if role == Qt.ItemDataRole.InitialSortOrderRole:
                return (
                    Qt.SortOrder.DescendingOrder if section in (TIME, SHARE) else Qt.SortOrder.AscendingOrder
                )
        return None

    def data(self, index: Index, role: int = 0) -> Any:
        times = self.times
        if times is None or not index.isValid():
            return None
        row, column = index.row(), index.column()
        if role == Qt.ItemDataRole.DisplayRole:
            return self._text(times, row, column)
        if role == SORT_ROLE:
            return self._value(times, row, column)
        if role == NODE_ROLE:
            return times.row_id[row] or times.path[row]
        if role == Qt.ItemDataRole.ToolTipRole:
            return f"{times.path[row] or 'the model'}: {times.op[row]} → {numbers.shapes(times.output_shapes[row])}"
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return int(_alignment(column))
        return None

    def _text(self, times: OpTimes, row: int, column: int) -> str:
        if column == TIME:
            return numbers.duration(times.latency_s[row])
        if column == SHARE:
            return numbers.share(times.latency_s[row], self._total_s)
        if column == SHAPE:
            return numbers.shapes(times.output_shapes[row])
        if column == ORDER:
            return f"{row + 1}"
        return times.op[row] if column == OP else times.path[row] or "(model)"

    def _value(self, times: OpTimes, row: int, column: int) -> str | float:
        if column in (TIME, SHARE):
            return times.latency_s[row]
        if column == SHAPE:
            shapes = times.output_shapes[row]
            return float(elements(shapes[0])) if shapes else 0.0
        if column == ORDER:
            return float(row)
        return (times.op if column == OP else times.path)[row].casefold()


class OpTimesProxy(QSortFilterProxyModel):
    """Sorted by value."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.setSortRole(SORT_ROLE)


def _alignment(column: int) -> Qt.AlignmentFlag:
    side = Qt.AlignmentFlag.AlignRight if column in NUMBERS else Qt.AlignmentFlag.AlignLeft
    return side | Qt.AlignmentFlag.AlignVCenter
