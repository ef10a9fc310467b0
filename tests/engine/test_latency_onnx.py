"""ONNX models in onnxruntime: what is measured, with which options, on which rows, and how it ends."""

from __future__ import annotations

import json
import os
import tempfile
import threading
from pathlib import Path
from threading import Event

import msgspec
import numpy
import onnx
import psutil
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from engine import guard, latency
from engine.cli import main
from engine.configuration import Configuration
from engine.edits import RemoveLayer
from engine.errors import CancelledError, InputError, LayerError, LoadError, UnsupportedModelError
from engine.export import read_report
from engine.graph import InputShape
from engine.guard import NotEnoughMemoryError
from engine.latency import onnx_profiled, onnx_sessions
from engine.latency.disturbed import layer_flags
from engine.latency.onnx_cost import profiling_cost
from engine.latency.onnx_layers import DID_NOT_RUN, FOLDED, MORE, Passes, summarize
from engine.latency.onnx_memory import arena_peak
from engine.latency.onnx_profiled import FOLDER, executed_kernels
from engine.latency.onnx_reference import onnx_reference
from engine.loaders.options import LoadOptions
from engine.measurement import Flag, RuntimeOptions
from engine.onnx import profile_file
from engine.onnx.fusion import Fusion, Group, Kernel
from engine.onnx.profile import KernelRun, RunProfile
from engine.onnx.profile_file import read_profile
from engine.onnx.run_model import run_model
from engine.onnx.session import OnnxSession
from engine.opening import open_model
from tests.engine.test_onnx_fusion import Language, residual_net
from tests.onnx_models import export, randomised

PLAIN = RuntimeOptions()


def opened(file: Path) -> OnnxSession:
    session = open_model(str(file), LoadOptions())
    assert isinstance(session, OnnxSession)
    return session


def by_hand(
    folder: Path,
    nodes: list[onnx.NodeProto],
    inputs: dict[str, tuple[int, list[int | str]]],
    stored: dict[str, numpy.ndarray] | None = None,  # type: ignore[type-arg]
    outputs: tuple[str, ...] = ("y",),
    domains: tuple[str, ...] = (),
) -> OnnxSession:
    graph = helper.make_graph(
        nodes,
        "main",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [onnx.numpy_helper.from_array(array, name) for name, array in (stored or {}).items()],
    )
    imports = [helper.make_opsetid("", 17), *(helper.make_opsetid(domain, 2) for domain in domains)]
    file = folder / "by_hand.onnx"
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=imports), file)
    return opened(file)


@pytest.fixture(scope="module")
def image_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    axes = {"input": {0: "batch", 2: "height", 3: "width"}}
    file = tmp_path_factory.mktemp("image") / "net.onnx"
    return export(randomised(residual_net()), (torch.zeros(1, 3, 32, 32),), file, dynamic=axes)


@pytest.fixture
def image(image_file: Path) -> OnnxSession:
    return opened(image_file)


def at(session: OnnxSession, *shape: int, **more: object) -> Configuration:
    return Configuration((InputShape(session.specs[0].name, shape),), **more)  # type: ignore[arg-type]


# -- end to end --------------------------------------------------------------------------------------------------


def test_what_was_chosen_is_recorded(image: OnnxSession) -> None:
    options = RuntimeOptions("extended", spinning=False)
    told: list[str] = []
    here = at(image, 2, 3, 32, 32)
    measured = latency.measure(image, here, "live", 2, stop=Event(), runtime=options, progress=told.append)
    assert (measured.configuration, measured.threads, measured.runtime) == (here, 2, options)
    assert (measured.device, measured.dtype, measured.batch) == ("cpu", "float32", 2)
    assert measured.median_s > 0
    settings = measured.circumstances.settings
    assert settings["Graph optimisation"] == "extended"
    assert (settings["Spinning"], settings["Threads"]) == ("off", "2")
    assert settings["Execution providers"] == "CPUExecutionProvider"
    machine = measured.circumstances.machine
    assert machine["onnxruntime"]
    assert "CPUExecutionProvider" in machine["onnxruntime has"].split(", ")
    assert "torch" not in machine
    assert told == [f"Building {image.info.name}"]


