"""Whether a model takes another input size than the one it was made for, found out by asking it."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import torch
from torch import nn

from engine.graph import Dim, InputShape, InputSpec
from engine.loaders.inputs import InputBinding

IMAGE = ("height", "width")


def refuses_other_images(module: nn.Module, binding: InputBinding) -> bool:
    """Whether ``module``, which is on meta and takes images, fails on twice their height and width.

    Most models that refuse do so in their first layers; windows and patches divide twice a size if they divide it.
    Recurrent layers take any length; they are not tried, because on meta they go step by step, for minutes.
    """
    if not any(dim.label in IMAGE for spec in binding.specs for dim in spec.dims):
        return False
    if any(isinstance(part, nn.RNNBase) for part in module.modules()):
        return False
    # A pass that cannot run on meta at all says nothing of sizes.
    return not _runs(module, binding, 2) and _runs(module, binding, 1)


def _runs(module: nn.Module, binding: InputBinding, times: int) -> bool:
    """Whether a forward pass on images ``times`` as high and wide ends."""
    shapes = [
        InputShape(
            spec.name,
            tuple(times * dim.size if dim.label in IMAGE else dim.size for dim in spec.dims),
            spec.dtype,
        )
        for spec in binding.specs
    ]

    def make(shape: tuple[int, ...], dtype: torch.dtype) -> Any:
        return torch.empty(shape, dtype=dtype, device="meta")

    # A forward pass may keep tables that it made for this size.
    trial = copy.deepcopy(module)
    try:
        args, kwargs = binding.arguments(shapes, make)
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trial(*args, **kwargs)
    except Exception:
        return False
    return True


def with_fixed_images(binding: InputBinding) -> InputBinding:
    """``binding`` without sliders for height and width."""
    specs = tuple(
        InputSpec(
            spec.name,
            tuple(Dim(dim.label, dim.size) if dim.label in IMAGE else dim for dim in spec.dims),
            spec.dtype,
        )
        for spec in binding.specs
    )
    return InputBinding(specs, binding.pack)
