"""Sizes that depend on the data: a stated assumption instead of a blank, which the user can set.

What ``NonZero`` finds on n elements are at most n, and ``NonMaxSuppression`` keeps at most what it may: the default is
that upper bound, as in engine.trace.assume. A size that is read from an input's value (``Reshape`` to a shape that the
caller gives) is one number per element, at a default that is always valid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy

from engine.graph import Assumption, Shape, elements
from engine.onnx.dtypes import NUMBERS
from engine.onnx.facts import GraphFacts
from engine.onnx.folding import can_fold, numpy_dtype
from engine.onnx.graph import Array, Node
from engine.onnx.values import GraphShapes, Value

NO_BOUND = 2**31 - 1
"""From here on a number in a file stands for "as much as there is", not for a size or a count."""
MOST_TRIPS = 10_000
"""What may be assumed where nothing tells how often a body runs."""
MOST_NUMBERS = 16
"""Elements of a value that a user is asked for."""
FOUND = {
    "NonZero": "elements found by NonZero",
    "Unique": "distinct values",
    "Compress": "elements selected by a mask",
    "NonMaxSuppression": "boxes kept by NMS",
    "StringSplit": "parts of the longest text",
    "StringNormalizer": "texts that are kept",
}


class Assumptions:
    """What was assumed in one pass; ``chosen`` are the values that the user set, by key."""

    def __init__(self, chosen: Mapping[str, int]) -> None:
        self._chosen = chosen
        self.made: dict[str, Assumption] = {}
        self.sizes = False
        """Whether a size was assumed: contradictions after it may be the assumption's fault."""

    def value(self, key: str, label: str, default: int, minimum: int, maximum: int) -> int:
        """The value to use: the chosen one within the limits, else the default."""
        value = min(max(self._chosen.get(key, default), minimum), maximum)
        self.made[key] = Assumption(key, label, value, minimum, maximum)
        return value

    def is_chosen(self, key: str) -> bool:
        return key in self._chosen

    def size(self, key: str, label: str, default: int, minimum: int, maximum: int) -> int:
        """As value, of a size."""
        self.sizes = True
        return self.value(key, label, default, minimum, maximum)


# -- sizes that operators find in their data -------------------------------------------------------------------------


def data_dependent(node: Node, shapes: GraphShapes, assumptions: Assumptions) -> dict[str, Shape]:
    """Shapes of outputs by name, of an operator whose schema gives an upper bound; empty for any other."""
    handler = _FINDERS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    made = handler(node, shapes, assumptions) if handler is not None else ()
    return {name: shape for name, shape in zip(node.outputs, made, strict=False) if name}


def _found(node: Node, assumptions: Assumptions, bound: int) -> int:
    label = f"{node.path or 'model'}: {FOUND[node.op_type]}"
    return assumptions.size(f"{node.path}:{node.op_type}", label, bound, 0, bound)


def _non_zero(node: Node, shapes: GraphShapes, assumptions: Assumptions) -> Sequence[Shape]:
    x = shapes.of(node.inputs[0]).shape
    return [(len(x), _found(node, assumptions, elements(x)))] if x is not None else []


def _unique(node: Node, shapes: GraphShapes, assumptions: Assumptions) -> Sequence[Shape]:
    x = shapes.of(node.inputs[0]).shape
    if x is None:
        return []
    axis = node.attributes.get("axis")
    length = elements(x) if axis is None else x[axis]
    count = _found(node, assumptions, length)
    kept = (count,) if axis is None else (*x[: axis % len(x)], count, *x[axis % len(x) + 1 :])
    return [kept, (count,), (length,), (count,)]


def _compress(node: Node, shapes: GraphShapes, assumptions: Assumptions) -> Sequence[Shape]:
    x, mask = (shapes.of(name).shape for name in node.inputs)
    if x is None:
        return []
    axis = node.attributes.get("axis")
    length = elements(x) if axis is None else x[axis]
    count = _found(node, assumptions, min(length, mask[0]) if mask else length)
    return [(count,) if axis is None else (*x[: axis % len(x)], count, *x[axis % len(x) + 1 :])]


