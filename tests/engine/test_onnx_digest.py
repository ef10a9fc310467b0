"""What other counters of ONNX files get wrong: the faults read in the source of Digest, and near ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from engine.configuration import Configuration
from engine.graph import InputShape
from engine.onnx.loading import load
from engine.onnx.session import OnnxSession


def session(
    folder: Path,
    nodes: Sequence[NodeProto],
    inputs: dict[str, Sequence[int | str]],
    stored: dict[str, Any],
    output: str = "y",
) -> OnnxSession:
    """A model of ``nodes``; random weights by shape."""
    generator = numpy.random.default_rng(0)
    tensors = [
        numpy_helper.from_array(
            value if isinstance(value, numpy.ndarray) else generator.standard_normal(value, numpy.float32),
            name,
        )
        for name, value in stored.items()
    ]
    given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()]
    made = [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)]
    graph = helper.make_graph(list(nodes), "net", given, made, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = folder / "net.onnx"
    onnx.save(model, path)
    return OnnxSession(load(path))


def node(op: str, inputs: str, output: str = "y", **attributes: Any) -> NodeProto:
    return helper.make_node(op, inputs.split(" "), [output], name=output, **attributes)


def test_padding_to_the_same_size_divides_by_the_stride(tmp_path: Path) -> None:
    """Stride 2 at 15 x 15: 8 x 8 outputs, not 30 x 30."""
    conv = node("Conv", "x w", auto_pad="SAME_UPPER", strides=[2, 2], kernel_shape=[3, 3])
    model = session(tmp_path, [conv], {"x": (1, 3, 15, 15)}, {"w": (8, 3, 3, 3)})
    analysis = model.analyze(model.default_configuration())
    assert analysis.totals.macs == 8 * 8 * 8 * 3 * 9
    assert analysis.output_shapes == ((1, 8, 8, 8),)


def test_a_transposed_convolution_counts_its_input_positions(tmp_path: Path) -> None:
    conv = node("ConvTranspose", "x w", strides=[2, 2], kernel_shape=[2, 2])
    model = session(tmp_path, [conv], {"x": (1, 4, 5, 5)}, {"w": (4, 6, 2, 2)})
    assert model.analyze(model.default_configuration()).totals.macs == 5 * 5 * 4 * 6 * 2 * 2


def test_one_symbolic_dimension_is_a_slider_not_the_end_of_the_total(tmp_path: Path) -> None:
    nodes = [node("Conv", "x w", "h", kernel_shape=[3, 3]), node("Relu", "h")]
    model = session(tmp_path, nodes, {"x": ("batch", 3, 10, 10)}, {"w": (8, 3, 3, 3)})
    one = model.analyze(model.default_configuration()).totals
    assert one.macs == 64 * 8 * 27
    (spec,) = model.specs
    assert spec.dims[0].symbol is not None
    five = model.analyze(Configuration(inputs=(InputShape("x", (5, 3, 10, 10)),))).totals
    assert (five.macs, five.flops) == (5 * one.macs, 5 * (one.flops or 0))


def test_tied_weights_count_once_and_shape_constants_never(tmp_path: Path) -> None:
    """An embedding and a head that are one matrix; the sizes of a Reshape are no parameters."""
    nodes = [
        node("MatMul", "x w", "h"),
        node("Reshape", "h shape", "r"),
        node("Transpose", "w", "t", perm=[1, 0]),
        node("MatMul", "r t"),
    ]
    stored = {"w": (16, 32), "shape": numpy.array([3, 32], numpy.int64)}
    model = session(tmp_path, nodes, {"x": (3, 16)}, stored)
    analysis = model.analyze(model.default_configuration())
    assert analysis.totals.params == 16 * 32
    assert analysis.totals.macs == 2 * 3 * 16 * 32


def test_a_product_without_bias_and_one_of_a_value_with_itself(tmp_path: Path) -> None:
    nodes = [node("Gemm", "x w", "h"), node("Mul", "h h")]
    model = session(tmp_path, nodes, {"x": (3, 16)}, {"w": (16, 8)})
    layers = model.analyze(model.default_configuration()).layers
    assert layers.macs == (3 * 16 * 8, 0)
    assert layers.flops == (2 * 3 * 16 * 8, 3 * 8)
    assert layers.bytes_moved[1] == 4 * (3 * 8 + 3 * 8), "the operand is read once"


def test_einsum_and_recurrent_layers_are_part_of_the_total(tmp_path: Path) -> None:
    nodes = [
        node("GRU", "x gw gr", "g", hidden_size=6),
        node("Squeeze", "g axes", "s"),
        node("Einsum", "s e", equation="tbh,hk->tbk"),
    ]
    stored = {"gw": (1, 18, 4), "gr": (1, 18, 6), "axes": numpy.array([1]), "e": (6, 5)}
    model = session(tmp_path, nodes, {"x": (7, 2, 4)}, stored)
    analysis = model.analyze(model.default_configuration())
    assert analysis.totals.macs == 7 * 2 * 18 * (4 + 6) + 7 * 2 * 6 * 5
    assert not analysis.coverage.not_counted


def test_pointwise_operators_count_and_count_their_output_once(tmp_path: Path) -> None:
    """Softmax, norms, pools and products are no zeros; a sum of two tensors is one operation per output."""
    nodes = [
        node("Softmax", "x", "a"),
        node("LayerNormalization", "a scale", "b"),
        node("Sub", "b x", "c"),
        node("Pow", "c two"),
    ]
    stored = {"scale": (4,), "two": numpy.array([2], numpy.float32)}
    model = session(tmp_path, nodes, {"x": (3, 4)}, stored)
    flops = model.analyze(model.default_configuration()).layers.flops
    assert flops == (3 * (5 * 4 - 2), 3 * (6 * 4 + 2), 12, 12)


def test_an_operator_that_nobody_knows_does_not_take_the_total_with_it(tmp_path: Path) -> None:
    """Before it everything is counted; it is named; what follows is not counted because its size is not known."""
    nodes = [
        node("MatMul", "x w", "h"),
        helper.make_node("Magic", ["h"], ["m"], name="magic", domain="org.example"),
        node("MatMul", "m v"),
    ]
    model = session(tmp_path, nodes, {"x": (3, 16)}, {"w": (16, 8), "v": (8, 2)})
    analysis = model.analyze(model.default_configuration())
    assert analysis.totals.macs == 3 * 16 * 8
    assert {each.op: each.calls for each in analysis.coverage.not_counted} == {
        "org.example.Magic": 1,
        "MatMul": 1,
    }
    assert analysis.layers.formula[1] == "not counted: no formula for org.example.Magic"
    assert analysis.layers.formula[2] == "not counted: the shape of input 'm' is not known"
