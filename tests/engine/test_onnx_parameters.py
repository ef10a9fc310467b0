"""What counts as a parameter of an ONNX file, by hand-made graphs and exports."""

from __future__ import annotations

from pathlib import Path
from threading import Event
from typing import Any

import numpy
import numpy.typing
import pytest
import torch
from onnx import NodeProto, helper
from torch import Tensor, nn

from engine.onnx.loading import load
from engine.onnx.session import OnnxSession
from engine.results import Analysis
from tests.onnx_models import export, hand_made

Weights = dict[str, numpy.typing.NDArray[Any]]
RANDOM = numpy.random.default_rng(0)


def floats(*shape: int) -> numpy.typing.NDArray[Any]:
    return RANDOM.random(shape, numpy.float32)


def analysed(path: Path) -> Analysis:
    session = OnnxSession(load(path))
    return session.analyze(session.default_configuration())


def made(
    folder: Path, nodes: list[NodeProto], weights: Weights, x: tuple[int, ...] = (2, 8), contrib: bool = False
) -> Analysis:
    """The analysis of a graph from ``x`` to ``y``."""
    return analysed(hand_made(folder / "m.onnx", nodes, {"x": x}, ["y"], weights, contrib=contrib))


node = helper.make_node


def test_sizes_axes_bounds_and_scalars_are_no_parameters(tmp_path: Path) -> None:
    nodes = [
        node("Reshape", ["x", "shape"], ["a"]),
        node("Clip", ["a", "low", "high"], ["b"]),
        node("Mul", ["b", "val_3"], ["c"]),
        node("Pow", ["c", "two"], ["d"]),
        node("Add", ["d", "eps"], ["e"]),
        node("Slice", ["e", "starts", "ends", "axes"], ["f"]),
        node("MatMul", ["f", "w"], ["y"]),
    ]
    weights = {
        "shape": numpy.array([4, 4], numpy.int64),
        "low": numpy.float32(0.0) * numpy.ones((), numpy.float32),
        "high": 6.0 * numpy.ones((), numpy.float32),
        "val_3": 0.125 * numpy.ones((), numpy.float32),
        "two": 2.0 * numpy.ones(1, numpy.float32),
        "eps": 1e-5 * numpy.ones((), numpy.float32),
        "starts": numpy.array([0], numpy.int64),
        "ends": numpy.array([2], numpy.int64),
        "axes": numpy.array([0], numpy.int64),
        "w": floats(4, 3),
    }
    analysis = made(tmp_path, nodes, weights)
    assert analysis.totals.params == 4 * 3
    assert analysis.totals.buffers == 0
    assert analysis.totals.weight_bytes == 4 * 3 * 4


def test_statistics_of_a_norm_are_buffers_and_a_bias_of_one_element_counts(tmp_path: Path) -> None:
    names = ("weight", "bias", "running_mean", "running_var")
    nodes = [
        node("BatchNormalization", ["x", *(f"bn.{name}" for name in names)], ["a"]),
        node("Gemm", ["a", "fc.weight", "fc.bias"], ["y"], transB=1),
    ]
    weights: Weights = {f"bn.{name}": floats(8) for name in names}
    weights |= {"fc.weight": floats(1, 8), "fc.bias": floats(1)}
    analysis = made(tmp_path, nodes, weights)
    assert analysis.totals.params == 2 * 8 + 8 + 1
    assert analysis.totals.buffers == 2 * 8


def test_a_scalar_is_a_parameter_where_its_name_is_a_module_s(tmp_path: Path) -> None:
    weights: Weights = {"block.gamma": floats(1), "scale": floats(1)}
    nodes = [node("Mul", ["x", "block.gamma"], ["a"]), node("Mul", ["a", "scale"], ["y"])]
    assert made(tmp_path, nodes, weights).totals.params == 1


def test_a_table_of_two_values_under_a_made_up_name_is_a_mask(tmp_path: Path) -> None:
    mask = numpy.triu(numpy.full((8, 8), -numpy.inf, numpy.float32), 1)
    nodes = [
        node("MatMul", ["x", "w"], ["a"]),
        node("Add", ["a", "onnx::Add_17"], ["b"]),
        node("Add", ["b", "onnx::Add_18"], ["y"]),
    ]
    weights = {"w": floats(8, 8), "onnx::Add_17": mask, "onnx::Add_18": floats(8, 8)}
    # The second one was computed from trained values: a relative position bias is exported so.
    assert made(tmp_path, nodes, weights, (8, 8)).totals.params == 2 * 8 * 8


