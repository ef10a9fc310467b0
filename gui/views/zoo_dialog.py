"""Pick a model from the zoo: search, sort, Enter opens."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QModelIndex, QObject, Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QDialog,
    QDialogButtonBox,
    QHeaderView,
    QLabel,
    QLineEdit,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from engine.results import ZooEntry
from gui.models import zoo

CELL_MARGIN = 24
"""Pixels beside the text of a cell."""
_WALKING = (Qt.Key.Key_Up, Qt.Key.Key_Down, Qt.Key.Key_PageUp, Qt.Key.Key_PageDown)


class ZooDialog(QDialog):
    """The focus stays in the search field; the arrow keys walk the table all the same."""

    chosen = Signal(str)
    """The source to open."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("zoo_dialog")
        self.setWindowTitle("Model zoo")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.resize(860, 560)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(16, 16, 16, 16)
        layout.setSpacing(8)
        self.search = QLineEdit(self)
        self.search.setObjectName("zoo_search")
        self.search.setAccessibleName("Search models")
        self.search.setPlaceholderText("Search by name, library or task: resnet, timm, segmentation …")
        self.search.setToolTip("Every word must match; arrow keys walk the table, Enter opens")
        self.search.setClearButtonEnabled(True)
        self.search.installEventFilter(self)
        layout.addWidget(self.search)
        self.model = zoo.ZooModel(parent=self)
        self.proxy = zoo.ZooProxy(self.model, self)
        self.table = QTableView(self)
        self.table.setObjectName("zoo_table")
        self.table.setAccessibleName("Models")
        self.table.setToolTip("Double click or Enter opens")
        self.table.setModel(self.proxy)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setShowGrid(False)
        self.table.setSortingEnabled(True)
        self.table.sortByColumn(zoo.NAME, Qt.SortOrder.AscendingOrder)
        self.table.verticalHeader().hide()
        self.table.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        self.table.verticalHeader().setDefaultSectionSize(28)
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(zoo.NAME, QHeaderView.ResizeMode.Stretch)
        header.setHighlightSections(False)
        self.table.activated.connect(self._on_activated)
        layout.addWidget(self.table, 1)
        self.status = QLabel("The engine is listing its models …", self)
        self.status.setProperty("role", "secondary")
        layout.addWidget(self.status)
        buttons = QDialogButtonBox(self)
        self.open_button = buttons.addButton("Open", QDialogButtonBox.ButtonRole.AcceptRole)
        self.open_button.setObjectName("zoo_open")
        self.open_button.setToolTip("Open the selected model (Enter)")
        buttons.addButton(QDialogButtonBox.StandardButton.Cancel)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        layout.addWidget(buttons)
        self.search.textChanged.connect(self._on_search)
        self.search.setFocus()
        self._refresh()

    def set_entries(self, entries: tuple[ZooEntry, ...]) -> None:
        self.model.set_entries(entries)
        metrics = self.table.fontMetrics()
        for column, least in (
            (zoo.LIBRARY, 90),
            (zoo.TASK, 120),
            (zoo.PARAMS, 80),
            (zoo.GMACS, 100),
            (zoo.INPUT, 100),
        ):
            width = metrics.horizontalAdvance(self.model.longest(column)) + CELL_MARGIN
            self.table.setColumnWidth(column, max(width, least))
        self._refresh()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if watched is self.search and isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            walks = Qt.Key(event.key()) in _WALKING
            if walks:
                self.table.keyPressEvent(event)
            return walks
        return super().eventFilter(watched, event)

    def accept(self) -> None:
        index = self.table.currentIndex()
        if index.isValid():
            source = str(index.data(zoo.SOURCE_ROLE))
            super().accept()
            self.chosen.emit(source)

    def _on_activated(self, index: QModelIndex) -> None:
        self.table.setCurrentIndex(index)
        self.accept()

    def _on_search(self, text: str) -> None:
        self.proxy.set_search(text)
        self.table.setCurrentIndex(self.proxy.best())
        self._refresh()

    def _refresh(self) -> None:
        rows, total = self.proxy.rowCount(), self.model.rowCount()
        if rows and not self.table.currentIndex().isValid():
            self.table.setCurrentIndex(self.proxy.index(0, 0))
        self.open_button.setEnabled(rows > 0)
        if total:
            self.status.setText(f"{rows:,} of {total:,} models" if rows else "No model matches.")
