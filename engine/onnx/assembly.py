"""From a document and its shapes to the result: rows with their work, totals, coverage, the tree of layers.

Every node of a forward pass is a row. What a runtime computes once when it loads the model (the transpose of a weight)
is none; the weight belongs to the node that reads the result. Nodes that only compute sizes, ``Shape`` and what follows
from it up to ``SIZE_ELEMENTS`` elements, are rows that cost nothing: views hide them (engine.tree.idle_rows).
Nodes of bodies are rows after the node that has them, multiplied by how often their body runs.
"""

from __future__ import annotations

import math
import platform
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

import onnx

from engine.configuration import Configuration
from engine.cost import Work
from engine.graph import Shape
from engine.onnx import translate
from engine.onnx.computed import SIZES, computed
from engine.onnx.document import Document
from engine.onnx.dtypes import tensor_bytes
from engine.onnx.graph import Graph, Node
from engine.onnx.lifetimes import Schedule, is_view
from engine.onnx.modules import ModuleTable
from engine.onnx.parameters import SAME_TENSOR, Tensors, Values, owner, slot_of
from engine.onnx.translate import NodeCall
from engine.onnx.values import GraphShapes, Shapes, Value
from engine.results import (
    Analysis,
    Layers,
    ModelInfo,
    SharedParameter,
    UntouchedParameter,
    WeightUse,
    WeightUses,
)
from engine.totals import CostColumns, Held, coverage_of, totals_of

SIZE_ELEMENTS = 64
"""A node on sizes alone costs nothing up to here; above, it makes data: position indices, a mask."""
LOOKUPS = frozenset({"Gather", "GatherElements", "GatherND", "GatherBlockQuantized"})
"""Operators that read as many elements of their first input as they write."""
CONTROL = frozenset({"If", "Loop", "Scan", "SequenceMap"})
"""Operators whose work is that of their bodies."""
KIND = "pkg.torch.export.graph_signature.InputSpec.kind"

