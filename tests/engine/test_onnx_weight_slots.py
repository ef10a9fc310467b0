"""Which inputs of an operator are weights, against the operators' own schemas, the quantiser and exports."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import numpy.typing
import onnx
import pytest
import torch
from onnx import helper
from torch import Tensor, nn

from engine.onnx.document import open_document
from engine.onnx.graph import Node
from engine.onnx.runtime import onnxruntime
from engine.onnx.slots import slot_of
from engine.onnx.structure import Structure
from engine.onnx.translate import known_operators
from engine.onnx.weights import reader
from tests.engine.test_onnx_parameters import Weights, analysed, floats, made, node
from tests.onnx_models import export, hand_made

WEIGHT = re.compile(r"(?!scale_)(.*_)?(weights?|bias|gamma|beta|W)(_quant)?$")
NO_WEIGHT = re.compile(
    r".*(scale|zero_point|absmax|past_(key|value|state|cache)|cos_|sin_|_cache|position_ids|padding_mask|initial_[hc]$)"
)
NORM_SCALE = re.compile(r"[Ss]cale$|.*norm_scale$|decay_scale$|scale_silu$")
ACTIVATIONS = {("QMoE", "router_weights"), ("SparseAttentionIndexer", "head_weights")} | {
    ("PackedSparseAttentionIndexer", "head_weights"), ("LinearAttention", "beta"), ("GatedDeltaNet", "beta")} | {
    ("SoftmaxCrossEntropyLoss", "weights"), ("NegativeLogLikelihoodLoss", "weight"),
}  # fmt: skip
"""Of these names computed ones: weights of the router, a gate. Those of a loss are a buffer in PyTorch."""


def u8(*shape: int) -> numpy.typing.NDArray[Any]:
    return numpy.arange(int(numpy.prod(shape)), dtype=numpy.uint8).reshape(shape)


def _inputs() -> Iterator[tuple[str, str, int, str]]:
    """(domain, operator, position, name) of every input of every operator that has a translation and a schema."""
    onnxruntime()
    from onnxruntime.capi.onnxruntime_pybind11_state import get_all_operator_schema

    known = known_operators()
    found = {}
    for schema in [*onnx.defs.get_all_schemas(), *get_all_operator_schema()]:
        domain = "" if schema.domain == "ai.onnx" else schema.domain
        if (domain, schema.name) in known:
            found[domain, schema.name] = [each.name for each in schema.inputs]
    for (domain, op), names in found.items():
        for position, name in enumerate(names):
            yield domain, op, position, name


def test_every_weight_scale_and_cache_of_the_schemas_is_known_as_such() -> None:
    wrong, seen = [], 0
    for domain, op, position, name in _inputs():
        if (op, name) in ACTIVATIONS:
            continue
        slot = slot_of(Node("n", op, domain, (), (), {}), position)
        if name.endswith("attention_bias"):
            fits = slot == "mask"
        elif WEIGHT.match(name) and name != "position_bias":
            fits = slot in ("weight", "quantised", "packed", "mask")
        elif NO_WEIGHT.match(name) and not NORM_SCALE.match(name):
            fits = slot == "none"
        else:
            continue
        seen += 1
        if not fits:
            wrong.append(f"{domain}:{op} {position} {name}: {slot}")
    assert not wrong
    assert seen > 250


TABLE = 1000 * 64
PRODUCT = 64 * 32


def _language_model(folder: Path) -> Path:
    nodes = [node("Gather", ["table", "ids"], ["h"]), node("MatMul", ["h", "w"], ["y"])]
    weights: Weights = {"table": floats(1000, 64), "w": floats(64, 32)}
    return hand_made(folder / "model.onnx", nodes, {"ids": (1, 5)}, ["y"], weights, opset=17)


def test_what_the_quantiser_makes_of_an_embedding_keeps_its_parameters(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    onnxruntime()
    from onnxruntime import quantization

    source = _language_model(tmp_path)
    assert analysed(source).totals.params == TABLE + PRODUCT

    class Readings(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = [{"ids": numpy.zeros((1, 5), numpy.int64)}]

        def get_next(self) -> dict[str, Any] | None:
            return self.left.pop() if self.left else None

    with caplog.at_level(logging.CRITICAL):
        dynamic, operators, pairs = (tmp_path / f"{name}.onnx" for name in ("dynamic", "operators", "pairs"))
        quantization.quantize_dynamic(source, dynamic)
        quantization.quantize_static(
            source, operators, Readings(), quant_format=quantization.QuantFormat.QOperator
        )
        quantization.quantize_static(source, pairs, Readings(), quant_format=quantization.QuantFormat.QDQ)
    for path in (dynamic, operators, pairs):
        totals = analysed(path).totals
        assert totals.params == TABLE + PRODUCT, path.name
        assert totals.weight_bytes == TABLE + PRODUCT, path.name
        assert totals.macs == 5 * PRODUCT


def test_a_table_of_indices_is_no_embedding(tmp_path: Path) -> None:
    nodes = [node("Gather", ["index", "ids"], ["i"]), node("Cast", ["i"], ["y"], to=1)]
    weights: Weights = {"index": numpy.arange(64, dtype=numpy.int64).reshape(8, 8)}
    path = hand_made(tmp_path / "m.onnx", nodes, {"ids": (1, 4)}, ["y"], weights)
    assert analysed(path).totals.params == 0


K, N, EXPERTS = 64, 32, 2
PACKED: dict[str, tuple[onnx.NodeProto, Weights, int]] = {
    "bnb4": (
        node("MatMulBnb4", ["x", "w", "absmax"], ["y"], K=K, N=N, block_size=32, quant_type=1),
        {"w": u8(K * N // 2), "absmax": floats(K * N // 32)},
        K * N,
    ),
    "fpq4": (
        node("MatMulFpQ4", ["x", "w", "shape"], ["y"], blk_quant_type=1),
        {"w": u8(K * N * 9 // 16), "shape": numpy.array([K, N], numpy.int64)},
        K * N,
    ),
    "int16": (node("MatMulInteger16", ["x", "w"], ["y"]), {"w": floats(K, N).astype(numpy.int16)}, K * N),
    "fp4": (
        node("MatMulBlockQuantizedFp4Weight", ["x", "w", "s", "t"], ["y"], block_size=16),
        {"w": u8(N, K // 2), "s": u8(N, K // 16), "t": floats()},
        K * N,
    ),
    "ordered": (
        node("QOrderedMatMul", ["x", "s", "w", "ws", "s", "b"], ["y"]),
        {"s": floats(), "w": u8(K, N).astype(numpy.int8), "ws": floats(N), "b": floats(N)},
        K * N + N,
    ),
    "experts": (
        node("QMoE", ["x", "r", "w1", "s1", "b1", "w2", "s2"], ["y"], k=1),
        {
            "r": floats(4, EXPERTS), "w1": u8(EXPERTS, N, K // 2), "s1": floats(EXPERTS, N), "b1": floats(EXPERTS, N),
            "w2": u8(EXPERTS, K, N // 2), "s2": floats(EXPERTS, K),
        },
        # The router's probabilities are stored here as well.
        EXPERTS * (2 * K * N + N) + 4 * EXPERTS,
    ),
    "experts, fc2 of 8 bits": (
        node("QMoE", ["x", "r", "w1", "s1", "", "w2", "s2"], ["y"], k=1, fc2_expert_weight_bits=8),
        {
            "r": floats(4, EXPERTS), "w1": u8(EXPERTS, N, K // 2), "s1": floats(EXPERTS, N),
            "w2": u8(EXPERTS, K, N), "s2": floats(EXPERTS, K),
        },
        EXPERTS * 2 * K * N + 4 * EXPERTS,
    ),
    "two products": (
        node("MatMulNBitsMlp", ["x", "", "", "g", "gs", "", "u", "us", ""], ["y"], K=K, N=N, bits=4, block_size=32),
        {"g": u8(N, 2, 16), "gs": floats(N * 2), "u": u8(N, 2, 16), "us": floats(N * 2)},
        2 * K * N,
    ),
    "query, key and value": (
        node("MatMulNBitsQkv", ["x", "", "n", "q", "s", "", "k", "t", "", "v", "t"], ["y", "a", "b"], K=K, Nq=N, Nkv=8),
        {"n": floats(K), "q": u8(N, 2, 16), "s": floats(N * 2), "k": u8(8, 2, 16), "v": u8(8, 2, 16), "t": floats(16)},
        K + K * N + 2 * K * 8,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", PACKED)
def test_packed_weights_count_what_they_stand_for_and_scales_nothing(case: str, tmp_path: Path) -> None:
    operation, weights, params = PACKED[case]
    operation.domain = "com.microsoft"
    path = hand_made(tmp_path / "m.onnx", [operation], {"x": (4, K)}, ["y"], weights, contrib=True)
    document = open_document(path)
    # Of some of these nobody knows the shapes of the outputs: parameters do not need them.
    assert Structure(document, reader(document)).held.params == params


def test_a_quantised_table_with_a_scale_per_block_has_the_elements_of_the_table(tmp_path: Path) -> None:
    lookup = node("GatherBlockQuantized", ["t", "ids", "s"], ["y"], domain="com.microsoft", block_size=32)
    weights: Weights = {"t": u8(100, 32), "s": floats(100, 2)}
    path = hand_made(tmp_path / "m.onnx", [lookup], {"ids": (1, 5)}, ["y"], weights, contrib=True)
    assert analysed(path).totals.params == 100 * 64


def test_a_quantised_embedding_with_a_norm_has_its_tables_and_its_norm(tmp_path: Path) -> None:
    scales, zeros = ("ws", "ps", "gs", "bs"), ("wz", "pz", "gz", "bz")
    names = ["ids", "", "w", "p", "", "g", "b", "", "ws", "ps", "", "gs", "bs", "wz", "pz", "", "gz", "bz"]
    embedded = node("QEmbedLayerNormalization", names, ["y", "m"], domain="com.microsoft")
    weights: Weights = {"w": u8(100, 16), "p": u8(64, 16), "g": u8(16), "b": u8(16)}
    weights |= {name: floats() for name in scales} | {name: u8(1).reshape(()) for name in zeros}
    path = hand_made(tmp_path / "m.onnx", [embedded], {"ids": (1, 8)}, ["y"], weights, contrib=True)
    assert analysed(path).totals.params == 100 * 16 + 64 * 16 + 2 * 16


def test_a_classical_model_has_its_coefficients_in_attributes(tmp_path: Path) -> None:
    linear = helper.make_node(
        "LinearRegressor", ["x"], ["y"], domain="ai.onnx.ml", coefficients=[0.5] * 8, intercepts=[1.0, 2.0], targets=2
    )  # fmt: skip
    path = hand_made(tmp_path / "m.onnx", [linear], {"x": (3, 4)}, ["y"], {})
    model = onnx.load(path)
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    onnx.save(model, path)
    analysis = analysed(path)
    assert analysis.totals.params == 2 * 4 + 2
    assert analysis.totals.weight_bytes == 4 * (2 * 4 + 2)
    assert analysis.layers.bytes_moved == (4 * (3 * 4 + 3 * 2 + 2 * 4 + 2),)
    assert analysis.totals.macs == 3 * 2 * 4


HIDING = numpy.triu(numpy.full((8, 8), -1e9, numpy.float32), 1)


@pytest.mark.parametrize("name", ["onnx::Attention_12", "val_3", "layer.mask"])
def test_a_mask_of_an_attention_operator_is_no_weight(name: str, tmp_path: Path) -> None:
    plain = node("Attention", ["x", "x", "x", name], ["y"])
    path = hand_made(tmp_path / "a.onnx", [plain], {"x": (1, 4, 8, 16)}, ["y"], {name: HIDING}, opset=23)
    assert analysed(path).totals.params == 0
    heads = node(
        "MultiHeadAttention", ["x", "x", "x", "", "", name], ["y"], domain="com.microsoft", num_heads=4
    )
    weights: Weights = {name: HIDING.reshape(1, 1, 8, 8)}
    assert made(tmp_path, [heads], weights, (1, 8, 64), contrib=True).totals.params == 0
    # Trained biases on the scores are weights, whatever the operator calls its input.
    weights = {name: floats(1, 4, 8, 8)}
    assert made(tmp_path, [heads], weights, (1, 8, 64), contrib=True).totals.params == 4 * 8 * 8


def test_tables_of_cosines_are_no_weights(tmp_path: Path) -> None:
    widths = {"wq": 64, "wk": 32, "wv": 32}
    nodes = [node("MatMul", ["x", name], [name[1:]]) for name in widths]
    inputs = ["q", "k", "v", "", "", "lengths", "total", "cosines", "sines"]
    heads: dict[str, Any] = {"num_heads": 4, "kv_num_heads": 2}
    nodes.append(
        node("GroupQueryAttention", inputs, ["y", "a", "b"], domain="com.microsoft", do_rotary=1, **heads)
    )
    weights: Weights = {name: floats(64, width) for name, width in widths.items()}
    weights |= {"lengths": numpy.array([7], numpy.int32), "total": numpy.array(8, numpy.int32)}
    weights |= {"cosines": floats(4096, 8), "sines": floats(4096, 8)}
    assert made(tmp_path, nodes, weights, (1, 8, 64), contrib=True).totals.params == 64 * (64 + 32 + 32)
    turn = node("RotaryEmbedding", ["x", "c", "s"], ["y"])
    weights = {"c": floats(1, 8, 8), "s": floats(1, 8, 8)}
    path = hand_made(tmp_path / "r.onnx", [turn], {"x": (1, 4, 8, 16)}, ["y"], weights, opset=23)
    assert analysed(path).totals.params == 0


class Masked(nn.Module):
    """Self-attention with a mask that is a buffer, as most hand-written transformers have it."""

    mask: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(16, 48)
        self.register_buffer("mask", torch.triu(torch.full((8, 8), float("-inf")), 1))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.qkv(x).chunk(3, -1)
        return nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=self.mask)


def test_a_mask_that_a_module_registered_is_no_weight(tmp_path: Path) -> None:
    model = Masked()
    path = export(model, (torch.randn(2, 8, 16),), tmp_path / "m.onnx")
    assert analysed(path).totals.params == sum(each.numel() for each in model.parameters())


@pytest.mark.parametrize("transposed", [False, True])
def test_the_bias_of_a_layer_with_one_output_counts(transposed: bool, tmp_path: Path) -> None:
    nodes = [node("MatMul", ["x", "t" if transposed else "w"], ["h"]), node("Add", ["h", "b"], ["y"])]
    if transposed:
        nodes.insert(0, node("Transpose", ["w"], ["t"], perm=[1, 0]))
    weights: Weights = {"w": floats(1, 8) if transposed else floats(8, 1), "b": floats(1)}
    assert made(tmp_path, nodes, weights).totals.params == 8 + 1
    # Of several columns one number is no bias but a constant of the code.
    nodes = [node("MatMul", ["x", "w"], ["h"]), node("Add", ["h", "b"], ["y"])]
    assert made(tmp_path, nodes, {"w": floats(8, 3), "b": floats(1)}).totals.params == 8 * 3
