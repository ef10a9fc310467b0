"""The ways to measure an open model, each in the setting that its weights ask for; what server and CLI call."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from threading import Event
from typing import TypeVar
from weakref import WeakKeyDictionary

import msgspec
import torch

from engine.configuration import Configuration
from engine.errors import EngineError, InputError, UnsupportedModelError
from engine.graph import InputSpec
from engine.guard import check_memory
from engine.latency import comparison, layers, memory, ops
from engine.latency.circumstances import circumstances, machine_flags
from engine.latency.denormals import denormals_flag
from engine.latency.noise import reference_flags, sample_flags
from engine.latency.quiet import wait_until_quiet
from engine.latency.reference import Reference
from engine.latency.sampler import Report, Samples, sample, single, warm_up
from engine.latency.setting import Setting, in_setting, no_collection
from engine.latency.side_effects import SideEffects
from engine.latency.stopping import LIMITS
from engine.measurement import (
    MAX_THREADS,
    Comparison,
    Flag,
    LayerTimes,
    Measurement,
    MemoryReadings,
    OpTimes,
    Tier,
)
from engine.open_model import OpenModel
from engine.session import RealModel, Session
from engine.trace.explain import first_sentence
from engine.trace.ops import dtype_name
from engine.trace.run import trace

T = TypeVar("T")

WARMUPS_BUILT, WARMUPS_SHAPE = 3, 2
"""Passes before the first sample after the weights were allocated and afterwards: page faults end with the third."""

_first: WeakKeyDictionary[Session, tuple[Configuration, float]] = WeakKeyDictionary()
"""The configuration that ran last in each session, and its first pass."""


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
) -> Measurement:
    """End-to-end wall time of the forward pass; ``threads`` 0 is the framework's default.

    ``report`` gets samples and run-queue delays as they come, at most four times a second; ``progress`` sentences about
    what happens before. Both are called between two samples, in another thread than the caller's.
    Raises CancelledError soon after ``stop`` is set, between two passes; the errors of ``Session.real``; LayerError for
    a forward pass that raises.
    """
    session = _measurable(model)
    configuration, setting = _complete(session, configuration), _setting(session, threads)
    check_memory(session, configuration, stop)

    def work() -> Measurement:
        if when_quiet:
            # Its readings are of the time when the machine was not quiet.
            wait_until_quiet(Reference(setting.threads, reference_best_s), stop, progress)
        reference = Reference(setting.threads, reference_best_s)
        built = not session.has_real_weights
        if built:
            progress(f"Building {session.info.name}")
        with session.real(configuration) as model, torch.inference_mode(), no_collection():
            return _measurement(session, configuration, tier, setting, model, reference, built, stop, report)

    return _explained(session, (configuration,), stop, lambda: in_setting(setting, stop, work))


def compare(
    model: OpenModel,
    configuration: Configuration,
    baseline: Configuration,
    threads: int = 0,
    *,
    stop: Event,
    reference_best_s: float | None = None,
) -> Comparison:
    """Both configurations timed in alternation on the same weights. Raises as ``measure`` does."""
    session = _measurable(model)
    configuration, baseline = _complete(session, configuration), _complete(session, baseline)
    setting = _setting(session, threads)
    for each in (configuration, baseline):
        check_memory(session, each, stop)
    _first.pop(session, None)

    def work() -> Comparison:
        reference = Reference(setting.threads, reference_best_s)
        return comparison.compare(session, configuration, baseline, setting.threads, reference, stop)

    return _explained(session, (configuration, baseline), stop, lambda: in_setting(setting, stop, work))


def layer_times(model: OpenModel, configuration: Configuration, threads: int, stop: Event) -> LayerTimes:
    """Where the time goes, layer by layer. Raises as ``measure`` does."""
    return _in_own_setting(_measurable(model), configuration, threads, stop, layers.layer_times)


def op_times(model: OpenModel, configuration: Configuration, threads: int, stop: Event) -> OpTimes:
    """The time of every executed operation. Raises as ``measure`` does."""
    return _in_own_setting(_measurable(model), configuration, threads, stop, ops.op_times)


def memory_readings(
    model: OpenModel, configuration: Configuration, threads: int, stop: Event
) -> MemoryReadings:
    """Three views of the forward pass's peak memory: every thread has scratch of its own. Raises as ``measure`` does.

    In the caller's thread, which should be the main one: torch's profiler writes an error to stderr in any other. How
    subnormal numbers are treated decides no memory.
    """
    session = _measurable(model)
    configuration, setting = _complete(session, configuration), _setting(session, threads)
    check_memory(session, configuration, stop)
    before = torch.get_num_threads()
    torch.set_num_threads(setting.threads)
    try:
        return _explained(
            session, (configuration,), stop, lambda: memory.memory_readings(session, configuration, stop)
        )
    finally:
        torch.set_num_threads(before)


def _measurable(model: OpenModel) -> Session:
    """Raises UnsupportedModelError for a model that cannot be run here."""
    if not isinstance(model, Session):
        raise UnsupportedModelError(f"{model.info.name} cannot be measured.")
    return model


def _in_own_setting(
    session: Session,
    configuration: Configuration,
    threads: int,
    stop: Event,
    work: Callable[[Session, Configuration, int, Event], T],
) -> T:
    configuration, setting = _complete(session, configuration), _setting(session, threads)
    check_memory(session, configuration, stop)
    return _explained(
        session,
        (configuration,),
        stop,
        lambda: in_setting(setting, stop, lambda: work(session, configuration, setting.threads, stop)),
    )


def _measurement(
    session: Session,
    configuration: Configuration,
    tier: Tier,
    setting: Setting,
    model: RealModel,
    reference: Reference,
    built: bool,
    stop: Event,
    report: Report,
) -> Measurement:
    """In the measuring thread and in inference mode, with the model ready."""
    taken, effects = circumstances(_settings(session, setting)), SideEffects(model)
    passes = WARMUPS_BUILT if built else WARMUPS_SHAPE
    warmups = warm_up(model.forward, passes, LIMITS[tier].cap_s, stop, effects.undo)
    known = _first.get(session)
    first_s = known[1] if known is not None and known[0] == configuration else warmups[0]
    _first[session] = (configuration, first_s)
    if min(warmups) > LIMITS[tier].cap_s:
        samples = single(warmups[-1])
        warmups = warmups[:1]
    else:
        undo = effects.undo if effects.found else None
        samples = sample(model.forward, tier, min(warmups), reference, stop, report, undo=undo)
    flags = _flags(samples, reference, setting.threads)
    if samples.stop_reason != "single" and tier != "live" and not setting.flush:
        found = denormals_flag(model, min(samples.samples_s), setting.threads, stop)
        flags += (found,) if found is not None else ()
    return Measurement(
        configuration=configuration,
        tier=tier,
        threads=setting.threads,
        samples_s=samples.samples_s,
        stop_reason=samples.stop_reason,
        dtype=_dtype(model),
        batch=batch_of(session.specs, configuration),
        cpu_s=tuple(samples.cpu_s),
        delay_s=tuple(samples.delay_s),
        forwards_per_sample=samples.forwards,
        first_s=first_s,
        warmups=len(warmups),
        reference_s=tuple(reference.readings),
        reference_best_s=reference.best_s,
        flags=flags,
        circumstances=taken,
    )


def _flags(samples: Samples, reference: Reference, threads: int) -> tuple[Flag, ...]:
    own: tuple[Flag, ...]
    if samples.stop_reason == "single":
        own = (Flag("cold", "one pass takes longer than the time there is for measuring"),)
    else:
        own = sample_flags(samples.walls_s, samples.cpu_s, samples.delay_s, threads)
        own += reference_flags(reference.readings, reference.best_s)
    used = torch.get_num_threads()
    if used != threads:
        own += (Flag("threads", f"{threads} were set, and {used} by forward()"),)
    return own + machine_flags(used)


def _setting(session: Session, threads: int) -> Setting:
    """Subnormal numbers of random weights are an artefact; those of loaded weights are what the user will meet.

    Raises InputError for a number of threads that cannot be: OpenMP would end the process.
    """
    if not 0 <= threads <= MAX_THREADS:
        raise InputError(
            f"{threads:,} threads are not between 1 and {MAX_THREADS:,}.", hint="0 is torch's own number."
        )
    return Setting(threads or torch.get_num_threads(), flush=session.random_weights)


def _settings(session: Session, setting: Setting) -> dict[str, str]:
    """For the fingerprint and for eyes; in the measuring thread."""
    flushed = setting.flush and torch.set_flush_denormal(True)
    weights = "random, seed 0" if session.random_weights else "as its source makes them"
    return {
        "Threads": str(setting.threads),
        "Subnormal numbers": "flushed to zero" if flushed else "computed",
        "Inputs": "standard normal, seed 0",
        "Weights": weights,
        "Mode": "eager, eval, inference mode",
    }


def _complete(session: Session, configuration: Configuration) -> Configuration:
    return msgspec.structs.replace(configuration, inputs=session.complete(configuration.inputs))


def _dtype(model: RealModel) -> str:
    """Of the parameters, which decides the kernels; of the first input for a model without any."""
    for parameter in model.module.parameters():
        if parameter.is_floating_point():
            return dtype_name(parameter.dtype)
    tensors = [value for value in (*model.args, *model.kwargs.values()) if isinstance(value, torch.Tensor)]
    return dtype_name(tensors[0].dtype) if tensors else "float32"


def batch_of(specs: Sequence[InputSpec], configuration: Configuration) -> int | None:
    """Size of the dimension that the inputs' specs call batch; None where none does."""
    for spec, given in zip(specs, configuration.inputs, strict=True):
        for dim, size in zip(spec.dims, given.shape, strict=False):
            if dim.symbol == "batch" or dim.label == "batch":
                return size
    return None


def _explained(
    session: Session, configurations: Sequence[Configuration], stop: Event, work: Callable[[], T]
) -> T:
    """``work()``; what the model's own forward pass raises becomes the LayerError that a traced pass gives.

    UnsupportedModelError for one that runs when it is traced: it failed when it was repeated.
    """
    try:
        return work()
    except EngineError:
        raise
    except (Exception, SystemExit) as error:
        for configuration in configurations:
            with session.real(configuration) as model:
                again = trace(model.target, model.args, model.kwargs, fast=False, on_meta=False, stop=stop)
            if again.failure is not None:
                raise again.failure from again.cause
        if not _in_forward(error):
            raise
        raise UnsupportedModelError(
            f"{session.info.name} cannot be measured: a repeated forward pass stopped with {type(error).__name__}: "
            f"{first_sentence(error)}",
            hint="A measurement calls forward() many times with the same input.",
        ) from error


def _in_forward(error: BaseException) -> bool:
    """Whether the model raised it, and not what measures it."""
    code = RealModel.forward.__code__
    return any(frame.f_code is code for frame, _ in traceback.walk_tb(error.__traceback__))
