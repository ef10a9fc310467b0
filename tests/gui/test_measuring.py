"""When what is measured, and that nothing old is ever shown as current. A fake process measures, where not said."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from PySide6.QtCore import QCoreApplication, QEvent, QTimer
from pytestqt.qtbot import QtBot

from engine.errors import ErrorInfo
from engine.graph import Dim
from engine.measurement import Measurement, OpTimes
from engine.protocol import Compare, Measure, MeasureLayers
from engine.results import Analysis
from gui.engine_client import ROOT
from gui.latency_engine import Job, LatencyEngine
from gui.measuring import HISTORY, Measuring
from gui.settings import Settings
from gui.sweep import POSITIONS, bisected, positions
from gui.workspace import Workspace
from tests.conftest import EVERYTHING
from tests.gui.conftest import ANSWER_MS, READY_MS, open_model, wait_current
from tests.gui.fake_latency import DIES, HANGS, REFUSES, SLOW
from tests.gui.test_latency_engine import FAKE, alive, gone, kill

SQUEEZENET = "torchvision:squeezenet1_1"
FIRST_LAYER = "features.0:conv2d"


class Watch:
    """Checks at every signal that what is shown as current is, and keeps what was asked for."""

    def __init__(self, measuring: Measuring) -> None:
        self.measuring = measuring
        self.broken: list[str] = []
        self.jobs: list[Job] = []
        self.phases: list[str] = []
        self.spares: list[bool] = []
        """Whether there was one at the start of each job."""
        workspace = measuring.workspace
        for changed in (
            measuring.state_changed,
            measuring.samples_changed,
            measuring.latency_changed,
            measuring.sweep_changed,
            workspace.configuration_changed,
            workspace.analysis_changed,
            workspace.baseline_changed,
        ):
            changed.connect(self.check)
        measuring.engine.changed.connect(self.note)

    def note(self) -> None:
        job = self.measuring.engine.job
        if job is not None and (not self.jobs or job != self.jobs[-1]):
            self.jobs.append(job)
            self.spares.append(self.measuring.engine.pids[1] != 0 and not self.measuring.engine.preparing)

    def check(self) -> None:
        measuring, workspace = self.measuring, self.measuring.workspace
        asked = workspace.configuration
        self.phases.append(measuring.phase)
        if measuring.is_current and (measuring.shown is None or measuring.shown.configuration != asked):
            self.broken.append("a stale measurement is shown as current")
        if measuring.running is not None and measuring.running.configuration != asked:
            self.broken.append("samples of another configuration run")
        if measuring.comparison is not None and measuring.comparison.current != asked:
            self.broken.append("a stale comparison is shown")
        for analysis in (workspace.analysis, workspace.baseline):
            if analysis is not None and not consistent(analysis):
                self.broken.append("an analysis has times of another configuration as its own")

    def had_spare(self, kind: type[Job], tier: str = "") -> bool:
        """Whether there was a spare at the last job of this kind."""
        found = [
            spare
            for job, spare in zip(self.jobs, self.spares, strict=True)
            if isinstance(job, kind) and getattr(job, "tier", "") == tier
        ]
        return found[-1]

    def count(self, kind: type[Job]) -> int:
        return sum(isinstance(job, kind) for job in self.jobs)


def consistent(analysis: Analysis) -> bool:
    if analysis.latency is not None and analysis.latency.configuration != analysis.configuration:
        return False
    if analysis.latency is None and analysis.totals.latency_s is not None:
        return False
    times = analysis.layer_times
    own = analysis.latency.layers if analysis.latency is not None else None
    return times is None or times == own or analysis.stale_times


@pytest.fixture
def latency_engine(tmp_path: Path, qapp: object) -> Iterator[LatencyEngine]:
    engine = LatencyEngine(arguments=(str(FAKE), str(tmp_path)))
    yield engine
    engine.stop()
    assert alive(tmp_path) == []
    assert not (tmp_path / "overlap").exists()


@pytest.fixture
def measuring(
    workspace: Workspace,
    latency_engine: LatencyEngine,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Measuring]:
    """Enabled, with nothing open; it waits less long than a user's, for the fake answers at once."""
    monkeypatch.setattr("gui.measuring.SETTLED_MS", 250)
    settings.set("measuring/enabled", True)
    measuring = Measuring(workspace, latency_engine, settings)
    yield measuring
    measuring.close()