def test_every_option_is_part_of_the_fingerprint(image: OnnxSession) -> None:
    here = at(image, 1, 3, 8, 8)
    found = [
        latency.measure(image, here, "live", threads, stop=Event(), runtime=options)
        for threads, options in (
            (1, PLAIN),
            (2, PLAIN),
            (1, RuntimeOptions("basic")),
            (1, RuntimeOptions(spinning=False)),
        )
    ]
    assert len({each.circumstances.fingerprint for each in found}) == 4
    again = latency.measure(image, here, "live", 1, stop=Event())
    assert again.circumstances.fingerprint == found[0].circumstances.fingerprint


def test_the_frameworks_default_number_of_threads_is_that_of_cores(image: OnnxSession) -> None:
    assert 1 <= latency.default_threads(image) <= (os.cpu_count() or 1)
    with pytest.raises(InputError, match="threads are not between 1 and 1,024"):
        latency.measure(image, at(image, 1, 3, 8, 8), "live", 5000, stop=Event())


def test_what_the_file_fixes_can_be_measured_at_another_size_and_edited(tmp_path: Path) -> None:
    module = randomised(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1)))
    session = opened(export(module, (torch.zeros(1, 3, 16, 16),), tmp_path / "fixed.onnx"))
    larger = at(session, 2, 3, 24, 24)
    relu = next(path for path, op in _rows(session, larger) if op == "Relu")
    edited = at(session, 2, 3, 24, 24, edits=(RemoveLayer(relu),))
    for each in (larger, edited):
        measured = latency.measure(session, each, "live", 1, stop=Event())
        assert (measured.configuration, measured.batch or 2) == (each, 2)
    times = latency.layer_times(session, edited, 1, Event())
    assert all(op != "Relu" for _, op in (row.rsplit(":", 1) for row in times.row_id))


def _rows(session: OnnxSession, configuration: Configuration) -> list[tuple[str, str]]:
    layers = session.analyze(configuration).layers
    return list(zip(layers.path, layers.op, strict=True))


def test_token_ids_are_made_up(tmp_path: Path) -> None:
    tokens = (torch.zeros(1, 8, dtype=torch.int64),)
    axes = {"ids": {0: "batch", 1: "tokens"}}
    session = opened(export(randomised(Language()), tokens, tmp_path / "lm.onnx", dynamic=axes))
    here = Configuration((InputShape("ids", (2, 12), "int64"),))
    measured = latency.measure(session, here, "live", 1, stop=Event())
    assert measured.dtype == "float32"
    times = latency.layer_times(session, here, 1, Event())
    assert times.rows_s > 0
    assert {row for group in times.groups for row in group.row_ids} <= set(times.row_id)


def test_a_comparison(image: OnnxSession) -> None:
    small, large = at(image, 1, 3, 32, 32), at(image, 4, 3, 64, 64)
    comparison = latency.compare(image, large, small, 1, stop=Event())
    assert comparison.verdict == "slower"
    assert (comparison.current, comparison.baseline) == (large, small)
    assert all(value > 0 for value in (*comparison.current_s, *comparison.baseline_s))


def test_memory_is_read_three_ways(image: OnnxSession) -> None:
    here = at(image, 8, 3, 64, 64)
    readings = latency.memory_readings(image, here, 1, Event())
    assert readings.analytic_bytes == image.analyze(here).totals.peak_activation_bytes
    # The stem's output, 8 × 16 × 32 × 32 floats, has to be somewhere.
    assert readings.allocator_bytes is not None
    assert readings.allocator_bytes >= 8 * 16 * 32 * 32 * 4
    assert (readings.process_bytes is None) == any("process growth" in why for why in readings.reasons)


def test_every_kernel_is_an_operation(image: OnnxSession) -> None:
    here = at(image, 1, 3, 32, 32)
    ops = latency.op_times(image, here, 1, Event())
    assert ops.op.count("Conv") == 5
    assert len(ops.op) == len(ops.path) == len(ops.row_id) == len(ops.output_shapes) == len(ops.latency_s)
    first = ops.op.index("Conv")
    assert ops.output_shapes[first] == ((1, 16, 16, 16),)
    rows = set(image.analyze(here).layers.id)
    assert {row for row in ops.row_id if row} <= rows
    assert all(seconds >= 0 for seconds in ops.latency_s)


