"""Sequences whose elements have shapes of their own: which tensor ``SequenceAt`` takes out, by how they were put in.

onnx knows one shape for all elements of a sequence. Exporters write a list of parts of unequal size as a chain of
``SequenceInsert``, and take the parts out again at fixed positions.
"""

from __future__ import annotations

from collections.abc import Mapping

from engine.onnx.graph import Node
from engine.onnx.values import UNKNOWN, GraphShapes, Value

LONGEST = 1024
"""Elements that are followed."""


def taken_out(node: Node, producers: Mapping[str, Node], shapes: GraphShapes) -> Value:
    """The element that a ``SequenceAt`` takes; UNKNOWN where that cannot be told."""
    position = shapes.constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if node.op_type != "SequenceAt" or position is None or position.size != 1:
        return UNKNOWN
    elements = _elements(node.inputs[0], producers, shapes)
    at = int(position.reshape(-1)[0])
    if elements is None or not -len(elements) <= at < len(elements):
        return UNKNOWN
    return shapes.of(elements[at])


def _elements(name: str, producers: Mapping[str, Node], shapes: GraphShapes) -> list[str] | None:
    """The tensors in a sequence, in order; None where that depends on something unknown."""
    inserted: list[tuple[str, int | None]] = []
    while True:
        node = producers.get(name)
        if node is None or len(inserted) > LONGEST:
            return None
        if node.op_type == "SequenceInsert":
            position: int | None = None
            if len(node.inputs) > 2 and node.inputs[2]:
                given = shapes.constant(node.inputs[2])
                if given is None or given.size != 1:
                    return None
                position = int(given.reshape(-1)[0])
            inserted.append((node.inputs[1], position))
            name = node.inputs[0]
        elif node.op_type == "Identity":
            name = node.inputs[0]
        elif node.op_type in ("SequenceEmpty", "SequenceConstruct"):
            elements = list(node.inputs) if node.op_type == "SequenceConstruct" else []
            break
        else:
            return None
    for tensor, position in reversed(inserted):
        if position is None:
            elements.append(tensor)
        else:
            elements.insert(position, tensor)
    return elements
