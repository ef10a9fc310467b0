"""SHA-256 of a file, computed beside the window: a large one takes seconds."""

from __future__ import annotations

import hashlib
import os
import stat
import threading

from PySide6.QtCore import QObject, Signal

CHUNK_BYTES = 8 << 20


class FileDigest(QObject):
    """Reads in a thread of its own, which a file that never ends or a share that is gone cannot keep alive."""

    progressed = Signal(float)
    """Share of the file, 0 to 1."""
    finished = Signal(str)
    """The hash in hexadecimal; empty where the file cannot be read or is no regular one."""

    def __init__(self, path: str, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._path = path
        self._stop = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._run, name="digest", daemon=True).start()

    def stop(self) -> None:
        """Nothing more is announced."""
        self._stop.set()

    def _run(self) -> None:
        try:
            digest = self._compute()
        except (OSError, ValueError):
            digest = ""
        self._tell(digest)

    def _compute(self) -> str:
        if not stat.S_ISREG(os.stat(self._path).st_mode):
            return ""
        whole, done = hashlib.sha256(), 0
        with open(self._path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            while chunk := file.read(CHUNK_BYTES):
                whole.update(chunk)
                done += len(chunk)
                self._tell(min(done / size, 1.0) if size else 1.0)
                if self._stop.is_set():
                    return ""
        return whole.hexdigest()

    def _tell(self, news: float | str) -> None:
        if self._stop.is_set():
            return
        try:
            signal = self.finished if isinstance(news, str) else self.progressed
            signal.emit(news)
        except RuntimeError:  # its window is gone
            self._stop.set()
