"""ONNX files for the tests, exported from torch modules whose tensors are random: nothing merges by chance."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy
import numpy.typing
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn


def randomised(module: nn.Module) -> nn.Module:
    """``module`` in eval mode with norm weights, biases and running statistics that differ from each other."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in (*module.named_parameters(), *module.named_buffers()):
            # Tables that start as zeros, and scales that start as ones, are of any rank.
            is_uniform = tensor.numel() > 1 and bool((tensor == tensor.flatten()[0]).all())
            if tensor.is_floating_point() and (tensor.dim() == 1 or is_uniform):
                low = 0.5 if "var" in name or "weight" in name else -0.5
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + low)
    return module.eval()


def export(
    module: nn.Module,
    args: tuple[Tensor, ...],
    path: Path,
    *,
    dynamo: bool = False,
    dynamic: dict[str, dict[int, str]] | None = None,
    opset: int | None = None,
    **options: Any,
) -> Path:
    """``module`` exported to ``path`` by torch's TorchScript exporter or, with ``dynamo``, by torch.export's.

    ``dynamic`` maps input names to dimensions and their names; the inputs are called by its keys, or ``input``.
    """
    names = list(dynamic) if dynamic else [f"input{i or ''}" for i in range(len(args))]
    if dynamic and dynamo:
        options["dynamic_shapes"] = tuple(
            {dim: torch.export.Dim(symbol, min=1, max=4096) for dim, symbol in dynamic[name].items()}
            for name in names
        )
    elif dynamic:
        options["dynamic_axes"] = dynamic
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            args,
            str(path),
            dynamo=dynamo,
            input_names=names,
            opset_version=opset or (18 if dynamo else 17),
            **options,
        )
    return path


def hand_made(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Sequence[int | str]],
    outputs: Sequence[str],
    weights: Mapping[str, numpy.typing.NDArray[Any]],
    *,
    opset: int = 18,
    contrib: bool = False,
) -> Path:
    """A graph of ``nodes`` written to ``path``; ``inputs`` are float32 unless their name ends in ``ids`` (int64)."""
    graph = helper.make_graph(
        list(nodes),
        "hand made",
        [
            helper.make_tensor_value_info(
                name, onnx.TensorProto.INT64 if name.endswith("ids") else onnx.TensorProto.FLOAT, list(shape)
            )
            for name, shape in inputs.items()
        ],
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    if contrib:
        opsets.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path
