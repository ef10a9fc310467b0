"""The ground all charts are painted on: a graphics view whose scene is its own pixels, and the input it passes on.

A chart has two items: the picture, kept as a pixmap until the data change, and the overlay (selection, hover, read-out,
cursor) above it, so that a moving pointer never repaints the bars. Axes are painted with the picture: pyqtgraph's
AxisItem costs several milliseconds per repaint.
"""

from __future__ import annotations

from collections.abc import Callable

import pyqtgraph as pg
from PySide6.QtCore import QEvent, QPointF, QRectF, Qt, Signal
from PySide6.QtGui import (
    QFocusEvent,
    QGuiApplication,
    QKeyEvent,
    QKeySequence,
    QMouseEvent,
    QPainter,
    QResizeEvent,
    QWheelEvent,
)
from PySide6.QtWidgets import QApplication, QGraphicsItem, QStyleOptionGraphicsItem, QWidget

from gui.charts.paint import Brush
from gui.state_words import STALE_OPACITY
from gui.theme import ThemeManager

MINIMUM_WIDTH, MINIMUM_HEIGHT = 200, 84
"""A chart's axes, labels and some thirty pixels of data: what 960 × 540 leaves to each."""


class Sheet(pg.GraphicsObject):
    """One full-size item that lets its chart paint."""

    def __init__(self, paint: Callable[[QPainter], None], z: float) -> None:
        super().__init__()
        self._paint = paint
        self._rect = QRectF()
        self.setZValue(z)
        self.setAcceptedMouseButtons(Qt.MouseButton.NoButton)

    def resize(self, rect: QRectF) -> None:
        self.prepareGeometryChange()
        self._rect = rect

    def boundingRect(self) -> QRectF:
        return self._rect

    def paint(
        self, painter: QPainter, option: QStyleOptionGraphicsItem, widget: QWidget | None = None
    ) -> None:
        self._paint(painter)


