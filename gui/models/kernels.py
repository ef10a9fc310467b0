"""The kernels that a runtime executed as a tree: the nodes whose work a kernel did stand below it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import (
    QAbstractItemModel,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    QSortFilterProxyModel,
    Qt,
)

from engine import numbers
from engine.measurement import KernelGroup, LayerTimes

Index = QModelIndex | QPersistentModelIndex
ROOT = QModelIndex()
TOP = 0
"""Internal id of the rows that stand below nothing; those below row ``n`` have ``n + 1``."""
SORT_ROLE = Qt.ItemDataRole.UserRole + 1
NODE_ROLE = Qt.ItemDataRole.UserRole + 2
"""The layer row to select; empty for what does no layer's work."""
KERNEL, LAYER, TIME, SHARE = range(4)
HEADERS = ("Kernel", "Layer", "Time", "Share")
TOOLTIPS = (
    "What onnxruntime executed; below it the nodes of the model whose work it did",
    "The layer that carries the time",
    "Median over the profiled passes",
    "Part of the sum over all kernels",
)
OWN_DOMAIN = "com.microsoft."
"""Of nearly all fused kernels; the tooltip has the whole name."""
INSERTED = "Inserted by the runtime"
INSERTED_TIP = "Kernels that change a layout or a type and do no layer's work"


@dataclass(frozen=True)
class Line:
    """One row of the tree; ``seconds`` is None for a node inside a kernel."""

    words: str
    layer: str
    node: str
    tooltip: str
    position: int
    """Among its siblings, in order of execution."""
    seconds: float | None = None


@dataclass(frozen=True)
class Kernel:
    line: Line
    below: tuple[Line, ...]


def kernels(times: LayerTimes | None) -> tuple[Kernel, ...]:
    """In order of execution, what the runtime inserted last; empty where no runtime reported kernels."""
    if times is None:
        return ()
    found = [_kernel(group, position) for position, group in enumerate(times.groups)]
    if times.inserted:
        below = tuple(
            Line(name, "", "", INSERTED_TIP, position, seconds)
            for position, (name, seconds) in enumerate(times.inserted)
        )
        line = Line(INSERTED, "", "", INSERTED_TIP, len(found), times.inserted_s)
        found.append(Kernel(line, below))
    return tuple(found)


def _kernel(group: KernelGroup, position: int) -> Kernel:
    nodes = [_node(row_id, place) for place, row_id in enumerate(group.row_ids)]
    carrier = _path(group.carrier)
    several = len(nodes) > 1
    op = group.op.removeprefix(OWN_DOMAIN)
    words = f"{op} · {len(nodes)} nodes" if several else op
    tooltip = f"{group.op} {group.kernel}: the work of {', '.join(line.layer for line in nodes)}"
    line = Line(words, carrier, group.carrier, tooltip, position, group.latency_s)
    return Kernel(line, tuple(nodes) if several else ())


def _node(row_id: str, position: int) -> Line:
    path, _, op = row_id.rpartition(":")
    return Line(op, path or "(model)", row_id, f"{path}: {op}", position)


def _path(row_id: str) -> str:
    return row_id.rpartition(":")[0] or "(model)"


def _places(shown: tuple[Kernel, ...]) -> dict[str, tuple[int, int | None]]:
    found: dict[str, tuple[int, int | None]] = {}
    for row, kernel in enumerate(shown):
        if kernel.below:
            found |= {line.node: (row, place) for place, line in enumerate(kernel.below) if line.node}
        elif kernel.line.node:
            found[kernel.line.node] = (row, None)
    paths = Counter(map(_path, found))
    return found | {_path(node): place for node, place in found.items() if paths[_path(node)] == 1}


def tsv(shown: tuple[Kernel, ...], chosen: Iterable[Line] | None = None) -> str:
    """One header line and one line per row with the time in seconds; ``chosen`` leaves the other rows out.

    What stands below a kernel follows it and names it in the first column; it has no time of its own.
    """
    wanted = None if chosen is None else set(chosen)
    lines = ["Kernel\tNode\tLayer\tTime (s)"]
    for kernel in shown:
        for line in (kernel.line, *kernel.below):
            if wanted is None or line in wanted:
                inside = "" if line is kernel.line else line.words
                seconds = "" if line.seconds is None else repr(line.seconds)
                lines.append("\t".join((kernel.line.words, inside, line.layer, seconds)))
    return "\n".join(lines) + "\n"


