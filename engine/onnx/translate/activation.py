"""Activation functions; softmax in its two definitions, before opset 13 and since."""

from __future__ import annotations

from math import prod

from engine.cost import Work
from engine.cost.per_element import per_element_work
from engine.graph import OpCall, Shape
from engine.onnx.translate.combined import Extra, counted, plus
from engine.onnx.translate.registry import MICROSOFT, NodeCall, translates

SAME = {
    "Relu": "relu", "LeakyRelu": "leaky_relu", "PRelu": "prelu", "ThresholdedRelu": "threshold", "Selu": "selu",
    "Sigmoid": "sigmoid", "Tanh": "tanh", "Softplus": "softplus", "HardSigmoid": "hardsigmoid",
    "HardSwish": "hardswish", "Mish": "mish",
}  # fmt: skip


@translates(*SAME)
def same_meaning(call: NodeCall) -> OpCall:
    """A fixed number of operations per element: see the operation of the same meaning in engine.cost."""
    return OpCall(SAME[call.op], (), (call.output(),), {})


@translates("Elu", "Celu")
def elu(call: NodeCall) -> OpCall:
    """FLOPs = 4 per element (1 special): exp, sub, mul, select; Celu + 1 with an α other than 1."""
    return OpCall(call.op.lower(), (), (call.output(),), {"alpha": call.number("alpha", 1.0)})


@translates("Gelu")
def gelu(call: NodeCall) -> OpCall:
    """FLOPs per element: 5 with erf, 9 with tanh (1 special)."""
    return OpCall("gelu", (), (call.output(),), {"approximate": call.text("approximate", "none")})


@translates("Softsign")
def softsign(call: NodeCall) -> tuple[str, Work]:
    """x / (1 + |x|). FLOPs = 3 per element (1 special): abs, add, div."""
    return "activation", per_element_work(prod(call.output()), 3, 1, "abs, add, div")


@translates("Shrink")
def shrink(call: NodeCall) -> OpCall:
    """x ∓ bias beyond ±λ, else 0. FLOPs per element: 3 without a bias (hardshrink), 4 with one (softshrink)."""
    return OpCall("softshrink" if call.number("bias", 0.0) else "hardshrink", (), (call.output(),), {})


@translates("Swish")
def swish(call: NodeCall) -> tuple[str, Work]:
    """x · sigmoid(α x). FLOPs = 2 per element (1 special), 3 with an α other than 1. Source: ONNX, Swish."""
    return "activation", _swish(prod(call.output()), call.number("alpha", 1.0), ())


@translates("SwiGLU")
def swiglu(call: NodeCall) -> tuple[str, Work]:
    """A · sigmoid(α A) · B. FLOPs = 3 per element (1 special), 4 with an α other than 1. Source: ONNX, SwiGLU."""
    return "activation", _swish(prod(call.output()), call.number("alpha", 1.0), ("mul",))


@translates("Softmax", "LogSoftmax")
def softmax(call: NodeCall) -> OpCall:
    """Rows of n elements: along ``axis`` since opset 13; before, all dimensions from ``axis`` (1) on are one row.

    FLOPs per row: softmax 5 n − 2 (2 n special), log-softmax 5 n − 1 (n + 1 special).
    Source: ONNX, Softmax-1, Softmax-13.
    """
    op = "softmax" if call.op == "Softmax" else "log_softmax"
    return OpCall(op, (_rows(call),), (call.output(),), {"dim": 1})


@translates("Hardmax")
def hardmax(call: NodeCall) -> tuple[str, Work]:
    """1 at the first maximum of each row, else 0. FLOPs per row of n = 2 n − 1: max n − 1, compare n."""
    rows, n = _rows(call)
    flops = rows * max(2 * n - 1, 0)
    return "activation", Work(0, flops, 0, f"FLOPs = rows·(2n − 1) = {rows:,}·(2·{n} − 1) = {flops:,}")


def _rows(call: NodeCall) -> tuple[int, int]:
    """(rows, elements of a row)."""
    shape = call.output()
    if call.opset >= 13:
        n = shape[call.whole("axis", -1)] if shape else 1
    else:
        axis = call.whole("axis", 1)
        n = prod(shape[axis + len(shape) if axis < 0 else axis :])
    return (prod(shape) // n if n else 0), n


def _swish(n: int, alpha: float, more: tuple[str, ...]) -> Work:
    done = [*(["mul"] if alpha != 1 else []), "sigmoid", "mul", *more]
    return per_element_work(n, len(done), 1, ", ".join(done))


@translates("ParametricSoftplus", "ScaledTanh")
def experimental(call: NodeCall) -> tuple[str, Work]:
    """Operators of old files: α · softplus(β x), 5 per element (2 special); α · tanh(β x), 3 (1 special)."""
    n = prod(call.output())
    if call.op == "ScaledTanh":
        return "activation", per_element_work(n, 3, 1, "mul, tanh, mul")
    return "activation", per_element_work(n, 5, 2, "mul, exp, add, log, mul")


@translates("Gelu", "FastGelu", "BiasGelu", "QuickGelu", "BiasSplitGelu", "ScaledSiLU", domain=MICROSOFT)
def fused_gelu(call: NodeCall) -> tuple[str, Work]:
    """GELU with a bias before it, by erf or tanh, or as x · sigmoid(α x).

    FLOPs per output element (1 special): Gelu 5 · FastGelu 9 (tanh), + 1 with a bias · BiasGelu 6 · QuickGelu 3,
    2 with α = 1 · ScaledSiLU 3 · BiasSplitGelu 8: two biases, GELU of one half, product with the other.
    Source: onnxruntime, ContribOperators.md.
    """
    n = prod(call.output())
    if call.op == "FastGelu":
        work = counted("gelu", (), call.output(), {"approximate": "tanh"})
        return "activation", plus(work, Extra("bias", n if call.has(1) else 0))
    if call.op in ("QuickGelu", "ScaledSiLU"):
        return "activation", _swish(n, call.number("alpha", 1.702), ())
    work = counted("gelu", (), call.output(), {})
    biases = {"Gelu": 0, "BiasGelu": 1, "BiasSplitGelu": 2}[call.op]
    product = n if call.op == "BiasSplitGelu" else 0
    return "activation", plus(work, Extra("bias", biases * n), Extra("product of the halves", product))


@translates("BiasSoftmax", domain=MICROSOFT)
def bias_softmax(call: NodeCall) -> tuple[str, Work]:
    """softmax(x + bias), where all dimensions from ``axis`` on are one row. FLOPs = softmax + 1 per element."""
    shape = call.output()
    n = prod(shape[call.whole("axis", 1) :])
    rows: Shape = (prod(shape) // n if n else 0, n)
    return "activation", plus(counted("softmax", (rows,), shape, {"dim": 1}), Extra("bias", prod(shape)))
