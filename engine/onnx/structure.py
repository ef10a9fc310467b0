"""What is known of an ONNX model before its input sizes are: layers, parameters, and what each node reads of them.

Every node of a forward pass has a plan. What a runtime computes once when it loads the model (the transpose of a
weight) has none; the weight belongs to the node that reads the result.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from engine.onnx.computed import SIZES, computed, scoped
from engine.onnx.document import Document
from engine.onnx.graph import Array, Graph, Node
from engine.onnx.lifetimes import Schedule, is_view
from engine.onnx.modules import ModuleTable
from engine.onnx.parameters import SAME_TENSOR, Tensors, Values, owner
from engine.onnx.slots import slot_of
from engine.results import SharedParameter
from engine.totals import Held

LOOKUPS = frozenset({"Gather", "GatherElements", "GatherND", "GatherBlockQuantized"})
"""Operators that read as many elements of their first input as they write."""
KIND = "pkg.torch.export.graph_signature.InputSpec.kind"
"""Where torch.export's exporter says what a tensor is."""


@dataclass(slots=True)
class Plan:
    """What is known of one node before any size is."""

    node: Node
    id: str
    label: str
    read: tuple[str, ...]
    """Parameters that it reads, by stored name."""
    params: int
    weight_bytes: int
    shared: bool
    operands: tuple[str, ...]
    """Inputs whose shapes are shown: not axes, sizes and the like."""
    distinct: tuple[str, ...]
    stored_bytes: dict[str, int]
    """Of the inputs that are stored tensors (in whatever layout): what it takes to read them."""
    weight_at: dict[int, str]
    """Input position → the parameter that it is, in whatever layout; ``""`` for one that is made of parameters."""
    inside: str
    """Path of the node whose body this one is in; empty in the main graph."""
    is_view: bool
    is_size: bool
    is_lookup: bool
    bodies: dict[str, GraphPlan] = field(default_factory=dict)


@dataclass(slots=True)
class GraphPlan:
    """The nodes of a graph or body that run in a forward pass, and the lifetimes of their values."""

    plans: list[Plan]
    schedule: Schedule
    carried: tuple[str, ...] = ()
    """Of a body: the values that one pass hands to the next."""


