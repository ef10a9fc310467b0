"""Matrix products: linear, matmul and its relatives, batched and grouped, bilinear forms, distances.

``einsum`` and products of several matrices are in ``contraction.py``.
"""

from __future__ import annotations

from math import prod
from typing import Any

from engine.cost.registry import Work, cost_formula, product
from engine.graph import OpCall, Shape


@cost_formula("linear", "mkldnn_linear", family="linear")
def linear(call: OpCall) -> Work:
    """y = x Wᵀ + b for x ``(…, in)``, W ``(out, in)``.

    MACs = elements of y · in; FLOPs = 2 · MACs + 1 per output element with a bias.
    Source: definition of ``torch.nn.Linear``.
    """
    inputs: Any = call.inputs[0]
    return _contracted(call.outputs[0], inputs[-1], call.args.get("bias") is not None, (1,))


@cost_formula("matmul", "linalg_matmul", "mm", "bmm", "mv", "dot", "vdot", "_int_mm", family="linear")
def matmul(call: OpCall) -> Work:
    """Matrix product of ``(…, m, k)`` and ``(…, k, n)``, batch dimensions broadcast; vectors are allowed.

    MACs = elements of the output · k; FLOPs = 2 · MACs (the first sum of each element counts as an addition
    to 0).
    Source: definition of ``torch.matmul``.
    """
    left: Any = call.inputs[0]
    return _contracted(call.outputs[0], left[-1], False, (0, 1))


@cost_formula("inner", "linalg_vecdot", family="linear")
def inner(call: OpCall) -> Work:
    """Sum of products over one dimension of size k: the last, or ``dim`` for ``linalg_vecdot``.

    With a scalar it is an elementwise product: 1 FLOP per output, no MACs. Else
    MACs = elements of the output · k; FLOPs = 2 · MACs.
    Source: definitions of ``torch.inner`` and ``torch.linalg.vecdot``.
    """
    left: Any = call.inputs[0]
    right: Any = call.inputs[1]
    if not left or not right:
        outputs = prod(call.outputs[0])
        return Work(0, outputs, 0, f"FLOPs = 1 (mul) · {outputs:,} elements = {outputs:,}")
    dim: Any = call.args.get("dim", -1)
    return _contracted(call.outputs[0], max(left[dim], right[dim]), False, (0, 1))


@cost_formula("addmm", "addmv", "baddbmm", "_addmm_activation", family="linear")
def addmm(call: OpCall) -> Work:
    """beta · self + alpha · (A @ B), batched for ``baddbmm``, with a vector for ``addmv``.

    MACs = elements of the output · k
    FLOPs = 2 · MACs + 1 per output element for the addition (none with beta = 0), + 1 each for alpha and
    beta other than 1; the activation of ``_addmm_activation`` counts 1 (its GELU form is 8 too low).
    Source: definition of ``torch.addmm``.
    """
    left: Any = call.inputs[1]
    outputs = prod(call.outputs[0])
    extra = _added(call, outputs)
    if call.op == "_addmm_activation":
        extra += outputs
    return _summed(outputs * left[-1], extra, f"outputs·k = {product(call.outputs[0])}·{left[-1]}", (1, 2))


@cost_formula("addbmm", family="linear")
def addbmm(call: OpCall) -> Work:
    """beta · self + alpha · Σ_b A_b @ B_b for A ``(b, m, k)``, B ``(b, k, n)``.

    MACs = b · m · k · n; FLOPs = 2 · MACs + 1 per output element, + 1 each for alpha and beta other than 1.
    Source: definition of ``torch.addbmm``.
    """
    left: Any = call.inputs[1]
    out = call.outputs[0]
    macs = left[0] * prod(out) * left[2]
    return _summed(macs, _added(call, prod(out)), f"b·m·n·k = {left[0]}·{product(out)}·{left[2]}", (1, 2))


