"""Shapes where whole-graph inference leaves blanks: node by node, with the values that sizes come from computed by us.

One pass in execution order. A node is inferred by onnx's own function of its operator, given what is known of its
inputs and the values of the small ones; operators of other domains have rules in engine.onnx.contrib_shapes; what
depends on data gets a stated assumption; control flow is followed into its bodies.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from threading import Event
from typing import Any

import onnx
from onnx import checker, defs
from onnx.onnx_cpp2py_export import shape_inference as inference

from engine.errors import CancelledError
from engine.onnx import assume, bodies, contradictions
from engine.onnx.assume import Assumptions
from engine.onnx.contradictions import NodeError
from engine.onnx.contrib_shapes import contrib_outputs
from engine.onnx.facts import GraphFacts
from engine.onnx.folding import Folder, as_tensor
from engine.onnx.graph import Graph, Node
from engine.onnx.prepared import CRASHING, TypeReader
from engine.onnx.sequences import taken_out
from engine.onnx.standard_shapes import WRONG, standard_outputs
from engine.onnx.values import NO_TENSOR, UNKNOWN, GraphShapes, Value

log = logging.getLogger(__name__)

MOST_HANDED_OVER = 1024
"""Elements of a value that onnx is given to infer a shape from."""


class Propagation:
    """One pass over a model at one input size."""

    def __init__(
        self,
        opsets: Mapping[str, int],
        types: TypeReader,
        assumptions: Assumptions,
        most_steps: int,
        stop: Event | None = None,
    ) -> None:
        """``most_steps`` bounds the work on bodies: each nesting can double what is below it."""
        self.opsets = dict(opsets)
        self.types = types
        self.assumptions = assumptions
        self._most_steps = most_steps
        self._stop = stop
        self.steps = 0
        self.filled = 0
        """Nodes whose shapes whole-graph inference had not found."""

    def run(self, facts: GraphFacts, shapes: GraphShapes) -> None:
        """Fill the blanks of ``shapes``.

        Raises NodeError for a node that refuses its inputs, CancelledError when it is to stop.
        """
        self.steps += len(facts.graph.nodes)
        folder = Folder(facts.producers, shapes, self.opsets.get("", 1))
        shapes.folds = folder
        stop = self._stop
        for node in facts.graph.nodes:
            if stop is not None and stop.is_set():
                raise CancelledError()
            try:
                if node.subgraphs and self.steps <= self._most_steps:
                    bodies.follow(self, facts, node, shapes)
                if node.op_type in WRONG:
                    shapes.values.update(dict.fromkeys(node.outputs, UNKNOWN))
                if is_blank(node, shapes):
                    self._fill(facts, node, shapes, folder)
                if contradictions.is_checked(node) and not self.assumptions.sizes:
                    contradictions.check(facts, node, shapes)
            except NodeError as error:
                error.node = node.name
                raise
            except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
                # Attributes and ranks that no rule expects, in a damaged file: the shapes stay unknown.
                log.info("%s (%s): %r", node.name, node.op_type, error)

    def _fill(self, facts: GraphFacts, node: Node, shapes: GraphShapes, folder: Folder) -> None:
        self.filled += 1
        if node.op_type not in WRONG:
            self._infer(facts, node, shapes)
        if not is_blank(node, shapes) or self._evaluated(node, shapes):
            return
        self._set_known(node, shapes, standard_outputs(node, shapes))
        self._set_known(node, shapes, (taken_out(node, facts.producers, shapes),))
        if not is_blank(node, shapes):
            return
        before = len(self.assumptions.made)
        values = assume.missing_values(facts, node, shapes, self.assumptions)
        shapes.constants.update(values)
        if values or len(self.assumptions.made) > before:
            folder.forget()
            if node.op_type not in WRONG:
                self._infer(facts, node, shapes)
            self._set_known(node, shapes, standard_outputs(node, shapes))
        if is_blank(node, shapes):
            for name, shape in assume.data_dependent(node, shapes, self.assumptions).items():
                self.set(shapes, name, Value(shape, shapes.of(name).dtype))

    def _evaluated(self, node: Node, shapes: GraphShapes) -> bool:
        """Whether the values themselves follow from constants, such as NonZero of one."""
        found = [(name, shapes.constant(name)) for name in node.outputs if name]
        for name, array in found:
            if array is not None:
                self.set(shapes, name, Value(array.shape, str(array.dtype)))
        return all(array is not None for _, array in found)

    def _infer(self, facts: GraphFacts, node: Node, shapes: GraphShapes) -> None:
        found = contrib_outputs(node, shapes)
        if found is not None:
            self._set_known(node, shapes, found)
            return
        proto = facts.nodes.get(node.outputs)
        if proto is None:
            return
        try:
            outputs = self._node_outputs(facts, proto, shapes)
        except (ValueError, checker.ValidationError) as error:
            # A type that is not known at all, an attribute that the operator does not have.
            log.debug("%s: %s", node.name, error)
            return
        except inference.InferenceError as error:
            words = str(error)
            if contradictions.is_follow_up(words) or self.assumptions.sizes:
                log.debug("%s: %s", node.name, words)
                return
            raise contradictions.refusal(facts, node, shapes, words) from error
        for name, encoded in outputs.items():
            self.note(shapes, name, encoded)

    def _set_known(self, node: Node, shapes: GraphShapes, found: Sequence[Value]) -> None:
        for name, value in zip(node.outputs, found, strict=False):
            if name and value.shape is not None:
                self.set(shapes, name, value)

    def _node_outputs(
        self, facts: GraphFacts, proto: onnx.NodeProto, shapes: GraphShapes
    ) -> dict[str, bytes]:
        domain = "" if proto.domain == "ai.onnx" else proto.domain
        schema = _schema(proto.op_type, self.opsets.get(domain, 1), domain)
        if schema is None:
            return {}
        names = [name for name in dict.fromkeys(proto.input) if name]
        types = {name: encoded for name in names if (encoded := self.type_of(shapes, name))}
        if (domain, proto.op_type) in CRASHING and len(types) < len(names):
            return {}
        is_function = schema.has_function or schema.has_context_dependent_function
        data: dict[str, bytes] = {}
        if is_function or domain or proto.op_type in assume.READ_VALUES:
            data = {name: tensor for name in names if (tensor := _data(shapes, name)) is not None}
        made: dict[str, bytes] = schema._infer_node_outputs(
            facts.node_bytes(proto), types, data, {}, self.opsets, onnx.IR_VERSION
        )
        if is_function and any(self.types.read(encoded).shape is None for encoded in made.values()):
            return self._function_outputs(proto, types, data)
        return made

    def _function_outputs(
        self, proto: onnx.NodeProto, types: dict[str, bytes], data: dict[str, bytes]
    ) -> dict[str, bytes]:
        """Of an operator that is defined by others: as a model of its own."""
        graph = onnx.GraphProto(name="one", node=[proto])
        for name, encoded in types.items():
            if name in data:
                graph.initializer.add().ParseFromString(data[name])
            else:
                value = graph.input.add(name=name)
                value.type.ParseFromString(encoded)
        graph.output.extend(onnx.ValueInfoProto(name=name) for name in proto.output if name)
        model = onnx.ModelProto(ir_version=onnx.IR_VERSION, graph=graph)
        for domain, version in self.opsets.items():
            model.opset_import.add(domain=domain, version=version)
        inferred = inference.infer_shapes(model.SerializeToString(), False, False, True)
        outputs = onnx.ModelProto.FromString(inferred).graph.output
        return {value.name: value.type.SerializeToString() for value in outputs}

    def note(self, shapes: GraphShapes, name: str, encoded: bytes) -> None:
        """``name`` has this type, unless more is known of it already."""
        known = shapes.values.get(name)
        if known is not None and known.shape is not None:
            return
        self.set(shapes, name, self.types.read(encoded))
        if shapes.values[name].shape is None:
            shapes.partial[name] = encoded

    def set(self, shapes: GraphShapes, name: str, value: Value) -> None:
        """``name`` is ``value``."""
        shapes.values[name] = value
        shapes.partial.pop(name, None)

    def type_of(self, shapes: GraphShapes, name: str) -> bytes:
        """What is known of the type of ``name``, as protobuf; empty for nothing."""
        value = shapes.of(name)
        around: GraphShapes | None = shapes if value.shape is None else None
        while around is not None:
            if name in around.partial:
                return around.partial[name]
            around = around.outer
        return self.types.write(value) if value.dtype and value.dtype not in NO_TENSOR else b""


def is_blank(node: Node, shapes: GraphShapes) -> bool:
    """Whether the shape of one of its outputs is missing; what is no tensor has none."""
    for name in node.outputs:
        if name:
            value = shapes.values.get(name)
            if value is None or (value.shape is None and value.dtype not in NO_TENSOR):
                return True
    return False


def unknown_nodes(graph: Graph, shapes: GraphShapes) -> Iterator[str]:
    """Names of the nodes with a blank, those of bodies that run included."""
    for node in graph.nodes:
        if is_blank(node, shapes):
            yield node.name
        for attribute, body in node.subgraphs.items():
            inner = shapes.bodies.get((node.name, attribute))
            if inner is not None and inner.taken and inner.trips:
                yield from unknown_nodes(body, inner)


def _data(shapes: GraphShapes, name: str) -> bytes | None:
    """A small value, encoded, where it is known: sizes, axes, scales."""
    shape = shapes.of(name).shape
    if shape is None or len(shape) > 1 or (shape and shape[0] > MOST_HANDED_OVER):
        return None
    array = shapes.constant(name)
    return as_tensor(array, name) if array is not None else None


@lru_cache(4096)
def _schema(op: str, opset: int, domain: str) -> Any:
    """None for an operator that onnx does not know."""
    try:
        return defs.get_schema(op, opset, domain)
    except defs.SchemaError:
        return None
