"""From a document and its shapes to the result: rows with their work, totals, coverage, the tree of layers.

Every node of a forward pass is a row. What a runtime computes once when it loads the model (the transpose of a weight)
is none; the weight belongs to the node that reads the result. Nodes that only compute sizes, ``Shape`` and what follows
from it without making data (engine.onnx.computed), are rows that cost nothing: views hide them (engine.tree.idle_rows).
Nodes of bodies are rows after the node that has them, multiplied by how often their body runs.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from functools import lru_cache

import onnx

from engine.configuration import Configuration
from engine.cost import Work
from engine.graph import Shape
from engine.onnx import translate
from engine.onnx.dtypes import tensor_bytes
from engine.onnx.structure import GraphPlan, Plan, Structure
from engine.onnx.tidy import BODIES
from engine.onnx.translate import NodeCall
from engine.onnx.values import NO_TENSOR, GraphShapes, Shapes, Value
from engine.results import (
    Analysis,
    Layers,
    ModelInfo,
    UntouchedParameter,
    WeightUse,
    WeightUses,
)
from engine.totals import CostColumns, coverage_of, totals_of

_IDLE = "movement", Work(0, 0, 0, "FLOPs = 0: computes sizes, from shapes alone")
_CONTROL = "movement", Work(0, 0, 0, "FLOPs = 0: runs its body, whose operations have rows of their own")


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
        self._written: list[int | None] = []
        self._live: list[int | None] = []
        self._moved: list[int | None] = []
        self._inputs: list[tuple[Shape, ...]] = []
        self._outputs: list[tuple[Shape, ...]] = []
        self._dtype: list[str] = []

    def add_graph(
        self, graph: GraphPlan, shapes: GraphShapes, trips: int, around: int = 0, blind: int = 0
    ) -> int:
        """Rows of a graph that runs ``trips`` times while ``around`` bytes are alive outside of it.

        ``blind`` is how many values are alive there whose size nobody knows: what is alive is not known then.

        Returns the largest number of bytes alive at once, those around included; of a body that never runs, those.
        """
        of = shapes.of
        sizes: dict[str, int] = {}
        unknown: set[str] = set()
        alive = peak = around
        for plan, step in zip(graph.plans, graph.schedule.steps, strict=True):
            node = plan.node
            if node.name == self._until:
                break
            given = [of(name) for name in node.inputs]
            made = [of(name) for name in node.outputs]
            for name, value in zip(node.outputs, made, strict=True):
                size = _bytes(value)
                sizes[name] = size or 0
                if size is None:
                    unknown.add(name)
            if plan.is_size:
                sizes.update(dict.fromkeys(node.outputs, 0))
                unknown.difference_update(node.outputs)
            written = sum([sizes[name] for name in step.writes])
            alive += written
            row = len(self.executed)
            self._add(plan, trips, shapes, given, made)
            self._written.append(None if unknown and unknown.intersection(step.writes) else written * trips)
            inside = alive
            for attribute, body in plan.bodies.items():
                below = shapes.bodies.get((node.name, attribute))
                if below is not None and below.taken:
                    carried = (
                        sum([_bytes(below.of(name)) or 0 for name in body.carried]) if below.trips > 1 else 0
                    )
                    inside = max(
                        inside, self.add_graph(body, below, trips * below.trips, alive + carried, blind)
                    )
            # The other results were made inside, and live on when the body's own values are gone.
            alive += sum([sizes[name] for name in step.makes]) - written
            inside = max(inside, alive)
            if unknown:
                blind += len(unknown.intersection(step.makes))
            self._live.insert(row, None if blind and trips else inside if trips else 0)
            peak = max(peak, inside)
            if unknown:
                blind -= len(unknown.intersection(step.frees))
            for name in step.frees:
                alive -= sizes[name]
        return peak if trips else around

    def _add(
        self,
        plan: Plan,
        trips: int,
        shapes: GraphShapes,
        given: list[Value],
        made: list[Value],
    ) -> None:
        node = plan.node
        if plan.is_size:
            family, work = _IDLE
        elif plan.bodies and node.op_type in BODIES:
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
        costs_nothing = plan.is_view or plan.is_size or plan.bodies
        moved = 0 if costs_nothing else _moved(plan, shapes, made)
        self._moved.append(None if moved is None else moved * trips)
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


def _moved(plan: Plan, shapes: GraphShapes, made: list[Value]) -> int | None:
    """Inputs + weights read + outputs written, each once; a look-up reads of its table what it writes.

    None where one of these has no known shape.
    """
    named = [_bytes(value) for name, value in zip(plan.node.outputs, made, strict=True) if name]
    written = sum([size for size in named if size is not None])
    total = written
    for at, name in enumerate(plan.distinct):
        stored = plan.stored_bytes.get(name)
        size = _bytes(shapes.of(name)) if stored is None else stored
        if size is None:
            return None
        total += min(size, written) if plan.is_lookup and at == 0 else size
    return None if None in named else total


def _bytes(value: Value) -> int | None:
    """Bytes of a tensor; None where nobody knows its shape. What is no tensor holds tensors that count where made."""
    if value.shape is not None:
        return tensor_bytes(value.shape, value.dtype)
    return 0 if value.dtype in NO_TENSOR else None


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
