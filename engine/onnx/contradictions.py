"""Sizes that do not fit: which node refuses them, what it expects and gets, and which constant of the file is to blame.

onnx's inference finds many contradictions itself; those that it lets pass are checked here, so that a wrong size is
never shown as a result: Reshape to fixed sizes, channels of convolutions, kernels larger than their input, and so on.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

from engine.errors import LayerError
from engine.graph import Shape, elements
from engine.onnx.facts import GraphFacts
from engine.onnx.graph import Node
from engine.onnx.values import GraphShapes, Shapes

DOMAINS = frozenset({"", "ai.onnx", "com.microsoft"})
"""Operators of other domains may mean anything; those of onnxruntime's other layouts have channels elsewhere."""
BAKING = frozenset(
    {"Reshape", "Expand", "Tile", "Slice", "Split", "Resize", "Upsample", "ConstantOfShape", "Range"}
)
"""Operators whose sizes an exporter may have written down as constants."""
FIXED = "The file was exported with a fixed size: choose that size, or export it with dynamic axes."
FITTING = "Choose another input shape, or change the layer before it so that the sizes agree."
FARTHEST = 200
"""Nodes before the one that refuses, in which the constant is looked for."""

_ERROR = re.compile(r"\(op_type:(?P<op>[^,()]+?)(?:, node name: (?P<name>[^\n]*?))?\): ")
_KIND = re.compile(r"\[(?:Shape|Type)InferenceError\]\s*")
_FOLLOW_UP = ("expected to have type but instead is null", "No opset import for domain", "Data size mismatch")


class NodeError(LayerError):
    """A node that refuses its inputs, with what is known of the nodes before it."""

    shapes: Shapes | None = None
    """All that was inferred; the node itself and what follows it are not to be shown."""
    node: str = ""
    """Name of the node of the main graph that refuses its inputs, or has the one that does in a body."""


class Mismatch(NamedTuple):
    """What a node needs and has; as the rest of the sentences "it expects …" and "gets …"."""

    expected: str
    got: str


Sizes: TypeAlias = tuple[Shape | None, ...]
Check: TypeAlias = Callable[[Node, GraphShapes, Sizes, Sizes], Mismatch | None]
"""(node, shapes, those of its inputs, those of its outputs)."""
_checks: dict[str, Check] = {}


def checks(*ops: str) -> Callable[[Check], Check]:
    """Register a check for standard operators (and quantised or fused ones of the same inputs)."""

    def register(check: Check) -> Check:
        for op in ops:
            _checks[op] = check
        return check

    return register


def is_follow_up(words: str) -> bool:
    """Whether onnx's complaint is only that something before was not inferred."""
    return any(part in words for part in _FOLLOW_UP)


def check(facts: GraphFacts, node: Node, shapes: GraphShapes) -> None:
    """Raises NodeError where the inputs of ``node`` contradict each other."""
    if mismatch_of(node, shapes) is not None:
        raise refusal(facts, node, shapes, "")


def refusal(facts: GraphFacts, node: Node, shapes: GraphShapes, words: str) -> NodeError:
    """The error for ``node``, of which onnx says ``words``."""
    mismatch = mismatch_of(node, shapes)
    got = " and ".join(shape_text(shapes.of(name).shape) for name in node.inputs[:4] if name)
    if mismatch is not None:
        message = f"{_subject(node)} expects {mismatch.expected} and gets {mismatch.got}."
    else:
        message = f"{_subject(node)} cannot run on {got}: {_sentence(words)}"
    baked = baked_constant(facts, node, shapes)
    hint = FIXED if baked else FITTING
    return NodeError(
        f"{message} {baked}".strip(),
        layer=node.path,
        hint=hint,
        expected=mismatch.expected if mismatch is not None else "",
        got=mismatch.got if mismatch is not None else got,
    )


def mismatch_of(node: Node, shapes: GraphShapes) -> Mismatch | None:
    """What contradicts itself in a node whose inputs are known; None for nothing, or nothing that is checked."""
    check = _checks.get(node.op_type)
    if check is None or node.domain not in DOMAINS:
        return None
    return check(
        node,
        shapes,
        tuple([shapes.of(name).shape if name else None for name in node.inputs]),
        tuple([shapes.of(name).shape if name else None for name in node.outputs]),
    )


def is_checked(node: Node) -> bool:
    """Whether something here is looked at in the inputs of ``node``."""
    return node.op_type in _checks and node.domain in DOMAINS


