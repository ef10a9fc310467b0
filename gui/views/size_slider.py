"""A slider over the sizes of one symbol: filled to the value, shaded where the model refuses."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QBrush, QHelpEvent, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPen, QWheelEvent
from PySide6.QtWidgets import QSlider, QToolTip, QWidget

from gui.refusals import Refusal
from gui.theme import ThemeManager
from gui.tooltips import plain_tooltip

RADIUS = 7
GROOVE = 4
MINIMUM_WIDTH = 90
WHEEL_NOTCH = 120


class SizeSlider(QSlider):
    """Emits ``valueChanged`` all through a drag; arrows, Page keys, Home, End and the wheel move it by its step."""

    def __init__(self, theme: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(Qt.Orientation.Horizontal, parent)
        self._theme = theme
        self._refusals: Sequence[Refusal] = ()
        self._snap = 1
        self._turned = 0
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMouseTracking(True)
        self.setFixedHeight(2 * RADIUS + 8)
        self._preferred_width = MINIMUM_WIDTH
        self.setMinimumWidth(MINIMUM_WIDTH)
        theme.changed.connect(self.update)

    def set_preferred_width(self, width: int) -> None:
        """Width where there is room for it; the slider never grows beyond."""
        self._preferred_width = width
        self.setMaximumWidth(width)
        self.updateGeometry()

    def sizeHint(self) -> QSize:
        return QSize(self._preferred_width, self.height())

    def set_snap(self, step: int) -> None:
        """Positions the pointer can reach: multiples of ``step`` and the two ends; 1 for all."""
        self._snap = max(step, 1)
        self.setSingleStep(self._snap)
        self.setPageStep(self._snap * 4)

    def set_refusals(self, refusals: Sequence[Refusal]) -> None:
        if list(refusals) != list(self._refusals):
            self._refusals = refusals
            self.update()

    def refusal_at(self, size: float) -> Refusal | None:
        """Why the model refuses ``size``, as far as it is known."""
        return next((each for each in self._refusals if each.low <= size <= each.high), None)

    # -- geometry ------------------------------------------------------------------------------------------------

    def x_of(self, size: float) -> float:
        """Pixel position of a size."""
        span = max(self.maximum() - self.minimum(), 1)
        return RADIUS + 1 + (size - self.minimum()) / span * (self.width() - 2 * RADIUS - 2)

    def size_at(self, x: float) -> float:
        """Size at a pixel position, not rounded."""
        share = (x - RADIUS - 1) / max(self.width() - 2 * RADIUS - 2, 1)
        return self.minimum() + min(max(share, 0.0), 1.0) * (self.maximum() - self.minimum())

    def snapped(self, size: float) -> int:
        """The nearest position that can be reached."""
        low, high = self.minimum(), self.maximum()
        candidates = {low, high, min(max(round(size / self._snap) * self._snap, low), high)}
        return min(candidates, key=lambda candidate: (abs(candidate - size), candidate))

    # -- moving --------------------------------------------------------------------------------------------------

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton:
            self.setSliderDown(True)
            self.setValue(self.snapped(self.size_at(event.position().x())))
            event.accept()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if self.isSliderDown():
            self.setValue(self.snapped(self.size_at(event.position().x())))

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        if self.isSliderDown():
            self.setSliderDown(False)

    def wheelEvent(self, event: QWheelEvent) -> None:
        turned = event.angleDelta().y()
        if turned * self._turned < 0:
            self._turned = 0
        # A touchpad sends many small turns where a wheel sends one notch.
        self._turned += turned
        notches = int(self._turned / WHEEL_NOTCH)
        self._turned -= notches * WHEEL_NOTCH
        if notches:
            self._step(notches)
        event.accept()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        steps = {
            Qt.Key.Key_Left: -1,
            Qt.Key.Key_Down: -1,
            Qt.Key.Key_Right: 1,
            Qt.Key.Key_Up: 1,
            Qt.Key.Key_PageDown: -4,
            Qt.Key.Key_PageUp: 4,
        }
        step = steps.get(Qt.Key(event.key()))
        if step is None:
            super().keyPressEvent(event)
        else:
            self._step(step)

    def _step(self, steps: int) -> None:
        """Move by whole steps, onto the grid of steps."""
        target = self.value() + steps * self._snap
        aligned = target // self._snap * self._snap if steps > 0 else -(-target // self._snap) * self._snap
        self.setValue(min(max(aligned, self.minimum()), self.maximum()))

    # -- looks ---------------------------------------------------------------------------------------------------

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            size = self.size_at(event.pos().x())
            refusal = self.refusal_at(size)
            text = self.toolTip()
            if refusal is not None:
                text = plain_tooltip(f"{self.snapped(size)}: {refusal.reason}")
            QToolTip.showText(event.globalPos(), text, self)
            return True
        return super().event(event)

    def paintEvent(self, event: QPaintEvent) -> None:
        theme = self._theme.current
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        middle = self.height() / 2
        left, right, at = self.x_of(self.minimum()), self.x_of(self.maximum()), self.x_of(self.value())
        accent = theme.color("accent" if self.isEnabled() else "disabled")
        painter.setBrush(theme.color("border"))
        painter.drawRoundedRect(QRectF(left, middle - GROOVE / 2, right - left, GROOVE), 2, 2)
        painter.setBrush(accent)
        painter.drawRoundedRect(QRectF(left, middle - GROOVE / 2, at - left, GROOVE), 2, 2)
        shade = theme.color("caution")
        shade.setAlphaF(0.6)
        for refusal in self._refusals:
            low, high = self.x_of(refusal.low), self.x_of(refusal.high)
            block = QRectF(low, middle - GROOVE, max(high - low, 1.0), 2 * GROOVE)
            painter.setBrush(theme.color("track"))
            painter.drawRect(block)
            painter.setBrush(QBrush(shade, Qt.BrushStyle.BDiagPattern))
            painter.drawRect(block)
        painter.setBrush(theme.color("surface"))
        painter.setPen(QPen(accent, 2))
        painter.drawEllipse(QPointF(at, middle), RADIUS - 1, RADIUS - 1)
        if self.hasFocus():
            ring = theme.color("accent")
            ring.setAlphaF(0.35)
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(QPen(ring, 2))
            painter.drawEllipse(QPointF(at, middle), RADIUS + 1, RADIUS + 1)
        painter.end()
