"""An open ONNX model: edits it, infers its shapes, costs its nodes, keeps results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Event
from typing import NamedTuple

from engine.configuration import Configuration
from engine.errors import CancelledError, InputError, LayerError
from engine.graph import InputShape, InputSpec
from engine.onnx.assembly import Structure, build_analysis
from engine.onnx.document import Document
from engine.onnx.inputs import input_specs
from engine.onnx.run_model import RunModel, run_model
from engine.onnx.shapes import ShapeEngine
from engine.open_model import FailedAnalysisError, KeptAnalyses, OpenModel
from engine.results import Analysis, ModelInfo


class LoadedOnnx(NamedTuple):
    """What the loader returns."""

    info: ModelInfo
    document: Document


class OnnxSession(OpenModel):
    """An open ONNX file."""

    kind = "onnx"

    def __init__(self, loaded: LoadedOnnx, inputs: tuple[InputShape, ...] = ()) -> None:
        self.info = loaded.info
        self.document = loaded.document
        self.specs: tuple[InputSpec, ...] = input_specs(loaded.document)
        self.watch = str(loaded.document.path)
        self._structure = Structure(loaded.document)
        self._shapes = ShapeEngine(loaded.document)
        self._kept = KeptAnalyses()

    def kept(self, configuration: Configuration) -> Analysis | None:
        return self._kept.get(configuration)

    def analyze(
        self,
        configuration: Configuration,
        *,
        stop: Event | None = None,
        progress: Callable[[int], None] | None = None,
        fast: bool = True,
    ) -> Analysis:
        """As OpenModel.analyze says."""
        configuration = Configuration(
            self.complete(configuration.inputs), configuration.edits, configuration.assumptions
        )
        known = self.kept(configuration) if fast else None
        if known is not None:
            return known
        if configuration.edits:
            raise InputError(f"{self.info.name} cannot be edited.")
        if stop is not None and stop.is_set():
            raise CancelledError()
        try:
            shapes = self._shapes.infer(configuration.inputs)
        except LayerError as error:
            raise FailedAnalysisError(error, None) from error
        analysis = build_analysis(self.info, configuration, self._structure, shapes)
        if fast:
            self._kept.put(configuration, analysis)
        return analysis

    def model_for_run(self, configuration: Configuration) -> RunModel:
        """What onnxruntime is given to run ``configuration``. Raises InputError for one that does not fit."""
        return run_model(self.document, self.complete(configuration.inputs))

    @property
    def weight_bytes(self) -> int:
        return sum(stored.bytes for stored in self.document.stored.values())

    @property
    def has_real_weights(self) -> bool:
        return False

    @property
    def counts_zeros(self) -> bool:
        return False

    @property
    def zeros(self) -> dict[str, int] | None:
        return None

    def count_zeros(self, stop: Event) -> Iterator[None]:
        return iter(())
