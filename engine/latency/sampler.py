"""Timing forward passes: warm-up, samples until there are enough, and what happened meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from threading import Event
from typing import TypeAlias

from engine.errors import CancelledError
from engine.latency.collector import collect_young
from engine.latency.noise import RunQueue
from engine.latency.passes import timed
from engine.latency.reference import Reference
from engine.latency.stopping import LIMITS, Stopping, forwards_per_sample
from engine.measurement import StopReason, Tier

Report: TypeAlias = Callable[[Sequence[float], Sequence[float]], None]
"""Takes samples and run-queue delays, in seconds, that came since it was called last."""
Forward: TypeAlias = Callable[[], object]

REPORT_EVERY_S = 0.25
REFERENCE_EVERY_S = 0.1
BLOCK_PAUSE_S = 0.3
COLD = 3.0
"""How much longer a first pass may take than the next: threads start, memory is mapped, kernels are chosen."""


class Samples:
    """The samples of one measurement as they come; ``walls_s``, ``cpu_s`` and ``delay_s`` are of whole samples."""

    def __init__(self, forwards: int) -> None:
        self.forwards = forwards
        self.walls_s: list[float] = []
        self.cpu_s: list[float] = []
        self.delay_s: list[float] = []
        self.stop_reason: StopReason = "time"

    @property
    def samples_s(self) -> tuple[float, ...]:
        """Seconds per forward pass."""
        return tuple(wall / self.forwards for wall in self.walls_s)

    def take(self, forward: Forward, queue: RunQueue) -> float:
        """One more sample; returns its wall time. Nothing but the passes lies between the two wall clock readings."""
        passes = range(self.forwards)
        delay, cpu = queue.read_s(), time.process_time()
        started = time.perf_counter()
        for _ in passes:
            forward()
        wall = time.perf_counter() - started
        self.cpu_s.append(time.process_time() - cpu)
        if queue.known:
            self.delay_s.append(max(queue.read_s() - delay, 0.0))
        self.walls_s.append(wall)
        return wall


def nothing() -> None:
    """What there is to undo after a pass without side effects."""


def warm_up(
    forward: Forward, passes: int, cap_s: float, stop: Event, undo: Callable[[], None] = nothing
) -> list[float]:
    """Times of the first passes; no more after one that took longer than ``cap_s``. Raises CancelledError.

    The first may take COLD times as long before it is the only one. ``undo`` is called after each.
    """
    times: list[float] = []
    while not times or (len(times) < passes and times[-1] <= cap_s * (COLD if len(times) == 1 else 1)):
        times.append(timed(forward, stop))
        undo()
    return times


def single(forward_s: float) -> Samples:
    """A warm-up as the only sample: there is no time for another pass."""
    samples = Samples(1)
    samples.walls_s.append(forward_s)
    samples.stop_reason = "single"
    return samples


def sample(
    forward: Forward,
    tier: Tier,
    forward_s: float,
    reference: Reference,
    stop: Event,
    report: Report,
    *,
    undo: Callable[[], None] | None = None,
) -> Samples:
    """Samples until the tier's limits say stop. Raises CancelledError when ``stop`` is set, between two samples.

    ``forward_s`` is about what a pass takes. What is read and reported between samples is not in their time. ``undo``
    is called after every pass, each of which then is a sample.
    """
    limits = LIMITS[tier]
    samples = Samples(1 if undo is not None else forwards_per_sample(forward_s, limits.cap_s))
    undo = undo or nothing
    stopping = Stopping(limits)
    outbox = _Outbox(samples, report)
    elapsed = 0.0
    reason: StopReason | None = None
    with RunQueue() as queue:
        for block in range(1, limits.blocks + 1):
            if elapsed >= limits.cap_s * block / limits.blocks:
                continue  # one pass takes longer than a block
            if block > 1:
                _pause(forward, stop)
                undo()
            started, before = time.perf_counter(), elapsed
            next_reading = 0.0
            while reason is None and elapsed < limits.cap_s * block / limits.blocks:
                if stop.is_set():
                    raise CancelledError()
                if elapsed >= next_reading:
                    reference.read()
                    queue.refresh()
                    collect_young()
                    next_reading = elapsed + REFERENCE_EVERY_S
                wall = samples.take(forward, queue)
                undo()
                elapsed = before + time.perf_counter() - started
                reason = stopping.add(wall, elapsed)
                outbox.post()
        reference.read()
    samples.stop_reason = reason or "time"
    return samples


def _pause(forward: Forward, stop: Event) -> None:
    """Between blocks, with a pass afterwards that is not counted. Raises CancelledError."""
    if stop.wait(BLOCK_PAUSE_S):
        raise CancelledError()
    timed(forward, stop)


class _Outbox:
    """Hands new samples on, at most every ``REPORT_EVERY_S``: times and delays, both of one forward pass."""

    def __init__(self, samples: Samples, report: Report) -> None:
        self._samples = samples
        self._report = report
        self._told = 0
        self._last = time.perf_counter()

    def post(self) -> None:
        now = time.perf_counter()
        if now - self._last < REPORT_EVERY_S:
            return
        self._last = now
        delays_s = [delay / self._samples.forwards for delay in self._samples.delay_s[self._told :]]
        self._report(self._samples.samples_s[self._told :], delays_s)
        self._told = len(self._samples.walls_s)