# -- layers ------------------------------------------------------------------------------------------------------


def test_the_layers_add_up_and_say_what_was_fused(image: OnnxSession) -> None:
    here = at(image, 1, 3, 32, 32)
    layers = image.analyze(here).layers
    times = latency.layer_times(image, here, 1, Event())
    assert times.row_id == layers.id
    whole = times.rows_s + times.inserted_s + times.unattributed_s + times.hook_s * times.hook_calls
    assert whole == pytest.approx(times.instrumented_s, rel=1e-9)
    grouped = [row for group in times.groups for row in group.row_ids]
    assert len(grouped) == len(set(grouped)), "a row is in one group at most"
    seconds = dict(zip(times.row_id, times.latency_s, strict=True))
    notes = dict(zip(times.row_id, times.note, strict=True))
    macs = dict(zip(layers.id, layers.macs, strict=True))
    for group in times.groups:
        assert seconds[group.carrier] == group.latency_s
        heaviest = max(macs[row] or 0 for row in group.row_ids)
        assert (macs[group.carrier] or 0) == heaviest
        for row in group.row_ids:
            if row != group.carrier:
                assert seconds[row] is None
                assert notes[row].startswith(f"fused into {group.carrier} (")
    assert {row for row in times.row_id if seconds[row] is None} == {
        row for row in times.row_id if notes[row].startswith(("fused into", FOLDED, DID_NOT_RUN))
    }
    convolutions = [group for group in times.groups if group.carrier.endswith(":Conv")]
    assert sorted(len(group.row_ids) for group in convolutions) == [2, 2, 2, 3, 3]
    assert [name.split()[0].rpartition(".")[2] for name, _ in times.inserted] == ["ReorderOutput"]


def test_without_optimisation_every_row_has_its_own_kernel(image: OnnxSession) -> None:
    here = at(image, 1, 3, 32, 32)
    times = latency.layer_times(image, here, 1, Event(), RuntimeOptions("disable"))
    assert all(seconds is not None for seconds in times.latency_s)
    assert not times.inserted
    assert all(len(group.row_ids) == 1 for group in times.groups)


def test_nodes_without_names_are_profiled_as_themselves(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "w"], ["c"]),
        helper.make_node("Exp", ["c"], ["y"]),
    ]
    weight = numpy.eye(8, dtype=numpy.float32)
    session = by_hand(tmp_path, nodes, {"x": (TensorProto.FLOAT, ["n", 8])}, {"w": weight})
    here = at(session, 4, 8)
    times = latency.layer_times(session, here, 1, Event())
    assert len(times.groups) == 4
    assert all(seconds is not None for seconds in times.latency_s)
    assert not times.inserted


def test_the_rows_of_a_loops_body_have_the_time_of_all_its_trips(tmp_path: Path) -> None:
    session = looping(tmp_path, trips=50)
    here = at(session, 1, 64)
    times = latency.layer_times(session, here, 1, Event())
    seconds = {
        row.rpartition(":")[2]: value for row, value in zip(times.row_id, times.latency_s, strict=True)
    }
    assert seconds["Exp"] is not None and seconds["Exp"] > 0
    ops = latency.op_times(session, here, 1, Event())
    assert ops.op.count("Exp") == 50


def looping(folder: Path, trips: int) -> OnnxSession:
    """Squares of ``x`` that many times; a body of two nodes."""
    body = helper.make_graph(
        [
            helper.make_node("Exp", ["state"], ["next"], name="grow"),
            helper.make_node("Identity", ["go"], ["on"], name="go on"),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, [1, 64]),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, [1, 64]),
        ],
    )
    stored = {"trips": numpy.array(trips, numpy.int64), "true": numpy.array(True)}
    nodes = [helper.make_node("Loop", ["trips", "true", "x"], ["y"], name="loop", body=body)]
    return by_hand(folder, nodes, {"x": (TensorProto.FLOAT, [1, 64])}, stored)


