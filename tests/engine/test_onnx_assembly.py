"""Rows of an ONNX model: bodies and trips, sizes that cost nothing, bytes, lifetimes, weights of rows."""

from __future__ import annotations

from pathlib import Path

import numpy
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

from engine.configuration import Configuration
from engine.edits import RemoveLayer
from engine.export import read_report, render, write_report
from engine.graph import InputShape
from engine.onnx.loading import load
from engine.onnx.session import OnnxSession
from engine.results import Analysis
from engine.tree import LayerStructure, idle_rows
from engine.tree_values import NodeValues
from tests.onnx_models import export, hand_made

node = helper.make_node
FLOAT = 4
"""Bytes."""


def session_of(path: Path) -> OnnxSession:
    return OnnxSession(load(path))


def analysed(path: Path, *inputs: InputShape) -> Analysis:
    session = session_of(path)
    return session.analyze(Configuration(inputs) if inputs else session.default_configuration())


def row(analysis: Analysis, name: str) -> int:
    return analysis.layers.id.index(name)


def floats(*shape: int) -> numpy.ndarray[tuple[int, ...], numpy.dtype[numpy.float32]]:
    return numpy.random.default_rng(sum(shape)).random(shape, numpy.float32)


def loop_model(path: Path, trips: int, last: str = "last") -> Path:
    """``trips`` times x := relu(x @ w), inside the layer ``cell``; the results of all passes are stacked.

    ``last`` is what the value of the last pass is called; ``""`` where nothing reads it.
    """
    body = helper.make_graph(
        [
            node("MatMul", ["h", "fc.weight"], ["m"], name="/cell/fc/MatMul"),
            node("Relu", ["m"], ["h_out"], name="/cell/act/Relu"),
            node("Identity", ["cond"], ["cond_out"], name="/cell/Identity"),
            node("Identity", ["h_out"], ["scan"], name="/cell/Identity_1"),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", onnx.TensorProto.INT64, []),
            helper.make_tensor_value_info("cond", onnx.TensorProto.BOOL, []),
            helper.make_tensor_value_info("h", onnx.TensorProto.FLOAT, [2, 8]),
        ],
        [
            helper.make_tensor_value_info("cond_out", onnx.TensorProto.BOOL, []),
            helper.make_tensor_value_info("h_out", onnx.TensorProto.FLOAT, [2, 8]),
            helper.make_tensor_value_info("scan", onnx.TensorProto.FLOAT, [2, 8]),
        ],
    )
    return hand_made(
        path,
        [node("Loop", ["trips", "true", "x"], [last, "y"], name="/cell/Loop", body=body)],
        {"x": (2, 8)},
        [name for name in (last, "y") if name],
        {
            "trips": numpy.array(trips, numpy.int64),
            "true": numpy.array(True),
            "fc.weight": floats(8, 8),
        },
    )


@pytest.mark.parametrize("trips", [1, 5])
def test_a_loop_runs_its_body_that_often(trips: int, tmp_path: Path) -> None:
    analysis = analysed(loop_model(tmp_path / "loop.onnx", trips))
    layers = analysis.layers
    matmul = row(analysis, "cell.fc:MatMul")
    assert layers.macs[matmul] == trips * 2 * 8 * 8
    assert layers.calls[matmul] == trips
    assert layers.params[matmul] == 64
    assert analysis.totals.params == 64
    assert layers.activation_bytes[matmul] == trips * 2 * 8 * FLOAT
    assert layers.bytes_moved[matmul] == trips * (2 * 8 + 8 * 8 + 2 * 8) * FLOAT
    assert layers.macs[row(analysis, "cell:Loop")] == 0
    assert analysis.coverage.calls == sum(layers.calls)
    calls = dict(zip(analysis.modules.path, analysis.modules.calls, strict=True))
    assert calls["cell.fc"] == trips
    assert calls["cell"] == 1
    # The stacked results, all passes of them, and inside one pass the product and its activation; the value that one
    # pass hands to the next lives beside them.
    handed = 2 * 8 * FLOAT if trips > 1 else 0
    assert analysis.totals.peak_activation_bytes == trips * 2 * 8 * FLOAT + handed + 2 * 2 * 8 * FLOAT


def test_a_loop_that_never_runs_writes_nothing_and_sets_no_peak(tmp_path: Path) -> None:
    analysis = analysed(loop_model(tmp_path / "loop.onnx", 0))
    matmul = row(analysis, "cell.fc:MatMul")
    assert analysis.layers.calls[matmul] == 0
    assert analysis.layers.peak_activation_bytes[matmul] == 0
    assert analysis.totals.activation_bytes == 0
    # What went in comes out as the value of the last pass; nothing is stacked.
    assert analysis.totals.peak_activation_bytes == 2 * 8 * FLOAT


