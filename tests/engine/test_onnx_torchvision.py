"""ONNX exports of torchvision's models against the PyTorch models themselves: the same MACs, rows and parameters.

Three models run always, one more drawn by the day; all families with MISNOMER_ALL=1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models import VisionTransformer

from engine.api import analyze
from engine.configuration import Configuration
from engine.graph import InputShape, Shape
from engine.onnx.loading import load
from engine.onnx.session import OnnxSession
from engine.reconciliation import reconcile
from engine.results import Analysis
from tests.conftest import EVERYTHING, sampled
from tests.onnx_models import export, randomised

FOLDED = ("Norm", "Dropout", "StochasticDepth", "Identity")
"""Classes of modules that an export has no nodes of."""
BOXES = {"NonZero", "TopK", "NonMaxSuppression"}
"""Operators that find boxes: not counted in either format."""
EXPLAINED = {"folded", "biases", "merged", "apart", "tables", "unused"}


class Case(NamedTuple):
    """One model: the sizes it is exported at and, with dynamic axes, asked for afterwards."""

    name: str
    sizes: tuple[Shape, ...] = ((1, 3, 64, 64), (2, 3, 96, 128))
    make: Callable[[], nn.Module] | None = None
    computed: str = ""
    """Part of the paths of layers that work on constants alone: the exporter computes their result."""
    dynamo: bool = True
    """Whether torch.export's exporter takes it, in reasonable time."""
    torchscript: bool = True
    """Whether the TorchScript exporter writes a graph whose shapes follow from its inputs'."""
    detects: bool = False
    """Takes a list of images, and finds as many boxes as the data holds."""

    def module(self) -> nn.Module:
        if self.make is not None:
            return self.make()
        options = {"init_weights": False} if self.name in ("googlenet", "inception_v3") else {}
        if self.name.startswith(("fcn", "deeplab", "lraspp")) or self.detects:
            options = {"weights_backbone": None}  # type: ignore[dict-item]
        return torchvision.models.get_model(self.name, weights=None, **options)


def small_vit() -> nn.Module:
    return VisionTransformer(32, 8, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=64, num_classes=10)


IMAGE = ((1, 3, 224, 224), (2, 3, 256, 192))
CLIP = ((1, 3, 8, 64, 64), (2, 3, 8, 96, 80))
ALWAYS = (
    Case("resnet18"),
    Case("mobilenet_v2"),
    Case("small ViT", ((1, 3, 32, 32), (3, 3, 32, 32)), small_vit),
)
OTHERS = (
    Case("alexnet", ((1, 3, 224, 224),)),
    Case("vgg11", ((1, 3, 224, 224),)),
    Case("vgg16_bn", ((1, 3, 224, 224),)),
    Case("googlenet", IMAGE),
    Case("inception_v3", ((1, 3, 299, 299), (1, 3, 320, 331))),
    Case("densenet121", IMAGE),
    Case("mobilenet_v3_small", IMAGE),
    Case("mobilenet_v3_large", IMAGE),
    Case("mnasnet0_5", IMAGE),
    Case("shufflenet_v2_x0_5", IMAGE),
    Case("squeezenet1_1", IMAGE),
    Case("efficientnet_b0", IMAGE),
    Case("efficientnet_v2_s", IMAGE),
    Case("regnet_x_400mf", IMAGE),
    Case("regnet_y_400mf", IMAGE),
    Case("resnet50", IMAGE),
    Case("resnext50_32x4d", IMAGE),
    Case("wide_resnet50_2", IMAGE),
    Case("convnext_tiny", IMAGE),
    Case("vit_b_32", ((1, 3, 224, 224), (4, 3, 224, 224))),
    Case("swin_t", IMAGE),
    Case("swin_v2_t", ((1, 3, 256, 256), (2, 3, 320, 256)), computed=".cpb_mlp."),
    Case("maxvit_t", ((1, 3, 224, 224), (2, 3, 224, 224))),
    Case("fcn_resnet50", ((1, 3, 96, 96), (2, 3, 128, 160))),
    Case("deeplabv3_mobilenet_v3_large", ((1, 3, 96, 96), (2, 3, 128, 160))),
    Case("lraspp_mobilenet_v3_large", ((1, 3, 96, 96), (2, 3, 128, 160))),
    Case("ssdlite320_mobilenet_v3_large", ((3, 320, 320),), dynamo=False, detects=True),
    Case("fasterrcnn_mobilenet_v3_large_320_fpn", ((3, 320, 320),), dynamo=False, detects=True),
    Case("r3d_18", CLIP),
    Case("mc3_18", CLIP),
    Case("r2plus1d_18", CLIP),
    # By TorchScript its parts of unequal size go through a sequence that a loop carries.
    Case("mvit_v1_b", ((1, 3, 16, 224, 224),), torchscript=False),
    Case("swin3d_t", ((1, 3, 8, 64, 64),)),
)


