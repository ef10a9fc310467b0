"""Saved ONNX models: the weights are in them or beside them as before, they run, and reopened they show the same."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import onnx
import pytest
import torch
import torchvision
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from engine.configuration import Configuration
from engine.edits import Edit, RemoveLayer, SetAttribute
from engine.errors import CancelledError, EngineError, ExportError, LoadError, UnsupportedModelError
from engine.graph import InputShape
from engine.guard import free_bytes
from engine.onnx import save as saving
from engine.onnx import weights
from engine.onnx.loading import load
from engine.onnx.run_model import RunModel, seeded_inputs
from engine.onnx.runtime import onnxruntime
from engine.onnx.session import OnnxSession
from tests.conftest import EVERYTHING
from tests.onnx_models import export, randomised

EDIT = RemoveLayer("maxpool")


class Small(nn.Module):
    """Convolution, pool and linear layer; the convolution's weight is too large to be kept in the graph (70,400 B)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 88, 7, padding=3)
        self.maxpool = nn.MaxPool2d(2)
        self.head = nn.Linear(88, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.head(self.maxpool(self.conv(x)).mean((2, 3)))
        return found


class Written(NamedTuple):
    inside: Path
    outside: Path
    """With its weights in a folder below its own."""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("save")
    dynamic = {"x": {0: "batch", 2: "height", 3: "width"}}
    inside = export(randomised(Small()), (torch.zeros(1, 4, 8, 8),), folder / "small.onnx", dynamic=dynamic)
    (folder / "weights").mkdir()
    outside = folder / "outside.onnx"
    onnx.save(
        onnx.load(inside), outside, save_as_external_data=True, location="weights/all.bin", size_threshold=0
    )
    return Written(inside, outside)


def opened(path: Path) -> OnnxSession:
    return OnnxSession(load(path))


def at(session: OnnxSession, *edits: Edit, shape: tuple[int, ...] = ()) -> Configuration:
    inputs = session.default_configuration().inputs
    return Configuration((InputShape(inputs[0].name, shape, inputs[0].dtype),) if shape else inputs, edits)


def run(path: Path, inputs: tuple[InputShape, ...]) -> numpy.ndarray:
    session = onnxruntime().InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found: numpy.ndarray = session.run(None, seeded_inputs(inputs))[0]
    return found


def check_saved(session: OnnxSession, path: Path, configuration: Configuration) -> None:
    """It passes the checker, runs, and shows what the open one with its edits shows."""
    onnx.checker.check_model(str(path), full_check=True)
    assert numpy.isfinite(run(path, configuration.inputs)).all()
    wanted = session.analyze(configuration)
    again = opened(path)
    found = again.analyze(Configuration(configuration.inputs))
    assert found.totals == wanted.totals
    assert found.layers.id == wanted.layers.id and found.layers.macs == wanted.layers.macs
    before = {each.name: each for each in session.edited(configuration.edits).stored.values()}
    assert {name: each.shape for name, each in again.document.stored.items()} == {
        name: each.shape for name, each in before.items()
    }


@pytest.mark.parametrize("outside", [False, True])
def test_a_saved_model_runs_and_reopened_shows_the_same(
    written: Written, tmp_path: Path, outside: bool
) -> None:
    session = opened(written.outside if outside else written.inside)
    target = tmp_path / "edited.onnx"
    seen: list[tuple[int, int | None, str]] = []
    note = session.save(at(session, EDIT), str(target), progress=lambda *each: seen.append(each))
    check_saved(session, target, at(session, EDIT))
    data = target.with_name("edited.onnx.data")
    assert note == ("Its weights are in edited.onnx.data beside it." if outside else "")
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "edited.onnx",
        *([data.name] if outside else []),
    ]
    assert [what.partition(" ")[0] for _, _, what in seen if not _][-2:] == ["Checking", "Running"]
    weight = 88 * 4 * 7 * 7 * 4
    assert weight in [done for done, total, _ in seen if total is not None]
    # With the weights of the file, and as it computes without the pool.
    given = seeded_inputs(at(session, EDIT).inputs)["x"]
    torch.manual_seed(0)
    module = randomised(Small())
    module.maxpool = nn.Identity()  # type: ignore[assignment]
    with torch.inference_mode():
        wanted = module(torch.from_numpy(given)).numpy()
    numpy.testing.assert_allclose(run(target, at(session, EDIT).inputs), wanted, rtol=1e-4, atol=1e-5)


