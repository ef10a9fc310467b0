"""Whether the numbers on the screen belong to what is asked for: late answers and failures make them stale."""

from __future__ import annotations

from PySide6.QtCore import QObject, QTimer, Signal

PATIENCE_MS = 300
"""Answers that come sooner are not announced as late: nothing flickers during a drag."""


class Staleness(QObject):
    """Numbers are stale at once when what was asked for failed, and after a while when its answer is missing."""

    changed = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.value = False
        self._timer = QTimer(self, singleShot=True, interval=PATIENCE_MS)
        self._timer.timeout.connect(self._on_late)

    def update(self, *, current: bool, failed: bool, moved: bool = False) -> None:
        """``current``: what is shown is what was asked for; ``moved``: it has just followed a part of the way."""
        if failed or current:
            self._timer.stop()
            self._set(failed)
        elif not self.value and (moved or not self._timer.isActive()):
            self._timer.start()

    def stop(self) -> None:
        """Announce nothing more."""
        self._timer.stop()

    def _on_late(self) -> None:
        self._set(True)

    def _set(self, value: bool) -> None:
        if value != self.value:
            self.value = value
            self.changed.emit()
