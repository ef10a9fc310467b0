"""TorchScript archives: nothing is compiled without consent, then the numbers are those of the module."""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine import cli
from engine.api import analyze, open_session
from engine.configuration import Configuration
from engine.edits import RemoveLayer
from engine.errors import ConsentRequiredError, InputError, LoadError
from engine.files import read
from engine.graph import InputShape
from engine.latency import layer_times
from engine.loaders import load
from engine.loaders.file_consent import HAS_RUN
from engine.loaders.loaded import LoadedModel, LoadOptions
from engine.results import Analysis
from engine.session import FailedAnalysisError, Session
from engine.sources import split_file
from tests.engine import script_models
from tests.engine.script_models import Convolutional, Recurrent, Transformer, build

KINDS = (Convolutional, Transformer, Recurrent)
WAYS = ("trace", "script")


def opened(path: Path | str) -> LoadedModel:
    return load(str(path), LoadOptions(trust=True))


def at(example: Tensor) -> Configuration:
    dtype = str(example.dtype).removeprefix("torch.")
    return Configuration(inputs=(InputShape("x", tuple(example.shape), dtype),))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Callable[[type[nn.Module], str], Path]:
    """Path of the model, saved once per way."""
    folder = tmp_path_factory.mktemp("scripts")

    def path(kind: type[nn.Module], how: str) -> Path:
        file = folder / f"{kind.__name__}-{how}.pt"
        if not file.exists():
            script_models.save(*build(kind), how, file)
        return file

    return path


Archive = Callable[[type[nn.Module], str], Path]


def numbers(analysis: Analysis) -> tuple[int, ...]:
    found = analysis.totals
    return (
        found.params,
        found.macs,
        found.flops,
        found.activation_bytes,
        found.buffers,
        found.untouched_params,
    )


def owners(analysis: Analysis) -> set[str]:
    """Paths of the rows that read weights."""
    layers = analysis.layers
    return {path for path, params in zip(layers.path, layers.params, strict=True) if params}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", WAYS)
def test_the_same_integers_as_the_module(archive: Archive, kind: type[nn.Module], how: str) -> None:
    module, example = build(kind)
    expected = open_session(module, example).analyze(at(example))
    path = archive(kind, how)
    loaded = opened(path)
    session = Session(loaded)
    analysis = session.analyze(at(example))
    assert numbers(analysis) == numbers(expected)
    assert analysis.mode == "meta"
    # The interpreter drops a tensor after its last use, Python at the end of the function.
    assert analysis.totals.peak_activation_bytes <= expected.totals.peak_activation_bytes
    # Of two modules that share a weight, the first is named: nobody knows which of them TorchScript called.
    assert owners(analysis) == owners(expected) - ({"head"} if kind is Transformer else set())
    assert [
        path for path, calls in zip(analysis.modules.path, analysis.modules.calls, strict=True) if calls
    ] == [path for path, calls in zip(expected.modules.path, expected.modules.calls, strict=True) if calls]
    assert session.info.class_name == kind.__name__ and session.info.weights == str(path)
    assert "no layer of it can be removed" in session.info.no_edits
    torch.testing.assert_close(loaded.build_real().state_dict(), module.state_dict())


def test_edits_are_refused_with_the_reason(archive: Archive) -> None:
    """The mirror would take them, and compute what it did before."""
    path = archive(Convolutional, "script")
    with pytest.raises(InputError, match="no layer of it can be removed"):
        analyze(str(path), edits=(RemoveLayer("body"),), trust=True)


@pytest.mark.parametrize("kind", KINDS)
def test_frozen_weights_are_found_in_the_constants(archive: Archive, kind: type[nn.Module]) -> None:
    module, example = build(kind)
    expected = open_session(module, example).analyze(at(example)).totals
    loaded = opened(archive(kind, "freeze"))
    found = Session(loaded, at(example).inputs).analyze(at(example)).totals
    # Batch norms were folded into the convolutions before them: 8 scales, 8 shifts → 8 biases.
    folded = 8 if kind is Convolutional else 0
    assert (found.params, found.macs, found.untouched_params) == (expected.params - folded, expected.macs, 0)
    assert "frozen into constants" in loaded.info.note