def baked_constant(facts: GraphFacts, node: Node, shapes: GraphShapes) -> str:
    """A sentence on the constant that fixes the size that ``node`` refuses; ``""`` where none is found."""
    for position, name in enumerate(node.inputs):
        if node.op_type in BAKING and position and name:
            found = _fixed_sizes(facts, shapes, name)
            if found:
                return found
        if facts.is_stored(name) and node.op_type in ("Add", "Mul", "Sub", "Concat"):
            return f"{name!r} is a constant of the file, of size {shape_text(shapes.of(name).shape)}."
    for current in _ancestors(facts, node):
        if current.op_type in ("Reshape", "Expand", "Tile") and len(current.inputs) > 1:
            name = current.inputs[1]
            if facts.is_stored(name) and _is_whole_size(shapes, name):
                return f"{_subject(current)} before it has the fixed sizes {_values(shapes, name)}, constant {name!r}."
    return ""


def _fixed_sizes(facts: GraphFacts, shapes: GraphShapes, name: str) -> str:
    """On sizes that are a constant, or that are put together from some; empty where all follow from the input."""
    if facts.is_stored(name) and name in shapes.constants:
        return f"Its sizes {_values(shapes, name)} are the constant {name!r} of the file."
    node = facts.producers.get(name)
    parts = node.inputs if node is not None and node.op_type == "Concat" else ()
    fixed = [_values(shapes, part) for part in parts if _is_fixed(facts, part)]
    if not fixed or fixed == ["-1"]:
        return ""
    return f"Of its sizes {_values(shapes, name)}, {', '.join(fixed)} are constants of the file."


def _is_fixed(facts: GraphFacts, name: str) -> bool:
    """Whether a value is a constant, or computed from constants alone."""
    waiting, seen = [name], set[str]()
    while waiting and len(seen) < FARTHEST:
        current = waiting.pop()
        if facts.is_stored(current) or current in seen:
            continue
        seen.add(current)
        node = facts.producers.get(current)
        if node is None or node.op_type in ("Shape", "Size"):
            return False
        waiting.extend(each for each in node.inputs if each)
    return not waiting


def _ancestors(facts: GraphFacts, node: Node) -> Iterator[Node]:
    """Nodes before ``node``, the nearest first."""
    waiting, seen = deque([node]), {node.name}
    while waiting and len(seen) < FARTHEST:
        for name in waiting.popleft().inputs:
            found = facts.producers.get(name)
            if found is not None and found.name not in seen:
                seen.add(found.name)
                waiting.append(found)
                yield found


def shape_text(shape: Shape | None) -> str:
    """``1×64×56×56``; ``scalar`` for no dimensions."""
    return "unknown shape" if shape is None else "×".join(map(str, shape)) or "scalar"


def _subject(node: Node) -> str:
    return f"{node.path or node.name} ({node.label})"


def _sentence(words: str) -> str:
    """The first line, without onnx's labels, ending in a full stop."""
    text = _KIND.sub("", _ERROR.sub("", words)).replace("Inference error(s):", "").strip().split("\n")[0]
    return f"{text[:300].rstrip('. ')}."


def _is_whole_size(shapes: GraphShapes, name: str) -> bool:
    """Whether every size is written down; ``(0, -1, 12, 64)`` only splits features into heads."""
    value = shapes.constants.get(name)
    return value is not None and value.ndim == 1 and bool((value > 0).all() and (value > 1).any())


def _values(shapes: GraphShapes, name: str) -> str:
    value = shapes.constant(name)
    return "×".join(str(each) for each in value.reshape(-1).tolist()[:8]) if value is not None else "?"


# -- what onnx lets pass ---------------------------------------------------------------------------------------------


@checks("Reshape")
def _reshape(node: Node, shapes: GraphShapes, given: Sizes, made: Sizes) -> Mismatch | None:
    """onnx takes the target's word where it has no −1."""
    if given[0] is None:
        return None
    if made[0] is not None:
        if elements(given[0]) == elements(made[0]):
            return None
        return Mismatch(
            f"{elements(made[0]):,} elements for {shape_text(made[0])}",
            f"{elements(given[0]):,} ({shape_text(given[0])})",
        )
    target = shapes.constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if target is None:
        return None
    sizes = target.tolist()
    known = elements(
        tuple(
            given[0][i] if size == 0 and i < len(given[0]) else size
            for i, size in enumerate(sizes)
            if size != -1
        )
    )
    if -1 in sizes and known > 0 and elements(given[0]) % known:
        text = "×".join("?" if size == -1 else str(size) for size in sizes)
        return Mismatch(
            f"a multiple of {known:,} elements for {text}", f"{elements(given[0]):,} ({shape_text(given[0])})"
        )
    return None


