"""What inference needs of a graph at every size, made once: its nodes as protobuf, and which node makes which value."""

from __future__ import annotations

from dataclasses import dataclass, field

import onnx

from engine.onnx.graph import Graph, Node
from engine.onnx.prepared import TypeReader
from engine.onnx.values import GraphShapes, Value


@dataclass
class GraphFacts:
    """Of one graph, whatever the sizes."""

    graph: Graph
    proto: onnx.GraphProto
    nodes: dict[tuple[str, ...], onnx.NodeProto]
    """By outputs."""
    producers: dict[str, Node]
    """By the values that they make."""
    given: dict[str, onnx.ValueInfoProto]
    """Inputs by name, as the file declares them."""
    bodies: dict[tuple[str, str], GraphFacts] = field(default_factory=dict)
    """By (node name, attribute)."""
    encoded: dict[tuple[str, ...], bytes] = field(default_factory=dict)
    """Of the nodes that were asked for, by outputs."""

    def node_bytes(self, node: onnx.NodeProto) -> bytes:
        """``node`` encoded."""
        key = tuple(node.output)
        found = self.encoded.get(key)
        if found is None:
            found = self.encoded[key] = node.SerializeToString()
        return found

    def is_stored(self, name: str) -> bool:
        """Whether the value is written in the file: an initializer or a Constant of this graph."""
        return name in self.graph.stored

    def empty_shapes(self, outer: GraphShapes | None) -> GraphShapes:
        """What is known before anything is inferred: stored tensors."""
        values = {name: Value(each.shape, each.dtype) for name, each in self.graph.stored.items()}
        return GraphShapes(values, dict(self.graph.constants), outer=outer)

    def declared(self, name: str, types: TypeReader) -> Value:
        """What the file says of an input, which may hold at other sizes only; its dtype always does."""
        value = self.given.get(name)
        return types.read(value.type.SerializeToString()) if value is not None else Value(None, "")


def facts_of(graph: Graph, proto: onnx.GraphProto) -> GraphFacts:
    """``proto`` is where ``graph`` was read from."""
    nodes = {tuple(node.output): node for node in proto.node}
    producers = {name: node for node in graph.nodes for name in node.outputs if name}
    facts = GraphFacts(graph, proto, nodes, producers, {value.name: value for value in proto.input})
    for node in graph.nodes:
        found = nodes.get(node.outputs) if node.subgraphs else None
        for attribute in found.attribute if found is not None else ():
            if attribute.name in node.subgraphs:
                facts.bodies[node.name, attribute.name] = facts_of(
                    node.subgraphs[attribute.name], attribute.g
                )
    return facts