@pytest.mark.parametrize("kind", KINDS)
def test_it_runs_with_the_weights_of_the_file(archive: Archive, kind: type[nn.Module]) -> None:
    module, example = build(kind)
    session = Session(opened(archive(kind, "trace")))
    with session.real(at(example)) as real, torch.inference_mode():
        for _ in range(3):  # the interpreter compiles in the first two
            torch.testing.assert_close(real.forward(), module(*real.args))


def test_layers_are_timed(archive: Archive) -> None:
    _, example = build(Convolutional)
    session = Session(opened(archive(Convolutional, "script")))
    times = layer_times(session, at(example), 1, Event())
    rows = session.analyze(at(example)).layers
    assert times.row_id == rows.id
    timed = dict(zip(times.row_id, times.latency_s, strict=True))
    convolutions = [row for row, macs in zip(rows.id, rows.macs, strict=True) if macs]
    assert len(convolutions) == 4 and all(timed[row] for row in convolutions)
    assert "split by the times of its module's operations" in times.note


def test_zeros_are_those_of_the_file(tmp_path: Path) -> None:
    module, example = build(Convolutional)
    with torch.no_grad():
        module.body.weight[:, 0] = 0
    script_models.save(module, example, "trace", tmp_path / "net.pt")
    count = opened(tmp_path / "net.pt").count_zeros
    assert count is not None
    assert dict(count(Event()))["body.weight"] == 8 * 1 * 3 * 3


@pytest.mark.parametrize(
    ("kind", "default"),
    [(Convolutional, (1, 3, 224, 224)), (Transformer, (1, 128)), (Recurrent, (1, 128, 6))],
)
def test_an_input_is_guessed(archive: Archive, kind: type[nn.Module], default: tuple[int, ...]) -> None:
    loaded = opened(archive(kind, "script"))
    assert [(spec.name, spec.default.shape) for spec in loaded.specs] == [("x", default)]
    assert "guessed" in loaded.info.note


# -- consent and what goes wrong -----------------------------------------------------------------------------------


def test_consent_says_what_would_run(archive: Archive) -> None:
    path = archive(Convolutional, "script")
    with pytest.raises(ConsentRequiredError) as caught:
        load(str(path), LoadOptions())
    error = caught.value
    assert error.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert error.contents == read(path)
    details = " ".join(error.details)
    assert "TorchScript source file" in details and "network" in details
    assert "script_models.Convolutional, torch.nn.modules" in details and "mangle" not in details
    assert load(str(path), LoadOptions(trust=True, digest=error.digest)).info.sha256 == error.digest


