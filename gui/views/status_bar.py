"""The bottom of the window: engine, progress, how the numbers came about, and the machine's load."""

from __future__ import annotations

import psutil
from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QMenu,
    QProgressBar,
    QSizePolicy,
    QToolButton,
    QWidget,
)

from engine import numbers
from engine.results import Analysis
from gui.measuring import Measuring
from gui.models.latency_words import NOT_MEASURED, Situation, badge
from gui.theme import ThemeManager
from gui.tooltips import plain_tooltip
from gui.views.actions import Actions
from gui.views.elided_label import ElidedLabel
from gui.views.latency_state import situation
from gui.views.noise_dialog import NoiseDialog
from gui.views.text_dialog import TextDialog
from gui.workspace import Workspace

PATIENCE_MS = 300
"""Work shorter than this shows no progress."""
LOAD_MS = 2000
NOTICE_MS = 8000
MOST_ROWS = 1000
"""Layers that are not counted and named one by one."""

ENGINE_WORDS = {
    "stopped": ("engine stopped", "worse"),
    "starting": ("engine starting", "caution"),
    "ready": ("engine ready", "better"),
    "busy": ("engine working", "accent"),
    "restarting": ("engine restarting", "caution"),
    "failed": ("engine not running", "worse"),
}
"""Words and tone of each state of the engine client."""

MODE_WORDS = {
    "meta": ("traced on meta", "Executed operations were recorded on torch's meta device: shapes only."),
    "fake": ("fake tensors", "The meta device could not trace this model; fake tensors could."),
    "cpu": ("real CPU run", "Only a real forward pass on the CPU could tell the operations of this model."),
    "inference": ("shapes inferred", "onnx.shape_inference gave the shapes; no weight was read."),
    "propagation": (
        "shapes inferred",
        "onnx.shape_inference gave the shapes, node by node where it left blanks; no weight was read.",
    ),
    "run": ("shapes from a run", "onnxruntime ran the model for the shapes that inference does not tell."),
}


