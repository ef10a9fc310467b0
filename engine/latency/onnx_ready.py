"""An onnxruntime session with its inputs bound: one call is one run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Event
from typing import Any

from engine.configuration import Configuration
from engine.errors import CancelledError, InputError
from engine.graph import Assumption, InputShape
from engine.latency.backend import Ready
from engine.latency.onnx_sessions import run_error
from engine.measurement import Flag
from engine.onnx.assumed_inputs import assumed_inputs
from engine.onnx.document import Document
from engine.onnx.running import SILENT, made_up, watched
from engine.onnx.runtime import onnxruntime
from engine.onnx.session import OnnxSession
from engine.onnx.weights import every_stored

MOST_TOLD = 3
"""Assumptions that are named in one flag."""
_FLOATS = ("float32", "float16", "float64", "bfloat16")


class ReadyOnnx(Ready):
    """Made by :func:`ready`; every run computes on the same inputs and writes into the same outputs."""

    def __init__(
        self, model: OnnxSession, session: Any, feeds: Mapping[str, Any], dtype: str, stop: Event
    ) -> None:
        """``feeds`` are OrtValues by the names of the inputs."""
        self.dtype = dtype
        self._model = model
        self._session = session
        self._stop = stop
        self._options = onnxruntime().RunOptions()
        self._options.log_severity_level = SILENT
        self._layers: Mapping[str, str] = {}
        self._feeds = feeds
        self._binding = self._bind()

    def end(self) -> None:
        """Ends a run within a node; from any thread."""
        self._options.terminate = True

    def name_layers(self, layers: Mapping[str, str]) -> None:
        """Node name → layer path, for what is said when a run fails."""
        self._layers = layers

    def forward(self) -> None:
        try:
            if self._binding is not None:
                self._session.run_with_iobinding(self._binding, self._options)
            else:
                self._session.run_with_ort_values(self._outputs, self._feeds, self._options)
        except Exception as error:  # onnxruntime's own have no common base
            if self._stop.is_set():
                raise CancelledError() from error
            raise run_error(self._model, self._layers, error) from error

    def _bind(self) -> Any | None:
        """Inputs and outputs bound once: a call then costs 4 µs instead of 10. None for what are no tensors."""
        outputs = self._session.get_outputs()
        self._outputs = [output.name for output in outputs]
        if not all(each.type.startswith("tensor(") for each in (*outputs, *self._session.get_inputs())):
            return None
        binding = self._session.io_binding()
        for name, value in self._feeds.items():
            binding.bind_ortvalue_input(name, value)
        for output in outputs:
            binding.bind_output(output.name, "cpu")
        return binding


@contextmanager
def ready(model: OnnxSession, session: Any, configuration: Configuration, stop: Event) -> Iterator[ReadyOnnx]:
    """``session`` ready to run; what runs ends soon after ``stop`` is set. Raises what OnnxSession.analyze does."""
    document = model.edited(configuration.edits)
    assumed = assumed_inputs(document.graph, model.analyze(configuration, stop=stop).assumptions)
    feeds = _feeds(model, session, model.complete(configuration.inputs), assumed.values)
    made = ReadyOnnx(model, session, feeds, dtype_of(document), stop)
    made.flags = assumed_flags(assumed.open)
    made.name_layers({node.name: node.path for node in document.graph.walk()})
    with watched(stop, made.end):
        yield made


def assumed_flags(left: Sequence[Assumption]) -> tuple[Flag, ...]:
    """That ``left`` depends on the data: the data are made up, and what ran may not be what was counted."""
    if not left:
        return ()
    words = [f"{each.label}: counted with {each.value:,}" for each in left[:MOST_TOLD]]
    if len(left) > MOST_TOLD:
        words.append(f"and {len(left) - MOST_TOLD:,} more")
    return (Flag("assumed", "; ".join(words)),)


def dtype_of(document: Document) -> str:
    """Of most bytes of weights, which decides the kernels; float32 for a model without any."""
    sizes: dict[str, int] = {}
    for stored in every_stored(document.graph):
        sizes[stored.dtype] = sizes.get(stored.dtype, 0) + stored.bytes
    floats = {dtype: size for dtype, size in sizes.items() if dtype in _FLOATS or dtype.endswith("int8")}
    return max(floats or {"float32": 0}, key=lambda dtype: (floats or {"float32": 0})[dtype])


def _feeds(
    model: OnnxSession,
    session: Any,
    given: tuple[InputShape, ...],
    assumed: Mapping[str, Mapping[int, int]],
) -> dict[str, Any]:
    """Raises InputError for an input that is no tensor, UnsupportedModelError for a dtype without numbers."""
    wanted = {each.name: each.type for each in session.get_inputs()}
    for name, type in wanted.items():
        if not type.startswith("tensor("):
            raise InputError(
                f"Input {name!r} of {model.info.name} is a {type}: it cannot be made up to run the model.",
                hint="Models whose inputs are tensors can be measured.",
            )
    return {name: value for name, value in made_up(given, assumed).items() if name in wanted}
