"""The reference kernel in onnxruntime: nothing of torch runs, or spins, beside what is measured."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy
import onnx
from onnx import TensorProto, helper

from engine.latency.onnx_sessions import session_options
from engine.latency.reference import Reference
from engine.measurement import RuntimeOptions
from engine.onnx.runtime import onnxruntime

SIZE = 256
PRODUCTS = 2


def onnx_reference(best_s: float | None = None) -> Reference:
    """Two 256³ products with one thread, whatever the model has: a pool of its own would spin beside the model's."""
    session, binding = _bound()

    def kernel() -> None:
        for _ in range(PRODUCTS):
            session.run_with_iobinding(binding)

    return Reference(kernel, "onnxruntime", best_s)


@lru_cache(1)
def _bound() -> tuple[Any, Any]:
    generator = numpy.random.default_rng(0)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["a", "b"], ["y"])],
        "reference",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [SIZE, SIZE]) for name in ("a", "b")],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [SIZE, SIZE])],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)])
    onnx.checker.check_model(model)
    session = onnxruntime().InferenceSession(
        model.SerializeToString(),
        session_options(1, RuntimeOptions(spinning=False)),
        providers=["CPUExecutionProvider"],
    )
    binding = session.io_binding()
    for name in ("a", "b"):
        binding.bind_cpu_input(name, generator.standard_normal((SIZE, SIZE), dtype=numpy.float32))
    binding.bind_output("y", "cpu")
    return session, binding
