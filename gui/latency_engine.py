"""The process that measures and a warm spare, so that ending a long iteration costs little."""

from __future__ import annotations

from PySide6.QtCore import QObject


class LatencyEngine(QObject):
    """One engine process that measures, and one that waits with its frameworks imported."""

    def __init__(self, python: str = "", parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.python = python

    def stop(self) -> None:
        """End both processes."""
