"""Short facts in two columns, a quiet label before each."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout, QLabel, QWidget

from gui.theme import mono_font
from gui.views.elided_label import ElidedLabel


class FactsGrid(QWidget):
    """Short ones stand beside each other, wide ones have a line of their own."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("facts")
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(16)
        self._grid.setVerticalSpacing(4)
        self._grid.setColumnStretch(1, 1)
        self._grid.setColumnStretch(3, 1)
        self._row, self._column = 0, 0

    def add(self, name: str, text: str, *, wide: bool = False, mono: bool = False) -> QLabel:
        """The label with ``text``: elided where it is too long, whole in its tooltip, and selectable."""
        caption = QLabel(name, self)
        caption.setProperty("role", "secondary")
        fact = ElidedLabel(text, self)
        fact.setAccessibleDescription(name)  # its name is its text
        fact.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        if mono:
            fact.setFont(mono_font())
        self.add_widget(caption, fact, wide=wide)
        return fact

    def add_widget(self, caption: QLabel, fact: QWidget, *, wide: bool = False) -> None:
        if wide and self._column:
            self._row, self._column = self._row + 1, 0
        self._grid.addWidget(caption, self._row, self._column)
        self._grid.addWidget(fact, self._row, self._column + 1, 1, 3 if wide else 1)
        if wide or self._column:
            self._row, self._column = self._row + 1, 0
        else:
            self._column = 2
