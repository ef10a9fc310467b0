"""Every line of the table of FLOPs beyond 2 × MACs, and every family: expected numbers written as the
formula.

Arguments are named as in the operators' schemas; the first shape of ``outputs`` is the result.
"""

from __future__ import annotations

import pytest

from engine.cost import cost_of
from engine.graph import OpCall, Shape

IMAGE = (2, 8, 10, 12)
PIXELS = 2 * 8 * 10 * 12
TOKENS = (3, 5, 64)
ROWS = 3 * 5


def call(op: str, inputs: tuple[Shape | None, ...], output: Shape, **args: object) -> OpCall:
    return OpCall(op, inputs, (output,), args)


def same_shape(op: str, **args: object) -> OpCall:
    return call(op, (IMAGE,), IMAGE, **args)


PER_ELEMENT = [
    # op, FLOPs per element, special ones of them
    *(
        (op, 1, 0)
        for op in ("add", "sub", "rsub", "mul", "neg", "abs", "maximum", "minimum", "relu", "square")
    ),
    *((op, 1, 0) for op in ("eq", "lt", "ge", "masked_fill", "logical_and", "bitwise_not", "clamp_min")),
    *((op, 2, 0) for op in ("relu6", "hardtanh", "leaky_relu", "prelu", "threshold", "rrelu")),
    *((op, 1, 1) for op in ("div", "sqrt", "rsqrt", "reciprocal", "exp", "log", "erf", "tanh", "sigmoid")),
    *((op, 1, 1) for op in ("sin", "cos", "pow", "atan2", "log1p")),
    ("silu", 2, 1),
    ("gelu", 5, 1),
    ("hardsigmoid", 4, 0),
    ("hardswish", 5, 0),
    ("softplus", 3, 2),
    ("mish", 5, 3),
    ("elu", 4, 1),
    ("celu", 4, 1),
    ("selu", 5, 1),
    ("log_sigmoid", 5, 2),
    ("hardshrink", 3, 0),
    ("softshrink", 4, 0),
    ("remainder", 4, 1),
    ("floor_divide", 2, 1),
    ("lerp", 3, 0),
    ("addcmul", 2, 0),
    ("addcdiv", 2, 1),
    ("logit", 3, 2),
    ("upsample_nearest2d", 0, 0),
    ("upsample_bilinear2d", 7, 0),
    ("upsample_bicubic2d", 31, 0),
    ("upsample_trilinear3d", 15, 0),
    ("upsample_linear1d", 3, 0),
    *(
        (op, 0, 0)
        for op in ("view", "transpose", "permute", "cat", "slice", "pad", "copy", "gather", "dropout")
    ),
    *(
        (op, 0, 0)
        for op in ("reshape", "roll", "pixel_shuffle", "index", "to", "clone", "expand", "embedding")
    ),
]


@pytest.mark.parametrize(("op", "flops", "special"), PER_ELEMENT)
def test_per_output_element(op: str, flops: int, special: int) -> None:
    _, work = cost_of(same_shape(op))
    assert (work.macs, work.flops, work.special_ops) == (0, flops * PIXELS, special * PIXELS)


