"""Editors of a module's attributes: number fields for whole numbers and tuples of them, a combo box for words."""

from __future__ import annotations

from typing import TypeAlias

from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtGui import QWheelEvent
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QLabel, QSpinBox, QWidget

from engine.edits import parse_value
from engine.errors import InputError
from engine.graph import AttributeValue
from gui.tooltips import plain_tooltip
from gui.views.shortcut_keys import is_window_key

EditValue: TypeAlias = int | str | tuple[int, ...]

LARGEST = 4096
FIELD_WIDTH = 46
TOOLTIP = "tooltip"
"""Property that keeps what a field says while it can be edited."""
WORDS = ("valid", "same")
"""What ``padding`` may say instead of a number."""


class NumberField(QSpinBox):
    """Commits on Enter, on leaving and on each arrow key; the wheel works only where the cursor is."""

    def __init__(self, minimum: int, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setRange(minimum, LARGEST)
        self.setKeyboardTracking(False)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAlignment(Qt.AlignmentFlag.AlignRight)
        self.setFixedWidth(FIELD_WIDTH)

    def event(self, event: QEvent) -> bool:
        if is_window_key(event):
            event.ignore()
            return False
        return super().event(event)

    def wheelEvent(self, event: QWheelEvent) -> None:
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()


class AttributeEditor(QWidget):
    """One editable attribute. A value that arrives while the user types waits until the field is left."""

    committed = Signal(str, object)
    """(field, int | str | tuple[int, ...])"""

    def __init__(self, field: str, value: AttributeValue, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.field = field
        self.setObjectName(f"attribute_{field}")
        self._value = value
        self._spins: list[NumberField] = []
        self._combo: QComboBox | None = None
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(5)
        if isinstance(value, str):
            self._combo = self._make_combo(value)
            row.addWidget(self._combo)
        else:
            parts = value if isinstance(value, tuple) else (value,)
            for axis, part in enumerate(parts):
                if axis:
                    row.addWidget(QLabel("×", self))
                spin = self._make_spin(axis, len(parts), int(part or 0))
                self._spins.append(spin)
                row.addWidget(spin)
        row.addStretch(1)
        self.setFocusProxy(self._combo or self._spins[0])

    @staticmethod
    def fits(value: AttributeValue) -> bool:
        """Whether there is an editor for such a value."""
        return isinstance(value, int | str | tuple) and not isinstance(value, bool)

    @property
    def shape(self) -> tuple[str, int]:
        """What kind of fields it has; a value of another shape needs another editor."""
        return editor_shape(self._value)

    @property
    def value(self) -> EditValue:
        """What the fields say. InputError when the words cannot be read."""
        if self._combo is not None:
            return parse_value(self._combo.currentText(), where=self.field)
        numbers = tuple(spin.value() for spin in self._spins)
        return numbers if isinstance(self._value, tuple) else numbers[0]

    def set_value(self, value: AttributeValue) -> None:
        """Show what the model has now, except in a field the user is typing in."""
        self._value = value
        if self._combo is not None:
            if not self._combo.hasFocus():
                self._combo.setCurrentText(str(value))
            return
        parts = value if isinstance(value, tuple) else (value,)
        for spin, part in zip(self._spins, parts, strict=True):
            if not (spin.hasFocus() and spin.lineEdit().isModified()):
                spin.blockSignals(True)
                spin.setValue(int(part or 0))
                spin.blockSignals(False)

    def set_obstacle(self, why: str) -> None:
        """Disable the fields and let them say why; empty: they can be edited."""
        self.setEnabled(not why)
        for part in (*self._spins, *((self._combo,) if self._combo is not None else ())):
            part.setToolTip(plain_tooltip(why) or part.property(TOOLTIP))

    def _make_spin(self, axis: int, axes: int, value: int) -> NumberField:
        spin = NumberField(0 if self.field == "padding" else 1, self)
        spin.setValue(value)
        spin.setObjectName(f"attribute_{self.field}_{axis}")
        name = self.field.replace("_", " ")
        spin.setAccessibleName(f"{name}, axis {axis + 1} of {axes}" if axes > 1 else name)
        spin.setToolTip(f"{name.capitalize()} of this layer: type and press Enter, or use the arrow keys")
        spin.setProperty(TOOLTIP, spin.toolTip())
        spin.valueChanged.connect(self._commit)
        return spin

    def _make_combo(self, value: str) -> QComboBox:
        combo = QComboBox(self)
        combo.setEditable(True)
        combo.addItems(WORDS)
        combo.setCurrentText(value)
        combo.setObjectName(f"attribute_{self.field}_text")
        combo.setAccessibleName(self.field.replace("_", " "))
        combo.setToolTip(f"A word ({', '.join(WORDS)}) or whole numbers such as 1 or 1x2")
        combo.setProperty(TOOLTIP, combo.toolTip())
        combo.textActivated.connect(self._commit)
        line = combo.lineEdit()
        assert line is not None
        line.editingFinished.connect(self._commit)
        return combo

    def _commit(self) -> None:
        try:
            value = self.value
        except InputError:
            assert self._combo is not None
            self._combo.setCurrentText(str(self._value))
            return
        if value != self._value:
            self._value = value
            self.committed.emit(self.field, value)


def editor_shape(value: AttributeValue) -> tuple[str, int]:
    """Kind and number of fields of the editor for ``value``."""
    if isinstance(value, str):
        return "text", 1
    return "numbers", len(value) if isinstance(value, tuple) else 1
