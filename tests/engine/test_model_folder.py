"""A folder as a source: what is in it decides how it is opened."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.errors import EngineError, LoadError
from engine.loaders import load
from engine.loaders.loaded import LoadOptions
from engine.session import Session
from tests.engine.model_files import Convolutional, build, save_exported, save_safetensors
from tests.engine.test_transformers import CONFIGS, write

BERT = {"architectures": ["BertModel"], **CONFIGS["BertForSequenceClassification"]}


def test_a_folder_with_a_configuration_is_opened_by_transformers(tmp_path: Path) -> None:
    folder = write(tmp_path / "bert-base", BERT)
    loaded = load(str(folder), LoadOptions())
    assert loaded.info.source == f"transformers:{folder}"
    assert loaded.info.name == "bert-base"
    assert loaded.watch == str(folder / "config.json")


def test_a_folder_as_timm_saves_it_is_opened_by_timm(tmp_path: Path) -> None:
    folder = write(tmp_path / "resnet", {"architecture": "resnet18", "num_classes": 7})
    loaded = load(str(folder), LoadOptions())
    assert loaded.info.source == "timm:resnet18(num_classes=7)"
    assert loaded.module.get_submodule("fc").weight.shape == (7, 512)


def test_weights_as_timm_saves_them_belong_to_the_architecture_beside_them(tmp_path: Path) -> None:
    import timm

    torch.manual_seed(0)
    reference = timm.create_model("test_vit", num_classes=7, img_size=96).eval()
    save_safetensors(reference.state_dict(), tmp_path / "model.safetensors")
    config = {"architecture": "test_vit", "num_classes": 7, "model_args": {"img_size": 96}}
    session = Session(load(str(write(tmp_path, config)), LoadOptions()))
    assert session.info.weights == str(tmp_path / "model.safetensors")
    with session.real(session.default_configuration()) as real, torch.inference_mode():
        assert real.args[0].shape == (1, 3, 96, 96)
        assert torch.equal(real.forward(), reference(*real.args))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "config",
    [
        {"architecture": "resnet18(checkpoint_path='x.pth')"},
        {"architecture": "resnet18", "model_args": {"checkpoint_path": "x.pth"}},
        {"architecture": "hf-hub:somebody/model"},
        {"architecture": "resnet18)+print("},
    ],
)
def test_a_timm_folder_cannot_name_what_to_fetch_or_unpickle(config: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(LoadError):
        load(str(write(tmp_path, config)), LoadOptions())


def test_the_only_model_file_of_a_folder_is_opened(tmp_path: Path) -> None:
    module, example = build(Convolutional)
    save_exported(module, example, tmp_path / "net.pt2")
    (tmp_path / "README.md").write_text("about", encoding="utf-8")
    with pytest.raises(EngineError) as caught:
        load(str(tmp_path), LoadOptions())
    assert caught.value.file == str(tmp_path / "net.pt2")


def test_several_model_files_are_listed(tmp_path: Path) -> None:
    for name in ("a.pt", "b.safetensors", "c.txt"):
        torch.save({}, tmp_path / name)
    with pytest.raises(LoadError, match=r"holds 2 model files: a\.pt, b\.safetensors") as caught:
        load(str(tmp_path), LoadOptions())
    assert caught.value.hint == "Open one of them."


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({}, "holds no model"),
        ({"saved_model.pb": "x"}, "is a TensorFlow SavedModel"),
        ({"config.json": json.dumps({"_class_name": "UNet"})}, "is a model of diffusers"),
        ({"config.json": json.dumps({"other": 1})}, "has a config.json but no weights"),
    ],
)
def test_a_folder_that_holds_no_model_says_what_it_is(
    files: dict[str, str], sentence: str, tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(LoadError, match=sentence):
        load(str(tmp_path), LoadOptions())
