"""The breakdown by modules: an icicle whose widths are shares of one metric, the model at the top."""

from __future__ import annotations

import math

from PySide6.QtCore import QPointF, QRectF, Qt, Signal
from PySide6.QtGui import QPainter
from PySide6.QtWidgets import QWidget

from engine import numbers
from engine.metrics import METRIC
from engine.results import Analysis
from gui.charts.canvas import ChartCanvas
from gui.charts.icicle_layout import (
    Cell,
    cell_at,
    children_in_order,
    icicle,
    is_additive,
    module_values,
    row_extent,
)
from gui.charts.layout import Value
from gui.charts.rows import RowData
from gui.selection import Range, Selection
from gui.state_words import STALE_OPACITY
from gui.theme import ThemeManager

TOP = 24.0
LEFT = 12.0
RIGHT = 12.0
LOWEST, HIGHEST = 17.0, 42.0
"""Pixels of one depth."""


class IcicleChart(ChartCanvas):
    """Modules as nested rectangles. Double click or Enter zooms into one, Backspace out, 0 shows all."""

    activated = Signal(str)

    def __init__(self, selection: Selection, theme: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(theme, parent)
        self._selection = selection
        self._data: RowData | None = None
        self._words = ""
        self._values: list[Value] = []
        self._children: list[list[int]] = []
        self._families: list[str] = []
        self._structure: tuple[tuple[str, ...], tuple[str, ...]] | None = None
        self._focus = ""
        self._range: Range | None = None
        self._cells: list[Cell] = []
        self._pointer: QPointF | None = None
        self.setObjectName("icicleChart")
        self.setAccessibleName("Breakdown by modules")
        selection.current_changed.connect(self._on_current_changed)
        selection.selected_changed.connect(self._on_marked)
        selection.hovered_changed.connect(self._on_marked)
        selection.range_changed.connect(self._on_range_changed)

    # -- data ----------------------------------------------------------------------------------------------------

    @property
    def focus_module(self) -> str:
        """Path of the module that fills the width; ``""`` for the whole model."""
        return self._focus

    @property
    def words(self) -> str:
        """What stands there while there is nothing to draw."""
        return self._words

    @property
    def cells(self) -> list[Cell]:
        return self._cells

    def set_data(self, data: RowData | None, words: str = "") -> None:
        """Show the first metric of ``data``; ``words`` stand there while there is none."""
        self._data, self._words = data, words
        self._values = []
        if data is not None:
            analysis = data.analysis
            structure = (analysis.layers.id, analysis.modules.path)
            if structure != self._structure:
                self._structure = structure
                self._children = children_in_order(analysis)
                self._families = _leaf_families(analysis)
            if is_additive(data.keys[0]):
                self._values = module_values(analysis, data.keys[0])
            if self._focus not in analysis.modules.path:
                self._focus = ""
            self._follow_range()
        self._place_cells()
        self.refresh()

    def laid_out(self) -> None:
        self._place_cells()

    def _place_cells(self) -> None:
        if self._data is None or not self._values or not self._values[0]:
            self._cells = []
            return
        modules = self._data.analysis.modules
        thinnest = 0.75 / max(1.0, self._width)
        focus = modules.path.index(self._focus)
        self._cells = icicle(modules.parent, self._children, self._values, focus, thinnest)

    @property
    def _width(self) -> float:
        return self.width() - LEFT - RIGHT

    @property
    def _depth_height(self) -> float:
        depths = max((cell.depth for cell in self._cells), default=0) + 1
        return min(max((self.height() - TOP - 10) / depths, LOWEST), HIGHEST)

    @property
    def _first_depth(self) -> int:
        """The depth drawn at the top: ancestors of the focus give way where not all depths fit."""
        depths = max((cell.depth for cell in self._cells), default=0) + 1
        room = int((self.height() - TOP - 10) / LOWEST)
        focus = self._focus.count(".") + 1 if self._focus else 0
        return max(0, min(focus - 1, depths - room))

    def _rect(self, cell: Cell) -> QRectF:
        left = round(LEFT + cell.start * self._width)
        right = round(LEFT + cell.end * self._width)
        height = self._depth_height
        top = round(TOP + (cell.depth - self._first_depth) * height)
        return QRectF(left, top, max(1, right - left - 1), round(height) - 1)

    # -- painting ------------------------------------------------------------------------------------------------

    def paint_picture(self, painter: QPainter) -> None:
        if self._data is None or not self._cells:
            self.brush.sentence(painter, self.area, self._why_empty())
            return
        key = self._data.keys[0]
        metric = METRIC[key]
        strip = QRectF(LEFT, 5, self.width() - LEFT - RIGHT, 16)
        label = f"{metric.label} by module, 100 % = {numbers.value(metric, self._values[0])}"
        if belongs := self._data.lanes[0].belongs:
            label = f"{label}, {belongs}"
        self.brush.small_text(painter, strip, label)
        strip.setLeft(strip.left() + self.brush.text_width(label) + 24)
        seen = {self._families[cell.module] for cell in self._cells} - {""}
        self.brush.legend(painter, strip, [name for name in self._data.families() if name in seen])
        if belongs:
            painter.setOpacity(min(painter.opacity(), STALE_OPACITY))
        for cell in self._cells:
            rect = self._rect(cell)
            if cell.depth >= self._first_depth and rect.top() < self.height():
                self._paint_cell(painter, cell, rect)

    def _paint_cell(self, painter: QPainter, cell: Cell, rect: QRectF) -> None:
        assert self._data is not None
        family = self._families[cell.module]
        if family:
            painter.fillRect(rect, self.brush.color(family, 0.30))
            painter.fillRect(QRectF(rect.left(), rect.top(), rect.width(), 3), self.brush.color(family))
        else:
            painter.fillRect(rect, self.brush.color("track"))
        if rect.width() < 18:
            return
        modules = self._data.analysis.modules
        path = modules.path[cell.module]
        name = path.rpartition(".")[2] or modules.class_name[cell.module]
        metric = METRIC[self._data.keys[0]]
        share = numbers.share(self._values[cell.module], self._values[0])
        value = f"{numbers.value(metric, self._values[cell.module])} · {share}"
        inner = rect.adjusted(5, 2, -4, 0)
        room = inner.width() - self.brush.text_width(name) - 14
        fitted = self.brush.small_metrics.elidedText(name, Qt.TextElideMode.ElideMiddle, inner.width())
        if fitted == name or len(fitted) > 4:
            self.brush.small_text(painter, inner, fitted, token="text")
        if self.brush.text_width(value) <= room:
            self.brush.small_text(painter, inner, value, Qt.AlignmentFlag.AlignRight)

    def _why_empty(self) -> str:
        if self._data is None:
            return self._words
        metric = METRIC[self._data.keys[0]]
        if not is_additive(metric.key):
            kind = "a maximum" if metric.combine == "max" else "a ratio"
            return (
                f"{metric.label} is {kind}: it does not add up by module. Choose another metric, or Layers."
            )
        return self._words or f"No module has a value of this metric ({metric.label})."

    def paint_overlay(self, painter: QPainter) -> None:
        if self._data is None or not self._cells:
            return
        marked = {self._module_of(node) for node in self._selection.selected}
        if self._selection.current is not None:
            marked.add(self._module_of(self._selection.current))
        hovered = None if self._selection.hovered is None else self._module_of(self._selection.hovered)
        for cell in self._cells:
            path = self._data.analysis.modules.path[cell.module]
            if path in marked or path == hovered:
                painter.setBrush(Qt.BrushStyle.NoBrush)
                painter.setPen(self.brush.pen("accent", 2.0) if path in marked else self.brush.pen("text"))
                edge = 1.0 if path in marked else 0.5
                painter.drawRect(self._rect(cell).adjusted(edge, edge, -edge, -edge))
        told = hovered if hovered is not None else self._current_module() if self.by_keyboard else None
        if told is not None:
            self._paint_readout(painter, told)

    def _paint_readout(self, painter: QPainter, path: str) -> None:
        assert self._data is not None
        cell = self._cell_of(path)
        at = self._pointer
        if at is None:
            if cell is None:
                return
            rect = self._rect(cell)
            at = QPointF(min(rect.right(), rect.left() + 160), rect.center().y())
        rows = self._data.rows_of(path) or range(len(self._data.layers))
        title = path or self._data.analysis.model.name
        lines = self._data.module_sentences(path, rows)
        if self.stale_words:
            lines.insert(0, self.stale_words)
        self.brush.readout(painter, self.area, at, title, lines)

    # -- selection -----------------------------------------------------------------------------------------------

    def _module_of(self, node: str) -> str | None:
        """The module that shows ``node``: itself, or the owner of an operation row."""
        if ":" not in node or self._data is None:
            return node
        layers = self._data.layers
        return layers.path[layers.id.index(node)] if node in layers.id else None

    def _current_module(self) -> str | None:
        current = self._selection.current
        return None if current is None else self._module_of(current)

    def _cell_of(self, path: str | None) -> Cell | None:
        if self._data is None or path is None:
            return None
        paths = self._data.analysis.modules.path
        return next((cell for cell in self._cells if paths[cell.module] == path), None)

    def _on_marked(self) -> None:
        self.refresh_overlay()

    def _on_current_changed(self) -> None:
        self.refresh_overlay()
        path = self._current_module()
        if path is not None and self._data is not None:
            rows = self._data.rows_of(path) or range(len(self._data.layers))
            self.describe(
                f"{path or self._data.analysis.model.name}: {self._data.module_sentences(path, rows)[0]}"
            )

    def _on_range_changed(self) -> None:
        if self.isVisible() and self._follow_range():
            self._place_cells()
            self.refresh()

    def _follow_range(self) -> bool:
        """If another view zoomed, focus on the smallest module that holds all its rows; False if none did."""
        limits = self._selection.range
        if limits == self._range:
            return False
        self._range = limits
        self._focus = "" if limits is None else self._smallest_holding(limits)
        return True

    def _range_of(self, path: str) -> Range | None:
        """Rows of a module as ``Selection.range`` states them; None for the whole model."""
        extent = None if self._data is None or not path else row_extent(self._data.analysis, path)
        return None if extent is None else (float(extent[0]), float(extent[1] + 1))

    def _smallest_holding(self, limits: Range) -> str:
        assert self._data is not None
        paths = self._data.layers.path
        if not paths:
            return ""
        first = min(max(int(limits[0]), 0), len(paths) - 1)
        last = min(max(math.ceil(limits[1]) - 1, first), len(paths) - 1)
        start, end = paths[first].split("."), paths[last].split(".")
        common = 0
        while common < min(len(start), len(end)) and start[common] == end[common]:
            common += 1
        return ".".join(start[:common])

    def _zoom_into(self, path: str) -> None:
        """Fill the width with ``path``; a module without parts, or without rows to zoom to, is left alone."""
        assert self._data is not None
        at = self._data.analysis.modules.path.index(path)
        limits = self._range_of(path)
        if path and (not self._children[at] or limits is None):
            self.activated.emit(path)
            return
        self._focus = path
        # Several modules can hold the same rows: remembering what was asked keeps the one that was meant.
        self._range = None if limits == (0.0, float(len(self._data.layers))) else limits
        self._selection.set_range(self._range)
        self._place_cells()
        self.refresh()

    # -- input ---------------------------------------------------------------------------------------------------

    def _path_at(self, at: QPointF) -> str | None:
        if self._data is None or not self._cells or at.y() < TOP:
            return None
        depth = int((at.y() - TOP) // self._depth_height) + self._first_depth
        cell = cell_at(self._cells, depth, (at.x() - LEFT) / self._width)
        return None if cell is None else self._data.analysis.modules.path[cell.module]

    def hover(self, at: QPointF | None) -> None:
        path = None if at is None else self._path_at(at)
        self._pointer = None if path is None else at
        self._selection.set_hovered(path)
        if path is not None:
            self.refresh_overlay()

    def click(self, at: QPointF, modifiers: Qt.KeyboardModifier) -> None:
        path = self._path_at(at)
        if path is not None and modifiers & Qt.KeyboardModifier.ControlModifier:
            self._selection.set_selected(self._selection.selected ^ {path})
        else:
            self._selection.set_current(path)

    def double_click(self, at: QPointF) -> None:
        path = self._path_at(at)
        if path is not None:
            self._zoom_into(path)

    def wheel(self, at: QPointF, steps: float, sideways: float) -> bool:
        """Up: into the child of the focus under the pointer; down: out by one module."""
        if self._data is None or not self._cells or not steps:
            return False
        if steps < 0:
            return self._zoom_out()
        focus_depth = self._focus.count(".") + 1 if self._focus else 0
        cell = cell_at(self._cells, focus_depth + 1, (at.x() - LEFT) / self._width)
        if cell is not None and self._children[cell.module]:
            self._zoom_into(self._data.analysis.modules.path[cell.module])
        return True

    def _zoom_out(self) -> bool:
        if not self._focus:
            return False
        self._zoom_into(self._focus.rpartition(".")[0])
        return True

    def key(self, key: int) -> bool:
        keys = Qt.Key
        if self._data is None or not self._cells:
            return False
        current = self._current_module()
        if key in (keys.Key_Return, keys.Key_Enter, keys.Key_Plus, keys.Key_Equal):
            if current is None:
                return False
            self._zoom_into(current)
        elif key in (keys.Key_Backspace, keys.Key_Minus):
            return self._zoom_out()
        elif key == keys.Key_0:
            self._zoom_into("")
        elif key in (keys.Key_Left, keys.Key_Right, keys.Key_Up, keys.Key_Down):
            self._walk(key, current)
        elif key == keys.Key_Escape and current is not None:
            self._selection.set_current(None)
        else:
            return False
        return True

    def _walk(self, key: int, current: str | None) -> None:
        """Left and right along one depth, up to the parent, down to the first part."""
        assert self._data is not None
        paths = self._data.analysis.modules.path
        cell = self._cell_of(current)
        if cell is None:
            target: Cell | None = self._cells[0]
        elif key == Qt.Key.Key_Up:
            parent = self._data.analysis.modules.parent[cell.module]
            target = next((other for other in self._cells if other.module == parent), None)
        elif key == Qt.Key.Key_Down:
            parts = self._children[cell.module]
            target = next((other for other in self._cells if other.module in parts), None)
        else:
            row = sorted((other for other in self._cells if other.depth == cell.depth), key=lambda c: c.start)
            place = row.index(cell) + (1 if key == Qt.Key.Key_Right else -1)
            target = row[place] if 0 <= place < len(row) else None
        if target is not None:
            self._pointer = None
            self._selection.set_hovered(None)
            self._selection.set_current(paths[target.module])


def _leaf_families(analysis: Analysis) -> list[str]:
    """For each module without parts the family of its first row; ``""`` for containers and modules that did not run."""
    modules, layers = analysis.modules, analysis.layers
    place = {path: index for index, path in enumerate(modules.path)}
    families = [""] * len(modules)
    for path, family in zip(reversed(layers.path), reversed(layers.family), strict=True):
        families[place.get(path, 0)] = family
    for parent in modules.parent:
        if parent >= 0:
            families[parent] = ""
    return families
