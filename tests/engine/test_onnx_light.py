"""The classic networks that the onnx package ships: every row and every total against a walk by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest

from engine.configuration import Configuration
from engine.graph import InputShape
from engine.onnx.loading import load
from engine.onnx.session import OnnxSession
from engine.results import Analysis
from tests.conftest import sampled
from tests.engine.onnx_corpus import ONNX_DATA
from tests.engine.onnx_walk import Row, Walk

LIGHT = sorted((ONNX_DATA / "light").glob("*.onnx"))

PUBLISHED = {
    "light_resnet50": (25_557_032, 4_089_184_256),
    "light_vgg19": (143_667_240, 19_632_062_464),
    "light_bvlc_alexnet": (60_965_224, None),
    "light_squeezenet": (1_235_496, None),
}
"""Params and MACs at 224 x 224: ResNet-50 and VGG-19 as in torchvision (data/torchvision_reference.csv), the params of
AlexNet and SqueezeNet 1.1 as in Caffe's files."""


def analysed(path: Path, size: int = 224) -> Analysis:
    session = OnnxSession(load(path))
    (spec,) = session.specs
    inputs = (InputShape(spec.name, (*spec.default.shape[:2], size, size)),)
    return session.analyze(Configuration(inputs=inputs))


def rows(analysis: Analysis) -> list[Row]:
    layers = analysis.layers
    shapes = [shapes[0] for shapes in layers.output_shapes]
    columns: list[Any] = [layers.op, shapes, layers.macs, layers.flops, layers.special_ops]
    return [Row(*row) for row in zip(*columns, strict=True)]


@pytest.mark.parametrize("path", sampled(LIGHT, 4, "light"), ids=lambda path: path.stem)
def test_rows_and_totals_of_classic_networks(path: Path) -> None:
    walk = Walk(onnx.load(path), 224)
    analysis = analysed(path)
    assert rows(analysis) == walk.rows
    totals = analysis.totals
    assert totals.macs == sum(row.macs for row in walk.rows)
    assert totals.flops == sum(row.flops for row in walk.rows)
    assert totals.special_ops == sum(row.special for row in walk.rows)
    assert totals.params == walk.params
    assert not analysis.coverage.not_counted
    params, macs = PUBLISHED.get(path.stem, (None, None))
    assert params in (None, totals.params)
    assert macs in (None, totals.macs)


@pytest.mark.parametrize("name", ["light_densenet121", "light_squeezenet"])
def test_rows_at_another_size(name: str) -> None:
    """Fully convolutional networks at a size that was not exported: 288 divides by all strides, 250 does not."""
    path = ONNX_DATA / "light" / f"{name}.onnx"
    for size in (288, 250):
        assert rows(analysed(path, size)) == Walk(onnx.load(path), size).rows
