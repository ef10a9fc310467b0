"""Editors of a layer's attributes: fields for whole numbers, a box for yes or no, a list of words, a line."""

from __future__ import annotations

from typing import TypeAlias

from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtGui import QWheelEvent
from PySide6.QtWidgets import QCheckBox, QComboBox, QGridLayout, QLabel, QLineEdit, QSpinBox, QWidget

from engine.edits import Value
from engine.errors import InputError
from engine.graph import AttributeValue
from gui.models.attribute_forms import LARGEST, TYPED_TOO, Form, form_of, line_text, parsed, row_label
from gui.tooltips import plain_tooltip
from gui.views.shortcut_keys import is_window_key

EditValue: TypeAlias = Value

FIELD_WIDTH = 46
LINE_WIDTH = 130
WORD_LETTERS = 12
"""A list of words is at least so wide; longer words are whole in the list and the tooltip."""
WORD_WIDTH = 200
TOOLTIP = "tooltip"
"""Property that keeps what a field says while it can be edited."""


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


class WordField(QComboBox):
    """A list of words; the wheel works only where the cursor is."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(WORD_LETTERS)
        self.setMaximumWidth(WORD_WIDTH)

    def wheelEvent(self, event: QWheelEvent) -> None:
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()


class AttributeEditor(QWidget):
    """One editable attribute of one layer after another, as long as these are edited with the same fields.

    A value that arrives while the user types waits until the field is left.
    """

    committed = Signal(str, str, object)
    """(layer, field, int | float | str | tuple[int, ...])"""

    def __init__(self, layer: str, field: str, value: AttributeValue, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.field = field
        self.setObjectName(f"attribute_{field}")
        self._layer = layer
        self._value = value
        self._form = form_of(field, value)
        self._spins: list[NumberField] = []
        self._combo: WordField | None = None
        self._box: QCheckBox | None = None
        self._line: QLineEdit | None = None
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(5)
        self._grid.setVerticalSpacing(2)
        if self._form.kind == "numbers":
            self._make_spins()
        elif self._form.kind == "flag":
            self._box = self._make_box()
            self._grid.addWidget(self._box, 0, 0)
        elif self._form.words:
            self._combo = self._make_combo(self._form.words)
            self._grid.addWidget(self._combo, 0, 0)
        else:
            self._line = self._make_line()
            self._grid.addWidget(self._line, 0, 0)
        self._grid.setColumnStretch(self._grid.columnCount(), 1)
        self._show(value)
        self.setFocusProxy(self._fields[0])

    @property
    def form(self) -> Form:
        """What fields it has; a value of another form needs another editor."""
        return self._form

    @property
    def value(self) -> EditValue:
        """What the fields say. InputError when the words cannot be read."""
        if self._combo is not None:
            text = self._combo.currentText()
            return parsed(text, self._value, self.field) if self._combo.isEditable() else text
        if self._box is not None:
            return int(self._box.isChecked())
        if self._line is not None:
            return parsed(self._line.text(), self._value, self.field)
        numbers = tuple(spin.value() for spin in self._spins)
        return numbers if isinstance(self._value, tuple) else numbers[0]

    def set_value(self, value: AttributeValue) -> None:
        """Show what the model has now, except in a field the user is typing in."""
        self._value = value
        if self._combo is not None:
            if not (self._combo.isEditable() and self._combo.hasFocus()):
                self._combo.setCurrentText(str(value))
        elif self._line is not None:
            if not (self._line.hasFocus() and self._line.isModified()):
                self._line.setText(line_text(value))
        else:
            self._show(value, but_typed=True)

    def bind(self, layer: str, value: AttributeValue) -> None:
        """Edit the attribute of another layer from now on; what is typed is none of its."""
        self._layer = layer
        self._value = value
        self._show(value)

    def finish(self) -> None:
        """Commit what is being typed, to the layer that it was typed for."""
        for spin in self._spins:
            spin.interpretText()
        self._commit()

    def set_obstacle(self, why: str) -> None:
        """Disable the fields and let them say why; empty: they can be edited."""
        self.setEnabled(not why)
        for part in self._fields:
            part.setToolTip(plain_tooltip(why) or part.property(TOOLTIP))

    # -- fields --------------------------------------------------------------------------------------------------

    @property
    def _fields(self) -> list[QWidget]:
        others = (self._combo, self._box, self._line)
        return [*self._spins, *(each for each in others if each is not None)]

    @property
    def _name(self) -> str:
        return self.field.replace("_", " ")

    def _show(self, value: AttributeValue, *, but_typed: bool = False) -> None:
        """``value`` in all fields, or in all ``but`` those with something half ``typed``; nothing is committed."""
        if self._combo is not None:
            self._combo.setCurrentText(str(value))
        elif self._box is not None:
            self._box.setChecked(bool(value))
        elif self._line is not None:
            self._line.setText(line_text(value))
        parts = value if isinstance(value, tuple) else (value,)
        # Without spins there is nothing to do here; with some there is one for each number.
        for spin, part in zip(self._spins, parts, strict=False):
            if not (but_typed and spin.hasFocus() and spin.lineEdit().isModified()):
                spin.blockSignals(True)
                spin.setValue(int(part or 0))
                spin.lineEdit().setText(spin.textFromValue(spin.value()))
                spin.blockSignals(False)

    def _make_spins(self) -> None:
        rows = self._form.rows
        count = sum(rows)
        for row, across in enumerate(rows):
            if label := row_label(self.field, len(rows), row):
                self._grid.addWidget(_quiet(label, self), row, 0)
            for place in range(across):
                if place:
                    self._grid.addWidget(QLabel("×", self), row, 2 * place)
                axis = len(self._spins)
                spin = self._make_spin(axis, count, self._spin_name(axis, count, label, place))
                self._spins.append(spin)
                self._grid.addWidget(spin, row, 2 * place + 1)

    def _spin_name(self, axis: int, count: int, label: str, place: int) -> str:
        if label:
            return f"{self._name}, {label} of axis {place + 1}"
        return f"{self._name}, axis {axis + 1} of {count}" if count > 1 else self._name

    def _make_spin(self, axis: int, count: int, name: str) -> NumberField:
        spin = NumberField(self._form.least, self)
        spin.setObjectName(f"attribute_{self.field}_{axis}")
        spin.setAccessibleName(name)
        what = name if count > 1 and row_label(self.field, len(self._form.rows), 0) else self._name
        spin.setToolTip(f"{what.capitalize()} of this layer: type and press Enter, or use the arrow keys")
        spin.setProperty(TOOLTIP, spin.toolTip())
        spin.valueChanged.connect(self._commit)
        return spin

    def _make_box(self) -> QCheckBox:
        box = QCheckBox(self)
        box.setObjectName(f"attribute_{self.field}_flag")
        box.setAccessibleName(self._name)
        box.setToolTip(f"{self._name.capitalize()} of this layer: checked is 1, not checked is 0")
        box.setProperty(TOOLTIP, box.toolTip())
        box.clicked.connect(self._commit)
        return box

    def _make_combo(self, words: tuple[str, ...]) -> WordField:
        combo = WordField(self)
        combo.addItems(words)
        combo.setObjectName(f"attribute_{self.field}_text")
        combo.setAccessibleName(self._name)
        typed = self.field == TYPED_TOO
        numbers = " or whole numbers such as 1 or 1x2" if typed else ""
        combo.setToolTip(f"A word ({', '.join(words)}){numbers}")
        combo.setProperty(TOOLTIP, combo.toolTip())
        combo.textActivated.connect(self._commit)
        if typed:
            combo.setEditable(True)
            line = combo.lineEdit()
            assert line is not None
            line.editingFinished.connect(self._commit)
        return combo

    def _make_line(self) -> QLineEdit:
        line = QLineEdit(self)
        line.setObjectName(f"attribute_{self.field}_line")
        line.setAccessibleName(self._name)
        line.setFixedWidth(LINE_WIDTH)
        line.setToolTip(f"{self._name.capitalize()} of this layer: type and press Enter")
        line.setProperty(TOOLTIP, line.toolTip())
        line.editingFinished.connect(self._commit)
        return line

    def _commit(self) -> None:
        if self._line is not None and not self._line.isModified():
            return
        try:
            value = self.value
        except InputError:
            self._show(self._value)  # what was typed cannot be read: the value that counts
            return
        if self._line is not None:
            self._line.setModified(False)
        if value != self._value:
            self._value = value
            self.committed.emit(self._layer, self.field, value)


def _quiet(text: str, parent: QWidget) -> QLabel:
    label = QLabel(text, parent)
    label.setProperty("role", "secondary")
    return label