@pytest.mark.parametrize(
    ("made", "flops", "special"),
    [
        (same_shape("gelu", approximate="tanh"), 9 * PIXELS, PIXELS),
        (same_shape("add", alpha=2), 2 * PIXELS, 0),
        (same_shape("div", rounding_mode="floor"), 2 * PIXELS, PIXELS),
        (same_shape("clamp", min=0, max=None), PIXELS, 0),
        (same_shape("clamp", min=0, max=6.0), 2 * PIXELS, 0),
        (same_shape("max", other=IMAGE), PIXELS, 0),
        (same_shape("celu", alpha=2.0), 5 * PIXELS, PIXELS),
        (call("glu", ((4, 6),), (4, 3), dim=-1), 2 * 4 * 3, 4 * 3),
        # a broadcast counts at its output size
        (call("mul", ((4, 1), (1, 5)), (4, 5)), 4 * 5, 0),
        # batch norm in eval: scale and shift
        (same_shape("batch_norm", weight=(8,), bias=(8,), training=False), 2 * PIXELS, 0),
        # layer norm: per row 5n + 2 (3 special), + 2n with affine
        (call("layer_norm", (TOKENS,), TOKENS, normalized_shape=(64,)), ROWS * (5 * 64 + 2), ROWS * 3),
        (
            call("layer_norm", (TOKENS,), TOKENS, normalized_shape=(64,), weight=(64,), bias=(64,)),
            ROWS * (5 * 64 + 2 + 2 * 64),
            ROWS * 3,
        ),
        (
            call("layer_norm", (TOKENS,), TOKENS, normalized_shape=(5, 64), weight=(5, 64), bias=None),
            3 * (5 * 5 * 64 + 2 + 5 * 64),
            3 * 3,
        ),
        (
            same_shape("group_norm", num_groups=4, weight=(8,), bias=(8,)),
            2 * 4 * (5 * (2 * 120) + 2 + 2 * (2 * 120)),
            2 * 4 * 3,
        ),
        (same_shape("instance_norm", use_input_stats=True), 2 * 8 * (5 * 120 + 2), 2 * 8 * 3),
        (same_shape("instance_norm", use_input_stats=False), 2 * PIXELS, 0),
        (same_shape("batch_norm", training=True), 8 * (5 * 2 * 120 + 2), 8 * 3),
        # RMS norm: per row 3n + 2 (2 special), + n with weight
        (call("rms_norm", (TOKENS,), TOKENS, normalized_shape=(64,)), ROWS * (3 * 64 + 2), ROWS * 2),
        (
            call("rms_norm", (TOKENS,), TOKENS, normalized_shape=(64,), weight=(64,)),
            ROWS * (3 * 64 + 2 + 64),
            ROWS * 2,
        ),
        # softmax: 5n − 2 (2n special); log-softmax 5n − 1 (n + 1 special)
        (call("softmax", (TOKENS,), TOKENS, dim=-1), ROWS * (5 * 64 - 2), ROWS * 2 * 64),
        (call("softmax", (TOKENS,), TOKENS, dim=1), 3 * 64 * (5 * 5 - 2), 3 * 64 * 2 * 5),
        (call("log_softmax", (TOKENS,), TOKENS, dim=2), ROWS * (5 * 64 - 1), ROWS * (64 + 1)),
        (call("logsumexp", (TOKENS,), (3, 5), dim=(2,)), ROWS * 4 * 64, ROWS * (64 + 1)),
        # pools: max k − 1, average k (1 special)
        (call("max_pool2d", (IMAGE,), (2, 8, 5, 6), kernel_size=(2, 2)), 2 * 8 * 5 * 6 * (4 - 1), 0),
        (call("max_pool2d", (IMAGE,), (2, 8, 4, 5), kernel_size=(3,)), 2 * 8 * 4 * 5 * (9 - 1), 0),
        (call("max_pool1d", ((2, 8, 12),), (2, 8, 4), kernel_size=(3,)), 2 * 8 * 4 * (3 - 1), 0),
        (call("avg_pool2d", (IMAGE,), (2, 8, 5, 4), kernel_size=(2, 3)), 2 * 8 * 5 * 4 * 6, 2 * 8 * 5 * 4),
        (call("adaptive_avg_pool2d", (IMAGE,), (2, 8, 1, 1)), 2 * 8 * 120, 2 * 8),
        # 10 rows into 4 windows of 3, 3, 3, 3 rows; 12 columns into 5 windows of 3, 3, 4, 3, 3
        (call("adaptive_avg_pool2d", (IMAGE,), (2, 8, 4, 5)), 2 * 8 * 12 * 16, 2 * 8 * 4 * 5),
        (call("adaptive_max_pool2d", (IMAGE,), (2, 8, 5, 6)), 2 * 8 * (120 - 30), 0),
        # reductions: sum k − 1, mean k (1 special)
        (call("sum", (TOKENS,), (3, 5), dim=(2,)), ROWS * (64 - 1), 0),
        (call("mean", (TOKENS,), (3, 5), dim=(2,)), ROWS * 64, ROWS),
        (call("argmax", (TOKENS,), (3, 5), dim=2), ROWS * (64 - 1), 0),
        (call("max", (TOKENS,), ()), ROWS * 64 - 1, 0),
        (call("sum", ((0, 4),), ()), 0, 0),
        (call("var", (TOKENS,), (3, 5), dim=(2,)), ROWS * 4 * 64, ROWS * 2),
        (call("std", (TOKENS,), (3, 5), dim=(2,)), ROWS * (4 * 64 + 1), ROWS * 3),
        (call("linalg_vector_norm", (TOKENS,), (3, 5), ord=2, dim=(2,)), ROWS * 2 * 64, ROWS),
        (call("linalg_vector_norm", (TOKENS,), (3, 5), ord=1, dim=(2,)), ROWS * (2 * 64 - 1), 0),
        (call("linalg_vector_norm", (TOKENS,), (3, 5), ord=3, dim=(2,)), ROWS * 3 * 64, ROWS * (64 + 1)),
        (call("linalg_norm", ((4, 6),), (), ord=None, dim=None), 2 * 24, 1),
        (
            call("cosine_similarity", ((7, 16), (7, 16)), (7,), dim=1),
            7 * (3 * (2 * 16 - 1) + 2 + 2 + 1 + 1),
            7 * 3,
        ),
        (call("_weight_norm", ((6, 20), (6, 1)), (6, 20), dim=0), 6 * (2 * 20 + 1 + 20), 6 * 2),
        # sampling
        (
            call("grid_sampler", (IMAGE, (2, 6, 7, 2)), (2, 8, 6, 7), interpolation_mode=0),
            7 * 2 * 8 * 42 + 14 * 2 * 42,
            0,
        ),
        (
            call("roi_align", (IMAGE, (9, 5)), (9, 8, 7, 7), sampling_ratio=2),
            9 * 8 * 49 * (4 * 7 + 4),
            9 * 8 * 49,
        ),
        (
            call("_upsample_bilinear2d_aa", ((1, 3, 8, 8),), (1, 3, 4, 4)),
            3 * 8 * 4 * (2 * 4 - 1) + 3 * 4 * 4 * (2 * 4 - 1),
            0,
        ),
        # bags of rows
        (
            call("embedding_bag", ((10, 4), (6,), (2,)), (2, 4), indices=(6,), mode=0),
            (6 - 2) * 4,
            0,
        ),
        (call("embedding_bag", ((10, 4), (6,), (2,)), (2, 4), indices=(6,), mode=1), 6 * 4, 2 * 4),
        # losses: terms, then the mean
        (call("mse_loss", ((4, 6), (4, 6)), (), reduction=1), 2 * 24 + 24, 1),
        (call("l1_loss", ((4, 6), (4, 6)), (4, 6), reduction=0), 2 * 24, 0),
        (
            call("cross_entropy_loss", ((4, 10), (4,)), (), reduction=1),
            4 * (5 * 10 - 1) + 4 + 4,
            4 * (10 + 1) + 1,
        ),
        (call("nll_loss_nd", ((4, 10), (4,)), (), reduction=2), 4 + 3, 0),
        # scattered additions
        (call("scatter_add", ((9,), (5,), (5,)), (9,), index=(5,), src=(5,)), 5, 0),
        (call("index_add", ((9, 4), (5,), (5, 4)), (9, 4), index=(5,), source=(5, 4), alpha=1), 20, 0),
        (call("index_put", ((9,), (5,)), (9,), values=(5,), accumulate=False), 0, 0),
        (call("index_put", ((9,), (5,)), (9,), values=(5,), accumulate=True), 5, 0),
        (call("col2im", ((1, 27, 64),), (1, 3, 10, 10)), 27 * 64, 0),
    ],
    ids=lambda value: value.op if isinstance(value, OpCall) else "",
)
def test_without_macs(made: OpCall, flops: int, special: int) -> None:
    _, work = cost_of(made)
    assert (work.macs, work.flops, work.special_ops) == (0, flops, special)


