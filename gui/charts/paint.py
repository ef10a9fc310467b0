"""The hand all charts paint with: colours and fonts of the theme, axes, legends, read-outs, sentences."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QPoint, QPointF, QRectF, Qt
from PySide6.QtGui import QBrush, QColor, QFont, QFontMetricsF, QPainter, QPen, QPixmap

from gui.charts.layout import readout_place
from gui.charts.ticks import Tick
from gui.theme import SECONDARY_PX, Theme, ui_font

FAMILY_WORDS = {"movement": "data movement"}
PAD = 8.0
SENTENCE_MARGINS = (24, 8, -24, -8)
SENTENCE_FLAGS = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap


class Brush:
    """Colours, pens and fonts made once per theme, and the shapes every chart has."""

    def __init__(self, theme: Theme) -> None:
        self.theme = theme
        self._colors: dict[str, QColor] = {}
        self.small = ui_font(SECONDARY_PX)
        self.strong = ui_font(SECONDARY_PX + 1, bold=True)
        self.strong.setWeight(QFont.Weight.DemiBold)
        self.small_metrics = QFontMetricsF(self.small)
        self.strong_metrics = QFontMetricsF(self.strong)
        self.line = self.small_metrics.height()

    def color(self, token: str, alpha: float = 1.0) -> QColor:
        """A token or family; ``alpha`` multiplies its opacity."""
        if token not in self._colors:
            self._colors[token] = self.theme.color(token)
        color = QColor(self._colors[token])
        if alpha != 1.0:
            color.setAlphaF(color.alphaF() * alpha)
        return color

    def pen(self, token: str, width: float = 1.0, alpha: float = 1.0) -> QPen:
        return QPen(self.color(token, alpha), width)

    def hatch(self, token: str) -> QBrush:
        """Diagonal lines, for what is not counted. Qt's own pattern is too wide for a bar of three pixels."""
        tile = QPixmap(3, 3)
        tile.fill(Qt.GlobalColor.transparent)
        painter = QPainter(tile)
        painter.setPen(self.color(token))
        painter.drawPoints([QPoint(0, 2), QPoint(1, 1), QPoint(2, 0)])
        painter.end()
        return QBrush(tile)

    def text_width(self, text: str) -> float:
        return self.small_metrics.horizontalAdvance(text)

    def small_text(
        self,
        painter: QPainter,
        rect: QRectF,
        text: str,
        align: Qt.AlignmentFlag = Qt.AlignmentFlag.AlignLeft,
        token: str = "secondary",
    ) -> None:
        """One line of secondary text, centred vertically in ``rect``."""
        painter.setFont(self.small)
        painter.setPen(self.color(token))
        painter.drawText(rect, align | Qt.AlignmentFlag.AlignVCenter | Qt.TextFlag.TextSingleLine, text)

    def grid(self, painter: QPainter, plot: QRectF, ticks: Sequence[Tick], heights: Sequence[float]) -> None:
        """Horizontal grid lines with their labels left of ``plot``; ``heights`` are pixels above its bottom."""
        painter.setPen(self.pen("grid"))
        for height in heights[1:] if heights and heights[0] == 0 else heights:
            y = round(plot.bottom() - height) + 0.5
            painter.drawLine(QPointF(plot.left(), y), QPointF(plot.right(), y))
        for tick, height in zip(ticks, heights, strict=True):
            rect = QRectF(0, plot.bottom() - height - self.line / 2, plot.left() - 6, self.line)
            self.small_text(painter, rect, tick.label, Qt.AlignmentFlag.AlignRight)

    def base_line(self, painter: QPainter, plot: QRectF) -> None:
        painter.setPen(self.pen("border"))
        y = round(plot.bottom()) + 0.5
        painter.drawLine(QPointF(plot.left(), y), QPointF(plot.right(), y))

    def legend(self, painter: QPainter, rect: QRectF, families: Sequence[str], unknown: bool = False) -> None:
        """Small squares with words, right aligned in ``rect``; what does not fit is counted (``+3``).

        ``unknown`` puts the mark of rows that are not counted first.
        """
        entries = [(self.color(family), FAMILY_WORDS.get(family, family)) for family in families]
        marks: list[tuple[QColor | QBrush, str]] = [(self.hatch("caution"), "not counted")] if unknown else []
        marks += entries
        widths = [self.text_width(word) + 24 for _, word in marks]
        shown = len(marks)
        while shown and sum(widths[:shown]) + (30 if shown < len(marks) else 0) > rect.width():
            shown -= 1
        if not shown:
            return
        x = rect.right() - sum(widths[:shown]) - (26 if shown < len(marks) else -12)
        for (fill, word), width in zip(marks[:shown], widths[:shown], strict=True):
            painter.fillRect(QRectF(round(x), round(rect.center().y() - 3.5), 7, 7), fill)
            self.small_text(painter, QRectF(x + 12, rect.top(), width, rect.height()), word)
            x += width
        if shown < len(marks):
            self.small_text(painter, QRectF(x, rect.top(), 30, rect.height()), f"+{len(marks) - shown}")

    def sentence(self, painter: QPainter, area: QRectF, text: str) -> None:
        """Words where the data would be."""
        painter.setFont(ui_font())
        painter.setPen(self.color("secondary"))
        painter.drawText(area.adjusted(*SENTENCE_MARGINS), SENTENCE_FLAGS, text)

    def sentence_over(self, painter: QPainter, area: QRectF, text: str) -> None:
        """Words on the data's own ground, so that no line crosses them; smaller where they would be cut."""
        inner = area.adjusted(*SENTENCE_MARGINS)
        font = ui_font() if self.holds(area, text) else self.small
        ground = QFontMetricsF(font).boundingRect(inner, int(SENTENCE_FLAGS), text)
        painter.fillRect(ground.adjusted(-4, -2, 4, 2), self.color("surface"))
        painter.setFont(font)
        painter.setPen(self.color("secondary"))
        painter.drawText(inner, SENTENCE_FLAGS, text)

    def holds(self, area: QRectF, text: str) -> bool:
        """Whether :meth:`sentence` shows all of ``text`` in ``area``."""
        inner = area.adjusted(*SENTENCE_MARGINS)
        return (
            QFontMetricsF(ui_font()).boundingRect(inner, int(SENTENCE_FLAGS), text).height() <= inner.height()
        )

    def readout(
        self, painter: QPainter, area: QRectF, at: QPointF, title: str, lines: Sequence[str]
    ) -> QRectF:
        """A small card beside ``at``, wholly inside ``area``; returns where it is."""
        widest = min(340.0, area.width() - 2 * PAD)
        title = self.strong_metrics.elidedText(title, Qt.TextElideMode.ElideMiddle, widest - 2 * PAD)
        wrapped = self._wrapped(lines, widest - 2 * PAD)
        width = max(
            [self.strong_metrics.horizontalAdvance(title), *(self.text_width(line) for line in wrapped)]
        )
        size = (width + 2 * PAD + 2, self.strong_metrics.height() + len(wrapped) * (self.line + 1) + PAD + 4)
        bounds = (area.left() + 2, area.top() + 2, area.width() - 4, area.height() - 4)
        x, y = readout_place((at.x(), at.y()), size, bounds)
        card = QRectF(round(x) + 0.5, round(y) + 0.5, round(size[0]) - 1, round(size[1]) - 1)
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(self.pen("border"))
        painter.setBrush(self.color("surface"))
        painter.drawRoundedRect(card, 4, 4)
        painter.setPen(self.color("text"))
        painter.setFont(self.strong)
        top = card.top() + PAD / 2 + 1
        inner = QRectF(card.left() + PAD, top, card.width() - PAD, self.strong_metrics.height())
        painter.drawText(inner, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, title)
        y = inner.bottom() + 1
        for line in wrapped:
            self.small_text(painter, QRectF(inner.left(), y, inner.width(), self.line), line)
            y += self.line + 1
        painter.restore()
        return card

    def _wrapped(self, lines: Sequence[str], width: float) -> list[str]:
        """``lines`` broken at spaces to ``width`` pixels, six at most."""
        found: list[str] = []
        for line in lines:
            current = ""
            for word in line.split(" "):
                longer = f"{current} {word}" if current else word
                if current and self.text_width(longer) > width:
                    found.append(current)
                    longer = word
                current = longer
            found.append(current)
        if len(found) > 6:
            found[5] = f"{found[5]} …"
        return found[:6]

    def focus_frame(self, painter: QPainter, area: QRectF) -> None:
        """The ring of keyboard focus."""
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(self.pen("accent", 1.0, 0.55))
        painter.drawRect(area.adjusted(0.5, 0.5, -0.5, -0.5))
