"""Buttons over actions: the same words, name and tooltip, reachable with Tab."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QToolButton, QWidget


def action_button(action: QAction, parent: QWidget) -> QToolButton:
    """A text button that triggers ``action``."""
    button = QToolButton(parent)
    button.setDefaultAction(action)
    button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextOnly)
    button.setObjectName(action.objectName().replace("action_", "button_"))
    button.setAccessibleName(action.text().lstrip("↶↷ "))
    button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    return button