@cost_formula(
    "_scaled_mm",
    "_scaled_mm_v2",
    "_weight_int8pack_mm",
    "_weight_int4pack_mm",
    "_weight_int4pack_mm_for_cpu",
    family="linear",
)
def scaled_mm(call: OpCall) -> Work:
    """Matrix product of scaled low-precision numbers, A ``(m, k)`` with n columns.

    MACs = m · n · k; FLOPs = 2 · MACs + 1 per output element for the scale, + 1 with a bias. Scales per
    group of 4-bit weights are left out (2 / m of a MAC's FLOPs). Source: ``torch._scaled_mm``,
    ``torch._weight_int8pack_mm``.
    """
    left: Any = call.inputs[0]
    outputs = prod(call.outputs[0])
    extra = outputs * (2 if call.args.get("bias") is not None else 1)
    # Low precision is packed: what a zero is says the scale, and nobody counts them here.
    return _summed(outputs * left[-1], extra, f"outputs·k = {product(call.outputs[0])}·{left[-1]}")


@cost_formula("_grouped_mm", "_scaled_grouped_mm", "_scaled_grouped_mm_v2", family="linear")
def grouped_mm(call: OpCall) -> Work:
    """Matrix products of groups (experts): every row or column works with the matrix of its group only.

    A ``(M, k)`` with B ``(g, k, n)``: MACs = M · k · n. A ``(g, m, k)`` with B ``(k, N)``: m · k · N.
    A ``(m, K)`` with B ``(K, n)``, K divided into groups: m · K · n. A ``(g, m, k)`` with B ``(g, k, n)``:
    g · m · k · n.
    FLOPs = 2 · MACs + 1 per output element with a bias (and 1 for the scale of the scaled form).
    Rows that no group claims are counted as well. Which expert works how often depends on the data, so what zeros in
    their weights would save is not known. Source: ``torch._grouped_mm``; FlopCounterMode counts 0.
    """
    left: Any = call.inputs[0]
    right: Any = call.inputs[1]
    if len(left) == 3 and len(right) == 2:
        macs = prod(left[1:]) * right[1]
        text = f"m·k·N = {product(left[1:])}·{right[1]}"
    else:
        macs = prod(left) * right[-1]
        text = f"rows·k·n = {product(left)}·{right[-1]}"
    outputs = prod(call.outputs[0])
    extra = outputs if call.args.get("bias") is not None else 0
    if call.op != "_grouped_mm":
        extra += outputs
    return _summed(macs, extra, text)


@cost_formula("bilinear", family="linear")
def bilinear(call: OpCall) -> Work:
    """y_o = x₁ᵀ A_o x₂ + b_o for x₁ ``(…, in1)``, x₂ ``(…, in2)``, A ``(out, in1, in2)``.

    MACs = rows · out · in1 · in2: each weight once per row
    FLOPs = 2 · MACs + rows · in1 · in2 for the products x₁ᵢ x₂ⱼ, which all outputs share, + 1 per output
    with a bias
    Source: definition of ``torch.nn.Bilinear``; FlopCounterMode counts 0.
    """
    weight: Any = call.args["weight"]
    out = call.outputs[0]
    outputs = prod(out)
    pairs = weight[1] * weight[2]
    extra = prod(out[:-1]) * pairs + (outputs if call.args.get("bias") is not None else 0)
    text = f"rows·out·in1·in2 = {product(out)}·{weight[1]}·{weight[2]}"
    return _summed(outputs * pairs, extra, text, (2,))


@cost_formula("affine_grid_generator", family="linear")
def affine_grid(call: OpCall) -> Work:
    """Sampling grid θ · (x, y, 1)ᵀ for θ ``(N, d, d + 1)``: output ``(N, …, d)``.

    MACs = elements of the output · (d + 1); FLOPs = 2 · MACs. The base grid itself is left out (1/N of 1
    per element).
    Source: definition of ``torch.nn.functional.affine_grid``.
    """
    theta: Any = call.inputs[0]
    return _contracted(call.outputs[0], theta[2], False, (0,))