@pytest.fixture
def watch(measuring: Measuring) -> Iterator[Watch]:
    watch = Watch(measuring)
    yield watch
    assert watch.broken == []


def wait_settled(qtbot: QtBot, measuring: Measuring) -> None:
    qtbot.waitUntil(lambda: measuring.settled and measuring.workspace.settled, timeout=READY_MS)


def wait_spare(qtbot: QtBot, measuring: Measuring) -> None:
    engine = measuring.engine
    qtbot.waitUntil(lambda: engine.pids[1] != 0 and not engine.preparing, timeout=READY_MS)


@pytest.fixture
def opened(measuring: Measuring, watch: Watch, qtbot: QtBot) -> Measuring:
    """Squeezenet with everything measured."""
    open_model(qtbot, measuring.workspace, SQUEEZENET)
    wait_settled(qtbot, measuring)
    return measuring


def size_of(measurement: Measurement) -> int:
    return measurement.configuration.inputs[0].shape[-1]


def size_shown(measuring: Measuring) -> int:
    return size_of(measuring.shown) if measuring.shown is not None else 0


# -- the sweep's arithmetic ------------------------------------------------------------------------------------


def test_bisecting_does_not_run_along_the_axis() -> None:
    assert bisected([1, 2, 3, 4, 5]) == [1, 5, 3, 2, 4]
    assert bisected([1, 2]) == [1, 2]
    for count in range(1, 20):
        assert sorted(bisected(list(range(count)))) == list(range(count))


def test_positions_have_both_ends_and_where_the_slider_is() -> None:
    dim = Dim("height", 224, "height", 32, 500, 32)
    found = positions(dim, 100)
    assert found[0] == 100
    assert {dim.minimum, dim.maximum} <= set(found)
    assert len(found) == len(set(found))
    assert POSITIONS - 1 <= len(found) <= POSITIONS + 1
    assert all(size % dim.step == 0 for size in set(found) - {32, 500, 100})
    assert sorted(positions(Dim("batch", 1, "batch", 1, 4, 1), 2)) == [1, 2, 3, 4]


# -- the tiers -------------------------------------------------------------------------------------------------


def test_live_then_settled_then_the_layers(opened: Measuring, watch: Watch) -> None:
    workspace = opened.workspace
    asked = workspace.configuration
    assert asked is not None
    assert [type(job) for job in watch.jobs] == [Measure, Measure, MeasureLayers]
    assert [job.tier for job in watch.jobs if isinstance(job, Measure)] == ["live", "settled"]
    assert opened.is_current
    assert opened.shown is not None
    assert opened.shown.tier == "settled"
    assert opened.error is None
    assert opened.running is None
    assert (opened.phase, opened.words) == ("", "")
    assert {"starting", "live", "settled", "layers"} <= set(watch.phases)
    analysis = workspace.analysis
    assert analysis is not None
    assert analysis.totals.latency_s == 224 / 1e4
    assert analysis.layers.latency_s[analysis.layers.id.index(FIRST_LAYER)] == 224 / 1e4
    assert not analysis.stale_times
    assert analysis.latency is opened.latencies[asked]
    assert analysis.latency.memory is not None
    assert workspace.baseline is analysis


def test_a_change_is_shown_as_old_until_it_is_measured(opened: Measuring, qtbot: QtBot) -> None:
    workspace = opened.workspace
    workspace.set_sizes({"height": 128})
    assert not opened.is_current
    assert size_shown(opened) == 224
    wait_current(qtbot, workspace)
    assert workspace.analysis is not None
    assert workspace.analysis.stale_times
    assert workspace.analysis.layers.latency_s[0] == 224 / 1e4
    assert workspace.analysis.totals.latency_s is None
    qtbot.waitUntil(lambda: opened.is_current, timeout=READY_MS)
    assert size_shown(opened) == 128
    qtbot.waitUntil(lambda: not workspace.analysis.stale_times, timeout=READY_MS)  # type: ignore[union-attr]
    wait_settled(qtbot, opened)


