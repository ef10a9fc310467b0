"""Profiles of onnxruntime that somebody gives: on the right rows, never as measured here, within limits."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from threading import Event
from typing import Any

import numpy
import pytest
from torch import nn, zeros

from engine import cli
from engine.errors import CancelledError, InputError, LoadError
from engine.export import render
from engine.export.report import parse_report
from engine.latency import onnx_imported
from engine.latency.onnx_imported import imported_times
from engine.loaders.options import LoadOptions
from engine.measurement import LayerTimes
from engine.onnx import profile_file
from engine.onnx.profile_file import read_given
from engine.onnx.runtime import onnxruntime
from engine.onnx.session import OnnxSession
from engine.opening import open_model
from engine.results import with_latency
from tests.onnx_models import export, randomised

RUNS = 5


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 14 * 14, 10),
    )  # fmt: skip
    return export(randomised(net), (zeros(1, 3, 32, 32),), tmp_path_factory.mktemp("imported") / "net.onnx")


@pytest.fixture(scope="module")
def model(file: Path) -> OnnxSession:
    opened = open_model(str(file), LoadOptions())
    assert isinstance(opened, OnnxSession)
    return opened


@pytest.fixture(scope="module")
def profile(file: Path) -> Path:
    """As a user records it, with onnxruntime's own options."""
    ort = onnxruntime()
    options = ort.SessionOptions()
    options.enable_profiling, options.intra_op_num_threads = True, 1
    options.profile_file_prefix = str(file.parent / "profile")
    session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    feeds = {session.get_inputs()[0].name: numpy.ones((1, 3, 32, 32), numpy.float32)}
    for _ in range(RUNS):
        session.run(None, feeds)
    return Path(session.end_profiling())


def imported(model: OnnxSession, profile: Path) -> LayerTimes:
    return imported_times(model, model.default_configuration(), str(profile))


def written(path: Path, events: Sequence[dict[str, Any]]) -> Path:
    path.write_text(json.dumps(events))
    return path


def run(start: int, kernels: dict[str, tuple[str, int]]) -> list[dict[str, Any]]:
    """Events of one run: kernels by name as (operator, microseconds), 10 µs before each."""
    events, now = [], start
    for name, (op, micros) in kernels.items():
        now += 10
        events.append(
            {"cat": "Node", "name": f"{name}_kernel_time", "ts": now, "dur": micros, "args": {"op_name": op}}
        )
        now += micros
    return [*events, {"cat": "Session", "name": "model_run", "ts": start, "dur": now - start, "args": {}}]


def test_every_kernel_is_on_its_rows(model: OnnxSession, profile: Path) -> None:
    times = imported(model, profile)
    assert times.origin is not None
    assert (times.origin.runs, times.origin.level, times.origin.unplaced) == (RUNS, "all", ())
    assert not times.origin.other_shapes
    assert times.rows_s + times.inserted_s + times.unattributed_s == pytest.approx(times.end_to_end_s)
    known = dict(zip(times.row_id, times.latency_s, strict=True))
    for row in ("0:Conv", "4:Conv", "3:MaxPool", "7:Gemm"):
        assert known[row], row
    assert "fused into 0:Conv" in dict(zip(times.row_id, times.note, strict=True))["2:Relu"]


