"""Activation functions, mostly a fixed number of operations per output element. Softmax: ``softmax.py``."""

from __future__ import annotations

from functools import partial
from math import prod

from engine.cost.per_element import per_element, per_element_work
from engine.cost.registry import Work, cost_formula, not_counted
from engine.graph import OpCall

_activation = partial(per_element, family="activation")

_activation("relu", flops=1, counts="max")
_activation("relu6", "hardtanh", flops=2, counts="min, max")
_activation("leaky_relu", "prelu", "_prelu_kernel", flops=2, counts="mul, max")
_activation("threshold", flops=2, counts="compare, select")
_activation("hardshrink", flops=3, counts="abs, compare, select")
_activation("softshrink", flops=4, counts="abs, sub, max, sign")
_activation("sigmoid", "special_expit", flops=1, special=1, counts="sigmoid")
_activation("tanh", flops=1, special=1, counts="tanh")
_activation("silu", flops=2, special=1, counts="sigmoid, mul")
_activation("glu", flops=2, special=1, counts="sigmoid, mul")
_activation("hardsigmoid", flops=4, counts="add, max, min, mul")
_activation("hardswish", flops=5, counts="add, max, min, mul, mul")
_activation("softplus", flops=3, special=2, counts="exp, add, log")
_activation("log_sigmoid", "log_sigmoid_forward", flops=5, special=2, counts="neg, exp, add, log, neg")
_activation("mish", flops=5, special=3, counts="exp, add, log, tanh, mul")
_activation("selu", flops=5, special=1, counts="exp, sub, mul, select, mul")


@cost_formula("gelu", family="activation")
def gelu(call: OpCall) -> Work:
    """x · Φ(x), exactly or by tanh (argument ``approximate``).

    erf: FLOPs = 5 per element (1 special): mul, erf, add, mul, mul.
    tanh: 9 per element (1 special): three mul for x³ and its factor, add, mul, tanh, add, mul, mul.
    Source: Hendrycks and Gimpel 2016; definition of ``torch.nn.GELU``.
    """
    n = prod(call.outputs[0])
    if call.args.get("approximate", "none") == "tanh":
        return per_element_work(n, 9, 1, "cube 3, add, mul, tanh, add, mul, mul")
    return per_element_work(n, 5, 1, "mul, erf, add, mul, mul")


@cost_formula("elu", "celu", family="activation")
def elu(call: OpCall) -> Work:
    """x if x > 0 else scale · α · (exp(x · input_scale) − 1); CELU divides by α inside the exponential.

    FLOPs = 4 per element (1 special): exp, sub, mul, select; + 1 for each of ``scale``, ``input_scale``
    other than 1, + 1 for a CELU with α other than 1.
    Source: Clevert et al. 2016; definitions of ``torch.nn.ELU``, ``torch.nn.CELU``.
    """
    args = call.args
    each = 4 + (args.get("scale", 1) != 1) + (args.get("input_scale", 1) != 1)
    if call.op == "celu":
        each += args.get("alpha", 1) != 1
    return per_element_work(prod(call.outputs[0]), each, 1, "exp, sub, mul, select" + ", mul" * (each - 4))


@cost_formula("rrelu", "rrelu_with_noise", family="activation")
def rrelu(call: OpCall) -> Work:
    """Randomised leaky ReLU: in eval with the mean slope, FLOPs = 2 per element; in training not counted."""
    if call.args.get("training", False):
        return not_counted(f"{call.op} draws random slopes in training")
    return per_element_work(prod(call.outputs[0]), 2, 0, "mul, max")


@cost_formula(
    "dropout",
    "alpha_dropout",
    "feature_dropout",
    "feature_alpha_dropout",
    "native_dropout",
    family="activation",
)
def dropout(call: OpCall) -> Work:
    """In eval nothing happens: 0 FLOPs. In training not counted: it draws random numbers."""
    if call.args.get("train") and call.args.get("p", 1) != 0:
        return not_counted(f"{call.op} draws random numbers in training")
    return Work(0, 0, 0, "FLOPs = 0: dropout does nothing in eval")
