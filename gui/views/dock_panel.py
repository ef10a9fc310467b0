"""A panel that can be moved, floated and hidden; a slim grip takes the place of a title bar."""

from __future__ import annotations

from PySide6.QtCore import QPointF, QSize, Qt
from PySide6.QtGui import QEnterEvent, QPainter, QPaintEvent
from PySide6.QtWidgets import QDockWidget, QWidget

from gui.theme import ThemeManager

GRIP_PX = 8
MINIMUM_WIDTH = 256


class Grip(QWidget):
    """Dots to drag the panel by; they show only under the pointer, panels have their own titles."""

    def __init__(self, theme: ThemeManager, parent: QWidget) -> None:
        super().__init__(parent)
        self._theme = theme
        self.setToolTip("Drag to move this panel, double click to float it")
        self.setCursor(Qt.CursorShape.SizeAllCursor)

    def sizeHint(self) -> QSize:
        return QSize(GRIP_PX, GRIP_PX)

    def minimumSizeHint(self) -> QSize:
        return self.sizeHint()

    def enterEvent(self, event: QEnterEvent) -> None:
        self.update()
        super().enterEvent(event)

    def leaveEvent(self, event: object) -> None:
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        if not self.underMouse():
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(self._theme.current.color("disabled"))
        middle = QPointF(self.width() / 2, self.height() / 2)
        for offset in (-16, -8, 0, 8, 16):
            painter.drawEllipse(middle + QPointF(offset, 0), 1.5, 1.5)
        painter.end()


class DockPanel(QDockWidget):
    """``name`` is the object name that the saved layout knows it by."""

    def __init__(self, title: str, name: str, panel: QWidget, theme: ThemeManager, parent: QWidget) -> None:
        super().__init__(title, parent)
        self.setObjectName(name)
        self.setAccessibleName(title)
        self.setTitleBarWidget(Grip(theme, self))
        # A long header must not decide how wide the window is; how low a panel gets, its own layout knows.
        panel.setMinimumWidth(MINIMUM_WIDTH)
        self.setWidget(panel)
        toggle = self.toggleViewAction()
        toggle.setObjectName(f"action_{name}")
        toggle.setToolTip(f"Show or hide {title}")
