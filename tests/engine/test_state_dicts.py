"""Weights opened with their architecture: the same numbers and the same outputs as the module they were saved from."""

from __future__ import annotations

import json
import os
import pickle
import random
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event
from types import ModuleType
from typing import Any

import numpy
import psutil
import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn.utils import prune

from engine.api import analyze
from engine.configuration import Configuration
from engine.errors import (
    ArchitectureRequiredError,
    CancelledError,
    ConsentRequiredError,
    EngineError,
    LoadError,
    UnsupportedModelError,
)
from engine.loaders import load, weighted, weights
from engine.loaders.loaded import LoadedModel, LoadOptions
from engine.protocol import Analyze, Analyzed, Failed, Open, Opened
from engine.session import Session
from main import main
from tests.conftest import sampled
from tests.engine.model_files import (
    checkpoint,
    safetensors_bytes,
    save_exported,
    save_safetensors,
    save_script,
)
from tests.engine.test_server import Engine, engine

__all__ = ["engine"]

NET = """
import torch
from torch import nn


class Convolutional(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.body = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.head = nn.Linear(8, classes)
        self.register_buffer("scale", torch.full((8, 1, 1), 2.0), persistent=False)

    def forward(self, x):
        x = self.stem(x)
        return self.head((x + self.body(x) * self.scale).mean((2, 3)))


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens = nn.Embedding(50, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.out = nn.Linear(16, 50, bias=False)
        self.out.weight = self.tokens.weight

    def forward(self, x):
        return self.out(self.layer(self.tokens(x)))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(6, 5, 2, bidirectional=True, batch_first=True)
        self.out = nn.Linear(10, 3)

    def forward(self, x):
        return self.out(self.lstm(x)[0])


def convolutional(num_classes=10):
    return Convolutional(num_classes), torch.zeros(2, 3, 8, 8)


def transformer():
    return Transformer(), torch.zeros(2, 7, dtype=torch.int64)


def recurrent():
    return Recurrent(), torch.zeros(2, 7, 6)


def wide(layers):
    return nn.Sequential(*(nn.Linear(2**14, 2**14, bias=False) for _ in range(layers))), torch.zeros(1, 2**14)
"""
KINDS = ("convolutional", "transformer", "recurrent")
TOKENS = 2 * 7
MACS = {
    "convolutional": 2 * 64 * 8 * (3 * 9) + 2 * 64 * 8 * (4 * 9) + 2 * 8 * 10,
    "transformer": TOKENS * 16 * (48 + 16 + 32 + 32 + 50) + 2 * (2 * 2 * 7 * 7 * 8),
    "recurrent": TOKENS * 2 * 4 * 5 * ((6 + 5) + (10 + 5)) + TOKENS * 10 * 3,
}
"""Products of the layers' sizes; attention is 2 heads of 8, twice 7 × 7 for each of 2 texts."""
TRUSTED = LoadOptions(trust=True)


def save_shards(state: Mapping[str, Tensor], folder: Path, ending: str) -> Path:
    """As Hugging Face lays them out, in two files; the index."""
    names = list(state)
    stem = "model" if ending == "safetensors" else "pytorch_model"
    held = {f"{stem}-{at + 1}.{ending}": names[at::2] for at in (0, 1)}
    for file, part in held.items():
        tensors = {name: state[name] for name in part}
        if ending == "safetensors":
            save_safetensors(tensors, folder / file)
        else:
            torch.save(tensors, folder / file)
    index = folder / f"{stem}.{ending}.index.json"
    places = {name: file for file, part in held.items() for name in part}
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return index


FORMS: dict[str, Callable[[Mapping[str, Tensor], Path], Path]] = {}


def form(name: str) -> Callable[[Callable[[Mapping[str, Tensor], Path], Path]], None]:
    def register(save: Callable[[Mapping[str, Tensor], Path], Path]) -> None:
        FORMS[name] = save

    return register


for ending in ("pt", "pth", "bin"):

    @form(ending)
    def _saved(state: Mapping[str, Tensor], folder: Path, ending: str = ending) -> Path:
        torch.save(dict(state), folder / f"weights.{ending}")
        return folder / f"weights.{ending}"


@form("legacy")
def _legacy(state: Mapping[str, Tensor], folder: Path) -> Path:
    torch.save(dict(state), folder / "legacy.pth", _use_new_zipfile_serialization=False)
    return folder / "legacy.pth"


@form("safetensors")
def _safetensors(state: Mapping[str, Tensor], folder: Path) -> Path:
    save_safetensors(state, folder / "weights.safetensors")
    return folder / "weights.safetensors"


@form("shards")
def _shards(state: Mapping[str, Tensor], folder: Path) -> Path:
    return save_shards(state, folder, "safetensors")


@form("folder")
def _folder(state: Mapping[str, Tensor], folder: Path) -> Path:
    save_shards(state, folder, "bin")
    return folder


