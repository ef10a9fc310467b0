"""The Curve panel and what it collects: points along one slider, refusals, the baseline's sweep, the cursor."""

from __future__ import annotations

import os

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from pathlib import Path

import msgspec
import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from engine.configuration import Configuration
from engine.edits import RemoveLayer
from engine.errors import ErrorInfo
from engine.graph import Dim, InputSpec
from engine.measurement import Flag, Latency
from engine.metrics import METRIC
from engine.protocol import Point
from engine.results import Analysis, with_latency
from gui import sizes
from gui.charts import sweep
from gui.charts.curve import CurvePanel
from gui.charts.curve_chart import dot_sentences
from gui.engine_client import EngineClient
from gui.measuring import Sweep
from gui.settings import Settings
from gui.theme import ThemeManager
from gui.workspace import Workspace
from tests.gui.analyses import small_net
from tests.gui.desks import desk_of
from tests.gui.measurements import PREEMPTED, measured, measurement

SPECS = (
    InputSpec(
        "x",
        (
            Dim("batch", 1, "batch", 1, 64),
            Dim("channels", 3),
            Dim("height", 224, "height", 32, 512, 32),
            Dim("width", 224, "width", 32, 512, 32),
        ),
    ),
)
REFUSAL = ErrorInfo("layer", "blocks.0.conv takes 8 channels.", "Choose another size.")


def configuration(size: int, batch: int = 1, *, pool: bool = True) -> Configuration:
    inputs = sizes.with_sizes(SPECS, (SPECS[0].default,), {"batch": batch, "height": size, "width": size})
    return Configuration(inputs, () if pool else (RemoveLayer("pool"),))


def point(size: int, *, pool: bool = True, refused: bool = False) -> tuple[Configuration, Point]:
    at = configuration(size, pool=pool)
    if refused:
        return at, Point(0, at, error=REFUSAL)
    return at, Point(0, at, small_net(size, pool=pool).totals)


def net(size: int, *, pool: bool = True) -> Analysis:
    analysis = small_net(size, pool=pool)
    return msgspec.structs.replace(analysis, configuration=configuration(size, pool=pool))


def milliseconds(size: int) -> float:
    """Milliseconds that the measurements of these tests take at a size."""
    return 38.0 * (size / 224) ** 2


# -- what is collected -----------------------------------------------------------------------------------------------


def test_only_points_of_this_sweep_are_collected() -> None:
    points = dict([point(64), point(128), point(96, pool=False), point(32, refused=True)])
    uneven = msgspec.structs.replace(
        configuration(64), inputs=sizes.with_sizes(SPECS, (SPECS[0].default,), {"height": 64, "width": 96})
    )
    points[uneven] = Point(0, uneven, small_net(64).totals)
    batched = configuration(160, batch=2)
    points[batched] = Point(0, batched, small_net(160).totals)
    here = sweep.positions(SPECS, ["height", "width"], configuration(224))
    found = sweep.collect(here, points, [net(224), None])
    assert list(found.totals) == [64, 128, 224]
    assert found.refused == {32: "blocks.0.conv takes 8 channels. Choose another size."}


def test_a_refused_position_breaks_the_line() -> None:
    totals = {size: small_net(size).totals for size in (32, 64, 128, 160)}
    found = sweep.Sweep(totals, {96: "no"})
    lines = sweep.pieces(found, "macs")
    assert [[size for size, _ in line] for line in lines] == [[32, 64], [128, 160]]
    assert lines[0][1] == (64, float(totals[64].macs))


def test_measured_metrics_have_dots_at_the_positions_of_the_sweep() -> None:
    here = sweep.positions(SPECS, ["height", "width"], configuration(224))
    known = [measurement(configuration(size, pool=size != 96), size / 10) for size in (128, 64, 96)]
    totals = {64: small_net(64).totals}
    found = sweep.dots(here, known, totals, "latency_s")
    assert list(found) == [64, 128]
    assert found[64] == (known[1].median_s, known[1].interval, ())
    # CPU time has no interval; 1.7 cores are busy in these measurements
    assert sweep.dots(here, known, {}, "cpu_s")[64].interval is None
    assert sweep.dots(here, known, {}, "cores_busy")[64].value == pytest.approx(1.7)
    # a speed needs the analysis of the position as well, and turns the interval round
    speed = sweep.dots(here, known, totals, "macs_per_s")
    assert list(speed) == [64]
    assert speed[64].value == pytest.approx(totals[64].macs / known[1].median_s)
    interval = speed[64].interval
    assert interval is not None and interval.low < speed[64].value < interval.high


