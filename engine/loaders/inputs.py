"""Model inputs: from example tensors or shapes to named inputs with sliders, and back to arguments of ``forward``."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

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


class InputBinding:
    """Named tensor inputs and how they become ``(args, kwargs)`` of the model's forward.

    ``pack`` takes the tensors in the order of ``specs`` and returns ``(args, kwargs)``.
    """

    def __init__(
        self,
        specs: tuple[InputSpec, ...],
        pack: Callable[[list[Tensor]], tuple[tuple[Any, ...], dict[str, Any]]],
    ) -> None:
        self.specs = specs
        self.pack = pack

    def defaults(self) -> tuple[InputShape, ...]:
        return tuple(spec.default for spec in self.specs)

    def in_dtype(self, before: str, after: str) -> InputBinding:
        """The same inputs, those of dtype ``before`` as ``after``."""
        specs = tuple(
            msgspec.structs.replace(spec, dtype=after) if spec.dtype == before else spec
            for spec in self.specs
        )
        return InputBinding(specs, self.pack)

    def resembles(self, given: Sequence[InputShape]) -> bool:
        """Whether these are its inputs at other sizes: as many, each with as many dimensions."""
        return [len(shape.shape) for shape in given] == [len(spec.dims) for spec in self.specs]

    def complete(self, given: Sequence[InputShape]) -> tuple[InputShape, ...]:
        """All inputs in order: those ``given`` by name (or the only one without a name), the others at their default.

        Raises InputError for an unknown name, a wrong number of dimensions, a size below 1 or an unknown dtype.
        """
        names = [spec.name for spec in self.specs]
        by_name = {spec.name: spec for spec in self.specs}
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
        for spec in self.specs:
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
            result.append(shape)
        return tuple(result)

    def arguments(
        self, shapes: Sequence[InputShape], make: Callable[[Shape, torch.dtype], Tensor]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """``(args, kwargs)`` with tensors made by ``make(shape, dtype)``."""
        return self.pack([make(shape.shape, getattr(torch, shape.dtype)) for shape in shapes])


def parameter_names(module: nn.Module, count: int) -> list[str]:
    """Names of the first ``count`` positional arguments of ``module.forward``."""
    try:
        parameters = inspect.signature(module.forward).parameters.values()
    except (TypeError, ValueError):
        parameters = {}.values()
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return [names[i] if i < len(names) else f"input{i}" for i in range(count)]


def bind_example(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> InputBinding:
    """Inputs from example arguments; nested containers keep their structure, other values stay constant."""
    names = parameter_names(module, len(args))
    leaves, tree = pytree.tree_flatten_with_path((args, kwargs))
    specs = []
    slots = []
    symbols: dict[str, int] = {}
    for index, (path, leaf) in enumerate(leaves):
        if isinstance(leaf, Tensor):
            name = _leaf_name(path, names)
            dtype = str(leaf.dtype).removeprefix("torch.")
            is_integer = not (leaf.dtype.is_floating_point or leaf.dtype.is_complex)
            shape = tuple(leaf.shape)
            specs.append(make_spec(name, shape, dtype, guess_labels(shape, is_integer), symbols))
            slots.append(index)
    constants = [None if isinstance(leaf, Tensor) else leaf for _, leaf in leaves]

    def pack(tensors: list[Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        values: list[Any] = list(constants)
        for index, tensor in zip(slots, tensors, strict=True):
            values[index] = tensor
        packed_args, packed_kwargs = pytree.tree_unflatten(values, tree)
        return tuple(packed_args), dict(packed_kwargs)

    return InputBinding(tuple(specs), pack)


def bind_shapes(module: nn.Module, shapes: Sequence[InputShape]) -> InputBinding:
    """Inputs from shapes the user gave: a name that ``forward`` knows is passed by keyword, others by position.

    Raises InputError for an unknown dtype.
    """
    shapes = [InputShape(s.name, s.shape, s.dtype or "float32") for s in shapes]
    for shape in shapes:
        if shape.dtype not in DTYPE_BYTES:
            raise InputError(
                f"Input {shape.name!r} has the unknown dtype {shape.dtype!r}.",
                hint=f"Known: {', '.join(DTYPE_BYTES)}.",
            )
    known = parameter_names(module, len(shapes))
    args = []
    kwargs = {}
    for index, shape in enumerate(shapes):
        tensor = torch.empty(shape.shape, dtype=getattr(torch, shape.dtype), device="meta")
        if shape.name and shape.name != known[index]:
            kwargs[shape.name] = tensor
        else:
            args.append(tensor)
    return bind_example(module, tuple(args), kwargs)


def _leaf_name(path: tuple[Any, ...], names: list[str]) -> str:
    """``x``, ``batch.image`` or ``images.0`` for the place of a tensor in (args, kwargs)."""
    keys = [getattr(key, "idx", getattr(key, "key", getattr(key, "name", key))) for key in path]
    first = names[keys[1]] if keys[0] == 0 else str(keys[1])
    return ".".join([first, *map(str, keys[2:])])
