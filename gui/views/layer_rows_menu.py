"""The menu of the layer tree's rows: down to which level, and with those that cost nothing or without."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtWidgets import QMenu, QWidget

from gui.settings import Settings

LEVELS: tuple[tuple[str, int | None], ...] = (
    ("Expand to 1 level", 1),
    ("Expand to 2 levels", 2),
    ("Expand to 3 levels", 3),
    ("Expand all", None),
)
IDLE_KEY = "layers/idle_rows"
IDLE_SHORTCUT = "Ctrl+I"


class RowsMenu(QMenu):
    """Remembers in the settings whether rows that cost nothing are shown."""

    level_chosen = Signal(object)
    """int, or None for all levels."""
    idle_toggled = Signal(bool)

    def __init__(self, settings: Settings, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._settings = settings
        self.setObjectName("layer_rows_menu")
        self.setAccessibleName("Rows of the layer tree")
        self.setToolTipsVisible(True)
        for text, level in LEVELS:
            action = self.addAction(text)
            action.setObjectName(f"layer_expand_{level or 'all'}")
            action.setData((level,))
        self.addSeparator()
        self.idle = QAction("Show rows that cost nothing", self)
        self.idle.setObjectName("layer_idle_rows")
        self.idle.setCheckable(True)
        self.idle.setChecked(settings.flag(IDLE_KEY))
        shortcut = QKeySequence(IDLE_SHORTCUT)
        self.idle.setShortcut(shortcut)
        self.idle.setShortcutContext(Qt.ShortcutContext.WindowShortcut)
        keys = shortcut.toString(QKeySequence.SequenceFormat.NativeText)
        self.idle.setToolTip(f"Views, selections and other data movement at no cost ({keys})")
        self.idle.toggled.connect(self._on_idle_toggled)
        self.addAction(self.idle)
        self.triggered.connect(self._on_triggered)

    def _on_idle_toggled(self, shown: bool) -> None:
        self._settings.set(IDLE_KEY, shown)
        self.idle_toggled.emit(shown)

    def _on_triggered(self, action: QAction) -> None:
        data = action.data()
        if isinstance(data, tuple):
            self.level_chosen.emit(data[0])
