"""The drill-down: every executed operation with its time, on demand."""

from __future__ import annotations

from PySide6.QtCore import QModelIndex, Qt
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from engine import numbers
from engine.measurement import OpTimes
from gui.measuring import Measuring
from gui.models import op_times
from gui.models.latency_words import threads_text
from gui.selection import Selection
from gui.state_words import belongs_to
from gui.views.actions import Actions
from gui.views.dimmer import Dimmer
from gui.views.toolbar_button import action_button
from gui.workspace import Workspace

ROW_PX = 24
WIDE, WIDE_PX = (op_times.OP, op_times.SHAPE), 112
"""Columns that leave room to the layer's name: long words elide."""
NARROW_PX = 460
"""In a narrower view share and shape give way to the layer's name; the shape is in the tooltip."""
NOTHING = "Not timed yet. Timing each operation slows it down; the layers' times add up better."


class OperationsView(QWidget):
    """A table over the last answer to "Time every operation"; a click selects the layer."""

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
        self._threads = 0
        """Asked for when the operations were timed."""
        self.model = op_times.OpTimesModel(self)
        self.proxy = op_times.OpTimesProxy(self)
        self.proxy.setSourceModel(self.model)
        self.table = self._make_table()
        self.words = QLabel(self)
        self.words.setTextFormat(Qt.TextFormat.PlainText)
        self.words.setWordWrap(True)
        self.words.setObjectName("operations_words")
        self.words.setProperty("role", "secondary")
        button = action_button(actions.measure_ops, self)
        line = QHBoxLayout()
        line.setContentsMargins(12, 4, 8, 4)
        line.addWidget(self.words, 1)
        line.addWidget(button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addLayout(line)
        column.addWidget(self.table, 1)
        column.addStretch(0)  # keeps the words at the top while there is no table
        self._dimmer = Dimmer((self.table,))
        measuring.ops_measured.connect(self._on_ops_measured)
        measuring.state_changed.connect(self._show_words)
        measuring.latency_changed.connect(self._on_latency_changed)
        workspace.configuration_changed.connect(self._show_words)
        workspace.model_changed.connect(self._on_model_changed)
        workspace.reloaded.connect(self._on_model_changed)
        self._show_words()

    def _make_table(self) -> QTableView:
        table = QTableView(self)
        table.setObjectName("operations_table")
        table.setAccessibleName("Operations with their times")
        table.setToolTip("Click a row to select its layer, a title to sort")
        table.setModel(self.proxy)
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        table.setShowGrid(False)
        table.setSortingEnabled(True)
        table.sortByColumn(op_times.ORDER, Qt.SortOrder.AscendingOrder)
        table.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        table.setMinimumHeight(ROW_PX)
        table.verticalHeader().hide()
        table.verticalHeader().setDefaultSectionSize(ROW_PX)
        header = table.horizontalHeader()
        header.setHighlightSections(False)
        header.setSectionResizeMode(op_times.PATH, QHeaderView.ResizeMode.Stretch)
        table.selectionModel().currentRowChanged.connect(self._on_current_changed)
        return table

    def _on_ops_measured(self, times: OpTimes) -> None:
        self._threads = self._measuring.threads
        self.model.show(times)
        for column in range(len(op_times.HEADERS)):
            if column != op_times.PATH:
                self.table.resizeColumnToContents(column)
        for column in WIDE:
            self.table.setColumnWidth(column, min(self.table.columnWidth(column), WIDE_PX))
        self._show_words()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        for column in (op_times.SHARE, op_times.SHAPE):
            self.table.setColumnHidden(column, self.width() < NARROW_PX)

    def _on_latency_changed(self) -> None:
        if self._measuring.since == "interpreter" and self.model.times is not None:
            self._on_model_changed()

    def _on_model_changed(self) -> None:
        self.model.show(None)
        self._show_words()

    def _show_words(self) -> None:
        times, asked = self.model.times, self._workspace.configuration
        self.table.setVisible(times is not None)
        if times is None:
            error = self._measuring.error
            instead = error.sentence if error is not None else NOTHING
            self.words.setText(self._measuring.words if self._measuring.phase == "ops" else instead)
            return
        others = self._threads != self._measuring.threads
        old = others or times.configuration != asked
        self._dimmer.set_dimmed(old)
        total, plain = numbers.duration(sum(times.latency_s)), numbers.duration(times.end_to_end_s)
        words = f"{len(times.op):,} operations, {total}; a plain pass {plain}"
        if old:
            of = f"with {threads_text(times.threads)}" if others else belongs_to(times.configuration, asked)
            words = f"{of} · {words}"
        self.words.setText(words)

    def _on_current_changed(self, index: QModelIndex) -> None:
        node = index.data(op_times.NODE_ROLE)
        if node is not None:
            self._selection.set_current(node)