def test_more_kernels_than_a_profile_holds_are_not_timed_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = looping(tmp_path, trips=200)
    here = at(session, 1, 64)
    kernels = 1 + 2 * 200
    assert executed_kernels(session.analyze(here).layers) == kernels
    monkeypatch.setattr(onnx_profiled, "MOST_EVENTS", kernels * onnx_profiled.LEAST_RUNS)
    assert latency.op_times(session, here, 1, Event(), RuntimeOptions("disable")).op.count("Exp") == 200
    monkeypatch.setattr(onnx_profiled, "MOST_EVENTS", kernels * onnx_profiled.LEAST_RUNS - 1)
    why = f"one run executes some {kernels} kernels: too many to time one by one"
    times = latency.layer_times(session, here, 1, Event())
    assert set(times.latency_s) == {None}
    assert set(times.note) == {why}
    assert times.end_to_end_s == times.unattributed_s == times.instrumented_s > 0
    assert Flag("coverage", why, severe=True) in times.flags
    readings = latency.memory_readings(session, here, 1, Event())
    assert readings.allocator_bytes is None
    assert readings.reasons[0] == f"allocator peak: {why}"
    assert (readings.process_bytes is None) == (len(readings.reasons) == 2)
    with pytest.raises(UnsupportedModelError, match="The operations of by_hand cannot be timed: one run"):
        latency.op_times(session, here, 1, Event())