def test_the_stacked_results_of_a_loop_are_written_also_when_nothing_reads_its_last_value(
    tmp_path: Path,
) -> None:
    kept = analysed(loop_model(tmp_path / "kept.onnx", 5))
    dropped = analysed(loop_model(tmp_path / "dropped.onnx", 5, last=""))
    at = row(kept, "cell:Loop")
    assert kept.layers.activation_bytes[at] == 5 * 2 * 8 * FLOAT
    assert dropped.layers.activation_bytes == kept.layers.activation_bytes


@pytest.mark.parametrize("trains", [False, True])
def test_a_dropout_writes_only_in_training(trains: bool, tmp_path: Path) -> None:
    nodes = [node("Relu", ["x"], ["a"]), node("Dropout", ["a", "half", "trains"], ["y"])]
    weights = {"half": numpy.array(0.5, numpy.float32), "trains": numpy.array(trains)}
    layers = analysed(hand_made(tmp_path / "d.onnx", nodes, {"x": (4, 4)}, ["y"], weights)).layers
    one = 16 * FLOAT
    assert layers.activation_bytes == (one, one if trains else 0)
    assert layers.peak_activation_bytes == (one, 2 * one if trains else one)


def branches(path: Path, condition: bool | None) -> Path:
    """``If`` between a small and a large product; the condition is stored, or an input's sign."""

    def branch(name: str, width: int) -> onnx.GraphProto:
        return helper.make_graph(
            [node("MatMul", ["x", f"{name}.weight"], [f"{name}_out"], name=f"/{name}/MatMul")],
            name,
            [],
            [helper.make_tensor_value_info(f"{name}_out", onnx.TensorProto.FLOAT, [2, width])],
        )

    choice = node(
        "If", ["cond"], ["y"], name="/If", then_branch=branch("big", 64), else_branch=branch("tiny", 4)
    )
    weights = {"big.weight": floats(8, 64), "tiny.weight": floats(8, 4)}
    if condition is not None:
        return hand_made(path, [choice], {"x": (2, 8)}, ["y"], {**weights, "cond": numpy.array(condition)})
    first = [node("ReduceSum", ["x"], ["s"], keepdims=0), node("Greater", ["s", "zero"], ["cond"])]
    return hand_made(
        path, [*first, choice], {"x": (2, 8)}, ["y"], {**weights, "zero": numpy.zeros((), numpy.float32)}
    )


@pytest.mark.parametrize(("condition", "width", "other"), [(True, 64, 4), (False, 4, 64)])
def test_only_the_branch_that_runs_has_rows(condition: bool, width: int, other: int, tmp_path: Path) -> None:
    analysis = analysed(branches(tmp_path / "if.onnx", condition))
    assert analysis.totals.macs == 2 * 8 * width
    assert analysis.totals.params == 8 * (64 + 4)
    assert analysis.totals.untouched_params == 8 * other
    assert len(analysis.layers) == 2
    calls = dict(zip(analysis.modules.path, analysis.modules.calls, strict=True))
    taken, left = ("big", "tiny") if condition else ("tiny", "big")
    side = {"big": "then", "tiny": "else"}
    assert calls[f"If.{side[taken]}.{taken}"] == 1
    assert calls[f"If.{side[left]}.{left}"] == 0
    assert analysis.layers.activation_bytes == (0, 2 * width * FLOAT)
    # The result of the branch is the result of the If: nobody copies it.
    assert analysis.totals.peak_activation_bytes == 2 * 2 * width * FLOAT - 2 * width * FLOAT


def test_a_branch_that_depends_on_data_is_an_assumption_that_can_be_set(tmp_path: Path) -> None:
    session = session_of(branches(tmp_path / "if.onnx", None))
    default = session.default_configuration()
    chosen = session.analyze(default)
    assert [each.key for each in chosen.assumptions] == ["If.branch"]
    found = {
        value: session.analyze(Configuration(default.inputs, assumptions=(("If.branch", value),))).totals.macs
        for value in (0, 1)
    }
    assert found == {0: 2 * 8 * 4, 1: 2 * 8 * 64}


class Sized(nn.Module):
    """Sizes are read and computed with, as exporters write it: Shape, Gather, Mul, Concat."""

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        return x.reshape(n, c * h, w).relu()


