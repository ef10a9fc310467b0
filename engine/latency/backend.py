"""How one kind of open model is run and timed: what differs between frameworks, behind one interface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from threading import Event
from typing import TYPE_CHECKING, NamedTuple, TypeVar, cast

from engine.configuration import Configuration
from engine.errors import InputError, UnsupportedModelError
from engine.latency.reference import Reference
from engine.measurement import (
    MAX_THREADS,
    Flag,
    LayerTimes,
    MemoryReadings,
    OpTimes,
    RuntimeOptions,
)
from engine.open_model import OpenModel

if TYPE_CHECKING:
    from engine.onnx.session import OnnxSession
    from engine.session import Session

T = TypeVar("T")


class Framework(NamedTuple):
    """What a framework tells of itself and of the processor; the same for the life of the process."""

    facts: dict[str, str]
    """Versions and kernels; label → text."""
    capabilities: Mapping[str, object] = {}
    """Instruction sets it found: name → True, and ``cpu_name`` where it knows."""


class Ready(ABC):
    """A model with its weights and its inputs at one configuration: every pass computes the same."""

    dtype: str
    """Decides the kernels: of the parameters, of the first input where there are none."""
    flags: tuple[Flag, ...] = ()
    """What is to be said against its passes as such."""

    @abstractmethod
    def forward(self) -> object:
        """One forward pass."""

    def undo(self) -> None:  # noqa: B027  nothing to undo is the rule
        """After every pass: back to how the first one left the model, where passes change it."""

    @property
    def changes(self) -> bool:
        """Whether there is something to undo; known after two passes."""
        return False

    def denormals_flag(self, fastest_s: float, stop: Event) -> Flag | None:
        """Whether subnormal numbers slow it down; ``fastest_s`` is its fastest pass. Raises CancelledError."""
        return None


class Backend(ABC):
    """Runs one open model with a number of threads. Made for one measurement."""

    model: OpenModel
    threads: int
    runtime: RuntimeOptions | None = None
    """What it was asked for, where the framework has such options."""
    device: str = "cpu"

    @abstractmethod
    def framework(self) -> Framework:
        """What goes into the circumstances."""

    @abstractmethod
    def settings(self) -> dict[str, str]:
        """What was chosen, for the fingerprint and for eyes; label → text. In the measuring thread."""

    @abstractmethod
    def reference(self, best_s: float | None) -> Reference:
        """The reference kernel; in the measuring thread."""

    @abstractmethod
    def in_setting(self, stop: Event, work: Callable[[], T]) -> T:
        """``work()`` in the measuring thread, with the threads and numbers it asks for; interrupts set ``stop``."""

    @abstractmethod
    def has_run(self, configuration: Configuration) -> bool:
        """Whether the weights are allocated and what runs ``configuration`` is built."""

    @abstractmethod
    def ready(self, configuration: Configuration, stop: Event) -> AbstractContextManager[Ready]:
        """The model ready to run; its passes end soon after ``stop`` is set where the framework can end one.

        Raises InputError for a configuration that does not fit or that memory cannot hold, LoadError where the model
        cannot be built.
        """

    def threads_used(self) -> int:
        """After the passes: others than ``threads`` where the model set them itself. In the measuring thread."""
        return self.threads

    @abstractmethod
    def layer_times(self, configuration: Configuration, stop: Event) -> LayerTimes:
        """Where the time goes, layer by layer; in the measuring thread."""

    @abstractmethod
    def op_times(self, configuration: Configuration, stop: Event) -> OpTimes:
        """The time of every executed operation; in the measuring thread."""

    @abstractmethod
    def memory_readings(self, configuration: Configuration, stop: Event) -> MemoryReadings:
        """Views of a forward pass's peak memory; in the caller's thread."""

    @abstractmethod
    def explain(self, error: BaseException, configurations: Sequence[Configuration], stop: Event) -> None:
        """Raises the EngineError that says what ``error``, out of a forward pass, means; returns where it is ours."""


def default_threads(model: OpenModel) -> int:
    """The number of threads that the model's framework would take by itself."""
    return _kind_of(model).default_threads()


def backend_of(model: OpenModel, threads: int, runtime: RuntimeOptions) -> Backend:
    """What runs ``model``; ``threads`` 0 is the framework's default.

    Raises InputError for a number of threads that cannot be: OpenMP would end the process.
    """
    if not 0 <= threads <= MAX_THREADS:
        raise InputError(
            f"{threads:,} threads are not between 1 and {MAX_THREADS:,}.",
            hint="0 is the framework's own number.",
        )
    return _kind_of(model).make(model, threads or default_threads(model), runtime)


class _Kind(NamedTuple):
    """Imports its framework when it is called."""

    make: Callable[[OpenModel, int, RuntimeOptions], Backend]
    default_threads: Callable[[], int]


def _kind_of(model: OpenModel) -> _Kind:
    if model.kind not in _KINDS:
        raise UnsupportedModelError(f"{model.info.name} cannot be measured.")
    return _KINDS[model.kind]


def _torch(model: OpenModel, threads: int, runtime: RuntimeOptions) -> Backend:
    from engine.latency.torch_backend import TorchBackend

    if runtime.device != "cpu":
        raise UnsupportedModelError(
            f"PyTorch models are measured on the CPU, not on {runtime.device!r}.", hint="Write cpu."
        )
    return TorchBackend(cast("Session", model), threads)


def _torch_threads() -> int:
    import torch

    return torch.get_num_threads()


def _onnx(model: OpenModel, threads: int, runtime: RuntimeOptions) -> Backend:
    from engine.latency.onnx_backend import OnnxBackend

    return OnnxBackend(cast("OnnxSession", model), threads, runtime)


def _onnx_threads() -> int:
    from engine.latency.circumstances import physical_cores

    return physical_cores()


_KINDS: dict[str, _Kind] = {
    "torch": _Kind(_torch, _torch_threads),
    "onnx": _Kind(_onnx, _onnx_threads),
}
"""By OpenModel.kind."""
