"""The headline cards: one number each, its difference to the baseline, and what it means on demand."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from PySide6.QtCore import QPointF, QSize, Qt
from PySide6.QtGui import QColor, QFont, QFontMetricsF, QPainter, QPaintEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QSizePolicy, QWidget

from engine import numbers
from engine.metrics import METRIC, Metric
from engine.results import Analysis, Coverage
from engine.tree_values import is_same
from gui.state_words import STALE_OPACITY, belongs_to
from gui.theme import CARD_PX, SECONDARY_PX, ThemeManager, ui_font
from gui.workspace import Workspace

SLOTS = (
    "params",
    "headline",
    "activation_bytes",
    "peak_activation_bytes",
    "bytes_moved",
    "arithmetic_intensity",
)
"""Metrics of the cards; ``headline`` is MACs or FLOPs."""
PADDING = 14
NARROW = 170
"""Below this width a card has less padding."""
SMALLEST_PX = 14
"""A value that does not fit gets smaller type, down to this."""
HEIGHT = 80
GAP = 6


class Card(QFrame):
    """One metric. Painted by hand: eighteen labels that change their size at each tick would lay out the window."""

    def __init__(self, slot: str, theme: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(f"card_{slot}")
        self.setProperty("panel", True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._theme = theme
        self.label = ""
        self.value = numbers.NOT_APPLICABLE
        self.unit = ""
        self._text = ""
        """Value with its unit."""
        self.difference = ""
        self.tone = "secondary"
        """Token of the difference's colour."""
        self.detail = ""
        self.stale_words = ""
        """What the numbers belong to while something else is asked for."""
        theme.changed.connect(self.update)

    def sizeHint(self) -> QSize:
        return QSize(200, HEIGHT)

    def minimumSizeHint(self) -> QSize:
        return QSize(104, HEIGHT)

    def clear(self, metric: Metric) -> None:
        """Nothing is open."""
        self._set(metric, numbers.NOT_APPLICABLE, "", "secondary", "")
        self.setToolTip(metric.description)

    def show_metric(self, metric: Metric, analysis: Analysis, baseline: Analysis | None) -> None:
        """The total of ``metric``, compared with ``baseline`` unless that is the same configuration."""
        after = getattr(analysis.totals, metric.key)
        text = numbers.value(metric, after)
        if after is not None and _is_bounded(metric, analysis):
            text = f"≥ {text}"
        difference, tone, detail = "", "secondary", _exact_line(metric, analysis)
        if baseline is not None and not is_same(analysis, baseline):
            before = getattr(baseline.totals, metric.key)
            difference = numbers.difference(before, after)
            if before != after:
                detail = f"{numbers.value(metric, before)} before"
                if metric.less_is_better and before is not None and after is not None:
                    tone = "better" if after < before else "worse"
        self._set(metric, text, difference, tone, detail)
        self.setToolTip(_tooltip(metric, analysis, baseline))

    @property
    def stale(self) -> bool:
        return bool(self.stale_words)

    def set_stale(self, words: str) -> None:
        """Dim the numbers while ``words`` say what else they belong to; ``""`` when they are current."""
        if words != self.stale_words:
            self.stale_words = words
            self._describe()
            self.update()

    def _set(self, metric: Metric, text: str, difference: str, tone: str, detail: str) -> None:
        self.label = metric.label
        value = text.removesuffix(metric.suffix) if metric.suffix else text
        self.unit = metric.suffix if value != text else ""
        self.value = value.strip()
        self.difference, self.tone, self.detail = difference, tone, detail
        self.setAccessibleName(metric.label)
        self._text = text
        self._describe()
        self.update()

    def _describe(self) -> None:
        words = f"{self._text} {self.difference}".strip()
        self.setAccessibleDescription(f"{words}. {self.stale_words or self.detail}".strip())

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        theme, fit = self._theme.current, self.fit()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.TextAntialiasing)
        small, body = ui_font(SECONDARY_PX), ui_font(bold=True)
        secondary, tone = theme.color("secondary"), theme.color(self.tone)
        left, bottom = fit.padding, HEIGHT - 12.0
        _draw(painter, left, 22, self.label, small, secondary)
        if self.stale_words:
            words = QFontMetricsF(small).elidedText(self.stale_words, Qt.TextElideMode.ElideRight, fit.room)
            _draw(painter, left, bottom, words, small, secondary)
            painter.setOpacity(STALE_OPACITY)
        x = _draw(painter, left, 48, self.value, ui_font(fit.value_px, bold=True), theme.color("text"))
        if self.unit and fit.unit_beside:
            x = _draw(painter, x + GAP - 1, 48, self.unit, small, secondary)
        if fit.difference_beside:
            _draw(painter, x + GAP, 48, self.difference, body, tone)
        if not self.stale_words:
            x = left
            if not fit.difference_beside:
                x = _draw(painter, x, bottom, self.difference, ui_font(SECONDARY_PX, bold=True), tone) + GAP
            detail = QFontMetricsF(small).elidedText(
                self.detail, Qt.TextElideMode.ElideRight, left + fit.room - x
            )
            _draw(painter, x, bottom, detail, small, secondary)
        painter.end()

    def fit(self) -> Fit:
        """How value, unit and difference find room at the present width."""
        padding = float(PADDING if self.width() >= NARROW else PADDING - 4)
        room = self.width() - 2 * padding
        unit = QFontMetricsF(ui_font(SECONDARY_PX)).horizontalAdvance(self.unit) + GAP if self.unit else 0.0
        beside = 0.0
        if self.difference:
            beside = QFontMetricsF(ui_font(bold=True)).horizontalAdvance(self.difference) + GAP
        value_px, width = CARD_PX, _value_width(self.value, CARD_PX)
        difference_beside = width + unit + beside <= room
        while width + unit > room and value_px > SMALLEST_PX:
            value_px -= 1
            width = _value_width(self.value, value_px)
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


