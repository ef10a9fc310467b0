"""``net.onnx``: data, of which nothing runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import onnx

from engine.contents import shown
from engine.files.digest import sha256
from engine.files.onnx import KNOWN
from engine.onnx.document import Document, open_document
from engine.onnx.names import NAMELESS, model_class
from engine.onnx.session import LoadedOnnx
from engine.results import ModelInfo

UNTOLD = ("model", "onnx")
"""Beginnings of file names that say nothing: ``model.onnx``, ``model_quantized.onnx``."""
OPERATORS = ("QLinear", "ConvInteger", "MatMulInteger", "QGemm", "QAttention", "MatMulNBits")
"""Beginnings of the names of operators that compute on quantised values; the others dequantise first."""


def load(path: Path) -> LoadedOnnx:
    """Raises LoadError as engine.onnx.document.open_document does."""
    document = open_document(path)
    absolute = str(path.absolute())
    is_alone = all(location.file == str(path) for location in document.locations.values())
    info = ModelInfo(
        _name(path, document.model.graph.name),
        absolute,
        "onnx",
        sha256=sha256(path) if is_alone else None,
        class_name=shown(model_class(document.graph, document.model.graph.name)),
        note=" ".join((*_quantised(document), *_domains(document), *_versions(document), *document.notes,
                       *_without_values(document))),
        weights=absolute,
    )  # fmt: skip
    return LoadedOnnx(info, document)


def _name(path: Path, graph: str) -> str:
    """That of the file, unless it says nothing and the graph's does."""
    says_nothing = path.stem.lower().split("_")[0].split("-")[0] in UNTOLD
    return shown(graph, 80) if says_nothing and graph not in NAMELESS else path.stem


def _quantised(document: Document) -> Iterator[str]:
    ops = {node.op_type for node in document.graph.walk()}
    if any(op.startswith(OPERATORS) for op in ops):
        yield "It is quantised: operators compute on integers."
    elif "DequantizeLinear" in ops:
        yield "It is quantised: values are dequantised before each operator (QDQ)."


def _domains(document: Document) -> Iterator[str]:
    # The model's own functions that stay calls have a sentence of their own.
    own = {(each.domain, each.name) for each in document.model.functions}
    custom = Counter(
        node.domain
        for node in document.graph.walk()
        if node.domain not in KNOWN and (node.domain, node.op_type) not in own
    )
    if custom:
        names = ", ".join(f"{shown(name, 60)} ({count:,})" for name, count in custom.most_common(6))
        yield f"Operators of custom domains are not counted, and nothing of them is loaded: {names}."


def _versions(document: Document) -> Iterator[str]:
    known = onnx.defs.onnx_opset_version()
    if document.opset > known:
        yield (
            f"Its operators are those of set {document.opset}; onnx {onnx.__version__} knows sets up to {known}, "
            "so that shapes may stay unknown."
        )


def _without_values(document: Document) -> Iterator[str]:
    missing = document.graph.hollow
    if missing:
        noun = "tensor has" if len(missing) == 1 else "tensors have"
        yield f"{len(missing):,} {noun} no values in the file, so that it cannot be run: {shown(missing[0])}."
