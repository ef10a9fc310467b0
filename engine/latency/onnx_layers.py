"""Per-layer times of an ONNX model: kernels that onnxruntime profiled, on the rows whose work they do."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from threading import Event
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from engine.configuration import Configuration
from engine.errors import UnsupportedModelError
from engine.latency.collector import no_collection
from engine.latency.disturbed import enough_undisturbed, layer_flags, least_disturbed, preempted_flags
from engine.latency.noise import RunQueue
from engine.latency.onnx_cost import profiling_cost
from engine.latency.onnx_profiled import LEAST_RUNS, Profiled, profiled, untimed
from engine.latency.onnx_ready import ReadyOnnx
from engine.latency.onnx_sessions import wait_for_spinning
from engine.latency.passes import paced, timed
from engine.measurement import Flag, KernelGroup, LayerTimes, OpTimes
from engine.onnx.fusion import Fusion, Group
from engine.onnx.graph import Node
from engine.onnx.profile import KernelRun, RunProfile
from engine.onnx.profile_file import MOST_EVENTS
from engine.results import Layers
from engine.statistics import median

if TYPE_CHECKING:
    from engine.latency.onnx_backend import OnnxBackend

ROUNDS = (3, 20)
BUDGET_S = 2.5
ENOUGH = 15
"""Profiled passes, unless other programs disturbed most of them and there is time for more."""
BLOCK_S, BLOCK_PASSES = 0.03, 3
"""A turn has so many passes, fewer where they are long."""
FOLDED = "folded at load: no kernel runs for it"
DID_NOT_RUN = "did not run in the measured passes"
MORE = f"one run executes more than {MOST_EVENTS // LEAST_RUNS:,} kernels: too many to time one by one"
"""Found out by running: how often a loop runs can depend on the data."""

Waited = tuple[float, float]
"""Seconds of a pass, and the share of it that the threads waited for a core."""


class Passes(NamedTuple):
    """What was timed: ``profiled`` are wall times around the profiled runs, in the order of ``runs``."""

    plain: list[Waited]
    profiled: list[Waited]
    runs: tuple[RunProfile, ...]
    fusion: Fusion
    flags: tuple[Flag, ...] = ()
    """What is to be said against the passes as such."""


def layer_times(backend: OnnxBackend, configuration: Configuration, stop: Event) -> LayerTimes:
    """Where the time of a run goes, by layer row; in the measuring thread.

    Takes about three seconds, or one round of passes where that takes longer. Raises what OnnxSession.analyze and
    OnnxBackend.ready raise, and CancelledError soon after ``stop`` is set.
    """
    layers = backend.session.analyze(configuration, stop=stop).layers
    why = untimed(backend.device, layers)
    if why:
        return _untimed(backend, configuration, layers, why, stop)
    passes = _run(backend, configuration, stop)
    if not passes.profiled:
        return _untimed(backend, configuration, layers, MORE, stop)
    return summarize(configuration, backend.threads, layers, passes, profiling_cost())


def _untimed(
    backend: OnnxBackend, configuration: Configuration, layers: Layers, why: str, stop: Event
) -> LayerTimes:
    """Without the time of any layer; the whole is measured."""
    plain: list[Waited] = []
    with backend.prepared(configuration, stop) as ready, no_collection(), RunQueue() as queue:
        for _ in paced(ROUNDS, BUDGET_S, stop):
            plain += _turn(ready, queue, stop)
        flags = ready.flags
    end_to_end = median(least_disturbed([(seconds, waited) for seconds, waited in plain]))
    return LayerTimes(
        configuration=configuration,
        threads=backend.threads,
        row_id=layers.id,
        latency_s=(None,) * len(layers.id),
        cpu_s=(None,) * len(layers.id),
        note=(why,) * len(layers.id),
        unattributed_s=end_to_end,
        hook_s=0.0,
        hook_calls=0,
        instrumented_s=end_to_end,
        end_to_end_s=end_to_end,
        repeats=len(plain),
        flags=(Flag("coverage", why, severe=True), *preempted_flags(plain), *flags),
    )


def _run(backend: OnnxBackend, configuration: Configuration, stop: Event) -> Passes:
    plain: list[Waited] = []
    walls: list[Waited | None] = []
    with (
        backend.prepared(configuration, stop) as ready,
        profiled(backend, configuration, stop) as profile,
        no_collection(),
        RunQueue() as queue,
    ):
        for number in paced(ROUNDS, BUDGET_S, stop):
            for turn in ("plain", "timed") if number % 2 else ("timed", "plain"):
                wait_for_spinning(backend.threads, backend.runtime, stop)
                if turn == "plain":
                    plain += _turn(ready, queue, stop)
                else:
                    most = min(BLOCK_PASSES, profile.most_runs - len(walls) - 1)
                    walls += [None, *_turn(profile, queue, stop, most)]
                queue.refresh()
            counted = [each for each in walls if each is not None]
            if len(counted) >= ENOUGH and enough_undisturbed(counted) and enough_undisturbed(plain):
                break
            if len(walls) + 2 > profile.most_runs:
                break
        runs = profile.end(stop)
        fusion, flags = profile.fusion, ready.flags
    # A profile that is full lacks the last runs.
    kept = [(wall, run) for wall, run in zip(walls, runs, strict=False) if wall is not None]
    return Passes(plain, [wall for wall, _ in kept], tuple(run for _, run in kept), fusion, flags)


def _turn(
    model: ReadyOnnx | Profiled, queue: RunQueue, stop: Event, most: int = BLOCK_PASSES
) -> list[Waited]:
    """A few passes of one of the two sessions; the first, after the other one's, is not in them."""
    timed(model.forward, stop)
    found: list[Waited] = []
    started = time.perf_counter()
    while len(found) < most and (not found or time.perf_counter() - started < BLOCK_S):
        waited = queue.read_s()
        seconds = timed(model.forward, stop)
        found.append((seconds, (queue.read_s() - waited) / seconds))
    return found