CONV = 2 * 16 * 10 * 12 * 8 * 3 * 3
SCORES = 2 * 4 * 7 * 9
LSTM = 4 * 20 * 32 + 4 * 20 * 20
GRU = 3 * 20 * 32 + 3 * 20 * 20


@pytest.mark.parametrize(
    ("made", "macs", "beside", "special"),
    [
        # convolution; beside 2 × MACs only the bias, 1 per output element
        (call("conv2d", (IMAGE, (16, 8, 3, 3), None), (2, 16, 10, 12), bias=None), CONV, 0, 0),
        (call("conv2d", (IMAGE, (16, 8, 3, 3), (16,)), (2, 16, 10, 12), bias=(16,)), CONV, 2 * 16 * 120, 0),
        (call("conv2d", (IMAGE, (8, 1, 3, 3)), (2, 8, 10, 12), groups=8), PIXELS * 9, 0, 0),
        (call("conv2d", ((8, 10, 12), (16, 4, 3, 3)), (16, 8, 10), groups=2), 16 * 80 * 4 * 9, 0, 0),
        (call("conv1d", ((2, 3, 50), (5, 3, 7)), (2, 5, 44)), 2 * 5 * 44 * 3 * 7, 0, 0),
        (call("conv3d", ((1, 3, 4, 8, 8), (6, 3, 2, 3, 3)), (1, 6, 3, 6, 6)), 6 * 108 * 3 * 18, 0, 0),
        (
            call("conv_transpose2d", ((1, 8, 16, 16), (8, 4, 2, 2), (4,)), (1, 4, 32, 32), bias=(4,)),
            8 * 16 * 16 * 4 * 2 * 2,
            4 * 32 * 32,
            0,
        ),
        (
            call("convolution", ((1, 8, 16, 16), (8, 2, 3, 3)), (1, 4, 31, 31), transposed=True, groups=2),
            8 * 256 * 2 * 9,
            0,
            0,
        ),
        (
            call(
                "deform_conv2d",
                (IMAGE, (16, 8, 3, 3)),
                (2, 16, 10, 12),
                weight=(16, 8, 3, 3),
                offset=(2, 18, 10, 12),
                use_mask=True,
            ),
            CONV,
            2 * 16 * 120 + 8 * (2 * 120 * 9 * 8) + 2 * 18 * 120,
            0,
        ),
        # matrix products
        (
            call("linear", (TOKENS, (100, 64), (100,)), (3, 5, 100), bias=(100,)),
            ROWS * 100 * 64,
            ROWS * 100,
            0,
        ),
        (call("linear", (TOKENS, (100, 64)), (3, 5, 100), bias=None), ROWS * 100 * 64, 0, 0),
        (call("matmul", ((6, 1, 4, 5), (3, 5, 7)), (6, 3, 4, 7)), 6 * 3 * 4 * 7 * 5, 0, 0),
        (call("mm", ((4, 5), (5, 7)), (4, 7)), 4 * 5 * 7, 0, 0),
        (call("bmm", ((3, 4, 5), (3, 5, 7)), (3, 4, 7)), 3 * 4 * 5 * 7, 0, 0),
        (call("mv", ((4, 5), (5,)), (4,)), 4 * 5, 0, 0),
        (call("dot", ((9,), (9,)), ()), 9, 0, 0),
        (call("inner", ((4, 6), (5, 6)), (4, 5)), 4 * 5 * 6, 0, 0),
        (call("addmm", ((7,), (4, 5), (5, 7)), (4, 7), beta=1, alpha=1), 4 * 5 * 7, 4 * 7, 0),
        (call("addmm", ((7,), (4, 5), (5, 7)), (4, 7), beta=0, alpha=2), 4 * 5 * 7, 4 * 7, 0),
        (call("addmv", ((4,), (4, 5), (5,)), (4,)), 4 * 5, 4, 0),
        (call("baddbmm", ((3, 4, 7), (3, 4, 5), (3, 5, 7)), (3, 4, 7), alpha=0.5), 420, 2 * 84, 0),
        (call("addbmm", ((4, 7), (3, 4, 5), (3, 5, 7)), (4, 7)), 3 * 4 * 5 * 7, 4 * 7, 0),
        (call("_grouped_mm", ((8, 16), (4, 16, 32)), (8, 32)), 8 * 16 * 32, 0, 0),
        (call("_grouped_mm", ((8, 16), (16, 32)), (4, 8, 32)), 8 * 16 * 32, 0, 0),
        (call("_grouped_mm", ((4, 8, 16), (16, 40)), (8, 40)), 8 * 16 * 40, 0, 0),
        (
            call("bilinear", ((6, 3), (6, 4), (5, 3, 4)), (6, 5), weight=(5, 3, 4), bias=(5,)),
            6 * 5 * 3 * 4,
            6 * 3 * 4 + 6 * 5,
            0,
        ),
        (
            call(
                "_trilinear",
                ((6, 3), (5, 3, 4), (6, 4)),
                (6, 5),
                expand1=(1, 3),
                expand2=(0,),
                expand3=(1, 2),
            ),
            6 * 5 * 3 * 4,
            6 * 3 * 4,
            0,
        ),
        (call("tensordot", ((3, 4, 5), (4, 5, 6)), (3, 6), dims_self=(1, 2)), 3 * 6 * 4 * 5, 0, 0),
        (
            call("linalg_multi_dot", (), (10, 50), tensors=((10, 100), (100, 5), (5, 50))),
            10 * 100 * 5 + 10 * 5 * 50,
            0,
            0,
        ),
        (call("cdist", ((6, 16), (7, 16)), (6, 7), p=2.0), 6 * 7 * 16, 6 * 7 * (16 + 1), 6 * 7),
        (call("cdist", ((6, 16), (7, 16)), (6, 7), p=1.0), 0, 6 * 7 * (3 * 16 - 1), 0),
        (call("affine_grid_generator", ((2, 2, 3),), (2, 6, 7, 2)), 2 * 6 * 7 * 2 * 3, 0, 0),
        # attention: scores · (E + E_v); beside it scale (and mask) per score, softmax per row of 9
        (
            call(
                "scaled_dot_product_attention", ((2, 4, 7, 16), (2, 4, 9, 16), (2, 4, 9, 24)), (2, 4, 7, 24)
            ),
            SCORES * (16 + 24),
            SCORES + 2 * 4 * 7 * (5 * 9 - 2),
            2 * SCORES,
        ),
        (
            call(
                "scaled_dot_product_attention",
                ((2, 4, 7, 16), (2, 2, 9, 16), (2, 2, 9, 16)),
                (2, 4, 7, 16),
                is_causal=True,
                enable_gqa=True,
            ),
            SCORES * 32,
            2 * SCORES + 2 * 4 * 7 * (5 * 9 - 2),
            2 * SCORES,
        ),
        # recurrent: per hidden unit LSTM 13 + 8 with biases (5 special), GRU 11 + 6 (3 special)
        (
            call(
                "lstm",
                ((2, 10, 32),),
                (2, 10, 20),
                input=(2, 10, 32),
                params=((80, 32), (80, 20), (80,), (80,)),
                has_biases=True,
                num_layers=1,
                bidirectional=False,
            ),
            20 * LSTM,
            20 * 20 * (13 + 8),
            20 * 20 * 5,
        ),
        (
            call(
                "lstm",
                ((10, 2, 32),),
                (10, 2, 12),
                input=(10, 2, 32),
                params=(
                    *((80, 32), (80, 6), (6, 20)),
                    *((80, 32), (80, 6), (6, 20)),
                    *((80, 12), (80, 6), (6, 20)),
                    *((80, 12), (80, 6), (6, 20)),
                ),
                has_biases=False,
                num_layers=2,
                bidirectional=True,
            ),
            20 * (2 * (80 * 32 + 80 * 6 + 6 * 20) + 2 * (80 * 12 + 80 * 6 + 6 * 20)),
            20 * 4 * 20 * 13,
            20 * 4 * 20 * 5,
        ),
        (
            call(
                "gru",
                ((30, 32),),
                (30, 20),
                data=(30, 32),
                params=((60, 32), (60, 20), (60,), (60,)),
                has_biases=True,
                num_layers=1,
                bidirectional=False,
            ),
            30 * GRU,
            30 * 20 * (11 + 6),
            30 * 20 * 3,
        ),
        (
            call("lstm_cell", ((2, 32),), (2, 20), input=(2, 32), w_ih=(80, 32), w_hh=(80, 20)),
            2 * LSTM,
            2 * 20 * 13,
            2 * 20 * 5,
        ),
        (
            call("gru_cell", ((2, 32),), (2, 20), input=(2, 32), w_ih=(60, 32), w_hh=(60, 20), b_ih=(60,)),
            2 * GRU,
            2 * 20 * 17,
            2 * 20 * 3,
        ),
        (
            call("rnn_tanh_cell", ((2, 32),), (2, 20), input=(2, 32), w_ih=(20, 32), w_hh=(20, 20)),
            2 * (20 * 32 + 20 * 20),
            2 * 20 * 2,
            2 * 20,
        ),
        (
            call(
                "mkldnn_rnn_layer",
                ((10, 2, 32),),
                (10, 2, 20),
                input=(10, 2, 32),
                weight0=(80, 32),
                weight1=(80, 20),
                mode=2,
                hidden_size=20,
                has_biases=True,
            ),
            20 * LSTM,
            20 * 20 * 21,
            20 * 20 * 5,
        ),
    ],
    ids=lambda value: value.op if isinstance(value, OpCall) else "",
)
def test_with_macs(made: OpCall, macs: int, beside: int, special: int) -> None:
    _, work = cost_of(made)
    assert (work.macs, work.flops, work.special_ops) == (macs, 2 * macs + beside, special)


