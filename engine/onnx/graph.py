"""A graph of nodes as plain Python: protobuf objects cost microseconds per field, and a tick reads them all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy
import numpy.typing
import onnx
from msgspec import Struct

from engine.graph import Shape
from engine.onnx.dtypes import tensor_bytes

Array: TypeAlias = numpy.typing.NDArray[Any]


class Location(Struct, frozen=True):
    """Where the values of a tensor are: bytes of a file."""

    file: str
    offset: int
    length: int


class StoredTensor(Struct, frozen=True):
    """An initializer or a large constant: what it is, without its values."""

    name: str
    dtype: str
    shape: Shape
    location: Location | None = None
    """None where the values are small and stay in the graph, or are not there."""

    @property
    def bytes(self) -> int:
        return tensor_bytes(self.shape, self.dtype)


@dataclass(slots=True)
class Node:
    """One node. ``name`` is unique within the model; absent optional inputs are ``""``."""

    name: str
    op_type: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    """int, float, str, tuples of these, numpy arrays (small tensors) or StoredTensor; subgraphs are apart."""
    subgraphs: dict[str, Graph] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    path: str = ""
    """The layer that it is, by engine.onnx.names."""

    @property
    def label(self) -> str:
        """The operator for eyes: ``Conv``, ``com.microsoft.Attention``."""
        return self.op_type if self.domain in ("", "ai.onnx") else f"{self.domain}.{self.op_type}"


@dataclass(slots=True)
class Graph:
    """A graph or the body of a control-flow node, in the order in which it is stored (topological)."""

    nodes: list[Node]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    stored: dict[str, StoredTensor]
    """Initializers and tensors of Constant nodes, by value name."""
    constants: dict[str, Array]
    """Values of the small ones among them."""
    hollow: tuple[str, ...] = ()
    """Those whose values are in no file."""

    def walk(self) -> Iterator[Node]:
        """Every node, those of bodies after the node that has them."""
        for node in self.nodes:
            yield node
            for body in node.subgraphs.values():
                yield from body.walk()

    def graphs(self) -> Iterator[Graph]:
        """This graph and every body in it, each before those in it."""
        yield self
        for node in self.nodes:
            for body in node.subgraphs.values():
                yield from body.graphs()


VALUE_FIELDS = (
    "raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data",
)  # fmt: skip
"""Those of a TensorProto that hold its values."""
_FIELDS = (
    ("f", onnx.AttributeProto.FLOAT), ("i", onnx.AttributeProto.INT), ("s", onnx.AttributeProto.STRING),
    ("t", onnx.AttributeProto.TENSOR), ("g", onnx.AttributeProto.GRAPH),
)  # fmt: skip
_LISTS = (
    ("ints", onnx.AttributeProto.INTS), ("floats", onnx.AttributeProto.FLOATS),
    ("strings", onnx.AttributeProto.STRINGS), ("graphs", onnx.AttributeProto.GRAPHS),
)  # fmt: skip


def kind_of(attribute: onnx.AttributeProto) -> int:
    """An ``AttributeProto.AttributeType``; files of the first ONNX versions leave it to the field that is set."""
    if attribute.type:
        return int(attribute.type)
    found = next((kind for field, kind in _FIELDS if attribute.HasField(field)), 0)
    return int(found or next((kind for field, kind in _LISTS if len(getattr(attribute, field))), 0))


def attribute_value(attribute: onnx.AttributeProto) -> Any:
    """An attribute that is neither graph nor tensor, as a plain value; None for what has no such value."""
    kinds = onnx.AttributeProto
    kind = kind_of(attribute)
    if kind == kinds.INT:
        return attribute.i
    if kind == kinds.FLOAT:
        return attribute.f
    if kind == kinds.STRING:
        return attribute.s.decode("utf-8", "replace")
    if kind == kinds.INTS:
        return tuple(attribute.ints)
    if kind == kinds.FLOATS:
        return tuple(attribute.floats)
    if kind == kinds.STRINGS:
        return tuple(each.decode("utf-8", "replace") for each in attribute.strings)
    return None
