"""One state of a model against another: timed in alternation on the same weights, so that both see the same machine."""

from __future__ import annotations

import time
from threading import Event

from engine import statistics
from engine.configuration import Configuration
from engine.errors import CancelledError
from engine.latency.backend import Backend
from engine.latency.circumstances import machine_flags
from engine.latency.collector import collect_young, no_collection
from engine.latency.noise import RunQueue, reference_flags, sample_flags
from engine.latency.passes import timed
from engine.latency.reference import Reference
from engine.latency.sampler import COLD, warm_up
from engine.measurement import (
    DEAD_ZONE,
    FLAGGED_DEAD_ZONE,
    Comparison,
    Flag,
    StopReason,
    verdict,
)

LOOKS = (8, 12, 16, 24, 32, 48)
"""Numbers of pairs after which the verdict is looked at: few, because every look may be wrong once in a hundred."""
CAP_S = 10.0
BLOCK_S, LONG_BLOCK_S = 0.02, 0.06
"""A block lasts at least 20 ms and three passes, or 60 ms."""
BLOCK_PASSES = 3
WARMUPS = 2
_OWN_NOISE = ("drift", "spread")
"""Flags of one side's samples that do not touch ratios of neighbouring blocks; preempted and slowed do."""


class _Side:
    """One of the two configurations: its blocks, and what happened during their passes."""

    def __init__(self, backend: Backend, configuration: Configuration) -> None:
        self._backend = backend
        self.configuration = configuration
        self.medians_s: list[float] = []
        self.walls_s: list[float] = []
        self.cpu_s: list[float] = []
        self.delay_s: list[float] = []
        self.said: tuple[Flag, ...] = ()

    def warm_up(self, stop: Event) -> None:
        """The first passes. Raises CancelledError."""
        with self._backend.ready(self.configuration, stop) as ready:
            warm_up(ready.forward, WARMUPS, CAP_S / COLD, stop, ready.undo)
            self.said = ready.flags

    def block(self, queue: RunQueue, stop: Event, switched: bool) -> None:
        """One block's median more; the first pass after a switch is not in it. Raises CancelledError."""
        times: list[float] = []
        with self._backend.ready(self.configuration, stop) as ready:
            if switched:
                timed(ready.forward, stop)
                ready.undo()
            delay, cpu, started = queue.read_s(), time.process_time(), time.perf_counter()
            while True:
                times.append(timed(ready.forward, stop))
                ready.undo()
                elapsed = time.perf_counter() - started
                if elapsed >= LONG_BLOCK_S or (elapsed >= BLOCK_S and len(times) >= BLOCK_PASSES):
                    break
            self.walls_s.append(elapsed)
            self.cpu_s.append(time.process_time() - cpu)
            if queue.known:
                self.delay_s.append(max(queue.read_s() - delay, 0.0))
        self.medians_s.append(statistics.median(times))

    def flags(self, threads: int) -> tuple[Flag, ...]:
        found = sample_flags(self.walls_s, self.cpu_s, self.delay_s, threads)
        return tuple(flag for flag in found if flag.key not in _OWN_NOISE)


def compare(
    backend: Backend,
    configuration: Configuration,
    baseline: Configuration,
    reference: Reference,
    stop: Event,
) -> Comparison:
    """Blocks in the order A B B A A B B A …, one ratio per pair, until the verdict is clear or the time is up.

    The order cancels what changes steadily. In the measuring thread. Raises CancelledError when ``stop`` is set,
    between two passes, and the errors of ``Backend.ready``.
    """
    current, before, threads = _Side(backend, configuration), _Side(backend, baseline), backend.threads
    reason: StopReason | None = None
    with no_collection(), RunQueue() as queue:
        started = time.perf_counter()
        for side in (before, current):
            side.warm_up(stop)
        last: _Side | None = current
        while reason is None:
            if stop.is_set():
                raise CancelledError()
            reference.read()
            queue.refresh()  # the pool's threads are made by the first passes
            collect_young()
            pair = (before, current) if len(current.medians_s) % 2 == 0 else (current, before)
            for side in pair:
                side.block(queue, stop, switched=side is not last)
                last = side
            reason = _reason(current, before, threads, reference, time.perf_counter() - started)
    return Comparison(
        baseline=baseline,
        current=configuration,
        threads=threads,
        ratios=_ratios(current, before),
        baseline_s=tuple(before.medians_s),
        current_s=tuple(current.medians_s),
        stop_reason=reason,
        flags=_once(
            *_flags(current, before, threads, reference),
            # Of the model, and no noise: it makes no difference of times more doubtful.
            *current.said,
            *before.said,
        ),
    )


def _reason(
    current: _Side, before: _Side, threads: int, reference: Reference, elapsed_s: float
) -> StopReason | None:
    pairs = len(current.medians_s)
    if pairs in LOOKS:
        dead_zone = FLAGGED_DEAD_ZONE if _flags(current, before, threads, reference) else DEAD_ZONE
        if verdict(_ratios(current, before), dead_zone) != "unclear":
            return "precise"
    if elapsed_s >= CAP_S:
        return "time"
    return "samples" if pairs >= LOOKS[-1] else None


def _ratios(current: _Side, before: _Side) -> tuple[float, ...]:
    return tuple(now / then for now, then in zip(current.medians_s, before.medians_s, strict=True))


def _flags(current: _Side, before: _Side, threads: int, reference: Reference) -> tuple[Flag, ...]:
    """What disturbed either side; each kind once."""
    found = (
        *machine_flags(threads),
        *current.flags(threads),
        *before.flags(threads),
        *reference_flags(reference.readings, reference.best_s),
    )
    return _once(*found)


def _once(*found: Flag) -> tuple[Flag, ...]:
    """The first of each kind."""
    return tuple({flag.key: flag for flag in reversed(found)}.values())[::-1]
