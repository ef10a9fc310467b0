"""``transformers:DIR``: architectures made from small configurations, and folders in every state."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from engine.configuration import Configuration
from engine.errors import InputError, LoadError, MissingShapeError
from engine.graph import InputShape
from engine.loaders import load
from engine.loaders.loaded import LoadedModel, LoadOptions
from engine.loaders.transformers_dir import task_of
from engine.results import Analysis
from engine.session import Session
from tests.conftest import sampled

ROOT = Path(__file__).parents[2]
VISION = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
TEXT = {**VISION, "vocab_size": 100, "max_position_embeddings": 64}
CONFIGS: dict[str, dict[str, Any]] = {
    "BertForSequenceClassification": {"model_type": "bert", **TEXT},
    "DistilBertModel": {
        "model_type": "distilbert", "vocab_size": 100, "dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 4,
        "max_position_embeddings": 64,
    },
    "RobertaForMaskedLM": {"model_type": "roberta", **TEXT},
    "GPT2LMHeadModel": {
        "model_type": "gpt2", "vocab_size": 100, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64,
    },
    "LlamaForCausalLM": {"model_type": "llama", **TEXT, "num_key_value_heads": 2, "dtype": "bfloat16"},
    "T5ForConditionalGeneration": {
        "model_type": "t5", "vocab_size": 100, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4,
        "is_encoder_decoder": True,
    },
    "BartModel": {
        "model_type": "bart", "vocab_size": 100, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2,
        "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64,
        "max_position_embeddings": 64, "is_encoder_decoder": True,
    },
    "ViTForImageClassification": {"model_type": "vit", **VISION, "image_size": 32, "patch_size": 8},
    "SwinModel": {
        "model_type": "swin", "image_size": 64, "patch_size": 4, "embed_dim": 16, "depths": [1, 1],
        "num_heads": [2, 4], "window_size": 4,
    },
    "ResNetForImageClassification": {
        "model_type": "resnet", "embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1],
        "layer_type": "basic",
    },
    "CLIPModel": {
        "model_type": "clip", "projection_dim": 16, "text_config": {**TEXT, "max_position_embeddings": 20},
        "vision_config": {**VISION, "image_size": 32, "patch_size": 8},
    },
    "WhisperForConditionalGeneration": {
        "model_type": "whisper", "vocab_size": 100, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2,
        "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64,
        "num_mel_bins": 8, "max_source_positions": 30, "max_target_positions": 40, "is_encoder_decoder": True,
        "pad_token_id": 1, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 3,
    },
    "Wav2Vec2ForCTC": {
        "model_type": "wav2vec2", **VISION, "vocab_size": 30, "conv_dim": [16, 16], "conv_kernel": [10, 8],
        "conv_stride": [5, 4], "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 4,
    },
    "MambaForCausalLM": {
        "model_type": "mamba", "vocab_size": 100, "hidden_size": 32, "state_size": 4, "num_hidden_layers": 2,
    },
    "MixtralForCausalLM": {
        "model_type": "mixtral", **TEXT, "num_key_value_heads": 2, "num_local_experts": 4, "num_experts_per_tok": 2,
    },
}  # fmt: skip
"""By the class that ``architectures`` names."""
GROUPED = {"MixtralForCausalLM": 2 * 64 * 2 * (3 * 32 * 64)}
"""MACs that FlopCounterMode does not see: layers × tokens × experts per token × the three matrices of an expert, which
``_grouped_mm`` multiplies."""


def write(folder: Path, config: dict[str, Any], name: str = "config.json") -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    (folder / name).write_text(json.dumps(config), encoding="utf-8")
    return folder


def made(folder: Path, kind: str) -> Path:
    return write(folder / "model", {"architectures": [kind], **CONFIGS[kind]})


def opened(folder: Path) -> LoadedModel:
    return load(f"transformers:{folder}", LoadOptions())


def analysed(loaded: LoadedModel, *inputs: InputShape) -> Analysis:
    session = Session(loaded)
    return session.analyze(Configuration(inputs=session.complete(inputs)))


class Truth(TorchDispatchMode):
    """A condition on values holds, such as "nothing is masked"; on meta torch would raise."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            return True
        return func(*args, **(kwargs or {}))