def test_the_file_says_what_was_edited_and_by_what(written: Written, tmp_path: Path) -> None:
    session = opened(written.inside)
    session.save(at(session, EDIT), str(tmp_path / "first.onnx"))
    again = opened(tmp_path / "first.onnx")
    again.save(at(again, SetAttribute("conv", "strides", (2, 1))), str(tmp_path / "second.onnx"))
    model = onnx.load(tmp_path / "second.onnx", load_external_data=False)
    said = {each.key: each.value for each in model.metadata_props}
    assert said["misnomer.edits"] == "remove maxpool\nset conv.strides=2x1"
    assert said["misnomer.version"].count(".") == 2


def test_sizes_that_the_file_leaves_open_stay_so_unless_they_are_to_be_fixed(
    written: Written, tmp_path: Path
) -> None:
    session = opened(written.inside)
    wanted = at(session, EDIT, shape=(2, 4, 12, 16))

    def sizes(name: str, value: str) -> list[int | str]:
        graph = onnx.load(tmp_path / name).graph
        dims = (graph.input if value == "in" else graph.output)[0].type.tensor_type.shape.dim
        return [dim.dim_value or dim.dim_param for dim in dims]

    session.save(wanted, str(tmp_path / "open.onnx"))
    assert sizes("open.onnx", "in") == ["batch", 4, "height", "width"]
    assert sizes("open.onnx", "out") == ["batch", 10]
    session.save(wanted, str(tmp_path / "fixed.onnx"), fix_sizes=True)
    assert sizes("fixed.onnx", "in") == [2, 4, 12, 16] and sizes("fixed.onnx", "out") == [2, 10]
    # A size that the file fixes and somebody changed is an edit like the others.
    fixed = opened(tmp_path / "fixed.onnx")
    other = at(fixed, shape=(1, 4, 20, 20))
    fixed.save(other, str(tmp_path / "other.onnx"))
    assert sizes("other.onnx", "in") == [1, 4, 20, 20]
    check_saved(fixed, tmp_path / "other.onnx", other)


def test_weights_that_an_edit_makes_anew_are_saved(written: Written, tmp_path: Path) -> None:
    session = opened(written.outside)
    wanted = at(session, SetAttribute("conv", "kernel_shape", 9), SetAttribute("conv", "pads", 4))
    sentence = "The weights of conv are new and random: its kernel changed."
    assert sentence in session.save(wanted, str(tmp_path / "kernel.onnx"))
    check_saved(session, tmp_path / "kernel.onnx", wanted)
    again = opened(tmp_path / "kernel.onnx")
    assert "random" not in again.save(at(again), str(tmp_path / "again.onnx"))
    for name in ("kernel.onnx", "again.onnx"):
        saved = onnx.load(tmp_path / name, load_external_data=False)
        said = {each.key: each.value for each in saved.metadata_props}
        assert said["misnomer.random_weights"] == sentence
    model = onnx.load(tmp_path / "kernel.onnx")
    made = next(each for each in model.graph.initializer if list(each.dims) == [88, 4, 9, 9])
    assert 0.9 / (4 * 9 * 9) < numpy_helper.to_array(made).var() < 1.1 / (4 * 9 * 9)


