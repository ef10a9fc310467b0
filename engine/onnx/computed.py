"""What of a graph does not depend on the values of its inputs: computed once at load, or from sizes alone.

A node on stored tensors alone (the transpose of a weight, a mask made of constants) runs once, when a runtime loads the
model, and is no part of a forward pass. A node on sizes (``Shape`` → ``Gather`` → ``Concat``) runs in every pass, but
computes nothing of the model's: PyTorch does the same arithmetic in Python. Where it makes a tensor that is as large
as the input says (position indices, a mask), or reads a stored table, it makes data, at every size of the input.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace

from engine.graph import elements
from engine.onnx.graph import Graph, Node

SIZES = frozenset({"Shape", "Size"})
MADE_AS_LARGE = {
    "Range": (0, 1, 2), "ConstantOfShape": (0,), "Expand": (1,), "Tile": (1,), "OneHot": (1,), "Pad": (1,),
    "Slice": (1, 2), "Resize": (2, 3), "Upsample": (1,),
}  # fmt: skip
"""Operators whose output is as large as some inputs say, by the positions of these."""
LARGE = 64
"""Elements of a stored tensor that is a table of data; axes, splits and heads are below."""
RANDOM = frozenset(
    {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli"}
)


def scoped(graph: Graph) -> Graph:
    """``graph`` with values of one name in several bodies told apart by the node that has the body.

    The branches of an If often give the same names to different values. Nodes keep their names; it is ``graph``
    itself where no two graphs share a name.
    """
    times = Counter(name for each in graph.graphs() for name in _defined(each))
    several = {name for name, count in times.items() if count > 1 and name}
    return _renamed(graph, {}, "", several) if several else graph


def _renamed(graph: Graph, around: Mapping[str, str], where: str, several: Set[str]) -> Graph:
    own = {name: f"{name}{where}" for name in _defined(graph) & several}
    names = {**around, **own}

    def told(given: tuple[str, ...]) -> tuple[str, ...]:
        return tuple([names.get(name, name) for name in given])

    nodes = [
        replace(
            node,
            inputs=told(node.inputs),
            outputs=told(node.outputs),
            subgraphs={
                attribute: _renamed(body, names, f" ({node.name}, {attribute})", several)
                for attribute, body in node.subgraphs.items()
            },
        )
        for node in graph.nodes
    ]
    return replace(
        graph,
        nodes=nodes,
        inputs=told(graph.inputs),
        outputs=told(graph.outputs),
        stored={names.get(name, name): stored for name, stored in graph.stored.items()},
        constants={names.get(name, name): array for name, array in graph.constants.items()},
    )


def _defined(graph: Graph) -> set[str]:
    found = {*graph.inputs, *graph.stored}
    for node in graph.nodes:
        found.update(node.outputs)
    return found


@dataclass
class Computed:
    """Of one model, bodies included; node names are unique, and so are the values of different graphs (scoped)."""

    fixed: set[str] = field(default_factory=set)
    """Values that are known before any input is: stored ones and what is computed from these."""
    sizes: set[str] = field(default_factory=set)
    """Values that depend on shapes of other values, and on no value itself."""
    data: set[str] = field(default_factory=set)
    """Of ``sizes``, those that are data all the same: made as large as an input is, or read from a table."""
    varying: set[str] = field(default_factory=set)
    """Of ``sizes``, numbers that are others at other input sizes."""
    once: dict[str, Node] = field(default_factory=dict)
    """By each of its outputs, the node that computes a fixed value."""
    once_names: set[str] = field(default_factory=set)
    """Names of these nodes: they are no part of a forward pass."""


def computed(graph: Graph) -> Computed:
    """What is fixed or a matter of sizes in ``graph`` and its bodies."""
    found = Computed()
    _walk(graph, found, set())
    return found


def _walk(graph: Graph, found: Computed, tables: set[str]) -> None:
    """``tables`` gets the fixed values that are large."""
    found.fixed.update(graph.stored)
    tables.update(name for name, stored in graph.stored.items() if elements(stored.shape) > LARGE)
    for node in graph.nodes:
        for body in node.subgraphs.values():
            _walk(body, found, tables)
        if not _is_plain(node):
            continue
        if _all_in(node, found.fixed):
            _once(node, found)
            if not tables.isdisjoint(node.inputs):
                tables.update(filter(None, node.outputs))
        elif node.op_type in SIZES:
            found.sizes.update(filter(None, node.outputs))
            if node.inputs[0] not in found.sizes or node.inputs[0] in found.data:
                found.varying.update(filter(None, node.outputs))
        elif all(name in found.fixed or name in found.sizes for name in node.inputs if name):
            _of_sizes(node, found, tables)


def _of_sizes(node: Node, found: Computed, tables: Set[str]) -> None:
    """A node that is computed from sizes."""
    outputs = [name for name in node.outputs if name]
    found.sizes.update(outputs)
    sized_by = [node.inputs[at] for at in MADE_AS_LARGE.get(node.op_type, ()) if at < len(node.inputs)]
    if any(name in found.varying for name in sized_by) or any(
        name in found.data or name in tables for name in node.inputs
    ):
        found.data.update(outputs)
    elif any(name in found.varying for name in node.inputs):
        found.varying.update(outputs)


def _once(node: Node, found: Computed) -> None:
    found.once_names.add(node.name)
    for name in node.outputs:
        if name:
            found.fixed.add(name)
            found.sizes.discard(name)
            found.once[name] = node


def _all_in(node: Node, names: Set[str]) -> bool:
    return all(name in names for name in node.inputs if name)


def _is_plain(node: Node) -> bool:
    return bool(any(node.inputs)) and not node.subgraphs and node.op_type not in RANDOM
