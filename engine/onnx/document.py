"""An ONNX file as it was opened: the graph without its large tensors, and where these are."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import TensorProto

from engine.contents import shown
from engine.errors import LoadError
from engine.files.identify import Foreign, identify
from engine.files.limits import Budget
from engine.files.onnx_external import ExternalFiles
from engine.files.onnx_outline import kept_bytes, outline
from engine.files.regions import DAMAGED, open_file
from engine.onnx.functions import inlined
from engine.onnx.graph import Graph, Location, StoredTensor
from engine.onnx.reading import graph_of, plain_graph
from engine.onnx.tidy import tidy


@dataclass
class Document:
    """``model`` holds no values of large tensors: these have external data, be it in the model's own file.

    Nodes have unique names, functions are inlined, nodes stand in an order in which they can run.
    """

    path: Path
    model: onnx.ModelProto
    graph: Graph
    locations: dict[str, Location] = field(default_factory=dict)
    """Of the main graph's values and of those of bodies whose names are theirs alone. Every graph's own are with its
    ``stored``."""
    notes: tuple[str, ...] = ()
    """Sentences: what was changed to read it."""

    @property
    def opset(self) -> int:
        """Version of the standard operators; 1 where the file does not say."""
        return next((each.version for each in self.model.opset_import if each.domain in ("", "ai.onnx")), 1)

    @property
    def stored(self) -> dict[str, StoredTensor]:
        return self.graph.stored

    def with_model(self, model: onnx.ModelProto) -> Document:
        """The same file with an edited graph, whose nodes keep the names of ``model`` and have no paths yet."""
        graph = plain_graph(model, _Finder(self.path).find)
        return Document(self.path, model, graph, _locations(graph), self.notes)


def open_document(path: Path) -> Document:
    """Raises LoadError for a file that is no ONNX model, is damaged, or whose external data cannot be used."""
    try:
        with open_file(path) as region:
            kind = identify(region)
            if kind != "onnx":
                what = kind.what if isinstance(kind, Foreign) else "no ONNX model"
                hint = kind.advice if isinstance(kind, Foreign) else "Open it as what it is."
                raise LoadError(f"{shown(path.name)} is {what}.", hint=hint)
            content = outline(region, Budget(), ExternalFiles(path).own_name)
        model = _parsed(path, content)
        model, notes = inlined(model)
        told = (*notes, *tidy(model))
        graph = graph_of(model, _Finder(path).find)
        return Document(path, model, graph, _locations(graph), told)
    except LoadError as error:
        if error.file:
            raise
        raise LoadError(_named(path, error.message), hint=error.hint, file=str(path)) from error


def _named(path: Path, message: str) -> str:
    """``message``, which speaks of ``its`` parts, with the name of the file."""
    if not message.startswith("Its "):
        return message
    return f"{shown(path.name)} cannot be opened: its {message.removeprefix('Its ')}"


def _parsed(path: Path, content: bytes) -> onnx.ModelProto:
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except (DecodeError, UnicodeDecodeError) as error:
        raise LoadError(
            f"{shown(path.name)} cannot be read: it is no ONNX model as protobuf reads it.", hint=DAMAGED
        ) from error
    if not model.HasField("graph"):
        raise LoadError(f"{shown(path.name)} holds no graph.", hint=DAMAGED)
    return model


class _Finder:
    """Finds the values of tensors with external data; small ones are read and put into the tensor."""

    def __init__(self, path: Path) -> None:
        self._files = ExternalFiles(path)

    def find(self, tensor: TensorProto, facts: StoredTensor) -> Location | None:
        """Raises LoadError for external data that cannot be used."""
        entries = {each.key: each.value for each in tensor.external_data}
        extent = self._files.extent(facts.name, entries, facts.bytes)
        if facts.dtype == "string" or facts.bytes > kept_bytes(facts.dtype):
            return Location(str(extent.file), extent.offset, extent.length)
        with open_file(extent.file) as region:
            tensor.raw_data = region.read(extent.offset, facts.bytes)
        tensor.data_location = TensorProto.DEFAULT
        del tensor.external_data[:]
        return None


def _locations(graph: Graph) -> dict[str, Location]:
    found: dict[str, Location] = {}
    several: set[str] = set()
    for each in graph.graphs():
        for name, stored in each.stored.items():
            if name in found and each is not graph:
                several.add(name)
            elif stored.location is not None:
                found[name] = stored.location
    return {name: location for name, location in found.items() if name not in several}
