"""The latency engine as a real process with an ONNX model open: measuring, cancelling, dying."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.edits import RemoveLayer
from engine.latency import onnx_sessions
from engine.latency.onnx_profiled import FOLDER, new_folder
from engine.measurement import RuntimeOptions
from engine.protocol import (
    Cancel,
    Compare,
    Compared,
    Failed,
    LayersMeasured,
    Measure,
    Measured,
    MeasureLayers,
    MeasureOps,
    Open,
    Opened,
    OpsMeasured,
    Ready,
    Sampled,
)
from tests.engine.test_latency_onnx import ENDLESS, at, image_file, looping, opened
from tests.engine.test_latency_server import LatencyEngine, failed_as

__all__ = ["image_file"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the process has its temporary files."""
    return tmp_path_factory.mktemp("temporary")


@pytest.fixture(scope="module")
def process(folder: Path) -> Iterator[LatencyEngine]:
    """One for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("TMPDIR", "TEMP", "TMP"):
            patch.setenv(name, str(folder))
        engine = LatencyEngine()
    greeting, _ = engine.until(0, Ready)
    assert isinstance(greeting, Ready)
    assert greeting.devices == onnx_sessions.devices()
    yield engine
    engine.process.kill()
    engine.process.wait()


def open_in(engine: LatencyEngine, source: str) -> None:
    id = engine.next_id()
    engine.send(Open(id, source))
    answer, _ = engine.until(id, Opened)
    assert isinstance(answer, Opened)


def test_all_four_ways_of_measuring(process: LatencyEngine, image_file: Path) -> None:
    open_in(process, str(image_file))
    here = at(opened(image_file), 1, 3, 32, 32)
    options = RuntimeOptions("extended", spinning=False)
    id = process.next_id()
    process.send(Measure(id, here, "settled", threads=1, runtime=options))
    measured, before = process.until(id, Measured)
    assert isinstance(measured, Measured)
    assert (measured.measurement.runtime, measured.measurement.threads) == (options, 1)
    told = tuple(s for event in before if isinstance(event, Sampled) for s in event.samples_s)
    assert told == measured.measurement.samples_s[: len(told)]

    id = process.next_id()
    process.send(MeasureLayers(id, here, threads=1))
    layers, _ = process.until(id, LayersMeasured)
    assert isinstance(layers, LayersMeasured)
    assert layers.layers.groups
    assert layers.memory.configuration == here

    id = process.next_id()
    process.send(MeasureOps(id, here, threads=1, runtime=RuntimeOptions("disable")))
    ops, _ = process.until(id, OpsMeasured)
    assert isinstance(ops, OpsMeasured)
    assert "Relu" in ops.ops.op

    pool = next(path for path in layers.layers.row_id if path.endswith(":MaxPool")).partition(":")[0]
    without = at(opened(image_file), 1, 3, 32, 32, edits=(RemoveLayer(pool),))
    id = process.next_id()
    process.send(Compare(id, without, here, threads=1))
    compared, _ = process.until(id, Compared)
    assert isinstance(compared, Compared)
    assert compared.comparison.current == without


def test_the_report_tier_is_cancelled_by_a_newer_request(process: LatencyEngine, image_file: Path) -> None:
    open_in(process, str(image_file))
    session = opened(image_file)
    first, second = process.next_id(), process.next_id()
    process.send(Measure(first, at(session, 1, 3, 32, 32), "report", threads=1))
    process.until(first, Sampled)
    process.send(Measure(second, at(session, 1, 3, 16, 16), "live", threads=1))
    measured, before = process.until(second, Measured)
    assert isinstance(measured, Measured)
    assert any(failed_as(event, "cancelled") for event in before)


def test_a_run_without_end_is_cancelled(process: LatencyEngine, tmp_path: Path) -> None:
    session = looping(tmp_path, ENDLESS)
    open_in(process, str(session.document.path))
    id = process.next_id()
    process.send(Measure(id, at(session, 1, 64), "live", threads=1))
    process.send(Cancel(id))
    answer, _ = process.until(id, Failed, Measured)
    assert failed_as(answer, "cancelled")


MAKE_FOLDER = """
from engine.latency.onnx_profiled import new_folder
print(new_folder(), flush=True)
input()
"""


def test_what_a_killed_engine_leaves_is_removed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.setenv(name, str(tmp_path))
    with subprocess.Popen(
        [sys.executable, "-c", MAKE_FOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        left = Path(process.stdout.readline().strip())
        process.kill()
    assert left.parent == tmp_path
    assert left.is_dir() and left.name.startswith(f"{FOLDER}{process.pid}-")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made = new_folder()
    assert not left.exists()
    made.rmdir()


def test_a_cancelled_timing_of_layers_leaves_nothing(
    process: LatencyEngine, folder: Path, tmp_path: Path
) -> None:
    session = looping(tmp_path, ENDLESS)
    open_in(process, str(session.document.path))
    id = process.next_id()
    process.send(MeasureLayers(id, at(session, 1, 64), threads=1))
    process.send(Cancel(id))
    answer, _ = process.until(id, Failed, LayersMeasured)
    assert failed_as(answer, "cancelled")
    assert not list(folder.glob(f"{FOLDER}*"))