def test_cpu_time_is_of_one_forward_pass_where_a_sample_holds_several() -> None:
    here = sweep.positions(SPECS, ["height", "width"], configuration(224))
    single = measurement(configuration(64), 0.1)
    of_ten = msgspec.structs.replace(
        single, cpu_s=tuple(10 * each for each in single.cpu_s), forwards_per_sample=10
    )
    once, ten = (sweep.dots(here, [each], {}, "cpu_s")[64].value for each in (single, of_ten))
    assert ten == pytest.approx(once)
    merged = with_latency(net(64), Latency(of_ten))
    assert merged.totals.cpu_s == pytest.approx(once)


def test_dots_are_joined_over_positions_that_are_not_measured() -> None:
    assert sweep.joined([(32, 1.0), (64, 2.0), (128, 3.0)], [96]) == [[(32, 1.0), (64, 2.0)], [(128, 3.0)]]
    assert sweep.joined([], [96]) == []


def test_refused_stretches_reach_half_way_to_the_next_accepted_size() -> None:
    found = sweep.Sweep({224: small_net(224).totals}, {192: "no", 160: "no", 256: "no"})
    assert sweep.refused_stretches(found, 32, 512) == [(32.0, 208.0), (240.0, 512.0)]


def test_the_cursor_stops_at_steps_and_ends() -> None:
    dim = Dim("height", 224, "height", 33, 500, 32)
    assert [sweep.snapped(dim, at) for at in (0, 40, 47, 70, 495, 900)] == [33, 33, 33, 64, 500, 500]
    assert [sweep.moved(dim, 224, steps) for steps in (1, -1, 30)] == [256, 192, 500]
    assert (sweep.moved(dim, 230, 1), sweep.moved(dim, 230, -1)) == (256, 224)


def test_axis_words() -> None:
    assert sweep.axis_label(["height", "width"]) == "height = width (pixels)"
    assert sweep.axis_label(["sequence"]) == "sequence (tokens)"
    assert sweep.axis_label(["features"]) == "features"
    assert sweep.axis_label(["past_length"], "sequence") == "past_length (tokens)"


# -- the panel -------------------------------------------------------------------------------------------------------


class Stage:
    """A workspace without an engine process and the panel on the screen."""

    def __init__(self, qtbot: QtBot, folder: Path) -> None:
        app = QApplication.instance()
        assert isinstance(app, QApplication)
        self.settings = Settings(str(folder / "settings.ini"))
        self.workspace = Workspace(EngineClient(), self.settings)
        self.theme = ThemeManager(app, "light")
        self.desk = desk_of(self.workspace, self.theme, self.settings)
        self.measuring = self.desk.measuring
        self.panel = CurvePanel(self.desk)
        qtbot.addWidget(self.panel)
        self.panel.resize(600, 280)
        self.panel.show()
        qtbot.waitExposed(self.panel)
        self.chart = self.panel.chart

    def show(self, analysis: Analysis, baseline: Analysis | None = None, editable: bool = True) -> None:
        workspace = self.workspace
        workspace.model, workspace.configuration = analysis.model, analysis.configuration
        workspace.analysis, workspace.baseline = analysis, baseline
        workspace.specs = SPECS if editable else sizes.fixed_specs(analysis.configuration.inputs)
        workspace.editable = workspace.linked = editable
        workspace.sweep_symbol = "height"
        for changed in (workspace.model_changed, workspace.analysis_changed, workspace.baseline_changed):
            changed.emit()

    def learn(self, *points: tuple[Configuration, Point]) -> None:
        self.workspace.points.update(points)
        self.workspace.points_changed.emit()

    def at(self, size: float) -> QPoint:
        return QPoint(round(self.chart.x(size)), round(self.chart.plot.center().y()))


@pytest.fixture
def stage(qtbot: QtBot, tmp_path: Path) -> Stage:
    return Stage(qtbot, tmp_path)


