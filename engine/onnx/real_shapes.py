"""The last way to a shape: onnxruntime runs the model, with the values that nothing else tells as outputs.

It gives what inference cannot: elements of sequences, operators without a rule. What depends on data is that of random
inputs then. Everything in this process' memory: the caller has seen to that what is known of it fits.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from threading import Event

import onnx

from engine.errors import CancelledError
from engine.guard import NotEnoughMemoryError, limited_memory, memory_errors
from engine.onnx.dtypes import dtype_name
from engine.onnx.graph import Graph
from engine.onnx.propagation import is_blank
from engine.onnx.run_model import RunModel
from engine.onnx.running import run_once
from engine.onnx.runtime import onnxruntime
from engine.onnx.values import NO_TENSOR, GraphShapes, Shapes, Value

log = logging.getLogger(__name__)

DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft", "ai.onnx.preview.training"})
"""Operators that onnxruntime brings along; of others it has no code."""


def needs_run(graph: Graph, shapes: Shapes, inputs: int) -> bool:
    """Whether most of the nodes have no shapes, and onnxruntime could tell them.

    ``inputs`` are those that can be made up: where others are missing, a sequence say, nothing can be run.
    """
    if not shapes.unknown or inputs < len(graph.inputs):
        return False
    nodes = list(graph.walk())
    return 2 * len(shapes.unknown) > len(nodes) and all(node.domain in DOMAINS for node in nodes)


def blanks(graph: Graph, shapes: GraphShapes) -> list[str]:
    """Values of the main graph without a shape."""
    return [
        name
        for node in graph.nodes
        if is_blank(node, shapes)
        for name in node.outputs
        if name and shapes.of(name).shape is None and shapes.of(name).dtype not in NO_TENSOR
    ]


def run_for_shapes(run: RunModel, names: Sequence[str], stop: Event, title: str) -> dict[str, Value]:
    """Shapes of the values ``names``; empty where onnxruntime cannot run the model, which is called ``title``.

    ``run.model`` is bytes. Integer inputs are 0 or as assumed, others random, the same every time. Raises
    CancelledError soon after ``stop`` is set, NotEnoughMemoryError where the values, which are all there at once, do
    not fit into memory.
    """
    onnxruntime()
    assert isinstance(run.model, bytes)
    model = onnx.ModelProto.FromString(run.model)
    known = {value.name for value in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    asked = run._replace(model=model.SerializeToString())
    try:
        with memory_errors(title), limited_memory():
            made = run_once(asked, stop, names, optimised=False)
    except (CancelledError, NotEnoughMemoryError):
        raise
    except Exception as error:
        # onnxruntime's exceptions have no base of their own; without a run the values stay unknown.
        log.info("onnxruntime did not run the model for its shapes: %s", error)
        return {}
    return {
        name: Value(tuple(value.shape()), dtype_name(value.element_type()))
        for name, value in zip(names, made, strict=True)
        if value.has_value() and value.is_tensor()
    }
