"""What profiling adds to one kernel of onnxruntime."""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy
from onnx import TensorProto, helper

from engine.latency.onnx_sessions import session_options
from engine.measurement import RuntimeOptions
from engine.onnx.runtime import onnxruntime

NODES, ROUNDS = 100, 30
"""The fastest of so many rounds counts; together they take about 10 ms."""


@lru_cache(1)
def profiling_cost() -> float:
    """Seconds per kernel, once per process: a chain of small nodes with and without profiling, in alternation.

    The fastest of each counts, because whatever disturbs a round only makes it slower.
    """
    nodes = [helper.make_node("Neg", [f"x{n}"], [f"x{n + 1}"], name=f"node_{n}") for n in range(NODES)]
    first, last = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x0", f"x{NODES}")
    )
    graph = helper.make_graph(nodes, "chain", [first], [last])
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)])
    content, feeds = model.SerializeToString(), {"x0": numpy.ones(1, numpy.float32)}
    with tempfile.TemporaryDirectory(prefix="misnomer-") as folder:
        plain, timed = _chain(content, None), _chain(content, Path(folder))
        best = {False: float("inf"), True: float("inf")}
        for _ in range(ROUNDS):
            for profiling, session in ((False, plain), (True, timed)):
                started = perf_counter()
                session.run(None, feeds)
                best[profiling] = min(best[profiling], perf_counter() - started)
        timed.end_profiling()
    return max(best[True] - best[False], 0.0) / NODES


def _chain(content: bytes, folder: Path | None) -> Any:
    options = session_options(1, RuntimeOptions(level="disable", spinning=False))
    if folder is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(folder / "profile")
    return onnxruntime().InferenceSession(content, options, providers=["CPUExecutionProvider"])