def test_what_is_computed_from_a_weight_at_load_is_that_weight_and_no_row(tmp_path: Path) -> None:
    nodes = [
        node("Transpose", ["fc.weight"], ["t"], perm=[1, 0]),
        node("Cast", ["t"], ["c"], to=1),
        node("MatMul", ["x", "c"], ["y"]),
    ]
    analysis = made(tmp_path, nodes, {"fc.weight": floats(3, 8).astype(numpy.float16)})
    assert analysis.layers.op == ("MatMul",)
    assert analysis.layers.path == ("fc",)
    assert analysis.layers.params == (3 * 8,)
    assert analysis.layers.weight_bytes == (3 * 8 * 2,)
    # Read as it is stored, in half precision: x, the weight, y.
    assert analysis.layers.bytes_moved == (2 * 8 * 4 + 3 * 8 * 2 + 2 * 3 * 4,)


def test_identical_tensors_count_once_and_are_told(tmp_path: Path) -> None:
    nodes = [
        node("Identity", ["a.weight"], ["b.weight"]),
        node("MatMul", ["x", "a.weight"], ["h"], name="/a/MatMul"),
        node("MatMul", ["h", "b.weight"], ["y"], name="/b/MatMul"),
    ]
    analysis = made(tmp_path, nodes, {"a.weight": floats(8, 8)})
    assert analysis.totals.params == 64
    assert analysis.layers.params == (64, 64)
    assert analysis.shared[0].params == 64
    assert analysis.shared[0].names == ("a.weight", "b.weight")


def test_an_integer_table_is_none_and_a_float_one_is_an_embedding(tmp_path: Path) -> None:
    nodes = [
        node("Gather", ["table", "positions"], ["i"]),
        node("Gather", ["embed.weight", "ids"], ["e"]),
        node("ReduceSum", ["e"], ["y"], keepdims=0),
    ]
    weights = {
        "table": numpy.arange(16, dtype=numpy.int64),
        "positions": numpy.arange(4, dtype=numpy.int64),
        "embed.weight": floats(100, 8),
    }
    path = hand_made(tmp_path / "e.onnx", nodes, {"ids": (1, 4)}, ["y"], weights)
    analysis = analysed(path)
    assert analysis.totals.params == 100 * 8
    row = analysis.layers.id.index("embed:Gather")
    # A look-up reads what it writes, 4 rows of 8, and the 4 indices.
    assert analysis.layers.bytes_moved[row] == 2 * 4 * 8 * 4 + 4 * 8


def test_quantised_weights_are_parameters_at_their_own_size(tmp_path: Path) -> None:
    nodes = [
        node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["wd"], axis=0),
        node("MatMul", ["x", "wd"], ["y"]),
    ]
    weights: Weights = {
        "w": numpy.arange(8 * 6, dtype=numpy.int8).reshape(8, 6),
        "w_scale": floats(8),
        "w_zero": numpy.zeros(8, numpy.int8),
    }
    analysis = made(tmp_path, nodes, weights)
    assert analysis.totals.params == 8 * 6
    assert analysis.totals.weight_bytes == 8 * 6
    assert analysis.layers.op == ("MatMul",)


def test_a_quantised_convolution_has_weight_and_bias(tmp_path: Path) -> None:
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        node("QLinearConv", ["q", "s", "z", "w", "s", "wz", "s", "z", "b"], ["c"]),
        node("DequantizeLinear", ["c", "s", "z"], ["y"]),
    ]
    weights: Weights = {
        "s": numpy.float32(0.1) * numpy.ones((), numpy.float32),
        "z": numpy.zeros((), numpy.uint8),
        "wz": numpy.zeros((), numpy.int8),
        "w": numpy.ones((5, 3, 1, 1), numpy.int8),
        "b": numpy.ones(5, numpy.int32),
    }
    analysis = made(tmp_path, nodes, weights, (1, 3, 4, 4))
    assert analysis.totals.params == 5 * 3 + 5
    assert analysis.totals.weight_bytes == 5 * 3 + 5 * 4


