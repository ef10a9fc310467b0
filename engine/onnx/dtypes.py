"""ONNX element types by the names that are used everywhere, and their size."""

from __future__ import annotations

import math

from engine.graph import Shape

# onnx.TensorProto.DataType, by number; fixed by the file format.
NAMES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 8: "string", 9: "bool",
    10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 14: "complex64", 15: "complex128", 16: "bfloat16",
    17: "float8_e4m3fn", 18: "float8_e4m3fnuz", 19: "float8_e5m2", 20: "float8_e5m2fnuz", 21: "uint4", 22: "int4",
    23: "float4_e2m1", 24: "float8_e8m0", 25: "uint2", 26: "int2",
}  # fmt: skip
NUMBERS = {name: number for number, name in NAMES.items()}
BITS = {
    "float32": 32, "uint8": 8, "int8": 8, "uint16": 16, "int16": 16, "int32": 32, "int64": 64, "string": 0, "bool": 8,
    "float16": 16, "float64": 64, "uint32": 32, "uint64": 64, "complex64": 64, "complex128": 128, "bfloat16": 16,
    "float8_e4m3fn": 8, "float8_e4m3fnuz": 8, "float8_e5m2": 8, "float8_e5m2fnuz": 8, "uint4": 4, "int4": 4,
    "float4_e2m1": 4, "float8_e8m0": 8, "uint2": 2, "int2": 2,
}  # fmt: skip
"""Of one element; strings have none of their own."""


def dtype_name(number: int) -> str:
    """``float32`` for 1; ``type 99`` for one that is not known."""
    return NAMES.get(number, f"type {number}")


def tensor_bytes(shape: Shape, dtype: str) -> int:
    """Bytes of a tensor, packed where an element is smaller than a byte; 0 where the dtype has no size."""
    return (math.prod(shape) * BITS.get(dtype, 0) + 7) // 8
