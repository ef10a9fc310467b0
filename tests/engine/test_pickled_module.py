"""Whole modules saved with torch.save: nothing runs without consent, then the same numbers as the module itself."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import py_compile
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine import analyze, cli
from engine.api import analyze_columns
from engine.configuration import Configuration
from engine.edits import RemoveLayer
from engine.errors import ConsentRequiredError, EngineError, LoadError
from engine.files import read
from engine.graph import InputShape
from engine.loaders import load
from engine.loaders.loaded import LoadedModel, LoadOptions
from engine.loaders.pickled_module import open_file
from engine.session import Session
from engine.sources import split_file
from tests.engine import script_models
from tests.engine.model_files import Convolutional, Recurrent, Transformer, build

KINDS = (Convolutional, Transformer, Recurrent)


def opened(path: Path | str, trust: bool = True, digest: str = "") -> LoadedModel:
    file = split_file(str(path))
    return open_file(read(Path(file.path)), file, LoadOptions(trust, digest))


def refusal(path: Path | str, **options: Any) -> LoadError:
    with pytest.raises(LoadError) as caught:
        opened(path, **options)
    error = caught.value
    assert (
        error.message.endswith(".")
        and error.hint.endswith(".")
        and error.file == str(split_file(str(path)).path)
    )
    return error


def totals(session: Session, example: Tensor) -> tuple[int, ...]:
    dtype = str(example.dtype).removeprefix("torch.")
    analysis = session.analyze(
        Configuration(inputs=(InputShape(session.specs[0].name, tuple(example.shape), dtype),))
    )
    found = analysis.totals
    return found.params, found.macs, found.flops, found.activation_bytes, found.peak_activation_bytes


def of_module(module: nn.Module, example: Tensor) -> tuple[int, ...]:
    """The same of the module itself, as the API opens one in memory."""
    from engine.api import open_session

    return totals(open_session(module, example), example)


FORMS: dict[str, Callable[[nn.Module, Path], Any]] = {
    "zip": lambda module, path: torch.save(module, path),
    "legacy": lambda module, path: torch.save(module, path, _use_new_zipfile_serialization=False),
    "pickle": lambda module, path: path.write_bytes(pickle.dumps(module)),
    "in a checkpoint": lambda module, path: torch.save({"epoch": 3, "model": module, "best": 0.5}, path),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMS)
def test_the_same_integers_as_the_module(tmp_path: Path, kind: type[nn.Module], form: str) -> None:
    module, example = build(kind)
    path = tmp_path / "net.pt"
    FORMS[form](module, path)
    loaded = opened(path)
    assert loaded.info.class_name == kind.__name__ and loaded.info.format == "pickle"
    assert loaded.info.weights == str(path) and not loaded.random_weights
    assert all(parameter.is_meta for parameter in loaded.module.parameters())
    session = Session(loaded)
    assert totals(session, example) == of_module(module, example)
    real = loaded.build_real()
    torch.testing.assert_close(real.state_dict(), module.state_dict())


def test_inputs_that_are_given_need_not_be_like_the_guess(tmp_path: Path) -> None:
    """The first layer of an encoder is a linear one, which alone takes a vector; the file says nothing of inputs."""
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 1).eval()
    torch.save(encoder, tmp_path / "net.pt")
    script_models.save(encoder, torch.zeros(1, 5, 8), "script", tmp_path / "script.pt")
    wanted = analyze(encoder, torch.zeros(2, 5, 8)).totals.macs
    for name in ("net.pt", "script.pt"):
        assert analyze(str(tmp_path / name), (2, 5, 8), trust=True).totals.macs == wanted


def test_layers_can_be_removed_and_the_weights_are_those_of_the_file(tmp_path: Path) -> None:
    module, example = build(Convolutional)
    torch.save(module, tmp_path / "net.pt")
    session = Session(opened(tmp_path / "net.pt"))
    configuration = Configuration(session.default_configuration().inputs, (RemoveLayer("body"),))
    assert session.analyze(configuration).totals.untouched_params == 0
    with (
        session.real(Configuration((InputShape("x", tuple(example.shape), "float32"),))) as real,
        torch.inference_mode(),
    ):
        torch.testing.assert_close(real.forward(), module(*real.args))


def test_zeros_are_counted_in_the_file(tmp_path: Path) -> None:
    module, _ = build(Convolutional)
    with torch.no_grad():
        module.body.weight[:, 0] = 0
    torch.save(module, tmp_path / "net.pt")
    count = opened(tmp_path / "net.pt").count_zeros
    assert count is not None
    zeros = dict(count(Event()))
    assert zeros["body.weight"] == 8 * 1 * 3 * 3
    assert zeros["head.weight"] == 0


def test_ema_and_model_in_one_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.save({"ema": nn.Linear(4, 3), "model": nn.Linear(4, 2), "optimizer": {}}, path)
    loaded = opened(path)
    assert loaded.module.out_features == 2
    assert loaded.info.source == f"{path}#model" and "#ema" in loaded.info.note
    assert opened(f"{path}#ema").module.out_features == 3
    assert "#model" in refusal(f"{path}#optimizer").hint


def test_a_graph_module_is_found_by_what_was_loaded(tmp_path: Path) -> None:
    """It pickles as a call that generates its class; a reader sees only the layers among the arguments."""
    path = tmp_path / "net.pt"
    torch.save({"model": torch.fx.symbolic_trace(nn.Sequential(nn.Linear(4, 3), nn.ReLU()))}, path)
    loaded = opened(path)
    assert isinstance(loaded.module, torch.fx.GraphModule) and loaded.info.source == f"{path}#model"
    session = Session(loaded)
    assert session.analyze(session.default_configuration()).totals.macs == 4 * 3


def test_what_wraps_the_model_is_taken_off(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.save(nn.DataParallel(nn.Sequential(nn.Linear(4, 2))), path)
    loaded = opened(path)
    assert type(loaded.module) is nn.Sequential and "DataParallel" in loaded.info.note


# -- the user's own classes ----------------------------------------------------------------------------------------

NET = """
from torch import nn
from helpers import width

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(width, 2)

    def forward(self, x):
        import late
        return late.twice(self.fc(x))
