"""Files that torch writes, read without torch: names, shapes, dtypes and counts equal torch's own, as integers."""

from __future__ import annotations

import io
import json
import math
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from torch import Tensor, nn

from engine.errors import ArchitectureRequiredError, LoadError
from engine.files import Contents, describe, read
from engine.loaders import load
from engine.loaders.loaded import LoadOptions
from engine.numbers import THIN
from engine.protocol import Failed, Open
from main import main
from tests.engine.model_files import (
    INPUTS,
    Convolutional,
    Recurrent,
    Transformer,
    build,
    save_all,
    save_safetensors,
)
from tests.engine.test_server import Engine, engine

__all__ = ["engine"]

Files = dict[tuple[type[nn.Module], str], Path]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    found: Files = {}
    for kind in INPUTS:
        folder = tmp_path_factory.mktemp(kind.__name__)
        found.update({(kind, name): path for name, path in save_all(folder, kind).items()})
    return found


def rows(contents: Contents, group: int = 0) -> dict[str, tuple[tuple[int, ...], str]]:
    """Name → shape and dtype of one group."""
    tensors = contents.tensors
    return {
        name: (tensors.shape[index], tensors.dtype[index])
        for index, name in enumerate(tensors.name)
        if tensors.group[index] == group
    }


def expected(state: dict[str, Tensor]) -> dict[str, tuple[tuple[int, ...], str]]:
    return {
        name: (tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
        for name, tensor in state.items()
    }


def params(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize("form", ["state", "legacy", "module", "safetensors"])
def test_weights_equal_the_state_dict(files: Files, kind: type[nn.Module], form: str) -> None:
    module, _ = build(kind)
    state = module.state_dict()
    contents = read(files[kind, form])
    assert {name: row for name, row in rows(contents).items() if name != "scale"} == expected(state)
    assert [name for name in contents.tensors.name if name != "scale"] == list(state)
    if form != "safetensors" or kind is not Transformer:
        assert contents.groups[0].params == params(module)
    else:
        # safetensors knows no ties: both copies are in the file.
        assert contents.groups[0].params == params(module) + 50 * 16
    assert not contents.foreign or form == "module"
    strides = dict(zip(contents.tensors.name, contents.tensors.stride, strict=True))
    assert all(strides[name] == tensor.stride() for name, tensor in state.items())


@pytest.mark.parametrize("kind", INPUTS)
def test_a_pickled_module_tells_parameters_from_buffers(files: Files, kind: type[nn.Module]) -> None:
    module, _ = build(kind)
    contents = read(files[kind, "module"])
    assert contents.kind == "module"
    roles = dict(zip(contents.tensors.name, contents.tensors.role, strict=True))
    assert {n for n, role in roles.items() if role == "parameter"} == {
        n for n, _ in module.named_parameters(remove_duplicate=False)
    }
    assert {n for n, role in roles.items() if role in ("buffer", "temporary")} == {
        n for n, _ in module.named_buffers()
    }
    assert contents.classes[0] == f"tests.engine.model_files.{kind.__name__}"
    assert contents.foreign == (f"tests.engine.model_files.{kind.__name__}",)


@pytest.mark.parametrize("kind", INPUTS)
def test_torchscript(files: Files, kind: type[nn.Module]) -> None:
    module, _ = build(kind)
    contents = read(files[kind, "script"])
    assert contents.kind == "torchscript"
    shapes = rows(contents)
    # Tracing leaves out what forward does not read (num_batches_tracked), and keeps ties under every name.
    assert {name: row for name, row in shapes.items() if name in dict(module.named_parameters())} == expected(
        dict(module.named_parameters())
    )
    assert contents.groups[0].params == params(module)
    assert any(entry.name.endswith(".py") for entry in contents.code)
    assert contents.classes[0].endswith(kind.__name__)
    assert contents.foreign == ()


@pytest.mark.parametrize("kind", INPUTS)
def test_exported_programs(files: Files, kind: type[nn.Module]) -> None:
    module, example = build(kind)
    contents = read(files[kind, "exported"])
    assert contents.kind == "exported program"
    assert rows(contents) == expected(module.state_dict())
    assert contents.groups[0].params == params(module)
    assert contents.producer == f"torch {torch.__version__}"
    program = torch.export.load(files[kind, "exported"])
    # getitem unpacks the results of a node; the file keeps it as a part of that node.
    targets = [
        str(node.target)
        for node in program.graph.nodes
        if node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload)
    ]
    counted = {
        operation.name.removeprefix("torch.ops."): operation.count for operation in contents.operations
    }
    assert counted == {name: targets.count(name) for name in set(targets)}
    (given,) = contents.inputs
    assert (given.shape, given.dtype) == (tuple(example.shape), str(example.dtype).removeprefix("torch."))
    assert contents.foreign == ()


def test_exported_programs_of_older_torch(files: Files, tmp_path: Path) -> None:
    """torch 2.1 to 2.7 wrote a plain zip, with the weights as a file of torch.save in it."""
    module, example = build(Convolutional)
    weights = io.BytesIO()
    torch.save(module.state_dict(), weights)
    with (
        zipfile.ZipFile(files[Convolutional, "exported"]) as new,
        zipfile.ZipFile(tmp_path / "net.pt2", "w") as old,
    ):
        graph = next(name for name in new.namelist() if name.endswith("models/model.json"))
        old.writestr("serialized_exported_program.json", new.read(graph))
        old.writestr("serialized_state_dict.pt", weights.getvalue())
        old.writestr("version", "8.2")
    contents = read(tmp_path / "net.pt2")
    shapes = rows(contents)
    assert shapes.pop("scale") == ((8, 1, 1), "float32")
    assert shapes == expected(module.state_dict())
    assert contents.groups[0].params == params(module)
    assert contents.inputs[0].shape == tuple(example.shape)
    assert contents.operations == read(files[Convolutional, "exported"]).operations


def test_a_size_that_varies_is_shown_as_its_symbol(tmp_path: Path) -> None:
    batch = torch.export.Dim("batch", min=2, max=64)
    module, example = build(Convolutional)
    program = torch.export.export(module, (example,), dynamic_shapes=({0: batch},))
    torch.export.save(program, tmp_path / "net.pt2")
    contents = read(tmp_path / "net.pt2")
    (given,) = contents.inputs
    assert isinstance(given.shape[0], str) and given.shape[0].isidentifier()
    assert given.shape[1:] == (3, 8, 8)
    assert contents.foreign == ()


@pytest.mark.parametrize("kind", INPUTS)
def test_a_training_checkpoint_is_data(files: Files, kind: type[nn.Module]) -> None:
    module, _ = build(kind)
    contents = read(files[kind, "checkpoint"])
    assert contents.kind == "checkpoint"
    assert contents.foreign == ()
    groups = {group.path: group for group in contents.groups}
    assert groups["model"].role == "model" and groups["model"].prefix == "module."
    assert groups["ema"].role == "ema" and groups["ema"].prefix == "module._orig_mod."
    assert groups["optimizer"].role == "optimizer"
    assert groups["model"].params == groups["ema"].params == params(module)
    index = [group.path for group in contents.groups].index("model")
    prefixed = {f"module.{name}": row for name, row in expected(module.state_dict()).items()}
    assert rows(contents, index) == prefixed
    # AdamW keeps two moments per parameter, and one step count.
    optimizer = [group.path for group in contents.groups].index("optimizer")
    count = sum(math.prod(shape) for shape, _ in rows(contents, optimizer).values())
    assert count == 2 * params(module) + len(list(module.parameters()))
    assert rows(contents, 0)["curve"] == ((2, 3), "float32")
    totals = {t.prefix: t.elements for t in contents.totals if t.group == index}
    state = module.state_dict()
    assert totals == {
        prefix: sum(tensor.numel() for name, tensor in state.items() if name.split(".")[0] == prefix)
        for prefix in {name.split(".")[0] for name in state}
    }


def test_the_state_of_random_number_generators_is_no_model(tmp_path: Path) -> None:
    module, _ = build(Recurrent)
    rng = torch.get_rng_state()
    states = {"rng_state": rng, "cuda_rng_states": [rng], "rng": {"torch": rng}, "random_state": {"cpu": rng}}
    torch.save({"model": module.state_dict(), **states}, tmp_path / "net.pt")
    roles = {group.path: group.role for group in read(tmp_path / "net.pt").groups}
    assert roles == {
        "": "other", "model": "model", "cuda_rng_states": "other", "rng": "other", "random_state": "other",
    }  # fmt: skip


def test_every_dtype_that_torch_stores(tmp_path: Path) -> None:
    names = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "uint16",
             "uint32", "uint64", "bool", "complex64", "complex128", "float8_e4m3fn", "float8_e5m2")  # fmt: skip
    state = {name: torch.empty(2, 3, dtype=getattr(torch, name)) for name in names}
    torch.save(state, tmp_path / "all.pt")
    contents = read(tmp_path / "all.pt")
    assert rows(contents) == expected(state)
    assert dict(zip(contents.tensors.name, contents.tensors.bytes, strict=True)) == {
        name: tensor.numel() * tensor.element_size() for name, tensor in state.items()
    }


