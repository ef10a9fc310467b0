"""The latency engine as a real process: measuring, superseding, cancelling, failing."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from engine import protocol
from engine.configuration import Configuration
from engine.edits import RemoveLayer
from engine.graph import InputShape
from engine.protocol import (
    MEASURING,
    Cancel,
    Compare,
    Compared,
    Event,
    Failed,
    LayersMeasured,
    Measure,
    Measured,
    MeasureLayers,
    MeasureOps,
    Open,
    Opened,
    OpsMeasured,
    Ready,
    Request,
    Sampled,
)
from engine.server import Inbox

ROOT = Path(__file__).parents[2]

NET = """
    from torch import nn

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(8, 8, 3, padding=1)
            self.relu = nn.ReLU()

        def forward(self, x):
            return self.relu(self.conv(x))

    def build():
        return nn.Sequential(nn.Conv2d(3, 8, 3), Block(), Block(), nn.Conv2d(8, 4, 1))
"""


class LatencyEngine:
    """A started latency engine and its pipes."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "engine", "serve", "--latency"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self.last_id = 0

    def next_id(self) -> int:
        self.last_id += 1
        return self.last_id

    def send(self, *requests: Request) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"".join(map(protocol.encode, requests)))
        self.process.stdin.flush()

    def read(self) -> Event:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the engine closed its output"
        return protocol.decode_event(line)

    def until(self, id: int, *kinds: type[Event]) -> tuple[Event, list[Event]]:
        """The first event of ``kinds`` for request ``id``, and those that came before it."""
        before: list[Event] = []
        while True:
            event = self.read()
            if isinstance(event, kinds) and getattr(event, "id", id) == id:
                return event, before
            assert not (isinstance(event, Failed) and event.id == id), event.error
            before.append(event)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LatencyEngine, str]]:
    """One process for all tests, and the source of its model."""
    file = tmp_path_factory.mktemp("net") / "net.py"
    file.write_text(textwrap.dedent(NET), encoding="utf-8")
    engine = LatencyEngine()
    engine.until(0, Ready)
    yield engine, f"{file}:build"
    engine.process.kill()
    engine.process.wait()


@pytest.fixture
def engine(started: tuple[LatencyEngine, str]) -> LatencyEngine:
    """With the model open, and every earlier request answered."""
    engine, source = started
    id = engine.next_id()
    engine.send(Open(id, source))
    asked, _ = engine.until(id, Failed)
    assert isinstance(asked, Failed)
    assert asked.error.kind == "consent"
    id = engine.next_id()
    engine.send(Open(id, source, trust=True, digest=asked.error.digest))
    opened, _ = engine.until(id, Opened)
    assert isinstance(opened, Opened)
    return engine


def at(*shape: int, **more: object) -> Configuration:
    return Configuration((InputShape("input", shape),), **more)  # type: ignore[arg-type]


HERE = at(1, 3, 32, 32)
WITHOUT = at(1, 3, 32, 32, edits=(RemoveLayer("2"),))


def failed_as(event: Event, kind: str) -> bool:
    return isinstance(event, Failed) and event.error.kind == kind


def test_all_four_ways_of_measuring(engine: LatencyEngine) -> None:
    id = engine.next_id()
    engine.send(Measure(id, HERE, "settled", threads=1))
    measured, before = engine.until(id, Measured)
    assert isinstance(measured, Measured)
    measurement = measured.measurement
    assert (measurement.configuration, measurement.tier, measurement.threads) == (HERE, "settled", 1)
    assert measurement.circumstances.fingerprint
    told = [event for event in before if isinstance(event, Sampled)]
    sent = tuple(sample for event in told for sample in event.samples_s)
    assert sent == measurement.samples_s[: len(sent)], "those that were told, in order, each once"
    assert all((event.configuration, event.threads) == (HERE, 1) for event in told)
    spent = sum(measurement.samples_s) * measurement.forwards_per_sample
    assert len(told) <= 3.0 / 0.25, f"{spent} s"

    id = engine.next_id()
    engine.send(MeasureLayers(id, HERE, threads=1))
    layers, _ = engine.until(id, LayersMeasured)
    assert isinstance(layers, LayersMeasured)
    assert layers.layers.configuration == layers.memory.configuration == HERE
    assert layers.layers.row_id[0] == "0:conv2d"

    id = engine.next_id()
    engine.send(MeasureOps(id, HERE, threads=1))
    ops, _ = engine.until(id, OpsMeasured)
    assert isinstance(ops, OpsMeasured)
    assert len(ops.ops.op) >= 6

    id = engine.next_id()
    engine.send(Compare(id, WITHOUT, HERE, threads=1))
    compared, _ = engine.until(id, Compared)
    assert isinstance(compared, Compared)
    assert compared.comparison.baseline == HERE
    assert compared.comparison.current == WITHOUT
    assert compared.comparison.ratio > 0