def test_a_profile_that_is_full_before_a_run_counts_has_no_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The analysis can be wrong about how often a loop runs."""
    session = looping(tmp_path, trips=50)
    here = at(session, 1, 64)
    monkeypatch.setattr(profile_file, "MOST_EVENTS", 150)
    times = latency.layer_times(session, here, 1, Event())
    assert (set(times.latency_s), set(times.note)) == ({None}, {MORE})
    with pytest.raises(UnsupportedModelError, match="cannot be timed"):
        latency.op_times(session, here, 1, Event())


def test_sums_far_from_the_whole_are_no_noise(image: OnnxSession) -> None:
    times = latency.layer_times(image, at(image, 1, 3, 8, 8), 1, Event())
    whole = times.rows_s + times.inserted_s + times.unattributed_s
    for coverage, severe in ((1.0, None), (0.8, False), (1.4, False), (0.4, True), (1.6, True), (28.9, True)):
        given = msgspec.structs.replace(times, end_to_end_s=whole / coverage)
        found = [flag.severe for flag in layer_flags(given) if flag.key == "coverage"]
        assert found == ([] if severe is None else [severe]), coverage


def test_no_profile_is_left_behind(image: OnnxSession) -> None:
    latency.layer_times(image, at(image, 1, 3, 8, 8), 1, Event())
    assert not list(Path(tempfile.gettempdir()).glob(f"{FOLDER}{os.getpid()}-*"))


def test_what_a_killed_process_left_is_removed(
    image: OnnxSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    gone = next(pid for pid in range(2**22 - 1, 1, -1) if not psutil.pid_exists(pid))
    left, alive = tmp_path / f"{FOLDER}{gone}-abc", tmp_path / f"{FOLDER}{os.getppid()}-abc"
    for folder in (left, alive):
        folder.mkdir()
        (folder / "optimised.data").write_bytes(b"weights")
    latency.layer_times(image, at(image, 1, 3, 8, 8), 1, Event())
    assert not left.exists()
    assert alive.exists()


def test_profiling_a_kernel_costs_microseconds() -> None:
    assert 0 <= profiling_cost() < 1e-3
    assert profiling_cost() is profiling_cost()


# -- sums, by hand -----------------------------------------------------------------------------------------------


def kernel_run(name: str, seconds: float) -> KernelRun:
    return KernelRun(name, "Conv", "CPUExecutionProvider", seconds, (), None, None, None)


def test_sums_are_exact_and_medians_are_of_kernels(image: OnnxSession) -> None:
    here = at(image, 1, 3, 32, 32)
    layers, nodes = image.analyze(here).layers, image.document.graph.nodes
    conv, relu = nodes[0], nodes[1]
    assert (conv.op_type, relu.op_type) == ("Conv", "Relu")
    kernel, reorder = Kernel("k", "FusedConv", (), (), {}), Kernel("r", "ReorderOutput", (), (), {})
    fused = Fusion((Group((kernel,), (conv, relu)),), (reorder,), (nodes[2],))
    runs = tuple(
        RunProfile(0.0, (kernel_run("k", seconds), kernel_run("k", 0.001), kernel_run("r", 0.0005)))
        for seconds in (0.005, 0.006, 0.1)
    )
    passes = Passes([(0.011, 0.0)] * 3, [(0.010, 0.0), (0.012, 0.0), (0.014, 0.0)], runs, fused)
    times = summarize(here, 1, layers, passes, cost_s=1e-4)
    seconds = dict(zip(times.row_id, times.latency_s, strict=True))
    assert seconds[f"{conv.path}:Conv"] == pytest.approx(0.007), "both executions of the middle run"
    assert seconds[f"{relu.path}:Relu"] is None
    assert times.inserted == (("ReorderOutput r", 0.0005),)
    assert (times.hook_calls, times.repeats) == (3, 3)
    assert times.instrumented_s == 0.012
    assert times.unattributed_s == pytest.approx(0.012 - 0.007 - 0.0005 - 3 * 1e-4)
    notes = dict(zip(times.row_id, times.note, strict=True))
    assert notes[f"{relu.path}:Relu"] == f"fused into {conv.path}:Conv (FusedConv)"
    assert notes[f"{conv.path}:Conv"] == "one kernel, FusedConv, for 2 rows"
    assert notes[f"{nodes[2].path}:{nodes[2].op_type}"] == FOLDED
    assert notes[f"{nodes[3].path}:{nodes[3].op_type}"] == DID_NOT_RUN


def test_the_arenas_peak_is_what_a_run_adds() -> None:
    def run(before: int, after: int, peak: int) -> KernelRun:
        return KernelRun("k", "Conv", "", 0.0, (), after, before, peak)

    reasons: list[str] = []
    assert arena_peak([run(100, 140, 300), run(140, 180, 300), run(180, 120, 300)], reasons) == 80
    assert arena_peak([run(100, 140, 300), run(140, 110, 350)], reasons) == 250, "scratch made a new peak"
    assert reasons == []
    assert arena_peak([kernel_run("k", 1.0)], reasons) is None
    assert "does not tell" in reasons[0]


# -- profiles ----------------------------------------------------------------------------------------------------


def event(name: str, ts: int, dur: int, cat: str = "Node", **args: object) -> dict[str, object]:
    return {"cat": cat, "name": name, "ts": ts, "dur": dur, "ph": "X", "args": args}


def test_runs_and_bodies_in_a_profile(tmp_path: Path) -> None:
    file = tmp_path / "profile.json"
    told = [
        event("session_initialization", 0, 50, "Session"),
        event("outside_kernel_time", 60, 5, op_name="Conv"),
        event("model_run", 100, 100, "Session"),
        event("loop_kernel_time", 110, 60, op_name="Loop"),
        event("inner_kernel_time", 115, 20, op_name="Exp", output_type_shape=[{"float": [1, 64]}]),
        event("inner_kernel_time", 140, 10, op_name="Exp"),
        event("last_kernel_time", 180, 15, op_name="Relu", mem_bytes_in_use="500", mem_in_use_delta="-100"),
        event("last_fence_before", 170, 1, op_name="Relu"),
        event("model_run", 300, 10, "Session"),
    ]
    file.write_text(json.dumps(told), encoding="utf-8")
    first, second = read_profile(file, Event()).runs
    assert [(each.name, round(each.seconds * 1e6)) for each in first.kernels] == [
        ("loop", 30), ("inner", 20), ("inner", 10), ("last", 15),
    ]  # fmt: skip
    assert first.kernels[1].output_shapes == ((1, 64),)
    assert (first.kernels[3].in_use, first.kernels[3].in_use_before) == (500, 600)
    assert first.seconds == pytest.approx(1e-4)
    assert second.kernels == ()


@pytest.mark.parametrize("content", [b"", b"no json", b'{"a": 1}', b"[1, 2]", b"[" * 5000])
def test_what_is_no_profile_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "profile.json"
    file.write_bytes(content)
    with pytest.raises(LoadError, match=r"profile\.json is no profile of onnxruntime"):
        read_profile(file, Event())
    with pytest.raises(LoadError):
        read_profile(tmp_path / "absent.json", Event())


# -- what ends it ------------------------------------------------------------------------------------------------


ENDLESS = 10**15


@pytest.mark.parametrize("profiled", [False, True])
def test_a_run_without_end_ends_when_it_is_stopped(
    tmp_path: Path, profiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a node: between two runs would be never."""
    if profiled:
        monkeypatch.setattr(onnx_profiled, "MOST_EVENTS", 10 * onnx_profiled.LEAST_RUNS * ENDLESS)
    session = looping(tmp_path, ENDLESS)
    here = at(session, 1, 64)
    for measure in (
        lambda stop: latency.measure(session, here, "report", 1, stop=stop),
        lambda stop: latency.layer_times(session, here, 1, stop),
        lambda stop: latency.memory_readings(session, here, 1, stop),
    ):
        stop = Event()
        timer = threading.Timer(0.2, stop.set)
        timer.start()
        with pytest.raises(CancelledError):
            measure(stop)
        timer.join()


