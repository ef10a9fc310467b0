"""Shapes and dtypes of every value at given input sizes, by onnx.shape_inference on a model without weights."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import shape_inference

from engine.errors import LayerError
from engine.graph import InputShape
from engine.onnx.document import Document
from engine.onnx.dtypes import NUMBERS, dtype_name
from engine.onnx.graph import Graph, Node
from engine.onnx.values import GraphShapes, Shapes, Value


class ShapeEngine:
    """Infers the shapes of one document at one input size after another."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._model = onnx.ModelProto()
        self._model.CopyFrom(document.model)
        del self._model.graph.value_info[:]
        for output in self._model.graph.output:
            if output.type.HasField("tensor_type"):
                output.type.tensor_type.ClearField("shape")

    def infer(self, inputs: Sequence[InputShape]) -> Shapes:
        """Raises LayerError for a node that refuses its inputs, as far as onnx says which."""
        given = {each.name: each for each in inputs}
        for value in self._model.graph.input:
            if value.name in given:
                _set_shape(value, given[value.name])
        try:
            inferred = shape_inference.infer_shapes(self._model, data_prop=True)
        except shape_inference.InferenceError as error:
            raise LayerError(f"The shapes do not fit: {error}", layer="") from error
        main = _graph_shapes(inferred.graph, self._document.graph, None)
        return Shapes(main, unknown=tuple(_unknown(self._document.graph, main)))


def _set_shape(value: onnx.ValueInfoProto, given: InputShape) -> None:
    tensor = value.type.tensor_type
    tensor.elem_type = NUMBERS.get(given.dtype, tensor.elem_type)
    del tensor.shape.dim[:]
    tensor.shape.SetInParent()
    for size in given.shape:
        tensor.shape.dim.add().dim_value = size


def _graph_shapes(proto: onnx.GraphProto, graph: Graph, outer: GraphShapes | None) -> GraphShapes:
    values = {name: Value(each.shape, each.dtype) for name, each in graph.stored.items()}
    for infos in (proto.input, proto.value_info, proto.output):
        for info in infos:
            if info.name not in values:
                values[info.name] = _value(info)
    return GraphShapes(values, dict(graph.constants), outer=outer)


def _value(info: onnx.ValueInfoProto) -> Value:
    tensor = info.type.tensor_type
    dtype = dtype_name(tensor.elem_type) if tensor.elem_type else ""
    if not tensor.HasField("shape"):
        return Value(None, dtype)
    sizes = []
    for dim in tensor.shape.dim:
        if not dim.HasField("dim_value") or dim.dim_value < 0:
            return Value(None, dtype)
        sizes.append(dim.dim_value)
    return Value(tuple(sizes), dtype)


def _unknown(graph: Graph, shapes: GraphShapes) -> list[str]:
    return [node.name for node in graph.nodes if _is_unknown(node, shapes)]


def _is_unknown(node: Node, shapes: GraphShapes) -> bool:
    return any(name and shapes.of(name).shape is None for name in node.outputs)