def oracle(loaded: LoadedModel) -> int:
    assert loaded.binding is not None
    args, kwargs = loaded.binding.arguments(
        loaded.binding.defaults(), lambda shape, dtype: torch.empty(shape, dtype=dtype, device="meta")
    )
    counter = FlopCounterMode(display=False)
    loaded.module.requires_grad_(False)  # it looks for gradients, which inference mode has none of
    with torch.inference_mode(), Truth(), counter:
        loaded.module(*args, **kwargs)
    return counter.get_total_flops()


@pytest.mark.parametrize("kind", sampled(list(CONFIGS), 4, "transformers"))
def test_params_and_macs_as_transformers_has_them(kind: str, tmp_path: Path) -> None:
    loaded = opened(made(tmp_path, kind))
    analysis = analysed(loaded)
    import transformers

    settings = transformers.AutoConfig.from_pretrained(tmp_path / "model", local_files_only=True)
    reference = getattr(transformers, kind)(settings)
    assert analysis.totals.params == sum(parameter.numel() for parameter in reference.parameters())
    assert 2 * analysis.totals.macs == oracle(loaded) + 2 * GROUPED.get(kind, 0)
    assert analysis.mode == "meta"
    assert analysis.environment["transformers"] == transformers.__version__
    assert loaded.info.class_name == kind
    assert loaded.info.format == "transformers"
    assert loaded.module.training is False


@pytest.mark.parametrize("kind", sampled(list(CONFIGS), 2, "transformers for real"))
def test_a_real_pass_computes_what_was_counted(kind: str, tmp_path: Path) -> None:
    loaded = opened(made(tmp_path, kind))
    session = Session(loaded)
    analysis = session.analyze(session.default_configuration())
    with session.real(session.default_configuration()) as real, torch.inference_mode():
        output = real.forward()
    shapes = [tuple(value.shape) for value in output.values() if isinstance(value, torch.Tensor)]  # type: ignore[attr-defined]
    assert shapes
    assert set(shapes) <= set(analysis.output_shapes)


def test_inputs_have_the_sizes_that_the_configuration_says(tmp_path: Path) -> None:
    bert = opened(made(tmp_path, "BertForSequenceClassification"))
    (tokens,) = bert.specs
    assert (tokens.name, tokens.dtype, tokens.default.shape) == ("input_ids", "int64", (1, 64))
    assert (tokens.dims[1].minimum, tokens.dims[1].maximum, tokens.dims[1].step) == (1, 64, 1)
    assert bert.info.task == "sequence classification"

    clip = opened(made(tmp_path / "b", "CLIPModel"))
    assert [str(spec.default) for spec in clip.specs] == ["1×20 int64", "1×3×32×32"]
    assert clip.specs[0].dims[0].symbol == clip.specs[1].dims[0].symbol

    t5 = opened(made(tmp_path / "c", "T5ForConditionalGeneration"))
    read, written = t5.specs
    assert [read.name, written.name] == ["input_ids", "decoder_input_ids"]
    assert read.dims[1].symbol != written.dims[1].symbol

    whisper = opened(made(tmp_path / "d", "WhisperForConditionalGeneration"))
    features, tokens = whisper.specs
    assert features.default.shape == (1, 8, 2 * 30)
    assert features.dims[2].symbol is None
    assert tokens.dims[1].maximum == 40


def test_floating_inputs_have_the_dtype_of_the_weights(tmp_path: Path) -> None:
    config = {"architectures": ["ViTModel"], **CONFIGS["ViTForImageClassification"], "dtype": "bfloat16"}
    loaded = opened(write(tmp_path / "model", config))
    assert loaded.specs[0].dtype == "bfloat16"
    assert analysed(loaded).totals.params == sum(p.numel() for p in loaded.module.parameters())


