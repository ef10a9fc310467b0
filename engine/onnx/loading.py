"""``net.onnx``: data, of which nothing runs."""

from __future__ import annotations

from pathlib import Path

from engine.onnx.document import open_document
from engine.onnx.session import LoadedOnnx
from engine.results import ModelInfo


def load(path: Path) -> LoadedOnnx:
    """Raises LoadError as engine.onnx.document.open_document does."""
    document = open_document(path)
    info = ModelInfo(path.stem, str(path.absolute()), "onnx", class_name=document.model.graph.name)
    return LoadedOnnx(info, document)
