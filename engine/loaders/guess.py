"""A likely input for a module that comes without an example: read off its first layer that fixes one."""

from __future__ import annotations

import inspect

import torch
from torch import nn

from engine.loaders.inputs import InputBinding, bind_example

IMAGE_SIZE = 224
SEQUENCE_LENGTH = 128


def guess_binding(module: nn.Module) -> InputBinding | None:
    """One tensor for the first convolution, linear, embedding or recurrent layer; None when nothing can be guessed
    or ``forward`` needs more than one argument."""
    try:
        parameters = inspect.signature(module.forward).parameters.values()
    except (TypeError, ValueError):
        return None
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    required = [p for p in parameters if p.default is p.empty and p.kind in positional]
    keyword_only = [p for p in parameters if p.default is p.empty and p.kind is p.KEYWORD_ONLY]
    if len(required) > 1 or keyword_only:
        return None
    for layer in module.modules():
        example = _example(layer)
        if example is not None:
            return bind_example(module, (example,), {})
    return None


def _example(layer: nn.Module) -> torch.Tensor | None:
    shape: tuple[int, ...]
    dtype = next((p.dtype for p in layer.parameters(recurse=False)), torch.float32)
    if isinstance(layer, nn.Conv1d):
        shape = (1, layer.in_channels, 1024)
    elif isinstance(layer, nn.Conv2d):
        shape = (1, layer.in_channels, IMAGE_SIZE, IMAGE_SIZE)
    elif isinstance(layer, nn.Conv3d):
        shape = (1, layer.in_channels, 16, 112, 112)
    elif isinstance(layer, nn.Embedding):
        shape, dtype = (1, SEQUENCE_LENGTH), torch.int64
    elif isinstance(layer, (nn.LSTM, nn.GRU, nn.RNN)):
        sizes = (1, SEQUENCE_LENGTH) if layer.batch_first else (SEQUENCE_LENGTH, 1)
        shape = (*sizes, layer.input_size)
    elif isinstance(layer, nn.Linear):
        shape = (1, layer.in_features)
    else:
        return None
    return torch.empty(shape, dtype=dtype, device="meta")
