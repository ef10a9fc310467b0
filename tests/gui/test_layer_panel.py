"""The layer panel: selection both ways, search, columns, copying, and what survives a new result."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QAction, QGuiApplication
from PySide6.QtWidgets import QApplication, QLabel, QMenu
from pytestqt.qtbot import QtBot

from engine.edits import RemoveLayer
from engine.errors import ErrorInfo
from engine.protocol import Failed
from engine.results import Analysis, ModelInfo
from gui.models.layer_widths import NAME_ROOM, Fit, fit
from gui.models.removal import module_path, removal
from gui.selection import Selection
from gui.settings import Settings
from gui.theme import ThemeManager
from gui.views.columns_menu import NO_ROOM
from gui.views.layer_panel import LayerPanel
from gui.views.layer_rows_menu import RowsMenu
from gui.views.layer_view import AT_ONCE
from gui.workspace import Workspace
from tests.gui.analyses import Mod, Row, make, small_net
from tests.gui.measurements import measured
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


def chosen_keys(panel: LayerPanel) -> list[str]:
    return [panel.model.columns[section].key for section in panel.view.columns.chosen_sections()]


def entry(menu: QMenu, name: str) -> QAction:
    return next(action for action in menu.actions() if action.objectName() == name)


def test_first_level_is_open_and_default_columns_are_shown(panel: LayerPanel) -> None:
    view = panel.view
    assert view.isExpanded(view.index_of(""))
    assert not view.isExpanded(view.index_of("blocks"))
    assert shown_keys(panel) == [
        "layer", "output", "params", "headline", "headline.difference", "activation_bytes", "latency_s"
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
    keys = chosen_keys(panel)
    assert "bytes_moved" in keys and "headline.change" in keys and "params" not in keys
    other = LayerPanel(workspace, Selection(), ThemeManager(qapp, "dark"), settings)
    qtbot.addWidget(other)
    assert chosen_keys(other) == keys
    assert other.columns_menu.bars == {"headline", "bytes_moved"}
    entry(other.columns_menu, "layer_columns_default").trigger()
    assert "params" in chosen_keys(other) and "bytes_moved" not in chosen_keys(other)


def with_share_of_zeros(share: float) -> Analysis:
    analysis = small_net()
    zeros = round(share * analysis.totals.params)
    return msgspec.structs.replace(analysis, totals=msgspec.structs.replace(analysis.totals, zeros=zeros))


def test_a_sparse_model_is_seen_with_its_sparsity_unless_the_user_hid_it(
    panel: LayerPanel, settings: Settings, workspace: Workspace, qapp: QApplication, qtbot: QtBot
) -> None:
    plain = chosen_keys(panel)
    bring(workspace, with_share_of_zeros(0.04))
    assert chosen_keys(panel) == plain
    bring(workspace, with_share_of_zeros(0.06))
    assert set(chosen_keys(panel)) == {*plain, "sparsity"}
    assert panel.columns_menu.action("sparsity").isChecked()
    panel.columns_menu.action("bytes_moved").setChecked(True)
    bring(workspace, with_share_of_zeros(0.04))
    assert set(chosen_keys(panel)) == {*plain, "bytes_moved"}, "another choice is none of this column"
    bring(workspace, with_share_of_zeros(0.06))
    panel.columns_menu.action("sparsity").setChecked(False)
    other = LayerPanel(workspace, Selection(), ThemeManager(qapp, "dark"), settings)
    qtbot.addWidget(other)
    assert set(chosen_keys(other)) == set(chosen_keys(panel)) == {*plain, "bytes_moved"}
    entry(other.columns_menu, "layer_columns_default").trigger()
    assert set(chosen_keys(other)) == {*plain, "sparsity"}


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
    assert removal(small_net(), "", ()).obstacle == "The model itself cannot be removed"
    assert removal(small_net(), "fc", (), "It is TorchScript.").obstacle == "It is TorchScript."
    removed = small_net(pool=False)
    assert removal(removed, "pool", removed.configuration.edits).is_removed
    assert removal(small_net(), "pool", removed.configuration.edits).is_removed, (
        "though it cannot be computed"
    )
    assert not removal(small_net(), "fc", ()).obstacle
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


# -- rows that cost nothing -----------------------------------------------------------------------------------------


@pytest.fixture
def views(
    tmp_path: Path, selection: Selection, settings: Settings, qapp: QApplication, qtbot: QtBot
) -> LayerPanel:
    """A panel on a net whose attention has two views beside its one product, and a dropout of a view alone."""
    mods = [Mod("", "Net"), Mod("attn", "Attention"), Mod("drop", "Dropout"), Mod("fc", "Linear")]
    rows = [
        Row("attn:view", "attn", "movement"),
        Row("attn:bmm", "attn", "linear", macs=10, flops=20, activation_bytes=8),
        Row("attn:transpose", "attn", "movement"),
        Row("drop:alias", "drop", "movement"),
        Row("fc:linear", "fc", "linear", macs=5, flops=10, activation_bytes=8),
    ]
    analysis = make(mods, rows)
    panel = LayerPanel(
        workspace_of(tmp_path, analysis, analysis), selection, ThemeManager(qapp, "light"), settings
    )
    qtbot.addWidget(panel)
    panel.resize(700, 400)
    with qtbot.waitExposed(panel):
        panel.show()
    return panel


def rows_shown(panel: LayerPanel) -> list[str]:
    """Names of the rows on the screen, all levels expanded."""
    panel.view.expand_to_level(None)
    names = []
    index = panel.view.index_of("")
    while index.isValid():
        names.append(panel.view.name_at(index) or "")
        index = panel.view.indexBelow(index)
    return names


def meta(panel: LayerPanel) -> str:
    found = panel.findChild(QLabel, "layer_meta")
    assert found is not None
    return found.text()


def test_rows_that_cost_nothing_stay_out(views: LayerPanel) -> None:
    assert rows_shown(views) == ["", "attn:bmm", "drop", "fc:linear"]
    assert meta(views) == "1×3×224×224 · 2 rows · 3 that cost nothing hidden"


def test_rows_that_cost_nothing_are_shown_on_request_and_it_is_remembered(
    views: LayerPanel, settings: Settings, selection: Selection, qtbot: QtBot
) -> None:
    selection.set_current("attn:view")
    assert current(views) == "attn:bmm", "the module that holds the row"
    assert selection.current == "attn:view"
    views.activateWindow()
    qtbot.keyClick(views, Qt.Key.Key_I, Qt.KeyboardModifier.ControlModifier)
    assert rows_shown(views) == [
        "", "attn", "attn:view", "attn:bmm", "attn:transpose", "drop:alias", "fc:linear"
    ]  # fmt: skip
    assert current(views) == "attn:view"
    assert "hidden" not in meta(views)
    assert RowsMenu(settings).idle.isChecked()
    views.rows_menu.idle.trigger()
    assert rows_shown(views) == ["", "attn:bmm", "drop", "fc:linear"]


def test_search_finds_hidden_rows(views: LayerPanel) -> None:
    views.search.setText("view")
    assert rows_shown(views) == ["", "attn", "attn:view"]
    views.search.setText("attn")
    assert rows_shown(views) == ["", "attn:bmm"]
    views.search.clear()
    assert rows_shown(views) == ["", "attn:bmm", "drop", "fc:linear"]


# -- widths ---------------------------------------------------------------------------------------------------------


def test_columns_give_way_to_names() -> None:
    widths = {"output": 100, "params": 60, "headline.difference": 60, "activation_bytes": 90}
    assert fit(600, 220, widths) == Fit(290, frozenset())
    assert fit(500, 220, widths) == Fit(290, frozenset({"output"}))
    assert fit(360, 220, widths) == Fit(240, frozenset({"output", "activation_bytes"}))
    assert fit(330, 220, widths).layer == 210, "names are elided before anything is scrolled to"
    assert fit(200, 220, widths).layer == 140, "the rest is scrolled to"
    assert fit(500, 220, widths, empty=["headline.difference"]) == Fit(
        250, frozenset({"headline.difference"})
    )


def test_a_narrow_panel_keeps_names_readable(panel: LayerPanel) -> None:
    panel.resize(420, 400)
    assert "output" not in shown_keys(panel) and "output" in chosen_keys(panel)
    assert panel.view.columnWidth(0) >= NAME_ROOM
    panel.columns_menu.aboutToShow.emit()
    assert panel.columns_menu.action("output").text().endswith(NO_ROOM)
    panel.resize(900, 400)
    assert "output" in shown_keys(panel)
    panel.columns_menu.aboutToShow.emit()
    assert panel.columns_menu.action("output").text() == "Output"


def test_a_dragged_width_is_remembered(
    panel: LayerPanel, workspace: Workspace, settings: Settings, qapp: QApplication, qtbot: QtBot
) -> None:
    header, section = panel.view.columns, panel.model.section_of("params")
    before = header.sectionSize(section)
    y = header.viewport().rect().center().y()
    edge = header.sectionViewportPosition(section) + before - 1
    left = Qt.MouseButton.LeftButton
    qtbot.mousePress(header.viewport(), left, pos=QPoint(edge, y))
    qtbot.mouseMove(header.viewport(), QPoint(edge + 10, y))
    qtbot.mouseMove(header.viewport(), QPoint(edge + 30, y))
    qtbot.mouseRelease(header.viewport(), left, pos=QPoint(edge + 30, y))
    wide = header.sectionSize(section)
    assert wide > before
    other = LayerPanel(workspace, Selection(), ThemeManager(qapp, "light"), settings)
    qtbot.addWidget(other)
    other.resize(700, 400)
    with qtbot.waitExposed(other):
        other.show()
    assert other.view.columnWidth(section) == wide
    entry(other.columns_menu, "layer_columns_default").trigger()
    qtbot.waitUntil(lambda: other.view.columnWidth(section) == before)


# -- opening and failing --------------------------------------------------------------------------------------------


def open_again(workspace: Workspace, analysis: Analysis) -> None:
    workspace.model, workspace.analysis = analysis.model, analysis
    workspace.model_changed.emit()
    workspace.analysis_changed.emit()


def test_the_model_itself_is_current_after_opening(
    panel: LayerPanel, workspace: Workspace, selection: Selection
) -> None:
    # The window forgets the selection of the model before.
    workspace.model_changed.connect(selection.clear)
    open_again(workspace, small_net())
    assert selection.current == current(panel) == ""
    selection.set_current("fc:linear")
    open_again(workspace, small_net())
    assert selection.current == current(panel) == "fc:linear"
    open_again(
        workspace, msgspec.structs.replace(small_net(), model=ModelInfo("other", "test:other", "module"))
    )
    assert selection.current == ""


def test_the_failing_layer_is_marked(panel: LayerPanel, workspace: Workspace) -> None:
    workspace.failure = Failed(1, ErrorInfo("layer", "fc cannot run.", layer="fc"))
    workspace.failure_changed.emit()
    cell = panel.model.cell(panel.model.index_of("fc").internalId(), 0)
    assert (cell.flag, cell.flag_tone) == ("cannot run", "caution")
    tip = panel.model.data(panel.model.index_of("fc"), Qt.ItemDataRole.ToolTipRole)
    assert "last good state" in str(tip)
    workspace.failure = None
    workspace.failure_changed.emit()
    assert panel.model.cell(panel.model.index_of("fc").internalId(), 0).flag == ""


def test_times_are_old_as_soon_as_something_else_is_asked_for(
    panel: LayerPanel, workspace: Workspace
) -> None:
    bring(workspace, measured(small_net()))
    model = panel.model

    def faded(key: str) -> bool:
        return model.cell(0, model.section_of(key)).faded

    assert not faded("latency_s")
    assert panel.rest.graphicsEffect() is None
    workspace.configuration = small_net(112).configuration
    workspace.configuration_changed.emit()
    assert faded("latency_s") and not faded("params")
    assert panel.rest.graphicsEffect() is not None
    bring(workspace, measured(small_net(112)))
    assert not faded("latency_s")


def test_many_hits_expand_as_they_are_scrolled_to(
    panel: LayerPanel, workspace: Workspace, qtbot: QtBot
) -> None:
    count = AT_ONCE + 200
    mods, rows = [Mod("", "Net")], []
    for i in range(count):
        mods += [Mod(f"m{i}", "Block"), Mod(f"m{i}.a", "Conv"), Mod(f"m{i}.b", "Conv")]
        rows += [Row(f"m{i}.{leaf}:conv", f"m{i}.{leaf}", "convolution", macs=1) for leaf in "ab"]
    bring(workspace, make(mods, rows))
    view = panel.view
    last = f"m{count - 1}"
    assert not view.isExpanded(view.index_of(last))
    panel.search.setText("conv")
    assert view.isExpanded(view.index_of("m0")) and not view.isExpanded(view.index_of(last))
    assert last in view.state_by_name().expanded, "what waits is as good as expanded"
    view.verticalScrollBar().setValue(view.verticalScrollBar().maximum())
    seen = view.name_at(view.indexAt(view.viewport().rect().topLeft()))
    assert seen is not None and not view.isExpanded(view.index_of(seen))
    qtbot.waitUntil(lambda: view.isExpanded(view.index_of(seen)))
    panel.search.clear()
    assert not view.isExpanded(view.index_of(last))
