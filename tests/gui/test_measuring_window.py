"""The window's measuring controls: switch, menu, badge, cancel."""

from __future__ import annotations

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QPushButton, QToolButton
from pytestqt.qtbot import QtBot

from engine.errors import ErrorInfo
from gui.main_window import MainWindow
from gui.measuring import Measuring
from gui.views.noise_dialog import NoiseDialog
from tests.gui.conftest import open_model, wait_current
from tests.gui.measurements import PREEMPTED, SPREAD, latency_of

ACTIONS = ("measure", "measure_again", "measure_quiet", "measure_report", "measure_ops", "threads")


@pytest.fixture
def calls(measuring: Measuring, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What the window asks of measuring; nothing is measured."""
    found: list[object] = []
    monkeypatch.setattr(measuring, "set_enabled", lambda on: found.append(("enabled", on)))
    monkeypatch.setattr(measuring, "measure_ops", lambda: found.append("ops"))
    monkeypatch.setattr(measuring, "cancel", lambda: found.append("cancel"))
    monkeypatch.setattr(
        measuring,
        "measure_again",
        lambda **how: found.append(("again", *(key for key, on in how.items() if on))),
    )
    return found


def test_every_action_has_a_name_a_shortcut_and_a_tooltip(window: MainWindow) -> None:
    shortcuts = [
        action.shortcut().toString() for action in window.actions() if not action.shortcut().isEmpty()
    ]
    assert len(shortcuts) == len(set(shortcuts))
    for name in ACTIONS:
        action = getattr(window.actions_, name)
        assert action.objectName() == f"action_{name}"
        assert not action.shortcut().isEmpty() and action.toolTip()
    for name in ("button_measure", "button_measure_menu", "button_threads", "status_noise"):
        button = window.findChild(QToolButton, name)
        assert button is not None and button.accessibleName(), name


def test_actions_ask_for_what_they_say(calls: list[object], window: MainWindow) -> None:
    actions = window.actions_
    for name in ("measure_again", "measure_quiet", "measure_report", "measure_ops"):
        assert not getattr(actions, name).isEnabled(), "nothing is open, and measuring is paused"
        assert getattr(actions, name).toolTip() == "Open a model first."
        getattr(actions, name).setEnabled(True)
        getattr(actions, name).trigger()
    actions.measure.trigger()
    assert calls == [("again",), ("again", "when_quiet"), ("again", "report"), "ops", ("enabled", True)]
    assert window.measurement.pages.currentIndex() == 1


def test_a_measurement_in_the_window(window: MainWindow, qtbot: QtBot) -> None:
    open_model(qtbot, window.workspace, "torchvision:squeezenet1_1")
    wait_current(qtbot, window.workspace)
    assert not window.status.noise.isVisible()
    assert "press Measure first (Ctrl+R)" in window.actions_.measure_again.toolTip()
    analysis, measuring = window.workspace.analysis, window.measuring
    assert analysis is not None
    window.workspace.add_latency(latency_of(analysis, flags=[PREEMPTED]))
    measuring.shown = window.workspace.latencies[analysis.configuration].measurement
    measuring.latency_changed.emit()
    assert window.cards.cards["latency_s"].words.value.startswith("38.0 ±")
    assert "latency_s" not in window.layers.view.columns.given_way
    noise = window.status.noise
    assert noise.isVisible() and noise.text() == PREEMPTED.words
    assert noise.property("tone") == "worse"
    qtbot.mouseClick(noise, Qt.MouseButton.LeftButton)
    dialog = window.findChild(NoiseDialog)
    assert dialog is not None
    assert dialog.findChild(QPushButton, "noise_again") is not None
    qtbot.mouseClick(noise, Qt.MouseButton.LeftButton)
    assert window.findChildren(NoiseDialog) == [dialog], "one, brought to the front"
    said = dialog.findChild(QLabel, "noise_words")
    assert said is not None and PREEMPTED.detail in said.text()
    window.workspace.add_latency(latency_of(analysis, flags=[SPREAD]))
    measuring.shown = window.workspace.latencies[analysis.configuration].measurement
    measuring.latency_changed.emit()
    assert SPREAD.detail in said.text() and PREEMPTED.detail not in said.text()
    with qtbot.waitSignal(dialog.destroyed):
        window.workspace.set_sizes({"height": 128, "width": 128})
    assert not window.findChildren(NoiseDialog)
    assert not noise.isEnabled(), "it was the noise of another size"
    assert window.cards.cards["latency_s"].words.stale
    wait_current(qtbot, window.workspace)


def test_the_badge_says_that_nothing_is_measured_and_why(window: MainWindow, qtbot: QtBot) -> None:
    open_model(qtbot, window.workspace, "torchvision:squeezenet1_1")
    wait_current(qtbot, window.workspace)
    window.measuring.error = ErrorInfo("input", "It needs 26.1 GiB; 20.3 GiB are free.", "Take less.")
    window.measuring.state_changed.emit()
    assert window.status.noise.isVisible() and window.status.noise.text() == "not measured"
    assert window.status.noise.toolTip() == "It needs 26.1 GiB; 20.3 GiB are free. Take less."


def test_cancel_is_for_the_answer_awaited_first(calls: list[object], window: MainWindow) -> None:
    window.measuring.words = "Measuring 1×3×224×224"
    window.measuring.state_changed.emit()
    assert window.status.cancel.isVisible()
    assert window.status.words.text() == "Measuring 1×3×224×224"
    assert not window.status.bar.isVisible()
    window.actions_.cancel.trigger()
    assert calls == ["cancel"]


def test_clicking_an_operation_does_not_hide_the_table(window: MainWindow, qtbot: QtBot) -> None:
    window.resize(1280, 720)
    window.actions_.reset_layout.trigger()
    open_model(qtbot, window.workspace, "torchvision:squeezenet1_1")
    wait_current(qtbot, window.workspace)
    dock = window.docks[4]
    assert dock.objectName() == "dock_measurement"
    dock.raise_()
    window.activateWindow()
    window.measurement.operations.table.show()
    window.measurement.show_page(1)
    window.measurement.operations.table.setFocus()
    qtbot.waitUntil(window.measurement.operations.table.hasFocus)
    window.selection.set_current("features.0:conv2d")
    assert dock.visibleRegion().boundingRect().height() > 0
    window.layers.view.setFocus()
    window.selection.set_current("features.3.squeeze:conv2d")
    qtbot.waitUntil(lambda: dock.visibleRegion().isEmpty())


def test_escape_in_the_search_box_cancels_nothing(
    calls: list[object], window: MainWindow, qtbot: QtBot
) -> None:
    open_model(qtbot, window.workspace, "torchvision:squeezenet1_1")
    wait_current(qtbot, window.workspace)
    window.measuring.words = "Measuring 1×3×224×224"
    window.measuring.state_changed.emit()
    assert window.actions_.cancel.isEnabled()
    window.activateWindow()
    search = window.layers.search
    search.setFocus()
    qtbot.waitUntil(search.hasFocus)
    qtbot.keyClicks(search, "fire")
    qtbot.keyClick(search, Qt.Key.Key_Escape)
    assert search.text() == ""
    qtbot.keyClick(search, Qt.Key.Key_Escape)
    assert window.layers.view.hasFocus()
    assert calls == []
    qtbot.keyClick(window.layers.view, Qt.Key.Key_Escape)
    assert calls == ["cancel"]
