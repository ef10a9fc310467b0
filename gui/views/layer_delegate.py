"""Paints the cells of the layer tree: text, the family's square, inline bars.

Some 250 cells are repainted at every tick of a slider, so fonts, colours and laid-out texts are kept, and each
cell costs one call to the model.
"""

from __future__ import annotations

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QFont, QFontMetricsF, QPainter, QStaticText
from PySide6.QtWidgets import QStyledItemDelegate, QStyleOptionViewItem, QWidget

from gui.models.cells import Cell
from gui.models.roles import Role
from gui.state_words import STALE_OPACITY
from gui.theme import SECONDARY_PX, ThemeManager, ui_font

ROW_HEIGHT = 24
MARGIN = 8
SQUARE = 8
BAR_WIDTH = 40
BAR_HEIGHT = 7
FLAG_GAP = 4
NEIGHBOUR = 40
"""Pixels that a flagged name may reach into the column beside it."""
MAX_KEPT = 8192
"""Laid-out texts kept; a 100-step drag over 35 visible rows makes about that many."""


class LayerDelegate(QStyledItemDelegate):
    """Delegate for every column of the tree; reads `Role.CELL` only."""

    def __init__(self, theme: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._texts: dict[tuple[str, str], tuple[QStaticText, float]] = {}
        self._fonts: dict[str, QFont] = {}
        self._metrics: dict[str, QFontMetricsF] = {}
        self._colors: dict[str, QColor] = {}
        self.restyle()
        theme.changed.connect(self.restyle)

    def restyle(self) -> None:
        """Take fonts and colours from the theme again."""
        self._fonts = {
            "body": ui_font(),
            "bold": ui_font(bold=True),
            "small": ui_font(SECONDARY_PX),
        }
        self._metrics = {key: QFontMetricsF(font) for key, font in self._fonts.items()}
        theme = self._theme.current
        self._colors = {
            token: theme.color(token)
            for token in ("text", "secondary", "caution", "better", "worse", "track", "ghost", *theme.family)
        }
        self._texts.clear()

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex) -> QSize:
        cell = index.data(Role.CELL)
        width = 2 * MARGIN
        if isinstance(cell, Cell):
            width += int(self._laid_out(_font_of(cell), cell.text)[1]) + 1
            if cell.flag:
                width += FLAG_GAP + int(self._laid_out("small", cell.flag)[1]) + 1
            if index.column() == 0:
                width += SQUARE + MARGIN
            if cell.bar is not None:
                width += MARGIN + BAR_WIDTH
        return QSize(width, ROW_HEIGHT)

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        cell = index.data(Role.CELL)
        if not isinstance(cell, Cell):
            return
        rect = option.rect
        left, top, width = float(rect.x()), float(rect.y()), float(rect.width())
        if index.column() == 0:
            self._paint_layer(painter, cell, left, top, width)
            return
        before = painter.opacity()
        if cell.faded:
            # A row that is old as a whole is faded already.
            painter.setOpacity(min(before, STALE_OPACITY))
        right = left + width - MARGIN
        if cell.bar is not None:
            right -= BAR_WIDTH
            self._paint_bar(painter, cell, right, top + (ROW_HEIGHT - BAR_HEIGHT) / 2)
            right -= MARGIN
        if cell.text:
            font = _font_of(cell)
            self._paint_right(painter, font, cell, right, top, right - left)
        painter.setOpacity(before)

    def _paint_layer(self, painter: QPainter, cell: Cell, left: float, top: float, width: float) -> None:
        if cell.family:
            painter.fillRect(
                QRectF(left + 2, top + (ROW_HEIGHT - SQUARE) / 2, SQUARE, SQUARE),
                self._colors.get(cell.family, self._colors["other"]),
            )
            left, width = left + SQUARE + MARGIN, width - SQUARE - MARGIN
        room = width - MARGIN
        if cell.flag:
            flag, flag_width = self._laid_out("small", cell.flag)
            # The next cell of a layer without operations holds a dash at its far end.
            room -= flag_width + FLAG_GAP - NEIGHBOUR
        used = self._paint_text(painter, "body", cell.text, self._colors[cell.tone], left, top, room)
        if cell.struck:
            # QStaticText places the line of a struck-out font wrongly.
            painter.fillRect(QRectF(left, top + ROW_HEIGHT / 2, used, 1), self._colors[cell.tone])
        if cell.flag:
            painter.setFont(self._fonts["small"])
            painter.setPen(self._colors[cell.flag_tone])
            painter.drawStaticText(QPointF(left + used + FLAG_GAP, self._baseline("small", top)), flag)

    def _paint_right(
        self, painter: QPainter, font: str, cell: Cell, right: float, top: float, room: float
    ) -> None:
        text, width = self._laid_out(font, cell.text)
        if width > room:
            self._paint_text(painter, font, cell.text, self._colors[cell.tone], right - room, top, room)
            return
        painter.setFont(self._fonts[font])
        painter.setPen(self._colors[cell.tone])
        painter.drawStaticText(QPointF(right - width, self._baseline(font, top)), text)

    def _paint_text(
        self, painter: QPainter, font: str, words: str, color: QColor, left: float, top: float, room: float
    ) -> float:
        """Left-aligned, elided in the middle; returns the width used."""
        text, width = self._laid_out(font, words)
        if width > room:
            words = self._metrics[font].elidedText(words, Qt.TextElideMode.ElideMiddle, room)
            text, width = self._laid_out(font, words)
        painter.setFont(self._fonts[font])
        painter.setPen(color)
        painter.drawStaticText(QPointF(left, self._baseline(font, top)), text)
        return width

    def _paint_bar(self, painter: QPainter, cell: Cell, left: float, top: float) -> None:
        painter.fillRect(QRectF(left, top, BAR_WIDTH, BAR_HEIGHT), self._colors["track"])
        if cell.ghost is not None and abs(cell.ghost - (cell.bar or 0.0)) > 0.002:
            # Higher than the bar, so that it shows whether the baseline is longer or shorter.
            painter.fillRect(
                QRectF(left, top - 2, min(cell.ghost, 1.0) * BAR_WIDTH, BAR_HEIGHT + 4), self._colors["ghost"]
            )
        share = min(cell.bar or 0.0, 1.0)
        if share > 0:
            # A layer that costs anything shows at least a hairline.
            painter.fillRect(
                QRectF(left, top, max(share * BAR_WIDTH, 1.0), BAR_HEIGHT), self._colors["secondary"]
            )

    def _baseline(self, font: str, top: float) -> float:
        """Top of a line of text that is centred in the row."""
        return top + (ROW_HEIGHT - self._metrics[font].height()) / 2

    def _laid_out(self, font: str, words: str) -> tuple[QStaticText, float]:
        """The text ready to be drawn in ``font``, and its width in pixels."""
        try:
            return self._texts[font, words]
        except KeyError:
            if len(self._texts) > MAX_KEPT:
                self._texts.clear()
            text = QStaticText(words)
            text.setTextFormat(Qt.TextFormat.PlainText)
            text.setPerformanceHint(QStaticText.PerformanceHint.AggressiveCaching)
            made = self._texts[font, words] = (text, self._metrics[font].horizontalAdvance(words))
            return made


def _font_of(cell: Cell) -> str:
    return "bold" if cell.bold else "small" if cell.small else "body"
