"""The headline cards: one number each, its difference to the baseline, and what it means on demand."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QFont, QFontMetricsF, QPainter, QPaintEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QSizePolicy, QWidget

from engine import numbers
from engine.metrics import METRIC
from gui.measuring import Measuring
from gui.models.card_words import CardWords, metric_words, nothing_words
from gui.models.latency_words import latency_words, throughput_words
from gui.state_words import STALE_OPACITY, belongs_to
from gui.theme import CARD_PX, SECONDARY_PX, ThemeManager, ui_font
from gui.tooltips import plain_tooltip
from gui.views.latency_state import situation
from gui.workspace import Workspace

TOTALS = ("params", "headline", "activation_bytes", "peak_activation_bytes")
"""Metrics of the cards of totals; ``headline`` is MACs or FLOPs."""
SLOTS = (*TOTALS, "latency_s", "throughput")
THROUGHPUT = "Items per second: the batch over the median of the latency."
PROGRESS_PX = 2
PADDING = 14
NARROW = 170
"""Below this width a card has less padding."""
SMALLEST_PX = 14
"""A value that does not fit gets smaller type, down to this."""
HEIGHT = 80
SENTENCE_TOP, SENTENCE_STEP, SENTENCE_LINES = 40, 15, 3
"""Base lines of a sentence in the place of a value."""
GAP = 6


class Card(QFrame):
    """One metric. Painted by hand: eighteen labels that change their size at each tick would lay out the window."""

    def __init__(self, slot: str, theme: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(f"card_{slot}")
        self.setProperty("panel", True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._theme = theme
        self.words = CardWords("", numbers.NOT_APPLICABLE)
        self.progress: float | None = None
        """Share of the time that the running measurement may take; None while nothing is measured."""
        theme.changed.connect(self.update)

    def sizeHint(self) -> QSize:
        return QSize(200, HEIGHT)

    def minimumSizeHint(self) -> QSize:
        return QSize(104, HEIGHT)

    def show_words(self, words: CardWords) -> None:
        """Repaints only if something is different."""
        if words == self.words:
            return
        self.words = words
        self.setToolTip(plain_tooltip(words.tooltip))
        self.setAccessibleName(words.label)
        said = f"{words.text} {words.difference}".strip()
        self.setAccessibleDescription(f"{said}. {words.stale or words.detail} {words.caption}".strip())
        self.update()

    def set_progress(self, share: float | None) -> None:
        """0 to 1, or None for no line."""
        if share != self.progress:
            self.progress = share
            self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        theme, fit, words = self._theme.current, self.fit(), self.words
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.TextAntialiasing)
        small, body = ui_font(SECONDARY_PX), ui_font(bold=True)
        secondary, tone = theme.color("secondary"), theme.color(words.tone)
        left, bottom = fit.padding, HEIGHT - 12.0
        end = _draw(painter, left, 22, words.label, small, secondary)
        if words.wraps:
            room = left + fit.room - end - GAP
            _draw_elided(
                painter,
                end + GAP,
                22,
                words.value,
                ui_font(SECONDARY_PX, bold=True),
                theme.color("text"),
                room,
            )
            for number, line in enumerate(wrapped(words.detail, small, fit.room, SENTENCE_LINES)):
                _draw(painter, left, SENTENCE_TOP + SENTENCE_STEP * number, line, small, secondary)
            painter.end()
            return
        if words.stale:
            _draw_elided(painter, left, bottom, words.stale, small, secondary, fit.room)
            painter.setOpacity(STALE_OPACITY)
        self._paint_caption(painter, end + GAP, left + fit.room)
        x = _draw(painter, left, 48, words.value, ui_font(fit.value_px, bold=True), theme.color("text"))
        if words.unit and fit.unit_beside:
            x = _draw(painter, x + GAP - 1, 48, words.unit, small, secondary)
        if fit.difference_beside:
            _draw(painter, x + GAP, 48, words.difference, body, tone)
        if not words.stale:
            x = left
            if not fit.difference_beside:
                x = _draw(painter, x, bottom, words.difference, ui_font(SECONDARY_PX, bold=True), tone) + GAP
            _draw_elided(painter, x, bottom, words.detail, small, secondary, left + fit.room - x)
        painter.setOpacity(1.0)
        self._paint_progress(painter)
        painter.end()

    def _paint_caption(self, painter: QPainter, left: float, right: float) -> None:
        """Right-aligned beside the label; left out where there is no room for it."""
        if not self.words.caption:
            return
        font = ui_font(SECONDARY_PX)
        width = QFontMetricsF(font).horizontalAdvance(self.words.caption)
        if left + width <= right:
            x = right - width
            _draw(painter, x, 22, self.words.caption, font, self._theme.current.color("secondary"))

    def _paint_progress(self, painter: QPainter) -> None:
        if self.progress is None:
            return
        # Inside the frame, clear of its round corners.
        line = QRectF(PADDING / 2, HEIGHT - 4.0, self.width() - PADDING, PROGRESS_PX)
        painter.fillRect(line, self._theme.current.color("track"))
        line.setWidth(line.width() * self.progress)
        painter.fillRect(line, self._theme.current.color("accent"))

    def fit(self) -> Fit:
        """How value, unit and difference find room at the present width."""
        padding = float(PADDING if self.width() >= NARROW else PADDING - 4)
        room = self.width() - 2 * padding
        unit = (
            QFontMetricsF(ui_font(SECONDARY_PX)).horizontalAdvance(self.words.unit) + GAP
            if self.words.unit
            else 0.0
        )
        beside = 0.0
        if self.words.difference:
            beside = QFontMetricsF(ui_font(bold=True)).horizontalAdvance(self.words.difference) + GAP
        value_px, width = CARD_PX, _value_width(self.words.value, CARD_PX)
        difference_beside = not self.words.belongs and width + unit + beside <= room
        while width + unit > room and value_px > SMALLEST_PX:
            value_px -= 1
            width = _value_width(self.words.value, value_px)
        return Fit(padding, room, value_px, width + unit <= room, difference_beside)


class Fit(NamedTuple):
    """A card's layout; lengths in pixels."""

    padding: float
    room: float
    value_px: int
    """Size of the value's type."""
    unit_beside: bool
    difference_beside: bool
    """Whether the difference stands beside the value; else it begins the line below."""


