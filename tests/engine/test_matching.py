"""Weights → the architectures they belong to: the index of torchvision and timm, and how files are matched with it.

Files are real: written by torch.save, or as safetensors whose data is a hole (only names and shapes matter here).
"""

from __future__ import annotations

import argparse
import random
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
import torchvision.models as zoo
from torch import nn
from torch.nn.utils import prune

import resources
from engine.contents import Candidate
from engine.files import read
from engine.graph import Shape
from engine.loaders import load
from engine.loaders.loaded import LoadOptions, build_on_meta
from engine.matching import candidates, zoo_facts, zoo_index
from engine.matching.names import plain, views
from tests.conftest import sampled
from tests.engine.model_files import safetensors_bytes, save_exported, save_script

Shapes = Mapping[str, Shape]

ROOT = Path(__file__).parent.parent.parent


def write(path: Path, shapes: Shapes) -> Path:
    """A safetensors file of these tensors whose data was never written: it takes no room on disk."""
    header: dict[str, Any] = {}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 2 * int(numpy.prod(shape, dtype=numpy.int64))
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [start, end]}
    data = safetensors_bytes(header)
    with path.open("wb") as file:
        file.write(data)
        file.truncate(len(data) + end)
    return path


def matched(path: Path, shapes: Shapes, group: str = "") -> tuple[Candidate, ...]:
    return candidates(read(write(path, shapes)), group)


def state_shapes(module: nn.Module) -> dict[str, Shape]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def built(source: str) -> dict[str, Shape]:
    """Names and shapes of what the library itself builds, on meta."""
    library, _, call = source.partition(":")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if library == "torchvision":
            options: dict[str, Any] = {"weights": None}
            if "weights_backbone" in zoo.get_model_builder(call).__code__.co_varnames:
                options["weights_backbone"] = None
            return state_shapes(build_on_meta(lambda: zoo.get_model(call, **options)))
        timm = pytest.importorskip("timm")
        return state_shapes(build_on_meta(lambda: timm.create_model(call, pretrained=False)))


def opened(architecture: str) -> dict[str, Shape]:
    """Names and shapes of what this program opens for an architecture."""
    return state_shapes(load(architecture, LoadOptions()).module)


RESNET = built("torchvision:resnet18")
VIT = built("torchvision:vit_b_16")
TORCHVISION = zoo.list_models()


def drawn() -> list[str]:
    """200 models of both libraries, always the same ones."""
    timm = pytest.importorskip("timm")
    names = [f"torchvision:{name}" for name in TORCHVISION] + [f"timm:{name}" for name in timm.list_models()]
    return sorted(random.Random(4).sample(names, 200))


def first(found: tuple[Candidate, ...]) -> set[str]:
    """The architectures of the first rank."""
    return {each.architecture for each in found if each.rank == 1}


@pytest.mark.sweep
@pytest.mark.timeout(1200)
def test_models_are_matched_back(tmp_path: Path) -> None:
    """The right one is first or tied first for at least 95 % of 200 models, and never missing.

    All 200 at the first writing: 200 of 200.
    """
    wrong: list[str] = []
    sources = sampled(drawn(), 6, "matching")
    for source in sources:
        found = matched(tmp_path / "w.safetensors", built(source))
        named = {each.architecture.partition("(")[0] for each in found}
        assert source in named, f"{source} is not among {sorted(named)}"
        if source not in {text.partition("(")[0] for text in first(found)}:
            wrong.append(source)
    assert len(wrong) <= 0.05 * len(sources), wrong


def groups_of_equals() -> list[list[str]]:
    """torchvision's models whose state dicts have the same names and shapes."""
    by_structure: dict[int, list[str]] = {}
    for each in zoo_facts().architectures:
        if each.source.startswith("torchvision:") and each.source.partition(":")[2] in TORCHVISION:
            by_structure.setdefault(each.structure, []).append(each.source)
    return [names for names in by_structure.values() if len(names) > 1]


