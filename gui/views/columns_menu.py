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
REFUSED_KEY = "layers/columns-refused"
"""Columns that a model called for and the user hid."""
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
        self._chosen = frozenset(known_keys(settings.texts(VISIBLE_KEY, DEFAULT_VISIBLE)))
        self._refused = frozenset(known_keys(settings.texts(REFUSED_KEY, ())))
        self._called_for: frozenset[str] = frozenset()
        self.bars = frozenset(known_keys(settings.texts(BARS_KEY, DEFAULT_BARS)))
        self._differences = QMenu("Difference", self)
        self._changes = QMenu("Before → after", self)
        self._bars_menu = QMenu("Bar (share of the model)", self)
        self._actions: dict[tuple[str, str], QAction] = {}
        self.show_mode("macs")

    @property
    def visible(self) -> frozenset[str]:
        """What the user chose, and what the model calls for."""
        return self._chosen | (self._called_for - self._refused)

    def call_for(self, keys: frozenset[str]) -> None:
        """Show the columns ``keys``, which the open model calls for, unless the user hid them for such a model."""
        before = self.visible
        self._called_for = keys
        if self.visible == before:
            return
        for (what, key), action in self._actions.items():
            if what == "column":
                self._check(action, key in self.visible)
        self.changed.emit()

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
        def checked(what: str) -> set[str]:
            return {
                key for (kind, key), action in self._actions.items() if kind == what and action.isChecked()
            }

        visible = checked("column")
        # What a model called for is the user's choice only once they hid it and want it again.
        called_for = self._called_for - self._chosen - self._refused
        self._take(visible - called_for, checked("bar"), (self._refused | called_for) - visible)

    def _on_default(self) -> None:
        for (what, key), action in self._actions.items():
            default = DEFAULT_BARS if what == "bar" else {*DEFAULT_VISIBLE, *self._called_for}
            self._check(action, key in default)
        self._take(DEFAULT_VISIBLE, DEFAULT_BARS, ())
        self.defaults_chosen.emit()

    def show_room(self, given_way: Iterable[str]) -> None:
        """Say at the entries of these columns why they are not seen although they are chosen."""
        gone = frozenset(given_way)
        for (what, key), action in self._actions.items():
            if what == "column":
                name = action.text().removesuffix(NO_ROOM)
                action.setText(name + NO_ROOM if key in gone else name)

    def _check(self, action: QAction, checked: bool) -> None:
        """Set by us and not by the user."""
        action.blockSignals(True)
        action.setChecked(checked)
        action.blockSignals(False)

    def _take(self, chosen: Iterable[str], bars: Iterable[str], refused: Iterable[str]) -> None:
        self._chosen, self.bars, self._refused = frozenset(chosen), frozenset(bars), frozenset(refused)
        self._settings.set_texts(VISIBLE_KEY, sorted(self._chosen))
        self._settings.set_texts(REFUSED_KEY, sorted(self._refused))
        self._settings.set_texts(BARS_KEY, sorted(self.bars))
        self.changed.emit()
