"""What can be said against the measurement on the screen, and the way to a better one."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QDialog, QDialogButtonBox, QLabel, QVBoxLayout, QWidget

from engine.measurement import Flag
from gui.rich_text import rich
from gui.theme import Theme
from gui.views.actions import Actions

QUIET = "Nothing can be said against this measurement: no other program took the cores, the machine kept its speed."


class NoiseDialog(QDialog):
    """Not modal; it deletes itself when closed."""

    def __init__(self, theme: Theme, actions: Actions, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("noise_dialog")
        self.setWindowTitle("How quiet it was")
        self.setModal(False)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setMinimumWidth(420)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(16, 16, 16, 16)
        layout.setSpacing(8)
        self._theme = theme
        self._words = QLabel(self)
        self._words.setObjectName("noise_words")
        self._words.setWordWrap(True)
        self._words.setTextFormat(Qt.TextFormat.RichText)
        self._words.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        layout.addWidget(self._words)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close, self)
        again = buttons.addButton(actions.measure_quiet.text(), QDialogButtonBox.ButtonRole.ActionRole)
        again.setObjectName("noise_again")
        again.setToolTip(actions.measure_quiet.toolTip())
        again.setEnabled(actions.measure_quiet.isEnabled())
        again.clicked.connect(actions.measure_quiet.trigger)
        again.clicked.connect(self.close)
        buttons.rejected.connect(self.close)
        layout.addWidget(buttons)

    def show_flags(self, flags: tuple[Flag, ...]) -> None:
        """What can be said against the measurement that is on the screen now."""
        theme = self._theme
        said = [
            f"<p><b style='color:{theme.worse if flag.severe else theme.caution}'>"
            f"{rich(flag.words.capitalize())}</b><br>{rich(flag.detail)}</p>"
            for flag in flags
        ]
        self._words.setText("".join(said) or QUIET)
        self.adjustSize()

    def open(self) -> None:
        """Show without blocking the window; QDialog would make it modal. One that is open comes to the front."""
        self.show()
        self.raise_()
        self.activateWindow()
