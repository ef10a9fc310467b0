"""Small PyTorch modules and their ONNX exports: the same MACs, and FLOPs where the exporter keeps the layer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.api import analyze
from engine.graph import Shape
from engine.results import Totals
from tests.conftest import sampled
from tests.engine.onnx_nodes import analysed
from tests.onnx_models import export, randomised


class Of(nn.Module):
    """A function as a module, with the modules that it calls."""

    def __init__(self, function: Callable[..., Tensor], *modules: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.modules_called = nn.ModuleList(modules)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.modules_called)


class Case(NamedTuple):
    name: str
    module: nn.Module
    shape: Shape
    whole: bool = True
    """Whether FLOPs are equal too: the exporter writes the layer as one node, or as the operations that torch runs."""
    exporters: tuple[str, ...] = ("torchscript", "dynamo")
    """Those that take the module, and leave its first step in: the product of a state of zeros is folded away."""


IMAGE = (2, 4, 10, 12)
CASES = [
    Case("conv", nn.Conv2d(4, 6, 3, 2, 1, dilation=2, groups=2), IMAGE),
    Case("same padding", nn.Conv2d(4, 6, 3, padding="same", bias=False), IMAGE),
    Case("conv1d", nn.Conv1d(4, 6, 5), (2, 4, 20)),
    Case("conv3d", nn.Conv3d(2, 3, (1, 2, 3)), (1, 2, 4, 5, 6)),
    Case("transposed", nn.ConvTranspose2d(4, 6, 3, 2, 1, output_padding=1, groups=2), IMAGE),
    Case("transposed1d", nn.ConvTranspose1d(4, 6, 4, 3, bias=False), (2, 4, 9)),
    Case("linear", nn.Linear(8, 5), (3, 8)),
    Case("linear of three", nn.Linear(8, 5), (2, 3, 8)),
    Case("lstm", Of(lambda x, m: m(x)[0], nn.LSTM(6, 5, bidirectional=True)), (7, 2, 6), False),
    Case("two lstm", Of(lambda x, m: m(x)[0], nn.LSTM(6, 5, 2)), (7, 2, 6), False),
    Case("gru", Of(lambda x, m: m(x)[0], nn.GRU(6, 5)), (7, 2, 6), False),
    Case("rnn", Of(lambda x, m: m(x)[0], nn.RNN(6, 5)), (7, 2, 6), False, ("torchscript",)),
    Case("einsum", Of(lambda x: torch.einsum("bchw,bdhw->bcd", x, x)), IMAGE, False),
    Case("matmul", Of(lambda x: x @ x.transpose(2, 3)), IMAGE),
    Case("attention", Of(lambda x: F.scaled_dot_product_attention(x, x, x)), IMAGE, False),
    Case("multi-head", Of(lambda x, m: m(x, x, x, need_weights=False)[0], nn.MultiheadAttention(8, 2)), (5, 2, 8),
         False),
    Case("encoder", nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (2, 5, 8), False, ("dynamo",)),
    Case("bilinear", nn.Upsample(scale_factor=2, mode="bilinear"), IMAGE, False),
    Case("bicubic", nn.Upsample(scale_factor=2, mode="bicubic"), IMAGE, False),
    Case("layer norm", nn.LayerNorm(12), IMAGE),
    Case("batch norm", nn.BatchNorm2d(4), IMAGE),
    Case("group norm", nn.GroupNorm(2, 4), IMAGE, False),
    Case("max pool", nn.MaxPool2d(3, 2, 1, ceil_mode=True), IMAGE),
    Case("average pool", nn.AvgPool2d(2), IMAGE),
    Case("global pool", nn.AdaptiveAvgPool2d(1), IMAGE),
    Case("softmax", nn.Softmax(1), IMAGE),
    Case("log softmax", nn.LogSoftmax(-1), IMAGE),
    Case("activations", nn.Sequential(nn.ReLU6(), nn.ELU(), nn.Sigmoid(), nn.Tanh(), nn.LeakyReLU(), nn.SiLU()), IMAGE),
    Case("reductions", Of(lambda x: x.mean(1).sum(0).amax(0)), IMAGE),
]  # fmt: skip


def totals(module: nn.Module, shape: Shape) -> Totals:
    return analyze(module, shape).to_analysis().totals


@pytest.mark.parametrize("case", sampled(CASES, 2, "micro"), ids=lambda case: case.name)
def test_an_export_costs_what_the_module_costs(case: Case, tmp_path: Path) -> None:
    module = randomised(case.module)
    expected = totals(module, case.shape)
    for exporter in case.exporters:
        path = tmp_path / f"{exporter}.onnx"
        found = analysed(export(module, (torch.randn(case.shape),), path, dynamo=exporter == "dynamo"))
        assert not found.coverage.not_counted
        assert found.totals.macs == expected.macs
        if case.whole:
            assert found.totals.flops == expected.flops
            assert found.totals.special_ops == expected.special_ops
