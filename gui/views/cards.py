"""The headline cards: one number each, its difference to the baseline, and what it means on demand."""

from __future__ import annotations

from PySide6.QtCore import QPointF, QSize, Qt, QTimer
from PySide6.QtGui import QFontMetricsF, QPainter, QPaintEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QSizePolicy, QWidget

from engine import numbers
from engine.metrics import METRIC, Metric
from engine.results import Analysis, Coverage
from engine.tree_values import is_same
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
STALE_MS = 300
"""How long an answer may take before the numbers on the screen are dimmed."""
STALE_OPACITY = 0.4
PADDING = 14
HEIGHT = 80


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
        self.difference = ""
        self.tone = "secondary"
        """Token of the difference's colour."""
        self.detail = ""
        self.stale = False
        theme.changed.connect(self.update)

    def sizeHint(self) -> QSize:
        return QSize(200, HEIGHT)

    def minimumSizeHint(self) -> QSize:
        return QSize(120, HEIGHT)

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

    def set_stale(self, stale: bool) -> None:
        """Dim what no longer belongs to the configuration asked for."""
        if stale != self.stale:
            self.stale = stale
            self.update()

    def _set(self, metric: Metric, text: str, difference: str, tone: str, detail: str) -> None:
        self.label = metric.label
        value = text.removesuffix(metric.suffix) if metric.suffix else text
        self.unit = metric.suffix if value != text else ""
        self.value = value.strip()
        self.difference, self.tone, self.detail = difference, tone, detail
        self.setAccessibleName(metric.label)
        self.setAccessibleDescription(f"{text} {difference}. {detail}".strip())
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        theme = self._theme.current
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.TextAntialiasing)
        if self.stale:
            painter.setOpacity(STALE_OPACITY)
        small, body = ui_font(SECONDARY_PX), ui_font(bold=True)
        large = ui_font(CARD_PX, bold=True)
        small_metrics, room = QFontMetricsF(small), self.width() - 2.0 * PADDING
        painter.setFont(small)
        painter.setPen(theme.color("secondary"))
        painter.drawText(QPointF(PADDING, 22), self.label)
        detail = small_metrics.elidedText(self.detail, Qt.TextElideMode.ElideRight, room)
        painter.drawText(QPointF(PADDING, HEIGHT - 12), detail)

        x, baseline = float(PADDING), 48.0
        painter.setFont(large)
        painter.setPen(theme.color("text"))
        painter.drawText(QPointF(x, baseline), self.value)
        x += QFontMetricsF(large).horizontalAdvance(self.value) + 5
        if self.unit:
            painter.setFont(small)
            painter.setPen(theme.color("secondary"))
            painter.drawText(QPointF(x, baseline), self.unit)
            x += small_metrics.horizontalAdvance(self.unit) + 6
        painter.setFont(body)
        painter.setPen(theme.color(self.tone))
        painter.drawText(QPointF(x, baseline), self.difference)
        painter.end()


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
        self._stale_timer = QTimer(self, singleShot=True, interval=STALE_MS)
        self._stale_timer.timeout.connect(self._on_late)
        workspace.analysis_changed.connect(self._on_analysis_changed)
        workspace.model_changed.connect(self._on_analysis_changed)
        workspace.baseline_changed.connect(self.refresh)
        workspace.count_mode_changed.connect(self.refresh)
        workspace.configuration_changed.connect(self._on_configuration_changed)
        workspace.failure_changed.connect(self._on_failure_changed)
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

    def _is_current(self) -> bool:
        analysis = self._workspace.analysis
        return analysis is None or analysis.configuration == self._workspace.configuration

    def _set_stale(self, stale: bool) -> None:
        for card in self.cards.values():
            card.set_stale(stale)

    def _on_analysis_changed(self) -> None:
        """During a drag each answer belongs to a moment ago: that is fresh enough, for another 300 ms."""
        self.refresh()
        self._set_stale(False)
        self._stale_timer.stop()
        self._on_configuration_changed()

    def _on_configuration_changed(self) -> None:
        if self._is_current():
            self._stale_timer.stop()
            self._set_stale(False)
        elif not self._stale_timer.isActive():
            self._stale_timer.start()

    def _on_late(self) -> None:
        self._set_stale(not self._is_current())

    def _on_failure_changed(self) -> None:
        if self._workspace.failure is not None:
            self._set_stale(not self._is_current())


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