def test_packed_weights_count_the_elements_they_stand_for(tmp_path: Path) -> None:
    rows, columns, block = 6, 32, 16
    nodes = [
        node(
            "MatMulNBits", ["x", "w", "scales"], ["y"], domain="com.microsoft", K=columns, N=rows, bits=4,
            block_size=block,
        )
    ]  # fmt: skip
    weights: Weights = {
        "w": numpy.ones((rows, columns // block, block // 2), numpy.uint8),
        "scales": floats(rows * columns // block),
    }
    analysis = made(tmp_path, nodes, weights, (2, columns), contrib=True)
    assert analysis.totals.params == rows * columns
    assert analysis.totals.weight_bytes == rows * columns // 2


def test_what_nothing_reads_is_named_as_untouched(tmp_path: Path) -> None:
    weights: Weights = {"w": floats(8, 8), "spare.weight": floats(3, 3), "spare.running_mean": floats(3)}
    analysis = made(tmp_path, [node("MatMul", ["x", "w"], ["y"])], weights)
    assert analysis.totals.params == 64 + 9
    assert analysis.totals.untouched_params == 9
    assert [each.name for each in analysis.untouched] == ["spare.weight"]
    assert analysis.modules.untouched_params[0] == 9


@pytest.mark.parametrize(("zero_point", "known"), [(None, True), (0, True), (3, False)])
def test_zeros_of_a_quantised_weight_are_counted_where_0_is_0(
    zero_point: int | None, known: bool, tmp_path: Path
) -> None:
    names = ["w", "s", *([] if zero_point is None else ["z"])]
    nodes = [node("DequantizeLinear", names, ["d"]), node("MatMul", ["x", "d"], ["y"])]
    weights: Weights = {
        "w": numpy.arange(8 * 4, dtype=numpy.int8).reshape(8, 4) % 4,
        "s": numpy.ones((), numpy.float32),
    }
    if zero_point is not None:
        weights["z"] = numpy.array(zero_point, numpy.int8)
    session = OnnxSession(load(hand_made(tmp_path / "q.onnx", nodes, {"x": (2, 8)}, ["y"], weights)))
    for _ in session.count_zeros(Event()):
        pass
    analysis = session.analyze(session.default_configuration(), fast=False)
    assert analysis.layers.zeros == ((8,) if known else (None,))
    assert analysis.layers.nonzero_macs == ((2 * 8 * 4 * 3 // 4,) if known else (None,))


class Language(nn.Module):
    """A head on the weights of the embedding, a buffer, a repeated table, a scalar parameter, constants in the code."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 16)
        self.norm = nn.LayerNorm(16)
        self.inner = nn.Module()
        self.inner.register_buffer("inv_freq", torch.rand(16))
        self.inner.table = nn.Parameter(torch.rand(4, 16))
        self.inner.temperature = nn.Parameter(torch.tensor(0.7))

    def forward(self, ids: Tensor) -> Tensor:
        x = self.norm(self.embed(ids)) * self.inner.inv_freq + self.inner.table.repeat(2, 1)
        x = x / torch.tensor([0.1 * place for place in range(1, 17)])
        return x @ self.embed.weight.T * self.inner.temperature


@pytest.mark.parametrize("dynamo", [False, True], ids=["torchscript", "dynamo"])
def test_parameters_of_an_export(dynamo: bool, tmp_path: Path) -> None:
    module = Language().eval()
    nn.init.uniform_(module.norm.weight)
    nn.init.uniform_(module.norm.bias)
    path = export(module, (torch.arange(8)[None],), tmp_path / "language.onnx", dynamo=dynamo)
    analysis = analysed(path)
    # Both store the table of the product once more. torch.export's exporter also stores the repeated table, and what it
    # computed is no longer marked as a constant.
    tables = 2 * 50 * 16 + 2 * 16 + 1
    assert analysis.totals.params == tables + (2 * 4 * 16 + 16 if dynamo else 4 * 16)
    assert analysis.totals.buffers == 16
    assert not analysis.coverage.not_counted