def test_a_module_inside_a_checkpoint(tmp_path: Path) -> None:
    module, _ = build(Convolutional)
    torch.save({"epoch": 3, "model": module, "ema": None}, tmp_path / "net.pt")
    contents = read(tmp_path / "net.pt")
    assert contents.kind == "checkpoint"
    assert contents.groups[0].path == "model" and contents.groups[0].params == params(module)
    assert contents.classes[0] == "tests.engine.model_files.Convolutional"


def test_views_sparse_quantised_meta_and_subclassed_tensors(tmp_path: Path) -> None:
    whole = torch.zeros(4, 6)
    values = {
        "whole": whole,
        "view": whole[1:3, ::2].t(),
        "expanded": torch.zeros(1, 3).expand(5, 3),
        "scalar": torch.tensor(1.0),
        "empty": torch.zeros(0, 3),
        "sparse": torch.eye(4).to_sparse(),
        "meta": torch.empty(2, 2, device="meta"),
        "parameter": nn.Parameter(torch.zeros(3)),
    }
    torch.save(values, tmp_path / "views.pt")
    contents = read(tmp_path / "views.pt")
    assert rows(contents) == expected(values)
    tensors = contents.tensors
    view, first = tensors.name.index("view"), tensors.name.index("whole")
    assert (tensors.stride[view], tensors.offset[view]) == ((2, 6), 6)
    assert tensors.storage[view] == tensors.storage[first]
    assert tensors.role[tensors.name.index("parameter")] == "parameter"