@pytest.mark.sweep
@pytest.mark.timeout(1200)
def test_collisions_among_torchvision_list_all_their_names(tmp_path: Path) -> None:
    equals = groups_of_equals()
    assert len(equals) == 13
    for names in sampled(equals, 2, "collisions"):
        shapes = [opened(name) for name in names]
        assert all(each == shapes[0] for each in shapes)
        assert set(names) <= first(matched(tmp_path / "w.safetensors", shapes[0]))


@pytest.mark.parametrize(
    ("architecture", "libraries_own"),
    [
        ("torchvision:resnet18(num_classes=10)", lambda: zoo.resnet18(num_classes=10)),
        ("torchvision:vit_b_32(num_classes=7)", lambda: zoo.vit_b_32(num_classes=7)),
        ("torchvision:vit_b_32(image_size=384)", lambda: zoo.vit_b_32(image_size=384)),
        (
            "torchvision:googlenet(aux_logits=False, num_classes=5)",
            lambda: zoo.googlenet(num_classes=5, aux_logits=False, init_weights=False),
        ),
        (
            "torchvision:googlenet(num_classes=5)",
            lambda: zoo.googlenet(num_classes=5, init_weights=False),
        ),
        (
            "torchvision:fcn_resnet50(aux_loss=True, num_classes=4)",
            lambda: zoo.segmentation.fcn_resnet50(num_classes=4, aux_loss=True, weights_backbone=None),
        ),
        (
            "torchvision:fasterrcnn_resnet50_fpn(num_classes=3)",
            lambda: zoo.detection.fasterrcnn_resnet50_fpn(num_classes=3, weights_backbone=None),
        ),
        (
            "torchvision:ssd300_vgg16(num_classes=3)",
            lambda: zoo.detection.ssd300_vgg16(num_classes=3, weights_backbone=None),
        ),
    ],
)
def test_other_sizes_of_torchvision(architecture: str, libraries_own: Any, tmp_path: Path) -> None:
    """Classes, image size and auxiliary heads are told as arguments, and with these the names and shapes are equal."""
    shapes = state_shapes(build_on_meta(libraries_own))
    found = matched(tmp_path / "w.safetensors", shapes)
    assert architecture in first(found)
    counted = {name for name in shapes if not name.endswith("num_batches_tracked")}
    assert counted <= set(opened(architecture)) and all(
        shapes[name] == shape for name, shape in opened(architecture).items()
    )


@pytest.mark.parametrize(
    ("architecture", "fit"),
    [
        ("timm:resnet18(num_classes=10)", "other classes"),
        ("timm:resnet18(num_classes=0)", "other classes"),
        ("timm:resnet18(in_chans=1)", "other sizes"),
        ("timm:resnet18(num_classes=5, in_chans=4)", "other sizes"),
        ("timm:vit_tiny_patch16_224(img_size=288)", "other sizes"),
        ("timm:vit_tiny_patch16_224(num_classes=3, img_size=160)", "other sizes"),
        ("timm:convnext_atto(num_classes=11)", "other classes"),
        ("timm:mixer_s16_224(num_classes=9)", "other classes"),
    ],
)
def test_other_sizes_of_timm(architecture: str, fit: str, tmp_path: Path) -> None:
    pytest.importorskip("timm")
    found = matched(tmp_path / "w.safetensors", opened(architecture))
    best = [each for each in found if each.rank == 1]
    assert architecture in {each.architecture for each in best}
    assert {each.fit for each in best} == {fit}
    assert found[0].reason.startswith("All ")


def check_resnet(found: tuple[Candidate, ...], fit: str = "exact") -> Candidate:
    """torchvision's resnet18 among what was found; first, where it fits exactly."""
    best = next(each for each in found if each.architecture == "torchvision:resnet18")
    assert best.fit == fit
    assert best.rank == 1 or fit != "exact"
    return best


@pytest.mark.parametrize(
    "prefix",
    ["module.", "_orig_mod.", "module._orig_mod.", "model.", "net.backbone.", "0.", "_forward_module."],
)
def test_prefixes(prefix: str, tmp_path: Path) -> None:
    best = check_resnet(
        matched(tmp_path / "w.safetensors", {prefix + name: shape for name, shape in RESNET.items()})
    )
    assert best.matched == best.expected == best.tensors == len(RESNET)