def test_the_open_file_is_replaced_only_when_that_was_asked_for(written: Written, tmp_path: Path) -> None:
    for path in (written.inside, written.outside):
        shutil.copy(path, tmp_path)
    shutil.copytree(written.outside.parent / "weights", tmp_path / "weights")
    (tmp_path / "own.onnx.data").write_bytes(b"of another model")
    for name in ("small.onnx", "outside.onnx"):
        path = tmp_path / name
        session, before = opened(path), path.read_bytes()
        with pytest.raises(ExportError, match=f"{name} belongs to the model that is open"):
            session.save(at(session, EDIT), str(path))
        assert path.read_bytes() == before
        session.save(at(session, EDIT), str(path), replace=True)
        assert opened(path).analyze(at(opened(path))).totals.macs > 0
    # A file of weights that is there already belongs to somebody.
    session = opened(tmp_path / "outside.onnx")
    assert "own.onnx.2.data" in session.save(at(session), str(tmp_path / "own.onnx"))
    assert (tmp_path / "own.onnx.data").read_bytes() == b"of another model"
    with pytest.raises(ExportError, match=r"does not end in \.onnx"):
        session.save(at(session), str(tmp_path / "own.bin"))
    with pytest.raises(ExportError, match="there is no folder"):
        session.save(at(session), str(tmp_path / "nowhere" / "own.onnx"))


def test_weights_of_another_model_are_never_replaced(written: Written, tmp_path: Path) -> None:
    """Also where the model that is replaced has the name that goes with them, but its weights inside."""
    session = opened(written.outside)
    shutil.copy(written.inside, tmp_path / "own.onnx")
    session.save(at(session), str(tmp_path / "other.onnx"))
    other = onnx.load(tmp_path / "other.onnx", load_external_data=False)
    for tensor in other.graph.initializer:
        if tensor.external_data:
            tensor.external_data[0].value = "own.onnx.data"
    onnx.save(other, tmp_path / "other.onnx")
    (tmp_path / "other.onnx.data").rename(tmp_path / "own.onnx.data")
    before = (tmp_path / "own.onnx.data").read_bytes()
    assert session.save(at(session), str(tmp_path / "own.onnx")).startswith(
        "Its weights are in own.onnx.2.data"
    )
    assert (tmp_path / "own.onnx.data").read_bytes() == before
    check_saved(session, tmp_path / "own.onnx", at(session))
    # Its own it replaces.
    edited = at(session, SetAttribute("conv", "kernel_shape", 9), SetAttribute("conv", "pads", 4))
    assert "own.onnx.2.data" in session.save(edited, str(tmp_path / "own.onnx"))
    check_saved(session, tmp_path / "own.onnx", edited)
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "other.onnx", "own.onnx", "own.onnx.2.data", "own.onnx.data",
    ]  # fmt: skip


@pytest.mark.parametrize("is_there", [False, True])
def test_a_graph_that_cannot_be_put_in_place_leaves_the_weights_as_they_were(
    written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    session, target = opened(written.outside), tmp_path / "e.onnx"
    if is_there:
        session.save(at(session), str(target))
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    replace = os.replace

    def refusing(source: Path, goal: Path) -> None:
        if Path(goal) == target:
            raise PermissionError(13, "Permission denied")
        replace(source, goal)

    monkeypatch.setattr(saving.os, "replace", refusing)
    with pytest.raises(ExportError, match=r"e\.onnx cannot be written: permission denied\."):
        session.save(at(session, EDIT), str(target))
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == before
    assert len(before) == 2 * is_there


def test_names_that_are_not_utf_8(written: Written, tmp_path: Path) -> None:
    name = os.fsdecode(b"n\xff.onnx")
    try:
        shutil.copy(written.inside, tmp_path / name)
    except OSError:
        pytest.skip("file names are UTF-8 here")
    session = opened(tmp_path / name)
    assert session.save(at(session, EDIT), str(tmp_path / "plain.onnx")) == ""
    check_saved(session, tmp_path / "plain.onnx", at(session, EDIT))
    note = session.save(at(session, EDIT), str(tmp_path / os.fsdecode(b"e\xff.onnx")))
    assert note == (
        "It was not checked and not run: onnx and onnxruntime open only paths that are UTF-8, and its is not."
    )
    assert opened(tmp_path / os.fsdecode(b"e\xff.onnx")).analyze(at(session)).totals.macs > 0
    given = session.model_for_run(at(session))
    assert given.model == written.inside.read_bytes()
    with pytest.raises(
        UnsupportedModelError, match="is not UTF-8: an edited graph cannot say where its weights are"
    ):
        session.model_for_run(at(session, EDIT))


def test_nothing_is_left_of_a_saving_that_was_cancelled_or_failed(
    written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = opened(written.outside)
    for stopping in ("Writing", "Checking", "Running"):
        stop = threading.Event()

        def progress(done: int, total: int | None, what: str, word: str = stopping) -> None:
            if what.startswith(word):
                stop.set()  # noqa: B023  called before the loop goes on

        with pytest.raises(CancelledError):
            session.save(at(session, EDIT), str(tmp_path / "e.onnx"), stop=stop, progress=progress)
        assert not list(tmp_path.iterdir())
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 0))
    with pytest.raises(ExportError, match=r"e\.onnx needs 7[\d.]+\sKiB; 0\sB are free on that disk"):
        session.save(at(session, EDIT), str(tmp_path / "e.onnx"))
    assert not list(tmp_path.iterdir())


