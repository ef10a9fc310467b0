"""The Live latency panel with real widgets, clicks and keys, and hand-made measurements."""

from __future__ import annotations

import os

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from PySide6.QtCore import QCoreApplication, QElapsedTimer, QPoint, Qt
from PySide6.QtGui import QColor, QGuiApplication, QImage
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from engine.configuration import Configuration
from engine.errors import ErrorInfo
from engine.measurement import Latency, Measurement
from engine.results import Analysis, with_latency
from gui.charts.live_latency import PACE_MS, LiveLatencyPanel
from gui.engine_client import EngineClient
from gui.measuring import Running
from gui.settings import Settings
from gui.sizes import fixed_specs
from gui.theme import ThemeManager
from gui.workspace import Workspace
from tests.gui.analyses import small_net
from tests.gui.desks import desk_of
from tests.gui.measurements import PREEMPTED, comparison, latency_of, measured, measurement


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
        self.measuring.enabled = True
        self.panel = LiveLatencyPanel(self.desk)
        qtbot.addWidget(self.panel)
        self.panel.resize(640, 300)
        self.panel.show()
        qtbot.waitExposed(self.panel)
        self.chart = self.panel.chart

    def open(self, analysis: Analysis, baseline: Analysis | None = None) -> None:
        workspace = self.workspace
        workspace.model, workspace.editable = analysis.model, True
        workspace.analysis, workspace.baseline = analysis, baseline
        self.ask(analysis.configuration)
        workspace.baseline_changed.emit()

    def ask(self, configuration: Configuration) -> None:
        self.workspace.configuration = configuration
        self.workspace.configuration_changed.emit()

    def learn(self, found: Measurement) -> None:
        """It has been measured."""
        measuring = self.measuring
        measuring.running = None
        self.workspace.latencies[found.configuration] = Latency(found)
        measuring.history = [
            *(each for each in measuring.history if each.configuration != found.configuration),
            found,
        ]
        measuring.shown = found
        measuring.latency_changed.emit()

    def sample(self, configuration: Configuration, times: list[float], delays: list[float]) -> None:
        """Samples so far of a measurement under way."""
        measuring = self.measuring
        measuring.phase, measuring.words = "live", "Measuring"
        measuring.running = Running(configuration, 2, times, delays)
        measuring.samples_changed.emit()

    @property
    def samples(self) -> Sequence[float]:
        trace = self.chart.data.trace
        return () if trace is None else trace.samples_s

    def at(self, index: int) -> QPoint:
        return QPoint(round(self.chart.x(index)), round(self.chart.field.center().y()))


@pytest.fixture
def stage(qtbot: QtBot, tmp_path: Path) -> Stage:
    return Stage(qtbot, tmp_path)


NET = small_net()
SMALLER = small_net(128)
WITHOUT_POOL = small_net(pool=False)


def test_without_a_model_a_sentence_says_what_to_do(stage: Stage) -> None:
    assert stage.chart.data.trace is None
    assert "Open a model" in stage.chart.data.words


def test_until_something_is_measured_the_panel_says_what_goes_on(stage: Stage) -> None:
    stage.open(NET)
    stage.measuring.phase = "starting"
    stage.measuring.state_changed.emit()
    assert "engine starts" in stage.chart.data.words
    stage.measuring.enabled = False
    stage.measuring.state_changed.emit()
    assert "Switch Measure on" in stage.chart.data.words
    stage.workspace.editable = False
    stage.measuring.state_changed.emit()
    assert "Open its model" in stage.chart.data.words


def test_what_cannot_be_measured_is_said_with_its_reason_beside_what_was(stage: Stage) -> None:
    stage.open(NET)
    stage.learn(measurement(NET.configuration))
    stage.ask(WITHOUT_POOL.configuration)
    stage.measuring.error = ErrorInfo("memory", "It needs 9 GiB; 4 GiB are free.", "Choose a smaller size.")
    stage.measuring.state_changed.emit()
    assert stage.chart.data.trace is None
    assert stage.chart.data.words == "It needs 9 GiB; 4 GiB are free. Choose a smaller size."
    assert [each.configuration for each in stage.chart.strips] == [NET.configuration]


