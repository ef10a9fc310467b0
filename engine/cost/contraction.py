"""Products of several tensors: einsum, tensordot, chains of matrices."""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any

from engine.cost.registry import Work, cost_formula, product
from engine.graph import OpCall, Shape


@cost_formula("einsum", family="linear")
def einsum(call: OpCall) -> Work:
    """Einstein summation, two operands at a time, left to right or along the ``path`` that the caller passes.

    A pair that sums over common labels is a batched matrix product: MACs = product of the sizes of all its
    labels. A pair without a common sum is an elementwise product: 1 FLOP per element, no MACs. A label of
    one operand alone that is not in the result is summed first: elements before − elements after. Diagonals
    (``ii``) are views: 0. Of one product of two operands each element is used equally often; what zeros in one of
    several operands would save is not known.
    Source: ``torch.einsum`` (``aten/src/ATen/native/Linear.cpp``), which contracts in this order; equals
    half of FlopCounterMode.
    """
    tensors: Any = call.args["tensors"]
    equation: Any = call.args["equation"]
    path: Any = call.args.get("path")
    macs, other = contraction(equation, tuple(tensors), tuple(path) if path else None)
    flops = 2 * macs + other
    sizes = ", ".join(product(shape) for shape in tensors)
    text = f"MACs of {equation} on {sizes} = {macs:,}; FLOPs = 2·MACs + {other:,} = {flops:,}"
    return Work(macs, flops, 0, text, _one_product(equation, tuple(tensors), macs))


@cost_formula("tensordot", family="linear")
def tensordot(call: OpCall) -> Work:
    """Sum of products over ``dims_self`` of the first operand.

    MACs = outputs · prod(summed sizes); FLOPs = 2 · MACs.
    Without dimensions to sum it is an outer product: 1 FLOP per output, no MACs.
    Source: definition of ``torch.tensordot``.
    """
    left: Any = call.inputs[0]
    dims: Any = call.args["dims_self"]
    out = call.outputs[0]
    outputs = prod(out)
    if not dims:
        return Work(0, outputs, 0, f"FLOPs = 1 (mul) · {outputs:,} elements = {outputs:,}")
    summed = tuple(left[dim] for dim in dims)
    macs = outputs * prod(summed)
    text = (
        f"MACs = outputs·summed = {product(out)}·{product(summed)} = {macs:,}; FLOPs = 2·MACs = {2 * macs:,}"
    )
    return Work(macs, 2 * macs, 0, text, ((0, macs), (1, macs)))


@cost_formula("linalg_multi_dot", "chain_matmul", family="linear")
def multi_dot(call: OpCall) -> Work:
    """Product of several matrices in the cheapest order.

    MACs = the minimum over all orders of multiplication; FLOPs = 2 · MACs.
    Source: ``torch.linalg.multi_dot``, which finds the same order by dynamic programming (Cormen et al.,
    ch. 15.2).
    """
    matrices: Any = call.args.get("tensors", call.args.get("matrices"))
    shapes = tuple(matrices)
    if len(shapes[0]) == 1:
        shapes = ((1, *shapes[0]), *shapes[1:])
    if len(shapes[-1]) == 1:
        shapes = (*shapes[:-1], (*shapes[-1], 1))
    macs = chain_macs((*(shape[0] for shape in shapes), shapes[-1][1]))
    sizes = " @ ".join(product(shape) for shape in matrices)
    return Work(
        macs, 2 * macs, 0, f"MACs of {sizes}, cheapest order = {macs:,}; FLOPs = 2·MACs = {2 * macs:,}"
    )


@lru_cache(256)
def chain_macs(sizes: tuple[int, ...]) -> int:
    """Fewest MACs to multiply matrices ``sizes[0] × sizes[1]``, ``sizes[1] × sizes[2]`` …"""
    count = len(sizes) - 1
    cost = [[0] * count for _ in range(count)]
    for span in range(1, count):
        for first in range(count - span):
            last = first + span
            cost[first][last] = min(
                cost[first][cut] + cost[cut + 1][last] + sizes[first] * sizes[cut + 1] * sizes[last + 1]
                for cut in range(first, last)
            )
    return cost[0][-1]


