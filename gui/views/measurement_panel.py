"""Everything known of the measurement on the screen: samples, doubts, layers, memory, circumstances, operations."""

from __future__ import annotations

from collections.abc import Iterable

from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication, QShowEvent
from PySide6.QtWidgets import (
    QButtonGroup,
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QStackedWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from engine.measured_summary import measured_times
from gui.measuring import Measuring
from gui.models.latency_words import DOUBTS, Fact, Situation, as_text, sections
from gui.rich_text import rich
from gui.selection import Selection
from gui.theme import Theme, ThemeManager
from gui.views.actions import Actions
from gui.views.dimmer import Dimmer
from gui.views.elided_label import ElidedLabel
from gui.views.kernels_view import KernelsView
from gui.views.latency_state import situation
from gui.views.operations_view import OperationsView
from gui.views.throttle import MEASURING_MS, Throttle
from gui.workspace import Workspace

LABEL_PX = 132
LEAST_PX = 20
PAGES = (
    ("facts", "Facts", "The measurement in numbers"),
    ("operations", "Ops", "Operations: the time of each one"),
    ("kernels", "Kernels", "What onnxruntime executed, and the nodes whose work each kernel did"),
)
FACTS, OPERATIONS, KERNELS = range(3)


class MeasurementPanel(QFrame):
    """Facts, and behind them the operations on demand, or the kernels of an ONNX model."""

    def __init__(
        self,
        workspace: Workspace,
        measuring: Measuring,
        selection: Selection,
        theme: ThemeManager,
        actions: Actions,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setObjectName("measurement")
        self.setProperty("panel", True)
        self.setAccessibleName("Measurement")
        self._workspace = workspace
        self._measuring = measuring
        self._theme = theme
        self.operations = OperationsView(workspace, measuring, selection, actions, self)
        self.kernels = KernelsView(workspace, measuring, selection, actions, self)
        self._build()
        self._waiting = False
        """Whether something changed that a hidden panel did not show."""
        self._later = Throttle(self._refresh_seen, self, MEASURING_MS)
        for signal in (
            measuring.latency_changed,
            measuring.state_changed,
            workspace.analysis_changed,
            workspace.baseline_changed,
            workspace.model_changed,
        ):
            signal.connect(self._later.request)
        workspace.configuration_changed.connect(self._on_configuration_changed)
        measuring.ops_measured.connect(self._on_ops_measured)
        workspace.model_changed.connect(self._on_model_changed)
        theme.changed.connect(self.refresh)
        self._on_model_changed()
        self.refresh()

    def _build(self) -> None:
        title = QLabel("Measurement", self)
        title.setProperty("role", "title")
        self._of = ElidedLabel(parent=self)
        self._of.setObjectName("measurement_of")
        self._of.setProperty("role", "secondary")
        self._of.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        # Below the title: beside it a narrow panel has no room to say whose the numbers are.
        self._of.setContentsMargins(12, 0, 12, 4)
        self._why = QLabel(self)
        self._why.setObjectName("measurement_why")
        self._why.setTextFormat(Qt.TextFormat.PlainText)
        self._why.setWordWrap(True)
        self._why.setContentsMargins(12, 0, 12, 4)
        self._copy = QPushButton("Copy", self)
        self._copy.setObjectName("measurement_copy")
        self._copy.setAccessibleName("Copy the measurement")
        self._copy.setToolTip("Copy all of this page as tab-separated text")
        self._copy.clicked.connect(self.copy)
        head = QHBoxLayout()
        head.setContentsMargins(12, 8, 8, 8)
        head.setSpacing(8)
        head.addWidget(title)
        head.addStretch(1)
        head.addLayout(self._page_buttons())
        head.addWidget(self._copy)
        self._facts = QLabel(self)
        self._facts.setObjectName("measurement_facts")
        self._facts.setAccessibleName("Facts of the measurement")
        self._facts.setTextFormat(Qt.TextFormat.RichText)
        self._facts.setWordWrap(True)
        self._facts.setAlignment(Qt.AlignmentFlag.AlignTop)
        self._facts.setContentsMargins(12, 0, 12, 12)
        self._facts.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        scroll = QScrollArea(self)
        scroll.setObjectName("measurement_scroll")
        scroll.setWidgetResizable(True)
        scroll.setWidget(self._facts)
        self._facts.setAutoFillBackground(False)
        scroll.viewport().setAutoFillBackground(False)
        self._dimmer = Dimmer((self._facts,))
        self.pages = QStackedWidget(self)
        # The panel shares its place with lower ones.
        self.pages.setMinimumHeight(LEAST_PX)
        self.pages.addWidget(scroll)
        self.pages.addWidget(self.operations)
        self.pages.addWidget(self.kernels)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(1, 1, 1, 1)
        layout.setSpacing(0)
        layout.addLayout(head)
        layout.addWidget(self._why)
        layout.addWidget(self._of)
        layout.addWidget(self.pages, 1)

    def _page_buttons(self) -> QHBoxLayout:
        pair = QHBoxLayout()
        pair.setSpacing(0)
        self._choice = QButtonGroup(self)
        for number, (name, words, what) in enumerate(PAGES):
            button = QToolButton(self)
            button.setText(words)
            button.setObjectName(f"measurement_{name}_page")
            button.setAccessibleName(words)
            button.setToolTip(what)
            button.setCheckable(True)
            button.setChecked(number == 0)
            # The last two are never seen together.
            button.setProperty("segment", "first" if number == FACTS else "last")
            self._choice.addButton(button, number)
            pair.addWidget(button)
        self._choice.idClicked.connect(self.show_page)
        return pair

    def show_details(self) -> None:
        """The page behind the facts: operations, or the kernels of an ONNX model."""
        self.show_page(KERNELS if self._measuring.is_onnx else OPERATIONS)

    def _on_model_changed(self) -> None:
        is_onnx, page = self._measuring.is_onnx, self.pages.currentIndex()
        self._choice.button(OPERATIONS).setVisible(not is_onnx)
        self._choice.button(KERNELS).setVisible(is_onnx)
        if page != FACTS:
            self.show_details()

    def show_page(self, number: int) -> None:
        """FACTS, OPERATIONS or KERNELS."""
        self._choice.button(number).setChecked(True)
        self.pages.setCurrentIndex(number)
        self._refresh_copy()

    # -- what it shows -------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Show what is known now."""
        now = situation(self._workspace, self._measuring)
        found = sections(now)
        theme = self._theme.current
        self._refresh_copy()
        if found:
            self._facts.setText(_facts_html(now, found, theme))
        else:
            self._facts.setText(f"<span style='color:{theme.secondary}'>{rich(_nothing(now))}</span>")
        # Above old numbers: why there are no newer ones.
        refused = bool(found) and now.error is not None and not now.current
        self._why.setText(_nothing(now) if refused else "")
        self._why.setVisible(refused)
        self._show_stale(now)

    def _refresh_seen(self) -> None:
        """Behind other panels it lays out nothing: that takes time from what is measured."""
        self._waiting = not self.isVisible()
        if not self._waiting:
            self.refresh()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if self._waiting:
            self._refresh_seen()

    def copy(self) -> None:
        """All of the page on the screen to the clipboard."""
        text = self._page_text()
        if text:
            QGuiApplication.clipboard().setText(text)
            what = ("measurement", "operations", "kernels")[self.pages.currentIndex()]
            self._workspace.noticed.emit(f"Copied the {what}.")

    def _page_text(self) -> str:
        """Tab-separated lines; empty for a page with nothing on it."""
        page = self.pages.currentIndex()
        if page == KERNELS:
            return self.kernels.tsv()
        if page == OPERATIONS:
            return self.operations.model.tsv()
        return as_text(situation(self._workspace, self._measuring))

    def _refresh_copy(self) -> None:
        page, analysis = self.pages.currentIndex(), self._workspace.analysis
        times = analysis.layer_times if analysis is not None else None
        if page == KERNELS:
            able = times is not None and bool(times.groups or times.inserted)
        elif page == OPERATIONS:
            able = self.operations.model.times is not None
        else:
            able = situation(self._workspace, self._measuring).measurement is not None
        self._copy.setEnabled(able)

    def _on_configuration_changed(self) -> None:
        self._show_stale(situation(self._workspace, self._measuring))

    def _show_stale(self, now: Situation) -> None:
        """At once: what was measured of another configuration must not be seen as current."""
        self._dimmer.set_dimmed(bool(now.stale_words))
        self._of.setText(now.stale_words)
        self._of.setVisible(bool(now.stale_words))

    def _on_ops_measured(self) -> None:
        self.show_details()
        self._refresh_copy()


def _nothing(now: Situation) -> str:
    if now.error is not None:
        return f"Not measured. {now.error.sentence}"
    if now.paused:
        return "Measuring is paused. Press Measure to see how long a forward pass takes on this machine."
    if now.asked is None:
        return "Open a model to see how long a forward pass takes on this machine."
    return "Nothing measured yet."


def _facts_html(now: Situation, found: Iterable[tuple[str, list[Fact]]], theme: Theme) -> str:
    """A headline and one table of all sections: columns line up from section to section."""
    measurement = now.measurement
    assert measurement is not None
    value = measured_times(measurement)
    rows = [f"<tr><td colspan='2'><b style='font-size:18px; color:{theme.text}'>{rich(value)}</b></td></tr>"]
    severe = {flag.words for flag in measurement.flags if flag.severe}
    for title, facts in found:
        rows.append(f"<tr><td colspan='2' style='padding-top:8px'><b>{rich(title)}</b></td></tr>")
        for label, text in facts:
            tone = theme.secondary
            if title == DOUBTS:
                tone = theme.worse if label in severe else theme.caution
            rows.append(
                f"<tr><td width='{LABEL_PX}' style='color:{tone}'>{rich(label)}&nbsp;</td>"
                f"<td style='color:{theme.text}'>{rich(text)}</td></tr>"
            )
    return f"<table cellpadding='1' cellspacing='0' width='100%'>{''.join(rows)}</table>"