def test_a_refusal_takes_the_place_of_earlier_measurements_where_both_do_not_fit(stage: Stage) -> None:
    stage.panel.resize(354, 146)
    stage.open(NET)
    stage.learn(measurement(NET.configuration))
    stage.ask(WITHOUT_POOL.configuration)
    needs = "Running Big needs 25.5 GiB (24.1 GiB weights + 1.4 GiB activations); 20.3 GiB are free."
    stage.measuring.error = ErrorInfo("input", needs, "Close other programs, or take a smaller variant.")
    stage.measuring.state_changed.emit()
    assert stage.chart.strips == ()
    assert stage.chart.brush.holds(stage.chart.area, stage.chart.data.words)
    stage.panel.resize(640, 300)
    assert len(stage.chart.strips) == 1


def test_in_a_narrow_panel_a_baseline_near_the_median_is_named_below(stage: Stage) -> None:
    stage.panel.resize(354, 146)
    stage.open(WITHOUT_POOL)
    stage.learn(measurement(WITHOUT_POOL.configuration, 25.0))

    def below() -> QImage:
        image = stage.chart.grab().toImage()
        top = round(stage.chart.field.bottom()) + 3
        return image.copy(0, top, image.width(), image.height() - top)

    alone = below()
    stage.open(WITHOUT_POOL, measured(NET, 24.0))
    assert below() != alone


def test_a_finished_measurement_is_shown_with_what_belongs_to_it(stage: Stage) -> None:
    stage.open(NET)
    stage.learn(measurement(NET.configuration, 38.0))
    trace = stage.chart.data.trace
    assert trace is not None and not trace.running and len(trace.samples_s) == 41
    assert stage.chart.stale_words == ""
    for part in ("41 samples", "first forward 76.0\u202fms", "2 threads", "the interval is narrow enough"):
        assert part in stage.panel.caption.text
    assert stage.panel.caption.text.startswith("38.0 ±")


def test_a_single_run_states_that_it_has_no_interval(stage: Stage) -> None:
    stage.open(NET)
    stage.learn(measurement(NET.configuration, samples=1))
    assert "1 sample, too few for an interval" in stage.panel.caption.text


def test_another_configuration_greys_the_samples_and_names_theirs(stage: Stage) -> None:
    stage.open(NET)
    stage.learn(measurement(NET.configuration))
    fresh = stage.chart.grab().toImage()
    stage.ask(SMALLER.configuration)
    assert stage.chart.stale_words == "of 1×3×224×224"
    assert stage.panel.caption.text.startswith("of 1×3×224×224 · ")
    assert stage.chart.grab().toImage() != fresh
    stage.learn(measurement(SMALLER.configuration, 12.0))
    assert stage.chart.stale_words == ""
    assert [each.configuration for each in stage.chart.strips] == [NET.configuration]


def test_in_a_narrow_panel_old_samples_say_whose_they_are_below_them(stage: Stage) -> None:
    stage.panel.resize(300, 190)
    stage.open(NET)
    stage.learn(measurement(NET.configuration))
    ink = QColor(stage.theme.current.text).name()

    def below() -> set[str]:
        field = stage.chart.field
        image = stage.chart.grab().toImage()
        return {
            image.pixelColor(x, y).name()
            for x in range(round(field.left()), round(field.right()))
            for y in range(round(field.bottom()) + 3, image.height())
        }

    assert ink not in below()
    stage.ask(SMALLER.configuration)
    assert ink in below()  # at full strength, while the samples are faded


def test_a_measurement_of_other_threads_is_old_too(stage: Stage) -> None:
    stage.open(NET)
    stage.learn(measurement(NET.configuration, threads=4))
    stage.workspace.latencies.clear()
    stage.measuring.latency_changed.emit()
    assert stage.chart.stale_words == "with 4 threads"


