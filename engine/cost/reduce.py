"""Reductions: sum, mean, extremes, variance, norms, distances between rows.

Every formula is written for a row of n elements that becomes one output; rows = outputs.
"""

from __future__ import annotations

from math import prod
from typing import Any

from engine.cost.per_element import per_element_work
from engine.cost.registry import Work, cost_formula, not_counted
from engine.graph import OpCall


@cost_formula(
    "sum",
    "prod",
    "all",
    "_is_all_true",
    "any",
    "_is_any_true",
    "amax",
    "amin",
    "argmax",
    "argmin",
    "trace",
    "sum_to_size",
    family="elementwise",
)
def reduction(call: OpCall) -> Work:
    """One operation joins each further element: sum, product, extreme, position of the extreme, and, or.

    FLOPs = n − 1 per row (for ``trace`` of the n elements on the diagonal).
    """
    x: Any = call.inputs[0]
    n = min(x) if call.op == "trace" else prod(x)
    return _joined(n, prod(call.outputs[0]))


@cost_formula("max", "min", family="elementwise")
def extreme(call: OpCall) -> Work:
    """With ``other`` elementwise, FLOPs = 1 per output element; else a reduction, n − 1 per row."""
    if "other" in call.args:
        return per_element_work(prod(call.outputs[0]), 1, 0, call.op)
    x: Any = call.inputs[0]
    return _joined(prod(x), prod(call.outputs[0]))


@cost_formula("aminmax", "_aminmax", family="elementwise")
def aminmax(call: OpCall) -> Work:
    """Minimum and maximum of each row: FLOPs = 2 (n − 1) per row."""
    x: Any = call.inputs[0]
    n, rows = prod(x), prod(call.outputs[0])
    flops = max(2 * (n - rows), 0)
    return Work(0, flops, 0, f"FLOPs = 2·(elements − rows) = 2·({n:,} − {rows:,}) = {flops:,}")


@cost_formula("mean", family="elementwise")
def mean(call: OpCall) -> Work:
    """FLOPs = n per row (1 special): n − 1 additions and a division."""
    return _per_row(call, 1, 0, 1, "add n − 1, divide")


@cost_formula("nansum", "count_nonzero", family="elementwise")
def selective_sum(call: OpCall) -> Work:
    """Sum of what passes a test: FLOPs = 2 n − 1 per row: compare n, add n − 1."""
    return _per_row(call, 2, -1, 0, "compare n, add n − 1")


@cost_formula("nanmean", family="elementwise")
def nanmean(call: OpCall) -> Work:
    """FLOPs = 3 n − 1 per row (1 special): compare n, add n − 1, count n − 1, divide."""
    return _per_row(call, 3, -1, 1, "compare n, add n − 1, count n − 1, divide")


@cost_formula("var", "var_mean", family="elementwise")
def variance(call: OpCall) -> Work:
    """Two passes. FLOPs = 4 n per row (2 special): mean n, sub n, square n, add n − 1, divide 1."""
    return _per_row(call, 4, 0, 2, "mean n, sub n, square n, add n − 1, divide")


@cost_formula("std", "std_mean", family="elementwise")
def deviation(call: OpCall) -> Work:
    """Root of the variance. FLOPs = 4 n + 1 per row (3 special)."""
    return _per_row(call, 4, 1, 3, "mean n, sub n, square n, add n − 1, divide, root")


