"""An open ONNX model: edits it, infers its shapes, costs its nodes, keeps results."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import NamedTuple

import msgspec

from engine.configuration import Configuration
from engine.edits import Edit
from engine.errors import CancelledError, InputError, LoadError, RealRunRequiredError
from engine.graph import InputShape, InputSpec
from engine.guard import NotEnoughMemoryError, check_memory, need_of, require
from engine.onnx.assembly import build_analysis
from engine.onnx.assumed_inputs import assumed_inputs
from engine.onnx.document import Document
from engine.onnx.edits import EditedDocument, edited
from engine.onnx.inputs import opened_inputs
from engine.onnx.names import parents
from engine.onnx.real_shapes import blanks, needs_run, run_for_shapes
from engine.onnx.run_model import RunModel, run_model
from engine.onnx.save import Wanted, save
from engine.onnx.shapes import NodeError, ShapeEngine, Shapes
from engine.onnx.structure import Structure
from engine.onnx.weights import every_stored, reader
from engine.onnx.zeros import count_zeros
from engine.open_model import FailedAnalysisError, KeptAnalyses, OpenModel
from engine.results import Analysis, ModelInfo
from engine.sparsity import with_zeros

KEPT_STATES = 8
"""Sets of edits of which graph and shapes' start are kept: undo and redo go between them."""
UNDO = "Undo the last edit: without edits the model takes these inputs."


class LoadedOnnx(NamedTuple):
    """What the loader returns."""

    info: ModelInfo
    document: Document


class _State:
    """The document with one set of edits: what does not depend on the input sizes."""

    def __init__(self, document: Document, stop: Event | None = None) -> None:
        """Raises CancelledError when ``stop`` is set."""
        self.document = document
        self.structure = Structure(document, reader(document))
        _check(stop)
        self.shapes = ShapeEngine(document)