def test_a_session_is_not_made_for_what_is_stopped_already(image: OnnxSession) -> None:
    stop = Event()
    stop.set()
    with pytest.raises(CancelledError):
        latency.measure(image, at(image, 1, 3, 32, 32), "live", 1, stop=stop)
    assert not image.has_real_weights


def test_what_does_not_fit_is_refused_before_it_is_built(
    image: OnnxSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = at(image, 1, 3, 32, 32)
    image.analyze(here)
    monkeypatch.setattr(guard, "free_bytes", lambda: image.weight_bytes_of(here) // 2)
    with pytest.raises(NotEnoughMemoryError, match="are free"):
        latency.measure(image, here, "live", 1, stop=Event())
    assert not image.has_real_weights


def test_loading_takes_more_than_the_weights(image: OnnxSession, image_file: Path) -> None:
    here = at(image, 1, 3, 32, 32)
    whole = onnx_sessions.loading_bytes(image, here, image.model_for_run(here))
    weights = image.weight_bytes_of(here)
    assert 2 * weights < whole <= 3 * weights
    apart = onnx_sessions.loading_bytes(image, here, run_model(image.document, here.inputs, edited=True))
    assert weights < apart < whole


def test_weights_of_bodies_are_weights(tmp_path: Path) -> None:
    """The same name in both, as scopes allow; float16, which decides the kernels."""
    shape, names = (64, 32), ("then", "else")
    branches = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node("Identity", ["weight"], [f"{name}_out"], name)],
            name,
            [],
            [helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT16, None)],
            [onnx.numpy_helper.from_array(numpy.full(shape, len(name), numpy.float16), "weight")],
        )
        for name in names
    }
    nodes = [
        helper.make_node("If", ["x"], ["chosen"], "choice", **branches),
        helper.make_node("Cast", ["chosen"], ["y"], "cast", to=TensorProto.FLOAT),
    ]
    session = by_hand(tmp_path, nodes, {"x": (TensorProto.BOOL, [])})
    here = session.default_configuration()
    assert session.weight_bytes_of(here) == len(names) * 64 * 32 * 2
    assert latency.measure(session, here, "live", 1, stop=Event()).dtype == "float16"


def test_bytes_of_weights_are_those_of_the_edits_asked_for(image: OnnxSession) -> None:
    here = at(image, 1, 3, 32, 32)
    layers, head = image.analyze(here).layers, 16 * 10 + 10
    edited = at(image, 1, 3, 32, 32, edits=(RemoveLayer(layers.path[layers.params.index(head)]),))
    whole = image.weight_bytes_of(here)
    assert image.weight_bytes_of(edited) == whole - 4 * head
    assert image.weight_bytes_of(here) == whole


