"""Weights beside a configuration: what a real run computes equals what transformers computes with them."""

from __future__ import annotations

from pathlib import Path
from threading import Event
from typing import Any

import pytest
import torch
from torch import nn

from engine.errors import LoadError
from engine.loaders import load, transformers_weights
from engine.loaders.loaded import LoadOptions
from engine.session import Session
from tests.conftest import sampled
from tests.engine.test_transformers import CONFIGS, opened


def model(kind: str, **more: Any) -> Any:
    """The reference: transformers' own class with random weights."""
    import transformers

    values = {"architectures": [kind], **CONFIGS[kind], **more}
    settings = transformers.CONFIG_MAPPING[values["model_type"]].from_dict(values)
    torch.manual_seed(0)
    return getattr(transformers, kind)(settings).eval()


def outputs(module: nn.Module, folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """(ours, transformers'): the first output of the folder's model and of ``module`` on the same inputs."""
    session = Session(opened(folder))
    with session.real(session.default_configuration()) as real, torch.inference_mode():
        given = real.forward()[0]  # type: ignore[index]
        return given, module(*real.args, **real.kwargs)[0]


@pytest.mark.parametrize("kind", sampled(list(CONFIGS), 2, "transformers' weights"))
def test_weights_are_those_of_the_folder(kind: str, tmp_path: Path) -> None:
    reference = model(kind)
    reference.save_pretrained(tmp_path)
    loaded = opened(tmp_path)
    assert loaded.info.weights == str(tmp_path / "model.safetensors")
    assert not loaded.random_weights
    assert "random" not in loaded.info.note
    ours, theirs = outputs(reference, tmp_path)
    assert torch.equal(ours, theirs)


def test_weights_in_shards(tmp_path: Path) -> None:
    reference = model("GPT2LMHeadModel")
    reference.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    assert opened(tmp_path).info.weights == str(tmp_path / "model.safetensors.index.json")
    ours, theirs = outputs(reference, tmp_path)
    assert torch.equal(ours, theirs)


def test_weights_as_older_versions_saved_them(tmp_path: Path) -> None:
    """A pickle, with the base model's names, TensorFlow's words for a norm, and without the tied output layer."""
    reference = model("RobertaForMaskedLM")
    reference.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    renamed = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    state = {}
    for name, tensor in reference.state_dict().items():
        for now, before in renamed.items():
            name = name.replace(now, before)
        if name not in ("lm_head.decoder.weight", "lm_head.decoder.bias"):
            state[name] = tensor
    torch.save(state, tmp_path / "pytorch_model.bin")
    assert opened(tmp_path).info.note == ""
    ours, theirs = outputs(reference, tmp_path)
    assert torch.equal(ours, theirs)


def test_the_base_models_weights_leave_the_head_random(tmp_path: Path) -> None:
    reference = model("BertForSequenceClassification")
    reference.save_pretrained(tmp_path)
    torch.save(reference.bert.state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    loaded = opened(tmp_path)
    assert loaded.info.note == (
        "pytorch_model.bin lacks 2 tensors of the model (classifier.bias): their values are random."
    )
    real = loaded.build_real()
    assert torch.equal(
        real.get_parameter("bert.embeddings.word_embeddings.weight"),
        reference.bert.embeddings.word_embeddings.weight,
    )


def test_the_dtype_is_that_of_the_weights(tmp_path: Path) -> None:
    model("ViTForImageClassification").to(torch.float16).save_pretrained(tmp_path)
    config = (tmp_path / "config.json").read_text(encoding="utf-8")
    (tmp_path / "config.json").write_text(config.replace('"dtype": "float16",', ""), encoding="utf-8")
    loaded = opened(tmp_path)
    assert {p.dtype for p in loaded.module.parameters()} == {torch.float16}
    assert {p.dtype for p in loaded.build_real().parameters()} == {torch.float16}
    assert loaded.specs[0].dtype == "float16"


@pytest.mark.parametrize(
    ("kind", "name", "called_otherwise"),
    [
        ("LlamaForCausalLM", "model.layers.1.mlp.up_proj.weight", "nothing"),
        ("GPT2LMHeadModel", "lm_head.weight", "nothing"),
        ("MixtralForCausalLM", "model.layers.1.mlp.experts.down_proj", ".mlp."),
    ],
)
def test_zeros_are_counted_as_the_model_has_them(
    kind: str, name: str, called_otherwise: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tied tensors, and experts that the file has one by one under another name: of a large model they are unknown."""
    reference = model(kind)
    with torch.no_grad():
        reference.get_parameter(name)[0].zero_()
    reference.save_pretrained(tmp_path)
    session = Session(opened(tmp_path))
    for _ in session.count_zeros(Event()):
        pass
    assert session.zeros is not None
    pruned = {
        each: int((value == 0).sum()) for each, value in reference.named_parameters(remove_duplicate=False)
    }
    assert session.zeros == pruned
    assert pruned[name] >= reference.get_parameter(name)[0].numel()

    monkeypatch.setattr(transformers_weights, "SMALL", 0)
    large = Session(opened(tmp_path))
    for _ in large.count_zeros(Event()):
        pass
    assert large.zeros == {each: count for each, count in pruned.items() if called_otherwise not in each}


@pytest.mark.parametrize("kind", ["DistilBertModel", "ViTForImageClassification"])
def test_weights_of_another_model_are_refused(kind: str, tmp_path: Path) -> None:
    model("BertForSequenceClassification").save_pretrained(tmp_path)
    weights = (tmp_path / "model.safetensors").read_bytes()
    model(kind).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(weights)
    with pytest.raises(LoadError, match=f"model.safetensors .* {kind}") as caught:
        opened(tmp_path)
    assert caught.value.file == str(tmp_path / "model.safetensors")


def test_weights_of_another_size_are_refused(tmp_path: Path) -> None:
    model("BertForSequenceClassification").save_pretrained(tmp_path)
    weights = (tmp_path / "model.safetensors").read_bytes()
    model("BertForSequenceClassification", vocab_size=50).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(weights)
    with pytest.raises(LoadError, match="do not fit BertForSequenceClassification"):
        opened(tmp_path)


def test_damaged_weights_say_so(tmp_path: Path) -> None:
    model("BertForSequenceClassification").save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(LoadError, match=r"model\.safetensors"):
        load(str(tmp_path), LoadOptions())


def test_quantised_weights_are_not_read(tmp_path: Path) -> None:
    reference = model("BertForSequenceClassification")
    reference.save_pretrained(tmp_path)
    config = (tmp_path / "config.json").read_text(encoding="utf-8")
    quantized = config.replace("{", '{"quantization_config": {"quant_method": "fp8"},', 1)
    (tmp_path / "config.json").write_text(quantized, encoding="utf-8")
    loaded = opened(tmp_path)
    assert loaded.random_weights
    assert "before quantisation" in loaded.info.note
