"""Widgets that fade while their numbers belong to another configuration than the one asked for."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtWidgets import QGraphicsOpacityEffect, QWidget

from gui.state_words import STALE_OPACITY


class Dimmer:
    """Fades ``widgets`` together. An effect costs a pixmap per repaint, so there is one only while they are faded."""

    def __init__(self, widgets: Sequence[QWidget]) -> None:
        self._widgets = tuple(widgets)
        self._dimmed = False

    @property
    def dimmed(self) -> bool:
        return self._dimmed

    def set_dimmed(self, dimmed: bool) -> None:
        if dimmed == self._dimmed:
            return
        self._dimmed = dimmed
        for widget in self._widgets:
            effect = None
            if dimmed:
                effect = QGraphicsOpacityEffect(widget)
                effect.setOpacity(STALE_OPACITY)
            widget.setGraphicsEffect(effect)  # type: ignore[arg-type]  # None takes the effect away