def test_what_a_killed_saving_left_is_removed_by_the_next(written: Written, tmp_path: Path) -> None:
    target, session = tmp_path / "e.onnx", opened(written.inside)
    found: list[Path] = []

    def progress(done: int, total: int | None, what: str) -> None:
        found.extend(each for each in tmp_path.iterdir() if each not in found)

    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    left = [tmp_path / f".e.onnx.misnomer-{pid}-x" for pid in (gone.pid, os.getpid())]
    other = tmp_path / f".other.onnx.misnomer-{gone.pid}-x"
    for folder in (*left, other):
        folder.mkdir()
        (folder / "e.onnx").touch()
    session.save(at(session), str(target), progress=progress)
    assert len([each for each in found if each.name.startswith(f".e.onnx.misnomer-{os.getpid()}-")]) == 2
    assert sorted(tmp_path.iterdir()) == sorted([left[1], other, target])


def test_weights_of_a_file_that_changed_are_not_taken_for_those_that_were_opened(
    written: Written, tmp_path: Path
) -> None:
    path = tmp_path / "small.onnx"
    shutil.copy(written.inside, path)
    session = opened(path)
    model = onnx.load(path)
    model.producer_name = "somebody else, so that everything lies elsewhere"
    onnx.save(model, path)
    assert session.analyze(at(session, EDIT)).totals.macs > 0
    for use in (
        lambda: session.save(at(session, EDIT), str(tmp_path / "e.onnx")),
        lambda: session.model_for_run(at(session, EDIT)),
    ):
        with pytest.raises(LoadError, match=r"small\.onnx has changed since it was opened"):
            use()


def test_a_model_too_large_for_one_message_gets_its_weights_beside_it(
    written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = opened(written.inside)
    monkeypatch.setattr(saving, "LARGEST_FILE", 50_000)
    monkeypatch.setattr(weights, "STEP", 1000)
    assert session.save(at(session, EDIT), str(tmp_path / "large.onnx")).startswith(
        "Its weights are in large"
    )
    check_saved(session, tmp_path / "large.onnx", at(session, EDIT))
    tensor = next(
        each
        for each in onnx.load(tmp_path / "large.onnx", load_external_data=False).graph.initializer
        if list(each.dims) == [88, 4, 7, 7]
    )
    assert tensor.data_location == TensorProto.EXTERNAL
    assert {each.key: each.value for each in tensor.external_data}["offset"] == "0"


def test_what_cannot_be_tried_here_is_saved_and_said(
    written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = opened(written.inside)
    monkeypatch.setattr("engine.guard.free_bytes", lambda: 1000)
    note = session.save(at(session, EDIT), str(tmp_path / "large.onnx"))
    assert note.startswith("It was not run: Running small needs") and free_bytes() > 1000
    assert (tmp_path / "large.onnx").exists()


def failing(path: Path, operator: Callable[[], onnx.NodeProto]) -> OnnxSession:
    """A model whose first node is followed by ``operator``."""
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["a"], "relu"), operator()],
        "made",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 4))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 4))],
        [],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("some.where", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return opened(path)


def test_functions_are_saved_as_their_nodes_and_that_is_said(tmp_path: Path) -> None:
    twice = helper.make_function(
        "mine", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"], "add")],
        [helper.make_opsetid("", 17)],
    )  # fmt: skip
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["r"], "relu"), helper.make_node("Twice", ["r"], ["y"], "t", domain="mine")],
        "made",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 4))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 4))],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
    path = tmp_path / "functions.onnx"
    onnx.save(helper.make_model(graph, functions=[twice], opset_imports=opsets, ir_version=8), path)
    session = opened(path)
    note = session.save(at(session, RemoveLayer("relu")), str(tmp_path / "saved.onnx"))
    assert note == "Its 1 function stands in the place of their calls."
    saved = onnx.load(tmp_path / "saved.onnx")
    assert [node.op_type for node in saved.graph.node] == ["Add"] and not saved.functions


