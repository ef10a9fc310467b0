"""The two processes that measure: who works, who waits, and what happens when one hangs or dies."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from pytestqt.qtbot import QtBot

from engine.configuration import Configuration
from engine.graph import InputShape
from engine.protocol import Failed, Measure, Measured
from gui.latency_engine import MAX_DEATHS, Job, LatencyEngine
from tests.gui.conftest import READY_MS
from tests.gui.fake_latency import DIES, DIES_ONCE, FINISHES, HANGS, LONG, REFUSES

FAKE = Path(__file__).with_name("fake_latency.py")
Start = Callable[[], LatencyEngine]


def job(size: int, tier: str = "live") -> Measure:
    return Measure(0, Configuration((InputShape("x", (1, 3, size, size)),)), tier)  # type: ignore[arg-type]


def gone(pid: int) -> bool:
    """Whether the process has ended (a zombie that nobody has reaped yet has)."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def alive(folder: Path) -> list[int]:
    """Our fakes of this test that still run."""
    children = psutil.Process().children()
    return [child.pid for child in children if not gone(child.pid) and str(folder) in _command(child)]


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def kill(pid: int) -> None:
    assert pid, "0 would be every process of the tests"
    os.kill(pid, signal.SIGKILL)


@pytest.fixture
def soon_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """The spare comes sooner; asked for before ``latency``, by tests that want one more than once."""
    monkeypatch.setattr("gui.latency_engine.IDLE_MS", 100)


