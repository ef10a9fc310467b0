"""The Curve panel: how a total grows with the input, over the whole range of one slider."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from PySide6.QtGui import QAction, QResizeEvent, QShowEvent
from PySide6.QtWidgets import QMenu, QToolButton, QWidget

from engine import numbers
from engine.configuration import Configuration
from engine.metrics import METRIC, Metric
from gui import sizes
from gui.charts.curve_chart import CurveChart, CurveData
from gui.charts.entry import ChartEntry
from gui.charts.header import TIGHT_PX, LogButton, MetricButton, Panel, why_unweighed
from gui.charts.layout import Value
from gui.charts.rows import total_of
from gui.charts.sweep import Dot, Sweep, axis_label, collect, dots, positions, sweep_name
from gui.charts.sweep_controls import SweepControls
from gui.desk import Desk

CROWDED_PX = 600
"""A narrower panel has small buttons in its header while those for measuring a range are there too.

More than large ones take together: a panel that they hold open never becomes narrow.
"""
SHORT_PX = 440
"""A narrower one has fewer letters on them as well."""


class CurvePanel(Panel):
    """Collects the known points of the sweep; a tick along the sweep itself only moves the cursor."""

    def __init__(self, desk: Desk, parent: QWidget | None = None) -> None:
        workspace, measuring, _, theme, settings = desk
        super().__init__("Curve", theme, "curvePanel", parent)
        self._workspace = workspace
        self._measuring = measuring
        self._settings = settings
        self._stale = True
        self._sweep_key: tuple[object, ...] | None = None
        self.sweep_button = QToolButton(self)
        self.sweep_button.setObjectName("curveSweep")
        self.sweep_button.setAccessibleName("Size along the axis")
        self.sweep_button.setToolTip("Size along the axis")
        self.sweep_button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self._sweep_menu = QMenu(self.sweep_button)
        self._sweep_menu.aboutToShow.connect(self._fill_sweep_menu)
        self._sweep_menu.triggered.connect(self._on_sweep_chosen)
        self.sweep_button.setMenu(self._sweep_menu)
        self.log_button = LogButton("curveLog")
        self.metric_button = MetricButton(workspace.count_mode, "curveMetric")
        self.sweep_controls = SweepControls(workspace, measuring)
        for control in (self.sweep_controls, self.sweep_button, self.log_button, self.metric_button):
            self.add_right(control)
        self.chart = CurveChart(theme)
        self.set_chart(self.chart)
        self.setFocusProxy(self.chart)
        self._restore()
        self.log_button.toggled.connect(self.chart.set_log)
        self.chart.log_toggled.connect(self._on_log_toggled)
        self.chart.moved.connect(self._on_moved)
        self.chart.gesture_began.connect(workspace.begin_gesture)
        self.chart.gesture_ended.connect(workspace.end_gesture)
        self.chart.picture_copied.connect(self._on_picture_copied)
        self.metric_button.keys_changed.connect(self._on_keys_changed)
        workspace.count_mode_changed.connect(self._on_count_mode_changed)
        workspace.model_changed.connect(self.update_data)
        workspace.points_changed.connect(self.update_data)
        workspace.baseline_changed.connect(self.update_data)
        workspace.configuration_changed.connect(self._on_tick)
        workspace.analysis_changed.connect(self._on_tick)
        measuring.latency_changed.connect(self._on_measured)
        measuring.sweep_changed.connect(self._on_measured)
        measuring.state_changed.connect(self._on_measured)
        self.update_data()

    # -- data ----------------------------------------------------------------------------------------------------

    def update_data(self) -> None:
        """Collect the sweep again and show it."""
        if not self.isVisible():
            self._stale = True
            return
        self._stale = False
        workspace = self._workspace
        symbol = workspace.sweep_symbol
        self._show_sweep_controls(self._fixed)
        if self._fixed:
            self._sweep_key = None
            self.caption.set_text("")
            self.chart.set_data(None, self._why_fixed())
            self.chart.set_cursor(None, None)
            return
        self._sweep_key = self._current_key()
        self.metric_button.set_allowed(lambda key: why_unweighed(workspace.analysis, key))
        self.chart.set_data(self._collect(symbol))
        self._move_cursor()
        assert self.chart.data is not None
        self.sweep_button.setText(f"{self.chart.data.name} ▾")
        self.sweep_button.setToolTip(f"Size along the axis: {self.chart.data.name}")
        words = f"{self.chart.data.metric.label} against {self.chart.data.name}"
        if self._metric.measured:
            words += f" · medians with 95{numbers.THIN}% intervals"
        self.caption.set_text(words)

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if self._stale:
            self.update_data()

    def _collect(self, symbol: str) -> CurveData:
        workspace = self._workspace
        asked = workspace.configuration
        assert asked is not None
        moving = self._moving(symbol)
        metric = self._metric
        here = positions(workspace.specs, moving, asked)
        now = collect(here, workspace.points, [workspace.analysis])
        measured = self._dots(here, now)
        before, before_at = None, None
        measured_before: dict[int, Dot] = {}
        baseline = workspace.baseline
        if baseline is not None and sizes.matches(workspace.specs, baseline.configuration.inputs):
            like = baseline.configuration
            if not self._at_baseline():
                before_at = (
                    sizes.size_of(workspace.specs, like.inputs, symbol),
                    total_of(baseline.totals, metric.key),
                )
            # The known points are of the open model: another one's report has only its own place.
            if workspace.can_recompute(baseline) and self._base(symbol, like) != self._base(symbol, asked):
                there = positions(workspace.specs, moving, like)
                before = collect(there, workspace.points, [baseline])
                measured_before = self._dots(there, before)
        names = [sizes.name_of(workspace.specs, each) for each in moving]
        dim = workspace.dim_of(symbol)
        return CurveData(
            dim,
            sweep_name(names),
            axis_label(names, dim.label),
            metric,
            now,
            before,
            before_at,
            workspace.editable,
            measured,
            measured_before,
            self._why_unmeasured()
            if metric.measured and not measured
            else why_unweighed(workspace.analysis, metric.key),
        )

    def _dots(self, position: Callable[[Configuration], int | None], sweep: Sweep) -> dict[int, Dot]:
        """What is measured at the sweep's positions; nothing for a metric that no clock tells."""
        if not self._metric.measured:
            return {}
        known = [latency.measurement for latency in self._measuring.latencies.values()]
        analysis = self._workspace.analysis
        if analysis is not None and analysis.latency is not None:
            known.append(analysis.latency.measurement)
        return dots(position, known, sweep.totals, self._metric.key)

    def _why_unmeasured(self) -> str:
        """What stands where dots would be."""
        if refusal := self.sweep_controls.refusal:
            return f"{refusal}."
        if self.sweep_controls.running:
            return "Medians appear here as they are measured."
        return "Measure range fills in the other sizes."

    @property
    def _fixed(self) -> bool:
        """Whether there is no slider to sweep."""
        workspace = self._workspace
        return workspace.sweep_symbol not in workspace.symbols() or workspace.configuration is None

    @property
    def _metric(self) -> Metric:
        return METRIC[self.metric_button.keys[0]]

    def _show_sweep_controls(self, fixed: bool) -> None:
        """Measuring a range belongs to measured metrics; one that runs can always be seen and stopped."""
        running = self.sweep_controls.running
        shown = (self._metric.measured and not fixed) or running
        self.sweep_controls.setVisible(shown)
        self.set_tight_below(CROWDED_PX if shown else TIGHT_PX)
        self.sweep_controls.set_short(self.width() < SHORT_PX)
        self.sweep_button.setVisible(not fixed and not (running and self.tight))

    def _on_measured(self) -> None:
        """Analytic curves have nothing to do with what is measured: they are left alone."""
        if self._metric.measured:
            self.update_data()
        elif self.isVisible():
            self._show_sweep_controls(self._fixed)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._show_sweep_controls(self._fixed)

    def _moving(self, symbol: str) -> list[str]:
        """The symbol and what is linked to it."""
        partner = self._workspace.partner_of(symbol)
        return [symbol] if partner is None else [symbol, partner]

    def _base(self, symbol: str, like: Configuration) -> Configuration:
        """``like`` at the low end of the slider: equal for all configurations of one sweep."""
        minimum = self._workspace.dim_of(symbol).minimum
        specs = self._workspace.specs
        inputs = sizes.with_sizes(specs, like.inputs, dict.fromkeys(self._moving(symbol), minimum))
        return msgspec.structs.replace(like, inputs=inputs, allow_real_run=False)

    def _current_key(self) -> tuple[object, ...]:
        """What decides which points belong to the curve; unchanged while only the sweep's slider moves."""
        symbol, asked = self._workspace.sweep_symbol, self._workspace.configuration
        assert asked is not None
        return (self._workspace.model, symbol, self._base(symbol, asked), self._at_baseline())

    def _at_baseline(self) -> bool:
        """Whether what is asked for is the baseline itself: the same configuration of the same model."""
        workspace, baseline = self._workspace, self._workspace.baseline
        return baseline is not None and (baseline.model, baseline.configuration) == (
            workspace.model,
            workspace.configuration,
        )

    def _on_tick(self) -> None:
        workspace = self._workspace
        if not self.isVisible():
            self._stale = True
        elif (
            workspace.configuration is None
            or workspace.sweep_symbol not in workspace.symbols()
            or self._current_key() != self._sweep_key
        ):
            self.update_data()
        else:
            self._move_cursor()

    def _move_cursor(self) -> None:
        workspace = self._workspace
        symbol = workspace.sweep_symbol
        shown: tuple[int, Value] | None = None
        asked = workspace.configuration
        analysis = workspace.analysis
        key = self.metric_button.keys[0]
        if (
            analysis is not None
            and asked is not None
            and sizes.matches(workspace.specs, analysis.configuration.inputs)
            and self._base(symbol, analysis.configuration) == self._base(symbol, asked)
        ):
            at = sizes.size_of(workspace.specs, analysis.configuration.inputs, symbol)
            shown = (at, total_of(analysis.totals, key))
        self.chart.set_cursor(workspace.size_of(symbol), shown)

    def _why_fixed(self) -> str:
        if self._workspace.model is None:
            return "Open a model to see how its cost grows with the input."
        if not self._workspace.editable:
            return "A report holds one input size. Open its model to see the curve."
        return "Every input size of this model is fixed: there is nothing to sweep."

    # -- controls ------------------------------------------------------------------------------------------------

    def _fill_sweep_menu(self) -> None:
        self._sweep_menu.clear()
        workspace = self._workspace
        several = len(workspace.specs) > 1
        listed: set[str] = set()
        for symbol in workspace.symbols():
            moving = self._moving(symbol)
            if symbol in listed:
                continue
            listed.update(moving)
            words = sweep_name(sizes.name_of(workspace.specs, each) for each in moving)
            action = self._sweep_menu.addAction(
                f"{words} ({symbol})" if several and words != symbol else words
            )
            action.setData(symbol)
            action.setCheckable(True)
            action.setChecked(workspace.sweep_symbol in moving)

    def _on_sweep_chosen(self, action: QAction) -> None:
        self._workspace.sweep_symbol = action.data()

    def _on_moved(self, size: int) -> None:
        self._workspace.set_sizes({self._workspace.sweep_symbol: size})

    def _on_log_toggled(self, log: bool) -> None:
        self.log_button.setChecked(log)
        self._settings.set("curve/log", log)

    def _on_keys_changed(self, keys: tuple[str, ...]) -> None:
        self._settings.set("curve/metric", keys[0])
        self.update_data()

    def _on_count_mode_changed(self) -> None:
        self.metric_button.follow_count_mode(self._workspace.count_mode)

    def _on_picture_copied(self) -> None:
        self._workspace.noticed.emit("The curve is on the clipboard as a picture.")

    def _restore(self) -> None:
        key = self._settings.text("curve/metric")
        if key in METRIC:
            self.metric_button.set_keys([key])
            self.metric_button.follow_count_mode(self._workspace.count_mode)
        self.chart.set_log(self._settings.flag("curve/log"))
        self.log_button.setChecked(self.chart.log)


def _make(desk: Desk) -> QWidget:
    return CurvePanel(desk)


PANEL = ChartEntry("Curve", "dock_curve", _make, order=2)
