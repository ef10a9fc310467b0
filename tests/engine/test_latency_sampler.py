"""Stopping rules, noise flags, the setting that passes run in, and measuring real models."""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import random
import signal
import threading
import warnings
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event
from typing import Any, ClassVar

import msgspec
import pytest
import torch
from torch import Tensor, nn

from engine import latency
from engine.api import open_session
from engine.configuration import Configuration
from engine.edits import RemoveLayer
from engine.errors import CancelledError, InputError, LayerError, UnsupportedModelError
from engine.graph import InputShape
from engine.latency import collector, noise, passes, quiet, sampler
from engine.latency.denormals import count_subnormals, denormals_flag
from engine.latency.noise import RunQueue, reference_flags, sample_flags
from engine.latency.quiet import quiet_gate, wait_until_quiet
from engine.latency.reference import Reference
from engine.latency.sampler import sample, warm_up
from engine.latency.setting import Setting, in_setting
from engine.latency.stopping import LIMITS, MOST_SAMPLES, Stopping, forwards_per_sample
from engine.latency.torch_reference import torch_reference
from engine.measurement import Measurement, StopReason, Tier
from engine.session import RealModel, Session
from engine.statistics import median_interval
from tests.engine.fake_clock import Busy, FakeClock, clock


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    clock.__init__()  # type: ignore[misc]
    clock.install(monkeypatch, sampler, passes)
    return clock


# -- when to stop ------------------------------------------------------------------------------------------------


def run(tier: Tier, times: Sequence[float]) -> tuple[int, StopReason]:
    """How many of ``times`` are taken, and why no more."""
    stopping = Stopping(LIMITS[tier])
    elapsed = 0.0
    for number, seconds in enumerate(times, 1):
        elapsed += seconds
        reason = stopping.add(seconds, elapsed)
        if reason is not None:
            return number, reason
    raise AssertionError("it did not stop")


def test_live_stops_when_precise_but_not_before_its_least_time_and_number() -> None:
    assert run("live", [0.01] * 1000) == (20, "precise"), "0.2 s"
    assert run("live", [0.1] * 1000) == (6, "precise"), "six samples"
    assert run("live", [0.3] * 1000) == (4, "time")


def test_settled_wants_more() -> None:
    assert run("settled", [0.01] * 1000) == (50, "precise"), "0.5 s"
    assert run("settled", [0.2] * 1000) == (10, "precise"), "ten samples"
    assert run("settled", [0.4] * 1000) == (8, "time")


def test_settled_stops_where_more_samples_do_not_help() -> None:
    generator = random.Random(1)
    wide = [generator.choice([0.01, 0.02]) for _ in range(5000)]
    count, reason = run("settled", wide)
    assert reason == "plateau"
    interval = median_interval(wide[:count])
    assert interval is not None
    assert interval.half_width > 0.02 * 0.015


def test_settled_goes_on_while_the_interval_narrows() -> None:
    generator = random.Random(2)
    count, reason = run("settled", [generator.gauss(0.01, 0.0004) for _ in range(5000)])
    assert reason == "precise"
    assert count >= 50


def test_report_takes_its_whole_time_and_keeps_so_many_samples() -> None:
    assert run("report", [0.01] * 2000)[1] == "time"
    assert run("report", [1e-4] * 10_000) == (MOST_SAMPLES, "samples")


@pytest.mark.parametrize("tier", ["live", "settled", "report"])
@pytest.mark.parametrize("forward_s", [1e-6, 3e-5, 4e-4, 2e-3, 0.3])
def test_samples_are_long_enough_and_fit(tier: Tier, forward_s: float) -> None:
    cap_s = LIMITS[tier].cap_s
    count = forwards_per_sample(forward_s, cap_s)
    assert count * forward_s >= 0.5e-3 * 0.999
    assert cap_s / (count * forward_s) <= MOST_SAMPLES * 1.001
    assert count == 1 or (count - 1) * forward_s < 1.001 * max(0.5e-3, cap_s / MOST_SAMPLES)


# -- flags -------------------------------------------------------------------------------------------------------


def keys(
    walls: Sequence[float], cpu: Sequence[float] = (), delay: Sequence[float] = (), threads: int = 1
) -> set[str]:
    return {flag.key for flag in sample_flags(walls, cpu or walls, delay, threads)}


