"""Asks before the author's code of a source runs, and says what would run."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtGui import QTextCursor
from PySide6.QtWidgets import (
    QCheckBox,
    QDialog,
    QDialogButtonBox,
    QPlainTextEdit,
    QTextEdit,
    QVBoxLayout,
    QWidget,
)

from engine.errors import ErrorInfo
from engine.foreign_code import foreign_lines
from gui.foreign_text import one_line
from gui.theme import ThemeManager, mono_font
from gui.views.file_dialog import FileDialog, fit, question_button, words

CODE_SIZE = (680, 460)
"""Of a Python file there are no tables to show."""


class ConsentDialog(FileDialog):
    """Cancel is the default. Accepted means: run the content with ``error.digest``."""

    def __init__(
        self, source: str, error: ErrorInfo, theme: ThemeManager, parent: QWidget | None = None
    ) -> None:
        super().__init__(
            "Run this code?",
            f"{error.message} That code has your rights on this machine.",
            error.contents,
            theme,
            parent,
            file=error.file or source,
            digest=error.digest,
        )
        self.setObjectName("consent_dialog")
        if error.contents is None:
            fit(self, *CODE_SIZE)
        self.details = WhatRuns(error, theme, self)
        self.view.put_first(self.details, "What would run")
        self.watch = QCheckBox("Run it again whenever this file changes, until the window closes", self)
        self.watch.setObjectName("consent_watch")
        self.watch.setAccessibleName("Run again when the file changes")
        self.watch.setToolTip("Off: you are asked about every new content")
        self.watch.setVisible(error.contents is None or error.contents.kind == "exported program")
        self.insert(self.watch)
        self.run = question_button(
            self.buttons,
            "Run this code",
            "consent_run",
            "Agree to this content; it is remembered by its SHA-256 until you revoke it in the settings",
            agree=True,
        )
        self.cancel = question_button(
            self.buttons, "Cancel", "consent_cancel", "Nothing runs, nothing is opened (Esc)", agree=False
        )
        self.cancel.setDefault(True)
        self.cancel.setFocus()
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)


class WhatRuns(QPlainTextEdit):
    """One line of plain text per thing that would run; those that name somebody's code have a sign and a colour."""

    def __init__(self, error: ErrorInfo, theme: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        foreign = set(foreign_lines(error.contents)) if error.contents is not None else set()
        self._marked = [line in foreign for line in error.details]
        # A sentence is one block of the text, whatever is in the names that it quotes.
        self.setPlainText(
            "\n".join(
                f"{'⚠' if marked else '•'} {one_line(line)}"
                for line, marked in zip(error.details, self._marked, strict=True)
            )
        )
        self.setReadOnly(True)
        self.setFont(mono_font())
        self.setTabChangesFocus(True)
        self.setObjectName("consent_details")
        self.setAccessibleName("What would run")
        self.setToolTip(
            "What opening this file would run, with your rights on this machine; ⚠ is somebody's code"
            if any(self._marked)
            else "What opening this file would run, with your rights on this machine"
        )
        theme.changed.connect(self._colour)
        self._colour()

    def _colour(self) -> None:
        """Over the text and not in it: what is selected and copied stays plain."""
        marks = []
        for block, marked in enumerate(self._marked):
            if not marked:
                continue
            mark = QTextEdit.ExtraSelection()
            mark.cursor = QTextCursor(self.document().findBlockByNumber(block))
            mark.cursor.movePosition(QTextCursor.MoveOperation.EndOfBlock, QTextCursor.MoveMode.KeepAnchor)
            mark.format.setForeground(self._theme.current.color("caution"))
            marks.append(mark)
        self.setExtraSelections(marks)


class RealRunDialog(QDialog):
    """Asks before a model runs for real on the CPU, with what it would take."""

    def __init__(self, error: ErrorInfo, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("real_run_dialog")
        self.setWindowTitle("Run the model for real?")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.resize(560, 260)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(16, 16, 16, 16)
        layout.setSpacing(12)
        layout.addWidget(words(error.message, self))
        for detail in error.details:
            line = words(detail, self)
            line.setProperty("role", "secondary")
            layout.addWidget(line)
        layout.addStretch(1)
        buttons = QDialogButtonBox(self)
        self.run = buttons.addButton("Run on the CPU", QDialogButtonBox.ButtonRole.AcceptRole)
        self.cancel = buttons.addButton("Cancel", QDialogButtonBox.ButtonRole.RejectRole)
        self.run.setObjectName("real_run_run")
        self.run.setToolTip("Build the model with real weights and run it once per size")
        self.cancel.setObjectName("real_run_cancel")
        self.cancel.setToolTip("Keep the numbers that are on the screen")
        self.run.setAutoDefault(False)
        self.cancel.setDefault(True)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        layout.addWidget(buttons)