def test_images_of_other_sizes_resample_the_position_embedding(tmp_path: Path) -> None:
    loaded = opened(made(tmp_path, "ViTForImageClassification"))
    small, large = (analysed(loaded, InputShape("pixel_values", (1, 3, n, n), "")) for n in (32, 64))
    patches = 3 * 8 * 8 * 32
    grown = [
        analysis.layers.macs[analysis.layers.id.index("vit.embeddings.patch_embeddings.projection:conv2d")]
        for analysis in (small, large)
    ]
    assert grown == [4 * 4 * patches, 8 * 8 * patches]


def test_images_of_one_size_are_explained(tmp_path: Path) -> None:
    config = {
        **CONFIGS["ViTForImageClassification"], "model_type": "videomae", "architectures": ["VideoMAEModel"],
        "num_frames": 4, "tubelet_size": 2,
    }  # fmt: skip
    loaded = opened(write(tmp_path / "model", config))
    assert str(loaded.specs[0].default) == "1×4×3×32×32"
    assert [dim.label for dim in loaded.specs[0].dims if dim.symbol is None] == [
        "channels",
        "height",
        "width",
    ]
    assert loaded.info.fixed_sizes == (
        "VideoMAEModel was built for images of 32×32 pixels and refuses other sizes."
    )
    assert analysed(loaded).totals.macs


def test_tokens_without_a_position_are_refused(tmp_path: Path) -> None:
    gpt2 = opened(made(tmp_path, "GPT2LMHeadModel"))
    with pytest.raises(InputError, match="'input_ids' has 65 tokens; the model has 64 positions"):
        analysed(gpt2, InputShape("input_ids", (1, 65), ""))
    roberta = opened(made(tmp_path / "b", "RobertaForMaskedLM"))
    assert roberta.specs[0].dims[1].maximum == 64 - 2  # positions begin after the padding's index, 1
    llama = opened(made(tmp_path / "c", "LlamaForCausalLM"))
    assert analysed(llama, InputShape("input_ids", (1, 65), "")).totals.macs  # rotary: there is no table


def test_a_mask_that_the_model_makes_itself_masks_nothing(tmp_path: Path) -> None:
    """BART looks whether all of its own mask is true, and then takes the causal kernel instead."""
    analysis = analysed(opened(made(tmp_path, "BartModel")))
    layers = analysis.layers
    attention = [i for i, op in enumerate(layers.op) if op == "scaled_dot_product_attention"]
    assert all(len(layers.input_shapes[i]) == 3 for i in attention)
    assert [(a.key, a.value) for a in analysis.assumptions] == [("decoder:all", 1)]


def test_experts_that_data_would_choose_are_counted(tmp_path: Path) -> None:
    analysis = analysed(opened(made(tmp_path, "MixtralForCausalLM")))
    layers = analysis.layers
    experts = [i for i, op in enumerate(layers.op) if op == "_grouped_mm"]
    assert sum(layers.macs[i] or 0 for i in experts) == GROUPED["MixtralForCausalLM"]
    assert not analysis.assumptions