def test_samples_are_shown_as_they_come(stage: Stage) -> None:
    stage.open(NET)
    stage.sample(NET.configuration, [0.04, 0.05], [0.0, 0.03])
    stage.panel.update_data()
    trace = stage.chart.data.trace
    assert trace is not None and trace.running
    assert trace.disturbed == (False, True)
    assert stage.chart.progress == pytest.approx(0.09)
    stage.learn(measurement(NET.configuration))
    assert stage.chart.progress is None


def test_samples_repaint_at_most_four_times_a_second(stage: Stage, qtbot: QtBot) -> None:
    stage.open(NET)
    clock = QElapsedTimer()
    clock.start()
    seen = [stage.chart.data]
    times: list[float] = []
    while clock.elapsed() < 3 * PACE_MS:
        times.append(0.04)
        stage.sample(NET.configuration, list(times), [])
        QCoreApplication.processEvents()
        if stage.chart.data is not seen[-1]:
            seen.append(stage.chart.data)
    assert 1 < len(seen) <= clock.elapsed() / PACE_MS + 1
    # the last samples are not lost
    qtbot.waitUntil(lambda: len(stage.samples) == len(times), timeout=20 * PACE_MS)


def test_a_repeated_measurement_waits_until_it_has_an_interval(stage: Stage) -> None:
    stage.open(NET)
    stage.learn(measurement(NET.configuration))
    stage.measuring.running = Running(NET.configuration, 2, [0.04] * 5, [])
    stage.panel.update_data()
    trace = stage.chart.data.trace
    assert trace is not None and not trace.running
    stage.measuring.running = Running(NET.configuration, 2, [0.04] * 6, [])
    stage.panel.update_data()
    trace = stage.chart.data.trace
    assert trace is not None and trace.running


def test_the_baseline_is_a_line_of_its_own_unless_it_is_what_is_shown(stage: Stage) -> None:
    stage.open(WITHOUT_POOL, measured(NET, 38.0))
    stage.learn(measurement(WITHOUT_POOL.configuration, 141.0))
    before = stage.chart.data.before
    assert before is not None and before.seconds == pytest.approx(0.038)
    assert before.notes == ("measured apart",)
    stage.open(NET, measured(NET, 38.0))
    stage.learn(measurement(NET.configuration, 38.0))
    assert stage.chart.data.before is None


def test_the_baseline_has_the_time_that_the_verdict_is_about(stage: Stage) -> None:
    baseline = with_latency(NET, latency_of(NET, 244.0, flags=[PREEMPTED]))
    stage.open(WITHOUT_POOL, baseline)
    stage.learn(measurement(WITHOUT_POOL.configuration, 680.0))
    before = stage.chart.data.before
    assert before is not None and before.words == "before 244\u202fms"
    assert before.notes == ("measured apart", PREEMPTED.words)
    alone = stage.chart.grab().toImage()
    asked = WITHOUT_POOL.configuration
    stage.workspace.specs = fixed_specs(asked.inputs)
    pairs = comparison(NET.configuration, asked, 4.0)
    stage.workspace.latencies[asked] = stage.workspace.latencies[asked].with_part(pairs)
    stage.measuring.latency_changed.emit()
    before = stage.chart.data.before
    assert before is not None and before.words == "before 20.0\u202fms", "the pairs', not the disturbed run's"
    assert before.notes == ("in alternation",)
    assert stage.chart.grab().toImage() != alone