def test_calm_samples_carry_no_flag() -> None:
    generator = random.Random(3)
    walls = [generator.gauss(1, 0.01) for _ in range(60)]
    assert keys(walls, walls, [0.0] * 60) == set()


def test_run_queue_delay_in_more_than_a_fifth_of_the_samples() -> None:
    assert keys([1.0] * 10, delay=[0.03] * 3 + [0.0] * 7) == {"preempted"}
    assert keys([1.0] * 10, delay=[0.03] * 2 + [0.0] * 8) == set()
    assert keys([1.0] * 10, delay=[0.01] * 10) == set()


def test_without_a_run_queue_cpu_time_tells() -> None:
    assert keys([1.0] * 10, [0.5] * 10) == {"preempted"}, "one thread is always busy"
    assert keys([1.0] * 10, [1.2] * 10, threads=4) == set(), "idle threads of a pool are nobody's fault"
    assert keys([1.0] * 10, [3.6] * 7 + [1.8] * 3, threads=4) == {"preempted"}


def test_a_cpu_clock_that_ticks_slowly_is_read_over_many_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows: a sample of 20 ms has the CPU time of one or of two ticks of 15.6 ms."""
    monkeypatch.setattr(noise, "CPU_TICK_S", 1 / 64)
    ticks = [1, 1, 1, 2, 1, 1, 1, 2, 1, 1, 1, 2, 1, 1, 1, 2, 1, 1, 1, 2, 1, 2, 1, 1, 2]
    assert sum(ticks) / 64 == 0.02 * 25
    assert keys([0.02] * 100, [tick / 64 for tick in ticks * 4]) == set()
    assert keys([0.02] * 100, [tick / 128 for tick in ticks * 4]) == {"preempted"}
    assert keys([0.02] * 10, [0.0] * 10) == set(), "too short to tell"


def test_drift_and_spread() -> None:
    assert keys([1.0] * 10 + [1.08] * 20) == {"drift"}
    assert keys([1.0] * 4 + [1.08] * 8) == set(), "too few to tell"
    assert keys([1.0, 1.15] * 30) == {"spread"}
    (flag,) = sample_flags([1.0, 1.4] * 30, [1.0] * 60, [0.0] * 60, 1)
    assert flag.severe


def test_a_slow_reference_kernel() -> None:
    (flag,) = reference_flags([1.0, 1.0, 1.3, 1.4], 1.0)
    assert flag.key == "slowed"
    assert "35% slower" in flag.detail
    assert "2 of 4" in flag.detail
    assert reference_flags([1.0, 1.1, 1.1, 1.1, 1.3], 1.0) == ()


@pytest.mark.skipif(not noise.TASKS.exists(), reason="no schedstat on this system")
def test_the_run_queue_sees_threads_come_and_go() -> None:
    go = Event()
    other = threading.Thread(target=go.wait)
    with RunQueue() as queue:
        assert queue.known
        before = queue.read_s()
        other.start()
        queue.refresh()
        assert queue.read_s() >= before >= 0
        go.set()
        other.join()
        assert queue.read_s() >= 0
    assert not queue.known


def test_a_kernel_that_keeps_no_statistics_is_not_believed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    task = tmp_path / str(os.getpid())
    task.mkdir()
    (task / "schedstat").write_text("0 0 0\n")
    monkeypatch.setattr(noise, "TASKS", tmp_path)
    noise._tells.cache_clear()
    try:
        with RunQueue() as queue:
            assert not queue.known
    finally:
        noise._tells.cache_clear()


# -- the setting -------------------------------------------------------------------------------------------------


def shares_of_subnormals(flush: bool, threads: int) -> list[bool]:
    """For each thread's part of a large tensor: whether 1e-39 × 0.5 was computed, not flushed to zero."""

    def work() -> list[bool]:
        halves = torch.full((threads * 1_000_000,), 1e-39) * 0.5
        parts = halves.view(torch.int32).view(threads, -1)[:, 400_000:600_000]
        return [bool((part != 0).all()) for part in parts]

    return in_setting(Setting(threads, flush), Event(), work)


@pytest.mark.skipif(
    not torch.set_flush_denormal(False), reason="this processor cannot flush subnormal numbers"
)
def test_flushing_reaches_all_threads_and_ends() -> None:
    assert shares_of_subnormals(False, 2) == [True, True]
    assert shares_of_subnormals(True, 2) == [False, False]
    assert shares_of_subnormals(False, 2) == [True, True]


