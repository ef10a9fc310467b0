"""Editors of a layer's attributes: fields for a few whole numbers, a list for words, a line for the rest."""

from __future__ import annotations

from typing import Literal, TypeAlias

from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtGui import QWheelEvent
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QLabel, QLineEdit, QSpinBox, QWidget

from engine.edits import Value, attribute_text, parse_value
from engine.errors import InputError
from engine.graph import AttributeValue
from gui.tooltips import plain_tooltip
from gui.views.shortcut_keys import is_window_key

EditValue: TypeAlias = Value
Kind: TypeAlias = Literal["numbers", "words", "line"]

LARGEST = 4096
FIELD_WIDTH = 46
TOOLTIP = "tooltip"
"""Property that keeps what a field says while it can be edited."""
LINE_WIDTH = 130
MOST_FIELDS = 4
"""More numbers than this are typed into one line."""
PADDING = ("valid", "same")
"""What PyTorch's ``padding`` may say instead of a number."""
CHOICES = {
    "padding": PADDING,
    "auto_pad": ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"),
    "approximate": ("none", "tanh"),
    "direction": ("forward", "reverse", "bidirectional"),
    "reduction": ("none", "add", "mul", "max", "min"),
    "nearest_mode": ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"),
    "keep_aspect_ratio_policy": ("stretch", "not_larger", "not_smaller"),
    "padding_mode": ("zeros", "border", "reflection"),
    "coordinate_transformation_mode": (
        "half_pixel",
        "half_pixel_symmetric",
        "pytorch_half_pixel",
        "align_corners",
        "asymmetric",
        "tf_crop_and_resize",
    ),
}
"""Words that a field is chosen from; whatever else it may say can be typed."""
AT_LEAST_ONE = {"stride", "strides", "dilation", "dilations", "kernel_size", "kernel_shape", "group"}


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
    """(field, int | float | str | tuple[int, ...])"""

    def __init__(self, field: str, value: AttributeValue, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.field = field
        self.setObjectName(f"attribute_{field}")
        self._value = value
        self._spins: list[NumberField] = []
        self._combo: QComboBox | None = None
        self._line: QLineEdit | None = None
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(5)
        kind, _ = editor_shape(value)
        if kind == "words" and field in CHOICES:
            self._combo = self._make_combo(str(value))
            row.addWidget(self._combo)
        elif kind == "numbers":
            parts = value if isinstance(value, tuple) else (value,)
            for axis, part in enumerate(parts):
                if axis:
                    row.addWidget(QLabel("×", self))
                spin = self._make_spin(axis, len(parts), int(part or 0))
                self._spins.append(spin)
                row.addWidget(spin)
        else:
            self._line = self._make_line(value)
            row.addWidget(self._line)
        row.addStretch(1)
        self.setFocusProxy(self._fields[0])

    @property
    def _fields(self) -> list[QWidget]:
        return [*self._spins, *(each for each in (self._combo, self._line) if each is not None)]

    @staticmethod
    def fits(value: AttributeValue) -> bool:
        """Whether there is an editor for such a value."""
        return isinstance(value, int | float | str | tuple) and not isinstance(value, bool)

    @property
    def shape(self) -> tuple[str, int]:
        """What kind of fields it has; a value of another shape needs another editor."""
        return editor_shape(self._value)

    @property
    def value(self) -> EditValue:
        """What the fields say. InputError when the words cannot be read."""
        if self._combo is not None:
            text = self._combo.currentText()
            return parse_value(text, where=self.field) if self.field == "padding" else text.strip()
        if self._line is not None:
            return parsed(self._line.text(), self._value, self.field)
        numbers = tuple(spin.value() for spin in self._spins)
        return numbers if isinstance(self._value, tuple) else numbers[0]

    def set_value(self, value: AttributeValue) -> None:
        """Show what the model has now, except in a field the user is typing in."""
        self._value = value
        if self._combo is not None:
            if not self._combo.hasFocus():
                self._combo.setCurrentText(str(value))
            return
        if self._line is not None:
            if not (self._line.hasFocus() and self._line.isModified()):
                self._line.setText(line_text(value))
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
        for part in self._fields:
            part.setToolTip(plain_tooltip(why) or part.property(TOOLTIP))

    def _make_spin(self, axis: int, axes: int, value: int) -> NumberField:
        least = 1 if self.field in AT_LEAST_ONE else 0 if self.field == "padding" else -LARGEST
        spin = NumberField(least, self)
        spin.setValue(value)
        spin.setObjectName(f"attribute_{self.field}_{axis}")
        name = self._name
        spin.setAccessibleName(f"{name}, axis {axis + 1} of {axes}" if axes > 1 else name)
        spin.setToolTip(f"{name.capitalize()} of this layer: type and press Enter, or use the arrow keys")
        spin.setProperty(TOOLTIP, spin.toolTip())
        spin.valueChanged.connect(self._commit)
        return spin

    def _make_combo(self, value: str) -> QComboBox:
        words = CHOICES[self.field]
        combo = QComboBox(self)
        combo.setEditable(True)
        combo.addItems(words)
        combo.setCurrentText(value)
        combo.setObjectName(f"attribute_{self.field}_text")
        combo.setAccessibleName(self._name)
        numbers = " or whole numbers such as 1 or 1x2" if self.field == "padding" else ""
        combo.setToolTip(f"A word ({', '.join(words)}){numbers}")
        combo.setProperty(TOOLTIP, combo.toolTip())
        combo.textActivated.connect(self._commit)
        line = combo.lineEdit()
        assert line is not None
        line.editingFinished.connect(self._commit)
        return combo

    def _make_line(self, value: AttributeValue) -> QLineEdit:
        line = QLineEdit(line_text(value), self)
        line.setObjectName(f"attribute_{self.field}_line")
        line.setAccessibleName(self._name)
        line.setFixedWidth(LINE_WIDTH)
        line.setToolTip(f"{self._name.capitalize()} of this layer: type and press Enter")
        line.setProperty(TOOLTIP, line.toolTip())
        line.editingFinished.connect(self._commit)
        return line

    @property
    def _name(self) -> str:
        return self.field.replace("_", " ")

    def _commit(self) -> None:
        if self._line is not None and not self._line.isModified():
            return
        try:
            value = self.value
        except InputError:
            self._show_again()
            return
        if self._line is not None:
            self._line.setModified(False)
        if value != self._value:
            self._value = value
            self.committed.emit(self.field, value)

    def _show_again(self) -> None:
        """What was typed cannot be read: the value that counts is shown instead."""
        if self._combo is not None:
            self._combo.setCurrentText(str(self._value))
        elif self._line is not None:
            self._line.setText(line_text(self._value))


def editor_shape(value: AttributeValue) -> tuple[Kind, int]:
    """Kind and number of fields of the editor for ``value``."""
    if isinstance(value, str):
        return "words", 1
    if isinstance(value, int):
        return ("numbers" if abs(value) <= LARGEST else "line"), 1
    if isinstance(value, tuple) and 0 < len(value) <= MOST_FIELDS and all(abs(n) <= LARGEST for n in value):
        return "numbers", len(value)
    return "line", 1


def line_text(value: AttributeValue) -> str:
    """``value`` as it is typed: ``1e-05``, ``0, 0, 1``."""
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    # A float of ONNX has 32 bits: 1e-05 is stored as 9.99999974e-06.
    return f"{value:.7g}" if isinstance(value, float) else attribute_text(value)


def parsed(text: str, like: AttributeValue, field: str) -> EditValue:
    """What was typed, as a value of the kind of ``like``. InputError for what is none."""
    if isinstance(like, str):
        return text.strip()
    try:
        if isinstance(like, float):
            return float(text)
        numbers = tuple(int(part) for part in text.replace("×", ",").replace(",", " ").split())
    except ValueError as error:
        raise InputError(f"{field}: {text!r} is no number.", hint="Write 2, 0.5 or 0, 1, 2.") from error
    if isinstance(like, tuple):
        return numbers
    if len(numbers) != 1:
        raise InputError(f"{field}: {text!r} is not one whole number.", hint="Write 2.")
    return numbers[0]