def test_other_bytes_are_not_what_was_agreed_to(archive: Archive, tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    path.write_bytes(archive(Convolutional, "trace").read_bytes())
    loaded = opened(path)
    path.write_bytes(archive(Recurrent, "trace").read_bytes())
    with pytest.raises(LoadError, match="changed while it was opened"):
        loaded.build_real()


def test_large_files_are_opened_where_they_lie(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.loaders import file_consent, torchscript_file

    for module in (file_consent, torchscript_file):
        monkeypatch.setattr(module, "IN_MEMORY", 1000)
    loaded = opened(archive(Convolutional, "trace"))
    torch.testing.assert_close(loaded.build_real().state_dict(), build(Convolutional)[0].state_dict())


def test_a_layer_that_refuses_its_input(archive: Archive) -> None:
    session = Session(opened(archive(Convolutional, "script")))
    with pytest.raises(FailedAnalysisError) as caught:
        session.analyze(at(torch.zeros(1, 4, 20, 20)))
    error = caught.value.error
    assert error.message == "stem.0 cannot run conv2d: it expects 3 channels and gets 4 (1×4×20×20)."
    assert error.layer == "stem.0"


def test_a_recurrent_layer_that_was_traced_with_a_batch(archive: Archive) -> None:
    session = Session(opened(archive(Recurrent, "trace")), (InputShape("x", (7, 6)),))
    with pytest.raises(FailedAnalysisError) as caught:
        session.analyze(at(torch.zeros(7, 6)))
    assert caught.value.error.message == (
        "lstm cannot run lstm: it expects 3 dimensions (batch, sequence, features) and gets 2 (7×6)."
    )


class Picky(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[0] < 3, "at most two at a time"
        return self.inner(x)

    def inner(self, x: Tensor) -> Tensor:
        return self.fc(x)


class Branching(Picky):
    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x) if bool(x.sum() > 0) else self.fc(self.fc(x))


def scripted(module: nn.Module, path: Path) -> Session:
    script_models.save(module.eval(), torch.zeros(1, 4), "script", path)
    return Session(opened(path))


def test_an_assertion_of_the_model(tmp_path: Path) -> None:
    session = scripted(Picky(), tmp_path / "net.pt")
    assert session.analyze(at(torch.zeros(2, 4))).totals.macs == 2 * 4 * 4
    with pytest.raises(FailedAnalysisError) as caught:
        session.analyze(at(torch.zeros(3, 4)))
    assert "refuses this input: at most two at a time." in caught.value.error.message


def test_what_depends_on_values_is_assumed(tmp_path: Path) -> None:
    session = scripted(Branching(), tmp_path / "net.pt")
    analysis = session.analyze(at(torch.zeros(1, 4)))
    assert [(each.key, each.value) for each in analysis.assumptions] == [(":is_nonzero", 0)]
    assert analysis.totals.macs == 2 * 4 * 4


def test_the_command_line_reports_it(archive: Archive, capsys: pytest.CaptureFixture[str]) -> None:
    module, example = build(Transformer)
    expected = open_session(module, example).analyze(at(example)).totals
    arguments = ["report", str(archive(Transformer, "script")), "--input", "2x7:int64", "--format", "json"]
    assert cli.main(arguments) == cli.BAD_REQUEST
    assert "--trust" in capsys.readouterr().err
    assert cli.main([*arguments, "--trust"]) == cli.OK
    totals = json.loads(capsys.readouterr().out)["totals"]
    assert (totals["params"], totals["macs"]) == (expected.params, expected.macs)


def test_there_are_no_parts(archive: Archive) -> None:
    with pytest.raises(LoadError, match="has no part #ema"):
        opened(f"{archive(Convolutional, 'trace')}#ema")


def changed(path: Path, change: Callable[[str, bytes], bytes]) -> None:
    """The archive with other entries, which our reader finds nothing wrong with."""
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as old:
        entries = {name: change(name, old.read(name)) for name in old.namelist()}
    with zipfile.ZipFile(path, "w") as new:
        for name, data in entries.items():
            new.writestr(name, data)


DAMAGES: dict[str, Callable[[str, bytes], bytes]] = {
    "code that does not parse": lambda name, data: data[:-40] if name.endswith("script_models.py") else data,
    "an unknown operation": lambda name, data: data.replace(b"torch.flatten", b"torch.flutter"),
    "a library's operation": lambda name, data: data.replace(b"torch.flatten", b"ops.somebody.flatten"),
    "no version": lambda name, data: b"x" if name.endswith("version") else data,
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_that_only_torch_finds(archive: Archive, tmp_path: Path, name: str) -> None:
    path = tmp_path / "net.pt"
    path.write_bytes(archive(Convolutional, "trace").read_bytes())
    changed(path, DAMAGES[name])
    with pytest.raises(LoadError) as caught:
        opened(path)
    message: Any = caught.value.message
    assert message.startswith("torch cannot load net.pt: ") and message.endswith(".") and "\n" not in message
    assert split_file(str(path)).path == caught.value.file and caught.value.hint.startswith(HAS_RUN)