def test_a_run_that_fails_names_its_layer(tmp_path: Path) -> None:
    """An index out of range that is computed from the input: no analysis can know."""
    nodes = [
        helper.make_node("Relu", ["x"], ["r"], name="/first/Relu"),
        helper.make_node("ReduceSum", ["r"], ["sum"], keepdims=0),
        helper.make_node("Add", ["sum", "far"], ["index"]),
        helper.make_node("Cast", ["index"], ["i"], to=TensorProto.INT64),
        helper.make_node("Gather", ["r", "i"], ["y"], name="/second/Gather", axis=1),
    ]
    stored = {"far": numpy.array([990], numpy.float32)}
    session = by_hand(tmp_path, nodes, {"x": (TensorProto.FLOAT, [1, 4])}, stored)
    path = session.document.graph.nodes[-1].path
    with pytest.raises(LayerError, match=f"onnxruntime stopped at {path} in by_hand: .*99") as caught:
        latency.measure(session, at(session, 1, 4), "live", 1, stop=Event())
    assert caught.value.layer == path


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (
            "[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Non-zero status code returned while running Expand node. "
            "Name:'/a/Expand' Status Message: invalid expand shape",
            "onnxruntime stopped at a in by_hand: invalid expand shape.",
        ),
        (
            "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running Reshape node. "
            "Name:'/b/Reshape' Status Message: /onnxruntime_src/onnxruntime/core/providers/cpu/tensor/"
            "reshape_helper.h:46 onnxruntime::ReshapeHelper::ReshapeHelper(const TensorShape&, TensorShapeVector&, "
            "bool) input_shape_size == size was false.\nmore",
            "onnxruntime stopped at /b/Reshape in by_hand: input_shape_size == size was false.",
        ),
        ("[ONNXRuntimeError] : 1 : FAIL : something else", "onnxruntime stopped in by_hand: something else."),
    ],
)
def test_what_onnxruntime_says_becomes_a_sentence(tmp_path: Path, said: str, sentence: str) -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    session = by_hand(tmp_path, [node], {"x": (TensorProto.FLOAT, [1])})
    error = onnx_sessions.run_error(session, {"/a/Expand": "a"}, Exception(said))
    assert error.message == sentence


def test_memory_that_runs_out_is_told_as_such(tmp_path: Path) -> None:
    session = by_hand(tmp_path, [helper.make_node("Relu", ["x"], ["y"])], {"x": (TensorProto.FLOAT, [1])})
    said = "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Failed to allocate memory for requested buffer of size 9"
    error = onnx_sessions.run_error(session, {}, Exception(said))
    assert isinstance(error, NotEnoughMemoryError)


def test_operators_that_onnxruntime_does_not_have(tmp_path: Path) -> None:
    nodes = [helper.make_node("Frobnicate", ["x"], ["y"], domain="my.ops")]
    session = by_hand(tmp_path, nodes, {"x": (TensorProto.FLOAT, [1, 4])}, domains=("my.ops",))
    with pytest.raises((LoadError, UnsupportedModelError), match=r"cannot load by_hand: .*Frobnicate"):
        latency.measure(session, at(session, 1, 4), "live", 1, stop=Event())


def test_inputs_that_cannot_be_made_up(tmp_path: Path) -> None:
    nodes = [
        helper.make_node(
            "LabelEncoder", ["x"], ["y"], domain="ai.onnx.ml", keys_strings=["a"], values_floats=[1.0]
        )
    ]
    session = by_hand(tmp_path, nodes, {"x": (TensorProto.STRING, [4])}, domains=("ai.onnx.ml",))
    with pytest.raises((UnsupportedModelError, InputError), match="string"):
        latency.measure(session, session.default_configuration(), "live", 1, stop=Event())


