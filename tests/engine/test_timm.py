"""``timm:NAME``: params and MACs of all families as torch counts them, and what a source may say."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from engine import zoo
from engine.configuration import Configuration
from engine.errors import LoadError
from engine.graph import InputShape
from engine.loaders import load, timm_zoo
from engine.loaders.loaded import LoadedModel, LoadOptions
from engine.results import Analysis, ZooEntry
from engine.session import FailedAnalysisError, Session
from tests.conftest import sampled

FAMILIES = [
    "beit_base_patch16_224", "halonet_h1", "gernet_s", "cait_s24_224", "coat_tiny", "convit_tiny",
    "convmixer_768_32", "convnext_atto", "cpubone_t0", "crossvit_tiny_240", "csatv2", "cs3darknet_focus_s",
    "cspnext_tiny", "davit_tiny", "deepseek_vit_412m", "deit_tiny_patch16_224", "densenet121", "dla34", "dpn68",
    "edgenext_x_small", "efficientformer_l1", "efficientformerv2_s0", "mixnet_s", "efficientvim_m1",
    "efficientvit_b0", "efficientvit_m0", "eva02_tiny_patch14_224", "fasternet_t0", "fastvit_t8",
    "focalnet_tiny_lrf", "gcvit_tiny", "gemma4_vit_167m", "ghostnet_050", "hardcorenas_a", "hgnetv2_b0",
    "hiera_tiny_224", "hieradet_small", "hrnet_w18", "iformer_t", "inception_next_atto", "inception_resnet_v2",
    "inception_v3", "inception_v4", "lcnetv2_small", "levit_384_s8", "lowformer_b0", "test_mambaout",
    "test_coatnet", "caformer_s18", "gmlp_ti16_224", "mobilenetv3_small_050", "mobilenetv5_base", "mobilevit_xs",
    "mvitv2_tiny", "naflexvit_base_patch16_siglip", "nasnetalarge", "nest_tiny", "nextvit_small", "test_nfnet",
    "pit_ti_224", "pnasnet5large", "pvt_v2_b0", "qwen3_vit_88m", "rdnet_tiny", "regnetx_004_tv", "repghostnet_050",
    "repvit_m1", "res2next50", "resnest14d", "resnet18", "resnetv2_18", "rexnet_100", "selecsls42",
    "legacy_seresnet18", "sequencer2d_s", "shvit_s1", "skresnet18", "starnet_s1", "swiftformer_xs",
    "swin_s3_tiny_224", "swinv2_tiny_window8_256", "swinv2_cr_tiny_224", "tiny_vit_5m_224",
    "tnt_s_legacy_patch16_224", "tresnet_m", "twins_svt_base", "vgg11", "visformer_tiny", "test_vit",
    "vit_base_r26_s32_224", "test_vit_relpos", "samvit_base_patch16", "vitamin_small_224", "volo_d1_224",
    "ese_vovnet19b_slim_dw", "legacy_xception", "xception41", "xcit_nano_12_p8_224",
]  # fmt: skip
"""One of each of timm 1.0.31's 98 modules, a small one."""
NOT_COUNTED = {"cumsum"}
"""Positions of EdgeNeXt's sine embedding: a scan."""


def opened(text: str) -> LoadedModel:
    return load(f"timm:{text}", LoadOptions())


def analysed(loaded: LoadedModel, *inputs: InputShape) -> Analysis:
    session = Session(loaded)
    return session.analyze(Configuration(inputs=session.complete(inputs)))


def oracle(loaded: LoadedModel) -> int:
    """FLOPs of torch's own counter on the meta device at the default input."""
    assert loaded.binding is not None
    args, kwargs = loaded.binding.arguments(
        loaded.binding.defaults(), lambda shape, dtype: torch.empty(shape, dtype=dtype, device="meta")
    )
    loaded.module.requires_grad_(False)  # it looks for gradients, which inference mode has none of
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), counter:
        loaded.module(*args, **kwargs)
    return counter.get_total_flops()


