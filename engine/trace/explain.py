"""Turns an exception from inside a forward pass into one sentence: which layer, what it expected, what it got."""

from __future__ import annotations

import math
import re
from typing import Any

import torch
from torch import Tensor

from engine.confine import network_hint
from engine.errors import LayerError
from engine.trace.modules import ModuleStack
from engine.trace.ops import OpInfo, dtype_name


def shape_text(shape: Any) -> str:
    """``1×64×56×56``; ``scalar`` for no dimensions."""
    return "×".join(str(size) for size in shape) or "scalar"


def where(path: str) -> str:
    """A layer as the subject of a sentence."""
    return path or "The model's own forward()"


def layer_error(
    error: BaseException,
    stack: ModuleStack,
    current: tuple[OpInfo, tuple[Any, ...], dict[str, Any], str] | None,
) -> LayerError:
    """The LayerError for ``error``, which left a traced forward pass while ``current`` was (or was not) executing."""
    path = stack.failed_path or ""
    if current is not None:
        info, args, _, op_path = current
        path = op_path or path
        expected, got = _mismatch(info, args)
        if expected:
            return LayerError(
                f"{where(path)} cannot run {info.name}: it expects {expected} and gets {got}.",
                layer=path,
                expected=expected,
                got=got,
                hint="Choose another input shape, or change the layer before it so that the sizes agree.",
            )
        return LayerError(
            f"{where(path)} cannot run {info.name} on {_shapes(args)}: {first_sentence(error)}",
            layer=path,
            got=_shapes(args),
            hint="Choose an input that this layer takes: another shape or dtype.",
        )
    if isinstance(error, AssertionError):
        return LayerError(
            f"{where(path)} refuses this input: {first_sentence(error)}",
            layer=path,
            hint="The model checks this itself; choose a size it accepts.",
        )
    return LayerError(
        f"{where(path)} stopped with {type(error).__name__}: {first_sentence(error)}",
        layer=path,
        hint=network_hint(error),
    )


def first_sentence(error: BaseException) -> str:
    """The first line of the message, without torch's boilerplate, ending in a full stop."""
    text = str(error).strip().split("\n")[0] or type(error).__name__
    text = re.sub(r"^\[?enforce fail.*?\]\s*", "", text)[:300].rstrip(".! ")
    return f"{text}."


def _shapes(args: tuple[Any, ...]) -> str:
    return ", ".join(shape_text(tensor.shape) for tensor in _tensors(args)[:6]) or "no tensors"


def _tensors(value: Any) -> list[Tensor]:
    """All of them, those in lists too."""
    if isinstance(value, (list, tuple)):
        return [tensor for part in value for tensor in _tensors(part)]
    return [value] if isinstance(value, Tensor) else []


def _mismatch(info: OpInfo, args: tuple[Any, ...]) -> tuple[str, str]:
    """(expected, got) where the operation is known to compare sizes, else two empty strings."""
    tensors = [value for value in args if isinstance(value, Tensor)]
    name = info.name
    if name.startswith("conv") and len(tensors) >= 2 and tensors[0].dim() == tensors[1].dim():
        return _conv_mismatch(name, tensors[0], tensors[1], args)
    if name == "linear" and len(tensors) >= 2 and tensors[0].dtype != tensors[1].dtype:
        return f"{dtype_name(tensors[1].dtype)} like its weights", dtype_name(tensors[0].dtype)
    if name == "linear" and len(tensors) >= 2 and tensors[0].shape[-1:] != tensors[1].shape[-1:]:
        return f"{tensors[1].shape[-1]} features", f"{_last(tensors[0])} ({shape_text(tensors[0].shape)})"
    if name in ("batch_norm", "instance_norm", "group_norm") and len(tensors) >= 2 and tensors[0].dim() > 1:
        channels = tensors[1].shape[0]
        if tensors[0].shape[1] != channels:
            return f"{channels} channels", f"{tensors[0].shape[1]} ({shape_text(tensors[0].shape)})"
    if name == "layer_norm" and len(args) > 1 and isinstance(args[1], (list, tuple, torch.Size)):
        wanted = tuple(args[1])
        if tuple(tensors[0].shape[-len(wanted) :]) != wanted:
            return f"last sizes {shape_text(wanted)}", shape_text(tensors[0].shape)
    if name in ("add", "sub", "mul", "div") and len(tensors) == 2:
        try:
            torch.broadcast_shapes(tensors[0].shape, tensors[1].shape)
        except RuntimeError:
            return shape_text(tensors[0].shape), shape_text(tensors[1].shape)
    if name in ("cat", "concat") and args and isinstance(args[0], (list, tuple)):
        dim = args[1] if len(args) > 1 and isinstance(args[1], int) else 0
        first = args[0][0]
        for other in args[0][1:]:
            if any(
                a != b
                for axis, (a, b) in enumerate(zip(first.shape, other.shape, strict=False))
                if axis != dim % first.dim()
            ):
                return (
                    f"equal sizes but in dimension {dim}: {shape_text(first.shape)}",
                    shape_text(other.shape),
                )
    if name in ("view", "reshape", "_unsafe_view") and len(args) > 1:
        return _view_mismatch(tensors[0], args[1])
    if name in ("lstm", "gru", "rnn_tanh", "rnn_relu"):
        return _recurrent_mismatch(_tensors(args), batch_first=args[-1] is True)
    if name in ("matmul", "bmm", "mm") and len(tensors) == 2 and min(t.dim() for t in tensors) >= 2:
        if tensors[0].shape[-1] != tensors[1].shape[-2]:
            return (
                f"{tensors[0].shape[-1]} rows in its second factor",
                f"{tensors[1].shape[-2]} ({shape_text(tensors[0].shape)} @ {shape_text(tensors[1].shape)})",
            )
    return "", ""


