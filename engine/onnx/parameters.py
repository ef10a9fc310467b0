"""Which stored tensors are parameters: weights that were trained, rather than sizes, axes and statistics."""

from __future__ import annotations

from typing import Literal, TypeAlias

from engine.onnx.graph import Graph, Node

Role: TypeAlias = Literal["parameter", "buffer", "constant"]

FLOATS = ("float32", "float16", "bfloat16", "float64")


def roles(graph: Graph) -> dict[str, Role]:
    """The role of every stored tensor that a node reads, by value name."""
    found: dict[str, Role] = {}
    for node in graph.walk():
        for position, name in enumerate(node.inputs):
            stored = graph.stored.get(name)
            if stored is None:
                continue
            role = _role(node, position, stored.dtype)
            if found.get(name) != "parameter":
                found[name] = role
    return found


def _role(node: Node, position: int, dtype: str) -> Role:
    if node.op_type == "BatchNormalization" and position in (3, 4):
        return "buffer"
    return "parameter" if dtype in FLOATS else "constant"
