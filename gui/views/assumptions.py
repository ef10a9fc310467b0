"""What depends on the data: one button that says how many there are, and a list of fields behind it."""

from __future__ import annotations

from functools import partial

from PySide6.QtCore import QPoint, QSignalBlocker, Qt, Signal
from PySide6.QtWidgets import QFrame, QGridLayout, QLabel, QScrollArea, QToolButton, QVBoxLayout, QWidget

from engine.graph import Assumption
from gui.views.size_control import NumberField

MAX_HEIGHT = 420
FIELD_WIDTH = 120


class AssumptionsButton(QToolButton):
    """``9 assumptions ▾``; hidden while there is none. ``changed`` carries (key, value) that the user set."""

    changed = Signal(str, int)
    corrected = Signal(str)
    """A sentence: what was typed is outside the range."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("assumptions_button")
        self.setAccessibleName("Assumptions")
        self.setToolTip(
            "Sizes, repetitions and branches that depend on the data; the numbers hold for these values. "
            "Click to change them."
        )
        self.fields: dict[str, NumberField] = {}
        self._popup = QFrame(self, Qt.WindowType.Popup)
        self._popup.setObjectName("assumptions")
        self._popup.setProperty("panel", True)
        self._popup.setAccessibleName("Assumptions")
        layout = QVBoxLayout(self._popup)
        layout.setContentsMargins(12, 12, 12, 12)
        layout.setSpacing(8)
        note = QLabel("This depends on the data. The numbers hold for the values assumed here.", self._popup)
        note.setProperty("role", "secondary")
        layout.addWidget(note)
        self._scroll = QScrollArea(self._popup)
        self._scroll.setWidgetResizable(True)
        self._scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._scroll.viewport().setAutoFillBackground(False)
        layout.addWidget(self._scroll)
        self.clicked.connect(self.open_list)
        self.hide()

    def show_assumptions(self, assumptions: tuple[Assumption, ...], enabled: bool, reason: str) -> None:
        """Fields for ``assumptions``; with ``enabled`` false they can be read only and ``reason`` says why."""
        if tuple(self.fields) != tuple(assumption.key for assumption in assumptions):
            self._rebuild(assumptions)
        for assumption in assumptions:
            field = self.fields[assumption.key]
            # A narrower range moves the value too: that is the engine's doing, not the user's.
            with QSignalBlocker(field):
                if (field.minimum(), field.maximum()) != (assumption.minimum, assumption.maximum):
                    field.setRange(assumption.minimum, assumption.maximum)
                if not (field.hasFocus() and field.value() == assumption.value):
                    field.setValue(assumption.value)
            field.setEnabled(enabled)
            limits = f"{assumption.minimum:,} to {assumption.maximum:,}"
            field.setToolTip(f"{assumption.label}: {limits}" if enabled else reason)
        count = len(assumptions)
        self.setText(f"{count} assumption{'s' if count != 1 else ''} ▾")
        self.setVisible(bool(assumptions))
        if not assumptions:
            self._popup.hide()

    def open_list(self) -> None:
        """Show the fields below the button."""
        body = self._scroll.widget()
        if body is None:
            return
        size = body.sizeHint()
        self._scroll.setMinimumWidth(size.width() + 16)
        self._scroll.setFixedHeight(min(size.height() + 4, MAX_HEIGHT))
        self._popup.adjustSize()
        self._popup.move(self.mapToGlobal(QPoint(0, self.height() + 4)))
        self._popup.show()
        next(iter(self.fields.values())).setFocus()

    def _rebuild(self, assumptions: tuple[Assumption, ...]) -> None:
        self.fields.clear()
        body = QWidget()
        body.setObjectName("assumptions_body")
        grid = QGridLayout(body)
        grid.setContentsMargins(0, 0, 4, 0)
        grid.setHorizontalSpacing(16)
        grid.setVerticalSpacing(4)
        grid.setColumnStretch(0, 1)
        for row, assumption in enumerate(assumptions):
            label = QLabel(assumption.label, body)
            field = NumberField(assumption.minimum, assumption.maximum, body)
            field.setFixedWidth(FIELD_WIDTH)
            field.setObjectName(f"assumption_{assumption.key}")
            field.setAccessibleName(assumption.label)
            field.valueChanged.connect(partial(self.changed.emit, assumption.key))
            field.corrected.connect(self.corrected)
            label.setBuddy(field)
            grid.addWidget(label, row, 0)
            grid.addWidget(field, row, 1, Qt.AlignmentFlag.AlignRight)
            self.fields[assumption.key] = field
        self._scroll.setWidget(body)
        body.setAutoFillBackground(False)  # after setWidget, which turns it on
