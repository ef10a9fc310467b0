"""How many weights stand in a tensor that holds several of them in one byte."""

from __future__ import annotations

import math

from engine.onnx.graph import Array, Node, StoredTensor

_WIDTHS = {"MatMulNBitsQkv": {3: "Nq", 6: "Nkv", 9: "Nkv"}}
"""Attributes with the number of columns, where it is not ``N``."""
_EXPERTS = {2: "fc1_expert_weight_bits", 5: "fc2_expert_weight_bits", 8: "fc3_expert_weight_bits"}


def packed_elements(node: Node, position: int, stored: StoredTensor, shape: Array | None) -> int:
    """Elements that the packed weight at ``position`` stands for.

    ``shape`` is the value of the input that says it, where the operator has one (MatMulFpQ4): its blob holds scales
    as well. K and N say it exactly, also where the last block is filled up.
    """
    if shape is not None:
        return math.prod(int(size) for size in shape.reshape(-1))
    rows = node.attributes.get("K")
    columns = node.attributes.get(_WIDTHS.get(node.op_type, {}).get(position, "N"))
    if isinstance(rows, int) and isinstance(columns, int):
        return rows * columns
    bits = _bits(node, position)
    elements = math.prod(stored.shape)
    return elements * 8 // bits if stored.dtype in ("uint8", "int8") and bits in (2, 4) else elements


def _bits(node: Node, position: int) -> object:
    if node.op_type == "QMoE":
        shared = node.attributes.get("expert_weight_bits", 4)
        return node.attributes.get(_EXPERTS.get(position, ""), shared) or shared
    return node.attributes.get("bits", 4)
