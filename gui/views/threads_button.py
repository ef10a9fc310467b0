"""How to measure: with how many threads, and of ONNX models with which options of onnxruntime."""

from __future__ import annotations

import os
from functools import partial

import msgspec
import psutil
from PySide6.QtCore import Qt
from PySide6.QtGui import QAction, QActionGroup
from PySide6.QtWidgets import QMenu, QToolButton, QWidget

from engine.measurement import ORT_LEVELS, OrtLevel
from gui.measuring import Measuring
from gui.models.latency_words import runtime_text, threads_text, unusual
from gui.views.actions import REPORT_TIMES

EVERY_UP_TO = 8
"""Beyond this many cores the menu has powers of two and all cores only."""
SPINNING = (
    "Threads without work spin instead of sleeping: onnxruntime's default, faster on a quiet machine "
    "and several times slower on a busy one"
)


class ThreadsButton(QToolButton):
    """A menu of thread counts. What the default is, only the engine knows: it is named once something was measured.

    With an ONNX model open, also of onnxruntime's graph optimisation and of spinning.
    """

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
            action.setToolTip(f"Measure with {threads_text(threads)}")
            action.triggered.connect(partial(measuring.set_threads, threads))
            self._group.addAction(action)
            self._actions[threads] = action
        self._levels: dict[OrtLevel, QAction] = {}
        self._add_runtime(menu)
        self.setMenu(menu)
        measuring.workspace.model_changed.connect(self.refresh)
        measuring.state_changed.connect(self.refresh)
        measuring.samples_changed.connect(self.refresh)
        measuring.latency_changed.connect(self.refresh)
        self.refresh()

    def _add_runtime(self, menu: QMenu) -> None:
        """Of ONNX models alone: :meth:`refresh` shows and hides it."""
        title = QAction("Graph optimisation of onnxruntime", menu)
        title.setEnabled(False)
        self._runtime = [menu.addSeparator(), title]
        menu.addAction(title)
        levels = QActionGroup(self)
        for level, words in ORT_LEVELS.items():
            action = menu.addAction("None" if level == "disable" else level.capitalize())
            action.setObjectName(f"ort_level_{level}")
            action.setCheckable(True)
            action.setToolTip(words)
            action.triggered.connect(partial(self._set_level, level))
            levels.addAction(action)
            self._levels[level] = action
        self._spinning = QAction("Idle threads spin", menu)
        self._spinning.setObjectName("ort_spinning")
        self._spinning.setCheckable(True)
        self._spinning.setToolTip(SPINNING)
        self._spinning.triggered.connect(self._set_spinning)
        self._runtime += [*self._levels.values(), menu.addSeparator(), self._spinning]
        menu.addAction(self._spinning)

    def _set_level(self, level: OrtLevel) -> None:
        self._measuring.set_runtime(msgspec.structs.replace(self._measuring.runtime, level=level))

    def _set_spinning(self, spinning: bool) -> None:
        self._measuring.set_runtime(msgspec.structs.replace(self._measuring.runtime, spinning=spinning))

    def refresh(self) -> None:
        """Show what is asked for."""
        asked, runtime, is_onnx = self._measuring.threads, self._measuring.runtime, self._measuring.is_onnx
        if not asked:
            self._default = self._engine_default() or self._default
        default = f"Default ({self._default})" if self._default else "Default"
        framework = "onnxruntime" if is_onnx else "torch"
        self._actions[0].setText(default)
        self._actions[0].setToolTip(f"What {framework} chooses by itself")
        if asked in self._actions:
            self._actions[asked].setChecked(True)
        for action in self._runtime:
            action.setVisible(is_onnx)
        self._levels[runtime.level].setChecked(True)
        self._spinning.setChecked(runtime.spinning)
        told = unusual(runtime) if is_onnx else ()
        self.setText(f"{' · '.join((threads_text(asked) if asked else 'Threads', *told))} ▾")
        words = threads_text(asked) if asked else f"as many threads as {framework} chooses: {default.lower()}"
        how = f", {runtime_text(runtime)}" if is_onnx else ""
        self.setToolTip(f"Measure with {words}{how} (Ctrl+Alt+H)")
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
