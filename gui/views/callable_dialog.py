"""Which function or class of a Python file builds the model?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QVBoxLayout,
    QWidget,
)

from engine.errors import ErrorInfo
from gui.callables import Candidate, candidates
from gui.tooltips import plain_tooltip


def ask_callable(
    path: str, parent: QWidget, chosen: Callable[[str], object], failed: Callable[[ErrorInfo], object]
) -> None:
    """``chosen`` gets ``net.py:build``: the only callable of the file, or the one that the user picks.

    ``failed`` gets why the file offers none. Nothing of it runs.
    """
    try:
        found = candidates(path)
    except (OSError, SyntaxError, ValueError) as error:
        failed(ErrorInfo("load", f"{_reason(error)}.", file=path))
        return
    if not found:
        failed(
            ErrorInfo(
                "load",
                "It has no function or class at its top level.",
                "Give it one that builds the model.",
                file=path,
            )
        )
    elif len(found) == 1:
        chosen(f"{path}:{found[0].name}")
    else:
        dialog = CallableDialog(path, found, parent)
        dialog.chosen.connect(chosen)
        dialog.open()


def _reason(error: OSError | SyntaxError | ValueError) -> str:
    """Why a Python file cannot be read, with the line where there is one; no full stop."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if isinstance(error, SyntaxError):
        return f"{error.msg}, line {error.lineno}" if error.lineno else error.msg
    return str(error)


class CallableDialog(QDialog):
    """Lists what the file offers; nothing of it has run."""

    chosen = Signal(str)
    """The source to open, ``net.py:build``."""

    def __init__(self, path: str, candidates: list[Candidate], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("callable_dialog")
        self.setWindowTitle(f"Open {Path(path).name}")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.resize(480, 320)
        self._path = path
        layout = QVBoxLayout(self)
        layout.setContentsMargins(16, 16, 16, 16)
        layout.setSpacing(8)
        layout.addWidget(QLabel("Which of these builds the model? Nothing has run yet.", self))
        self.list = QListWidget(self)
        self.list.setObjectName("callable_list")
        self.list.setAccessibleName("Functions and classes of the file")
        self.list.setToolTip("Enter opens the selected one")
        for candidate in candidates:
            self.list.addItem(self._item(candidate))
        self.list.setCurrentRow(0)
        self.list.itemActivated.connect(self.accept)
        layout.addWidget(self.list, 1)
        buttons = QDialogButtonBox(self)
        self.button = buttons.addButton("Open", QDialogButtonBox.ButtonRole.AcceptRole)
        self.button.setObjectName("callable_open")
        self.button.setToolTip("Open the selected one; you are asked before its code runs")
        buttons.addButton(QDialogButtonBox.StandardButton.Cancel)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        layout.addWidget(buttons)

    def _item(self, candidate: Candidate) -> QListWidgetItem:
        needs = ""
        if candidate.required:
            needs = f" · needs {candidate.required} argument{'s' if candidate.required > 1 else ''}"
        text = f"{candidate.name}    {candidate.kind}, line {candidate.line}{needs}"
        item = QListWidgetItem(text)
        item.setData(Qt.ItemDataRole.UserRole, candidate.name)
        item.setToolTip(plain_tooltip(candidate.summary or text))
        return item

    def accept(self) -> None:
        item = self.list.currentItem()
        if item is not None:
            name = item.data(Qt.ItemDataRole.UserRole)
            super().accept()
            self.chosen.emit(f"{self._path}:{name}")
