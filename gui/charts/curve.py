"""The Curve panel: how a total grows with the input, over the whole range of one slider."""

from __future__ import annotations

import msgspec
from PySide6.QtGui import QAction, QShowEvent
from PySide6.QtWidgets import QMenu, QToolButton, QWidget

from engine.configuration import Configuration
from engine.metrics import METRIC
from gui import sizes
from gui.charts.curve_chart import CurveChart, CurveData
from gui.charts.entry import ChartEntry
from gui.charts.header import LogButton, MetricButton, Panel
from gui.charts.layout import Value
from gui.charts.rows import total_of
from gui.charts.sweep import axis_label, collect, sweep_name
from gui.desk import Desk
from gui.selection import Selection
from gui.settings import Settings
from gui.theme import ThemeManager
from gui.workspace import Workspace


class CurvePanel(Panel):
    """Collects the known points of the sweep; a tick along the sweep itself only moves the cursor."""

    def __init__(
        self,
        workspace: Workspace,
        selection: Selection,
        theme: ThemeManager,
        settings: Settings,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__("Curve", theme, "curvePanel", parent)
        self._workspace = workspace
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
        for control in (self.sweep_button, self.log_button, self.metric_button):
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
        fixed = symbol not in workspace.symbols() or workspace.configuration is None
        self.sweep_button.setVisible(not fixed)
        if fixed:
            self._sweep_key = None
            self.caption.set_text("")
            self.chart.set_data(None, self._why_fixed())
            self.chart.set_cursor(None, None)
            return
        self._sweep_key = self._current_key()
        self.chart.set_data(self._collect(symbol))
        self._move_cursor()
        assert self.chart.data is not None
        self.sweep_button.setText(f"{self.chart.data.name} ▾")
        self.sweep_button.setToolTip(f"Size along the axis: {self.chart.data.name}")
        self.caption.set_text(f"{self.chart.data.metric.label} against {self.chart.data.name}")

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if self._stale:
            self.update_data()

    def _collect(self, symbol: str) -> CurveData:
        workspace = self._workspace
        asked = workspace.configuration
        assert asked is not None
        moving = self._moving(symbol)
        metric = METRIC[self.metric_button.keys[0]]
        now = collect(workspace.specs, moving, asked, workspace.points, [workspace.analysis])
        before, before_at = None, None
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
                before = collect(workspace.specs, moving, like, workspace.points, [baseline])
        labels = [workspace.dim_of(each).label for each in moving]
        dim = workspace.dim_of(symbol)
        return CurveData(
            dim, sweep_name(labels), axis_label(labels), metric, now, before, before_at, workspace.editable
        )

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
        for symbol in workspace.symbols():
            words = sweep_name(workspace.dim_of(each).label for each in self._moving(symbol))
            action = self._sweep_menu.addAction(
                f"{words} ({symbol})" if several and words != symbol else words
            )
            action.setData(symbol)
            action.setCheckable(True)
            action.setChecked(symbol == workspace.sweep_symbol)

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
    return CurvePanel(desk.workspace, desk.selection, desk.theme, desk.settings)


PANEL = ChartEntry("Curve", "dock_curve", _make, order=2)