def test_threads_are_set_inside_and_as_before_afterwards() -> None:
    before = torch.get_num_threads()
    assert in_setting(Setting(3, False), Event(), torch.get_num_threads) == 3
    assert torch.get_num_threads() == before


def test_the_same_setting_inside_needs_no_other_thread() -> None:
    def nested(flush: bool) -> int:
        return in_setting(Setting(1, flush), Event(), threading.get_ident)

    def work() -> tuple[int, int, int]:
        return threading.get_ident(), nested(False), nested(True)

    outer, same, other = in_setting(Setting(1, False), Event(), work)
    assert outer == same
    assert outer != other


def test_errors_come_out_of_the_setting() -> None:
    def work() -> None:
        raise InputError("no")

    with pytest.raises(InputError, match="no"):
        in_setting(Setting(1, False), Event(), work)


def test_what_a_failed_pass_held_is_free_at_once() -> None:
    """Every move of the slider ends a measurement so; tensors must not wait for the collector."""

    class Held:
        pass

    alive: list[weakref.ref[Held]] = []

    def work() -> None:
        held = Held()
        alive.append(weakref.ref(held))
        raise CancelledError()

    with collector.no_collection():
        with contextlib.suppress(CancelledError):
            in_setting(Setting(1, False), Event(), work)
        assert alive[0]() is None


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signals to one thread on this system")
def test_an_interrupt_stops_the_work_and_comes_out(interruptible: None) -> None:
    stop, main = Event(), threading.get_ident()
    ended = []

    def work() -> None:
        signal.pthread_kill(main, signal.SIGINT)
        ended.append(stop.wait(20))

    with pytest.raises(KeyboardInterrupt):
        in_setting(Setting(1, False), stop, work)
    assert ended == [True]


def test_the_collector_is_off_only_inside() -> None:
    with collector.no_collection():
        assert not gc.isenabled()
    assert gc.isenabled()


# -- sampling ----------------------------------------------------------------------------------------------------


def test_samples_with_a_clock_that_only_passes_move(fake: FakeClock) -> None:
    layer, x = Busy(0.1), torch.zeros(1)
    told: list[Sequence[float]] = []
    when: list[float] = []

    def report(samples_s: Sequence[float], delay_s: Sequence[float]) -> None:
        told.append(samples_s)
        when.append(fake.now)

    samples = sample(lambda: layer(x), "settled", 0.1, torch_reference(1), Event(), report)
    assert samples.stop_reason == "precise"
    assert samples.samples_s == pytest.approx([0.1] * 10)
    assert samples.cpu_s == pytest.approx([0.1] * 10)
    assert when == pytest.approx([0.3, 0.6, 0.9]), "at most every 250 ms"
    assert [len(samples_s) for samples_s in told] == [3, 3, 3], "each sample once"


def test_short_passes_are_timed_together(fake: FakeClock) -> None:
    layer, x = Busy(1e-4), torch.zeros(1)
    samples = sample(lambda: layer(x), "live", 1e-4, torch_reference(1), Event(), lambda a, b: None)
    assert samples.forwards == 5
    assert samples.walls_s[0] == pytest.approx(5e-4)
    assert samples.samples_s[0] == pytest.approx(1e-4)