def summarize(
    configuration: Configuration, threads: int, layers: Layers, passes: Passes, cost_s: float
) -> LayerTimes:
    """The columns for ``layers``: medians over the least disturbed passes; ``cost_s`` is that of timing one kernel."""
    both = [((wall, run), waited) for (wall, waited), run in zip(passes.profiled, passes.runs, strict=True)]
    chosen = least_disturbed(both)
    kernels = medians([run for _, run in chosen])
    calls = round(median([float(len(run.kernels)) for _, run in chosen]))
    groups = kernel_groups(passes.fusion, kernels, layers)
    times = {group.carrier: group.latency_s for group in groups}
    inserted = kernels_inserted(passes.fusion, kernels)
    instrumented = median([wall for wall, _ in chosen])
    known = sum(times.values()) + sum(seconds for _, seconds in inserted)
    notes = fused_notes(groups, passes.fusion)
    result = LayerTimes(
        configuration=configuration,
        threads=threads,
        row_id=layers.id,
        latency_s=tuple(map(times.get, layers.id)),
        cpu_s=(None,) * len(layers.id),
        note=tuple(notes.get(row, "" if row in times else DID_NOT_RUN) for row in layers.id),
        unattributed_s=instrumented - known - calls * cost_s,
        hook_s=cost_s,
        hook_calls=calls,
        instrumented_s=instrumented,
        end_to_end_s=median(least_disturbed([(seconds, waited) for seconds, waited in passes.plain])),
        repeats=len(chosen),
        groups=groups,
        inserted=inserted,
    )
    flags = preempted_flags(passes.profiled, passes.plain) + layer_flags(result) + passes.flags
    return msgspec.structs.replace(result, flags=flags)


def medians(runs: Sequence[RunProfile]) -> dict[str, float]:
    """Seconds per run by kernel name: of all its executions in a run together; 0 in a run that had none."""
    each: list[dict[str, float]] = []
    for run in runs:
        sums: dict[str, float] = {}
        for kernel in run.kernels:
            sums[kernel.name] = sums.get(kernel.name, 0.0) + kernel.seconds
        each.append(sums)
    names = dict.fromkeys(name for sums in each for name in sums)
    return {name: median([sums.get(name, 0.0) for sums in each]) for name in names}


def row_id(node: Node) -> str:
    """As the analysis names the node's row."""
    return f"{node.path}:{node.op_type}"


def kernel_groups(fusion: Fusion, kernels: Mapping[str, float], layers: Layers) -> tuple[KernelGroup, ...]:
    """In the order of the optimised graph; kernels that never ran are in none."""
    macs = dict(zip(layers.id, layers.macs, strict=True))
    found = []
    for group in fusion.groups:
        ran = [kernel for kernel in group.kernels if kernel.name in kernels]
        rows = tuple(dict.fromkeys(row for row in map(row_id, group.nodes) if row in macs))
        if ran and rows:
            main = max(ran, key=lambda kernel: kernels[kernel.name])
            found.append(
                KernelGroup(
                    kernel=main.name,
                    op=" + ".join(kernel.op for kernel in ran),
                    latency_s=sum(kernels[kernel.name] for kernel in ran),
                    row_ids=rows,
                    carrier=_carrier(group, rows, macs),
                )
            )
    return tuple(found)