@pytest.mark.parametrize("name", sampled(FAMILIES, 3, "timm"))
def test_params_and_macs_are_those_of_torch(name: str) -> None:
    import timm

    loaded = opened(name)
    analysis = analysed(loaded)
    with torch.device("meta"):
        reference = timm.create_model(name)
    assert analysis.totals.params == sum(parameter.numel() for parameter in reference.parameters())
    assert 2 * analysis.totals.macs == oracle(loaded)
    assert analysis.environment["timm"] == timm.__version__
    assert analysis.mode == "meta"
    assert not analysis.assumptions
    assert {entry.op for entry in analysis.coverage.not_counted} <= NOT_COUNTED


def test_all_families_are_there() -> None:
    import timm

    of = {name: module for module in timm.list_modules() for name in timm.list_models(module=module)}
    assert {of[name] for name in FAMILIES} == set(timm.list_modules())


def test_the_input_is_the_one_the_model_was_made_for() -> None:
    sizes = {
        "resnet18": "1×3×224×224",
        "inception_v3": "1×3×299×299",
        "deepseek_vit_412m": "1×3×546×546",
        "resnet18(in_chans=1)": "1×1×224×224",
        "vit_tiny_patch16_224(img_size=96)": "1×3×96×96",
    }
    assert {text: str(opened(text).specs[0].default) for text in sizes} == sizes


def test_arguments_reach_the_model() -> None:
    loaded = opened("resnet18(num_classes=7)")
    assert analysed(loaded).output_shapes == ((1, 7),)
    assert loaded.info.source == "timm:resnet18(num_classes=7)"
    assert loaded.info.name == "resnet18"
    features = opened("resnet18(features_only=True, out_indices=(1, 4))")
    assert analysed(features).output_shapes == ((1, 64, 56, 56), (1, 512, 7, 7))
    assert opened("resnet18(num_classes=0)").info.task == "features"


def test_a_fixed_size_is_explained_with_what_to_open_instead() -> None:
    loaded = opened("vit_tiny_patch16_224(num_classes=10)")
    height, width = loaded.specs[0].dims[2:]
    assert height.symbol is None and width.symbol is None
    assert loaded.info.fixed_sizes == (
        "vit_tiny_patch16_224 was built for 224×224 pixels and refuses other sizes. "
        "Open timm:vit_tiny_patch16_224(num_classes=10, img_size=448) for another one, or "
        "timm:vit_tiny_patch16_224(num_classes=10, dynamic_img_size=True) to resample its position embedding for any."
    )
    with pytest.raises(FailedAnalysisError):
        analysed(loaded, InputShape("x", (1, 3, 256, 256), "float32"))

    flexible = opened(loaded.info.unguarded.removeprefix("timm:"))
    assert flexible.info.fixed_sizes == ""
    assert flexible.specs[0].dims[2].symbol == "height"
    small, large = (
        analysed(flexible, InputShape("x", (1, 3, n, n), "float32")).totals.macs for n in (224, 256)
    )
    assert small == analysed(loaded).totals.macs < large
    assert analysed(flexible).totals.params == analysed(loaded).totals.params


def test_sizes_are_whole_patches() -> None:
    """14 pixels a patch: the slider's positions are those that the model takes."""
    loaded = opened("vit_small_patch14_dinov2(dynamic_img_size=True)")
    height = loaded.specs[0].dims[2]
    assert (height.size % 14, height.minimum % 14, height.maximum % 14, height.step) == (0, 0, 0, 14)


def test_models_that_only_need_a_multiple_keep_their_slider() -> None:
    loaded = opened("twins_pcpvt_small")  # timm calls it fixed
    assert loaded.info.fixed_sizes == ""
    assert analysed(loaded, InputShape("x", (1, 3, 288, 288), "float32")).totals.macs