@lru_cache(maxsize=4096)
def _value_width(text: str, pixels: int) -> float:
    return QFontMetricsF(ui_font(pixels, bold=True)).horizontalAdvance(text)


def _draw(painter: QPainter, x: float, y: float, text: str, font: QFont, color: QColor) -> float:
    """``text`` from ``x`` on its base line ``y``; returns where it ends."""
    painter.setFont(font)
    painter.setPen(color)
    painter.drawText(QPointF(x, y), text)
    return x + QFontMetricsF(font).horizontalAdvance(text)


def _draw_elided(
    painter: QPainter, x: float, y: float, text: str, font: QFont, color: QColor, room: float
) -> None:
    _draw(painter, x, y, QFontMetricsF(font).elidedText(text, Qt.TextElideMode.ElideRight, room), font, color)


def wrapped(text: str, font: QFont, room: float, most: int) -> list[str]:
    """``text`` as at most ``most`` lines of ``room`` pixels, broken between words; what is too much is elided."""
    metrics, lines = QFontMetricsF(font), [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if not lines[-1] or len(lines) == most or metrics.horizontalAdvance(longer) <= room:
            lines[-1] = longer
        else:
            lines.append(word)
    return [metrics.elidedText(line, Qt.TextElideMode.ElideRight, room) for line in lines]


class CardsBar(QWidget):
    """A row of cards of equal width: totals of the workspace's analysis, and what was measured."""

    def __init__(
        self,
        workspace: Workspace,
        measuring: Measuring,
        theme: ThemeManager,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setObjectName("cards")
        self.setAccessibleName("Headline numbers")
        self._workspace = workspace
        self._measuring = measuring
        self.cards = {slot: Card(slot, theme, self) for slot in SLOTS}
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(12)
        for card in self.cards.values():
            row.addWidget(card, 1)
        for signal in (
            workspace.analysis_changed,
            workspace.model_changed,
            workspace.baseline_changed,
            workspace.count_mode_changed,
        ):
            signal.connect(self.refresh)
        workspace.configuration_changed.connect(self._on_configuration_changed)
        workspace.stale_changed.connect(self._show_totals)
        measuring.state_changed.connect(self._show_latency)
        measuring.latency_changed.connect(self._show_latency)
        measuring.samples_changed.connect(self._show_progress)
        self.refresh()

    def refresh(self) -> None:
        """Show the workspace's totals and what was measured."""
        self._show_totals()
        self._show_latency()

    def _on_configuration_changed(self) -> None:
        # At once: what was measured of another configuration must not be seen as current for a moment.
        self._show_latency()
        if self._workspace.stale:
            self._show_totals()

    def _show_totals(self) -> None:
        workspace = self._workspace
        analysis, stale = workspace.analysis, ""
        if analysis is not None and workspace.stale:
            stale = belongs_to(analysis.configuration, workspace.configuration)
        for slot in TOTALS:
            metric = METRIC[workspace.count_mode if slot == "headline" else slot]
            words = nothing_words(metric)
            if analysis is not None:
                words = replace(metric_words(metric, analysis, workspace.baseline), stale=stale)
            self.cards[slot].show_words(words)

    def _show_latency(self) -> None:
        metric, now = METRIC["latency_s"], situation(self._workspace, self._measuring)
        self.cards["latency_s"].show_words(latency_words(metric.label, metric.description, now))
        self.cards["throughput"].show_words(throughput_words("Throughput", THROUGHPUT, now))
        self._show_progress()

    def _show_progress(self) -> None:
        self.cards["latency_s"].set_progress(self._measuring.progress)