class OnnxSession(OpenModel):
    """An open ONNX file."""

    kind = "onnx"
    runtime_has_weights: bool = False
    """Set by whoever makes a runtime load the model: the weights are in memory then."""

    def __init__(self, loaded: LoadedOnnx, inputs: tuple[InputShape, ...] = ()) -> None:
        self.info = loaded.info
        self.document = loaded.document
        self.watch = str(loaded.document.path)
        self._states: OrderedDict[tuple[Edit, ...], _State] = OrderedDict()
        self._kept = KeptAnalyses()
        self._zeros: dict[str, int] | None = None
        self._stamps = _stamps(loaded.document)
        opened = opened_inputs(loaded.document, self._state(()).shapes, inputs)
        self.specs: tuple[InputSpec, ...] = opened.specs
        self.guessed_inputs = opened.guessed
        self.fixed_dtypes = frozenset(
            value.name for value in loaded.document.model.graph.input if value.type.tensor_type.elem_type
        )
        if opened.fixed:
            self.info = msgspec.structs.replace(self.info, fixed_sizes=opened.fixed)

    def by_path(self, edits: tuple[Edit, ...]) -> tuple[Edit, ...]:
        """As OpenModel.by_path says; what is a path is taken as one."""
        nodes = list(self.document.graph.walk())
        paths = {path for node in nodes for path in (node.path, *parents(node.path))}
        named = {node.name: node.path for node in nodes if node.name not in paths}
        return tuple(
            [msgspec.structs.replace(edit, layer=named.get(edit.layer, edit.layer)) for edit in edits]
        )

    def kept(self, configuration: Configuration) -> Analysis | None:
        analysis = self._kept.get(configuration)
        if analysis is not None and self._zeros is not None and analysis.weight_uses is not None:
            analysis = with_zeros(analysis, self._zeros)
            self._kept.put(configuration, analysis)
        return analysis

    def analyze(
        self,
        configuration: Configuration,
        *,
        stop: Event | None = None,
        progress: Callable[[int], None] | None = None,
        fast: bool = True,
    ) -> Analysis:
        """As OpenModel.analyze says."""
        configuration = msgspec.structs.replace(configuration, inputs=self.complete(configuration.inputs))
        known = self.kept(configuration) if fast else None
        if known is not None:
            return known
        state = self._state(configuration.edits, stop)
        _check(stop)
        try:
            shapes = self._shapes(configuration, state, stop)
        except NodeError as error:
            if configuration.edits and self._runs_unedited(configuration, stop):
                error.hint = UNDO
            raise FailedAnalysisError(error, self._partial(configuration, state, error)) from error
        _check(stop)
        analysis = build_analysis(self.info, configuration, state.structure, shapes, follow_weights=True)
        if isinstance(state.document, EditedDocument):
            analysis = _edited(analysis, state.document)
        if self._zeros is not None:
            analysis = with_zeros(analysis, self._zeros)
        if fast:
            self._kept.put(configuration, analysis)
        return analysis

    def _shapes(self, configuration: Configuration, state: _State, stop: Event | None) -> Shapes:
        """Of every value; by a real run where that is allowed and inference leaves blanks."""
        assumptions = dict(configuration.assumptions)
        shapes = state.shapes.infer(configuration.inputs, assumptions, stop=stop)
        graph = state.document.graph
        names = blanks(graph, shapes.main) if shapes.unknown else []
        if names and configuration.allow_real_run:
            totals = build_analysis(self.info, configuration, state.structure, shapes).totals
            require(need_of(self, configuration, totals), self.info.name)
            assumed = assumed_inputs(graph, shapes.assumptions).values
            run = self.model_for_run(configuration, as_bytes=True)._replace(assumed=assumed)
            known = run_for_shapes(run, names, stop or Event(), self.info.name)
            return (
                state.shapes.infer(configuration.inputs, assumptions, known, stop=stop) if known else shapes
            )
        if needs_run(graph, shapes, len(configuration.inputs)):
            first = next(node.path for node in graph.walk() if node.name == shapes.unknown[0])
            weights = self.weight_bytes_of(configuration)
            raise RealRunRequiredError(
                f"The shapes of {self.info.name} cannot be told without running it for real.",
                layer=first,
                details=(
                    f"{len(shapes.unknown):,} of {len(graph.nodes):,} nodes have no known shapes, from {first} on.",
                    f"onnxruntime would read {weights / 2**20:,.0f} MiB of weights and take as long as one"
                    " forward pass, for every size.",
                ),
            )
        return shapes

    def _runs_unedited(self, configuration: Configuration, stop: Event | None) -> bool:
        """Whether the inputs fit the model without its edits."""
        try:
            self._state(()).shapes.infer(configuration.inputs, dict(configuration.assumptions), stop=stop)
        except NodeError:
            return False
        return True

    def _partial(self, configuration: Configuration, state: _State, error: NodeError) -> Analysis | None:
        """The rows before the node that refuses its inputs."""
        if error.shapes is None:
            return None
        found = build_analysis(self.info, configuration, state.structure, error.shapes, until=error.node)
        return _edited(found, state.document) if isinstance(state.document, EditedDocument) else found

    def edited(self, edits: tuple[Edit, ...]) -> Document:
        """The document with ``edits``. Raises InputError for one that does not fit."""
        return self._state(edits).document

    def model_for_run(self, configuration: Configuration, *, as_bytes: bool = False) -> RunModel:
        """What onnxruntime is given to run ``configuration``. Raises InputError for one that does not fit.

        ``as_bytes``: a graph that can be changed, rather than the file where that would do.
        LoadError where the model's files changed.
        """
        self._require_unchanged()
        document = self.edited(configuration.edits)
        remade = document.remade if isinstance(document, EditedDocument) else None
        inputs = self.complete(configuration.inputs)
        return run_model(document, inputs, edited=as_bytes or bool(configuration.edits), remade=remade)

    def save(
        self,
        configuration: Configuration,
        path: str,
        *,
        replace: bool = False,
        fix_sizes: bool = False,
        stop: Event | None = None,
        progress: Callable[[int, int | None, str], None] = lambda done, total, what: None,
    ) -> str:
        """As OpenModel.save says. Raises InputError and LayerError for what cannot be analysed."""
        stop = stop or Event()
        self._require_unchanged()
        inputs = self.complete(configuration.inputs)
        configuration = msgspec.structs.replace(configuration, inputs=inputs)
        try:
            analysis = self.analyze(configuration, stop=stop)
        except FailedAnalysisError as failed:
            raise failed.error from failed.error.__cause__
        document = self.edited(configuration.edits)
        shapes = analysis.output_shapes if len(analysis.output_shapes) == len(document.graph.outputs) else ()
        assumed = assumed_inputs(document.graph, analysis.assumptions).values
        wanted = Wanted(
            document, configuration.edits, inputs, shapes, Path(path), replace, fix_sizes, assumed
        )

        def obstacle() -> str:
            try:
                check_memory(self, configuration, stop)
            except NotEnoughMemoryError as error:
                return error.message
            return ""

        return save(wanted, obstacle, stop, progress)

    def _require_unchanged(self) -> None:
        """Raises LoadError where weights may lie elsewhere by now than the graph says."""
        now = _stamps(self.document)
        changed = next((path for path, stamp in self._stamps.items() if now[path] != stamp), None)
        if changed is not None:
            raise LoadError(
                f"{changed.name} has changed since it was opened.", hint="Open it again.", file=str(changed)
            )

    def _state(self, edits: tuple[Edit, ...], stop: Event | None = None) -> _State:
        found = self._states.get(edits)
        if found is None:
            if edits and self.info.no_edits:
                raise InputError(self.info.no_edits)
            found = _State(edited(self.document, edits, stop) if edits else self.document, stop)
            self._states[edits] = found
        self._states.move_to_end(edits)
        while len(self._states) > KEPT_STATES:
            # The unedited state is compared with again and again, and holds no more than the others.
            oldest = next(each for each in self._states if each)
            del self._states[oldest]
        return found

    def weight_bytes_of(self, configuration: Configuration) -> int:
        """Of all stored tensors, those of bodies too."""
        return sum(stored.bytes for stored in every_stored(self.edited(configuration.edits).graph))

    @property
    def has_real_weights(self) -> bool:
        return self.runtime_has_weights

    @property
    def counts_zeros(self) -> bool:
        return True

    @property
    def zeros(self) -> dict[str, int] | None:
        return self._zeros

    def count_zeros(self, stop: Event) -> Iterator[None]:
        """As OpenModel.count_zeros says; LoadError where the file changed."""
        found: dict[str, int] = {}
        for name, zeros in count_zeros(self.document, self._state(()).structure.countable, stop):
            if name:
                found[name] = zeros
            yield
        self._zeros = found


def _edited(analysis: Analysis, document: EditedDocument) -> Analysis:
    """``analysis`` with what the edits are and which weights they made anew."""
    uses = analysis.weight_uses
    if uses is not None:
        uses = msgspec.structs.replace(uses, remade=tuple(document.remade))
    return msgspec.structs.replace(analysis, edit_lines=document.lines, weight_uses=uses)


def _check(stop: Event | None) -> None:
    if stop is not None and stop.is_set():
        raise CancelledError()


def _stamps(document: Document) -> dict[Path, tuple[int, int] | None]:
    """(time of the last change, bytes) of the model's files; None for one that is not there."""
    found: dict[Path, tuple[int, int] | None] = {}
    for path in {document.path, *(Path(each.file) for each in document.locations.values())}:
        try:
            status = path.stat()
        except OSError:
            found[path] = None
        else:
            found[path] = (status.st_mtime_ns, status.st_size)
    return found
