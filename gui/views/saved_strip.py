"""A quiet strip that says where a model was saved and what to know about it; it stays until it is closed."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt, QUrl, Signal
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QSizePolicy, QToolButton, QWidget

from engine.protocol import Saved
from gui.foreign_text import short_words
from gui.tooltips import plain_tooltip
from gui.workspace import Workspace

TEXT_PX = 160


class SavedStrip(QFrame):
    """Follows the workspace's ``saved``; the next opening or saving takes it away."""

    open_asked = Signal(str)
    """The path of the saved model."""

    def __init__(self, workspace: Workspace, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("saved_strip")
        self.setProperty("panel", True)
        self.setAccessibleName("Saved")
        self._workspace = workspace
        self._path = ""
        layout = QHBoxLayout(self)
        layout.setContentsMargins(12, 6, 8, 6)
        layout.setSpacing(8)
        self.text = QLabel(self)
        self.text.setObjectName("saved_text")
        self.text.setTextFormat(Qt.TextFormat.PlainText)
        self.text.setWordWrap(True)
        self.text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.text.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.text.setMinimumWidth(TEXT_PX)
        layout.addWidget(self.text, 1)
        self.folder = self._button("saved_folder", "Show in folder", "Open the folder that the file is in")
        self.folder.clicked.connect(self._on_folder)
        self.open = self._button(
            "saved_open", "Open it", "Open the saved model instead of the one on the screen"
        )
        self.open.clicked.connect(self._on_open)
        self.dismiss = self._button("saved_close", "✕", "Close this message")
        self.dismiss.setAccessibleName("Close message")
        self.dismiss.clicked.connect(self.hide)
        for button in (self.folder, self.open, self.dismiss):
            layout.addWidget(button)
        workspace.saved.connect(self._on_saved)
        workspace.save_failed.connect(self.hide)
        workspace.opening_began.connect(self.hide)
        self.hide()

    def _button(self, name: str, words: str, what: str) -> QToolButton:
        button = QToolButton(self)
        button.setText(words)
        button.setObjectName(name)
        button.setAccessibleName(words)
        button.setToolTip(what)
        button.setProperty("flat", "true")
        return button

    def _on_saved(self, event: Saved) -> None:
        self._path = event.path
        self.open.setVisible(not self._workspace.is_open(event.path))
        self.text.setText(f"✓ Saved {short_words(Path(event.path).name)}. {short_words(event.note)}".strip())
        self.text.setToolTip(plain_tooltip(event.path))
        self.show()

    def _on_folder(self) -> None:
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(Path(self._path).parent)))

    def _on_open(self) -> None:
        self.open_asked.emit(self._path)