def test_native_attention_equals_its_parts() -> None:
    """B 2, L 7, E 64, 4 heads: four projections and two products; a whole encoder layer adds the rest."""
    shape = (2, 7, 64)
    projections, products = 4 * 2 * 7 * 64 * 64, 2 * 2 * 7 * 7 * 64
    attention = 2 * (projections + products) + 4 * 2 * 7 * 64 + 2 * 7 * 64 + 2 * 4 * 7 * (5 * 7 - 2)
    _, work = cost_of(
        call(
            "_native_multi_head_attention",
            (shape, shape, shape),
            shape,
            query=shape,
            key=shape,
            value=shape,
            num_head=4,
            need_weights=False,
        )
    )
    assert (work.macs, work.flops) == (projections + products, attention)
    assert work.special_ops == 2 * (2 * 4 * 7 * 7)

    _, layer = cost_of(
        call(
            "_transformer_encoder_layer_fwd",
            (shape,),
            shape,
            src=shape,
            num_heads=4,
            use_gelu=True,
            ffn_weight_1=(128, 64),
        )
    )
    tokens = 2 * 7
    assert layer.macs == projections + products + 2 * tokens * 64 * 128
    assert layer.flops == (
        attention
        + 2 * (2 * tokens * 64 * 128)
        + tokens * (128 + 64)
        + 5 * tokens * 128
        + 2 * tokens * 64
        + 2 * tokens * (7 * 64 + 2)
    )
    assert layer.special_ops == 2 * (2 * 4 * 7 * 7) + tokens * 128 + 2 * tokens * 3