def test_what_is_known_is_shown_at_once_and_not_measured_again(
    opened: Measuring, watch: Watch, qtbot: QtBot
) -> None:
    opened.workspace.set_sizes({"height": 128})
    wait_settled(qtbot, opened)
    count = len(watch.jobs)
    opened.workspace.undo_stack.undo()
    assert opened.is_current
    assert size_shown(opened) == 224
    wait_settled(qtbot, opened)
    assert len(watch.jobs) == count
    opened.measure_again()
    qtbot.waitUntil(lambda: len(watch.jobs) > count, timeout=READY_MS)
    assert opened.is_current
    wait_settled(qtbot, opened)
    opened.measure_again(report=True)
    qtbot.waitUntil(lambda: opened.shown is not None and opened.shown.tier == "report", timeout=READY_MS)
    opened.measure_again(when_quiet=True)
    qtbot.waitUntil(lambda: getattr(watch.jobs[-1], "when_quiet", False), timeout=READY_MS)
    wait_settled(qtbot, opened)


def test_the_baseline_is_compared_and_its_layers_are_measured(
    opened: Measuring, watch: Watch, qtbot: QtBot
) -> None:
    workspace = opened.workspace
    workspace.set_sizes({"height": 128})
    wait_settled(qtbot, opened)
    assert opened.comparison is not None
    assert watch.had_spare(Compare)
    assert workspace.baseline is not None
    assert opened.comparison.baseline == workspace.baseline.configuration
    workspace.set_sizes({"height": 160})
    assert opened.comparison is None
    wait_settled(qtbot, opened)
    workspace.set_baseline_here()
    assert opened.comparison is None  # it is the baseline itself
    workspace.set_sizes({"height": 192})
    wait_settled(qtbot, opened)
    assert opened.comparison is not None
    assert workspace.baseline.latency is not None
    assert workspace.baseline.latency.layers is not None
    count = watch.count(Compare)
    workspace.clear_baseline()
    assert opened.comparison is None
    wait_settled(qtbot, opened)
    assert watch.count(Compare) == count


def test_a_measured_baseline_is_not_another_one(opened: Measuring) -> None:
    workspace = opened.workspace
    workspace.set_baseline_here()
    steps = workspace.undo_stack.count()
    workspace.set_baseline_here()
    assert workspace.undo_stack.count() == steps


def test_a_baseline_passed_by_is_measured_too(measuring: Measuring, watch: Watch, qtbot: QtBot) -> None:
    workspace = measuring.workspace
    open_model(qtbot, workspace, SQUEEZENET)
    workspace.set_sizes({"height": 128})
    wait_settled(qtbot, measuring)
    assert workspace.baseline is not None
    assert workspace.baseline.latency is not None
    assert workspace.baseline.latency.measurement.tier == "settled"
    assert workspace.baseline.latency.layers is not None


def test_a_configuration_that_fails_is_not_measured(opened: Measuring, watch: Watch, qtbot: QtBot) -> None:
    count = len(watch.jobs)
    opened.workspace.remove_layer("features.0")
    qtbot.waitUntil(lambda: opened.workspace.failure is not None, timeout=ANSWER_MS)
    qtbot.waitUntil(lambda: opened.settled, timeout=READY_MS)
    assert len(watch.jobs) == count
    assert not opened.is_current


def test_history_has_the_latest_of_each(opened: Measuring, qtbot: QtBot) -> None:
    opened.workspace.clear_baseline()
    sizes = [64 + 2 * position for position in range(HISTORY)]
    for size in sizes:
        opened.workspace.set_sizes({"height": size})
        qtbot.waitUntil(lambda: opened.is_current, timeout=READY_MS)
    assert [size_of(each) for each in opened.history] == sizes
    opened.workspace.set_sizes({"height": 64})
    opened.measure_again()
    qtbot.waitUntil(lambda: size_of(opened.history[-1]) == 64, timeout=READY_MS)
    assert len(opened.history) == HISTORY
    wait_settled(qtbot, opened)


