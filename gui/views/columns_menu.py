"""The menu that chooses the columns of the layer tree and which of them carry a bar; remembered in the settings."""

from __future__ import annotations

from collections.abc import Iterable

from PySide6.QtCore import Signal
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QMenu, QWidget

from gui.models.columns import DEFAULT_BARS, DEFAULT_VISIBLE, LayerColumn, columns, known_keys
from gui.settings import Settings

VISIBLE_KEY = "layers/columns"
BARS_KEY = "layers/bars"
NO_ROOM = " (needs a wider panel)"


class ColumnsMenu(QMenu):
    """One checkable entry per column, those of differences, "before → after" and bars in submenus."""

    changed = Signal()
    defaults_chosen = Signal()
    """Column widths fit their content again, too."""

    def __init__(self, settings: Settings, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("layer_columns_menu")
        self.setAccessibleName("Columns of the layer tree")
        self.setToolTipsVisible(True)
        self._settings = settings
        self.visible = frozenset(known_keys(settings.texts(VISIBLE_KEY, DEFAULT_VISIBLE)))
        self.bars = frozenset(known_keys(settings.texts(BARS_KEY, DEFAULT_BARS)))
        self._differences = QMenu("Difference", self)
        self._changes = QMenu("Before → after", self)
        self._bars_menu = QMenu("Bar (share of the model)", self)
        self._actions: dict[tuple[str, str], QAction] = {}
        self.show_mode("macs")

    def show_mode(self, count_mode: str) -> None:
        """Name the entries after the columns of this count."""
        self.clear()
        self._actions.clear()
        submenus = {"difference": self._differences, "change": self._changes}
        for submenu in (*submenus.values(), self._bars_menu):
            submenu.clear()
        for column in columns(count_mode):
            if column.kind == "layer":
                continue
            menu = submenus.get(column.kind, self)
            title = column.title if column.metric is None else column.metric.label
            self._add(menu, "column", column, title, column.key in self.visible)
            if column.kind == "value" and column.metric is not None and column.metric.combine != "ratio":
                self._add(self._bars_menu, "bar", column, title, column.key in self.bars)
        self.addSeparator()
        for submenu in (*submenus.values(), self._bars_menu):
            self.addMenu(submenu)
        self.addSeparator()
        reset = self.addAction("Default columns")
        reset.setObjectName("layer_columns_default")
        reset.triggered.connect(self._on_default)

    def action(self, key: str, what: str = "column") -> QAction:
        """The entry of the column with ``key``; ``what`` is ``column`` or ``bar``. KeyError when there is none."""
        return self._actions[what, key]

    def _add(self, menu: QMenu, what: str, column: LayerColumn, title: str, checked: bool) -> None:
        action = menu.addAction(title)
        action.setCheckable(True)
        action.setChecked(checked)
        action.setToolTip(column.tooltip)
        action.setObjectName(f"layer_{what}_{column.key}")
        action.setData((what, column.key))
        action.toggled.connect(self._on_toggled)
        self._actions[what, column.key] = action

    def _on_toggled(self) -> None:
        def checked(what: str) -> list[str]:
            return [
                key for (kind, key), action in self._actions.items() if kind == what and action.isChecked()
            ]

        self._take(checked("column"), checked("bar"))

    def _on_default(self) -> None:
        for (what, key), action in self._actions.items():
            action.blockSignals(True)
            action.setChecked(key in (DEFAULT_BARS if what == "bar" else DEFAULT_VISIBLE))
            action.blockSignals(False)
        self._take(DEFAULT_VISIBLE, DEFAULT_BARS)
        self.defaults_chosen.emit()

    def show_room(self, given_way: Iterable[str]) -> None:
        """Say at the entries of these columns why they are not seen although they are chosen."""
        gone = frozenset(given_way)
        for (what, key), action in self._actions.items():
            if what == "column":
                name = action.text().removesuffix(NO_ROOM)
                action.setText(name + NO_ROOM if key in gone else name)

    def _take(self, visible: Iterable[str], bars: Iterable[str]) -> None:
        self.visible, self.bars = frozenset(visible), frozenset(bars)
        self._settings.set_texts(VISIBLE_KEY, sorted(self.visible))
        self._settings.set_texts(BARS_KEY, sorted(self.bars))
        self.changed.emit()
