"""Field numbers of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto), as far as a reader needs them.

They are fixed for ever: a later version of ONNX only adds fields.
"""

from __future__ import annotations

from typing import Final

# ModelProto
IR_VERSION, PRODUCER, PRODUCER_VERSION, DOMAIN, MODEL_VERSION, GRAPH, OPSET, MODEL_METADATA = (
    1,
    2,
    3,
    4,
    5,
    7,
    8,
    14,
)
MODEL_DOC, TRAINING, FUNCTIONS, DEVICES = 6, 20, 25, 26
MODEL_WIRES: Final = {
    IR_VERSION: 0, PRODUCER: 2, PRODUCER_VERSION: 2, DOMAIN: 2, MODEL_VERSION: 0, MODEL_DOC: 2, GRAPH: 2, OPSET: 2,
    MODEL_METADATA: 2, TRAINING: 2, FUNCTIONS: 2, DEVICES: 2,
}  # fmt: skip
"""Every field of a ModelProto with its wire type."""

# GraphProto
NODE, GRAPH_NAME, INITIALIZER, GRAPH_INPUT, SPARSE_INITIALIZER = 1, 2, 5, 11, 15
# NodeProto
OUTPUT, OP_TYPE, ATTRIBUTE, NODE_DOMAIN = 2, 4, 5, 7
# AttributeProto
ATTRIBUTE_TENSOR, ATTRIBUTE_GRAPH, ATTRIBUTE_GRAPHS = 5, 6, 11
# FunctionProto
FUNCTION_NAME, FUNCTION_NODE, FUNCTION_DOMAIN = 1, 7, 10
# TensorProto
DIMS, DATA_TYPE, SEGMENT, FLOAT_DATA, INT32_DATA, STRING_DATA, INT64_DATA = 1, 2, 3, 4, 5, 6, 7
TENSOR_NAME, RAW_DATA, DOUBLE_DATA, UINT64_DATA, EXTERNAL_DATA, DATA_LOCATION = 8, 9, 10, 11, 13, 14
# SparseTensorProto
SPARSE_VALUES, SPARSE_INDICES, SPARSE_DIMS = 1, 2, 3
# StringStringEntryProto, OperatorSetIdProto, ValueInfoProto, TypeProto, TypeProto.Tensor, TensorShapeProto.Dimension
KEY, VALUE = 1, 2
OPSET_DOMAIN, OPSET_VERSION = 1, 2
VALUE_NAME, VALUE_TYPE = 1, 2
TENSOR_TYPE, ELEMENT_TYPE, SHAPE, DIM, DIM_VALUE, DIM_PARAM = 1, 1, 2, 1, 1, 2

NESTED: Final[dict[str, dict[int, str]]] = {
    "model": {GRAPH: "graph", TRAINING: "training", FUNCTIONS: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {NODE: "node", INITIALIZER: "tensor", SPARSE_INITIALIZER: "sparse"},
    "function": {FUNCTION_NODE: "node", 11: "attribute"},
    "node": {ATTRIBUTE: "attribute"},
    "attribute": {
        ATTRIBUTE_TENSOR: "tensor", ATTRIBUTE_GRAPH: "graph", 10: "tensor", ATTRIBUTE_GRAPHS: "graph",
        22: "sparse", 23: "sparse",
    },
    "sparse": {SPARSE_VALUES: "tensor", SPARSE_INDICES: "tensor"},
    "tensor": {},
}  # fmt: skip
"""Message → its fields in which there may be tensors, and which message each of them is."""

DTYPES: Final = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 8: "string", 9: "bool",
    10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 14: "complex64", 15: "complex128", 16: "bfloat16",
    17: "float8_e4m3fn", 18: "float8_e4m3fnuz", 19: "float8_e5m2", 20: "float8_e5m2fnuz", 21: "uint4", 22: "int4",
    23: "float4_e2m1", 24: "float8_e8m0", 25: "uint2", 26: "int2", 27: "float6_e2m3", 28: "float6_e3m2",
}  # fmt: skip
"""TensorProto.DataType."""
BITS: Final = {
    "float32": 32, "uint8": 8, "int8": 8, "uint16": 16, "int16": 16, "int32": 32, "int64": 64, "string": 0, "bool": 8,
    "float16": 16, "float64": 64, "uint32": 32, "uint64": 64, "complex64": 64, "complex128": 128, "bfloat16": 16,
    "float8_e4m3fn": 8, "float8_e4m3fnuz": 8, "float8_e5m2": 8, "float8_e5m2fnuz": 8, "uint4": 4, "int4": 4,
    "float4_e2m1": 4, "float8_e8m0": 8, "uint2": 2, "int2": 2, "float6_e2m3": 6, "float6_e3m2": 6,
}  # fmt: skip
"""Of one element; strings have none of their own."""
PLAIN: Final = {FLOAT_DATA: ("float32", "complex64"), DOUBLE_DATA: ("float64", "complex128")}
"""Typed data whose packed bytes are those that raw_data would have, for these types."""
EXTERNAL: Final = 1
"""DataLocation of a tensor whose values are in another file."""
