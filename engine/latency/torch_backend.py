"""PyTorch models: modules with allocated weights, called in inference mode."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Event
from typing import TypeVar

import torch

from engine.configuration import Configuration
from engine.errors import UnsupportedModelError
from engine.latency import layers, memory, ops, torch_facts
from engine.latency.backend import Backend, Framework, Ready
from engine.latency.denormals import denormals_flag
from engine.latency.reference import Reference
from engine.latency.setting import Setting, in_setting
from engine.latency.side_effects import SideEffects
from engine.latency.torch_reference import torch_reference
from engine.measurement import Flag, LayerTimes, MemoryReadings, OpTimes
from engine.session import RealModel, Session
from engine.trace.explain import first_sentence
from engine.trace.ops import dtype_name
from engine.trace.run import trace

T = TypeVar("T")


class ReadyModule(Ready):
    """A real module and its arguments; the caller is in inference mode."""

    def __init__(self, model: RealModel, setting: Setting) -> None:
        self.model = model
        self._setting = setting
        self.dtype = _dtype(model)
        self._effects = SideEffects(model)

    def forward(self) -> object:
        return self.model.forward()

    def undo(self) -> None:
        self._effects.undo()

    @property
    def changes(self) -> bool:
        return bool(self._effects.found)

    def denormals_flag(self, fastest_s: float, stop: Event) -> Flag | None:
        if self._setting.flush:
            return None
        return denormals_flag(self.model, fastest_s, self._setting.threads, stop)


class TorchBackend(Backend):
    """Subnormal numbers of random weights are an artefact; those of loaded weights are what the user will meet."""

    def __init__(self, session: Session, threads: int) -> None:
        self.model = self._session = session
        self.threads = threads
        self._setting = Setting(threads, flush=session.random_weights)

    def framework(self) -> Framework:
        return torch_facts.framework()

    def settings(self) -> dict[str, str]:
        flush = self._setting.flush
        flushed = flush and torch.set_flush_denormal(True)
        return {
            "Threads": str(self.threads),
            "Subnormal numbers": "flushed to zero" if flushed else "computed",
            "Inputs": "standard normal, seed 0",
            "Weights": "random, seed 0" if self._session.random_weights else "as its source makes them",
            "Mode": "eager, eval, inference mode",
            "Interop threads": str(torch.get_num_interop_threads()),
        }

    def reference(self, best_s: float | None) -> Reference:
        return torch_reference(self.threads, best_s)

    def in_setting(self, stop: Event, work: Callable[[], T]) -> T:
        return in_setting(self._setting, stop, work)

    def has_run(self, configuration: Configuration) -> bool:
        return self._session.has_real_weights

    @contextmanager
    def ready(self, configuration: Configuration, stop: Event) -> Iterator[Ready]:
        with self._session.real(configuration) as model, torch.inference_mode():
            yield ReadyModule(model, self._setting)

    def threads_used(self) -> int:
        return torch.get_num_threads()

    def layer_times(self, configuration: Configuration, stop: Event) -> LayerTimes:
        return layers.layer_times(self._session, configuration, self.threads, stop)

    def op_times(self, configuration: Configuration, stop: Event) -> OpTimes:
        return ops.op_times(self._session, configuration, self.threads, stop)

    def memory_readings(self, configuration: Configuration, stop: Event) -> MemoryReadings:
        """In the caller's thread, which should be the main one: torch's profiler writes an error to stderr in others.

        How subnormal numbers are treated decides no memory.
        """
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            return memory.memory_readings(self._session, configuration, stop)
        finally:
            torch.set_num_threads(before)

    def explain(self, error: BaseException, configurations: Sequence[Configuration], stop: Event) -> None:
        """What the model's own forward pass raises becomes the LayerError that a traced pass gives.

        UnsupportedModelError for one that runs when it is traced: it failed when it was repeated.
        """
        for configuration in configurations:
            with self._session.real(configuration) as model:
                again = trace(model.target, model.args, model.kwargs, fast=False, on_meta=False, stop=stop)
            if again.failure is not None:
                raise again.failure from again.cause
        if not _in_forward(error):
            return
        raise UnsupportedModelError(
            f"{self._session.info.name} cannot be measured: a repeated forward pass stopped with "
            f"{type(error).__name__}: {first_sentence(error)}",
            hint="A measurement calls forward() many times with the same input.",
        ) from error


def _dtype(model: RealModel) -> str:
    """Of the parameters, which decides the kernels; of the first input for a model without any."""
    for parameter in model.module.parameters():
        if parameter.is_floating_point():
            return dtype_name(parameter.dtype)
    tensors = [value for value in (*model.args, *model.kwargs.values()) if isinstance(value, torch.Tensor)]
    return dtype_name(tensors[0].dtype) if tensors else "float32"


def _in_forward(error: BaseException) -> bool:
    """Whether the model raised it, and not what measures it."""
    code = RealModel.forward.__code__
    return any(frame.f_code is code for frame, _ in traceback.walk_tb(error.__traceback__))