@lru_cache(1024)
def _one_product(equation: str, shapes: tuple[Shape, ...], macs: int) -> tuple[tuple[int, int], ...] | None:
    """Both operands take part in all MACs; None where there are more, or where one is not used as it is.

    That is where only its diagonal is, or its sum over labels that nothing else has.
    """
    if len(shapes) != 2:
        return None
    (left, right), result = _labelled(equation, shapes)
    for labels, other, shape in ((left, right, shapes[0]), (right, left, shapes[1])):
        reduced, _ = _summed_alone(labels, other, result)
        if reduced != labels or prod(labels.values()) != prod(shape):
            return None
    return ((0, macs), (1, macs))


@lru_cache(1024)
def contraction(equation: str, shapes: tuple[Shape, ...], path: tuple[int, ...] | None) -> tuple[int, int]:
    """(MACs, other FLOPs) of an einsum; ``path`` holds two operand positions per step, None is in order."""
    operands, result = _labelled(equation, shapes)
    macs = other = 0
    steps = iter(path or ())
    while len(operands) > 1:
        positions = (next(steps), next(steps)) if path else (0, 1)
        left, right = (operands[position] for position in positions)
        rest = [terms for position, terms in enumerate(operands) if position not in positions]
        needed = set(result).union(*rest)
        left, summed = _summed_alone(left, right, needed)
        other += summed
        right, summed = _summed_alone(right, left, needed)
        other += summed
        common = {label: max(left.get(label, 1), right.get(label, 1)) for label in left | right}
        shared = {
            label for label in common if label not in needed and left.get(label, 1) == right.get(label, 1)
        }
        summable = {label for label in shared if common[label] != 1}
        work = prod(common.values())
        if summable:
            macs += work
        else:
            other += work
        merged = {label: size for label, size in common.items() if label in needed}
        # torch puts the result of a step in front, or last when it follows a path.
        operands = [*rest, merged] if path else [merged, *rest]
    (last,) = operands
    kept = prod(size for label, size in last.items() if label in result)
    return macs, other + max(prod(last.values()) - kept, 0)


def _summed_alone(
    terms: dict[str, int], partner: dict[str, int], needed: set[str]
) -> tuple[dict[str, int], int]:
    """``terms`` without the labels that nothing else has at a size above 1, and the additions that took."""
    kept = {
        label: size
        for label, size in terms.items()
        if label in needed or size == 1 or partner.get(label, 1) != 1
    }
    return kept, prod(terms.values()) - prod(kept.values())


def _labelled(equation: str, shapes: tuple[Shape, ...]) -> tuple[list[dict[str, int]], set[str]]:
    """Sizes by label of every operand, and the labels of the result.

    The dimensions of an ellipsis become labels ``.0``, ``.1`` … from the last one on, as they broadcast.
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    operands = []
    ellipsis_labels: set[str] = set()
    for term, shape in zip(left.split(","), shapes, strict=True):
        names = _names(term, len(shape))
        ellipsis_labels.update(name for name in names if name.startswith("."))
        operands.append(dict(zip(names, shape, strict=True)))
    if arrow:
        result = {name for name in right if name != "."}
        if "..." in right:
            result |= ellipsis_labels
    else:
        letters = left.replace(",", "").replace(".", "")
        result = {name for name in letters if letters.count(name) == 1} | ellipsis_labels
    return operands, result


def _names(term: str, rank: int) -> list[str]:
    before, dots, after = term.partition("...")
    if not dots:
        return list(term)
    hidden = rank - len(before) - len(after)
    return [*before, *(f".{hidden - 1 - index}" for index in range(hidden)), *after]
