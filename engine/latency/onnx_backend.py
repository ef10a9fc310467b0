"""ONNX models in onnxruntime, with options that are chosen, set explicitly and recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from threading import Event
from typing import TypeVar

import onnx

from engine.configuration import Configuration
from engine.guard import memory_errors
from engine.latency import onnx_layers, onnx_memory
from engine.latency.backend import Backend, Framework, Ready
from engine.latency.measuring_thread import in_own_thread
from engine.latency.onnx_ready import ReadyOnnx, ready
from engine.latency.onnx_reference import onnx_reference
from engine.latency.onnx_sessions import Key, kept, providers, session_of
from engine.latency.reference import Reference
from engine.measurement import ORT_LEVELS, LayerTimes, MemoryReadings, OpTimes, RuntimeOptions
from engine.onnx.run_model import RunModel
from engine.onnx.runtime import onnxruntime
from engine.onnx.session import OnnxSession

T = TypeVar("T")


class OnnxBackend(Backend):
    """Subnormal numbers are computed, as onnxruntime does by default: the weights are those of the file."""

    runtime: RuntimeOptions

    def __init__(self, model: OnnxSession, threads: int, runtime: RuntimeOptions) -> None:
        """Raises UnsupportedModelError where onnxruntime cannot be imported or has no provider for the device."""
        self.model = self._model = model
        self.threads = threads
        self.runtime = runtime
        self.device = runtime.device
        self._providers = providers(runtime.device)
        self._runs: dict[Configuration, RunModel] = {}

    def framework(self) -> Framework:
        return framework()

    def settings(self) -> dict[str, str]:
        return {
            "Threads": str(self.threads),
            "Inter-op threads": "1 (sequential)",
            "Graph optimisation": ORT_LEVELS[self.runtime.level].partition(":")[0],
            "Spinning": "on" if self.runtime.spinning else "off",
            "Execution providers": ", ".join(self._providers),
            "Subnormal numbers": "computed",
            "Inputs": "standard normal, seed 0; integers 0, or as assumed",
            "Weights": "those of the file",
        }

    def reference(self, best_s: float | None) -> Reference:
        return onnx_reference(best_s)

    def in_setting(self, stop: Event, work: Callable[[], T]) -> T:
        return in_own_thread(stop, work)

    def has_run(self, configuration: Configuration) -> bool:
        return kept(self._model, self.key(configuration)) is not None

    @contextmanager
    def ready(self, configuration: Configuration, stop: Event) -> Iterator[Ready]:
        with self.prepared(configuration, stop) as prepared:
            yield prepared

    @contextmanager
    def prepared(self, configuration: Configuration, stop: Event) -> Iterator[ReadyOnnx]:
        """As ``ready``."""
        with memory_errors(self._model.info.name):
            run, key = self.run_model(configuration), self.key(configuration)
            session = session_of(self._model, configuration, run, key, stop)
            with ready(self._model, session, configuration, stop) as prepared:
                yield prepared

    def run_model(self, configuration: Configuration) -> RunModel:
        """What onnxruntime is given; made once."""
        if configuration not in self._runs:
            self._runs[configuration] = self._model.model_for_run(configuration)
        return self._runs[configuration]

    def key(self, configuration: Configuration) -> Key:
        run = self.run_model(configuration)
        return Key(run.model, run.folder, self.threads, self.runtime)

    def layer_times(self, configuration: Configuration, stop: Event) -> LayerTimes:
        return onnx_layers.layer_times(self, configuration, stop)

    def op_times(self, configuration: Configuration, stop: Event) -> OpTimes:
        return onnx_layers.op_times(self, configuration, stop)

    def memory_readings(self, configuration: Configuration, stop: Event) -> MemoryReadings:
        return onnx_memory.memory_readings(self, configuration, stop)

    def explain(self, error: BaseException, configurations: Sequence[Configuration], stop: Event) -> None:
        """What runs raise is explained where they are made."""

    @property
    def session(self) -> OnnxSession:
        return self._model


@lru_cache(1)
def framework() -> Framework:
    """Versions, and the execution providers that there are."""
    runtime = onnxruntime()
    return Framework(
        {
            "onnxruntime": str(runtime.__version__),
            "onnxruntime has": ", ".join(runtime.get_available_providers()),
            "onnx": str(onnx.__version__),
        }
    )
