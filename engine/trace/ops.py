"""What the recorder knows about each operator: names, argument names, how results alias. Looked up once each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch._ops import OpOverload

from engine.trace.shortcuts import SHORTCUTS

Shortcut = Callable[..., Any]

UNTRACKED_PREFIXES = ("prim::", "profiler::", "debugprims::")
"""Namespaces of bookkeeping calls (device queries, ranges) that compute nothing."""

UNTRACKED = frozenset(
    {
        "aten::_assert_async", "aten::_assert_scalar", "aten::sym_size", "aten::sym_numel", "aten::sym_stride",
        "aten::sym_storage_offset",
        "aten::is_same_size", "aten::_has_compatible_shallow_copy_type", "aten::is_contiguous",
        "aten::stride", "aten::size", "aten::dim", "aten::storage_offset",
    }
)  # fmt: skip
"""Queries and assertions: they run, but are no row."""


SILENT = frozenset({"detach", "alias", "lift_fresh"})
"""Views that change nothing, made by ``torch.tensor`` and inference mode: followed, but no row."""

TRANSFERS = frozenset({"to", "_to_copy"})


class OpInfo:
    """Facts about one operator overload.

    ``inplace``: writes into an argument (``add_``, ``out=``), so its result is no new storage and no view.
    ``may_alias``: a result can share storage with an argument although it is a different tensor (views, reshape).
    """

    __slots__ = (
        "arg_names",
        "defaults",
        "full_name",
        "inplace",
        "may_alias",
        "name",
        "optional_tensors",
        "shortcut",
        "tracked",
    )

    def __init__(self, func: OpOverload) -> None:
        schema = func._schema
        self.full_name: str = schema.name
        namespace, _, name = self.full_name.partition("::")
        self.inplace = any(a.alias_info is not None and a.alias_info.is_write for a in schema.arguments)
        self.name = name.removesuffix("_") if name.endswith("_") and not name.endswith("__") else name
        if namespace not in ("aten", "torchvision", "prims"):
            self.name = f"{namespace}::{self.name}"
        self.defaults = {
            argument.name: tuple(argument.default_value)
            if isinstance(argument.default_value, list)
            else argument.default_value
            for argument in schema.arguments
            if argument.has_default_value()
        }
        self.arg_names = [argument.name for argument in schema.arguments]
        aliases = [ret.alias_info for ret in schema.returns]
        self.may_alias = any(alias is not None for alias in aliases) and not self.inplace
        self.optional_tensors = frozenset(
            argument.name for argument in schema.arguments if str(argument.type) == "Optional[Tensor]"
        )
        self.tracked = not self.full_name.startswith(UNTRACKED_PREFIXES) and self.full_name not in UNTRACKED
        self.shortcut: Shortcut | None = SHORTCUTS.get(func)


_known: dict[Any, OpInfo] = {}


def op_info(func: Any) -> OpInfo:
    """The facts about ``func``, made on first use."""
    info = _known.get(func)
    if info is None:
        info = _known[func] = OpInfo(func)
    return info


def dtype_name(dtype: torch.dtype) -> str:
    """``float32`` for torch.float32."""
    return str(dtype).removeprefix("torch.")
