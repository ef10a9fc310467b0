"""The truth of the window: which model is open, what is asked of it, what is known, and what it is compared with."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
from PySide6.QtCore import QObject, QTimer, Signal
from PySide6.QtGui import QUndoStack

from engine.edits import Edit, RemoveLayer, SetAttribute, add_edit
from engine.errors import ErrorInfo
from engine.graph import AttributeValue, Dim, InputShape, InputSpec
from engine.protocol import (
    Analyzed,
    Exported,
    ExportFormat,
    Failed,
    Opened,
    Point,
    Progress,
    ReportOpened,
    ZooListing,
)
from engine.results import Analysis, Configuration, ModelInfo, ZooEntry
from gui import sizes
from gui.commands import Baseline, SetBaseline, SetConfiguration
from gui.engine_client import EngineClient
from gui.file_watch import FileWatch
from gui.opening import ConsentRequest, Opening, Plan, Reason, absolute_source, short_source
from gui.prefetcher import Prefetcher
from gui.settings import Settings

log = logging.getLogger(__name__)

GESTURE_PAUSE_S = 0.6
"""Changes of one symbol that follow each other sooner than this are one step to undo."""
POINTS_MS = 100
"""Prefetched points are announced at most this often."""
MAX_CRASHES = 2
"""A model or configuration during which the engine died this often is given up."""
REPORT_REASON = "This is an opened report; open its model to change it."
_REFUSALS = ("layer", "input", "unsupported")
"""Kinds of error that say something about a configuration, rather than about this moment."""


class Workspace(QObject):
    """Requests go to the engine one at a time, the newest waits; results and undo live here."""

    model_changed = Signal()
    configuration_changed = Signal()
    analysis_changed = Signal()
    baseline_changed = Signal()
    points_changed = Signal()
    count_mode_changed = Signal()
    failure_changed = Signal()
    busy_changed = Signal()
    consent_required = Signal(object)
    """ConsentRequest; answer with :meth:`agree` or :meth:`decline`."""
    shapes_required = Signal(object)
    """ErrorInfo: the model does not say what its inputs are; answer with :meth:`give_shapes` or :meth:`decline`."""
    open_failed = Signal(str, object)
    """(source, ErrorInfo): nothing on the screen changed."""
    exported = Signal(str)
    export_failed = Signal(object)
    """ErrorInfo."""
    zoo_listed = Signal(object)
    """tuple[ZooEntry, ...]"""
    noticed = Signal(str)
    """Something worth a sentence in the status bar."""

    def __init__(self, engine: EngineClient, settings: Settings, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.engine = engine
        self._settings = settings
        self.undo_stack = QUndoStack(self)
        self.model: ModelInfo | None = None
        self.specs: tuple[InputSpec, ...] = ()
        self.editable = False
        self.configuration: Configuration | None = None
        self.analysis: Analysis | None = None
        self.baseline: Analysis | None = None
        self.baseline_label = ""
        self.points: dict[Configuration, Point] = {}
        self.failure: Failed | None = None
        self.progress: Progress | None = None
        self.linked = False
        """Whether height and width move together."""
        self.count_mode = self._settings.text("count_mode", "macs")
        self._sweep_symbol = ""
        self._first: Analysis | None = None
        self._origin: Opening | None = None
        self._opening: Opening | None = None
        self._dropped: Opening | None = None
        self._in_flight: tuple[int, Configuration] | None = None
        self._waiting: Configuration | None = None
        self._crashed_on: tuple[Configuration | None, int] = (None, 0)
        self._real_run = False
        self._exports: set[int] = set()
        self._reports: dict[int, tuple[str, bool]] = {}
        self._zoo: tuple[ZooEntry, ...] = ()
        self._trusted_paths: set[str] = set()
        self._gesture: tuple[frozenset[str], int] | None = None
        self._gesture_serial = 0
        self._gesture_held = False
        self._gesture_at = 0.0
        self._watch = FileWatch(self)
        self._watch.changed.connect(self._on_file_changed)
        self._prefetcher = Prefetcher(engine, self._unknown_positions, self)
        self._points_timer = QTimer(self, singleShot=True, interval=POINTS_MS)
        self._points_timer.timeout.connect(self.points_changed)
        engine.opened.connect(self._on_opened)
        engine.analyzed.connect(self._on_analyzed)
        engine.failed.connect(self._on_failed)
        engine.progressed.connect(self._on_progressed)
        engine.point_arrived.connect(self._on_point)
        engine.exported.connect(self._on_exported)
        engine.report_opened.connect(self._on_report_opened)
        engine.zoo_listed.connect(self._on_zoo_listed)
        engine.crashed.connect(self._on_crashed)
        engine.restarted.connect(self._on_restarted)
        engine.gave_up.connect(self._on_gave_up)

    def close(self) -> None:
        """The window closes: nothing more is asked, nothing more is said."""
        self._prefetcher.reset()
        self._watch.watch("")
        self._points_timer.stop()
        self.undo_stack.blockSignals(True)  # its destructor would still announce that it is empty

    # -- what is known -------------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether an answer is awaited (a question to the user is none)."""
        opening = self._opening is not None and self._opening.request != 0
        return opening or self._in_flight is not None or bool(self._exports or self._reports)

    @property
    def busy_text(self) -> str:
        """What is being done, in words."""
        if self._opening is not None:
            verb = "Analysing" if self._opening.opened is not None else "Opening"
            return f"{verb} {short_source(self._opening.source)}"
        if self._in_flight is not None:
            return f"Analysing {sizes.size_text(self._in_flight[1].inputs)}"
        return "Writing the report" if self._exports else "Reading the report" if self._reports else ""

    @property
    def is_current(self) -> bool:
        """Whether the analysis on the screen is of the configuration asked for."""
        return self.analysis is not None and self.analysis.configuration == self.configuration

    @property
    def settled(self) -> bool:
        """Whether everything asked for is on the screen, the sweep's other positions included."""
        return self.is_current and not self.busy and not self._unknown_positions()

    @property
    def watched(self) -> str:
        """The file whose change opens the model again; ``""`` for none."""
        return self._watch.path

    @property
    def runs_on_change(self) -> bool:
        """Whether the user agreed that the watched file's code runs again when it changes."""
        return self._watch.path in self._trusted_paths

    def symbols(self) -> list[str]:
        """Every adjustable size, in the order of the inputs."""
        return list(sizes.adjustable(self.specs))

    def dim_of(self, symbol: str) -> Dim:
        """Label and range of a symbol; KeyError when there is none."""
        return sizes.adjustable(self.specs)[symbol]

    def size_of(self, symbol: str) -> int:
        """The size asked for; KeyError for an unknown symbol."""
        if self.configuration is None:
            raise KeyError(symbol)
        return sizes.size_of(self.specs, self.configuration.inputs, symbol)

    def partner_of(self, symbol: str) -> str | None:
        """The symbol that moves with this one: the width with the height while they are linked."""
        return sizes.plane_partner(self.specs, symbol) if self.linked else None

    def configuration_at(self, symbol: str, size: int, like: Configuration | None = None) -> Configuration:
        """``like`` (or the configuration asked for) with ``symbol``, and what is linked to it, at ``size``."""
        like = like or self.configuration
        if like is None:
            raise KeyError(symbol)
        inputs = sizes.with_sizes(self.specs, like.inputs, self._with_partner({symbol: size}))
        return msgspec.structs.replace(like, inputs=inputs)

    @property
    def sweep_symbol(self) -> str:
        """The slider that the Curve chart follows; ``""`` when nothing is adjustable."""
        return self._sweep_symbol

    @sweep_symbol.setter
    def sweep_symbol(self, symbol: str) -> None:
        if symbol != self._sweep_symbol and symbol in self.symbols():
            self._sweep_symbol = symbol
            self._prefetcher.touch()
            self.points_changed.emit()

    def original_attribute(self, path: str, field: str) -> AttributeValue:
        """An attribute as it was when the model was opened; None when it is not known."""
        first = self._first
        if first is None or path not in first.modules.path:
            return None
        return first.modules.attributes[first.modules.path.index(path)].get(field)

    # -- opening -------------------------------------------------------------------------------------------------

    def open_source(
        self, source: str, trust: bool = False, digest: str = "", *, plan: Plan | None = None
    ) -> None:
        """Open a model; the one on the screen stays until the first analysis of the new one is there."""
        source = absolute_source(source)
        if source.lower().endswith(".json"):
            self.open_report(source)
            return
        plan = plan or Plan()
        self._start_opening(
            Opening(source, trust=trust, digest=digest, inputs=_stated(plan.inputs), plan=plan)
        )

    def open_report(self, path: str) -> None:
        """Show an exported report without its model."""
        self._reports[self.engine.open_report(absolute_source(path))] = (path, False)
        self.busy_changed.emit()

    def open_baseline_report(self, path: str) -> None:
        """Compare with an exported report."""
        self._reports[self.engine.open_report(absolute_source(path))] = (path, True)
        self.busy_changed.emit()

    def agree(self, digest: str, *, watch: bool = False) -> None:
        """The user lets the code with this digest run; with ``watch`` also whatever its file holds later."""
        opening = self._opening
        if opening is None:
            return
        self._settings.agree(digest)
        if watch:
            self._trusted_paths.add(_file_of(opening.source))
        opening.trust, opening.digest = True, digest
        self._send_opening(opening)

    def give_shapes(self, inputs: tuple[InputShape, ...]) -> None:
        """The inputs of the model that is being opened."""
        if self._opening is not None:
            self._opening.inputs = _stated(inputs)
            self._send_opening(self._opening)

    def decline(self) -> None:
        """The user does not let the code run: everything stays as it is."""
        opening, self._opening = self._opening, None
        if opening is not None:
            self.noticed.emit(f"{short_source(opening.source)} was not opened.")
        self.busy_changed.emit()
        self._send_waiting()

    def _start_opening(self, opening: Opening) -> None:
        if self._opening is not None and self._opening.request:
            self.engine.cancel(self._opening.request)
        self._opening = opening
        self._send_opening(opening)

    def _send_opening(self, opening: Opening) -> None:
        opening.opened = None
        self._dropped = None
        if self.engine.state == "failed":
            self.engine.restart()
        opening.request = self.engine.open(opening.source, opening.trust, opening.digest, opening.inputs)
        self.busy_changed.emit()

    def _on_opened(self, event: Opened) -> None:
        opening = self._opening
        if opening is None or event.id != opening.request:
            return
        opening.opened = event
        asked = self.configuration
        keep = opening.reason != "user" and asked is not None and sizes.matches(event.inputs, asked.inputs)
        opening.configuration = asked if keep else sizes.default_configuration(event.inputs)
        self._prefetcher.reset()
        if opening.reason == "restart" and self._gave_up_on(asked):
            self._finish_restart(opening)
            return
        assert opening.configuration is not None
        opening.request = self.engine.analyze(opening.configuration)
        self.busy_changed.emit()

    def _finish_opening(self, analysis: Analysis | None, failure: Failed | None = None) -> None:
        """The first analysis of what was opened is there, or why there is none."""
        opening, self._opening = self._opening, None
        assert opening is not None and opening.opened is not None
        self.progress = None
        self._origin = opening
        self._watch.watch(opening.opened.watch)
        if opening.trust and not opening.digest and opening.opened.watch:
            self._trusted_paths.add(opening.opened.watch)
        if opening.reason == "user" or self.specs != opening.opened.inputs:
            self._adopt(opening, analysis)
        else:
            if opening.reason == "reload":
                self.model = opening.opened.model
                self.points.clear()
            if analysis is not None:
                self._accept(analysis)
        self._set_failure(failure)
        self.busy_changed.emit()
        if opening.plan and self.configuration is not None:
            self._follow(opening.plan)
        self._send_waiting()
        self._prefetcher.touch()

    def _finish_restart(self, opening: Opening) -> None:
        """The model is open again, but its configuration has killed the engine: ask for nothing."""
        self._opening = None
        self._origin = opening
        self.busy_changed.emit()

    def _adopt(self, opening: Opening, analysis: Analysis | None) -> None:
        assert opening.opened is not None and opening.configuration is not None
        self._take_model(opening.opened.model, opening.opened.inputs, opening.configuration, analysis, True)
        self._settings.add_recent(opening.source)

    def _take_model(
        self,
        model: ModelInfo,
        specs: tuple[InputSpec, ...],
        configuration: Configuration,
        analysis: Analysis | None,
        editable: bool,
    ) -> None:
        """Replace everything on the screen."""
        self.undo_stack.clear()
        self.model, self.specs, self.editable = model, specs, editable
        self.configuration, self.analysis = configuration, analysis
        self._real_run = configuration.allow_real_run
        self._first, self.baseline = analysis, analysis
        self.baseline_label = self.first_label
        self.points = {}
        self._prefetcher.forgive()
        self._in_flight = self._waiting = None
        self._crashed_on = (None, 0)
        if analysis is not None:
            self._remember(analysis)
        self._sweep_symbol = sizes.first_sweep(specs)
        height = next((symbol for symbol in self.symbols() if self.dim_of(symbol).label == "height"), None)
        width = sizes.plane_partner(specs, height) if height else None
        # A model that is published at an uneven size (optical flow) starts with free sides.
        self.linked = height is not None and width is not None and self.size_of(height) == self.size_of(width)
        self._set_failure(None)
        self.model_changed.emit()
        self.configuration_changed.emit()
        self.baseline_changed.emit()
        self.analysis_changed.emit()
        self.points_changed.emit()

    def _follow(self, plan: Plan) -> None:
        assert self.configuration is not None
        inputs = list(self.configuration.inputs)
        for wanted in plan.inputs:
            names = [given.name for given in inputs]
            if wanted.name not in names and (wanted.name or len(inputs) != 1):
                self.open_failed.emit(
                    self._origin.source if self._origin else "",
                    ErrorInfo(
                        "input", f"The model has no input {wanted.name!r}.", f"It has: {', '.join(names)}."
                    ),
                )
                return
            index = names.index(wanted.name) if wanted.name in names else 0
            old = inputs[index]
            inputs[index] = InputShape(old.name, wanted.shape, wanted.dtype or old.dtype)
        edits = self.configuration.edits
        for edit in plan.edits:
            edits = add_edit(edits, edit)
        self._change(
            "Command line",
            msgspec.structs.replace(
                self.configuration,
                inputs=tuple(inputs),
                edits=edits,
                assumptions=plan.assumptions or self.configuration.assumptions,
            ),
        )

    def reload(self) -> None:
        """Open the same source again and keep sizes and edits, as far as they still fit."""
        if self._origin is not None and self.editable:
            self._start_opening(self._again("reload"))

    def _on_file_changed(self, path: str) -> None:
        if self._opening is None:
            self.noticed.emit(f"{Path(path).name} changed and is opened again.")
            self.reload()

    def _on_open_failed(self, opening: Opening, event: Failed) -> None:
        error = event.error
        if error.kind == "consent" and (not opening.trust or error.digest != opening.digest):
            opening.request = 0
            if self._settings.agreed(error.digest):
                opening.trust, opening.digest = True, error.digest
                self._send_opening(opening)
                return
            self.busy_changed.emit()
            self.consent_required.emit(ConsentRequest(opening.source, error))
            return
        if error.kind == "missing_shape" and opening.reason == "user":
            opening.request = 0
            self.busy_changed.emit()
            self.shapes_required.emit(error)
            return
        if opening.opened is not None and error.kind != "cancelled":
            self._finish_opening(None, event)
            return
        self._opening = None
        self.progress = None
        self.busy_changed.emit()
        if opening.opened is not None and self._origin is not None and self.editable:
            # The engine already holds the model whose analysis was cancelled: back to the one on the screen.
            self._start_opening(self._again("restart"))
        if error.kind == "cancelled":
            self.noticed.emit(f"{short_source(opening.source)} was not opened.")
        else:
            self.open_failed.emit(opening.source, error)
        self._send_waiting()

    def _again(self, reason: Reason) -> Opening:
        """The model on the screen, to be opened once more with the trust that was given."""
        origin = self._origin
        assert origin is not None
        again = Opening(origin.source, reason, origin.trust, origin.digest, origin.inputs)
        if self.runs_on_change:
            again.trust, again.digest = True, ""
        return again

    # -- changing ------------------------------------------------------------------------------------------------

    def begin_gesture(self) -> None:
        """A drag starts: until :meth:`end_gesture`, changes of the same symbols are one step to undo."""
        self._gesture_serial += 1
        self._gesture_held = True

    def end_gesture(self) -> None:
        self._gesture_held = False
        self._gesture_serial += 1

    def set_sizes(self, new: Mapping[str, int]) -> None:
        """Ask for other sizes (symbol → elements), each kept inside its range; a linked size follows."""
        if self.configuration is None or not self.editable or not new:
            return
        first = next(iter(new))
        symbols = self.symbols()
        partner = self.partner_of(first)
        sweep = min((first, partner), key=symbols.index) if partner else first
        inputs = sizes.with_sizes(self.specs, self.configuration.inputs, self._with_partner(dict(new)))
        if inputs == self.configuration.inputs:
            return
        if sweep != self._sweep_symbol:
            self._sweep_symbol = sweep
            self.points_changed.emit()
        self._change(
            f"Input {sizes.size_text(inputs)}",
            msgspec.structs.replace(self.configuration, inputs=inputs),
            gesture=self._gesture_of(frozenset(new)),
        )

    def _gesture_of(self, symbols: frozenset[str]) -> tuple[frozenset[str], int]:
        now = time.monotonic()
        if not self._gesture_held and now - self._gesture_at > GESTURE_PAUSE_S:
            self._gesture_serial += 1
        self._gesture_at = now
        return symbols, self._gesture_serial

    def _with_partner(self, new: dict[str, int]) -> dict[str, int]:
        for symbol, size in list(new.items()):
            partner = self.partner_of(symbol)
            if partner is not None:
                new.setdefault(partner, size)
        return new

    def set_linked(self, linked: bool) -> None:
        """Let height and width move together (they become equal) or on their own."""
        if linked == self.linked:
            return
        self.linked = linked
        height = next((s for s in self.symbols() if self.dim_of(s).label == "height"), None)
        if linked and height is not None:
            self.set_sizes({height: self.size_of(height)})
        self.configuration_changed.emit()

    def set_assumption(self, key: str, value: int) -> None:
        """State a size that depends on the data."""
        if self.configuration is not None and self.editable:
            rest = tuple(pair for pair in self.configuration.assumptions if pair[0] != key)
            self._change(
                f"Assume {key} = {value}",
                msgspec.structs.replace(self.configuration, assumptions=tuple(sorted((*rest, (key, value))))),
            )

    def remove_layer(self, path: str) -> None:
        """Replace the module at ``path`` by identity."""
        self._edit(f"Remove {path}", lambda edits: add_edit(edits, RemoveLayer(path)))

    def restore_layer(self, path: str) -> None:
        """Take back the removal of ``path``."""
        self._edit(f"Restore {path}", lambda edits: _without(edits, RemoveLayer(path)))

    def set_attribute(self, path: str, field: str, value: int | str | tuple[int, ...]) -> None:
        """Set a field of the module at ``path``; its original value takes the edit back."""
        edit = SetAttribute(path, field, value)
        if _plain(self.original_attribute(path, field)) == _plain(value):
            self._edit(f"Reset {path}.{field}", lambda edits: _without(edits, edit))
        else:
            self._edit(f"Set {path}.{field}", lambda edits: add_edit(edits, edit))

    def reset_edits(self) -> None:
        """Take back every edit; input sizes stay."""
        self._edit("Reset edits", lambda edits: ())

    def _edit(self, text: str, change: Callable[[tuple[Edit, ...]], tuple[Edit, ...]]) -> None:
        if self.configuration is not None and self.editable:
            edits = change(self.configuration.edits)
            self._change(text, msgspec.structs.replace(self.configuration, edits=edits))

    def _change(self, text: str, after: Configuration, gesture: object = None) -> None:
        if self.configuration is not None and after != self.configuration:
            self.undo_stack.push(
                SetConfiguration(text, self._apply_configuration, self.configuration, after, gesture)
            )

    def _apply_configuration(self, configuration: Configuration) -> None:
        if self._real_run and not configuration.allow_real_run:
            configuration = msgspec.structs.replace(configuration, allow_real_run=True)
        self.configuration = configuration
        self.configuration_changed.emit()
        self._submit(configuration)

    def allow_real_run(self) -> None:
        """The user accepts the time and memory of a real CPU run of this model."""
        if self.configuration is not None and not self._real_run:
            self._real_run = True
            self._apply_configuration(self.configuration)

    def retry(self) -> None:
        """Ask again for the configuration that failed or was cancelled."""
        if self.configuration is not None and self.editable:
            self._crashed_on = (None, 0)
            self._submit(self.configuration)

    def set_count_mode(self, mode: str) -> None:
        """``macs`` or ``flops``: the metric that headlines every view."""
        if mode != self.count_mode:
            self.count_mode = mode
            self._settings.set("count_mode", mode)
            self.count_mode_changed.emit()

    # -- baseline ------------------------------------------------------------------------------------------------

    @property
    def first_label(self) -> str:
        """What the first analysis is called as a baseline."""
        return (
            "as published" if self.model is not None and self.model.format == "torchvision" else "as opened"
        )

    def set_baseline_here(self) -> None:
        """Compare with what is on the screen from now on."""
        if self.analysis is not None:
            text = sizes.size_text(self.analysis.configuration.inputs)
            edits = len(self.analysis.configuration.edits)
            label = f"{text}, {edits} edit{'s' if edits > 1 else ''}" if edits else text
            self._change_baseline("Set as baseline", (self.analysis, label))

    def set_baseline_first(self) -> None:
        """Compare with the model as it was opened."""
        self._change_baseline(f"Baseline {self.first_label}", (self._first, self.first_label))

    def clear_baseline(self) -> None:
        self._change_baseline("No baseline", (None, ""))

    def _change_baseline(self, text: str, after: Baseline) -> None:
        before = (self.baseline, self.baseline_label)
        if after[0] is not before[0] or after[1] != before[1]:
            self.undo_stack.push(SetBaseline(text, self._apply_baseline, before, after))

    def _apply_baseline(self, baseline: Baseline) -> None:
        self.baseline, self.baseline_label = baseline
        self._prefetcher.touch()
        self.baseline_changed.emit()

    # -- one analysis at a time ----------------------------------------------------------------------------------

    def cancel(self) -> None:
        """Stop what is being computed; the numbers on the screen stay."""
        if self._opening is not None:
            self.engine.cancel(self._opening.request)
        elif self._in_flight is not None:
            self._waiting = None
            self.engine.cancel(self._in_flight[0])
        for request in (*self._exports, *self._reports):
            self.engine.cancel(request)

    def _submit(self, configuration: Configuration) -> None:
        if not self.editable:
            return
        opening = self._opening is not None and self._opening.request != 0
        if opening or self._in_flight is not None:
            self._waiting = configuration
            return
        self._in_flight = (self.engine.analyze(configuration), configuration)
        self._prefetcher.touch()
        self.busy_changed.emit()

    def _send_waiting(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and waiting == self.configuration:
            self._submit(waiting)

    def _on_analyzed(self, event: Analyzed) -> None:
        if self._opening is not None and event.id == self._opening.request:
            self._finish_opening(event.analysis)
        elif self._in_flight is not None and event.id == self._in_flight[0]:
            self._land()
            self._accept(event.analysis)
            self._set_failure(None)
            self._next()

    def _land(self) -> None:
        self._in_flight = None
        self.progress = None

    def _next(self) -> None:
        self._send_waiting()
        if self._in_flight is None:
            self._prefetcher.touch()
        self.busy_changed.emit()

    def _accept(self, analysis: Analysis) -> None:
        self.analysis = analysis
        self._remember(analysis)
        if self._first is None:
            self._first = self.baseline = analysis
            self.baseline_label = self.first_label
            self.baseline_changed.emit()
        self.analysis_changed.emit()

    def _remember(self, analysis: Analysis) -> None:
        point = Point(0, analysis.configuration, analysis.totals)
        if self.points.setdefault(analysis.configuration, point) is point:
            self._points_timer.start()

    def _set_failure(self, failure: Failed | None) -> None:
        if failure is not self.failure:
            self.failure = failure
            self.failure_changed.emit()

    def _on_failed(self, event: Failed) -> None:
        if self._opening is not None and event.id == self._opening.request:
            self._on_open_failed(self._opening, event)
        elif self._in_flight is not None and event.id == self._in_flight[0]:
            configuration = self._in_flight[1]
            self._land()
            if event.error.kind == "cancelled" and self._opening is not None:
                # Opening another model interrupted it; should that fail, it is asked again.
                self._waiting = self._waiting or configuration
                return
            if event.error.kind in _REFUSALS:
                self.points[configuration] = Point(0, configuration, error=event.error)
                self._points_timer.start()
            if configuration == self.configuration:
                self._set_failure(event)
            self._next()
        elif event.id in self._exports:
            self._exports.discard(event.id)
            self.busy_changed.emit()
            self.export_failed.emit(event.error)
        elif event.id in self._reports:
            path, _ = self._reports.pop(event.id)
            self.busy_changed.emit()
            self.open_failed.emit(path, event.error)

    def _on_progressed(self, event: Progress) -> None:
        if self.busy:
            self.progress = event
            self.busy_changed.emit()

    # -- prefetched points ---------------------------------------------------------------------------------------

    def _on_point(self, event: Point) -> None:
        self.points[event.configuration] = event
        if not self._points_timer.isActive():
            self._points_timer.start()

    def _unknown_positions(self) -> tuple[Configuration, ...]:
        if (
            self.busy
            or not self.editable
            or self._prefetcher.suspended
            or self.configuration is None
            or not self._sweep_symbol
        ):
            return ()
        symbol = self._sweep_symbol
        likes = [self.configuration]
        baseline = self.baseline
        if baseline is not None and self._comparable(baseline):
            likes.append(baseline.configuration)
        positions = sizes.grid(self.dim_of(symbol), self.size_of(symbol))
        wanted = (self.configuration_at(symbol, size, like) for like in likes for size in positions)
        return tuple(dict.fromkeys(each for each in wanted if each not in self.points))

    def _comparable(self, baseline: Analysis) -> bool:
        """Whether the open model can compute the baseline's other sizes: same source, same inputs."""
        return (
            self.model is not None
            and baseline.model.source == self.model.source
            and baseline.model.sha256 == self.model.sha256
            and sizes.matches(self.specs, baseline.configuration.inputs)
        )

    # -- reports and the zoo -------------------------------------------------------------------------------------

    def export(self, format: ExportFormat, path: str) -> None:
        """Write what is on the screen, compared with the baseline when that is another configuration."""
        if self.analysis is not None:
            baseline = self.baseline if self.baseline is not self.analysis else None
            if baseline is not None and baseline.configuration == self.analysis.configuration:
                baseline = baseline if baseline.model != self.analysis.model else None
            self._exports.add(self.engine.export(self.analysis, format, path, baseline))
            self.busy_changed.emit()

    def _on_exported(self, event: Exported) -> None:
        self._exports.discard(event.id)
        self.busy_changed.emit()
        self.exported.emit(event.path)

    def _on_report_opened(self, event: ReportOpened) -> None:
        path, as_baseline = self._reports.pop(event.id, ("", False))
        if not path:
            return
        analysis = event.analysis
        if as_baseline:
            self._change_baseline(f"Baseline {Path(path).name}", (analysis, Path(path).name))
        else:
            if self._opening is not None:
                self.engine.cancel(self._opening.request)
            self._opening = self._origin = None
            self._watch.watch("")
            self._prefetcher.reset()
            inputs = analysis.configuration.inputs
            self._take_model(
                analysis.model, sizes.fixed_specs(inputs), analysis.configuration, analysis, False
            )
            self._settings.add_recent(absolute_source(path))
        self.busy_changed.emit()

    def request_zoo(self) -> None:
        """``zoo_listed`` follows, at once when the list is known."""
        if self._zoo:
            self.zoo_listed.emit(self._zoo)
        else:
            self.engine.list_zoo()

    def _on_zoo_listed(self, event: ZooListing) -> None:
        self._zoo = event.entries
        self.zoo_listed.emit(self._zoo)

    # -- a new engine --------------------------------------------------------------------------------------------

    def _on_crashed(self, sentence: str) -> None:
        """What was under way is lost; it waits for the next engine."""
        opening = self._opening
        configuration = self._in_flight[1] if self._in_flight is not None else None
        if opening is not None and opening.request:
            opening.crashes += 1
            configuration = opening.configuration if opening.opened is not None else None
        elif configuration is None:
            self._prefetcher.on_crash()
        if configuration is not None:
            before, times = self._crashed_on
            self._crashed_on = (configuration, times + 1 if before == configuration else 1)
        self._land()
        for path, _ in self._reports.values():
            self.open_failed.emit(path, ErrorInfo("crash", sentence))
        if self._exports:
            self.export_failed.emit(ErrorInfo("crash", sentence))
        self._reports.clear()
        self._exports.clear()
        self._prefetcher.reset()
        self.busy_changed.emit()

    def _on_gave_up(self, sentence: str) -> None:
        """There is no engine until someone restarts it; what was to be opened is opened then."""
        opening, self._opening = self._opening, None
        if opening is not None and opening.reason == "user":
            self._dropped = opening
            self.open_failed.emit(opening.source, ErrorInfo("crash", sentence))
        self.busy_changed.emit()

    def _gave_up_on(self, configuration: Configuration | None) -> bool:
        crashed, times = self._crashed_on
        return configuration is not None and configuration == crashed and times >= MAX_CRASHES

    def _on_restarted(self) -> None:
        opening = self._opening
        if opening is not None and opening.request == 0:
            return
        if opening is not None and opening.reason == "user" and opening.crashes < MAX_CRASHES:
            self._send_opening(opening)
            return
        self._opening = None
        if opening is not None and opening.crashes >= MAX_CRASHES:
            self.open_failed.emit(
                opening.source,
                ErrorInfo(
                    "crash",
                    f"The engine ended {MAX_CRASHES} times while it opened {short_source(opening.source)}.",
                    "The log has its last words.",
                    traceback=self.engine.stderr_text,
                ),
            )
            if opening.reason != "user":
                return
        if self._dropped is not None:
            self._dropped.crashes = 0
            self._start_opening(self._dropped)
        elif self._origin is not None and self.editable:
            if self._gave_up_on(self.configuration):
                self._set_failure(
                    Failed(
                        0,
                        ErrorInfo(
                            "crash",
                            f"The engine ended {MAX_CRASHES} times at this configuration.",
                            "It may need more memory than this machine has.",
                            traceback=self.engine.stderr_text,
                        ),
                    )
                )
            again = self._again("restart")
            again.crashes = opening.crashes if opening is not None and opening.reason == "restart" else 0
            self._start_opening(again)


def _without(edits: tuple[Edit, ...], gone: Edit) -> tuple[Edit, ...]:
    """``edits`` without those that do what ``gone`` does: remove the same layer or set the same field."""

    def same(edit: Edit) -> bool:
        if isinstance(edit, SetAttribute) and isinstance(gone, SetAttribute):
            return (edit.layer, edit.field) == (gone.layer, gone.field)
        return edit == gone

    return tuple(edit for edit in edits if not same(edit))


def _stated(inputs: tuple[InputShape, ...]) -> tuple[InputShape, ...]:
    """``inputs`` with float32 where no dtype was written."""
    return tuple(each if each.dtype else InputShape(each.name, each.shape) for each in inputs)


def _plain(value: AttributeValue) -> AttributeValue:
    """``(3, 3)`` and ``3`` are the same kernel size."""
    if isinstance(value, tuple) and value and all(part == value[0] for part in value):
        return value[0]
    return value


def _file_of(source: str) -> str:
    path, colon, _ = source.rpartition(":")
    return path if colon and path.endswith(".py") else source