@cost_formula(
    "linalg_vector_norm",
    "norm",
    "norm_except_dim",
    "linalg_norm",
    "linalg_matrix_norm",
    "frobenius_norm",
    family="elementwise",
)
def norm(call: OpCall) -> Work:
    """Vector norm of order p of each row; Frobenius norm of a matrix as the vector norm of order 2.

    FLOPs per row: p = 2: 2 n (1 special: square n, add n − 1, root) · p = 1, ±∞: 2 n − 1 (abs n, add or max
    n − 1) · p = 0: 2 n − 1 (compare, add) · other p: 3 n (n + 1 special: abs n, pow n, add n − 1, pow 1).
    Matrix norms other than Frobenius need singular values or column sums: not counted.
    Source: definition of ``torch.linalg.vector_norm``.
    """
    args = call.args
    p: Any = args.get("ord", args.get("p", args.get("pow")))
    x: Any = call.inputs[0]
    if p is None or p == "fro":
        p = 2
    elif _is_matrix_norm(call):
        return not_counted(f"matrix norm of order {p}")
    if p == 2:
        return _per_row(call, 2, 0, 1, "square n, add n − 1, root")
    if p in (0, 1, float("inf"), float("-inf")):
        return _per_row(call, 2, -1, 0, "abs n, join n − 1")
    total, rows = prod(x), prod(call.outputs[0])
    text = f"FLOPs = 3 (abs, pow, add) · {total:,} elements = {3 * total:,}, special {total + rows:,}"
    return Work(0, 3 * total, total + rows, text)


def _is_matrix_norm(call: OpCall) -> bool:
    """Whether an order given to this norm means that of a matrix: two dimensions, or a matrix without any."""
    if call.op != "linalg_norm":
        return call.op == "linalg_matrix_norm"
    dim: Any = call.args.get("dim")
    if dim is None:
        x: Any = call.inputs[0]
        return len(x) == 2
    return isinstance(dim, (tuple, list)) and len(dim) == 2


@cost_formula("dist", "pairwise_distance", family="elementwise")
def distance(call: OpCall) -> Work:
    """Norm of order 2 of the difference of two tensors (``dist``) or of their rows (``pairwise_distance``).

    FLOPs per row = 3 n (1 special), 4 n for ``pairwise_distance``, which adds ε: sub n, add n, square n,
    add n − 1, root. Other orders count as if they were 2: for p = 1 one too high per row, for other p the n
    powers are not marked special.
    Source: definitions of ``torch.dist``, ``torch.nn.PairwiseDistance``.
    """
    left: Any = call.inputs[0]
    right: Any = call.inputs[1]
    each = 4 if call.op == "pairwise_distance" else 3
    rows = prod(call.outputs[0])
    flops = each * max(prod(left), prod(right))
    return Work(0, flops, rows, f"FLOPs = {each} · {flops // each:,} elements = {flops:,}, special {rows:,}")


@cost_formula("cosine_similarity", family="elementwise")
def cosine_similarity(call: OpCall) -> Work:
    """a·b / (max(‖a‖, ε) max(‖b‖, ε)) of rows of n elements.

    FLOPs per row = 6 n + 3 (3 special): three sums of products 3 (2 n − 1), two roots, two max, mul, div.
    Two tensors that broadcast against each other count their norms at the broadcast size: too high by up to
    3 ×.
    Source: definition of ``torch.nn.CosineSimilarity``.
    """
    left: Any = call.inputs[0]
    right: Any = call.inputs[1]
    dim: Any = call.args.get("dim", 1)
    rows = prod(call.outputs[0])
    n = max(left[dim], right[dim])
    flops = rows * (6 * n + 3)
    text = f"FLOPs = rows·(6n + 3) = {rows:,}·(6·{n} + 3) = {flops:,}, special {3 * rows:,}"
    return Work(0, flops, 3 * rows, text)


def _joined(n: int, rows: int) -> Work:
    """``n`` elements become ``rows``; a row of no elements is a constant and costs nothing."""
    flops = max(n - rows, 0)
    return Work(0, flops, 0, f"FLOPs = elements − rows = {n:,} − {rows:,} = {flops:,}")


def _per_row(call: OpCall, per_element: int, per_row: int, special: int, counts: str) -> Work:
    """``per_element`` · n + ``per_row`` FLOPs and ``special`` special operations per row."""
    x: Any = call.inputs[0]
    n, rows = prod(x), prod(call.outputs[0])
    flops = max(per_element * n + per_row * rows, 0)
    more = f" {'+' if per_row > 0 else '−'} {rows:,} rows" if per_row else ""
    text = f"FLOPs = {per_element} · {n:,} elements{more} ({counts}) = {flops:,}, special {special * rows:,}"
    return Work(0, flops, special * rows, text)
