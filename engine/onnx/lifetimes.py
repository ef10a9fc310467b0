"""Which values of a graph are alive when: bytes of activations, by the last node that reads each storage.

A storage lives from the node that makes it to the last node that reads it or a view of it; inputs, weights and what is
computed from these once are no activations. While a node with bodies runs, the live values of the running body are
added to those around it. A loop that runs more than once holds the values that it carries over twice: the ones it reads
and the ones it makes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from engine.onnx.computed import Computed
from engine.onnx.graph import Array, Graph, Node

VIEWS = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"})
"""Operators whose first output is their first input under another shape: no new storage. A transpose is none: ONNX
has no strides. Dropout is one in inference only."""


def is_view(node: Node, constants: Mapping[str, Array]) -> bool:
    """Whether the first output of the node is its first input; a sequence or optional value is passed on as well.

    ``constants`` are small values of the graphs that the node sees: they tell whether a Dropout trains.
    """
    if node.op_type not in VIEWS or node.domain not in ("", "ai.onnx"):
        return False
    if node.op_type != "Dropout" or len(node.inputs) < 3:
        return True
    training, ratio = constants.get(node.inputs[2]), constants.get(node.inputs[1])
    return training is None or not training.any() or (ratio is not None and not ratio.any())


@dataclass(slots=True)
class Step:
    """What one node does to storages. ``writes`` are part of ``makes``: what a body made is no new activation."""

    writes: tuple[str, ...]
    makes: tuple[str, ...]
    frees: tuple[str, ...]


@dataclass
class Schedule:
    """Of one graph: the steps of its nodes, without those that run once. Independent of sizes."""

    steps: list[Step] = field(default_factory=list)

    @classmethod
    def of(cls, graph: Graph, computed: Computed, constants: Mapping[str, Array]) -> Schedule:
        """``constants`` as for is_view."""
        nodes = [node for node in graph.nodes if node.name not in computed.once_names]
        storage: dict[str, str] = {}
        last: dict[str, int] = {}
        made: list[list[str]] = []
        for index, node in enumerate(nodes):
            for name in _read(node):
                if name in storage:
                    last[storage[name]] = index
            made.append(_made(node, storage, constants))
            for name in made[-1]:
                storage[name] = name
                last[name] = index
        for name in graph.outputs:
            if name in storage:
                last[storage[name]] = len(nodes)
        frees: list[list[str]] = [[] for _ in range(len(nodes) + 1)]
        for name, index in last.items():
            frees[index].append(name)
        return cls(
            [
                Step(_written(node, names), tuple(names), tuple(frees[index]))
                for index, (node, names) in enumerate(zip(nodes, made, strict=True))
            ]
        )


def _read(node: Node) -> Collection[str]:
    """Everything that the node reads, inside its bodies too."""
    if not node.subgraphs:
        return node.inputs
    return {*node.inputs, *(name for body in node.subgraphs.values() for name in _read_inside(body))}


def _read_inside(body: Graph) -> set[str]:
    found = set(body.outputs)
    for node in body.nodes:
        found.update(_read(node))
    return found


def _made(node: Node, storage: dict[str, str], constants: Mapping[str, Array]) -> list[str]:
    """Outputs with a storage of their own; a view's is that of its input, and ``storage`` says so."""
    outputs = [name for name in node.outputs if name]
    if not is_view(node, constants) or not outputs or not node.inputs:
        return outputs
    shared = storage.get(node.inputs[0])
    if shared is not None:
        storage[outputs[0]] = shared
    return outputs[1:]


def _written(node: Node, made: list[str]) -> tuple[str, ...]:
    """Of a branch the nodes of the branch have written the results; of a loop those of its last pass.

    What a loop stacks from all its passes is new: the outputs after those that it carries.
    """
    if node.op_type == "If":
        return ()
    body = next(iter(node.subgraphs.values()), None)
    carried = 0
    if node.op_type == "Loop":
        carried = max(len(node.inputs) - 2, 0)
    elif node.op_type == "Scan" and body is not None:
        scanned = node.attributes.get("num_scan_inputs")
        carried = max(len(body.inputs) - scanned, 0) if isinstance(scanned, int) else 0
    # By position among all outputs: one that nobody reads has no name.
    return tuple([name for name in node.outputs[carried:] if name]) if carried else tuple(made)
