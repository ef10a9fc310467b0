"""The panel that says what changed."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QApplication, QLabel, QPushButton, QScrollArea
from pytestqt.qtbot import QtBot

from engine.edits import RemoveLayer
from engine.errors import ErrorInfo
from engine.protocol import Failed
from gui.selection import Selection
from gui.theme import ThemeManager
from gui.views import what_changed
from gui.views.what_changed import WhatChangedPanel
from gui.workspace import Workspace
from tests.engine.measuring import measured
from tests.gui.analyses import small_net
from tests.gui.panels import bring, workspace_of


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return workspace_of(tmp_path, small_net(), small_net())


@pytest.fixture
def selection() -> Selection:
    return Selection()


@pytest.fixture
def panel(workspace: Workspace, selection: Selection, qapp: QApplication, qtbot: QtBot) -> WhatChangedPanel:
    panel = WhatChangedPanel(workspace, selection, ThemeManager(qapp, "light"))
    qtbot.addWidget(panel)
    return panel


def label(panel: WhatChangedPanel, name: str) -> QLabel:
    found = panel.findChild(QLabel, name)
    assert found is not None
    return found


def button(panel: WhatChangedPanel, name: str) -> QPushButton:
    found = panel.findChild(QPushButton, name)
    assert found is not None
    return found


def test_empty_states(panel: WhatChangedPanel, workspace: Workspace) -> None:
    assert "this is the baseline" in label(panel, "what_changed_where").text()
    assert button(panel, "copy_python").isHidden()
    workspace.baseline = None
    workspace.baseline_changed.emit()
    assert "No baseline" in label(panel, "what_changed_where").text()
    workspace.analysis = workspace.configuration = None
    workspace.model_changed.emit()
    assert "Open a model" in label(panel, "what_changed_where").text()


def test_the_experiment(
    panel: WhatChangedPanel, workspace: Workspace, selection: Selection, qtbot: QtBot
) -> None:
    bring(workspace, small_net(pool=False), panel)
    assert "2.71\N{NO-BREAK SPACE}×" in label(panel, "what_changed_headline").text()
    assert "against as opened" in label(panel, "what_changed_baseline").text()
    assert "model.pool = nn.Identity()" in label(panel, "what_changed_python").text()
    qtbot.mouseClick(button(panel, "copy_python"), Qt.MouseButton.LeftButton)
    assert QGuiApplication.clipboard().text() == "model.pool = nn.Identity()\n"
    label(panel, "what_changed_where").linkActivated.emit("node:conv1%3Aconv2d")
    assert selection.current == "conv1:conv2d"
    qtbot.mouseClick(button(panel, "reset_edits"), Qt.MouseButton.LeftButton)
    assert workspace.configuration is not None
    assert workspace.configuration.edits == ()
    assert button(panel, "reset_edits").isHidden(), "the edits shown are those asked for"


def test_count_mode(panel: WhatChangedPanel, workspace: Workspace) -> None:
    bring(workspace, small_net(pool=False), panel)
    workspace.set_count_mode("flops")
    assert "FLOPs" in label(panel, "what_changed_headline").text()


def test_controls_can_be_found_and_read_aloud(panel: WhatChangedPanel) -> None:
    for name in ("copy_python", "reset_edits"):
        assert button(panel, name).accessibleName() and button(panel, name).toolTip()


def fail(workspace: Workspace, layer: str, message: str) -> None:
    error = ErrorInfo("layer", message, layer=layer, expected="8 channels", got="3 channels")
    workspace.failure = Failed(1, error)
    workspace.failure_changed.emit()


def test_a_failure_says_whose_numbers_are_shown_and_keeps_the_edits(
    panel: WhatChangedPanel, workspace: Workspace
) -> None:
    workspace.remove_layer("pool")
    fail(workspace, "fc", "fc cannot take 1×8×3. It stops there.")
    words = label(panel, "what_changed_failure").text()
    assert "fc cannot take 1×8×3." in words and "It stops" not in words
    assert "last good state: x 1×3×224×224, no edits" in words
    assert "this is the baseline" not in label(panel, "what_changed_where").text()
    assert "model.pool = nn.Identity()" in label(panel, "what_changed_python").text()
    assert not button(panel, "reset_edits").isHidden()
    workspace.failure = None
    workspace.failure_changed.emit()
    assert label(panel, "what_changed_failure").isHidden()
    assert "this is the baseline" in label(panel, "what_changed_where").text()


def test_the_last_good_state_is_still_compared(panel: WhatChangedPanel, workspace: Workspace) -> None:
    bring(workspace, small_net(pool=False), panel)
    fail(workspace, "fc", "layer1.0 cannot run.")
    assert "layer1.0 cannot run." in label(panel, "what_changed_failure").text()
    assert "1 edit." in label(panel, "what_changed_failure").text()
    assert "2.71" in label(panel, "what_changed_headline").text()


def test_what_was_measured_stands_beside_the_macs(workspace: Workspace, panel: WhatChangedPanel) -> None:
    baseline, analysis = small_net(), small_net(pool=False)
    bring(workspace, measured(analysis, 0.07, against=baseline, ratio=3.2), panel)
    text = label(panel, "what_changed_where").text()
    assert "latency" in text and "slower" in text
    workspace.configuration = small_net(112).configuration
    workspace.configuration_changed.emit()
    assert "latency" not in label(panel, "what_changed_where").text(), "it is of what was asked for before"
    bring(workspace, analysis, panel)
    assert "latency" not in label(panel, "what_changed_where").text()


def test_no_line_breaks_inside_a_unit(workspace: Workspace, panel: WhatChangedPanel) -> None:
    baseline, analysis = small_net(), small_net(pool=False)
    workspace.baseline = measured(baseline, 0.02, dict.fromkeys(baseline.layers.id, 2e-3))
    slower = dict.fromkeys(analysis.layers.id, 7e-3)
    bring(workspace, measured(analysis, 0.07, slower, against=baseline, ratio=3.2), panel)
    text = label(panel, "what_changed_where").text()
    assert "MAC/\N{WORD JOINER}s" in text
    assert "MAC/s" not in text


def test_long_code_scrolls_by_itself(panel: WhatChangedPanel, workspace: Workspace) -> None:
    """The panel is not made wider or higher by lines that only a file wants."""
    bring(workspace, small_net(pool=False), panel)
    code = label(panel, "what_changed_python")
    area = panel.findChild(QScrollArea, "what_changed_code")
    scroll = panel.findChild(QScrollArea, "what_changed_scroll")
    assert area is not None and scroll is not None
    assert workspace.analysis is not None
    path = "layer" * 60
    workspace.configuration = msgspec.structs.replace(
        workspace.analysis.configuration, edits=tuple(RemoveLayer(f"{path}{i}") for i in range(30))
    )
    workspace.configuration_changed.emit()
    panel.resize(330, 300)
    panel.show()
    assert code.sizeHint().width() > 1000
    assert scroll.widget().width() <= scroll.viewport().width()
    assert area.height() < panel.height() < code.sizeHint().height()


def test_other_colours_compare_nothing_again(
    panel: WhatChangedPanel, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring(workspace, small_net(pool=False), panel)
    before = label(panel, "what_changed_headline").text()
    monkeypatch.setattr(what_changed, "summarise", None)
    panel._theme.set_mode("dark")
    assert label(panel, "what_changed_headline").text() != before
