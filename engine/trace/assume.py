"""Sizes that depend on the data: answered with a stated assumption instead of stopping the trace.

``nonzero`` on a mask of n elements has at most n rows, ``nms`` keeps at most all its boxes: the default is that upper
bound, so what later cuts it (``[:1000]`` proposals, ``[:100]`` detections) decides, as it does on a busy image.
The user can set each of them. Only tensors without data (meta, fake) are answered; real constants run for real.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from engine.graph import Assumption
from engine.trace.ops import OpInfo, op_info

LABELS = {
    "nonzero": "elements found by nonzero",
    "where": "elements found by where",
    "argwhere": "elements found by argwhere",
    "nonzero_numpy": "elements found by nonzero",
    "nms": "boxes kept by NMS",
    "index": "elements selected by a mask",
    "masked_select": "elements selected by a mask",
    "_unique2": "distinct values",
    "unique_consecutive": "distinct values",
    "_local_scalar_dense": "value read by item()",
    "item": "value read by item()",
    "is_nonzero": "truth of a tensor in an if (1 or 0)",
    "all": "truth of a check of all values (1 or 0)",
}
DEFAULT_VALUES = {
    "_local_scalar_dense": 1,
    "item": 1,
    "is_nonzero": 0,
    "all": 1,
    "_unique2": 1,
    "unique_consecutive": 1,
}
"""Where the upper bound would be absurd: one pass through a loop over distinct values, 1 for a number read. A condition
on values does not hold (it mostly looks for bad data), unless it is a check of all of them (nothing is masked)."""

CHECKS = frozenset({"all", "_is_all_true", "eq"})
"""Operations whose single result says that all values are as they should be: ``mask.all()``, ``mask.sum() == n``."""

NO_BOUND = 2**31 - 1


class Assumptions:
    """Answers data-dependent operations and remembers what was assumed. ``chosen`` are the values the user set.

    The key of an assumption is ``path:op``; all such operations of one module share one value, each limited by its
    own upper bound.
    """

    def __init__(self, chosen: Mapping[str, int]) -> None:
        self._chosen = chosen
        self.made: dict[str, Assumption] = {}
        self._checks: dict[int, Tensor] = {}
        """By id: results of CHECKS, held so that no other tensor gets the id."""

    def __call__(
        self, info: OpInfo, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], path: str
    ) -> Any:
        """The assumed result, or NotImplemented for an operation that does not depend on data."""
        if info.name in CHECKS and _without_data(args):
            return self._check(func(*args, **kwargs))
        handler = _HANDLERS.get(info.name)
        if handler is None or not _without_data(args):
            return NotImplemented
        return handler(self, info, args, path)

    def _check(self, result: Any) -> Any:
        if isinstance(result, Tensor) and result.numel() == 1:
            self._checks[id(result)] = result
        return result

    def is_check(self, tensor: Tensor) -> bool:
        return id(tensor) in self._checks

    def value(self, info: OpInfo, path: str, bound: int) -> int:
        """The size to use, at most ``bound``."""
        key = f"{path}:{info.name.strip('_')}"
        default = min(DEFAULT_VALUES.get(info.name, bound), bound)
        value = min(self._chosen.get(key, default), bound)
        known = self.made.get(key)
        if known is None or bound > known.maximum:
            label = f"{path or 'model'}: {LABELS[info.name]}"
            shown = self._chosen.get(key, max(value, known.value if known else 0))
            self.made[key] = Assumption(key, label, shown, 0, bound)
        return value


def _without_data(args: tuple[Any, ...]) -> bool:
    first = args[0] if args else None
    return isinstance(first, Tensor) and (first.is_meta or isinstance(first, FakeTensor))


def _nonzero(assume: Assumptions, info: OpInfo, args: tuple[Any, ...], path: str) -> Any:
    x = args[0]
    count = assume.value(info, path, x.numel())
    return torch.empty((count, x.dim()), dtype=torch.int64, device=x.device)


def _where(assume: Assumptions, info: OpInfo, args: tuple[Any, ...], path: str) -> Any:
    """``torch.where(mask)``: one index tensor per dimension; with more arguments it is pointwise and runs as it is."""
    if len(args) != 1:
        return NotImplemented
    x = args[0]
    count = assume.value(info, path, x.numel())
    return [torch.empty((count,), dtype=torch.int64, device=x.device) for _ in range(x.dim())]


def _nms(assume: Assumptions, info: OpInfo, args: tuple[Any, ...], path: str) -> Any:
    count = assume.value(info, path, args[0].shape[0])
    return torch.empty((count,), dtype=torch.int64, device=args[0].device)


def _index(assume: Assumptions, info: OpInfo, args: tuple[Any, ...], path: str) -> Any:
    """``x[mask]``: a boolean index stands for the rows it selects; other indices broadcast with them."""
    x, indices = args[0], list(args[1])
    if not any(isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8) for index in indices):
        return NotImplemented
    expanded: list[Tensor | None] = []
    for index in indices:
        if isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8):
            count = assume.value(info, path, index.numel())
            expanded.extend(
                torch.empty((count,), dtype=torch.int64, device=x.device) for _ in range(index.dim())
            )
        else:
            expanded.append(index)
    return torch.ops.aten.index.Tensor(x, expanded)


def _masked_select(assume: Assumptions, info: OpInfo, args: tuple[Any, ...], path: str) -> Any:
    shape = torch.broadcast_shapes(args[0].shape, args[1].shape)
    count = assume.value(info, path, torch.Size(shape).numel())
    return torch.empty((count,), dtype=args[0].dtype, device=args[0].device)


def _unique(assume: Assumptions, info: OpInfo, args: tuple[Any, ...], path: str) -> Any:
    x = args[0]
    count = assume.value(info, path, x.numel())
    values = torch.empty((count,), dtype=x.dtype, device=x.device)
    inverse = torch.empty(x.shape, dtype=torch.int64, device=x.device)
    return values, inverse, torch.empty((count,), dtype=torch.int64, device=x.device)


def _item(assume: Assumptions, info: OpInfo, args: tuple[Any, ...], path: str) -> Any:
    dtype = args[0].dtype
    if dtype == torch.bool:
        return _truth(assume, _TRUTH, args, path)
    value = assume.value(info, path, NO_BOUND)
    return float(value) if dtype.is_floating_point else value


def _truth(assume: Assumptions, info: OpInfo, args: tuple[Any, ...], path: str) -> Any:
    return bool(assume.value(_CHECK if assume.is_check(args[0]) else info, path, 1))


_TRUTH = op_info(torch.ops.aten.is_nonzero.default)
_CHECK = op_info(torch.ops.aten.all.default)

_HANDLERS = {
    "nonzero": _nonzero,
    "argwhere": _nonzero,
    "nonzero_numpy": _where,
    "where": _where,
    "nms": _nms,
    "index": _index,
    "masked_select": _masked_select,
    "_unique2": _unique,
    "unique_consecutive": _unique,
    "_local_scalar_dense": _item,
    "item": _item,
    "is_nonzero": _truth,
}
