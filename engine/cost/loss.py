"""Losses, for models that compute theirs inside forward."""

from __future__ import annotations

from math import prod
from typing import Any

from engine.cost.registry import Work, cost_formula
from engine.graph import OpCall

_TERM = {
    "mse_loss": (2, 0, "sub, square"),
    "l1_loss": (2, 0, "sub, abs"),
    "smooth_l1_loss": (7, 1, "sub, abs, compare, square, div, sub, select"),
    "huber_loss": (6, 0, "sub, abs, compare, square, mul, select"),
    "binary_cross_entropy": (8, 2, "log, log, sub, sub, mul, mul, add, neg"),
    "binary_cross_entropy_with_logits": (8, 2, "mul, sub, max, abs, exp, log1p, add, neg"),
    "kl_div": (4, 1, "log, sub, mul, select"),
}
"""FLOPs per term, the special ones among them, and what is counted."""


@cost_formula(*_TERM, family="elementwise")
def elementwise_loss(call: OpCall) -> Work:
    """A loss with one term per element, then the mean (reduction 1), the sum (2) or nothing (0).

    FLOPs per term: MSE 2, L1 2, smooth L1 7 (1 special), Huber 6, binary cross entropy 8 (2 special; with
    logits too), KL divergence 4 (1 special); + 1 per term for the mean (1 special in all), 1 less for the
    sum. Weights of classes or samples are left out (1 per term). Source: definitions in
    ``torch.nn.functional``.
    """
    x: Any = call.inputs[0]
    each, special, counts = _TERM[call.op]
    terms = prod(x)
    joined, divisions = _reduced(call, terms)
    flops = each * terms + joined
    specials = special * terms + divisions
    text = (
        f"FLOPs = {each} ({counts}) · {terms:,} terms + reduction {joined:,} = {flops:,}, "
        f"special {specials:,}"
    )
    return Work(0, flops, specials, text)


@cost_formula("cross_entropy_loss", family="elementwise")
def cross_entropy(call: OpCall) -> Work:
    """Log-softmax over the n classes (dimension 1, or 0 of a vector), negated at the target, then reduced.

    FLOPs per row = 5 n − 1 (n + 1 special) + 1; + 1 per row for the mean (1 special in all), 1 less for the
    sum. Targets given as probabilities (2 n more per row), class weights and label smoothing are left out.
    Source: definition of ``torch.nn.functional.cross_entropy``.
    """
    x: Any = call.inputs[0]
    n = x[1] if len(x) > 1 else x[0]
    rows = prod(x) // n if n else 0
    joined, divisions = _reduced(call, rows)
    flops = rows * 5 * n + joined
    special = rows * (n + 1) + divisions
    text = f"FLOPs = rows·5n + reduction = {rows:,}·5·{n} + {joined:,} = {flops:,}, special {special:,}"
    return Work(0, flops, special, text)


@cost_formula(
    "nll_loss", "nll_loss_nd", "nll_loss2d", "nll_loss_forward", "nll_loss2d_forward", family="elementwise"
)
def nll(call: OpCall) -> Work:
    """Picks the target's log-probability of each row and negates it. FLOPs = 1 per row + the reduction."""
    target: Any = call.inputs[1]
    rows = prod(target)
    joined, divisions = _reduced(call, rows)
    text = f"FLOPs = rows + reduction = {rows:,} + {joined:,} = {rows + joined:,}, special {divisions}"
    return Work(0, rows + joined, divisions, text)


def _reduced(call: OpCall, terms: int) -> tuple[int, int]:
    """(FLOPs, divisions) of joining the terms: nothing, a mean or a sum."""
    reduction: Any = call.args.get("reduction", 1)
    if reduction == 0 or not terms:
        return 0, 0
    return (terms, 1) if reduction == 1 else (terms - 1, 0)
