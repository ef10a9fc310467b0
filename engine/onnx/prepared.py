"""The protobuf of a model that onnx infers shapes on: without weights and old shapes; only its input sizes change."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import onnx
from onnx import checker
from onnx.onnx_cpp2py_export import shape_inference as inference

from engine.graph import InputShape, elements
from engine.onnx.dtypes import NUMBERS, dtype_name
from engine.onnx.graph import VALUE_FIELDS
from engine.onnx.values import Value

log = logging.getLogger(__name__)

MOST_VALUES, MOST_FLOATS = 65_536, 1024
"""Elements of a stored tensor that shape inference may look at: sizes, axes; scales."""
INTEGERS = (onnx.TensorProto.INT64, onnx.TensorProto.INT32)


CRASHING = frozenset(
    {("", "RegexFullMatch"), ("ai.onnx.ml", "DictVectorizer"), ("ai.onnx.ml", "LabelEncoder")}
)
"""Operators with which onnx 1.23 ends the process where the type of an input is not known; all others were tried."""
HIDDEN = "misnomer.hidden"
"""A domain of which onnx knows nothing."""


class PreparedModel:
    """A model whose shapes are inferred again and again."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = onnx.ModelProto()
        self._model.CopyFrom(model)
        self._model.ClearField("metadata_props")
        self._model.ClearField("training_info")
        used = _strip(self._model.graph)
        for domain in used - {each.domain for each in self._model.opset_import} - {"", "ai.onnx"}:
            # A domain without a version is an error to onnx, even where it does not know the domain.
            self._model.opset_import.add(domain=domain, version=1)
        self._inputs = {value.name: value for value in self._model.graph.input}

    def infer(self, inputs: Sequence[InputShape]) -> onnx.GraphProto:
        """The graph with what could be inferred; what contradicts itself is left out."""
        for given in inputs:
            value = self._inputs.get(given.name)
            if value is not None and value.type.WhichOneof("value") in (None, "tensor_type"):
                set_shape(value, given)
        try:
            # Without data propagation: onnx writes out a placeholder per element of every tensor of one dimension,
            # which never ends for a long one. Sizes that are computed are filled in afterwards, node by node.
            inferred = inference.infer_shapes(self._model.SerializeToString(), False, False, False)
        except (inference.InferenceError, checker.ValidationError, RuntimeError, ValueError) as error:
            # It ends with nothing for a contradiction in declared shapes.
            log.info("onnx.shape_inference stopped: %s", error)
            return self._model.graph
        made: onnx.ModelProto = onnx.ModelProto.FromString(inferred)
        return made.graph


def set_shape(value: onnx.ValueInfoProto, given: InputShape) -> None:
    """Make ``value`` a tensor of that shape."""
    tensor = value.type.tensor_type
    tensor.elem_type = NUMBERS.get(given.dtype, tensor.elem_type)
    del tensor.shape.dim[:]
    tensor.shape.SetInParent()
    for size in given.shape:
        tensor.shape.dim.add().dim_value = size


class TypeReader:
    """Types as plain values; equal ones are read once, as protobuf objects take microseconds per field."""

    def __init__(self) -> None:
        self._read: dict[bytes, Value] = {}
        self._written: dict[Value, bytes] = {}

    def read(self, encoded: bytes) -> Value:
        """What a TypeProto says."""
        value = self._read.get(encoded)
        if value is None:
            value = self._read[encoded] = value_of(onnx.TypeProto.FromString(encoded))
        return value

    def write(self, value: Value) -> bytes:
        """A TypeProto of a tensor; without a shape where it is unknown."""
        encoded = self._written.get(value)
        if encoded is None:
            proto = onnx.helper.make_tensor_type_proto(NUMBERS.get(value.dtype, 0), value.shape)
            encoded = self._written[value] = proto.SerializeToString()
        return encoded


def value_of(type: onnx.TypeProto) -> Value:
    """Shape and dtype; a shape only where every size is a number."""
    kind = type.WhichOneof("value")
    if kind != "tensor_type":
        return Value(None, (kind or "").removesuffix("_type").removesuffix("_tensor"))
    tensor = type.tensor_type
    dtype = dtype_name(tensor.elem_type) if tensor.elem_type else ""
    if not tensor.HasField("shape"):
        return Value(None, dtype)
    sizes = []
    for dim in tensor.shape.dim:
        if not dim.HasField("dim_value") or dim.dim_value < 0:
            return Value(None, dtype)
        sizes.append(dim.dim_value)
    return Value(tuple(sizes), dtype)


def _strip(graph: onnx.GraphProto) -> set[str]:
    """Drop everything that shape inference does not read, or that was true of other sizes; the domains of its nodes."""
    waiting = [graph]
    domains: set[str] = set()
    while waiting:
        current = waiting.pop()
        for field in ("value_info", "quantization_annotation", "metadata_props", "doc_string"):
            current.ClearField(field)
        for output in current.output:
            if output.type.HasField("tensor_type"):
                output.type.tensor_type.ClearField("shape")
        if current is not graph:
            for value in current.input:
                if value.type.HasField("tensor_type"):
                    value.type.tensor_type.ClearField("shape")
        for tensor in current.initializer:
            _strip_tensor(tensor)
        for node in current.node:
            if (node.domain, node.op_type) in CRASHING:
                node.domain = HIDDEN
            domains.add(node.domain)
            node.ClearField("metadata_props")
            node.ClearField("doc_string")
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.TENSOR:
                    _strip_tensor(attribute.t)
                elif attribute.type == onnx.AttributeProto.GRAPH:
                    waiting.append(attribute.g)
                elif attribute.type == onnx.AttributeProto.GRAPHS:
                    waiting.extend(attribute.graphs)
    return domains


def _strip_tensor(tensor: onnx.TensorProto) -> None:
    tensor.ClearField("doc_string")
    is_external = tensor.data_location == onnx.TensorProto.EXTERNAL
    most = MOST_VALUES if tensor.data_type in INTEGERS else MOST_FLOATS
    if is_external or elements(tuple(tensor.dims)) > most:
        for field in (*VALUE_FIELDS, "external_data", "data_location"):
            tensor.ClearField(field)