class KernelsModel(QAbstractItemModel):
    """Two levels: kernels, and what each of them stands for."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.kernels: tuple[Kernel, ...] = ()
        self._total_s = 0.0
        self._places: dict[str, tuple[int, int | None]] = {}
        """Of every node: its kernel, and its place below it where that does the work of several.

        By the path of its module as well, where that has no other node.
        """

    def show(self, times: LayerTimes | None) -> None:
        self.beginResetModel()
        self.kernels = kernels(times)
        self._total_s = sum(kernel.line.seconds or 0.0 for kernel in self.kernels)
        self._places = _places(self.kernels)
        self.endResetModel()

    def index_of(self, node: str) -> QModelIndex:
        """The row of a layer's row, or of the only one at a module's path; invalid where no kernel did its work."""
        if node not in self._places:
            return QModelIndex()
        row, below = self._places[node]
        kernel = self.index(row, KERNEL)
        return kernel if below is None else self.index(below, KERNEL, kernel)

    def line(self, index: Index) -> Line | None:
        """What stands at ``index``; None for an invalid one."""
        if not index.isValid():
            return None
        above = index.internalId()
        if above == TOP:
            return self.kernels[index.row()].line
        return self.kernels[above - 1].below[index.row()]

    def index(self, row: int, column: int, parent: Index = ROOT) -> QModelIndex:
        if not 0 <= row < self.rowCount(parent) or not 0 <= column < len(HEADERS):
            return QModelIndex()
        return self.createIndex(row, column, parent.row() + 1 if parent.isValid() else TOP)

    def parent(self, index: Index = ROOT) -> QModelIndex:  # type: ignore[override]
        # PySide's stub joins this with QObject.parent(); Qt calls it with an index only.
        above = index.internalId() if index.isValid() else TOP
        return QModelIndex() if above == TOP else self.createIndex(above - 1, 0, TOP)

    def rowCount(self, parent: Index = ROOT) -> int:
        if not parent.isValid():
            return len(self.kernels)
        is_top = parent.internalId() == TOP and parent.column() == 0
        return len(self.kernels[parent.row()].below) if is_top else 0

    def columnCount(self, parent: Index = ROOT) -> int:
        return len(HEADERS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = 0) -> Any:
        if orientation != Qt.Orientation.Horizontal or not 0 <= section < len(HEADERS):
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return HEADERS[section]
        if role == Qt.ItemDataRole.ToolTipRole:
            return TOOLTIPS[section]
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return int(_alignment(section))
        return None

    def data(self, index: Index, role: int = 0) -> Any:
        line = self.line(index)
        if line is None:
            return None
        column = index.column()
        if role == Qt.ItemDataRole.DisplayRole:
            return self._text(line, column)
        if role == SORT_ROLE:
            return _value(line, column)
        if role == NODE_ROLE:
            return line.node
        if role == Qt.ItemDataRole.ToolTipRole:
            return line.tooltip
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return int(_alignment(column))
        return None

    def _text(self, line: Line, column: int) -> str:
        if column == KERNEL:
            return line.words
        if column == LAYER:
            return line.layer
        if line.seconds is None:
            return ""
        if column == TIME:
            return numbers.duration(line.seconds)
        return numbers.share(line.seconds, self._total_s)


class KernelsProxy(QSortFilterProxyModel):
    """Sorted by value; in order of execution by the first column."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.setSortRole(SORT_ROLE)


def _value(line: Line, column: int) -> str | float:
    if column in (TIME, SHARE):
        # Nodes without a time of their own stay in order of execution.
        return line.seconds if line.seconds is not None else float(line.position)
    return line.layer.casefold() if column == LAYER else float(line.position)


def _alignment(column: int) -> Qt.AlignmentFlag:
    side = Qt.AlignmentFlag.AlignRight if column in (TIME, SHARE) else Qt.AlignmentFlag.AlignLeft
    return side | Qt.AlignmentFlag.AlignVCenter
