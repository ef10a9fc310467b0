"""How many elements of a model's weights are 0, counted in short steps that never copy a whole tensor.

What is counted is what a layer computes with. Where pruning left ``weight_orig`` beside a ``weight_mask``, or a
parametrization stands in front of one tensor, that is the product and not what is stored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from threading import Event
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList

from engine.errors import CancelledError

CHUNK = 2**22
"""Elements counted in one step: a few milliseconds, and at most 64 MiB read."""
PACKED = ("in_proj_weight", "in_proj_bias")
"""Endings of the names of parameters of ``nn.MultiheadAttention`` that hold query, key and value, one after another."""
ORIGINAL = re.compile(r"(?:^|\.)parametrizations\.[^.]+\.original$")
"""Of the name of a parameter behind a parametrization, which makes one tensor of it."""
BREATH = ("", 0)
"""Comes between two steps: whoever counts can do something more urgent before it asks for the next."""

Values: TypeAlias = Tensor | Callable[[], Tensor]
"""A tensor, or what makes it: called when its turn has come, and dropped after that."""

_SAME_BITS = {
    torch.uint16: torch.int16,
    torch.uint32: torch.int32,
    torch.uint64: torch.int64,
    torch.float8_e4m3fnuz: torch.int8,
    torch.float8_e5m2fnuz: torch.int8,
}
"""Numbers that torch has no kernel for and whose only 0 has no bit set, as those it can count."""
_SIGNED_FLOAT8 = (torch.float8_e4m3fn, torch.float8_e5m2)
"""Floats of 8 bits with a negative 0."""


def zeros_of(module: nn.Module, stop: Event) -> Iterator[tuple[str, int]]:
    """(name, zeros) of every parameter of ``module``, under each of its names; BREATH in between.

    Left out, which is unknown, are parameters without values (on meta, lazy), dtypes that cannot be counted, and what
    stands behind a parametrization of which only its operations are left (exported, TorchScript).
    Raises CancelledError soon after ``stop`` is set.
    """
    names: dict[int, list[str]] = {}
    values: dict[int, Values] = {}
    for prefix, owner in module.named_modules(remove_duplicate=False):
        for name, parameter in owner.named_parameters(recurse=False):
            full = f"{prefix}.{name}" if prefix else name
            names.setdefault(id(parameter), []).append(full)
            if isinstance(owner, ParametrizationList) or not ORIGINAL.search(full):
                values.setdefault(id(parameter), _used(owner, name, parameter))
    yield from count_zeros(((names[key], value) for key, value in values.items()), stop)


def count_zeros(named: Iterable[tuple[Sequence[str], Values]], stop: Event) -> Iterator[tuple[str, int]]:
    """(name, zeros) of every tensor whose values can be counted, under each of its names; BREATH in between.

    ``named`` may be lazy: a tensor is asked for once the one before it is counted. NaN is not 0, −0.0 is. Of the packed
    weights of attention, the parts that are used apart follow as ``in_proj_weight[0:64]``.
    Raises CancelledError soon after ``stop`` is set.
    """
    for names, value in named:
        counts = []
        try:
            tensor = value() if callable(value) else value
            for part in _thirds(tensor) if names[0].endswith(PACKED) else (tensor,):
                zeros = 0
                for step in _steps(part):
                    zeros += step
                    yield BREATH
                    if stop.is_set():
                        raise CancelledError()
                counts.append(zeros)
        except (NotImplementedError, RuntimeError, TypeError, ValueError):
            continue  # no kernel for this dtype, layout or subclass: unknown
        runs = _runs(tensor.numel() // 3, counts) if len(counts) == 3 else []
        for name in names:
            yield name, sum(counts)
            yield from ((name + run, zeros) for run, zeros in runs)


def _used(owner: nn.Module, name: str, parameter: Tensor) -> Values:
    """What a layer computes with in the place of the parameter ``name`` of ``owner``."""
    if isinstance(owner, ParametrizationList) and name == "original":
        return lambda: _same_shape(owner, parameter)
    mask = owner._buffers.get(f"{name.removesuffix('_orig')}_mask") if name.endswith("_orig") else None
    if mask is not None and mask.shape == parameter.shape:
        return lambda: parameter.detach() * mask.to(parameter.dtype)
    return parameter


def _same_shape(parametrization: ParametrizationList, original: Tensor) -> Tensor:
    """What the parametrization makes of ``original``. Raises ValueError when that has another shape."""
    with torch.no_grad():
        made: Tensor = parametrization()
    if made.shape != original.shape:
        raise ValueError("the parametrization makes a tensor of another shape")
    return made


def _steps(tensor: Tensor) -> Iterator[int]:
    """The zeros of one piece of ``tensor`` after the other. Raises RuntimeError and the like when it has no values."""
    if tensor.is_meta:
        raise ValueError("a tensor on meta has no values")
    tensor, times = tensor.detach(), 1
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    elif tensor.layout is not torch.strided:
        whole = tensor.numel()
        tensor = _stored(tensor)
        yield whole - tensor.numel()
    for dim, stride in enumerate(tensor.stride()):
        if stride == 0 and tensor.shape[dim] > 1:
            # An expanded dimension repeats what is there once.
            times *= tensor.shape[dim]
            tensor = tensor.narrow(dim, 0, 1)
    for piece in _pieces(tensor):
        yield times * (piece.numel() - int(torch.count_nonzero(_countable(piece))))


def _thirds(tensor: Tensor) -> tuple[Tensor, ...]:
    return tensor.tensor_split(3) if tensor.dim() and tensor.shape[0] % 3 == 0 else (tensor,)


def _runs(size: int, zeros: list[int]) -> list[tuple[str, int]]:
    """Query, key, value, and the latter two together: what cross-attention takes the packed weight apart into."""
    runs = ((0, 1), (1, 2), (2, 3), (1, 3))
    return [(f"[{first * size}:{end * size}]", sum(zeros[first:end])) for first, end in runs]


def _stored(tensor: Tensor) -> Tensor:
    """The elements that a tensor of another layout holds; those that it does not hold are 0."""
    if tensor.layout is torch.sparse_coo:
        return tensor.coalesce().values()
    if tensor.layout is torch._mkldnn:  # type: ignore[attr-defined]
        return tensor.to_dense()
    return tensor.values()


def _pieces(tensor: Tensor) -> Iterator[Tensor]:
    """``tensor`` in parts of about CHUNK elements, in the order they lie in memory, without copying."""
    order = sorted(range(tensor.dim()), key=tensor.stride, reverse=True)
    tensor = tensor.permute(order)
    if tensor.is_contiguous():
        yield from torch.split(tensor.view(-1), CHUNK)
        return
    yield from torch.split(tensor, max(1, CHUNK * tensor.shape[0] // max(tensor.numel(), 1)))


def _countable(piece: Tensor) -> Tensor:
    """``piece`` as something with as many zeros that torch can count."""
    if piece.dtype in _SIGNED_FLOAT8:
        return piece.view(torch.int8).bitwise_and(0x7F)
    if piece.dtype in _SAME_BITS:
        return piece.view(_SAME_BITS[piece.dtype])
    return piece