class ChartCanvas(pg.GraphicsView):
    """Base of the charts. Subclasses paint and answer what the pointer and the keyboard do.

    Subclasses override ``paint_picture``, ``paint_overlay`` and any of the methods under "for subclasses"; positions
    are in logical pixels of this widget.
    """

    picture_copied = Signal()

    def __init__(self, theme: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(parent, useOpenGL=False, background=None)
        self.theme = theme
        self.brush = Brush(theme.current)
        self._pressed_at: QPointF | None = None
        self._dragging = False
        self._moved_to = QPointF()
        self._by_keyboard = False
        self._stale_words = ""
        self._picture = Sheet(self._paint_picture, 0)
        self._picture.setCacheMode(QGraphicsItem.CacheMode.DeviceCoordinateCache)
        self._overlay = Sheet(self._paint_overlay, 1)
        self.setCentralItem(None)
        self.addItem(self._picture)
        self.addItem(self._overlay)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.NoContextMenu)
        self.setMinimumSize(MINIMUM_WIDTH, MINIMUM_HEIGHT)
        theme.changed.connect(self._on_theme_changed)

    # -- for subclasses ------------------------------------------------------------------------------------------

    def paint_picture(self, painter: QPainter) -> None:
        """Everything that changes with the data."""

    def paint_overlay(self, painter: QPainter) -> None:
        """Everything that follows the selection and the pointer."""

    def laid_out(self) -> None:
        """The size or the fonts changed."""

    def hover(self, at: QPointF | None) -> None:
        """The pointer moved here without a button; None when it left."""

    def press(self, at: QPointF) -> bool:
        """The left button went down; True takes the following drag from the first pixel on."""
        return False

    def click(self, at: QPointF, modifiers: Qt.KeyboardModifier) -> None:
        """The left button went down and up without a drag."""

    def double_click(self, at: QPointF) -> None:
        """The left button was double clicked."""

    def drag(self, at: QPointF, moved: QPointF) -> None:
        """The pointer moved by ``moved`` with the left button held."""

    def released(self) -> None:
        """The left button went up, after a drag or without one."""

    def wheel(self, at: QPointF, steps: float, sideways: float) -> bool:
        """The wheel turned by notches up (``steps``) or to the right; False when the chart does not use it."""
        return False

    def key(self, key: int) -> bool:
        """A key without Ctrl or Alt; False when the chart does not use it."""
        return False

    @property
    def by_keyboard(self) -> bool:
        """Whether the keyboard leads here: then the ring is shown, and the current node has the read-out."""
        return self._by_keyboard and self.hasFocus()

    # -- painting ------------------------------------------------------------------------------------------------

    @property
    def area(self) -> QRectF:
        """The whole chart in logical pixels."""
        return QRectF(0, 0, self.width(), self.height())

    def refresh(self) -> None:
        """Paint the picture and the overlay again."""
        self._picture.update()
        self._overlay.update()

    def refresh_overlay(self) -> None:
        self._overlay.update()

    @property
    def stale_words(self) -> str:
        """What the numbers belong to while something else is asked for; ``""`` while they are current."""
        return self._stale_words

    def set_stale(self, words: str) -> None:
        """Fade the picture while ``words`` say what else its numbers belong to."""
        if words != self._stale_words:
            self._stale_words = words
            self.refresh()

    def describe(self, text: str) -> None:
        """What a screen reader says of the chart: its current node."""
        if text != self.accessibleDescription():
            self.setAccessibleDescription(text)

    def copy_picture(self) -> None:
        """Put the chart as it is on the clipboard."""
        QGuiApplication.clipboard().setPixmap(self.grab())
        self.picture_copied.emit()

    def _paint_picture(self, painter: QPainter) -> None:
        painter.fillRect(self.area, self.brush.color("surface"))
        if self._stale_words:
            painter.setOpacity(STALE_OPACITY)
        self.paint_picture(painter)

    def _paint_overlay(self, painter: QPainter) -> None:
        self.paint_overlay(painter)
        if self.by_keyboard:
            self.brush.focus_frame(painter, self.area)

    def _on_theme_changed(self) -> None:
        self.brush = Brush(self.theme.current)
        self.laid_out()
        self.refresh()

    # -- events; none reaches pyqtgraph's scene, so that its menus and mouse modes stay out ------------------------

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        super().resizeEvent(event)
        if event is None:  # pyqtgraph calls this before the items exist
            return
        self._picture.resize(self.area)
        self._overlay.resize(self.area)
        self.laid_out()
        self.refresh()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        self.setFocus(Qt.FocusReason.MouseFocusReason)
        self._lead_by_keyboard(False)
        if event.button() == Qt.MouseButton.LeftButton:
            self._pressed_at = self._moved_to = event.position()
            self._dragging = self.press(event.position())
        event.accept()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        at = event.position()
        if self._pressed_at is not None and event.buttons() & Qt.MouseButton.LeftButton:
            far = (at - self._pressed_at).manhattanLength() >= QApplication.startDragDistance()
            self._dragging = self._dragging or far
            if self._dragging:
                self.drag(at, at - self._moved_to)
                self._moved_to = at
        else:
            self.hover(at)
        event.accept()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton and self._pressed_at is not None:
            if not self._dragging:
                self.click(event.position(), event.modifiers())
            self._pressed_at = None
            self._dragging = False
            self.released()
            self.hover(event.position())
        event.accept()

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton:
            self.double_click(event.position())
        event.accept()

    def leaveEvent(self, event: QEvent) -> None:
        self.hover(None)

    def wheelEvent(self, event: QWheelEvent) -> None:
        turned = event.angleDelta()
        shifted = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
        up, right = turned.y() / 120, turned.x() / 120
        if shifted:
            up, right = 0.0, up or right
        event.setAccepted(self.wheel(event.position(), up, right))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.matches(QKeySequence.StandardKey.Copy):
            self.copy_picture()
            return
        other = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.AltModifier
        if event.modifiers() & other or not self.key(event.key()):
            event.ignore()
        else:
            self._lead_by_keyboard(True)

    def _lead_by_keyboard(self, leads: bool) -> None:
        if leads != self._by_keyboard:
            self._by_keyboard = leads
            self.refresh_overlay()

    def focusInEvent(self, event: QFocusEvent) -> None:
        super().focusInEvent(event)
        reasons = Qt.FocusReason
        self._by_keyboard = event.reason() in (
            reasons.TabFocusReason,
            reasons.BacktabFocusReason,
            reasons.ShortcutFocusReason,
        )
        self.refresh_overlay()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        super().focusOutEvent(event)
        self.refresh_overlay()
