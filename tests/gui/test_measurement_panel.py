"""The panel with everything known of a measurement, and the drill-down to operations."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QApplication, QLabel, QPushButton, QWidget
from pytestqt.modeltest import ModelTester
from pytestqt.qtbot import QtBot

from engine.errors import ErrorInfo
from engine.results import with_latency
from gui.measuring import Measuring
from gui.models import op_times as model
from gui.selection import Selection
from gui.theme import ThemeManager
from gui.views.actions import Actions
from gui.views.layer_rest import LayerRest
from gui.views.measurement_panel import MeasurementPanel
from gui.views.threads_button import ThreadsButton, choices
from gui.workspace import Workspace
from tests.gui.analyses import small_net
from tests.gui.measurements import PREEMPTED, latency_of, layer_times, measured, op_times
from tests.gui.panels import learn, measuring_of, workspace_of

THIN = "\N{NARROW NO-BREAK SPACE}"


@pytest.fixture
def workspace(tmp_path: Path, qapp: QApplication) -> Workspace:
    return workspace_of(tmp_path, small_net())


@pytest.fixture
def measuring(workspace: Workspace) -> Measuring:
    return measuring_of(workspace)


@pytest.fixture
def selection() -> Selection:
    return Selection()


@pytest.fixture
def window(qtbot: QtBot) -> QWidget:
    window = QWidget()
    qtbot.addWidget(window)
    window.show()
    return window


@pytest.fixture
def panel(
    workspace: Workspace, measuring: Measuring, selection: Selection, qapp: QApplication, window: QWidget
) -> MeasurementPanel:
    actions = Actions(window, workspace, measuring)
    theme = ThemeManager(qapp, "light")
    panel = MeasurementPanel(workspace, measuring, selection, theme, actions, window)
    panel.show()
    return panel


def facts(panel: MeasurementPanel) -> QLabel:
    label = panel.findChild(QLabel, "measurement_facts")
    assert label is not None
    return label


def test_nothing_measured_says_why(panel: MeasurementPanel, measuring: Measuring) -> None:
    assert "paused" in facts(panel).text()
    copy = panel.findChild(QPushButton, "measurement_copy")
    assert copy is not None and not copy.isEnabled()


def test_why_there_is_nothing_newer_stands_above_old_facts(
    panel: MeasurementPanel, measuring: Measuring, workspace: Workspace
) -> None:
    learn(measuring, latency_of(small_net()), panel)
    why = panel.findChild(QLabel, "measurement_why")
    assert why is not None and not why.isVisible()
    workspace.configuration = small_net(112).configuration
    workspace.configuration_changed.emit()
    measuring.error = ErrorInfo("input", "It needs 26.1 GiB; 20.3 GiB are free.", "Take a smaller batch.")
    panel.refresh()
    assert why.isVisible() and why.wordWrap()
    assert why.text() == "Not measured. It needs 26.1 GiB; 20.3 GiB are free. Take a smaller batch."
    assert "38.0" in facts(panel).text()


def test_facts_flags_and_copy(panel: MeasurementPanel, measuring: Measuring) -> None:
    learn(measuring, latency_of(small_net(), flags=[PREEMPTED]), panel)
    text = facts(panel).text()
    for part in (
        "Unattributed",
        "Kernel workspace",
        "Hook cost",
        "Test CPU",
        PREEMPTED.words,
        PREEMPTED.detail,
    ):
        assert part in text, part
    panel.copy()
    assert f"Kernel workspace\t1.00{THIN}MiB" in QGuiApplication.clipboard().text()


def test_another_size_makes_it_old_at_once(
    panel: MeasurementPanel, measuring: Measuring, workspace: Workspace
) -> None:
    learn(measuring, latency_of(small_net()), panel)
    assert facts(panel).graphicsEffect() is None
    workspace.configuration = small_net(112).configuration
    workspace.configuration_changed.emit()
    assert facts(panel).graphicsEffect() is not None
    assert panel._of.text() == "of 1×3×224×224"
    panel.resize(328, 240)
    assert panel._of.isVisible()
    assert panel._of.contentsRect().width() > panel._of.fontMetrics().horizontalAdvance(panel._of.text())
    workspace.configuration = small_net().configuration
    workspace.configuration_changed.emit()
    assert facts(panel).graphicsEffect() is None


def test_a_hidden_panel_lays_nothing_out_until_it_is_seen(
    panel: MeasurementPanel, measuring: Measuring
) -> None:
    panel.hide()
    learn(measuring, latency_of(small_net()), panel)
    assert "Kernel workspace" not in facts(panel).text()
    panel.show()
    assert "Kernel workspace" in facts(panel).text()


def test_operations_are_a_table_that_selects_layers(
    panel: MeasurementPanel, measuring: Measuring, selection: Selection, qtbot: QtBot
) -> None:
    panel.resize(600, 400)
    operations = panel.operations
    assert not operations.table.isVisibleTo(operations)
    measuring.ops_measured.emit(op_times(small_net()))
    assert panel.pages.currentWidget() is operations
    assert operations.table.isVisibleTo(operations)
    assert operations.words.text().startswith("10 operations, 55.0")
    operations.table.sortByColumn(model.TIME, Qt.SortOrder.DescendingOrder)
    top = operations.proxy.index(0, model.TIME)
    assert top.data() == f"10.0{THIN}ms"
    operations.table.setCurrentIndex(operations.proxy.index(1, model.OP))
    assert selection.current == "fc:linear"
    assert operations.proxy.index(0, model.PATH).data() == "(model)"


def test_in_a_narrow_panel_operations_keep_the_layers_name(
    panel: MeasurementPanel, measuring: Measuring
) -> None:
    measuring.ops_measured.emit(op_times(small_net()))
    table = panel.operations.table
    panel.resize(328, 240)
    assert table.isColumnHidden(model.SHARE) and table.isColumnHidden(model.SHAPE)
    assert not table.isColumnHidden(model.PATH)
    assert sum(table.columnWidth(column) for column in range(6)) <= table.viewport().width()
    panel.resize(600, 400)
    assert not table.isColumnHidden(model.SHARE)


def test_what_is_said_about_operations_is_whole_in_a_narrow_panel(
    panel: MeasurementPanel, measuring: Measuring, qtbot: QtBot
) -> None:
    panel.show_page(1)
    panel.resize(328, 320)
    words = panel.operations.words

    def is_whole() -> bool:
        return 0 < words.heightForWidth(words.width()) <= words.height()

    assert words.text().endswith("add up better.")
    qtbot.waitUntil(is_whole)
    measuring.ops_measured.emit(op_times(small_net()))
    assert words.text().endswith(f"a plain pass 40.0{THIN}ms")
    qtbot.waitUntil(is_whole)


def test_facts_need_no_sideways_scrolling(panel: MeasurementPanel, measuring: Measuring) -> None:
    learn(measuring, latency_of(small_net(), flags=[PREEMPTED]), panel)
    assert facts(panel).minimumSizeHint().width() < 300
    assert "2026-01-02 03:04:05 UTC" in facts(panel).text()


def test_operations_of_another_size_are_faded_and_say_so(
    panel: MeasurementPanel, measuring: Measuring, workspace: Workspace
) -> None:
    measuring.ops_measured.emit(op_times(small_net()))
    workspace.configuration = small_net(112).configuration
    workspace.configuration_changed.emit()
    assert panel.operations.words.text().startswith("of 1×3×224×224 · ")
    assert panel.operations.table.graphicsEffect() is not None
    workspace.model_changed.emit()
    assert panel.operations.model.rowCount() == 0


def test_operations_timed_with_other_threads_are_old_and_of_another_file_gone(
    panel: MeasurementPanel, measuring: Measuring, workspace: Workspace
) -> None:
    measuring.ops_measured.emit(op_times(small_net()))
    measuring.set_threads(1)
    assert panel.operations.words.text().startswith("with 2 threads · ")
    assert panel.operations.table.graphicsEffect() is not None
    workspace.reloaded.emit()
    assert panel.operations.model.rowCount() == 0


def test_the_table_model_is_sound(qtmodeltester: ModelTester) -> None:
    table = model.OpTimesModel()
    table.show(op_times(small_net()))
    proxy = model.OpTimesProxy()
    proxy.setSourceModel(table)
    qtmodeltester.check(table)
    qtmodeltester.check(proxy)


def test_time_that_belongs_to_no_layer_stands_below_the_tree(qapp: QApplication, qtbot: QtBot) -> None:
    rest = LayerRest()
    qtbot.addWidget(rest)
    rest.show_rest(small_net())
    assert not rest.isVisibleTo(None)
    rest.show_rest(measured(small_net()))
    assert f"Unattributed 2.00{THIN}ms" in rest.text() and "Hook cost" in rest.text()
    assert rest.graphicsEffect() is None
    assert "doubtful" not in rest.text()
    times = msgspec.structs.replace(layer_times(small_net()), flags=(PREEMPTED,))
    rest.show_rest(with_latency(small_net(), None, times))
    assert rest.text().endswith(" · doubtful") and PREEMPTED.detail in rest.toolTip()
    rest.show_rest(measured(small_net()), outdated=True)
    assert rest.graphicsEffect() is not None
    rest.show_rest(with_latency(small_net(), None, layer_times(small_net(112))))
    assert rest.graphicsEffect() is not None
    assert "of 1×3×112×112" in rest.toolTip()


def test_threads_are_those_of_the_machine(measuring: Measuring, qtbot: QtBot) -> None:
    assert choices(1) == [1]
    assert choices(6) == [1, 2, 3, 4, 5, 6]
    assert choices(24) == [1, 2, 3, 4, 5, 6, 7, 8, 16, 24]
    button = ThreadsButton(measuring)
    qtbot.addWidget(button)
    assert button.text() == "Threads ▾"
    one = button.menu().actions()[1]
    one.trigger()
    assert measuring.threads == 1
    assert button.text() == "1 thread ▾" and one.isChecked()


def test_the_default_is_named_once_something_was_measured(measuring: Measuring, qtbot: QtBot) -> None:
    button = ThreadsButton(measuring)
    qtbot.addWidget(button)
    assert button.menu().actions()[0].text() == "Default"
    learn(measuring, latency_of(small_net()))
    assert button.menu().actions()[0].text() == "Default (2)"


def test_a_report_says_nothing_of_the_threads_of_this_machine(
    workspace: Workspace, measuring: Measuring, qtbot: QtBot
) -> None:
    button = ThreadsButton(measuring)
    qtbot.addWidget(button)
    workspace.editable = False
    learn(measuring, latency_of(small_net()))
    assert button.menu().actions()[0].text() == "Default"
    assert not button.isEnabled()
    assert "report" in button.toolTip()
