"""The picture of the Live latency panel: samples in order, median and interval, earlier measurements as ghosts."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import QLineF, QPointF, QRectF, Qt, Signal
from PySide6.QtGui import QPainter, QPen, QPolygonF
from PySide6.QtWidgets import QWidget

from engine import numbers
from engine.measurement import Measurement
from engine.statistics import Interval
from gui import sizes
from gui.charts import samples
from gui.charts.canvas import ChartCanvas
from gui.charts.measured_words import facts, samples_text
from gui.charts.samples import Trace
from gui.charts.ticks import Scale, Tick, scale_for, ticks
from gui.models.latency_words import time_text
from gui.theme import ThemeManager

TOP = 26.0
BOTTOM = 38.0
RIGHT = 14.0
GAP = 14.0
"""Between the earlier measurements and the samples."""
ROOMY_PX = 380.0
"""From this width on, the median's value stands beside the samples instead of above them."""
BESIDE_PX = 14.0
"""Height of a line of words beside the plot."""
DOT = 2.6
"""Radius of a sample, in pixels; less where there are many."""
MOST_SMOOTH = 400
"""More samples are drawn with hard edges: smooth ones would take 20 ms from what is measured, per repaint."""


@dataclass(frozen=True)
class Before:
    """The baseline's time, and how it came about."""

    seconds: float
    notes: tuple[str, ...] = ()
    """In alternation or apart, and what speaks against it."""

    @property
    def words(self) -> str:
        return f"before {numbers.duration(self.seconds)}"


@dataclass(frozen=True)
class LiveData:
    """What the chart shows; all times in seconds."""

    trace: Trace | None = None
    words: str = ""
    """Where the samples would be while there are none."""
    earlier: tuple[Measurement, ...] = ()
    """Other configurations, newest last."""
    before: Before | None = None
    """The baseline, where the samples are of another configuration."""


