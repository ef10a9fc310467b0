"""Standard operators of ONNX in all their forms: counts as formulas written here, shapes as onnxruntime makes them."""

from __future__ import annotations

from pathlib import Path

import numpy
import pytest

from tests.engine.onnx_nodes import SCALE, ZERO, Case, bytes_of, check, real, whole

LONG = numpy.int64

CONVOLUTIONS = [
    # (1, 4, 7, 7) with 6 kernels of 2 · 3 · 3 in 2 groups: 4 x 4 outputs with a stride of 2 and padding for "same".
    Case(
        "Conv",
        (real(1, 4, 7, 7), real(6, 2, 3, 3)),
        96 * 18,
        192 * 18,
        {"group": 2, "auto_pad": "SAME_UPPER", "strides": [2, 2]},
    ),
    Case(
        "Conv",
        (real(1, 4, 8, 7), real(6, 2, 3, 3), real(6)),
        96 * 18,
        192 * 18 + 96,
        {"group": 2, "auto_pad": "SAME_LOWER", "strides": [2, 2]},
    ),
    Case("Conv", (real(1, 4, 7, 7), real(6, 4, 3, 3)), 6 * 25 * 36, 12 * 25 * 36, {"auto_pad": "VALID"}),
    Case("Conv", (real(1, 4, 9, 9), real(6, 4, 3, 3)), 6 * 25 * 36, 12 * 25 * 36, {"dilations": [2, 2]}),
    Case("Conv", (real(2, 4, 9), real(4, 1, 3)), 2 * 4 * 9 * 3, 4 * 4 * 9 * 3, {"group": 4, "pads": [1, 1]}),
    Case("Conv", (real(1, 2, 5, 5, 5), real(3, 2, 2, 2, 2)), 3 * 64 * 16, 6 * 64 * 16),
    Case(
        "Conv",
        (real(1, 2, 9, 9), real(3, 2, 3, 3)),
        3 * 4 * 5 * 18,
        6 * 4 * 5 * 18,
        {"strides": [2, 2], "pads": [0, 1, 1, 1]},
    ),
    # Dense input positions times the kernel, whatever stride, output padding or output shape.
    Case(
        "ConvTranspose", (real(1, 4, 5, 5), real(4, 3, 3, 3)), 4 * 25 * 27, 8 * 25 * 27, {"strides": [2, 2]}
    ),
    Case(
        "ConvTranspose",
        (real(1, 4, 5, 5), real(4, 3, 3, 3), real(3)),
        4 * 25 * 27,
        8 * 25 * 27 + 3 * 144,
        {"strides": [2, 2], "output_padding": [1, 1]},
    ),
    Case(
        "ConvTranspose",
        (real(1, 4, 5, 5), real(4, 3, 3, 3), real(3)),
        4 * 25 * 27,
        8 * 25 * 27 + 3 * 100,
        {"strides": [2, 2], "output_shape": [10, 10]},
    ),
    Case(
        "ConvTranspose",
        (real(1, 4, 5, 5), real(4, 3, 3, 3), real(6)),
        4 * 25 * 27,
        8 * 25 * 27 + 6 * 100,
        {"strides": [2, 2], "auto_pad": "SAME_UPPER", "group": 2},
    ),
    Case(
        "DeformConv",
        (real(1, 4, 5, 5), real(6, 4, 2, 2), real(1, 8, 4, 4)),
        96 * 16,
        192 * 16 + 7 * 16 * 16 + 128,
        shape=(1, 6, 4, 4),
    ),
    Case(
        "DeformConv",
        (real(1, 4, 5, 5), real(6, 4, 2, 2), real(1, 8, 4, 4), real(6), real(1, 4, 4, 4)),
        96 * 16,
        192 * 16 + 96 + 8 * 16 * 16 + 128,
        shape=(1, 6, 4, 4),
    ),
    Case("ConvInteger", (bytes_of(1, 4, 7, 7), bytes_of(6, 4, 3, 3), ZERO), 6 * 25 * 36, 12 * 25 * 36),
    Case(
        "QLinearConv",
        (bytes_of(1, 4, 7, 7), SCALE, ZERO, bytes_of(6, 4, 3, 3), SCALE, ZERO, SCALE, ZERO),
        6 * 25 * 36,
        12 * 25 * 36 + 5 * 150,
    ),
    Case(
        "QLinearConv",
        (bytes_of(1, 4, 7, 7), SCALE, ZERO, bytes_of(6, 4, 3, 3), SCALE, ZERO, SCALE, ZERO, whole(*range(6))),
        6 * 25 * 36,
        12 * 25 * 36 + 150 + 5 * 150,
        constants=(8,),
    ),
]