def _conv_mismatch(name: str, x: Tensor, weight: Tensor, args: tuple[Any, ...]) -> tuple[str, str]:
    groups = args[6] if len(args) > 6 and isinstance(args[6], int) else 1
    channels = weight.shape[0] if "transpose" in name else weight.shape[1] * groups
    if x.shape[1] != channels:
        return f"{channels} channels", f"{x.shape[1]} ({shape_text(x.shape)})"
    if x.dtype != weight.dtype:
        return f"{dtype_name(weight.dtype)} like its weights", dtype_name(x.dtype)
    kernel = shape_text(weight.shape[2:])
    padding = args[4] if len(args) > 4 and isinstance(args[4], (list, tuple)) else (0,)
    widest = max((p for p in padding if isinstance(p, int)), default=0)
    if "transpose" in name or min(x.shape[2:]) + 2 * widest >= max(weight.shape[2:]):
        return "", ""
    return f"at least its {kernel} kernel after padding", shape_text(x.shape[2:])


def _view_mismatch(x: Tensor, shape: Any) -> tuple[str, str]:
    """A shape whose elements are not those of ``x``; a size of -1 is whatever remains."""
    if not isinstance(shape, (list, tuple)) or not all(isinstance(size, int) for size in shape):
        return "", ""
    fixed = math.prod(size for size in shape if size != -1)
    target = "×".join("any" if size == -1 else str(size) for size in shape) or "scalar"
    got = f"{x.numel():,} ({shape_text(x.shape)})"
    if -1 not in shape and fixed != x.numel():
        return f"{fixed:,} elements ({target})", got
    if -1 in shape and fixed > 0 and x.numel() % fixed:
        return f"a multiple of {fixed:,} elements ({target})", got
    return "", ""


def _recurrent_mismatch(tensors: list[Tensor], batch_first: bool) -> tuple[str, str]:
    """``tensors`` are the input (sequence first, unless told), the initial states and the weights."""
    x, state, *weights = tensors
    weight = next((each for each in weights if each.dim() == 2), None)
    if state.dim() != 3 or weight is None:
        return "", ""
    if x.dim() != 3:
        order = "batch, sequence" if batch_first else "sequence, batch"
        return f"3 dimensions ({order}, features)", f"{x.dim()} ({shape_text(x.shape)})"
    if x.shape[2] != weight.shape[1]:
        return f"{weight.shape[1]} features", f"{x.shape[2]} ({shape_text(x.shape)})"
    batch = x.shape[0] if batch_first else x.shape[1]
    if batch != state.shape[1]:
        return f"a batch of {state.shape[1]} like its initial state", f"{batch} ({shape_text(x.shape)})"
    return "", ""


def _last(tensor: Tensor) -> str:
    return str(tensor.shape[-1]) if tensor.dim() else "a scalar"