def test_wrappers_inside_of_names(tmp_path: Path) -> None:
    """Single blocks that were compiled, or wrapped by FSDP."""
    shapes = {
        name.replace("layer2.", "layer2._fsdp_wrapped_module."): shape for name, shape in RESNET.items()
    }
    check_resnet(matched(tmp_path / "w.safetensors", shapes))


def test_copies_beside_each_other(tmp_path: Path) -> None:
    """Student and teacher in one state dict, and the counter of ``torch.optim.swa_utils``."""
    shapes: dict[str, Shape] = {"n_averaged": ()}
    for copy in ("student.", "teacher.module."):
        shapes |= {copy + name: shape for name, shape in RESNET.items()}
    best = check_resnet(matched(tmp_path / "w.safetensors", shapes))
    assert f"{len(RESNET):,} more are copies" in best.reason


def test_batch_norm_counters_and_other_buffers_may_be_missing(tmp_path: Path) -> None:
    shapes = {name: shape for name, shape in RESNET.items() if not name.endswith("num_batches_tracked")}
    check_resnet(matched(tmp_path / "w.safetensors", shapes))
    swin = opened("torchvision:swin_t")
    left_out = {name: shape for name, shape in swin.items() if "relative_position_index" not in name}
    found = matched(tmp_path / "w.safetensors", left_out)
    best = next(each for each in found if each.architecture == "torchvision:swin_t")
    assert (best.rank, best.fit) == (1, "exact")
    assert f"{len(swin) - len(left_out)} buffers" in best.reason


def test_a_part_of_a_model(tmp_path: Path) -> None:
    """Without the classifier, with one of one's own, and with tensors that belong to something else."""
    backbone = {name: shape for name, shape in RESNET.items() if not name.startswith("fc.")}
    best = check_resnet(matched(tmp_path / "w.safetensors", backbone), "partly")
    assert best.matched == len(backbone)
    assert "2 are missing (fc.weight, fc.bias)" in best.reason
    own = {**backbone, "fc.0.weight": (40, 512), "fc.2.weight": (3, 40), "memory": (100, 512)}
    best = check_resnet(matched(tmp_path / "w.safetensors", own), "partly")
    assert "3 tensors of the file are none of its (fc.0.weight, fc.2.weight …)" in best.reason


def test_other_shapes_are_told_when_nothing_else_fits(tmp_path: Path) -> None:
    small = {**RESNET, "conv1.weight": (64, 3, 3, 3)}
    best = check_resnet(matched(tmp_path / "w.safetensors", small), "partly")
    assert "1 has another shape (conv1.weight is 64×3×3×3, not 64×3×7×7)" in best.reason
    grey = {**RESNET, "conv1.weight": (64, 1, 7, 7)}
    found = matched(tmp_path / "w.safetensors", grey)
    assert "timm:resnet18(in_chans=1)" in first(found)
    assert not any("shape" in each.reason for each in found)


def test_lora_beside_the_weights(tmp_path: Path) -> None:
    """As PEFT saves a model whose linear layers have adapters."""
    shapes: dict[str, Shape] = {}
    for name, shape in VIT.items():
        layer, _, last = name.rpartition(".")
        if ".mlp." in name:
            shapes[f"base_model.model.{layer}.base_layer.{last}"] = shape
            if last == "weight":
                shapes[f"base_model.model.{layer}.lora_A.default.weight"] = (8, shape[1])
                shapes[f"base_model.model.{layer}.lora_B.default.weight"] = (shape[0], 8)
        else:
            shapes[f"base_model.model.{name}"] = shape
    found = matched(tmp_path / "w.safetensors", shapes)
    best = next(each for each in found if each.architecture == "torchvision:vit_b_16")
    assert (best.rank, best.fit, best.matched) == (1, "exact", len(VIT))
    assert "48 tensors of adapters are left out" in best.reason


