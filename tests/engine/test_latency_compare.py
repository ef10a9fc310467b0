"""Comparisons with a clock that only forward passes move: what is different is found, what is equal is not."""

from __future__ import annotations

import gc
from collections import Counter
from threading import Event

import msgspec
import pytest
from torch import Tensor, nn

from engine import latency
from engine.api import open_session
from engine.configuration import Configuration
from engine.edits import RemoveLayer
from engine.errors import CancelledError, LayerError
from engine.graph import InputShape
from engine.latency import comparison as comparing
from engine.latency import noise, passes, sampler
from engine.latency.setting import Setting, in_setting
from engine.latency.torch_reference import torch_reference
from engine.measurement import Comparison
from engine.session import Session
from tests.conftest import EVERYTHING
from tests.engine.fake_clock import Busy, FakeClock, clock


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """Neither the machine's load nor its batteries reach the flags."""
    clock.__init__()  # type: ignore[misc]
    clock.install(monkeypatch, sampler, passes, comparing)
    monkeypatch.setattr(comparing, "_flags", lambda *sides: ())
    return clock


def pair(seconds: float, more: float) -> tuple[Session, Configuration, Configuration]:
    """A session, its whole model and the one without its last layer, which takes ``more``."""
    session = open_session(nn.Sequential(Busy(seconds), Busy(more)), (1, 4))
    whole = session.default_configuration()
    return session, whole, msgspec.structs.replace(whole, edits=(RemoveLayer("1"),))


def compared(session: Session, current: Configuration, baseline: Configuration) -> Comparison:
    return latency.compare(session, current, baseline, 1, stop=Event())


def test_a_tenth_more_is_found_at_the_first_look(fake: FakeClock) -> None:
    session, whole, without = pair(0.01, 0.001)
    comparison = compared(session, whole, without)
    assert comparison.verdict == "slower"
    assert comparison.stop_reason == "precise"
    assert comparison.ratios == pytest.approx([1.1] * 8)
    assert comparison.current_s == pytest.approx([0.011] * 8)
    assert comparison.baseline_s == pytest.approx([0.01] * 8)
    assert compared(session, without, whole).verdict == "faster"


def test_equal_states_are_the_same(fake: FakeClock) -> None:
    session, whole, _ = pair(0.01, 0.001)
    assert compared(session, whole, whole).verdict == "same"


COMPARISONS = 50 if EVERYTHING else 12


def test_noisy_comparisons_of_equal_states(fake: FakeClock) -> None:
    fake.spread = 0.1
    session, whole, _ = pair(0.01, 0.001)
    verdicts = Counter(compared(session, whole, whole).verdict for _ in range(COMPARISONS))
    assert verdicts["faster"] + verdicts["slower"] <= 2, verdicts


def test_noisy_comparisons_of_a_state_that_takes_a_tenth_more(fake: FakeClock) -> None:
    fake.spread = 0.1
    session, whole, without = pair(0.01, 0.001)
    verdicts = Counter(compared(session, whole, without).verdict for _ in range(COMPARISONS))
    assert verdicts["faster"] == 0
    assert verdicts["slower"] >= 0.8 * COMPARISONS, verdicts


@pytest.mark.parametrize(("per_second", "verdicts"), [(0.2, {"same"}), (-0.02, {"same"}), (2.0, {"unclear"})])
def test_a_steady_drift_is_no_difference(
    fake: FakeClock, monkeypatch: pytest.MonkeyPatch, per_second: float, verdicts: set[str]
) -> None:
    advance = FakeClock.advance

    def drifting(self: FakeClock, seconds: float) -> None:
        advance(self, seconds * (1 + per_second * self.now))

    monkeypatch.setattr(FakeClock, "advance", drifting)
    session, whole, _ = pair(0.01, 0.001)
    assert compared(session, whole, whole).verdict in verdicts


