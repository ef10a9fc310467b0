"""One analysis in flight, the newest configuration waits: a drag never queues up."""

from __future__ import annotations

from PySide6.QtCore import QObject, Signal

from engine.errors import ErrorInfo
from engine.protocol import Analyzed, Failed
from engine.results import Configuration
from gui.engine_client import EngineClient

MAX_CRASHES = 2
"""A configuration during which the engine died this often is given up."""


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
        engine.analyzed.connect(self._on_analyzed)
        engine.failed.connect(self._on_failed)
        engine.crashed.connect(self._on_crashed)

    @property
    def in_flight(self) -> Configuration | None:
        """The configuration whose answer is awaited."""
        return self._in_flight

    def submit(self, configuration: Configuration) -> None:
        """Analyse ``configuration`` as soon as the engine is free."""
        if self._held or self._in_flight is not None:
            self._waiting = configuration
            return
        self._in_flight = configuration
        self._cancelling = False
        self._request = self._engine.analyze(configuration)
        self.changed.emit()

    def cancel(self) -> None:
        """Stop what runs; it comes back as ``failed`` with kind ``cancelled``."""
        self._waiting = None
        if self._in_flight is not None:
            self._cancelling = True
            self._engine.cancel(self._request)

    def hold(self) -> None:
        """Send nothing while a model is being opened."""
        self._held = True

    def release(self) -> None:
        """Go on with what waits."""
        self._held = False
        self._send_waiting()

    def clear(self) -> None:
        """Another model: forget everything about the old one."""
        self._in_flight = self._waiting = None
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
        """What was in flight is lost; the opener asks for the current configuration again."""
        if self._in_flight is not None:
            self.note_crash(self._in_flight)
            if self._cancelling:
                self._crashes = MAX_CRASHES
            self._in_flight = None
            self.changed.emit()

    # -- answers -------------------------------------------------------------------------------------------------

    def _on_analyzed(self, event: Analyzed) -> None:
        if self._in_flight is not None and event.id == self._request:
            self._in_flight = None
            self._send_waiting()
            self.analyzed.emit(event.analysis)
            self.changed.emit()

    def _on_failed(self, event: Failed) -> None:
        if self._in_flight is None or event.id != self._request:
            return
        configuration, self._in_flight = self._in_flight, None
        if event.error.kind == "cancelled" and self._held:
            # Opening another model interrupted it; should that fail, it is asked again.
            self._waiting = self._waiting or configuration
            return
        self._send_waiting()
        self.failed.emit(configuration, event)
        self.changed.emit()

    def _send_waiting(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self.submit(waiting)
