"""The kernels that onnxruntime executed, with the nodes of the model below them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, Qt, Signal
from PySide6.QtGui import QGuiApplication, QKeyEvent, QKeySequence, QResizeEvent, QShowEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QLabel,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTreeView,
    QVBoxLayout,
    QWidget,
)

from engine import numbers
from engine.measurement import LayerTimes
from gui.measuring import Measuring
from gui.models import kernels
from gui.selection import Selection
from gui.state_words import times_belong_to
from gui.views.actions import REPORT_TIMES, Actions
from gui.views.dimmer import Dimmer
from gui.views.throttle import MEASURING_MS, Throttle
from gui.workspace import Workspace

ROW_PX = 24
LEAST_KERNEL_PX = 84
"""Kernels give way to their layers, which tell rows apart; so much of "nchwc.Conv" stays."""
LEAST_LAYER_PX = 96
"""Below this the share gives way too: the time says the same."""
INDENTATION = 12
NOTHING = "Not timed yet. The kernels are timed with the layers, as soon as nothing moves."


class EndOfPath(QStyledItemDelegate):
    """Elides at the left: the ends of paths tell layers apart."""

    def initStyleOption(
        self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        super().initStyleOption(option, index)
        option.textElideMode = Qt.TextElideMode.ElideLeft


MOST_SORTED = 5_000
"""Kernels that the table's titles sort; more stand as they ran: comparing them takes seconds."""


