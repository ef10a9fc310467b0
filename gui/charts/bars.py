"""Bars per layer in network order: one lane per metric, the baseline as a ghost in front, groups under the axis."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from PySide6.QtCore import QPointF, QRectF, Qt, Signal
from PySide6.QtGui import QPainter
from PySide6.QtWidgets import QWidget

from gui.charts import layout
from gui.charts.canvas import ChartCanvas
from gui.charts.layout import Column, Group, Peak, RowAxis
from gui.charts.rows import Lane, RowData
from gui.charts.ticks import Scale, Tick, Unit, scale_for, ticks
from gui.selection import Selection
from gui.state_words import STALE_OPACITY
from gui.theme import ThemeManager

TOP = 24.0
BOTTOM = 22.0
RIGHT = 12.0
LANE_GAP = 28.0
UNKNOWN_HEIGHT = 9.0


@dataclass(frozen=True)
class _Drawn:
    """One lane as it is on the screen."""

    lane: Lane
    plot: QRectF
    scale: Scale
    ticks: list[Tick]
    now: list[Peak]
    before: list[Peak] | None

    def top(self, index: int) -> float:
        """Pixel of the higher end of a column: now or before."""
        height = self.scale.height(self.now[index].value)
        if self.before is not None:
            height = max(height, self.scale.height(self.before[index].value))
        return self.plot.bottom() - height


class BarsChart(ChartCanvas):
    """The breakdown by layers. ``set_data`` gives it rows; it reads and writes the selection."""

    log_toggled = Signal(bool)
    activated = Signal(str)

    def __init__(self, selection: Selection, theme: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(theme, parent)
        self._selection = selection
        self._data: RowData | None = None
        self._words = ""
        self._log = False
        self._axis = RowAxis([], 0, 1)
        self._columns: list[Column] = []
        self._groups: list[Group] = []
        self._drawn: list[_Drawn] = []
        self._pointer: QPointF | None = None
        self.setObjectName("barsChart")
        self.setAccessibleName("Breakdown by layers")
        selection.current_changed.connect(self._on_current_changed)
        selection.selected_changed.connect(self._on_marked)
        selection.hovered_changed.connect(self._on_marked)
        selection.range_changed.connect(self._on_range_changed)

    # -- data ----------------------------------------------------------------------------------------------------

    @property
    def data(self) -> RowData | None:
        return self._data

    @property
    def words(self) -> str:
        """What stands there while there is nothing to draw."""
        return self._words

    @property
    def axis(self) -> RowAxis:
        return self._axis

    @property
    def log(self) -> bool:
        return self._log

    def set_data(self, data: RowData | None, words: str = "") -> None:
        """Show ``data``; ``words`` stand there while there is none."""
        rows_changed = (
            data is None
            or self._data is None
            or data.rows != self._data.rows
            or data.layers.path != self._data.layers.path
        )
        self._data, self._words = data, words
        if rows_changed:
            self._place_columns()
        self._place_lanes()
        self.refresh()

    def set_log(self, log: bool) -> None:
        if log != self._log:
            self._log = log
            self._place_lanes()
            self.refresh()
            self.log_toggled.emit(log)

    # -- layout --------------------------------------------------------------------------------------------------

    def laid_out(self) -> None:
        self._place_columns()
        self._place_lanes()

    def _place_columns(self) -> None:
        if self._data is None:
            self._columns, self._groups = [], []
            return
        # A fixed width for labels: the plot must not move when they change under a dragged slider.
        left = self.brush.text_width("888.8 MiB") + 12
        width = self.width() - left - RIGHT
        rows = self._data.rows
        whole = RowAxis(rows, left, width)
        self._axis = RowAxis(rows, left, width, whole.to_span(self._selection.range))
        self._columns = layout.columns(self._axis)
        paths = [self._data.layers.path[row] for row in rows]
        if self._columns:
            self._groups = layout.best_groups(paths, self._columns[0].first, self._columns[-1].last)
        else:
            self._groups = []

    def _place_lanes(self) -> None:
        self._drawn = []
        if self._data is None or not self._columns:
            return
        lanes, rows = self._data.lanes, self._data.rows
        height = (self.height() - TOP - BOTTOM - LANE_GAP * (len(lanes) - 1)) / len(lanes)
        for index, lane in enumerate(lanes):
            plot = QRectF(
                self._axis.left, TOP + index * (height + LANE_GAP), self._axis.width, max(height, 8)
            )
            now = layout.peaks(self._columns, rows, lane.values)
            before = None if lane.before is None else layout.peaks(self._columns, rows, lane.before)
            scale = self._scale(lane, now, before, plot.height())
            unit: Unit = "percent" if self._data.several else lane.metric.unit
            marks = ticks(scale, unit, spacing=30 if self._data.several else 38)
            self._drawn.append(_Drawn(lane, plot, scale, marks, now, before))

    def _scale(self, lane: Lane, now: list[Peak], before: list[Peak] | None, pixels: float) -> Scale:
        """The scale of what is in view; shares of totals side by side have one scale, so that they can be compared."""
        assert self._data is not None
        if self._data.several and lane.is_share:
            lanes = [other for other in self._data.lanes if other.is_share]
            rows = [self._data.rows[slot] for bar in self._columns for slot in range(bar.first, bar.last + 1)]
            columns = [column for other in lanes for column in (other.values, other.before) if column]
            known = [value for column in columns for row in rows if (value := column[row])]
        else:
            known = [peak.value for peak in (*now, *(before or ())) if peak.value]
        return scale_for(min(known, default=0), max(known, default=0), pixels, self._log)

    # -- painting ------------------------------------------------------------------------------------------------

    def paint_picture(self, painter: QPainter) -> None:
        if self._data is None or not self._drawn:
            words = self._words or "No layer has a value of this metric."
            self.brush.sentence(painter, self.area, words)
            return
        self._paint_groups(painter)
        for drawn in self._drawn:
            heights = [
                0.0 if index == 0 and not tick.value else drawn.scale.height(tick.value)
                for index, tick in enumerate(drawn.ticks)
            ]
            self.brush.grid(painter, drawn.plot, drawn.ticks, heights)
            opacity = painter.opacity()
            if drawn.lane.belongs:
                painter.setOpacity(min(opacity, STALE_OPACITY))
            self._paint_bars(painter, drawn)
            painter.setOpacity(opacity)
            self.brush.base_line(painter, drawn.plot)
            strip = QRectF(8, drawn.plot.top() - 19, self.width() - 8 - RIGHT, 16)
            label = drawn.lane.label(self._data.several) + (", log scale" if self._log else "")
            self.brush.small_text(painter, strip, label)
            if drawn is self._drawn[0]:
                strip.setLeft(strip.left() + self.brush.text_width(label) + 24)
                self.brush.legend(painter, strip, self._data.families(), any(self._data.unknown))

    def _paint_bars(self, painter: QPainter, drawn: _Drawn) -> None:
        assert self._data is not None
        bottom, scale, family = drawn.plot.bottom(), drawn.scale, self._data.layers.family
        by_family: dict[str, list[QRectF]] = defaultdict(list)
        ghosts: list[QRectF] = []
        hatched: list[QRectF] = []
        for index, (_, _, x, width) in enumerate(self._columns):
            row, value = drawn.now[index]
            if value:
                height = max(1.0, round(scale.height(value)))
                by_family[family[row]].append(QRectF(x, bottom - height, width, height))
            elif drawn.lane.unknown[row]:
                hatched.append(QRectF(x, bottom - UNKNOWN_HEIGHT, max(width, 3), UNKNOWN_HEIGHT))
            if drawn.before is not None and (before := drawn.before[index].value):
                height = max(1.0, round(scale.height(before)))
                inset = round(width * 0.22) if width >= 5 else 0
                ghosts.append(QRectF(x + inset, bottom - height, width - 2 * inset, height))
        painter.setClipRect(drawn.plot.adjusted(0, -2, 0, 1))
        painter.setPen(Qt.PenStyle.NoPen)
        for name, rects in by_family.items():
            painter.setBrush(self.brush.color(name))
            painter.drawRects(rects)
        if ghosts:
            outlined = self._axis.slot_width >= 6
            painter.setBrush(self.brush.color("ghost"))
            if outlined:
                painter.setPen(self.brush.pen("text", 1.0, 0.3))
                ghosts = [rect.adjusted(0.5, 0.5, -0.5, 0) for rect in ghosts]
            painter.drawRects(ghosts)
            painter.setPen(Qt.PenStyle.NoPen)
        if hatched:
            if self._axis.slot_width >= 6:
                painter.setPen(self.brush.pen("caution"))
                hatched = [rect.adjusted(0.5, 0.5, -0.5, -0.5) for rect in hatched]
            painter.setBrush(self.brush.hatch("caution"))
            painter.drawRects(hatched)
        painter.setClipping(False)

    def _paint_groups(self, painter: QPainter) -> None:
        first, last = self._axis.span
        bottom = self.height() - BOTTOM
        free = 0.0
        for group in self._groups:
            left = self._axis.x(max(group.first, first))
            right = self._axis.x(min(group.last + 1, last))
            if right - left < 14:
                continue
            if group.first > first and group.first > 0:
                painter.setPen(self.brush.pen("border"))
                x = round(left) - 0.5
                painter.drawLine(QPointF(x, TOP - 2), QPointF(x, bottom + 14))
            for label in (group.path, group.short, group.tail):
                width = self.brush.text_width(label)
                if label and width + 6 <= right - left and left + 4 >= free:
                    self.brush.small_text(painter, QRectF(left + 4, bottom + 3, width + 4, 16), label)
                    free = left + width + 10
                    break

    def paint_overlay(self, painter: QPainter) -> None:
        if self._data is None or not self._drawn:
            return
        selection = self._selection
        marked = set(selection.selected)
        if selection.current is not None:
            marked.add(selection.current)
        for node in marked:
            self._outline(painter, self._data.rows_of(node), "accent", 2.0)
        hovered = selection.hovered
        if hovered is not None and hovered not in marked:
            self._outline(painter, self._data.rows_of(hovered), "text", 1.0)
        told = hovered if hovered is not None else selection.current if self.by_keyboard else None
        if told:
            self._paint_readout(painter, told)

    def _outline(self, painter: QPainter, rows: Sequence[int], token: str, width: float) -> None:
        """Frame the bars of ``rows``, neighbours in one frame; a row without a slot gets a mark on the base line."""
        runs = self._runs(rows)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        pen = self.brush.pen(token, width)
        pen.setJoinStyle(Qt.PenJoinStyle.MiterJoin)
        painter.setPen(pen)
        for drawn in self._drawn:
            for first, last in runs:
                left, right = self._columns[first], self._columns[last]
                top = min(drawn.top(index) for index in range(first, last + 1))
                top = max(min(top, drawn.plot.bottom() - 4), drawn.plot.top() - 1)
                edge = width / 2
                frame = QRectF(left.x, top, right.x + right.width - left.x, drawn.plot.bottom() - top)
                painter.drawRect(frame.adjusted(-edge, -edge, edge, edge))
        if not runs and len(rows) == 1:
            self._mark_hidden(painter, rows[0], token)

    def _mark_hidden(self, painter: QPainter, row: int, token: str) -> None:
        """A small triangle between its neighbours for a row that has nothing of the shown metric."""
        slot = self._axis.edge(row)
        if not self._axis.span[0] <= slot <= self._axis.span[1]:
            return
        x = self._axis.x(slot) - 0.5
        bottom = self._drawn[-1].plot.bottom()
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(self.brush.color(token))
        painter.drawPolygon([QPointF(x, bottom - 1), QPointF(x - 4, bottom + 6), QPointF(x + 4, bottom + 6)])

    def _runs(self, rows: Sequence[int]) -> list[tuple[int, int]]:
        """Columns in view that draw ``rows``, as runs of neighbours (first, last)."""
        runs: list[tuple[int, int]] = []
        for row in rows:
            slot = self._axis.slot_of(row)
            place = None if slot is None else layout.column_at(self._columns, slot)
            if place is None:
                continue
            if runs and runs[-1][1] >= place - 1:
                runs[-1] = (runs[-1][0], place)
            else:
                runs.append((place, place))
        return runs

    def _paint_readout(self, painter: QPainter, node: str) -> None:
        assert self._data is not None
        rows = self._data.rows_of(node)
        if not rows:
            return
        if ":" in node:
            title, lines = self._data.title(rows[0]), self._data.sentences(rows[0])
        else:
            title, lines = node, self._data.module_sentences(node, rows)
        runs = self._runs(rows)
        at = self._pointer
        if at is None:
            if not runs:
                return
            column = self._columns[runs[0][0]]
            at = QPointF(column.x + column.width, self._drawn[0].top(runs[0][0]) + 20)
        elif len(rows) == 1 and runs:
            column = self._columns[runs[0][0]]
            if (others := column.last - column.first) > 0:
                lines.append(f"the largest of {others + 1} layers at this pixel")
        if self.stale_words:
            lines.insert(0, self.stale_words)
        self.brush.readout(painter, self.area, at, title, lines)

    # -- selection -----------------------------------------------------------------------------------------------

    def _on_marked(self) -> None:
        self.refresh_overlay()

    def _on_current_changed(self) -> None:
        self.refresh_overlay()
        current = self._selection.current
        if current and ":" in current and self._data is not None and (rows := self._data.rows_of(current)):
            self.describe(f"{self._data.title(rows[0])}: {self._data.sentences(rows[0])[0]}")

    def _on_range_changed(self) -> None:
        self._place_columns()
        self._place_lanes()
        self.refresh()

    def _row_at(self, at: QPointF) -> int | None:
        """The row whose slot is under the pointer: the largest one of a merged column."""
        if not self._drawn or not self._axis.left - 2 <= at.x() <= self._axis.left + self._axis.width + 2:
            return None
        slot = self._axis.slot_at(at.x())
        place = None if slot is None else layout.column_at(self._columns, slot)
        if place is None:
            return None
        lane = next((drawn for drawn in self._drawn if at.y() <= drawn.plot.bottom()), self._drawn[-1])
        return lane.now[place].row

    def _set_span(self, span: tuple[float, float]) -> None:
        self._selection.set_range(self._axis.to_range(span))

    # -- input ---------------------------------------------------------------------------------------------------

    def hover(self, at: QPointF | None) -> None:
        row = None if at is None else self._row_at(at)
        self._pointer = None if row is None else at
        if row is None or self._data is None:
            self._selection.set_hovered(None)
            return
        self._selection.set_hovered(self._data.layers.id[row])
        self.refresh_overlay()

    def click(self, at: QPointF, modifiers: Qt.KeyboardModifier) -> None:
        row = self._row_at(at)
        if row is None or self._data is None:
            self._selection.set_current(None)
            return
        node = self._data.layers.id[row]
        if modifiers & Qt.KeyboardModifier.ControlModifier:
            self._selection.set_selected(self._selection.selected ^ {node})
        else:
            self._selection.set_current(node)

    def double_click(self, at: QPointF) -> None:
        row = self._row_at(at)
        if row is not None and self._data is not None:
            self.activated.emit(self._data.layers.id[row])

    def drag(self, at: QPointF, moved: QPointF) -> None:
        self._pointer = None
        self._selection.set_hovered(None)
        self._set_span(self._axis.panned(moved.x()))

    def wheel(self, at: QPointF, steps: float, sideways: float) -> bool:
        if not self._drawn:
            return False
        if steps:
            self._set_span(self._axis.zoomed(at.x(), 1.25**steps))
        elif sideways:
            self._set_span(self._axis.panned(sideways * 60))
        return True

    def key(self, key: int) -> bool:
        keys = Qt.Key
        if key == keys.Key_L:
            self.set_log(not self._log)
        elif not self._drawn:
            return False
        elif key in (keys.Key_Left, keys.Key_Right, keys.Key_Home, keys.Key_End):
            self._walk(key)
        elif key in (keys.Key_Return, keys.Key_Enter):
            if self._selection.current is None:
                return False
            self.activated.emit(self._selection.current)
        elif key in (keys.Key_Plus, keys.Key_Equal):
            self._set_span(self._axis.zoomed(self._anchor(), 1.5))
        elif key in (keys.Key_Minus, keys.Key_Underscore):
            self._set_span(self._axis.zoomed(self._anchor(), 1 / 1.5))
        elif key in (keys.Key_0, keys.Key_Backspace):
            self._selection.set_range(None)
        elif key == keys.Key_Escape and self._selection.current is not None:
            self._selection.set_current(None)
        else:
            return False
        return True

    def _current_slot(self) -> float | None:
        """Slot of the current node's first row; between two slots (x.5) for a row without one."""
        if self._data is None or not self._selection.current:
            return None
        rows = self._data.rows_of(self._selection.current)
        if not rows:
            return None
        slot = self._axis.slot_of(rows[0])
        if slot is not None:
            return float(slot)
        return self._axis.edge(rows[0]) - 0.5

    def _anchor(self) -> float:
        """Where the keyboard zooms: at the current bar if it is in view, else in the middle."""
        slot = self._current_slot()
        x = self._axis.left + self._axis.width / 2 if slot is None else self._axis.x(slot + 0.5)
        inside = self._axis.left <= x <= self._axis.left + self._axis.width
        return x if inside else self._axis.left + self._axis.width / 2

    def _walk(self, key: int) -> None:
        """Arrow keys: the previous or next bar; Home and End: the first and last."""
        assert self._data is not None
        last = len(self._axis.rows) - 1
        slot = self._current_slot()
        if key == Qt.Key.Key_Home:
            target = 0
        elif key == Qt.Key.Key_End:
            target = last
        elif slot is None:
            target = self._columns[0].first if key == Qt.Key.Key_Right else self._columns[-1].last
        elif key == Qt.Key.Key_Right:
            target = int(slot // 1) + 1
        else:
            target = -int(-slot // 1) - 1
        target = min(max(target, 0), last)
        self._pointer = None
        self._selection.set_hovered(None)
        self._selection.set_current(self._data.layers.id[self._axis.rows[target]])
        first, end = self._axis.span
        if target < first:
            self._set_span((target, target + end - first))
        elif target + 1 > end:
            self._set_span((target + 1 - (end - first), target + 1))
