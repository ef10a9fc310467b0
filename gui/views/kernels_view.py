"""The kernels that onnxruntime executed, with the nodes of the model below them."""

from __future__ import annotations

from PySide6.QtCore import QModelIndex, Qt
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QLabel, QTreeView, QVBoxLayout, QWidget

from engine import numbers
from engine.measurement import LayerTimes
from gui.measuring import Measuring
from gui.models import kernels
from gui.selection import Selection
from gui.state_words import times_belong_to
from gui.views.dimmer import Dimmer
from gui.views.throttle import MEASURING_MS, Throttle
from gui.workspace import Workspace

ROW_PX = 24
WIDEST_PX = 176
"""Of the kernels' names, so that their layers are seen in a narrow panel; long ones elide."""
INDENTATION = 12
NOTHING = "Not timed yet. The kernels are timed with the layers, as soon as nothing moves."


class KernelsView(QWidget):
    """Follows the layer times of the analysis on the screen; a click selects the layer."""

    def __init__(
        self, workspace: Workspace, measuring: Measuring, selection: Selection, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._workspace = workspace
        self._measuring = measuring
        self._selection = selection
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
        self.refresh()

    def _make_tree(self) -> QTreeView:
        tree = QTreeView(self)
        tree.setObjectName("kernels_tree")
        tree.setAccessibleName("Kernels with their times")
        tree.setToolTip("Click a row to select its layer, a title to sort")
        tree.setModel(self.proxy)
        tree.setUniformRowHeights(True)
        tree.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        tree.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        tree.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        tree.setMinimumHeight(ROW_PX)
        tree.setIndentation(INDENTATION)
        tree.setStyleSheet(f"QTreeView::item {{ height: {ROW_PX}px; padding: 0 5px; }}")
        tree.setSortingEnabled(True)
        tree.sortByColumn(kernels.KERNEL, Qt.SortOrder.AscendingOrder)
        header = tree.header()
        header.setStretchLastSection(True)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        tree.selectionModel().currentRowChanged.connect(self._on_current_changed)
        return tree

    def refresh(self) -> None:
        """Show what is known now; the same times keep what is unfolded."""
        analysis = self._workspace.analysis
        times = analysis.layer_times if analysis is not None else None
        if times is not self._times:
            self._times = times
            self.model.show(times)
            for column in (kernels.KERNEL, kernels.TIME, kernels.SHARE):
                self.tree.resizeColumnToContents(column)
            self.tree.setColumnWidth(kernels.KERNEL, min(self.tree.columnWidth(kernels.KERNEL), WIDEST_PX))
        self._show_words()

    def _show_words(self) -> None:
        times, asked = self._times, self._workspace.configuration
        has_kernels = bool(self.model.kernels)
        self.tree.setVisible(has_kernels)
        if times is None or not has_kernels:
            error = self._measuring.error
            self.words.setText(error.sentence if error is not None else NOTHING)
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

    def _on_current_changed(self, index: QModelIndex) -> None:
        node = index.data(kernels.NODE_ROLE)
        if node:
            self._selection.set_current(node)
