"""Values that follow from sizes and constants: what exported graphs compute before a Reshape, Slice or Expand.

onnx's own data propagation knows a dozen operators on vectors of int64. Here the common ones are numpy functions; the
rest of what can occur in arithmetic on sizes is evaluated by onnx.reference. Nothing large is ever computed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, TypeAlias, cast

import numpy
import onnx

from engine.graph import elements
from engine.onnx.dtypes import NAMES
from engine.onnx.graph import Array, Node
from engine.onnx.values import GraphShapes

log = logging.getLogger(__name__)

MOST_ELEMENTS = 65_536
"""Of every input and output; position tables of transformers are below, feature maps above."""

SIZED_BY_DATA = frozenset({"NonZero", "Compress", "Unique"})
"""Operators whose outputs have no known shape before, and at most as many rows as their inputs elements."""

Inputs: TypeAlias = list[Any]
"""Arrays, None for an absent optional input."""
Function: TypeAlias = Callable[[Node, int, Inputs], Any]

_functions: dict[str, Function] = {}

BY_REFERENCE = frozenset(
    {
        "ArgMax", "ArgMin", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "Clip", "Compress",
        "CumSum", "DepthToSpace", "Einsum", "EyeLike", "GatherElements", "GatherND", "IsInf", "IsNaN", "MatMul",
        "NonZero", "OneHot", "Pad", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare",
        "Relu", "ReverseSequence", "ScatterElements", "ScatterND", "Sigmoid", "Softmax", "SpaceToDepth", "Tanh",
        "TopK", "Trilu", "Unique", "Xor",
    }
)  # fmt: skip
"""Rare in arithmetic on sizes, cheap below the limit, and the same every time."""


def folds(*ops: str) -> Callable[[Function], Function]:
    """Register a function for standard operators of these names."""

    def register(function: Function) -> Function:
        for op in ops:
            _functions[op] = function
        return function

    return register


def can_fold(node: Node) -> bool:
    """Whether the operator is one that is evaluated at all."""
    return node.domain in ("", "ai.onnx") and (node.op_type in _functions or node.op_type in BY_REFERENCE)


def evaluate(node: Node, opset: int, inputs: Inputs) -> tuple[Array, ...] | None:
    """The outputs of ``node`` on ``inputs``; None where it cannot be evaluated. The caller has seen to the sizes."""
    function = _functions.get(node.op_type)
    try:
        with numpy.errstate(all="ignore"):
            made = function(node, opset, inputs) if function else _by_reference(node, opset, inputs)
    except Exception as error:
        # A graph may hold anything, such as a division of sizes by zero in a branch that never runs.
        log.debug("%s (%s) was not evaluated: %s", node.name, node.op_type, error)
        return None
    outputs = made if isinstance(made, (tuple, list)) else (made,)
    return tuple(numpy.asarray(each) for each in outputs)


class Folder:
    """Evaluates values of one graph on demand, each once."""

    def __init__(self, producers: dict[str, Node], shapes: GraphShapes, opset: int) -> None:
        self._producers = producers
        self._shapes = shapes
        self._opset = opset
        self._hopeless: set[str] = set()

    def forget(self) -> None:
        """Something became known: what could not be evaluated before may be now."""
        self._hopeless.clear()

    def __call__(self, name: str) -> Array | None:
        """The value of ``name``; None where it depends on data or is too large."""
        known = self._shapes.constants
        waiting = [name]
        while waiting:
            current = waiting[-1]
            if current in known or current in self._hopeless:
                waiting.pop()
                continue
            node = self._producers.get(current)
            if (
                node is None
                or not can_fold(node)
                or not (node.op_type in SIZED_BY_DATA or self._is_small(current))
            ):
                self._hopeless.add(current)
                waiting.pop()
                continue
            missing = self._missing(node)
            if missing is None:
                self._hopeless.update(node.outputs)
            elif missing:
                waiting.extend(missing)
            else:
                self._evaluate(node)
        return known.get(name)

    def _missing(self, node: Node) -> list[str] | None:
        """Inputs to evaluate first; None where one of them cannot be."""
        if node.op_type in ("Shape", "Size"):
            return [] if self._shapes.of(node.inputs[0]).shape is not None else None
        missing = []
        for name in node.inputs:
            if not name or name in self._shapes.constants:
                continue
            if name in self._hopeless:
                return None
            if name in self._producers:
                missing.append(name)
            elif self._constant(name) is None:
                return None
        return missing

    def _evaluate(self, node: Node) -> None:
        if node.op_type in ("Shape", "Size"):
            inputs: Inputs = [self._shapes.of(node.inputs[0]).shape]
        else:
            inputs = [self._constant(name) if name else None for name in node.inputs]
        made = evaluate(node, self._opset, inputs)
        if made is None or any(each.size > MOST_ELEMENTS for each in made):
            self._hopeless.update(node.outputs)
            return
        for name, array in zip(node.outputs, made, strict=False):
            if name:
                self._shapes.constants[name] = array
        self._hopeless.update(name for name in node.outputs[len(made) :] if name)

    def _constant(self, name: str) -> Array | None:
        found = self._shapes.constants.get(name)
        if found is None and self._shapes.outer is not None and name not in self._shapes.values:
            found = self._shapes.outer.constant(name)
        return found if found is None or found.size <= MOST_ELEMENTS else None

    def _is_small(self, name: str) -> bool:
        shape = self._shapes.of(name).shape
        return shape is not None and elements(shape) <= MOST_ELEMENTS


def _by_reference(node: Node, opset: int, inputs: Inputs) -> Any:
    evaluator = _evaluator(_key(node), opset)
    feeds = {f"i{index}": value for index, value in enumerate(inputs) if value is not None}
    return evaluator.run(None, feeds)


@lru_cache(1024)
def _evaluator(key: bytes, opset: int) -> Any:
    # Takes 0.2 s to import, and most graphs need none of it.
    from onnx.reference import ReferenceEvaluator

    proto = onnx.NodeProto.FromString(key)
    infos = [onnx.ValueInfoProto(name=name) for name in proto.input if name]
    outs = [onnx.ValueInfoProto(name=name) for name in proto.output]
    graph = onnx.helper.make_graph([proto], "one", infos, outs)
    return ReferenceEvaluator(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    )


def _key(node: Node) -> bytes:
    """The node as protobuf with its values renamed by position, so that equal nodes share an evaluator."""
    given = [f"i{index}" if name else "" for index, name in enumerate(node.inputs)]
    made = [f"o{index}" for index, name in enumerate(node.outputs) if name]
    attributes = {name: value for name, value in node.attributes.items() if value is not None}
    return cast(
        bytes,
        onnx.helper.make_node(node.op_type, given, made, **attributes).SerializeToString(deterministic=True),
    )


# -- operators on sizes ----------------------------------------------------------------------------------------------


def _attribute(node: Node, name: str, default: Any) -> Any:
    value = node.attributes.get(name)
    return default if value is None else value


def _axes(node: Node, inputs: Inputs) -> tuple[int, ...] | None:
    """From the second input (since opset 13 or 18) or the attribute; None for all."""
    if len(inputs) > 1 and inputs[1] is not None:
        return tuple(int(axis) for axis in inputs[1].reshape(-1))
    return _attribute(node, "axes", None)  # type: ignore[no-any-return]


@folds("Shape")
def _shape(node: Node, opset: int, inputs: Inputs) -> Any:
    """``inputs`` holds the shape itself."""
    return numpy.array(inputs[0][_attribute(node, "start", 0) : _attribute(node, "end", None)], numpy.int64)


@folds("Size")
def _size(node: Node, opset: int, inputs: Inputs) -> Any:
    size = 1
    for each in inputs[0]:
        size *= each
    return numpy.array(size, numpy.int64)


@folds("Identity", "Dropout")
def _identity(node: Node, opset: int, inputs: Inputs) -> Any:
    return inputs[0]


@folds("Gather")
def _gather(node: Node, opset: int, inputs: Inputs) -> Any:
    data, indices = inputs
    axis = _attribute(node, "axis", 0)
    if data.size * indices.size > 16 * MOST_ELEMENTS * max(data.shape[axis], 1):
        raise ValueError("too large")
    return numpy.take(data, indices, axis=axis)


@folds("Concat")
def _concat(node: Node, opset: int, inputs: Inputs) -> Any:
    return numpy.concatenate(inputs, axis=_attribute(node, "axis", 1))


@folds("Unsqueeze")
def _unsqueeze(node: Node, opset: int, inputs: Inputs) -> Any:
    axes = _axes(node, inputs) or ()
    return numpy.expand_dims(inputs[0], axes)


@folds("Squeeze")
def _squeeze(node: Node, opset: int, inputs: Inputs) -> Any:
    return numpy.squeeze(inputs[0], _axes(node, inputs))


@folds("Cast")
def _cast(node: Node, opset: int, inputs: Inputs) -> Any:
    return inputs[0].astype(numpy_dtype(_attribute(node, "to", 0)))


@folds("CastLike")
def _cast_like(node: Node, opset: int, inputs: Inputs) -> Any:
    return inputs[0].astype(inputs[1].dtype)


def numpy_dtype(number: int) -> Any:
    """Of an ONNX element type, by its number; small floats are those of ml_dtypes."""
    name = NAMES[number]
    return numpy.dtype(
        name if hasattr(numpy, name) or name == "bool" else onnx.helper.tensor_dtype_to_np_dtype(number)
    )


@folds("Slice")
def _slice(node: Node, opset: int, inputs: Inputs) -> Any:
    data = inputs[0]
    if opset < 10:
        starts, ends = node.attributes["starts"], node.attributes["ends"]
        axes, steps = node.attributes.get("axes"), None
    else:
        starts, ends = inputs[1].tolist(), inputs[2].tolist()
        axes = inputs[3].tolist() if len(inputs) > 3 and inputs[3] is not None else None
        steps = inputs[4].tolist() if len(inputs) > 4 and inputs[4] is not None else None
    index = [slice(None)] * data.ndim
    for number, axis in enumerate(axes if axes is not None else range(len(starts))):
        step = steps[number] if steps is not None else 1
        end: int | None = ends[number]
        if step < 0 and ends[number] < -data.shape[axis]:
            end = None
        index[axis] = slice(starts[number], end, step)
    return data[tuple(index)]


@folds("Reshape")
def _reshape(node: Node, opset: int, inputs: Inputs) -> Any:
    data = inputs[0]
    target = inputs[1].tolist() if len(inputs) > 1 else list(node.attributes["shape"])
    if not _attribute(node, "allowzero", 0):
        target = [data.shape[axis] if size == 0 else size for axis, size in enumerate(target)]
    return data.reshape(target)


@folds("Flatten")
def _flatten(node: Node, opset: int, inputs: Inputs) -> Any:
    axis = _attribute(node, "axis", 1)
    rows = int(numpy.prod(inputs[0].shape[:axis], dtype=numpy.int64))
    return inputs[0].reshape(rows, -1)


@folds("Transpose")
def _transpose(node: Node, opset: int, inputs: Inputs) -> Any:
    return numpy.transpose(inputs[0], _attribute(node, "perm", None))


@folds("Expand")
def _expand(node: Node, opset: int, inputs: Inputs) -> Any:
    shape = numpy.broadcast_shapes(inputs[0].shape, tuple(inputs[1].tolist()))
    return numpy.broadcast_to(inputs[0], shape)


@folds("Tile")
def _tile(node: Node, opset: int, inputs: Inputs) -> Any:
    return numpy.tile(inputs[0], inputs[1])


@folds("Range")
def _range(node: Node, opset: int, inputs: Inputs) -> Any:
    start, limit, delta = (each.item() for each in inputs)
    if abs(limit - start) > MOST_ELEMENTS * abs(delta):
        raise ValueError("too large")
    return numpy.arange(start, limit, delta, dtype=inputs[0].dtype)


@folds("ConstantOfShape")
def _constant_of_shape(node: Node, opset: int, inputs: Inputs) -> Any:
    value = node.attributes.get("value")
    fill = value.reshape(-1)[0] if value is not None else numpy.float32(0)
    return numpy.full(tuple(inputs[0].tolist()), fill)


@folds("Split")
def _split(node: Node, opset: int, inputs: Inputs) -> Any:
    axis = _attribute(node, "axis", 0)
    parts = inputs[1].tolist() if len(inputs) > 1 and inputs[1] is not None else node.attributes.get("split")
    if parts is None:
        count, size = len(node.outputs), inputs[0].shape[axis]
        each = -(-size // count)
        parts = [each] * (count - 1) + [size - each * (count - 1)]
    return tuple(numpy.split(inputs[0], numpy.cumsum(parts)[:-1], axis))


@folds("Where")
def _where(node: Node, opset: int, inputs: Inputs) -> Any:
    return numpy.where(*inputs)


@folds("Div")
def _div(node: Node, opset: int, inputs: Inputs) -> Any:
    """Integers are divided towards zero."""
    first, second = inputs
    if not numpy.issubdtype(first.dtype, numpy.integer):
        return first / second
    quotient = numpy.abs(first) // numpy.abs(second)
    return (quotient * numpy.sign(first) * numpy.sign(second)).astype(first.dtype)


@folds("Mod")
def _mod(node: Node, opset: int, inputs: Inputs) -> Any:
    return numpy.fmod(*inputs) if _attribute(node, "fmod", 0) else numpy.mod(*inputs)


@folds("Pow")
def _pow(node: Node, opset: int, inputs: Inputs) -> Any:
    return numpy.power(*inputs).astype(inputs[0].dtype)


def _pointwise(function: Callable[..., Any]) -> Function:
    def apply(node: Node, opset: int, inputs: Inputs) -> Any:
        made = function(*inputs)
        kinds = {each.dtype for each in inputs}
        # numpy has wider results for some, ONNX never has; comparisons give bool.
        return made if made.dtype == bool or len(kinds) > 1 else made.astype(inputs[0].dtype)

    return apply


_POINTWISE: dict[str, Callable[..., Any]] = {
    "Add": numpy.add, "Sub": numpy.subtract, "Mul": numpy.multiply, "Neg": numpy.negative, "Abs": numpy.abs,
    "Sign": numpy.sign, "Floor": numpy.floor, "Ceil": numpy.ceil, "Round": numpy.round, "Sqrt": numpy.sqrt,
    "Exp": numpy.exp, "Log": numpy.log, "Sin": numpy.sin, "Cos": numpy.cos, "Reciprocal": numpy.reciprocal,
    "Equal": numpy.equal, "Less": numpy.less, "LessOrEqual": numpy.less_equal, "Greater": numpy.greater,
    "GreaterOrEqual": numpy.greater_equal, "And": numpy.logical_and, "Or": numpy.logical_or, "Not": numpy.logical_not,
}  # fmt: skip
_functions.update({name: _pointwise(function) for name, function in _POINTWISE.items()})


def _many(function: Any) -> Function:
    def apply(node: Node, opset: int, inputs: Inputs) -> Any:
        made = inputs[0]
        for each in inputs[1:]:
            made = function(made, each)
        return made

    return apply


_functions.update({"Max": _many(numpy.maximum), "Min": _many(numpy.minimum), "Sum": _many(numpy.add)})


def _reduction(function: Callable[..., Any]) -> Function:
    def apply(node: Node, opset: int, inputs: Inputs) -> Any:
        axes = _axes(node, inputs)
        if not axes and _attribute(node, "noop_with_empty_axes", 0):
            return inputs[0]
        made = function(inputs[0], axis=axes or None, keepdims=bool(_attribute(node, "keepdims", 1)))
        return numpy.asarray(made).astype(inputs[0].dtype)

    return apply


_REDUCTIONS: dict[str, Callable[..., Any]] = {
    "ReduceProd": numpy.prod, "ReduceSum": numpy.sum, "ReduceMax": numpy.max, "ReduceMin": numpy.min,
    "ReduceMean": numpy.mean,
}  # fmt: skip
_functions.update({name: _reduction(function) for name, function in _REDUCTIONS.items()})


def as_tensor(array: Array, name: str = "") -> bytes | None:
    """A TensorProto of a small value, encoded; None for a dtype that has none."""
    number = onnx.helper.np_dtype_to_tensor_dtype(array.dtype) if array.dtype.kind in "iufb" else 0
    if not number:
        return None
    tensor = onnx.TensorProto(name=name, data_type=number, dims=array.shape, raw_data=array.tobytes())
    return cast(bytes, tensor.SerializeToString())


def small(values: Sequence[int]) -> Array:
    """Sizes as onnx has them."""
    return numpy.array(values, numpy.int64)
