"""A dialog with a sentence and a longer text to read and copy: error details, logs, tracebacks."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QDialog, QDialogButtonBox, QLabel, QPlainTextEdit, QVBoxLayout, QWidget

from gui.theme import mono_font


class TextDialog(QDialog):
    """Not modal: the window stays usable behind it. It deletes itself when closed."""

    def __init__(self, title: str, sentence: str, text: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("text_dialog")
        self.setWindowTitle(title)
        self.setModal(False)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.resize(720, 420)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(16, 16, 16, 16)
        layout.setSpacing(8)
        if sentence:
            label = QLabel(sentence, self)
            label.setWordWrap(True)
            label.setTextFormat(Qt.TextFormat.PlainText)
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            layout.addWidget(label)
        self.text = QPlainTextEdit(text, self)
        self.text.setReadOnly(True)
        self.text.setFont(mono_font())
        self.text.setObjectName("dialog_text")
        self.text.setAccessibleName(title)
        self.text.setToolTip("Select and copy")
        layout.addWidget(self.text, 1)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close, self)
        copy = buttons.addButton("Copy", QDialogButtonBox.ButtonRole.ActionRole)
        copy.setObjectName("dialog_copy")
        copy.setAutoDefault(False)
        copy.setToolTip("Copy the whole text")
        copy.clicked.connect(self._on_copy)
        buttons.rejected.connect(self.close)
        layout.addWidget(buttons)

    def open(self) -> None:
        """Show without blocking the window; QDialog would make it modal."""
        self.show()
        self.activateWindow()

    def _on_copy(self) -> None:
        QGuiApplication.clipboard().setText(self.text.toPlainText())
