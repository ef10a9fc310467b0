"""The inputs of a graph as specs: symbolic and missing dimensions get a slider, and so do fixed ones of a usual kind.

Dimensions of one name (``batch``, ``sequence_length``) move together in all inputs. A size that the file leaves open
starts where the model can run: at what the first layer's weight needs, or at the first usual size that is not refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from typing import NamedTuple

import msgspec
import onnx

from engine.graph import Dim, InputShape, InputSpec, Shape
from engine.input_specs import ADJUSTABLE, Labels, guess_labels, make_spec, slider_range
from engine.onnx.contradictions import NodeError, positions_of
from engine.onnx.document import Document
from engine.onnx.dtypes import dtype_name
from engine.onnx.graph import Graph, Node
from engine.onnx.shapes import ShapeEngine

DEFAULTS = {"batch": 1, "height": 224, "width": 224, "sequence": 128, "channels": 3, "frames": 16}
"""Sizes of dimensions that the file leaves open."""
PAST = 128
"""Tokens before the one that a decoder with a cache is asked for."""
IMAGE_SIZES = (256, 299, 320, 384, 416, 512, 640, 128, 64, 32, 28, 800, 1024)
"""Tried where 224 is refused."""
MOST_TRIES = 12
"""Sizes that are worked out of what a refusal says it expected."""
ROUND = (32, 16, 8, 4)
"""A size that is a multiple of the first of these is the likely one, of several that the model takes."""
LARGEST_SIZE = 100_000
MOST_NODES = 4000
"""Graphs above are not tried at other sizes when they are opened: it would take seconds."""
GUESSED_RANK = 4

_WORDS = (
    ("batch", r"(batch|bs|b|n|num_batch|nbatch)(_?size|_?dim)?"),
    ("height", r"(.*_)?(height|h|rows)"),
    ("width", r"(.*_)?(width|w|cols|columns)"),
    ("channels", r"(num_?|in_?)?(channels?|c)"),
    ("frames", r"(num_?)?(frames?|time|t|time_?steps?)"),
    ("sequence", r".*(seq|length|tokens?|len).*"),
)
"""Label → how exporters call such a dimension."""
_NO_NAME = re.compile(
    r"(unk__\d+|\?|none|-1|.*dynamic_axes_\d+|s\d+|u\d+|(.*_)?dim_?\d+|\w+::.*|)", re.IGNORECASE
)
"""Names that say nothing."""
_NOBODY = re.compile(r"\?+|unk__\d+|none|-1", re.IGNORECASE)
"""Of these not even two that are the same are one size: exporters write them for "any"."""
_FRESH = re.compile(r"(?!past|total)\w*seq\w*", re.IGNORECASE)
_CACHE = re.compile(r"past|cache|present", re.IGNORECASE)


class OpenedInputs(NamedTuple):
    """The inputs of a file, and what is to be said of them."""

    specs: tuple[InputSpec, ...]
    guessed: bool
    """Whether the file does not say how many dimensions an input has."""
    fixed: str
    """Why no size can be changed, as a sentence; empty where one can."""


def opened_inputs(document: Document, shapes: ShapeEngine, given: Sequence[InputShape] = ()) -> OpenedInputs:
    """``given`` are shapes for inputs whose number of dimensions the file does not say, by name or in order."""
    unranked = [value.name for value in _tensors(document) if not value.type.tensor_type.HasField("shape")]
    named = {each.name: each for each in given if each.name in unranked}
    if not named and len(given) == len(unranked):
        named = dict(zip(unranked, given, strict=True))
    specs = input_specs(document, named)
    guessed = any(name not in named for name in unranked)
    if len(document.graph.nodes) > MOST_NODES:
        return OpenedInputs(specs, guessed, "")
    specs = _to_the_last_position(_runnable(specs, document, shapes), document.graph, shapes)
    return OpenedInputs(specs, guessed, "" if guessed else _why_fixed(specs, shapes))


def input_specs(document: Document, given: dict[str, InputShape] | None = None) -> tuple[InputSpec, ...]:
    """One spec per tensor that a caller hands over; sequences, optional values and maps have no sizes to set."""
    symbols: dict[str, int] = {}
    specs = []
    for value in _tensors(document):
        shape = (given or {}).get(value.name)
        if shape is not None:
            said = value.type.tensor_type.elem_type
            dtype = dtype_name(said) if said else shape.dtype or "float32"
            labels = guess_labels(shape.shape, not _is_float(dtype))
            specs.append(make_spec(value.name, shape.shape, dtype, labels, symbols))
        else:
            specs.append(_spec(value, document.graph, symbols))
    return _with_totals(tuple(specs))


def _tensors(document: Document) -> list[onnx.ValueInfoProto]:
    given = set(document.graph.inputs)
    return [
        value
        for value in document.model.graph.input
        if value.name in given and value.type.WhichOneof("value") in (None, "tensor_type")
    ]


def _spec(value: onnx.ValueInfoProto, graph: Graph, symbols: dict[str, int]) -> InputSpec:
    tensor = value.type.tensor_type
    dtype = dtype_name(tensor.elem_type or onnx.TensorProto.FLOAT)
    needed = _needed_sizes(graph, value.name)
    rank = len(tensor.shape.dim) if tensor.HasField("shape") else max(needed, default=GUESSED_RANK - 1) + 1
    sizes = [max(dim.dim_value, 0) for dim in tensor.shape.dim] or [0] * rank
    names = ["" if _NOBODY.fullmatch(dim.dim_param) else dim.dim_param for dim in tensor.shape.dim] or [
        ""
    ] * rank
    labels = _labels(value.name, tuple(sizes), names, dtype)
    dims: list[Dim] = []
    if _is_empty(tensor, dtype):
        return InputSpec(value.name, (Dim(labels[0], 0),), dtype)
    for axis, (size, name, label) in enumerate(zip(sizes, names, labels, strict=True)):
        is_open = not size
        start = size or symbols.get(name, 0) or _start(name, label, needed.get(axis))
        can_move = is_open and label != "channels" and not (label == "features" and needed.get(axis))
        symbol = _symbol(value.name, name if is_open else "", label, start, can_move, symbols, dims)
        if symbol is None:
            dims.append(Dim(label, start))
            continue
        symbols[symbol] = start
        minimum, maximum, step = slider_range(label if label in ADJUSTABLE else "size", start)
        dims.append(Dim(label, start, symbol, minimum, maximum, step))
    return InputSpec(value.name, tuple(dims), dtype)


def _is_empty(tensor: onnx.TypeProto.Tensor, dtype: str) -> bool:
    """Whether it is a vector of no numbers: axes to reduce along, say. In other places 0 stands for an open size."""
    dims = tensor.shape.dim
    return len(dims) == 1 and not _is_float(dtype) and dims[0].HasField("dim_value") and not dims[0].dim_value


def _is_float(dtype: str) -> bool:
    return dtype.startswith(("float", "bfloat"))


def _labels(input_name: str, sizes: Shape, names: Sequence[str], dtype: str) -> Labels:
    """By what the file calls a dimension, else by its place."""
    rank = len(sizes)
    is_image = rank == 4 and dtype in ("uint8", "int8")
    likely = tuple(size or (1 if axis == 0 else 224) for axis, size in enumerate(sizes))
    is_float = _is_float(dtype) or is_image
    placed = guess_labels(likely, not is_float)
    named = [_label(name) for name in names]
    letters = [label for name, label in zip(names, named, strict=True) if len(name) == 1]
    if any(len(label) == 1 for label in letters) or (not is_float and "frames" in letters):
        # ``a b c d`` and ``B S``: the letters are those of nothing in particular, save that of a batch in its place.
        named = [
            _placed(name, label, place) if len(name) == 1 else label
            for name, label, place in zip(names, named, placed, strict=True)
        ]
    if _CACHE.search(input_name) or ("sequence" in named and rank == 4):
        placed = ("batch",) + ("features",) * (rank - 1) if rank else ()
    return tuple(label or place for label, place in zip(named, placed, strict=True))


def _label(name: str) -> str:
    """What a named dimension is; the name itself where it is of no known kind, ``""`` where it says nothing."""
    if _NO_NAME.fullmatch(name):
        return ""
    for label, words in _WORDS:
        if re.fullmatch(words, name, re.IGNORECASE):
            return label
    return name


def _placed(name: str, label: str, place: str) -> str:
    """What a dimension of one letter is that may stand for anything: what its place says, where that gets a slider."""
    if place in ("height", "width", "sequence", label):
        return place
    return name


def _symbol(
    input_name: str,
    name: str,
    label: str,
    size: int,
    can_move: bool,
    symbols: dict[str, int],
    dims: list[Dim],
) -> str | None:
    """What the dimension moves with; None for a size that the structure fixes."""
    if name:
        return None if label == "channels" else name
    if label not in ADJUSTABLE and not can_move:
        return None
    symbol = label if symbols.get(label, size) == size else f"{input_name}.{label}"
    number = 2
    while any(dim.symbol == symbol for dim in dims):
        symbol = f"{input_name}.{label}{number}"
        number += 1
    return symbol


def _start(name: str, label: str, needed: int | None) -> int:
    """Where a size that is open begins."""
    if needed:
        return needed
    if "past" in name.lower():
        return PAST
    return DEFAULTS.get(label, 1)


def _needed_sizes(graph: Graph, name: str) -> dict[int, int]:
    """Axis → size that the weight of the first layer on an input asks for; 0 where it only tells that there is one."""
    for node in graph.nodes:
        if name not in node.inputs:
            continue
        stored = [graph.stored.get(each) for each in node.inputs]
        weight = stored[1].shape if len(stored) > 1 and stored[1] is not None else None
        if weight and node.inputs[0] == name:
            return _needed_by(node, weight)
    return {}


def _needed_by(node: Node, weight: Shape) -> dict[int, int]:
    rank = len(weight)
    if node.op_type == "Conv" and rank > 2:
        return {1: weight[1] * node.attributes.get("group", 1), rank - 1: 0}
    if node.op_type == "ConvTranspose" and rank > 2:
        return {1: weight[0], rank - 1: 0}
    if node.op_type == "Gemm" and rank == 2 and not node.attributes.get("transA"):
        return {1: weight[1] if node.attributes.get("transB") else weight[0]}
    if node.op_type in ("LSTM", "GRU", "RNN") and rank == 3:
        return {2: weight[2]}
    return {}


def _with_totals(specs: tuple[InputSpec, ...]) -> tuple[InputSpec, ...]:
    """A mask over a cache and the new tokens is as long as both: its size follows theirs."""
    starts = {dim.symbol: dim.size for spec in specs for dim in spec.dims if dim.symbol is not None}
    past = next((symbol for symbol in starts if re.fullmatch(r"past\w*", symbol, re.IGNORECASE)), None)
    if past is None:
        return specs
    fresh = next((symbol for symbol in starts if _FRESH.fullmatch(symbol)), None)

    if fresh is not None:
        # With a cache, the usual step is one new token.
        starts[fresh] = 1

    def changed(dim: Dim) -> Dim:
        terms = _terms(dim.symbol or "", starts, past, fresh)
        if terms:
            return Dim(
                dim.label, sum(starts[term] if term in starts else int(term) for term in terms), sum_of=terms
            )
        return msgspec.structs.replace(dim, size=starts[dim.symbol]) if dim.symbol is not None else dim

    return tuple(msgspec.structs.replace(spec, dims=tuple(map(changed, spec.dims))) for spec in specs)


def _terms(symbol: str, starts: Mapping[str, int], past: str, fresh: str | None) -> tuple[str, ...]:
    """The symbols (and numbers) that a size is the sum of; empty for one of its own."""
    terms = tuple(term.strip() for term in symbol.split("+"))
    if len(terms) > 1 and all(term in starts or term.isdigit() for term in terms):
        return terms
    return (past, fresh or "1") if re.fullmatch(r"total_\w+", symbol) else ()


# -- sizes at which the model runs -----------------------------------------------------------------------------------


def _runnable(specs: tuple[InputSpec, ...], document: Document, shapes: ShapeEngine) -> tuple[InputSpec, ...]:
    """``specs`` with other starts for open sizes where the model refuses the usual ones.

    Height and width are moved together, to usual sizes first; then every open size to what the refusals ask for.
    """
    is_open = {
        (value.name, axis)
        for value in _tensors(document)
        for axis, dim in enumerate(value.type.tensor_type.shape.dim)
        if not dim.dim_value
    }
    opened = {
        dim.symbol: (dim.label, dim.size)
        for spec in specs
        for axis, dim in enumerate(spec.dims)
        if dim.symbol is not None and (spec.name, axis) in is_open
    }
    if not opened or _refusal(specs, shapes) is None:
        return specs
    planes = {symbol for symbol, (label, _) in opened.items() if label in ("height", "width")}
    for size in IMAGE_SIZES if planes else ():
        tried = _at(specs, planes, size)
        if _refusal(tried, shapes) is None:
            return tried
    # A batch that is written into a file is mostly 1, where it starts.
    single = sorted(opened.keys() - planes, key=lambda symbol: opened[symbol][0] == "batch")
    for group in (*([planes] if planes else ()), *({symbol} for symbol in single)):
        start = opened[next(iter(group))][1]
        found = _worked_out(specs, group, start, shapes)
        if found is not None:
            return found
    return specs


def _to_the_last_position(
    specs: tuple[InputSpec, ...], graph: Graph, shapes: ShapeEngine
) -> tuple[InputSpec, ...]:
    """``specs`` in which tokens go as far as the table of positions that is read for them."""
    tokens = {dim.symbol for spec in specs for dim in spec.dims if dim.label == "sequence" and dim.symbol}
    if not tokens:
        return specs
    try:
        known = shapes.infer([spec.default for spec in specs]).main
    except NodeError:
        return specs
    tables = {
        positions_of(node, known)
        for node in graph.nodes
        if node.op_type == "Gather"
        and node.inputs[0] in graph.stored
        and node.inputs[1] not in graph.stored
        and known.constant(node.inputs[1]) is not None
    }
    for symbol in tokens:
        for most in sorted(tables - {0}):
            beyond, within = (_refusal(_at(specs, {symbol}, size), shapes) for size in (most + 1, most))
            if beyond is not None and within is None:
                specs = tuple(
                    msgspec.structs.replace(
                        spec,
                        dims=tuple(_up_to(dim, most) if dim.symbol == symbol else dim for dim in spec.dims),
                    )
                    for spec in specs
                )
                break
    return specs


def _up_to(dim: Dim, most: int) -> Dim:
    if (most - dim.minimum) % dim.step or (dim.size - dim.minimum) % dim.step or dim.minimum >= most:
        return msgspec.structs.replace(dim, minimum=1, maximum=most, step=1)
    return msgspec.structs.replace(dim, maximum=most)


def _worked_out(
    specs: tuple[InputSpec, ...], symbols: Set[str], start: int, shapes: ShapeEngine
) -> tuple[InputSpec, ...] | None:
    """``specs`` with ``symbols`` at a size that the model takes; None where the refusals lead to none.

    A refusal counts what the node expected and what it got. The root of that (of two sizes that move together) is
    nearly a straight line over the size: a line through the last two refusals of a node, at first through zero,
    leads to the size within a few steps.
    """
    known: dict[str, list[tuple[int, float]]] = {}
    tried: set[int] = set()
    size = counted = start
    for _ in range(MOST_TRIES):
        error = _refusal(_at(specs, symbols, size), shapes)
        if error is None:
            return _at(specs, symbols, _rounded(specs, symbols, size, shapes))
        tried.add(size)
        counts = _counts(error)
        if counts is None:
            # Too small for a kernel before it, say: half the way back to where it was counted.
            size = (size + counted) // 2
            if size in tried:
                return None
            continue
        counted = size
        wanted, got = (count ** (1 / len(symbols)) for count in counts)
        points = known.setdefault(error.layer, [])
        before, level = points[-1] if points else (0, 0.0)
        points.append((size, got))
        if got == level:
            return None
        size = round(size + (wanted - got) * (size - before) / (got - level))
        if size in tried or not 0 < size <= LARGEST_SIZE:
            return None
    return None


def _rounded(specs: tuple[InputSpec, ...], symbols: Set[str], size: int, shapes: ShapeEngine) -> int:
    """The roundest size near ``size`` that the model takes too."""
    for step in ROUND:
        if size % step == 0:
            return size
        below = size - size % step
        for near in (below, below + step):
            if near and _refusal(_at(specs, symbols, near), shapes) is None:
                return near
    return size


def _counts(error: NodeError) -> tuple[int, int] | None:
    """What a node expected and got, where that was counted: ``2,048 elements …``, ``8,192 (1×8×32×32)``."""
    found = [re.match(r"(\d[\d,]*)(?![\d,×])", words) for words in (error.expected, error.got)]
    if found[0] is None or found[1] is None:
        return None
    wanted, got = (int(match[1].replace(",", "")) for match in found if match is not None)
    return (wanted, got) if wanted and got else None


def _at(specs: tuple[InputSpec, ...], symbols: Set[str], size: int) -> tuple[InputSpec, ...]:
    """``specs`` with ``symbols`` at ``size``, and with what is the sum of them."""
    return tuple(
        msgspec.structs.replace(
            spec, dims=tuple(_moved(dim, size) if dim.symbol in symbols else dim for dim in spec.dims)
        )
        for spec in specs
    )


def _moved(dim: Dim, size: int) -> Dim:
    minimum, maximum, step = slider_range(dim.label, size)
    return msgspec.structs.replace(dim, size=size, minimum=minimum, maximum=maximum, step=step)


def _refusal(specs: Sequence[InputSpec], shapes: ShapeEngine) -> NodeError | None:
    try:
        shapes.infer([spec.default for spec in specs])
    except NodeError as error:
        return error
    return None


def _why_fixed(specs: tuple[InputSpec, ...], shapes: ShapeEngine) -> str:
    """Why every size is refused but the one in the file; empty where one can be changed."""
    symbols = {dim.symbol: dim.label for spec in specs for dim in spec.dims if dim.symbol is not None}
    plane = {symbol for symbol, label in symbols.items() if label in ("height", "width")}
    groups = [plane] * bool(plane) + [{symbol} for symbol in symbols if symbol not in plane]
    if not groups or _refusal(specs, shapes) is not None:
        return ""
    refusals = [_refusal(_doubled(specs, group), shapes) for group in groups]
    if any(error is None for error in refusals):
        return ""
    sizes = ", ".join(str(spec.default) for spec in specs)
    where = next(error.layer for error in refusals if error is not None)
    return f"The file was exported for {sizes}; these sizes are written into it, first at {where}."


def _doubled(specs: tuple[InputSpec, ...], symbols: Set[str]) -> tuple[InputSpec, ...]:
    return tuple(
        msgspec.structs.replace(
            spec,
            dims=tuple(
                msgspec.structs.replace(dim, size=2 * dim.size) if dim.symbol in symbols else dim
                for dim in spec.dims
            ),
        )
        for spec in specs
    )
