"""Reports written and read by the engine, and its list of models: requests that concern no analysis."""

from __future__ import annotations

from PySide6.QtCore import QObject, Signal

from engine.errors import ErrorInfo
from engine.protocol import Exported, Failed, ReportOpened, ZooListing
from engine.results import Analysis, ZooEntry
from gui.engine_client import EngineClient


class Reports(QObject):
    """Remembers which request was for what."""

    opened = Signal(object, str, bool)
    """(Analysis, path, as baseline)"""
    open_failed = Signal(str, object)
    """(path, ErrorInfo)"""
    exported = Signal(str)
    export_failed = Signal(object)
    """ErrorInfo"""
    zoo_listed = Signal(object)
    """tuple[ZooEntry, ...]"""
    changed = Signal()

    def __init__(self, engine: EngineClient, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._engine = engine
        self._exports: set[int] = set()
        self._reads: dict[int, tuple[str, bool]] = {}
        self._zoo: tuple[ZooEntry, ...] = ()
        engine.exported.connect(self._on_exported)
        engine.report_opened.connect(self._on_opened)
        engine.zoo_listed.connect(self._on_zoo_listed)
        engine.failed.connect(self._on_failed)
        engine.crashed.connect(self._on_crashed)

    @property
    def busy_text(self) -> str:
        """What is being done, in words; ``""`` for nothing."""
        return "Writing the report" if self._exports else "Reading the report" if self._reads else ""

    def open(self, path: str, as_baseline: bool) -> None:
        self._reads[self._engine.open_report(path)] = (path, as_baseline)
        self.changed.emit()

    def export(self, analysis: Analysis, format: str, path: str, baseline: Analysis | None = None) -> None:
        self._exports.add(self._engine.export(analysis, format, path, baseline))
        self.changed.emit()

    def request_zoo(self) -> None:
        """``zoo_listed`` follows, at once when the list is known."""
        if self._zoo:
            self.zoo_listed.emit(self._zoo)
        else:
            self._engine.list_zoo()

    def cancel(self) -> None:
        for request in (*self._exports, *self._reads):
            self._engine.cancel(request)

    def _on_exported(self, event: Exported) -> None:
        if event.id in self._exports:
            self._exports.discard(event.id)
            self.changed.emit()
            self.exported.emit(event.path)

    def _on_opened(self, event: ReportOpened) -> None:
        if event.id in self._reads:
            path, as_baseline = self._reads.pop(event.id)
            self.opened.emit(event.analysis, path, as_baseline)
            self.changed.emit()

    def _on_zoo_listed(self, event: ZooListing) -> None:
        self._zoo = event.entries
        self.zoo_listed.emit(self._zoo)

    def _on_failed(self, event: Failed) -> None:
        if event.id in self._exports:
            self._exports.discard(event.id)
            self.changed.emit()
            self.export_failed.emit(event.error)
        elif event.id in self._reads:
            path, _ = self._reads.pop(event.id)
            self.changed.emit()
            self.open_failed.emit(path, event.error)

    def _on_crashed(self, sentence: str) -> None:
        reads, self._reads = self._reads, {}
        exports, self._exports = self._exports, set()
        for path, _ in reads.values():
            self.open_failed.emit(path, ErrorInfo("crash", sentence))
        if exports:
            self.export_failed.emit(ErrorInfo("crash", sentence))