class LiveChart(ChartCanvas):
    """``set_data`` gives samples and earlier measurements, ``set_progress`` how far the one under way is."""

    log_toggled = Signal(bool)

    def __init__(self, theme: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(theme, parent)
        self._data = LiveData()
        self._log = False
        self._progress: float | None = None
        self._plot = QRectF()
        self._strips: tuple[Measurement, ...] = ()
        self._field = QRectF()
        self._room = samples.FEWEST
        self._scale = Scale(0, 1, 1)
        self._ticks: list[Tick] = []
        self._labels: list[tuple[str, str]] = []
        self._pointer: QPointF | None = None
        self._walked: int | None = None
        self.setObjectName("liveChart")
        self.setAccessibleName("Live latency")

    # -- data ----------------------------------------------------------------------------------------------------

    @property
    def data(self) -> LiveData:
        return self._data

    @property
    def log(self) -> bool:
        return self._log

    @property
    def field(self) -> QRectF:
        """Where the samples are, in pixels."""
        return self._field

    @property
    def strips(self) -> tuple[Measurement, ...]:
        """The earlier measurements that there is room for, newest last."""
        return self._strips

    @property
    def progress(self) -> float | None:
        return self._progress

    def set_data(self, data: LiveData) -> None:
        if data == self._data:
            return
        if data.trace is None or self._data.trace is None or data.trace[0] != self._data.trace[0]:
            self._walked = None
        self._data = data
        self.laid_out()
        self.refresh()

    def set_progress(self, share: float | None) -> None:
        """A thin line over the chart while something is measured; None for none."""
        if share != self._progress:
            self._progress = share
            self.refresh_overlay()

    def set_log(self, log: bool) -> None:
        if log != self._log:
            self._log = log
            self.laid_out()
            self.refresh()
            self.log_toggled.emit(log)

    # -- layout --------------------------------------------------------------------------------------------------

    def laid_out(self) -> None:
        data, trace = self._data, self._data.trace
        left = self.brush.text_width("888.8 ms") + 12
        wide = self.brush.strong_metrics.horizontalAdvance("888.8 ± 8.8 ms") + 12
        right = wide if trace is not None and self._roomy else RIGHT
        width = max(1.0, self.width() - left - right)
        self._plot = QRectF(left, TOP, width, max(1.0, self.height() - TOP - BOTTOM))
        count, taken = samples.strips_width(len(data.earlier), width)
        if trace is None and not self.brush.holds(self._plot.adjusted(taken + GAP, 0, 0, 0), data.words):
            count, taken = 0, 0.0  # what is said comes first
        self._strips = data.earlier[len(data.earlier) - count :]
        gap = GAP if count else 0.0
        self._field = self._plot.adjusted(taken + gap, 0, 0, 0)
        self._room = samples.room_for(len(trace.samples_s)) if trace is not None else samples.FEWEST
        self._labels = samples.labels(
            [each.configuration for each in self._strips]
            + ([trace.configuration] if trace is not None else [])
        )
        self._place_scale()

    def _place_scale(self) -> None:
        data, trace = self._data, self._data.trace
        always = [value for each in self._strips for value in (each.median_s, *(each.interval or ()))]
        if data.before is not None:
            always.append(data.before.seconds)
        times: tuple[float, ...] = ()
        if trace is not None:
            times = tuple(trace.samples_s)
            always += [trace.median_s, *(trace.interval or ())]
        smallest = min((value for value in (*times, *always) if value > 0), default=0.0)
        highest = samples.highest_shown(times, always)
        self._scale = scale_for(smallest, highest, self._plot.height(), self._log)
        self._ticks = ticks(self._scale, "seconds", spacing=30)

    def _y(self, value: float) -> float:
        return self._plot.bottom() - self._scale.height(value)

    def x(self, index: int) -> float:
        """Pixel of a sample."""
        return samples.place(index, self._room, self._field.left(), self._field.width())

    def _strip(self, index: int) -> QRectF:
        """The place of an earlier measurement."""
        left = self._plot.left() + index * samples.STRIP_PX
        return QRectF(left, self._plot.top(), samples.STRIP_PX, self._plot.height())

    def _above(self, value: float) -> bool:
        return value > self._scale.high

    # -- painting ------------------------------------------------------------------------------------------------

    def paint_picture(self, painter: QPainter) -> None:
        data = self._data
        if data.trace is None and not self._strips:
            self.brush.sentence(painter, self.area, data.words)
            return
        heights = [
            0.0 if not index and not tick.value else self._scale.height(tick.value)
            for index, tick in enumerate(self._ticks)
        ]
        self.brush.grid(painter, self._plot, self._ticks, heights)
        self.brush.base_line(painter, self._plot)
        self._paint_top(painter, data)
        for index, measurement in enumerate(self._strips):
            self._paint_strip(painter, index, measurement)
        if data.trace is None:
            self.brush.sentence(painter, self._field, data.words)
            return
        if self._strips:
            x = round(self._field.left() - GAP / 2) + 0.5
            painter.setPen(self.brush.pen("border"))
            painter.drawLine(QPointF(x, self._plot.top()), QPointF(x, self.height() - 6))
        self._paint_interval(painter, data.trace)
        if data.before is not None:
            self._paint_before(painter, data.before, data.trace)
        self._paint_samples(painter, data.trace)
        self._paint_median(painter, data.trace)
        self._paint_sample_axis(painter, data.trace)

    def _paint_top(self, painter: QPainter, data: LiveData) -> None:
        """The name of the axis at the left, the kinds of samples at the right."""
        strip = QRectF(8, 5, self.width() - 8 - RIGHT, 16)
        label = "Latency" + (", log scale" if self._log else "")
        self.brush.small_text(painter, strip, label)
        trace = data.trace
        if trace is None:
            return
        strip.setLeft(strip.left() + self.brush.text_width(label) + 16)
        if not self._roomy:
            words = time_text(trace.median_s, trace.interval)
            self._strong_text(painter, strip, words)
            strip.setLeft(strip.left() + self.brush.strong_metrics.horizontalAdvance(words) + 16)
        entries: list[tuple[str, str]] = []
        above = [value for value in trace.samples_s if self._above(value)]
        if trace.told:
            waited = trace.disturbed_count
            entries.append(("dot", f"{len(trace.samples_s) - waited} undisturbed"))
            if waited:
                entries.append(("cross", f"{waited} waited for a core"))
        if above:
            entries.append(("above", f"{len(above)} above, up to {numbers.duration(max(above))}"))
        self._paint_key(painter, strip, entries)

    def _paint_key(self, painter: QPainter, strip: QRectF, entries: list[tuple[str, str]]) -> None:
        """Marks with words, right aligned; the least telling ones give way."""
        while entries and sum(self.brush.text_width(words) + 26 for _, words in entries) > strip.width():
            entries.pop(0)
        right = strip.right()
        for kind, words in reversed(entries):
            left = right - self.brush.text_width(words)
            self.brush.small_text(painter, QRectF(left, strip.top(), right - left + 2, strip.height()), words)
            at = QPointF(left - 8, strip.center().y() + 0.5)
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            if kind == "dot":
                self._paint_dots(painter, [at], DOT)
            elif kind == "cross":
                self._paint_crosses(painter, [at], DOT)
            else:
                self._paint_arrows(painter, [at - QPointF(0, 3)])
            painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
            right = left - 26

    def _paint_strip(self, painter: QPainter, index: int, measurement: Measurement) -> None:
        """A bar to the median with its interval as a whisker; below it what tells it apart."""
        place = self._strip(index)
        height = max(1.0, round(self._scale.height(measurement.median_s)))
        bar = QRectF(round(place.left() + 11), place.bottom() - height, samples.STRIP_PX - 22, height)
        painter.setPen(self.brush.pen("text", 1.0, 0.3))
        painter.setBrush(self.brush.color("ghost"))
        painter.drawRect(bar.adjusted(0.5, 0.5, -0.5, 0))
        if measurement.interval is not None:
            self._paint_whisker(painter, bar.center().x(), measurement.interval)
        value = QRectF(place.left(), bar.top() - 16, place.width(), 15)
        if measurement.interval is not None:
            value.moveBottom(min(value.bottom(), self._y(measurement.interval.high) - 2))
        if value.top() >= self._plot.top() - 6:
            words = numbers.duration(measurement.median_s)
            self.brush.small_text(painter, value, words, Qt.AlignmentFlag.AlignHCenter)
        for line, words in enumerate(_lines(self._labels[index])):
            rect = QRectF(place.left(), place.bottom() + 3 + 15 * line, place.width(), 15)
            fitted = self.brush.small_metrics.elidedText(
                words, Qt.TextElideMode.ElideMiddle, place.width() - 2
            )
            self.brush.small_text(painter, rect, fitted, Qt.AlignmentFlag.AlignHCenter)

    def _paint_whisker(self, painter: QPainter, x: float, interval: Interval) -> None:
        high, low = self._y(interval.high), self._y(interval.low)
        middle = round(x) + 0.5
        painter.setPen(self.brush.pen("secondary", 1.2))
        painter.drawLine(QPointF(middle, high), QPointF(middle, low))
        for y in (high, low):
            painter.drawLine(QPointF(middle - 4, y), QPointF(middle + 4, y))

    def _paint_interval(self, painter: QPainter, trace: Trace) -> None:
        if trace.interval is None:
            return
        top, bottom = self._y(trace.interval.high), self._y(trace.interval.low)
        band = QRectF(self._field.left(), top, self._field.width(), max(bottom - top, 1.0))
        painter.fillRect(band, self.brush.color("accent", 0.16))

    def _paint_before(self, painter: QPainter, before: Before, trace: Trace) -> None:
        """The baseline's median as a dashed line with its name and how it was measured."""
        y = self._y(before.seconds)
        pen = self.brush.pen("secondary", 1.5)
        pen.setDashPattern([3, 2.5])
        painter.setPen(pen)
        painter.drawLine(QPointF(self._field.left(), y), QPointF(self._field.right(), y))
        if not self._roomy:
            if self._is_crowded(before, trace):
                return  # named below the axis
            words = self._fitted((before.words, *before.notes), self._field.width())
            width = self.brush.text_width(words) + 4
            rect = QRectF(self._plot.right() - width, y - 17, width, 16)
            if rect.top() < self._plot.top():
                rect.moveTop(y + 1)
            self.brush.small_text(painter, rect, words)
            return
        lines = self._before_lines(before)
        median, height = self._y(trace.median_s), BESIDE_PX * len(lines)
        above = before.seconds > trace.median_s
        if above:  # gives way to the median's own value
            top = max(TOP - 8, min(y - 8, median - 8 - height))
        else:
            top = max(median + 8, min(y - 8, self.height() - height))
        for number, line in enumerate(lines):
            rect = self._beside(top + 8 + BESIDE_PX * number)
            if not (above and number and rect.bottom() > median - 6):
                self.brush.small_text(painter, rect, line)

    def _is_crowded(self, before: Before, trace: Trace) -> bool:
        """Whether the baseline's line is too near to the median's for words between them."""
        return abs(self._y(before.seconds) - self._y(trace.median_s)) < 20

    def _before_lines(self, before: Before) -> list[str]:
        """Name and notes as lines beside the plot; long notes are wrapped."""
        width = self._beside(0).width()
        lines = [before.words]
        for note in before.notes:
            line = ""
            for word in note.split():
                longer = f"{line} {word}".strip()
                if line and self.brush.text_width(longer) > width:
                    lines.append(line)
                    longer = word
                line = longer
            lines.append(line)
        return lines

    def _fitted(self, parts: tuple[str, ...], width: float) -> str:
        """As many of ``parts``, the first ones, as one line of that width holds; at least one."""
        while len(parts) > 1 and self.brush.text_width(" · ".join(parts)) > width:
            parts = parts[:-1]
        return " · ".join(parts)

    def _beside(self, y: float) -> QRectF:
        """The place of a line's value, right of the plot."""
        return QRectF(self._plot.right() + 6, y - 8, self.width() - self._plot.right() - 6, 16)

    @property
    def _roomy(self) -> bool:
        """Whether values of lines stand beside the plot."""
        return self.width() >= ROOMY_PX

    def _paint_samples(self, painter: QPainter, trace: Trace) -> None:
        found = samples.marks(
            trace, self._scale, self._room, self._field.left(), self._field.width(), self._plot.bottom()
        )
        radius = min(DOT, max(1.0, 0.45 * self._field.width() / self._room))
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, len(trace.samples_s) <= MOST_SMOOTH)
        self._paint_dots(painter, _points(found.dots), radius)
        self._paint_crosses(painter, _points(found.crosses), radius)
        self._paint_arrows(painter, _points(found.above))
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)

    def _paint_dots(self, painter: QPainter, points: list[QPointF], radius: float) -> None:
        smooth = bool(painter.renderHints() & QPainter.RenderHint.Antialiasing)
        pen = self.brush.pen("accent", 2 * radius, 0.75) if smooth else self.brush.pen("accent", 2)
        pen.setCapStyle(Qt.PenCapStyle.RoundCap if smooth else Qt.PenCapStyle.SquareCap)
        painter.setPen(pen)
        painter.drawPoints(points)

    def _paint_crosses(self, painter: QPainter, points: list[QPointF], radius: float) -> None:
        """Samples that had to wait for a core: another shape as well as another colour."""
        smooth = bool(painter.renderHints() & QPainter.RenderHint.Antialiasing)
        painter.setPen(self.brush.pen("caution", 1.4 if smooth else 1.0))
        arm = max(radius, 2.0)
        painter.drawLines(
            [
                line
                for at in points
                for line in (
                    QLineF(at.x() - arm, at.y() - arm, at.x() + arm, at.y() + arm),
                    QLineF(at.x() - arm, at.y() + arm, at.x() + arm, at.y() - arm),
                )
            ]
        )

    def _paint_arrows(self, painter: QPainter, points: list[QPointF]) -> None:
        """Samples above the axis, at its top."""
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(self.brush.color("caution"))
        for at in points:
            painter.drawPolygon(
                QPolygonF([at, QPointF(at.x() - 3.5, at.y() + 6), QPointF(at.x() + 3.5, at.y() + 6)])
            )

    def _paint_median(self, painter: QPainter, trace: Trace) -> None:
        y = self._y(trace.median_s)
        painter.setPen(self.brush.pen("accent", 1.6))
        painter.drawLine(QPointF(self._field.left(), y), QPointF(self._field.right(), y))
        if self._roomy:
            self._strong_text(painter, self._beside(y), time_text(trace.median_s, trace.interval))

    def _strong_text(self, painter: QPainter, rect: QRectF, words: str) -> None:
        """The median's value."""
        painter.setFont(self.brush.strong)
        painter.setPen(self.brush.color("accent"))
        painter.drawText(rect, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, words)

    def _paint_sample_axis(self, painter: QPainter, trace: Trace) -> None:
        """Which configuration the samples are of, and how many there are. Old ones always say whose they are."""
        count = len(trace.samples_s)
        own = self.stale_words or " · ".join(_lines(self._labels[-1]))
        words = f"{samples_text(count)}, in the order measured"
        before = self._data.before
        if before is not None and not self._roomy and self._is_crowded(before, trace):
            words = self._fitted((samples_text(count), before.words, *before.notes), self._field.width())
        elif self.brush.text_width(words) > self._field.width():
            words = samples_text(count)
        line = QRectF(self._field.left(), self._plot.bottom() + 3, self._field.width(), 15)
        if own:
            opacity = painter.opacity()
            painter.setOpacity(1.0)
            painter.setFont(self.brush.strong)
            painter.setPen(self.brush.color("text"))
            fitted = self.brush.strong_metrics.elidedText(own, Qt.TextElideMode.ElideMiddle, line.width())
            painter.drawText(line, Qt.AlignmentFlag.AlignCenter, fitted)
            painter.setOpacity(opacity)
            line.translate(0, 15)
        self.brush.small_text(painter, line, words, Qt.AlignmentFlag.AlignHCenter)

    def paint_overlay(self, painter: QPainter) -> None:
        if self._progress is not None:
            painter.fillRect(QRectF(0, 0, self.width(), 2), self.brush.color("track"))
            painter.fillRect(QRectF(0, 0, self.width() * self._progress, 2), self.brush.color("accent"))
        at = self._pointer
        if at is not None and (index := self._strip_at(at)) is not None:
            self._paint_strip_readout(painter, at, self._strips[index])
            return
        told = self._walked if at is None and self.by_keyboard else self._sample_at(at) if at else None
        if told is not None:
            self._paint_sample_readout(painter, at, told)

    def _paint_strip_readout(self, painter: QPainter, at: QPointF, measurement: Measurement) -> None:
        title = sizes.size_text(measurement.configuration.inputs)
        edits = measurement.configuration.edits
        lines = [*facts(measurement)[:5], *([samples.edits_text(edits)] if edits else [])]
        self.brush.readout(painter, self.area, at, f"Earlier: {title}", lines)

    def _paint_sample_readout(self, painter: QPainter, at: QPointF | None, index: int) -> None:
        trace = self._data.trace
        if trace is None or index >= len(trace.samples_s):
            return
        value = trace.samples_s[index]
        y = self._plot.top() + 3 if self._above(value) else self._y(value)
        mark = QPointF(self.x(index), y)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(self.brush.color("text"), 1.2))
        painter.drawEllipse(mark, 5.0, 5.0)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
        lines = self.sample_lines(index)
        self.brush.readout(painter, self.area, at or mark, lines[0], lines[1:])

    def sample_lines(self, index: int) -> list[str]:
        """A sample in words, its name first."""
        trace = self._data.trace
        assert trace is not None
        value = trace.samples_s[index]
        difference = numbers.difference(trace.median_s, value)
        lines = [
            f"Sample {index + 1}: {numbers.duration(value)}",
            f"{difference} against the median of {numbers.duration(trace.median_s)}",
        ]
        if trace.told:
            waited = trace.disturbed[index]
            lines.append("waited for a core" if waited else "undisturbed")
        if self.stale_words:
            lines.insert(1, self.stale_words)
        return lines

    # -- input ---------------------------------------------------------------------------------------------------

    def _strip_at(self, at: QPointF) -> int | None:
        index = int((at.x() - self._plot.left()) // samples.STRIP_PX)
        return index if 0 <= index < len(self._strips) and at.y() > TOP - 10 else None

    def _sample_at(self, at: QPointF) -> int | None:
        trace = self._data.trace
        if trace is None or not self._plot.adjusted(0, -10, 0, BOTTOM).contains(at):
            return None
        return samples.nearest(
            at.x(), len(trace.samples_s), self._room, self._field.left(), self._field.width()
        )

    def hover(self, at: QPointF | None) -> None:
        self._pointer = at
        self.refresh_overlay()

    def key(self, key: int) -> bool:
        keys = Qt.Key
        if key == keys.Key_L:
            self.set_log(not self._log)
            return True
        trace = self._data.trace
        if trace is None or key not in (keys.Key_Left, keys.Key_Right, keys.Key_Home, keys.Key_End):
            return False
        last = len(trace.samples_s) - 1
        if key == keys.Key_Home or (key == keys.Key_Right and self._walked is None):
            target = 0
        elif key == keys.Key_End or self._walked is None:
            target = last
        else:
            target = self._walked + (1 if key == keys.Key_Right else -1)
        self._pointer = None
        self._walked = min(max(target, 0), last)
        self.describe(", ".join(self.sample_lines(self._walked)))
        self.refresh_overlay()
        return True


def _points(pixels: list[samples.Pixel]) -> list[QPointF]:
    return [QPointF(x, y) for x, y in pixels]


def _lines(label: tuple[str, str]) -> list[str]:
    """The parts of a label that say something."""
    return [part for part in label if part]
