"""An ONNX file as it was opened: the graph without its large tensors, and where these are."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import onnx

from engine.errors import LoadError
from engine.onnx.graph import Graph, Location, StoredTensor
from engine.onnx.reading import graph_of


@dataclass
class Document:
    """``model`` holds no values of tensors above ``KEPT_BYTES``: its initializers keep name, type and shape.

    The values are found through ``locations``: by value name, in this file or in its external data.
    """

    path: Path
    model: onnx.ModelProto
    graph: Graph
    locations: dict[str, Location] = field(default_factory=dict)

    @property
    def opset(self) -> int:
        """Version of the standard operators; 1 where the file does not say."""
        return next((each.version for each in self.model.opset_import if each.domain in ("", "ai.onnx")), 1)

    @property
    def stored(self) -> dict[str, StoredTensor]:
        return self.graph.stored

    def with_model(self, model: onnx.ModelProto) -> Document:
        """The same file with an edited graph."""
        return Document(self.path, model, graph_of(model), self.locations)


def open_document(path: Path) -> Document:
    """Raises LoadError for a file that is no ONNX model, is damaged, or whose external data cannot be used."""
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:
        raise LoadError(f"{path.name} is no ONNX model that can be read: {error}", file=str(path)) from error
    return Document(path, model, graph_of(model))
