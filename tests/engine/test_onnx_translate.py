"""How a node becomes work: families, which MACs meet a weight, what is unknown, what does not fit."""

from __future__ import annotations

import random
from typing import Any

import numpy
import pytest

from engine.cost import Work
from engine.graph import Shape
from engine.onnx.graph import Node
from engine.onnx.translate import NodeCall, explanation, known_operators, work
from engine.results import FAMILIES
from tests.conftest import DAY

Shapes = tuple[Shape | None, ...]


def cost(op: str, inputs: Shapes, outputs: Shapes, opset: int = 20, **more: Any) -> tuple[str, Work]:
    """Of a node with these shapes; ``values`` are constants by position, ``absent`` positions that are not given."""
    values = more.pop("values", {})
    absent = more.pop("absent", ())
    dtypes = more.pop("dtypes", ("float32",) * len(inputs))
    domain, _, name = op.rpartition(".")
    names = tuple("" if at in absent else f"x{at}" for at in range(len(inputs)))
    made = tuple(f"y{at}" for at in range(len(outputs)))
    node = Node("node", name, domain, names, made, more)
    return work(NodeCall(node, opset, inputs, outputs, dtypes, dtypes[:1] * len(outputs), values.get))


@pytest.mark.parametrize(
    ("family", "op", "inputs", "output", "attributes"),
    [
        ("convolution", "Conv", ((1, 3, 8, 8), (4, 3, 3, 3)), (1, 4, 6, 6), {}),
        ("linear", "MatMul", ((2, 3), (3, 4)), (2, 4), {}),
        ("attention", "Attention", ((1, 2, 5, 4),) * 3, (1, 2, 5, 4), {}),
        ("recurrent", "GRU", ((5, 1, 3), (1, 12, 3), (1, 12, 4)), (5, 1, 1, 4), {}),
        ("embedding", "Gather", ((100, 8), (1, 5)), (1, 5, 8), {}),
        ("movement", "Gather", ((1, 5, 8), ()), (1, 8), {"axis": 1}),
        ("norm", "LayerNormalization", ((2, 3), (3,)), (2, 3), {}),
        ("activation", "Clip", ((2, 3), (), ()), (2, 3), {}),
        ("pool", "Resize", ((1, 1, 2, 2),), (1, 1, 4, 4), {}),
        ("elementwise", "Add", ((2, 3), (3,)), (2, 3), {}),
        ("movement", "Reshape", ((2, 3), (1,)), (6,), {}),
        ("movement", "If", ((),), (6,), {}),
        ("other", "TopK", ((6,), (1,)), (2,), {}),
    ],
)
def test_families(family: str, op: str, inputs: Shapes, output: Shape, attributes: dict[str, Any]) -> None:
    assert family in FAMILIES
    found, told = cost(op, inputs, (output,), **attributes)
    assert found == family
    assert told.formula


def test_rows_of_integers_are_moved_and_clipped_as_indices() -> None:
    assert cost("Gather", ((100, 8), (5,)), ((5, 8),), dtypes=("int64", "int64"))[0] == "movement"
    assert cost("Clip", ((5,), ()), ((5,),), dtypes=("int64", "int64"))[0] == "elementwise"


WEIGHTED: list[tuple[str, Shapes, Shapes, dict[str, Any], tuple[tuple[int, int], ...] | None]] = [
    ("Conv", ((1, 3, 8, 8), (4, 3, 3, 3), (4,)), ((1, 4, 6, 6),), {}, ((1, 144 * 27),)),
    ("ConvTranspose", ((1, 3, 8, 8), (3, 4, 3, 3)), ((1, 4, 10, 10),), {}, ((1, 192 * 36),)),
    ("MatMul", ((2, 3), (3, 4)), ((2, 4),), {}, ((0, 24), (1, 24))),
    ("Gemm", ((2, 3), (3, 4), (4,)), ((2, 4),), {}, ((0, 24), (1, 24))),
    ("Gemm", ((3, 2), (4, 3)), ((2, 4),), {"transA": 1, "transB": 1}, ((0, 24), (1, 24))),
    ("Einsum", ((2, 3), (4, 3)), ((2, 4),), {"equation": "ij,kj->ik"}, ((0, 24), (1, 24))),
    # Of three operands nobody knows what a zero saves.
    ("Einsum", ((2, 3), (3, 4), (4, 5)), ((2, 5),), {"equation": "ij,jk,kl->il"}, None),
    ("LSTM", ((5, 2, 3), (1, 16, 3), (1, 16, 4)), ((5, 1, 2, 4),), {}, ((1, 10 * 48), (2, 10 * 64))),
    ("DeformConv", ((1, 4, 5, 5), (6, 4, 2, 2), (1, 8, 4, 4)), ((1, 6, 4, 4),), {}, ((1, 96 * 16),)),
    ("Attention", ((1, 2, 5, 4),) * 3, ((1, 2, 5, 4),), {}, ()),
    ("com.microsoft.Attention", ((2, 5, 8), (8, 24)), ((2, 5, 8),), {"num_heads": 2}, ((1, 10 * 8 * 24),)),
    ("com.microsoft.FusedConv", ((1, 3, 8, 8), (4, 3, 3, 3)), ((1, 4, 6, 6),), {}, ((1, 144 * 27),)),
    ("com.microsoft.FusedGemm", ((2, 3), (3, 4)), ((2, 4),), {"activation": "Relu"}, ((0, 24), (1, 24))),
    # In quantised weights the zero point says what is zero.
    ("ConvInteger", ((1, 3, 8, 8), (4, 3, 3, 3)), ((1, 4, 6, 6),), {}, None),
    ("QLinearMatMul", ((2, 3), (), (), (3, 4), (), (), (), ()), ((2, 4),), {}, None),
    ("com.microsoft.MatMulNBits", ((2, 32), (4, 1, 16), (4,)), ((2, 4),), {"K": 32, "N": 4}, None),
]  # fmt: skip


