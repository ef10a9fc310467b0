"""Arithmetic of adjustable input sizes: which symbols there are, shapes at other sizes, positions worth prefetching.

A symbol is an adjustable size; every dimension that carries it moves with it. No Qt here.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from engine.configuration import Configuration
from engine.graph import Dim, InputShape, InputSpec

Specs = tuple[InputSpec, ...]
Inputs = tuple[InputShape, ...]

MAX_GRID = 40
"""Most positions of one slider that are prefetched."""

_SWEEP_ORDER = ("height", "sequence", "frames", "width", "size", "features", "batch")


def adjustable(specs: Specs) -> dict[str, Dim]:
    """The first dimension of every symbol, in the order of the inputs."""
    dims: dict[str, Dim] = {}
    for spec in specs:
        for dim in spec.dims:
            if dim.symbol is not None:
                dims.setdefault(dim.symbol, dim)
    return dims


def name_of(specs: Specs, symbol: str) -> str:
    """A size for eyes: its label, or the name it has in the file where others have the same label."""
    dims = adjustable(specs)
    label = dims[symbol].label
    # ``left.height`` is no name of the file's, and stands in the row of its input.
    is_named = "." not in symbol
    return symbol if is_named and sum(dim.label == label for dim in dims.values()) > 1 else label


def around(dim: Dim, size: int) -> Dim:
    """``dim`` with a range that reaches ``size``, which may have been typed."""
    if dim.minimum <= size <= dim.maximum:
        return dim
    return msgspec.structs.replace(dim, minimum=min(dim.minimum, size), maximum=max(dim.maximum, size))


def default_configuration(specs: Specs) -> Configuration:
    return Configuration(inputs=tuple(spec.default for spec in specs))


def size_of(specs: Specs, inputs: Inputs, symbol: str) -> int:
    """The size of ``symbol`` in ``inputs``; KeyError when no dimension has it."""
    for spec, given in zip(specs, inputs, strict=True):
        for dim, size in zip(spec.dims, given.shape, strict=True):
            if dim.symbol == symbol:
                return size
    raise KeyError(symbol)


def with_sizes(specs: Specs, inputs: Inputs, sizes: Mapping[str, int]) -> Inputs:
    """``inputs`` with the dimensions of these symbols at these sizes, kept inside their ranges."""

    def moved(dim: Dim, size: int) -> int:
        if dim.symbol is None or dim.symbol not in sizes:
            return size
        return min(max(sizes[dim.symbol], 1), dim.limit)

    moved_shapes = [
        tuple(moved(dim, size) for dim, size in zip(spec.dims, given.shape, strict=True))
        for spec, given in zip(specs, inputs, strict=True)
    ]
    found: dict[str, int] = {}
    for spec, shape in zip(specs, moved_shapes, strict=True):
        for dim, size in zip(spec.dims, shape, strict=True):
            if dim.symbol is not None:
                found.setdefault(dim.symbol, size)
    result = []
    for spec, given, shape in zip(specs, inputs, moved_shapes, strict=True):
        summed = tuple(
            sum(found[term] if term in found else int(term) for term in dim.sum_of) if dim.sum_of else size
            for dim, size in zip(spec.dims, shape, strict=True)
        )
        result.append(msgspec.structs.replace(given, shape=summed) if summed != given.shape else given)
    return tuple(result)


def plane_partner(specs: Specs, symbol: str) -> str | None:
    """The width's symbol for the height's and the other way round; None when there is no such pair."""
    for spec in specs:
        plane = {dim.label: dim.symbol for dim in spec.dims if dim.label in ("height", "width")}
        height, width = plane.get("height"), plane.get("width")
        if height is None or width is None or height == width:
            continue
        if symbol == height:
            return width
        if symbol == width:
            return height
    return None


def height_symbol(specs: Specs) -> str | None:
    """The first adjustable height, None when there is none."""
    return next((symbol for symbol, dim in adjustable(specs).items() if dim.label == "height"), None)


def has_equal_sides(specs: Specs, inputs: Inputs) -> bool:
    """Whether there are a height and a width to link, and they are equal."""
    height = height_symbol(specs)
    width = plane_partner(specs, height) if height is not None else None
    if height is None or width is None:
        return False
    return size_of(specs, inputs, height) == size_of(specs, inputs, width)


def common(one: Dim, other: Dim, size: int) -> int:
    """``size`` inside the range that both dimensions have."""
    return min(max(size, 1), one.limit, other.limit)


def first_sweep(specs: Specs) -> str:
    """The symbol that the Curve chart follows at first: height, else the most telling one; ``""`` for none."""
    dims = adjustable(specs)

    def rank(symbol: str) -> int:
        label = dims[symbol].label
        return _SWEEP_ORDER.index(label) if label in _SWEEP_ORDER else len(_SWEEP_ORDER)

    return min(dims, key=rank, default="")


def grid(dim: Dim, at: int, limit: int = MAX_GRID) -> list[int]:
    """At most ``limit`` positions of a slider on its steps, ends included, nearest to ``at`` first.

    Thinning keeps every n-th step, so that positions stay on the slider's grid.
    """
    step = max(dim.step, 1)
    first = -(-dim.minimum // step) * step
    positions = list(range(first, dim.maximum + 1, step)) or [dim.minimum]
    if len(positions) > limit:
        stride = -(-len(positions) // limit)
        positions = positions[::stride]
    ends = {dim.minimum, dim.maximum} if len(positions) < limit - 1 else set()
    return sorted({*positions, *ends}, key=lambda size: (abs(size - at), size))


def matches(specs: Specs, inputs: Inputs) -> bool:
    """Whether ``inputs`` has the names, ranks and fixed sizes of ``specs``."""
    return len(specs) == len(inputs) and all(
        spec.name == given.name
        and len(spec.dims) == len(given.shape)
        and all(
            dim.symbol is not None or dim.size == size
            for dim, size in zip(spec.dims, given.shape, strict=True)
        )
        for spec, given in zip(specs, inputs, strict=True)
    )


def fixed_specs(inputs: Inputs) -> Specs:
    """Inputs that cannot be changed, as of an opened report."""
    return tuple(
        InputSpec(given.name, tuple(Dim("size", size) for size in given.shape), given.dtype)
        for given in inputs
    )


def size_text(inputs: Inputs) -> str:
    """``1×3×224×224``, several inputs joined by commas."""
    return ", ".join(str(given) for given in inputs)
