"""The layer panel: search, columns, expansion and the tree, tied to the workspace and the shared selection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from PySide6.QtCore import QItemSelection, QItemSelectionModel, QPoint, Qt
from PySide6.QtGui import QGuiApplication, QKeySequence, QShortcut
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QMenu, QToolButton, QVBoxLayout, QWidget

from engine.results import Analysis
from gui import sizes
from gui.models.columns import called_for
from gui.models.failing import failing_layer
from gui.models.layer_proxy import words_of
from gui.models.layer_tree import LayerTreeModel
from gui.models.layer_tsv import tsv
from gui.models.removal import module_path, removal, removals
from gui.selection import Selection
from gui.settings import Settings
from gui.state_words import belongs_to
from gui.theme import ThemeManager
from gui.tooltips import plain_tooltip
from gui.views.columns_menu import ColumnsMenu
from gui.views.elided_label import ElidedLabel
from gui.views.layer_rest import LayerRest
from gui.views.layer_rows_menu import RowsMenu
from gui.views.layer_view import LayerView, ViewState
from gui.views.search_box import SearchBox
from gui.workspace import Workspace


class LayerPanel(QFrame):
    """Tree of the current analysis. Reads the workspace, reads and writes the selection."""

    def __init__(
        self,
        workspace: Workspace,
        selection: Selection,
        theme: ThemeManager,
        settings: Settings,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setObjectName("layer_panel")
        self.setProperty("panel", True)
        self.setAccessibleName("Layers")
        self._workspace = workspace
        self._selection = selection
        self._syncing = False
        self._before_search: ViewState | None = None
        self._source = ""
        self._first: str | None = None
        """Node to make current when the model that is being opened has an analysis; None when that is done."""
        self.model = LayerTreeModel(self)
        self.view = LayerView(self.model, theme, settings, self)
        self.view.setObjectName("layer_tree")
        self.view.setAccessibleName("Layer tree")
        self.view.setToolTip(
            "Arrows walk the layers, Enter opens the inspector, Ctrl+C copies the selected rows"
        )
        self.columns_menu = ColumnsMenu(settings, self)
        self.rows_menu = RowsMenu(settings, self)
        self.addAction(self.rows_menu.idle)
        self.model.shows_idle = self.rows_menu.idle.isChecked()
        self._build()
        self._connect()
        self._on_count_mode_changed()
        self._on_columns_changed()
        self._show_another_model()

    # -- set-up --------------------------------------------------------------------------------------------------

    def _build(self) -> None:
        title = QLabel("Layers", self)
        title.setProperty("role", "title")
        self._meta = ElidedLabel(parent=self)
        self._meta.setObjectName("layer_meta")
        self._meta.setProperty("role", "secondary")
        self._meta.setContentsMargins(12, 0, 12, 4)
        self.search = SearchBox(self)
        self.search.setObjectName("layer_search")
        self.search.setPlaceholderText("Search layers")
        self.search.setAccessibleName("Search layers")
        self.search.setToolTip("Find layers by path, operation, family or class (Ctrl+F)")
        self.search.setClearButtonEnabled(True)
        self.search.setMaximumWidth(240)
        rows = self._menu_button(
            "Rows ▾", "layer_rows", "Expand the tree, show rows that cost nothing", self.rows_menu
        )
        shown = self._menu_button("Columns ▾", "layer_columns", "Choose columns and bars", self.columns_menu)

        bar = QHBoxLayout()
        bar.setContentsMargins(12, 8, 8, 0)
        bar.setSpacing(8)
        bar.addWidget(title)
        bar.addStretch(1)
        bar.addWidget(self.search, 2)
        bar.addWidget(rows)
        bar.addWidget(shown)

        self._empty = QLabel(self)
        self._empty.setWordWrap(True)
        self._empty.setObjectName("layer_empty")
        self._empty.setProperty("role", "secondary")
        self._empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        column = QVBoxLayout(self)
        column.setContentsMargins(1, 1, 1, 1)
        column.setSpacing(0)
        column.addLayout(bar)
        column.addWidget(self._meta)
        column.addWidget(self.view, 1)
        self.rest = LayerRest(self)
        column.addWidget(self.rest)
        column.addWidget(self._empty, 1)

    def _menu_button(self, text: str, name: str, tooltip: str, menu: QMenu) -> QToolButton:
        button = QToolButton(self)
        button.setText(text)
        button.setObjectName(name)
        button.setAccessibleName(tooltip)
        button.setToolTip(tooltip)
        button.setMenu(menu)
        button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        button.setAutoRaise(True)
        return button

    def _connect(self) -> None:
        workspace, selection, view = self._workspace, self._selection, self.view
        workspace.model_changed.connect(self._on_model_changed)
        workspace.analysis_changed.connect(self._on_analysis_changed)
        workspace.failure_changed.connect(self.refresh)
        workspace.stale_changed.connect(self._on_stale_changed)
        workspace.configuration_changed.connect(self._on_configuration_changed)
        workspace.baseline_changed.connect(self.refresh)
        workspace.count_mode_changed.connect(self._on_count_mode_changed)
        selection.current_changed.connect(self._on_selection_current)
        selection.selected_changed.connect(self._on_selection_selected)
        selection.hovered_changed.connect(self._on_selection_hovered)
        view.selectionModel().currentChanged.connect(self._on_view_current)
        view.selectionModel().selectionChanged.connect(self._on_view_selected)
        view.node_hovered.connect(selection.set_hovered)
        view.node_activated.connect(selection.activate)
        view.copy_requested.connect(self.copy)
        view.customContextMenuRequested.connect(self._on_context_menu)
        self.search.textChanged.connect(self._on_search)
        self.search.returnPressed.connect(self._on_search_return)
        self.search.left.connect(self._on_search_left)
        self.columns_menu.changed.connect(self._on_columns_changed)
        self.columns_menu.aboutToShow.connect(self._on_columns_menu_opened)
        self.columns_menu.defaults_chosen.connect(view.columns.forget_widths)
        self.rows_menu.level_chosen.connect(view.expand_to_level)
        self.rows_menu.idle_toggled.connect(self._on_idle_toggled)
        find = QShortcut(QKeySequence(QKeySequence.StandardKey.Find), self)
        find.setContext(Qt.ShortcutContext.WindowShortcut)
        find.activated.connect(self.focus_search)

    # -- for others ----------------------------------------------------------------------------------------------

    def focus_search(self) -> None:
        self.search.setFocus(Qt.FocusReason.ShortcutFocusReason)
        self.search.selectAll()

    def copy(self) -> None:
        """Selected rows (the current one without a selection) to the clipboard, as TSV with exact numbers."""
        text = self.selected_tsv()
        if text:
            QGuiApplication.clipboard().setText(text)

    def selected_tsv(self) -> str:
        """The selected rows in the chosen columns, also those that gave way; empty without a selection."""
        structure, cells = self.model.structure, self.model.cells
        if structure is None or cells is None:
            return ""
        nodes = [structure.node_of_name[name] for name in self.view.selected_names()]
        shown = [self.model.columns[section] for section in self.view.columns.chosen_sections()]
        return tsv(cells, nodes, shown) if nodes else ""

    # -- workspace → view ----------------------------------------------------------------------------------------

    def _on_model_changed(self) -> None:
        """The model itself becomes current, so that the inspector has its totals; a known one keeps its node."""
        source = self._workspace.model.source if self._workspace.model is not None else ""
        current = self._selection.current
        self._first = current if current is not None and source == self._source else ""
        self._source = source
        self._show_another_model()

    def _show_another_model(self) -> None:
        """Nothing of the old expansion means anything, and what the weights hold is still to be seen."""
        self.columns_menu.call_for(frozenset())
        with self._quietly():
            self.search.clear()
            self._before_search = None
            self.model.words = ()
            self.model.show(None, None)
        self.refresh()

    def _on_analysis_changed(self) -> None:
        self.refresh()
        first, structure = self._first, self.model.structure
        if first is not None and structure is not None:
            self._first = None
            if self._selection.current is None:
                self._selection.set_current(first if structure.find(first) is not None else "")

    def refresh(self) -> None:
        """Show the workspace's analysis; expansion, selection and scroll position stay."""
        analysis = self._workspace.analysis
        self.view.setVisible(analysis is not None)
        self._empty.setVisible(analysis is None)
        self._show_outdated()
        if analysis is None:
            with self._quietly():
                self.model.show(None, None)
            self._meta.clear()
            self._empty.setText(self._why_empty())
            return
        if analysis.totals.zeros is not None:
            self.columns_menu.call_for(called_for(analysis.totals))
        failed = self._workspace.failure is not None
        self.model.failed = failing_layer(self._workspace.failure)
        self.model.removals = removals(self._workspace.edits) if failed else frozenset()
        self._on_stale_changed()
        known = self.model.structure
        if self.model.keeps_tree(analysis):
            self.model.show(analysis, self._workspace.baseline)
            self.view.measure(afresh=False)
            self._resort()
            return
        state = self.view.state_by_name() if known is not None else None
        with self._quietly():
            self.model.show(analysis, self._workspace.baseline)
            self.view.measure(afresh=True)
            if state is None:
                self.view.expand_to_level(1)
            else:
                self.view.restore(state)
            self._show_selection()
        self._follow_renamed(analysis)

    def _why_empty(self) -> str:
        asked = self._workspace.configuration
        if self._workspace.model is None or asked is None:
            return "Open a model to see what each of its layers costs."
        if self._workspace.failure is None:
            return "The layers appear with the first complete analysis."
        return (
            f"No layer can be shown at {sizes.size_text(asked.inputs)}: the message above says why. "
            "Choose another input size."
        )

    def _on_stale_changed(self) -> None:
        """Fade the rows and say what they belong to while that is not what is asked for."""
        self.view.set_stale(self._workspace.stale)
        if self._workspace.analysis is not None:
            self._show_meta(self._workspace.analysis)

    def _show_outdated(self) -> None:
        """What was measured looks old as soon as something else is asked for; counted numbers may take a moment."""
        outdated = not self._workspace.is_current
        self.model.set_outdated(outdated)
        self.rest.show_rest(self._workspace.analysis, outdated=outdated)

    def _on_configuration_changed(self) -> None:
        self._show_outdated()
        if self._workspace.stale:
            self._on_stale_changed()

    def _show_meta(self, analysis: Analysis) -> None:
        hidden = len(self.model.hidden_rows(analysis))
        shown, rows = analysis.configuration, len(analysis.layers) - hidden
        parts = [
            belongs_to(shown, self._workspace.configuration)
            if self._workspace.stale
            else sizes.size_text(shown.inputs),
            f"{rows:,} {'row' if rows == 1 else 'rows'}",
        ]
        if hidden:
            cost = "costs" if hidden == 1 else "cost"
            parts.append(f"{hidden:,} that {cost} nothing hidden")
        self._meta.setText(" · ".join(parts))

    def _resort(self) -> None:
        with self._quietly():
            self.view.proxy.resort()

    def _follow_renamed(self, analysis: Analysis) -> None:
        """A removed layer loses its row, a restored one gets it back: stay with the module."""
        structure, current = self.model.structure, self._selection.current
        if structure is None or current is None or current in analysis.layers.id:
            return
        node = structure.find(current)
        if node is None:
            node = structure.find(module_path(current))
        if node is not None and structure.names[node] != current:
            self._selection.set_current(structure.names[node])

    def _on_count_mode_changed(self) -> None:
        self.model.set_count_mode(self._workspace.count_mode)
        self.columns_menu.show_mode(self._workspace.count_mode)
        self._resort()

    def _on_columns_changed(self) -> None:
        menu = self.columns_menu
        self.model.set_bars(menu.bars)
        self.view.show_columns(menu.visible, menu.bars)

    def _on_columns_menu_opened(self) -> None:
        self.columns_menu.show_room(self.view.columns.given_way)

    def _on_idle_toggled(self, shown: bool) -> None:
        self.model.shows_idle = shown
        self.refresh()
        current = self.view.currentIndex()
        if current.isValid():
            self.view.reveal(current)

    # -- selection ⇄ view ----------------------------------------------------------------------------------------

    @contextmanager
    def _quietly(self) -> Iterator[None]:
        """What the view reports meanwhile is our own doing and not the user's."""
        before, self._syncing = self._syncing, True
        try:
            yield
        finally:
            self._syncing = before

    def _show_selection(self) -> None:
        """Current and selected nodes of the shared selection, in the tree, without revealing anything."""
        view, model = self.view, self.view.selectionModel()
        chosen = QItemSelection()
        for name in self._selection.selected:
            index = view.index_of(name)
            if index.isValid():
                chosen.select(index, index)
        flags = QItemSelectionModel.SelectionFlag
        model.select(chosen, flags.ClearAndSelect | flags.Rows)
        current = view.index_of(self._selection.current)
        if current.isValid():
            model.setCurrentIndex(current, flags.NoUpdate)
        else:
            model.clearCurrentIndex()

    def _on_selection_current(self) -> None:
        if self._syncing:
            return
        with self._quietly():
            index = self.view.index_of(self._selection.current)
            if index.isValid():
                self.view.reveal(index)
            self._show_selection()

    def _on_selection_selected(self) -> None:
        if not self._syncing:
            with self._quietly():
                self._show_selection()

    def _on_selection_hovered(self) -> None:
        self.view.set_hovered(self._selection.hovered)

    def _on_view_current(self) -> None:
        if self._syncing:
            return
        with self._quietly():
            self._selection.set_current(self.view.name_at(self.view.currentIndex()))
            self._selection.set_selected(self.view.selected_names())

    def _on_view_selected(self) -> None:
        if not self._syncing:
            with self._quietly():
                self._selection.set_selected(self.view.selected_names())

    # -- search --------------------------------------------------------------------------------------------------

    def _on_search(self, text: str) -> None:
        proxy, view = self.view.proxy, self.view
        if not proxy.is_searching and text.strip():
            self._before_search = view.state_by_name()
        self.model.words = words_of(text)
        analysis = self._workspace.analysis
        if analysis is not None and not self.model.keeps_tree(analysis):
            self.refresh()
        with self._quietly():
            proxy.set_search(text)
            structure = self.model.structure
            if proxy.is_searching and structure is not None:
                parents = {parent for node in proxy.matches() for parent in structure.ancestors(node)}
                view.expand_nodes(sorted(parents))
            elif self._before_search is not None:
                view.collapseAll()
                view.restore(self._before_search)
                self._before_search = None
            self._show_selection()
            current = view.currentIndex()
            if current.isValid() and not proxy.is_searching:
                view.reveal(current)

    def _on_search_return(self) -> None:
        """Enter in the search box goes to the first match."""
        matches, structure = self.view.proxy.matches(), self.model.structure
        if matches and structure is not None:
            self._selection.set_current(structure.names[matches[0]])
            self.view.setFocus(Qt.FocusReason.OtherFocusReason)

    def _on_search_left(self) -> None:
        """Escape clears the search, then returns to the tree."""
        if self.search.text():
            self.search.clear()
        else:
            self.view.setFocus(Qt.FocusReason.OtherFocusReason)

    # -- context menu --------------------------------------------------------------------------------------------

    def _on_context_menu(self, position: QPoint) -> None:
        index = self.view.indexAt(position).siblingAtColumn(0)
        name = self.view.name_at(index)
        if name is not None:
            menu = self.context_menu(name)
            menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
            menu.popup(self.view.viewport().mapToGlobal(position))

    def context_menu(self, name: str) -> QMenu:
        """The menu of one node: what can be done with its layer and its subtree."""
        menu = QMenu(self)
        menu.setObjectName("layer_context_menu")
        menu.setToolTipsVisible(True)
        analysis = self._workspace.analysis
        if analysis is not None:
            able = removal(analysis, module_path(name), self._workspace.edits, self._workspace.no_edits)
            edit = menu.addAction(able.label)
            edit.setObjectName("layer_remove")
            edit.setEnabled(not able.obstacle)
            edit.setToolTip(plain_tooltip(able.tooltip))
            act = self._workspace.restore_layer if able.is_removed else self._workspace.remove_layer
            edit.triggered.connect(lambda: act(able.path))
            menu.addSeparator()
        copy = menu.addAction("Copy rows")
        copy.setObjectName("layer_copy")
        copy.setShortcut(QKeySequence(QKeySequence.StandardKey.Copy))
        copy.triggered.connect(self.copy)
        index = self.view.index_of(name)
        if self.view.proxy.hasChildren(index):
            expand = menu.addAction("Expand subtree")
            expand.setObjectName("layer_expand_subtree")
            expand.triggered.connect(lambda: self.view.expandRecursively(index))
            collapse = menu.addAction("Collapse")
            collapse.setObjectName("layer_collapse")
            collapse.triggered.connect(lambda: self.view.collapse(index))
        return menu