@pytest.mark.parametrize("protocol", range(6))
def test_plain_pickles_in_every_protocol(tmp_path: Path, protocol: int) -> None:
    module, _ = build(Recurrent)
    value: dict[str, Any] = {
        "state_dict": dict(module.state_dict()),
        "mean": numpy.arange(3.0),
        "n": 2**70,
        "t": (1, {2, 3}),
    }
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(value, protocol))
    contents = read(tmp_path / "plain.pkl")
    groups = [group.path for group in contents.groups]
    assert rows(contents, groups.index("state_dict")) == expected(module.state_dict())
    assert rows(contents, groups.index("")) == {"mean": ((3,), "float64")}
    assert contents.foreign == ()


def save_shards(folder: Path, state: dict[str, Tensor]) -> Path:
    names = list(state)
    parts = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for file, held in parts.items():
        save_safetensors({name: state[name] for name in held}, folder / file)
    index = folder / "model.safetensors.index.json"
    places = {name: file for file, held in parts.items() for name in held}
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return index


def test_shards_are_one_model(tmp_path: Path) -> None:
    module, _ = build(Recurrent)
    index = save_shards(tmp_path, module.state_dict())
    for path in (index, tmp_path):
        contents = read(path)
        assert rows(contents) == expected(module.state_dict())
        assert contents.groups[0].params == params(module)
        assert contents.shards == ("model-1.safetensors", "model-2.safetensors")
    (tmp_path / "model-2.safetensors").unlink()
    with pytest.raises(LoadError, match=r"1 of them are not there: model-2\.safetensors"):
        read(index)