def test_nodes_that_only_compute_sizes_cost_nothing_and_are_hidden(tmp_path: Path) -> None:
    path = export(
        Sized(), (torch.randn(1, 3, 4, 5),), tmp_path / "s.onnx", dynamic={"x": {0: "n", 2: "h", 3: "w"}}
    )
    analysis = analysed(path, InputShape("x", (2, 3, 8, 8)))
    hidden = {analysis.layers.op[each] for each in idle_rows(analysis)}
    assert {"Shape", "Gather", "Mul", "Concat", "Reshape"} <= hidden
    shown = [op for at, op in enumerate(analysis.layers.op) if at not in idle_rows(analysis)]
    assert shown == ["Relu"]
    assert analysis.totals.flops == 2 * 3 * 8 * 8
    assert analysis.totals.activation_bytes == 2 * 3 * 8 * 8 * FLOAT
    assert analysis.totals.bytes_moved == 2 * analysis.totals.activation_bytes


def test_large_tables_made_of_sizes_are_data(tmp_path: Path) -> None:
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("ConstantOfShape", ["shape"], ["zeros"]),
        node("Add", ["x", "zeros"], ["y"]),
    ]
    analysis = analysed(hand_made(tmp_path / "z.onnx", nodes, {"x": (16, 16)}, ["y"], {}))
    assert analysis.layers.activation_bytes == (0, 16 * 16 * FLOAT, 16 * 16 * FLOAT)


def test_lifetimes_follow_the_last_reader_and_views_keep_their_storage(tmp_path: Path) -> None:
    nodes = [
        node("Relu", ["x"], ["a"]),
        node("Reshape", ["a", "flat"], ["b"]),
        node("Transpose", ["b"], ["c"], perm=[1, 0]),
        node("Relu", ["c"], ["d"]),
        node("Transpose", ["b"], ["e"], perm=[1, 0]),
        node("Add", ["d", "e"], ["y"]),
    ]
    path = hand_made(tmp_path / "v.onnx", nodes, {"x": (4, 4)}, ["y"], {"flat": numpy.array([2, 8])})
    analysis = analysed(path)
    one = 16 * FLOAT
    assert analysis.layers.activation_bytes == (one, 0, one, one, one, one)
    # a | a | a c | a c d | a d e | d e y
    assert analysis.layers.peak_activation_bytes == (one, one, 2 * one, 3 * one, 3 * one, 3 * one)


def test_four_bit_tensors_take_half_a_byte(tmp_path: Path) -> None:
    weight = helper.make_tensor("w", onnx.TensorProto.INT4, [6, 4], [1] * 24)
    graph = helper.make_graph(
        [node("DequantizeLinear", ["w", "s"], ["d"]), node("MatMul", ["x", "d"], ["y"])],
        "int4",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [2, 6])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [2, 4])],
        [weight, helper.make_tensor("s", onnx.TensorProto.FLOAT, [], [0.1])],
    )
    path = tmp_path / "int4.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    analysis = analysed(path)
    assert analysis.totals.params == 24
    assert analysis.totals.weight_bytes == 12
    assert analysis.layers.bytes_moved == (2 * 6 * FLOAT + 12 + 2 * 4 * FLOAT,)


def test_rows_know_which_weights_their_macs_multiply(tmp_path: Path) -> None:
    weight = numpy.where(numpy.arange(64).reshape(8, 8) % 4 == 0, 1.0, 0.0).astype(numpy.float32)
    nodes = [
        node("Transpose", ["fc.weight"], ["t"], perm=[1, 0]),
        node("MatMul", ["x", "t"], ["m"], name="/fc/MatMul"),
        node("Add", ["m", "fc.bias"], ["y"], name="/fc/Add"),
    ]
    path = hand_made(
        tmp_path / "z.onnx", nodes, {"x": (2, 8)}, ["y"], {"fc.weight": weight, "fc.bias": floats(8)}
    )
    uses = analysed(path).weight_uses
    assert uses is not None
    (matmul,), (add,) = uses.rows
    assert (matmul.name, matmul.elements, matmul.read, matmul.macs) == ("fc.weight", 64, 64, 2 * 8 * 8)
    assert (add.name, add.read, add.macs) == ("fc.bias", 8, 0)
    assert dict(uses.owners) == {"fc.weight": ("fc.MatMul",), "fc.bias": ("fc.Add",)}


