"""From protobuf messages to engine.onnx.graph: constants taken out of Constant nodes, values left where they are."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import numpy
import onnx
from onnx import TensorProto, numpy_helper

from engine.contents import shown
from engine.errors import LoadError
from engine.files.limits import MAX_COUNT, MAX_DIMENSIONS
from engine.onnx import names
from engine.onnx.dtypes import dtype_name, tensor_bytes
from engine.onnx.graph import (
    VALUE_FIELDS,
    Array,
    Graph,
    Location,
    Node,
    StoredTensor,
    attribute_value,
    kind_of,
)

CONSTANT_BYTES = 65_536
"""Values of tensors up to this size are kept: sizes, axes, indices."""

Find: TypeAlias = Callable[[TensorProto, StoredTensor], Location | None]
"""Where the values of a tensor with external data are; None where they have been put into the tensor."""


def graph_of(model: onnx.ModelProto, find: Find) -> Graph:
    """The graph of ``model``, whose nodes have names of their own, with layer paths.

    Raises LoadError for a tensor that cannot be what it says, and what ``find`` raises.
    """
    graph = plain_graph(model, find)
    names.give_paths(graph)
    return graph


def plain_graph(model: onnx.ModelProto, find: Find) -> Graph:
    """As graph_of, without the paths."""
    return _graph(model.graph, find)


def tensor_facts(tensor: TensorProto, name: str = "") -> StoredTensor:
    """What a tensor is. Raises LoadError for a shape that memory cannot have."""
    name = name or tensor.name
    shape = tuple(tensor.dims)
    if any(size < 0 for size in shape) or len(shape) > MAX_DIMENSIONS or math.prod(shape) > MAX_COUNT:
        sizes = shown("×".join(map(str, shape[:MAX_DIMENSIONS])), 80)
        raise _damaged(name, f"has the shape {sizes}, which memory cannot have")
    return StoredTensor(name, dtype_name(tensor.data_type), shape)


def array_of(tensor: TensorProto, name: str) -> Array:
    """The values that are in ``tensor``. Raises LoadError where they do not fit its shape."""
    try:
        return numpy_helper.to_array(tensor)
    except Exception as error:  # numpy's and onnx's own, of many kinds
        shape = "×".join(map(str, tensor.dims)) or "scalar"
        dtype = dtype_name(tensor.data_type)
        raise _damaged(name, f"holds values that are no {shape} of {dtype}") from error


def _damaged(name: str, what: str) -> LoadError:
    return LoadError(
        f"Its tensor {shown(name)} {what}.",
        hint="The file is damaged: get it again, or export the model again.",
    )


def _graph(proto: onnx.GraphProto, find: Find) -> Graph:
    stored: dict[str, StoredTensor] = {}
    constants: dict[str, Array] = {}
    hollow = []
    for tensor in proto.initializer:
        if not _keep(tensor, tensor.name, find, stored, constants):
            hollow.append(tensor.name)
    for sparse in proto.sparse_initializer:
        stored[sparse.values.name] = _sparse_facts(sparse, sparse.values.name)
    nodes = []
    for node in proto.node:
        if node.op_type == "Constant" and node.domain in ("", "ai.onnx") and node.output:
            if _constant(node, find, stored, constants):
                continue
        nodes.append(_node(node, find))
    given = [each.name for each in proto.input if each.name not in stored]
    outputs = tuple(each.name for each in proto.output)
    return Graph(nodes, tuple(given), outputs, stored, constants, tuple(hollow))


def _node(proto: onnx.NodeProto, find: Find) -> Node:
    node = Node(
        proto.name,
        proto.op_type,
        proto.domain,
        tuple(proto.input),
        tuple(proto.output),
        {},
        metadata={each.key: each.value for each in proto.metadata_props},
    )
    for attribute in proto.attribute:
        kind = kind_of(attribute)
        if kind == onnx.AttributeProto.GRAPH:
            node.subgraphs[attribute.name] = _graph(attribute.g, find)
        elif kind == onnx.AttributeProto.GRAPHS:
            for index, body in enumerate(attribute.graphs):
                node.subgraphs[f"{attribute.name}[{index}]"] = _graph(body, find)
        elif kind == onnx.AttributeProto.TENSOR:
            node.attributes[attribute.name] = _tensor_value(attribute.t, attribute.name, find)
        else:
            node.attributes[attribute.name] = attribute_value(attribute)
    return node


def _tensor_value(tensor: TensorProto, name: str, find: Find) -> Array | StoredTensor:
    """A tensor that is an attribute: its values where they are few."""
    stored: dict[str, StoredTensor] = {}
    constants: dict[str, Array] = {}
    _keep(tensor, tensor.name or name, find, stored, constants)
    found = next(iter(stored.values()))
    return constants.get(found.name, found)


def _constant(
    node: onnx.NodeProto, find: Find, stored: dict[str, StoredTensor], constants: dict[str, Array]
) -> bool:
    """Take the value out of a Constant node; False where it has none that is known here."""
    name = node.output[0]
    for attribute in node.attribute:
        make = _VALUES.get(attribute.name)
        if attribute.name == "value" and attribute.HasField("t"):
            _keep(attribute.t, name, find, stored, constants)
        elif attribute.name == "sparse_value" and attribute.HasField("sparse_tensor"):
            stored[name] = _sparse_facts(attribute.sparse_tensor, name)
        elif make is not None:
            array = make(attribute)
            dtype = "string" if array.dtype == object else str(array.dtype)
            stored[name] = StoredTensor(name, dtype, array.shape)
            if array.nbytes <= CONSTANT_BYTES:
                constants[name] = array
        else:
            continue
        return True
    return False


_VALUES: dict[str, Callable[[onnx.AttributeProto], Array]] = {
    "value_int": lambda attribute: numpy.array(attribute.i, numpy.int64),
    "value_ints": lambda attribute: numpy.array(attribute.ints, numpy.int64),
    "value_float": lambda attribute: numpy.array(attribute.f, numpy.float32),
    "value_floats": lambda attribute: numpy.array(attribute.floats, numpy.float32),
    "value_string": lambda attribute: numpy.array(attribute.s, object),
    "value_strings": lambda attribute: numpy.array(list(attribute.strings), object),
}


def _sparse_facts(sparse: onnx.SparseTensorProto, name: str) -> StoredTensor:
    dense = TensorProto(data_type=sparse.values.data_type, dims=sparse.dims)
    return tensor_facts(dense, name)


def _keep(
    tensor: TensorProto, name: str, find: Find, stored: dict[str, StoredTensor], constants: dict[str, Array]
) -> bool:
    """Note a tensor and, where they are few, its values; whether these are anywhere."""
    facts = tensor_facts(tensor, name)
    location = find(tensor, facts) if tensor.data_location == TensorProto.EXTERNAL else None
    stored[name] = StoredTensor(name, facts.dtype, facts.shape, location)
    if location is not None:
        return True
    size = tensor_bytes(facts.shape, facts.dtype)
    has_values = any(map(partial(_has, tensor), VALUE_FIELDS))
    if has_values:
        if tensor.HasField("raw_data") and facts.dtype != "string" and len(tensor.raw_data) != size:
            held = f"{len(tensor.raw_data):,} bytes of values, where its shape takes {size:,}"
            raise _damaged(name, f"has {held}")
        if size <= CONSTANT_BYTES:
            constants[name] = array_of(tensor, name)
    return has_values or not size


def _has(tensor: TensorProto, field: str) -> bool:
    return len(getattr(tensor, field)) > 0