PRODUCTS = [
    Case("Gemm", (real(3, 4), real(4, 5)), 60, 120),
    Case("Gemm", (real(3, 4), real(4, 5), real(5)), 60, 120 + 15),
    Case("Gemm", (real(4, 3), real(5, 4), real(3, 1)), 60, 120 + 15, {"transA": 1, "transB": 1}),
    Case("Gemm", (real(3, 4), real(4, 5), real(5)), 60, 120 + 3 * 15, {"alpha": 0.5, "beta": 2.0}),
    Case("Gemm", (real(3, 4), real(4, 5)), 60, 120 + 15, {"alpha": 0.5, "beta": 2.0}),
    Case("MatMul", (real(2, 1, 3, 4), real(7, 4, 5)), 14 * 60, 28 * 60),
    Case("MatMul", (real(4), real(4)), 4, 8),
    Case("MatMul", (real(4), real(2, 4, 5)), 40, 80),
    Case("MatMul", (real(2, 3, 4), real(4)), 24, 48),
    Case("Einsum", (real(2, 3, 4), real(2, 4, 5)), 120, 240, {"equation": "bij,bjk->bik"}),
    Case("Einsum", (real(7, 2, 3, 4), real(7, 2, 4, 5)), 7 * 120, 7 * 240, {"equation": "...ij,...jk"}),
    Case("Einsum", (real(3), real(4)), 0, 12, {"equation": "i,j->ij"}),
    Case("Einsum", (real(3, 4),), 0, 11, {"equation": "ij->"}),
    Case(
        "Einsum",
        (real(2, 3, 4, 5), real(2, 6, 4, 5)),
        2 * 4 * 3 * 6 * 5,
        4 * 4 * 3 * 6 * 5,
        {"equation": "b i h d, b j h d -> b h i j"},
    ),
    # Left to right: 2·3·4 for the first pair, then 2·4·5.
    Case("Einsum", (real(2, 3), real(3, 4), real(4, 5)), 24 + 40, 48 + 80, {"equation": "ab,bc,cd->ad"}),
    Case("MatMulInteger", (bytes_of(3, 4), bytes_of(4, 5), ZERO), 60, 120),
    Case(
        "QLinearMatMul",
        (bytes_of(2, 3, 4), SCALE, ZERO, bytes_of(4, 5), SCALE, ZERO, SCALE, ZERO),
        120,
        240 + 150,
    ),
]

T, B, F, H = 5, 2, 3, 4
STEPS = T * B
"""Steps, batch, features of the input and hidden sizes of recurrent layers."""
LSTM, GRU, RNN = (gates * H * (F + H) for gates in (4, 3, 1))

