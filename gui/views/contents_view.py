"""What a model file holds: tensors with totals, what its pickles import and call, operations, files, notes."""

from __future__ import annotations

from PySide6.QtCore import QModelIndex, Qt
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QPlainTextEdit,
    QSplitter,
    QTabWidget,
    QWidget,
)

from engine.contents import Contents
from gui.models.column_table import ROW_ROLE, ColumnTable
from gui.models.contents_pages import Page, Part, pages, parts_page, tensors_page
from gui.theme import ThemeManager
from gui.views.column_view import ColumnView, PageView

PARTS_PX, TENSORS_PX = 310, 770


class TensorsView(QWidget):
    """Totals at the left; a selected part shows its tensors alone."""

    def __init__(self, contents: Contents, theme: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._contents = contents
        page, self._parts = parts_page(contents)
        self.tensors = PageView(tensors_page(contents), theme, self, margin=0)
        self.parts = ColumnView(ColumnTable(page, lambda: theme.current.color("caution")), self)
        self.parts.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.parts.setToolTip("Select a part to see its tensors alone; Ctrl+C copies")
        self.parts.selectionModel().currentRowChanged.connect(self._on_part)
        splitter = QSplitter(Qt.Orientation.Horizontal, self)
        splitter.setHandleWidth(10)
        splitter.setChildrenCollapsible(False)
        splitter.addWidget(self.parts)
        splitter.addWidget(self.tensors)
        splitter.setStretchFactor(1, 1)
        splitter.setSizes([PARTS_PX, TENSORS_PX])
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 8, 0, 0)
        layout.addWidget(splitter)
        # One part is the whole: a table of one line says nothing.
        self.parts.setVisible(len(self._parts) > 2)

    def _on_part(self, current: QModelIndex) -> None:
        row = current.data(ROW_ROLE)
        part: Part = self._parts[row] if row is not None else Part(-1)
        if part.group < 0:
            self.tensors.model.set_only(None)
        else:
            names, groups = self._contents.tensors.name, self._contents.tensors.group
            self.tensors.model.set_only(lambda tensor: part.holds(groups[tensor], names[tensor]))
        self.tensors.show_count()


class ContentsView(QTabWidget):
    """One tab per kind of thing that is in the file; what is not in it has none."""

    def __init__(self, contents: Contents | None, theme: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("contents")
        self.setAccessibleName("File contents")
        self.setDocumentMode(True)
        self.setTabBarAutoHide(True)
        self.tensors: TensorsView | None = None
        if contents is not None:
            self._add_pages(contents, theme)

    def _add_pages(self, contents: Contents, theme: ThemeManager) -> None:
        if contents.tensors.name:
            self.tensors = TensorsView(contents, theme, self)
            self.addTab(self.tensors, _title("Tensors", len(contents.tensors.name)))
        for page in pages(contents):
            stretched = len(page.columns) - 1 if page.name in ("code", "metadata") else 0
            self.addTab(PageView(page, theme, self, stretched=stretched), _tab_title(page))

    def put_first(self, widget: QWidget, title: str) -> None:
        """What the situation is about, before everything else."""
        self.insertTab(0, widget, title)
        self.setCurrentIndex(0)

    def focus_filter(self) -> None:
        """The keyboard goes to the filter of the current tab, if it has one."""
        widget = self.currentWidget()
        page = widget.tensors if isinstance(widget, TensorsView) else widget
        if isinstance(page, PageView):
            page.filter.setFocus()

    def text(self) -> str:
        """The rows that the current tab shows, as tab-separated text, or the text that it holds."""
        widget = self.currentWidget()
        if isinstance(widget, QPlainTextEdit):
            return widget.toPlainText()
        if isinstance(widget, TensorsView):
            return widget.tensors.model.tsv()
        return widget.model.tsv() if isinstance(widget, PageView) else ""


def _tab_title(page: Page) -> str:
    return _title("Files" if page.name == "files" else page.title, page.rows)


def _title(words: str, count: int) -> str:
    return f"{words} {count:,}"