def test_a_newer_measuring_request_ends_the_one_that_runs(engine: LatencyEngine) -> None:
    first, second = engine.next_id(), engine.next_id()
    engine.send(Measure(first, HERE, "report", threads=1))
    engine.until(first, Sampled)
    engine.send(Measure(second, WITHOUT, "live", threads=1))
    measured, before = engine.until(second, Measured)
    assert isinstance(measured, Measured)
    assert measured.measurement.configuration == WITHOUT
    assert any(failed_as(event, "cancelled") for event in before if isinstance(event, Failed))


def test_cancel_ends_a_running_measurement(engine: LatencyEngine) -> None:
    id = engine.next_id()
    engine.send(Measure(id, HERE, "report", threads=1))
    engine.until(id, Sampled)
    engine.send(Cancel(id))
    answer, _ = engine.until(id, Measured, Failed)
    assert failed_as(answer, "cancelled")


def test_opening_ends_a_running_measurement(engine: LatencyEngine) -> None:
    first, second = engine.next_id(), engine.next_id()
    engine.send(Measure(first, HERE, "report", threads=1))
    engine.until(first, Sampled)
    engine.send(Open(second, "torchvision:squeezenet1_1"))
    opened, before = engine.until(second, Opened)
    assert isinstance(opened, Opened)
    assert any(failed_as(event, "cancelled") and event.id == first for event in before)  # type: ignore[union-attr]


def test_of_many_requests_every_one_is_answered_and_the_last_wins(engine: LatencyEngine) -> None:
    ids = [engine.next_id() for _ in range(6)]
    engine.send(*(Measure(id, at(1, 3, 30 + n, 32), threads=1) for n, id in enumerate(ids)))
    answers: dict[int, Event] = {}
    while ids[-1] not in answers:
        event = engine.read()
        if isinstance(event, (Failed, Measured)):
            answers[event.id] = event
    assert sorted(answers) == ids
    assert isinstance(answers[ids[-1]], Measured)
    assert all(failed_as(answers[id], "cancelled") for id in ids[1:-1])


def test_what_cannot_be_measured_says_why(engine: LatencyEngine) -> None:
    for configuration, kind, words in (
        (at(1, 3, 32, 32, edits=(RemoveLayer("0"),)), "layer", "8 channels"),
        (at(1 << 18, 3, 1024, 1024), "input", "GiB are free"),
        (at(1, 3, 32, 32, edits=(RemoveLayer("nowhere"),)), "input", "nowhere"),
    ):
        for request in (
            Measure(engine.next_id(), configuration),
            MeasureLayers(engine.next_id(), configuration),
            Compare(engine.next_id(), configuration, HERE),
        ):
            engine.send(request)
            answer, _ = engine.until(request.id, Failed, Measured, LayersMeasured, Compared)
            assert failed_as(answer, kind), answer
            assert isinstance(answer, Failed)
            assert words in answer.error.sentence


def test_nothing_of_a_measurement_goes_on_after_it(engine: LatencyEngine) -> None:
    """The pool of threads that spin for work ends with its measurement."""
    process = psutil.Process(engine.process.pid)
    id = engine.next_id()
    engine.send(Measure(id, HERE, threads=1))
    engine.until(id, Measured)
    alone = process.num_threads()
    id = engine.next_id()
    engine.send(Measure(id, HERE, threads=4))
    engine.until(id, Measured)
    # The system takes them away a moment after the thread that they belong to.
    deadline = time.monotonic() + 20
    while process.num_threads() > alone:
        assert time.monotonic() < deadline, f"{process.num_threads()} threads, {alone} before"


# -- the inbox, without a process --------------------------------------------------------------------------------


def measuring(id: int) -> list[Request]:
    return [
        Measure(id, HERE),
        MeasureLayers(id, HERE),
        MeasureOps(id, HERE),
        Compare(id, HERE, HERE),
    ]


@pytest.mark.parametrize("kind", range(4))
@pytest.mark.parametrize("newer", range(4))
def test_measuring_requests_supersede_each_other(kind: int, newer: int) -> None:
    inbox = Inbox()
    running, waiting, request = measuring(1)[kind], measuring(2)[kind], measuring(3)[newer]
    assert isinstance(running, MEASURING)
    inbox.put(running)
    assert inbox.get() is running
    assert inbox.put(waiting) == []
    assert inbox.interrupt.is_set()
    assert inbox.put(request) == [waiting]
    assert inbox.get() is request
    assert not inbox.interrupt.is_set(), "the next one runs undisturbed"


def test_opening_supersedes_measuring_and_analysing_does_not() -> None:
    inbox = Inbox()
    running, waiting = measuring(1)[0], measuring(2)[0]
    inbox.put(running)
    assert inbox.get() is running
    analyze = protocol.Analyze(3, HERE)
    assert inbox.put(analyze) == []
    assert not inbox.interrupt.is_set()
    inbox.put(waiting)
    assert inbox.put(Open(4, "torchvision:alexnet")) == [analyze, waiting]
    assert inbox.interrupt.is_set()
