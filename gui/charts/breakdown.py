"""The Breakdown panel: where the cost sits, by layers in network order or by modules."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QStackedWidget, QWidget

from engine.metrics import METRIC
from gui.charts.bars import BarsChart
from gui.charts.entry import ChartEntry
from gui.charts.header import LogButton, MetricButton, Panel, Segments, why_unweighed
from gui.charts.icicle import IcicleChart
from gui.charts.icicle_layout import is_additive
from gui.charts.layout import range_among
from gui.charts.measured_words import around_the_layers, unmeasured
from gui.charts.rows import RowData, times_of
from gui.desk import Desk
from gui.state_words import belongs_to

LAYERS, MODULES = 0, 1


class BreakdownPanel(Panel):
    """Header and the two charts; only the one in view is given new data."""

    activated = Signal(str)
    """The user asks for the details of this node (Enter or a double click)."""

    def __init__(self, desk: Desk, parent: QWidget | None = None) -> None:
        workspace, measuring, selection, theme, settings = desk
        super().__init__("Breakdown", theme, "breakdownPanel", parent)
        self._workspace = workspace
        self._measuring = measuring
        self._selection = selection
        self._settings = settings
        self._stale = True
        self._words = ""
        """The caption, but for what the numbers belong to."""
        self._ids: tuple[str, ...] = ()
        """Rows that the zoom range counts."""
        self.segments = Segments(
            (("Layers", "Bars per layer, in network order"), ("Modules", "Modules, as wide as their share")),
            "breakdown",
        )
        self.log_button = LogButton("breakdownLog")
        self.metric_button = MetricButton(workspace.count_mode, "breakdownMetric", several=True)
        self.add_left(self.segments)
        self.add_right(self.log_button)
        self.add_right(self.metric_button)
        self.bars = BarsChart(selection, theme)
        self.icicle = IcicleChart(selection, theme)
        self._stack = QStackedWidget(self)
        self._stack.addWidget(self.bars)
        self._stack.addWidget(self.icicle)
        self.set_chart(self._stack)
        self.setFocusProxy(self.bars)
        self._restore()
        self.segments.chosen.connect(self._on_view_chosen)
        self.log_button.toggled.connect(self.bars.set_log)
        self.bars.log_toggled.connect(self._on_log_toggled)
        self.metric_button.keys_changed.connect(self._on_keys_changed)
        for chart in (self.bars, self.icicle):
            chart.activated.connect(self._on_activated)
            chart.picture_copied.connect(self._on_picture_copied)
        workspace.model_changed.connect(self._on_model_changed)
        workspace.analysis_changed.connect(self.update_data)
        workspace.baseline_changed.connect(self.update_data)
        workspace.count_mode_changed.connect(self._on_count_mode_changed)
        workspace.stale_changed.connect(self._on_stale_changed)
        workspace.configuration_changed.connect(self._on_configuration_changed)
        measuring.state_changed.connect(self._on_measuring_changed)
        self._show_view(self.segments.index)

    def update_data(self) -> None:
        """Give the chart in view the rows of the workspace's analysis."""
        if not self.isVisible():
            self._stale = True
            return
        self._stale = False
        analysis = self._workspace.analysis
        chart = self.icicle if self.segments.index == MODULES else self.bars
        if analysis is None:
            if self._workspace.model is None:
                words = "Open a model to see where its cost sits: a file, or one of the zoo."
            else:
                words = "The bars appear with the first complete analysis."
            chart.set_data(None, words)
            self.caption.set_text("")
            return
        self.metric_button.set_allowed(self._why_not)
        keys = self.metric_button.keys
        if self.segments.index == MODULES:
            keys = keys[:1]
        data = RowData(analysis, self._workspace.baseline, keys)
        chart.set_data(data, self._why_unmeasured(data))
        self._keep_range(analysis.layers.id)
        self._words = self._caption(data)
        self._on_stale_changed()

    def _why_not(self, key: str) -> str:
        """Why the chart cannot show this metric now."""
        if self.segments.index == MODULES and not is_additive(key):
            return "Does not add up by module"
        return why_unweighed(self._workspace.analysis, key)

    def _why_unmeasured(self, data: RowData) -> str:
        """What stands where the bars would be when all that is asked for is still to be measured or cannot be known."""
        if not all(lane.is_empty for lane in data.lanes):
            return ""
        if why := next(filter(None, (why_unweighed(data.analysis, key) for key in data.keys)), ""):
            return why
        return unmeasured(self._workspace, self._measuring)

    def _on_measuring_changed(self) -> None:
        """Words about measuring stand only where nothing is measured yet."""
        chart = self.icicle if self.segments.index == MODULES else self.bars
        if self.isVisible() and chart.words:
            self.update_data()

    def _keep_range(self, ids: tuple[str, ...]) -> None:
        """The zoom is in numbers of rows: after an edit it has to show the same layers at their new numbers."""
        before, self._ids = self._ids, ids
        limits = self._selection.range
        if limits is not None and before and before is not ids and before != ids:
            self._selection.set_range(range_among(limits, before, ids))

    def _on_stale_changed(self) -> None:
        """Fade the bars and say what they belong to while that is not what is asked for."""
        analysis, words = self._workspace.analysis, ""
        if analysis is not None:
            if self._workspace.stale or self._shows_left_times:
                words = belongs_to(analysis.configuration, self._workspace.configuration)
            self.caption.set_text(" · ".join(part for part in (words, self._words) if part))
        for chart in (self.bars, self.icicle):
            chart.set_stale(words)

    @property
    def _shows_left_times(self) -> bool:
        """Whether times of the analysis on the screen are shown while something else is asked for already."""
        analysis = self._workspace.analysis
        if analysis is None or self._workspace.is_current:
            return False
        own = analysis.layer_times is not None and not analysis.stale_times
        return own and any(METRIC[key].measured for key in self.metric_button.keys)

    def _on_configuration_changed(self) -> None:
        if self._workspace.stale or self._shows_left_times:
            self._on_stale_changed()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if self._stale:
            self.update_data()

    def _caption(self, data: RowData) -> str:
        """What the bars are, then what they leave out: the last parts give way in a narrow panel."""
        measured = data.lanes_measured
        label = METRIC[data.keys[0]].label
        parts = [times_of(data.analysis)] if measured else []
        around = around_the_layers(data.analysis) if measured else []
        if self.segments.index == MODULES:
            return " · ".join(filter(None, [*parts, f"{label}, width is the share", *around]))
        if data.several:
            parts.append("each in % of its own total")
        elif not measured:
            parts.append(f"{label} per layer")
        if data.has_before:
            # Layers are not timed in alternation: another load then looks like another cost.
            parts.append("outlined: before, measured apart" if measured else "outlined: before")
        if data.only_before:
            parts.append(f"{data.only_before} {'row' if data.only_before == 1 else 'rows'} gone")
        parts += around
        if len(data.rows) < len(data.layers):
            parts.append(f"{len(data.rows):,} of {len(data.layers):,} rows have any")
        return " · ".join(filter(None, parts))

    # -- controls ------------------------------------------------------------------------------------------------

    def _show_view(self, index: int) -> None:
        self._stack.setCurrentIndex(index)
        self.setFocusProxy(self._stack.currentWidget())
        self.log_button.setVisible(index == LAYERS)
        self.metric_button.set_one_only(index == MODULES)
        self.update_data()

    def _on_view_chosen(self, index: int) -> None:
        self._settings.set("breakdown/view", index)
        self._show_view(index)

    def _on_log_toggled(self, log: bool) -> None:
        self.log_button.setChecked(log)
        self._settings.set("breakdown/log", log)

    def _on_keys_changed(self, keys: tuple[str, ...]) -> None:
        self._settings.set_texts("breakdown/metrics", keys)
        self.update_data()

    def _on_count_mode_changed(self) -> None:
        self.metric_button.follow_count_mode(self._workspace.count_mode)

    def _on_model_changed(self) -> None:
        self._ids = ()
        self._selection.set_range(None)
        self.update_data()

    def _on_activated(self, node: str) -> None:
        self._selection.activate(node)
        self.activated.emit(node)

    def _on_picture_copied(self) -> None:
        self._workspace.noticed.emit("The breakdown is on the clipboard as a picture.")

    def _restore(self) -> None:
        keys = [key for key in self._settings.texts("breakdown/metrics") if key in METRIC]
        if keys:
            self.metric_button.set_keys(keys)
            self.metric_button.follow_count_mode(self._workspace.count_mode)
        self.bars.set_log(self._settings.flag("breakdown/log"))
        self.log_button.setChecked(self.bars.log)
        self.segments.choose(MODULES if self._settings.number("breakdown/view") == MODULES else LAYERS)


def _make(desk: Desk) -> QWidget:
    return BreakdownPanel(desk)


PANEL = ChartEntry("Breakdown", "dock_breakdown", _make, order=1)
