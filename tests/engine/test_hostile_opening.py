"""Files made to hurt and damaged files, opened as a user opens them: through the table of loaders, in a real engine.

Without consent nothing of them runs; with it, whatever goes wrong ends in a sentence and the engine goes on.
"""

from __future__ import annotations

import functools
import io
import itertools
import json
import os
import pickle
import random
import subprocess
import sys
import tempfile
import textwrap
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import psutil
import pytest
import torch
from torch import nn

from engine import cli
from engine.errors import EngineError, ErrorInfo
from engine.loaders import check, load
from engine.loaders.options import LoadOptions
from engine.protocol import Failed, ListZoo, Open, Opened, Ready, ZooListing
from tests.conftest import sampled
from tests.engine import test_server
from tests.engine.model_files import Convolutional, save_all
from tests.engine.test_files_damaged import damaged
from tests.engine.test_files_hostile import (
    BOMBS,
    CANARY,
    PICKLES,
    SAFETENSORS,
    SYSTEM,
    TENSORS,
    TOUCH,
    ZIPS,
    Runs,
    write_zip,
)

ROOT = Path(__file__).parents[2]
MAX_S, MAX_BYTES = 2.0, 10**9
"""For one file; seconds are looked at in ``python -m benchmarks hostile``, as a test must not depend on them."""
KINDS = {"load", "unsupported", "consent", "architecture"}
"""Of errors that a file can end in while nobody has agreed to anything."""
Maker = Callable[[Path], str]
"""Makes the file in a folder and gives the source to open, relative to it."""