RECURRENT = [
    Case(
        "LSTM",
        (real(T, B, F), real(1, 4 * H, F), real(1, 4 * H, H)),
        STEPS * LSTM,
        STEPS * (2 * LSTM + 13 * H),
        {"hidden_size": H},
        outputs=3,
    ),
    Case(
        "LSTM",
        (real(T, B, F), real(1, 4 * H, F), real(1, 4 * H, H), real(1, 8 * H)),
        STEPS * LSTM,
        STEPS * (2 * LSTM + 21 * H),
        {"hidden_size": H},
        outputs=3,
    ),
    Case(
        "LSTM",
        (real(T, B, F), real(2, 4 * H, F), real(2, 4 * H, H), real(2, 8 * H)),
        2 * STEPS * LSTM,
        2 * STEPS * (2 * LSTM + 21 * H),
        {"hidden_size": H, "direction": "bidirectional"},
        outputs=3,
    ),
    Case(
        "LSTM",
        (real(B, T, F), real(1, 4 * H, F), real(1, 4 * H, H)),
        STEPS * LSTM,
        STEPS * (2 * LSTM + 13 * H),
        {"hidden_size": H, "layout": 1},
        outputs=3,
        shape=(B, T, 1, H),
    ),
    Case(
        "LSTM",
        (real(T, B, F), real(1, 4 * H, F), real(1, 4 * H, H), None, None, None, None, real(1, 3 * H)),
        STEPS * LSTM,
        STEPS * (2 * LSTM + 13 * H + 6 * H),
        {"hidden_size": H},
        outputs=3,
    ),
    Case(
        "LSTM",
        (real(T, B, F), real(1, 4 * H, F), real(1, 4 * H, H), None, whole(5, 3)),
        8 * LSTM,
        8 * (2 * LSTM + 13 * H),
        {"hidden_size": H},
        outputs=3,
        constants=(4,),
    ),
    Case(
        "GRU",
        (real(T, B, F), real(1, 3 * H, F), real(1, 3 * H, H), real(1, 6 * H)),
        STEPS * GRU,
        STEPS * (2 * GRU + 17 * H),
        {"hidden_size": H, "linear_before_reset": 1},
        outputs=2,
    ),
    Case(
        "GRU",
        (real(T, B, F), real(1, 3 * H, F), real(1, 3 * H, H)),
        STEPS * GRU,
        STEPS * (2 * GRU + 11 * H),
        {"hidden_size": H, "direction": "reverse"},
        outputs=2,
    ),
    Case(
        "RNN",
        (real(T, B, F), real(1, H, F), real(1, H, H), real(1, 2 * H)),
        STEPS * RNN,
        STEPS * (2 * RNN + 4 * H),
        {"hidden_size": H, "activations": ["Relu"]},
        outputs=2,
    ),
    Case(
        "RNN",
        (real(T, B, F), real(1, H, F), real(1, H, H)),
        STEPS * RNN,
        STEPS * (2 * RNN + 2 * H),
        {"hidden_size": H},
        outputs=2,
    ),
]

N, M, L, S, P, E = 4, 2, 5, 7, 3, 16
"""Query heads, key heads, queries, keys, past keys, width."""
ROWS = B * N * L


def attended(keys: int, per_score: int) -> tuple[int, int]:
    return ROWS * keys * 2 * E, ROWS * (keys * 4 * E + per_score * keys + 5 * keys - 2)


