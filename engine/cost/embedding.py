"""Embeddings: rows looked up in a table, and bags of such rows."""

from __future__ import annotations

from math import prod
from typing import Any

from engine.cost.registry import Work, cost_formula
from engine.graph import OpCall


@cost_formula("embedding", "one_hot", family="embedding")
def embedding(call: OpCall) -> Work:
    """Copies rows of a table: 0 MACs, 0 FLOPs. (A product with one-hot vectors is what nobody executes.)"""
    return Work(0, 0, 0, "FLOPs = 0: rows are copied")


@cost_formula("embedding_bag", "_embedding_bag", "_embedding_bag_forward_only", family="embedding")
def embedding_bag(call: OpCall) -> Work:
    """Sum (mode 0), mean (1) or maximum (2) over bags of table rows: L indices, output ``(bags, d)``.

    FLOPs = (L − bags) · d for sum and maximum, L · d for the mean (bags · d special), + L · d with weights
    per sample. Padding indices are counted, empty bags too. Source: definition of ``torch.nn.EmbeddingBag``.
    """
    args = call.args
    indices: Any = args["indices"]
    bags, width = call.outputs[0]
    rows = prod(indices)
    flops, special = (rows - bags) * width, 0
    if args.get("mode", 0) == 1:
        flops, special = rows * width, bags * width
    if args.get("per_sample_weights") is not None:
        flops += rows * width
    flops = max(flops, 0)
    text = f"FLOPs of {rows:,} rows of {width} in {bags:,} bags = {flops:,}, special {special:,}"
    return Work(0, flops, special, text)
