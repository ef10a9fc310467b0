"""The ways to measure an open model, each in the setting that it asks for; what server and CLI call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Event
from typing import TypeVar
from weakref import WeakKeyDictionary

import msgspec

from engine.configuration import Configuration
from engine.errors import EngineError
from engine.graph import InputSpec
from engine.guard import check_memory
from engine.latency import comparison
from engine.latency.backend import Backend, Ready, backend_of
from engine.latency.circumstances import circumstances, machine_flags
from engine.latency.collector import no_collection
from engine.latency.noise import reference_flags, sample_flags
from engine.latency.quiet import wait_until_quiet
from engine.latency.reference import Reference
from engine.latency.sampler import Report, Samples, sample, single, warm_up
from engine.latency.stopping import LIMITS
from engine.measurement import (
    Comparison,
    Flag,
    LayerTimes,
    Measurement,
    MemoryReadings,
    OpTimes,
    RuntimeOptions,
    Tier,
)
from engine.open_model import OpenModel

T = TypeVar("T")

WARMUPS_BUILT, WARMUPS_SHAPE = 3, 2
"""Passes before the first sample after the weights were allocated and afterwards: page faults end with the third."""

_DEFAULTS = RuntimeOptions()
_first: WeakKeyDictionary[OpenModel, tuple[Configuration, RuntimeOptions | None, float]] = WeakKeyDictionary()
"""What ran last in each model, how, and its first pass."""


def measure(
    model: OpenModel,
    configuration: Configuration,
    tier: Tier,
    threads: int = 0,
    *,
    stop: Event,
    report: Report = lambda samples_s, delay_s: None,
    reference_best_s: float | None = None,
    when_quiet: bool = False,
    progress: Callable[[str], None] = lambda what: None,
    runtime: RuntimeOptions = _DEFAULTS,
) -> Measurement:
    """End-to-end wall time of the forward pass; ``threads`` 0 is the framework's default.

    ``report`` gets samples and run-queue delays as they come, at most four times a second; ``progress`` sentences about
    what happens before. Both are called between two samples, in another thread than the caller's.
    Raises CancelledError soon after ``stop`` is set, between two passes; the errors of ``Backend.ready``; LayerError
    for a forward pass that raises.
    """
    backend, configuration = backend_of(model, threads, runtime), _complete(model, configuration)
    check_memory(model, configuration, stop)

    def work() -> Measurement:
        if when_quiet:
            # Its readings are of the time when the machine was not quiet.
            wait_until_quiet(backend.reference(reference_best_s), stop, progress)
        reference = backend.reference(reference_best_s)
        built = not backend.has_run(configuration)
        if built:
            progress(f"Building {model.info.name}")
        with backend.ready(configuration, stop) as ready, no_collection():
            return _measurement(backend, configuration, tier, ready, reference, built, stop, report)

    return _explained(backend, (configuration,), stop, lambda: backend.in_setting(stop, work))


def compare(
    model: OpenModel,
    configuration: Configuration,
    baseline: Configuration,
    threads: int = 0,
    *,
    stop: Event,
    reference_best_s: float | None = None,
    runtime: RuntimeOptions = _DEFAULTS,
) -> Comparison:
    """Both configurations timed in alternation on the same weights. Raises as ``measure`` does."""
    backend = backend_of(model, threads, runtime)
    configuration, baseline = _complete(model, configuration), _complete(model, baseline)
    for each in (configuration, baseline):
        check_memory(model, each, stop)
    _first.pop(model, None)

    def work() -> Comparison:
        reference = backend.reference(reference_best_s)
        return comparison.compare(backend, configuration, baseline, reference, stop)

    return _explained(backend, (configuration, baseline), stop, lambda: backend.in_setting(stop, work))


def layer_times(
    model: OpenModel,
    configuration: Configuration,
    threads: int,
    stop: Event,
    runtime: RuntimeOptions = _DEFAULTS,
) -> LayerTimes:
    """Where the time goes, layer by layer. Raises as ``measure`` does."""
    backend = backend_of(model, threads, runtime)
    return _in_own_setting(backend, configuration, stop, backend.layer_times)


def op_times(
    model: OpenModel,
    configuration: Configuration,
    threads: int,
    stop: Event,
    runtime: RuntimeOptions = _DEFAULTS,
) -> OpTimes:
    """The time of every executed operation. Raises as ``measure`` does."""
    backend = backend_of(model, threads, runtime)
    return _in_own_setting(backend, configuration, stop, backend.op_times)


def memory_readings(
    model: OpenModel,
    configuration: Configuration,
    threads: int,
    stop: Event,
    runtime: RuntimeOptions = _DEFAULTS,
) -> MemoryReadings:
    """Views of the forward pass's peak memory: every thread has scratch of its own. Raises as ``measure`` does.

    In the caller's thread, which should be the main one.
    """
    backend, configuration = backend_of(model, threads, runtime), _complete(model, configuration)
    check_memory(model, configuration, stop)
    return _explained(backend, (configuration,), stop, lambda: backend.memory_readings(configuration, stop))


def _in_own_setting(
    backend: Backend, configuration: Configuration, stop: Event, work: Callable[[Configuration, Event], T]
) -> T:
    configuration = _complete(backend.model, configuration)
    check_memory(backend.model, configuration, stop)
    return _explained(
        backend,
        (configuration,),
        stop,
        lambda: backend.in_setting(stop, lambda: work(configuration, stop)),
    )


def _measurement(
    backend: Backend,
    configuration: Configuration,
    tier: Tier,
    ready: Ready,
    reference: Reference,
    built: bool,
    stop: Event,
    report: Report,
) -> Measurement:
    """In the measuring thread, with the model ready."""
    taken = circumstances(backend.settings(), backend.framework())
    passes = WARMUPS_BUILT if built else WARMUPS_SHAPE
    warmups = warm_up(ready.forward, passes, LIMITS[tier].cap_s, stop, ready.undo)
    known = _first.get(backend.model)
    again = known is not None and known[:2] == (configuration, backend.runtime)
    first_s = known[2] if known is not None and again else warmups[0]
    _first[backend.model] = (configuration, backend.runtime, first_s)
    if min(warmups) > LIMITS[tier].cap_s:
        samples = single(warmups[-1])
        warmups = warmups[:1]
    else:
        undo = ready.undo if ready.changes else None
        samples = sample(ready.forward, tier, min(warmups), reference, stop, report, undo=undo)
    flags = _flags(samples, reference, backend) + ready.flags
    if samples.stop_reason != "single" and tier != "live":
        found = ready.denormals_flag(min(samples.samples_s), stop)
        flags += (found,) if found is not None else ()
    return Measurement(
        configuration=configuration,
        tier=tier,
        threads=backend.threads,
        samples_s=samples.samples_s,
        stop_reason=samples.stop_reason,
        device=backend.device,
        dtype=ready.dtype,
        batch=batch_of(backend.model.specs, configuration),
        cpu_s=tuple(samples.cpu_s),
        delay_s=tuple(samples.delay_s),
        forwards_per_sample=samples.forwards,
        first_s=first_s,
        warmups=len(warmups),
        reference_s=tuple(reference.readings),
        reference_best_s=reference.best_s,
        flags=flags,
        circumstances=taken,
        runtime=backend.runtime,
    )


def _flags(samples: Samples, reference: Reference, backend: Backend) -> tuple[Flag, ...]:
    own: tuple[Flag, ...]
    if samples.stop_reason == "single":
        own = (Flag("cold", "one pass takes longer than the time there is for measuring"),)
    else:
        own = sample_flags(samples.walls_s, samples.cpu_s, samples.delay_s, backend.threads)
        own += reference_flags(reference.readings, reference.best_s)
    used = backend.threads_used()
    if used != backend.threads:
        own += (Flag("threads", f"{backend.threads} were set, and {used} by forward()"),)
    return own + machine_flags(used)


def _complete(model: OpenModel, configuration: Configuration) -> Configuration:
    return msgspec.structs.replace(configuration, inputs=model.complete(configuration.inputs))


def batch_of(specs: Sequence[InputSpec], configuration: Configuration) -> int | None:
    """Size of the dimension that the inputs' specs call batch; None where none does."""
    for spec, given in zip(specs, configuration.inputs, strict=True):
        for dim, size in zip(spec.dims, given.shape, strict=False):
            if dim.symbol == "batch" or dim.label == "batch":
                return size
    return None


def _explained(
    backend: Backend, configurations: Sequence[Configuration], stop: Event, work: Callable[[], T]
) -> T:
    """``work()``; what the model's own forward pass raises becomes an EngineError that says where."""
    try:
        return work()
    except EngineError:
        raise
    except (Exception, SystemExit) as error:
        backend.explain(error, configurations, stop)
        raise
