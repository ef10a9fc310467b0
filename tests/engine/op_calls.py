"""Records executed operations as OpCalls, independently of the engine's tracer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from engine.graph import OpCall


class Calls(TorchDispatchMode):
    """Every executed operation as an OpCall."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[OpCall] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        names = [argument.name for argument in func._schema.arguments]
        given = dict(zip(names, args, strict=False)) | (kwargs or {})
        inputs: list[Any] = []
        described = {name: _described(value, inputs) for name, value in given.items()}
        outputs = [tuple(t.shape) for t in (out if isinstance(out, (list, tuple)) else [out]) if _is(t)]
        op = func._schema.name.split("::")[1]
        if not op.endswith("__"):
            op = op.removesuffix("_")
        self.calls.append(OpCall(op, tuple(inputs), tuple(outputs), described))
        return out


def _is(value: object) -> bool:
    return isinstance(value, Tensor)


def _described(value: Any, inputs: list[Any]) -> Any:
    if isinstance(value, Tensor):
        inputs.append(tuple(value.shape))
        return tuple(value.shape)
    if isinstance(value, (list, tuple)):
        return tuple(_described(part, inputs) for part in value)
    return value


def meta(*shape: int) -> Tensor:
    return torch.empty(shape, device="meta")
