"""Which values of a graph are alive when: bytes of activations, by the last node that reads each storage."""

from __future__ import annotations

from engine.onnx.dtypes import tensor_bytes
from engine.onnx.graph import Graph, Node
from engine.onnx.shapes import GraphShapes

VIEWS = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"})
"""Operators whose first output is their first input under another shape: no new storage."""


def is_view(node: Node) -> bool:
    return node.op_type in VIEWS and node.domain in ("", "ai.onnx")


class Lifetimes:
    """Per node of one graph, the bytes it writes and the bytes alive right after it."""

    def __init__(self, graph: Graph, shapes: GraphShapes) -> None:
        storage: dict[str, str] = {}
        last: dict[str, int] = {}
        for index, node in enumerate(graph.nodes):
            for name in node.inputs:
                if name in storage:
                    last[storage[name]] = index
            for number, name in enumerate(node.outputs):
                if is_view(node) and number == 0 and node.inputs:
                    if node.inputs[0] in storage:
                        storage[name] = storage[node.inputs[0]]
                    continue
                storage[name] = name
                last[name] = index
        for name in graph.outputs:
            if name in storage:
                last[storage[name]] = len(graph.nodes)
        self.written: list[int] = []
        self.live: list[int] = []
        self.peak = 0
        ends: dict[int, int] = {}
        alive = 0
        for index, node in enumerate(graph.nodes):
            made = 0
            for name in node.outputs:
                if name and storage.get(name) == name:
                    value = shapes.of(name)
                    size = tensor_bytes(value.shape, value.dtype) if value.shape is not None else 0
                    made += size
                    ends[last[name]] = ends.get(last[name], 0) + size
            alive += made
            self.written.append(made)
            self.live.append(alive)
            self.peak = max(self.peak, alive)
            alive -= ends.pop(index, 0)