def test_what_is_told_of_short_passes_is_of_one_pass(
    fake: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer, x = Busy(1e-4), torch.zeros(1)
    told: list[tuple[Sequence[float], Sequence[float]]] = []
    readings = itertools.count()
    monkeypatch.setattr(RunQueue, "known", True)
    monkeypatch.setattr(RunQueue, "read_s", lambda queue: 6e-5 * next(readings))

    def report(samples_s: Sequence[float], delay_s: Sequence[float]) -> None:
        told.append((samples_s, delay_s))

    samples = sample(lambda: layer(x), "settled", 1e-4, torch_reference(1), Event(), report)
    assert samples.delay_s[0] == pytest.approx(6e-5)
    samples_s, delay_s = told[0]
    assert samples_s[0] == pytest.approx(1e-4)
    assert delay_s[0] == pytest.approx(6e-5 / samples.forwards)


def test_a_report_has_three_blocks(fake: FakeClock) -> None:
    calls = 0
    layer, x = Busy(0.25), torch.zeros(1)

    def forward() -> Tensor:
        nonlocal calls
        calls += 1
        return layer(x)  # type: ignore[no-any-return]

    reference = torch_reference(1)
    samples = sample(forward, "report", 0.25, reference, Event(), lambda a, b: None)
    assert samples.stop_reason == "time"
    assert calls == len(samples.walls_s) + 2, "one pass after each pause is not counted"
    assert sum(samples.walls_s) >= 10.0
    assert len(reference.readings) == len(samples.walls_s) + 1, "every 100 ms, and at the end"


def test_a_pass_longer_than_a_block_of_a_report_is_not_waited_for_in_vain(fake: FakeClock) -> None:
    calls = 0
    layer, x = Busy(8.0), torch.zeros(1)

    def forward() -> Tensor:
        nonlocal calls
        calls += 1
        return layer(x)  # type: ignore[no-any-return]

    samples = sample(forward, "report", 8.0, torch_reference(1), Event(), lambda a, b: None)
    assert len(samples.walls_s) == 2
    assert calls == 3, "one of them after the pause before the last block"


def test_cycles_that_passes_leave_are_freed_while_sampling(fake: FakeClock) -> None:
    class Node:
        def __init__(self) -> None:
            self.itself = self

    layer, x = Busy(0.1), torch.zeros(1)
    made: list[weakref.ref[Node]] = []
    most = 0

    def forward() -> None:
        nonlocal most
        layer(x)
        made.append(weakref.ref(Node()))
        most = max(most, sum(node() is not None for node in made))

    with collector.no_collection():
        sample(forward, "settled", 0.1, torch_reference(1), Event(), lambda a, b: None)
    assert len(made) == 10
    assert most <= 2


def test_warm_up_ends_when_the_first_pass_takes_all_the_time(fake: FakeClock) -> None:
    x = torch.zeros(1)
    assert len(warm_up(lambda: Busy(0.5)(x), 3, 1.0, Event())) == 3
    assert len(warm_up(lambda: Busy(1.5)(x), 3, 1.0, Event())) == 2, (
        "the first may have been slow for being first"
    )
    assert len(warm_up(lambda: Busy(3.5)(x), 3, 1.0, Event())) == 1


# -- measuring ---------------------------------------------------------------------------------------------------


def small() -> Session:
    return open_session(nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8)), (4, 64))


def test_a_measurement_of_a_real_model() -> None:
    session = small()
    stop = Event()
    first = latency.measure(session, session.default_configuration(), "live", 1, stop=stop)
    assert first.n >= 1
    assert first.stop_reason in ("precise", "time")
    assert first.forwards_per_sample > 1, "a pass takes microseconds"
    assert len(first.cpu_s) == first.n
    assert len(first.delay_s) in (0, first.n)
    assert first.warmups == 3
    assert first.batch == 4
    assert first.dtype == "float32"
    assert len(first.reference_s) >= 2
    assert first.reference_best_s is not None
    assert 0 < first.reference_best_s <= min(first.reference_s)
    assert first.circumstances.settings["Threads"] == "1"
    assert first.circumstances.settings["Subnormal numbers"] == "computed"
    again = latency.measure(session, session.default_configuration(), "live", 1, stop=stop)
    assert again.warmups == 2
    assert again.first_s == first.first_s, "the weights and shapes are the same still"
    other = Configuration((InputShape("x", (8, 64)),))
    assert latency.measure(session, session_inputs(session, other), "live", 1, stop=stop).batch == 8


def session_inputs(session: Session, configuration: Configuration) -> Configuration:
    """With the session's own names of inputs."""
    named = tuple(
        msgspec.structs.replace(shape, name=spec.name)
        for shape, spec in zip(configuration.inputs, session.specs, strict=True)
    )
    return msgspec.structs.replace(configuration, inputs=named)


def test_a_stop_in_the_middle_ends_between_passes() -> None:
    session = small()
    stop = Event()
    with pytest.raises(CancelledError):
        latency.measure(
            session, session.default_configuration(), "report", 1, stop=stop, report=lambda a, b: stop.set()
        )
    assert gc.isenabled()
    assert torch.get_num_threads() >= 1


def test_one_pass_longer_than_the_time_is_the_only_sample(fake: FakeClock) -> None:
    session = open_session(Busy(3.2), (4, 4))
    measurement = latency.measure(session, session.default_configuration(), "live", 1, stop=Event())
    assert (measurement.n, measurement.stop_reason, measurement.warmups) == (1, "single", 1)
    assert measurement.samples_s[0] == pytest.approx(3.2)
    assert "cold" in {flag.key for flag in measurement.flags}
    assert measurement.interval is None