@pytest.mark.parametrize(("op", "inputs", "outputs", "attributes", "expected"), WEIGHTED)
def test_which_macs_meet_which_input(
    op: str, inputs: Shapes, outputs: Shapes, attributes: dict[str, Any], expected: Any
) -> None:
    """Positions are those of the node's inputs, bias last: not those of torch's addmm."""
    told = cost(op, inputs, outputs, **attributes)[1]
    assert told.weighted == expected
    assert all(macs <= (told.macs or 0) for _, macs in told.weighted or ())


def test_an_unknown_shape_is_named() -> None:
    family, told = cost("Conv", ((1, 3, 8, 8), None), ((1, 4, 6, 6),))
    assert (family, told.macs, told.flops, told.special_ops) == ("convolution", None, None, None)
    assert told.formula == "not counted: the shape of input 'x1' is not known"
    assert cost("Relu", ((2,),), (None,))[1].formula == "not counted: the shape of output 'y0' is not known"
    assert (
        cost("MatMul", ((2, 3),), ((2, 4),))[1].formula == "not counted: the input at position 2 is missing"
    )


def test_what_moves_data_needs_no_shape() -> None:
    assert cost("Reshape", (None, (1,)), (None,))[1].flops == 0
    assert cost("SequenceAt", (None, ()), (None,))[1].flops == 0
    assert cost("Loop", (None, ()), (None,))[1].flops == 0


def test_absent_inputs_are_no_biases() -> None:
    with_bias = cost("Conv", ((1, 3, 8, 8), (4, 3, 3, 3), (4,)), ((1, 4, 6, 6),))[1].flops
    without = cost("Conv", ((1, 3, 8, 8), (4, 3, 3, 3), None), ((1, 4, 6, 6),), absent=(2,))[1].flops
    assert (with_bias, without) == (2 * 144 * 27 + 144, 2 * 144 * 27)


def test_dropout_in_training_is_random() -> None:
    yes, no, half = numpy.array(True), numpy.array(False), numpy.array(0.5)
    shapes: Shapes = ((2, 3), (), ())
    assert cost("Dropout", shapes, ((2, 3),), values={1: half, 2: no})[1].flops == 0
    told = cost("Dropout", shapes, ((2, 3),), values={1: half, 2: yes})[1]
    assert told.formula == "not counted: Dropout draws random numbers in training"
    assert cost("Dropout", shapes, ((2, 3),), values={1: numpy.array(0.0), 2: yes})[1].flops == 0


@pytest.mark.parametrize(
    ("op", "inputs", "attributes"),
    [
        ("LayerNormalization", ((2, 3), (3,)), {"axis": "last"}),
        ("Einsum", ((2, 3), (3, 4)), {"equation": "abc,de"}),
        ("LSTM", ((5,), (4,), (4,)), {}),
        ("Softmax", ((2, 3),), {"axis": 7}),
        ("com.microsoft.Attention", ((2, 5), (8,)), {"num_heads": 0}),
        ("MaxPool", ((1, 2, 4, 4),), {"kernel_shape": "3x3"}),
        ("Conv", ((1, 2), (4,)), {}),
    ],
)
def test_a_node_against_its_definition_loses_its_row_only(
    op: str, inputs: Shapes, attributes: dict[str, Any]
) -> None:
    """Attributes and ranks that nobody checked: a damaged file, not a crash."""
    told = cost(op, inputs, ((2, 3),), **attributes)[1]
    assert told.formula


