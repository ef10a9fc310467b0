"""Element by element: arithmetic, comparisons, selections. A broadcast counts at its output's size, as in torch."""

from __future__ import annotations

from math import prod

from engine.cost import Work
from engine.cost.per_element import per_element_work
from engine.graph import OpCall
from engine.onnx.translate.registry import MICROSOFT, NodeCall, translates

SAME = {
    "Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div", "Neg": "neg", "Abs": "abs", "Sign": "sign",
    "Floor": "floor", "Ceil": "ceil", "Round": "round", "Sqrt": "sqrt", "Reciprocal": "reciprocal", "Pow": "pow",
    "Exp": "exp", "Log": "log", "Erf": "erf", "Sin": "sin", "Cos": "cos", "Tan": "tan", "Asin": "asin",
    "Acos": "acos", "Atan": "atan", "Sinh": "sinh", "Cosh": "cosh", "Asinh": "asinh", "Acosh": "acosh",
    "Atanh": "atanh", "Equal": "eq", "Less": "lt", "LessOrEqual": "le", "Greater": "gt", "GreaterOrEqual": "ge",
    "And": "logical_and", "Or": "logical_or", "Xor": "logical_xor", "Not": "logical_not",
    "BitwiseAnd": "bitwise_and", "BitwiseOr": "bitwise_or", "BitwiseXor": "bitwise_xor",
    "BitwiseNot": "bitwise_not", "BitShift": "bitwise_left_shift", "IsNaN": "isnan", "IsInf": "isinf",
}  # fmt: skip
"""Operators that torch has by the same meaning, most of them of 1 FLOP."""


@translates(*SAME)
def same_meaning(call: NodeCall) -> OpCall:
    """One operation per output element: see the operation of the same meaning in engine.cost."""
    return OpCall(SAME[call.op], (), (call.output(),), {})


@translates("Where")
def where(call: NodeCall) -> OpCall:
    """FLOPs = 1 per output element: select."""
    return OpCall("where", call.inputs, (call.output(),), {})


@translates("Mod")
def mod(call: NodeCall) -> OpCall:
    """FLOPs = 4 per output element (1 special): div, floor or truncate, mul, sub."""
    return OpCall("fmod" if call.whole("fmod") else "remainder", (), (call.output(),), {})


@translates("Clip")
def clip(call: NodeCall) -> tuple[str, Work]:
    """FLOPs = 1 per element for each bound that is given: attributes before opset 11, inputs since.

    Of floating-point numbers it is what exporters make of ReLU6 and Hardtanh: an activation.
    """
    attributes = call.node.attributes
    bounds = sum([call.has(1 + at) or name in attributes for at, name in enumerate(("min", "max"))])
    done = "max, min" if bounds == 2 else "one bound" if bounds else "no bound"
    is_index = call.output_dtypes[0].startswith(("int", "uint"))
    return "elementwise" if is_index else "activation", per_element_work(prod(call.output()), bounds, 0, done)


@translates("Sum", "Max", "Min", "Mean")
def joined(call: NodeCall) -> tuple[str, Work]:
    """All inputs joined. FLOPs = inputs − 1 per output element; for Mean inputs (1 special): it divides as well."""
    inputs = len(call.node.inputs)
    name = {"Sum": "add", "Mean": "add"}.get(call.op, call.op.lower())
    if call.op == "Mean":
        return "elementwise", per_element_work(prod(call.output()), inputs, 1, f"{inputs - 1} add, divide")
    return "elementwise", per_element_work(prod(call.output()), inputs - 1, 0, f"{inputs - 1} {name}")


@translates("Affine", "Scale", "ImageScaler")
def scaled(call: NodeCall) -> tuple[str, Work]:
    """Experimental operators of old files. FLOPs: Scale 1 per element; Affine and ImageScaler 2: mul, add."""
    each = 1 if call.op == "Scale" else 2
    return "elementwise", per_element_work(prod(call.output()), each, 0, "mul, add" if each == 2 else "mul")


_FUSED = {
    "BiasAdd": (2, 0, "add bias, add skip"),
    "GatedAdd": (2, 0, "mul, add"),
    "MulInteger": (3, 0, "sub zero points, mul"),
    "ComplexMul": (3, 0, "6 per complex number: 4 mul, 2 add"),
    "ComplexMulConj": (3, 0, "6 per complex number: 4 mul, 2 add"),
}


@translates(*_FUSED, domain=MICROSOFT)
def fused(call: NodeCall) -> tuple[str, Work]:
    """FLOPs per output element: BiasAdd 2 · GatedAdd 2 · MulInteger 3 · ComplexMul 3 (6 per pair of numbers)."""
    flops, special, counts = _FUSED[call.op]
    return "elementwise", per_element_work(prod(call.output()), flops, special, counts)


@translates("BiasDropout", domain=MICROSOFT)
def bias_dropout(call: NodeCall) -> tuple[str, Work]:
    """In inference data + bias, + residual if given. FLOPs = 1 per element for each."""
    each = 2 if call.has(2) else 1
    return "elementwise", per_element_work(
        prod(call.output()), each, 0, "add bias" + ", add residual" * (each - 1)
    )
