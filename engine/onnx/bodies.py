"""Control flow: what runs in the bodies of If, Loop and Scan, how often, and with which shapes.

Trip counts and branches that the file fixes are taken from it; others are stated assumptions that the user can set.
A value that a loop carries from trip to trip has one shape, or none that is shown: where it grows, what depends on it
is not counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy
import onnx

from engine.graph import Shape
from engine.onnx.assume import MOST_TRIPS, NO_BOUND, assume_inputs
from engine.onnx.contradictions import NodeError
from engine.onnx.facts import GraphFacts
from engine.onnx.graph import Array, Node
from engine.onnx.values import UNKNOWN, GraphShapes, Value

if TYPE_CHECKING:
    from engine.onnx.propagation import Propagation

BRANCHES = ("else_branch", "then_branch")


def follow(propagation: Propagation, facts: GraphFacts, node: Node, shapes: GraphShapes) -> None:
    """Infer the bodies of ``node`` and its outputs. Raises NodeError for a node in a body that refuses its inputs."""
    if node.op_type == "If":
        _if(propagation, facts, node, shapes)
    elif node.op_type == "Loop":
        _Loop(propagation, facts, node, shapes).run()
    elif node.op_type == "Scan":
        _scan(propagation, facts, node, shapes)
    elif node.op_type == "SequenceMap":
        _sequence_map(propagation, facts, node, shapes)


# -- If --------------------------------------------------------------------------------------------------------------


def _if(propagation: Propagation, facts: GraphFacts, node: Node, shapes: GraphShapes) -> None:
    condition = shapes.constant(node.inputs[0])
    key = f"{node.path}.branch"
    if condition is not None and condition.size == 1:
        taken = int(bool(condition.reshape(-1)[0]))
    else:
        nodes = [sum(1 for _ in node.subgraphs[name].walk()) for name in BRANCHES]
        label = f"{node.path}: branch of If (1 then, 0 else)"
        taken = propagation.assumptions.value(key, label, int(nodes[1] >= nodes[0]), 0, 1)
    try:
        _run_branch(propagation, facts, node, shapes, taken)
    except NodeError:
        if condition is not None or propagation.assumptions.is_chosen(key):
            raise
        # The branch was only a guess; the other one may be what these sizes are for.
        taken = propagation.assumptions.value(key, label, 1 - taken, 0, 1)
        _run_branch(propagation, facts, node, shapes, taken)


def _run_branch(
    propagation: Propagation, facts: GraphFacts, node: Node, shapes: GraphShapes, taken: int
) -> None:
    for number, name in enumerate(BRANCHES):
        body = facts.bodies.get((node.name, name))
        if body is None:
            continue
        inner = body.empty_shapes(shapes)
        inner.taken = number == taken
        inner.trips = int(inner.taken)
        shapes.bodies[node.name, name] = inner
        if inner.taken:
            propagation.run(body, inner)
            for outer_name, inner_name in zip(node.outputs, body.graph.outputs, strict=False):
                _hand_out(propagation, shapes, outer_name, inner, inner_name)


# -- Loop ------------------------------------------------------------------------------------------------------------


class _Loop:
    """``Loop(M, cond, carried …)``: the body gets (number of the trip, condition, carried …)."""

    def __init__(self, propagation: Propagation, facts: GraphFacts, node: Node, shapes: GraphShapes) -> None:
        self.propagation, self.facts, self.node, self.shapes = propagation, facts, node, shapes
        self.body = facts.bodies.get((node.name, "body"))

    def run(self) -> None:
        if self.body is None:
            return
        carried = [self.propagation.type_of(self.shapes, name) for name in self.node.inputs[2:]]
        inner = self._run_once(carried)
        names = self.body.graph.outputs[1 : 1 + len(carried)]
        steady = [self._kept(inner, name, type) for name, type in zip(names, carried, strict=False)]
        if steady != carried:
            # What changes in the first trip has no one shape.
            inner = self._run_once(steady)
        inner.trips = self._trips(inner)
        self._outputs(inner, len(carried))

    def _kept(self, inner: GraphShapes, name: str, before: bytes) -> bytes:
        """The type that a carried value has in every trip."""
        types = self.propagation.types
        made, known = inner.of(name), types.read(before) if before else UNKNOWN
        if known.shape is None or made.shape == known.shape:
            return before
        return types.write(Value(None, known.dtype))

    def _run_once(self, carried: Sequence[bytes]) -> GraphShapes:
        assert self.body is not None
        inner = self.body.empty_shapes(self.shapes)
        given = self.body.graph.inputs
        for name, value in zip(given, (Value((), "int64"), Value((), "bool")), strict=False):
            self.propagation.set(inner, name, value)
        for name, encoded in zip(given[2:], carried, strict=False):
            hand_in(self.propagation, self.body, inner, name, encoded)
        if len(given) > 1:
            inner.constants[given[1]] = numpy.array(True)
        self.shapes.bodies[self.node.name, "body"] = inner
        self.propagation.run(self.body, inner)
        return inner

    def _trips(self, inner: GraphShapes) -> int:
        """How often the body runs; exporters write the largest integer for loops that only their condition ends."""
        assert self.body is not None
        name = self._name(0)
        if name and self.shapes.constant(name) is None:
            assume_inputs(self.facts, name, self.shapes, self.propagation.assumptions)
        most = self._value(0)
        condition = self._value(1)
        if condition is not None and not condition.reshape(-1)[0]:
            return 0
        goes_on = inner.constant(self.body.graph.outputs[0]) if self.body.graph.outputs else None
        runs_on = condition is not None or not self._name(1)
        count = int(most.reshape(-1)[0]) if most is not None and most.size else NO_BOUND
        if count < NO_BOUND and runs_on and goes_on is not None:
            return max(count, 0) if goes_on.reshape(-1)[0] else min(max(count, 0), 1)
        known = 0 <= count < NO_BOUND
        return self.propagation.assumptions.value(
            f"{self.node.path}.trips",
            f"{self.node.path}: how often the body of Loop runs",
            count if known else 1,
            0,
            count if known else MOST_TRIPS,
        )

    def _outputs(self, inner: GraphShapes, carried: int) -> None:
        assert self.body is not None
        names = self.body.graph.outputs[1:]
        for position, (outer_name, inner_name) in enumerate(zip(self.node.outputs, names, strict=False)):
            if not outer_name:
                continue
            value = inner.of(inner_name)
            if position < carried:
                _note(self.propagation, self.shapes, outer_name, inner, inner_name)
            elif value.shape is not None:
                self.propagation.set(self.shapes, outer_name, Value((inner.trips, *value.shape), value.dtype))

    def _name(self, position: int) -> str:
        return self.node.inputs[position] if position < len(self.node.inputs) else ""

    def _value(self, position: int) -> Array | None:
        """Of the first two inputs: None where it is absent or not known."""
        name = self._name(position)
        return self.shapes.constant(name) if name else None


# -- Scan ------------------------------------------------------------------------------------------------------------


def _scan(propagation: Propagation, facts: GraphFacts, node: Node, shapes: GraphShapes) -> None:
    """Since opset 9; before that, every value has a batch in front, which the body runs over too."""
    body = facts.bodies.get((node.name, "body"))
    if body is None:
        return
    is_batched = propagation.opsets.get("", 1) < 9
    inputs = [shapes.of(name) for name in node.inputs[1 if is_batched else 0 :]]
    scanned = node.attributes.get("num_scan_inputs", 0)
    states, sequences = inputs[: len(inputs) - scanned], inputs[len(inputs) - scanned :]
    axes = node.attributes.get("scan_input_axes") or (0,) * scanned
    first = sequences[0].shape if sequences else None
    batch: int | None = 1
    if is_batched:
        batch = first[0] if first else None
        states = [_without(value, 0) for value in states]
        sequences = [_without(value, 0) for value in sequences]
        axes = (0,) * scanned
        first = sequences[0].shape if sequences else None
    length = first[axes[0]] if first else None
    inner = body.empty_shapes(shapes)
    slices = [_without(value, axis) for value, axis in zip(sequences, axes, strict=False)]
    for name, value in zip(body.graph.inputs, [*states, *slices], strict=False):
        hand_in(propagation, body, inner, name, propagation.types.write(value) if value.dtype else b"")
    shapes.bodies[node.name, "body"] = inner
    propagation.run(body, inner)
    if length is None or batch is None:
        label = f"{node.path}: how often the body of Scan runs"
        inner.trips = propagation.assumptions.value(f"{node.path}.trips", label, 1, 0, MOST_TRIPS)
        return
    inner.trips = length * batch
    made_axes = node.attributes.get("scan_output_axes") or ()
    for position, (name, inner_name) in enumerate(zip(node.outputs, body.graph.outputs, strict=False)):
        value = inner.of(inner_name)
        if not name or value.shape is None:
            continue
        shape: Shape = value.shape
        if position >= len(states):
            number = position - len(states)
            axis = made_axes[number] if number < len(made_axes) else 0
            axis += len(shape) + 1 if axis < 0 else 0
            shape = (*shape[:axis], length, *shape[axis:])
        propagation.set(shapes, name, Value((batch, *shape) if is_batched else shape, value.dtype))


def _without(value: Value, axis: int) -> Value:
    """One step of a sequence: without the axis that is stepped along."""
    shape = value.shape
    if not shape:
        return Value(None, value.dtype)
    axis %= len(shape)
    return Value((*shape[:axis], *shape[axis + 1 :]), value.dtype)


# -- SequenceMap -----------------------------------------------------------------------------------------------------


def _sequence_map(propagation: Propagation, facts: GraphFacts, node: Node, shapes: GraphShapes) -> None:
    body = facts.bodies.get((node.name, "body"))
    if body is None:
        return
    inner = body.empty_shapes(shapes)
    for name, outer_name in zip(body.graph.inputs, node.inputs, strict=False):
        encoded = propagation.type_of(shapes, outer_name)
        if shapes.of(outer_name).dtype == "sequence":
            encoded = onnx.TypeProto.FromString(encoded).sequence_type.elem_type.SerializeToString()
        hand_in(propagation, body, inner, name, encoded)
    label = f"{node.path}: length of the sequence that SequenceMap goes through"
    inner.trips = propagation.assumptions.value(f"{node.path}.trips", label, 1, 0, MOST_TRIPS)
    shapes.bodies[node.name, "body"] = inner
    propagation.run(body, inner)
    for name, inner_name in zip(node.outputs, body.graph.outputs, strict=False):
        if name:
            element = onnx.TypeProto.FromString(propagation.type_of(inner, inner_name))
            kind = onnx.helper.make_sequence_type_proto(element)
            propagation.note(shapes, name, kind.SerializeToString())


def hand_in(
    propagation: Propagation, body: GraphFacts, inner: GraphShapes, name: str, encoded: bytes
) -> None:
    """``name``, an input of the body, has that type; with nothing known, the dtype that the body declares."""
    if encoded:
        propagation.note(inner, name, encoded)
    else:
        propagation.set(inner, name, Value(None, body.declared(name, propagation.types).dtype))


def _hand_out(
    propagation: Propagation, shapes: GraphShapes, outer_name: str, inner: GraphShapes, inner_name: str
) -> None:
    """An output of a body that runs once is the output of its node, value included."""
    if not outer_name:
        return
    _note(propagation, shapes, outer_name, inner, inner_name)
    known = inner.constant(inner_name)
    if known is not None:
        shapes.constants[outer_name] = known


def _note(
    propagation: Propagation, shapes: GraphShapes, outer_name: str, inner: GraphShapes, inner_name: str
) -> None:
    value = inner.of(inner_name)
    if value.shape is not None:
        propagation.set(shapes, outer_name, value)
    elif encoded := propagation.type_of(inner, inner_name):
        propagation.note(shapes, outer_name, encoded)
