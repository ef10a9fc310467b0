"""Softmax, log-softmax and log-sum-exp over rows."""

from __future__ import annotations

from math import prod
from typing import Any

from engine.cost.registry import Work, cost_formula
from engine.graph import OpCall


@cost_formula("softmax", "_softmax", "_safe_softmax", "special_softmax", family="activation")
def softmax(call: OpCall) -> Work:
    """exp(x − max) / Σ exp(x − max) over rows of n elements along ``dim``.

    FLOPs per row = 5 n − 2 (2 n special): max n − 1, sub n, exp n, add n − 1, divide n.
    Source: definition of ``torch.softmax`` (numerically safe form).
    """
    x: Any = call.inputs[0]
    dim: Any = call.args["dim"]
    total = prod(x)
    n = x[dim] if x else 1
    rows = total // n if n else 0
    flops = rows * (5 * n - 2)
    text = f"FLOPs = rows·(5n − 2) = {rows:,}·(5·{n} − 2) = {flops:,}, special {2 * total:,}"
    return Work(0, flops, 2 * total, text)


@cost_formula("log_softmax", "_log_softmax", "special_log_softmax", family="activation")
def log_softmax(call: OpCall) -> Work:
    """x − max − log Σ exp(x − max) over rows of n elements along ``dim``.

    FLOPs per row = 5 n − 1 (n + 1 special): max n − 1, sub n, exp n, add n − 1, log 1, sub n.
    Source: definition of ``torch.log_softmax``.
    """
    x: Any = call.inputs[0]
    dim: Any = call.args["dim"]
    n = x[dim] if x else 1
    rows = prod(x) // n if n else 0
    flops, special = rows * (5 * n - 1), rows * (n + 1)
    text = f"FLOPs = rows·(5n − 1) = {rows:,}·(5·{n} − 1) = {flops:,}, special {special:,}"
    return Work(0, flops, special, text)


@cost_formula("logsumexp", "special_logsumexp", family="activation")
def logsumexp(call: OpCall) -> Work:
    """max + log Σ exp(x − max) over rows of n elements.

    FLOPs per row = 4 n (n + 1 special): max n − 1, sub n, exp n, add n − 1, log 1, add 1.
    Source: definition of ``torch.logsumexp``.
    """
    x: Any = call.inputs[0]
    total, rows = prod(x), prod(call.outputs[0])
    flops, special = 4 * total, total + rows
    return Work(0, flops, special, f"FLOPs = 4 · {total:,} elements = {flops:,}, special {special:,}")
