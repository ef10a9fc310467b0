"""Which model do these weights belong to? Ranked candidates, the state dicts of the file, and a field for one's own."""

from __future__ import annotations

import os
from pathlib import Path

from PySide6.QtCore import QEvent, QObject, QStringListModel, Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QCompleter,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from engine import sources
from engine.contents import Candidate, Group
from engine.contents_words import main_group
from engine.errors import ErrorInfo
from engine.results import ZooEntry
from gui.foreign_text import short_words
from gui.models.column_table import ROW_ROLE, ColumnTable
from gui.models.contents_pages import candidates_page, group_text
from gui.opening import ArchitectureRequest
from gui.theme import ThemeManager
from gui.views.callable_dialog import ask_callable
from gui.views.column_view import ColumnView
from gui.views.elided_label import ElidedLabel
from gui.views.file_dialog import FileDialog, question_button, show_words, words

QUESTION = "Which architecture do these weights belong to?"
NOTHING = "No architecture of the zoo has these names and shapes. Give the code that builds the model."
OWN = "net.py:build, torchvision:resnet50(num_classes=10) or timm:vit_tiny_patch16_224"
GROUP_PX = 560
REASON = 4
"""Column of the reason: it takes the room that is left."""


class ArchitectureDialog(FileDialog):
    """Enter opens the weights with the selected candidate, or with what was typed into the field."""

    chosen = Signal(str)
    """The source to open: ``weights.pt#ema@torchvision:resnet50``."""
    zoo_wanted = Signal()
    """Something is typed: :meth:`set_entries` completes it."""

    def __init__(
        self, request: ArchitectureRequest, theme: ThemeManager, parent: QWidget | None = None
    ) -> None:
        error = request.error
        assert error.contents is not None
        super().__init__("Open weights", QUESTION, error.contents, theme, parent)
        self.setObjectName("architecture_dialog")
        self._error = error
        self._contents = error.contents
        self._asked = sources.split_file(request.source)
        self._theme = theme
        self._zoo_asked = False
        self._candidates: tuple[Candidate, ...] = ()
        self._groups = _choices(error)
        self.view.put_first(self._build(), "Architecture")
        self.preview = ElidedLabel(parent=self)
        self.preview.setObjectName("architecture_source")
        self.preview.setAccessibleDescription("What is opened")
        self.preview.setProperty("role", "secondary")
        self.insert(self.preview)
        self.open_button = question_button(
            self.buttons, "Open", "architecture_open", "Open these weights with it (Enter)", agree=True
        )
        question_button(self.buttons, "Cancel", "architecture_cancel", "Nothing is opened (Esc)", agree=False)
        self.open_button.setDefault(True)
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        self._show_candidates()
        (self.table if self._candidates else self.field).setFocus()

    # -- parts ---------------------------------------------------------------------------------------------------

    def _build(self) -> QWidget:
        page = QWidget(self)
        column = QVBoxLayout(page)
        column.setContentsMargins(0, 8, 0, 0)
        column.setSpacing(8)
        column.addLayout(self._group_line(page))
        self.nothing = words(NOTHING, page)
        self.nothing.setObjectName("architecture_nothing")
        self.nothing.setAlignment(Qt.AlignmentFlag.AlignCenter)
        column.addWidget(self.nothing, 1)
        self._place = QVBoxLayout()
        column.addLayout(self._place, 1)
        self.reason = words("", page)
        self.reason.setObjectName("architecture_reason")
        self.reason.setAccessibleDescription("Why")
        self.reason.setProperty("role", "secondary")
        column.addWidget(self.reason)
        column.addLayout(self._own_line(page))
        self.problem = words("", page)
        self.problem.setObjectName("architecture_problem")
        self.problem.setProperty("role", "caution")
        self.problem.hide()
        column.addWidget(self.problem)
        self.table = self._make_table()
        return page

    def _group_line(self, page: QWidget) -> QHBoxLayout:
        """Which of the state dicts in the file; not shown where there is but one."""
        caption = QLabel("Weights", page)
        caption.setProperty("role", "secondary")
        self.groups = QComboBox(page)
        self.groups.setObjectName("architecture_group")
        self.groups.setAccessibleName("Weights")
        self.groups.setToolTip("Which of the state dicts in the file to open")
        # Its widest entry would make the dialog as wide as a name in the file.
        self.groups.setMaximumWidth(GROUP_PX)
        self.groups.view().setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.groups.addItems([short_words(group_text(group)) for group in self._groups])
        self.groups.setCurrentIndex(_wanted(self._groups, self._asked.part, main_group(self._contents)))
        self.groups.currentIndexChanged.connect(self._show_candidates)
        line = QHBoxLayout()
        line.setSpacing(8)
        line.addWidget(caption)
        line.addWidget(self.groups)
        line.addStretch(1)
        several = len(self._groups) > 1
        caption.setVisible(several)
        self.groups.setVisible(several)
        return line

    def _own_line(self, page: QWidget) -> QHBoxLayout:
        caption = QLabel("Or your own", page)
        caption.setProperty("role", "secondary")
        self.field = QLineEdit(page)
        self.field.setObjectName("architecture_own")
        self.field.setAccessibleName("Architecture of your own")
        self.field.setPlaceholderText(OWN)
        self.field.setToolTip(f"{OWN}; you are asked before a file's code runs")
        self.field.setClearButtonEnabled(True)
        self.field.textChanged.connect(self._refresh)
        self.field.textEdited.connect(self._on_typed)
        self.field.installEventFilter(self)
        browse = QPushButton("Browse…", page)
        browse.setObjectName("architecture_browse")
        browse.setAccessibleName("Browse")
        browse.setToolTip("Pick the Python file that builds the model")
        browse.setAutoDefault(False)
        browse.clicked.connect(self._on_browse)
        line = QHBoxLayout()
        line.setSpacing(8)
        line.addWidget(caption)
        line.addWidget(self.field, 1)
        line.addWidget(browse)
        return line

    def _make_table(self) -> ColumnView:
        """A table of the candidates for the chosen group."""
        page = candidates_page(self._candidates)
        table = ColumnView(
            ColumnTable(page, lambda: self._theme.current.color("caution")),
            self,
            stretched=REASON,
            elide=Qt.TextElideMode.ElideRight,
        )
        table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        table.setToolTip("Enter or a double click opens the selected one; Ctrl+C copies")
        table.activated.connect(self.accept)
        table.selectionModel().currentRowChanged.connect(self._refresh)
        self._place.addWidget(table)
        return table

    # -- what is shown -------------------------------------------------------------------------------------------

    @property
    def group(self) -> Group | None:
        """The state dict to open; None when there is nothing to choose."""
        index = self.groups.currentIndex()
        return self._groups[index] if 0 <= index < len(self._groups) else None

    @property
    def source(self) -> str:
        """What Open opens; empty while there is nothing to open."""
        own = self.field.text().strip()
        if own:
            return self._own_source(own) if not _obstacle(own) else ""
        selected = self.selected
        return selected.source if selected is not None else ""

    @property
    def selected(self) -> Candidate | None:
        """The candidate in the table, whatever was typed."""
        row = self.table.currentIndex().data(ROW_ROLE)
        return self._candidates[row] if row is not None else None

    def set_entries(self, entries: tuple[ZooEntry, ...]) -> None:
        """Names that complete what is typed."""
        completer = QCompleter(QStringListModel([entry.source for entry in entries], self), self)
        completer.setFilterMode(Qt.MatchFlag.MatchContains)
        completer.setCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        self.field.setCompleter(completer)

    def accept(self) -> None:
        source = self.source
        if source:
            super().accept()
            self.chosen.emit(source)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """The arrow keys walk the candidates while nothing is typed."""
        if watched is self.field and isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            walks = event.key() in (Qt.Key.Key_Up, Qt.Key.Key_Down) and not self.field.text()
            if walks:
                self.table.keyPressEvent(event)
            return walks
        return super().eventFilter(watched, event)

    def _own_source(self, own: str) -> str:
        group = self.group
        part = "" if group is None or group is main_group(self._contents) else group.path
        return str(sources.FileSource(self._asked.path, part, _beside(self._asked.path, own)))

    def _show_candidates(self) -> None:
        """Those of the chosen group; the best is selected."""
        path = self.group.path if self.group is not None else ""
        self._candidates = tuple(each for each in self._error.candidates if each.group == path)
        old = self.table
        self.table = self._make_table()
        old.hide()
        old.deleteLater()
        QWidget.setTabOrder(self.groups, self.table)
        self.table.setVisible(bool(self._candidates))
        self.nothing.setVisible(not self._candidates)
        if self._candidates:
            self.table.selectRow(0)
        self._refresh()

    def _refresh(self) -> None:
        obstacle = _obstacle(self.field.text().strip())
        show_words(self.problem, obstacle)
        self.problem.setVisible(bool(obstacle))
        selected = self.selected
        show_words(self.reason, selected.reason if selected is not None else "")
        self.reason.setVisible(selected is not None)
        source = self.source
        self.open_button.setEnabled(bool(source))
        self.preview.setText(f"Opens {sources.short(source)}" if source else "")

    def _on_typed(self) -> None:
        if not self._zoo_asked:
            self._zoo_asked = True
            self.zoo_wanted.emit()

    def _on_browse(self) -> None:
        dialog = QFileDialog(self, "The file that builds the model", "", "Python files (*.py);;All files (*)")
        dialog.setObjectName("architecture_file")
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        dialog.setDirectory(str(Path(self._asked.path).parent))
        dialog.fileSelected.connect(self._on_file)
        dialog.open()

    def _on_file(self, path: str) -> None:
        ask_callable(path, self, self.field.setText, self._on_bad_file)

    def _on_bad_file(self, error: ErrorInfo) -> None:
        show_words(self.problem, error.sentence)
        self.problem.show()