@pytest.fixture
def latency(tmp_path: Path, qapp: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[LatencyEngine]:
    """The fake's process and spare, with a model; at no time do two of them work.

    What hangs without a spare is killed sooner than a user's: a fake imports nothing.
    """
    monkeypatch.setattr("gui.latency_engine.LONGEST_GRACE_MS", 1500)
    engine = LatencyEngine(arguments=(str(FAKE), str(tmp_path)))
    engine.open("torchvision:resnet18", False, "", ())
    yield engine
    engine.stop()
    assert alive(tmp_path) == []
    assert not (tmp_path / "overlap").exists()


@pytest.fixture
def answers(latency: LatencyEngine) -> list[tuple[Job, object]]:
    found: list[tuple[Job, object]] = []
    latency.answered.connect(lambda job, event: found.append((job, event)))
    return found


def measured(answers: list[tuple[Job, object]], size: int) -> bool:
    return any(each == job(size) and isinstance(event, Measured) for each, event in answers)


def wait_spare(qtbot: QtBot, latency: LatencyEngine) -> None:
    """Measure something, then wait until the spare has come."""
    with qtbot.waitSignal(latency.answered, timeout=READY_MS):
        latency.ask(job(32))
    latency.prepare()
    qtbot.waitUntil(lambda: latency.pids[1] != 0 and not latency.preparing, timeout=READY_MS)


def test_nothing_runs_until_something_is_asked(
    soon_idle: None, latency: LatencyEngine, tmp_path: Path, qtbot: QtBot
) -> None:
    assert alive(tmp_path) == []
    with qtbot.waitSignal(latency.answered, timeout=READY_MS) as answered:
        latency.ask(job(64))
    assert answered.args[0] == job(64)
    assert answered.args[1].measurement.configuration == job(64).configuration
    assert len(alive(tmp_path)) == 1
    qtbot.waitUntil(lambda: latency.pids[1] != 0, timeout=READY_MS)
    assert sorted(latency.pids) == sorted(alive(tmp_path))


def test_the_newest_request_wins_and_the_process_stays(
    latency: LatencyEngine, answers: list[tuple[Job, object]], qtbot: QtBot
) -> None:
    with qtbot.waitSignal(latency.sampled, timeout=READY_MS):
        latency.ask(job(64))
    pid = latency.pids[0]
    for size in range(65, 90):
        latency.ask(job(size))
    assert latency.job == job(89)
    qtbot.waitUntil(lambda: measured(answers, 89), timeout=READY_MS)
    assert [each.configuration for each, _ in answers] == [job(89).configuration]
    assert latency.pids[0] == pid


def test_what_does_not_stop_is_replaced_by_the_spare(
    soon_idle: None, latency: LatencyEngine, answers: list[tuple[Job, object]], qtbot: QtBot
) -> None:
    wait_spare(qtbot, latency)
    active, spare = latency.pids
    latency.ask(job(HANGS))
    qtbot.waitUntil(lambda: latency.measuring, timeout=READY_MS)
    latency.ask(job(64))
    qtbot.waitUntil(lambda: measured(answers, 64), timeout=READY_MS)
    assert latency.pids[0] == spare
    assert gone(active)
    qtbot.waitUntil(lambda: latency.pids[1] not in (0, spare), timeout=READY_MS)


def test_what_does_not_stop_without_a_spare(
    latency: LatencyEngine, answers: list[tuple[Job, object]], qtbot: QtBot
) -> None:
    latency.ask(job(HANGS))
    qtbot.waitUntil(lambda: latency.measuring, timeout=READY_MS)
    pid = latency.pids[0]
    latency.ask(job(64))
    qtbot.waitUntil(lambda: measured(answers, 64), timeout=READY_MS)
    assert latency.pids[0] != pid
    assert gone(pid)


def test_without_a_spare_a_long_pass_may_end(
    latency: LatencyEngine, answers: list[tuple[Job, object]], qtbot: QtBot
) -> None:
    latency.ask(job(LONG))
    qtbot.waitUntil(lambda: latency.measuring, timeout=READY_MS)
    pid = latency.pids[0]
    latency.ask(job(64))
    qtbot.waitUntil(lambda: measured(answers, 64), timeout=READY_MS)
    assert latency.pids[0] == pid
    assert not measured(answers, LONG)


@pytest.mark.expects_log
@pytest.mark.parametrize("spare", [True, False])
def test_killed_while_measuring(
    latency: LatencyEngine, answers: list[tuple[Job, object]], qtbot: QtBot, spare: bool
) -> None:
    if spare:
        wait_spare(qtbot, latency)
    with qtbot.waitSignal(latency.sampled, timeout=READY_MS):
        latency.ask(job(64))
    kill(latency.pids[0])
    qtbot.waitUntil(lambda: measured(answers, 64), timeout=READY_MS)
    assert not any(isinstance(event, Failed) for _, event in answers)


@pytest.mark.expects_log
def test_killed_while_idle(latency: LatencyEngine, answers: list[tuple[Job, object]], qtbot: QtBot) -> None:
    wait_spare(qtbot, latency)
    active, spare = latency.pids
    kill(active)
    qtbot.waitUntil(lambda: latency.pids[0] == spare and latency.is_open, timeout=READY_MS)
    kill(spare)
    latency.ask(job(64))
    qtbot.waitUntil(lambda: measured(answers, 64), timeout=READY_MS)


@pytest.mark.expects_log
def test_killed_while_opening(latency: LatencyEngine, tmp_path: Path, qtbot: QtBot) -> None:
    latency.open("torchvision:slow", False, "", ())
    for deaths in range(MAX_DEATHS):
        assert latency.refusal is None
        if not deaths:
            latency.ask(job(64))
        qtbot.waitUntil(lambda: latency.pids[0] != 0, timeout=READY_MS)
        kill(latency.pids[0])
        qtbot.waitUntil(lambda pid=latency.pids[0]: latency.pids[0] != pid, timeout=READY_MS)  # type: ignore[misc]
    assert latency.refusal is not None
    assert latency.refusal.kind == "crash"
    assert latency.job is None
    assert alive(tmp_path) == []


@pytest.mark.expects_log
def test_a_killed_spare_is_replaced(soon_idle: None, latency: LatencyEngine, qtbot: QtBot) -> None:
    wait_spare(qtbot, latency)
    active, spare = latency.pids
    kill(spare)
    qtbot.waitUntil(lambda: latency.pids[1] not in (0, spare), timeout=READY_MS)
    assert latency.pids[0] == active


@pytest.mark.expects_log
def test_a_request_that_kills_once_is_sent_again(
    latency: LatencyEngine, answers: list[tuple[Job, object]], qtbot: QtBot
) -> None:
    latency.ask(job(DIES_ONCE))
    qtbot.waitUntil(lambda: measured(answers, DIES_ONCE), timeout=READY_MS)


@pytest.mark.expects_log
def test_a_request_that_kills_twice_ends_in_a_sentence(
    latency: LatencyEngine, answers: list[tuple[Job, object]], qtbot: QtBot
) -> None:
    latency.ask(job(DIES))
    qtbot.waitUntil(lambda: bool(answers), timeout=READY_MS)
    failed = answers[0][1]
    assert isinstance(failed, Failed)
    assert failed.error.kind == "crash"
    assert "more memory" in failed.error.sentence
    latency.ask(job(64))
    qtbot.waitUntil(lambda: measured(answers, 64), timeout=READY_MS)
    assert len(answers) == 2


def test_a_refusal_is_an_answer(
    latency: LatencyEngine, answers: list[tuple[Job, object]], qtbot: QtBot
) -> None:
    latency.ask(job(REFUSES))
    qtbot.waitUntil(lambda: bool(answers), timeout=READY_MS)
    failed = answers[0][1]
    assert isinstance(failed, Failed)
    assert "26.1 GiB" in failed.error.message


def test_rest_ends_what_runs_and_starts_nothing(
    latency: LatencyEngine, answers: list[tuple[Job, object]], tmp_path: Path, qtbot: QtBot
) -> None:
    latency.ask(job(HANGS))
    qtbot.waitUntil(lambda: latency.measuring, timeout=READY_MS)
    pid = latency.pids[0]
    latency.rest()
    qtbot.waitUntil(lambda: gone(pid), timeout=READY_MS)
    qtbot.waitUntil(lambda: not latency.measuring, timeout=READY_MS)
    assert alive(tmp_path) == []
    latency.ask(job(64))
    qtbot.waitUntil(lambda: measured(answers, 64), timeout=READY_MS)


def test_rest_ends_an_opening(latency: LatencyEngine, tmp_path: Path, qtbot: QtBot) -> None:
    latency.open("torchvision:slow", False, "", ())
    latency.ask(job(64))
    qtbot.waitUntil(lambda: latency.pids[0] != 0, timeout=READY_MS)
    latency.rest()
    assert latency.pids == (0, 0)
    qtbot.waitUntil(lambda: alive(tmp_path) == [], timeout=READY_MS)


def test_another_model_ends_the_opening_of_the_last(
    latency: LatencyEngine, answers: list[tuple[Job, object]], qtbot: QtBot
) -> None:
    wait_spare(qtbot, latency)
    latency.open("torchvision:slow", False, "", ())
    latency.ask(job(64))
    latency.open("torchvision:resnet34", False, "", ())
    latency.ask(job(96))
    qtbot.waitUntil(lambda: measured(answers, 96), timeout=READY_MS)
    assert not measured(answers, 64)


def test_an_answer_about_the_model_before_is_dropped(
    latency: LatencyEngine, answers: list[tuple[Job, object]], qtbot: QtBot
) -> None:
    with qtbot.waitSignal(latency.sampled, timeout=READY_MS):
        latency.ask(job(64))
    latency.open("torchvision:resnet34", False, "", ())
    latency.ask(job(96))
    qtbot.waitUntil(lambda: measured(answers, 96), timeout=READY_MS)
    assert [each.configuration for each, _ in answers] == [job(96).configuration]


def test_what_is_finished_after_the_model_is_gone_is_no_answer(
    latency: LatencyEngine, answers: list[tuple[Job, object]], qtbot: QtBot
) -> None:
    with qtbot.waitSignal(latency.sampled, timeout=READY_MS):
        latency.ask(job(FINISHES))
    latency.close_model()
    with qtbot.waitSignal(latency.changed, timeout=READY_MS):
        pass
    assert answers == []


def test_the_spare_can_be_had_at_once(
    latency: LatencyEngine, answers: list[tuple[Job, object]], qtbot: QtBot
) -> None:
    latency.prepare()
    assert latency.pids == (0, 0), "there is nothing to take over yet"
    latency.ask(job(64))
    latency.prepare()
    assert latency.pids[1] == 0
    qtbot.waitUntil(lambda: bool(answers), timeout=READY_MS)
    assert latency.lacks_spare
    latency.prepare()
    assert latency.pids[1] != 0
    assert not latency.lacks_spare


@pytest.mark.expects_log
def test_a_spare_that_always_dies_is_given_up(
    latency: LatencyEngine, answers: list[tuple[Job, object]], qtbot: QtBot
) -> None:
    for death in range(MAX_DEATHS):
        latency.ask(job(64))
        qtbot.waitUntil(lambda count=death: len(answers) > count, timeout=READY_MS)  # type: ignore[misc]
        latency.prepare()
        qtbot.waitUntil(lambda: latency.pids[1] != 0, timeout=READY_MS)
        kill(latency.pids[1])
        qtbot.waitUntil(lambda: latency.pids[1] == 0, timeout=READY_MS)
    assert not latency.lacks_spare


def test_a_file_that_changed_waits_for_its_reopening(
    latency: LatencyEngine, answers: list[tuple[Job, object]], qtbot: QtBot
) -> None:
    latency.open("torchvision:resnet18", False, "", (), "another content")
    latency.ask(job(64))
    qtbot.waitUntil(lambda: latency.refusal is not None, timeout=READY_MS)
    assert latency.refusal is not None
    assert latency.refusal.kind == "consent"
    assert latency.job is None
    assert answers == []
    latency.open("torchvision:resnet18", False, "", ())
    latency.ask(job(64))
    qtbot.waitUntil(lambda: measured(answers, 64), timeout=READY_MS)


@pytest.mark.expects_log
def test_an_interpreter_that_is_not_there(qtbot: QtBot) -> None:
    engine = LatencyEngine("/nowhere/python")
    engine.open("torchvision:resnet18", False, "", ())
    engine.ask(job(64))
    qtbot.waitUntil(lambda: engine.refusal is not None, timeout=READY_MS)
    assert engine.refusal is not None
    assert "/nowhere/python" in engine.refusal.message
    assert engine.job is None
    engine.stop()


@pytest.mark.expects_log
def test_frameworks_that_cannot_be_imported(tmp_path: Path, qtbot: QtBot) -> None:
    script = tmp_path / "broken.py"
    script.write_text("import sys; sys.exit('no torch')")
    engine = LatencyEngine(arguments=(str(script),))
    engine.open("torchvision:resnet18", False, "", ())
    engine.ask(job(64))
    qtbot.waitUntil(lambda: engine.refusal is not None, timeout=READY_MS)
    assert engine.refusal is not None
    assert "no torch" in engine.refusal.traceback
    engine.stop()
