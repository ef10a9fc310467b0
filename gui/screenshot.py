"""The real window, settled, as a picture; works without a display."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from PySide6.QtCore import QElapsedTimer, QObject, QTimer

from engine.errors import ErrorInfo
from gui.app import Application, Options, make_application
from gui.opening import ArchitectureRequest, ConsentRequest
from gui.settings import Settings

POLL_MS = 100
SETTLE_POLLS = 4
"""Nothing may have changed for this many polls."""
TIMEOUT_MS = 180_000
MEASURING_MS = 60_000
"""Longest wait for measuring once everything else is there; a slow machine's picture shows how far it is."""


class Photographer(QObject):
    """Waits until everything asked for is on the screen, saves the picture and quits. ``error`` says why not."""

    def __init__(self, application: Application, path: str, select: str) -> None:
        super().__init__()
        self._application = application
        self._path = path
        self._select = select
        self._calm = 0
        self.error = ""
        workspace = application.workspace
        workspace.open_failed.connect(self._on_open_failed)
        workspace.consent_required.connect(self._on_consent_required)
        workspace.shapes_required.connect(self._on_failed)
        workspace.architecture_required.connect(self._on_architecture_required)
        workspace.failure_changed.connect(self._on_failure_changed)
        application.engine.gave_up.connect(self._give_up)
        self._timer = QTimer(self, interval=POLL_MS)
        self._timer.timeout.connect(self._poll)
        self._timer.start()
        self._timeout = QTimer(self, singleShot=True, interval=TIMEOUT_MS)
        self._timeout.timeout.connect(self._on_timeout)
        self._timeout.start()
        self._waited = QElapsedTimer()

    @property
    def _settled(self) -> bool:
        """Whether the window shows what it will, as far as it is worth waiting for."""
        settled = self._application.workspace.settled
        if settled and not self._waited.isValid():
            self._waited.start()
        if self._waited.isValid() and self._waited.hasExpired(MEASURING_MS):
            return True
        return settled and self._application.measuring.settled

    def _poll(self) -> None:
        self._calm = self._calm + 1 if self._settled else 0
        if self._calm == 1 and self._select:
            self._application.selection.set_current(self._select)
        if self._calm < SETTLE_POLLS:
            return
        self._timer.stop()
        if not self._application.window.grab().save(self._path):
            self.error = f"{self._path} cannot be written."
        self._application.app.quit()

    def _give_up(self, sentence: str) -> None:
        self.error = self.error or sentence
        self._timer.stop()
        self._application.app.quit()

    def _on_open_failed(self, source: str, error: ErrorInfo) -> None:
        self._give_up(error.sentence)

    def _on_failed(self, error: ErrorInfo) -> None:
        self._give_up(error.sentence)

    def _on_consent_required(self, request: ConsentRequest) -> None:
        self._give_up(request.error.sentence)

    def _on_architecture_required(self, request: ArchitectureRequest) -> None:
        self._give_up(request.error.sentence)

    def _on_failure_changed(self) -> None:
        failure = self._application.workspace.failure
        if failure is not None:
            self._give_up(failure.error.sentence)

    def _on_timeout(self) -> None:
        self._give_up("The window did not settle in three minutes.")


def take(
    path: str, options: Options, size: tuple[int, int], select: str = "", *, measuring: bool = True
) -> str:
    """Save a picture of the window; the sentence of what went wrong, ``""`` for nothing.

    Settings come from an empty file, so that a picture shows the same for everybody, but for what is measured.
    """
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    app = make_application(["misnomer"])
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(str(Path(folder) / "settings.ini"))
        settings.set("measuring/enabled", measuring)
        application = Application(app, settings, options)
        application.window.resize(*size)
        photographer = Photographer(application, path, select)
        application.show()
        app.exec()
        application.window.close()
        application.latency_engine.stop()
        application.engine.stop()
    return photographer.error