def _choices(error: ErrorInfo) -> tuple[Group, ...]:
    """The state dicts of the file that could be a model's, and those that have candidates."""
    assert error.contents is not None
    matched = {candidate.group for candidate in error.candidates}
    main = main_group(error.contents)
    # What lies beside the others has no path to ask for it by: without one, the main group is opened.
    groups = tuple(group for group in error.contents.groups if group.path or group is main)
    return (
        tuple(group for group in groups if group.path in matched or group.role in ("model", "ema")) or groups
    )


def _wanted(groups: tuple[Group, ...], part: str, main: Group | None) -> int:
    """Which of them was asked for, by its path or its role; else the main one."""
    return min(
        range(len(groups)),
        key=lambda at: (groups[at].path != part, groups[at].role != part, groups[at] is not main),
        default=0,
    )


def _beside(weights: str, own: str) -> str:
    """``own`` with the whole path of a Python file that lies beside the weights and not in the current folder."""
    python = sources.split_python(own)
    if python is None or os.path.exists(python[0]):
        return own
    path = Path(weights).parent / python[0]
    return f"{path}:{python[1]}" if path.exists() else own


def _obstacle(own: str) -> str:
    """Why what was typed names no architecture; empty when it does, or when nothing was typed."""
    if not own or own.startswith(sources.SCHEMES[:2]):
        return ""
    python = sources.split_python(own)
    if python is None:
        return f"Write it as {OWN}."
    return "" if python[1] else f"Which callable of {python[0]}? Write {python[0]}:build, or browse for it."
