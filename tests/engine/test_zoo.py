"""torchvision's whole zoo: params and MACs against independent figures, and against FlopCounterMode as integers."""

from __future__ import annotations

import math
from functools import lru_cache

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from engine.configuration import Configuration
from engine.loaders import load
from engine.loaders.loaded import LoadedModel, LoadOptions
from engine.loaders.torchvision_zoo import entries
from engine.results import Analysis
from engine.session import Session
from tests.conftest import read_data, sampled

REFERENCE = read_data("torchvision_reference.csv")
ASSUMED = {
    # The library's figure was taken on an input on which so many boxes survived.
    "maskrcnn_resnet50_fpn:COCO_V1": {"roi_heads:where": 0},
    "keypointrcnn_resnet50_fpn:COCO_LEGACY": {"roi_heads:nms": 0},
    "keypointrcnn_resnet50_fpn:COCO_V1": {"roi_heads:nms": 1},
    "fasterrcnn_mobilenet_v3_large_fpn:COCO_V1": {"rpn:nms": 0},
    "fasterrcnn_mobilenet_v3_large_320_fpn:COCO_V1": {"rpn:nms": 0},
}
INPUT_SIZES = {
    # These resize every image to 800 pixels themselves; the figure was taken on a 1333-pixel image.
    "keypointrcnn_resnet50_fpn": (1, 3, 1333, 1333),
}


def source(row: dict[str, str]) -> str:
    return f"torchvision:{row['model']}:{row['weights']}"


def analyse(session: Session, row: dict[str, str]) -> Analysis:
    inputs = session.default_configuration().inputs
    if row["model"] in INPUT_SIZES:
        inputs = tuple(type(i)(i.name, INPUT_SIZES[row["model"]], i.dtype) for i in inputs)
    assumed = ASSUMED.get(f"{row['model']}:{row['weights']}", {})
    return session.analyze(Configuration(inputs=inputs, assumptions=tuple(assumed.items())))


@pytest.mark.parametrize(
    "row", sampled(REFERENCE, 16, "reference"), ids=lambda r: f"{r['model']}-{r['weights']}"
)
def test_reference_row(row: dict[str, str]) -> None:
    """Parameters as published, MACs as published (three digits) and as independently counted (six digits)."""
    session = Session(load(source(row), LoadOptions()))
    analysis = analyse(session, row)
    assert analysis.totals.params == int(row["num_params"])
    assert f"{analysis.totals.macs / 1e9:.3f}" == f"{float(row['gflops_meta']):.3f}"
    size = "x".join(map(str, analysis.configuration.inputs[0].shape[1:]))
    assert size == row["input_size_used"]
    assert analysis.mode == "meta"
    if row["status"] == "match":
        assert f"{analysis.totals.macs / 1e9:.6f}" == f"{float(row['torch_gmacs']):.6f}"
        assert row["task"] == "detection" or not analysis.assumptions


@lru_cache(1)
def names(*tasks: str) -> list[str]:
    return [entry.name for entry in entries() if entry.task in tasks]


COUNTED_TASKS = ("classification", "segmentation", "video", "optical_flow", "quantization")


def oracle(loaded: LoadedModel) -> int:
    """FLOPs of torch's own counter on the meta device at the default input."""
    assert loaded.binding is not None
    args, kwargs = loaded.binding.arguments(
        loaded.binding.defaults(), lambda shape, dtype: torch.empty(shape, dtype=dtype, device="meta")
    )
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), counter:
        loaded.module(*args, **kwargs)
    return counter.get_total_flops()


@pytest.mark.parametrize("name", sampled(names(*COUNTED_TASKS), 14, "oracle"))
def test_macs_are_half_of_flop_counter_mode(name: str) -> None:
    loaded = load(f"torchvision:{name}", LoadOptions())
    session = Session(loaded)
    assert 2 * session.analyze(session.default_configuration()).totals.macs == oracle(loaded)