def test_operations_on_demand(opened: Measuring, qtbot: QtBot) -> None:
    with qtbot.waitSignal(opened.ops_measured, timeout=READY_MS) as answered:
        opened.measure_ops()
    ops: OpTimes = answered.args[0]
    assert ops.configuration == opened.workspace.configuration
    wait_settled(qtbot, opened)


def test_cancelling_holds_until_something_is_asked(opened: Measuring, watch: Watch, qtbot: QtBot) -> None:
    opened.workspace.set_sizes({"height": 128})
    qtbot.waitUntil(lambda: opened.sampling, timeout=READY_MS)
    opened.cancel()
    count = len(watch.jobs)
    qtbot.waitUntil(lambda: not opened.sampling, timeout=READY_MS)
    wait_settled(qtbot, opened)
    assert not opened.is_current
    assert len(watch.jobs) == count
    assert opened.phase == "cancelled"
    opened.measure_again()
    qtbot.waitUntil(lambda: opened.is_current, timeout=READY_MS)
    wait_settled(qtbot, opened)


@pytest.mark.parametrize("what", ["pause", "threads", "baseline"])
def test_what_the_user_does_after_cancelling_measures_again(
    opened: Measuring, qtbot: QtBot, what: str
) -> None:
    opened.workspace.set_sizes({"height": 128})
    wait_current(qtbot, opened.workspace)
    opened.cancel()
    assert opened._next(calm=True) is None
    if what == "pause":
        opened.set_enabled(False)
        opened.set_enabled(True)
    elif what == "threads":
        opened.set_threads(1)
    else:
        opened.workspace.set_baseline_here()
    qtbot.waitUntil(lambda: opened.is_current, timeout=READY_MS)
    wait_settled(qtbot, opened)


# -- what goes wrong -------------------------------------------------------------------------------------------


def test_a_refusal_keeps_the_old_value(opened: Measuring, qtbot: QtBot) -> None:
    opened.workspace.set_sizes({"height": REFUSES})
    qtbot.waitUntil(lambda: opened.error is not None, timeout=READY_MS)
    assert opened.error is not None
    assert "26.1 GiB" in opened.error.message
    assert not opened.is_current
    assert size_shown(opened) == 224
    wait_settled(qtbot, opened)
    opened.workspace.undo_stack.undo()
    assert opened.error is None
    assert opened.is_current
    wait_settled(qtbot, opened)


@pytest.mark.expects_log
def test_a_run_that_dies_of_memory_ends_in_a_sentence(opened: Measuring, qtbot: QtBot) -> None:
    opened.workspace.set_sizes({"height": DIES})
    qtbot.waitUntil(lambda: opened.error is not None, timeout=READY_MS)
    assert opened.error is not None
    assert "more memory" in opened.error.sentence
    opened.workspace.set_sizes({"height": 96})
    qtbot.waitUntil(lambda: opened.is_current, timeout=READY_MS)
    wait_settled(qtbot, opened)


@pytest.mark.expects_log
def test_killed_while_sampling_loses_nothing(opened: Measuring, qtbot: QtBot) -> None:
    opened.workspace.set_sizes({"height": 96})
    qtbot.waitUntil(lambda: bool(opened.running and opened.running.samples_s), timeout=READY_MS)
    kill(opened.engine.pids[0])
    qtbot.waitUntil(lambda: opened.is_current, timeout=READY_MS)
    assert opened.error is None
    assert size_shown(opened) == 96
    wait_settled(qtbot, opened)
    assert 224 in {each.inputs[0].shape[-1] for each in opened.latencies}


def test_what_could_not_be_opened_is_opened_again_on_request(opened: Measuring, qtbot: QtBot) -> None:
    opened.engine.refusal = ErrorInfo("crash", "It died.")
    opened.workspace.set_sizes({"height": 96})
    wait_current(qtbot, opened.workspace)
    assert opened.settled
    opened.measure_again()
    qtbot.waitUntil(lambda: opened.is_current, timeout=READY_MS)
    wait_settled(qtbot, opened)


