"""Exports of numbers per node in the window: offered where they can be written, otherwise with the reason."""

from __future__ import annotations

import json
from pathlib import Path

import numpy
from onnx import helper
from PySide6.QtGui import QAction, QKeySequence
from pytestqt.qtbot import QtBot

from engine.errors import ErrorInfo
from engine.export import FORMATS
from engine.measurement import Latency
from engine.protocol import ReportFormat
from gui.main_window import MainWindow
from gui.views.actions import NO_NODES, NODE_EXPORTS, TIMES_EXPORT
from tests.gui.conftest import ANSWER_MS, open_model, wait_current
from tests.gui.measurements import layer_times, measurement
from tests.onnx_models import hand_made

COUNTS = sorted(NODE_EXPORTS.keys() - {TIMES_EXPORT})


def offered(window: MainWindow) -> dict[str, QAction]:
    """The exports, with those that an engine offers when it gets ready: the session's did so before the window."""
    for entry in FORMATS.values():
        if entry.key not in window.actions_.exports:
            window.actions_.add_export(ReportFormat(entry.key, entry.label, entry.suffix))
    return window.actions_.exports


def net(folder: Path) -> str:
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], "/conv/Conv", kernel_shape=[3, 3])]
    weight = numpy.ones((4, 3, 3, 3), numpy.float32)
    return str(hand_made(folder / "net.onnx", nodes, {"x": [1, 3, 16, 16]}, ["y"], {"w": weight}))


def test_node_exports_are_offered_where_they_can_be_written(
    window: MainWindow, qtbot: QtBot, tmp_path: Path
) -> None:
    actions, workspace = offered(window), window.workspace
    assert actions.keys() > NODE_EXPORTS.keys()
    assert not any(actions[key].isEnabled() for key in NODE_EXPORTS)
    open_model(qtbot, workspace, net(tmp_path))
    wait_current(qtbot, workspace)
    for key in COUNTS:
        assert actions[key].isEnabled() and actions[key].toolTip() == NODE_EXPORTS[key]
    times = actions[TIMES_EXPORT]
    keys = QKeySequence("Ctrl+R").toString(QKeySequence.SequenceFormat.NativeText)
    assert (
        not times.isEnabled()
        and times.toolTip() == f"The layers are not timed: press Measure ({keys}) first."
    )
    analysis = workspace.analysis
    assert analysis is not None
    workspace.add_latency(Latency(measurement(analysis.configuration), layer_times(analysis)))
    qtbot.waitUntil(times.isEnabled)
    with qtbot.waitSignal(workspace.exported, timeout=ANSWER_MS):
        workspace.export(TIMES_EXPORT, str(tmp_path / "times.json"))
    (graph,) = json.loads((tmp_path / "times.json").read_text()).values()
    assert list(graph["results"]) == ["y"], "the only node, by its output"


def test_a_pytorch_model_has_no_nodes_to_export(window: MainWindow, qtbot: QtBot) -> None:
    open_model(qtbot, window.workspace, "torchvision:squeezenet1_1")
    wait_current(qtbot, window.workspace)
    actions = offered(window)
    for key in NODE_EXPORTS:
        action = actions[key]
        assert not action.isEnabled() and action.toolTip() == NO_NODES
    assert actions["csv"].isEnabled()


def test_a_failed_export_is_forgotten_when_one_is_written(
    window: MainWindow, qtbot: QtBot, tmp_path: Path
) -> None:
    open_model(qtbot, window.workspace, net(tmp_path))
    wait_current(qtbot, window.workspace)
    with qtbot.waitSignal(window.workspace.export_failed, timeout=ANSWER_MS):
        window.workspace.export("csv", str(tmp_path / "no such folder" / "net.csv"))
    assert isinstance(window.banner.error, ErrorInfo)
    with qtbot.waitSignal(window.workspace.exported, timeout=ANSWER_MS):
        window.workspace.export("csv", str(tmp_path / "net.csv"))
    assert window.banner.error is None