class KernelsTree(QTreeView):
    """Its columns always fit: layers take what is left, names of kernels and shares give way to them."""

    copy_requested = Signal()

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._wanted_px = LEAST_KERNEL_PX
        """Of the widest name of a kernel."""

    def measure(self) -> None:
        """Other rows are shown: fit the columns to them."""
        for column in (kernels.KERNEL, kernels.TIME, kernels.SHARE):
            self.resizeColumnToContents(column)
        self._wanted_px = self.columnWidth(kernels.KERNEL)
        self.arrange()

    def arrange(self) -> None:
        """Share the width."""
        room = self.viewport().width() - self.columnWidth(kernels.TIME)
        self.setColumnHidden(kernels.SHARE, False)
        share = self.columnWidth(kernels.SHARE)
        hidden = room - share < LEAST_KERNEL_PX + LEAST_LAYER_PX
        self.setColumnHidden(kernels.SHARE, hidden)
        room -= 0 if hidden else share
        self.setColumnWidth(kernels.KERNEL, min(self._wanted_px, max(LEAST_KERNEL_PX, room * 2 // 5)))

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.arrange()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.matches(QKeySequence.StandardKey.Copy):
            self.copy_requested.emit()
            return
        super().keyPressEvent(event)


class KernelsView(QWidget):
    """Follows the layer times of the analysis on the screen, and the selection; a click selects the layer."""

    def __init__(
        self,
        workspace: Workspace,
        measuring: Measuring,
        selection: Selection,
        actions: Actions,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._workspace = workspace
        self._measuring = measuring
        self._selection = selection
        self._actions = actions
        self._syncing = False
        self._times: LayerTimes | None = None
        self.model = kernels.KernelsModel(self)
        self.proxy = kernels.KernelsProxy(self)
        self.proxy.setSourceModel(self.model)
        self.tree = self._make_tree()
        self.words = QLabel(self)
        self.words.setObjectName("kernels_words")
        self.words.setTextFormat(Qt.TextFormat.PlainText)
        self.words.setWordWrap(True)
        self.words.setProperty("role", "secondary")
        self.words.setContentsMargins(12, 4, 12, 4)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.words)
        column.addWidget(self.tree, 1)
        column.addStretch(0)  # keeps the words at the top while there is no tree
        self._dimmer = Dimmer((self.tree,))
        self._later = Throttle(self.refresh, self, MEASURING_MS)
        workspace.analysis_changed.connect(self._later.request)
        workspace.configuration_changed.connect(self._show_words)
        workspace.model_changed.connect(self.refresh)
        measuring.state_changed.connect(self._show_words)
        selection.current_changed.connect(self._on_selection_current)
        self.refresh()

    def _make_tree(self) -> KernelsTree:
        tree = KernelsTree(self)
        tree.setObjectName("kernels_tree")
        tree.setAccessibleName("Kernels with their times")
        tree.setToolTip("Click a row to select its layer, a title to sort; Ctrl+C copies the selected rows")
        tree.setModel(self.proxy)
        tree.setUniformRowHeights(True)
        tree.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        tree.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        tree.setItemDelegateForColumn(kernels.LAYER, EndOfPath(tree))
        tree.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        tree.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        tree.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        tree.setMinimumHeight(ROW_PX)
        tree.setIndentation(INDENTATION)
        tree.setStyleSheet(f"QTreeView::item {{ height: {ROW_PX}px; padding: 0 5px; }}")
        tree.setSortingEnabled(True)
        tree.sortByColumn(kernels.KERNEL, Qt.SortOrder.AscendingOrder)
        header = tree.header()
        header.setStretchLastSection(False)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        header.setSectionResizeMode(kernels.LAYER, QHeaderView.ResizeMode.Stretch)
        tree.copy_requested.connect(self._copy_selected)
        tree.selectionModel().currentRowChanged.connect(self._on_current_changed)
        return tree

    def refresh(self) -> None:
        """Show what is known now; the same times keep what is unfolded. Many wait until the page is seen."""
        analysis = self._workspace.analysis
        times = analysis.layer_times if analysis is not None else None
        if times is not self._times and (
            self.isVisible() or times is None or len(times.groups) <= MOST_SORTED
        ):
            self._times = times
            many = times is not None and len(times.groups) > MOST_SORTED
            with self._quietly():
                if many:
                    self.tree.sortByColumn(-1, Qt.SortOrder.AscendingOrder)
                self.tree.setSortingEnabled(not many)
                self.model.show(times)
            self.tree.measure()
            self._on_selection_current()
        self._show_words()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self.refresh()

    def tsv(self) -> str:
        """Every row as tab-separated text; empty where there is none."""
        return kernels.tsv(self.model.kernels) if self.model.kernels else ""

    def _show_words(self) -> None:
        times, asked = self._times, self._workspace.configuration
        has_kernels = bool(self.model.kernels)
        self.tree.setVisible(has_kernels)
        if times is None or not has_kernels:
            error = self._measuring.error
            self.words.setText(error.sentence if error is not None else self._nothing())
            return
        old = times.origin is not None or times.configuration != asked
        self._dimmer.set_dimmed(old)
        count = len(times.groups) + len(times.inserted)
        nodes = sum(len(group.row_ids) for group in times.groups)
        total = numbers.duration(times.rows_s + times.inserted_s)
        a_pass = "a profiled run" if times.origin else "a plain pass"
        words = (
            f"{count:,} kernels for {nodes:,} nodes, {total}; {a_pass} {numbers.duration(times.end_to_end_s)}"
        )
        self.words.setText(f"{times_belong_to(times, asked)} · {words}" if old else words)

    def _nothing(self) -> str:
        """Why no kernel is timed yet, and what to do."""
        if self._workspace.analysis is None or self._measuring.enabled:
            return NOTHING
        if not self._workspace.editable:
            return REPORT_TIMES
        keys = self._actions.measure.shortcut().toString(QKeySequence.SequenceFormat.NativeText)
        return (
            f"Not timed: measuring is paused. Press Measure ({keys}); the kernels are timed with the layers."
        )

    # -- selection -----------------------------------------------------------------------------------------------

    @contextmanager
    def _quietly(self) -> Iterator[None]:
        """What the tree reports meanwhile is not the user's doing."""
        before, self._syncing = self._syncing, True
        try:
            yield
        finally:
            self._syncing = before

    def _on_current_changed(self, index: QModelIndex) -> None:
        node = index.data(kernels.NODE_ROLE)
        if node and not self._syncing:
            with self._quietly():
                self._selection.set_current(node)

    def _on_selection_current(self) -> None:
        """Show the kernel that does the work of the current layer; its node where that is unfolded."""
        if self._syncing:
            return
        with self._quietly():
            current = self._selection.current
            found = self.model.index_of(current) if current is not None else QModelIndex()
            index = self.proxy.mapFromSource(found)
            if index.parent().isValid() and not self.tree.isExpanded(index.parent()):
                index = index.parent()
            if index.isValid():
                self.tree.setCurrentIndex(index)
                self.tree.scrollTo(index)
            else:
                self.tree.selectionModel().clear()

    def _copy_selected(self) -> None:
        """The selected rows to the clipboard, as tab-separated text."""
        rows = map(self.proxy.mapToSource, self.tree.selectionModel().selectedRows())
        chosen = [line for line in map(self.model.line, rows) if line is not None]
        if chosen:
            QGuiApplication.clipboard().setText(kernels.tsv(self.model.kernels, chosen))
            self._workspace.noticed.emit(f"Copied {numbers.many(len(chosen), 'row')}.")
