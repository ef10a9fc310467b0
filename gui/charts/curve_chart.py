"""The picture of the Curve panel: one metric against one slider, refused stretches shaded, the slider as a cursor."""

from __future__ import annotations

from dataclasses import dataclass, field

from PySide6.QtCore import QPointF, QRectF, Qt, Signal
from PySide6.QtGui import QPainter, QPolygonF
from PySide6.QtWidgets import QWidget

from engine import numbers
from engine.graph import Dim
from engine.metrics import METRIC, Metric
from engine.statistics import Interval
from gui.charts.canvas import ChartCanvas
from gui.charts.layout import Value
from gui.charts.rows import axis_words, before_words, total_of, value_words
from gui.charts.sweep import Dot, Sweep, joined, moved, pieces, refused_stretches, snapped
from gui.charts.ticks import Scale, Tick, scale_for, ticks, whole_ticks
from gui.theme import ThemeManager

TOP = 26.0
BOTTOM = 36.0
RIGHT = 20.0
MOST_DOTS = 80
"""More known positions than this need no dot each: the line shows them."""


@dataclass(frozen=True)
class CurveData:
    """What the chart shows, apart from the cursor."""

    dim: Dim
    name: str
    """``resolution``"""
    axis: str
    """``height = width (pixels)``"""
    metric: Metric = METRIC["macs"]
    now: Sweep = field(default_factory=Sweep)
    before: Sweep | None = None
    """The baseline's sweep; None when it is the same curve or cannot be computed."""
    before_at: tuple[int, Value] | None = None
    """The baseline's own position and value."""
    movable: bool = True
    dots: dict[int, Dot] = field(default_factory=dict)
    """For a measured metric: what is known, by position. There is no curve then."""
    dots_before: dict[int, Dot] = field(default_factory=dict)
    """The baseline's."""
    words: str = ""
    """What stands there while nothing is measured, or of the weights nothing known."""

    def all_values(self) -> list[float]:
        """Everything drawn that is known and not 0, intervals included; for the scale."""
        if self.metric.measured:
            every = [*self.dots.values(), *self.dots_before.values()]
            return [value for dot in every for value in (dot.value, *(dot.interval or ())) if value > 0]
        sweeps = [self.now] if self.before is None else [self.now, self.before]
        return [value for sweep in sweeps for _, value in sweep.values(self.metric.key) if value]

    def value_at(self, size: int, *, before: bool = False) -> Value:
        """The value at a position, now or of the baseline; None where it is not known."""
        if self.metric.measured:
            dot = (self.dots_before if before else self.dots).get(size)
            return None if dot is None else dot.value
        sweep = self.before if before else self.now
        totals = None if sweep is None else sweep.totals.get(size)
        return None if totals is None else total_of(totals, self.metric.key)


