"""Notices when a file's content was replaced, also by editors that write a new file and rename it."""

from __future__ import annotations

import os

from PySide6.QtCore import QFileSystemWatcher, QObject, QTimer, Signal

SETTLE_MS = 200
"""Editors write in several steps; the last of them counts."""

Signature = tuple[int, int, int]


class FileWatch(QObject):
    """Watches one file through its folder."""

    changed = Signal(str)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._watcher = QFileSystemWatcher(self)
        self._watcher.fileChanged.connect(self._on_event)
        self._watcher.directoryChanged.connect(self._on_event)
        self._timer = QTimer(self, singleShot=True, interval=SETTLE_MS)
        self._timer.timeout.connect(self._compare)
        self._path = ""
        self._signature: Signature | None = None

    @property
    def path(self) -> str:
        """The watched file, ``""`` for none."""
        return self._path

    def watch(self, path: str) -> None:
        """Watch ``path`` instead of the file before; ``""`` for none."""
        if path == self._path:
            return
        old = [*self._watcher.files(), *self._watcher.directories()]
        if old:
            self._watcher.removePaths(old)
        self._timer.stop()
        self._path = path
        self._signature = _signature(path) if path else None
        if path:
            self._watcher.addPaths([path, os.path.dirname(path) or "."])

    def accept(self) -> None:
        """What the file holds now is known already, as we wrote it: only what comes later is a change."""
        self._timer.stop()
        self._signature = _signature(self._path)
        self._follow_file()

    def _follow_file(self) -> None:
        """A replaced file drops out of the watcher; its folder told us."""
        if self._path and self._path not in self._watcher.files():
            self._watcher.addPath(self._path)

    def _on_event(self) -> None:
        self._timer.start()

    def _compare(self) -> None:
        signature = _signature(self._path)
        if signature is None:
            return
        self._follow_file()
        if signature != self._signature:
            self._signature = signature
            self.changed.emit(self._path)


def _signature(path: str) -> Signature | None:
    """Changes with the content; None while the file is not there."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
