"""Element types by the names that torch, its storages, its export schema, safetensors and numpy give them."""

from __future__ import annotations

SIZES = {
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2,
    "int64": 8, "int32": 4, "int16": 2, "int8": 1,
    "uint64": 8, "uint32": 4, "uint16": 2, "uint8": 1, "bool": 1,
    "complex128": 16, "complex64": 8, "complex32": 4,
    "float8_e4m3fn": 1, "float8_e5m2": 1, "float8_e4m3fnuz": 1, "float8_e5m2fnuz": 1, "float8_e8m0fnu": 1,
    "float4_e2m1fn_x2": 1,
    "qint8": 1, "quint8": 1, "qint32": 4, "quint4x2": 1, "quint2x4": 1,
    "bits8": 1, "bits16": 2, "bits1x8": 1, "bits2x4": 1, "bits4x2": 1,
}  # fmt: skip
"""Bytes per element, by torch's name of the dtype."""

ALIASES = {"float": "float32", "double": "float64", "half": "float16", "long": "int64", "int": "int32",
           "short": "int16", "cfloat": "complex64", "cdouble": "complex128", "chalf": "complex32"}  # fmt: skip

STORAGES = {
    "Double": "float64", "Float": "float32", "Half": "float16", "BFloat16": "bfloat16", "Long": "int64",
    "Int": "int32", "Short": "int16", "Char": "int8", "Byte": "uint8", "Bool": "bool",
    "ComplexDouble": "complex128", "ComplexFloat": "complex64", "QInt8": "qint8", "QUInt8": "quint8",
    "QInt32": "qint32", "QUInt4x2": "quint4x2", "QUInt2x4": "quint2x4", "Untyped": "uint8",
}  # fmt: skip
"""Kind of storage (``Float`` of ``torch.FloatStorage``) → dtype."""

EXPORT = {
    1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32", 8: "float64",
    9: "complex32", 10: "complex64", 11: "complex128", 12: "bool", 13: "bfloat16", 28: "uint16",
    29: "float8_e4m3fn", 30: "float8_e5m2", 31: "float8_e4m3fnuz", 32: "float8_e5m2fnuz", 33: "float8_e8m0fnu",
    34: "uint32", 35: "uint64",
}  # fmt: skip
"""``ScalarType`` of torch's export schema (``torch/_export/serde/schema.py``)."""

SAFETENSORS_BITS = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64, "U32": 32,
    "U16": 16, "U8": 8, "BOOL": 8, "C64": 64, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8, "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
}  # fmt: skip
SAFETENSORS = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32",
    "I16": "int16", "I8": "int8", "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8", "BOOL": "bool",
    "C64": "complex64", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz", "F6_E2M3": "float6_e2m3",
    "F6_E3M2": "float6_e3m2", "F4": "float4_e2m1",
}  # fmt: skip

_NUMPY_KINDS = {"f": "float", "i": "int", "u": "uint", "c": "complex"}


def torch_dtype(name: str) -> str | None:
    """``float32`` for ``float32`` or ``float``; None for a name that is no dtype of torch."""
    name = ALIASES.get(name, name)
    return name if name in SIZES else None


def storage_dtype(name: str) -> str | None:
    """dtype of ``FloatStorage``; None for a name that is no storage."""
    return STORAGES.get(name.removesuffix("Storage")) if name.endswith("Storage") else None


def numpy_dtype(code: str) -> str:
    """``float32`` for numpy's ``f4``; numpy's own code (``O8``, ``U12``) where torch has no such type."""
    code = code.lstrip("<>|=")
    if code in ("b1", "?"):
        return "bool"
    kind, digits = code[:1], code[1:]
    if kind in _NUMPY_KINDS and digits.isascii() and digits.isdigit() and len(digits) < 3:
        return f"{_NUMPY_KINDS[kind]}{8 * int(digits)}"
    return code


def numpy_size(code: str) -> int:
    """Bytes per element of numpy's ``f4``; 0 when it does not say."""
    digits = code.lstrip("<>|=")[1:]
    size = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 9 else 0
    return 4 * size if code.lstrip("<>|=")[:1] == "U" else size
