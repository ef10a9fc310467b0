"""The Live latency panel: samples as they come, the median they make, and what was measured before."""

from __future__ import annotations

from PySide6.QtCore import QElapsedTimer, QTimer
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QWidget

from engine.measurement import Measurement
from gui.charts.entry import ChartEntry
from gui.charts.header import LogButton, Panel
from gui.charts.live_chart import Before, LiveChart, LiveData
from gui.charts.measured_words import facts, unmeasured
from gui.charts.samples import Trace, running_trace, trace_of
from gui.desk import Desk
from gui.models.latency_words import IN_ALTERNATION, apart_notes, comparison_before_s, since_words, time_text
from gui.state_words import belongs_to
from gui.views.latency_state import situation

PACE_MS = 250
"""Between two repaints while samples come: painting takes time from what is measured."""
ENOUGH = 6
"""A repeated measurement takes the place of the finished one once it has a median with an interval."""


class LiveLatencyPanel(Panel):
    """Shows the measurement under way or the last one; fades it while another configuration is asked for."""

    def __init__(self, desk: Desk, parent: QWidget | None = None) -> None:
        super().__init__("Live latency", desk.theme, "livePanel", parent)
        self._workspace = desk.workspace
        self._measuring = desk.measuring
        self._settings = desk.settings
        self._waiting = True
        self._traced: tuple[Measurement, Trace] | None = None
        """The last finished measurement with its samples, which a tick of a slider does not sort again."""
        self.log_button = LogButton("liveLog")
        self.add_right(self.log_button)
        self.chart = LiveChart(desk.theme)
        self.set_chart(self.chart)
        self.setFocusProxy(self.chart)
        self.chart.set_log(self._settings.flag("live/log"))
        self.log_button.setChecked(self.chart.log)
        self.log_button.toggled.connect(self.chart.set_log)
        self.chart.log_toggled.connect(self._on_log_toggled)
        self.chart.picture_copied.connect(self._on_picture_copied)
        self._since = QElapsedTimer()
        self._pace = QTimer(self, singleShot=True)
        self._pace.timeout.connect(self.update_data)
        self._measuring.samples_changed.connect(self._on_samples_changed)
        for signal in (
            self._measuring.latency_changed,
            self._measuring.state_changed,
            self._workspace.model_changed,
            self._workspace.configuration_changed,
            self._workspace.baseline_changed,
        ):
            signal.connect(self.update_data)
        self.update_data()

    # -- data ----------------------------------------------------------------------------------------------------

    def update_data(self) -> None:
        """Show what is known now."""
        if not self.isVisible():
            self._waiting = True
            return
        self._waiting = False
        self._pace.stop()
        self._since.start()
        measuring, shown = self._measuring, self._measuring.shown
        trace = self._trace()
        words = "" if trace is not None else unmeasured(self._workspace, measuring)
        self.chart.set_data(LiveData(trace, words, self._earlier(trace), self._before(trace)))
        self.chart.set_progress(measuring.progress)
        stale = self._stale_words(trace)
        self.chart.set_stale(stale)
        self._caption(trace, shown, stale)

    def _trace(self) -> Trace | None:
        """The samples under way once they tell more than what is known; else the last finished ones."""
        measuring = self._measuring
        running, shown = measuring.running, measuring.shown
        if running is not None and (not measuring.is_current or len(running.samples_s) >= ENOUGH):
            trace = running_trace(running.configuration, running.samples_s, running.delay_s)
            if trace is not None:
                return trace
        if shown is None or (measuring.error is not None and not measuring.is_current):
            return None
        if self._traced is None or self._traced[0] is not shown:
            self._traced = shown, trace_of(shown)
        return self._traced[1]

    def _stale_words(self, trace: Trace | None) -> str:
        """What the samples belong to, unless that is what is asked for."""
        if trace is None:
            return ""
        if trace.configuration != self._workspace.configuration:
            return belongs_to(trace.configuration, self._workspace.configuration)
        shown = self._measuring.shown
        if trace.running or shown is None or self._measuring.is_current:
            return ""
        return since_words(self._measuring.since, shown)

    def _earlier(self, trace: Trace | None) -> tuple[Measurement, ...]:
        """The history without what is on the screen anyway."""
        known = self._measuring.history
        return tuple(each for each in known if trace is None or each.configuration != trace.configuration)

    def _before(self, trace: Trace | None) -> Before | None:
        """The baseline, while the samples are not its own: as the verdict beside it has it, else measured apart."""
        baseline = self._workspace.baseline
        if baseline is None or trace is None:
            return None
        if (baseline.model, baseline.configuration) == (self._workspace.model, trace.configuration):
            return None
        comparison = situation(self._workspace, self._measuring).comparison
        if comparison is not None and comparison.current == trace.configuration:
            return Before(comparison_before_s(comparison), (IN_ALTERNATION,))
        if baseline.latency is None:
            return None
        measurement = baseline.latency.measurement
        return Before(measurement.median_s, apart_notes(measurement))

    def _caption(self, trace: Trace | None, shown: Measurement | None, stale: str) -> None:
        if trace is None:
            parts = []
        elif trace.running or shown is None:
            parts = [self._measuring.words or "measuring", time_text(trace.median_s, trace.interval)]
        else:
            parts = [*([] if self._measuring.enabled else ["paused"]), stale, *facts(shown)]
        text = " · ".join(part for part in parts if part)
        self.caption.set_text(text)
        self.chart.describe(text or self.chart.data.words)

    def _on_samples_changed(self) -> None:
        """Samples wait for the next repaint; everything else is shown at once."""
        if not self._since.isValid() or self._since.elapsed() >= PACE_MS:
            self.update_data()
        elif not self._pace.isActive():
            self._pace.start(PACE_MS - int(self._since.elapsed()))

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if self._waiting:
            self.update_data()

    # -- controls ------------------------------------------------------------------------------------------------

    def _on_log_toggled(self, log: bool) -> None:
        self.log_button.setChecked(log)
        self._settings.set("live/log", log)

    def _on_picture_copied(self) -> None:
        self._workspace.noticed.emit("The latency chart is on the clipboard as a picture.")


def _make(desk: Desk) -> QWidget:
    return LiveLatencyPanel(desk)


PANEL = ChartEntry("Live latency", "dock_live_latency", _make, order=3)
