"""Models of one node, what onnxruntime's kernel makes of them, and what the engine says they cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy
import onnx
from onnx import TensorProto, helper

from engine.onnx.loading import load
from engine.onnx.runtime import onnxruntime
from engine.onnx.session import OnnxSession
from engine.results import Analysis, Layers

MICROSOFT = "com.microsoft"


class Case(NamedTuple):
    """One node with its inputs (None: absent), and what it costs."""

    op: str
    inputs: tuple[Any, ...]
    macs: int
    flops: int
    attributes: dict[str, Any] = {}  # noqa: RUF012
    outputs: int = 1
    constants: tuple[int, ...] = ()
    """Positions of inputs whose values the operator, or its shape, demands."""
    shape: tuple[int, ...] | None = None
    """Of the output, where onnxruntime has no kernel for the CPU."""
    opset: int = 20
    domain: str = ""

    @property
    def label(self) -> str:
        return f"{self.op}-{self.opset}" if not self.domain else self.op


def real(*shape: int) -> Any:
    return numpy.random.default_rng(0).standard_normal(shape).astype(numpy.float32)


def bytes_of(*shape: int, signed: bool = False) -> Any:
    kind = numpy.int8 if signed else numpy.uint8
    return numpy.random.default_rng(0).integers(0, 100, shape).astype(kind)


def whole(*values: int, dtype: Any = numpy.int32) -> Any:
    return numpy.array(values, dtype)


SCALE, ZERO, INT8_ZERO = numpy.float32(0.1), numpy.uint8(3), numpy.int8(3)


def check(case: Case, folder: Path) -> Layers:
    """Counts as the case says, shapes and dtypes as the runtime makes them."""
    path = write(case, folder)
    layers = analysed(path).layers
    (macs,), (flops,) = layers.macs, layers.flops
    assert (macs, flops) == (case.macs, case.flops), layers.formula[0]
    if case.shape is not None:
        assert layers.output_shapes[0][0] == case.shape
        return layers
    shapes, dtypes = _run(path, case)
    assert layers.output_shapes[0] == shapes
    assert layers.dtype[0] == dtypes[0]
    return layers


def analysed(path: Path, *, allow_real_run: bool = False) -> Analysis:
    session = OnnxSession(load(path))
    configuration = session.default_configuration()
    return session.analyze(msgspec.structs.replace(configuration, allow_real_run=allow_real_run))


def write(case: Case, folder: Path) -> Path:
    """A model of this one node; scalars and ``constants`` are stored in it."""
    names = ["" if value is None else f"x{at}" for at, value in enumerate(case.inputs)]
    stored, inputs = [], []
    for at, (name, value) in enumerate(zip(names, case.inputs, strict=True)):
        if value is None:
            continue
        if at in case.constants or not numpy.ndim(value):
            stored.append(onnx.numpy_helper.from_array(numpy.asarray(value), name))
        else:
            kind = helper.np_dtype_to_tensor_dtype(value.dtype)
            inputs.append(helper.make_tensor_value_info(name, kind, value.shape))
    outputs = [f"y{at}" for at in range(case.outputs)]
    node = helper.make_node(case.op, names, outputs, domain=case.domain, **case.attributes)
    made = [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in outputs]
    opsets = [helper.make_opsetid("", case.opset)]
    if case.domain:
        opsets.append(helper.make_opsetid(case.domain, 2 if case.domain == "ai.onnx.ml" else 1))
    graph = helper.make_graph([node], "one", inputs, made, stored)
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    for output in model.graph.output:
        output.ClearField("type")
    path = folder / "one.onnx"
    onnx.save(model, path)
    return path


def _run(path: Path, case: Case) -> tuple[tuple[tuple[int, ...], ...], list[str]]:
    """Shapes and dtypes of the outputs as onnxruntime's kernel makes them."""
    session = onnxruntime().InferenceSession(str(path), providers=["CPUExecutionProvider"])
    feeds = {each.name: case.inputs[int(each.name[1:])] for each in session.get_inputs()}
    made = [value for value in session.run(None, feeds) if value is not None]
    return tuple([value.shape for value in made]), [str(value.dtype) for value in made]