def test_a_tag_chooses_the_architecture_of_those_weights() -> None:
    plain, large = opened("convnext_base"), opened("convnext_base.fb_in22k_ft_in1k_384")
    assert (plain.specs[0].dims[2].size, large.specs[0].dims[2].size) == (288, 384) or (
        large.specs[0].dims[2].size == 384
    )
    assert opened("resnet50.a1_in1k").info.name == "resnet50.a1_in1k"


@pytest.mark.parametrize(
    ("text", "sentence", "hint"),
    [
        ("resnet5", "timm has no model 'resnet5'.", "Did you mean resnet50"),
        ("zzzzzz", "timm has no model 'zzzzzz'.", "Open the zoo"),
        ("resnet50.none", "timm has no weights 'none' for resnet50.", "It has: a1_in1k"),
        ("resnet50(7)", "timm takes the arguments of resnet50 by their names.", "Write resnet50("),
        ("resnet50(nonsense=3)", "timm cannot build resnet50(nonsense=3): ", "Check its arguments."),
        ("resnet50(", "is not a name or a call", "Write"),
        ("hf-hub:timm/resnet50", "is not a name or a call", "Write"),
        ("local-dir:/tmp", "is not a name or a call", "Write"),
        ("resnet50(pretrained=True)", "pretrained is not passed to timm", "FILE@timm:resnet50"),
        ("resnet50(checkpoint_path='x.pth')", "checkpoint_path is not passed to timm", "FILE@timm:resnet50"),
        ("resnet50(pretrained_cfg={'file': 'x'})", "pretrained_cfg is not passed", "FILE@timm:resnet50"),
    ],
)
def test_what_cannot_be_opened_says_why(text: str, sentence: str, hint: str) -> None:
    with pytest.raises(LoadError) as caught:
        opened(text)
    assert sentence in caught.value.message
    assert hint in caught.value.hint


ASKED_FOR = """
import sys
from engine.loaders import load
from engine.loaders.loaded import LoadOptions
load("torchvision:resnet18", LoadOptions())
assert not {"timm", "transformers", "huggingface_hub"} & set(sys.modules)
load("timm:resnet18", LoadOptions())
import huggingface_hub.constants, os
print(huggingface_hub.constants.HF_HUB_OFFLINE, "HF_HUB_OFFLINE" in os.environ, "transformers" in sys.modules)
"""


def python(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_without_timm_a_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)  # importing it raises ModuleNotFoundError
    with pytest.raises(LoadError) as caught:
        opened("resnet18")
    assert caught.value.info().sentence == (
        "timm:NAME needs the package timm, which is not installed. Install it for this Python: pip install timm."
    )


def test_timm_is_imported_when_it_is_asked_for_and_leaves_the_callers_settings() -> None:
    assert python(ASKED_FOR) == "False False False"


@dataclass
class Listed:
    """What the zoo lists, imported once."""

    entries: dict[str, ZooEntry]


@pytest.fixture(scope="module")
def listed() -> Listed:
    return Listed({entry.source: entry for entry in zoo.entries()})


def test_the_zoo_lists_timm(listed: Listed) -> None:
    import timm

    names = set(timm.list_models())
    assert {source.removeprefix("timm:") for source in listed.entries if source.startswith("timm:")} == names
    assert "torchvision:resnet50" in listed.entries
    entry = listed.entries["timm:vit_tiny_patch16_224"]
    assert (entry.name, entry.task, entry.input) == ("vit_tiny_patch16_224", "classification", "1×3×224×224")
    assert entry.params == analysed(opened("vit_tiny_patch16_224")).totals.params
    assert listed.entries["timm:samvit_base_patch16"].task == "features"


def test_another_timm_is_listed_by_asking_it(listed: Listed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.zoo.metadata.version", lambda name: "9.9")
    assert {entry.source for entry in zoo.entries()} == set(listed.entries)
    monkeypatch.setattr(timm_zoo, "installed", lambda: False)
    assert all(entry.source.startswith("torchvision:") for entry in zoo.entries())