CASES = [(kind, name) for kind in KINDS for name in FORMS]


class Nets:
    """The modules of ``net.py``, and files of their weights."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "net.py"
        self.file.write_text(NET)
        self._module = ModuleType("net")
        exec(compile(NET, str(self.file), "exec"), self._module.__dict__)
        self._saved: dict[tuple[str, str], Path] = {}

    def build(self, kind: str, *args: Any) -> tuple[nn.Module, Tensor]:
        """The module, every value of it random, and an input."""
        torch.manual_seed(0)
        module, example = getattr(self._module, kind)(*args)
        for tensor in module.state_dict().values():
            if tensor.is_floating_point():
                nn.init.uniform_(tensor, 0.1, 0.9)
        return module.eval(), example

    def source(self, path: Path | str, kind: str) -> str:
        return f"{path}@{self.file}:{kind}"

    def saved(self, kind: str, name: str) -> Path:
        if (kind, name) not in self._saved:
            folder = self.folder / f"{kind}-{name}"
            folder.mkdir()
            self._saved[kind, name] = FORMS[name](self.build(kind)[0].state_dict(), folder)
        return self._saved[kind, name]

    def open(self, path: Path | str, kind: str) -> LoadedModel:
        return load(self.source(path, kind), TRUSTED)


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory) -> Nets:
    return Nets(tmp_path_factory.mktemp("nets"))


def params(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def assert_same_outputs(loaded: LoadedModel, module: nn.Module, example: Tensor) -> None:
    """The weights that a measurement runs with are those of ``module``, to the bit."""
    assert not loaded.random_weights
    assert_equal(loaded.build_real().eval(), module, example, loaded.specs[0].dtype)


def assert_equal(real: nn.Module, module: nn.Module, example: Tensor, dtype: str) -> None:
    values = torch.rand(example.shape) if example.is_floating_point() else torch.arange(7).repeat(2, 1)
    with torch.inference_mode():
        assert torch.equal(real(values.to(getattr(torch, dtype))), module(values.to(getattr(torch, dtype))))


def zeros(loaded: LoadedModel) -> dict[str, int]:
    assert loaded.count_zeros is not None
    # Parts of packed weights follow the whole as ``in_proj_weight[0:64]``.
    return {name: count for name, count in loaded.count_zeros(Event()) if name and "[" not in name}


# -- the same numbers and outputs --------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "name"), sampled(CASES, 8, "state dicts"))
def test_params_macs_and_outputs_are_those_of_the_module(nets: Nets, kind: str, name: str) -> None:
    module, example = nets.build(kind)
    path = nets.saved(kind, name)
    loaded = nets.open(path, kind)
    assert loaded.info.note == "" and not loaded.random_weights
    assert Path(loaded.info.weights).parent == (path if path.is_dir() else path.parent)
    session = Session(loaded)
    configuration = session.default_configuration()
    totals = session.analyze(configuration).totals
    expected = analyze(module, example).totals
    assert (totals.params, totals.macs) == (params(module), MACS[kind]) == (expected.params, expected.macs)
    with session.real(configuration) as real:
        assert_equal(real.module, module, example, loaded.specs[0].dtype)
    assert zeros(loaded) == {
        key: int((parameter == 0).sum()) for key, parameter in module.named_parameters(remove_duplicate=False)
    }


@pytest.mark.parametrize(("kind", "name"), sampled(CASES, 3, "state dicts on the command line"))
def test_the_command_line_reports_them(
    nets: Nets, kind: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = nets.source(nets.saved(kind, name), kind)
    assert main(["report", source, "--trust", "--format", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["totals"]["params"] == params(nets.build(kind)[0])
    assert report["totals"]["macs"] == MACS[kind]
    assert (report["model"]["source"], report["model"]["format"]) == (source, "state dict")


def test_an_engine_process_opens_them(nets: Nets, engine: Engine) -> None:
    for number, (kind, name) in enumerate(sampled(CASES, 3, "state dicts in an engine")):
        source = nets.source(nets.saved(kind, name), kind)
        engine.send(Open(2 * number + 1, source, trust=True))
        opened = engine.until(Opened)
        assert (opened.model.source, opened.model.note) == (source, "")
        inputs = tuple(spec.default for spec in opened.inputs)
        engine.send(Analyze(2 * number + 2, Configuration(inputs)))
        totals = engine.until(Analyzed).analysis.totals
        assert (totals.params, totals.macs) == (params(nets.build(kind)[0]), MACS[kind])
    engine.send(Open(100, str(nets.saved("recurrent", "pt"))))
    failed = engine.until(Failed)
    assert failed.error.kind == "architecture" and failed.error.contents is not None


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "squeezenet1_1"])
def test_weights_of_the_zoo_need_no_consent(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also those inside a pickled module, of which nothing is run."""
    torch.manual_seed(0)
    module = torchvision.models.get_model(name, weights=None).eval()
    torch.save(module, tmp_path / "module.pt")
    torch.save(module.state_dict(), tmp_path / "state.pt")
    for file in ("module.pt", "state.pt"):
        source = f"{tmp_path / file}@torchvision:{name}"
        loaded = load(source, LoadOptions())
        assert loaded.info.note == ""
        with torch.inference_mode():
            example = torch.rand(1, 3, 64, 64)
            assert torch.equal(loaded.build_real().eval()(example), module(example))
    assert main(["report", source, "--format", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    with torch.device("meta"):
        expected = analyze(f"torchvision:{name}").totals
    assert (report["totals"]["params"], report["totals"]["macs"]) == (expected.params, expected.macs)


def test_a_model_is_found_again_from_another_folder(
    nets: Nets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report keeps the source, and whoever opens it is somewhere else."""
    path = nets.saved("recurrent", "pt")
    monkeypatch.chdir(path.parent)
    info = nets.open(path.name, "recurrent").info
    monkeypatch.chdir(tmp_path)
    again = load(info.source, TRUSTED).info
    assert (again.source, again.weights) == (info.source, info.weights)
    assert info.source == nets.source(path, "recurrent") and info.weights == str(path)


def test_values_that_the_architecture_shares_are_named_when_they_differ(tmp_path: Path) -> None:
    (tmp_path / "tied.py").write_text(
        "from torch import nn\n"
        "def build():\n"
        "    first, second = nn.Linear(4, 4), nn.Linear(4, 4)\n"
        "    second.weight = first.weight\n"
        "    return nn.Sequential(first, second)\n",
        encoding="utf-8",
    )
    state = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)).state_dict()
    torch.save(state, tmp_path / "apart.pt")
    torch.save({**state, "1.weight": state["0.weight"].clone()}, tmp_path / "twice.pt")
    notes = {
        name: load(f"{tmp_path / name}.pt@{tmp_path / 'tied.py'}:build", TRUSTED).info.note
        for name in ("apart", "twice")
    }
    assert "1.weight has values of its own in apart.pt" in notes["apart"]
    assert "those of 0.weight are taken" in notes["apart"] and "own" not in notes["twice"]


@pytest.mark.parametrize("save", [save_script, save_exported])
def test_weights_inside_files_whose_opening_runs_code(
    nets: Nets, tmp_path: Path, save: Callable[[nn.Module, Tensor, Path], None]
) -> None:
    module, example = nets.build("recurrent")
    save(module, example, tmp_path / "w.pt")
    with pytest.raises(ConsentRequiredError):
        load(str(tmp_path / "w.pt"), LoadOptions())
    loaded = nets.open(tmp_path / "w.pt", "recurrent")
    assert "random" not in loaded.info.note
    assert_same_outputs(loaded, module, example)


def test_the_code_of_the_architecture_is_consented_to(nets: Nets) -> None:
    path = nets.saved("recurrent", "pt")
    with pytest.raises(ConsentRequiredError) as caught:
        load(nets.source(path, "recurrent"), LoadOptions())
    assert caught.value.file == str(nets.file)
    agreed = LoadOptions(trust=True, digest=caught.value.digest)
    assert load(nets.source(path, "recurrent"), agreed).info.name == "Recurrent"


# -- dtypes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_the_files_dtype_is_the_models(nets: Nets, tmp_path: Path, kind: str, dtype: torch.dtype) -> None:
    module, example = nets.build(kind)
    module.to(dtype)
    torch.save(module.state_dict(), tmp_path / "w.pt")
    loaded = nets.open(tmp_path / "w.pt", kind)
    wanted = str(dtype if example.is_floating_point() else example.dtype).removeprefix("torch.")
    assert loaded.specs[0].dtype == wanted
    totals = analyze(nets.source(tmp_path / "w.pt", kind), trust=True).totals
    assert totals.weight_bytes == params(module) * dtype.itemsize
    assert totals.macs == MACS[kind]
    assert_same_outputs(loaded, module, example)


def test_weights_stored_in_eight_bits_are_computed_in_sixteen(nets: Nets, tmp_path: Path) -> None:
    module, example = nets.build("recurrent")
    stored = {name: tensor.to(torch.float8_e4m3fn) for name, tensor in module.state_dict().items()}
    torch.save(stored, tmp_path / "w.pt")
    loaded = nets.open(tmp_path / "w.pt", "recurrent")
    assert loaded.info.note == "Its weights are float8_e4m3fn; all are taken as bfloat16."
    module.load_state_dict({name: tensor.bfloat16() for name, tensor in stored.items()})
    assert_same_outputs(loaded, module.bfloat16(), example)


def test_of_several_dtypes_the_main_one_is_taken(nets: Nets, tmp_path: Path) -> None:
    module, example = nets.build("transformer")
    state = {
        name: tensor if "norm" in name else tensor.bfloat16() for name, tensor in module.state_dict().items()
    }
    torch.save(state, tmp_path / "w.pt")
    loaded = nets.open(tmp_path / "w.pt", "transformer")
    assert loaded.info.note == "Its weights are bfloat16 and float32; all are taken as bfloat16."
    assert_same_outputs(loaded, module.bfloat16(), example)


def test_dtypes_that_the_architecture_mixes_itself_stay(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "import torch\nfrom torch import nn\n"
        "def build():\n"
        "    parts = {'a': nn.Linear(2, 2), 'b': nn.Linear(2, 2, dtype=torch.float64)}\n"
        "    return nn.ModuleDict(parts), torch.zeros(1)\n"
    )
    dtypes = {"a": torch.float32, "b": torch.float64}
    state = {f"{key}.weight": torch.ones(2, 2, dtype=dtype) for key, dtype in dtypes.items()}
    state |= {f"{key}.bias": torch.ones(2, dtype=dtype) for key, dtype in dtypes.items()}
    torch.save(state, tmp_path / "w.pt")
    loaded = load(f"{tmp_path / 'w.pt'}@{tmp_path / 'net.py'}:build", TRUSTED)
    assert loaded.info.note == ""
    for module in (loaded.module, loaded.build_real()):
        assert {name: p.dtype for name, p in module.named_parameters()} == {
            name: tensor.dtype for name, tensor in state.items()
        }


# -- how the bytes lie in the file -------------------------------------------------------------------------------


def repacked(path: Path, method: int, change: Callable[[str, bytes], bytes]) -> Path:
    """The archive with every entry written again."""
    target = path.with_name(f"again-{method}.pt")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w", method) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return target


def test_a_compressed_archive(nets: Nets) -> None:
    path = repacked(nets.saved("recurrent", "pt"), zipfile.ZIP_DEFLATED, lambda name, data: data)
    assert_same_outputs(nets.open(path, "recurrent"), *nets.build("recurrent"))


def test_an_archive_of_a_machine_with_the_other_byte_order(nets: Nets) -> None:
    def swapped(name: str, data: bytes) -> bytes:
        if name.endswith("/byteorder"):
            return b"big"
        if "/data/" not in name:
            return data
        size = 4 if len(data) % 4 == 0 and len(data) != 8 else 8  # num_batches_tracked is the only int64
        return b"".join(data[at : at + size][::-1] for at in range(0, len(data), size))

    path = repacked(nets.saved("convolutional", "pt"), zipfile.ZIP_STORED, swapped)
    assert_same_outputs(nets.open(path, "convolutional"), *nets.build("convolutional"))


def test_views_strides_and_offsets(nets: Nets, tmp_path: Path) -> None:
    module, example = nets.build("recurrent")
    state = module.state_dict()
    whole = torch.cat([tensor.flatten() for tensor in state.values()])
    at = 0
    views = {}
    for name, tensor in state.items():
        views[name] = whole[at : at + tensor.numel()].view(tensor.shape)
        at += tensor.numel()
    views["out.weight"] = state["out.weight"].t().contiguous().t()
    views["out.bias"] = torch.stack([state["out.bias"], torch.zeros(3)], 1)[:, 0]
    for old in (True, False):
        torch.save(views, tmp_path / "w.pt", _use_new_zipfile_serialization=old)
        assert_same_outputs(nets.open(tmp_path / "w.pt", "recurrent"), module, example)


def test_large_files_are_mapped_and_never_written_to(
    nets: Nets, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(weights, "MAPPED", 0)
    monkeypatch.setattr(weights, "LEAST_MAPPED", 0)
    for name in ("pt", "legacy", "safetensors", "shards"):
        module, example = nets.build("convolutional")
        path = FORMS[name](module.state_dict(), tmp_path)
        before = path.read_bytes()
        loaded = nets.open(path, "convolutional")
        assert_same_outputs(loaded, module, example)
        real = loaded.build_real()
        with torch.no_grad():
            for parameter in real.parameters():
                parameter.zero_()
        assert path.read_bytes() == before


ODD = """
import torch
from torch import nn


class Odd(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        made = torch.empty(4)
        made[:] = torch.arange(4.0)
        if how == "buffer":
            self.register_buffer("made", made, persistent=False)
        elif how == "attribute":
            self.made = made
        else:
            self.made = nn.Parameter(torch.zeros(4))

    def forward(self, x):
        return self.layer(x) * self.made


def build(how):
    torch.manual_seed(1)
    return Odd(how), torch.zeros(1, 4)
"""


@pytest.mark.parametrize("how", ["buffer", "attribute", "parameter"])
def test_a_large_model_is_built_without_values_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """But for what its constructor computes, and for what the file lacks."""
    monkeypatch.setattr(weighted, "LARGE", 0)
    (tmp_path / "net.py").write_text(ODD)
    namespace: dict[str, Any] = {"__name__": "odd"}
    exec(ODD, namespace)
    module, example = namespace["build"](how)
    nn.init.constant_(module.layer.weight, 3.0)
    state = module.state_dict()
    del state["layer.bias"]
    torch.save(state, tmp_path / "w.pt")
    source = f"{tmp_path / 'w.pt'}@{tmp_path / 'net.py'}:build({how!r})"
    assert_same_outputs(load(source, TRUSTED), module, example)
    state["layer.bias"] = module.layer.bias.detach()
    torch.save(state, tmp_path / "w.pt")
    assert_same_outputs(load(source, TRUSTED), module, example)


def test_twenty_gigabytes_open_in_little_memory(nets: Nets, tmp_path: Path) -> None:
    layers, each = 40, 2**14 * 2**14
    header = {
        f"{at}.weight": {
            "dtype": "BF16", "shape": [2**14, 2**14], "data_offsets": [2 * at * each, 2 * (at + 1) * each],
        }
        for at in range(layers)
    }  # fmt: skip
    data = safetensors_bytes(header)
    path = tmp_path / "huge.safetensors"
    path.write_bytes(data)
    try:
        os.truncate(path, len(data) + 2 * layers * each)
    except OSError as error:
        pytest.skip(f"no sparse file of 20 GB here: {error}")
    before = psutil.Process().memory_info().rss
    with pytest.raises(ArchitectureRequiredError):
        load(str(path), LoadOptions())
    session = Session(nets.open(path, f"wide({layers})"))
    totals = session.analyze(session.default_configuration()).totals
    assert (totals.params, totals.macs, totals.weight_bytes) == (
        layers * each,
        layers * each,
        2 * layers * each,
    )
    assert session.info.sha256 is None and session.info.note == ""
    assert psutil.Process().memory_info().rss - before < 400 * 2**20


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda path: path.unlink(), "There is no file"),
        (lambda path: os.truncate(path, path.stat().st_size // 2), "cannot be read"),
        (lambda path: os.truncate(path, 0), "is empty"),
        (lambda path: torch.save({"other": torch.zeros(3)}, path), "is not what it was when it was opened"),
        (lambda path: os.utime(path, (1, 1)), "is not what it was when it was opened"),
    ],
)
@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("name", ["pt", "legacy"])
def test_a_file_that_changes_after_it_was_opened(
    nets: Nets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], object], sentence: str,
    mapped: bool, name: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(weights, "MAPPED", 0 if mapped else weights.MAPPED)
    monkeypatch.setattr(weights, "LEAST_MAPPED", 0)
    path = FORMS[name](nets.build("recurrent")[0].state_dict(), tmp_path)
    loaded = nets.open(path, "recurrent")
    damage(path)
    with pytest.raises(LoadError, match=sentence) as caught:
        loaded.build_real()
    assert caught.value.hint and caught.value.file == str(path)
    with pytest.raises(LoadError, match=sentence):
        zeros(loaded)


@pytest.mark.parametrize("mapped", [False, True])
def test_a_file_that_changes_between_two_runs(
    nets: Nets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mapped: bool
) -> None:
    """Weights that were read stay; a look at what is mapped and gone would end the process."""
    monkeypatch.setattr(weights, "MAPPED", 0 if mapped else weights.MAPPED)
    monkeypatch.setattr(weights, "LEAST_MAPPED", 0)
    module, example = nets.build("convolutional")
    path = FORMS["pt"](module.state_dict(), tmp_path)
    session = Session(nets.open(path, "convolutional"))
    configuration = session.default_configuration()
    with session.real(configuration) as real:
        assert_equal(real.module, module, example, "float32")
    os.truncate(path, 100)
    if mapped:
        with (
            pytest.raises(LoadError, match="is not what it was when it was opened"),
            session.real(configuration),
        ):
            pass
    else:
        with session.real(configuration) as real:
            assert_equal(real.module, module, example, "float32")


def test_a_file_that_is_cut_off_while_it_is_read(nets: Nets, tmp_path: Path) -> None:
    path = FORMS["pt"](nets.build("recurrent")[0].state_dict(), tmp_path)
    loaded = nets.open(path, "recurrent")
    assert loaded.count_zeros is not None
    counting = loaded.count_zeros(Event())
    next(counting)
    os.truncate(path, 100)
    with pytest.raises(LoadError, match="it became shorter while it was read"):
        list(counting)


def damaged(data: bytes, number: int) -> bytes:
    """Cut off, some bits turned, a stretch lost, or a stretch of noise in it."""
    draw = random.Random(number)
    at = draw.randrange(len(data))
    if number % 4 == 0:
        return data[:at]
    if number % 4 == 1:
        changed = bytearray(data)
        for _ in range(draw.randint(1, 4)):
            changed[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        return bytes(changed)
    length = draw.randint(1, 64)
    return data[:at] + (draw.randbytes(length) if number % 4 == 2 else b"") + data[at + length :]


@pytest.mark.parametrize("name", ["pt", "legacy", "safetensors"])
def test_damaged_weights_end_in_a_sentence(nets: Nets, tmp_path: Path, name: str) -> None:
    """Opened with their architecture, and read: what cannot be seen in them are other values alone."""
    data = nets.saved("convolutional", name).read_bytes()
    path = tmp_path / "w.pt"
    errors: list[EngineError] = []
    numbers = sampled(range(400), 30, f"damaged {name}")
    for number in numbers:
        path.write_bytes(damaged(data, number))
        try:
            loaded = nets.open(path, "convolutional")
            loaded.build_real()
            list(zeros(loaded))
        except EngineError as error:
            errors.append(error)
    assert len(errors) >= len(numbers) // 4
    assert all(each.file == str(path) and each.hint and each.message.endswith(".") for each in errors)


def test_counting_zeros_stops(nets: Nets) -> None:
    loaded = nets.open(nets.saved("recurrent", "pt"), "recurrent")
    stop = Event()
    stop.set()
    assert loaded.count_zeros is not None
    with pytest.raises(CancelledError):
        list(loaded.count_zeros(stop))


# -- names -------------------------------------------------------------------------------------------------------


WRAPPED: dict[str, Callable[[str], str]] = {
    "DataParallel": lambda name: f"module.{name}",
    "compiled": lambda name: f"_orig_mod.{name}",
    "both": lambda name: f"module._orig_mod.{name}",
    "a part of it compiled": lambda name: re.sub(r"^(lstm)\.", r"\1._orig_mod.", name),
    "a Lightning module": lambda name: f"model.{name}",
    "deep in another module": lambda name: f"module.net.encoder.{name}",
    "FSDP": lambda name: re.sub(r"^(\w+)\.", r"_fsdp_wrapped_module.\1._checkpoint_wrapped_module.", name),
    "LoRA around it": lambda name: re.sub(r"^out\.", "base_model.model.out.base_layer.", name),
}


@pytest.mark.parametrize("wrapper", WRAPPED)
def test_wrappers_are_taken_off_the_names(nets: Nets, tmp_path: Path, wrapper: str) -> None:
    module, example = nets.build("recurrent")
    rename = WRAPPED[wrapper]
    state = {rename(name): tensor for name, tensor in module.state_dict().items()}
    if wrapper == "LoRA around it":
        state = {
            name if "base" in name else f"base_model.model.{name}": tensor for name, tensor in state.items()
        }
    torch.save(state, tmp_path / "w.pt")
    loaded = nets.open(tmp_path / "w.pt", "recurrent")
    assert loaded.info.note == ""
    assert_same_outputs(loaded, module, example)


def test_a_part_that_was_saved_alone(tmp_path: Path) -> None:
    """A backbone's weights, opened with the model that has it under a name of its own."""
    torch.manual_seed(0)
    (tmp_path / "net.py").write_text(
        "import torch\nfrom torch import nn\n"
        "def build():\n"
        "    backbone = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 6))\n"
        "    return nn.Sequential(backbone, nn.Linear(6, 2)), torch.zeros(1, 4)\n"
    )
    backbone = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 6))
    torch.save(backbone.state_dict(), tmp_path / "w.pt")
    loaded = load(f"{tmp_path / 'w.pt'}@{tmp_path / 'net.py'}:build", TRUSTED)
    assert loaded.info.note == "2 of 6 parameters are not in w.pt and stay random: 1.weight, 1.bias."
    real = loaded.build_real()
    assert torch.equal(real.get_parameter("0.1.weight"), backbone[1].weight)
    assert set(zeros(loaded)) == {"0.0.weight", "0.0.bias", "0.1.weight", "0.1.bias"}


def test_names_of_earlier_versions(tmp_path: Path) -> None:
    """As torchvision's published files have them: its modules translate them when they load, or its builders do."""
    renames: dict[str, Callable[[str], str]] = {
        "vit_b_16": lambda name: name.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."),
        "densenet121": lambda name: re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", name),
    }
    for architecture, rename in renames.items():
        with torch.device("meta"):
            state = torchvision.models.get_model(architecture, weights=None).state_dict()
        assert any(rename(name) != name for name in state)
        header: dict[str, Any] = {}
        end = 0
        for name, tensor in state.items():
            size = tensor.numel() * tensor.element_size()
            dtype = "F32" if tensor.is_floating_point() else "I64"
            header[rename(name)] = {
                "dtype": dtype, "shape": list(tensor.shape), "data_offsets": [end, end + size],
            }  # fmt: skip
            end += size
        path = tmp_path / f"{architecture}.safetensors"
        path.write_bytes(data := safetensors_bytes(header))
        os.truncate(path, len(data) + end)
        assert load(f"{path}@torchvision:{architecture}", LoadOptions()).info.note == "", architecture


def test_a_tied_tensor_need_not_be_in_the_file_twice(nets: Nets, tmp_path: Path) -> None:
    module, example = nets.build("transformer")
    state = module.state_dict()
    for left_out in ("out.weight", "tokens.weight"):
        save_safetensors({k: v for k, v in state.items() if k != left_out}, tmp_path / "w.safetensors")
        loaded = nets.open(tmp_path / "w.safetensors", "transformer")
        assert loaded.info.note == ""
        assert_same_outputs(loaded, module, example)
        assert loaded.build_real().get_parameter("out.weight") is not None
        assert {"out.weight", "tokens.weight"} <= set(zeros(loaded))


# -- checkpoints -------------------------------------------------------------------------------------------------


def test_the_model_of_a_checkpoint_is_chosen_or_another_by_name(nets: Nets, tmp_path: Path) -> None:
    module, example = nets.build("recurrent")
    value = checkpoint(module)
    value["ema"] = {name: tensor + 1 for name, tensor in value["ema"].items()}
    torch.save(value, tmp_path / "c.pt")
    loaded = nets.open(tmp_path / "c.pt", "recurrent")
    assert_same_outputs(loaded, module, example)
    assert loaded.info.note.startswith("The weights are those under model; the file also holds ")
    assert "ema" in loaded.info.note and "optimizer" in loaded.info.note
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(1)
    loaded = nets.open(f"{tmp_path / 'c.pt'}#ema", "recurrent")
    assert_same_outputs(loaded, module, example)
    assert "under ema" in loaded.info.note
    with pytest.raises(LoadError, match="no collection of tensors called nope") as caught:
        nets.open(f"{tmp_path / 'c.pt'}#nope", "recurrent")
    assert "model, ema, optimizer" in caught.value.hint
    with pytest.raises(UnsupportedModelError) as refused:
        nets.open(f"{tmp_path / 'c.pt'}#optimizer", "recurrent")
    assert "state of an optimizer" in refused.value.hint


def test_files_without_a_models_weights(tmp_path: Path) -> None:
    layer = nn.Linear(2, 2)
    optimizer = torch.optim.Adam(layer.parameters())
    layer(torch.zeros(1, 2)).sum().backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    values = {"optimizer": optimizer.state_dict(), "tensor": torch.zeros(3), "nothing": {"epoch": 3}}
    words = {"optimizer": "state of an optimizer", "tensor": "no model", "nothing": "no model"}
    for name, value in values.items():
        torch.save(value, tmp_path / "w.pt")
        for source in (f"{tmp_path / 'w.pt'}", f"{tmp_path / 'w.pt'}@torchvision:resnet18"):
            with pytest.raises(UnsupportedModelError) as caught:
                load(source, LoadOptions())
            assert words[name] in caught.value.info().sentence, name
            assert caught.value.contents is not None


# -- what does not fit -------------------------------------------------------------------------------------------


def test_another_number_of_classes(nets: Nets, tmp_path: Path) -> None:
    module, example = nets.build("convolutional", 7)
    torch.save(module.state_dict(), tmp_path / "w.pt")
    with pytest.raises(LoadError, match="was trained for 7 classes") as caught:
        nets.open(tmp_path / "w.pt", "convolutional")
    assert "head.weight is 7×8 in the file and 10×8 in Convolutional" in caught.value.message
    assert "build(num_classes=7)" in caught.value.hint
    assert_same_outputs(nets.open(tmp_path / "w.pt", "convolutional(num_classes=7)"), module, example)
    zoo = torchvision.models.squeezenet1_1(num_classes=7)
    torch.save(zoo.state_dict(), tmp_path / "zoo.pt")
    with pytest.raises(LoadError, match="was trained for 7 classes") as caught:
        load(f"{tmp_path / 'zoo.pt'}@torchvision:squeezenet1_1", LoadOptions())
    assert caught.value.hint == "Open zoo.pt@torchvision:squeezenet1_1(num_classes=7)."
    loaded = load(f"{tmp_path / 'zoo.pt'}@torchvision:squeezenet1_1(num_classes=7)", LoadOptions())
    assert params(loaded.module) == params(zoo)


def test_missing_and_unexpected_tensors_are_named(nets: Nets, tmp_path: Path) -> None:
    module, _ = nets.build("convolutional")
    state = module.state_dict()
    del state["head.bias"], state["stem.1.running_mean"], state["stem.1.num_batches_tracked"]
    state["teacher.weight"] = torch.zeros(3)
    torch.save(state, tmp_path / "w.pt")
    loaded = nets.open(tmp_path / "w.pt", "convolutional")
    assert loaded.info.note == (
        "1 of 7 parameters is not in w.pt and stays random: head.bias. "
        "1 buffer not in w.pt keeps its first value: stem.1.running_mean. "
        "1 tensor of w.pt has no place in the architecture and is left out: teacher.weight."
    )
    assert not loaded.random_weights and "head.bias" not in zeros(loaded)


def test_weights_of_another_model(nets: Nets, tmp_path: Path) -> None:
    def refusal(path: Path, kind: str) -> str:
        with pytest.raises(LoadError) as caught:
            nets.open(path, kind)
        assert caught.value.hint == f"Open {path.name} alone to see which architectures its weights fit."
        return caught.value.message

    text = refusal(nets.saved("recurrent", "pt"), "convolutional")
    assert "none of its 18 tensors is in Convolutional" in text
    assert "lstm.weight_ih_l0" in text and "stem.0.weight" in text
    state = nets.build("recurrent")[0].state_dict()
    state["lstm.weight_hh_l0"] = torch.zeros(20, 6)
    torch.save(state, tmp_path / "w.pt")
    text = refusal(tmp_path / "w.pt", "recurrent")
    assert (
        "1 tensor of it has another shape, lstm.weight_hh_l0 is 20×6 in the file and 20×5 in Recurrent"
        in text
    )
    few = {"out.bias": torch.zeros(3), **{f"x{at}.weight": torch.zeros(3) for at in range(9)}}
    torch.save(few, tmp_path / "few.pt")
    assert "only 1 of its 10 tensors is among the 18 of Recurrent" in refusal(
        tmp_path / "few.pt", "recurrent"
    )


def test_adapters_alone_and_beside_the_weights(nets: Nets, tmp_path: Path) -> None:
    module, example = nets.build("recurrent")
    adapter = {f"base_model.model.out.lora_{part}.weight": torch.zeros(2, 3) for part in "AB"}
    torch.save(adapter, tmp_path / "a.pt")
    with pytest.raises(LoadError, match="holds 2 tensors of an adapter, not the weights it adapts"):
        nets.open(tmp_path / "a.pt", "recurrent")
    torch.save({**module.state_dict(), "out.lora_A.default.weight": torch.zeros(2, 10)}, tmp_path / "w.pt")
    loaded = nets.open(tmp_path / "w.pt", "recurrent")
    assert loaded.info.note.startswith("1 tensor of LoRA adapters is left out")
    assert_same_outputs(loaded, module, example)


def test_a_pruned_model_has_the_product_of_weight_and_mask(nets: Nets, tmp_path: Path) -> None:
    module, example = nets.build("convolutional")
    prune.random_unstructured(module.get_submodule("body"), "weight", 0.8)
    path = tmp_path / "w.pt"
    torch.save(module.state_dict(), path)
    assert "body.weight_mask" in module.state_dict()
    loaded = nets.open(path, "convolutional")
    assert loaded.info.note == ""
    assert_same_outputs(loaded, module, example)
    assert zeros(loaded)["body.weight"] == round(0.8 * 8 * 4 * 9)


def test_tensors_that_are_no_plain_numbers_are_named(nets: Nets, tmp_path: Path) -> None:
    module, _ = nets.build("recurrent")
    state: dict[str, Any] = dict(module.state_dict())
    state["out.weight"] = state["out.weight"].to_sparse()
    state["out.bias"] = (state["out.bias"] * 100).to(torch.int8)
    torch.save(state, tmp_path / "w.pt")
    loaded = nets.open(tmp_path / "w.pt", "recurrent")
    assert loaded.info.note == (
        "2 tensors of w.pt cannot be taken for the architecture's numbers, as they are int8 or sparse or quantised, "
        "and are random here: out.weight, out.bias."
    )
    assert params(loaded.build_real()) == params(module)
    sparse = {name: tensor.to_sparse() for name, tensor in module.state_dict().items()}
    torch.save(sparse, tmp_path / "w.pt")
    with pytest.raises(LoadError, match=r"none of them can be taken for the architecture's numbers"):
        nets.open(tmp_path / "w.pt", "recurrent")


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_numpy_arrays(nets: Nets, tmp_path: Path, protocol: int) -> None:
    """By rows, by columns, in the other byte order, and of a type that torch has not."""
    module, example = nets.build("recurrent")
    arrays: dict[str, Any] = {name: tensor.numpy() for name, tensor in module.state_dict().items()}
    arrays["out.weight"] = numpy.asfortranarray(arrays["out.weight"])
    arrays["lstm.weight_ih_l0"] = arrays["lstm.weight_ih_l0"].astype(">f4")
    arrays["names"] = numpy.array(["a", "b"])
    (tmp_path / "w.pkl").write_bytes(pickle.dumps({"model": arrays}, protocol))
    loaded = nets.open(tmp_path / "w.pkl", "recurrent")
    assert_same_outputs(loaded, module, example)
    torch.save({"model": arrays}, tmp_path / "w.pt", pickle_protocol=protocol)
    assert_same_outputs(nets.open(tmp_path / "w.pt", "recurrent"), module, example)


def test_a_plain_pickle(nets: Nets, tmp_path: Path) -> None:
    """``pickle.dump`` of a state dict keeps the bytes of each tensor as a small file of its own."""
    module, example = nets.build("recurrent")
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(dict(module.state_dict())))
    assert_same_outputs(nets.open(tmp_path / "w.pkl", "recurrent"), module, example)
