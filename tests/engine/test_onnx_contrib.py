"""Operators of onnxruntime: shapes as its own kernels give them, counts as formulas written here."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy
import pytest

from engine.onnx.contrib_shapes import contrib_outputs
from engine.onnx.graph import Node
from engine.onnx.shape_rules import ruled_operators
from engine.onnx.values import GraphShapes, Value
from tests.conftest import DAY
from tests.engine.onnx_nodes import INT8_ZERO, MICROSOFT, SCALE, ZERO, Case, bytes_of, check, real, whole

B, L, P, N, E = 2, 5, 3, 4, 16
"""Images, queries, past keys, heads, width of a head."""
D = N * E


def scores(keys: int, *, masked: bool) -> tuple[int, int]:
    """(MACs, FLOPs) of N heads' scaled dot products of L queries in B images, values as wide as keys."""
    each = B * N * L
    macs = each * keys * (E + E)
    return macs, 2 * macs + each * keys * (2 if masked else 1) + each * (5 * keys - 2)


PLAIN, MASKED = scores(L, masked=False), scores(L, masked=True)
CACHED = scores(P + L, masked=True)
PROJECTED = B * L * D * 3 * D
QUANTISE, DEQUANTISE = 5, 2

SHAPES = [(), (0,), (3,), (2, 3), (2, 3, 4), (1, 3, 4, 4), (1, 2, 3, 4, 5), None]
VALUES: list[Any] = [0, -1, 1, 3, 2**62, 1.5, "SAME_UPPER", (), (1,), (0, 0), (-5, -5, -5, -5), ("a",), None]
ATTRIBUTES = [
    "axis", "axes", "kernel_shape", "strides", "pads", "dilations", "auto_pad", "ceil_mode", "num_heads",
    "kv_num_heads", "q_num_heads", "qkv_hidden_sizes", "channels", "channels_last", "bits", "gather_axis", "N",
    "transA", "transBatchA", "keepdims", "inputdimensions", "targets", "classlabels_ints", "past_present_share_buffer",
]  # fmt: skip

