"""The ``report`` command: numbers in every format, exit statuses, one sentence per error, a clean stdout."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest
from torch import Tensor, nn

from engine import analyze
from engine.api import LIVE_DETAILS_S, analyze_columns, measure_columns, open_session
from engine.cli import main, parse_input
from engine.configuration import Configuration
from engine.edits import RemoveLayer
from engine.errors import InputError
from engine.export import render
from engine.graph import InputShape
from engine.measurement import Comparison
from engine.results import Analysis

ROOT = Path(__file__).resolve().parent.parent.parent
PARAMS, MACS, MACS_WITHOUT_MAXPOOL = 25_557_032, 4_089_184_256, 15_996_551_168

TINY = """
import os
import torch
from torch import nn

print("chatter from Python")
os.system("echo chatter from a child")

class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.fc = nn.Linear(8 * 4 * 4, 10)

    def forward(self, image):
        return self.fc(self.pool(self.conv(image)).flatten(1))

def build():
    return Tiny(), (torch.zeros(1, 3, 8, 8),)
"""
TINY_MACS = 8 * 8 * 8 * 3 * 9 + 8 * 4 * 4 * 10


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    (tmp_path / "tiny.py").write_text(TINY)
    return f"{tmp_path / 'tiny.py'}:build"


@pytest.fixture(scope="module")
def resnet() -> tuple[Analysis, Analysis]:
    """ResNet-50 without and with its maxpool."""
    session = open_session("torchvision:resnet50")
    inputs = (InputShape("", (1, 3, 224, 224)),)
    return analyze_columns(session, inputs, (RemoveLayer("maxpool"),)), analyze_columns(session, inputs)


def run(capfdbinary: pytest.CaptureFixture[bytes], *argv: str) -> tuple[int, bytes, str]:
    """(exit status, standard output, standard error without the library's chatter)."""
    status = main(["report", *argv])
    out, err = capfdbinary.readouterr()
    lines = [line for line in err.decode().splitlines() if line.startswith("misnomer: ")]
    return status, out, "\n".join(lines)


def test_resnet_50_has_the_same_numbers_in_all_formats(resnet: tuple[Analysis, Analysis]) -> None:
    now, before = resnet
    report = json.loads(render(now, "json", before))
    assert (report["totals"]["params"], report["totals"]["macs"]) == (PARAMS, MACS_WITHOUT_MAXPOOL)
    assert sum(row["macs"] for row in report["layers"]) == MACS_WITHOUT_MAXPOOL
    rows = list(csv.DictReader(io.StringIO(render(now, "csv", before).decode("utf-8-sig"))))
    assert sum(int(row["macs"] or 0) for row in rows) == MACS_WITHOUT_MAXPOOL
    assert sum(int(row["baseline_macs"] or 0) for row in rows) == MACS
    assert sum(int(row["params"] or 0) for row in rows) == PARAMS
    assert [row["path"] for row in rows if row["change"] == "removed"] == ["maxpool"]
    for key in ("md", "html"):
        text = render(now, key, before).decode()
        for number in (
            PARAMS,
            MACS,
            MACS_WITHOUT_MAXPOOL,
            now.totals.flops,
            now.totals.peak_activation_bytes,
        ):
            assert f"{number:,}" in text or (key == "html" and number == MACS)
        assert "model.maxpool = nn.Identity()" in text
        assert "3.91" in text


def test_the_command_prints_the_report(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    status, out, err = run(capfdbinary, "torchvision:resnet50", "--input", "1x3x224x224", "--format", "json")
    report = json.loads(out)
    assert (status, err) == (0, "")
    assert (report["totals"]["params"], report["totals"]["macs"]) == (PARAMS, MACS)
    assert report["inputs"][0]["shape"] == [1, 3, 224, 224]


def test_the_maxpool_experiment_fails_a_budget(
    capfdbinary: pytest.CaptureFixture[bytes], tmp_path: Path
) -> None:
    out_file = tmp_path / "out.html"
    argv = ["torchvision:resnet50", "--remove", "maxpool", "--fail-if", "macs>+5%", "--fail-if", "params>+0"]
    status, out, err = run(capfdbinary, *argv, "-o", str(out_file))
    assert status == 3
    assert out == b""
    assert err == f"misnomer: macs>+5% holds: {MACS:,} → {MACS_WITHOUT_MAXPOOL:,} (×\u202f3.91)."
    assert f"{MACS_WITHOUT_MAXPOOL:,}" in out_file.read_text("utf-8")


def test_python_call_and_command_agree(tiny: str, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    _, out, _ = run(capfdbinary, tiny, "--trust", "--format", "json")
    assert json.loads(out) == json.loads(analyze(tiny, trust=True).to_json())


def test_against_an_old_report(tiny: str, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    old = str(tmp_path / "old.json")
    assert run(capfdbinary, tiny, "--trust", "-o", old)[0] == 0
    compare = [tiny, "--trust", "--against", old, "--fail-if", "macs>+0"]
    assert run(capfdbinary, *compare)[0] == 0
    status, out, err = run(capfdbinary, *compare, "--input", "2x3x8x8")
    assert status == 3
    assert f"{TINY_MACS:,} → {2 * TINY_MACS:,}" in err
    assert "+100" in out.decode()


def test_an_absolute_budget_needs_no_reference(tiny: str, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert run(capfdbinary, tiny, "--trust", "--fail-if", f"macs>{TINY_MACS}")[0] == 0
    assert run(capfdbinary, tiny, "--trust", "--fail-if", f"macs>={TINY_MACS}")[0] == 3


def test_an_unedited_model_that_refuses_the_input_is_no_baseline(
    tiny: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    # Without its pool the classifier fits an image of half the size only.
    argv = [tiny, "--trust", "--remove", "pool", "--input", "image=1x3x4x4"]
    status, out, err = run(capfdbinary, *argv)
    assert status == 0
    assert "No comparison with the unedited model" in err
    assert "Difference" not in out.decode()
    status, out, err = run(capfdbinary, *argv, "--fail-if", "macs>+5%")
    assert (status, out) == (2, b"")


def test_nothing_but_the_report_reaches_standard_output(tiny: str) -> None:
    code = "import sys; from engine.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "report", tiny, "--trust", "--format", "json"],
        cwd=ROOT,
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert done.returncode == 0
    assert json.loads(done.stdout)["totals"]["macs"] == TINY_MACS
    assert b"chatter from Python" in done.stderr
    assert b"chatter from a child" in done.stderr


@pytest.mark.parametrize(
    ("name", "first"), [("a.csv", b"id,path"), ("a.md", b"# Tiny"), ("a.HTML", b"<!DOCTYPE html>")]
)
def test_the_file_ending_names_the_format(
    tiny: str, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], name: str, first: bytes
) -> None:
    assert run(capfdbinary, tiny, "--trust", "-o", str(tmp_path / name))[0] == 0
    assert (tmp_path / name).read_bytes().startswith(first)


REFUSED = [
    ([], r"The following arguments are required: SOURCE\."),
    (["torchvision:resnet50", "--energy", "cpu"], r"Unrecognized arguments: --energy cpu\."),
    (["torchvision:resnet50", "--form", "json"], r"Unrecognized arguments: --form json\."),
    (["torchvision:resnet50", "--format", "pdf"], r"Argument --format: invalid choice: 'pdf'"),
    (["torchvision:resnet50", "--input", "x=1x3xbig"], r"--input 'x=1x3xbig' is not NAME=SHAPE"),
    (["torchvision:resnet50", "--input", "1x0x2"], r"every size must be at least 1\."),
    (["torchvision:resnet50", "--input", "1x3:int3"], r"there is no dtype 'int3'\."),
    (["torchvision:resnet50", "--set", "conv1.stride"], r"--set 'conv1.stride' is not LAYER\.FIELD=VALUE\."),
    (["torchvision:resnet50", "--assume", "n=many"], r"--assume 'n=many' is not KEY=VALUE"),
    (["torchvision:resnet50", "--fail-if", "macs>+5%"], r"compares with a reference, and there is none\."),
    (["torchvision:resnet50", "--fail-if", "speed>5"], r"there is no total 'speed'\."),
    (["torchvision:resnet50", "-o", "out.docx"], r"The ending of out.docx names no report format\."),
    (
        ["torchvision:resnet50", "--against", "none.json"],
        r"none.json cannot be read: no such file or directory\.",
    ),
    (
        ["torchvision:resnet50", "--python", "/nowhere/python"],
        r"cannot be started: no such file or directory\.",
    ),
    (["torchvision:resnet5000"], r"resnet5000"),
    (["torchvision:resnet18", "--remove", "conv9"], r"conv9"),
    (["torchvision:resnet18", "--input", "y=1x3x224x224"], r"y"),
    (["torchvision:resnet18", "--input", "x=1x3x8x8", "--input", "x=1x3x9x9"], r"gives x more than once\."),
    (["torchvision:resnet18", "--input", "1x4x224x224"], r"conv1"),
]


@pytest.mark.parametrize(("argv", "sentence"), REFUSED, ids=[" ".join(argv)[-40:] for argv, _ in REFUSED])
def test_a_bad_request_is_one_sentence_and_status_2(
    argv: list[str], sentence: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    status = main(["report", *argv])
    out, err = capfdbinary.readouterr()
    assert (status, out) == (2, b"")
    assert re.fullmatch(r"misnomer: [^\n]+\n", err.decode())
    assert re.search(sentence, err.decode())


def test_code_does_not_run_without_consent(tiny: str, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    status = main(["report", tiny])
    out, err = capfdbinary.readouterr()
    assert (status, out) == (2, b"")
    # What would run is listed in that one sentence; it did not run.
    assert re.fullmatch(rb"misnomer: [^\n]*--trust[^\n]*\n", err)


def test_a_bug_has_its_traceback_and_status_1(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr("engine.api.open_session", broken)
    assert main(["torchvision:resnet18"]) == 1
    assert b"RuntimeError: a bug of ours" in capfdbinary.readouterr().err


def test_help_names_every_option(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["report", "--help"])
    assert left.value.code == 0
    assert b"--fail-if" in capfdbinary.readouterr().out


def test_shapes_are_read_in_the_ways_people_write_them() -> None:
    shape = (1, 3, 224, 224)
    for text in ("1x3x224x224", "1×3×224×224", "1,3,224,224", "(1, 3, 224, 224)", "[1,3,224,224]"):
        assert parse_input(f"x={text}") == InputShape("x", shape, "")
        assert parse_input(text) == InputShape("", shape, "")
    assert parse_input("tokens=1x128:int64") == InputShape("tokens", (1, 128), "int64")


def wrapper(tmp_path: Path, options: str) -> str:
    """A program that is this Python with ``options``."""
    path = tmp_path / "python"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" {options} "$@"\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in interpreter is a shell script")
def test_another_python_gives_the_same_report(
    tiny: str, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    python = wrapper(tmp_path, "-B")
    status, out, err = run(
        capfdbinary, f"--python={python}", tiny, "--trust", "--format", "json", "--fail-if", "macs>1"
    )
    assert status == 3
    assert json.loads(out)["totals"]["macs"] == TINY_MACS
    assert err == f"misnomer: macs>1 holds: {TINY_MACS:,}."


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in interpreter is a shell script")
def test_another_python_without_packages_says_what_is_missing(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    # -S: without the site packages of the environment.
    status, out, err = run(capfdbinary, "torchvision:resnet18", "--python", wrapper(tmp_path, "-S"))
    assert (status, out) == (2, b"")
    assert re.fullmatch(r"misnomer: .* has no msgspec and no torch; install it there\.", err)


def test_latency_is_measured_and_compared_with_the_unedited_model(
    tiny: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    argv = [
        tiny,
        "--trust",
        "--set",
        "conv.padding=1",
        "--latency",
        "cpu",
        "--threads",
        "1",
        "--tier",
        "live",
    ]
    status, out, err = run(capfdbinary, *argv, "--set", "conv.dilation=1", "--format", "json")
    assert (status, err) == (0, "")
    report = json.loads(out)
    latency = report["latency"]
    assert (latency["threads"], latency["tier"], latency["device"]) == (1, "live", "cpu")
    assert latency["n"] == len(latency["samples_s"]) >= 1
    assert latency["median_s"] == report["totals"]["latency_s"] > 0
    assert latency["memory"]["analytic_bytes"] == report["totals"]["peak_activation_bytes"]
    assert all(row["latency_s"] is not None or row["note"] for row in report["layers"])
    assert latency["comparison"]["baseline"]["edits"] == []
    assert latency["circumstances"]["fingerprint"]


def test_a_measured_budget(tiny: str, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    argv = [tiny, "--trust", "--latency", "cpu", "--tier", "live", "--fail-if", "latency>1000s"]
    assert run(capfdbinary, *argv)[0] == 0
    status, _, err = run(capfdbinary, *argv, "--fail-if", "latency>0.001ns")
    assert status == 3
    assert "latency>0.001ns holds: " in err


def test_an_old_report_with_a_latency_is_compared_apart(
    tiny: str, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    old = str(tmp_path / "old.json")
    measure = [tiny, "--trust", "--latency", "cpu", "--tier", "live"]
    assert run(capfdbinary, *measure, "-o", old)[0] == 0
    status, out, _ = run(capfdbinary, *measure, "--against", old, "--input", "2x3x8x8")
    assert status == 0
    assert "measured apart" in out.decode()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--latency", "cuda"], "--latency cuda: this version measures on the CPU. Write --latency cpu."),
        (["--threads", "2"], "--threads needs a measurement. Add --latency cpu."),
        (["--tier", "live"], "--tier needs a measurement. Add --latency cpu."),
        (["--ort-level", "basic"], "--ort-level needs a measurement. Add --latency cpu."),
        (["--spinning", "off"], "--spinning needs a measurement. Add --latency cpu."),
        (["--fail-if", "latency>1s"], "--fail-if 'latency>1s' needs a measurement. Add --latency cpu."),
        (["--latency", "cpu", "--threads", "0"], "--threads 0 is not between 1 and 1024."),
    ],
)
def test_options_about_measuring_that_make_no_sense(
    capfdbinary: pytest.CaptureFixture[bytes], options: list[str], sentence: str
) -> None:
    status, out, err = run(capfdbinary, "torchvision:resnet18", *options)
    assert (status, out, err) == (2, b"", f"misnomer: {sentence}")


def test_the_python_call_measures_too() -> None:
    report = analyze(nn.Linear(8, 4), (2, 8), latency="cpu", threads=1, tier="live")
    assert report.latency is not None
    assert report.latency.median_s > 0
    assert report.latency.layers is not None
    with pytest.raises(InputError, match="measures on the CPU"):
        analyze(nn.Linear(8, 4), (2, 8), latency="cuda")


def test_a_condition_on_an_unclear_comparison_says_so(
    tiny: str, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unclear(
        session: object, current: Configuration, baseline: Configuration, *args: object, **more: object
    ) -> Any:
        ratios = (0.9, 1.1) * 4
        return Comparison(baseline, current, 1, ratios, (1.0,) * 8, ratios, "time")

    monkeypatch.setattr("engine.latency.compare", unclear)
    argv = [tiny, "--trust", "--set", "conv.padding=1", "--latency", "cpu", "--tier", "live"]
    status, _, err = run(capfdbinary, *argv, "--fail-if", "latency>-5%")
    assert status == 3
    assert err.startswith("misnomer: latency>-5% holds: latency ×\u202f1.0 (0.9–1.1), unclear:")
    status, _, err = run(capfdbinary, *argv, "--fail-if", "latency>+50%", "--fail-if", "macs>+900%")
    assert status == 0
    assert err == (
        "misnomer: --fail-if 'latency>+50%' rests on a comparison without a clear result: "
        "latency ×\u202f1.0 (0.9–1.1), unclear: the samples do not settle it."
    )


ENDLESS = """
import os
import torch
from torch import nn

class Endless(nn.Module):
    def forward(self, x):
        if x.device.type == "cpu":
            os.write(2, b"a forward pass\\n")
            while True:
                x @ x
        return x @ x

def build():
    return Endless(), (torch.zeros(512, 512),)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no process there gets a Ctrl-C of its own")
def test_an_interrupt_ends_a_measurement_at_once(tmp_path: Path, interruptible: None) -> None:
    """An interpreter that ends while the measuring thread computes would abort; waiting for it could take forever."""
    (tmp_path / "endless.py").write_text(ENDLESS)
    source = f"{tmp_path / 'endless.py'}:build"
    options = ["--trust", "--latency", "cpu", "--threads", "2", "--tier", "live"]
    with subprocess.Popen(
        [sys.executable, str(ROOT / "main.py"), "report", source, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            assert process.stderr is not None
            assert process.stderr.readline() == b"a forward pass\n"
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, out, err) == (130, b"", b"misnomer: Interrupted.\n")


class Sleeps(nn.Module):
    """Takes longer than the tier live has time for layers, when it runs for real."""

    passes: ClassVar[list[int]] = []

    def forward(self, x: Tensor) -> Tensor:
        if not x.is_meta:
            self.passes.append(1)
            time.sleep(LIVE_DETAILS_S)
        return x + 1


def test_the_live_tier_measures_only_the_whole_of_a_slow_model() -> None:
    session = open_session(Sleeps(), (2, 4))
    analysis = analyze_columns(session)
    Sleeps.passes.clear()
    told: list[str] = []
    measured = measure_columns(
        session, analysis, against=analysis.configuration, tier="live", threads=1, progress=told.append
    )
    assert measured.latency is not None
    latency = measured.latency
    assert (latency.layers, latency.memory, latency.comparison) == (None, None, None)
    assert not any("layers" in words or "memory" in words for words in told)
    assert len(Sleeps.passes) <= 12