def test_hovering_names_samples_and_earlier_measurements(stage: Stage, qtbot: QtBot) -> None:
    stage.open(NET)
    stage.learn(measurement(SMALLER.configuration, 12.0))
    stage.learn(measurement(NET.configuration, 38.0))
    plain = stage.chart.grab().toImage()
    view = stage.chart.viewport()
    qtbot.mouseMove(view, stage.at(4))
    on_sample = stage.chart.grab().toImage()
    assert on_sample != plain
    qtbot.mouseMove(view, QPoint(round(stage.chart.field.left() - 40), stage.at(0).y()))
    assert stage.chart.grab().toImage() not in (plain, on_sample)
    assert stage.chart.sample_lines(4)[0].startswith("Sample 5: 36.8")
    assert stage.chart.sample_lines(4)[-1] == "waited for a core"
    assert stage.chart.sample_lines(5)[-1] == "undisturbed"


def test_arrow_keys_walk_the_samples(stage: Stage, qtbot: QtBot) -> None:
    stage.open(NET)
    stage.learn(measurement(NET.configuration))
    for key, number in (
        (Qt.Key.Key_Right, 1),
        (Qt.Key.Key_Right, 2),
        (Qt.Key.Key_Left, 1),
        (Qt.Key.Key_Left, 1),
        (Qt.Key.Key_End, 41),
        (Qt.Key.Key_Right, 41),
        (Qt.Key.Key_Home, 1),
    ):
        qtbot.keyClick(stage.chart, key)
        assert stage.chart.accessibleDescription().startswith(f"Sample {number}: ")


def test_the_scale_is_logarithmic_by_a_click_and_stays_so(stage: Stage, qtbot: QtBot) -> None:
    stage.open(NET)
    stage.learn(measurement(NET.configuration))
    qtbot.mouseClick(stage.panel.log_button, Qt.MouseButton.LeftButton)
    assert stage.chart.log
    again = LiveLatencyPanel(stage.desk)
    qtbot.addWidget(again)
    assert again.chart.log and again.log_button.isChecked()
    qtbot.keyClick(stage.chart, Qt.Key.Key_L)
    assert not stage.chart.log and not stage.panel.log_button.isChecked()


def test_copying_puts_the_picture_on_the_clipboard(stage: Stage, qtbot: QtBot) -> None:
    stage.open(NET)
    stage.learn(measurement(NET.configuration))
    QGuiApplication.clipboard().clear()
    with qtbot.waitSignal(stage.workspace.noticed):
        qtbot.keyClick(stage.chart, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    assert not QGuiApplication.clipboard().pixmap().isNull()


def test_a_hidden_panel_catches_up_when_it_is_shown(stage: Stage) -> None:
    stage.open(NET)
    stage.panel.hide()
    stage.learn(measurement(NET.configuration))
    assert stage.chart.data.trace is None
    stage.panel.show()
    assert stage.chart.data.trace is not None


def test_disturbed_samples_have_the_colour_of_caution_and_another_shape(stage: Stage) -> None:
    stage.open(NET)
    calm = measurement(NET.configuration)
    stage.learn(msgspec.structs.replace(calm, delay_s=(0.0,) * calm.n))
    caution = QColor(stage.theme.current.caution).name()
    assert caution not in colors(stage)
    stage.learn(msgspec.structs.replace(calm, delay_s=calm.samples_s))
    assert caution in colors(stage)


def colors(stage: Stage) -> set[str]:
    image = stage.chart.grab().toImage()
    return {image.pixelColor(x, y).name() for x in range(image.width()) for y in range(image.height())}


@pytest.mark.parametrize("size", [(260, 150), (330, 190), (640, 300), (1900, 700)])
def test_any_size_and_theme_can_be_painted(stage: Stage, size: tuple[int, int]) -> None:
    stage.open(WITHOUT_POOL, measured(NET, 38.0))
    stage.panel.resize(*size)
    outlier = measurement(WITHOUT_POOL.configuration, 141.0)
    outlier = msgspec.structs.replace(outlier, samples_s=(*outlier.samples_s[:-1], 3.0))
    for mode in ("dark", "light"):
        stage.theme.set_mode(mode)
        for found in (measurement(SMALLER.configuration, 9.0), outlier):
            stage.learn(found)
            for log in (False, True):
                stage.chart.set_log(log)
                assert not stage.panel.grab().isNull()
