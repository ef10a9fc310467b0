"""Output shapes of operators that onnx has no schema of: onnxruntime's own, and what its tools make.

One small rule per operator. Source: docs/ContribOperators.md of onnxruntime; tests run its kernels and compare.
"""

from __future__ import annotations

from functools import partial

from engine.graph import Shape
from engine.onnx import classic_shapes as classic_shapes  # registers its rules
from engine.onnx.dtypes import dtype_name
from engine.onnx.graph import Node
from engine.onnx.shape_rules import Given, UnknownInputError, apply, shape_rule
from engine.onnx.values import GraphShapes, Value
from engine.onnx.windows import windows, with_channels

MICROSOFT = "com.microsoft"
_of = partial(shape_rule, domain=MICROSOFT)


def contrib_outputs(node: Node, shapes: GraphShapes) -> tuple[Value, ...] | None:
    """What is known of the outputs of ``node``, in order; None where no rule is for its operator."""
    return apply(node, shapes)


@_of(
    "Gelu", "FastGelu", "BiasGelu", "QuickGelu", "ScaledSiLU", "BiasAdd", "BiasSoftmax", "BiasDropout", "GroupNorm",
    "RotaryEmbedding", "GemmaRotaryEmbedding", "GatedRMSNorm", "BranchwiseRMSNorm", "GatedAdd", "Trilu", "Inverse",
    "QLinearLeakyRelu", "QLinearSigmoid", "QLinearSoftmax", "QOrderedGelu", "QOrderedLayerNormalization", "MoE",
    "QMoE", "SimplifiedLayerNormalization", "LayerNormalization", "RMSNormalization", "BitmaskDropout",
    "DecoderAttention",
)  # fmt: skip
@_of(
    "SimplifiedLayerNormalization", "Affine", "Scale", "ImageScaler", "ParametricSoftplus", "ScaledTanh",
    "MemcpyFromHost", "MemcpyToHost", domain="",
)  # fmt: skip
def _same(given: Given) -> list[Value]:
    return [given.values[0]]


@_of("LayerNormalization", domain="")
def _layer_norm(given: Given) -> list[Value]:
    """Of operator sets before 17, to which onnxruntime's optimiser writes it all the same."""
    x = given.shape()
    axis = given.whole("axis", -1) % len(x)
    statistics = Value((*x[:axis], *(1,) * (len(x) - axis)), "float32")
    return [given.values[0], statistics, statistics]


@_of("QLinearAdd", "QLinearMul")
def _joined(given: Given) -> list[Value]:
    return [Value(_broadcast(given.shape(0), given.shape(3)), given.dtype())]


@_of("QLinearWhere")
def _selected(given: Given) -> list[Value]:
    both = _broadcast(given.shape(1), given.shape(4))
    return [Value(_broadcast(given.shape(0), both), given.dtype(1))]


@_of("MulInteger")
def _integer_product(given: Given) -> list[Value]:
    return [Value(_broadcast(given.shape(0), given.shape(2)), "int32")]


@_of("ComplexMul", "ComplexMulConj")
def _complex_product(given: Given) -> list[Value]:
    return [Value(_broadcast(given.shape(0), given.shape(1)), given.dtype())]


@_of("SkipLayerNormalization", "SkipSimplifiedLayerNormalization")
def _skip_norm(given: Given) -> list[Value]:
    """(output, mean, inverse deviation, sum of inputs): the statistics are of training only."""
    x = given.values[0]
    statistics = Value((*given.shape()[:-1], 1), "float32")
    return [x, statistics, statistics, x]


@_of("SkipGroupNorm")
def _skip_group_norm(given: Given) -> list[Value]:
    return [given.values[0], given.values[0]]


@_of("EmbedLayerNormalization", "QEmbedLayerNormalization")
def _embedded(given: Given) -> list[Value]:
    batch, length = given.shape()
    dtype = given.dtype(2) if given.node.op_type == "EmbedLayerNormalization" else "float32"
    out = Value((batch, length, given.shape(2)[1]), dtype)
    return [out, Value((batch,), "int32"), out]


