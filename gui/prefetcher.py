"""Asks the engine for the slider's other positions, and for the zeros in the weights, when nothing else is to do."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QObject, QTimer

from engine.configuration import Configuration
from gui.engine_client import EngineClient

MAX_CRASHES = 2
IDLE_MS = 200
"""Without a request for this long, the next positions are worth computing."""


class Prefetcher(QObject):
    """``wanted`` gives the configurations without a known answer, most useful first.

    ``zeros`` says whether those in the weights are wanted too.
    """

    def __init__(
        self,
        engine: EngineClient,
        wanted: Callable[[], tuple[Configuration, ...]],
        zeros: Callable[[], bool],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._engine = engine
        self._wanted = wanted
        self._zeros = zeros
        self._sent: tuple[Configuration, ...] = ()
        self._sent_zeros = False
        self._crashes = 0
        self._held = False
        self._timer = QTimer(self, singleShot=True, interval=IDLE_MS)
        self._timer.timeout.connect(self._on_idle)

    def touch(self) -> None:
        """Something was requested or answered: the idle time starts again."""
        self._timer.start()

    def hold(self, held: bool) -> None:
        """Leave the machine to something else: at once, but for the position under way."""
        if held == self._held:
            return
        self._held = held
        if not held:
            self.touch()
        elif self._sent or self._sent_zeros:
            self._engine.prefetch(())
            self._sent, self._sent_zeros = (), False

    def reset(self) -> None:
        """The engine has forgotten its list, as after a restart or another model."""
        self._timer.stop()
        self._sent, self._sent_zeros = (), False

    @property
    def suspended(self) -> bool:
        """Whether this model's other positions are left alone, because the engine died over them."""
        return self._crashes >= MAX_CRASHES

    def on_crash(self) -> None:
        """The engine died while it had nothing to do but the list."""
        if self._sent or self._sent_zeros:
            self._crashes += 1

    def forgive(self) -> None:
        """Another model is open."""
        self._crashes = 0

    def _on_idle(self) -> None:
        if self._held:
            return
        wanted, zeros = self._wanted(), self._zeros()
        # A list that the engine is still working on needs no replacing as long as nothing new is in it.
        if (zeros and not self._sent_zeros) or not set(wanted) <= set(self._sent):
            sent = bool(self._engine.prefetch(wanted, zeros))
            self._sent, self._sent_zeros = wanted if sent else (), sent and zeros
