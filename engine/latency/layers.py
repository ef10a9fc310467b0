"""Per-layer times of a real model: instrumented forward passes between plain ones, divided among the layer rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from threading import Event
from typing import Any, NamedTuple, TypeVar

import msgspec
import torch

from engine.configuration import Configuration
from engine.errors import CancelledError
from engine.latency.attribution import divide, how, match_rows, shares, without_hooks
from engine.latency.collector import collect_young, no_collection
from engine.latency.disturbed import enough_undisturbed, layer_flags, least_disturbed, preempted_flags
from engine.latency.module_timer import PassTimes, hook_cost, time_modules
from engine.latency.noise import CPU_TICK_S, RunQueue
from engine.latency.ops import Executed, OpPass, op_cost, op_pass
from engine.latency.passes import paced, timed
from engine.latency.side_effects import SideEffects
from engine.measurement import LayerTimes
from engine.results import Layers
from engine.session import RealModel, Session
from engine.statistics import median

T = TypeVar("T")

REPEATS = (5, 40)
ENOUGH = 15
"""Rounds, unless other programs disturbed most of them and there is time for more."""
BUDGET_S = 2.5
OP_REPEATS = (2, 3)
OP_BUDGET_S = 0.5
CPU_EVERY = 3
"""Every so many rounds, one pass more reads CPU time beside wall time."""
CPU_RESOLUTION = 1e-4
"""Seconds; a CPU clock that ticks more slowly says nothing about layers."""
WARMUPS = 2

has_cpu_clock = CPU_TICK_S <= CPU_RESOLUTION


class Passes(NamedTuple):
    """What was timed, in order; with every pass goes the share of it that its threads waited for a core."""

    plain_s: list[tuple[float, float]]
    wall: list[tuple[PassTimes, float]]
    cpu: list[tuple[PassTimes, PassTimes]]
    """Wall and CPU times of one and the same pass."""
    ops: list[OpPass]

    @property
    def enough(self) -> bool:
        return len(self.wall) >= ENOUGH and enough_undisturbed(self.plain_s) and enough_undisturbed(self.wall)


def layer_times(session: Session, configuration: Configuration, threads: int, stop: Event) -> LayerTimes:
    """Where the time of a forward pass goes, by layer row, with the ``threads`` that are set.

    Takes about three seconds, or one round of passes where that takes longer. Raises what Session.analyze and
    Session.real raise, CancelledError when ``stop`` is set between two passes, and what the forward pass raises.
    """
    layers = session.analyze(configuration, stop=stop).layers
    with session.real(configuration) as model, torch.inference_mode(), no_collection():
        passes = _run(model, stop)
    return summarize(configuration, threads, layers, passes)


def _run(model: RealModel, stop: Event) -> Passes:
    paths = model.target.paths
    passes = Passes([], [], [], [])
    effects = SideEffects(model)

    def instrumented(clock: Callable[[], Any]) -> PassTimes:
        if stop.is_set():
            raise CancelledError()
        return time_modules(model.forward, paths, clock)

    for _ in paced((1, WARMUPS), BUDGET_S, stop):
        model.forward()
        effects.undo()
    with RunQueue() as queue:
        for number in paced(REPEATS, BUDGET_S, stop):
            collect_young()
            for turn in ("plain", "timed") if number % 2 else ("timed", "plain"):
                waited = queue.read_s()
                if turn == "plain":
                    seconds = timed(model.forward, stop)
                    passes.plain_s.append((seconds, (queue.read_s() - waited) / seconds))
                else:
                    times = instrumented(time.perf_counter)
                    passes.wall.append((times, (queue.read_s() - waited) / times.total_s))
                effects.undo()
            if has_cpu_clock and number % CPU_EVERY == 0:
                passes.cpu.append(both_times(instrumented(both_clocks)))
                effects.undo()
            if passes.enough:
                break
    for _ in paced(OP_REPEATS, OP_BUDGET_S, stop):
        passes.ops.append(op_pass(model))
        effects.undo()
    return passes


def summarize(configuration: Configuration, threads: int, layers: Layers, passes: Passes) -> LayerTimes:
    """The columns for ``layers``: medians over the least disturbed passes."""
    timed_passes, plain_s = least_disturbed(passes.wall), least_disturbed(passes.plain_s)
    hook_s = hook_cost(time.perf_counter)
    match = match_rows(
        (one for each in passes.ops for one in each.executed),
        frozenset().union(*(each.called for each in passes.ops)),
        layers,
    )
    wall = _medians(timed_passes, hook_s)
    containers = timed_passes[-1].containers
    parts = shares(wall, containers, _op_seconds(passes.ops, match.row_of))
    rows, rest = divide(wall, parts)
    cpu_rows: dict[str, float] = {}
    if passes.cpu:
        busy = _cores_busy(passes.cpu, threads)
        cpu_rows, _ = divide({path: seconds * busy.get(path, 0.0) for path, seconds in wall.items()}, parts)
    notes = how(parts, containers) | match.notes
    result = LayerTimes(
        configuration=configuration,
        threads=threads,
        row_id=layers.id,
        latency_s=tuple(map(rows.get, layers.id)),
        cpu_s=tuple(map(cpu_rows.get, layers.id)),
        note=tuple(notes.get(row, "") for row in layers.id),
        unattributed_s=rest,
        hook_s=hook_s,
        hook_calls=round(median([one.calls for one in timed_passes])),
        instrumented_s=median([one.total_s for one in timed_passes]),
        end_to_end_s=median(plain_s),
        repeats=len(timed_passes),
    )
    return msgspec.structs.replace(
        result, flags=preempted_flags(passes.wall, passes.plain_s) + layer_flags(result)
    )


def _medians(passes: Sequence[PassTimes], hook_s: float) -> dict[str, float]:
    """Exclusive seconds by module path, the cost of timing subtracted."""
    each = [without_hooks(one, hook_s) for one in passes]
    paths = dict.fromkeys(path for one in each for path in one)
    return {path: median([one.get(path, 0.0) for one in each]) for path in paths}


def both_clocks() -> complex:
    """Wall + CPU · i: timing modules only adds and subtracts what a clock says, and so times by both at once."""
    return complex(time.perf_counter(), time.process_time())


def both_times(times: PassTimes) -> tuple[PassTimes, PassTimes]:
    """Wall and CPU times of a pass that :func:`both_clocks` timed."""
    total, self_s = complex(times.total_s), {path: complex(one) for path, one in times.self_s.items()}
    wall = times._replace(total_s=total.real, self_s={path: one.real for path, one in self_s.items()})
    cpu = times._replace(total_s=total.imag, self_s={path: one.imag for path, one in self_s.items()})
    return wall, cpu


def _cores_busy(passes: Sequence[tuple[PassTimes, PassTimes]], threads: int) -> dict[str, float]:
    """CPU over wall time by module path, both of the same pass: the median over passes, 0 to ``threads``.

    A disturbed pass is longer by both clocks or by neither, so CPU times of some passes over wall times of others would
    make cores that are not there.
    """
    hook_s = hook_cost(time.process_time)  # of a thread that waits for nothing: as long by either clock
    shares: dict[str, list[float]] = {}
    for wall, cpu in passes:
        cpu_s = without_hooks(cpu, hook_s)
        for path, seconds in without_hooks(wall, hook_s).items():
            if seconds > 0:
                shares.setdefault(path, []).append(min(max(cpu_s[path] / seconds, 0.0), float(threads)))
    return {path: median(found) for path, found in shares.items()}


def _op_seconds(passes: Sequence[OpPass], row_of: Mapping[Executed, str]) -> dict[str, dict[str, float]]:
    """Seconds by module path and row id, the cost of timing subtracted; ``""`` for operations of no row."""
    cost = op_cost()
    sums: dict[tuple[str, str], list[float]] = {}
    for number, one in enumerate(passes):
        for executed, seconds in zip(one.executed, one.seconds, strict=True):
            per_pass = sums.setdefault((executed.path, row_of[executed]), [0.0] * len(passes))
            per_pass[number] += max(seconds - cost, 0.0)
    result: dict[str, dict[str, float]] = {}
    for (path, row), per_pass in sums.items():
        result.setdefault(path, {})[row] = median(per_pass)
    return result