@_of("BiasSplitGelu")
def _half(given: Given) -> list[Value]:
    x = given.shape()
    return [Value((*x[:-1], x[-1] // 2), given.dtype())]


@_of("Attention", "QAttention", "DecoderMaskedSelfAttention")
def _attention(given: Given) -> list[Value]:
    """``(B, L, in)`` and the merged projection ``(in, d_q + d_k + d_v)``; the cache holds keys and values."""
    (batch, length, _), heads = given.shape(), given.whole("num_heads", 1)
    quantised = given.node.op_type == "QAttention"
    sizes = given.wholes("qkv_hidden_sizes") or (given.shape(1)[1] // 3,) * 3
    past_at = 8 if quantised else 4
    before = given.shape(past_at)[3] if given.has(past_at) else 0
    kept = before if given.whole("past_present_share_buffer") else before + length
    dtype = given.dtype(3 if quantised else 0)
    return [Value((batch, length, sizes[2]), dtype), Value((2, batch, heads, kept, sizes[0] // heads), dtype)]


@_of("QOrderedAttention")
def _ordered_attention(given: Given) -> list[Value]:
    return [Value((*given.shape()[:2], given.shape(7)[1]), given.dtype())]


@_of("PackedAttention")
def _packed_attention(given: Given) -> list[Value]:
    sizes = given.wholes("qkv_hidden_sizes") or (given.shape(1)[1] // 3,) * 3
    return [Value((given.shape()[0], sizes[2]), given.dtype())]


@_of("PackedMultiHeadAttention")
def _packed_multi_head(given: Given) -> list[Value]:
    query = given.shape()
    width = given.shape(2)[1] if given.has(2) else query[1] * query[3]
    return [Value((query[0], width), given.dtype())]


@_of("MultiHeadAttention", "DecoderMaskedMultiHeadAttention")
def _multi_head(given: Given) -> list[Value]:
    """Query ``(B, L, d)``, or with key and value ``(B, L, N, 3, E)``; keys of two layouts, cached ones of one."""
    query, heads = given.shape(), given.whole("num_heads", 1)
    past_at = 5 if given.node.op_type.startswith("Decoder") else 6
    past = given.shape(past_at)[2] if given.has(past_at) else 0
    batch, keys = query[0], query[1]
    width = query[2] * query[4] if len(query) == 5 else query[2] if given.has(1) else query[2] // 3
    value_width = width
    if given.has(1):
        key = given.shape(1)
        keys = key[2] if len(key) == 4 else key[1]
        past = 0 if len(key) == 4 else past
    if given.has(2):
        value = given.shape(2)
        value_width = value[1] * value[3] if len(value) == 4 else value[2]
    kept = past if given.whole("past_present_share_buffer") and past else past + keys
    dtype = given.dtype()
    return [
        Value((batch, query[1], value_width), dtype),
        Value((batch, heads, kept, width // heads), dtype),
        Value((batch, heads, kept, value_width // heads), dtype),
        Value((batch, heads, query[1], past + keys), dtype),
    ]


@_of("GroupQueryAttention")
def _group_query(given: Given) -> list[Value]:
    """Query ``(B, L, N · E)``, or packed with keys and values; the caches grow by L."""
    (batch, length, width), heads = given.shape(), given.whole("num_heads", 1)
    kv_heads = given.whole("kv_num_heads", 1)
    size = width // heads if given.has(1) else width // (heads + 2 * kv_heads)
    past = given.shape(3)[2] if given.has(3) else 0
    cache = Value((batch, kv_heads, past + length, size), given.dtype(3 if given.has(3) else 0))
    return [Value((batch, length, heads * size), given.dtype()), cache, cache]


@_of("PagedAttention")
def _paged(given: Given) -> list[Value]:
    tokens, width = given.shape()
    heads, kv_heads = given.whole("num_heads", 1), given.whole("kv_num_heads", 1)
    out = width if given.has(1) else width // (heads + 2 * kv_heads) * heads
    return [Value((tokens, out), given.dtype()), given.values[3], given.values[4]]


@_of("LinearAttention")
def _linear_attention(given: Given) -> list[Value]:
    query, value = given.shape(), given.shape(2)
    q_heads, kv_heads = given.whole("q_num_heads", 1), given.whole("kv_num_heads", 1)
    d_k, d_v = query[2] // q_heads, value[2] // kv_heads
    out = Value((*query[:2], max(q_heads, kv_heads) * d_v), given.dtype())
    return [out, Value((query[0], kv_heads, d_k, d_v), given.dtype())]


@_of("CausalConvWithState")
def _causal_conv(given: Given) -> list[Value]:
    """The state holds what the last taps reach back to; in another layout, or as a window, it is not known here."""
    x, taps = given.values[0], given.shape(1)
    if len(taps) != 3 or given.whole("channels_last") or given.whole("state_window"):
        return [x]
    state = (taps[2] - 1) * given.whole("dilation", 1)
    return [x, Value((*given.shape()[:2], state), x.dtype)]


@_of("RelativePositionBias")
def _position_bias(given: Given) -> list[Value]:
    lengths = [int(given.constant(at).ravel()[0]) for at in (1, 2)]
    return [Value((1, given.shape()[1], *lengths), given.dtype())]


@_of("GatedRelativePositionBias")
def _gated_position_bias(given: Given) -> list[Value]:
    batch, length = given.shape(6 if given.has(6) else 0)[:2]
    return [Value((batch, given.whole("num_heads", 1), length, length), given.dtype())]


@_of("FusedMatMul", "TransposeMatMul", "FusedMatMulActivation", "GemmFastGelu")
def _matmul(given: Given) -> list[Value]:
    left = _transposed(given.shape(0), given.whole("transA"), given.whole("transBatchA"))
    right = _transposed(given.shape(1), given.whole("transB"), given.whole("transBatchB"))
    return [Value(_product(left, right), given.dtype())]


@_of("FusedGemm", "QGemm", "GemmFloat8")
def _gemm(given: Given) -> list[Value]:
    quantised = given.node.op_type == "QGemm"
    left, right = given.shape(0), given.shape(3 if quantised else 1)
    rows = left[1 if given.whole("transA") else 0]
    columns = right[0 if given.whole("transB") else 1]
    dtype = given.dtype()
    if quantised:
        dtype = given.dtype(8) if given.has(8) else "float32"
    return [Value((rows, columns), dtype)]


@_of("MatMulNBits", "MatMulBnb4", "MatMulBlockQuantizedFp4Weight", "MatMulBlockQuantizedFp8Weight")
def _packed_matmul(given: Given) -> list[Value]:
    columns = given.whole("N")
    if not columns:
        raise UnknownInputError
    return [Value((*given.shape()[:-1], columns), given.dtype())]


@_of("MatMulFpQ4")
def _blob_matmul(given: Given) -> list[Value]:
    right = tuple(int(size) for size in given.constant(2))
    return [Value(_product(given.shape(), right), given.dtype())]


@_of("DynamicQuantizeMatMul", "MatMulIntegerToFloat", "MatMulInteger16")
def _integer_matmul(given: Given) -> list[Value]:
    dtype = {"MatMulInteger16": "int32", "MatMulIntegerToFloat": given.dtype(2)}
    return [Value(_product(given.shape(0), given.shape(1)), dtype.get(given.node.op_type, given.dtype()))]


@_of("QOrderedMatMul")
def _ordered_matmul(given: Given) -> list[Value]:
    return [Value(_product(given.shape(0), given.shape(2)), given.dtype())]


@_of("CDist")
def _distances(given: Given) -> list[Value]:
    return [Value((given.shape(0)[0], given.shape(1)[0]), given.dtype())]


@_of("FusedConv", "NhwcConv", "NhwcFusedConv", "QLinearConv", "NhwcMaxPool", "QLinearAveragePool")
@_of("Conv", "MaxPool", "AveragePool", domain="com.ms.internal.nhwc")
@_of("Conv", "MaxPool", "AveragePool", domain="com.microsoft.nchwc")
def _windows(given: Given) -> list[Value]:
    op, x = given.node.op_type, given.shape()
    last = op.startswith("Nhwc") or given.node.domain.endswith("nhwc") or bool(given.whole("channels_last"))
    weight = given.shape(3 if op == "QLinearConv" else 1) if "Conv" in op else None
    kernel = weight[2:] if weight is not None else given.wholes("kernel_shape")
    sizes = windows(x[1:-1] if last else x[2:], kernel, given.node.attributes)
    channels = weight[0] if weight is not None else x[-1] if last else x[1]
    # A quantised convolution writes numbers of its output's zero point's dtype.
    dtype = given.dtype(7) if op == "QLinearConv" else given.dtype()
    return [Value(with_channels(x[0], sizes, channels, last=last), dtype)]


@_of("QLinearGlobalAveragePool")
@_of("GlobalAveragePool", "GlobalMaxPool", domain="com.ms.internal.nhwc")
@_of("GlobalAveragePool", "GlobalMaxPool", domain="com.microsoft.nchwc")
def _whole_planes(given: Given) -> list[Value]:
    x = given.shape()
    last = bool(given.whole("channels_last")) or given.node.domain.endswith("nhwc")
    return [
        Value(with_channels(x[0], (1,) * (len(x) - 2), x[-1] if last else x[1], last=last), given.dtype())
    ]


@_of("ReorderInput", "ReorderOutput", domain="com.microsoft.nchwc")
def _reordered(given: Given) -> list[Value]:
    """Channels in blocks and back; the blocks' padding is left out of the shape."""
    x = given.shape()
    last = bool(given.whole("channels_last"))
    if given.node.op_type == "ReorderInput":
        return [Value((x[0], x[-1], *x[1:-1]) if last else x, given.dtype())]
    return [Value(with_channels(x[0], x[2:], given.whole("channels", x[1]), last=last), given.dtype())]


@_of("QLinearConcat")
def _concatenated(given: Given) -> list[Value]:
    """After the output's scale and zero point, three inputs per part."""
    parts = [given.shape(at) for at in range(2, len(given.node.inputs), 3)]
    axis = given.whole("axis") % len(parts[0])
    total = sum([part[axis] for part in parts])
    return [Value((*parts[0][:axis], total, *parts[0][axis + 1 :]), given.dtype(2))]


@_of("QLinearReduceMean", "ReduceSumInteger")
def _reduced(given: Given) -> list[Value]:
    x = given.shape()
    axes = {axis % len(x) for axis in given.wholes("axes")} or set(range(len(x)))
    kept = bool(given.whole("keepdims", 1))
    sizes = [1 if axis in axes else size for axis, size in enumerate(x) if kept or axis not in axes]
    mean = given.node.op_type == "QLinearReduceMean"
    return [Value(tuple(sizes), given.dtype() if mean else dtype_name(given.whole("data_type")))]


@_of("QuantizeLinear", "DequantizeLinear", "QuantizeWithOrder", "DequantizeWithOrder")
def _quantised(given: Given) -> list[Value]:
    dtypes = {
        "QuantizeLinear": given.dtype(2) if given.has(2) else "uint8",
        "QuantizeWithOrder": "int8",
    }
    return [Value(given.shape(), dtypes.get(given.node.op_type, given.dtype(1) or "float32"))]


@_of("DynamicQuantizeLSTM")
def _lstm(given: Given) -> list[Value]:
    (steps, batch, _), recurrence = given.shape(), given.shape(2)
    directions, hidden = recurrence[0], recurrence[1]
    state = Value((directions, batch, hidden), given.dtype())
    return [Value((steps, directions, batch, hidden), given.dtype()), state, state]


@_of("GatherBlockQuantized")
def _gathered(given: Given) -> list[Value]:
    table, axis = list(given.shape()), given.whole("gather_axis")
    if given.dtype() == "uint8":
        table[-1] *= 8 // given.whole("bits", 4)
    axis %= len(table)
    return [Value((*table[:axis], *given.shape(1), *table[axis + 1 :]), given.dtype(2))]


@_of("TorchEmbedding")
def _rows(given: Given) -> list[Value]:
    return [Value((*given.shape(1), given.shape(0)[1]), given.dtype())]


@_of("ExpandDims")
def _expanded(given: Given) -> list[Value]:
    x, axis = given.shape(), int(given.constant(1).ravel()[0])
    at = axis if axis >= 0 else axis + len(x) + 1
    return [Value((*x[:at], 1, *x[at:]), given.dtype())]


@_of("GridSample")
def _sampled(given: Given) -> list[Value]:
    return [Value((*given.shape()[:2], *given.shape(1)[1:-1]), given.dtype())]


@_of("CropAndResize")
def _cropped(given: Given) -> list[Value]:
    sizes = tuple(int(size) for size in given.constant(3))
    return [Value((given.shape(1)[0], given.shape()[1], *sizes), given.dtype())]


def _transposed(shape: Shape, rows: int, batch: int) -> Shape:
    """An operand of FusedMatMul as it is multiplied: ``batch`` moves the first dimension before the last one."""
    if len(shape) < 2:
        return shape
    sizes = [*shape[1:-1], shape[0], shape[-1]] if batch else list(shape)
    if rows:
        sizes[-2:] = sizes[:-3:-1]
    return tuple(sizes)


def _product(left: Shape, right: Shape) -> Shape:
    """Of a matrix product as numpy.matmul has it."""
    if len(left) == 1:
        return (*right[:-2], *right[-1:]) if len(right) > 1 else ()
    if len(right) == 1:
        return left[:-1]
    return (*_broadcast(left[:-2], right[:-2]), left[-2], right[-1])


def _broadcast(left: Shape, right: Shape) -> Shape:
    rank = max(len(left), len(right))
    pairs = zip((1,) * (rank - len(left)) + left, (1,) * (rank - len(right)) + right, strict=True)
    sizes = []
    for one, other in pairs:
        if one != other and 1 not in (one, other):
            raise ValueError(f"{left} and {right} do not broadcast")
        sizes.append(other if one == 1 else one)
    return tuple(sizes)
