"""The layer panel: selection both ways, search, columns, copying, and what survives a new result."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QAction, QGuiApplication
from PySide6.QtWidgets import QApplication, QMenu
from pytestqt.qtbot import QtBot

from engine.edits import RemoveLayer
from gui.models.removal import module_path, removal
from gui.selection import Selection
from gui.settings import Settings
from gui.theme import ThemeManager
from gui.views.layer_panel import LayerPanel
from gui.workspace import Workspace
from tests.gui.analyses import small_net
from tests.gui.panels import bring, workspace_of


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return workspace_of(tmp_path, small_net(), small_net())


@pytest.fixture
def selection() -> Selection:
    return Selection()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(str(tmp_path / "columns.ini"))


@pytest.fixture
def panel(
    workspace: Workspace, selection: Selection, settings: Settings, qapp: QApplication, qtbot: QtBot
) -> LayerPanel:
    panel = LayerPanel(workspace, selection, ThemeManager(qapp, "light"), settings)
    qtbot.addWidget(panel)
    panel.resize(700, 400)
    with qtbot.waitExposed(panel):
        panel.show()
    return panel


def current(panel: LayerPanel) -> str | None:
    return panel.view.name_at(panel.view.currentIndex())


def shown_keys(panel: LayerPanel) -> list[str]:
    return [panel.model.columns[section].key for section in panel.view.shown_sections()]


def entry(menu: QMenu, name: str) -> QAction:
    return next(action for action in menu.actions() if action.objectName() == name)


def test_first_level_is_open_and_default_columns_are_shown(panel: LayerPanel) -> None:
    view = panel.view
    assert view.isExpanded(view.index_of(""))
    assert not view.isExpanded(view.index_of("blocks"))
    assert shown_keys(panel) == [
        "layer", "output", "params", "headline", "headline.difference", "activation_bytes"
    ]  # fmt: skip


def test_a_click_reaches_the_selection(panel: LayerPanel, selection: Selection, qtbot: QtBot) -> None:
    rect = panel.view.visualRect(panel.view.index_of("fc"))
    with qtbot.waitSignal(selection.current_changed):
        qtbot.mouseClick(panel.view.viewport(), Qt.MouseButton.LeftButton, pos=rect.center())
    assert selection.current == "fc:linear"
    assert selection.selected == {"fc:linear"}
    rect = panel.view.visualRect(panel.view.index_of("relu"))
    control = Qt.KeyboardModifier.ControlModifier
    qtbot.mouseClick(panel.view.viewport(), Qt.MouseButton.LeftButton, control, rect.center())
    assert selection.selected == {"fc:linear", "relu:relu"}
    assert selection.current == "relu:relu"


def test_the_selection_reaches_the_tree(panel: LayerPanel, selection: Selection) -> None:
    selection.set_current("blocks.1.conv")
    assert current(panel) == "blocks.1.conv:conv2d"
    assert panel.view.isExpanded(panel.view.index_of("blocks.1"))
    selection.set_selected(["conv1:conv2d", "fc:linear"])
    assert panel.view.selected_names() == ["conv1:conv2d", "fc:linear"]
    assert selection.selected == {"conv1:conv2d", "fc:linear"}
    selection.set_current(None)
    assert current(panel) is None


def test_arrows_walk_and_enter_activates(panel: LayerPanel, selection: Selection, qtbot: QtBot) -> None:
    selection.set_current("conv1:conv2d")
    qtbot.keyClick(panel.view, Qt.Key.Key_Down)
    assert selection.current == "aux"
    with qtbot.waitSignal(selection.activated) as activated:
        qtbot.keyClick(panel.view, Qt.Key.Key_Return)
    assert activated.args == ["aux"]


def test_hover_goes_both_ways(panel: LayerPanel, selection: Selection) -> None:
    panel.view.entered.emit(panel.view.index_of("fc"))
    assert selection.hovered == "fc:linear"
    selection.set_hovered("blocks.0.conv:conv2d")
    assert not panel.grab().isNull()
    panel.view.node_hovered.emit(None)
    assert selection.hovered is None


def test_a_tick_keeps_expansion_and_selection(
    panel: LayerPanel, workspace: Workspace, selection: Selection
) -> None:
    selection.set_current("blocks.0:add")
    index = panel.view.currentIndex()
    bring(workspace, small_net(112))
    assert panel.view.currentIndex() == index
    assert panel.view.isExpanded(panel.view.index_of("blocks.0"))
    assert selection.current == "blocks.0:add"


def test_another_structure_keeps_expansion_and_selection(
    panel: LayerPanel, workspace: Workspace, selection: Selection
) -> None:
    selection.set_current("blocks.0:add")
    bring(workspace, small_net(pool=False))
    assert current(panel) == "blocks.0:add" == selection.current
    assert panel.view.isExpanded(panel.view.index_of("blocks.0"))
    assert not panel.view.isExpanded(panel.view.index_of("blocks.1"))


def test_a_removed_layer_stays_current(panel: LayerPanel, workspace: Workspace, selection: Selection) -> None:
    selection.set_current("pool:max_pool2d")
    bring(workspace, small_net(pool=False))
    assert selection.current == current(panel) == "pool"
    bring(workspace, small_net())
    assert selection.current == current(panel) == "pool:max_pool2d"


def test_search_filters_expands_and_restores(panel: LayerPanel, selection: Selection, qtbot: QtBot) -> None:
    selection.set_current("fc:linear")
    qtbot.keyClicks(panel.search, "blocks add")
    assert not panel.view.index_of("fc").isValid()
    assert panel.view.isExpanded(panel.view.index_of("blocks.0"))
    assert selection.current == "fc:linear", "searching is not selecting"
    qtbot.keyClick(panel.search, Qt.Key.Key_Return)
    assert selection.current == "blocks.0:add"
    selection.set_current("fc:linear")
    panel.search.clear()
    assert current(panel) == "fc:linear"
    assert not panel.view.isExpanded(panel.view.index_of("blocks.0"))


def test_expand_to_level(panel: LayerPanel) -> None:
    view = panel.view
    view.expand_to_level(2)
    assert view.isExpanded(view.index_of("blocks")) and not view.isExpanded(view.index_of("blocks.0"))
    view.expand_to_level(None)
    assert view.isExpanded(view.index_of("blocks.0"))


def test_third_click_returns_to_execution_order(panel: LayerPanel, qtbot: QtBot) -> None:
    header, view = panel.view.header(), panel.view

    def first_row() -> str | None:
        return view.name_at(view.index_of("").model().index(0, 0, view.index_of("")))

    section = panel.model.section_of("params")
    where = header.viewport().rect().center()
    where.setX(header.sectionViewportPosition(section) + header.sectionSize(section) // 2)
    firsts = []
    for _ in range(3):
        qtbot.mouseClick(header.viewport(), Qt.MouseButton.LeftButton, pos=where)
        firsts.append(first_row())
    assert firsts == ["blocks", "relu:relu", "conv1:conv2d"]


def test_copy_is_tsv_of_the_visible_columns(panel: LayerPanel, selection: Selection, qtbot: QtBot) -> None:
    selection.set_selected(["fc:linear", "conv1:conv2d"])
    qtbot.keyClick(panel.view, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    lines = QGuiApplication.clipboard().text().splitlines()
    assert lines[0].split("\t") == [
        "Layer", "Operation or class", "Output", "Params", "MACs", "MACs after/before", "Activations (bytes)"
    ]  # fmt: skip
    assert [line.split("\t")[0] for line in lines[1:]] == ["conv1", "fc"]
    assert lines[1].split("\t")[4] == str(216 * 224 * 224)


def test_columns_are_chosen_and_remembered(
    panel: LayerPanel, settings: Settings, workspace: Workspace, qapp: QApplication, qtbot: QtBot
) -> None:
    panel.columns_menu.action("bytes_moved").setChecked(True)
    panel.columns_menu.action("params").setChecked(False)
    panel.columns_menu.action("headline.change").setChecked(True)
    panel.columns_menu.action("bytes_moved", "bar").setChecked(True)
    keys = shown_keys(panel)
    assert "bytes_moved" in keys and "headline.change" in keys and "params" not in keys
    other = LayerPanel(workspace, Selection(), ThemeManager(qapp, "dark"), settings)
    qtbot.addWidget(other)
    assert shown_keys(other) == keys
    assert other.columns_menu.bars == {"headline", "bytes_moved"}
    entry(other.columns_menu, "layer_columns_default").trigger()
    assert "params" in shown_keys(other) and "bytes_moved" not in shown_keys(other)


def test_count_mode_renames_the_column(panel: LayerPanel, workspace: Workspace) -> None:
    workspace.set_count_mode("flops")
    section = panel.model.section_of("headline")
    assert panel.model.headerData(section, Qt.Orientation.Horizontal) == "FLOPs"
    assert not panel.view.isColumnHidden(section)


def test_context_menu_removes_and_restores(panel: LayerPanel, workspace: Workspace) -> None:
    entry(panel.context_menu("blocks.0.conv:conv2d"), "layer_remove").trigger()
    assert workspace.configuration is not None
    assert workspace.configuration.edits == (RemoveLayer("blocks.0.conv"),)
    bring(workspace, small_net(pool=False))
    restore = entry(panel.context_menu("pool"), "layer_remove")
    assert restore.text() == "Restore layer"
    restore.trigger()
    assert workspace.configuration.edits == ()
    assert not entry(panel.context_menu(""), "layer_remove").isEnabled()


def test_context_menu_expands_a_subtree(panel: LayerPanel) -> None:
    entry(panel.context_menu("blocks"), "layer_expand_subtree").trigger()
    assert panel.view.isExpanded(panel.view.index_of("blocks.1"))
    names = [action.objectName() for action in panel.context_menu("fc:linear").actions()]
    assert "layer_expand_subtree" not in names


def test_removal_says_why_not() -> None:
    assert removal(small_net(), "", True).obstacle == "The model itself cannot be removed"
    assert removal(small_net(), "fc", False).obstacle.startswith("A report is open")
    assert removal(small_net(pool=False), "pool", True).is_removed
    assert not removal(small_net(), "fc", True).obstacle
    assert module_path("a.b:conv2d") == module_path("a.b") == "a.b"
    assert module_path(":add") == ""


def test_nothing_open(tmp_path: Path, settings: Settings, qapp: QApplication, qtbot: QtBot) -> None:
    panel = LayerPanel(workspace_of(tmp_path), Selection(), ThemeManager(qapp, "light"), settings)
    qtbot.addWidget(panel)
    assert panel.view.isHidden()
    assert panel.selected_tsv() == ""


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_it_paints_in_both_themes(
    mode: str, workspace: Workspace, settings: Settings, qapp: QApplication, qtbot: QtBot
) -> None:
    panel = LayerPanel(workspace, Selection(), ThemeManager(qapp, mode), settings)
    qtbot.addWidget(panel)
    panel.resize(600, 400)
    colors = {panel.grab().toImage().pixelColor(x, 60).name() for x in range(600)}
    assert len(colors) > 1
