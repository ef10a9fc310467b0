"""When to measure what, and what is known: the measured half of the window's truth."""

from __future__ import annotations

from dataclasses import dataclass, field

from PySide6.QtCore import QObject, Signal

from engine.configuration import Configuration
from engine.errors import ErrorInfo
from engine.measurement import Comparison, Latency, Measurement
from gui.latency_engine import LatencyEngine
from gui.settings import Settings
from gui.workspace import Workspace


@dataclass
class Running:
    """The measurement under way, as far as it is."""

    configuration: Configuration
    threads: int
    """0 until the engine says how many."""
    samples_s: list[float] = field(default_factory=list)
    delay_s: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Sweep:
    """Measuring the slider's range, position by position."""

    symbol: str
    done: int
    total: int
    paused: bool = False
    finished: bool = False


class Measuring(QObject):
    """Live after a short pause, settled when nothing moves, then the layers, then against the baseline."""

    state_changed = Signal()
    """``enabled``, ``phase``, ``words``, ``error`` or ``threads``."""
    samples_changed = Signal()
    """``running`` has more samples or is another; at most four times a second."""
    latency_changed = Signal()
    """``shown``, ``is_current``, ``comparison`` or ``history``."""
    ops_measured = Signal(object)
    """OpTimes, the answer to :meth:`measure_ops`."""
    sweep_changed = Signal()
    """``sweep`` or what it has found."""

    def __init__(
        self,
        workspace: Workspace,
        engine: LatencyEngine,
        settings: Settings,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.workspace = workspace
        self.engine = engine
        self.enabled = settings.flag("measuring/enabled", True)
        """Whether anything is measured; kept in the settings."""
        self.threads = 0
        """Asked for; 0 is the framework's default. Kept in the settings."""
        self.phase = ""
        """``""`` (idle), ``waiting``, ``starting``, ``live``, ``settled``, ``report``, ``layers``, ``comparing``,
        ``ops``, ``quiet`` (waits for a quiet machine) or ``sweep``."""
        self.words = ""
        """What is being done, for the status bar; ``""`` for nothing."""
        self.running: Running | None = None
        self.error: ErrorInfo | None = None
        """Why the configuration asked for cannot be measured: memory, a crash, an error in the model."""
        self.latencies: dict[Configuration, Latency] = {}
        """Everything known of this model at these threads."""
        self.history: list[Measurement] = []
        """The latest measurement of each of the last dozen configurations, newest last."""
        self.shown: Measurement | None = None
        """Of the configuration asked for where it is known, else the last there was: the card shows it."""
        self.sweep: Sweep | None = None

    @property
    def is_current(self) -> bool:
        """Whether ``shown`` is of the configuration asked for."""
        return self.shown is not None and self.shown.configuration == self.workspace.configuration

    @property
    def comparison(self) -> Comparison | None:
        """The configuration on the screen against the baseline, once it is measured."""
        return None

    def close(self) -> None:
        """The window closes: nothing more is measured."""

    def set_enabled(self, enabled: bool) -> None:
        """Pausing ends all CPU use of measuring within a second; what is known stays."""

    def set_threads(self, threads: int) -> None:
        """Measure with so many threads from now on; 0 is the framework's default."""

    def measure_again(self, *, when_quiet: bool = False, report: bool = False) -> None:
        """Measure the configuration asked for once more: settled, or ten seconds for a ``report``."""

    def measure_ops(self) -> None:
        """Time every operation of the configuration on the screen; ``ops_measured`` follows."""

    def start_sweep(self) -> None:
        """Measure positions over the range of the workspace's sweep symbol; the ones known are kept."""

    def pause_sweep(self, paused: bool) -> None:
        """Hold or go on."""

    def cancel_sweep(self) -> None:
        """Stop; what it has found stays."""