"""


SAVE = """
import torch, net
torch.save(net.Net(), "net.pt")
class Own(torch.nn.Linear): pass
torch.save(Own(2, 2), "own.pt")
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with net.py, what it imports, net.pt of its class and own.pt of a class of the script itself."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "net.py").write_text(NET)
    (folder / "helpers.py").write_text("width = 6\n")
    (folder / "late.py").write_text("def twice(x):\n    return x + x\n")
    subprocess.run([sys.executable, "-c", SAVE], cwd=folder, check=True, timeout=120)
    return folder


@pytest.fixture
def project(saved: Path, tmp_path: Path) -> Path:
    """A copy of that folder to change."""
    return Path(shutil.copytree(saved, tmp_path / "project", ignore=shutil.ignore_patterns("__pycache__")))


def consent(path: Path, **options: Any) -> ConsentRequiredError:
    with pytest.raises(ConsentRequiredError) as caught:
        opened(path, **options)
    return caught.value


def test_classes_beside_the_file(project: Path) -> None:
    path = project / "net.pt"
    required = consent(path, trust=False)
    details = " ".join(required.details)
    assert "net.Net" in details and "helpers.py, late.py, net.py" in details
    assert required.contents is not None and "net.Net" in required.contents.foreign

    session = Session(opened(path, digest=required.digest))
    assert session.analyze(session.default_configuration()).totals.macs == 6 * 2
    with session.real(session.default_configuration()) as real, torch.inference_mode():
        real.forward()

    (project / "late.py").write_text("def twice(x):\n    return x\n")
    changed = consent(path, digest=required.digest)
    assert "changed since you agreed" in changed.message and changed.digest != required.digest


def test_only_what_was_agreed_to_runs(project: Path) -> None:
    """A module that cannot be found in the text beforehand is refused under the consent for this content."""
    helpers = project / "helpers.py"
    helpers.write_text("width = 6\n__import__('importlib').import_module('hid' + 'den')\n")
    (project / "hidden.py").write_text("open('ran', 'w').close()\n")
    path = project / "net.pt"
    error = refusal(path, digest=consent(path, trust=False).digest)
    assert "hidden.py is not among the files you agreed to run" in error.message
    assert not (project / "ran").exists()


@pytest.mark.parametrize("place", ["net.pyc", "net/__init__.pyc", f"net/__init__{EXTENSION_SUFFIXES[0]}"])
def test_compiled_code_beside_the_file_is_not_agreed_to(project: Path, place: str) -> None:
    """Python imports these where there is no ``net.py``; nobody could show them, and no digest has them."""
    (project / "net.py").write_text("open('ran', 'w').close()\n")
    (project / place).parent.mkdir(exist_ok=True)
    py_compile.compile(str(project / "net.py"), cfile=str(project / place), doraise=True)
    (project / "net.py").unlink()
    path = project / "net.pt"
    error = refusal(path, digest=consent(path, trust=False).digest)
    assert place.rpartition("/")[2] in error.message and "files you agreed to run" in error.message
    assert not (project / "ran").exists()


def test_a_missing_class_is_named(project: Path) -> None:
    (project / "net.py").unlink()
    error = refusal(project / "net.pt")
    assert "net.Net" in error.message and "--python" in error.hint and "net.py" in error.hint
    (project / "net.py").write_text("x = 1\n")
    error = refusal(project / "net.pt")
    assert "Net" in error.message and "--python" in error.hint


def test_a_class_of_the_script_that_saved_it(project: Path) -> None:
    error = refusal(project / "own.pt")
    assert "__main__.Own" in error.message and "@net.py:Own" in error.hint


# -- consent -------------------------------------------------------------------------------------------------------


class Calls:
    def __init__(self, function: Any, *args: Any) -> None:
        self.call = (function, args)

    def __reduce__(self) -> Any:
        return self.call


