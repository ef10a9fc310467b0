"""The dialog about a model file: what it is, what it holds, and what can be done with it.

``ContentsDialog`` only tells; the questions about a file (may it run, what do its weights belong to) are built on the
same frame.
"""

from __future__ import annotations

import os

from PySide6.QtCore import Qt
from PySide6.QtGui import QCloseEvent, QGuiApplication, QKeyEvent, QKeySequence
from PySide6.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from engine import sources
from engine.contents import Contents, shown
from engine.contents_words import describe
from engine.errors import ErrorInfo
from gui.file_digest import FileDigest
from gui.foreign_text import short_words
from gui.models.contents_pages import facts
from gui.theme import ThemeManager, mono_font
from gui.views.contents_view import ContentsView
from gui.views.elided_label import ElidedLabel
from gui.views.facts_grid import FactsGrid

SIZE = (1120, 650)
MARGIN_PX = 48
"""Left free of the screen around a dialog."""
QUICK_BYTES = 64 << 20
"""A file up to this size is hashed at once: that takes no longer than the dialog."""
NOTES = 2
"""Remarks that are said above the tabs; all of them have a tab."""


class FileDialog(QDialog):
    """A lead sentence, what the file is, facts, tabs with its contents; questions add their own parts."""

    def __init__(
        self,
        title: str,
        lead: str,
        contents: Contents | None,
        theme: ThemeManager,
        parent: QWidget | None = None,
        *,
        file: str = "",
        digest: str = "",
    ) -> None:
        """``digest`` is what a question is about; without one, the file's SHA-256 is computed.

        Of a Python file, ``file``, there are no ``contents`` to show: it is read, not opened.
        """
        super().__init__(parent)
        self.contents = contents
        self.file = contents.file if contents is not None else file
        self.setWindowTitle(title)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        fit(self, *SIZE)
        self._digest = FileDigest(self.file)
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(16, 16, 16, 16)
        self._layout.setSpacing(8)
        described = describe(contents) if contents is not None else ""
        if lead:
            label = words(lead, self)
            label.setProperty("role", "title")
            label.setObjectName("file_lead")
            self._layout.addWidget(label)
        if described and described not in lead:
            label = words(described, self)
            label.setObjectName("file_description")
            self._layout.addWidget(label)
        for note in self._notes(lead):
            self._layout.addWidget(note)
        self._layout.addSpacing(4)
        self.facts = FactsGrid(self)
        self._layout.addWidget(self.facts)
        for name, text in facts(contents) if contents is not None else ():
            self.facts.add(name, text)
        self.facts.add("File", self.file, wide=True)
        self._add_digest(digest)
        self._layout.addSpacing(4)
        self.view = ContentsView(contents, theme, self)
        self._layout.addWidget(self.view, 1)
        self.buttons = QDialogButtonBox(self)
        self.copy_button = self.buttons.addButton("Copy", QDialogButtonBox.ButtonRole.ResetRole)
        # The role that stands apart, at the left: beside it there are answers to a question.
        self.copy_button.setObjectName("file_copy")
        self.copy_button.setAccessibleName("Copy")
        self.copy_button.setToolTip("Copy the facts and the rows of this tab as tab-separated text")
        self.copy_button.setAutoDefault(False)
        self.copy_button.clicked.connect(self.copy)
        self._layout.addWidget(self.buttons)

    def _notes(self, lead: str) -> list[QLabel]:
        """What is odd about the file, as far as it was not said yet."""
        labels = []
        notes = self.contents.notes if self.contents is not None else ()
        for note in [each for each in notes if each not in lead][:NOTES]:
            label = words(f"⚠ {note}", self)
            label.setProperty("role", "caution")
            labels.append(label)
        return labels

    def _add_digest(self, digest: str) -> None:
        if digest:
            # Code beside the file is part of it, so it need not be the file's own.
            self.sha256: QLabel = self.facts.add("SHA-256 of what runs", digest, wide=True, mono=True)
            return
        if self.contents is None or self.contents.shards or not os.path.isfile(self.file):
            return
        caption = QLabel("SHA-256", self)
        caption.setProperty("role", "secondary")
        row = QWidget(self)
        line = QHBoxLayout(row)
        line.setContentsMargins(0, 0, 0, 0)
        self.sha256 = ElidedLabel("", row)
        self.sha256.setAccessibleDescription("SHA-256")
        self.sha256.setFont(mono_font())
        self.sha256.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.sha256.hide()
        line.addWidget(self.sha256, 1)
        self._compute = QToolButton(row)
        self._compute.setText("Compute")
        self._compute.setObjectName("file_compute")
        self._compute.setAccessibleName("Compute the SHA-256")
        self._compute.setToolTip("Read the whole file once; this takes a second or two per gigabyte")
        self._compute.setProperty("compact", "true")
        self._compute.clicked.connect(self._on_compute)
        line.addWidget(self._compute)
        line.addStretch(0)
        self.facts.add_widget(caption, row, wide=True)
        self._digest.progressed.connect(self._on_progressed)
        self._digest.finished.connect(self._on_digest)
        if self.contents.size <= QUICK_BYTES:
            self._on_compute()

    def _on_compute(self) -> None:
        self._compute.hide()
        self.sha256.show()
        self.sha256.setText("computing …")
        self._digest.start()

    def _on_progressed(self, share: float) -> None:
        self.sha256.setText(f"computing … {share:.0%}")

    def _on_digest(self, digest: str) -> None:
        self.sha256.setText(digest or "The file cannot be read any more.")

    def insert(self, widget: QWidget) -> None:
        """Below the tabs, above the buttons."""
        self._layout.insertWidget(self._layout.count() - 1, widget)

    def text(self) -> str:
        """What is said about the file and the rows of the tab in front."""
        lines = [f"File\t{self.file}"]
        if self.contents is not None:
            lines = [describe(self.contents), *self.contents.notes, *lines]
            lines += [f"{name}\t{value}" for name, value in facts(self.contents)]
        return "\n".join([*lines, "", self.view.text()])

    def copy(self) -> None:
        QGuiApplication.clipboard().setText(self.text())

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.matches(QKeySequence.StandardKey.Find):
            self.view.focus_filter()
        else:
            super().keyPressEvent(event)

    def done(self, result: int) -> None:
        self._digest.stop()
        super().done(result)

    def closeEvent(self, event: QCloseEvent) -> None:
        self._digest.stop()
        super().closeEvent(event)