def test_lora_alone(tmp_path: Path) -> None:
    shapes: dict[str, Shape] = {}
    for name, shape in VIT.items():
        if ".mlp." in name and name.endswith(".weight"):
            layer = f"base_model.model.{name.rpartition('.')[0]}"
            shapes |= {f"{layer}.lora_A.weight": (4, shape[1]), f"{layer}.lora_B.weight": (shape[0], 4)}
    found = matched(tmp_path / "adapter_model.safetensors", shapes)
    best = next(each for each in found if each.architecture == "torchvision:vit_b_16")
    assert (best.rank, best.fit, best.matched) == (1, "partly", 24)
    assert best.reason.startswith(f"The adapters fit 24 weights of its {len(VIT)} tensors")
    assert best.source == "torchvision:vit_b_16"  # the file alone holds no weights


def hooked(how: str) -> nn.Module:
    """squeezenet1_1 with something of torch's own put around its convolutions."""
    module = zoo.squeezenet1_1()
    for layer in [each for each in module.modules() if isinstance(each, nn.Conv2d)]:
        if how == "pruned":
            prune.l1_unstructured(layer, "weight", 0.5)  # type: ignore[no-untyped-call]
        elif how == "weight norm":
            torch.nn.utils.parametrizations.weight_norm(layer)
        elif how == "spectral norm":
            torch.nn.utils.parametrizations.spectral_norm(layer)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                torch.nn.utils.weight_norm(layer)
    return module


@pytest.mark.parametrize("how", ["pruned", "weight norm", "spectral norm", "old weight norm"])
def test_weights_behind_hooks(how: str, tmp_path: Path) -> None:
    found = matched(tmp_path / "w.safetensors", state_shapes(hooked(how)))
    best = next(each for each in found if each.architecture == "torchvision:squeezenet1_1")
    assert (best.rank, best.fit) == (1, "exact")
    assert "26 weights are kept in several parts" in best.reason


def test_what_a_training_run_saves(tmp_path: Path) -> None:
    """A real checkpoint: wrapped names, an average, an optimizer, arguments, numpy numbers."""
    module = zoo.squeezenet1_1(num_classes=4)
    optimizer = torch.optim.AdamW(module.parameters())
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    path = tmp_path / "last.ckpt"
    torch.save(
        {
            "epoch": numpy.int64(3),
            "args": argparse.Namespace(lr=0.1),
            "state_dict": {f"module.{name}": tensor for name, tensor in module.state_dict().items()},
            "state_dict_ema": module.state_dict(),
            "optimizer": optimizer.state_dict(),
            "best": numpy.float32(0.5),
        },
        path,
    )
    found = candidates(read(path))
    right = [each for each in found if each.architecture == "torchvision:squeezenet1_1(num_classes=4)"]
    assert [(each.rank, each.fit, each.group) for each in right] == [
        (1, "other classes", "state_dict"),
        (1, "other classes", "state_dict_ema"),
    ]
    assert right[0].source == f"{path}@torchvision:squeezenet1_1(num_classes=4)"
    assert right[1].source == f"{path}#state_dict_ema@torchvision:squeezenet1_1(num_classes=4)"
    assert candidates(read(path), "state_dict_ema") == tuple(
        each for each in found if each.group == "state_dict_ema"
    )
    assert candidates(read(path), "optimizer") == ()


def test_weights_inside_of_models_are_matched_and_opened_without_running_them(tmp_path: Path) -> None:
    """A pickled module, TorchScript and an exported program hold the names of a state dict too."""
    module = zoo.squeezenet1_1(num_classes=4).eval()
    example = torch.zeros(1, 3, 64, 64)
    torch.save(module, tmp_path / "module.pt")
    save_script(module, example, tmp_path / "script.pt")
    save_exported(module, example, tmp_path / "exported.pt2")
    for name in ("module.pt", "script.pt", "exported.pt2"):
        best = candidates(read(tmp_path / name))[0]
        assert best.source == f"{tmp_path / name}@torchvision:squeezenet1_1(num_classes=4)"
        weights = load(best.source, LoadOptions()).build_real().state_dict()
        assert all(torch.equal(weights[key], tensor) for key, tensor in module.state_dict().items())