def test_the_order_is_a_b_b_a_and_the_first_pass_after_a_switch_is_dropped(
    fake: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, whole, without = pair(0.1, 0.1)
    starts: list[float] = []
    advance = FakeClock.advance

    def noted(self: FakeClock, seconds: float) -> None:
        starts.append(self.now)
        advance(self, seconds)

    comparison = compared(session, whole, without)
    monkeypatch.setattr(FakeClock, "advance", noted)
    starts.clear()
    start = fake.now
    again = compared(session, whole, without)
    blocks = len(again.ratios)
    assert blocks == len(comparison.ratios)
    # Per pair one switch: a pass of A or B that is dropped, and one pass of each (a pass is longer than a block).
    dropped = sum(0.1 if number % 2 else 0.2 for number in range(blocks))
    first_switch = 0.1
    warm = 2 * 0.1 + 2 * 0.2
    assert fake.now - start == pytest.approx(warm + first_switch + dropped + blocks * 0.3)


def test_models_of_different_sizes_are_compared_too(fake: FakeClock) -> None:
    session, whole, _ = pair(0.01, 0.001)
    name = session.specs[0].name
    larger = msgspec.structs.replace(whole, inputs=(InputShape(name, (2, 4)),))
    comparison = compared(session, larger, whole)
    assert (comparison.current, comparison.baseline) == (larger, whole)


def test_a_slow_model_gets_as_many_pairs_as_fit(fake: FakeClock) -> None:
    session, whole, without = pair(3.0, 1.0)
    comparison = compared(session, whole, without)
    assert comparison.stop_reason == "time"
    assert comparison.verdict == "unclear"
    assert len(comparison.ratios) == 1
    assert comparison.ratio == pytest.approx(4 / 3)


def test_what_disturbs_one_side_is_flagged_once(fake: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    side = comparing._Side.__new__(comparing._Side)
    side.walls_s, side.cpu_s, side.delay_s = [1.0] * 10, [1.0] * 10, [0.5] * 10
    reference = torch_reference(1)
    reference.readings.extend([reference.best_s] * 3)
    flags = [flag.key for flag in comparing._flags(side, side, 1, reference)]
    assert flags.count("preempted") == 1
    assert "drift" not in flags
    assert "spread" not in flags


def test_a_stop_ends_it_and_leaves_the_model_as_it_was(
    fake: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, whole, without = pair(0.01, 0.001)
    stop = Event()
    advance = FakeClock.advance

    def until(self: FakeClock, seconds: float) -> None:
        advance(self, seconds)
        if self.now > 0.3:
            stop.set()

    monkeypatch.setattr(FakeClock, "advance", until)
    with pytest.raises(CancelledError):
        latency.compare(session, whole, without, 1, stop=stop)
    assert gc.isenabled()
    monkeypatch.setattr(FakeClock, "advance", advance)
    assert compared(session, whole, whole).ratio == pytest.approx(1.0)


def test_a_state_that_cannot_run_is_told_as_by_the_analysis() -> None:
    session = open_session(nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2)), (1, 4))
    whole = session.default_configuration()
    broken = msgspec.structs.replace(whole, edits=(RemoveLayer("0"),))
    with pytest.raises(LayerError, match="8 features"):
        latency.compare(session, broken, whole, 1, stop=Event())


def test_a_real_clock_and_real_layers() -> None:
    session = open_session(nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64)), (16, 64))
    whole = session.default_configuration()
    without = msgspec.structs.replace(whole, edits=(RemoveLayer("1"),))
    comparison = latency.compare(session, whole, without, 1, stop=Event())
    assert len(comparison.ratios) == len(comparison.baseline_s) == len(comparison.current_s)
    assert all(ratio > 0 for ratio in comparison.ratios)
    assert comparison.threads == 1


@pytest.mark.skipif(not noise.TASKS.exists(), reason="no schedstat on this system")
def test_the_pools_threads_are_watched_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are made by the first passes, after the watching began."""
    watched: list[int] = []
    entered: list[int] = []

    class Watching(noise.RunQueue):
        def __enter__(self) -> noise.RunQueue:
            super().__enter__()
            entered.append(len(self._files))
            return self

        def read_s(self) -> float:
            watched.append(len(self._files))
            return super().read_s()

    monkeypatch.setattr(comparing, "RunQueue", Watching)
    in_setting(Setting(2, True), Event(), lambda: torch_reference(2))  # calibrated: runs nothing any more
    session = open_session(nn.Linear(512, 512), (512, 512))
    whole = session.default_configuration()
    latency.compare(session, whole, whole, 2, stop=Event())
    assert watched[0] > entered[0]


def test_a_baseline_that_cannot_run_is_told_as_by_the_analysis_too() -> None:
    class Picky(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if not x.is_meta:
                raise ValueError("not with these numbers")
            return x + 1

    session = open_session(nn.Sequential(nn.ReLU(), Picky()), (2, 4))
    whole = session.default_configuration()
    without = msgspec.structs.replace(whole, edits=(RemoveLayer("1"),))
    with pytest.raises(LayerError, match="not with these numbers"):
        latency.compare(session, without, whole, 1, stop=Event())