class CurveChart(ChartCanvas):
    """``set_data`` gives curves, ``set_cursor`` the slider's position; a drag or arrow keys ask for another one."""

    moved = Signal(int)
    """The size that the user asks for; only when it is another one."""
    gesture_began = Signal()
    gesture_ended = Signal()
    log_toggled = Signal(bool)

    def __init__(self, theme: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(theme, parent)
        self._data: CurveData | None = None
        self._words = ""
        self._log = False
        self._plot = QRectF()
        self._scale = Scale(0, 1, 1)
        self._ticks: list[Tick] = []
        self._asked: int | None = None
        self._shown: tuple[int, Value] | None = None
        self._pointer: QPointF | None = None
        self._held = False
        self.setObjectName("curveChart")
        self.setAccessibleName("Curve")

    @property
    def data(self) -> CurveData | None:
        return self._data

    @property
    def log(self) -> bool:
        return self._log

    @property
    def plot(self) -> QRectF:
        """The plotting area in pixels."""
        return self._plot

    @property
    def asked(self) -> int | None:
        """Where the cursor stands."""
        return self._asked

    def set_data(self, data: CurveData | None, words: str = "") -> None:
        """Show ``data``; ``words`` stand there while there is none."""
        if data == self._data and words == self._words:
            return
        self._data, self._words = data, words
        self.laid_out()
        self.refresh()

    def set_cursor(self, asked: int | None, shown: tuple[int, Value] | None) -> None:
        """``asked`` is the slider's position, ``shown`` the position and value of the numbers on the screen."""
        if (asked, shown) == (self._asked, self._shown):
            return
        self._asked, self._shown = asked, shown
        value = None if shown is None else shown[1]
        if self._data is not None and shown is not None:
            self.describe(f"{self._data.name} {shown[0]}: {value_words(self._data.metric, value)}")
        if value is not None and value > self._scale.high:
            self.laid_out()
            self.refresh()
        else:
            self.refresh_overlay()

    def set_log(self, log: bool) -> None:
        if log != self._log:
            self._log = log
            self.laid_out()
            self.refresh()
            self.log_toggled.emit(log)

    # -- layout --------------------------------------------------------------------------------------------------

    def laid_out(self) -> None:
        left = self.brush.text_width("888.8 MiB") + 12
        self._plot = QRectF(
            left, TOP, max(1.0, self.width() - left - RIGHT), max(1.0, self.height() - TOP - BOTTOM)
        )
        if self._data is None:
            return
        values = self._data.all_values()
        for at in (self._shown, self._data.before_at):
            if at is not None and at[1]:
                values.append(at[1])
        self._scale = scale_for(
            min(values, default=0), max(values, default=0), self._plot.height(), self._log
        )
        self._ticks = ticks(self._scale, self._data.metric.unit, spacing=30)

    def x(self, size: float) -> float:
        """Pixel of a position of the slider."""
        assert self._data is not None
        dim = self._data.dim
        share = (size - dim.minimum) / max(1, dim.maximum - dim.minimum)
        return self._plot.left() + share * self._plot.width()

    def _y(self, value: float) -> float:
        return self._plot.bottom() - self._scale.height(value)

    def _size_at(self, x: float) -> float:
        assert self._data is not None
        dim = self._data.dim
        return dim.minimum + (x - self._plot.left()) / self._plot.width() * (dim.maximum - dim.minimum)

    # -- painting ------------------------------------------------------------------------------------------------

    def paint_picture(self, painter: QPainter) -> None:
        data = self._data
        if data is None:
            self.brush.sentence(painter, self.area, self._words)
            return
        heights = [self._scale.height(tick.value) for tick in self._ticks]
        self._paint_refused(painter, data)
        self.brush.grid(painter, self._plot, self._ticks, heights)
        self.brush.base_line(painter, self._plot)
        self._paint_size_axis(painter, data)
        strip = QRectF(8, 5, self.width() - 8 - RIGHT, 16)
        label = axis_words(data.metric) + (", log scale" if self._log else "")
        self.brush.small_text(painter, strip, label)
        dashed = bool(data.dots_before) if data.metric.measured else data.before is not None
        if any(dot.doubts for dot in data.dots.values()):
            self._paint_doubt_key(painter, strip, label)
        if dashed or (data.before_at is not None and data.before_at[1] is not None):
            self._paint_key(painter, strip, dashed)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if data.metric.measured:
            self._paint_dots(painter, data.dots_before, before=True)
        elif data.before is not None:
            self._paint_line(painter, data.before, before=True)
        if data.before_at is not None and data.before_at[1] is not None:
            self._paint_ring(painter, QPointF(self.x(data.before_at[0]), self._y(data.before_at[1])))
        if data.metric.measured:
            self._paint_dots(painter, data.dots, before=False)
        else:
            self._paint_line(painter, data.now, before=False)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
        if words := self._words_over(data):
            at = self._plot.left() if self._asked is None else self.x(self._asked)
            left, right = QRectF(self._plot), QRectF(self._plot)
            left.setRight(at)
            right.setLeft(at)
            beside = max(left, right, key=QRectF.width)
            # Beside the cursor where it fits, else across: the words matter more than the cursor's line.
            self.brush.sentence_over(
                painter, beside if self.brush.holds(beside, words) else self._plot, words
            )

    def _words_over(self, data: CurveData) -> str:
        """What stands where a curve would be: that it is on its way, or that the model takes one size only."""
        if data.metric.measured or data.words:
            return data.words
        known = [size for size, value in data.now.values(data.metric.key) if value is not None]
        tried = len(data.now.refused) + len(data.now.totals)
        if data.now.totals and not known:
            return f"{data.metric.label} is not counted for this model."
        if not known and tried > 3:
            return f"The model refuses all {tried} sizes tried."
        if len(known) < 2 and not data.now.refused:
            return "Other sizes appear here as they are computed."
        if len(known) == 1 and tried > 3:
            return f"Of {tried} sizes tried, the model accepts only {known[0]}."
        return ""

    def _paint_key(self, painter: QPainter, strip: QRectF, dashed: bool) -> None:
        """``–○– before`` at the right end of the top line; only the ring when both share one curve."""
        word = "before"
        width = self.brush.text_width(word)
        self.brush.small_text(painter, strip, word, Qt.AlignmentFlag.AlignRight)
        pen = self.brush.pen("secondary", 1.5)
        pen.setDashPattern([3, 2])
        painter.setPen(pen)
        middle = QPointF(strip.right() - width - 18, strip.center().y() + 0.5)
        if dashed:
            painter.drawLine(middle - QPointF(12, 0), middle + QPointF(12, 0))
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        self._paint_ring(painter, middle)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)

    def _paint_doubt_key(self, painter: QPainter, strip: QRectF, label: str) -> None:
        """What a diamond means, beside the name of the axis; the baseline's key stands at the right."""
        left = strip.left() + self.brush.text_width(label) + 24
        word = "machine not quiet"
        if left + self.brush.text_width(word) > strip.right() - 100:
            return
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        self._paint_diamond(painter, QPointF(left, strip.center().y() + 0.5))
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
        self.brush.small_text(painter, strip.adjusted(left + 2, 0, 0, 0), word)

    def _paint_ring(self, painter: QPainter, at: QPointF) -> None:
        """The mark of the baseline's own position."""
        painter.setPen(self.brush.pen("secondary", 1.5))
        painter.setBrush(self.brush.color("surface"))
        painter.drawEllipse(at, 3.5, 3.5)

    def _paint_refused(self, painter: QPainter, data: CurveData) -> None:
        for start, end in refused_stretches(data.now, data.dim.minimum, data.dim.maximum):
            left, right = round(self.x(start)), round(self.x(end))
            rect = QRectF(left, self._plot.top(), max(2, right - left), self._plot.height())
            painter.fillRect(rect, self.brush.color("caution", 0.08))
            painter.fillRect(
                QRectF(left, self._plot.bottom(), rect.width(), 3), self.brush.color("caution", 0.6)
            )

    def _size_ticks(self, data: CurveData) -> list[int]:
        dim = data.dim
        spacing = self.brush.text_width(str(dim.maximum)) + 26
        return whole_ticks(dim.minimum, dim.maximum, self._plot.width(), spacing, max(1, dim.step))

    def _paint_size_axis(self, painter: QPainter, data: CurveData) -> None:
        """Ticks and the name of the axis; its numbers are on the overlay, because the cursor's pushes them aside."""
        bottom = self._plot.bottom()
        painter.setPen(self.brush.pen("border"))
        for size in self._size_ticks(data):
            x = round(self.x(size)) + 0.5
            painter.drawLine(QPointF(x, bottom + 1), QPointF(x, bottom + 4))
        label = QRectF(self._plot.left(), bottom + 18, self._plot.width(), 16)
        name = self.brush.small_metrics.elidedText(data.axis, Qt.TextElideMode.ElideMiddle, label.width())
        self.brush.small_text(painter, label, name, Qt.AlignmentFlag.AlignHCenter)

    def _paint_line(self, painter: QPainter, sweep: Sweep, before: bool) -> None:
        assert self._data is not None
        lines = pieces(sweep, self._data.metric.key)
        pen = self.brush.pen("secondary" if before else "accent", 1.5 if before else 2.0)
        if before:
            pen.setDashPattern([3, 2.5])
        dots = sum(map(len, lines)) <= MOST_DOTS and not before
        for line in lines:
            points = [QPointF(self.x(size), self._y(value)) for size, value in line]
            painter.setPen(pen)
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawPolyline(QPolygonF(points))
            if dots:
                painter.setPen(Qt.PenStyle.NoPen)
                painter.setBrush(self.brush.color("accent"))
                for point in points:
                    painter.drawEllipse(point, 2.2, 2.2)

    def _paint_dots(self, painter: QPainter, dots: dict[int, Dot], before: bool) -> None:
        """Measured medians with their intervals, joined by a thin line: nothing is known between them."""
        assert self._data is not None
        token = "secondary" if before else "accent"
        pen = self.brush.pen(token, 1.0, 0.6)
        if before:
            pen.setDashPattern([3, 2.5])
        values = [(size, dot.value) for size, dot in dots.items()]
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(pen)
        for line in joined(values, self._data.now.refused):
            painter.drawPolyline(QPolygonF([QPointF(self.x(size), self._y(value)) for size, value in line]))
        for size, dot in dots.items():
            at = QPointF(self.x(size), self._y(dot.value))
            if dot.interval is not None:
                self._paint_whisker(painter, at.x(), dot.interval, token)
            if before:
                self._paint_ring(painter, at)
            elif dot.doubts:
                self._paint_diamond(painter, at)
            else:
                painter.setPen(Qt.PenStyle.NoPen)
                painter.setBrush(self.brush.color("accent"))
                painter.drawEllipse(at, 3.2, 3.2)

    def _paint_diamond(self, painter: QPainter, at: QPointF) -> None:
        """The mark of a median that something speaks against."""
        painter.setPen(self.brush.pen("accent", 1.5))
        painter.setBrush(self.brush.color("surface"))
        arms = (QPointF(0, -4.5), QPointF(4.5, 0), QPointF(0, 4.5), QPointF(-4.5, 0))
        painter.drawPolygon(QPolygonF([at + arm for arm in arms]))

    def _paint_whisker(self, painter: QPainter, x: float, interval: Interval, token: str) -> None:
        high, low = self._y(interval.high), self._y(interval.low)
        painter.setPen(self.brush.pen(token, 1.2))
        painter.drawLine(QPointF(x, high), QPointF(x, low))
        for y in (high, low):
            painter.drawLine(QPointF(x - 4, y), QPointF(x + 4, y))

    def paint_overlay(self, painter: QPainter) -> None:
        data = self._data
        if data is None:
            return
        tag = QRectF()
        if self._asked is not None:
            tag = self._paint_cursor(painter, data, self._asked)
        self._paint_size_labels(painter, data, tag)
        if self._pointer is not None and not self._held:
            self._paint_hover(painter, data, self._pointer)

    def _paint_cursor(self, painter: QPainter, data: CurveData, asked: int) -> QRectF:
        """The slider's position as a line, the numbers' position as a dot; returns where its label stands."""
        x = self.x(asked)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(self.brush.pen("accent", 1.6))
        painter.drawLine(QPointF(x, self._plot.top() - 4), QPointF(x, self._plot.bottom()))
        if self._shown is not None and self._shown[1] is not None:
            at = QPointF(self.x(self._shown[0]), self._y(self._shown[1]))
            # Numbers of another size than the one asked for are still on the screen: a hollow dot says so.
            current = self._shown[0] == asked
            dot = data.dots.get(self._shown[0]) if data.metric.measured else None
            if dot is not None and dot.doubts:
                self._paint_diamond(painter, at)
            else:
                painter.setBrush(self.brush.color("accent" if current else "surface"))
                painter.drawEllipse(at, 4.5, 4.5)
        text = str(asked)
        width = self.brush.strong_metrics.horizontalAdvance(text) + 10
        left = min(max(x - width / 2, self._plot.left() - 10), self.width() - width - 2)
        tag = QRectF(left, self._plot.bottom() + 3, width, 16)
        painter.setFont(self.brush.strong)
        painter.setPen(self.brush.color("accent"))
        painter.drawText(tag, Qt.AlignmentFlag.AlignCenter, text)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
        return tag

    def _paint_size_labels(self, painter: QPainter, data: CurveData, tag: QRectF) -> None:
        """Numbers along the axis; those beside the cursor's own number give way to it."""
        for size in self._size_ticks(data):
            width = self.brush.text_width(str(size)) + 4
            rect = QRectF(self.x(size) - width / 2, self._plot.bottom() + 4, width, 15)
            if not rect.intersects(tag):
                self.brush.small_text(painter, rect, str(size), Qt.AlignmentFlag.AlignHCenter)

    def _paint_hover(self, painter: QPainter, data: CurveData, at: QPointF) -> None:
        size = self._known_near(at.x())
        if size is None:
            return
        title = f"{data.name} {size}"
        if size in data.now.refused:
            self.brush.readout(painter, self.area, at, f"{title}: refused", [data.now.refused[size]])
            return
        value = data.value_at(size)
        lines = [value_words(data.metric, value)]
        dot = data.dots.get(size)
        if dot is not None:
            lines += dot_sentences(data.metric, dot)
        if data.metric.unit in ("count", "bytes") and value is not None:
            lines.append(numbers.exact(value))
        before = data.value_at(size, before=True)
        if before is not None:
            lines.append(before_words(data.metric, before, value))
        if value is not None:
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            painter.setPen(self.brush.pen("text", 1.2))
            painter.setBrush(self.brush.color("surface"))
            painter.drawEllipse(QPointF(self.x(size), self._y(value)), 3.5, 3.5)
            painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
        self.brush.readout(painter, self.area, at, title, lines)

    def _known_near(self, x: float) -> int | None:
        """The known position (accepted or refused) nearest to a pixel."""
        assert self._data is not None
        data = self._data
        known = [*(data.dots if data.metric.measured else data.now.totals), *data.now.refused]
        size = self._size_at(x)
        return min(known, key=lambda other: abs(other - size), default=None)

    # -- input ---------------------------------------------------------------------------------------------------

    def _inside(self, at: QPointF) -> bool:
        return self._data is not None and self._plot.adjusted(-10, -TOP, 10, BOTTOM).contains(at)

    def hover(self, at: QPointF | None) -> None:
        inside = at is not None and self._inside(at)
        self._pointer = at if inside else None
        movable = inside and self._data is not None and self._data.movable
        self.viewport().setCursor(Qt.CursorShape.SizeHorCursor if movable else Qt.CursorShape.ArrowCursor)
        self.refresh_overlay()

    def press(self, at: QPointF) -> bool:
        if not self._inside(at) or self._data is None or not self._data.movable:
            return False
        self._held = True
        self._pointer = at
        self.gesture_began.emit()
        self._ask(snapped(self._data.dim, self._size_at(at.x())))
        return True

    def drag(self, at: QPointF, moved: QPointF) -> None:
        if self._held and self._data is not None:
            self._pointer = at
            self._ask(snapped(self._data.dim, self._size_at(at.x())))

    def released(self) -> None:
        if self._held:
            self._held = False
            self.gesture_ended.emit()

    def key(self, key: int) -> bool:
        keys = Qt.Key
        if key == keys.Key_L:
            self.set_log(not self._log)
            return True
        if self._data is None or self._asked is None or not self._data.movable:
            return False
        dim = self._data.dim
        far = max(1, (dim.maximum - dim.minimum) // max(1, dim.step) // 10)
        steps = {
            keys.Key_Left: -1,
            keys.Key_Down: -1,
            keys.Key_Right: 1,
            keys.Key_Up: 1,
            keys.Key_PageDown: -far,
            keys.Key_PageUp: far,
        }
        if key in steps:
            self._ask(moved(dim, self._asked, steps[keys(key)]))
        elif key == keys.Key_Home:
            self._ask(dim.minimum)
        elif key == keys.Key_End:
            self._ask(dim.maximum)
        else:
            return False
        return True

    def _ask(self, size: int) -> None:
        if size != self._asked:
            self.moved.emit(size)


def dot_sentences(metric: Metric, dot: Dot) -> list[str]:
    """How sure a measured value is: its interval, and what speaks against it."""
    lines = list(dot.doubts)
    if dot.interval is not None:
        low, high = (numbers.value(metric, bound) for bound in dot.interval)
        lines.insert(0, f"95{numbers.THIN}% interval {low} to {high}")
    elif metric.key == "latency_s":
        lines.insert(0, "too few samples for an interval")
    return lines