def took(*seconds: float) -> Measurement:
    """A live measurement of a model whose passes take these seconds, the last one again and again."""
    left = list(seconds)

    class Takes(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if not x.is_meta:
                clock.advance(left[0] if len(left) == 1 else left.pop(0))
            return x + 1

    session = open_session(Takes(), (4, 4))
    return latency.measure(session, session.default_configuration(), "live", 1, stop=Event())


def test_a_cold_start_is_not_the_latency(fake: FakeClock) -> None:
    measurement = took(2.5, 0.1)
    assert (measurement.first_s, measurement.median_s) == pytest.approx((2.5, 0.1))
    assert measurement.stop_reason == "precise"


def test_a_disturbed_warm_up_is_not_the_latency(fake: FakeClock) -> None:
    measurement = took(0.2, 1.2, 0.1)
    assert measurement.median_s == pytest.approx(0.1)
    assert measurement.stop_reason == "precise"


def test_a_slow_second_pass_is_the_only_sample(fake: FakeClock) -> None:
    measurement = took(2.5, 1.5)
    assert measurement.samples_s == pytest.approx((1.5,))
    assert (measurement.first_s, measurement.warmups) == (pytest.approx(2.5), 1)
    assert measurement.stop_reason == "single"
    assert "cold" in {flag.key for flag in measurement.flags}, "nothing is known of what disturbed it"


class Picky(nn.Module):
    """Fails on real numbers only: no analysis can know."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.inner(x)
        if not y.is_meta:
            raise ValueError("not with these numbers")
        return y


def test_a_pass_that_raises_is_told_as_a_layer_error() -> None:
    session = open_session(nn.Sequential(nn.ReLU(), Picky()), (2, 4))
    with pytest.raises(LayerError, match="1 stopped with ValueError: not with these numbers"):
        latency.measure(session, session.default_configuration(), "live", 1, stop=Event())


class Once(nn.Module):
    """Fails in its fifth real pass, and in no other."""

    runs: ClassVar[list[int]] = []  # of the class: instances are copied

    def forward(self, x: Tensor) -> Tensor:
        if not x.is_meta:
            self.runs.append(1)
            if len(self.runs) == 5:
                raise ValueError("five\nand more lines")
        return x + 1


def test_a_repeated_pass_that_raises_is_the_models_fault() -> None:
    Once.runs.clear()
    session = open_session(Once(), (2, 4))
    with pytest.raises(
        UnsupportedModelError, match=r"Once cannot be measured: .* stopped with ValueError: five\.$"
    ):
        latency.measure(session, session.default_configuration(), "live", 1, stop=Event())


def test_what_measures_takes_the_blame_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **more: object) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr("engine.latency.run.sample", broken)
    session = small()
    with pytest.raises(ZeroDivisionError, match="ours"):
        latency.measure(session, session.default_configuration(), "live", 1, stop=Event())


def test_a_configuration_that_does_not_fit_is_told_as_by_the_analysis() -> None:
    session = small()
    bad = msgspec.structs.replace(session.default_configuration(), edits=(RemoveLayer("0"),))
    good = session.default_configuration()
    wide = session_inputs(session, Configuration((InputShape("x", (4, 63)),)))
    with pytest.raises(LayerError, match="64 features"):
        latency.measure(session, wide, "live", 1, stop=Event())
    assert latency.measure(session, bad, "live", 1, stop=Event()).configuration.edits == bad.edits
    assert latency.measure(session, good, "live", 1, stop=Event()).configuration == good


def test_a_process_without_memory_says_so() -> None:
    session = open_session(Hungry(), (2, 4))
    with pytest.raises(InputError, match="needed more memory than there is"):
        latency.measure(session, session.default_configuration(), "live", 1, stop=Event())


class Hungry(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if not x.is_meta:
            torch.empty(1 << 50)
        return x + 1


@pytest.mark.parametrize("threads", [-1, 100_000])
def test_impossible_numbers_of_threads_are_refused(threads: int) -> None:
    session = small()
    here = session.default_configuration()
    for measure in (
        lambda: latency.measure(session, here, "live", threads, stop=Event()),
        lambda: latency.layer_times(session, here, threads, Event()),
        lambda: latency.compare(session, here, here, threads, stop=Event()),
    ):
        with pytest.raises(InputError, match="threads are not between 1 and 1,024"):
            measure()


class Greedy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        torch.set_num_threads(3)
        return x + 1


def test_a_model_that_sets_threads_itself_is_told() -> None:
    session = open_session(Greedy(), (2, 4))
    before = torch.get_num_threads()
    measurement = latency.measure(session, session.default_configuration(), "live", 1, stop=Event())
    (flag,) = [flag for flag in measurement.flags if flag.key == "threads"]
    assert flag.detail == "1 were set, and 3 by forward()"
    torch.set_num_threads(before)


def test_circumstances_are_those_of_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.latency import run as running

    runs_before: list[int] = []
    taken = running.circumstances

    def noted(*told: Any) -> Any:
        runs_before.append(len(Once.runs))
        return taken(*told)

    monkeypatch.setattr(running, "circumstances", noted)
    Once.runs[:] = [1] * 10
    session = open_session(Once(), (2, 4))
    latency.measure(session, session.default_configuration(), "live", 1, stop=Event())
    assert runs_before == [10], "the load is not yet that of the measurement"


def test_readings_of_a_busy_machine_are_no_part_of_what_waited_for_quiet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def waited(reference: Reference, stop: Event, progress: object) -> None:
        reference.readings.extend([1e6] * 20)

    monkeypatch.setattr("engine.latency.run.wait_until_quiet", waited)
    session = small()
    here = session.default_configuration()
    measurement = latency.measure(session, here, "live", 1, stop=Event(), when_quiet=True)
    assert max(measurement.reference_s) < 1e6


# -- side effects ------------------------------------------------------------------------------------------------


class Changes(nn.Module):
    """Writes to its input and to a buffer, grows, and computes a table once; notes what it finds."""

    found: ClassVar[list[tuple[float, int, int, float]]] = []
    tables: ClassVar[list[int]] = []

    def __init__(self) -> None:
        super().__init__()
        self.history: list[Tensor] = []
        self.calls = 0
        self.table: Tensor | None = None
        self.register_buffer("total", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        assert isinstance(self.total, Tensor)
        if not x.is_meta:
            self.found.append((float(x[0, 0]), len(self.history), self.calls, float(self.total)))
        if self.table is None:
            self.table = x + 1
            self.tables.append(1)
        x.mul_(0.5)
        self.history.append(x)
        self.calls += 1
        self.total += 1
        return x + self.table


def changes_of(measure: Callable[[Session, Configuration], object]) -> set[tuple[float, int, int, float]]:
    """What the passes of a measurement found, without the first."""
    session = open_session(Changes(), (2, 4))
    Changes.found.clear()
    Changes.tables.clear()
    measure(session, session.default_configuration())
    assert len(Changes.found) > 3
    assert Changes.found[0][1:] == (0, 0, 0.0)
    return set(Changes.found[1:])


def test_every_pass_of_a_measurement_finds_what_the_first_one_left() -> None:
    taken = []

    def measure(session: Session, here: Configuration) -> None:
        taken.append(latency.measure(session, here, "live", 1, stop=Event()))

    (found,) = changes_of(measure)
    assert found == (Changes.found[0][0], 1, 1, 1.0)
    assert len(Changes.tables) <= 2, "once on meta, once for real: what is computed once stays"
    assert taken[0].forwards_per_sample == 1


def test_every_pass_of_the_layers_and_operations_does_too() -> None:
    for measure in (latency.layer_times, latency.op_times):
        (found,) = changes_of(lambda session, here, measure=measure: measure(session, here, 1, Event()))  # type: ignore[misc]
        assert found == (Changes.found[0][0], 1, 1, 1.0)


def test_passes_of_a_comparison_are_first_ones_or_follow_one() -> None:
    found = changes_of(lambda session, here: latency.compare(session, here, here, 1, stop=Event()))
    value = Changes.found[0][0]
    assert {each[:3] for each in found} == {(value, 0, 0), (value, 1, 1)}


# -- subnormal numbers -------------------------------------------------------------------------------------------


class Fading(nn.Module):
    """Loaded weights that push its values below the smallest normal number, and count how often it ran."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4, bias=False)
        with torch.no_grad():
            self.fc.weight.copy_(1e-39 * torch.eye(4))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc(x)
        clock.advance(0.02 if bool((y.view(torch.int32) & 0x7FFFFFFF).any()) else 0.01)
        return y


@pytest.mark.skipif(
    not torch.set_flush_denormal(False), reason="this processor cannot flush subnormal numbers"
)
def test_subnormal_numbers_that_cost_time_are_flagged(
    fake: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.latency import denormals

    fake.install(monkeypatch, denormals)
    net = Fading()
    with torch.inference_mode():
        expected = int((net.fc(torch.randn(2, 4)).view(torch.int32) & 0x7FFFFFFF != 0).sum())
    session = open_session(net, torch.zeros(2, 4))
    with session.real(session.default_configuration()) as model, torch.inference_mode():
        assert 0 < count_subnormals(model) <= expected
    flags = latency.measure(session, session.default_configuration(), "settled", 1, stop=Event()).flags
    (flag,) = [flag for flag in flags if flag.key == "denormals"]
    assert "2.00 times as long" in flag.detail
    live = latency.measure(session, session.default_configuration(), "live", 1, stop=Event())
    assert "denormals" not in {flag.key for flag in live.flags}, "there is no time for it while dragging"


def test_a_pass_that_is_slower_when_it_flushes_carries_no_flag(
    fake: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.latency import denormals

    fake.install(monkeypatch, denormals)
    monkeypatch.setattr(denormals, "count_subnormals", lambda model: 5)
    session = open_session(Busy(0.01), (2, 4))
    with session.real(session.default_configuration()) as model:
        assert denormals_flag(model, 0.005, 1, Event()) is None
        assert denormals_flag(model, 0.020, 1, Event()) is not None


class Sparse(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.relu().to_sparse()


class Dense(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.to_dense() * 1e-39


def test_what_cannot_be_looked_at_is_not_counted() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch wants other ways to compile
        scripted = torch.jit.script(nn.ReLU())
    model = RealModel(nn.Sequential(scripted, Sparse(), Dense()), (torch.ones(3),), {}, None, None)  # type: ignore[arg-type]
    assert count_subnormals(model) == 3


# -- a quiet machine ---------------------------------------------------------------------------------------------


class Counters:
    """The machine's counters half a second apart, as the test says."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, *readings: tuple[float, float, float, float | None]
    ) -> None:
        left = iter(readings)
        monkeypatch.setattr(quiet, "_read", lambda: quiet._Reading(*next(left)))
        monkeypatch.setattr(quiet, "WINDOW_S", 0.0)


@pytest.mark.parametrize(
    ("after", "reason"),
    [
        ((0.5, 0.03, 0.0, 0.0), None),
        ((0.5, 0.5, 0.48, 0.0), None),
        ((0.5, 0.5, 0.1, 0.0), "other programs keep 0.8 of"),
        ((0.5, 0.02, 0.0, 0.1), "programs wait for a core 20% of the time"),
        ((0.5, 0.02, 0.0, None), None),
    ],
)
def test_what_is_in_the_way(
    monkeypatch: pytest.MonkeyPatch, after: tuple[float, float, float, float | None], reason: str | None
) -> None:
    Counters(monkeypatch, (0.0, 0.0, 0.0, 0.0), after)
    found = quiet_gate()
    assert found is None if reason is None else (found is not None and found.startswith(reason))


def test_waiting_for_quiet_says_what_for_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    busy, calm = (0.5, 1.0, 0.0, None), (0.5, 0.01, 0.0, None)
    start = (0.0, 0.0, 0.0, None)
    Counters(monkeypatch, start, busy, start, busy, start, calm)
    told: list[str] = []
    reference = torch_reference(1)
    monkeypatch.setattr(reference, "_read", lambda: reference.best_s)
    wait_until_quiet(reference, Event(), told.append)
    assert len(told) == 2
    assert told[0].startswith("Waiting for a quiet machine: other programs keep 2.0 of")


def test_waiting_for_quiet_ends_at_once_when_stopped() -> None:
    stop = Event()
    stop.set()
    with pytest.raises(CancelledError):
        wait_until_quiet(torch_reference(1), stop, lambda what: None)


def test_the_machines_counters_grow() -> None:
    before, after = quiet._read(), quiet._read()
    assert after.at >= before.at
    assert after.busy >= before.busy - 1e-6
    assert after.own >= before.own


@pytest.mark.parametrize(
    ("reading", "words"),
    [(1.5, "was 50% slower than its best"), (58.97, "took 59 × its best")],
)
def test_how_much_slower_the_reference_kernel_was_is_readable(reading: float, words: str) -> None:
    (flag,) = reference_flags([reading] * 4, 1.0)
    assert flag.detail == f"the reference kernel {words} in 4 of 4 readings"
