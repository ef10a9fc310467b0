"""Work made of parts: a product and what is done to its result, at once in one fused operator."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import NamedTuple

from engine.cost import Work, cost_of
from engine.graph import OpCall, Shape


class Extra(NamedTuple):
    """Arithmetic beside MACs, and its name in the formula."""

    what: str
    flops: int
    special: int = 0


def counted(op: str, inputs: tuple[Shape | None, ...], output: Shape, args: dict[str, object]) -> Work:
    """The work of an operation of engine.cost."""
    return cost_of(OpCall(op, inputs, (output,), args), unchecked=True)[1]


def plus(work: Work, *extras: Extra) -> Work:
    """``work`` and more FLOPs; what is not counted stays so."""
    extras = tuple([extra for extra in extras if extra.flops])
    if not extras or work.flops is None or work.special_ops is None:
        return work
    flops = work.flops + sum([extra.flops for extra in extras])
    special = work.special_ops + sum([extra.special for extra in extras])
    added = " + ".join(f"{extra.what} {extra.flops:,}" for extra in extras)
    marked = f", special {special:,}" if special else ""
    return Work(work.macs, flops, special, f"{work.formula}; + {added} = {flops:,}{marked}", work.weighted)


def moved(work: Work, positions: Mapping[int, int]) -> Work:
    """``work`` with its weights at other positions among the inputs: those of the node."""
    if work.weighted is None:
        return work
    weighted = tuple([(positions[at], macs) for at, macs in work.weighted])
    return Work(work.macs, work.flops, work.special_ops, work.formula, weighted)


def unweighted(work: Work) -> Work:
    """``work`` of which nobody knows what zeros save: in quantised weights the zero point says what is zero."""
    return Work(work.macs, work.flops, work.special_ops, work.formula)


def products(macs: int, what: str, weighted: tuple[tuple[int, int], ...] | None, *extras: Extra) -> Work:
    """2 FLOPs per MAC and ``extras``; ``what`` says what the MACs are."""
    flops = 2 * macs
    return plus(
        Work(macs, flops, 0, f"MACs = {what} = {macs:,}; FLOPs = 2·MACs = {flops:,}", weighted), *extras
    )


ACTIVATIONS = {
    "identity": (0, 0), "none": (0, 0), "": (0, 0), "relu": (1, 0), "sigmoid": (1, 1), "tanh": (1, 1),
    "leakyrelu": (2, 0), "clip": (2, 0), "silu": (2, 1), "swish": (2, 1), "gelu": (5, 1), "hardsigmoid": (4, 0),
    "hardswish": (5, 0), "elu": (4, 1), "selu": (5, 1), "softplus": (3, 2), "softsign": (3, 1), "affine": (2, 0),
    "fastgelu": (9, 1), "thresholdedrelu": (2, 0), "scaledtanh": (3, 1), "mish": (5, 3),
}  # fmt: skip
"""FLOPs and special ones per element of activations that are part of another operator, by name in lower case."""


def activated(name: str, shape: Shape) -> Extra:
    """An activation on every element; one that is not known counts 1."""
    flops, special = ACTIVATIONS.get(name.lower(), (1, 0))
    n = prod(shape)
    return Extra(name, flops * n, special * n)