class Structure:
    """What does not depend on the input sizes; made once per set of edits."""

    def __init__(self, document: Document, values: Values = lambda name: None) -> None:
        """``values`` reads a stored tensor, or gives None: it tells masks from weights where names do not."""
        self.document = document
        graph = document.graph
        told = scoped(graph)
        self._computed = computed(told)
        kinds = {
            info.name: entry.value
            for info in document.model.graph.value_info
            for entry in info.metadata_props
            if entry.key == KIND
        }
        self.tensors = Tensors(told, self._computed, kinds, values)
        self.params = self.tensors.parameters()
        self.buffers = self.tensors.buffers()
        nodes = [node for node in graph.walk() if node.name not in self._computed.once_names]
        self._read = {
            node.name: tuple(
                [use.name for use in self.tensors.uses.get(node.name, ()) if use.name in self.params]
            )
            for node in nodes
        }
        self._readers = Counter(name for names in self._read.values() for name in names)
        self.has_bodies = any(node.subgraphs for node in nodes)
        written = {name for names in self.tensors.in_attributes.values() for name in names}
        uncounted = self.tensors.shifted | self.tensors.packed.keys() | written
        self.countable = tuple([name for name in self.params if name not in uncounted])
        """Parameters among the file's tensors of which a stored 0 is the number 0."""
        self.unread = tuple([name for name in self.params if not self._readers[name]])
        self.modules = ModuleTable(document, nodes, self._read, self.params, self.unread)
        self.plan = self._graph_plan(graph, told, {})
        self.held = Held(
            params=sum([each.elements for each in self.params.values()]),
            trainable=sum([each.elements for each in self.params.values()]),
            buffers=sum([math.prod(each.shape) for each in self.buffers.values()]),
            weight_bytes=sum([each.bytes for each in self.params.values()]),
        )
        self.shared = tuple(self._shared(nodes))
        self.owners = self._owners(nodes)

    def _graph_plan(
        self, graph: Graph, told: Graph, around: Mapping[str, Array], control: Node | None = None
    ) -> GraphPlan:
        """``told`` is the same graph with values of one name told apart; ``around`` has constants of outer graphs."""
        inside = control.path if control is not None else ""
        constants = {**around, **graph.constants} if around else graph.constants
        plans = [
            self._plan(node, apart, inside, constants)
            for node, apart in zip(graph.nodes, told.nodes, strict=True)
            if node.name not in self._computed.once_names
        ]
        carried: tuple[str, ...] = ()
        if control is not None and control.op_type == "Loop":
            carried = graph.outputs[1 : len(graph.inputs) - 1]
        elif control is not None and control.op_type == "Scan":
            scanned = control.attributes.get("num_scan_inputs")
            carried = graph.outputs[: max(len(graph.inputs) - scanned, 0)] if isinstance(scanned, int) else ()
        return GraphPlan(plans, Schedule.of(graph, self._computed, constants), carried)

    def _plan(self, node: Node, told: Node, inside: str, constants: Mapping[str, Array]) -> Plan:
        known = self._computed
        read = self._read[node.name]
        names = dict(zip(node.inputs, told.inputs, strict=True))
        distinct = tuple([name for name in names if name])
        in_attributes = self.tensors.in_attributes.get(node.name, ())
        return Plan(
            node,
            f"{node.path}:{node.op_type}",
            node.label,
            read,
            sum([self.params[name].elements for name in read]),
            sum([self.params[name].bytes for name in read]),
            any(self._readers[name] > 1 for name in read),
            tuple([name for at, name in enumerate(node.inputs) if self._is_operand(node, at, names[name])]),
            (*distinct, *in_attributes),
            {name: found for name in distinct if (found := self._bytes_of_stored(names[name])) is not None}
            | {name: self.params[name].bytes for name in in_attributes},
            self._weight_positions(told),
            inside,
            is_view(node, constants),
            bool(node.outputs)
            and (
                node.op_type in SIZES
                or all(name in known.sizes and name not in known.data for name in told.outputs if name)
            ),
            node.op_type in LOOKUPS,
            {
                attribute: self._graph_plan(body, told.subgraphs[attribute], constants, node)
                for attribute, body in node.subgraphs.items()
            },
        )

    def _is_operand(self, node: Node, position: int, name: str) -> bool:
        """Whether an input is data: a weight or an activation rather than a size, an axis or a scalar."""
        if not name:
            return False
        if position and name in self._computed.sizes and slot_of(node, position) == "none":
            return False
        if name not in self._computed.fixed:
            return True
        found = [self.tensors.roles.get(origin.name) for origin in self.tensors.origins(name)]
        return position == 0 or any(role in ("parameter", "buffer") for role in found)

    def _bytes_of_stored(self, name: str) -> int | None:
        """Bytes of the stored tensor that a value is, in whatever layout; None for what is computed from several."""
        node = self._computed.once.get(name)
        if name not in self._computed.fixed or (
            node is not None and name not in self.tensors.stored and node.op_type not in SAME_TENSOR
        ):
            return None
        origins = self.tensors.origins(name)
        return self.tensors.stored[origins[0].name].bytes if len(origins) == 1 else None

    def _weight_positions(self, node: Node) -> dict[int, str]:
        found = {}
        for position, name in enumerate(node.inputs):
            origins = self.tensors.origins(name) if name in self._computed.fixed else ()
            if any(origin.name in self.params for origin in origins):
                first = origins[0]
                found[position] = first.name if len(origins) == 1 and first.direct and first.whole else ""
        return found

    def _shared(self, nodes: list[Node]) -> Iterator[SharedParameter]:
        """Tensors that several layers read, under the names that they have in these."""
        names: dict[str, dict[str, None]] = {}
        for node in nodes:
            for name in self._read[node.name]:
                if self._readers[name] > 1:
                    leaf = name.rpartition(".")[2] if owner(name) else _leaf(node, name)
                    names.setdefault(name, {})[f"{node.path}.{leaf}"] = None
        for name, group in names.items():
            if len(group) > 1:
                yield SharedParameter(tuple(group), self.params[name].elements)

    def _owners(self, nodes: list[Node]) -> dict[str, tuple[str, ...]]:
        """The layers that read each parameter; of one that nothing reads the model."""
        found: dict[str, dict[str, None]] = {name: {"": None} for name in self.unread}
        for node in nodes:
            for name in self._read[node.name]:
                found.setdefault(name, {})[node.path] = None
        return {name: tuple(paths) for name, paths in found.items()}


def _leaf(node: Node, name: str) -> str:
    """What to call a parameter in a layer when its own name does not tell: ``weight``, ``bias``."""
    position = next((at for at, each in enumerate(node.inputs) if each == name), 1)
    return "bias" if position > 1 or node.op_type == "Add" else "weight"
