"""What the nodes of plain convolutional networks cost, walked by hand: shapes and counts from attributes alone.

Nothing of the engine is used here, so that tests can compare with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import onnx

Shape: TypeAlias = tuple[int, ...]


class Row(NamedTuple):
    """One node and what it costs; weights and what only reshapes them have no row."""

    op: str
    shape: Shape
    macs: int
    flops: int
    special: int


class Walk:
    """A model at one input size. ``rows`` in order; ``params`` are the elements of all weights, statistics apart."""

    def __init__(self, model: onnx.ModelProto, size: int) -> None:
        graph = model.graph
        self.stored = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
        self.shapes: dict[str, Shape] = {name: array.shape for name, array in self.stored.items()}
        self.rows: list[Row] = []
        read = {name for node in graph.node for name in node.input}
        self.weights = {name: self.stored[name].size for name in read & set(self.stored)}
        for name in self.weights:
            self.weights[name] *= self.stored[name].dtype.kind == "f"
        self.fixed = set(self.stored)
        for value in graph.input:
            if value.name not in self.stored:
                batch, channels, *_ = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
                self.shapes[value.name] = (batch, channels, size, size)
        for node in graph.node:
            self._node(node)

    @property
    def params(self) -> int:
        return sum(self.weights.values())

    def _node(self, node: onnx.NodeProto) -> None:
        attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        if node.op_type == "ConstantOfShape":
            self.shapes[node.output[0]] = tuple(int(size) for size in self.stored[node.input[0]])
            self.weights[node.output[0]] = math.prod(self.shapes[node.output[0]])
            self.fixed.add(node.output[0])
            return
        given = [self.shapes[name] for name in node.input]
        if node.op_type == "Unsqueeze":
            sizes = list(given[0])
            for axis in attributes["axes"]:
                sizes.insert(axis, 1)
            self.shapes[node.output[0]] = tuple(sizes)
            return
        if node.op_type == "BatchNormalization":
            for name in node.input[3:5]:
                self.weights[name] = 0
        if node.op_type == "Reshape":
            target = [int(size) for size in self.stored[node.input[1]]]
            given[1] = tuple(given[0][at] if size == 0 else size for at, size in enumerate(target))
        shape, macs, flops, special = COSTS[node.op_type](given, attributes)
        self.shapes[node.output[0]] = shape
        if self.fixed.issuperset(node.input):
            return
        self.rows.append(Row(node.op_type, shape, macs, flops, special))


Cost: TypeAlias = tuple[Shape, int, int, int]


def slid(size: int, kernel: int, stride: int, before: int, after: int) -> int:
    """Windows that fit: tried one by one, as a loop over their first positions."""
    return len(range(-before, size + after - kernel + 1, stride))


def windows(image: Shape, kernel: Shape, attributes: dict[str, Any]) -> Shape:
    strides = attributes.get("strides", (1, 1))
    pads = attributes.get("pads", (0, 0, 0, 0))
    assert attributes.get("auto_pad", b"NOTSET") == b"NOTSET"
    assert all(dilation == 1 for dilation in attributes.get("dilations", ()))
    return tuple(
        slid(image[2 + axis], kernel[axis], strides[axis], pads[axis], pads[axis + 2]) for axis in (0, 1)
    )


def conv(given: list[Shape], attributes: dict[str, Any]) -> Cost:
    image, weight = given[:2]
    height, width = windows(image, weight[2:], attributes)
    shape = (image[0], weight[0], height, width)
    each = (image[1] // attributes.get("group", 1)) * weight[2] * weight[3]
    macs = math.prod(shape) * each
    return shape, macs, 2 * macs + (math.prod(shape) if len(given) == 3 else 0), 0


def gemm(given: list[Shape], attributes: dict[str, Any]) -> Cost:
    (rows, inner), right = given[:2]
    columns = right[0] if attributes.get("transB") else right[1]
    macs = rows * inner * columns
    return (rows, columns), macs, 2 * macs + rows * columns, 0


def max_pool(given: list[Shape], attributes: dict[str, Any]) -> Cost:
    kernel = attributes["kernel_shape"]
    shape = (*given[0][:2], *windows(given[0], kernel, attributes))
    return shape, 0, math.prod(shape) * (kernel[0] * kernel[1] - 1), 0


def average_pool(given: list[Shape], attributes: dict[str, Any]) -> Cost:
    kernel = attributes["kernel_shape"]
    shape = (*given[0][:2], *windows(given[0], kernel, attributes))
    return shape, 0, math.prod(shape) * kernel[0] * kernel[1], math.prod(shape)


def global_average(given: list[Shape], attributes: dict[str, Any]) -> Cost:
    batch, channels, height, width = given[0]
    return (batch, channels, 1, 1), 0, batch * channels * height * width, batch * channels


def softmax(given: list[Shape], attributes: dict[str, Any]) -> Cost:
    """Before opset 13: all dimensions from the axis on are one row."""
    shape = given[0]
    n = math.prod(shape[attributes.get("axis", 1) :])
    rows = math.prod(shape) // n
    return shape, 0, rows * (5 * n - 2), rows * 2 * n


def response(given: list[Shape], attributes: dict[str, Any]) -> Cost:
    n = math.prod(given[0])
    return given[0], 0, (attributes["size"] + 4) * n, 2 * n


def concat(given: list[Shape], attributes: dict[str, Any]) -> Cost:
    shape = list(given[0])
    shape[attributes["axis"]] = sum(each[attributes["axis"]] for each in given)
    return tuple(shape), 0, 0, 0


def transpose(given: list[Shape], attributes: dict[str, Any]) -> Cost:
    return tuple(given[0][axis] for axis in attributes["perm"]), 0, 0, 0


def reshape(given: list[Shape], attributes: dict[str, Any]) -> Cost:
    total, target = math.prod(given[0]), given[1]
    known = math.prod(size for size in target if size != -1)
    return tuple(total // known if size == -1 else size for size in target), 0, 0, 0


def per_element(flops: int) -> Callable[[list[Shape], dict[str, Any]], Cost]:
    return lambda given, attributes: (given[0], 0, flops * math.prod(given[0]), 0)


COSTS: dict[str, Callable[[list[Shape], dict[str, Any]], Cost]] = {
    "Conv": conv,
    "Gemm": gemm,
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "GlobalAveragePool": global_average,
    "Softmax": softmax,
    "LRN": response,
    "Concat": concat,
    "Transpose": transpose,
    "Reshape": reshape,
    "Relu": per_element(1),
    "Add": per_element(1),
    "Mul": per_element(1),
    "BatchNormalization": per_element(2),
    "Dropout": per_element(0),
    "Sum": lambda given, attributes: (given[0], 0, (len(given) - 1) * math.prod(given[0]), 0),
}