class Holder(nn.Linear):
    """A module whose pickle does something on its way."""

    def __init__(self, inside: Any) -> None:
        super().__init__(2, 2)
        self.inside = inside


def test_consent_says_what_would_run(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.save(nn.Sequential(Holder(Calls(os.mkdir, str(tmp_path / "made")))), path)
    required = consent(path, trust=False)
    assert required.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    details = "\n".join(required.details)
    assert "mkdir(" in details and str(tmp_path / "made")[:40] in details
    assert "test_pickled_module.Holder" in details and "torch.nn.modules.container.Sequential" in details
    assert "network" in details and "memory is limited" in details
    assert all(line[-1] in ".)" for line in required.details)
    assert not (tmp_path / "made").exists()
    opened(path, digest=required.digest)
    assert (tmp_path / "made").exists()


def test_other_bytes_are_not_what_was_agreed_to(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.save(nn.Linear(2, 2), path)
    digest = consent(path, trust=False).digest
    loaded = opened(path, digest=digest)
    torch.save(Holder(Calls(os.mkdir, str(tmp_path / "made"))), path)
    assert "has changed since you agreed" in consent(path, digest=digest).message
    with pytest.raises(LoadError, match="changed while it was opened"):
        loaded.build_real()
    assert not (tmp_path / "made").exists()


def test_a_file_that_changes_before_the_question_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.save(nn.Linear(2, 2), path)
    contents = read(path)
    torch.save(nn.Linear(2, 3), path)
    with pytest.raises(LoadError, match="changed while it was opened"):
        open_file(contents, split_file(str(path)), LoadOptions())


def test_large_files_are_hashed_where_they_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.loaders import file_consent, pickled_module

    for module in (file_consent, pickled_module):
        monkeypatch.setattr(module, "IN_MEMORY", 1000)
    module = nn.Sequential(nn.Linear(1000, 1000), nn.BatchNorm1d(1000))
    path = tmp_path / "net.pt"
    torch.save(module, path)
    required = consent(path, trust=False)
    assert required.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    loaded = opened(path, digest=required.digest)
    torch.testing.assert_close(loaded.build_real().state_dict(), module.state_dict())
    _exchange(path)
    if sys.platform != "win32":
        assert consent(path, digest=required.digest).digest != required.digest
    os.utime(path, ns=(0, 0))
    with pytest.raises(LoadError, match="changed while it was opened"):
        loaded.build_real()


def _exchange(path: Path) -> None:
    """Other content of the same size with the same time of change, which anybody can set."""
    before = path.stat()
    path.write_bytes(path.read_bytes().replace(b"Linear", b"Linea_"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


# -- what goes wrong while it runs ---------------------------------------------------------------------------------

FAILURES: dict[str, tuple[Any, str]] = {
    "an exception": (Calls(int, "seven"), "raised ValueError: invalid literal"),
    "an exit": (Calls(exit, 3), "raised SystemExit"),
    "too much memory": (Calls(bytearray, 2**62), "needed more memory than is free"),
    "recursion": (Calls(eval, "(lambda f: f(f))(lambda f: f(f))"), "raised RecursionError"),
    "no message": (Calls(eval, "(_ for _ in ()).throw(KeyError)"), "raised KeyError: no reason given"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_failures_are_one_sentence(tmp_path: Path, name: str) -> None:
    inside, expected = FAILURES[name]
    path = tmp_path / "net.pt"
    torch.save(Holder(inside), path)
    message = refusal(path).message
    assert expected in message and "net.pt" in message


def test_no_module_in_the_end(tmp_path: Path) -> None:
    """A pickle may look like a module to a reader, and turn out as something else."""
    path = tmp_path / "net.pt"
    torch.save({"model": nn.Linear(2, 2)}, path)
    contents = read(path)
    torch.save({"model": Calls(int, 3)}, path)
    with pytest.raises(LoadError, match="Module is in it"):
        open_file(contents, split_file(str(path)), LoadOptions(trust=True))


def test_it_is_refused_in_the_table_too(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.save(Holder(Calls(os.makedirs, str(tmp_path / "made"), 0o777, True)), path)
    with pytest.raises(EngineError) as caught:
        load(str(path), LoadOptions())
    assert caught.value.kind == "consent" and not (tmp_path / "made").exists()
    session = Session(load(str(path), LoadOptions(trust=True)))
    assert analyze_columns(session).totals.macs == 2 * 2
    assert (tmp_path / "made").exists()


def test_the_command_line_reports_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "net.pt"
    module, example = build(Convolutional)
    torch.save({"model": module}, path)
    arguments = ["report", str(path), "--input", "2x3x8x8", "--format", "json"]
    assert cli.main(arguments) == cli.BAD_REQUEST
    assert "model_files.Convolutional" in capsys.readouterr().err
    assert cli.main([*arguments, "--trust"]) == cli.OK
    found = json.loads(capsys.readouterr().out)["totals"]
    assert (found["params"], found["macs"]) == of_module(module, example)[:2]
