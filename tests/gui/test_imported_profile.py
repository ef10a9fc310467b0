"""An onnxruntime profile in the window: on the layers, faded and named, until it is dropped."""

from __future__ import annotations

import json
from pathlib import Path

import numpy
import pytest
from onnx import helper
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QFileDialog
from pytestqt.qtbot import QtBot

from gui.main_window import MainWindow
from tests.gui.conftest import ANSWER_MS, open_model, wait_current
from tests.onnx_models import hand_made

MICROS = {"/conv/Conv": ("Conv", 4000), "/relu/Relu": ("Relu", 1000)}


@pytest.fixture
def net(tmp_path: Path) -> Path:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], "/conv/Conv", kernel_shape=[3, 3]),
        helper.make_node("Relu", ["a"], ["y"], "/relu/Relu"),
    ]
    weight = numpy.ones((4, 3, 3, 3), numpy.float32)
    return hand_made(tmp_path / "net.onnx", nodes, {"x": [1, 3, 16, 16]}, ["y"], {"w": weight})


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    events, now = [], 0
    for name, (op, micros) in MICROS.items():
        args = {"op_name": op}
        events.append({"cat": "Node", "name": f"{name}_kernel_time", "ts": now, "dur": micros, "args": args})
        now += micros
    events.append({"cat": "Session", "name": "model_run", "ts": 0, "dur": now, "args": {}})
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(events))
    return path


def action(window: MainWindow, name: str) -> QAction:
    found = window.findChild(QAction, name)
    assert found is not None, name
    return found


def choose(window: MainWindow, path: Path) -> None:
    action(window, "action_import_profile").trigger()
    dialog = window.findChild(QFileDialog, "file_dialog")
    assert dialog is not None
    dialog.fileSelected.emit(str(path))
    dialog.reject()


def test_imported_times_are_shown_as_foreign_and_can_be_dropped(
    window: MainWindow, qtbot: QtBot, net: Path, profile: Path
) -> None:
    workspace = window.workspace
    open_model(qtbot, workspace, str(net))
    wait_current(qtbot, workspace)
    assert not action(window, "action_drop_profile").isEnabled()
    with qtbot.waitSignal(workspace.profile_imported, timeout=ANSWER_MS) as said:
        choose(window, profile)
    assert "Not measured here: imported from profile.json, 1 run" in said.args[0]
    analysis = workspace.analysis
    assert analysis is not None
    assert dict(zip(analysis.layers.id, analysis.layers.latency_s, strict=True)) == {
        "conv:Conv": pytest.approx(4e-3),
        "relu:Relu": pytest.approx(1e-3),
    }
    assert analysis.stale_times, "never as measured here"
    assert analysis.totals.latency_s is None
    with qtbot.waitSignal(workspace.exported, timeout=ANSWER_MS):
        workspace.export("json", str(net.parent / "report.json"))
    drop = action(window, "action_drop_profile")
    assert drop.isEnabled()
    drop.trigger()
    assert workspace.analysis is not None
    assert workspace.analysis.layer_times is None
    assert not drop.isEnabled()
    with qtbot.waitSignal(workspace.model_changed, timeout=ANSWER_MS):
        workspace.open_report(str(net.parent / "report.json"))
    assert workspace.imported is not None, "the report says where its times are from"
    assert workspace.analysis is not None
    assert workspace.analysis.stale_times


def test_a_file_that_is_no_profile_is_refused_in_a_sentence(
    window: MainWindow, qtbot: QtBot, net: Path
) -> None:
    workspace = window.workspace
    open_model(qtbot, workspace, str(net))
    wait_current(qtbot, workspace)
    with qtbot.waitSignal(workspace.import_failed, timeout=ANSWER_MS) as said:
        choose(window, net)
    assert "net.onnx is no profile of onnxruntime" in said.args[0].message
    assert window.banner.isVisibleTo(window)


def test_only_onnx_models_take_one(window: MainWindow, qtbot: QtBot) -> None:
    open_model(qtbot, window.workspace, "torchvision:squeezenet1_1")
    importing = action(window, "action_import_profile")
    assert not importing.isEnabled()
    assert "belongs to an ONNX model" in importing.toolTip()
