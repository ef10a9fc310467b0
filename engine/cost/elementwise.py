"""Arithmetic per output element: add, mul, div, exp, comparisons, selections.

A broadcast counts at its output size. Numbers count alike whatever their dtype: index arithmetic on
integers is counted, complex numbers as if they were real.
"""

from __future__ import annotations

from functools import partial
from math import prod

from engine.cost.per_element import per_element, per_element_work
from engine.cost.registry import Work, cost_formula, not_counted
from engine.graph import OpCall

_arithmetic = partial(per_element, family="elementwise")


def _one(*ops: str) -> None:
    """Operations of 1 FLOP per output element, which is the operation itself."""
    for op in ops:
        _arithmetic(op, flops=1, counts=op)


def _one_special(*ops: str) -> None:
    """Special operations: 1 FLOP per output element, which is special."""
    for op in ops:
        _arithmetic(op, flops=1, special=1, counts=op)


_one("mul", "multiply", "neg", "negative", "abs", "absolute", "sign", "sgn", "square", "outer", "ger", "kron")
_one("maximum", "minimum", "fmax", "fmin", "clamp_min", "clamp_max", "copysign", "heaviside", "ldexp")
_one("floor", "ceil", "round", "special_round", "trunc", "fix", "signbit", "conj_physical", "_conj_physical")
_one(
    "eq", "ne", "lt", "le", "gt", "ge", "equal", "less", "less_equal", "greater", "greater_equal", "not_equal"
)
_one("isnan", "isinf", "isfinite", "isposinf", "isneginf")
_one("logical_and", "logical_or", "logical_xor", "logical_not")
_one("bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_not", "bitwise_left_shift", "bitwise_right_shift")
_one("__and__", "__or__", "__xor__", "__lshift__", "__rshift__")
_one("__iand__", "__ior__", "__ixor__", "__ilshift__", "__irshift__")
_one("masked_fill", "diff", "deg2rad", "rad2deg")

_one_special("sqrt", "rsqrt", "reciprocal", "pow", "float_power", "__rpow__")
_one_special(
    "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "special_exp2", "special_expm1", "special_log1p"
)
_one_special(
    "sin", "cos", "tan", "asin", "acos", "atan", "atan2", "arcsin", "arccos", "arctan", "arctan2", "angle"
)
_one_special("sinh", "cosh", "asinh", "acosh", "atanh", "arcsinh", "arccosh", "arctanh")
_one_special("erf", "erfc", "erfinv", "special_erf", "special_erfc", "special_erfinv")
_one_special(
    "lgamma", "digamma", "mvlgamma", "polygamma", "igamma", "igammac", "i0", "special_i0", "special_i1"
)
_one_special(
    "special_gammaln", "special_digamma", "special_psi", "special_i0e", "special_i1e", "special_ndtr"
)

_arithmetic("frac", flops=2, counts="trunc, sub")
_arithmetic("lerp", flops=3, counts="sub, mul, add")
_arithmetic("cross", "linalg_cross", flops=3, counts="mul, mul, sub")
_arithmetic("nan_to_num", flops=3, counts="3 compare and select")
_arithmetic("_add_relu", flops=2, counts="add, max")
_arithmetic("isclose", flops=5, counts="sub, abs, abs, mul and add, compare")
_arithmetic("addr", flops=2, counts="mul, add")
_arithmetic("gcd", "lcm", flops=1, special=1, counts="Euclid's algorithm as one operation")
_arithmetic("hypot", flops=4, special=1, counts="square, square, add, sqrt")
_arithmetic("polar", flops=4, special=2, counts="cos, sin, mul, mul")
_arithmetic("sinc", "special_sinc", flops=3, special=2, counts="mul, sin, div")
_arithmetic(
    "xlogy", "special_xlogy", "special_xlog1py", "special_entr", flops=2, special=1, counts="log, mul"
)
_arithmetic("logaddexp", "logaddexp2", flops=6, special=2, counts="max, sub, abs, exp, log1p, add")
_arithmetic("remainder", "fmod", flops=4, special=1, counts="div, floor, mul, sub")
_arithmetic("floor_divide", flops=2, special=1, counts="div, floor")


@cost_formula("add", "sub", "subtract", "rsub", family="elementwise")
def add(call: OpCall) -> Work:
    """self ± alpha · other. FLOPs = 1 per output element, 2 with an ``alpha`` other than 1 (mul, add)."""
    n = prod(call.outputs[0])
    if call.args.get("alpha", 1) != 1:
        return per_element_work(n, 2, 0, "mul, add")
    return per_element_work(n, 1, 0, "add" if call.op == "add" else "sub")


@cost_formula("div", "divide", "true_divide", family="elementwise")
def div(call: OpCall) -> Work:
    """self / other. FLOPs = 1 per output element (1 special); 2 with a ``rounding_mode``."""
    n = prod(call.outputs[0])
    if call.args.get("rounding_mode") is not None:
        return per_element_work(n, 2, 1, "div, round")
    return per_element_work(n, 1, 1, "div")


@cost_formula("where", family="elementwise")
def where(call: OpCall) -> Work:
    """Selection: FLOPs = 1 per output element. With a condition alone it finds elements: not counted."""
    if len(call.inputs) == 1 and "self" not in call.args:
        return not_counted("where with a condition alone finds elements: its output size depends on the data")
    return per_element_work(prod(call.outputs[0]), 1, 0, "select")


@cost_formula("clamp", "clip", family="elementwise")
def clamp(call: OpCall) -> Work:
    """min(max(x, lower), upper). FLOPs = 1 per output element for each bound that is given."""
    args = call.args
    bounds = (args.get("min") is not None) + (args.get("max") is not None)
    return per_element_work(prod(call.outputs[0]), bounds, 0, "max, min" if bounds == 2 else "one bound")


@cost_formula("addcmul", "addcdiv", family="elementwise")
def addcmul(call: OpCall) -> Work:
    """self + value · a · b, or self + value · a / b.

    FLOPs = 2 per output element (addcdiv: 1 special), 3 with a ``value`` other than 1.
    """
    division = call.op == "addcdiv"
    scaled = call.args.get("value", 1) != 1
    counts = ("div" if division else "mul") + (", mul, add" if scaled else ", add")
    return per_element_work(prod(call.outputs[0]), 3 if scaled else 2, int(division), counts)


@cost_formula("logit", "special_logit", family="elementwise")
def logit(call: OpCall) -> Work:
    """log(x / (1 − x)). FLOPs = 3 per element (2 special): sub, div, log; + 2 to clamp with an ``eps``."""
    n = prod(call.outputs[0])
    if call.args.get("eps") is not None:
        return per_element_work(n, 5, 2, "max, min, sub, div, log")
    return per_element_work(n, 3, 2, "sub, div, log")
