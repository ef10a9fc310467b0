"""ONNX element types by the names that are used everywhere, and their size."""

from __future__ import annotations

import math

from engine.files.onnx_schema import BITS, DTYPES
from engine.graph import Shape

__all__ = ["BITS", "NAMES", "NUMBERS", "dtype_name", "tensor_bytes"]

NAMES = DTYPES
"""By onnx.TensorProto.DataType."""
NUMBERS = {name: number for number, name in NAMES.items()}


def dtype_name(number: int) -> str:
    """``float32`` for 1; ``type 99`` for one that is not known."""
    return NAMES.get(number, f"type {number}")


def tensor_bytes(shape: Shape, dtype: str) -> int:
    """Bytes of a tensor, packed where an element is smaller than a byte; 0 where the dtype has no size."""
    return (math.prod(shape) * BITS.get(dtype, 0) + 7) // 8
