"""Inputs of a model by name: which dimensions get a slider, and requested shapes checked against them."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from engine.errors import InputError
from engine.graph import DTYPE_BYTES, Dim, InputShape, InputSpec, Shape

ADJUSTABLE = {"batch", "height", "width", "frames", "sequence", "size"}
"""Labels of dimensions that get a slider; the structure of the model fixes the others."""

LARGEST_INPUT = 2**48
"""Elements; far above any memory, far below what overflows."""

Labels = tuple[str, ...]


def guess_labels(shape: Shape, is_integer: bool) -> Labels:
    """What the dimensions of an unnamed tensor usually are: (N, C, H, W) for four, (N, S) for integer tokens …"""
    rank = len(shape)
    if is_integer:
        return {0: (), 1: ("sequence",), 2: ("batch", "sequence")}.get(
            rank, ("batch",) + ("size",) * (rank - 1)
        )
    if rank == 4:
        if shape[3] <= 4 < shape[1]:
            return ("batch", "height", "width", "channels")
        return ("batch", "channels", "height", "width")
    if rank == 3 and shape[0] in (1, 3) and min(shape[1:]) >= 32 and shape[0] == 3:
        return ("channels", "height", "width")
    return {
        0: (),
        1: ("features",),
        2: ("batch", "features"),
        3: ("batch", "sequence", "features"),
        5: ("batch", "channels", "frames", "height", "width"),
    }.get(rank, ("batch",) + ("features",) * (rank - 1))


def slider_range(label: str, size: int) -> tuple[int, int, int]:
    """(minimum, maximum, step) that a slider for this kind of dimension offers around its default ``size``."""
    if label in ("height", "width"):
        if size < 64:
            return min(8, size), max(128, 2 * size), 1 if size % 8 else 8
        return 32, max(512, -(-2 * size // 32) * 32), 32
    if label == "sequence":
        if size >= 64:
            return 32, max(1024, 2 * size), 32
        return 1, max(128, 4 * size), 1
    if label == "frames":
        return 1, max(64, 2 * size), 1
    return 1, max(64, 2 * size), 1


def make_spec(name: str, shape: Shape, dtype: str, labels: Labels, symbols: dict[str, int]) -> InputSpec:
    """An InputSpec; dimensions share a symbol with earlier inputs where label and size agree.

    ``symbols`` remembers the sizes of the symbols given so far."""
    dims = []
    for label, size in zip(labels, shape, strict=True):
        if label not in ADJUSTABLE:
            dims.append(Dim(label, size))
            continue
        symbol = label
        if symbols.get(symbol, size) != size:
            symbol = f"{name}.{label}"
        number = 2
        while any(dim.symbol == symbol for dim in dims):
            symbol = f"{name}.{label}{number}"
            number += 1
        symbols[symbol] = size
        minimum, maximum, step = slider_range(label, size)
        dims.append(Dim(label, size, symbol, minimum, maximum, step))
    return InputSpec(name, tuple(dims), dtype)


def complete(
    specs: Sequence[InputSpec], given: Sequence[InputShape], fixed_dtypes: Collection[str] = ()
) -> tuple[InputShape, ...]:
    """All inputs in order: those ``given`` by name (or the only one without a name), the others at their default.

    Raises InputError for an unknown name, a wrong number of dimensions, a size below 1, an unknown dtype, or another
    one for an input in ``fixed_dtypes``.
    """
    names = [spec.name for spec in specs]
    by_name = {spec.name: spec for spec in specs}
    chosen: dict[str, InputShape] = {}
    for shape in given:
        name = shape.name
        if not name and len(names) == 1:
            name = names[0]
        if name not in names:
            wanted = ", ".join(names)
            problem = f"has no input {name!r}" if name else "has several inputs, so --input needs a name"
            raise InputError(f"The model {problem}.", hint=f"Its inputs: {wanted}.")
        chosen[name] = InputShape(name, shape.shape, shape.dtype or by_name[name].dtype)
    result = []
    for spec in specs:
        shape = chosen.get(spec.name, spec.default)
        if len(shape.shape) != len(spec.dims):
            raise InputError(
                f"Input {spec.name!r} has {len(spec.dims)} dimensions, {shape} has {len(shape.shape)}.",
                hint=f"Give it as {spec.default} ({', '.join(dim.label for dim in spec.dims)}).",
            )
        if shape == spec.default:
            result.append(shape)
            continue
        if math.prod(shape.shape) > LARGEST_INPUT:
            raise InputError(
                f"Input {spec.name!r} at {shape} is too large for any machine.",
                hint=f"Try {spec.default}.",
            )
        if any(size < 1 for size in shape.shape):
            raise InputError(
                f"Input {spec.name!r} at {shape}: every size must be at least 1.",
                hint=f"Try {spec.default}.",
            )
        if shape.dtype not in DTYPE_BYTES:
            raise InputError(
                f"Input {spec.name!r} has the unknown dtype {shape.dtype!r}.",
                hint=f"Known: {', '.join(DTYPE_BYTES)}.",
            )
        if spec.name in fixed_dtypes and shape.dtype != spec.dtype:
            raise InputError(
                f"Input {spec.name!r} is {spec.dtype} in the file and cannot be {shape.dtype}.",
                hint=f"Give its sizes alone; for another dtype, export the model in {shape.dtype}.",
            )
        result.append(shape)
    return tuple(result)