def test_without_a_model_and_for_a_report_there_is_a_sentence(stage: Stage) -> None:
    assert stage.chart.data is None
    assert not stage.panel.sweep_button.isVisible()
    stage.show(net(224), editable=False)
    assert stage.chart.data is None
    assert not stage.panel.grab().isNull()


def test_points_arrive_gradually(stage: Stage) -> None:
    stage.show(net(224))
    data = stage.chart.data
    assert data is not None and list(data.now.totals) == [224]
    assert (data.name, data.axis) == ("resolution", "height = width (pixels)")
    stage.learn(point(64), point(448))
    assert stage.chart.data is not None and list(stage.chart.data.now.totals) == [64, 224, 448]
    assert stage.panel.caption.text == "MACs against resolution"


def test_a_tick_of_the_slider_moves_only_the_cursor(stage: Stage) -> None:
    stage.show(net(224))
    stage.learn(point(64), point(448))
    before = stage.chart.data
    stage.workspace.configuration = configuration(256)
    stage.workspace.configuration_changed.emit()
    assert stage.chart.data is before
    assert stage.chart.asked == 256


def test_the_baseline_has_its_own_curve_and_place(stage: Stage) -> None:
    stage.show(net(224, pool=False), net(192))
    stage.learn(point(64), point(64, pool=False))
    data = stage.chart.data
    assert data is not None and data.before is not None
    assert list(data.now.totals) == [64, 224] and list(data.before.totals) == [64, 192]
    assert data.before_at == (192, net(192).totals.macs)
    # the same edits: one curve, and only the baseline's place on it
    stage.show(net(224), net(192))
    assert stage.chart.data is not None and stage.chart.data.before is None
    assert stage.chart.data.before_at == (192, net(192).totals.macs)


def test_a_baseline_of_another_model_has_only_its_own_place(stage: Stage) -> None:
    other = msgspec.structs.replace(small_net(192).model, name="other", source="test:other")
    report = msgspec.structs.replace(net(192, pool=False), model=other)
    stage.show(net(224), report)
    stage.learn(point(64), point(64, pool=False), point(128, pool=False))
    data = stage.chart.data
    assert data is not None and data.before is None
    assert data.before_at == (192, report.totals.macs)
    # the same configuration of two models is no reason to leave out the mark
    twin = msgspec.structs.replace(net(224), model=other, totals=net(224, pool=False).totals)
    stage.show(net(224), twin)
    assert stage.chart.data is not None and stage.chart.data.before is None
    assert stage.chart.data.before_at == (224, twin.totals.macs)


def test_dragging_the_cursor_asks_for_another_size(stage: Stage, qtbot: QtBot) -> None:
    stage.show(net(224))
    view = stage.chart.viewport()
    qtbot.mousePress(view, Qt.MouseButton.LeftButton, pos=stage.at(224))
    assert stage.workspace.size_of("height") == 224
    for size in (250, 300, 333):
        qtbot.mouseMove(view, stage.at(size))
    qtbot.mouseRelease(view, Qt.MouseButton.LeftButton, pos=stage.at(333))
    assert stage.workspace.size_of("height") == stage.workspace.size_of("width") == 320
    assert stage.chart.asked == 320
    assert stage.workspace.undo_stack.count() == 1
    stage.workspace.undo_stack.undo()
    assert stage.chart.asked == 224


def test_arrow_keys_move_the_cursor(stage: Stage, qtbot: QtBot) -> None:
    stage.show(net(224))
    for key, size in (
        (Qt.Key.Key_Right, 256),
        (Qt.Key.Key_Left, 224),
        (Qt.Key.Key_Home, 32),
        (Qt.Key.Key_Left, 32),
        (Qt.Key.Key_End, 512),
    ):
        qtbot.keyClick(stage.chart, key)
        assert stage.workspace.size_of("height") == size


def test_hovering_a_refused_size_is_painted_with_its_reason(stage: Stage, qtbot: QtBot) -> None:
    stage.show(net(224))
    stage.learn(point(64), point(448, refused=True))
    plain = stage.chart.grab().toImage()
    qtbot.mouseMove(stage.chart.viewport(), stage.at(450))
    assert stage.chart.grab().toImage() != plain
    assert stage.chart.data is not None and 448 in stage.chart.data.now.refused