def test_the_layers_of_an_edited_model_keep_their_names(tmp_path: Path) -> None:
    nodes = [
        node("Relu", ["x"], ["a"], name="/block/act/Relu"),
        node("Sigmoid", ["a"], ["b"], name="/block/gate/Sigmoid"),
        node("Relu", ["b"], ["y"], name="/block/out/Relu"),
    ]
    session = session_of(hand_made(tmp_path / "e.onnx", nodes, {"x": (2, 8)}, ["y"], {}))
    default = session.default_configuration()
    edited = session.analyze(Configuration(default.inputs, (RemoveLayer("block.gate"),)))
    assert edited.layers.path == ("block.act", "block.out")


def test_parts_of_unequal_size_keep_their_sizes_through_a_sequence(tmp_path: Path) -> None:
    nodes = [
        node("Slice", ["x", "zero", "one", "one"], ["head"]),
        node("Slice", ["x", "one", "eight", "one"], ["tail"]),
        node("SequenceEmpty", [], ["s0"]),
        node("SequenceInsert", ["s0", "head"], ["s1"]),
        node("SequenceInsert", ["s1", "tail"], ["s2"]),
        node("SequenceAt", ["s2", "last"], ["part"]),
        node("MatMul", ["part", "w"], ["y"]),
    ]
    weights = {"zero": numpy.array([0]), "one": numpy.array([1]), "eight": numpy.array([8])}
    path = tmp_path / "s.onnx"
    hand_made(path, nodes, {"x": (2, 8)}, ["y"], {**weights, "last": numpy.array(-1), "w": floats(7, 3)})
    assert analysed(path).totals.macs == 2 * 7 * 3


@pytest.mark.parametrize(("condition", "width"), [(True, 64), (False, 4)])
def test_branches_may_give_the_same_names_to_different_values(
    condition: bool, width: int, tmp_path: Path
) -> None:
    def branch(width: int, stored: bool) -> onnx.GraphProto:
        # What is a stored weight in one branch is computed from the input in the other.
        first = node("Transpose", ["w" if stored else "x"], ["t"], perm=[1, 0])
        nodes = [first, node("MatMul", ["x", "t"] if stored else ["t", "w"], ["out"])]
        weight = numpy_helper.from_array(floats(width, 8) if stored else floats(2, width), "w")
        out = helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, None)
        return helper.make_graph(nodes, "branch", [], [out], [weight])

    choice = node(
        "If", ["cond"], ["y"], name="/If", then_branch=branch(64, True), else_branch=branch(4, False)
    )
    path = hand_made(tmp_path / "if.onnx", [choice], {"x": (2, 8)}, ["y"], {"cond": numpy.array(condition)})
    analysis = analysed(path)
    assert analysis.totals.macs == 2 * 8 * width
    assert analysis.totals.params == 8 * 64 + 2 * 4
    assert analysis.totals.untouched_params == (2 * 4 if condition else 8 * 64)
    assert analysis.layers.op == (("If", "MatMul") if condition else ("If", "Transpose", "MatMul"))


def test_bytes_of_unknown_shapes_are_not_counted_and_the_rest_of_the_total_stays(tmp_path: Path) -> None:
    nodes = [
        node("Relu", ["x"], ["a"]),
        node("Unheard", ["a"], ["b"], domain="com.acme"),
        node("Relu", ["b"], ["c"]),
        node("Relu", ["x"], ["y"]),
    ]
    path = hand_made(tmp_path / "m.onnx", nodes, {"x": (4, 64)}, ["c", "y"], {})
    model = onnx.load(path)
    model.opset_import.append(helper.make_opsetid("com.acme", 1))
    onnx.save(model, path)
    analysis = analysed(path)
    layers, one = analysis.layers, 4 * 64 * FLOAT
    assert layers.activation_bytes == (one, None, None, one)
    assert layers.bytes_moved == (2 * one, None, None, 2 * one)
    # From the second on something is alive of which nobody knows the size.
    assert layers.peak_activation_bytes == (one, None, None, None)
    assert analysis.totals.activation_bytes == 2 * one
    assert analysis.totals.bytes_moved == 4 * one
    assert not idle_rows(analysis)
    values = NodeValues(LayerStructure(analysis), analysis)
    assert values.value(0, "activation_bytes") == 2 * one
    # The row that knows and those that do not, in every format and read back.
    for format in ("json", "csv", "md", "html"):
        render(analysis, format, analysis)
    write_report(tmp_path / "report.json", "json", analysis)
    assert read_report(tmp_path / "report.json").layers.activation_bytes == layers.activation_bytes
