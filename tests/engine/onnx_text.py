"""ONNX models written as text for the tests of shapes, and what onnxruntime says of the same ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy
import onnx
from onnx import numpy_helper, parser

from engine.graph import InputShape, Shape
from engine.onnx.document import Document, open_document
from engine.onnx.runtime import onnxruntime
from engine.onnx.shapes import ShapeEngine, Shapes

HEAD = '<ir_version: 8, opset_import: ["" : {opset}, "com.microsoft" : 1]>\n'


def parsed(text: str, weights: Mapping[str, Shape] | None = None, opset: int = 17) -> onnx.ModelProto:
    """``agraph (float[N,3] x) => (y) { y = Relu(x) }``; ``weights`` become float initializers of random values."""
    model = parser.parse_model(HEAD.format(opset=opset) + text)
    generator = numpy.random.default_rng(0)
    for name, shape in (weights or {}).items():
        values = generator.standard_normal(shape, dtype=numpy.float32)
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    return model


def document(model: onnx.ModelProto, folder: Path) -> Document:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return open_document(path)


def shapes_of(
    model: onnx.ModelProto,
    folder: Path,
    inputs: Mapping[str, Shape],
    assumptions: Mapping[str, int] | None = None,
) -> Shapes:
    """Of the model at ``inputs``, whose dtypes are those of the file."""
    opened = document(model, folder)
    given = [InputShape(name, shape, "") for name, shape in inputs.items()]
    return ShapeEngine(opened).infer(given, assumptions)


def run_shapes(path: Path, feeds: Mapping[str, Any]) -> dict[str, Shape]:
    """The shape of every value of the main graph in a run by onnxruntime, without optimisation."""
    runtime = onnxruntime()
    model = onnx.load(path)
    named = {value.name for value in model.graph.output}
    for node in model.graph.node:
        for name in node.output:
            if name and name not in named:
                model.graph.output.append(onnx.ValueInfoProto(name=name))
                named.add(name)
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    folder = str(path.parent)
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    made = session.run(names, dict(feeds))
    return {name: value.shape for name, value in zip(names, made, strict=True) if hasattr(value, "shape")}


def runs(path: Path, feeds: Mapping[str, Any]) -> bool:
    """Whether onnxruntime gets through the model. Its exceptions have no base of their own."""
    try:
        run_shapes(path, feeds)
    except Exception:
        return False
    return True