def test_a_device_without_its_provider_is_refused(image: OnnxSession) -> None:
    if "cuda" in onnx_sessions.devices():
        pytest.skip("this onnxruntime has it")
    with pytest.raises(UnsupportedModelError, match=r"cannot run on 'cuda': it has .*CPUExecutionProvider"):
        latency.measure(
            image, at(image, 1, 3, 8, 8), "live", 1, stop=Event(), runtime=RuntimeOptions(device="cuda")
        )
    module = open_model("torchvision:squeezenet1_1", LoadOptions())
    with pytest.raises(UnsupportedModelError, match="on the CPU"):
        latency.measure(
            module,
            module.default_configuration(),
            "live",
            1,
            stop=Event(),
            runtime=RuntimeOptions(device="cuda"),
        )


class OtherRuntime:
    """An onnxruntime with a GPU's provider, as far as sessions are made."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def get_available_providers(self) -> list[str]:
        return ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]


def test_the_devices_provider_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_sessions, "onnxruntime", OtherRuntime)
    assert onnx_sessions.devices() == ("cpu", "cuda")
    assert onnx_sessions.providers("cuda") == ["CUDAExecutionProvider", "CPUExecutionProvider"]
    assert onnx_sessions.providers("cpu") == ["CPUExecutionProvider"]


def test_what_a_profile_says_of_another_device_is_no_time_of_a_layer(image: OnnxSession) -> None:
    layers = image.analyze(at(image, 1, 3, 8, 8)).layers
    assert onnx_profiled.untimed("cpu", layers) == ""
    assert "the time in which kernels are sent to cuda" in onnx_profiled.untimed("cuda", layers)


# -- sessions ----------------------------------------------------------------------------------------------------


def test_sizes_that_the_file_leaves_open_share_a_session_and_two_are_kept(image: OnnxSession) -> None:
    def measure(options: RuntimeOptions, size: int, threads: int = 1) -> None:
        here = at(image, 1, 3, size, size)
        latency.measure(image, here, "live", threads, stop=Event(), runtime=options)

    measure(PLAIN, 8)
    kept = onnx_sessions._sessions[image]
    (first,) = kept.values()
    measure(PLAIN, 16)
    assert list(kept.values()) == [first]
    measure(RuntimeOptions("basic"), 8)
    measure(PLAIN, 8)
    assert first in kept.values()
    measure(RuntimeOptions("disable"), 8)
    assert [key.options.level for key in kept] == ["all", "disable"], "the longest unused went"


def test_the_reference_kernel_is_onnxruntimes_own() -> None:
    reference = onnx_reference()
    assert reference.read() >= reference.best_s > 0
    assert reference.readings


def test_waiting_for_a_pool_to_sleep_can_be_stopped() -> None:
    stop = Event()
    stop.set()
    onnx_sessions.wait_for_spinning(1, PLAIN, stop)
    onnx_sessions.wait_for_spinning(2, RuntimeOptions(spinning=False), stop)
    with pytest.raises(CancelledError):
        onnx_sessions.wait_for_spinning(2, PLAIN, stop)


def test_a_report_from_the_command_line_has_it_all(image_file: Path, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    options = ["--latency", "cpu", "--tier", "live", "--threads", "1", "--input", "1x3x16x16"]
    options += ["--ort-level", "basic", "--spinning", "off"]
    assert main(["report", str(image_file), *options, "-o", str(file)]) == 0
    analysis = read_report(str(file))
    assert analysis.latency is not None
    assert analysis.latency.measurement.runtime == RuntimeOptions("basic", spinning=False)
    times = analysis.latency.layers
    assert times is not None
    assert times.groups
    whole = times.rows_s + times.inserted_s + times.unattributed_s + times.hook_s * times.hook_calls
    assert whole == pytest.approx(times.instrumented_s, rel=1e-9)
    markdown = tmp_path / "report.md"
    assert main(["report", str(image_file), "--latency", "cpu", "--tier", "live", "-o", str(markdown)]) == 0
    text = markdown.read_text(encoding="utf-8")
    assert "inserted by the runtime" in text
    assert "fused into" in text or "one kernel" in text


def test_results_with_kernels_travel(image: OnnxSession) -> None:
    times = latency.layer_times(image, at(image, 1, 3, 8, 8), 1, Event())
    assert msgspec.json.decode(msgspec.json.encode(times), type=type(times)) == times
