"""Keys that belong to the window even while a field has the focus."""

from __future__ import annotations

from PySide6.QtCore import QEvent
from PySide6.QtGui import QKeyEvent, QKeySequence

WINDOW_KEYS = (QKeySequence.StandardKey.Undo, QKeySequence.StandardKey.Redo)


def is_window_key(event: QEvent) -> bool:
    """Whether ``event`` asks a field if it wants undo or redo for its own text: these undo what the model is given."""
    return (
        event.type() == QEvent.Type.ShortcutOverride
        and isinstance(event, QKeyEvent)
        and any(event.matches(key) for key in WINDOW_KEYS)
    )
