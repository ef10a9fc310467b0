"""From a document and its shapes to the result: rows with their work, totals, coverage, the tree of layers."""

from __future__ import annotations

import platform
from collections import Counter
from functools import lru_cache

import onnx

from engine.configuration import Configuration
from engine.cost import Work
from engine.graph import Shape
from engine.metrics import ratio
from engine.onnx import translate
from engine.onnx.document import Document
from engine.onnx.dtypes import tensor_bytes
from engine.onnx.graph import Node
from engine.onnx.lifetimes import Lifetimes
from engine.onnx.modules import ModuleTable
from engine.onnx.parameters import Role, roles
from engine.onnx.shapes import GraphShapes, Shapes
from engine.onnx.translate import NodeCall
from engine.results import Analysis, Coverage, Layers, ModelInfo, NotCounted, Totals


class Structure:
    """What does not depend on the input sizes; made once per set of edits."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.roles: dict[str, Role] = roles(document.graph)
        self.modules = ModuleTable(document, self.roles)
        stored = document.graph.stored
        self.params = {name: stored[name] for name, role in self.roles.items() if role == "parameter"}
        self.buffers = {name: stored[name] for name, role in self.roles.items() if role == "buffer"}
        self.readers = Counter(
            name for node in document.graph.walk() for name in set(node.inputs) if name in self.params
        )


def build_analysis(
    model: ModelInfo, configuration: Configuration, structure: Structure, shapes: Shapes
) -> Analysis:
    """The result of one configuration."""
    document = structure.document
    rows = _Rows(structure, shapes.main)
    uncounted: Counter[str] = Counter()
    for node, (_, work) in zip(document.graph.nodes, rows.costs, strict=True):
        if work.flops is None:
            uncounted[node.label] += 1
    calls = len(document.graph.nodes)
    layers = rows.layers(structure)
    return Analysis(
        model=model,
        configuration=configuration,
        mode="inference",
        totals=_totals(structure, layers, rows.lifetimes.peak),
        coverage=Coverage(
            calls=calls,
            counted_calls=calls - sum(uncounted.values()),
            not_counted=tuple(NotCounted(op, count) for op, count in uncounted.most_common()),
        ),
        layers=layers,
        modules=structure.modules.columns(),
        shared=(),
        output_shapes=tuple(
            value.shape for value in map(shapes.main.of, document.graph.outputs) if value.shape is not None
        ),
        environment=environment(),
    )


class _Rows:
    """The rows of the main graph's nodes, in order."""

    def __init__(self, structure: Structure, shapes: GraphShapes) -> None:
        document = structure.document
        self.nodes = document.graph.nodes
        self.shapes = shapes
        self.lifetimes = Lifetimes(document.graph, shapes)
        self.costs = [translate.work(_call(node, document.opset, shapes)) for node in self.nodes]

    def layers(self, structure: Structure) -> Layers:
        nodes, shapes = self.nodes, self.shapes
        works: list[Work] = [work for _, work in self.costs]
        params = [sum(_elements(structure, name) for name in set(node.inputs)) for node in nodes]
        weights = [sum(_weight_bytes(structure, name) for name in set(node.inputs)) for node in nodes]
        moved = [_moved(node, shapes) for node in nodes]
        return Layers(
            id=tuple([f"{node.path}:{node.op_type}" for node in nodes]),
            path=tuple([node.path for node in nodes]),
            op=tuple([node.label for node in nodes]),
            family=tuple([family for family, _ in self.costs]),
            calls=(1,) * len(nodes),
            params=tuple(params),
            shared=tuple([any(structure.readers[name] > 1 for name in node.inputs) for node in nodes]),
            macs=tuple([work.macs for work in works]),
            flops=tuple([work.flops for work in works]),
            special_ops=tuple([work.special_ops for work in works]),
            weight_bytes=tuple(weights),
            activation_bytes=tuple(self.lifetimes.written),
            peak_activation_bytes=tuple(self.lifetimes.live),
            bytes_moved=tuple(moved),
            input_shapes=tuple([_known(shapes, node.inputs) for node in nodes]),
            output_shapes=tuple([_known(shapes, node.outputs) for node in nodes]),
            dtype=tuple([shapes.of(node.outputs[0]).dtype if node.outputs else "" for node in nodes]),
            formula=tuple([work.formula for work in works]),
        )


def _call(node: Node, opset: int, shapes: GraphShapes) -> NodeCall:
    given = [shapes.of(name) for name in node.inputs]
    made = [shapes.of(name) for name in node.outputs]
    return NodeCall(
        node,
        opset,
        tuple([value.shape for value in given]),
        tuple([value.shape for value in made]),
        tuple([value.dtype for value in given]),
        tuple([value.dtype for value in made]),
        lambda position: shapes.constant(node.inputs[position]),
    )


def _elements(structure: Structure, name: str) -> int:
    stored = structure.params.get(name)
    if stored is None:
        return 0
    total = 1
    for size in stored.shape:
        total *= size
    return total


def _weight_bytes(structure: Structure, name: str) -> int:
    stored = structure.params.get(name)
    return stored.bytes if stored is not None else 0


def _known(shapes: GraphShapes, names: tuple[str, ...]) -> tuple[Shape, ...]:
    found = (shapes.of(name).shape for name in names if name)
    return tuple([shape for shape in found if shape is not None])


def _moved(node: Node, shapes: GraphShapes) -> int:
    values = [shapes.of(name) for name in (*dict.fromkeys(node.inputs), *node.outputs) if name]
    return sum(tensor_bytes(value.shape, value.dtype) for value in values if value.shape is not None)


def _totals(structure: Structure, layers: Layers, peak: int) -> Totals:
    params = sum(_elements(structure, name) for name in structure.params)
    buffers = 0
    for stored in structure.buffers.values():
        size = 1
        for each in stored.shape:
            size *= each
        buffers += size
    macs = sum(value for value in layers.macs if value is not None)
    flops = sum(value for value in layers.flops if value is not None)
    moved = sum(layers.bytes_moved)
    return Totals(
        params=params,
        trainable_params=params,
        buffers=buffers,
        untouched_params=0,
        macs=macs,
        flops=flops,
        special_ops=sum(value for value in layers.special_ops if value is not None),
        weight_bytes=sum(stored.bytes for stored in structure.params.values()),
        activation_bytes=sum(layers.activation_bytes),
        peak_activation_bytes=peak,
        bytes_moved=moved,
        arithmetic_intensity=ratio(flops, moved),
        reuse=ratio(macs, params),
    )


@lru_cache(1)
def environment() -> dict[str, str]:
    """Versions that can change a result; no host or user name."""
    return {
        "python": platform.python_version(),
        "onnx": onnx.__version__,
        "platform": f"{platform.system()} {platform.machine()}",
    }