class ContentsDialog(FileDialog):
    """Not modal: a file can be read beside the window. ``problem`` says why it was not opened."""

    def __init__(
        self,
        contents: Contents,
        theme: ThemeManager,
        parent: QWidget | None = None,
        *,
        problem: ErrorInfo | None = None,
    ) -> None:
        lead = _not_opened(contents, problem) if problem is not None else ""
        super().__init__("File contents", lead, contents, theme, parent)
        self.setObjectName("contents_dialog")
        self.setModal(False)
        close = question_button(
            self.buttons, "Close", "contents_close", "Close this window (Esc)", agree=False
        )
        close.setDefault(True)
        self.buttons.rejected.connect(self.close)

    def open(self) -> None:
        """Show without blocking the window; QDialog would make it modal."""
        self.show()
        self.raise_()
        self.activateWindow()


def _not_opened(contents: Contents, problem: ErrorInfo) -> str:
    """Why, without what the dialog says of the file anyway."""
    told = describe(contents) in problem.message
    reason = problem.hint if told else problem.sentence
    return f"{shown(sources.short(contents.file))} was not opened. {reason}"


def fit(dialog: QDialog, width: int, height: int) -> None:
    """Resize to what the screen has room for."""
    screen = QGuiApplication.primaryScreen()
    if screen is not None:
        room = screen.availableGeometry()
        width, height = min(width, room.width() - MARGIN_PX), min(height, room.height() - MARGIN_PX)
    dialog.resize(width, height)


def words(text: str, parent: QWidget) -> QLabel:
    """Hostile text (a file name, a message of someone's code) as plain, selectable words; long ones are elided."""
    label = QLabel(parent)
    label.setTextFormat(Qt.TextFormat.PlainText)
    show_words(label, text)
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label


def show_words(label: QLabel, text: str) -> None:
    """Other words for a label that :func:`words` made."""
    label.setText(short_words(text))


def question_button(box: QDialogButtonBox, text: str, name: str, what: str, *, agree: bool) -> QPushButton:
    """A button that accepts or rejects; which one Enter means is for the dialog to say."""
    roles = QDialogButtonBox.ButtonRole
    button = box.addButton(text, roles.AcceptRole if agree else roles.RejectRole)
    button.setObjectName(name)
    button.setAccessibleName(text)
    button.setToolTip(what)
    button.setAutoDefault(False)
    return button
