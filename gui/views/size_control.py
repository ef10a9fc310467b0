"""One adjustable size, or height and width together: label, slider and number fields."""

from __future__ import annotations

from functools import partial

from PySide6.QtCore import QEvent, QSignalBlocker, Qt, Signal
from PySide6.QtGui import QValidator
from PySide6.QtWidgets import QHBoxLayout, QSpinBox, QToolButton, QWidget

from engine.graph import Dim
from gui import sizes
from gui.asked import REPORT_REASON
from gui.refusals import refusals
from gui.theme import ThemeManager
from gui.views.elided_label import ElidedLabel
from gui.views.shortcut_keys import is_window_key
from gui.views.size_slider import SizeSlider
from gui.workspace import Workspace

WIDE = 300
NARROW = 120
"""Widest slider of the first size of an input, and of the others."""
MAX_DIGITS = 12
"""Of a number that is typed; no range needs more."""
LABEL_PX = 176
"""Longer names of sizes are elided."""


class NumberField(QSpinBox):
    """A whole number to type, or to move with the arrow keys and the wheel; typing counts at Enter or when left.

    What is typed outside the range becomes the nearer end, and ``corrected`` says so.
    """

    corrected = Signal(str)
    """A sentence with the range."""

    def __init__(self, minimum: int, maximum: int, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setRange(minimum, maximum)
        self.setAlignment(Qt.AlignmentFlag.AlignRight)
        self.setKeyboardTracking(False)
        digits = len(str(maximum))
        self.setFixedWidth(max(48, self.fontMetrics().horizontalAdvance("0" * digits) + 24))
        self._snap = 1

    def set_snap(self, step: int) -> None:
        """Arrow keys and the wheel go to multiples of ``step``; typing reaches every number."""
        self._snap = max(step, 1)

    def validate(self, text: str, position: int) -> tuple[QValidator.State, str, int]:
        # Qt would refuse the digit that leaves the range, and 99999 would become 99 without a word.
        if text.isdecimal() and len(text) <= MAX_DIGITS:
            inside = self.minimum() <= int(text) <= self.maximum()
            return (QValidator.State.Acceptable if inside else QValidator.State.Intermediate), text, position
        return super().validate(text, position)

    def fixup(self, text: str) -> str:
        if not text.isdecimal():
            return super().fixup(text)
        nearest = min(max(int(text), self.minimum()), self.maximum())
        name, low, high = self.accessibleName() or "This size", self.minimum(), self.maximum()
        self.corrected.emit(f"{name} goes from {low:,} to {high:,}: {text} became {nearest:,}.")
        return str(nearest)

    def event(self, event: QEvent) -> bool:
        if is_window_key(event):
            event.ignore()
            return False
        return super().event(event)

    def stepBy(self, steps: int) -> None:
        target = self.value() + steps * self._snap
        aligned = target // self._snap * self._snap if steps > 0 else -(-target // self._snap) * self._snap
        self.setValue(aligned)
        self.selectAll()


class SizeControl(QWidget):
    """Slider and field of one symbol; with ``partner`` (the width of a height) one slider for both while linked."""

    moved = Signal(str, int)
    """(symbol, size) asked for by the user."""

    def __init__(
        self,
        workspace: Workspace,
        theme: ThemeManager,
        symbol: str,
        partner: str | None,
        *,
        wide: bool,
        snap: bool,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._workspace = workspace
        self._symbols = [symbol] if partner is None else [symbol, partner]
        dims = [workspace.dim_of(each) for each in self._symbols]
        self.sliders: list[SizeSlider] = []
        self.fields: list[NumberField] = []
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(8)
        self._label = ElidedLabel(" × ".join(map(self._name_of, self._symbols)), self)
        self._label.setProperty("role", "secondary")
        self._label.ensurePolished()
        self._label.setFixedWidth(min(self._label.sizeHint().width(), LABEL_PX))
        layout.addWidget(self._label)
        for name, dim in zip(self._symbols, dims, strict=True):
            slider = self._make_slider(theme, name, dim, WIDE if wide else NARROW)
            layout.addWidget(slider)
            self.sliders.append(slider)
        for index, (name, dim) in enumerate(zip(self._symbols, dims, strict=True)):
            field = self._make_field(name, dim)
            layout.addWidget(field)
            self.fields.append(field)
            if index == 0 and partner is not None:
                self.link = self._make_link()
                layout.addWidget(self.link)
        self.snap = self._make_snap(dims[0], snap)
        if dims[0].step > 1:
            layout.addWidget(self.snap)
        self._on_snap_toggled(self.snap.isChecked())
        self.refresh()

    def _name_of(self, symbol: str) -> str:
        return sizes.name_of(self._workspace.specs, symbol)

    def _make_slider(self, theme: ThemeManager, symbol: str, dim: Dim, width: int) -> SizeSlider:
        slider = SizeSlider(theme, self)
        slider.setRange(dim.minimum, dim.maximum)
        slider.set_preferred_width(width)
        slider.setObjectName(f"slider_{symbol}")
        name = self._name_of(symbol)
        slider.setAccessibleName(f"{name} slider")
        slider.setToolTip(f"{name}: {dim.minimum} to {dim.maximum}. Drag, arrow keys, Page keys or wheel.")
        slider.valueChanged.connect(partial(self.moved.emit, symbol))
        slider.sliderPressed.connect(self._workspace.begin_gesture)
        slider.sliderReleased.connect(self._workspace.end_gesture)
        return slider

    def _make_field(self, symbol: str, dim: Dim) -> NumberField:
        field = NumberField(1, dim.limit, self)
        field.setObjectName(f"field_{symbol}")
        name = self._name_of(symbol)
        field.setAccessibleName(name)
        field.setToolTip(f"{name}, 1 to {dim.limit:,}: type, arrow keys or wheel.")
        field.valueChanged.connect(partial(self.moved.emit, symbol))
        field.corrected.connect(self._workspace.noticed)
        return field

    def _make_link(self) -> QToolButton:
        link = QToolButton(self)
        link.setCheckable(True)
        link.setProperty("flat", "true")
        link.setProperty("compact", "true")
        link.setObjectName("link_height_width")
        link.setAccessibleName("Link height and width")
        link.setToolTip("Linked: height and width stay equal. Click to set them apart.")
        link.setFixedWidth(24)
        link.clicked.connect(self._workspace.set_linked)
        return link

    def _make_snap(self, dim: Dim, checked: bool) -> QToolButton:
        snap = QToolButton(self)
        snap.setCheckable(True)
        snap.setChecked(checked)
        snap.setProperty("flat", "true")
        snap.setProperty("compact", "true")
        snap.setObjectName("snap")
        snap.setAccessibleName("Snap to steps")
        snap.setToolTip(f"Move in steps of {dim.step}. Off: every size.")
        snap.toggled.connect(self._on_snap_toggled)
        snap.setVisible(dim.step > 1)
        return snap

    def _on_snap_toggled(self, snapping: bool) -> None:
        for symbol, slider, field in zip(self._symbols, self.sliders, self.fields, strict=True):
            step = self._workspace.dim_of(symbol).step if snapping else 1
            slider.set_snap(step)
            field.set_snap(step)
        step = self._workspace.dim_of(self._symbols[0]).step
        self.snap.setText(f"step {step}" if snapping else "any size")

    def refresh(self) -> None:
        """Show the configuration asked for, without asking for anything."""
        workspace = self._workspace
        for symbol, slider, field in zip(self._symbols, self.sliders, self.fields, strict=True):
            size = workspace.size_of(symbol)
            dim = workspace.dim_of(symbol)
            blockers = QSignalBlocker(slider), QSignalBlocker(field)
            # A size that was typed, or came from the command line, is on the slider too.
            slider.setRange(dim.minimum, dim.maximum)
            slider.setValue(size)
            if not (field.hasFocus() and field.value() == size):
                field.setValue(size)
            del blockers
            for widget in (slider, field):
                widget.setEnabled(workspace.editable)
                if not workspace.editable:
                    widget.setToolTip(REPORT_REASON)
        if len(self._symbols) > 1:
            self.link.setChecked(workspace.linked)
            self.link.setText("=" if workspace.linked else "≠")
            self.link.setEnabled(workspace.editable)
            self.sliders[1].setVisible(not workspace.linked)

    def refresh_refusals(self) -> None:
        """Shade what is known to be refused, and say so where the value stands."""
        workspace = self._workspace
        for symbol, slider in zip(self._symbols, self.sliders, strict=True):
            slider.set_refusals(
                refusals(
                    workspace.specs,
                    workspace.points,
                    symbol,
                    partial(workspace.configuration_at, symbol),
                )
            )