def test_the_sweep_menu_chooses_another_slider(stage: Stage, qtbot: QtBot) -> None:
    stage.show(net(224))
    menu = stage.panel.sweep_button.menu()
    menu.aboutToShow.emit()
    assert [action.text() for action in menu.actions()] == ["batch", "resolution"], "each once"
    assert [action.isChecked() for action in menu.actions()] == [False, True]
    menu.actions()[0].trigger()
    assert stage.workspace.sweep_symbol == "batch"
    assert stage.chart.data is not None and stage.chart.data.axis == "batch (samples)"


def test_the_metric_follows_macs_or_flops_and_is_kept(stage: Stage, qtbot: QtBot) -> None:
    stage.show(net(224))
    stage.workspace.count_mode = "flops"
    stage.workspace.count_mode_changed.emit()
    assert stage.chart.data is not None and stage.chart.data.metric.key == "flops"
    stage.panel.metric_button.set_keys(["activation_bytes"])
    again = CurvePanel(stage.desk)
    qtbot.addWidget(again)
    assert again.metric_button.keys == ("activation_bytes",)


def measure(stage: Stage, *sizes_: int, pool: bool = True) -> None:
    """These sizes have been measured."""
    for size in sizes_:
        at = configuration(size, pool=pool)
        stage.workspace.latencies[at] = Latency(measurement(at, milliseconds(size)))
    stage.measuring.latency_changed.emit()


def test_measured_medians_are_dots_and_the_baselines_ghosts(stage: Stage) -> None:
    stage.show(net(224, pool=False), measured(net(192)))
    stage.learn(point(64), point(64, pool=False))
    stage.panel.metric_button.set_keys(["latency_s"])
    assert stage.chart.data is not None and stage.chart.data.dots == {}
    assert "Measuring is paused" in stage.chart.data.words
    measure(stage, 128, 224, pool=False)
    measure(stage, 64, 160)
    data = stage.chart.data
    assert data is not None and not data.words
    assert list(data.dots) == [128, 224]
    assert list(data.dots_before) == [64, 160]
    assert data.before_at == (192, pytest.approx(0.038))
    assert data.value_at(224) == pytest.approx(0.038)
    assert data.value_at(64) is None  # not measured: blank, whatever is known of it otherwise
    assert data.value_at(64, before=True) == pytest.approx(milliseconds(64) / 1e3)


def test_measuring_leaves_analytic_curves_alone(stage: Stage) -> None:
    stage.show(net(224))
    stage.learn(point(64), point(448))
    before = stage.chart.data
    measure(stage, 64, 224)
    stage.measuring.sweep_changed.emit()
    stage.measuring.state_changed.emit()
    assert stage.chart.data is before
    assert before is not None and before.dots == {}


def test_hovering_a_dot_tells_its_interval(stage: Stage, qtbot: QtBot) -> None:
    stage.show(net(224))
    stage.panel.metric_button.set_keys(["latency_s"])
    measure(stage, 64, 448)
    plain = stage.chart.grab().toImage()
    qtbot.mouseMove(stage.chart.viewport(), stage.at(440))
    assert stage.chart.grab().toImage() != plain


def test_a_median_of_a_machine_that_was_not_quiet_has_another_mark(stage: Stage) -> None:
    stage.show(net(224))
    stage.panel.metric_button.set_keys(["latency_s"])
    calm = measurement(configuration(64), 5.0)
    stage.workspace.latencies[calm.configuration] = Latency(calm)
    stage.measuring.latency_changed.emit()
    plain = stage.chart.grab().toImage()
    noisy = msgspec.structs.replace(calm, flags=(PREEMPTED,))
    stage.workspace.latencies[calm.configuration] = Latency(noisy)
    stage.measuring.latency_changed.emit()
    assert stage.chart.grab().toImage() != plain
    assert stage.chart.data is not None
    dot = stage.chart.data.dots[64]
    assert dot_sentences(METRIC["latency_s"], dot)[1:] == ["other programs took the cores"]
    few = sweep.Dot(0.005)
    assert dot_sentences(METRIC["latency_s"], few) == ["too few samples for an interval"]