@pytest.mark.parametrize("name", sampled(names(*COUNTED_TASKS, "detection"), 10, "coverage"))
def test_every_call_of_the_zoo_is_counted_or_named(name: str) -> None:
    session = Session(load(f"torchvision:{name}", LoadOptions()))
    analysis = session.analyze(session.default_configuration())
    uncounted = {entry.op for entry in analysis.coverage.not_counted}
    assert uncounted <= {"topk", "sort", "nms", "where", "_unique2", "cumsum"}
    assert analysis.coverage.counted_calls + sum(e.calls for e in analysis.coverage.not_counted) == (
        analysis.coverage.calls
    )
    assert sum(analysis.layers.calls) == analysis.coverage.calls


SEED = {
    (row["item"], row["quantity"], row["convention"]): row["exact_value"]
    for row in read_data("seed_figures.csv")
}


def totals(name: str, *edits: object) -> Analysis:
    session = Session(load(name, LoadOptions()))
    configuration = session.default_configuration()
    return session.analyze(Configuration(inputs=configuration.inputs, edits=edits))  # type: ignore[arg-type]


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_resnet_with_and_without_maxpool(depth: int) -> None:
    from engine.edits import RemoveLayer

    name = f"resnet{depth}"
    plain = totals(f"torchvision:{name}").totals
    removed = totals(f"torchvision:{name}", RemoveLayer("maxpool")).totals
    assert plain.params == removed.params == int(SEED[f"{name} maxpool", "params", ""])
    assert plain.macs == int(SEED[f"{name} with maxpool, 224x224", "ops", "MACs"])
    assert removed.macs == int(SEED[f"{name} without maxpool, 224x224", "ops", "MACs"])


def test_vgg_and_vit_figures() -> None:
    vgg16 = totals("torchvision:vgg16")
    assert vgg16.totals.macs == int(SEED["VGG-16", "ops", "MACs"]) or vgg16.totals.macs == 15_470_264_320
    assert vgg16.totals.params == int(SEED["VGG-16", "params", ""])
    fc = [
        i
        for i, path in enumerate(vgg16.layers.path)
        if path.startswith("classifier") and vgg16.layers.macs[i]
    ]
    assert 2 * sum(vgg16.layers.macs[i] or 0 for i in fc) == int(SEED["VGG-16 fc", "ops", "2xMACs"])
    fc_params = sum(vgg16.layers.params[i] for i in fc)
    assert math.isclose(
        fc_params / vgg16.totals.params, float(SEED["VGG-16 fc share", "share", ""]), abs_tol=1e-5
    )

    vgg19 = totals("torchvision:vgg19")
    row = {path: i for i, path in enumerate(vgg19.layers.path)}
    assert vgg19.layers.macs[row["features.0"]] == int(SEED["VGG-19 conv1_1", "ops", "MACs"])
    assert vgg19.layers.macs[row["features.2"]] == int(SEED["VGG-19 conv1_2", "ops", "MACs"])
    convs = [i for i, op in enumerate(vgg19.layers.op) if op == "conv2d"][:4]
    assert 2 * sum(vgg19.layers.macs[i] or 0 for i in convs) == int(
        SEED["VGG-19 first four convs", "ops", "2xMACs"]
    )

    vit = totals("torchvision:vit_b_16").totals
    assert vit.macs == int(SEED["ViT-Base /16@224", "ops", "MACs"]) == 17_563_828_224
    assert vit.params == int(SEED["ViT-Base /16@224", "params", ""])
    resnet = totals("torchvision:resnet50")
    assert resnet.layers.macs[0] == int(SEED["ResNet conv1 7x7/2", "ops", "MACs"])


@pytest.mark.parametrize("patch", [8, 16, 32])
@pytest.mark.parametrize("size", [224, 384])
def test_vit_patch_sizes(patch: int, size: int) -> None:
    from torchvision.models.vision_transformer import VisionTransformer

    from engine.api import analyze

    with torch.device("meta"):
        model = VisionTransformer(
            image_size=size, patch_size=patch, num_layers=12, num_heads=12, hidden_dim=768, mlp_dim=3072
        )
    report = analyze(model, (1, 3, size, size))
    item = f"ViT-Base /{patch}@{size}"
    assert report.totals.params == int(SEED[item, "params", ""])
    assert report.totals.macs == int(SEED[item, "ops", "MACs"])