@pytest.mark.parametrize(
    "op",
    ["sort", "topk", "nms", "nonzero", "cumsum", "rand", "randn", "bernoulli", "fft_fft2", "multinomial"],
)
def test_known_but_not_counted(op: str) -> None:
    _, work = cost_of(same_shape(op))
    assert (work.macs, work.flops, work.special_ops) == (0, None, None)
    assert work.formula.startswith(f"not counted: {op} ")


def test_where_selects_or_finds() -> None:
    selects = call("where", (IMAGE, IMAGE), IMAGE, condition=IMAGE, self=IMAGE, other=0.0)
    assert cost_of(selects)[1].flops == PIXELS
    finds = OpCall("where", (IMAGE,), ((7,),) * 4, {"condition": IMAGE})
    assert (cost_of(finds)[1].macs, cost_of(finds)[1].flops) == (0, None)


def test_what_training_draws_is_not_counted() -> None:
    _, work = cost_of(same_shape("dropout", p=0.5, train=True))
    assert work.flops is None


def test_roi_align_with_adaptive_sampling_is_not_counted() -> None:
    _, work = cost_of(call("roi_align", (IMAGE, (9, 5)), (9, 8, 7, 7), sampling_ratio=-1))
    assert (work.macs, work.flops) == (0, None)


def test_formula_text_has_the_numbers_filled_in() -> None:
    family, work = cost_of(
        call("conv2d", ((1, 3, 224, 224), (64, 3, 7, 7), None), (1, 64, 112, 112), bias=None)
    )
    assert family == "convolution"
    assert work.formula == (
        "MACs = N·C_out·H·W·(C_in/groups)·k_h·k_w = 1·64·112·112·3·7·7 = 118,013,952; "
        "FLOPs = 2·MACs = 236,027,904"
    )