SHAPES: list[Shape | None] = [
    (), (0,), (3,), (2, 3), (2, 3, 4), (1, 3, 4, 4), (1, 0, 3), (2**40, 2**40), (1, 2, 3, 4, 5), (1,) * 20, None,
]  # fmt: skip
VALUES = [
    0,
    -1,
    1,
    2**62,
    -(2**63),
    1.5,
    float("nan"),
    "x",
    "",
    (),
    (1,),
    (0, 0),
    (2**62,) * 3,
    ("a",),
    (1.0,),
    None,
]
ATTRIBUTES = [
    "axis", "axes", "kernel_shape", "num_heads", "kv_num_heads", "q_num_heads", "equation", "group", "mode", "p",
    "size", "hidden_size", "layout", "activations", "activation", "num_groups", "groups", "k", "swiglu_fusion",
    "qkv_hidden_sizes", "rotary_embedding_dim", "sampling_ratio", "transA", "alpha", "reduction", "antialias",
    "coefficients", "n_supports", "vectors_per_class", "is_causal", "softcap", "clip", "norm", "kernel_type",
]  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_whatever_a_file_holds_counts_are_whole_or_unknown(seed: int) -> None:
    """Every operator with random shapes and attributes: no exception, no negative number, no fraction, no log."""
    draw = random.Random(f"{DAY} {seed}")
    for domain, op in known_operators():
        for _ in range(5):
            inputs = tuple(draw.choice(SHAPES) for _ in range(draw.randrange(10)))
            outputs = tuple(draw.choice(SHAPES) for _ in range(draw.randrange(4)))
            attributes = {name: draw.choice(VALUES) for name in draw.sample(ATTRIBUTES, 6)}
            absent = tuple(at for at in range(len(inputs)) if draw.random() < 0.2)
            opset = draw.choice([1, 7, 13, 20])
            told = cost(f"{domain}.{op}", inputs, outputs, opset, absent=absent, **attributes)[1]
            for count in (told.macs, told.flops, told.special_ops):
                assert count is None or (type(count) is int and count >= 0), (op, told)


T, H, INNER, E = 4, 64, 128, 2
"""Tokens, width of a token, of an expert's inner layer, experts."""


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("halves", [1, 2])
def test_experts_are_counted_in_either_layout(transposed: bool, halves: int) -> None:
    first, second = (E, halves * INNER, H), (E, H, INNER)
    if transposed:
        first, second = (E, H, halves * INNER), (E, INNER, H)
    inputs: Shapes = ((T, H), (T, E), first, (), second)
    told = cost("com.microsoft.MoE", inputs, ((T, H),), absent=(3,), k=1, swiglu_fusion=halves - 1)[1]
    assert told.macs == T * (halves * INNER * H + INNER * H)
    packed = [(*shape[:-1], shape[-1] // 2) for shape in (first, second)]
    dtypes = ("float32", "float32", "uint8", "float32", "float32", "uint8", "float32")
    inputs = ((T, H), (T, E), packed[0], (E, 1), (), packed[1], (E, 1))
    told = cost(
        "com.microsoft.QMoE", inputs, ((T, H),), absent=(4,), dtypes=dtypes, k=1, swiglu_fusion=halves - 1
    )[1]
    assert told.macs == T * (halves * INNER * H + INNER * H)


def test_every_bias_of_an_expert_is_added() -> None:
    inputs = ((T, H), (T, E), (E, INNER, H), (E, INNER), (E, H, INNER), (E, H), (E, INNER, H), (E, INNER))
    told = cost("com.microsoft.MoE", inputs, ((T, H),), k=1)[1]
    # relu and gate on the inner layer, the router's softmax, the weighted sum
    others = 2 * T * INNER + T * (5 * E - 2) + 2 * T * H
    assert told.macs == T * 3 * INNER * H
    assert told.flops == 2 * T * 3 * INNER * H + T * (INNER + H + INNER) + others


def test_experts_whose_weights_fit_no_layout_are_not_counted() -> None:
    inputs = ((T, H), (T, E), (E, INNER, 48), (), (E, 48, INNER))
    told = cost("com.microsoft.MoE", inputs, ((T, H),), absent=(3,), k=1)[1]
    assert told.macs is None and told.flops is None
    assert "no axis is the 64 of its input" in told.formula


def test_formulas_hold_the_numbers_of_the_node() -> None:
    told = cost("Gemm", ((2, 3), (3, 4), (4,)), ((2, 4),))[1]
    assert told.formula == "MACs = outputs·k = 2·4·3 = 24; FLOPs = 2·MACs + 8 = 56"
    fused = cost("com.microsoft.FusedGemm", ((2, 3), (3, 4)), ((2, 4),), activation="Relu")[1]
    assert fused.formula.endswith("; + Relu 8 = 56")


def test_explanations_are_those_of_the_formulas() -> None:
    assert "MACs = elements of X" in explanation("", "ConvTranspose")
    assert "peepholes" in explanation("ai.onnx", "LSTM")
    assert explanation("org.example", "Magic") == ""
