"""Edits: removing layers, setting fields, and what is said when a later layer no longer fits."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import Tensor, nn

from engine.api import analyze, analyze_columns, open_session
from engine.configuration import Configuration
from engine.edits import Edit, RemoveLayer, SetAttribute, add_edit, parse_set, python_lines
from engine.errors import InputError, LayerError
from engine.loaders import load
from engine.loaders.loaded import LoadOptions
from engine.results import Analysis
from engine.session import FailedAnalysisError, Session


@pytest.fixture(scope="module")
def resnet() -> Session:
    return Session(load("torchvision:resnet50", LoadOptions()))


def run(session: Session, *edits: Edit) -> Analysis:
    return session.analyze(Configuration(session.default_configuration().inputs, edits))


def test_edits_are_taken_back(resnet: Session) -> None:
    before = run(resnet)
    removed = run(resnet, RemoveLayer("maxpool"))
    assert removed.totals.macs == 15_996_551_168
    row = removed.modules.path.index("maxpool")
    assert removed.modules.removed[row]
    assert removed.modules.class_name[row] == "MaxPool2d"
    assert run(resnet).totals == before.totals


def test_ids_stay_when_a_layer_goes(resnet: Session) -> None:
    before, after = run(resnet), run(resnet, RemoveLayer("maxpool"))
    assert set(before.layers.id) - set(after.layers.id) == {"maxpool:max_pool2d"}
    assert set(after.layers.id) <= set(before.layers.id)


def test_stride(resnet: Session) -> None:
    """Stride 1 instead of 2 in the first convolution: four times the positions everywhere behind it."""
    conv = run(resnet, SetAttribute("conv1", "stride", 1))
    assert conv.layers.macs[0] == 4 * 118_013_952
    assert conv.totals.params == 25_557_032
    assert conv.layers.output_shapes[0] == ((1, 64, 224, 224),)


def test_kernel_size_changes_the_weight(resnet: Session) -> None:
    edited = run(resnet, SetAttribute("conv1", "kernel_size", 3), SetAttribute("conv1", "padding", (1, 1)))
    assert edited.totals.params == 25_557_032 - 64 * 3 * (49 - 9)
    assert edited.layers.macs[0] == 118_013_952 * 9 // 49
    assert run(resnet).totals.params == 25_557_032


def test_edit_that_breaks_a_later_layer(resnet: Session) -> None:
    with pytest.raises(FailedAnalysisError) as caught:
        run(resnet, RemoveLayer("layer2"))
    error = caught.value.error
    assert isinstance(error, LayerError)
    assert error.layer == "layer3.0.conv1"
    assert error.expected == "512 channels"
    assert error.got == "256 (1×256×56×56)"
    assert error.message == (
        "layer3.0.conv1 cannot run conv2d: it expects 512 channels and gets 256 (1×256×56×56)."
    )
    partial = caught.value.partial
    assert partial is not None
    good = run(resnet)
    before = [i for i, path in enumerate(good.layers.path) if path.startswith(("conv1", "bn1", "layer1"))]
    assert [partial.layers.macs[i] for i in before] == [good.layers.macs[i] for i in before]
    assert run(resnet).totals.macs == 4_089_184_256


@pytest.mark.parametrize(
    ("edit", "layer", "expected"),
    [
        (SetAttribute("layer2.0.conv2", "stride", 1), "layer2.0", "1×512×56×56"),
        (RemoveLayer("avgpool"), "fc", "2048 features"),
        (RemoveLayer("layer1.0.conv1"), "layer1.0.conv2", ""),
    ],
)
def test_failures_name_layer_and_shapes(resnet: Session, edit: Edit, layer: str, expected: str) -> None:
    try:
        run(resnet, edit)
    except FailedAnalysisError as failed:
        info = failed.error.info()
        assert info.layer == layer
        assert expected in info.expected
    else:
        assert not expected


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (RemoveLayer("maxpol"), "The model has no layer 'maxpol'. Did you mean maxpool"),
        (SetAttribute("fc", "stride", 2), "fc is a Linear; its stride cannot be set."),
        (SetAttribute("conv1", "stride", 0), "conv1.stride must be 1 to 1,000,000, not 0."),
        (SetAttribute("conv1", "stride", (1, 2, 3)), "conv1.stride takes 1 or 2 numbers, not 3."),
        (SetAttribute("maxpool", "padding", "same"), "maxpool.padding cannot be 'same'."),
    ],
)
def test_edits_that_do_not_fit(resnet: Session, edit: Edit, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        run(resnet, edit)
    assert caught.value.info().sentence.startswith(sentence)
    assert run(resnet).totals.macs == 4_089_184_256


def test_pool_padding_too_large_is_a_layer_error(resnet: Session) -> None:
    with pytest.raises(FailedAnalysisError, match="maxpool cannot run max_pool2d"):
        run(resnet, SetAttribute("maxpool", "padding", 5))


def test_padding_modes() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), nn.Conv2d(4, 4, 3, padding="same")
    )
    report = analyze(model, (1, 3, 10, 10), [SetAttribute("0", "padding", 2)])
    assert report.layers[-1].output_shapes == ((1, 4, 12, 12),)
    assert analyze(model, (1, 3, 10, 10)).layers[-1].output_shapes == ((1, 4, 10, 10),)
    report = analyze(model, (1, 3, 10, 10), [SetAttribute("1", "padding", "valid")])
    assert report.layers[-1].output_shapes == ((1, 4, 8, 8),)


def test_a_removed_layer_with_several_arguments_passes_the_first_on() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix = nn.Bilinear(4, 4, 4)
            self.head = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.mix(x, x))  # type: ignore[no-any-return]

    assert analyze(Model(), (3, 4), [RemoveLayer("mix")]).totals.macs == 3 * 4 * 2


def test_the_callers_module_is_left_alone() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    weight = model[0].weight
    analyze(model, (1, 3, 8, 8), [SetAttribute("0", "kernel_size", 1)])
    assert model.training
    assert model[0].weight is weight
    assert model[0].kernel_size == (3, 3)
    assert weight.device.type == "cpu"


def test_parsing_and_python() -> None:
    assert parse_set("layer2.0.conv2.stride=1") == SetAttribute("layer2.0.conv2", "stride", 1)
    assert parse_set("conv1.kernel_size=3x5") == SetAttribute("conv1", "kernel_size", (3, 5))
    assert parse_set("conv1.padding=same") == SetAttribute("conv1", "padding", "same")
    for bad in ("conv1", "stride=1", "conv1.stride=", "conv1.stride=a", "conv1.bias=1"):
        with pytest.raises(InputError):
            parse_set(bad)
    edits = (RemoveLayer("layer1.0.relu"), SetAttribute("conv1", "stride", (1, 1)))
    assert python_lines(edits) == ["model.layer1[0].relu = nn.Identity()", "model.conv1.stride = (1, 1)"]


def test_the_python_lines_do_what_the_edits_do() -> None:
    edits: tuple[Edit, ...] = (
        RemoveLayer("maxpool"),
        RemoveLayer("layer4.2"),
        SetAttribute("layer2.0.conv2", "dilation", 2),
        SetAttribute("layer2.0.conv2", "padding", (2, 2)),
        SetAttribute("conv1", "kernel_size", 3),
        SetAttribute("layer1.0.conv2", "kernel_size", (3, 5)),
        SetAttribute("layer1.0.conv2", "padding", (1, 2)),
    )
    with torch.device("meta"):
        model = torchvision.models.resnet50()
    session = open_session(model, (1, 3, 224, 224))
    wanted = analyze_columns(session, (1, 3, 224, 224), edits)
    with torch.device("meta"):
        exec("\n".join(wanted.python_lines()), {"model": model, "nn": nn, "torch": torch})
    assert analyze(model, (1, 3, 224, 224)).totals == wanted.totals


def test_add_edit_replaces_what_it_overrides() -> None:
    first, second = SetAttribute("a.b", "stride", 1), SetAttribute("a.b", "stride", 2)
    assert add_edit((first,), second) == (second,)
    assert add_edit((first,), RemoveLayer("a")) == (RemoveLayer("a"),)
