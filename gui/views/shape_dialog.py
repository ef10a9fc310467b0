"""Asks for the inputs of a model that does not say what they are, or that is to be opened with others."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QDialog, QDialogButtonBox, QLabel, QLineEdit, QVBoxLayout, QWidget

from engine.errors import InputError
from gui.opening import parse_inputs

FIRST_SHAPE = "1x3x224x224"


class ShapeDialog(QDialog):
    """One line, ``1x3x224x224`` or ``tokens=1x128:int64``; several inputs separated by semicolons."""

    chosen = Signal(object)
    """tuple[InputShape, ...]"""

    def __init__(self, question: str, present: str = FIRST_SHAPE, parent: QWidget | None = None) -> None:
        """``present`` is what the field holds at first."""
        super().__init__(parent)
        self.setObjectName("shape_dialog")
        self.setWindowTitle("Input shape")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.resize(480, 200)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(16, 16, 16, 16)
        layout.setSpacing(8)
        message = QLabel(question, self)
        message.setTextFormat(Qt.TextFormat.PlainText)
        message.setWordWrap(True)
        layout.addWidget(message)
        self.field = QLineEdit(present, self)
        self.field.setObjectName("shape_field")
        self.field.setAccessibleName("Input shapes")
        self.field.setToolTip("1x3x224x224, tokens=1x128:int64; several separated by semicolons")
        self.field.selectAll()
        layout.addWidget(self.field)
        self.hint = QLabel("For tokens: 1x128:int64. Several inputs: separate them by semicolons.", self)
        self.hint.setProperty("role", "secondary")
        self.hint.setWordWrap(True)
        layout.addWidget(self.hint)
        layout.addStretch(1)
        buttons = QDialogButtonBox(self)
        button = buttons.addButton("Open", QDialogButtonBox.ButtonRole.AcceptRole)
        button.setObjectName("shape_open")
        button.setToolTip("Open the model with these inputs (Enter)")
        buttons.addButton(QDialogButtonBox.StandardButton.Cancel)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        layout.addWidget(buttons)

    def accept(self) -> None:
        try:
            inputs = parse_inputs(self.field.text())
        except InputError as error:
            self.hint.setText(f"{error.message} {error.hint}")
            return
        super().accept()
        self.chosen.emit(inputs)
