"""What onnxruntime's own tools make of a model, quantised or fused, has the MACs and weights of the model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from torch import Tensor, nn

from engine.onnx.runtime import onnxruntime
from engine.results import Analysis
from tests.engine.onnx_nodes import analysed
from tests.onnx_models import export, randomised

IMAGE = (1, 3, 32, 32)
CNN_MACS = 8 * 16 * 16 * 27 + 8 * 16 * 16 * 9 + 8 * 10
CNN_PARAMS = 8 * 27 + 8 + 8 * 9 + 8 + 8 * 10 + 10


class Block(nn.Module):
    """Self-attention and a feed-forward layer, each added to what they got and normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.merged = nn.Linear(64, 192)
        self.out = nn.Linear(64, 64)
        self.first, self.second = nn.LayerNorm(64), nn.LayerNorm(64)
        self.wide, self.narrow = nn.Linear(64, 128), nn.Linear(128, 64)

    def forward(self, x: Tensor) -> Tensor:
        heads = self.merged(x).view(2, 9, 3, 4, 16).permute(2, 0, 3, 1, 4)
        scores = (heads[0] @ heads[1].transpose(2, 3) / 4).softmax(-1)
        attended = (scores @ heads[2]).transpose(1, 2).reshape(2, 9, 64)
        x = self.first(x + self.out(attended))
        return self.second(x + self.narrow(nn.functional.gelu(self.wide(x))))  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def cnn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, 1, 1, groups=8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 10),
    )
    return export(randomised(module), (torch.randn(IMAGE),), tmp_path_factory.mktemp("cnn") / "cnn.onnx")


def ops(analysis: Analysis) -> Counter[str]:
    assert not analysis.coverage.not_counted
    return Counter(analysis.layers.op)


def optimised(path: Path, level: str) -> Analysis:
    """As onnxruntime saves it after fusing."""
    runtime = onnxruntime()
    options = runtime.SessionOptions()
    options.graph_optimization_level = getattr(runtime.GraphOptimizationLevel, f"ORT_ENABLE_{level}")
    options.optimized_model_filepath = str(path.with_name("optimised.onnx"))
    options.log_severity_level = 3
    runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return analysed(path.with_name("optimised.onnx"))


def test_a_fused_network(cnn: Path) -> None:
    plain = analysed(cnn)
    assert (plain.totals.macs, plain.totals.params) == (CNN_MACS, CNN_PARAMS)
    fused = optimised(cnn, "EXTENDED")
    assert ops(fused)["com.microsoft.FusedConv"] == 2
    assert (fused.totals.macs, fused.totals.flops) == (CNN_MACS, plain.totals.flops)


def test_a_network_in_blocks_of_channels(cnn: Path) -> None:
    """What is chosen depends on the processor: the blocks, if any, hold 8 or 16 channels, and here 8 pad nothing."""
    blocked = optimised(cnn, "ALL")
    ops(blocked)
    assert blocked.totals.macs is not None
    assert blocked.totals.macs >= CNN_MACS


def test_a_fused_transformer(tmp_path: Path) -> None:
    """Exported for operator set 14, which knows no layer norm: the optimiser writes one all the same."""
    path = export(randomised(Block()), (torch.randn(2, 9, 64),), tmp_path / "block.onnx", opset=14)
    plain = analysed(path)
    assert plain.totals.macs == 18 * 64 * (192 + 64 + 128 + 128) + 2 * 2 * 4 * 9 * 9 * 16
    fused = optimised(path, "EXTENDED")
    found = ops(fused)
    assert found["com.microsoft.SkipLayerNormalization"] + found["LayerNormalization"] == 2
    assert fused.totals.macs == plain.totals.macs


class Images:
    """Calibration data, as onnxruntime asks for it."""

    def __init__(self) -> None:
        generator = numpy.random.default_rng(0)
        images = [generator.random(IMAGE, numpy.float32) for _ in range(2)]
        self._images: Iterator[Any] = iter([{"input": image} for image in images])

    def get_next(self) -> Any:
        return next(self._images, None)


@pytest.mark.parametrize("kind", ["QDQ", "QOperator", "dynamic"])
def test_a_quantised_network(cnn: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    onnxruntime()
    from onnxruntime import quantization

    path = cnn.with_name(f"{kind}.onnx")
    if kind == "dynamic":
        quantization.quantize_dynamic(str(cnn), str(path), weight_type=quantization.QuantType.QUInt8)
    else:
        form = quantization.QuantFormat[kind]
        quantization.quantize_static(str(cnn), str(path), Images(), quant_format=form)
    caplog.clear()
    analysis = analysed(path)
    found = ops(analysis)
    assert (analysis.totals.macs, analysis.totals.params) == (CNN_MACS, CNN_PARAMS)
    expected = {
        "QDQ": {"Conv": 2, "Gemm": 1},
        "QOperator": {"QLinearConv": 2, "com.microsoft.QGemm": 1},
        "dynamic": {"ConvInteger": 2, "MatMulInteger": 1, "DynamicQuantizeLinear": 3},
    }
    assert expected[kind].items() <= found.items()