def _carrier(group: Group, rows: Sequence[str], macs: Mapping[str, int | None]) -> str:
    """The row that a reader expects the time in: of the most MACs, else the last, whose output the kernel puts out."""
    heaviest = max(rows, key=lambda row: macs[row] or 0)
    return heaviest if macs[heaviest] else rows[-1]


def kernels_inserted(fusion: Fusion, kernels: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    """By name; with what ran and is not in the optimised graph at all."""
    ops = {kernel.name: kernel.op for kernel in fusion.inserted}
    known = {kernel.name for group in fusion.groups for kernel in group.kernels}
    return tuple(
        (f"{ops[name]} {name}" if name in ops else name, seconds)
        for name, seconds in kernels.items()
        if name not in known
    )


def fused_notes(groups: Sequence[KernelGroup], fusion: Fusion) -> dict[str, str]:
    notes = {row_id(node): FOLDED for node in fusion.folded}
    for group in groups:
        others = [row for row in group.row_ids if row != group.carrier]
        for row in others:
            notes[row] = f"fused into {group.carrier} ({group.op})"
        if others:
            notes[group.carrier] = f"one kernel, {group.op}, for {len(group.row_ids)} rows"
    return notes


# -- kernels as operations ---------------------------------------------------------------------------------------

OP_REPEATS = (3, 5)
OP_BUDGET_S = 2.0
MAX_OPS = 20_000


def op_times(backend: OnnxBackend, configuration: Configuration, stop: Event) -> OpTimes:
    """Every kernel of a run in order with its time.

    Raises as ``layer_times`` does, and UnsupportedModelError where there are too many.
    """
    layers = backend.session.analyze(configuration, stop=stop).layers
    why = untimed(backend.device, layers)
    if why:
        raise _refused(backend, why)
    plain: list[float] = []
    counted: list[int] = []
    runs = 0
    with (
        backend.prepared(configuration, stop) as ready,
        profiled(backend, configuration, stop) as profile,
        no_collection(),
    ):
        for _ in paced(OP_REPEATS, OP_BUDGET_S, stop):
            wait_for_spinning(backend.threads, backend.runtime, stop)
            timed(ready.forward, stop)
            plain.append(timed(ready.forward, stop))
            wait_for_spinning(backend.threads, backend.runtime, stop)
            timed(profile.forward, stop)
            timed(profile.forward, stop)
            runs += 2
            counted.append(runs - 1)
            if runs + 2 > profile.most_runs:
                break
        found = profile.end(stop)
        carriers = _carriers(profile.fusion, layers)
    passes = [found[number].kernels for number in counted if number < len(found)]
    if not passes:
        raise _refused(backend, MORE)
    executed = passes[-1]
    alike = [one for one in passes if _ops(one) == _ops(executed)]
    kept = executed[:MAX_OPS]
    rows = [carriers.get(kernel.name, "") for kernel in kept]
    return OpTimes(
        configuration=configuration,
        threads=backend.threads,
        op=tuple(kernel.op for kernel in kept),
        path=tuple(row.rpartition(":")[0] or kernel.name for row, kernel in zip(rows, kept, strict=True)),
        row_id=tuple(rows),
        output_shapes=tuple(kernel.output_shapes for kernel in kept),
        latency_s=tuple(median([kernel.seconds for kernel in column]) for column in zip(*alike, strict=True))[
            :MAX_OPS
        ],
        op_s=profiling_cost(),
        end_to_end_s=median(plain),
    )


def _refused(backend: OnnxBackend, why: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"The operations of {backend.session.info.name} cannot be timed: {why}.",
        hint="Its latency as a whole can be measured; or let its loops run less often.",
    )


def _ops(kernels: Sequence[KernelRun]) -> list[str]:
    return [kernel.name for kernel in kernels]


def _carriers(fusion: Fusion, layers: Layers) -> dict[str, str]:
    """Kernel → the row that has its time."""
    macs = dict(zip(layers.id, layers.macs, strict=True))
    found = {}
    for group in fusion.groups:
        rows = tuple(row for row in map(row_id, group.nodes) if row in macs)
        if rows:
            found.update({kernel.name: _carrier(group, rows, macs) for kernel in group.kernels})
    return found
