"""Asks before the author's code of a source runs, and says what would run."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QCheckBox,
    QDialog,
    QDialogButtonBox,
    QGridLayout,
    QLabel,
    QPlainTextEdit,
    QVBoxLayout,
    QWidget,
)

from engine.errors import ErrorInfo
from gui.theme import mono_font


class ConsentDialog(QDialog):
    """Cancel is the default. Accepted means: run the content with ``error.digest``."""

    def __init__(self, source: str, error: ErrorInfo, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("consent_dialog")
        self.setWindowTitle("Run this code?")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.resize(640, 440)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(16, 16, 16, 16)
        layout.setSpacing(12)
        layout.addWidget(_label(error.message, self))
        facts = QGridLayout()
        facts.setHorizontalSpacing(16)
        facts.setColumnStretch(1, 1)
        for row, (name, value) in enumerate((("File", error.file or source), ("SHA-256", error.digest))):
            caption = QLabel(name, self)
            caption.setProperty("role", "secondary")
            facts.addWidget(caption, row, 0)
            fact = _label(value, self)
            fact.setAccessibleName(name)
            if name == "SHA-256":
                fact.setFont(mono_font())
            facts.addWidget(fact, row, 1)
        layout.addLayout(facts)
        layout.addWidget(_label("What would run, with your rights on this machine:", self))
        self.details = QPlainTextEdit("\n".join(error.details), self)
        self.details.setReadOnly(True)
        self.details.setFont(mono_font())
        self.details.setObjectName("consent_details")
        self.details.setAccessibleName("What would run")
        self.details.setToolTip("What opening this file would run")
        layout.addWidget(self.details, 1)
        self.watch = QCheckBox("Run it again whenever this file changes, until the window closes", self)
        self.watch.setObjectName("consent_watch")
        self.watch.setAccessibleName("Run again when the file changes")
        self.watch.setToolTip("Off: you are asked about every new content")
        layout.addWidget(self.watch)
        buttons = QDialogButtonBox(self)
        self.run = buttons.addButton("Run this code", QDialogButtonBox.ButtonRole.AcceptRole)
        self.cancel = buttons.addButton("Cancel", QDialogButtonBox.ButtonRole.RejectRole)
        self.run.setObjectName("consent_run")
        self.run.setToolTip("Agree to this content; the agreement is remembered by its SHA-256")
        self.cancel.setObjectName("consent_cancel")
        self.cancel.setToolTip("Nothing runs, nothing is opened")
        self.run.setAutoDefault(False)
        self.cancel.setDefault(True)
        self.cancel.setFocus()
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        layout.addWidget(buttons)


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
        layout.addWidget(_label(error.message, self))
        for detail in error.details:
            line = _label(detail, self)
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


def _label(text: str, parent: QWidget) -> QLabel:
    """Hostile text (a file name, a message of someone's code) as plain, selectable words."""
    label = QLabel(text, parent)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label