ATTENTION = [
    Case("Attention", (real(B, N, L, E), *(real(B, N, S, E),) * 2), *attended(S, 1), opset=23),
    Case("Attention", (real(B, N, L, E), *(real(B, M, S, E),) * 2, real(L, S)), *attended(S, 2), opset=23),
    Case(
        "Attention",
        (real(B, L, N * E), *(real(B, L, M * E),) * 2),
        *attended(L, 2),
        {"q_num_heads": N, "kv_num_heads": M, "is_causal": 1},
        opset=23,
    ),
    Case(
        "Attention",
        (real(B, N, L, E), *(real(B, N, S, E),) * 2, None, *(real(B, N, P, E),) * 2),
        *attended(P + S, 1),
        opset=23,
        outputs=3,
    ),
    Case(
        "Attention",
        (real(B, N, L, E), *(real(B, N, S, E),) * 2),
        *attended(S, 1 + 3),
        {"softcap": 2.0},
        opset=23,
    ),
    Case(
        "RotaryEmbedding",
        (
            real(B, N, L, E),
            real(9, E // 2),
            real(9, E // 2),
            whole(*range(L), dtype=LONG).reshape(1, L).repeat(B, 0),
        ),
        0,
        3 * B * N * L * E,
        opset=23,
    ),
    Case(
        "RotaryEmbedding",
        (
            real(B, N, L, E),
            real(9, E // 4),
            real(9, E // 4),
            whole(*range(L), dtype=LONG).reshape(1, L).repeat(B, 0),
        ),
        0,
        3 * B * N * L * E // 2,
        {"rotary_embedding_dim": E // 2},
        opset=23,
    ),
]

NORMS = [
    Case("BatchNormalization", (real(2, 3, 4, 4), *(real(3) ** 2,) * 4), 0, 2 * 96, opset=15),
    Case(
        "BatchNormalization",
        (real(2, 3, 4, 4), *(real(3) ** 2,) * 4),
        0,
        3 * (7 * 32 + 2),
        {"training_mode": 1},
        outputs=3,
        opset=15,
        shape=(2, 3, 4, 4),
    ),
    Case("BatchNormalization", (real(2, 3, 4, 4), *(real(3) ** 2,) * 4), 0, 2 * 96, opset=9),
    Case("LayerNormalization", (real(2, 3, 4), real(4)), 0, 6 * (6 * 4 + 2), opset=17),
    Case(
        "LayerNormalization",
        (real(2, 3, 4), real(3, 4), real(3, 4)),
        0,
        2 * (7 * 12 + 2),
        {"axis": 1},
        opset=17,
    ),
    Case("RMSNormalization", (real(2, 3, 4), real(4)), 0, 6 * (4 * 4 + 2), opset=23),
    Case(
        "GroupNormalization",
        (real(2, 6, 4, 4), real(6), real(6)),
        0,
        4 * (7 * 48 + 2),
        {"num_groups": 2},
        opset=21,
    ),
    Case("InstanceNormalization", (real(2, 3, 4, 4), real(3), real(3)), 0, 6 * (7 * 16 + 2)),
    Case("MeanVarianceNormalization", (real(2, 3, 4, 4),), 0, 3 * (5 * 32 + 2)),
    Case("LpNormalization", (real(2, 3, 4),), 0, 6 * 12, {"axis": -1}),
    Case("LpNormalization", (real(2, 3, 4),), 0, 8 * 8, {"axis": 1, "p": 1}),
    Case("LRN", (real(2, 3, 4, 4),), 0, 96 * (5 + 4), {"size": 5}),
    Case("Softmax", (real(2, 3, 4),), 0, 6 * (5 * 4 - 2), opset=13),
    Case("Softmax", (real(2, 3, 4),), 0, 8 * (5 * 3 - 2), {"axis": 1}, opset=13),
    Case("Softmax", (real(2, 3, 4),), 0, 2 * (5 * 12 - 2), opset=11),
    Case("LogSoftmax", (real(2, 3, 4),), 0, 6 * (5 * 4 - 1), {"axis": -1}, opset=11),
    Case("Hardmax", (real(2, 3, 4),), 0, 6 * (2 * 4 - 1), opset=13),
]

POOLS = [
    Case("MaxPool", (real(1, 2, 7, 7),), 0, 2 * 9 * 8, {"kernel_shape": [3, 3], "strides": [2, 2]}),
    Case(
        "MaxPool",
        (real(1, 2, 8, 8),),
        0,
        2 * 16 * 8,
        {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
    ),
    Case(
        "MaxPool",
        (real(1, 2, 7, 7),),
        0,
        2 * 16 * 3,
        {"kernel_shape": [2, 2], "strides": [2, 2], "auto_pad": "SAME_UPPER"},
    ),
    Case("MaxPool", (real(1, 2, 7),), 0, 2 * 3 * 2, {"kernel_shape": [3], "dilations": [2], "strides": [1]}),
    Case(
        "AveragePool",
        (real(1, 2, 7, 7),),
        0,
        2 * 49 * 9,
        {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1},
    ),
    Case(
        "AveragePool", (real(1, 2, 4, 4, 4),), 0, 2 * 8 * 8, {"kernel_shape": [2, 2, 2], "strides": [2, 2, 2]}
    ),
    Case("GlobalAveragePool", (real(2, 3, 7, 7),), 0, 6 * 49),
    Case("GlobalMaxPool", (real(2, 3, 7, 7),), 0, 6 * 48),
    Case("LpPool", (real(1, 2, 6, 6),), 0, 2 * 9 * 8, {"kernel_shape": [2, 2], "strides": [2, 2]}),
    Case("GlobalLpPool", (real(2, 3, 7, 7),), 0, 6 * (2 * 49 - 1), {"p": 1}),
    Case(
        "RoiAlign",
        (real(1, 3, 8, 8), real(2, 4), whole(0, 0, dtype=LONG)),
        0,
        8 * 4 * 2 * 3 * 4,
        {"output_height": 2, "output_width": 2, "sampling_ratio": 2},
    ),
    Case(
        "Col2Im",
        (real(1, 8, 4), whole(4, 4, dtype=LONG), whole(2, 2, dtype=LONG)),
        0,
        32,
        {"strides": [2, 2]},
        constants=(1, 2),
    ),
]

SCALES = numpy.array([1, 1, 2, 2], numpy.float32)
RESIZED = [
    Case("Resize", (real(1, 2, 3, 3), None, SCALES), 0, 0, constants=(2,)),
    Case("Resize", (real(1, 2, 3, 3), None, SCALES), 0, 7 * 72, {"mode": "linear"}, constants=(2,)),
    Case("Resize", (real(1, 2, 3, 3), None, SCALES), 0, 31 * 72, {"mode": "cubic"}, constants=(2,)),
    Case(
        "Resize",
        (real(1, 2, 3, 3), None, None, whole(1, 2, 5, 4, dtype=LONG)),
        0,
        7 * 40,
        {"mode": "linear"},
        constants=(3,),
    ),
    Case("Resize", (real(1, 2, 3), None, SCALES[:3]), 0, 3 * 12, {"mode": "linear"}, constants=(2,)),
    Case(
        "Resize",
        (real(1, 2, 3, 3, 3), None, numpy.array([1, 1, 2, 2, 2], numpy.float32)),
        0,
        15 * 432,
        {"mode": "linear"},
        constants=(2,),
    ),
    # 4 taps along each axis when halving: columns first, at all rows, then rows.
    Case(
        "Resize",
        (real(1, 2, 8, 8), None, None, whole(1, 2, 4, 4, dtype=LONG)),
        0,
        7 * 64 + 7 * 32,
        {"mode": "linear", "antialias": 1},
        constants=(3,),
    ),
    Case("Upsample", (real(1, 2, 3, 3), SCALES), 0, 7 * 72, {"mode": "linear"}, constants=(1,), opset=9),
    Case("Upsample", (real(1, 2, 3, 3),), 0, 0, {"mode": "nearest", "scales": [1.0, 1.0, 2.0, 2.0]}, opset=8),
    Case("GridSample", (real(1, 2, 5, 5), real(1, 3, 4, 2)), 0, 7 * 24 + 14 * 12),
    Case(
        "AffineGrid",
        (real(2, 2, 3), whole(2, 3, 4, 5, dtype=LONG)),
        2 * 4 * 5 * 2 * 3,
        4 * 4 * 5 * 2 * 3,
        constants=(1,),
    ),
]

ROWWISE = [
    Case("ReduceSum", (real(2, 3, 4), whole(1, dtype=LONG)), 0, 24 - 8, constants=(1,)),
    Case("ReduceSum", (real(2, 3, 4),), 0, 24 - 6, {"axes": [2], "keepdims": 0}, opset=11),
    Case("ReduceMean", (real(2, 3, 4),), 0, 24, {"axes": [2]}, opset=13),
    Case("ReduceMean", (real(2, 3, 4), whole(2, dtype=LONG)), 0, 24, constants=(1,)),
    Case("ReduceMean", (real(2, 3, 4),), 0, 0, {"noop_with_empty_axes": 1}),
    Case("ReduceMax", (real(2, 3, 4),), 0, 23, {"keepdims": 0}),
    Case("ReduceL1", (real(2, 3, 4),), 0, 2 * 24 - 6, {"axes": [-1]}, opset=13),
    Case("ReduceL2", (real(2, 3, 4),), 0, 2 * 24, {"axes": [-1]}, opset=13),
    Case("ReduceSumSquare", (real(2, 3, 4),), 0, 2 * 24 - 6, {"axes": [-1]}, opset=13),
    Case("ReduceLogSum", (real(2, 3, 4) ** 2,), 0, 24, {"axes": [-1]}, opset=13),
    Case("ReduceLogSumExp", (real(2, 3, 4),), 0, 4 * 24, {"axes": [-1]}, opset=13),
    Case("ArgMax", (real(2, 3, 4),), 0, 24 - 8, {"axis": 1}),
]

POINTWISE = [
    Case("Add", (real(2, 3, 4), real(4)), 0, 24),
    Case("Mul", (real(3, 1), real(1, 4)), 0, 12),
    Case("Div", (real(3, 4), real(4)), 0, 12),
    Case("Mod", (real(3, 4), real(4)), 0, 4 * 12, {"fmod": 1}),
    Case("Sum", (real(3, 4), real(4), real(3, 1)), 0, 2 * 12),
    Case("Mean", (real(3, 4), real(4), real(3, 1)), 0, 3 * 12),
    Case("Max", (real(3, 4), real(4)), 0, 12),
    Case("Clip", (real(3, 4), numpy.float32(0), numpy.float32(6)), 0, 2 * 12),
    Case("Clip", (real(3, 4), None, numpy.float32(6)), 0, 12),
    Case("Clip", (real(3, 4),), 0, 2 * 12, {"min": 0.0, "max": 6.0}, opset=10),
    Case("Clip", (real(3, 4),), 0, 12, {"min": 0.0}, opset=6),
    Case("Where", (numpy.array([True, False]), real(3, 1), real(2)), 0, 6),
    Case("PRelu", (real(2, 3, 4), real(3, 1)), 0, 2 * 24),
    Case("Selu", (real(3, 4),), 0, 5 * 12),
    Case("Elu", (real(3, 4),), 0, 4 * 12),
    Case("Celu", (real(3, 4),), 0, 5 * 12, {"alpha": 2.0}),
    Case("Gelu", (real(3, 4),), 0, 9 * 12, {"approximate": "tanh"}),
    Case("HardSwish", (real(3, 4),), 0, 5 * 12),
    Case("Shrink", (real(3, 4),), 0, 4 * 12, {"bias": 0.5}),
    Case("Swish", (real(3, 4),), 0, 3 * 12, {"alpha": 2.0}, opset=24, shape=(3, 4)),
    Case("QuantizeLinear", (real(3, 4), SCALE, ZERO), 0, 5 * 12),
    Case("QuantizeLinear", (real(3, 4), SCALE), 0, 4 * 12),
    Case("DequantizeLinear", (bytes_of(3, 4), SCALE, ZERO), 0, 2 * 12),
    Case("DequantizeLinear", (bytes_of(3, 4, signed=True), SCALE), 0, 12),
    Case("DynamicQuantizeLinear", (real(3, 4),), 0, 7 * 12, outputs=3),
    Case(
        "ScatterElements",
        (real(3, 4), whole(0, 1, dtype=LONG).reshape(1, 2), real(1, 2)),
        0,
        2,
        {"reduction": "add"},
    ),
    Case("ScatterElements", (real(3, 4), whole(0, 1, dtype=LONG).reshape(1, 2), real(1, 2)), 0, 0),
    Case("Dropout", (real(3, 4), numpy.float32(0.5), numpy.bool_(False)), 0, 0),
    Case("Dropout", (real(3, 4),), 0, 0, {"ratio": 0.5}, opset=7),
    Case("Squeeze", (real(1, 3, 1),), 0, 0, {"axes": [0]}, opset=11),
    Case("Squeeze", (real(1, 3, 1), whole(0, dtype=LONG)), 0, 0, constants=(1,)),
    Case("Unsqueeze", (real(3, 4), whole(0, 2, dtype=LONG)), 0, 0, constants=(1,)),
    Case("Slice", (real(3, 4),), 0, 0, {"starts": [1], "ends": [3]}, opset=9),
    Case(
        "Slice",
        (real(3, 4), *(whole(value, dtype=LONG) for value in (0, 3, 1, 2))),
        0,
        0,
        constants=(1, 2, 3, 4),
    ),
    Case("Split", (real(4, 6),), 0, 0, {"axis": 1, "split": [2, 4]}, outputs=2, opset=11),
    Case("Split", (real(4, 6), whole(2, 4, dtype=LONG)), 0, 0, {"axis": 1}, outputs=2, constants=(1,)),
    Case("Pad", (real(3, 4),), 0, 0, {"pads": [0, 1, 0, 1]}, opset=10),
    Case("Pad", (real(3, 4), whole(0, 1, 0, 1, dtype=LONG)), 0, 0, constants=(1,)),
]


@pytest.mark.parametrize(
    "case",
    [
        *CONVOLUTIONS,
        *PRODUCTS,
        *RECURRENT,
        *ATTENTION,
        *NORMS,
        *POOLS,
        *RESIZED,
        *ROWWISE,
        *POINTWISE,
    ],
    ids=lambda case: case.label,
)
def test_standard_operators(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path)