def test_twenty_gigabytes_are_listed_by_their_header(tmp_path: Path) -> None:
    path = tmp_path / "huge.safetensors"
    count, each = 400, 50 * 2**20
    header = {
        f"layers.{i}.weight": {
            "dtype": "BF16",
            "shape": [each // 2],
            "data_offsets": [i * each, (i + 1) * each],
        }
        for i in range(count)
    }
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        try:
            file.truncate(8 + len(text) + count * each)
        except OSError as error:
            pytest.skip(f"no sparse file of 20 GB here: {error}")
    contents = read(path)
    assert contents.size > 20 * 10**9
    assert contents.groups[0].elements == count * each // 2


def test_an_archive_with_64_bit_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As torch writes it from 4 GB on."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 10)
    module, _ = build(Recurrent)
    torch.save(module.state_dict(), tmp_path / "small.pt")
    with zipfile.ZipFile(tmp_path / "small.pt") as small, zipfile.ZipFile(tmp_path / "net.pt", "w") as large:
        for name in small.namelist():
            large.writestr(name, small.read(name))
    assert b"PK\x06\x06" in (tmp_path / "net.pt").read_bytes()
    assert rows(read(tmp_path / "net.pt")) == expected(module.state_dict())


def test_reading_needs_no_framework(files: Files) -> None:
    """In a fresh process: neither torch nor numpy nor pickle's own machine is imported for it."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom engine.files import read\n"
        "for name in sys.argv[1:]: read(Path(name))\n"
        "print(sorted({'torch', 'numpy', 'zipfile', 'tarfile'} & set(sys.modules)))"
    )
    paths = [str(path) for path in files.values()]
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_opening_says_what_the_file_is(files: Files) -> None:
    with pytest.raises(ArchitectureRequiredError) as caught:
        load(str(files[Convolutional, "checkpoint"]), LoadOptions())
    text = caught.value.info().sentence
    assert "is a training checkpoint (torch.save, " in text
    assert 'under model, names beginning with "module."' in text
    assert "@net.py:callable" in text
    assert caught.value.contents == read(files[Convolutional, "checkpoint"])


def test_the_command_and_the_engine_process_say_it_too(
    files: Files, capsys: pytest.CaptureFixture[str], engine: Engine
) -> None:
    path = str(files[Transformer, "state"])
    assert main(["report", path]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and "is a state dict (torch.save, " in captured.err
    engine.send(Open(1, path))
    failed = engine.until(Failed)
    assert failed.error.kind == "architecture" and failed.error.file == path
    assert failed.error.sentence.replace(THIN, " ") in captured.err


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a pointer of Git LFS"),
        (b"<!DOCTYPE html><html></html>", "is a web page"),
        (b"\x89HDF\r\n\x1a\n0000", "is an HDF5 file"),
        (b"GGUF\x03\0\0\0", "is a GGUF file"),
        (b"\x08\x08\x12\x07pytorch\x3a\x09", "a field of 11 bytes there is longer"),
        (b'<\n  ir_version: 8,\n  opset_import: ["" : 17]\n>', "is an ONNX model as text"),
        (b'{\n  "irVersion": "8",', "is an ONNX model as text"),
        (b"\x20\0\0\0ORTM\0\0", "is in onnxruntime's own format"),
        (b"{}", "is a JSON file without weights"),
        (b'{"model_type": "bert"}', "is a model's configuration"),
        (b"hello, world", "is none of the kinds"),
        (b"\x1f\x8b\x08\0", "is compressed with gzip"),
    ],
)
def test_other_files_are_named(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "net.pt"
    path.write_bytes(content)
    with pytest.raises(LoadError, match=sentence) as caught:
        read(path)
    assert caught.value.hint and caught.value.file == str(path)


def test_what_is_no_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="There is no file"):
        read(tmp_path / "gone.pt")
    with pytest.raises(LoadError, match="holds no model"):
        read(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(LoadError, match=r"has a config\.json but no weights"):
        read(tmp_path)
    with pytest.raises(LoadError):
        read(Path("a\0b"))
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.pt")
        with pytest.raises(LoadError, match="no regular file"):
            read(tmp_path / "pipe.pt")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (PermissionError(13, "denied"), "permission denied"),
        (OSError(5, "Input/output error"), "Input/output error"),
    ],
)
def test_a_file_that_the_system_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, sentence: str
) -> None:
    """Tests may run as a user that no permission binds, so the system's answer is made here."""
    path = tmp_path / "net.pt"
    path.write_bytes(b"x")

    def refuse(*args: object) -> int:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        with pytest.raises(LoadError, match=sentence):
            read(path)


def test_sentences_describe_all_kinds(files: Files) -> None:
    for (_, form), path in files.items():
        text = describe(read(path))
        assert text.endswith(".") and "parameters" in text, form
