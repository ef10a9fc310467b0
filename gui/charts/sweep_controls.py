"""The header's controls of measuring a slider's range: start, how far it is, hold, stop."""

from __future__ import annotations

from PySide6.QtWidgets import QHBoxLayout, QLabel, QToolButton, QWidget

from gui.measuring import Measuring
from gui.workspace import Workspace

HOLD = "Hold; what is measured stays"
READY = "Measure positions over the slider's range, one after the other; the ones known are kept"


class SweepControls(QWidget):
    """``Measure range`` while nothing runs, else ``5 of 12`` with a button to hold and one to stop."""

    def __init__(self, workspace: Workspace, measuring: Measuring, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._workspace = workspace
        self._measuring = measuring
        self._short = False
        self.start = self._button("Measure range", "curveMeasure", READY)
        self.progress = QLabel(self)
        self.progress.setObjectName("curveMeasureProgress")
        self.progress.setProperty("role", "secondary")
        self.pause = self._button("Pause", "curveMeasurePause", HOLD)
        self.cancel = self._button("Cancel", "curveMeasureCancel", "Stop; what is measured stays")
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(6)
        for widget in (self.start, self.progress, self.pause, self.cancel):
            row.addWidget(widget)
        self.start.clicked.connect(measuring.start_sweep)
        self.pause.clicked.connect(self._on_pause_clicked)
        self.cancel.clicked.connect(measuring.cancel_sweep)
        measuring.sweep_changed.connect(self.refresh)
        measuring.state_changed.connect(self.refresh)
        workspace.model_changed.connect(self.refresh)
        self.refresh()

    @property
    def running(self) -> bool:
        sweep = self._measuring.sweep
        return sweep is not None and not sweep.finished

    @property
    def refusal(self) -> str:
        """Why the range cannot be measured now; ``""`` when it can."""
        if self._workspace.model is None:
            return "Open a model first"
        if not self._workspace.editable:
            return "A report holds one size. Open its model to measure a range"
        if not self._measuring.enabled:
            return "Measuring is paused. Switch Measure on first"
        return ""

    def set_short(self, short: bool) -> None:
        """Fewer letters, in a narrow header."""
        if short != self._short:
            self._short = short
            self.refresh()

    def refresh(self) -> None:
        """Show the buttons of the state there is."""
        sweep, running = self._measuring.sweep, self.running
        self.start.setText("Measure" if self._short else "Measure range")
        self.start.setVisible(not running)
        self.start.setEnabled(not self.refusal)
        self.start.setToolTip(self.refusal or READY)
        for widget in (self.progress, self.pause, self.cancel):
            widget.setVisible(running)
        if sweep is not None:
            self.progress.setText(f"{sweep.done}{'/' if self._short else ' of '}{sweep.total}")
            refusal = self.refusal
            state = "held" if sweep.paused or refusal else "measuring"
            self.pause.setEnabled(not refusal)
            self.pause.setToolTip(refusal or HOLD)
            self.progress.setToolTip(f"{sweep.done} of {sweep.total} positions measured, {state}")
            self.pause.setText("Go on" if sweep.paused else "Pause")
            self.pause.setAccessibleName(f"{self.pause.text()} measuring the range")

    def _button(self, text: str, name: str, tip: str) -> QToolButton:
        button = QToolButton(self)
        button.setText(text)
        button.setObjectName(name)
        button.setToolTip(tip)
        button.setAccessibleName(f"{text}: {tip}")
        return button

    def _on_pause_clicked(self) -> None:
        sweep = self._measuring.sweep
        if sweep is not None:
            self._measuring.pause_sweep(not sweep.paused)
