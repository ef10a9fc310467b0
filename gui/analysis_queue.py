"""One analysis in flight, the newest configuration waits: a drag never queues up."""

from __future__ import annotations

import time

from PySide6.QtCore import QObject, QTimer, Signal

from engine.configuration import Configuration
from engine.errors import CancelledError, ErrorInfo, describe
from engine.protocol import Analyzed, Failed
from gui.engine_client import EngineClient

MAX_CRASHES = 2
"""A configuration during which the engine died this often is given up."""
PATIENCE_S = 0.3
"""What takes longer is stopped when something newer waits."""
MAX_PATIENCE_S = 1.0
"""Models whose answers usually take up to this long still show numbers during a drag."""
USUAL_FACTOR = 1.5


class AnalysisQueue(QObject):
    """Depth one: what is submitted while an answer is awaited replaces what waited before it."""

    analyzed = Signal(object)
    """Analysis: an answer arrived; what waited is under way already."""
    failed = Signal(object, object)
    """(Configuration, Failed)"""
    changed = Signal()
    """Something was sent or has come back."""

    def __init__(self, engine: EngineClient, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._engine = engine
        self._request = 0
        self._in_flight: Configuration | None = None
        self._waiting: Configuration | None = None
        self._held = False
        self._crashed_on: Configuration | None = None
        self._crashes = 0
        self._cancelling = False
        self._cancelled_waiting: Configuration | None = None
        self._superseded = False
        self._sent_at = 0.0
        self._usual_s = 0.0
        self._patience = QTimer(self, singleShot=True)
        self._patience.timeout.connect(self._supersede)
        engine.analyzed.connect(self._on_analyzed)
        engine.failed.connect(self._on_failed)
        engine.crashed.connect(self._on_crashed)
        engine.gave_up.connect(self._on_gave_up)

    @property
    def in_flight(self) -> Configuration | None:
        """The configuration whose answer is awaited."""
        return self._in_flight

    def submit(self, configuration: Configuration) -> None:
        """Analyse ``configuration`` as soon as there is an engine and it is free."""
        if self._held:
            self._waiting = configuration
        elif self._in_flight is not None:
            self._waiting = configuration
            if not self._patience.isActive():
                self._supersede()
        else:
            self._send(configuration)

    def _send(self, configuration: Configuration) -> None:
        request = self._engine.analyze(configuration)
        if not request:
            self._waiting = configuration
            return
        self._request, self._in_flight = request, configuration
        self._cancelling = self._superseded = False
        self._cancelled_waiting = None
        self._sent_at = time.monotonic()
        patience = min(max(PATIENCE_S, USUAL_FACTOR * self._usual_s), MAX_PATIENCE_S)
        self._patience.start(round(patience * 1000))
        self.changed.emit()

    def _supersede(self) -> None:
        """What runs takes long and something newer waits: ask it to stop, without hurry."""
        if self._in_flight is not None and self._waiting is not None and not self._superseded:
            self._superseded = True
            self._engine.interrupt(self._request)

    def cancel(self) -> None:
        """Stop what runs; it comes back as ``failed`` with kind ``cancelled``, and so does what waits, at once."""
        waiting, self._waiting = self._waiting, None
        if self._in_flight is not None:
            self._cancelling = True
            self._cancelled_waiting = waiting
            self._engine.cancel(self._request)
        if waiting is not None:
            self.failed.emit(waiting, Failed(0, describe(CancelledError())))

    def hold(self) -> None:
        """Send nothing: a model is being opened, or there is no engine."""
        self._held = True

    def release(self) -> None:
        """Go on with what waits."""
        self._held = False
        self._send_waiting()

    def answered(self, configuration: Configuration) -> None:
        """``configuration`` was answered elsewhere; it need not wait any longer."""
        if self._waiting == configuration:
            self._waiting = None

    def clear(self) -> None:
        """Another model: forget everything about the old one."""
        self._in_flight = self._waiting = None
        self._usual_s = 0.0
        self.forgive()

    # -- deaths --------------------------------------------------------------------------------------------------

    def note_crash(self, configuration: Configuration) -> None:
        """The engine died while it worked on ``configuration``."""
        self._crashes = self._crashes + 1 if configuration == self._crashed_on else 1
        self._crashed_on = configuration

    def gave_up_on(self, configuration: Configuration) -> ErrorInfo | None:
        """Why ``configuration`` is not asked for again: it killed the engine too often, or its cancelling did."""
        if configuration != self._crashed_on or self._crashes < MAX_CRASHES:
            return None
        if self._cancelling:
            return ErrorInfo("cancelled", "Cancelled.", "The engine had to be restarted to stop.")
        return ErrorInfo(
            "crash",
            f"The engine ended {MAX_CRASHES} times at this configuration.",
            "It may need more memory than this machine has.",
            traceback=self._engine.stderr_text,
        )

    def forgive(self) -> None:
        """Ask again even for what killed the engine."""
        self._crashed_on, self._crashes = None, 0

    def _on_crashed(self) -> None:
        """What was in flight is lost; the opener asks the next engine for the newest configuration."""
        self._held = True
        if self._in_flight is not None:
            self.note_crash(self._cancelled_waiting or self._in_flight)
            if self._cancelling:
                self._crashes = MAX_CRASHES
            self._in_flight = None
            self.changed.emit()

    def _on_gave_up(self) -> None:
        """Also an engine that never started has lost what it was sent."""
        self._held = True
        if self._in_flight is not None:
            self._waiting = self._waiting or self._in_flight
            self._in_flight = None
            self.changed.emit()

    # -- answers -------------------------------------------------------------------------------------------------

    def _on_analyzed(self, event: Analyzed) -> None:
        if self._in_flight is not None and event.id == self._request:
            self._in_flight = None
            self._usual_s = time.monotonic() - self._sent_at
            self._send_waiting()
            self.analyzed.emit(event.analysis)
            self.changed.emit()

    def _on_failed(self, event: Failed) -> None:
        if self._in_flight is None or event.id != self._request:
            return
        configuration, self._in_flight = self._in_flight, None
        cancelled = event.error.kind == "cancelled"
        if cancelled and self._held:
            # Opening another model interrupted it; should that fail, it is asked again.
            self._waiting = self._waiting or configuration
            return
        superseded = cancelled and self._waiting is not None
        self._send_waiting()
        if not superseded:
            self.failed.emit(configuration, event)
        self.changed.emit()

    def _send_waiting(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            return
        given_up = self.gave_up_on(waiting)
        if given_up is not None:
            self.failed.emit(waiting, Failed(0, given_up))
        else:
            self.submit(waiting)