CASES = [
    Case("Gelu", (real(3, 4),), 0, 5 * 12),
    Case("FastGelu", (real(3, 4),), 0, 9 * 12),
    Case("FastGelu", (real(3, 4), real(4)), 0, 10 * 12),
    Case("BiasGelu", (real(3, 4), real(4)), 0, 6 * 12),
    Case("QuickGelu", (real(3, 4),), 0, 3 * 12),
    Case("QuickGelu", (real(3, 4),), 0, 2 * 12, {"alpha": 1.0}),
    Case("SkipLayerNormalization", (real(B, L, D), real(B, L, D), real(D)), 0, B * L * (6 * D + 2 + D)),
    Case(
        "SkipLayerNormalization",
        (real(B, L, D), real(B, L, D), real(D), real(D), real(D)),
        0,
        B * L * (7 * D + 2 + 2 * D),
        outputs=4,
    ),
    Case("SkipSimplifiedLayerNormalization", (real(B, L, D), real(B, L, D), real(D)), 0, B * L * (5 * D + 2)),
    Case(
        "EmbedLayerNormalization",
        (
            whole(1, 2, 0).reshape(1, 3),
            whole(0, 1, 0).reshape(1, 3),
            real(9, D),
            real(7, D),
            real(2, D),
            real(D),
            real(D),
        ),
        0,
        3 * (7 * D + 2) + 2 * 3 * D,
        outputs=2,
    ),
    Case(
        "BiasSoftmax",
        (real(2, 3, 4), real(2, 3, 4)),
        0,
        6 * (5 * 4 - 2) + 24,
        {"axis": 2, "is_inner_broadcast": 1},
        shape=(2, 3, 4),
    ),
    Case(
        "Attention",
        (real(B, L, D), real(D, 3 * D), real(3 * D)),
        PROJECTED + PLAIN[0],
        2 * PROJECTED + B * L * 3 * D + PLAIN[1],
        {"num_heads": N},
    ),
    Case(
        "Attention",
        (real(B, L, D), real(D, 3 * D), real(3 * D), None, real(2, B, N, P, E)),
        PROJECTED + CACHED[0],
        2 * PROJECTED + B * L * 3 * D + CACHED[1],
        {"num_heads": N, "unidirectional": 1},
        outputs=2,
    ),
    Case("MultiHeadAttention", (real(B, L, D),) * 3, *PLAIN, {"num_heads": N}),
    Case("MultiHeadAttention", (real(B, L, N, 3, E),), *PLAIN, {"num_heads": N}, shape=(B, L, D)),
    Case(
        "MultiHeadAttention",
        (*(real(B, L, D),) * 3, real(3 * D), None, None, *(real(B, N, P, E),) * 2),
        CACHED[0],
        CACHED[1] + B * (L + 2 * (P + L)) * D,
        {"num_heads": N, "unidirectional": 1},
        outputs=3,
    ),
    Case(
        "GroupQueryAttention",
        (real(B, L, D), *(real(B, L, 2 * E),) * 2, None, None, whole(L - 1, L - 1), whole(L)),
        *MASKED,
        {"num_heads": N, "kv_num_heads": 2},
        outputs=3,
    ),
    Case(
        "GroupQueryAttention",
        (real(B, L, D + 4 * E), *(None,) * 4, whole(L - 1, L - 1), whole(L)),
        *MASKED,
        {"num_heads": N, "kv_num_heads": 2},
        outputs=3,
    ),
    Case(
        "RotaryEmbedding",
        (real(B, L, D), whole(0, dtype=numpy.int64), real(9, E // 2), real(9, E // 2)),
        0,
        3 * B * L * D,
        {"num_heads": N, "rotary_embedding_dim": E},
    ),
    Case(
        "RotaryEmbedding",
        (real(B, N, L, E), whole(0, dtype=numpy.int64), real(9, E // 2), real(9, E // 2)),
        0,
        3 * B * L * D,
    ),
    Case(
        "FusedConv",
        (real(1, 4, 9, 9), real(6, 2, 3, 3), real(6)),
        6 * 9 * 9 * 2 * 9,
        2 * 6 * 81 * 18 + 6 * 81 + 6 * 81,
        {"group": 2, "pads": [1, 1, 1, 1], "activation": "Relu"},
    ),
    Case(
        "FusedConv",
        (real(1, 4, 9, 9), real(6, 2, 3, 3)),
        6 * 25 * 18,
        2 * 6 * 25 * 18 + 6 * 25,
        {"group": 2, "auto_pad": "SAME_UPPER", "strides": [2, 2], "activation": "Tanh"},
    ),
    Case(
        "FusedGemm",
        (real(3, 4), real(5, 4), real(5)),
        3 * 5 * 4,
        2 * 60 + 15 + 15,
        {"transB": 1, "activation": "Relu"},
    ),
    Case(
        "FusedMatMul",
        (real(2, 4, 3), real(2, 4, 5)),
        2 * 3 * 5 * 4,
        2 * 120 + 30,
        {"transA": 1, "alpha": 0.5},
    ),
    Case(
        "FusedMatMul", (real(3, 2, 4), real(2, 5, 4)), 2 * 3 * 5 * 4, 2 * 120, {"transBatchA": 1, "transB": 1}
    ),
    Case(
        "MatMulNBits",
        (real(B, L, 32), bytes_of(7, 2, 8), real(14)),
        B * L * 7 * 32,
        2 * B * L * 7 * 32 + DEQUANTISE * 7 * 32,
        {"K": 32, "N": 7, "bits": 4, "block_size": 16},
    ),
    Case(
        "DynamicQuantizeMatMul",
        (real(L, 6), bytes_of(6, 7), SCALE),
        L * 7 * 6,
        2 * L * 7 * 6 + L * 7 + 7 * L * 6,
    ),
    Case(
        "MatMulIntegerToFloat",
        (bytes_of(L, 6), bytes_of(6, 7), SCALE, SCALE, None, None, real(7)),
        L * 7 * 6,
        2 * L * 7 * 6 + 2 * L * 7,
    ),
    Case(
        "QGemm",
        (bytes_of(L, 6), SCALE, ZERO, bytes_of(7, 6), SCALE, ZERO, whole(*range(7)), SCALE, ZERO),
        L * 7 * 6,
        2 * L * 7 * 6 + L * 7 + QUANTISE * L * 7,
        {"transB": 1},
    ),
    Case(
        "QGemm", (bytes_of(L, 6), SCALE, ZERO, bytes_of(6, 7), SCALE, ZERO), L * 7 * 6, 2 * L * 7 * 6 + L * 7
    ),
    Case("QLinearAdd", (bytes_of(3, 4), SCALE, ZERO, bytes_of(4), SCALE, ZERO, SCALE, ZERO), 0, 10 * 12),
    Case("QLinearMul", (bytes_of(3, 1), SCALE, ZERO, bytes_of(4), SCALE, ZERO, SCALE, ZERO), 0, 10 * 12),
    Case("QLinearSigmoid", (bytes_of(3, 4), SCALE, ZERO, SCALE, ZERO), 0, 8 * 12, constants=(1, 2, 3, 4)),
    Case("QLinearLeakyRelu", (bytes_of(3, 4), SCALE, ZERO, SCALE, ZERO), 0, 9 * 12, constants=(1, 2, 3, 4)),
    Case(
        "QLinearSoftmax",
        (bytes_of(3, 4), SCALE, ZERO, SCALE, ZERO),
        0,
        3 * (5 * 4 - 2) + 7 * 12,
        {"axis": -1, "opset": 13},
        constants=(1, 2, 3, 4),
    ),
    Case(
        "QLinearConcat",
        (SCALE, ZERO, bytes_of(3, 4), SCALE, ZERO, bytes_of(3, 2), SCALE, ZERO),
        0,
        7 * 18,
        {"axis": 1},
        constants=(0, 1, 3, 4, 6, 7),
    ),
    Case(
        "QLinearAveragePool",
        (bytes_of(1, 2, 7, 7), SCALE, ZERO, SCALE, ZERO),
        0,
        2 * 9 * (4 + QUANTISE),
        {"kernel_shape": [2, 2], "strides": [2, 2]},
    ),
    Case(
        "QLinearAveragePool",
        (bytes_of(1, 7, 7, 2), SCALE, ZERO, SCALE, ZERO),
        0,
        2 * 16 * (4 + QUANTISE),
        {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1, "channels_last": 1},
    ),
    Case(
        "QLinearGlobalAveragePool", (bytes_of(1, 2, 7, 7), SCALE, ZERO, SCALE, ZERO), 0, 2 * (49 + QUANTISE)
    ),
    Case(
        "QLinearGlobalAveragePool",
        (bytes_of(1, 7, 7, 2), SCALE, ZERO, SCALE, ZERO),
        0,
        2 * (49 + QUANTISE),
        {"channels_last": 1},
    ),
    Case(
        "QLinearConv",
        (bytes_of(1, 7, 7, 4), SCALE, ZERO, bytes_of(6, 2, 3, 3), SCALE, ZERO, SCALE, ZERO),
        6 * 25 * 18,
        2 * 6 * 25 * 18 + QUANTISE * 6 * 25,
        {"group": 2, "channels_last": 1},
        constants=(1, 2, 4, 5, 6, 7),
    ),
    Case(
        "QLinearWhere",
        (numpy.array([True, False]), bytes_of(3, 1), SCALE, ZERO, bytes_of(2), SCALE, ZERO, SCALE, ZERO),
        0,
        10 * 6,
        constants=(2, 3, 5, 6, 7, 8),
    ),
    Case(
        "QAttention",
        (
            bytes_of(B, L, D),
            bytes_of(D, 3 * D, signed=True),
            real(3 * D),
            SCALE,
            SCALE,
            None,
            ZERO,
            INT8_ZERO,
        ),
        PROJECTED + PLAIN[0],
        2 * PROJECTED + 2 * B * L * 3 * D + PLAIN[1],
        {"num_heads": N},
    ),
    Case(
        "DynamicQuantizeLSTM",
        (
            real(L, B, 6),
            bytes_of(1, 6, 4 * E),
            bytes_of(1, E, 4 * E),
            real(1, 8 * E),
            None,
            None,
            None,
            None,
            real(1),
            bytes_of(1),
            real(1),
            bytes_of(1),
        ),
        L * B * 4 * E * (6 + E),
        2 * L * B * 4 * E * (6 + E) + L * B * E * 21 + 7 * L * B * (6 + E) + 2 * L * B * 4 * E,
        {"hidden_size": E},
        outputs=3,
        constants=(1, 2, 8, 9, 10, 11),
    ),
    Case("QuantizeLinear", (real(3, 4), SCALE, ZERO), 0, 5 * 12),
    Case("DequantizeLinear", (bytes_of(3, 4), SCALE, ZERO), 0, 2 * 12),
    Case("CDist", (real(3, 6), real(4, 6)), 12 * 6, 3 * 12 * 6 + 12, {"metric": "euclidean"}),
    Case("CDist", (real(3, 6), real(4, 6)), 12 * 6, 3 * 12 * 6, {"metric": "sqeuclidean"}),
    Case("ExpandDims", (real(3, 4), whole(1)), 0, 0, constants=(1,)),
    Case("Trilu", (real(3, 4),), 0, 0),
    Case(
        "MoE",
        (real(B, L, 6), real(B * L, 3), real(3, 7, 6), real(3, 7), real(3, 6, 7), real(3, 6)),
        B * L * 2 * (7 * 6 + 6 * 7),
        2 * B * L * 2 * 84 + B * L * 2 * 7 + B * L * 2 * 13 + B * L * (5 * 3 - 2) + 2 * B * L * 2 * 6,
        {"k": 2, "activation_type": "relu"},
    ),
    Case("GridSample", (real(1, 2, 5, 5), real(1, 3, 4, 2)), 0, 7 * 24 + 14 * 12, {"mode": "bilinear"}),
    Case(
        "CropAndResize",
        (real(1, 2, 5, 5), real(3, 4), whole(0, 0, 0), whole(2, 4)),
        0,
        7 * 3 * 2 * 8,
        constants=(3,),
    ),
    Case(
        "GatherBlockQuantized",
        (bytes_of(9, 16), whole(1, 3), real(9, 2)),
        0,
        2 * 2 * 32,
        {"bits": 4, "block_size": 16, "gather_axis": 0, "quantize_axis": 1},
    ),
    Case("NhwcMaxPool", (bytes_of(1, 7, 7, 2),), 0, 2 * 9 * 3, {"kernel_shape": [2, 2], "strides": [2, 2]}),
    Case(
        "LinearAttention",
        (real(B, L, D), real(B, L, D), real(B, L, D), real(B, N, E, E)),
        2 * B * L * N * E * E,
        4 * B * L * N * E * E + B * L * D,
        {"q_num_heads": N, "kv_num_heads": N, "update_rule": "linear"},
        outputs=2,
    ),
    Case(
        "CausalConvWithState",
        (real(B, 6, L), real(6, 1, 3), real(6)),
        B * 6 * L * 3,
        2 * B * 6 * L * 3 + B * 6 * L + 2 * B * 6 * L,
        {"activation": "silu"},
        outputs=2,
    ),
    Case(
        "GroupQueryAttention",
        (
            real(B, L, D),
            *(real(B, L, 2 * E),) * 2,
            None,
            None,
            whole(L - 1, L - 1),
            whole(L),
            *(real(9, E // 2),) * 2,
        ),
        MASKED[0],
        MASKED[1] + 3 * B * L * (N + 2) * E,
        {"num_heads": N, "kv_num_heads": 2, "do_rotary": 1},
        outputs=3,
    ),
    Case(
        "DecoderMaskedMultiHeadAttention",
        (real(B, 1, D), *(real(B, N, P, E),) * 2),
        2 * B * N * P * E,
        4 * B * N * P * E + B * N * P + B * N * (5 * P - 2),
        {"num_heads": N},
        shape=(B, 1, D),
    ),
    Case(
        "GroupNorm",
        (real(2, 3, 3, 8), real(8), real(8)),
        0,
        8 * (7 * 18 + 2) + 2 * 144,
        {"groups": 4, "activation": 1},
        shape=(2, 3, 3, 8),
    ),
    Case(
        "SkipGroupNorm",
        (real(2, 3, 3, 8), real(8), real(8), real(2, 8), real(8)),
        0,
        8 * (7 * 18 + 2) + 2 * 144,
        {"groups": 4, "activation": 0},
        shape=(2, 3, 3, 8),
    ),
    Case("BiasSplitGelu", (real(2, 3, 8), real(8)), 0, 8 * 24, shape=(2, 3, 4)),
    Case(
        "NhwcConv",
        (real(1, 7, 7, 4), real(6, 2, 3, 3), real(6)),
        6 * 25 * 18,
        2 * 6 * 25 * 18 + 6 * 25,
        {"group": 2},
        shape=(1, 5, 5, 6),
    ),
    Case(
        "PackedAttention",
        (real(7, D), real(D, 3 * D), real(3 * D), whole(*range(B * L)).reshape(B, L), whole(0, 4, 7)),
        7 * D * 3 * D + PLAIN[0],
        2 * 7 * D * 3 * D + 7 * 3 * D + PLAIN[1],
        {"num_heads": N},
        shape=(7, D),
    ),
    Case(
        "GemmFastGelu",
        (real(2, 3, 4), real(4, 5), real(5)),
        30 * 4,
        2 * 30 * 4 + 30 + 9 * 30,
        shape=(2, 3, 5),
    ),
    Case(
        "RelativePositionBias",
        (real(32, N), whole(L, dtype=numpy.int64), whole(L, dtype=numpy.int64)),
        0,
        0,
        {"max_distance": 128},
        shape=(1, N, L, L),
        constants=(1, 2),
    ),
    Case(
        "GatedRMSNorm", (real(2, 3, 8), real(4), real(2, 3, 8)), 0, 12 * (4 * 4 + 2) + 3 * 48, shape=(2, 3, 8)
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.op)
def test_operators_of_onnxruntime(case: Case, tmp_path: Path) -> None:
    check(case._replace(domain=MICROSOFT, opset=17), tmp_path)


@pytest.mark.parametrize("seed", range(3))
def test_whatever_a_file_holds_shapes_are_sizes_or_unknown(seed: int) -> None:
    """Every rule with random inputs and attributes: no exception, no negative size."""
    draw = random.Random(f"{DAY} {seed}")
    for domain, op in ruled_operators():
        for _ in range(8):
            count = draw.randrange(10)
            names = tuple(draw.choice(["", "a", "b", "c"]) for _ in range(count))
            attributes = {name: draw.choice(VALUES) for name in draw.sample(ATTRIBUTES, 6)}
            node = Node("node", op, domain, names, ("y", "z"), attributes)
            values = {name: Value(draw.choice(SHAPES), "float32") for name in "abc"}
            made = contrib_outputs(node, GraphShapes(values))
            assert made is not None
            assert len(made) == 2
            assert all(size >= 0 for value in made for size in value.shape or ()), (op, made)