@checks("Gather")
def _gather(node: Node, shapes: GraphShapes, given: Sizes, made: Sizes) -> Mismatch | None:
    """A table of positions that is read at 0, 1, 2 … to the number of tokens; what data ask for nobody knows."""
    most = positions_of(node, shapes)
    indices = shapes.constant(node.inputs[1]) if most else None
    if indices is None or not indices.size:
        return None
    asked = int(indices.max()) + 1
    return (
        Mismatch(f"{most:,} positions at most, as {node.inputs[0]!r} has", f"{asked:,}")
        if asked > most
        else None
    )


def positions_of(node: Node, shapes: GraphShapes) -> int:
    """How many entries the table has that a Gather reads; 0 for vectors (of sizes, mostly) and other operators."""
    table = shapes.of(node.inputs[0]).shape if node.op_type == "Gather" else None
    axis = node.attributes.get("axis") or 0
    return table[axis] if table is not None and len(table) > 1 and -len(table) <= axis < len(table) else 0


@checks("Conv", "FusedConv", "ConvInteger")
def _conv(node: Node, shapes: GraphShapes, given: Sizes, made: Sizes) -> Mismatch | None:
    return _convolution(node, given[0], given[1], made[0])


@checks("QLinearConv")
def _qlinear_conv(node: Node, shapes: GraphShapes, given: Sizes, made: Sizes) -> Mismatch | None:
    x, out = given[0], made[0]
    if node.attributes.get("channels_last"):
        x, out = (shape and (shape[0], shape[-1], *shape[1:-1]) for shape in (x, out))
    return _convolution(node, x, given[3], out)


def _convolution(node: Node, x: Shape | None, weight: Shape | None, made: Shape | None) -> Mismatch | None:
    if x is None or weight is None or len(x) < 3 or len(weight) != len(x):
        return None
    channels = weight[1] * node.attributes.get("group", 1)
    if x[1] != channels:
        return Mismatch(f"{channels} channels", f"{x[1]} ({shape_text(x)})")
    return _kernel(x, weight[2:], made)


@checks("ConvTranspose")
def _conv_transpose(node: Node, shapes: GraphShapes, given: Sizes, made: Sizes) -> Mismatch | None:
    x, weight = given[0], given[1]
    if x is not None and weight is not None and len(x) > 1 and x[1] != weight[0]:
        return Mismatch(f"{weight[0]} channels", f"{x[1]} ({shape_text(x)})")
    return None


@checks("MaxPool", "AveragePool", "LpPool")
def _pool(node: Node, shapes: GraphShapes, given: Sizes, made: Sizes) -> Mismatch | None:
    return _kernel(given[0], node.attributes.get("kernel_shape") or (), made[0]) if given[0] else None


def _kernel(x: Shape, kernel: Shape, made: Shape | None) -> Mismatch | None:
    """onnx gives an output of size 0, or no shape for a negative one."""
    if all(x) and (made is None or min(made, default=1) < 1) and kernel:
        return Mismatch(f"an input of at least its kernel's {shape_text(tuple(kernel))}", shape_text(x[2:]))
    return None


@checks("Gemm")
def _gemm(node: Node, shapes: GraphShapes, given: Sizes, made: Sizes) -> Mismatch | None:
    a, b = given[0], given[1]
    if a is None or b is None or len(a) != 2 or len(b) != 2:
        return None
    columns = a[0] if node.attributes.get("transA") else a[1]
    rows = b[1] if node.attributes.get("transB") else b[0]
    return Mismatch(f"{rows} features", f"{columns} ({shape_text(a)})") if columns != rows else None


@checks("MatMul", "MatMulInteger")
def _matmul(node: Node, shapes: GraphShapes, given: Sizes, made: Sizes) -> Mismatch | None:
    return _product(given[0], given[1])


@checks("QLinearMatMul")
def _qlinear_matmul(node: Node, shapes: GraphShapes, given: Sizes, made: Sizes) -> Mismatch | None:
    return _product(given[0], given[3])


def _product(a: Shape | None, b: Shape | None) -> Mismatch | None:
    if not a or not b:
        return None
    rows = b[-2] if len(b) > 1 else b[0]
    if a[-1] == rows:
        return None
    return Mismatch(f"{rows} features", f"{a[-1]} ({shape_text(a)} @ {shape_text(b)})")