class Engine(test_server.Engine):
    """A started engine whose current folder is one where nothing of ours lies."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ids = itertools.count(1)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "engine", "serve"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self.until(Ready)

    def open(self, source: str, *, trust: bool = False) -> Opened | ErrorInfo:
        id = next(self.ids)
        self.send(Open(id, source, trust))
        event = self.until((Opened, Failed), lambda event: event.id == id)  # type: ignore[arg-type,attr-defined]
        return event.error if isinstance(event, Failed) else event  # type: ignore[return-value]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = Engine(tmp_path_factory.mktemp("engine"))
    yield engine
    engine.process.kill()
    engine.process.wait()


# -- hostile files -------------------------------------------------------------------------------------------------


def file(name: str, data: Callable[[], bytes]) -> Maker:
    def make(folder: Path) -> str:
        (folder / name).write_bytes(data())
        return name

    return make


def archive(change: Callable[[Path], object]) -> Maker:
    def make(folder: Path) -> str:
        change(folder / "net.pt")
        return "net.pt"

    return make


def checkpoint(value: Callable[[], object], old: bool = False) -> Maker:
    def make(folder: Path) -> str:
        torch.save(value(), folder / "net.pt", _use_new_zipfile_serialization=not old)
        return "net.pt"

    return make


@functools.cache
def whole() -> dict[str, bytes]:
    """One sound file per kind."""
    with tempfile.TemporaryDirectory() as folder:
        return {name: path.read_bytes() for name, path in save_all(Path(folder), Convolutional).items()}


def repacked(kind: str, change: Callable[[str, bytes], bytes]) -> Maker:
    """The archive of a sound file with entries changed: (name, content) → content."""

    def make(folder: Path) -> str:
        with zipfile.ZipFile(io.BytesIO(whole()[kind])) as sound:
            entries = {name: change(name, sound.read(name)) for name in sound.namelist()}
        write_zip(folder / "net.pt", entries)
        return "net.pt"

    return make


class Sneaky(nn.Linear):
    """A module with something to run beside its weights."""

    def __init__(self) -> None:
        super().__init__(2, 2)
        self.extra = SYSTEM


def class_beside(folder: Path) -> str:
    """A pickled module whose class lies beside it, in a file that does more than define it."""
    (folder / "evil.py").write_text(f"import os\nos.system({TOUCH!r})\nfrom torch.nn import Linear as Net\n")
    torch.save(Sneaky(), folder / "net.pt")
    with zipfile.ZipFile(io.BytesIO((folder / "net.pt").read_bytes())) as honest:
        entries = {name: honest.read(name) for name in honest.namelist()}
    renamed = {
        name: data.replace(b"tests.engine.test_hostile_opening\nSneaky", b"evil\nNet")
        for name, data in entries.items()
    }
    assert renamed != entries
    write_zip(folder / "net.pt", renamed)
    return "net.pt"


def python_file(folder: Path) -> str:
    (folder / "net.py").write_text(f"import os\nos.system({TOUCH!r})\ndef build(): ...\n")
    return "net.py:build"


def python_text(body: str) -> Maker:
    """A Python file whose callable is named; its ``body`` makes the reader work."""

    def make(folder: Path) -> str:
        (folder / "net.py").write_text(f"{body}\ndef build(): ...\n")
        return "net.py:build"

    return make


def weights_of_python_file(folder: Path) -> str:
    torch.save(nn.Linear(2, 2).state_dict(), folder / "weights.pt")
    return f"weights.pt@{folder / python_file(folder)}"


def shards_elsewhere(folder: Path) -> str:
    (folder / "index.json").write_text(json.dumps({"weight_map": {"w": "../../../etc/passwd"}}))
    return "index.json"


def sample_input(name: str, data: bytes) -> bytes:
    if "sample_inputs" not in name:
        return data
    buffer = io.BytesIO()
    torch.save(SYSTEM, buffer)
    return buffer.getvalue()


def pickled_weights(name: str, data: bytes) -> bytes:
    if name.endswith("weights_config.json"):
        return data.replace(b'"use_pickle": false', b'"use_pickle": true', 1)
    return pickle.dumps(SYSTEM) if name.endswith("weight_0") else data


EXPRESSION = json.dumps({"as_expr": {"expr_str": f"__import__('os').system({TOUCH!r})"}}).encode()
STATE = {"w": torch.zeros(2)}
HOSTILE: dict[str, Maker] = {
    **{f"pickle: {name}": file("net.pt", lambda data=data: data) for name, (data, _) in PICKLES.items()},
    **{f"archive: {name}": archive(make) for name, (make, _) in ZIPS.items()},
    **{
        f"safetensors: {name}": file("net.safetensors", lambda data=data: data)
        for name, (data, _) in SAFETENSORS.items()
    },
    **{
        f"tensor: {name}": archive(
            lambda path, data=data: write_zip(path, {"a/data.pkl": data, "a/data/0": b"\0" * 16})
        )
        for name, (data, _) in TENSORS.items()
    },
    "checkpoint: value": checkpoint(lambda: {"model": STATE, "args": SYSTEM}),
    "checkpoint: value, legacy": checkpoint(lambda: {"model": STATE, "args": SYSTEM}, old=True),
    "checkpoint: key": checkpoint(lambda: {"model": STATE, SYSTEM: 1}),
    "checkpoint: optimizer": checkpoint(lambda: {"model": STATE, "optimizer": {"state": {0: [SYSTEM]}}}),
    "checkpoint: bytes": checkpoint(lambda: {"model": STATE, "x": Runs(pickle.loads, pickle.dumps(SYSTEM))}),
    "module: attribute": checkpoint(Sneaky),
    "module: attribute, legacy": checkpoint(Sneaky, old=True),
    "module: in a checkpoint": checkpoint(lambda: {"model": Sneaky()}),
    "module: class beside it": class_beside,
    "exported: sample inputs": repacked("exported", sample_input),
    "exported: expression": repacked(
        "exported",
        lambda name, data: data.replace(b'{"as_int": 2}', EXPRESSION, 1) if "models/" in name else data,
    ),
    "exported: pickled weights": repacked("exported", pickled_weights),
    "torchscript: as it is": repacked("script", lambda name, data: data),
    "torchscript: data": repacked(
        "script", lambda name, data: pickle.dumps(SYSTEM) if name.endswith("data.pkl") else data
    ),
    "torchscript: constants": repacked(
        "script", lambda name, data: pickle.dumps((SYSTEM,)) if name.endswith("constants.pkl") else data
    ),
    "python: code at import": python_file,
    "python: for weights": weights_of_python_file,
    "python: many statements": python_text("f()\n" * 39_000),
    "python: too many words": python_text("a\n" * 500_000),
    "python: many modules": python_text("".join(f"import a{n}\n" for n in range(15_000))),
    "python: a name of many parts": python_text(f"import {'a.' * 59_000}b"),
    "python: a name too long for a file": python_text(f"import {'a' * 300}"),
    "shards: elsewhere": shards_elsewhere,
    **{f"bomb: {name}": file("net.pt", BOMBS[name]) for name in sampled(list(BOMBS), 2, "hostile opening")},
}


def check_sentence(error: ErrorInfo, source: str) -> None:
    """One sentence, or a few: what and where, without a traceback in it."""
    assert error.kind in KINDS, (error.kind, error.message, error.traceback)
    assert error.message.endswith((".", "?")) and "\n" not in error.message and len(error.message) < 2_000
    names = [Path(part.partition(":")[0]).name for part in source.split("@")]
    assert any(name in error.message for name in (*names, "refused")), error.message


def everything_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if "__pycache__" not in path.parts)


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_runs_without_consent(engine: Engine, tmp_path: Path, name: str) -> None:
    source = HOSTILE[name](tmp_path)
    before = everything_in(tmp_path)
    process = psutil.Process(engine.process.pid)
    resident = process.memory_info().rss
    error = engine.open(str(tmp_path / source))
    assert isinstance(error, ErrorInfo)
    check_sentence(error, source)
    if error.kind == "consent":
        assert error.details and len(error.digest) == 64
    assert not (engine.folder / CANARY).exists() and everything_in(tmp_path) == before
    assert process.memory_info().rss - resident <= MAX_BYTES


def test_there_are_enough_cases() -> None:
    assert len(HOSTILE) >= 40


COMMAND_LINE = ("checkpoint: value", "module: attribute", "exported: expression", "python: code at import",
                "torchscript: as it is", "archive: parent folder")  # fmt: skip


@pytest.mark.parametrize("name", COMMAND_LINE)
def test_the_command_line_runs_nothing_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    source = HOSTILE[name](tmp_path)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["report", source]) == cli.BAD_REQUEST
    output = capsys.readouterr()
    assert not output.out and output.err.startswith("misnomer: ") and "Traceback" not in output.err
    assert not (tmp_path / CANARY).exists()


# -- refused before torch is imported ------------------------------------------------------------------------------


def whole_file(kind: str, folder: str = "") -> Maker:
    """A sound file of this kind; with ``folder`` alone in one, which is what is opened."""

    def make(below: Path) -> str:
        (below / folder).mkdir(exist_ok=True)
        (below / folder / "net.pt").write_bytes(whole()[kind])
        return folder or "net.pt"

    return make


REFUSED: dict[str, Maker] = {
    "empty": file("net.pt", lambda: b""),
    "missing": lambda folder: "net.pt",
    "weights alone": whole_file("state"),
    "weights alone, safetensors": whole_file("safetensors"),
    "checkpoint": whole_file("checkpoint"),
    "module": whole_file("module"),
    "module in a folder": whole_file("module", "saved"),
    "torchscript": whole_file("script"),
    "exported": whole_file("exported"),
    "no such part": lambda folder: f"{whole_file('exported')(folder)}#other",
    "python: code at import": python_file,
    "python: for weights": weights_of_python_file,
}


def refusal(open: Callable[[str, LoadOptions], object], source: str) -> ErrorInfo:
    with pytest.raises(EngineError) as caught:
        open(source, LoadOptions())
    return msgspec.structs.replace(caught.value.info(), traceback="")


@pytest.mark.parametrize("name", [*REFUSED, *sampled([*HOSTILE], 20, "early refusals")])
def test_what_is_asked_early_is_what_a_loader_asks(tmp_path: Path, name: str) -> None:
    source = str(tmp_path / (REFUSED | HOSTILE)[name](tmp_path))
    assert refusal(check, source) == refusal(load, source)


def test_the_command_line_refuses_without_torch(tmp_path: Path) -> None:
    sources = []
    for number, make in enumerate(REFUSED.values()):
        folder = tmp_path / str(number)
        folder.mkdir()
        sources.append(str(folder / make(folder)))
    program = (
        "import sys; from engine.cli import main; statuses = {main([each]) for each in sys.argv[1:]}; "
        "sys.exit(f'{statuses} {\"torch\" in sys.modules}')"
    )
    done = subprocess.run([sys.executable, "-c", program, *sources], cwd=ROOT, capture_output=True, text=True)
    *sentences, last = done.stderr.splitlines()
    assert last == "{2} False"
    assert sum(line.startswith("misnomer: ") for line in sentences) == len(REFUSED)
    assert sentences[0].startswith("misnomer: net.pt is empty.")


# -- what a consent lets run ---------------------------------------------------------------------------------------

RUNS: dict[str, tuple[str, str]] = {
    "network": ("__import__('socket').create_connection(('127.0.0.1', 9), 1)", "--allow-network"),
    "name look-up": ("__import__('socket').getaddrinfo('example.com', 9)", "--allow-network"),
    "memory": ("bytearray(2**62)", "memory"),
    "list that grows": ("[0] * 2**44", "memory"),
    "tensor": ("__import__('torch').empty(2**44)", "memory"),
    "exit": ("exit(3)", "SystemExit"),
}


@pytest.mark.skipif(sys.platform not in ("linux", "darwin"), reason="nothing is confined here")
@pytest.mark.parametrize("name", RUNS)
def test_agreed_code_is_confined(engine: Engine, tmp_path: Path, name: str) -> None:
    code, expected = RUNS[name]
    module = nn.Linear(2, 2)
    module.extra = Runs(eval, code)
    torch.save(module, tmp_path / "net.pt")
    error = engine.open(str(tmp_path / "net.pt"), trust=True)
    assert isinstance(error, ErrorInfo), name
    assert expected in error.sentence and "net.pt" in error.message, error.sentence


@pytest.mark.skipif(sys.platform not in ("linux", "darwin"), reason="nothing is confined here")
@pytest.mark.parametrize("allowed", sampled([False, True], 1, "network of the command line"))
def test_the_command_line_has_no_network_unless_asked(tmp_path: Path, allowed: bool) -> None:
    module = nn.Linear(2, 2)
    module.extra = Runs(eval, RUNS["network"][0])
    torch.save(module, tmp_path / "net.pt")
    more = ["--allow-network"] if allowed else []
    done = subprocess.run(
        [sys.executable, str(ROOT / "main.py"), "report", "net.pt", "--trust", *more],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == cli.BAD_REQUEST and not done.stdout
    assert ("ConnectionRefusedError" if allowed else "PermissionError") in done.stderr
    assert ("--allow-network" in done.stderr) is not allowed


@pytest.mark.skipif(sys.platform != "linux", reason="memory is not limited by address space here")
def test_memory_that_is_taken_bit_by_bit(engine: Engine, tmp_path: Path) -> None:
    """Nothing is touched: on this machine address space is limited to what is free."""
    (tmp_path / "net.py").write_text(
        textwrap.dedent(
            """
            import mmap
            kept = []
            def build():
                while True:
                    kept.append(mmap.mmap(-1, 2**32))
            """
        )
    )
    error = engine.open(f"{tmp_path / 'net.py'}:build", trust=True)
    assert isinstance(error, ErrorInfo) and "memory" in error.message.lower(), error


# -- damaged files -------------------------------------------------------------------------------------------------

FILES = ("state", "legacy", "module", "checkpoint", "script", "exported", "safetensors")
DAMAGES = 50


def broken(data: bytes, kind: str) -> Iterator[bytes]:
    rng = random.Random(f"opening {kind}")
    yield b""
    for _ in range(DAMAGES - 1):
        yield damaged(data, rng)


@pytest.mark.parametrize("kind", FILES)
def test_damaged_files_in_the_table(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "net.pt"
    for data in broken(whole()[kind], kind):
        path.write_bytes(data)
        refused = refusal(load, str(path))
        check_sentence(refused, "net.pt")
        assert refusal(check, str(path)) == refused


@pytest.mark.parametrize("kind", ["module", "script", "exported"])
def test_damaged_files_that_were_agreed_to(engine: Engine, tmp_path: Path, kind: str) -> None:
    """Most damage is found before anything runs; the rest must not take the engine with it."""
    path = tmp_path / "net.pt"
    for data in sampled(list(broken(whole()[kind], kind)), 8, f"agreed {kind}"):
        path.write_bytes(data)
        answer = engine.open(str(path), trust=True)
        if isinstance(answer, ErrorInfo) and answer.kind != "missing_shape":
            check_sentence(answer, "net.pt")
    engine.send(ListZoo(0))
    assert engine.until(ZooListing).entries


def test_places_that_are_no_file(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "folder.pt").mkdir()
    sources = ["folder.pt", "missing.pt", "missing.pt#ema@torchvision:resnet18"]
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.pt")
        sources.append("pipe.pt")
    if hasattr(os, "geteuid") and os.geteuid() != 0:
        (tmp_path / "secret.pt").write_bytes(b"x")
        (tmp_path / "secret.pt").chmod(0)
        sources.append("secret.pt")
    for source in sources:
        error = engine.open(str(tmp_path / source))
        assert isinstance(error, ErrorInfo)
        check_sentence(error, source.partition("#")[0])