def test_the_name_of_the_file_decides_who_stands_first_in_a_tie(tmp_path: Path) -> None:
    for name in groups_of_equals()[0]:
        call = name.partition(":")[2]
        found = matched(tmp_path / f"{call}-5c106cde.safetensors", opened(name))
        assert call in found[0].architecture


@pytest.mark.parametrize(
    "shapes",
    [
        {"0.weight": (20, 10), "0.bias": (20,), "2.weight": (2, 20), "2.bias": (2,)},
        {"conv1.weight": (64, 3, 7, 7), "fc.weight": (1000, 512), "fc.bias": (1000,)},
        {f"encoder.{index}.weight": (96, 96, 3, 3) for index in range(50)},
        {},
    ],
)
def test_weights_of_something_else_have_no_candidate(shapes: Shapes, tmp_path: Path) -> None:
    assert matched(tmp_path / "w.safetensors", {"x": (1,), **shapes}) == ()


def test_prefixes_that_may_be_models() -> None:
    shapes: Shapes = {f"a.b.{index}.w": (1,) for index in range(9)} | {"c": (2,)}
    assert [view.prefix for view in views(shapes)] == ["", "a.", "a.b."]
    assert views(shapes)[1].outside == ("c",)


def test_names_without_what_was_added() -> None:
    names = {
        "fc.weight": "fc.weight",
        "fc.weight.absmax": None,
        "fc.weight.quant_state.bitsandbytes__nf4": None,
        "_orig_mod.a._orig_mod.b.weight": "a.b.weight",
        "base_layer.0.weight": "base_layer.0.weight",  # of timm's DLA, which has nothing to do with LoRA
        "q.base_layer.weight": "q.weight",
        "head.modules_to_save.default.weight": "head.weight",
        "conv.scale": None,
        "conv.zero_point": None,
        "norm.scale": "norm.scale",
        "conv.weight_fake_quant.scale": None,
    }
    bare = plain(list(names), [(1,)] * len(names))
    assert set(bare.shapes) == {name for name in names.values() if name is not None}


def test_the_index_is_small_and_says_what_it_was_made_from() -> None:
    data = resources.read_bytes(zoo_index.FILE)
    assert len(data) <= 3_000_000
    facts = zoo_facts()
    assert {name for name, _ in facts.versions} == {"torch", "torchvision", "timm"}
    assert len({each.source for each in facts.architectures}) == len(facts.architectures)
    resnet = next(each for each in facts.architectures if each.source == "torchvision:resnet50")
    assert (resnet.params, resnet.input, resnet.task) == (25_557_032, "1×3×224×224", "classification")


def test_an_index_is_read_as_it_was_written() -> None:
    member = zoo_index.Member
    structures = [
        [member("a.w", (2, 3), False), member("a.b", (), True)],
        [member("x", (1,), False), member("a.w", (2, 3), False), member("a.b", (), True)],
        [member("a.w", (2, 3), True)],
    ]
    index = zoo_index.Index(zoo_index.pack(zoo_index.Facts((("timm", "1"),), ()), structures))
    assert [index.members(number) for number in range(3)] == structures
    assert index.tensors == [2, 3, 1]
    assert index.overlaps([{"a.w": (2, 3), "b": (1,)}, {"a.b": (), "x": (1,)}]) == [[1, 1, 1], [1, 2, 0]]


@pytest.mark.sweep
@pytest.mark.timeout(1200)
def test_architectures_of_the_index_are_what_the_program_opens() -> None:
    """So that a candidate's source has the structure that it was proposed for."""
    index = zoo_index.load()
    libraries = ["torchvision", "timm"] if find_spec("timm") else ["torchvision"]
    for library in libraries:
        known = [each for each in zoo_facts().architectures if each.source.startswith(f"{library}:")]
        for each in sampled(random.Random(4).sample(known, 60), 3, library):
            expected = {member.name: member.shape for member in index.members(each.structure)}
            assert opened(each.source) == expected, each.source
