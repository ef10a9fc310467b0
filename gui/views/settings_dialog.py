"""Settings: the code the user agreed to run, and what it may do."""

from __future__ import annotations

import os
from datetime import datetime

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from engine import sources
from gui.engine_client import NETWORK
from gui.models.column_table import ColumnTable
from gui.models.contents_pages import KINDS, Column, Page, plain
from gui.settings import Agreement, Settings
from gui.theme import ThemeManager
from gui.views.column_view import ColumnView
from gui.views.elided_label import ElidedLabel
from gui.views.file_dialog import fit, question_button, words
from gui.workspace import Workspace

NONE_YET = "You have not agreed to run any code yet. What is asked when a file would run some is listed here."
HASH_DIGITS = 12
"""Of a SHA-256 in the table; the tooltip and a copy have all of it."""


class SettingsDialog(QDialog):
    """Everything takes effect at once; there is nothing to apply."""

    network_changed = Signal(bool)
    python_chosen = Signal(str)
    """Path of an interpreter for the engine; empty for the window's own."""

    def __init__(
        self, workspace: Workspace, settings: Settings, theme: ThemeManager, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.setObjectName("settings_dialog")
        self.setWindowTitle("Settings")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        fit(self, 820, 520)
        self._workspace = workspace
        self._settings = settings
        self._theme = theme
        self._agreements: list[Agreement] = []
        self._paths: tuple[str, ...] = ()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(16, 16, 16, 16)
        layout.setSpacing(8)
        layout.addWidget(_title("Code you agreed to run", self))
        self.nothing = words(NONE_YET, self)
        self.nothing.setProperty("role", "secondary")
        self.nothing.setAlignment(Qt.AlignmentFlag.AlignTop)
        layout.addWidget(self.nothing, 1)
        self._place = QVBoxLayout()
        layout.addLayout(self._place, 1)
        layout.addLayout(self._revoke_line())
        layout.addSpacing(8)
        layout.addWidget(_title("What code may do", self))
        layout.addWidget(self._network_box())
        layout.addSpacing(8)
        layout.addWidget(_title("Engine's Python", self))
        layout.addLayout(self._python_line())
        buttons = QDialogButtonBox(self)
        close = question_button(buttons, "Close", "settings_close", "Close this window (Esc)", agree=False)
        close.setDefault(True)
        buttons.rejected.connect(self.reject)
        layout.addWidget(buttons)
        self.table = self._make_table()
        self.refresh()
        self.table.setFocus()

    # -- consents ------------------------------------------------------------------------------------------------

    def _revoke_line(self) -> QHBoxLayout:
        self.revoke = QPushButton("Revoke", self)
        self.revoke.setObjectName("settings_revoke")
        self.revoke.setToolTip("Ask again before the selected code runs (Del)")
        self.revoke.clicked.connect(self._on_revoke)
        self.revoke_all = QPushButton("Revoke all", self)
        self.revoke_all.setObjectName("settings_revoke_all")
        self.revoke_all.setToolTip("Ask again before any code runs")
        self.revoke_all.clicked.connect(self._on_revoke_all)
        for button in (self.revoke, self.revoke_all):
            button.setAccessibleName(button.text())
            button.setAutoDefault(False)
        line = QHBoxLayout()
        line.setSpacing(8)
        hint = QLabel("Revoked code is asked about at its next opening; what is open stays open.", self)
        hint.setProperty("role", "secondary")
        line.addWidget(hint, 1)
        line.addWidget(self.revoke)
        line.addWidget(self.revoke_all)
        return line

    def refresh(self) -> None:
        """Show what is agreed to now."""
        self._agreements = self._settings.agreements
        self._paths = self._workspace.trusted_paths
        old = self.table
        self.table = self._make_table()
        old.hide()
        old.deleteLater()
        any_given = bool(self._agreements or self._paths)
        QWidget.setTabOrder(self.table, self.revoke)
        self.table.setVisible(any_given)
        self.nothing.setVisible(not any_given)
        self.revoke_all.setEnabled(any_given)
        if any_given:
            self.table.selectRow(0)
        self._on_selected()

    def _make_table(self) -> ColumnView:
        """Files that run at every change first: they have no hash that could be compared."""
        page = _page(self._paths, self._agreements)
        table = ColumnView(ColumnTable(page, lambda: self._theme.current.color("caution")), self)
        table.setObjectName("settings_consents")
        table.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        table.selectionModel().selectionChanged.connect(self._on_selected)
        self._place.addWidget(table)
        return table

    def _on_selected(self) -> None:
        self.revoke.setEnabled(bool(self.table.selected_rows()))

    def _on_revoke(self) -> None:
        self._take_back(self.table.selected_rows())

    def _on_revoke_all(self) -> None:
        self._take_back(list(range(len(self._paths) + len(self._agreements))))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Delete and self.revoke.isEnabled():
            self._on_revoke()
        else:
            super().keyPressEvent(event)

    def _take_back(self, rows: list[int]) -> None:
        for row in rows:
            if row < len(self._paths):
                self._workspace.distrust(self._paths[row])
            else:
                self._workspace.revoke(self._agreements[row - len(self._paths)].digest)
        self.refresh()

    # -- what code may do, and where it runs ---------------------------------------------------------------------

    def _network_box(self) -> QCheckBox:
        self.network = QCheckBox("The code of models may use the network", self)
        self.network.setObjectName("settings_network")
        self.network.setAccessibleName("The code of models may use the network")
        by_environment = os.environ.get(NETWORK, "") not in ("", "0")
        self.network.setChecked(self._settings.allow_network or by_environment)
        self.network.setEnabled(not by_environment)
        self.network.setToolTip(
            f"{NETWORK} is set in the environment of this window"
            if by_environment
            else "Off: the engine closes the network to it, where the system can. Changing this restarts the engine."
        )
        self.network.toggled.connect(self._on_network_toggled)
        return self.network

    def _on_network_toggled(self, allowed: bool) -> None:
        self._settings.allow_network = allowed
        self.network_changed.emit(allowed)

    def _python_line(self) -> QHBoxLayout:
        self.python = ElidedLabel(parent=self)
        self.python.setObjectName("settings_python")
        self.python.setAccessibleDescription("Engine's Python")
        choose = QPushButton("Choose…", self)
        choose.setObjectName("settings_python_choose")
        choose.setToolTip("Run the engine in the interpreter of your own packages")
        choose.clicked.connect(self._on_choose_python)
        self.own = QPushButton("Use the window's own", self)
        self.own.setObjectName("settings_python_own")
        self.own.setToolTip("Run the engine in the interpreter that runs this window")
        self.own.clicked.connect(self._on_own_python)
        line = QHBoxLayout()
        line.setSpacing(8)
        line.addWidget(self.python, 1)
        for button in (choose, self.own):
            button.setAccessibleName(button.text().rstrip("…"))
            button.setAutoDefault(False)
            line.addWidget(button)
        self._show_python()
        return line

    def _show_python(self) -> None:
        path = self._settings.python
        self.python.setText(path or "The interpreter that runs this window")
        self.own.setEnabled(bool(path))

    def _on_choose_python(self) -> None:
        dialog = QFileDialog(self, "Python interpreter of the engine", "", "All files (*)")
        dialog.setObjectName("settings_python_file")
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        dialog.fileSelected.connect(self._choose_python)
        dialog.open()

    def _on_own_python(self) -> None:
        self._choose_python("")

    def _choose_python(self, path: str) -> None:
        self.python_chosen.emit(path)
        self._show_python()


def _page(paths: tuple[str, ...], agreements: list[Agreement]) -> Page:
    count = len(paths)
    files = [*paths, *(each.file or "not kept" for each in agreements)]
    kinds = ["every change, until the window closes"] * count
    kinds += [KINDS.get(each.kind, "Python file" if each.kind == "python" else "") for each in agreements]
    columns = (
        Column("File", "Where it lay when you agreed; its content counts", files, sources.short, plain, searched=True),
        Column("What may run", "This content, or whatever the file holds", kinds),
        Column("Agreed", "In your time", [""] * count + [each.when for each in agreements], _moment),
        Column("SHA-256", "Of what may run", [""] * count + [each.digest for each in agreements], _digits, plain),
    )  # fmt: skip
    return Page("consents", "Consents", columns)


def _digits(digest: str) -> str:
    return f"{digest[:HASH_DIGITS]}…" if digest else ""


def _moment(when: str) -> str:
    """ISO 8601 in the user's time, to the minute; what cannot be read as it stands."""
    try:
        return datetime.fromisoformat(when).astimezone().strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return when


def _title(text: str, parent: QWidget) -> QLabel:
    label = QLabel(text, parent)
    label.setProperty("role", "title")
    return label
