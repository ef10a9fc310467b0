"""Formulas that are a fixed number of operations per output element.

This module registers nothing itself; ``elementwise.py``, ``activation.py`` and others call it.
"""

from __future__ import annotations

from math import prod

from engine.cost.registry import Formula, Work, cost_formula
from engine.graph import OpCall


def per_element(*ops: str, flops: int, special: int = 0, counts: str, family: str) -> None:
    """Register ``ops`` at ``flops`` per output element, ``special`` of them special operations.

    ``counts`` names the operations that are counted, in the order they are done: ``exp, sub, mul``.
    """

    def formula(call: OpCall) -> Work:
        n = prod(call.outputs[0])
        return per_element_work(n, flops, special, counts)

    formula.__doc__ = f"FLOPs = {flops} per output element ({counts}), {special} of them special operations."
    formula.__qualname__ = f"per_element({', '.join(ops)})"
    register: Formula = formula
    cost_formula(*ops, family=family)(register)


def per_element_work(elements: int, flops: int, special: int, counts: str) -> Work:
    """``flops`` operations on each of ``elements``; no multiply–accumulates."""
    total = flops * elements
    if special:
        specials = special * elements
        text = f"FLOPs = {flops} ({counts}) · {elements:,} elements = {total:,}, special {specials:,}"
        return Work(0, total, specials, text)
    return Work(0, total, 0, f"FLOPs = {flops} ({counts}) · {elements:,} elements = {total:,}")
