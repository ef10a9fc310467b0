"""Files that the engine writes and reads, and its list of models: requests that concern no analysis."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from PySide6.QtCore import QObject, Signal

from engine import sources
from engine.errors import ErrorInfo
from engine.protocol import (
    Exported,
    Failed,
    ImportProfile,
    Inspected,
    ProfileImported,
    ReportOpened,
    Saved,
    SaveModel,
    ZooListing,
)
from engine.results import Analysis, ZooEntry
from engine.unfinished import remove_left
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
    saved = Signal(object, object, str)
    """(Saved, SaveModel, source of the model that it is of)"""
    save_failed = Signal(object)
    """ErrorInfo"""
    profile_imported = Signal(object)
    """LayerTimes"""
    import_failed = Signal(object)
    """ErrorInfo"""
    inspected = Signal(object)
    """Contents"""
    inspect_failed = Signal(str, object)
    """(path, ErrorInfo)"""
    zoo_listed = Signal(object)
    """tuple[ZooEntry, ...]"""
    changed = Signal()

    def __init__(self, engine: EngineClient, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._engine = engine
        self._exports: set[int] = set()
        self._saves: dict[int, tuple[SaveModel, str]] = {}
        self._saver = 0
        """Id of the process that was asked to save."""
        self._imports: set[int] = set()
        self._reads: dict[int, tuple[str, bool]] = {}
        self._inspections: dict[int, str] = {}
        self._zoo: tuple[ZooEntry, ...] = ()
        self._zoo_wanted = False
        engine.exported.connect(self._on_exported)
        engine.saved.connect(self._on_saved)
        engine.report_opened.connect(self._on_opened)
        engine.profile_imported.connect(self._on_profile_imported)
        engine.inspected.connect(self._on_inspected)
        engine.zoo_listed.connect(self._on_zoo_listed)
        engine.failed.connect(self._on_failed)
        engine.crashed.connect(self._on_lost)
        engine.gave_up.connect(self._on_lost)
        engine.restarted.connect(self._on_restarted)

    @property
    def busy_text(self) -> str:
        """What is being done, in words; ``""`` for nothing."""
        if self._exports:
            return "Writing the report"
        if self._saves:
            return "Saving the model"
        if self._imports:
            return "Reading the profile"
        if self._reads:
            return "Reading the report"
        path = next(iter(self._inspections.values()), "")
        return f"Reading {sources.short(path)}" if path else ""

    def open(self, path: str, as_baseline: bool) -> None:
        request = self._engine.open_report(path)
        if request:
            self._reads[request] = (path, as_baseline)
            self.changed.emit()
        else:
            self.open_failed.emit(path, self._no_engine())

    def drop_opening(self) -> None:
        """A model is opened after all: a report on its way would take its place. Baselines still come."""
        self._reads = {request: read for request, read in self._reads.items() if read[1]}

    def export(self, analysis: Analysis, format: str, path: str, baseline: Analysis | None = None) -> None:
        request = self._engine.export(analysis, format, path, baseline)
        if request:
            self._exports.add(request)
            self.changed.emit()
        else:
            self.export_failed.emit(self._no_engine())

    def save(self, wanted: SaveModel, source: str) -> None:
        """Save the model opened from ``source``: ``saved`` follows, or ``save_failed``."""
        request = self._engine.request(wanted)
        if request:
            self._saves[request] = (wanted, source)
            self._saver = self._engine.pid
            self.changed.emit()
        else:
            self.save_failed.emit(self._no_engine())

    def import_profile(self, wanted: ImportProfile) -> None:
        """``profile_imported`` follows, or ``import_failed``."""
        request = self._engine.request(wanted)
        if request:
            self._imports.add(request)
            self.changed.emit()
        else:
            self.import_failed.emit(self._no_engine())

    def drop_imports(self) -> None:
        """Another model is opened: a profile on its way is not of it."""
        self._imports.clear()

    def inspect(self, path: str) -> None:
        """``inspected`` says what the file holds, or ``inspect_failed`` why that cannot be said."""
        request = self._engine.inspect(path)
        if request:
            self._inspections[request] = path
            self.changed.emit()
        else:
            self.inspect_failed.emit(path, self._no_engine())

    def _no_engine(self) -> ErrorInfo:
        if self._engine.state == "failed":
            return ErrorInfo("engine", "The engine is not running.", "Restart it and try again.")
        return ErrorInfo("engine", "The engine is just being restarted.", "Try again in a moment.")

    def request_zoo(self) -> None:
        """``zoo_listed`` follows, at once when the list is known, and after a restart when there is no engine."""
        if self._zoo:
            self.zoo_listed.emit(self._zoo)
            return
        self._zoo_wanted = True
        if not self._engine.list_zoo() and self._engine.state == "failed":
            self._engine.restart()

    def cancel(self) -> None:
        for request in (*self._exports, *self._saves, *self._imports, *self._reads, *self._inspections):
            self._engine.cancel(request)

    def _on_exported(self, event: Exported) -> None:
        if event.id in self._exports:
            self._exports.discard(event.id)
            self.changed.emit()
            self.exported.emit(event.path)

    def _on_saved(self, event: Saved) -> None:
        if event.id in self._saves:
            wanted, source = self._saves.pop(event.id)
            self.changed.emit()
            self.saved.emit(event, wanted, source)

    def _on_profile_imported(self, event: ProfileImported) -> None:
        if event.id in self._imports:
            self._imports.discard(event.id)
            self.changed.emit()
            self.profile_imported.emit(event.layers)

    def _on_opened(self, event: ReportOpened) -> None:
        if event.id in self._reads:
            path, as_baseline = self._reads.pop(event.id)
            self.opened.emit(event.analysis, path, as_baseline)
            self.changed.emit()

    def _on_inspected(self, event: Inspected) -> None:
        if self._inspections.pop(event.id, ""):
            self.changed.emit()
            self.inspected.emit(event.contents)

    def _on_zoo_listed(self, event: ZooListing) -> None:
        self._zoo, self._zoo_wanted = event.entries, False
        self.zoo_listed.emit(self._zoo)

    def _on_failed(self, event: Failed) -> None:
        if event.id in self._exports:
            self._exports.discard(event.id)
            self.changed.emit()
            self.export_failed.emit(event.error)
        elif event.id in self._saves:
            del self._saves[event.id]
            self.changed.emit()
            self.save_failed.emit(event.error)
        elif event.id in self._imports:
            self._imports.discard(event.id)
            self.changed.emit()
            self.import_failed.emit(event.error)
        elif event.id in self._reads:
            path, _ = self._reads.pop(event.id)
            self.changed.emit()
            self.open_failed.emit(path, event.error)
        elif event.id in self._inspections:
            path = self._inspections.pop(event.id)
            self.changed.emit()
            self.inspect_failed.emit(path, event.error)

    def _on_lost(self, sentence: str) -> None:
        """The engine is gone, and what it was working on with it."""
        reads, self._reads = self._reads, {}
        exports, self._exports = self._exports, set()
        saves, self._saves = self._saves, {}
        imports, self._imports = self._imports, set()
        inspections, self._inspections = self._inspections, {}
        for path, _ in reads.values():
            self.open_failed.emit(path, ErrorInfo("crash", sentence))
        for path in inspections.values():
            self.inspect_failed.emit(path, ErrorInfo("crash", sentence))
        if exports:
            self.export_failed.emit(ErrorInfo("crash", sentence))
        if saves:
            _remove_left([Path(wanted.path) for wanted, _ in saves.values()], self._saver)
            self.save_failed.emit(ErrorInfo("crash", sentence))
        if imports:
            self.import_failed.emit(ErrorInfo("crash", sentence))
        if reads or exports or saves or imports or inspections:
            self.changed.emit()

    def _on_restarted(self) -> None:
        if self._zoo_wanted:
            self._engine.list_zoo()


def _remove_left(targets: list[Path], pid: int) -> None:
    """Remove what the process with ``pid``, which is gone, was writing; many gigabytes may take a while."""

    def remove() -> None:
        for target in targets:
            remove_left(Path(os.path.realpath(target)), lambda other: other == pid)

    threading.Thread(target=remove, name="removing what was half saved").start()
