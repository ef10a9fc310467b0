"""A table of one page: sorted by its titles, filtered by a field above it, copied with Ctrl+C."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QItemSelection, QItemSelectionModel, QObject, QPoint, Qt
from PySide6.QtGui import QFontMetrics, QGuiApplication, QKeyEvent, QKeySequence
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QMenu,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from gui.models.column_table import ColumnTable
from gui.models.contents_pages import Page
from gui.theme import SECONDARY_PX, ThemeManager, ui_font

ROW_PX = 24
MEASURED_ROWS = 100
"""Rows that decide how wide a column is; all of a hundred thousand would take seconds."""
WIDEST_PX = 320
LONGEST_TEXTS = 8
"""Those with most characters are measured in pixels."""
CELL_PX, TITLE_PX = 22, 20
"""Beside the widest text and beside a title."""
LEAST_PX = 48
SEARCHED_ROWS = 8
"""A table with fewer rows needs no filter."""


class ColumnView(QTableView):
    """Rows are selected whole; the first column takes the room that is left."""

    def __init__(
        self,
        model: ColumnTable,
        parent: QWidget | None = None,
        *,
        stretched: int = 0,
        elide: Qt.TextElideMode = Qt.TextElideMode.ElideMiddle,
    ) -> None:
        super().__init__(parent)
        self.table = model
        model.setParent(self)
        self.setObjectName(f"{model.page.name}_table")
        self.setAccessibleName(model.page.title)
        self.setToolTip("Click a title to sort; Ctrl+C copies the selected rows")
        self.setModel(model)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setTextElideMode(elide)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setTabKeyNavigation(False)
        self.setSortingEnabled(True)
        self.horizontalHeader().setSortIndicatorClearable(True)
        self.horizontalHeader().setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        self.verticalHeader().hide()
        self.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        self.verticalHeader().setDefaultSectionSize(ROW_PX)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.customContextMenuRequested.connect(self._on_context_menu)
        header = self.horizontalHeader()
        header.setHighlightSections(False)
        # Of the table's own one, Qt would ask at every repaint whether each row of a column is selected.
        header.setSelectionModel(QItemSelectionModel(model, header))
        header.setMinimumSectionSize(LEAST_PX)
        words = QFontMetrics(ui_font(SECONDARY_PX))
        for column in range(model.columnCount()):
            if column == stretched:
                header.setSectionResizeMode(column, QHeaderView.ResizeMode.Stretch)
            else:
                # The style leaves room for the sign of sorting, which stands above the words here.
                title = words.horizontalAdvance(model.page.columns[column].title) + TITLE_PX
                wanted = max(self._widest_text(column) + CELL_PX, title)
                self.setColumnWidth(column, min(wanted, WIDEST_PX))

    def _widest_text(self, column: int) -> int:
        """Pixels of the widest text in the first rows; Qt would lay each of them out, which takes ten times as long."""
        shown = self.table.page.columns[column]
        texts = sorted(map(shown.text, shown.values[:MEASURED_ROWS]), key=len)
        return max(map(self.fontMetrics().horizontalAdvance, texts[-LONGEST_TEXTS:]), default=0)

    def selected_rows(self) -> list[int]:
        """Rows of the page, in the order they are shown."""
        selection = self.selectionModel().selection()
        found = [selection.at(index) for index in range(selection.count())]
        ranges = sorted((each.top(), each.bottom()) for each in found)
        places = dict.fromkeys(place for top, bottom in ranges for place in range(top, bottom + 1))
        return [self.table.shown[place] for place in places]

    def selectAll(self) -> None:
        """As one range: Qt would ask the model about every single row."""
        model = self.table
        if model.rowCount() and self.selectionMode() == QAbstractItemView.SelectionMode.ExtendedSelection:
            last = model.index(model.rowCount() - 1, model.columnCount() - 1)
            whole = QItemSelection(model.index(0, 0), last)
            self.selectionModel().select(whole, QItemSelectionModel.SelectionFlag.ClearAndSelect)

    def copy(self) -> None:
        """The selected rows, or all that are shown, as tab-separated text with exact numbers."""
        QGuiApplication.clipboard().setText(self.table.tsv(self.selected_rows() or None))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.matches(QKeySequence.StandardKey.Copy):
            self.copy()
        else:
            super().keyPressEvent(event)

    def _on_context_menu(self, position: QPoint) -> None:
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        copy = menu.addAction("Copy rows", self.copy)
        copy.setObjectName("table_copy")
        menu.popup(self.viewport().mapToGlobal(position))


class PageView(QWidget):
    """A page with a filter where it is long, and how many rows are shown."""

    def __init__(
        self,
        page: Page,
        theme: ThemeManager,
        parent: QWidget | None = None,
        *,
        stretched: int = 0,
        margin: int = 8,
    ) -> None:
        """``margin``: pixels above it."""
        super().__init__(parent)
        self.page = page
        self.model = ColumnTable(page, lambda: theme.current.color("caution"))
        self.table = ColumnView(self.model, self, stretched=stretched)
        self.count = QLabel(self)
        self.count.setProperty("role", "secondary")
        self.count.setAccessibleDescription("Rows shown")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, margin, 0, 0)
        layout.setSpacing(8)
        self.filter = QLineEdit(self)
        self.filter.setObjectName(f"{page.name}_filter")
        self.filter.setAccessibleName(f"Filter {page.title.lower()}")
        self.filter.setPlaceholderText(f"Filter {page.title.lower()}")
        self.filter.setToolTip("Every word must match (Ctrl+F)")
        self.filter.setClearButtonEnabled(True)
        self.filter.textChanged.connect(self._on_text_changed)
        self.filter.installEventFilter(self)
        line = QHBoxLayout()
        line.setSpacing(8)
        line.addWidget(self.filter, 1)
        line.addWidget(self.count)
        layout.addLayout(line)
        is_long = page.rows > SEARCHED_ROWS
        self.filter.setVisible(is_long)
        self.count.setVisible(is_long)
        layout.addWidget(self.table, 1)
        self.show_count()

    def show_count(self) -> None:
        """After what is shown changed."""
        shown, whole = self.model.rowCount(), self.page.rows
        self.count.setText(f"{whole:,}" if shown == whole else f"{shown:,} of {whole:,}")

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Enter in the filter goes on to the rows: the dialog would take it for its default button."""
        if watched is self.filter and isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
                self.table.setFocus()
                return True
        return super().eventFilter(watched, event)

    def _on_text_changed(self, text: str) -> None:
        self.model.set_filter(text)
        self.show_count()
