"""A triangle and two bars as icons: not every font has these signs."""

from __future__ import annotations

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QIcon, QPainter, QPixmap, QPolygonF

SIDE = 12
SCALE = 4
"""Pixels per point of the pixmap: sharp on every screen."""


def play_icon(color: QColor) -> QIcon:
    """What a click does: start."""
    pixmap, painter = _canvas(color)
    painter.drawPolygon(QPolygonF([QPointF(2.5, 1), QPointF(11, 6), QPointF(2.5, 11)]))
    painter.end()
    return QIcon(pixmap)


def pause_icon(color: QColor) -> QIcon:
    """What a click does: pause."""
    pixmap, painter = _canvas(color)
    for left in (2.0, 7.0):
        painter.drawRect(QRectF(left, 1.5, 3, 9))
    painter.end()
    return QIcon(pixmap)


def _canvas(color: QColor) -> tuple[QPixmap, QPainter]:
    pixmap = QPixmap(SIDE * SCALE, SIDE * SCALE)
    pixmap.setDevicePixelRatio(SCALE)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(color)
    return pixmap, painter
