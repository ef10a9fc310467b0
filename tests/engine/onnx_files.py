"""ONNX files made by hand for the tests of reading: every place in which a tensor, a graph or a function can be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def value(name: str, shape: Sequence[int | str] | None, dtype: int = FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def stored(name: str, *shape: int, dtype: str = "float32") -> TensorProto:
    """Values that differ from each other."""
    count = int(numpy.prod(shape))
    return numpy_helper.from_array((numpy.arange(count) % 97 + 1).astype(dtype).reshape(shape), name)


def model(
    nodes: Sequence[onnx.NodeProto],
    initializers: Sequence[TensorProto] = (),
    *,
    inputs: Sequence[onnx.ValueInfoProto] | None = None,
    outputs: Sequence[onnx.ValueInfoProto] | None = None,
    functions: Sequence[onnx.FunctionProto] = (),
    domains: Sequence[tuple[str, int]] = (("", 17),),
) -> onnx.ModelProto:
    """From ``x`` of (batch, 32) to ``y``, unless said otherwise."""
    graph = helper.make_graph(
        nodes, "made", inputs or [value("x", ["batch", 32])], outputs or [value("y", None)], initializers
    )
    imports = [helper.make_opsetid(*each) for each in domains]
    return helper.make_model(graph, opset_imports=imports, functions=functions, ir_version=10)


def save(made: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(made.SerializeToString())
    return path


def plain() -> onnx.ModelProto:
    """Two layers; weights of 4 KiB and a bias of 128 bytes."""
    return model(
        [
            helper.make_node("Gemm", ["x", "one.weight", "one.bias"], ["a"], "/one/Gemm", transB=1),
            helper.make_node("Relu", ["a"], ["b"], "/act/Relu"),
            helper.make_node("MatMul", ["b", "two.weight"], ["y"], "/two/MatMul"),
        ],
        [stored("one.weight", 32, 32), stored("one.bias", 32), stored("two.weight", 32, 32)],
    )


def everywhere() -> onnx.ModelProto:
    """Large tensors in initializers, Constant nodes, bodies, sparse initializers, attributes and typed fields."""
    typed = helper.make_tensor("typed", FLOAT, [32, 32], [float(each) for each in range(1024)])
    double = helper.make_tensor("double", TensorProto.DOUBLE, [32, 32], [float(each) for each in range(1024)])
    half = helper.make_tensor("half", TensorProto.FLOAT16, [32, 32], numpy.arange(1024).astype(numpy.float16))
    sparse = helper.make_sparse_tensor(
        stored("sparse", 600), numpy_helper.from_array(numpy.arange(600, dtype=numpy.int64)), [32, 32]
    )
    body = helper.make_graph(
        [helper.make_node("MatMul", ["x", "inner"], ["t"], "in/MatMul")],
        "then",
        [],
        [value("t", None)],
        [stored("inner", 32, 32)],
    )
    other = helper.make_graph(
        [
            helper.make_node("Constant", [], ["inner"], "c", value=stored("", 32, 32)),
            helper.make_node("MatMul", ["x", "inner"], ["e"], "in/MatMul"),
        ],
        "else",
        [],
        [value("e", None)],
    )
    nodes = [
        helper.make_node("Constant", [], ["weight"], "constant", value=stored("", 32, 32)),
        helper.make_node("MatMul", ["x", "weight"], ["a"], "first"),
        helper.make_node("MatMul", ["a", "typed"], ["b"]),
        helper.make_node("MatMul", ["b", "sparse"], ["c"]),
        helper.make_node("Cast", ["double"], ["single"], to=FLOAT),
        helper.make_node("Cast", ["half"], ["full"], to=FLOAT),
        helper.make_node("MatMul", ["c", "single"], ["d"]),
        helper.make_node("MatMul", ["d", "full"], ["f"]),
        helper.make_node("If", ["yes"], ["g"], "choice", then_branch=body, else_branch=other),
        helper.make_node("Custom", ["f"], ["h"], "custom", domain="com.acme", table=stored("", 32, 32)),
        helper.make_node("Add", ["g", "h"], ["y"], "last"),
    ]
    made = model(
        nodes,
        [typed, double, half, numpy_helper.from_array(numpy.array(True), "yes")],
        domains=(("", 17), ("com.acme", 1)),
    )
    made.graph.sparse_initializer.append(sparse)
    return made


def function(name: str, nodes: Sequence[onnx.NodeProto], opset: int = 17) -> onnx.FunctionProto:
    """From ``a`` to ``b``, in the domain ``local``."""
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("local", 1)]
    return helper.make_function("local", name, ["a"], ["b"], nodes, imports)


def with_functions() -> onnx.ModelProto:
    """Two calls of a function with a weight, which calls another one."""
    inner = function("Inner", [helper.make_node("Relu", ["a"], ["b"], "relu")])
    outer = function(
        "Outer",
        [
            helper.make_node("Constant", [], ["w"], "weight", value=stored("", 32, 32)),
            helper.make_node("MatMul", ["a", "w"], ["t"], "product"),
            helper.make_node("Inner", ["t"], ["b"], "inner", domain="local"),
        ],
    )
    calls = [
        helper.make_node("Outer", ["x"], ["m"], "call", domain="local"),
        helper.make_node("Outer", ["m"], ["y"], "call", domain="local"),
    ]
    return model(calls, functions=[inner, outer], domains=(("", 17), ("local", 1)))


def looped() -> onnx.ModelProto:
    """A Loop with a body that has a weight, and a sum of its passes."""
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["state", "w"], ["next"], "step/MatMul"),
            helper.make_node("Identity", ["cond"], ["cond_out"]),
        ],
        "body",
        [value("i", [], INT64), value("cond", [], TensorProto.BOOL), value("state", ["batch", 32])],
        [value("cond_out", [], TensorProto.BOOL), value("next", ["batch", 32])],
        [stored("w", 32, 32)],
    )
    initial = [
        numpy_helper.from_array(numpy.array(5, dtype=numpy.int64), "trips"),
        numpy_helper.from_array(numpy.array(True), "go"),
    ]
    return model([helper.make_node("Loop", ["trips", "go", "x"], ["y"], "loop", body=body)], initial)


def quantised() -> onnx.ModelProto:
    """Weights of 8 bits that are dequantised, and text that is stored as a tensor."""
    nodes = [
        helper.make_node("DequantizeLinear", ["w8", "scale", "zero"], ["w"], "dq"),
        helper.make_node("MatMul", ["x", "w"], ["y"], "product"),
    ]
    texts = helper.make_tensor("labels", TensorProto.STRING, [2], [b"cat", b"dog"])
    scale = numpy_helper.from_array(numpy.array(0.5, numpy.float32), "scale")
    zero = numpy_helper.from_array(numpy.array(0, numpy.int8), "zero")
    return model(nodes, [stored("w8", 32, 64, dtype="int8"), scale, zero, texts])


MADE: dict[str, Callable[[], onnx.ModelProto]] = {
    "plain": plain,
    "everywhere": everywhere,
    "functions": with_functions,
    "loop": looped,
    "quantised": quantised,
}


def with_external(made: onnx.ModelProto, path: Path, data: str = "weights.bin") -> Path:
    """``made`` at ``path`` with the values of all initializers in ``data`` beside it."""
    content = bytearray()
    for tensor in made.graph.initializer:
        raw = tensor.raw_data
        tensor.ClearField("raw_data")
        refer(tensor, data, len(content), len(raw))
        content += raw
    (path.parent / data).write_bytes(content)
    return save(made, path)


def refer(tensor: TensorProto, location: str, offset: int | str, length: int | str) -> None:
    """Make ``tensor`` one whose values are there."""
    tensor.data_location = TensorProto.EXTERNAL
    del tensor.external_data[:]
    for key, text in (("location", location), ("offset", str(offset)), ("length", str(length))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, text
