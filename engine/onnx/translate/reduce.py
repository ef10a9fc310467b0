"""Reductions: rows of n elements that become one."""

from __future__ import annotations

from math import prod

from engine.cost import Work
from engine.graph import OpCall
from engine.onnx.translate.registry import MICROSOFT, NodeCall, translates

SAME = {
    "ReduceSum": "sum", "ReduceProd": "prod", "ReduceMax": "amax", "ReduceMin": "amin", "ArgMax": "argmax",
    "ArgMin": "argmin", "ReduceLogSumExp": "logsumexp",
}  # fmt: skip


@translates(*SAME)
def same_meaning(call: NodeCall) -> OpCall:
    """FLOPs per row: sum, product, extreme and its position n − 1; log-sum-exp 4 n (n + 1 special)."""
    return OpCall(SAME[call.op], (call.input(),), (call.output(),), {})


@translates("ReduceSumInteger", domain=MICROSOFT)
def integer_sum(call: NodeCall) -> OpCall:
    """FLOPs per row: n − 1."""
    return OpCall("sum", (call.input(),), (call.output(),), {})


@translates("ReduceMean")
def mean(call: NodeCall) -> OpCall | tuple[str, Work]:
    """FLOPs = n per row (1 special): n − 1 additions and a division. Without axes it may pass everything on: 0."""
    if (
        call.whole("noop_with_empty_axes")
        and (not call.has(1) or call.input(1) == (0,))
        and not call.wholes("axes")
    ):
        return "movement", Work(0, 0, 0, "FLOPs = 0: no axes to reduce")
    return OpCall("mean", (call.input(),), (call.output(),), {})


@translates("ReduceL1", "ReduceL2")
def vector_norm(call: NodeCall) -> OpCall:
    """FLOPs per row: L1 2 n − 1 (abs n, add n − 1); L2 2 n (1 special: square n, add n − 1, root)."""
    order = 1 if call.op == "ReduceL1" else 2
    return OpCall("linalg_vector_norm", (call.input(),), (call.output(),), {"ord": order})


@translates("ReduceSumSquare")
def sum_of_squares(call: NodeCall) -> tuple[str, Work]:
    """FLOPs per row = 2 n − 1: square n, add n − 1."""
    return _per_row(call, 2, -1, 0, "square n, add n − 1")


@translates("ReduceLogSum")
def log_sum(call: NodeCall) -> tuple[str, Work]:
    """FLOPs per row = n (1 special): add n − 1, log."""
    return _per_row(call, 1, 0, 1, "add n − 1, log")


def _per_row(call: NodeCall, each: int, row: int, special: int, counts: str) -> tuple[str, Work]:
    n, rows = prod(call.input()), prod(call.output())
    flops = max(each * n + row * rows, 0)
    text = f"FLOPs ({counts}) of {n:,} elements in {rows:,} rows = {flops:,}, special {special * rows:,}"
    return "elementwise", Work(0, flops, special * rows, text)