def test_a_model_with_unknown_inputs_asks_for_their_shapes(tmp_path: Path) -> None:
    config = {
        "architectures": ["DecisionTransformerModel"],
        "model_type": "decision_transformer",
        "n_layer": 1,
    }
    loaded = opened(write(tmp_path / "model", config))
    with pytest.raises(MissingShapeError):
        Session(loaded)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ("{", "config.json is no JSON"),
        ("[]", "it holds no JSON object"),
        ({}, "has no model_type"),
        ({"model_type": "nonesuch"}, "does not know the model type 'nonesuch'"),
        (
            {
                "model_type": "own",
                "auto_map": {"AutoModel": "modeling_own.OwnModel"},
                "architectures": ["OwnModel"],
            },
            "asks for code of its own",
        ),
        (
            {"model_type": "bert", "auto_map": {"AutoModel": "m.OwnModel"}, "architectures": ["OwnModel"]},
            "code of its own (OwnModel), which is not run",
        ),
        ({"model_type": "bert", "hidden_size": "large"}, "config.json"),
        ({"model_type": "bert", "hidden_size": 10, "num_attention_heads": 3}, "config.json"),
        ({"model_type": "bert", "hidden_size": -1}, "config.json"),
        ({"model_type": "bert", "num_hidden_layers": 10**9}, "num_hidden_layers is 1,000,000,000"),
        ({"model_type": "bert", "vocab_size": 10**30}, "config.json"),
        ({"model_type": "bert", "architectures": ["LlamaForCausalLM"]}, "cannot build LlamaForCausalLM"),
        ({"model_type": "swin", "depths": [2, 30_000]}, "depths is 30,002, more than the 10,000"),
        (
            {"model_type": "timm_backbone", "backbone": "local-dir:/x"},
            "backbone is local-dir:/x, which is no name",
        ),
        (
            {"model_type": "detr", "backbone_config": {"backbone": "hf-hub:a/b"}},
            "hf-hub:a/b, which is no name",
        ),
    ],
)
def test_configurations_that_cannot_be_opened_say_why(config: Any, sentence: str, tmp_path: Path) -> None:
    text = config if isinstance(config, str) else json.dumps(config)
    (tmp_path / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(LoadError) as caught:
        opened(tmp_path)
    assert sentence in caught.value.message
    assert caught.value.message.endswith(".")
    assert caught.value.file == str(tmp_path / "config.json")


def test_a_configuration_opens_like_the_folder_it_lies_in(tmp_path: Path) -> None:
    folder = made(tmp_path, "BertForSequenceClassification")
    opened_file = load(str(folder / "config.json"), LoadOptions())
    assert opened_file.info.format == "transformers"
    assert analysed(opened_file).totals == analysed(opened(folder)).totals


def test_nothing_that_a_configuration_names_is_fetched_or_run(tmp_path: Path) -> None:
    """Kernels, own code and pretrained backbones are names in a text; the model is built of transformers' classes."""
    (tmp_path / "modeling_own.py").write_text("raise SystemExit('ran')", encoding="utf-8")
    config = {
        **CONFIGS["BertForSequenceClassification"],
        "architectures": ["BertModel"],
        "auto_map": {"AutoConfig": "modeling_own.Config", "AutoModel": "modeling_own.BertModel"},
        "attn_implementation": "kernels-community/own",
        "_attn_implementation": "kernels-community/own",
        "_name_or_path": "somebody/model",
    }
    loaded = opened(write(tmp_path, config))
    assert type(loaded.module).__module__ == "transformers.models.bert.modeling_bert"
    assert "own code was not run" in loaded.info.note
    assert "scaled_dot_product_attention" in analysed(loaded).layers.op


def test_pretrained_parts_are_built_without_their_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    config = {
        "model_type": "detr", "architectures": ["DetrModel"], "d_model": 32, "encoder_layers": 1, "decoder_layers": 1,
        "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
        "use_timm_backbone": True, "backbone": "resnet18", "use_pretrained_backbone": True,
    }  # fmt: skip
    loaded = opened(write(tmp_path, config))
    assert analysed(loaded).totals.macs
    assert "no image size" in loaded.info.note


def test_timm_is_given_no_weights_to_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """timm unpickles what ``checkpoint_path`` names, older versions of it with all that the pickle calls."""
    reads: list[Any] = []
    monkeypatch.setattr(
        "timm.models._factory.load_checkpoint", lambda model, path, **rest: reads.append(path)
    )
    weights = {"checkpoint_path": str(tmp_path / "evil.pth"), "pretrained_cfg": {"file": "evil.pth"}}
    config = {
        "model_type": "timm_wrapper", "architectures": ["TimmWrapperModel"], "architecture": "resnet18",
        "num_classes": 10, "pretrained_cfg": {"num_classes": 10}, "model_args": {"in_chans": 1, **weights},
    }  # fmt: skip
    loaded = opened(write(tmp_path, config))
    assert not reads
    assert loaded.module.get_parameter("timm_model.conv1.weight").shape == (64, 1, 7, 7)


def test_a_class_that_transformers_has_not_shows_the_base_model(tmp_path: Path) -> None:
    config = {**CONFIGS["BertForSequenceClassification"], "architectures": ["BertForNothing"]}
    loaded = opened(write(tmp_path, config))
    assert loaded.info.class_name == "BertModel"
    assert loaded.info.note.startswith(
        "transformers has no BertForNothing; its base model BertModel is shown."
    )


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("BertForSequenceClassification", "sequence classification"),
        ("LlamaForCausalLM", "language modelling"),
        ("GPT2LMHeadModel", "language modelling"),
        ("Wav2Vec2ForCTC", "CTC"),
        ("ViTModel", "features"),
    ],
)
def test_the_task_is_in_the_name_of_the_class(name: str, task: str) -> None:
    assert task_of(name) == task