@checks("BatchNormalization", "InstanceNormalization", "GroupNormalization")
def _norm(node: Node, shapes: GraphShapes, given: Sizes, made: Sizes) -> Mismatch | None:
    x, scale = given[0], given[1]
    if x is None or scale is None or len(x) < 2 or len(scale) != 1:
        return None
    if x[1] == scale[0] or (
        node.op_type == "GroupNormalization" and scale[0] == node.attributes.get("num_groups")
    ):
        return None
    return Mismatch(f"{scale[0]} channels", f"{x[1]} ({shape_text(x)})")


@checks("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization")
def _layer_norm(node: Node, shapes: GraphShapes, given: Sizes, made: Sizes) -> Mismatch | None:
    x, scale = given[0], given[1]
    if x is None or scale is None:
        return None
    return None if broadcasts_to(scale, x) else Mismatch(f"last sizes {shape_text(scale)}", shape_text(x))


@checks("PRelu")
def _prelu(node: Node, shapes: GraphShapes, given: Sizes, made: Sizes) -> Mismatch | None:
    x, slope = given[0], given[1]
    if x is None or slope is None or broadcasts_to(slope, x):
        return None
    if len(slope) == 1 and slope == x[1:2]:
        # Before opset 7, one slope per channel.
        return None
    return Mismatch(f"an input that {shape_text(slope)} slopes can be broadcast to", shape_text(x))


@checks(
    "Add", "Sub", "Mul", "Div", "Pow", "And", "Or", "Xor", "Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual",
    "Mod", "Max", "Min", "Sum", "Mean", "Where", "BitwiseAnd", "BitwiseOr", "BitwiseXor",
)  # fmt: skip
def _broadcast(node: Node, shapes: GraphShapes, given: Sizes, made: Sizes) -> Mismatch | None:
    if "broadcast" in node.attributes or "axis" in node.attributes:
        # Before opset 7 the second input was aligned by an attribute.
        return None
    known = [shape for shape in given if shape is not None]
    common: Shape = ()
    for shape in known:
        joined = _joined(common, shape)
        if joined is None:
            return Mismatch(shape_text(common), shape_text(shape))
        common = joined
    return None


@checks("Concat")
def _concat(node: Node, shapes: GraphShapes, given: Sizes, made: Sizes) -> Mismatch | None:
    known = [shape for shape in given if shape is not None]
    if not known or not known[0]:
        return None
    axis = node.attributes.get("axis", 1) % len(known[0])
    for shape in known[1:]:
        if len(shape) != len(known[0]) or any(
            a != b for i, (a, b) in enumerate(zip(shape, known[0], strict=True)) if i != axis
        ):
            return Mismatch(f"equal sizes but in dimension {axis}: {shape_text(known[0])}", shape_text(shape))
    return None


@checks("Expand")
def _expand(node: Node, shapes: GraphShapes, given: Sizes, made: Sizes) -> Mismatch | None:
    target = shapes.constant(node.inputs[1]) if given[0] is not None else None
    if given[0] is None or target is None or _joined(given[0], tuple(target.tolist())) is not None:
        return None
    return Mismatch(
        f"an input that can be expanded to {shape_text(tuple(target.tolist()))}", shape_text(given[0])
    )


@checks("Split")
def _split(node: Node, shapes: GraphShapes, given: Sizes, made: Sizes) -> Mismatch | None:
    x = given[0]
    parts = shapes.constant(node.inputs[1]) if len(node.inputs) > 1 and node.inputs[1] else None
    sizes = parts.tolist() if parts is not None else node.attributes.get("split")
    if not x or not sizes:
        return None
    axis = node.attributes.get("axis", 0) % len(x)
    if sum(sizes) == x[axis]:
        return None
    return Mismatch(f"{sum(sizes)} in dimension {axis}", f"{x[axis]} ({shape_text(x)})")


@checks("LSTM", "GRU", "RNN")
def _recurrent(node: Node, shapes: GraphShapes, given: Sizes, made: Sizes) -> Mismatch | None:
    x, weight = given[0], given[1]
    if x is None or weight is None or len(x) != 3 or len(weight) != 3 or x[2] == weight[2]:
        return None
    return Mismatch(f"{weight[2]} features", f"{x[2]} ({shape_text(x)})")


def broadcasts_to(small: Shape, large: Shape) -> bool:
    """Whether ``small`` can be broadcast to exactly ``large``."""
    return _joined(small, large) == large


def _joined(a: Shape, b: Shape) -> Shape | None:
    """The shape that both broadcast to; None where there is none."""
    length = max(len(a), len(b))
    first = (1,) * (length - len(a)) + a
    second = (1,) * (length - len(b)) + b
    if any(x != y and x != 1 and y != 1 for x, y in zip(first, second, strict=True)):
        return None
    return tuple([y if x == 1 else x for x, y in zip(first, second, strict=True)])
