"""Output shapes of standard operators of which onnx infers none, or wrong ones (1.23).

Each says why it is here; everything else is left to onnx.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

from engine.graph import Shape
from engine.onnx.graph import Node
from engine.onnx.values import UNKNOWN, GraphShapes, Value

Rule: TypeAlias = Callable[[Node, GraphShapes, Sequence[Value]], Sequence[Value]]

_rules: dict[str, Rule] = {}

WRONG = frozenset({"STFT"})
"""Operators of which onnx's answer is not taken."""


def standard_outputs(node: Node, shapes: GraphShapes) -> Sequence[Value]:
    """Shapes and dtypes of the outputs, unknown ones among them; empty where there is no rule."""
    rule = _rules.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    if rule is None:
        return ()
    return rule(node, shapes, [shapes.of(name) if name else UNKNOWN for name in node.inputs])


def rule(*ops: str) -> Callable[[Rule], Rule]:
    """Register a rule for operators of these names."""

    def register(function: Rule) -> Rule:
        for op in ops:
            _rules[op] = function
        return function

    return register


@rule("Dropout")
def _dropout(node: Node, shapes: GraphShapes, given: Sequence[Value]) -> Sequence[Value]:
    """The mask has no shape before opset 10."""
    return [given[0], Value(given[0].shape, "bool")]


@rule("BatchNormalization")
def _batch_norm(node: Node, shapes: GraphShapes, given: Sequence[Value]) -> Sequence[Value]:
    """Up to four more outputs of training have none before opset 14."""
    return [given[0], *[given[1]] * 4]


@rule("GroupNormalization", "MeanVarianceNormalization")
def _same(node: Node, shapes: GraphShapes, given: Sequence[Value]) -> Sequence[Value]:
    """Functions whose bodies onnx does not get through."""
    return [given[0]]


@rule("Range")
def _range(node: Node, shapes: GraphShapes, given: Sequence[Value]) -> Sequence[Value]:
    """Only four of its dtypes are inferred, float16 is not."""
    numbers = [shapes.constant(name) for name in node.inputs]
    if any(each is None or each.size != 1 for each in numbers):
        return ()
    start, limit, delta = (float(each.reshape(-1)[0]) for each in numbers if each is not None)
    return [Value((max(math.ceil((limit - start) / delta), 0),), given[0].dtype)] if delta else ()


@rule("MaxUnpool")
def _max_unpool(node: Node, shapes: GraphShapes, given: Sequence[Value]) -> Sequence[Value]:
    """An ``output_shape`` is not looked at."""
    size = shapes.constant(node.inputs[2]) if len(node.inputs) > 2 else None
    return [Value(tuple(size.tolist()), given[0].dtype)] if size is not None else ()


@rule("STFT")
def _stft(node: Node, shapes: GraphShapes, given: Sequence[Value]) -> Sequence[Value]:
    """onnx takes ``onesided`` to be off by default, where the operator says on."""
    signal = given[0].shape
    step = shapes.constant(node.inputs[1])
    length = _frame_length(node, shapes, given)
    if not signal or step is None or length is None:
        return ()
    frames = (signal[1] - length) // int(step.reshape(-1)[0]) + 1
    bins = length // 2 + 1 if node.attributes.get("onesided", 1) else length
    made: Shape = (signal[0], frames, bins, 2)
    return [Value(made, given[0].dtype)]


def _frame_length(node: Node, shapes: GraphShapes, given: Sequence[Value]) -> int | None:
    window = given[2].shape if len(given) > 2 else None
    if window:
        return window[0]
    length = shapes.constant(node.inputs[3]) if len(node.inputs) > 3 else None
    return int(length.reshape(-1)[0]) if length is not None else None
