"""Element by element."""

from __future__ import annotations

from engine.graph import OpCall
from engine.onnx.translate.registry import NodeCall, shapes, translates

SAME = {"Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div", "Relu": "relu", "Sigmoid": "sigmoid"}


@translates(*SAME)
def same_name(call: NodeCall) -> OpCall:
    """Operators that torch has by the same meaning."""
    return OpCall(SAME[call.node.op_type], call.inputs, shapes(call.outputs), {})