def test_a_disturbed_median_keeps_its_mark_under_the_cursor(stage: Stage) -> None:
    def centre(flags: tuple[Flag, ...]) -> str:
        known = net(224)
        found = measurement(known.configuration, 38.0, flags=flags)
        stage.show(with_latency(known, Latency(found)))
        stage.panel.metric_button.set_keys(["latency_s"])
        stage.chart.set_cursor(224, (224, 0.038))
        at = QPoint(round(stage.chart.x(224)), round(stage.chart._y(0.038)))
        return stage.chart.grab().toImage().pixelColor(at).name()

    assert centre(()) == QColor(stage.theme.current.accent).name()
    assert centre((PREEMPTED,)) == QColor(stage.theme.current.surface).name()


def test_the_range_is_measured_held_and_stopped_by_buttons(stage: Stage, qtbot: QtBot) -> None:
    controls = stage.panel.sweep_controls
    stage.show(net(224))
    assert not controls.isVisible()  # parameters and MACs have nothing to measure
    stage.panel.metric_button.set_keys(["latency_s"])
    assert controls.start.isVisible() and not controls.start.isEnabled()
    assert "Switch Measure on" in controls.start.toolTip()
    stage.measuring.enabled = True
    stage.measuring.state_changed.emit()
    qtbot.mouseClick(controls.start, Qt.MouseButton.LeftButton)
    begun = stage.measuring.sweep
    assert begun is not None and begun.symbol == "height"
    assert not controls.start.isVisible()
    assert controls.progress.text() == f"0 of {begun.total}"
    qtbot.mouseClick(controls.pause, Qt.MouseButton.LeftButton)
    assert stage.measuring.sweep is not None and stage.measuring.sweep.paused
    assert controls.pause.text() == "Go on"
    qtbot.mouseClick(controls.pause, Qt.MouseButton.LeftButton)
    assert not stage.measuring.sweep.paused
    stage.measuring.enabled = False
    stage.measuring.state_changed.emit()
    assert not controls.pause.isEnabled() and "Switch Measure on" in controls.pause.toolTip()
    assert controls.progress.toolTip().endswith("held")
    stage.measuring.enabled = True
    stage.measuring.state_changed.emit()
    assert controls.pause.isEnabled()
    # a sweep that runs can be stopped whatever the curve shows
    stage.panel.metric_button.set_keys(["macs"])
    assert controls.cancel.isVisible()
    qtbot.mouseClick(controls.cancel, Qt.MouseButton.LeftButton)
    assert stage.measuring.sweep is None
    assert not controls.isVisible()


def test_a_report_is_not_measured(stage: Stage) -> None:
    stage.measuring.enabled = True
    stage.panel.metric_button.set_keys(["latency_s"])
    stage.show(net(224), editable=False)
    assert "report" in stage.panel.sweep_controls.refusal
    assert not stage.panel.sweep_controls.isVisible()


def test_the_header_stays_narrow_while_the_range_is_measured(stage: Stage) -> None:
    stage.measuring.enabled = True
    stage.show(net(224))
    stage.panel.metric_button.set_keys(["latency_s"])
    stage.measuring.sweep = Sweep("height", 11, 12)
    stage.measuring.sweep_changed.emit()
    stage.panel.resize(300, 200)
    QApplication.processEvents()
    assert not stage.panel.sweep_button.isVisible()
    assert stage.panel.minimumSizeHint().width() <= 360
    stage.panel.resize(700, 200)
    assert stage.panel.sweep_button.isVisible()


def test_a_new_theme_recolours(stage: Stage) -> None:
    stage.show(net(224), net(192, pool=False))
    stage.learn(point(64), point(448))
    for mode in ("dark", "light"):
        stage.theme.set_mode(mode)
        image = stage.chart.grab().toImage()
        colors = {
            image.pixelColor(x, y).name() for x in range(image.width()) for y in range(0, image.height(), 3)
        }
        assert QColor(stage.theme.current.surface).name() in colors
        assert QColor(stage.theme.current.accent).name() in colors


@pytest.mark.parametrize("size", [(260, 150), (600, 220), (1900, 700)])
def test_any_size_can_be_painted(stage: Stage, size: tuple[int, int]) -> None:
    stage.show(net(224), net(192, pool=False))
    stage.learn(point(64), point(448), point(32, refused=True))
    stage.panel.resize(*size)
    for log in (False, True):
        stage.chart.set_log(log)
        assert not stage.panel.grab().isNull()
