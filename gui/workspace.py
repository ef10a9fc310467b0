"""The truth of the window: which model is open, what is asked of it, what is known, and what it is compared with."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import msgspec
from PySide6.QtCore import QObject, QTimer, Signal

from engine import sources
from engine.configuration import Configuration
from engine.edits import add_edit
from engine.errors import EngineError
from engine.graph import InputShape, InputSpec
from engine.measurement import Latency, LayerTimes
from engine.protocol import (
    Failed,
    ImportProfile,
    Point,
    Progress,
    Saved,
    SaveModel,
    Weighed,
)
from engine.results import Analysis, ModelInfo, with_latency
from gui import sizes
from gui.analysis_queue import AnalysisQueue
from gui.asked import REPORT_REASON, Asked
from gui.commands import Baseline, SetBaseline
from gui.engine_client import EngineClient
from gui.opener import Opener
from gui.opening import Opening, Plan, model_file, planned_inputs, restated, stated
from gui.prefetcher import Prefetcher
from gui.report_files import is_report
from gui.reports import Reports
from gui.settings import Settings
from gui.staleness import Staleness
from gui.state_words import times_sentence
from gui.zeros import KnownZeros

log = logging.getLogger(__name__)

MAX_LATENCIES = 2000
"""Configurations whose measurements are kept: days of dragging must not fill the memory."""
POINTS_MS = 100
"""Prefetched points are announced at most this often."""
_REFUSALS = ("layer", "input", "unsupported")
"""Kinds of error that say something about a configuration, rather than about this moment."""


class Workspace(Asked):
    """Requests go to the engine one at a time, the newest waits; results and undo live here."""

    opening_began = Signal()
    """Someone asked for another model or report, or for this model once more."""
    model_changed = Signal()
    analysis_changed = Signal()
    baseline_changed = Signal()
    points_changed = Signal()
    count_mode_changed = Signal()
    failure_changed = Signal()
    busy_changed = Signal()
    stale_changed = Signal()
    consent_required = Signal(object)
    """ConsentRequest; answer with :meth:`agree` or :meth:`decline`."""
    shapes_required = Signal(object)
    """ErrorInfo: the model does not say what its inputs are; answer with :meth:`give_shapes` or :meth:`decline`."""
    architecture_required = Signal(object)
    """ArchitectureRequest: weights alone; answer with :meth:`choose_architecture` or :meth:`decline`."""
    question_withdrawn = Signal()
    """Nobody waits for the answer to the last of these any more."""
    consent_revoked = Signal()
    """What may run was taken back, perhaps of the model on the screen: see :attr:`consent`."""
    open_failed = Signal(str, object)
    """(source, ErrorInfo): nothing on the screen changed."""
    reloaded = Signal()
    """The same source was opened again; sizes and edits are kept."""
    exported = Signal(str)
    export_failed = Signal(object)
    """ErrorInfo."""
    saved = Signal(object)
    """Saved: the model with its edits is in a file."""
    save_failed = Signal(object)
    """ErrorInfo; of kind ``cancelled`` when the user stopped it."""
    profile_imported = Signal(str)
    """Where the times of the layers are from now, as a sentence."""
    import_failed = Signal(object)
    """ErrorInfo."""
    inspected = Signal(object)
    """Contents of the file that was asked about with :meth:`inspect`."""
    inspect_failed = Signal(str, object)
    """(path, ErrorInfo)"""
    zoo_listed = Signal(object)
    """tuple[ZooEntry, ...]"""
    noticed = Signal(str)
    """Something worth a sentence in the status bar."""

    def __init__(self, engine: EngineClient, settings: Settings, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.engine = engine
        self._settings = settings
        self.file = ""
        """The model file or folder that is open, or whose weights it has; empty for none."""
        self.analysis: Analysis | None = None
        self.baseline: Analysis | None = None
        self.baseline_label = ""
        self.points: dict[Configuration, Point] = {}
        self.latencies: dict[Configuration, Latency] = {}
        """What was measured of this model at the threads that count now, the newest last; at most MAX_LATENCIES."""
        self.failure: Failed | None = None
        self.progress: Progress | None = None
        self.count_mode = "flops" if settings.text("count_mode") == "flops" else "macs"
        self._times: LayerTimes | None = None
        self.imported: LayerTimes | None = None
        """Times out of a profile, shown in place of those measured here until they are dropped."""
        self._stage = ""
        # Before the others forget what was under way:
        engine.crashed.connect(self._on_crashed)
        self._queue = AnalysisQueue(engine, self)
        self._queue.analyzed.connect(self._on_analyzed)
        self._queue.failed.connect(self._on_failed)
        self._queue.changed.connect(self._on_progress_made)
        self._opener = Opener(engine, self._queue, settings, lambda: self.configuration, self)
        self._opener.finished.connect(self._on_opening_finished)
        self._opener.failed.connect(self.open_failed)
        self._opener.consent_required.connect(self.consent_required)
        self._opener.shapes_required.connect(self.shapes_required)
        self._opener.architecture_required.connect(self.architecture_required)
        self._opener.question_withdrawn.connect(self.question_withdrawn)
        self._opener.consent_revoked.connect(self.consent_revoked)
        self._opener.noticed.connect(self.noticed)
        self._opener.changed.connect(self._on_progress_made)
        self._reports = Reports(engine, self)
        self._reports.opened.connect(self._on_report_opened)
        self._reports.open_failed.connect(self.open_failed)
        self._reports.exported.connect(self.exported)
        self._reports.export_failed.connect(self.export_failed)
        self._reports.saved.connect(self._on_saved)
        self._reports.save_failed.connect(self.save_failed)
        self._reports.profile_imported.connect(self._on_profile_imported)
        self._reports.import_failed.connect(self.import_failed)
        self._reports.inspected.connect(self.inspected)
        self._reports.inspect_failed.connect(self.inspect_failed)
        self._reports.zoo_listed.connect(self.zoo_listed)
        self._reports.changed.connect(self._on_progress_made)
        self._staleness = Staleness(self)
        self._staleness.changed.connect(self.stale_changed)
        self._zeros = KnownZeros()
        self._prefetcher = Prefetcher(engine, self._unknown_positions, lambda: self._awaits_zeros, self)
        self._points_timer = QTimer(self, singleShot=True, interval=POINTS_MS)
        self._points_timer.timeout.connect(self.points_changed)
        self.sweep_moved.connect(self._prefetcher.touch)
        self.sweep_moved.connect(self.points_changed)
        engine.progressed.connect(self._on_progressed)
        engine.point_arrived.connect(self._on_point)
        engine.weighed.connect(self._on_weighed)

    def close(self) -> None:
        """The window closes: nothing more is asked, nothing more is said."""
        self._prefetcher.reset()
        self._points_timer.stop()
        self._staleness.stop()
        self.undo_stack.blockSignals(True)  # its destructor would still announce that it is empty

    def hold_prefetch(self, held: bool) -> None:
        """While something is measured, only what is asked for is analysed."""
        self._prefetcher.hold(held)

    # -- what is known -------------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether an answer is awaited (a question to the user is none)."""
        return bool(self.busy_text)

    @property
    def busy_text(self) -> str:
        """What is being done, in words; ``""`` for nothing."""
        opening = self._opener.under_way
        if opening is not None:
            verb = "Analysing" if opening.opened is not None else "Opening"
            return f"{verb} {sources.short(opening.source)}"
        if self._queue.in_flight is not None:
            return f"Analysing {sizes.size_text(self._queue.in_flight.inputs)}"
        return self._reports.busy_text

    @property
    def is_current(self) -> bool:
        """Whether the analysis on the screen is of the configuration asked for."""
        return self.analysis is not None and self.analysis.configuration == self.configuration

    @property
    def stale(self) -> bool:
        """Whether the numbers on the screen must look old: what is asked for failed, was cancelled, or is late."""
        return self._staleness.value

    def _update_stale(self, moved: bool = False) -> None:
        self._staleness.update(
            current=self.analysis is None or self.is_current,
            failed=self.failure is not None and self.analysis is not None,
            moved=moved,
        )

    @property
    def settled(self) -> bool:
        """Whether everything asked for is on the screen, the sweep's other positions included."""
        return self.is_current and not self.busy and not self._unknown_positions() and not self._awaits_zeros

    @property
    def _awaits_zeros(self) -> bool:
        """Whether the zeros in the weights are still to be counted."""
        return (
            self._zeros.awaited
            and not self.busy
            and self._opener.refusal is None
            and self.analysis is not None
            and not self._prefetcher.suspended
        )

    @property
    def origin(self) -> Opening | None:
        """How the model on the screen was opened; None for an opened report."""
        return self._opener.origin

    @property
    def suspects_inputs(self) -> bool:
        """Whether the model stopped and nothing of it could be analysed yet, perhaps as its inputs are others."""
        failed = self.failure is not None and self.failure.error.kind in _REFUSALS
        return self.editable and failed and self.analysis is None

    @property
    def guessed_inputs(self) -> bool:
        """Whether the engine guessed what the inputs are."""
        opened = self.origin.opened if self.origin is not None else None
        return opened is not None and opened.guessed_inputs

    @property
    def consent(self) -> tuple[bool, str]:
        """(trust, digest) for opening the model on the screen once more: a consent may have been taken back since."""
        return self._opener.consent

    @property
    def watched(self) -> str:
        """The file whose change opens the model again; ``""`` for none."""
        return self._opener.watched

    @property
    def runs_on_change(self) -> bool:
        """Whether the user agreed that the watched file's code runs again when it changes."""
        return self._opener.runs_on_change

    @property
    def trusted_paths(self) -> tuple[str, ...]:
        """Files whose code runs again when they change, until the window closes."""
        return self._opener.trusted_paths

    # -- opening -------------------------------------------------------------------------------------------------

    def open_source(
        self, source: str, trust: bool = False, digest: str = "", *, plan: Plan | None = None
    ) -> None:
        """Open a model; the one on the screen stays until the first analysis of the new one is there."""
        source = sources.absolute(source)
        if is_report(source):
            self.open_report(source)
            return
        self.opening_began.emit()
        plan = plan or Plan()
        self._reports.drop_opening()
        self._opener.open(Opening(source, trust=trust, digest=digest, inputs=stated(plan.inputs), plan=plan))

    def open_report(self, path: str) -> None:
        """Show an exported report without its model."""
        self.opening_began.emit()
        self._reports.open(sources.absolute(path), as_baseline=False)

    def open_baseline_report(self, path: str) -> None:
        """Compare with an exported report."""
        self._reports.open(sources.absolute(path), as_baseline=True)

    def agree(self, digest: str, *, watch: bool = False) -> None:
        """The user lets the code with this digest run; with ``watch`` also whatever its file holds later."""
        self._opener.agree(digest, watch=watch)

    def give_shapes(self, inputs: tuple[InputShape, ...]) -> None:
        """The inputs of the model that is being opened."""
        self._opener.give_shapes(stated(inputs))

    def distrust(self, path: str) -> None:
        """Ask again before the code of this file runs once it has changed."""
        self._opener.distrust(path)

    def revoke(self, digest: str) -> None:
        """Ask again before the code with this SHA-256 is opened."""
        self._opener.revoke(digest)

    def open_variant(self, source: str) -> None:
        """Open the same file in another way, with the consent it has."""
        self.open_source(source, *self.consent)

    def choose_architecture(self, source: str) -> None:
        """Open the weights together with an architecture: ``weights.pt@torchvision:resnet50``."""
        self._opener.choose(sources.absolute(source))

    def decline(self) -> None:
        """The user answers a question about opening with no: everything stays as it is."""
        self._opener.decline()

    def reload(self) -> None:
        """Open the same source again and keep sizes and edits, as far as they still fit."""
        if self.editable:
            self.opening_began.emit()
            self._opener.reload()

    def open_with(self, inputs: tuple[InputShape, ...]) -> None:
        """Open the same source again with these inputs, of the present dtypes where none is written.

        Sizes and edits start anew.
        """
        if self.editable and self.configuration is not None:
            self.opening_began.emit()
            self._reports.drop_opening()
            self._opener.open_with(restated(inputs, self.configuration.inputs))

    def _on_opening_finished(
        self, opening: Opening, analysis: Analysis | None, failure: Failed | None
    ) -> None:
        """The engine holds a model: another one, or the same once more."""
        opened = opening.opened
        assert opened is not None
        assert opening.configuration is not None
        self.progress = None
        self._prefetcher.reset()
        self._zeros.reset(opened.model, opened.counts_zeros)
        if analysis is not None:
            analysis = self._zeros.merged(analysis)
        if opening.reason == "user" or self.specs != opened.inputs:
            self._take_model(opened.model, opened.inputs, opening.configuration, analysis, editable=True)
            self._settings.add_recent(opening.source)
        else:
            if opening.reason == "reload":
                self.model = opened.model
                self.points.clear()
                self._forget_latencies()
                self._forget_imported()
                self.reloaded.emit()
            if analysis is not None:
                self._accept(analysis)
        self._set_failure(failure)
        if opening.plan:
            self._follow(opening.source, opening.plan)
        self._prefetcher.touch()

    def _take_model(
        self,
        model: ModelInfo,
        specs: tuple[InputSpec, ...],
        configuration: Configuration,
        analysis: Analysis | None,
        editable: bool,
    ) -> None:
        """Replace everything on the screen."""
        self._take(model, specs, configuration, analysis, editable)
        self.file = model_file(model)
        self.analysis = self.baseline = analysis
        self.baseline_label = self.first_label
        self.points = {}
        self._forget_latencies()
        self._forget_imported()
        if analysis is not None and analysis.latency is not None:
            self.latencies[analysis.configuration] = analysis.latency
        elif analysis is not None and analysis.layer_times is not None and analysis.layer_times.origin:
            self.imported = analysis.layer_times
        self._prefetcher.forgive()
        self._queue.clear()
        if analysis is not None:
            self._remember(analysis)
        self._set_failure(None)
        self._update_stale()
        self.model_changed.emit()
        self.configuration_changed.emit()
        self.baseline_changed.emit()
        self.analysis_changed.emit()
        self.points_changed.emit()

    def _follow(self, source: str, plan: Plan) -> None:
        """Change what the command line asks for, as steps that can be undone."""
        assert self.configuration is not None
        try:
            inputs = planned_inputs(plan, self.configuration.inputs)
        except EngineError as error:
            self.open_failed.emit(source, error.info())
            return
        edits = self.configuration.edits
        for edit in plan.edits:
            edits = add_edit(edits, edit)
        assumptions = plan.assumptions or self.configuration.assumptions
        self._change(
            plan.words,
            msgspec.structs.replace(self.configuration, inputs=inputs, edits=edits, assumptions=assumptions),
        )

    # -- baseline ------------------------------------------------------------------------------------------------

    @property
    def first_label(self) -> str:
        """What the first analysis is called as a baseline."""
        own = self._first is None or self._first.configuration.inputs == tuple(
            spec.default for spec in self.specs
        )
        published = self.model is not None and self.model.format == "torchvision" and own
        return "as published" if published else "as opened"

    def set_baseline_here(self) -> None:
        """Compare with what is on the screen from now on."""
        if self.analysis is not None:
            text = sizes.size_text(self.analysis.configuration.inputs)
            edits = len(self.analysis.configuration.edits)
            label = f"{text}, {edits} edit{'s' if edits > 1 else ''}" if edits else text
            self._choose_baseline("Set as baseline", (self.analysis, label))

    def set_baseline_first(self) -> None:
        """Compare with the model as it was opened."""
        self._choose_baseline(f"Baseline {self.first_label}", (self._first, self.first_label))

    def clear_baseline(self) -> None:
        self._change_baseline("No baseline", (None, ""))

    def _choose_baseline(self, text: str, after: Baseline) -> None:
        # What was measured since makes another object of the same baseline.
        if not _same(after[0], self.baseline) or after[1] != self.baseline_label:
            self._change_baseline(text, after)

    def _change_baseline(self, text: str, after: Baseline) -> None:
        before = (self.baseline, self.baseline_label)
        if after[0] is not before[0] or after[1] != before[1]:
            self.undo_stack.push(SetBaseline(text, self._apply_baseline, before, after))

    def _apply_baseline(self, baseline: Baseline) -> None:
        analysis, self.baseline_label = baseline
        self.baseline = self._as_baseline(analysis)
        self._prefetcher.touch()
        self.baseline_changed.emit()

    # -- results -------------------------------------------------------------------------------------------------

    def retry(self) -> None:
        """Ask again for the configuration that failed or was cancelled."""
        if self.configuration is not None and self.editable:
            self._queue.forgive()
            self._submit(self.configuration)

    def set_count_mode(self, mode: str) -> None:
        """``macs`` or ``flops``: the metric that headlines every view."""
        if mode != self.count_mode:
            self.count_mode = mode
            self._settings.set("count_mode", mode)
            self.count_mode_changed.emit()

    def cancel(self) -> None:
        """Stop what is being computed; the numbers on the screen stay."""
        self._opener.cancel()
        self._queue.cancel()
        self._reports.cancel()

    def _submit(self, configuration: Configuration) -> None:
        refusal = self._opener.refusal
        if self.editable and refusal is not None:
            self._set_failure(Failed(0, refusal))
        elif self.editable and self._is_answered(configuration):
            assert self.analysis is not None
            self._on_analyzed(self.analysis)
        elif self.editable:
            self._queue.submit(configuration)

    def _is_answered(self, configuration: Configuration) -> bool:
        """Whether what failed is taken back to what is still on the screen: a large model would take seconds again."""
        known = self.analysis is not None and self.analysis.configuration == configuration
        return known and self.failure is not None and not self.busy

    def _on_progress_made(self) -> None:
        stage = self.busy_text
        if stage != self._stage:
            # Words about the opening say nothing about the analysis that follows it.
            self._stage, self.progress = stage, None
        self._prefetcher.touch()
        self.busy_changed.emit()

    def _on_analyzed(self, analysis: Analysis) -> None:
        self._accept(analysis)
        # An answer on the way to a configuration that was cancelled says nothing about that one.
        if self.is_current or self._queue.in_flight is not None:
            self._set_failure(None)

    def _accept(self, analysis: Analysis) -> None:
        self._remember(analysis)
        self.analysis = self._with_measured(analysis)
        if self._first is None:
            self._first = self.baseline = self.analysis
            self.baseline_label = self.first_label
            self.baseline_changed.emit()
        self._update_stale(moved=True)
        self.analysis_changed.emit()

    def _remember(self, analysis: Analysis) -> None:
        point = Point(0, analysis.configuration, analysis.totals)
        if analysis.is_weighed and analysis.configuration in self._zeros.behind:
            self._on_point(point)
        elif self.points.setdefault(analysis.configuration, point) is point:
            self._points_timer.start()

    # -- what was measured ---------------------------------------------------------------------------------------

    def add_latency(self, latency: Latency) -> None:
        """Know what was measured of one configuration of the open model; the screen shows it where it belongs."""
        self.latencies.pop(latency.configuration, None)  # what is measured again counts as new
        self.latencies[latency.configuration] = latency
        self._drop_oldest()
        self._show_measured(lambda analysis: analysis.configuration == latency.configuration)

    def _drop_oldest(self) -> None:
        """Forget what was measured longest ago, but nothing of what is asked for, shown or compared with."""
        shown = (
            analysis.configuration for analysis in (self.analysis, self.baseline) if analysis is not None
        )
        kept = {self.configuration, *shown}
        while len(self.latencies) > MAX_LATENCIES:
            del self.latencies[next(each for each in self.latencies if each not in kept)]

    def drop_latencies(self) -> None:
        """Nothing is known any more, as after a change of threads."""
        self._forget_latencies()
        self._show_measured(lambda analysis: analysis.latency is not None or analysis.layer_times is not None)

    @property
    def no_profile(self) -> str:
        """Why no profile can be imported, as a sentence; empty when one can."""
        if self.model is None or not self.editable or self.model.format != "onnx":
            return "A profile of onnxruntime belongs to an ONNX model: open that first."
        return "" if self.analysis is not None else "Wait until the model is analysed."

    def import_profile(self, path: str) -> None:
        """Show an onnxruntime profile on the layers: ``profile_imported`` follows, or ``import_failed``."""
        if self.configuration is not None and not self.no_profile:
            self._reports.import_profile(ImportProfile(0, self.configuration, path))

    def drop_imported(self) -> None:
        """Show what was measured here again."""
        if self.imported is not None:
            self.imported = None
            self._show_measured(lambda analysis: analysis is self.analysis)

    def _on_profile_imported(self, times: LayerTimes) -> None:
        self.imported = times
        self._show_measured(lambda analysis: analysis is self.analysis)
        if times.origin is not None:
            self.profile_imported.emit(times_sentence(times, self.configuration))

    def _forget_imported(self) -> None:
        self.imported = None
        self._reports.drop_imports()

    def _forget_latencies(self) -> None:
        self.latencies.clear()
        self._times = None

    def _show_measured(self, concerns: Callable[[Analysis], bool]) -> None:
        """Give the analyses on the screen what is known of them now, where ``concerns`` says that it changed."""
        before = self.analysis, self.baseline
        if self.analysis is not None and concerns(self.analysis):
            self.analysis = self._with_measured(self.analysis)
        if self.baseline is not None and concerns(self.baseline):
            both = self.baseline is before[0]
            self.baseline = self.analysis if both else self._as_baseline(self.baseline)
        if self.analysis is not before[0]:
            self.analysis_changed.emit()
        if self.baseline is not before[1]:
            self.baseline_changed.emit()

    def _with_measured(self, analysis: Analysis) -> Analysis:
        """``analysis`` with what is known of its configuration, else with the layer times shown last, marked as old."""
        analysis = self._zeros.merged(analysis)
        latency = self.latencies.get(analysis.configuration)
        if latency is not None and latency.layers is not None:
            self._times = latency.layers
        if self.imported is not None:
            apart = msgspec.structs.replace(latency, layers=None) if latency is not None else None
            return with_latency(analysis, apart, self.imported)
        if (
            latency is None
            and self._times is None
            and analysis.latency is None
            and analysis.layer_times is None
        ):
            return analysis
        return with_latency(analysis, latency, self._times)

    def _as_baseline(self, baseline: Analysis | None) -> Analysis | None:
        """``baseline`` with what is known of it now; a report of something else keeps its own measurement."""
        if baseline is None or not self.can_recompute(baseline):
            return baseline
        baseline = self._zeros.merged(baseline)
        latency = self.latencies.get(baseline.configuration)
        if latency is None and baseline.latency is None and baseline.layer_times is None:
            return baseline
        return with_latency(baseline, latency)

    def _set_failure(self, failure: Failed | None) -> None:
        if failure is not self.failure:
            self.failure = failure
            self._update_stale()
            self.failure_changed.emit()

    def _on_failed(self, configuration: Configuration, event: Failed) -> None:
        if event.error.kind in _REFUSALS:
            self.points[configuration] = Point(0, configuration, error=event.error)
            self._points_timer.start()
        if configuration == self.configuration or (event.error.kind == "cancelled" and not self.is_current):
            self._set_failure(event)

    def _on_crashed(self) -> None:
        """What was under way is lost; the opener asks for it again in the next engine."""
        if not self.busy:
            self._prefetcher.on_crash()
        self._prefetcher.reset()
        self.progress = None

    def _on_progressed(self, event: Progress) -> None:
        if self.busy:
            self.progress = event
            self.busy_changed.emit()

    # -- prefetched points ---------------------------------------------------------------------------------------

    def _on_point(self, event: Point) -> None:
        self.points[event.configuration] = event
        self._zeros.behind.discard(event.configuration)
        if not self._points_timer.isActive():
            self._points_timer.start()

    def _unknown_positions(self) -> tuple[Configuration, ...]:
        if (
            self.busy
            or not self.editable
            or self._opener.refusal is not None
            or self._prefetcher.suspended
            or self.configuration is None
            or not self._sweep_symbol
        ):
            return ()
        symbol = self._sweep_symbol
        likes = [self.configuration]
        if self.baseline is not None and self.can_recompute(self.baseline):
            likes.append(self.baseline.configuration)
        positions = sizes.grid(self.dim_of(symbol), self.size_of(symbol))
        wanted = (self.configuration_at(symbol, size, like) for like in likes for size in positions)
        known = self.points.keys() - self._zeros.behind
        return tuple(dict.fromkeys(each for each in wanted if each not in known))

    # -- zeros in the weights ------------------------------------------------------------------------------------

    def _on_weighed(self, event: Weighed) -> None:
        if not self._zeros.awaited:
            return
        self._zeros.take(event.zeros, self.points)
        if event.error is not None:
            self.noticed.emit(f"The zeros in the weights are not counted: {event.error.message}")
        self._show_measured(lambda analysis: analysis.weight_uses is not None)
        if self.analysis is not None:
            self._remember(self.analysis)
        # The list is done by now; what came before the zeros is asked for once more, and known already.
        self._prefetcher.reset()
        self._prefetcher.touch()

    def can_recompute(self, analysis: Analysis) -> bool:
        """Whether the open model is the one of ``analysis``, so that its other sizes can be asked for."""
        same = self.model is not None and (analysis.model.source, analysis.model.sha256) == (
            self.model.source,
            self.model.sha256,
        )
        return same and sizes.matches(self.specs, analysis.configuration.inputs)

    # -- reports and the zoo -------------------------------------------------------------------------------------

    def export(self, format: str, path: str) -> None:
        """Write what is on the screen, compared with the baseline when that is something else."""
        analysis, baseline = self.analysis, self.baseline
        if analysis is None:
            return
        if baseline is not None and (baseline.model, baseline.configuration) == (
            analysis.model,
            analysis.configuration,
        ):
            baseline = None
        self._reports.export(analysis, format, path, baseline)

    @property
    def no_saving(self) -> str:
        """Why the model on the screen cannot be written as a model file, as a sentence; empty when it can."""
        if self.model is None:
            return "Open an ONNX model first."
        if not self.editable:
            return REPORT_REASON
        return (
            ""
            if self.model.format == "onnx"
            else "Only ONNX models are saved; change a PyTorch model's code."
        )

    def save_model(self, path: str, *, replace: bool = False, fix_sizes: bool = False) -> None:
        """Write the configuration asked for as an ONNX file; ``replace`` allows the file that is open.

        ``fix_sizes`` writes the input sizes into it. ``saved`` follows, or ``save_failed``.
        """
        if self.configuration is not None and not self.no_saving:
            assert self.model is not None
            wanted = SaveModel(0, self.configuration, path, replace, fix_sizes)
            self._reports.save(wanted, self.model.source)

    def is_open(self, path: str) -> bool:
        """Whether ``path`` is the file that the model on the screen was opened from."""
        try:
            return bool(self.file) and os.path.samefile(path, self.file)
        except OSError:
            return False

    def _on_saved(self, event: Saved, wanted: SaveModel, source: str) -> None:
        """Tell it, of a model that is not on the screen any more in the status bar alone."""
        opening = self._opener.under_way
        leaves = opening is not None and opening.reason == "user"
        if leaves or self.model is None or self.model.source != source:
            name = f"Saved {Path(event.path).name}, from {sources.short(source)}."
            self.noticed.emit(f"{name} {event.note}".strip())
        else:
            self.saved.emit(event)
        asked = self.configuration
        if asked is not None and self.is_open(event.path):
            # What was edited since the saving began is not in the file.
            edits = tuple(edit for edit in asked.edits if edit not in wanted.configuration.edits)
            self._opener.take_replaced(Plan(asked.inputs, edits, asked.assumptions, "Edits since saving"))

    def _on_report_opened(self, analysis: Analysis, path: str, as_baseline: bool) -> None:
        if as_baseline:
            self._change_baseline(f"Baseline {Path(path).name}", (analysis, Path(path).name))
            return
        self._opener.forget()
        self._prefetcher.reset()
        self._zeros.reset(None, False)
        specs = sizes.fixed_specs(analysis.configuration.inputs)
        self._take_model(analysis.model, specs, analysis.configuration, analysis, editable=False)
        self._settings.add_recent(path)

    def inspect(self, path: str) -> None:
        """``inspected`` says what the model file holds; nothing of it runs."""
        self._reports.inspect(path)

    def request_zoo(self) -> None:
        """``zoo_listed`` follows, at once when the list is known."""
        self._reports.request_zoo()


def _same(one: Analysis | None, other: Analysis | None) -> bool:
    """Whether both are of one configuration of one model, however much was measured of it since."""
    if one is None or other is None:
        return one is other
    return (one.model, one.configuration) == (other.model, other.configuration)