@pytest.mark.expects_log
def test_long_passes_are_not_measured_well_without_a_spare(
    opened: Measuring, watch: Watch, qtbot: QtBot
) -> None:
    wait_spare(qtbot, opened)
    kill(opened.engine.pids[1])
    opened.workspace.set_sizes({"height": SLOW})
    wait_settled(qtbot, opened)
    assert watch.had_spare(Measure, "settled")


@pytest.mark.expects_log
def test_what_is_asked_for_is_not_disturbed_by_the_spare(
    opened: Measuring, watch: Watch, qtbot: QtBot
) -> None:
    wait_spare(qtbot, opened)
    kill(opened.engine.pids[1])
    qtbot.waitUntil(lambda: opened.engine.preparing, timeout=READY_MS)
    opened.measure_again()
    assert opened.engine.job is None
    assert opened.words == "Measuring in a moment"
    assert not opened.settled
    wait_settled(qtbot, opened)
    assert watch.had_spare(Measure, "settled")


def test_what_hangs_gives_way(opened: Measuring, qtbot: QtBot) -> None:
    opened.workspace.set_sizes({"height": HANGS})
    qtbot.waitUntil(lambda: opened.sampling, timeout=READY_MS)
    opened.workspace.set_sizes({"height": 96})
    qtbot.waitUntil(lambda: opened.is_current, timeout=READY_MS)
    wait_settled(qtbot, opened)


# -- pausing, threads, other models ----------------------------------------------------------------------------


def test_pausing_ends_even_what_hangs(opened: Measuring, settings: Settings, qtbot: QtBot) -> None:
    opened.workspace.set_sizes({"height": HANGS})
    qtbot.waitUntil(lambda: opened.sampling, timeout=READY_MS)
    pid = opened.engine.pids[0]
    opened.set_enabled(False)
    qtbot.waitUntil(lambda: gone(pid) and not opened.sampling, timeout=READY_MS)
    assert settings.flag("measuring/enabled", True) is False
    assert opened.phase == ""
    assert opened.running is None
    opened.workspace.set_sizes({"height": 96})
    wait_current(qtbot, opened.workspace)
    assert opened.settled
    assert not opened.is_current
    assert size_shown(opened) == 224
    opened.set_enabled(True)
    qtbot.waitUntil(lambda: opened.is_current, timeout=READY_MS)
    wait_settled(qtbot, opened)


def test_other_threads_make_everything_old(opened: Measuring, settings: Settings, qtbot: QtBot) -> None:
    workspace = opened.workspace
    opened.set_threads(1)
    assert not opened.is_current
    assert opened.latencies == {}
    assert opened.since == "threads"
    assert workspace.analysis is not None
    assert workspace.analysis.latency is None
    assert workspace.analysis.layer_times is None
    assert settings.number("measuring/threads") == 1
    qtbot.waitUntil(lambda: opened.is_current, timeout=READY_MS)
    assert opened.shown is not None
    assert opened.shown.threads == 1
    assert opened.since == ""
    wait_settled(qtbot, opened)