def attempt(folder: Path) -> LoadedModel | LoadError:
    """What opening gives; any other exception fails the test."""
    try:
        return opened(folder)
    except LoadError as error:
        return error


ODD: list[Any] = [
    None,
    True,
    -1,
    0,
    2.5,
    "x",
    "",
    [],
    ["x", 1],
    {},
    {"a": [1]},
    10**18,
    [[1]],
    {"model_type": "bert"},
]


@pytest.mark.parametrize(
    "key",
    sampled(
        ["architectures", "model_type", "auto_map", "dtype", "torch_dtype", "hidden_act", "hidden_size", "vocab_size",
         "num_hidden_layers", "quantization_config", "transformers_version", "pad_token_id", "num_attention_heads",
         "id2label", "is_decoder", "max_position_embeddings", "rope_parameters", "attn_implementation"],
        4,
        "odd configurations",
    ),
)  # fmt: skip
def test_values_of_the_wrong_type_are_a_sentence_or_do_not_matter(key: str, tmp_path: Path) -> None:
    for value in ODD:
        config = {"architectures": ["BertModel"], **CONFIGS["BertForSequenceClassification"], key: value}
        result = attempt(write(tmp_path, config))
        if isinstance(result, LoadError):
            assert result.file == str(tmp_path / "config.json")
            assert len(result.message) < 700
        else:
            assert result.info.class_name == "BertModel"


def test_a_configuration_nested_without_end_is_a_sentence(tmp_path: Path) -> None:
    for depth in (100, 400, 900, 100_000):
        text = '{"model_type": "bert", "a": ' + '{"a": ' * depth + "1" + "}" * depth + "}"
        (tmp_path / "config.json").write_text(text, encoding="utf-8")
        result = attempt(tmp_path)
        assert not isinstance(result, LoadError) or "config.json" in result.message


LOOKS = """
import os
import torch

class Model(torch.nn.Module):
    def forward(self, x):
        return x.repeat(1, 7) if os.environ.get("HF_HUB_OFFLINE") == "1" else x

def build():
    return Model(), torch.zeros(1, 3)
"""


def test_the_hub_stays_closed_during_a_forward_pass_too(tmp_path: Path) -> None:
    """A process of the engine's own tells the Hugging Face libraries, whatever imports them later."""
    (tmp_path / "net.py").write_text(LOOKS, encoding="utf-8")
    command = [
        sys.executable,
        "main.py",
        "report",
        f"{tmp_path / 'net.py'}:build",
        "--trust",
        "--format",
        "json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert [row["output_shapes"] for row in json.loads(done.stdout)["layers"]] == [[[1, 21]]]