def _nms(node: Node, shapes: GraphShapes, assumptions: Assumptions) -> Sequence[Shape]:
    boxes, scores = (shapes.of(name).shape for name in node.inputs[:2])
    if not boxes or not scores or len(boxes) != 3 or len(scores) != 3:
        return []
    most = shapes.constant(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else None
    per_class = boxes[1] if most is None else min(int(most.reshape(-1)[0]), boxes[1])
    return [(_found(node, assumptions, max(per_class, 0) * scores[0] * scores[1]), 3)]


def _string_split(node: Node, shapes: GraphShapes, assumptions: Assumptions) -> Sequence[Shape]:
    x = shapes.of(node.inputs[0]).shape
    if x is None:
        return []
    label = f"{node.path or 'model'}: {FOUND[node.op_type]}"
    return [(*x, assumptions.size(f"{node.path}:{node.op_type}", label, 1, 0, MOST_TRIPS)), x]


def _string_normalizer(node: Node, shapes: GraphShapes, assumptions: Assumptions) -> Sequence[Shape]:
    x = shapes.of(node.inputs[0]).shape
    return [(*x[:-1], _found(node, assumptions, x[-1]))] if x else []


def _image_decoder(node: Node, shapes: GraphShapes, assumptions: Assumptions) -> Sequence[Shape]:
    channels = 1 if node.attributes.get("pixel_format") == "Grayscale" else 3
    sizes = [
        assumptions.size(f"{node.path}:{each}", f"{node.path}: {each} of the decoded image", 224, 1, 65_536)
        for each in ("height", "width")
    ]
    return [(*sizes, channels)]


Finder: TypeAlias = Callable[[Node, GraphShapes, Assumptions], Sequence[Shape]]
_FINDERS: dict[str, Finder] = {
    "NonZero": _non_zero,
    "Unique": _unique,
    "Compress": _compress,
    "NonMaxSuppression": _nms,
    "StringSplit": _string_split,
    "StringNormalizer": _string_normalizer,
    "ImageDecoder": _image_decoder,
}


# -- sizes that are values of inputs ---------------------------------------------------------------------------------

Defaults: TypeAlias = Callable[[Node, GraphShapes, int], Sequence[int]]
"""(node, shapes, number of elements) → values that are always valid."""


def missing_values(
    facts: GraphFacts, node: Node, shapes: GraphShapes, assumptions: Assumptions
) -> dict[str, Array]:
    """Values by name that ``node`` needs for its output's shape and that nothing tells, as assumed.

    What is computed from small inputs of the graph is not among them: these inputs are assumed instead.
    """
    made: dict[str, Array] = {}
    for position, name in enumerate(node.inputs if node.domain in ("", "ai.onnx") else ()):
        defaults = _DEFAULTS.get((node.op_type, position))
        value = shapes.of(name)
        if defaults is None or not name or value.shape is None or elements(value.shape) > MOST_NUMBERS:
            continue
        if name in made or shapes.constant(name) is not None:
            continue
        if name in facts.producers and assume_inputs(facts, name, shapes, assumptions):
            continue
        numbers = list(defaults(node, shapes, elements(value.shape)))
        made[name] = _assumed(facts, node.path, name, value, numbers, assumptions)
    return made


def assume_inputs(facts: GraphFacts, name: str, shapes: GraphShapes, assumptions: Assumptions) -> bool:
    """Assume the values of the small inputs that ``name`` is computed from; whether its value is known then."""
    leaves = _open_inputs(facts, name, shapes)
    for leaf in leaves:
        shapes.constants[leaf] = _assumed(facts, "", leaf, shapes.of(leaf), [], assumptions)
    if leaves:
        shapes.forget()
    return bool(leaves) and shapes.constant(name) is not None


def _open_inputs(facts: GraphFacts, name: str, shapes: GraphShapes) -> list[str]:
    """Inputs of this graph whose values decide that of ``name``; empty where something else does too."""
    leaves: list[str] = []
    waiting, seen = [name], set[str]()
    while waiting:
        current = waiting.pop()
        if not current or current in seen or shapes.constant(current) is not None:
            continue
        seen.add(current)
        node = facts.producers.get(current)
        if node is not None and can_fold(node) and node.op_type not in ("Shape", "Size"):
            waiting.extend(node.inputs)
        elif node is None and current in facts.given and shapes.outer is None and _is_few(shapes, current):
            leaves.append(current)
        else:
            return []
    return leaves


def _is_few(shapes: GraphShapes, name: str) -> bool:
    shape = shapes.of(name).shape
    return shape is not None and elements(shape) <= MOST_NUMBERS


def _assumed(
    facts: GraphFacts, path: str, name: str, value: Value, defaults: list[int], assumptions: Assumptions
) -> Array:
    """``defaults`` are made longer by ones."""
    shape = value.shape or ()
    producer = facts.producers.get(name)
    subject = name if producer is None else f"{producer.path}:{producer.op_type}"
    what = "input" if producer is None else "value of"
    numbers = []
    for index in range(elements(shape)):
        key = f"{subject}[{index}]" if shape else subject
        label = f"{path or 'model'}: {what} {key}, which sets sizes"
        default = defaults[index] if index < len(defaults) else 1
        numbers.append(assumptions.size(key, label, default, -NO_BOUND, NO_BOUND))
    dtype = "int64" if value.dtype in ("", "string") else value.dtype
    return numpy.array(numbers, numpy_dtype(NUMBERS[dtype])).reshape(shape)


def _ones(node: Node, shapes: GraphShapes, count: int) -> Sequence[int]:
    return [1] * count


def _zeros(node: Node, shapes: GraphShapes, count: int) -> Sequence[int]:
    return [0] * count


def _counting(node: Node, shapes: GraphShapes, count: int) -> Sequence[int]:
    return range(count)


def _all_elements(node: Node, shapes: GraphShapes, count: int) -> Sequence[int]:
    x = shapes.of(node.inputs[0]).shape
    return [elements(x) if x is not None else 1] + [1] * (count - 1)


def _sizes(node: Node, shapes: GraphShapes, count: int) -> Sequence[int]:
    return shapes.of(node.inputs[0]).shape or [1] * count


def _size_along(node: Node, shapes: GraphShapes, count: int) -> Sequence[int]:
    x = shapes.of(node.inputs[0]).shape
    return [x[node.attributes.get("axis", -1)] if x else 1]


def _boxes(node: Node, shapes: GraphShapes, count: int) -> Sequence[int]:
    x = shapes.of(node.inputs[0]).shape
    return [x[1] if x and len(x) == 3 else 1]


def _ends(node: Node, shapes: GraphShapes, count: int) -> Sequence[int]:
    return [NO_BOUND] * count


def _single(node: Node, shapes: GraphShapes, count: int) -> Sequence[int]:
    """Dimensions of size 1, which can be squeezed."""
    x = shapes.of(node.inputs[0]).shape or ()
    return [axis for axis, size in enumerate(x) if size == 1]


def _equal_parts(node: Node, shapes: GraphShapes, count: int) -> Sequence[int]:
    x = shapes.of(node.inputs[0]).shape
    size = x[node.attributes.get("axis", 0)] if x else count
    return [size // count] * (count - 1) + [size - size // count * (count - 1)] if count else []


def _unpooled(node: Node, shapes: GraphShapes, count: int) -> Sequence[int]:
    return shapes.of(node.inputs[0]).shape or ()


_DEFAULTS: dict[tuple[str, int], Defaults] = {
    ("Reshape", 1): _all_elements, ("Expand", 1): _ones, ("Tile", 1): _ones, ("ConstantOfShape", 0): _ones,
    ("Range", 0): _zeros, ("Range", 1): _ones, ("Range", 2): _ones,
    ("Slice", 1): _zeros, ("Slice", 2): _ends, ("Slice", 3): _counting, ("Slice", 4): _ones,
    ("Pad", 1): _zeros, ("Pad", 3): _counting, ("Resize", 2): _ones, ("Resize", 3): _sizes,
    ("Resize", 1): _ones, ("Upsample", 1): _ones,
    ("TopK", 1): _size_along, ("OneHot", 1): _ones, ("Unsqueeze", 1): _counting, ("Squeeze", 1): _single,
    ("Split", 1): _equal_parts, ("CenterCropPad", 1): _sizes, ("NonMaxSuppression", 2): _boxes,
    ("Col2Im", 1): _ones, ("Col2Im", 2): _ones, ("AffineGrid", 1): _ones, ("MaxUnpool", 2): _unpooled,
    ("DFT", 1): _sizes, ("DFT", 2): _ones, ("STFT", 1): _ones, ("STFT", 3): _ones,
    ("HannWindow", 0): _ones, ("HammingWindow", 0): _ones, ("BlackmanWindow", 0): _ones,
    ("MelWeightMatrix", 0): _ones, ("MelWeightMatrix", 1): _ones,
    ("ReduceMax", 1): _counting, ("ReduceMin", 1): _counting, ("ReduceSum", 1): _counting,
    ("ReduceMean", 1): _counting, ("ReduceProd", 1): _counting, ("ReduceL1", 1): _counting,
    ("ReduceL2", 1): _counting, ("ReduceLogSum", 1): _counting, ("ReduceLogSumExp", 1): _counting,
    ("ReduceSumSquare", 1): _counting,
}  # fmt: skip
READ_VALUES = frozenset(op for op, _ in _DEFAULTS)
"""Operators whose output's shape depends on the value of an input."""