class CardsBar(QWidget):
    """A row of cards of equal width over the totals of the workspace's analysis."""

    def __init__(self, workspace: Workspace, theme: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("cards")
        self.setAccessibleName("Headline numbers")
        self._workspace = workspace
        self.cards = {slot: Card(slot, theme, self) for slot in SLOTS}
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(12)
        for card in self.cards.values():
            row.addWidget(card, 1)
        workspace.analysis_changed.connect(self.refresh)
        workspace.model_changed.connect(self.refresh)
        workspace.baseline_changed.connect(self.refresh)
        workspace.count_mode_changed.connect(self.refresh)
        workspace.configuration_changed.connect(self._show_stale)
        workspace.stale_changed.connect(self._show_stale)
        self.refresh()

    def refresh(self) -> None:
        """Show the workspace's totals."""
        analysis, baseline = self._workspace.analysis, self._workspace.baseline
        for slot, card in self.cards.items():
            metric = METRIC[self._workspace.count_mode if slot == "headline" else slot]
            if analysis is None:
                card.clear(metric)
            else:
                card.show_metric(metric, analysis, baseline)
        self._show_stale()

    def _show_stale(self) -> None:
        analysis, words = self._workspace.analysis, ""
        if analysis is not None and self._workspace.stale:
            words = belongs_to(analysis.configuration, self._workspace.configuration)
        for card in self.cards.values():
            card.set_stale(words)


def coverage_sentence(coverage: Coverage) -> str:
    """``All 171 calls are counted.`` or which operations are not."""
    if not coverage.not_counted:
        return f"All {coverage.calls:,} calls are counted."
    missing = ", ".join(f"{each.calls:,} × {each.op}" for each in coverage.not_counted)
    return (
        f"All but {missing} are counted ({numbers.share(coverage.counted_calls, coverage.calls)} of calls)."
    )


def _is_bounded(metric: Metric, analysis: Analysis) -> bool:
    """Whether the total is a lower bound because rows do not know this metric (topk has no MACs but unknown FLOPs)."""
    if not analysis.coverage.not_counted:
        return False
    key = metric.parts[0] if metric.parts is not None else metric.key
    return None in getattr(analysis.layers, key)


def _exact_line(metric: Metric, analysis: Analysis) -> str:
    totals = analysis.totals
    if metric.key == "params":
        return f"{numbers.exact(totals.params)} · {numbers.size(totals.weight_bytes)}"
    if metric.parts is not None:
        return f"{metric.description.rstrip('.')}"
    return numbers.exact_value(metric, getattr(totals, metric.key))


def _tooltip(metric: Metric, analysis: Analysis, baseline: Analysis | None) -> str:
    after = getattr(analysis.totals, metric.key)
    lines = [f"{metric.label}: {numbers.exact_value(metric, after)}", metric.description]
    if metric.key in ("macs", "flops"):
        lines.append("1 MAC = 2 FLOPs")
    if metric.key == "params":
        totals = analysis.totals
        lines.append(
            f"Trainable {numbers.exact(totals.trainable_params)}, "
            f"frozen {numbers.exact(totals.params - totals.trainable_params)}, "
            f"buffers {numbers.exact(totals.buffers)} (apart)"
        )
        if totals.untouched_params:
            lines.append(f"{numbers.exact(totals.untouched_params)} are not read by this forward pass")
    lines.append("Input " + ", ".join(f"{given.name} {given}" for given in analysis.configuration.inputs))
    if baseline is not None and not is_same(analysis, baseline):
        lines.append(f"Baseline: {numbers.exact_value(metric, getattr(baseline.totals, metric.key))}")
    if metric.key in ("macs", "flops", "special_ops") or metric.parts is not None:
        lines.append(coverage_sentence(analysis.coverage))
    return "\n".join(lines)
