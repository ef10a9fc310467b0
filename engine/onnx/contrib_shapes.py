"""Output shapes of operators that onnx has no schema of: onnxruntime's own (com.microsoft) and what its tools make.

One function per operator, from the shapes that are known to those of the outputs. Source: docs/ContribOperators.md of
onnxruntime.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from engine.graph import Shape
from engine.onnx.graph import Node
from engine.onnx.values import UNKNOWN, GraphShapes, Value

Given: TypeAlias = Sequence[Value]
Rule: TypeAlias = Callable[[Node, Given], Sequence[Value]]

_rules: dict[str, Rule] = {}

DOMAINS = frozenset({"com.microsoft", "com.microsoft.nchwc", "com.ms.internal.nhwc"})


def contrib_outputs(node: Node, shapes: GraphShapes) -> Sequence[Value] | None:
    """Shapes and dtypes of the outputs; None for an operator without a rule here."""
    rule = _rules.get(node.op_type) if node.domain in DOMAINS else None
    if rule is None:
        return None
    try:
        return rule(node, [shapes.of(name) if name else UNKNOWN for name in node.inputs])
    except (IndexError, TypeError, ValueError, ZeroDivisionError):
        # An input whose shape is not known, or not what the operator takes.
        return []


def rule(*ops: str) -> Callable[[Rule], Rule]:
    """Register a rule for operators of these names."""

    def register(function: Rule) -> Rule:
        for op in ops:
            _rules[op] = function
        return function

    return register


def _shape(value: Value) -> Shape:
    if value.shape is None:
        raise ValueError("unknown shape")
    return value.shape


@rule(
    "FastGelu", "BiasGelu", "Gelu", "QuickGelu", "BiasSoftmax", "BiasAdd", "SimplifiedLayerNormalization", "Affine",
    "LayerNormalization", "QLinearSigmoid", "QLinearLeakyRelu", "QLinearSoftmax", "GroupNorm", "RotaryEmbedding",
    "Inverse", "ParametricSoftplus", "ScaledTanh", "ThresholdedRelu", "BitmaskDropout", "RMSNormalization",
)  # fmt: skip
def _same(node: Node, given: Given) -> Sequence[Value]:
    return [given[0]]


@rule("SkipLayerNormalization", "SkipSimplifiedLayerNormalization", "SkipGroupNorm")
def _skip_norm(node: Node, given: Given) -> Sequence[Value]:
    """(output, mean, inverse deviation, sum of inputs): the statistics are of training only."""
    x = _shape(given[0])
    statistics = Value((*x[:-1], 1), "float32")
    return [given[0], statistics, statistics, given[0]]


@rule("QLinearAdd", "QLinearMul", "QLinearWhere")
def _quantised_pair(node: Node, given: Given) -> Sequence[Value]:
    first, second = (0, 3) if node.op_type != "QLinearWhere" else (1, 4)
    return [Value(_broadcast(_shape(given[first]), _shape(given[second])), given[first].dtype)]


@rule("QuantizeLinear")
def _quantize(node: Node, given: Given) -> Sequence[Value]:
    return [Value(given[0].shape, given[2].dtype if len(given) > 2 and given[2].dtype else "uint8")]


@rule("DequantizeLinear")
def _dequantize(node: Node, given: Given) -> Sequence[Value]:
    return [Value(given[0].shape, given[1].dtype or "float32")]


@rule("FusedMatMul", "TransposeMatMul")
def _fused_matmul(node: Node, given: Given) -> Sequence[Value]:
    a, b = _shape(given[0]), _shape(given[1])
    if node.attributes.get("transA"):
        a = (*a[:-2], a[-1], a[-2])
    if node.attributes.get("transB"):
        b = (*b[:-2], b[-1], b[-2])
    return [Value(_matmul(a, b), given[0].dtype)]


@rule("DynamicQuantizeMatMul", "MatMulIntegerToFloat")
def _quantised_matmul(node: Node, given: Given) -> Sequence[Value]:
    return [Value(_matmul(_shape(given[0]), _shape(given[1])), "float32")]


@rule("MatMulNBits", "MatMulBnb4", "MatMulFpQ4")
def _packed_matmul(node: Node, given: Given) -> Sequence[Value]:
    return [Value((*_shape(given[0])[:-1], node.attributes["N"]), given[0].dtype)]


@rule("QGemm")
def _quantised_gemm(node: Node, given: Given) -> Sequence[Value]:
    a, b = _shape(given[0]), _shape(given[3])
    rows = a[1] if node.attributes.get("transA") else a[0]
    columns = b[0] if node.attributes.get("transB") else b[1]
    quantised = len(given) > 8 and given[8].dtype
    return [Value((rows, columns), given[8].dtype if quantised else "float32")]


@rule("FusedGemm")
def _fused_gemm(node: Node, given: Given) -> Sequence[Value]:
    a, b = _shape(given[0]), _shape(given[1])
    rows = a[1] if node.attributes.get("transA") else a[0]
    return [Value((rows, b[0] if node.attributes.get("transB") else b[1]), given[0].dtype)]


@rule("Attention", "QAttention", "PackedAttention")
def _attention(node: Node, given: Given) -> Sequence[Value]:
    """``(B, S, hidden)`` and the projection ``(in, 3 · hidden)``; the present keys and values with all heads."""
    x, weight = _shape(given[0]), _shape(given[1])
    sizes = node.attributes.get("qkv_hidden_sizes")
    hidden = sizes[2] if sizes else weight[1] // 3
    dtype = given[0].dtype if node.op_type != "QAttention" else given[3].dtype
    heads = node.attributes["num_heads"]
    position = 4 if node.op_type == "Attention" else 8
    past = given[position].shape if len(given) > position else None
    total = x[1] + (past[3] if past is not None else 0)
    return [Value((*x[:-1], hidden), dtype), Value((2, x[0], heads, total, hidden // heads), dtype)]


@rule("MultiHeadAttention", "DecoderMaskedMultiHeadAttention")
def _multi_head(node: Node, given: Given) -> Sequence[Value]:
    """Query ``(B, S, hidden)`` or packed ``(B, S, heads, 3, size)``; keys and values in both layouts."""
    query, heads = _shape(given[0]), node.attributes["num_heads"]
    dtype = given[0].dtype
    if len(query) == 5:
        batch, length, _, _, size = query
        return [Value((batch, length, heads * size), dtype)]
    batch, length, hidden = query
    value = given[2].shape if len(given) > 2 else None
    key = given[1].shape if len(given) > 1 else None
    if value is None:
        width, value_size = hidden, hidden // heads
    elif len(value) == 4:
        width, value_size = value[1] * value[3], value[3]
    else:
        width, value_size = value[-1], value[-1] // heads
    made = [Value((batch, length, width), dtype)]
    if key is None:
        return made
    fresh = key[2] if len(key) == 4 else key[1]
    past = given[6].shape if len(given) > 6 else None
    total = fresh + (past[2] if past is not None else 0)
    return [
        *made,
        Value((batch, heads, total, hidden // heads), dtype),
        Value((batch, heads, total, value_size), dtype),
    ]


@rule("GroupQueryAttention")
def _group_query(node: Node, given: Given) -> Sequence[Value]:
    """Query ``(B, S, heads · size)``, or packed with keys and values; the caches grow by S."""
    query, heads, kv_heads = _shape(given[0]), node.attributes["num_heads"], node.attributes["kv_num_heads"]
    packed = len(given) < 2 or given[1].shape is None
    size = query[2] // (heads + 2 * kv_heads) if packed else query[2] // heads
    past = given[3].shape if len(given) > 3 else None
    total = query[1] + (past[2] if past is not None else 0)
    cache = Value((query[0], kv_heads, total, size), given[0].dtype)
    return [Value((query[0], query[1], heads * size), given[0].dtype), cache, cache]


@rule("EmbedLayerNormalization")
def _embed(node: Node, given: Given) -> Sequence[Value]:
    ids, table = _shape(given[0]), _shape(given[2])
    made = Value((*ids, table[-1]), given[2].dtype)
    return [made, Value((ids[0],), "int32"), made]


@rule("QLinearGlobalAveragePool")
def _global_pool(node: Node, given: Given) -> Sequence[Value]:
    x = _shape(given[0])
    if node.attributes.get("channels_last"):
        return [Value((x[0], *(1,) * (len(x) - 2), x[-1]), given[0].dtype)]
    return [Value((*x[:2], *(1,) * (len(x) - 2)), given[0].dtype)]


@rule("QLinearConcat")
def _concat(node: Node, given: Given) -> Sequence[Value]:
    """After the output's scale and zero point, three inputs per part."""
    parts = [_shape(value) for value in given[2::3]]
    axis = node.attributes["axis"] % len(parts[0])
    total = sum(part[axis] for part in parts)
    return [Value((*parts[0][:axis], total, *parts[0][axis + 1 :]), given[2].dtype)]


