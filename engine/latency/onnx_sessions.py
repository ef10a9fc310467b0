"""onnxruntime sessions of an open model: made with chosen options, kept, and given up before memory is short."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from threading import Event
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from engine.configuration import Configuration
from engine.errors import (
    CancelledError,
    EngineError,
    LayerError,
    LoadError,
    UnsupportedModelError,
)
from engine.guard import Need, NotEnoughMemoryError, free_bytes, require
from engine.measurement import OrtLevel, RuntimeOptions
from engine.onnx.run_model import RunModel
from engine.onnx.running import error_code, failed_node, out_of_memory, quiet_options, sentence, watched
from engine.onnx.runtime import onnxruntime
from engine.onnx.session import OnnxSession
from engine.onnx.weights import every_stored

KEPT = 2
"""What is on the screen and its baseline; each has all weights."""
LOADING, LOADING_APART = 2.6, 1.5
"""Weights are read, and packed as the kernels want them; those in the model's own file are parsed before."""
_LEVELS: dict[OrtLevel, str] = {
    "all": "ORT_ENABLE_ALL",
    "extended": "ORT_ENABLE_EXTENDED",
    "basic": "ORT_ENABLE_BASIC",
    "disable": "ORT_DISABLE_ALL",
}
_PROVIDERS = {"cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}
"""Device → execution provider."""


class Key(NamedTuple):
    """What a session is made for. Sizes that the file leaves open may change within one."""

    model: str | bytes
    folder: str
    threads: int
    options: RuntimeOptions


def devices() -> tuple[str, ...]:
    """Devices whose execution providers this onnxruntime has, ``cpu`` first."""
    available = onnxruntime().get_available_providers()
    return tuple(sorted(device for device, provider in _PROVIDERS.items() if provider in available))


def providers(device: str) -> list[str]:
    """Execution providers for ``device``; the CPU's takes what the first cannot. Raises UnsupportedModelError."""
    available = onnxruntime().get_available_providers()
    provider = _PROVIDERS.get(device, "")
    if provider not in available:
        raise UnsupportedModelError(
            f"This onnxruntime cannot run on {device!r}: it has {', '.join(available)}.",
            hint="Install onnxruntime-gpu for cuda, or measure on the cpu.",
        )
    return list(dict.fromkeys((provider, _PROVIDERS["cpu"])))


def session_options(threads: int, options: RuntimeOptions, folder: str = "") -> Any:
    """SessionOptions with everything set that decides times, also where it is the default."""
    ort = onnxruntime()
    made = quiet_options(folder)
    made.intra_op_num_threads = threads
    made.inter_op_num_threads = 1
    made.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    made.graph_optimization_level = getattr(ort.GraphOptimizationLevel, _LEVELS[options.level])
    made.add_session_config_entry("session.intra_op.allow_spinning", str(int(options.spinning)))
    made.add_session_config_entry("session.inter_op.allow_spinning", str(int(options.spinning)))
    return made


def create(
    model: OnnxSession, configuration: Configuration, run: RunModel, options: Any, device: str, stop: Event
) -> Any:
    """A new InferenceSession of ``configuration``, as ``run``.

    Raises CancelledError soon after ``stop`` is set, NotEnoughMemoryError, LoadError.
    """
    require(Need(loading_bytes(model, configuration, run)), model.info.name)
    if stop.is_set():
        raise CancelledError()
    ort = onnxruntime()
    with watched(stop, lambda: options.set_load_cancellation_flag(True)):
        try:
            return ort.InferenceSession(run.model, options, providers=providers(device))
        except EngineError:
            raise
        except Exception as error:  # onnxruntime's own have no common base
            if stop.is_set():
                raise CancelledError() from error
            raise _load_error(model, error) from error


def loading_bytes(model: OnnxSession, configuration: Configuration, run: RunModel) -> int:
    """Memory at most while a session is made: measured 2.6 × the weights of a file that holds them, 1.5 × else."""
    document = model.edited(configuration.edits)
    apart = isinstance(run.model, bytes) or any(
        stored.location is not None and stored.location.file != str(document.path)
        for stored in every_stored(document.graph)
    )
    return math.ceil(model.weight_bytes_of(configuration) * (LOADING_APART if apart else LOADING))


_sessions: WeakKeyDictionary[OnnxSession, OrderedDict[Key, Any]] = WeakKeyDictionary()


def kept(model: OnnxSession, key: Key) -> Any | None:
    """The session if it is there."""
    return _sessions.get(model, OrderedDict()).get(key)


def session_of(model: OnnxSession, configuration: Configuration, run: RunModel, key: Key, stop: Event) -> Any:
    """The session for ``key``, made if it is not there; the longest unused is given up for it."""
    found = _sessions.setdefault(model, OrderedDict())
    if key not in found:
        while len(found) >= KEPT:
            found.popitem(last=False)
        options = session_options(key.threads, key.options, key.folder)
        found[key] = create(model, configuration, run, options, key.options.device, stop)
    found.move_to_end(key)
    model.runtime_has_weights = True
    return found[key]


def give_up_others(model: OnnxSession, key: Key) -> None:
    """Before a session that is used once: what is neither it nor this one leaves its memory."""
    found = _sessions.get(model, OrderedDict())
    for other in [each for each in found if each != key]:
        del found[other]


# -- what onnxruntime says when it fails -------------------------------------------------------------------------


def run_error(model: OnnxSession, names: Mapping[str, str], error: BaseException) -> EngineError:
    """What stopped a run, by the node that onnxruntime names; ``names`` has their layers."""
    if out_of_memory(error):
        return _memory_error(model)
    node = failed_node(error)
    where = names.get(node, node)
    at = f" at {where}" if where else ""
    return LayerError(
        f"onnxruntime stopped{at} in {model.info.name}: {sentence(error)}", layer=names.get(node, "")
    )


def _load_error(model: OnnxSession, error: BaseException) -> EngineError:
    if out_of_memory(error):
        return _memory_error(model)
    kind = error_code(error)
    message, file = f"onnxruntime cannot load {model.info.name}: {sentence(error)}", str(model.document.path)
    if kind == "NOT_IMPLEMENTED":
        hint = "Kernels exist for some versions of an operator: another operator set may help (onnx.version_converter)."
        return UnsupportedModelError(message, hint=hint, file=file)
    return LoadError(message, hint="Its analysis needs no runtime and goes on without it.", file=file)


def _memory_error(model: OnnxSession) -> EngineError:
    free = f"{free_bytes() / 2**20:,.0f} MiB are free"
    return NotEnoughMemoryError(
        f"{model.info.name} needed more memory than there is; {free}.",
        hint="Close other programs, make the input or the batch smaller.",
    )


SPINS_S = 0.05


def wait_for_spinning(threads: int, options: RuntimeOptions, stop: Event) -> None:
    """Until the pool of a session that has just run has gone to sleep: another's would share its cores.

    Measured with two threads: a pool spins 25 to 34 ms after a run. Raises CancelledError.
    """
    if threads > 1 and options.spinning and stop.wait(SPINS_S):
        raise CancelledError()