def test_another_interpreter_makes_everything_old(
    opened: Measuring, tmp_path: Path, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its frameworks may be other ones."""
    script = tmp_path / "python"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    script.chmod(0o755)
    client = opened.workspace.engine
    client.restarted.emit()
    assert opened.is_current, "the same interpreter"
    monkeypatch.setattr(client, "python", str(script))
    client.restarted.emit()
    assert not opened.is_current
    assert opened.latencies == {}
    assert opened.since == "interpreter"
    qtbot.waitUntil(lambda: opened.is_current, timeout=READY_MS)
    wait_settled(qtbot, opened)


def test_another_model_starts_afresh(opened: Measuring, qtbot: QtBot) -> None:
    open_model(qtbot, opened.workspace, "torchvision:alexnet")
    assert opened.shown is None
    assert opened.history == []
    assert opened.latencies == {}
    wait_settled(qtbot, opened)
    assert opened.is_current


def test_an_opened_report_shows_its_own_latency(
    opened: Measuring, watch: Watch, qtbot: QtBot, tmp_path: Path
) -> None:
    workspace = opened.workspace
    path = str(tmp_path / "old.json")
    with qtbot.waitSignal(workspace.exported, timeout=ANSWER_MS):
        workspace.export("json", path)
    count = len(watch.jobs)
    with qtbot.waitSignal(workspace.model_changed, timeout=ANSWER_MS):
        workspace.open_source(path)
    assert opened.settled
    assert len(watch.jobs) == count
    assert workspace.analysis is not None
    assert workspace.analysis.latency is not None
    assert workspace.analysis.latency.layers is not None
    opened.set_threads(1)
    assert opened.is_current
    assert size_shown(opened) == 224
    assert len(watch.jobs) == count


# -- the sweep -------------------------------------------------------------------------------------------------


def test_a_sweep_measures_the_range(opened: Measuring, watch: Watch, qtbot: QtBot) -> None:
    workspace = opened.workspace
    asked = workspace.configuration
    opened.start_sweep()
    assert opened.sweep is not None
    assert opened.sweep.done >= 1
    total = opened.sweep.total
    qtbot.waitUntil(lambda: opened.sweep is not None and opened.sweep.done >= 3, timeout=READY_MS)
    opened.pause_sweep(True)
    wait_settled(qtbot, opened)
    assert opened.sweep.paused
    assert opened.sweep.done < total
    assert opened.is_current
    workspace.set_sizes({"height": 100})
    qtbot.waitUntil(lambda: opened.is_current, timeout=READY_MS)
    opened.pause_sweep(False)
    qtbot.waitUntil(lambda: opened.sweep is not None and opened.sweep.finished, timeout=READY_MS * 2)
    assert opened.sweep.done == total
    wait_settled(qtbot, opened)
    known = {each.inputs[0].shape[-1] for each in opened.latencies}
    dim = workspace.dim_of("height")
    assert {dim.minimum, dim.maximum} - known <= {REFUSES, HANGS, DIES}
    assert len(opened.history) == 2
    workspace.undo_stack.undo()
    assert workspace.configuration == asked
    assert opened.is_current
    workspace.set_sizes({"batch": 2})
    assert opened.sweep.finished, "what is finished begins again only when it is asked for"
    wait_settled(qtbot, opened)


def test_a_slider_move_goes_before_the_sweep(opened: Measuring, watch: Watch, qtbot: QtBot) -> None:
    opened.start_sweep()
    qtbot.waitUntil(lambda: opened.phase == "sweep", timeout=READY_MS)
    count = len(watch.jobs)
    opened.workspace.set_sizes({"height": 100})
    qtbot.waitUntil(lambda: opened.is_current, timeout=READY_MS)
    assert watch.jobs[count].configuration == opened.workspace.configuration
    qtbot.waitUntil(lambda: opened.phase == "sweep", timeout=READY_MS)
    tiers = [job.tier for job in watch.jobs[count : count + 2] if isinstance(job, Measure)]
    assert tiers == ["live", "settled"]
    opened.cancel_sweep()
    assert opened.sweep is None
    wait_settled(qtbot, opened)


# -- many moves -------------------------------------------------------------------------------------------

MOVES, REAL_MOVES = (100, 40) if EVERYTHING else (30, 12)
PAUSES_MS = (2, 20, 130, 180)
"""Shorter and longer than what a live measurement waits for."""


def move_at_random(qtbot: QtBot, workspace: Workspace, sizes: list[int], pause: Callable[[], float]) -> None:
    """Move the slider to each of ``sizes`` after ``pause()`` milliseconds."""
    left = list(sizes)
    timer = QTimer(singleShot=True)

    def move() -> None:
        workspace.set_sizes({"height": left.pop(0)})
        if left:
            timer.start(int(pause()))

    timer.timeout.connect(move)
    timer.start(0)
    qtbot.waitUntil(lambda: not left, timeout=READY_MS * 2)


def test_many_moves(opened: Measuring, watch: Watch, tmp_path: Path, qtbot: QtBot) -> None:
    chance = random.Random(0)
    sizes = [chance.choice([64, 96, 128, 160, 192, 256, HANGS]) for _ in range(MOVES)]
    move_at_random(qtbot, opened.workspace, [*sizes, 250], lambda: chance.choice(PAUSES_MS))
    qtbot.waitUntil(lambda: opened.is_current, timeout=READY_MS)
    assert size_shown(opened) == 250
    wait_settled(qtbot, opened)
    assert len(alive(tmp_path)) <= 2


# -- the real process ------------------------------------------------------------------------------------------

NET = """
import torch
from torch import nn

class Slow(nn.Module):
    def forward(self, x):
        rounds = 10**9 if x.shape[-1] == 96 and x.device.type == "cpu" else 1
        for _ in range(rounds):
            x = torch.relu(x)
        return x

def build():
    return nn.Sequential(Slow(), nn.Conv2d(3, {channels}, 3)), (torch.zeros(1, 3, 32, 32),)
"""
"""At 96 pixels a forward pass never ends, though its kernels do."""


@pytest.fixture
def net(tmp_path: Path) -> str:
    (tmp_path / "net.py").write_text(NET.format(channels=8))
    return f"{tmp_path / 'net.py'}:build"


@pytest.fixture(scope="module")
def real_engine(qapp: object) -> Iterator[LatencyEngine]:
    """The real processes, which import their frameworks once for all tests."""
    engine = LatencyEngine()
    yield engine
    pids = [pid for pid in engine.pids if pid]
    engine.stop()
    assert all(gone(pid) for pid in pids)


@pytest.fixture
def real(
    workspace: Workspace, settings: Settings, net: str, real_engine: LatencyEngine, qtbot: QtBot
) -> Iterator[Measuring]:
    """The small net, measured by the real engine."""
    settings.set("measuring/enabled", True)
    measuring = Measuring(workspace, real_engine, settings)
    watch = Watch(measuring)
    open_model(qtbot, workspace, net, trust=True)
    wait_settled(qtbot, measuring)
    yield measuring
    real_engine.close_model()
    measuring.deleteLater()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    assert watch.broken == []


def serving() -> list[psutil.Process]:
    """Processes that measure, of this test."""
    children = psutil.Process().children(recursive=True)
    return [child for child in children if not gone(child.pid) and "--latency" in child.cmdline()]


def test_the_real_engine_measures_everything(real: Measuring, qtbot: QtBot) -> None:
    workspace = real.workspace
    assert real.error is None
    assert real.is_current
    assert workspace.analysis is not None
    assert workspace.analysis.latency is not None
    assert workspace.analysis.latency.memory is not None
    assert workspace.analysis.layers.latency_s[0] is not None
    workspace.set_sizes({"height": 48})
    wait_settled(qtbot, real)
    assert real.comparison is not None
    with qtbot.waitSignal(real.ops_measured, timeout=READY_MS):
        real.measure_ops()
    wait_settled(qtbot, real)


def test_a_changed_file_makes_everything_old(real: Measuring, tmp_path: Path, qtbot: QtBot) -> None:
    with qtbot.waitSignal(real.workspace.reloaded, timeout=ANSWER_MS):
        (tmp_path / "net.py").write_text(NET.format(channels=16))
    assert not real.is_current
    assert real.since == "reload"
    assert real.shown is not None
    qtbot.waitUntil(lambda: real.is_current, timeout=READY_MS)
    wait_settled(qtbot, real)


def test_a_long_forward_pass_is_replaced(real: Measuring, qtbot: QtBot) -> None:
    wait_spare(qtbot, real)
    first, spare = real.engine.pids
    real.workspace.set_sizes({"height": 96})
    qtbot.waitUntil(lambda: real.sampling, timeout=READY_MS)
    process = psutil.Process(first)
    used = process.cpu_times().user
    qtbot.waitUntil(lambda: process.cpu_times().user > used + 0.5, timeout=READY_MS)
    real.workspace.set_sizes({"height": 40})
    qtbot.waitUntil(lambda: real.is_current, timeout=READY_MS)
    assert real.engine.pids[0] == spare
    assert gone(first)
    wait_settled(qtbot, real)


def test_many_moves_with_the_real_engine(real: Measuring, qtbot: QtBot) -> None:
    chance = random.Random(1)
    sizes = [chance.choice([33, 40, 48, 56, 64, 80, 96]) for _ in range(REAL_MOVES)]
    move_at_random(qtbot, real.workspace, [*sizes, 72], lambda: chance.choice(PAUSES_MS))
    qtbot.waitUntil(lambda: real.is_current, timeout=READY_MS)
    assert size_shown(real) == 72
    wait_settled(qtbot, real)
    assert real.error is None
    assert len(serving()) <= 2


def test_pausing_uses_no_time(real: Measuring, qtbot: QtBot) -> None:
    real.workspace.set_sizes({"height": 96})
    qtbot.waitUntil(lambda: real.sampling, timeout=READY_MS)
    real.set_enabled(False)
    qtbot.waitUntil(lambda: not real.sampling, timeout=READY_MS)
    used: list[float] = [-1.0]

    def rests() -> bool:
        """Whether no process has used any time since this was asked last."""
        used.append(sum(sum(process.cpu_times()[:2]) for process in serving()))
        return used[-1] == used[-2]

    qtbot.waitUntil(rests, timeout=READY_MS)


WINDOW = """
import os
import sys
from PySide6.QtCore import QTimer
from gui.app import Application, Options, make_application
from gui.settings import Settings
app = make_application(["misnomer"])
application = Application(app, Settings(sys.argv[1]), Options(sys.argv[2], trust=True))
def say():
    measuring = application.measuring
    if measuring.sampling and not os.path.exists(sys.argv[4]):
        with open(sys.argv[4], "w") as file:
            print(*[pid for pid in measuring.engine.pids if pid], file=file)
application.measuring.state_changed.connect(say)
application.measuring.samples_changed.connect(say)
application.workspace.model_changed.connect(
    lambda: application.workspace.set_sizes({"height": 96}) if sys.argv[3] == "long" else None
)
if sys.argv[3] == "close":
    application.measuring.samples_changed.connect(
        lambda: QTimer.singleShot(0, application.window.close) if application.measuring.sampling else None
    )
application.show()
sys.exit(app.exec())
"""


def has_line(path: Path) -> bool:
    return path.exists() and path.read_text().endswith("\n")


@contextmanager
def other_window(
    tmp_path: Path, net: str, how: str, qtbot: QtBot
) -> Iterator[tuple[subprocess.Popen[bytes], list[int]]]:
    """A window of its own process, and the processes that measure for it once they do."""
    told = tmp_path / "pids"
    arguments = [sys.executable, "-c", WINDOW, str(tmp_path / "own.ini"), net, how, str(told)]
    with subprocess.Popen(arguments, cwd=ROOT) as window:
        try:
            qtbot.waitUntil(lambda: has_line(told) or window.poll() is not None, timeout=READY_MS)
            yield window, [int(word) for word in told.read_text().split()]
        finally:
            window.kill()


def test_closing_the_window_leaves_no_process(tmp_path: Path, net: str, qtbot: QtBot) -> None:
    with other_window(tmp_path, net, "close", qtbot) as (window, pids):
        assert window.wait(READY_MS / 1000) == 0
    assert pids
    assert all(gone(pid) for pid in pids)


def test_killing_the_window_leaves_no_process(tmp_path: Path, net: str, qtbot: QtBot) -> None:
    """Also in the middle of a forward pass that never ends."""
    with other_window(tmp_path, net, "long", qtbot) as (window, pids):
        window.kill()
        window.wait(READY_MS / 1000)
    assert pids
    qtbot.waitUntil(lambda: all(gone(pid) for pid in pids), timeout=READY_MS)