class StatusBar(QFrame):
    """One line; the progress appears only for what takes longer than 0.3 s."""

    def __init__(
        self,
        workspace: Workspace,
        measuring: Measuring,
        actions: Actions,
        theme: ThemeManager,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setObjectName("status_bar")
        self._workspace = workspace
        self._measuring = measuring
        self._actions = actions
        self._theme = theme
        layout = QHBoxLayout(self)
        layout.setContentsMargins(16, 4, 16, 4)
        layout.setSpacing(12)
        self.engine = QToolButton(self)
        self.engine.setObjectName("status_engine")
        self.engine.setAccessibleName("Engine")
        self.engine.setProperty("badge", "plain")
        self.engine.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        menu = QMenu(self.engine)
        menu.addActions([actions.engine_restart, actions.engine_log, actions.engine_python])
        self.engine.setMenu(menu)
        seat = QHBoxLayout()
        seat.setSpacing(0)
        seat.addWidget(self.engine)
        layout.addLayout(seat)
        self.mode = QLabel(self)
        self.mode.setObjectName("status_mode")
        self.mode.setProperty("role", "secondary")
        layout.addWidget(self.mode)
        self.coverage = QToolButton(self)
        self.coverage.setObjectName("status_coverage")
        self.coverage.setAccessibleName("Coverage")
        self.coverage.setProperty("badge", "true")
        self.coverage.clicked.connect(self._on_coverage)
        layout.addWidget(self.coverage)
        self.noise = QToolButton(self)
        self.noise.setObjectName("status_noise")
        self.noise.setAccessibleName("How quiet it was")
        self.noise.setProperty("badge", "true")
        self.noise.clicked.connect(self._on_noise)
        self._noise_dialog: NoiseDialog | None = None
        layout.addWidget(self.noise)
        self.watch = QLabel(self)
        self.watch.setObjectName("status_watch")
        self.watch.setProperty("role", "secondary")
        layout.addWidget(self.watch)
        # What comes and goes stands right of what stays, so that nothing jumps.
        self.bar = QProgressBar(self)
        self.bar.setObjectName("status_progress")
        self.bar.setAccessibleName("Progress")
        self.bar.setTextVisible(False)
        self.bar.setFixedWidth(140)
        layout.addWidget(self.bar)
        self.cancel = QToolButton(self)
        self.cancel.setDefaultAction(actions.cancel)
        self.cancel.setObjectName("status_cancel")
        self.cancel.setAccessibleName("Cancel")
        self.cancel.setProperty("badge", "true")
        layout.addWidget(self.cancel)
        self.words = ElidedLabel("", self, Qt.TextElideMode.ElideRight)
        self.words.setObjectName("status_words")
        self.words.setProperty("role", "secondary")
        self.words.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        layout.addWidget(self.words, 1)
        self.load = QLabel(self)
        self.load.setObjectName("status_load")
        self.load.setProperty("role", "secondary")
        self.load.setToolTip("Load of this machine: processor and memory, all programs together")
        layout.addWidget(self.load)
        self._patience = QTimer(self, singleShot=True, interval=PATIENCE_MS)
        self._patience.timeout.connect(self._refresh_progress)
        self._waiting_for = ""
        """What the patience is with: each size of a drag has its own 0.3 s."""
        self._notice_timer = QTimer(self, singleShot=True, interval=NOTICE_MS)
        self._notice_timer.timeout.connect(self._on_notice_over)
        self._notice = ""
        self._load_timer = QTimer(self, interval=LOAD_MS)
        self._load_timer.timeout.connect(self._refresh_load)
        self._load_timer.start()
        psutil.cpu_percent(None)
        workspace.engine.state_changed.connect(self._refresh_engine)
        workspace.busy_changed.connect(self._on_busy_changed)
        workspace.analysis_changed.connect(self._refresh_result)
        workspace.model_changed.connect(self._refresh_result)
        workspace.noticed.connect(self.notice)
        workspace.configuration_changed.connect(self._refresh_noise)
        measuring.latency_changed.connect(self._refresh_noise)
        measuring.state_changed.connect(self._refresh_progress)
        measuring.state_changed.connect(self._refresh_noise)
        measuring.sweep_changed.connect(self._refresh_progress)
        self._seat = seat
        self._refresh_engine()
        self._refresh_progress()
        self._refresh_result()
        self._refresh_noise()
        self._refresh_load()

    def notice(self, sentence: str) -> None:
        """Show a sentence for some seconds."""
        self._notice = sentence
        self._notice_timer.start()
        self._refresh_progress()

    def _on_notice_over(self) -> None:
        self._notice = ""
        self._refresh_progress()

    def _refresh_engine(self) -> None:
        words, tone = ENGINE_WORDS[self._workspace.engine.state]
        self.engine.setText(f"● {words}")
        _set_tone(self.engine, tone)
        self._keep_seat(self.engine.text())
        versions = ", ".join(f"{name} {version}" for name, version in self._workspace.engine.versions.items())
        self.engine.setToolTip(f"{words.capitalize()}: {self._workspace.engine.python}\n{versions}".strip())

    def _keep_seat(self, text: str) -> None:
        """Leave room behind ``text`` for the longest state, so that a state moves nothing."""
        metrics = self.engine.fontMetrics()
        flag = Qt.TextFlag.TextShowMnemonic
        # Measured as the style measures a button.
        widest = max(metrics.size(flag, f"● {words}").width() for words, _ in ENGINE_WORDS.values())
        self._seat.setContentsMargins(0, 0, widest - metrics.size(flag, text).width(), 0)

    def _on_busy_changed(self) -> None:
        if not self._workspace.busy:
            self._patience.stop()
            self._waiting_for = ""
            self._refresh_progress()
        elif self.cancel.isVisible():
            self._refresh_progress()
        elif self._waiting_for != self._workspace.busy_text:
            self._waiting_for = self._workspace.busy_text
            self._patience.start()

    def _refresh_progress(self) -> None:
        busy = self._workspace.busy and not self._patience.isActive()
        progress = self._workspace.progress
        measuring = self._measuring.words if not self._workspace.busy else ""
        text = self._notice or measuring
        if busy:
            text = progress.what if progress is not None and progress.what else self._workspace.busy_text
        self.words.setText(text)
        # Measuring shows its own progress, at the card; an endless bar here would move and disturb it.
        self.bar.setVisible(busy)
        self.cancel.setVisible(busy or bool(measuring))
        if progress is not None and progress.total:
            self.bar.setRange(0, progress.total)
            self.bar.setValue(progress.done)
        else:
            self.bar.setRange(0, 0)

    def _refresh_result(self) -> None:
        analysis = self._workspace.analysis
        self.mode.setVisible(analysis is not None)
        self.coverage.setVisible(analysis is not None)
        watched = self._workspace.watched
        self.watch.setVisible(bool(watched))
        if watched:
            again = "asks when it changes"
            if self._workspace.runs_on_change:
                again = "its code runs again when it changes"
            elif self._workspace.model is not None and self._workspace.model.format == "onnx":
                # Data: there is nothing to ask about.
                again = "opens again when it changes"
            self.watch.setText(f"watching · {again}")
            self.watch.setToolTip(plain_tooltip(watched))
        if analysis is None:
            return
        words, explanation = MODE_WORDS[analysis.mode]
        self.mode.setText(words)
        self.mode.setToolTip(explanation)
        coverage = analysis.coverage
        share = coverage.share * 100
        text = "100" if coverage.calls == coverage.counted_calls else numbers.significant(min(share, 99.9))
        self.coverage.setText(f"{text}{numbers.THIN}% of calls counted")
        self.coverage.setToolTip(
            f"FLOPs of {coverage.counted_calls:,} of {coverage.calls:,} executed operations are counted."
            + (" Click for the others." if coverage.not_counted else "")
        )

    def _refresh_noise(self) -> None:
        """Whether the measurement on the screen was disturbed; grey while it is not of what is asked for."""
        now = situation(self._workspace, self._measuring)
        measurement = now.measurement
        refused = now.error is not None and not now.current
        self.noise.setVisible(measurement is not None or refused)
        self._refresh_noise_dialog(now)
        if now.error is not None and refused:
            self.noise.setText(NOT_MEASURED)
            self.noise.setEnabled(False)
            _set_tone(self.noise, "caution")
            self.noise.setToolTip(plain_tooltip(now.error.sentence))
            return
        if measurement is None:
            return
        words, tone = badge(measurement.flags)
        self.noise.setText(words)
        self.noise.setEnabled(now.current)
        _set_tone(self.noise, tone if now.current else "")
        lines = [f"{flag.words}: {flag.detail}" for flag in measurement.flags]
        if now.stale_words:
            lines.insert(0, f"An earlier measurement, {now.stale_words}")
        self.noise.setToolTip("\n".join(lines) or "Nothing disturbed the measurement. Click for more.")

    def _on_noise(self) -> None:
        now = situation(self._workspace, self._measuring)
        if now.measurement is None:
            return
        if self._noise_dialog is None:
            self._noise_dialog = NoiseDialog(self._theme.current, self._actions, self.window())
            self._noise_dialog.finished.connect(self._on_noise_closed)
        self._noise_dialog.show_flags(now.measurement.flags)
        self._noise_dialog.open()

    def _on_noise_closed(self) -> None:
        self._noise_dialog = None

    def _refresh_noise_dialog(self, now: Situation) -> None:
        """An open one goes on with the next measurement, and closes where there is none to speak of."""
        if self._noise_dialog is None:
            return
        if now.measurement is None or not now.current:
            self._noise_dialog.close()
        else:
            self._noise_dialog.show_flags(now.measurement.flags)

    def _on_coverage(self) -> None:
        analysis = self._workspace.analysis
        if analysis is None:
            return
        missing = analysis.coverage.not_counted
        text = "\n".join(f"{entry.calls:>6,} × {entry.op}" for entry in missing)
        rows = uncounted_rows(analysis)
        text = f"{text}\n\n{rows}" if rows else text or "Every operation is counted."
        TextDialog(
            "Coverage",
            "Not counted in FLOPs; the totals are sums over everything else:" if missing else "",
            text,
            self.window(),
        ).open()

    def _refresh_load(self) -> None:
        memory = psutil.virtual_memory()
        used = numbers.size(memory.total - memory.available)
        self.load.setText(
            f"CPU {psutil.cpu_percent(None):.0f}{numbers.THIN}%   RAM {used} of {numbers.size(memory.total)}"
        )


def uncounted_rows(analysis: Analysis) -> str:
    """The layers whose FLOPs are not counted, each with the reason; empty for none."""
    layers = analysis.layers
    found = [
        f"{path or '(model)'}: {op}" + (f": {reason}" if reason else "")
        for path, op, flops, reason in zip(layers.path, layers.op, layers.flops, layers.formula, strict=True)
        if flops is None
    ]
    more = len(found) - MOST_ROWS
    return "\n".join([*found[:MOST_ROWS], *([f"and {more:,} more"] if more > 0 else [])])


def _set_tone(button: QToolButton, tone: str) -> None:
    """Its colour in the style sheet, which has to be asked again."""
    if button.property("tone") != tone:
        button.setProperty("tone", tone)
        button.style().unpolish(button)
        button.style().polish(button)