def test_names_alone_give_the_same_times(
    model: OnnxSession, profile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the model cannot be loaded here to see its kernels."""
    exact = imported(model, profile)
    monkeypatch.setattr(onnx_imported, "MOST_WEIGHTS", 0)
    times = imported(model, profile)
    assert times.origin is not None
    assert times.origin.level == ""
    assert "placed by their names" in times.origin.words
    assert dict(zip(times.row_id, times.latency_s, strict=True)) == dict(
        zip(exact.row_id, exact.latency_s, strict=True)
    )


def test_several_runs_are_medians(model: OnnxSession, tmp_path: Path) -> None:
    names = [node.name for node in model.document.graph.nodes if node.op_type in ("Conv", "Gemm")]
    events = []
    for number, micros in enumerate((100, 900, 200)):
        events += run(number * 10_000, dict.fromkeys(names, ("Conv", micros)))
    times = imported(model, written(tmp_path / "p.json", events))
    known = dict(zip(times.row_id, times.latency_s, strict=True))
    assert [known[row] for row in ("0:Conv", "4:Conv")] == pytest.approx([200e-6] * 2)
    assert times.end_to_end_s == pytest.approx(3 * 210e-6)


def test_what_cannot_be_placed_is_named(model: OnnxSession, tmp_path: Path) -> None:
    names = {node.name: (node.op_type, 100) for node in model.document.graph.nodes}
    names["mystery"] = ("FusedMatMul", 40)
    times = imported(model, written(tmp_path / "p.json", run(0, names)))
    assert times.origin is not None
    assert times.origin.unplaced == ("FusedMatMul mystery",)
    assert "1 kernel could not be placed: FusedMatMul mystery" in times.origin.words
    assert times.inserted_s == pytest.approx(40e-6)


def test_a_profile_of_another_model_is_refused(model: OnnxSession, tmp_path: Path) -> None:
    other = written(tmp_path / "p.json", run(0, {"/elsewhere/MatMul": ("MatMul", 10)}))
    with pytest.raises(InputError, match="do not have the names of the nodes"):
        imported(model, other)


def test_a_pytorch_model_has_no_kernels(profile: Path) -> None:
    squeezenet = open_model("torchvision:squeezenet1_1", LoadOptions())
    with pytest.raises(InputError, match="no ONNX model"):
        imported_times(squeezenet, squeezenet.default_configuration(), str(profile))


def test_other_shapes_are_said(model: OnnxSession, tmp_path: Path) -> None:
    events = run(0, {node.name: (node.op_type, 10) for node in model.document.graph.nodes})
    for event in events[:-1]:
        event["args"]["output_type_shape"] = [{"float": [1, 7, 7, 7]}]
    origin = imported(model, written(tmp_path / "p.json", events)).origin
    assert origin is not None
    assert "other shapes" in origin.words


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no profile"),
        (b"# Markdown", "no profile"),
        (b'{"a": 1}', "no profile"),
        (b"[" * 100_000, "no profile"),
        (b"[]", "none of its events is a run"),
        (b'[{"name": "a_kernel_time", "cat": "Node", "ts": 1, "dur": 1, "args": {}}]', "none of its events"),
        (b'[{"name": "model_run", "ts": 0, "dur": -5}]', "a time that cannot be"),
        (b'[{"name": "model_run", "ts": 0, "dur": 1e400}]', "no profile"),
        (b"\xff\xfe\x00", "no profile"),
    ],
)
def test_damaged_files_end_in_a_sentence(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "p.json"
    path.write_bytes(content)
    with pytest.raises(LoadError, match=words):
        read_given(path, Event())


def test_a_cut_file_is_refused(profile: Path, tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_bytes(profile.read_bytes()[:-200])
    with pytest.raises(LoadError, match="no profile"):
        read_given(path, Event())


def test_large_files_are_read_line_by_line_and_within_limits(
    profile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = read_given(profile, Event())
    monkeypatch.setattr(profile_file, "WHOLE_BYTES", 0)
    assert read_given(profile, Event()) == whole
    monkeypatch.setattr(profile_file, "MOST_EVENTS", len(whole.runs[0].kernels) * 2 + 3)
    cut = read_given(profile, Event())
    assert cut.cut
    assert cut.runs == whole.runs[:2]
    long = tmp_path / "p.json"
    long.write_bytes(b"[" + b" " * (2 * profile_file.LINE_BYTES) + b"]")
    with pytest.raises(LoadError, match="longer than"):
        read_given(long, Event())


def test_reading_stops(profile: Path) -> None:
    stop = Event()
    stop.set()
    with pytest.raises(CancelledError):
        read_given(profile, stop)


def test_reports_keep_where_the_times_are_from(model: OnnxSession, profile: Path) -> None:
    analysis = model.analyze(model.default_configuration())
    shown = with_latency(analysis, None, imported(model, profile))
    assert shown.stale_times, "never as measured here"
    assert shown.totals.latency_s is None
    report = parse_report(render(shown, "json"), "report.json")
    assert report.latency is None
    back = report.to_analysis()
    assert back.layer_times == shown.layer_times
    assert back.stale_times
    for format in ("md", "html"):
        assert "imported from" in render(shown, format).decode()
    assert "latency_s" in render(shown, "csv").decode().splitlines()[0]


def test_on_the_command_line(file: Path, profile: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    given = ["report", str(file), "--ort-profile", str(profile), "--format", "json"]
    assert cli.main(given) == cli.OK
    report = json.loads(capfdbinary.readouterr().out)
    assert report["profile"]["origin"]["file"] == profile.name
    assert sum(row["latency_s"] or 0 for row in report["layers"]) > 0
    assert cli.main([*given, "--latency", "cpu"]) == cli.BAD_REQUEST
    assert "times of two places" in capfdbinary.readouterr().err.decode()
