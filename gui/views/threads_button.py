"""How many threads to measure with: the framework's default, or one to as many as there are cores."""

from __future__ import annotations

import os
from functools import partial

import psutil
from PySide6.QtCore import Qt
from PySide6.QtGui import QActionGroup
from PySide6.QtWidgets import QMenu, QToolButton, QWidget

from gui.measuring import Measuring
from gui.models.latency_words import threads_text
from gui.views.actions import REPORT_TIMES

EVERY_UP_TO = 8
"""Beyond this many cores the menu has powers of two and all cores only."""


class ThreadsButton(QToolButton):
    """A menu of thread counts. What the default is, only the engine knows: it is named once something was measured."""

    def __init__(self, measuring: Measuring, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._measuring = measuring
        self._default = 0
        self.setObjectName("button_threads")
        self.setAccessibleName("Threads")
        self.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        menu = QMenu(self)
        menu.setObjectName("threads_menu")
        menu.setToolTipsVisible(True)
        self._group = QActionGroup(self)
        self._actions = {}
        for threads in (0, *choices(allowed_cores())):
            action = menu.addAction(str(threads))
            action.setObjectName(f"threads_{threads}")
            action.setCheckable(True)
            action.setToolTip(
                "What torch chooses by itself" if not threads else f"torch.set_num_threads({threads})"
            )
            action.triggered.connect(partial(measuring.set_threads, threads))
            self._group.addAction(action)
            self._actions[threads] = action
        self.setMenu(menu)
        measuring.state_changed.connect(self.refresh)
        measuring.samples_changed.connect(self.refresh)
        measuring.latency_changed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Show what is asked for."""
        asked = self._measuring.threads
        if not asked:
            self._default = self._engine_default() or self._default
        default = f"Default ({self._default})" if self._default else "Default"
        self._actions[0].setText(default)
        if asked in self._actions:
            self._actions[asked].setChecked(True)
        self.setText(f"{threads_text(asked)} ▾" if asked else "Threads ▾")
        words = threads_text(asked) if asked else f"as many threads as torch chooses: {default.lower()}"
        self.setToolTip(f"Measure with {words} (Ctrl+Alt+H)")
        workspace = self._measuring.workspace
        if workspace.model is not None and not workspace.editable:
            self.setToolTip(REPORT_TIMES)
        self.setEnabled(workspace.model is None or workspace.editable)

    def _engine_default(self) -> int:
        """How many threads the engine used when nobody chose; 0 while it is not known."""
        running, shown = self._measuring.running, self._measuring.shown
        if running is not None and running.threads:
            return running.threads
        own = self._measuring.is_current and self._measuring.workspace.editable
        return shown.threads if shown is not None and own else 0


def allowed_cores() -> int:
    """Cores that this process may use."""
    process = psutil.Process()
    if hasattr(process, "cpu_affinity"):  # not on macOS
        return len(process.cpu_affinity() or ()) or 1
    return os.cpu_count() or 1


def choices(cores: int) -> list[int]:
    """Thread counts to offer for so many cores, ascending."""
    found = {count for count in range(1, cores + 1) if count <= EVERY_UP_TO or count & (count - 1) == 0}
    return sorted(found | {cores})