_IDLE = "movement", Work(0, 0, 0, "FLOPs = 0: computes sizes, from shapes alone")
_CONTROL = "movement", Work(0, 0, 0, "FLOPs = 0: runs its body, whose operations have rows of their own")


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
        self._computed = computed(graph)
        kinds = {
            info.name: entry.value
            for info in document.model.graph.value_info
            for entry in info.metadata_props
            if entry.key == KIND
        }
        self.tensors = Tensors(graph, self._computed, kinds, values)
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
        self.countable = tuple(
            [name for name in self.params if name not in self.tensors.shifted | self.tensors.packed.keys()]
        )
        """Parameters of which a stored 0 is the number 0."""
        self.unread = tuple([name for name in self.params if not self._readers[name]])
        self.modules = ModuleTable(document, nodes, self._read, self.params, self.unread)
        self.plan = self._graph_plan(graph)
        self.held = Held(
            params=sum([each.elements for each in self.params.values()]),
            trainable=sum([each.elements for each in self.params.values()]),
            buffers=sum([math.prod(each.shape) for each in self.buffers.values()]),
            weight_bytes=sum([each.bytes for each in self.params.values()]),
        )
        self.shared = tuple(self._shared(nodes))
        self.owners = self._owners(nodes)

    def _graph_plan(self, graph: Graph, control: Node | None = None) -> GraphPlan:
        inside = control.path if control is not None else ""
        plans = [
            self._plan(node, inside) for node in graph.nodes if node.name not in self._computed.once_names
        ]
        carried: tuple[str, ...] = ()
        if control is not None and control.op_type == "Loop":
            carried = graph.outputs[1 : len(graph.inputs) - 1]
        elif control is not None and control.op_type == "Scan":
            scanned = control.attributes.get("num_scan_inputs")
            carried = graph.outputs[: max(len(graph.inputs) - scanned, 0)] if isinstance(scanned, int) else ()
        return GraphPlan(plans, Schedule.of(graph, self._computed), carried)

    def _plan(self, node: Node, inside: str) -> Plan:
        known = self._computed
        read = self._read[node.name]
        distinct = tuple(dict.fromkeys([name for name in node.inputs if name]))
        return Plan(
            node,
            f"{node.path}:{node.op_type}",
            node.label,
            read,
            sum([self.params[name].elements for name in read]),
            sum([self.params[name].bytes for name in read]),
            any(self._readers[name] > 1 for name in read),
            tuple([name for at, name in enumerate(node.inputs) if self._is_operand(node, at, name)]),
            distinct,
            {name: found for name in distinct if (found := self._bytes_of_stored(name)) is not None},
            self._weight_positions(node),
            inside,
            is_view(node),
            bool(node.outputs)
            and (node.op_type in SIZES or all(name in known.sizes for name in node.outputs if name)),
            node.op_type in LOOKUPS,
            {attribute: self._graph_plan(body, node) for attribute, body in node.subgraphs.items()},
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
        names: dict[str, list[str]] = {}
        for node in nodes:
            for name in self._read[node.name]:
                if self._readers[name] > 1:
                    leaf = name.rpartition(".")[2] if owner(name) else _leaf(node, name)
                    full = f"{node.path}.{leaf}"
                    if full not in names.setdefault(name, []):
                        names[name].append(full)
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


def build_analysis(
    model: ModelInfo,
    configuration: Configuration,
    structure: Structure,
    shapes: Shapes,
    *,
    follow_weights: bool = False,
    until: str = "",
) -> Analysis:
    """The result of one configuration.

    ``follow_weights`` adds how each row uses which weight, for the zeros in them. ``until`` is the name of a node of
    the main graph that refuses its inputs: it and what follows have no rows.
    """
    rows = _Rows(structure.document.opset, follow_weights, until)
    peak = rows.add_graph(structure.plan, shapes.main, 1)
    layers = rows.layers()
    untouched = structure.unread
    calls = None
    if structure.has_bodies or until:
        touched = {name for plan, _ in rows.executed for name in plan.read}
        untouched = tuple([name for name in structure.params if name not in touched])
        calls = _module_calls(structure, rows)
    return Analysis(
        model=model,
        configuration=configuration,
        mode=shapes.how,
        totals=totals_of(
            layers, structure.held, sum([structure.params[name].elements for name in untouched]), peak
        ),
        coverage=coverage_of(layers),
        layers=layers,
        modules=structure.modules.columns(calls, frozenset(untouched)),
        assumptions=shapes.assumptions,
        shared=structure.shared,
        untouched=tuple([UntouchedParameter(name, structure.params[name].elements) for name in untouched]),
        output_shapes=tuple(
            [
                value.shape
                for value in map(shapes.main.of, structure.document.graph.outputs)
                if value.shape is not None
            ]
        ),
        environment=environment(),
        weight_uses=WeightUses(tuple(rows.uses(structure)), owners=tuple(structure.owners.items()))
        if follow_weights
        else None,
    )


class _Rows:
    """Columns of rows as they are added, graph by graph."""

    def __init__(self, opset: int, follow_weights: bool, until: str) -> None:
        self.executed: list[tuple[Plan, int]] = []
        self._until = until
        self._opset = opset
        self._follow = follow_weights
        self._works: list[Work] = []
        self._costs = CostColumns()
        self._family: list[str] = []
        self._written: list[int] = []
        self._live: list[int] = []
        self._moved: list[int] = []
        self._inputs: list[tuple[Shape, ...]] = []
        self._outputs: list[tuple[Shape, ...]] = []
        self._dtype: list[str] = []

    def add_graph(self, graph: GraphPlan, shapes: GraphShapes, trips: int, around: int = 0) -> int:
        """Rows of a graph that runs ``trips`` times while ``around`` bytes are alive outside of it.

        Returns the largest number of bytes alive at once, those around included.
        """
        of = shapes.of
        sizes: dict[str, int] = {}
        alive = peak = around
        for plan, step in zip(graph.plans, graph.schedule.steps, strict=True):
            node = plan.node
            if node.name == self._until:
                break
            given = [of(name) for name in node.inputs]
            made = [of(name) for name in node.outputs]
            for name, value in zip(node.outputs, made, strict=True):
                sizes[name] = _bytes(value)
            small = plan.is_size and sum(map(_elements, made)) <= SIZE_ELEMENTS
            if small:
                sizes.update(dict.fromkeys(node.outputs, 0))
            written = sum([sizes[name] for name in step.writes])
            alive += written
            row = len(self.executed)
            self._add(plan, trips, shapes, given, made, sizes, small)
            self._written.append(written * trips)
            inside = alive
            for attribute, body in plan.bodies.items():
                below = shapes.bodies.get((node.name, attribute))
                if below is not None and below.taken:
                    carried = sum([_bytes(below.of(name)) for name in body.carried]) if below.trips > 1 else 0
                    inside = max(inside, self.add_graph(body, below, trips * below.trips, alive + carried))
            # The other results were made inside, and live on when the body's own values are gone.
            alive += sum([sizes[name] for name in step.makes]) - written
            inside = max(inside, alive)
            self._live.insert(row, inside)
            peak = max(peak, inside)
            for name in step.frees:
                alive -= sizes[name]
        return peak

    def _add(
        self,
        plan: Plan,
        trips: int,
        shapes: GraphShapes,
        given: list[Value],
        made: list[Value],
        sizes: dict[str, int],
        small: bool,
    ) -> None:
        node = plan.node
        if small:
            family, work = _IDLE
        elif plan.bodies and node.op_type in CONTROL:
            family, work = _CONTROL
        else:
            family, work = translate.work(
                NodeCall(
                    node,
                    self._opset,
                    tuple([value.shape for value in given]),
                    tuple([value.shape for value in made]),
                    tuple([value.dtype for value in given]),
                    tuple([value.dtype for value in made]),
                    lambda position: shapes.constant(node.inputs[position]),
                )
            )
        self.executed.append((plan, trips))
        self._family.append(family)
        self._costs.add(work, trips)
        if self._follow:
            self._works.append(work)
        costs_nothing = plan.is_view or small or plan.bodies
        self._moved.append(0 if costs_nothing else _moved(plan, shapes, made) * trips)
        values = dict(zip(node.inputs, given, strict=True))
        self._inputs.append(tuple([s for name in plan.operands if (s := values[name].shape) is not None]))
        self._outputs.append(tuple([value.shape for value in made if value.shape is not None]))
        self._dtype.append(made[0].dtype if made else "")

    def layers(self) -> Layers:
        """The rows as columns, in execution order."""
        executed, costs = self.executed, self._costs
        plans = [plan for plan, _ in executed]
        return Layers(
            id=tuple([plan.id for plan in plans]),
            path=tuple([plan.node.path for plan in plans]),
            op=tuple([plan.label for plan in plans]),
            family=tuple(self._family),
            calls=tuple([trips for _, trips in executed]),
            params=tuple([plan.params for plan in plans]),
            shared=tuple([plan.shared for plan in plans]),
            macs=tuple(costs.macs),
            flops=tuple(costs.flops),
            special_ops=tuple(costs.special_ops),
            weight_bytes=tuple([plan.weight_bytes for plan in plans]),
            activation_bytes=tuple(self._written),
            peak_activation_bytes=tuple(self._live),
            bytes_moved=tuple(self._moved),
            input_shapes=tuple(self._inputs),
            output_shapes=tuple(self._outputs),
            dtype=tuple(self._dtype),
            formula=tuple(costs.formula),
        )

    def uses(self, structure: Structure) -> Iterator[tuple[WeightUse, ...]]:
        """Per row, what it reads of which parameter and how many of its MACs multiply an element of it."""
        for (plan, trips), work in zip(self.executed, self._works, strict=True):
            yield tuple(_weight_uses(plan, trips, work, structure))


def _weight_uses(plan: Plan, trips: int, work: Work, structure: Structure) -> Iterator[WeightUse]:
    factors: dict[str, int] = {}
    unknown = ""
    if work.macs and plan.weight_at:
        if work.weighted is None:
            unknown = "how often each weight is used is not known"
        for position, macs in work.weighted or ():
            name = plan.weight_at.get(position)
            if name == "":
                unknown = "the weight is computed, or no parameter"
            elif name is not None:
                factors[name] = factors.get(name, 0) + macs * trips
        if sum(factors.values()) > work.macs * trips:
            unknown = "both factors are weights"
    if unknown:
        yield WeightUse("", 0, unknown=unknown)
        factors = {}
    for name in plan.read:
        elements = structure.params[name].elements
        yield WeightUse(name, elements, elements, factors.get(name, 0))


def _module_calls(structure: Structure, rows: _Rows) -> dict[str, int]:
    """By path how often each module runs: a layer in a body as often as that, a branch not taken never."""
    calls: dict[str, int] = dict.fromkeys(structure.modules.columns().path, 0)
    for plan, trips in rows.executed:
        for path in structure.modules.holders(plan.node.path):
            # The layers around a loop are called once, whatever runs in its body.
            if not plan.inside or path.startswith(f"{plan.inside}."):
                calls[path] = max(calls[path], trips)
    return calls


def _moved(plan: Plan, shapes: GraphShapes, made: list[Value]) -> int:
    """Inputs + weights read + outputs written, each once; a look-up reads of its table what it writes."""
    written = sum([_bytes(value) for value in made])
    total = written
    for at, name in enumerate(plan.distinct):
        stored = plan.stored_bytes.get(name)
        size = _bytes(shapes.of(name)) if stored is None else stored
        total += min(size, written) if plan.is_lookup and at == 0 else size
    return total


def _bytes(value: Value) -> int:
    return tensor_bytes(value.shape, value.dtype) if value.shape is not None else 0


def _elements(value: Value) -> int:
    return math.prod(value.shape) if value.shape is not None else SIZE_ELEMENTS + 1


def _leaf(node: Node, name: str) -> str:
    """What to call a parameter in a layer when its own name does not tell: ``weight``, ``bias``."""
    position = next((at for at, each in enumerate(node.inputs) if each == name), 1)
    return "bias" if position > 1 or node.op_type == "Add" else "weight"


@lru_cache(1)
def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), "onnx": onnx.__version__}


def environment() -> dict[str, str]:
    """Versions that can change a result; no host or user name."""
    versions = dict(_versions())
    runtime = sys.modules.get("onnxruntime")
    if runtime is not None:
        versions["onnxruntime"] = str(getattr(runtime, "__version__", "unknown"))
    versions["platform"] = f"{platform.system()} {platform.machine()}"
    return versions
