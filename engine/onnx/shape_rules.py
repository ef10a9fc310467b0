"""Rules for the output shapes of operators that onnx cannot infer: how they are registered and applied.

A rule goes from what is known of the inputs to what is known of the outputs. One that needs something unknown, or that
the inputs do not fit, leaves the outputs unknown.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

from engine.graph import Shape
from engine.onnx.graph import Array, Node
from engine.onnx.values import UNKNOWN, GraphShapes, Value

log = logging.getLogger(__name__)


class UnknownInputError(Exception):
    """A rule needs what is not known."""


class Given(NamedTuple):
    """One node and what is known of its inputs."""

    node: Node
    values: tuple[Value, ...]
    shapes: GraphShapes

    def has(self, position: int) -> bool:
        return position < len(self.node.inputs) and self.node.inputs[position] != ""

    def shape(self, position: int = 0) -> Shape:
        shape = self.values[position].shape if position < len(self.values) else None
        if shape is None:
            raise UnknownInputError
        return shape

    def dtype(self, position: int = 0) -> str:
        return self.values[position].dtype if position < len(self.values) else ""

    def constant(self, position: int) -> Array:
        found = self.shapes.constant(self.node.inputs[position]) if self.has(position) else None
        if found is None:
            raise UnknownInputError
        return found

    def whole(self, name: str, default: int = 0) -> int:
        value = self.node.attributes.get(name)
        return value if isinstance(value, int) else default

    def wholes(self, name: str) -> Shape:
        value = self.node.attributes.get(name)
        return value if isinstance(value, tuple) else ()


Rule: TypeAlias = Callable[[Given], Sequence[Value]]

_rules: dict[tuple[str, str], Rule] = {}


def apply(node: Node, shapes: GraphShapes) -> tuple[Value, ...] | None:
    """What is known of the outputs of ``node``, in order; None where there is no rule for its operator."""
    rule = _rules.get((node.domain, node.op_type))
    if rule is None:
        return None
    unknown = (UNKNOWN,) * len(node.outputs)
    try:
        found = tuple(rule(Given(node, tuple([shapes.of(name) for name in node.inputs]), shapes)))
    except UnknownInputError:
        return unknown
    except (IndexError, ArithmeticError, ValueError, TypeError) as error:
        log.info("%s does not fit its inputs: %r", node.label, error)
        return unknown
    # Hostile attributes can turn a size negative.
    found = tuple([UNKNOWN if value.shape and min(value.shape) < 0 else value for value in found])
    return (found + unknown)[: len(node.outputs)]


def ruled_operators() -> tuple[tuple[str, str], ...]:
    """(domain, operator) of every rule."""
    return tuple(_rules)


def shape_rule(*ops: str, domain: str) -> Callable[[Rule], Rule]:
    """Register a rule for operators of ``domain``; one for the standard domain only helps where onnx has none."""

    def register(rule: Rule) -> Rule:
        for op in ops:
            _rules[domain, op] = rule
        return rule

    return register
