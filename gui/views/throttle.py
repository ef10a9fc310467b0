"""Refreshing what is costly to lay out after what must be quick, and not at every tick of a drag."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QElapsedTimer, QObject, QTimer

INTERVAL_MS = 100
"""Between two refreshes; rich text takes 4 ms to lay out, the whole tick of a slider some 20."""
MEASURING_MS = 250
"""The same for what follows a measurement: the window must not disturb what it shows."""


class Throttle(QObject):
    """Calls ``refresh`` soon after ``request``: once cards, tree and charts have painted, and not more often than
    every ``interval`` milliseconds.

    The last request is never dropped.
    """

    def __init__(self, refresh: Callable[[], None], parent: QObject, interval: int = INTERVAL_MS) -> None:
        super().__init__(parent)
        self._refresh = refresh
        self._interval = interval
        self._since = QElapsedTimer()
        self._timer = QTimer(self, singleShot=True)
        self._timer.timeout.connect(self._run)

    def request(self) -> None:
        if self._timer.isActive():
            return
        wait = self._interval - self._since.elapsed() if self._since.isValid() else 0
        self._timer.start(int(max(wait, 0)))

    def flush(self) -> None:
        """Do now what is still to be done."""
        if self._timer.isActive():
            self._timer.stop()
            self._run()

    def _run(self) -> None:
        self._refresh()
        self._since.start()
