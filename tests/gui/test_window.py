"""The main window under real clicks and keys: opening, questions, export, baseline, failures, layout."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from PySide6.QtCore import QByteArray, QEvent, QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QAction, QDragEnterEvent, QDropEvent, QGuiApplication
from PySide6.QtWidgets import (
    QAbstractButton,
    QApplication,
    QComboBox,
    QDialog,
    QDockWidget,
    QFileDialog,
    QLabel,
    QLineEdit,
    QSpinBox,
    QWidget,
)
from pytestqt.qtbot import QtBot

from engine.edits import SetAttribute
from engine.protocol import Ready, ReportFormat
from gui import charts
from gui.charts.entry import ChartEntry
from gui.latency_engine import LatencyEngine
from gui.main_window import LAYOUT_VERSION, MainWindow
from gui.measuring import Measuring
from gui.models import zoo
from gui.selection import Selection
from gui.settings import Settings
from gui.theme import ThemeManager
from gui.views.callable_dialog import CallableDialog
from gui.views.consent_dialog import ConsentDialog
from gui.views.text_dialog import TextDialog
from gui.views.zoo_dialog import ZooDialog
from gui.workspace import Workspace
from tests.gui.conftest import ANSWER_MS, open_model, wait_current

CONTROL = Qt.KeyboardModifier.ControlModifier
NET = """
import torch
from torch import nn

class Tiny(nn.Module):
    "A small one."
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
    def forward(self, x):
        return self.conv(x)

def helper(a, b):
    return a

def build():
    return Tiny(), (torch.zeros(1, 3, 32, 32),)
