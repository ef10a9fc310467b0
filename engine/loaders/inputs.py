"""Model inputs: from example tensors or shapes to named inputs with sliders, and back to arguments of ``forward``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from engine.errors import InputError
from engine.graph import DTYPE_BYTES, InputShape, InputSpec, Shape
from engine.input_specs import complete, guess_labels, make_spec


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
        """As engine.input_specs.complete."""
        return complete(self.specs, given)

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