def test_an_operator_that_no_runtime_knows_is_told(tmp_path: Path) -> None:
    session = failing(
        tmp_path / "own.onnx", lambda: helper.make_node("Own", ["a"], ["y"], "own", domain="some.where")
    )
    note = session.save(at(session, RemoveLayer("relu")), str(tmp_path / "saved.onnx"))
    assert note == (
        "onnxruntime runs neither it nor the file that was opened: "
        "Fatal error: some.where:Own(-1) is not a registered function/op."
    )
    assert len(onnx.load(tmp_path / "saved.onnx").graph.node) == 1


def test_an_edit_that_a_runtime_refuses_is_refused(
    written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = opened(written.inside)
    really = saving.run_once

    def run_originals_only(given: RunModel, stop: threading.Event) -> list[Any]:
        if str(given.model).endswith("e.onnx"):
            raise RuntimeError("[ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : no kernel")
        return really(given, stop)

    monkeypatch.setattr(saving, "run_once", run_originals_only)
    with pytest.raises(EngineError, match=r"does not run in onnxruntime: no kernel\."):
        session.save(at(session, EDIT), str(tmp_path / "e.onnx"))
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not EVERYTHING, reason="the largest exports take half a minute")
@pytest.mark.parametrize("dynamo", [False, True])
def test_resnet_50_without_its_pool(tmp_path: Path, dynamo: bool) -> None:
    path = tmp_path / "resnet50.onnx"
    export(randomised(torchvision.models.resnet50()), (torch.zeros(1, 3, 224, 224),), path, dynamo=dynamo)
    session = opened(path)
    assert session.analyze(at(session)).totals.macs == 4_089_184_256
    assert session.analyze(at(session, EDIT)).totals.macs == 15_996_551_168
    session.save(at(session, EDIT), str(tmp_path / "edited.onnx"))
    check_saved(session, tmp_path / "edited.onnx", at(session, EDIT))
    assert opened(tmp_path / "edited.onnx").analyze(at(session)).totals.macs == 15_996_551_168


def test_what_an_exporter_wrote_beside_a_weight_is_saved_with_a_type(
    written: Written, tmp_path: Path
) -> None:
    """torch.export's exporter does: its entries tell parameters from constants."""
    model = onnx.load(written.inside)
    beside = helper.make_tensor_value_info("conv.weight", TensorProto.FLOAT, (88, 4, 7, 7))
    beside.metadata_props.add(key="pkg.torch.export.graph_signature.InputSpec.kind", value="PARAMETER")
    model.graph.value_info.append(beside)
    onnx.save(model, tmp_path / "beside.onnx")
    session = opened(tmp_path / "beside.onnx")
    target = tmp_path / "edited.onnx"
    session.save(at(session, EDIT), str(target))
    check_saved(session, target, at(session, EDIT))
    (found,) = [each for each in onnx.load(target).graph.value_info if each.name == "conv.weight"]
    assert found.metadata_props == beside.metadata_props
