"""From protobuf messages to engine.onnx.graph: names made unique, constants taken out of Constant nodes."""

from __future__ import annotations

from collections.abc import Iterable

import onnx
from onnx import numpy_helper

from engine.onnx import names
from engine.onnx.graph import Array, Graph, Node, StoredTensor, attribute_value, tensor_facts

KEPT_BYTES = 65_536
"""Values of integer tensors up to this size are kept: sizes, axes, indices."""


def graph_of(model: onnx.ModelProto) -> Graph:
    """The graph of ``model`` with unique node names and layer paths."""
    graph = _graph(model.graph, set())
    names.give_paths(graph)
    return graph


def _graph(proto: onnx.GraphProto, taken: set[str]) -> Graph:
    stored: dict[str, StoredTensor] = {}
    constants: dict[str, Array] = {}
    for tensor in proto.initializer:
        _keep(tensor, tensor.name, stored, constants)
    nodes = []
    for index, node in enumerate(proto.node):
        if node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
            _constant(node, stored, constants)
            continue
        nodes.append(_node(node, index, taken))
    given = [each.name for each in proto.input if each.name not in stored]
    return Graph(nodes, tuple(given), tuple(each.name for each in proto.output), stored, constants)


def _node(proto: onnx.NodeProto, index: int, taken: set[str]) -> Node:
    name = _unique(proto.name or f"{proto.op_type}_{index}", taken)
    node = Node(
        name,
        proto.op_type,
        proto.domain,
        tuple(proto.input),
        tuple(proto.output),
        {each.name: attribute_value(each) for each in proto.attribute},
        metadata={each.key: each.value for each in proto.metadata_props},
    )
    for attribute in proto.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            node.subgraphs[attribute.name] = _graph(attribute.g, taken)
    return node


def _unique(name: str, taken: set[str]) -> str:
    number, unique = 1, name
    while unique in taken:
        number += 1
        unique = f"{name}_{number}"
    taken.add(unique)
    return unique


def _constant(node: onnx.NodeProto, stored: dict[str, StoredTensor], constants: dict[str, Array]) -> None:
    for attribute in node.attribute:
        if attribute.name == "value":
            _keep(attribute.t, node.output[0], stored, constants)
        elif attribute.name in ("value_int", "value_ints", "value_float", "value_floats"):
            array = numpy_helper.to_array(_as_tensor(attribute))
            constants[node.output[0]] = array
            stored[node.output[0]] = StoredTensor(node.output[0], str(array.dtype), array.shape)


def _as_tensor(attribute: onnx.AttributeProto) -> onnx.TensorProto:
    value = attribute_value(attribute)
    is_float = attribute.name in ("value_float", "value_floats")
    kind = onnx.TensorProto.FLOAT if is_float else onnx.TensorProto.INT64
    values: Iterable[float] = value if isinstance(value, tuple) else (value,)
    shape = [len(value)] if isinstance(value, tuple) else []
    return onnx.helper.make_tensor(attribute.name, kind, shape, list(values))


def _keep(
    tensor: onnx.TensorProto, name: str, stored: dict[str, StoredTensor], constants: dict[str, Array]
) -> None:
    facts = tensor_facts(tensor)
    stored[name] = StoredTensor(name, facts.dtype, facts.shape, facts.location)
    if (
        facts.bytes <= KEPT_BYTES
        and tensor.data_location != onnx.TensorProto.EXTERNAL
        and _has_values(tensor)
    ):
        constants[name] = numpy_helper.to_array(tensor)


def _has_values(tensor: onnx.TensorProto) -> bool:
    fields = (
        "raw_data",
        "float_data",
        "int32_data",
        "int64_data",
        "double_data",
        "uint64_data",
        "string_data",
    )
    return any(len(getattr(tensor, each)) for each in fields)
