"""``kill -9`` of the engine at any moment: the window says so, restarts it, and everything is still there."""

from __future__ import annotations

import json
import os
import signal
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from engine.edits import RemoveLayer
from gui.engine_client import EngineClient
from gui.latency_engine import LatencyEngine
from gui.main_window import MainWindow
from gui.measuring import Measuring
from gui.selection import Selection
from gui.settings import Settings
from gui.theme import ThemeManager
from gui.views.consent_dialog import ConsentDialog
from gui.workspace import Workspace
from tests.gui.conftest import ANSWER_MS, READY_MS, dispose, open_model, wait_current

pytestmark = pytest.mark.expects_log

MAPPED = 2**30
"""Bytes of a file from which on its weights are mapped (engine.loaders.weights)."""
SLOW_NET = """
import time
import torch
from torch import nn

class Slow(nn.Module):
    def forward(self, x):
        time.sleep({forward})
        return x

def build():
    time.sleep({build})
    return nn.Sequential(nn.Conv2d(3, 8, 3), Slow()), (torch.zeros(1, 3, 32, 32),)
"""


@pytest.fixture
def own_engine(qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> Iterator[EngineClient]:
    """An engine for one test: deaths of several tests in a row would look like a broken installation.

    What cannot be interrupted has less time to stop than a user's engine.
    """
    monkeypatch.setattr("gui.engine_client.CANCEL_GRACE_MS", 300)
    client = EngineClient()
    with qtbot.waitSignal(client.ready, timeout=READY_MS):
        client.start()
    yield client
    client.stop()


@pytest.fixture
def recovering(own_engine: EngineClient, settings: Settings) -> Iterator[Workspace]:
    workspace = Workspace(own_engine, settings)
    yield workspace
    dispose(workspace)


def kill(engine: EngineClient) -> None:
    pid = engine.pid
    assert pid, "0 would be every process of the tests"
    os.kill(pid, signal.SIGKILL)


def test_killed_while_nothing_happens_and_while_prefetching(
    recovering: Workspace, theme: ThemeManager, settings: Settings, qtbot: QtBot
) -> None:
    window = MainWindow(
        recovering, Measuring(recovering, LatencyEngine(), settings), Selection(), theme, settings
    )
    qtbot.addWidget(window)
    window.show()
    open_model(qtbot, recovering, "torchvision:resnet18")
    recovering.remove_layer("maxpool")
    recovering.set_sizes({"height": 256})
    wait_current(qtbot, recovering)
    model, configuration, analysis = recovering.model, recovering.configuration, recovering.analysis
    known = len(recovering.points)
    qtbot.waitUntil(lambda: len(recovering.points) > known, timeout=ANSWER_MS)
    with qtbot.waitSignal(recovering.engine.crashed, timeout=ANSWER_MS):
        kill(recovering.engine)
    assert window.status.engine.text() == "● engine restarting"
    assert "ended by a signal" in window.status.words.text()
    assert (recovering.model, recovering.configuration) == (model, configuration)
    assert recovering.analysis == analysis
    with qtbot.waitSignal(recovering.engine.ready, timeout=READY_MS):
        pass
    wait_current(qtbot, recovering)
    assert recovering.configuration == configuration
    assert recovering.configuration is not None
    assert recovering.configuration.edits == (RemoveLayer("maxpool"),)
    assert recovering.baseline_label == "as published"
    recovering.undo_stack.undo()
    wait_current(qtbot, recovering)
    assert recovering.size_of("height") == 224
    qtbot.waitUntil(lambda: recovering.settled, timeout=ANSWER_MS)


def test_killed_while_loading(recovering: Workspace, qtbot: QtBot, tmp_path: Path) -> None:
    open_model(qtbot, recovering, "torchvision:resnet18")
    path = tmp_path / "slow.py"
    path.write_text(SLOW_NET.format(build=1, forward=0))
    with qtbot.waitSignal(recovering.busy_changed, timeout=ANSWER_MS):
        recovering.open_source(f"{path}:build", trust=True)
    qtbot.waitUntil(lambda: recovering.progress is not None, timeout=ANSWER_MS)
    kill(recovering.engine)
    assert recovering.model is not None
    assert recovering.model.name == "resnet18"
    with qtbot.waitSignal(recovering.model_changed, timeout=READY_MS):
        pass
    assert recovering.model.source == f"{path}:build"


def test_killed_while_saving(recovering: Workspace, qtbot: QtBot, tmp_path: Path) -> None:
    """Nothing is left of what was half written; the open model and its edits are still there."""
    graph = helper.make_graph(
        [
            helper.make_node("Relu", ["x"], ["y"], "/relu/Relu"),
            helper.make_node("Relu", ["y"], ["z"], "/last/Relu"),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 8])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", 8])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), tmp_path / "net.onnx")
    open_model(qtbot, recovering, str(tmp_path / "net.onnx"))
    recovering.remove_layer("relu")
    wait_current(qtbot, recovering)
    pid = recovering.engine.pid
    os.kill(pid, signal.SIGSTOP)
    recovering.save_model(str(tmp_path / "half.onnx"))
    # Where an engine writes: see the tests of saving.
    half = tmp_path / f".half.onnx.misnomer-{pid}-x"
    half.mkdir()
    (half / "half.onnx").touch()
    with qtbot.waitSignal(recovering.save_failed, timeout=ANSWER_MS) as failed:
        kill(recovering.engine)
    assert failed.args is not None and failed.args[0].kind == "crash"
    qtbot.waitUntil(lambda: not half.exists(), timeout=ANSWER_MS)
    wait_current(qtbot, recovering)
    qtbot.waitUntil(lambda: recovering.engine.state == "ready" and not recovering.busy, timeout=READY_MS)
    assert recovering.edits == (RemoveLayer("relu"),)
    with qtbot.waitSignal(recovering.saved, timeout=ANSWER_MS):
        recovering.save_model(str(tmp_path / "half.onnx"))


def test_killed_while_tracing(recovering: Workspace, qtbot: QtBot, tmp_path: Path) -> None:
    path = tmp_path / "slow.py"
    path.write_text(SLOW_NET.format(build=0, forward=0.5))
    open_model(qtbot, recovering, f"{path}:build", trust=True)
    before = recovering.analysis
    recovering.set_sizes({"height": 48})
    assert recovering.busy
    with qtbot.waitSignal(recovering.engine.crashed, timeout=ANSWER_MS):
        kill(recovering.engine)
    assert recovering.analysis is before
    assert recovering.size_of("height") == 48
    wait_current(qtbot, recovering)
    assert recovering.analysis is not None
    assert recovering.analysis.configuration.inputs[0].shape == (1, 3, 48, 48)
    assert recovering.undo_stack.count() == 1


def test_a_configuration_that_kills_the_engine_is_given_up(
    recovering: Workspace, qtbot: QtBot, tmp_path: Path
) -> None:
    path = tmp_path / "deadly.py"
    path.write_text(
        "import os, torch\nfrom torch import nn\n\n"
        "class Deadly(nn.Module):\n"
        "    def forward(self, x):\n"
        "        if x.shape[-1] > 64:\n"
        "            os.kill(os.getpid(), 9)\n"
        "        return x\n\n"
        "def build():\n"
        "    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), Deadly()), (torch.zeros(1, 3, 32, 32),)\n"
    )
    open_model(qtbot, recovering, f"{path}:build", trust=True)
    before = recovering.analysis
    recovering.set_sizes({"height": 72})
    qtbot.waitUntil(lambda: recovering.failure is not None, timeout=READY_MS)
    assert recovering.failure is not None
    assert recovering.failure.error.kind == "crash"
    assert recovering.analysis is before
    qtbot.waitUntil(lambda: not recovering.busy and recovering.engine.state == "ready", timeout=READY_MS)
    recovering.undo_stack.undo()
    qtbot.waitUntil(lambda: recovering.is_current and recovering.failure is None, timeout=READY_MS)


CUTTING_NET = """
import os
import torch
from torch import nn

class Cutting(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear({inputs}, {outputs}, bias=False)

    def forward(self, x):
        x = torch.from_numpy(x.numpy())  # only a real run gets further
        os.truncate("{file}", 4096)  # as another program might, while the weights are mapped
        return self.linear(x)

def build():
    return Cutting(), (torch.zeros(1, {inputs}),)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cuts no file that is mapped")
def test_weights_that_are_cut_while_they_are_mapped(
    recovering: Workspace, theme: ThemeManager, settings: Settings, qtbot: QtBot, tmp_path: Path
) -> None:
    """A look at what is no longer there ends the engine (SIGBUS): the window says so and keeps what it has."""
    inputs, outputs = 2**14, 2**14 + 1
    file = tmp_path / "weights.safetensors"
    size = 4 * inputs * outputs
    assert size > MAPPED
    entry = {"dtype": "F32", "shape": [outputs, inputs], "data_offsets": [0, size]}
    header = json.dumps({"linear.weight": entry}).encode()
    header += b" " * (-len(header) % 8)
    with file.open("wb") as handle:
        handle.write(struct.pack("<Q", len(header)) + header)
        handle.truncate(8 + len(header) + size)
    net = tmp_path / "net.py"
    net.write_text(CUTTING_NET.format(inputs=inputs, outputs=outputs, file=file))
    window = MainWindow(
        recovering, Measuring(recovering, LatencyEngine(), settings), Selection(), theme, settings
    )
    qtbot.addWidget(window)
    window.show()
    recovering.open_source(f"{file}@{net}:build", trust=True)
    qtbot.waitUntil(lambda: recovering.failure is not None, timeout=ANSWER_MS)
    assert recovering.failure is not None and recovering.failure.error.kind == "real_run"
    with qtbot.waitSignal(recovering.engine.crashed, timeout=ANSWER_MS):
        recovering.allow_real_run()
    with qtbot.waitSignal(recovering.open_failed, timeout=READY_MS):
        pass
    assert "weights.safetensors cannot be read" in window.banner.text.text()
    assert "ended by a signal" in window.status.words.text()
    open_model(qtbot, recovering, "torchvision:alexnet")
    assert recovering.failure is None and not window.banner.isVisible()


def test_cancelling_what_cannot_be_interrupted_replaces_the_engine(
    recovering: Workspace, theme: ThemeManager, settings: Settings, qtbot: QtBot, tmp_path: Path
) -> None:
    window = MainWindow(
        recovering, Measuring(recovering, LatencyEngine(), settings), Selection(), theme, settings
    )
    qtbot.addWidget(window)
    window.show()
    path = tmp_path / "slow.py"
    path.write_text(SLOW_NET.format(build=0, forward="600 if x.shape[-1] > 64 else 0"))
    open_model(qtbot, recovering, f"{path}:build", trust=True)
    before = recovering.analysis
    recovering.set_sizes({"height": 72})
    qtbot.waitUntil(window.status.cancel.isVisible, timeout=ANSWER_MS)
    qtbot.mouseClick(window.status.cancel, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: recovering.failure is not None, timeout=READY_MS)
    assert recovering.failure is not None
    assert recovering.failure.error.kind == "cancelled"
    assert window.banner.retry.isVisible()
    assert recovering.analysis is before
    qtbot.mouseClick(window.banner.undo, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: recovering.is_current and recovering.failure is None, timeout=READY_MS)


def test_cancelling_an_opening_keeps_the_old_model(
    recovering: Workspace, qtbot: QtBot, tmp_path: Path
) -> None:
    open_model(qtbot, recovering, "torchvision:alexnet")
    path = tmp_path / "slow.py"
    path.write_text(SLOW_NET.format(build=600, forward=0))
    recovering.open_source(f"{path}:build", trust=True)
    qtbot.waitUntil(lambda: recovering.progress is not None, timeout=ANSWER_MS)
    with qtbot.waitSignal(recovering.engine.crashed, timeout=READY_MS):
        recovering.cancel()
    qtbot.waitUntil(lambda: not recovering.busy and recovering.engine.state == "ready", timeout=READY_MS)
    assert recovering.model is not None
    assert recovering.model.name == "alexnet"
    recovering.set_sizes({"height": 256})
    wait_current(qtbot, recovering)


def take_engine_away(engine: EngineClient, qtbot: QtBot) -> None:
    """Leave the window without an engine until somebody restarts it."""
    with qtbot.waitSignal(engine.gave_up, timeout=READY_MS):
        engine.restart("/nowhere/python")
    assert engine.state == "failed"


def bring_engine_back(engine: EngineClient, qtbot: QtBot) -> None:
    with qtbot.waitSignal(engine.ready, timeout=READY_MS):
        engine.restart(sys.executable)


def test_a_drag_without_an_engine_is_followed_when_it_is_back(recovering: Workspace, qtbot: QtBot) -> None:
    open_model(qtbot, recovering, "torchvision:alexnet")
    take_engine_away(recovering.engine, qtbot)
    recovering.begin_gesture()
    for size in (256, 288, 320):
        recovering.set_sizes({"height": size})
    recovering.end_gesture()
    qtbot.waitUntil(lambda: recovering.stale, timeout=ANSWER_MS)
    assert not recovering.busy
    bring_engine_back(recovering.engine, qtbot)
    wait_current(qtbot, recovering)
    assert recovering.size_of("height") == 320
    assert not recovering.stale
    for size in (352, 384):
        recovering.set_sizes({"height": size})
    wait_current(qtbot, recovering)
    assert recovering.engine.state == "ready"


def test_a_drag_while_the_engine_is_away_for_a_moment(recovering: Workspace, qtbot: QtBot) -> None:
    open_model(qtbot, recovering, "torchvision:alexnet")
    with qtbot.waitSignal(recovering.engine.crashed, timeout=ANSWER_MS):
        kill(recovering.engine)
    for size in (256, 288):
        recovering.set_sizes({"height": size})
    wait_current(qtbot, recovering)
    recovering.set_sizes({"height": 320})
    wait_current(qtbot, recovering)


def test_reports_without_an_engine_fail_at_once(
    recovering: Workspace, theme: ThemeManager, settings: Settings, qtbot: QtBot, tmp_path: Path
) -> None:
    window = MainWindow(
        recovering, Measuring(recovering, LatencyEngine(), settings), Selection(), theme, settings
    )
    qtbot.addWidget(window)
    window.show()
    open_model(qtbot, recovering, "torchvision:alexnet")
    take_engine_away(recovering.engine, qtbot)
    with qtbot.waitSignal(recovering.export_failed, timeout=100) as failed:
        recovering.export("json", str(tmp_path / "r.json"))
    assert "The engine is not running" in failed.args[0].sentence
    assert not recovering.busy
    assert "The report was not written. The engine is not running." in window.banner.text.text()
    assert window.banner.restart.isVisible()
    with qtbot.waitSignal(recovering.open_failed, timeout=100):
        recovering.open_report(str(tmp_path / "r.json"))
    recovering.engine.python = sys.executable
    with qtbot.waitSignal(recovering.zoo_listed, timeout=READY_MS):
        recovering.request_zoo()
    assert not window.banner.isVisible()
    wait_current(qtbot, recovering)


@pytest.mark.parametrize("answer", ["no", "yes"])
def test_killed_while_the_user_is_asked(
    recovering: Workspace, theme: ThemeManager, settings: Settings, qtbot: QtBot, tmp_path: Path, answer: str
) -> None:
    window = MainWindow(
        recovering, Measuring(recovering, LatencyEngine(), settings), Selection(), theme, settings
    )
    qtbot.addWidget(window)
    window.show()
    open_model(qtbot, recovering, "torchvision:alexnet")
    recovering.set_sizes({"height": 256})
    wait_current(qtbot, recovering)
    path = tmp_path / "slow.py"
    path.write_text(SLOW_NET.format(build=0, forward=0))
    with qtbot.waitSignal(recovering.consent_required, timeout=ANSWER_MS):
        recovering.open_source(f"{path}:build")
    dialog = window.findChild(ConsentDialog)
    assert dialog is not None
    with qtbot.waitSignal(recovering.engine.ready, timeout=READY_MS):
        kill(recovering.engine)
    if answer == "yes":
        with qtbot.waitSignal(recovering.model_changed, timeout=ANSWER_MS):
            dialog.accept()
        assert recovering.model is not None
        assert recovering.model.source == f"{path}:build"
        return
    dialog.reject()
    recovering.set_sizes({"height": 288})
    wait_current(qtbot, recovering)
    assert recovering.failure is None
    assert recovering.model is not None
    assert recovering.model.name == "alexnet"


def test_an_engine_that_never_starts_is_not_called_working(own_engine: EngineClient, qtbot: QtBot) -> None:
    with qtbot.waitSignal(own_engine.restarted, timeout=READY_MS):
        own_engine.restart("/nowhere/python")
    own_engine.list_zoo()
    qtbot.waitUntil(lambda: own_engine.state == "failed", timeout=READY_MS)
    with qtbot.waitSignal(own_engine.ready, timeout=READY_MS):
        own_engine.restart(sys.executable)
    assert own_engine.state == "ready"