"""


@pytest.fixture
def resnet(window: MainWindow, qtbot: QtBot) -> MainWindow:
    open_model(qtbot, window.workspace, "torchvision:resnet18")
    return window


def dialog_of(qtbot: QtBot, window: MainWindow, kind: type[QDialog]) -> QDialog:
    """The open dialog of this kind."""
    qtbot.waitUntil(lambda: any(d.isVisible() for d in window.findChildren(kind)), timeout=ANSWER_MS)
    return next(dialog for dialog in window.findChildren(kind) if dialog.isVisible())


def save_as(qtbot: QtBot, window: MainWindow, path: Path) -> None:
    """Type ``path`` into the open file dialog and press Enter."""
    dialog = dialog_of(qtbot, window, QFileDialog)
    edit = dialog.findChild(QLineEdit)
    assert edit is not None
    edit.setText(str(path))
    qtbot.keyClick(edit, Qt.Key.Key_Return)


def test_every_control_has_a_name_and_a_tooltip(resnet: MainWindow) -> None:
    kinds = (QAbstractButton, QLineEdit, QSpinBox, QComboBox)
    bare = []
    for kind in kinds:
        for widget in resnet.findChildren(kind):
            inner = widget.objectName().startswith("qt_") or isinstance(widget.parent(), QSpinBox | QComboBox)
            if inner or not widget.isVisible() or widget.window() is not resnet:
                continue
            if not (widget.objectName() and widget.accessibleName() and widget.toolTip()):
                bare.append((type(widget).__name__, widget.objectName(), widget.accessibleName()))
    assert bare == []


def test_shortcuts_are_unique_and_every_action_says_what_it_does(resnet: MainWindow) -> None:
    actions = resnet.actions_.all()
    keys = [action.shortcut().toString() for action in actions]
    assert sorted(keys) == sorted(set(keys))
    assert all(action.toolTip() for action in actions)
    assert len(actions) > 25


def test_zoo_search_and_enter_open_a_model(resnet: MainWindow, qtbot: QtBot) -> None:
    qtbot.keyClick(resnet, Qt.Key.Key_L, CONTROL)
    dialog = dialog_of(qtbot, resnet, ZooDialog)
    assert isinstance(dialog, ZooDialog)
    qtbot.waitUntil(lambda: dialog.model.rowCount() > 100, timeout=ANSWER_MS)
    qtbot.keyClicks(dialog.search, "alexnet")
    assert dialog.proxy.rowCount() == 1
    with qtbot.waitSignal(resnet.workspace.model_changed, timeout=ANSWER_MS):
        qtbot.keyClick(dialog.search, Qt.Key.Key_Return)
    assert resnet.toolbar.title.text() == "alexnet"
    assert resnet.windowTitle() == "alexnet — Misnomer"


def test_zoo_sorts_numbers_as_numbers(resnet: MainWindow, qtbot: QtBot) -> None:
    resnet.actions_.open_zoo.trigger()
    dialog = dialog_of(qtbot, resnet, ZooDialog)
    assert isinstance(dialog, ZooDialog)
    qtbot.waitUntil(lambda: dialog.model.rowCount() > 100, timeout=ANSWER_MS)
    dialog.table.sortByColumn(zoo.GMACS, Qt.SortOrder.DescendingOrder)
    assert dialog.proxy.index(0, 0).data().lower().startswith(("regnet", "vit", "convnext"))
    qtbot.keyClick(dialog.search, Qt.Key.Key_Down)
    assert dialog.table.currentIndex().row() >= 0
    dialog.reject()


def test_consent_dialog_says_what_would_run_and_cancel_is_the_default(
    resnet: MainWindow, qtbot: QtBot, tmp_path: Path
) -> None:
    path = tmp_path / "net.py"
    path.write_text(NET)
    resnet.open_any(f"{path}:build")
    dialog = dialog_of(qtbot, resnet, ConsentDialog)
    assert isinstance(dialog, ConsentDialog)
    assert dialog.cancel.isDefault()
    assert dialog.details.toPlainText()
    qtbot.keyClick(dialog, Qt.Key.Key_Return)
    assert resnet.workspace.model is not None
    assert resnet.workspace.model.name == "resnet18"
    resnet.open_any(f"{path}:build")
    again = dialog_of(qtbot, resnet, ConsentDialog)
    assert isinstance(again, ConsentDialog)
    with qtbot.waitSignal(resnet.workspace.model_changed, timeout=ANSWER_MS):
        qtbot.mouseClick(again.run, Qt.MouseButton.LeftButton)
    assert "watching" in resnet.status.watch.text()


def test_a_dropped_python_file_asks_for_its_callable(
    resnet: MainWindow, qtbot: QtBot, tmp_path: Path
) -> None:
    path = tmp_path / "net.py"
    path.write_text(NET)
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(path))])
    arguments = (Qt.DropAction.CopyAction, mime, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier)
    enter = QDragEnterEvent(QPoint(50, 50), *arguments)
    QApplication.sendEvent(resnet, enter)
    assert enter.isAccepted()
    QApplication.sendEvent(resnet, QDropEvent(QPointF(50, 50), *arguments))
    dialog = dialog_of(qtbot, resnet, CallableDialog)
    assert isinstance(dialog, CallableDialog)
    texts = [dialog.list.item(row).text() for row in range(dialog.list.count())]
    assert texts[0].startswith("build    function"), "a function may bring example inputs along"
    assert texts[1].startswith("Tiny    class, line 5")
    assert "needs 2 arguments" in texts[2]
    dialog.list.setCurrentRow(1)
    qtbot.mouseClick(dialog.button, Qt.MouseButton.LeftButton)
    consent = dialog_of(qtbot, resnet, ConsentDialog)
    consent.reject()


def test_files_that_are_no_python_are_refused_in_a_sentence(resnet: MainWindow, tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("def build(:\n")
    resnet.open_any(str(broken))
    assert "broken.py was not opened" in resnet.banner.text.text()
    assert "line 1" in resnet.banner.text.text()
    resnet.open_any(str(tmp_path / "missing.py"))
    assert "missing.py was not opened" in resnet.banner.text.text()
    empty = tmp_path / "empty.py"
    empty.write_text("x = 1\n")
    resnet.open_any(str(empty))
    assert "no function or class" in resnet.banner.text.text()


def test_what_was_wrong_with_another_file_goes_when_a_callable_is_asked_for(
    resnet: MainWindow, qtbot: QtBot, tmp_path: Path
) -> None:
    resnet.open_any(str(tmp_path / "missing.py"))
    assert resnet.banner.error is not None
    path = tmp_path / "net.py"
    path.write_text(NET)
    resnet.open_any(str(path))
    dialog = dialog_of(qtbot, resnet, CallableDialog)
    dialog.reject()
    assert resnet.banner.error is None and resnet.banner.isHidden()


def test_export_from_the_menu_carries_the_numbers_of_the_window(
    resnet: MainWindow, qtbot: QtBot, tmp_path: Path
) -> None:
    path = tmp_path / "out.csv"
    resnet.actions_.exports["csv"].trigger()
    with qtbot.waitSignal(resnet.workspace.exported, timeout=ANSWER_MS):
        save_as(qtbot, resnet, path)
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert resnet.workspace.analysis is not None
    assert sum(int(row["macs"]) for row in rows if row["macs"]) == resnet.workspace.analysis.totals.macs
    assert "out.csv" in resnet.status.words.text()


def test_failure_banner_leads_to_the_layer_and_copies(resnet: MainWindow, qtbot: QtBot) -> None:
    before = resnet.workspace.analysis
    with qtbot.waitSignal(resnet.workspace.failure_changed, timeout=ANSWER_MS):
        resnet.workspace.remove_layer("layer2")
    banner = resnet.banner
    assert banner.isVisible()
    assert resnet.workspace.analysis is before
    assert resnet.workspace.failure is not None
    layer = resnet.workspace.failure.error.layer
    assert layer.startswith("layer3")
    qtbot.mouseClick(banner.go, Qt.MouseButton.LeftButton)
    assert resnet.selection.current == layer
    qtbot.mouseClick(banner.copy, Qt.MouseButton.LeftButton)
    assert layer in QGuiApplication.clipboard().text()
    qtbot.mouseClick(banner.details, Qt.MouseButton.LeftButton)
    details = dialog_of(qtbot, resnet, TextDialog)
    details.close()
    qtbot.mouseClick(banner.undo, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not banner.isVisible(), timeout=ANSWER_MS)


def test_baseline_menu(resnet: MainWindow, qtbot: QtBot) -> None:
    assert resnet.input_bar.baseline_button.text() == "as published ▾"
    resnet.workspace.set_sizes({"height": 256})
    wait_current(qtbot, resnet.workspace)
    qtbot.keyClick(resnet, Qt.Key.Key_B, CONTROL)
    assert resnet.input_bar.baseline_button.text() == "1×3×256×256 ▾"
    resnet.actions_.baseline_none.trigger()
    assert resnet.input_bar.baseline_button.text() == "none ▾"
    assert not resnet.actions_.baseline_none.isEnabled()
    resnet.actions_.baseline_first.trigger()
    assert resnet.input_bar.baseline_button.text() == "as published ▾"
    qtbot.keyClick(resnet, Qt.Key.Key_Z, CONTROL)
    assert resnet.workspace.baseline is None


def test_count_switch_and_theme(resnet: MainWindow, qtbot: QtBot, settings: Settings) -> None:
    button = resnet.findChild(QAbstractButton, "button_show_flops")
    assert button is not None
    with qtbot.waitSignal(resnet.workspace.count_mode_changed):
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert resnet.workspace.count_mode == "flops"
    assert settings.text("count_mode") == "flops"
    qtbot.keyClick(resnet, Qt.Key.Key_T, CONTROL)
    assert resnet.theme.current.name == "dark"
    assert settings.theme == "dark"


def test_status_tells_coverage_mode_and_load(resnet: MainWindow, qtbot: QtBot) -> None:
    assert resnet.status.mode.text() == "traced on meta"
    assert "% of calls counted" in resnet.status.coverage.text()
    assert "RAM" in resnet.status.load.text()
    qtbot.mouseClick(resnet.status.coverage, Qt.MouseButton.LeftButton)
    dialog_of(qtbot, resnet, TextDialog).close()


def test_an_opened_report_says_why_it_cannot_be_changed(
    resnet: MainWindow, qtbot: QtBot, tmp_path: Path
) -> None:
    path = tmp_path / "r.json"
    resnet.measuring.enabled = True
    with qtbot.waitSignal(resnet.workspace.exported, timeout=ANSWER_MS):
        resnet.workspace.export("json", str(path))
    with qtbot.waitSignal(resnet.workspace.model_changed, timeout=ANSWER_MS):
        resnet.open_any(str(path))
    assert "opened report" in resnet.toolbar.source.text()
    measure = resnet.actions_.measure
    assert not measure.isEnabled() and not measure.isChecked(), "nothing is measured here"
    assert "open its model to measure it" in measure.toolTip()
    assert not resnet.actions_.reload.isEnabled()
    assert "opened report" in resnet.actions_.reload.toolTip()


def test_layout_is_kept(resnet: MainWindow, theme: ThemeManager, settings: Settings, qtbot: QtBot) -> None:
    curve = resnet.area.findChild(QWidget, "dock_curve")
    assert curve is not None
    toggle = resnet.findChild(QAction, "action_dock_curve")
    assert toggle is not None
    toggle.trigger()
    assert not curve.isVisible()
    resnet.save_layout()
    second = MainWindow(
        resnet.workspace, Measuring(resnet.workspace, LatencyEngine(), settings), Selection(), theme, settings
    )
    qtbot.addWidget(second)
    second.show()
    again = second.area.findChild(QWidget, "dock_curve")
    assert again is not None
    assert not again.isVisible()
    second.actions_.reset_layout.trigger()
    assert again.isVisible()


@pytest.mark.expects_log
@pytest.mark.parametrize("damage", [b"", b"nonsense"])
def test_a_damaged_layout_is_arranged_anew(
    workspace: Workspace, theme: ThemeManager, settings: Settings, qtbot: QtBot, damage: bytes
) -> None:
    settings.set("window/layout_version", LAYOUT_VERSION)
    for key in ("window/geometry", "window/splitter", "window/docks"):
        settings.set(key, QByteArray(damage))
    window = MainWindow(
        workspace, Measuring(workspace, LatencyEngine(), settings), Selection(), theme, settings
    )
    qtbot.addWidget(window)
    window.show()
    docks = [window.area.findChild(QWidget, name) for name in ("dock_breakdown", "dock_curve")]
    assert all(dock is not None and dock.isVisible() and dock.height() > 50 for dock in docks)
    assert window.layers.width() > 200


def test_the_newest_problem_is_shown(resnet: MainWindow, qtbot: QtBot) -> None:
    resnet.open_any("/nowhere/net.py")
    assert "net.py was not opened" in resnet.banner.text.text()
    resnet.workspace.remove_layer("layer3.0.downsample")
    qtbot.waitUntil(lambda: resnet.workspace.failure is not None, timeout=ANSWER_MS)
    assert "net.py" not in resnet.banner.text.text()
    assert resnet.banner.go.isVisible()
    resnet.open_any("/nowhere/other.py")
    assert "other.py was not opened" in resnet.banner.text.text()


@pytest.mark.parametrize(("width", "height"), [(1280, 720), (1920, 1080)])
def test_the_window_fits(resnet: MainWindow, qtbot: QtBot, width: int, height: int) -> None:
    resnet.resize(width, height)
    resnet.workspace.remove_layer("maxpool")
    wait_current(qtbot, resnet.workspace)
    QApplication.sendPostedEvents(None, QEvent.Type.LayoutRequest)
    assert (resnet.width(), resnet.height()) == (width, height)


def test_a_format_only_the_engine_knows_gets_a_menu_entry(window: MainWindow) -> None:
    known = set(window.actions_.exports)
    window.workspace.engine.ready.emit(Ready({}, (), (ReportFormat("tex", "LaTeX table", ".tex"),)))
    assert set(window.actions_.exports) - known == {"tex"}
    assert window.actions_.exports["tex"] in window.toolbar.export_button.menu().actions()


def test_a_chart_module_is_a_panel_of_the_window(
    workspace: Workspace,
    theme: ThemeManager,
    settings: Settings,
    qtbot: QtBot,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def make(*parts: object) -> QWidget:
        return QLabel("a chart of its own")

    entries = [*charts.panels(), ChartEntry("Own", "dock_own", make)]
    titles = [entry.title for entry in entries]
    assert (titles[:2], titles[-1]) == (["Breakdown", "Curve"], "Own")
    monkeypatch.setattr("gui.main_window.panels", lambda: entries)
    window = MainWindow(
        workspace, Measuring(workspace, LatencyEngine(), settings), Selection(), theme, settings
    )
    qtbot.addWidget(window)
    dock = window.findChild(QDockWidget, "dock_own")
    assert dock is not None
    assert isinstance(dock.widget(), QLabel) or dock.findChild(QLabel) is not None
    assert dock.toggleViewAction() in window.view_menu.actions()
    window.close()


def test_a_value_that_is_refused_by_halves_can_be_completed(resnet: MainWindow, qtbot: QtBot) -> None:
    """Stride (1, 1) through (1, 2), which the shortcut beside it refuses; then Ctrl+Z from within the field."""
    workspace, inspector = resnet.workspace, resnet.inspector
    resnet.selection.set_current("layer2.0.conv1:conv2d")
    first = inspector.findChild(QSpinBox, "attribute_stride_0")
    second = inspector.findChild(QSpinBox, "attribute_stride_1")
    assert first is not None and second is not None
    for spin in (first, second):
        spin.setFocus()
        spin.selectAll()
        qtbot.keyClicks(spin, "1")
        qtbot.keyClick(spin, Qt.Key.Key_Return)
        qtbot.waitUntil(lambda: not workspace.busy, timeout=ANSWER_MS)
        assert spin.value() == 1
    assert workspace.configuration is not None
    assert workspace.configuration.edits == (SetAttribute("layer2.0.conv1", "stride", (1, 1)),)
    qtbot.keyClick(second, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    qtbot.keyClick(second, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(lambda: workspace.configuration is not None and not workspace.configuration.edits)