@rule("FusedConv", "NhwcFusedConv", "QLinearConv", "NhwcConv")
def _conv(node: Node, given: Given) -> Sequence[Value]:
    position = 3 if node.op_type == "QLinearConv" else 1
    x, weight = _shape(given[0]), _shape(given[position])
    last = bool(node.attributes.get("channels_last")) or node.op_type.startswith("Nhwc")
    spatial = x[1:-1] if last else x[2:]
    kernel = node.attributes.get("kernel_shape") or (weight[1:-1] if last else weight[2:])
    sizes = tuple(_window(node, spatial, kernel, axis) for axis in range(len(spatial)))
    shape = (x[0], *sizes, weight[0]) if last else (x[0], weight[0], *sizes)
    return [Value(shape, given[0].dtype)]


@rule("QLinearAveragePool", "NhwcMaxPool")
def _pool(node: Node, given: Given) -> Sequence[Value]:
    x = _shape(given[0])
    last = bool(node.attributes.get("channels_last")) or node.op_type == "NhwcMaxPool"
    spatial = x[1:-1] if last else x[2:]
    sizes = tuple(
        _window(node, spatial, node.attributes["kernel_shape"], axis) for axis in range(len(spatial))
    )
    return [Value((x[0], *sizes, x[-1]) if last else (*x[:2], *sizes), given[0].dtype)]


def _window(node: Node, spatial: Shape, kernel: Shape, axis: int) -> int:
    """Output size along one spatial axis."""
    count = len(spatial)
    stride = (node.attributes.get("strides") or (1,) * count)[axis]
    dilation = (node.attributes.get("dilations") or (1,) * count)[axis]
    pads = node.attributes.get("pads") or (0,) * (2 * count)
    auto = node.attributes.get("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        return -(-spatial[axis] // stride)
    room = spatial[axis] + (pads[axis] + pads[axis + count] if auto != "VALID" else 0)
    room -= dilation * (kernel[axis] - 1) + 1
    return (-(-room // stride) if node.attributes.get("ceil_mode") else room // stride) + 1


def _broadcast(a: Shape, b: Shape) -> Shape:
    length = max(len(a), len(b))
    first, second = (1,) * (length - len(a)) + a, (1,) * (length - len(b)) + b
    return tuple(y if x == 1 else x for x, y in zip(first, second, strict=True))


def _matmul(a: Shape, b: Shape) -> Shape:
    if len(a) == 1:
        return (*b[:-2], b[-1]) if len(b) > 1 else ()
    if len(b) == 1:
        return a[:-1]
    return (*_broadcast(a[:-2], b[:-2]), a[-2], b[-1])
