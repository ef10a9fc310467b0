"""A module that is in memory as a model to open: a copy on the meta device, with its inputs."""

from __future__ import annotations

import copy
import operator
from collections.abc import Mapping
from typing import Any, SupportsIndex

import torch
from torch import Tensor, nn

from engine.errors import UnsupportedModelError
from engine.graph import InputShape
from engine.loaders.guess import guess_binding
from engine.loaders.inputs import InputBinding, bind_example
from engine.loaders.loaded import LoadedModel
from engine.loaders.zeros import zeros_of
from engine.results import ModelInfo


def in_memory(module: nn.Module, inputs: Any) -> LoadedModel:
    """``module`` as a loaded model; a copy on meta is analysed, so neither its weights nor its mode change."""
    try:
        memo: dict[int, Any] = {}
        for parameter in module.parameters():
            meta = torch.empty_like(parameter, device="meta")
            memo[id(parameter)] = nn.Parameter(meta, requires_grad=parameter.requires_grad)
        for tensor in (*module.buffers(), *_computed(module)):
            memo[id(tensor)] = torch.empty_like(tensor, device="meta", requires_grad=False)
        shadow = copy.deepcopy(module, memo).eval()
    except Exception as error:
        raise UnsupportedModelError(
            f"{type(module).__name__} cannot be copied to analyse it: {error}",
            hint="Call a module with lazy parameters once first; or give its source: net.py:build.",
        ) from error
    info = ModelInfo(
        name=type(module).__name__, source="module", format="module", class_name=type(module).__name__
    )
    return LoadedModel(
        info,
        shadow,
        _binding(shadow, inputs),
        lambda: copy.deepcopy(module, {id(each): each.detach().clone() for each in _computed(module)}).cpu(),
        count_zeros=lambda stop: zeros_of(module, stop),
    )


def _computed(module: nn.Module) -> list[Tensor]:
    """Attributes that an earlier forward pass or a hook computed, such as a pruned weight: deepcopy refuses them."""
    values = [value for part in module.modules() for value in vars(part).values()]
    nested = [each for value in values if isinstance(value, list) for each in value]
    return [each for each in (*values, *nested) if isinstance(each, Tensor) and not each.is_leaf]


def _binding(module: nn.Module, inputs: Any) -> InputBinding | None:
    """Inputs from tensors or shapes; a shape without dtype has that of the model's first layer."""
    guessed = guess_binding(module)
    default = getattr(torch, guessed.specs[0].dtype) if guessed is not None else _weight_dtype(module)

    def on_meta(value: Any) -> Any:
        if isinstance(value, Tensor):
            return torch.empty_like(value, device="meta")
        return torch.empty(tuple(map(operator.index, value)), dtype=default, device="meta")

    if isinstance(inputs, Tensor):
        return bind_example(module, (on_meta(inputs),), {})
    if isinstance(inputs, Mapping):
        return bind_example(module, (), {name: on_meta(value) for name, value in inputs.items()})
    items: list[Any] = list(inputs)
    if not items:
        return guessed
    if all(isinstance(item, SupportsIndex) and not isinstance(item, Tensor) for item in items):
        return bind_example(module, (on_meta(items),), {})
    if all(isinstance(item, InputShape) for item in items):
        return None  # Session binds them by name
    return bind_example(module, tuple(on_meta(item) for item in items), {})


def _weight_dtype(module: nn.Module) -> torch.dtype:
    return next((p.dtype for p in module.parameters() if p.dtype.is_floating_point), torch.float32)