@cost_formula("cdist", "_cdist_forward", "_euclidean_dist", "pdist", "_pdist_forward", family="linear")
def cdist(call: OpCall) -> Work:
    """Distances between all rows of x₁ ``(…, P, m)`` and x₂ ``(…, R, m)``: output ``(…, P, R)``;
    ``pdist``: between all pairs of rows of one matrix.

    p = 2: MACs = outputs · m (difference times itself, added up); FLOPs = 2 · MACs + outputs · m differences
    + outputs roots (special). p = 1 or ∞: 3 m − 1 per output (sub, abs, add or max), no MACs; p = 0: the
    same with compare for abs; other p: 4 m per output (sub, abs, pow, add; m + 1 special).
    For more than 25 rows torch computes p = 2 by one matrix product with k = m + 2 instead. A zero in a stored row
    saves nothing: the difference is not 0.
    Source: definition of ``torch.cdist``; FlopCounterMode counts 0.
    """
    left: Any = call.inputs[0]
    p: Any = call.args.get("p", 2.0)
    out, m = call.outputs[0], left[-1]
    outputs = prod(out)
    if p == 2:
        macs = outputs * m
        flops = 2 * macs + macs + outputs
        text = (
            f"MACs = outputs·m = {product(out)}·{m} = {macs:,}; "
            f"FLOPs = 2·MACs + differences {macs:,} + roots {outputs:,} = {flops:,}"
        )
        return Work(macs, flops, outputs, text, ())
    if p in (0, 1, float("inf")):
        flops = outputs * max(3 * m - 1, 0)
        return Work(0, flops, 0, f"FLOPs = (3m − 1) · outputs = (3·{m} − 1) · {outputs:,} = {flops:,}")
    flops = outputs * 4 * m
    text = f"FLOPs = 4m · outputs = 4·{m} · {outputs:,} = {flops:,}"
    return Work(0, flops, outputs * (m + 1), text)


@cost_formula("_trilinear", family="linear")
def trilinear(call: OpCall) -> Work:
    """The kernel behind ``bilinear``: Σ i₁ · i₂ · i₃ over ``sumdim``, with dimensions of 1 put in at ``expand1`` …

    MACs = product of all sizes, broadcast; FLOPs = 2 · MACs + elements of i₁ · i₃, which all of i₂ share. As
    ``nn.Bilinear`` calls it, with the weight in the middle: rows · out · in1 · in2. Source:
    ``aten/src/ATen/native/Linear.cpp``.
    """
    first, middle, last = (
        _expanded(shape, call.args[f"expand{number}"]) for number, shape in enumerate(call.inputs[:3], 1)
    )
    pairs = prod(max(sizes) for sizes in zip(first, last, strict=True))
    whole = [max(sizes) for sizes in zip(first, middle, last, strict=True)]
    return _summed(prod(whole), pairs, f"all sizes = {product(tuple(whole))}", (1,))


def _expanded(shape: Any, places: Any) -> Shape:
    """``shape`` with a 1 at each of ``places`` of the result."""
    sizes = list(shape)
    for place in sorted(places):
        sizes.insert(place, 1)
    return tuple(sizes)


def _contracted(out: Shape, k: int, bias: bool, weights: tuple[int, ...]) -> Work:
    """Every output element is a sum of ``k`` products, plus a bias if there is one.

    ``weights`` are the positions of the inputs that can be a weight, here as below.
    """
    outputs = prod(out)
    macs = outputs * k
    flops = 2 * macs + (outputs if bias else 0)
    added = f" + bias {outputs:,}" if bias else ""
    text = f"MACs = outputs·k = {product(out)}·{k} = {macs:,}; FLOPs = 2·MACs{added} = {flops:,}"
    return Work(macs, flops, 0, text, _all_on(weights, macs))


def _summed(macs: int, extra: int, text: str, weights: tuple[int, ...] | None = None) -> Work:
    flops = 2 * macs + extra
    text = f"MACs = {text} = {macs:,}; FLOPs = 2·MACs + {extra:,} = {flops:,}"
    return Work(macs, flops, 0, text, None if weights is None else _all_on(weights, macs))


def _all_on(weights: tuple[int, ...], macs: int) -> tuple[tuple[int, int], ...]:
    """Each of these inputs takes part in all MACs, every element equally often."""
    return tuple((position, macs) for position in weights)


def _added(call: OpCall, outputs: int) -> int:
    """FLOPs of ``beta · self +`` and ``alpha ·`` around a product with that many output elements."""
    beta: Any = call.args.get("beta", 1)
    alpha: Any = call.args.get("alpha", 1)
    per_output = (1 if beta != 0 else 0) + (1 if beta not in (0, 1) else 0) + (1 if alpha != 1 else 0)
    return per_output * outputs