@pytest.fixture(autouse=True)
def no_fast_path() -> Iterator[None]:
    """The fused kernel of transformer layers cannot be exported."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    yield
    torch.backends.mha.set_fastpath_enabled(before)


@pytest.mark.parametrize("case", ALWAYS, ids=lambda case: case.name)
def test_a_model_and_its_export_by_torchscript_cost_the_same(case: Case, tmp_path: Path) -> None:
    check(case, False, tmp_path)


@pytest.mark.parametrize("case", sampled(ALWAYS, 1, "dynamo exports"), ids=lambda case: case.name)
def test_a_model_and_its_export_by_torch_export_cost_the_same(case: Case, tmp_path: Path) -> None:
    check(case, True, tmp_path)


@pytest.mark.sweep
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "case",
    sampled([case for case in OTHERS if case.torchscript], 1, "torchvision exports"),
    ids=lambda case: case.name,
)
def test_every_family_costs_the_same_exported_by_torchscript(case: Case, tmp_path: Path) -> None:
    check(case, False, tmp_path)


@pytest.mark.sweep
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "case", [case for case in OTHERS if case.dynamo and EVERYTHING], ids=lambda case: case.name
)
def test_every_family_costs_the_same_exported_by_torch_export(case: Case, tmp_path: Path) -> None:
    check(case, True, tmp_path)


def check(case: Case, dynamo: bool, folder: Path) -> None:
    """Export ``case`` and compare it with its module at every size."""
    module = randomised(case.module())
    # torch.export specialises sizes of its own accord in many of these models.
    sizes = case.sizes[:1] if dynamo else case.sizes
    path = export(
        module,
        ([torch.randn(sizes[0])],) if case.detects else (torch.randn(sizes[0]),),  # type: ignore[arg-type]
        folder / "model.onnx",
        dynamo=dynamo,
        dynamic={"input": axes(sizes)} if len(sizes) > 1 else None,
    )
    session = OnnxSession(load(path))
    for size in sizes:
        exported = session.analyze(Configuration((InputShape("input", size),)))
        given = f"torchvision:{case.name}" if case.detects else module
        original = analyze(given, (1, *size) if case.detects else size).to_analysis()
        assert {each.op for each in exported.coverage.not_counted} <= (BOXES if case.detects else set())
        assert exported.totals.macs == original.totals.macs - computed_macs(original, case.computed)
        assert not missing_paths(exported, original, case.computed)
        explained(exported, original, case)


def axes(sizes: tuple[Shape, ...]) -> dict[int, str]:
    """The dimensions that differ between the sizes."""
    return {
        axis: f"size{axis}" for axis, values in enumerate(zip(*sizes, strict=True)) if len(set(values)) > 1
    }


def computed_macs(original: Analysis, part: str) -> int:
    """MACs of the layers whose result the exporter computes."""
    layers = original.layers
    return sum(
        macs or 0 for path, macs in zip(layers.path, layers.macs, strict=True) if part and part in path
    )


def missing_paths(exported: Analysis, original: Analysis, computed: str) -> list[str]:
    """Modules of the PyTorch model that run and that the export has no layer of."""
    modules = original.modules
    there = set(exported.modules.path)
    return [
        path
        for path, calls, kind in zip(modules.path, modules.calls, modules.class_name, strict=True)
        if calls
        and path not in there
        and not any(word in kind for word in FOLDED)
        and not (computed and computed in f"{path}.")
    ]


def explained(exported: Analysis, original: Analysis, case: Case) -> None:
    """Why the parameters differ is told, to the last one, by named reasons."""
    reconciliation = reconcile(exported, original)
    difference = exported.totals.params - original.totals.params
    if reconciliation is None:
        assert difference == 0
        return
    assert sum(line.params for line in reconciliation.lines) == difference
    # Layers whose result is computed lose their weights; boxes are found from tables of their shapes.
    also = {"absent"} if case.computed else {"constants"} if case.detects else set()
    assert {line.kind for line in reconciliation.lines} <= EXPLAINED | also
