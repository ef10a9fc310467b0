"""When to measure what, and what is known: the measured half of the window's truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
from PySide6.QtCore import QObject, QTimer, Signal

from engine.configuration import Configuration
from engine.errors import ErrorInfo
from engine.measurement import ORT_LEVELS, Comparison, Latency, Measurement, Part, RuntimeOptions
from engine.protocol import (
    Compare,
    Compared,
    Failed,
    LayersMeasured,
    Measure,
    Measured,
    MeasureLayers,
    MeasureOps,
    OpsMeasured,
    Progress,
    Sampled,
)
from engine.results import Analysis, ModelInfo
from gui import sizes
from gui.latency_engine import Job, LatencyEngine
from gui.settings import Settings
from gui.sweep import Sweep, positions
from gui.workspace import Workspace

__all__ = ["Measuring", "Running", "Sweep"]

LIVE_MS = 120
"""After the last change: what is passed on the way is not worth measuring."""
SETTLED_MS = 700
PATIENCE_MS = 5000
"""The slider's other positions are analysed before anything is measured well, unless that takes longer."""
SAMPLES_MS = 250
"""``samples_changed`` comes at most so often: painting disturbs what it shows."""
HISTORY = 12
BUDGET_S = {"live": 1.0, "settled": 3.0, "report": 10.0}
"""Most time that sampling takes, by ``phase``."""
SLOW_S = 0.2
"""A forward pass that takes longer is often killed: its process needs a spare before it is measured well."""

NOT_AGREED = ErrorInfo(
    "consent",
    "It may not be opened again to be measured: you do not let its code run any more.",
    "Open it again (F5) to be asked.",
)

Since = Literal["", "threads", "runtime", "reload", "interpreter"]


@dataclass
class Running:
    """The measurement of the configuration asked for that is under way, as far as it is."""

    configuration: Configuration
    threads: int
    """0 until the engine says how many."""
    samples_s: list[float] = field(default_factory=list)
    delay_s: list[float] = field(default_factory=list)


class Measuring(QObject):
    """Live after a short pause, settled when nothing moves, then the layers, then against the baseline.

    :meth:`_jobs` says what is worth measuring, most urgent first; every event only asks again what that is now.
    """

    state_changed = Signal()
    """``enabled``, ``phase``, ``words``, ``error``, ``sampling``, ``threads`` or ``runtime``."""
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
        self._settings = settings
        self.enabled = settings.flag("measuring/enabled", True)
        """Whether anything is measured; kept in the settings."""
        self.threads = max(settings.number("measuring/threads"), 0)
        """Asked for; 0 is the framework's default. Kept in the settings."""
        self._runtime = _kept_runtime(settings)
        self.phase = ""
        """``""`` (idle), ``waiting``, ``cancelled`` (until something is changed or asked for), ``starting``,
        ``live``, ``settled``, ``report``, ``layers``, ``comparing``, ``ops``, ``quiet`` (waits for a quiet machine) or
        ``sweep``."""
        self.words = ""
        """What is being done, for the status bar; ``""`` for nothing."""
        self.running: Running | None = None
        self.error: ErrorInfo | None = None
        """Why the configuration asked for cannot be measured: memory, a crash, an error in the model."""
        self.history: list[Measurement] = []
        """The latest measurement of each of the last dozen configurations, newest last."""
        self.shown: Measurement | None = None
        """Of the configuration asked for where it is known, else the last there was: the card shows it."""
        self.since: Since = ""
        """What else than the configuration is another one since ``shown`` was measured."""
        self.sweep: Sweep | None = None
        self._sweep_sizes: list[int] = []
        self._requested: Job | None = None
        self._errors: dict[Job, ErrorInfo] = {}
        self._reference_best: dict[tuple[bool, int], float] = {}
        """By framework (onnxruntime or torch: each has a kernel of its own) and threads."""
        self._opened = False
        self._progress = ""
        self._state: tuple[object, ...] = ()
        self._halted = False
        self._against: tuple[ModelInfo, Configuration] | None = None
        """The baseline when it was looked at last."""
        self._timers: list[QTimer] = []
        self._debounce = self._timer(LIVE_MS, self._advance)
        self._idle = self._timer(SETTLED_MS, self._advance)
        self._patience = self._timer(PATIENCE_MS, self._advance)
        self._samples_timer = self._timer(SAMPLES_MS, self._on_samples_due)
        self._samples_due = False
        self._closed = False
        workspace.model_changed.connect(self._on_model_changed)
        workspace.reloaded.connect(self._on_reloaded)
        workspace.configuration_changed.connect(self._on_configuration_changed)
        workspace.baseline_changed.connect(self._on_baseline_changed)
        workspace.consent_revoked.connect(self._on_consent_revoked)
        for signal in (
            workspace.analysis_changed,
            workspace.failure_changed,
            workspace.points_changed,
            workspace.busy_changed,
        ):
            signal.connect(self._advance)
        workspace.engine.restarted.connect(self._on_engine_restarted)
        engine.changed.connect(self._advance)
        engine.answered.connect(self._on_answered)
        engine.sampled.connect(self._on_sampled)
        engine.progressed.connect(self._on_progressed)
        self._on_model_changed()

    def _timer(self, interval: int, slot: Any) -> QTimer:
        timer = QTimer(self, singleShot=True, interval=interval)
        timer.timeout.connect(slot)
        self._timers.append(timer)
        return timer

    # -- what is known -------------------------------------------------------------------------------------------

    @property
    def latencies(self) -> dict[Configuration, Latency]:
        """Everything known of this model at these threads."""
        return self.workspace.latencies

    @property
    def is_current(self) -> bool:
        """Whether ``shown`` is of the configuration asked for, of the model as it is now and at these threads."""
        known = self._known
        return known is not None and self.shown is known.measurement

    @property
    def _known(self) -> Latency | None:
        """What is known of the configuration asked for."""
        configuration = self.workspace.configuration
        return self.latencies.get(configuration) if configuration is not None else None

    @property
    def comparison(self) -> Comparison | None:
        """The configuration on the screen against the baseline, once it is measured."""
        known = self._known
        if known is None or known.comparison is None:
            return None
        if not self.workspace.editable:
            return known.comparison
        baseline = self._baseline()
        return known.comparison if known.comparison.baseline == baseline else None

    @property
    def sampling(self) -> bool:
        """Whether something is being measured: painting should wait."""
        return self.engine.measuring

    @property
    def progress(self) -> float | None:
        """Share of the time that the measurement under way may take (it often ends sooner); None for none."""
        budget = BUDGET_S.get(self.phase)
        if budget is None or self.running is None:
            return None
        return min(sum(self.running.samples_s) / budget, 1.0)

    @property
    def settled(self) -> bool:
        """Whether everything worth measuring is measured, or cannot be."""
        if not self.enabled or not self.workspace.editable or self.engine.refusal is not None:
            return True
        if self._debounce.isActive() or self._idle.isActive() or self.engine.job is not None:
            return False
        answered = self.workspace.is_current or self.workspace.failure is not None
        return answered and self._next(calm=True) is None

    @property
    def _is_calm(self) -> bool:
        """Whether the user is done changing things and nothing of our own would disturb a good measurement."""
        if self._idle.isActive() or self.engine.preparing:
            return False
        return not self._patience.isActive() or self.workspace.settled

    def _baseline(self) -> Configuration | None:
        """The baseline's configuration, if it can be measured and is another one."""
        baseline: Analysis | None = self.workspace.baseline
        if baseline is None or not self.workspace.can_recompute(baseline):
            return None
        return baseline.configuration if baseline.configuration != self.workspace.configuration else None

    # -- requests ------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """The window closes: nothing more is measured, no process stays."""
        self._closed = True
        for timer in self._timers:
            timer.stop()
        self.engine.stop()

    def set_enabled(self, enabled: bool) -> None:
        """Pausing ends all CPU use of measuring within a second; what is known stays."""
        if enabled == self.enabled:
            return
        self.enabled = enabled
        self._halted = False
        self._settings.set("measuring/enabled", enabled)
        if enabled:
            self._open()
        else:
            self._requested = None
            self._stop_running()
            self.engine.rest()
        self._advance()

    @property
    def runtime(self) -> RuntimeOptions:
        """How onnxruntime is to run an ONNX model; the defaults for others, which it does not concern."""
        return self._runtime if self.is_onnx else RuntimeOptions()

    @property
    def is_onnx(self) -> bool:
        """Whether the open model is one that onnxruntime runs."""
        return self.workspace.model is not None and self.workspace.model.format == "onnx"

    def set_runtime(self, runtime: RuntimeOptions) -> None:
        """Measure ONNX models so from now on; kept in the settings."""
        if runtime == self._runtime:
            return
        self._runtime = runtime
        self._settings.set("measuring/ort_level", runtime.level)
        self._settings.set("measuring/ort_spinning", runtime.spinning)
        if self.is_onnx:
            self._outdate("runtime")
        self._advance()
        self._update_state()

    def set_threads(self, threads: int) -> None:
        """Measure with so many threads from now on; 0 is the framework's default."""
        if threads == self.threads:
            return
        self.threads = threads
        self._settings.set("measuring/threads", threads)
        self._outdate("threads")
        self._advance()

    def _outdate(self, since: Since) -> None:
        """Nothing that was measured of the model on the screen holds any more; a report's own times do."""
        self._requested = None
        self._halted = False
        self._errors.clear()
        if self.workspace.editable:
            self.since = since
            self._stop_running()
            self.engine.cancel()
            self.history.clear()
            self.workspace.drop_latencies()
            self._count_sweep()
            self.latency_changed.emit()

    def measure_again(self, *, when_quiet: bool = False, report: bool = False) -> None:
        """Measure the configuration asked for once more: settled, or ten seconds for a ``report``."""
        configuration = self.workspace.configuration
        if configuration is not None:
            self._request(self._measure(configuration, "report" if report else "settled", when_quiet))

    def measure_ops(self) -> None:
        """Time every operation of the configuration on the screen; ``ops_measured`` follows.

        Of an ONNX model the runtime times its kernels, and with them the layers.
        """
        if self.workspace.configuration is not None and self.is_onnx:
            self._request(MeasureLayers(0, self.workspace.configuration, self.threads, self.runtime))
        elif self.workspace.configuration is not None:
            self._request(MeasureOps(0, self.workspace.configuration, self.threads, self.runtime))

    def _request(self, job: Job) -> None:
        """Measure what the user asks for before anything else; whatever failed at this configuration may try again."""
        if not self.enabled or not self.workspace.editable:
            return
        self._errors = {
            known: error for known, error in self._errors.items() if known.configuration != job.configuration
        }
        self._requested = job
        self._halted = False
        self._stop_running()
        self.engine.cancel()
        self._open_again()
        self._advance()

    def cancel(self) -> None:
        """Measure nothing more until something is changed or asked for."""
        self._halted = True
        self._requested = None
        self.cancel_sweep()
        self._stop_running()
        self.engine.cancel()
        self._advance()

    def start_sweep(self) -> None:
        """Measure positions over the range of the workspace's sweep symbol; the ones known are kept."""
        symbol = self.workspace.sweep_symbol
        if symbol and self.workspace.editable:
            self._sweep_sizes = positions(self.workspace.dim_of(symbol), self.workspace.size_of(symbol))
            self.sweep = Sweep(symbol, 0, len(self._sweep_sizes))
            self._halted = False
            self.sweep_changed.emit()
            self._count_sweep()
            self._advance()

    def pause_sweep(self, paused: bool) -> None:
        """Hold or go on."""
        if self.sweep is not None and not self.sweep.finished:
            self._set_sweep(Sweep(self.sweep.symbol, self.sweep.done, self.sweep.total, paused=paused))
            self._drop_sweep_job()
            self._advance()

    def cancel_sweep(self) -> None:
        """Stop; what it has found stays."""
        self._set_sweep(None)
        self._drop_sweep_job()
        self._advance()

    # -- what to measure -----------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Measure what is most worth it, unless something is being measured already."""
        if self._closed:
            return
        if self.engine.job is None and not self._debounce.isActive():
            self._stop_running()
            job = self._next(self._is_calm)
            if self._spare_comes_before(job):
                self.engine.prepare()
            elif job is not None:
                self._start(job)
        elif self.running is not None and self.running.samples_s and not self.engine.is_open:
            # Its process is gone; the next one starts from the beginning.
            self.running = Running(self.running.configuration, 0)
            self._announce_samples()
        self.workspace.hold_prefetch(self.engine.job is not None and self.engine.is_open)
        self._update_state()

    def _start(self, job: Job) -> None:
        self._progress = ""
        if isinstance(job, Measure | Compare):
            job = msgspec.structs.replace(
                job, reference_best_s=self._reference_best.get((self.is_onnx, job.threads))
            )
        if isinstance(job, Measure):
            if job.configuration == self.workspace.configuration:
                self.running = Running(job.configuration, 0)
                self._announce_samples()
        self.engine.ask(job)

    def _next(self, calm: bool) -> Job | None:
        """The most urgent job that has not failed, None for nothing; only what can wait no longer unless ``calm``."""
        configuration = self.workspace.configuration
        if not self._is_able or configuration is None:
            return None
        jobs = self._jobs(configuration, calm)
        return next((job for job in jobs if job not in self._errors), None)

    @property
    def _is_able(self) -> bool:
        """Whether the configuration asked for can be measured, as far as is known, and shall be."""
        workspace = self.workspace
        return (
            self.enabled
            and not self._halted
            and workspace.editable
            and workspace.is_current
            and workspace.failure is None
            and self.engine.refusal is None
        )

    def _spare_comes_before(self, job: Job | None) -> bool:
        """Whether to have a spare ready is worth more than ``job``.

        Without one, a pass that does not stop and is killed leaves the user waiting for an import. Nothing can be
        measured well meanwhile, so what the user looks at goes first, unless its passes are long.
        """
        known = self._known
        if known is None or self._idle.isActive() or not (self._is_able and self.engine.lacks_spare):
            return False
        if known.measurement.median_s > SLOW_S:
            return job is None or job != self._requested
        looked_at = job is not None and job.configuration == known.configuration
        return self._is_calm and (not looked_at or isinstance(job, Compare))

    def _jobs(self, configuration: Configuration, calm: bool) -> Iterator[Job]:
        """Everything that is still to be measured, most urgent first."""
        if self._requested is not None and (calm or not self.engine.preparing):
            yield self._requested
        latency = self.latencies.get(configuration)
        if latency is None:
            yield self._measure(configuration, "live")
        if not calm:
            return
        if latency is not None and latency.measurement.tier == "live":
            yield self._measure(configuration, "settled")
        if self.sweep is not None and not self.sweep.paused:
            yield from (self._measure(position, "live") for position in self._sweep_positions())
        if latency is not None:
            yield from self._well_measured(configuration)
            yield from self._against_baseline(configuration, latency)

    def _against_baseline(self, configuration: Configuration, latency: Latency) -> Iterator[Job]:
        baseline = self._baseline()
        if baseline is not None:
            if latency.comparison is None or latency.comparison.baseline != baseline:
                yield Compare(0, configuration, baseline, self.threads, runtime=self.runtime)
            yield from self._well_measured(baseline)

    def _well_measured(self, configuration: Configuration) -> Iterator[Job]:
        """The settled measurement of a configuration, then its layers."""
        latency = self.latencies.get(configuration)
        if latency is None or latency.measurement.tier == "live":
            yield self._measure(configuration, "settled")
        if latency is not None and latency.layers is None:
            yield MeasureLayers(0, configuration, self.threads, self.runtime)

    def _measure(self, configuration: Configuration, tier: Any, when_quiet: bool = False) -> Measure:
        return Measure(0, configuration, tier, self.threads, when_quiet, runtime=self.runtime)

    # -- the sweep -----------------------------------------------------------------------------------------------

    def _sweep_positions(self) -> list[Configuration]:
        """The positions that are not known yet, at the edits and other sizes of now."""
        return [each for each in self._sweep_configurations() if not self._is_swept(each)]

    def _sweep_configurations(self) -> list[Configuration]:
        sweep = self.sweep
        if sweep is None or sweep.symbol not in self.workspace.symbols():
            return []
        return [self.workspace.configuration_at(sweep.symbol, size) for size in self._sweep_sizes]

    def _is_swept(self, configuration: Configuration) -> bool:
        """Whether it is known, or known not to work."""
        point = self.workspace.points.get(configuration)
        refused = point is not None and point.error is not None
        return (
            configuration in self.latencies or refused or self._measure(configuration, "live") in self._errors
        )

    def _count_sweep(self) -> None:
        """How far it is now; one that is finished is not begun again by a change of something else."""
        if self.sweep is not None and not self.sweep.finished:
            total = len(self._sweep_sizes)
            done = total - len(self._sweep_positions())
            paused = self.sweep.paused and done < total
            self._set_sweep(Sweep(self.sweep.symbol, done, total, paused, finished=done == total))

    def _set_sweep(self, sweep: Sweep | None) -> None:
        if sweep != self.sweep:
            self.sweep = sweep
            self.sweep_changed.emit()

    def _drop_sweep_job(self) -> None:
        if self._is_sweeping:
            self.engine.cancel()

    @property
    def _is_sweeping(self) -> bool:
        job = self.engine.job
        others = (self.workspace.configuration, self._baseline())
        return self.sweep is not None and job is not None and job.configuration not in others

    # -- the workspace's events ----------------------------------------------------------------------------------

    def _on_model_changed(self) -> None:
        self.shown = None
        self._on_reloaded()

    def _on_reloaded(self) -> None:
        """Another model, or the same file with another content: nothing measured holds any more."""
        self.since = "reload" if self.shown is not None else ""
        self._requested = None
        self._errors.clear()
        self.history.clear()
        self._opened = False
        self._start_timers()
        self._set_sweep(None)
        if self.enabled:
            self._open()
        self._on_configuration_changed()

    def _open(self) -> None:
        """Give the latency engine the model on the screen, with the consent it was opened with."""
        origin = self.workspace.origin
        if origin is None or not self.workspace.editable:
            self.engine.close_model()
        elif not self._opened or self.engine.refusal is not None:
            self._opened = True
            model = self.workspace.model
            sha256 = model.sha256 if model is not None else None
            self.engine.open(origin.source, *self.workspace.consent, origin.inputs, sha256)

    def _on_consent_revoked(self) -> None:
        if not self.workspace.consent[0]:
            self.engine.distrust()

    def _on_configuration_changed(self) -> None:
        configuration = self.workspace.configuration
        self._halted = False
        if self._requested is not None and self._requested.configuration != configuration:
            self._requested = None
        self._stop_running()
        self.engine.cancel()
        self._start_timers()
        self._count_sweep()
        self._show()
        self._advance()

    def _start_timers(self) -> None:
        for timer in (self._debounce, self._idle, self._patience):
            timer.start()

    def _on_baseline_changed(self) -> None:
        baseline = self._baseline()
        job = self.engine.job
        if isinstance(job, Compare) and job.baseline != baseline:
            self.engine.cancel()
        known = self.workspace.baseline
        against = (known.model, known.configuration) if known is not None else None
        if against != self._against:
            self._against = against
            self._halted = False
            self.latency_changed.emit()
        self._advance()

    def _on_engine_restarted(self) -> None:
        """Another interpreter was chosen, or the user restarted the engine."""
        client = self.workspace.engine
        if client.python != self.engine.python:
            self.engine.set_python(client.python)
            self._reference_best.clear()
            self._outdate("interpreter")
        self._open_again()
        self._advance()

    def _open_again(self) -> None:
        """What could not be opened may be tried again."""
        if self.engine.refusal is not None:
            self._open()

    # -- the engine's events -------------------------------------------------------------------------------------

    def _on_sampled(self, event: Sampled) -> None:
        running = self.running
        if running is not None and event.configuration == running.configuration:
            running.threads = event.threads
            running.samples_s.extend(event.samples_s)
            running.delay_s.extend(event.delay_s)
            self._announce_samples()
            if self.phase == "quiet":
                self._update_state()

    def _on_progressed(self, event: Progress) -> None:
        self._progress = event.what
        self._update_state()

    def _on_answered(self, job: Job, event: Any) -> None:
        if (job.threads, job.runtime) != (self.threads, self.runtime):
            return
        if self._requested is not None and _key(job) == _key(self._requested):
            self._requested = None
        if self.running is not None and self.running.configuration == job.configuration:
            self._stop_running()
        if isinstance(event, Failed):
            if event.error.kind != "cancelled":
                self._errors[_key(job)] = event.error
        elif isinstance(event, Measured):
            self._on_measured(event.measurement)
        elif isinstance(event, LayersMeasured):
            self._add(event.layers.configuration, event.layers, event.memory)
        elif isinstance(event, Compared):
            self._add(event.comparison.current, event.comparison)
        elif isinstance(event, OpsMeasured):
            self.ops_measured.emit(event.ops)
        self._count_sweep()

    def _on_measured(self, measurement: Measurement) -> None:
        best = measurement.reference_best_s
        if best is not None:
            kernel = (measurement.runtime is not None, self.threads)
            self._reference_best[kernel] = min(best, self._reference_best.get(kernel, best))
        configuration = measurement.configuration
        known = self.latencies.get(configuration)
        self.workspace.add_latency(
            known.with_part(measurement) if known is not None else Latency(measurement)
        )
        if configuration == self.workspace.configuration:
            rest = [each for each in self.history if each.configuration != configuration]
            self.history = [*rest, measurement][-HISTORY:]
            self._show()
        elif self.sweep is not None:
            self.sweep_changed.emit()

    def _add(self, configuration: Configuration, *parts: Part) -> None:
        latency = self.latencies.get(configuration)
        if latency is None:
            return
        for part in parts:
            latency = latency.with_part(part)
        self.workspace.add_latency(latency)
        self.latency_changed.emit()

    # -- saying it -----------------------------------------------------------------------------------------------

    def _show(self) -> None:
        """Show what is known of the configuration asked for; else what was shown stays, and is not current."""
        known = self._known
        if known is not None:
            self.shown, self.since = known.measurement, ""
        self.latency_changed.emit()

    def _stop_running(self) -> None:
        if self.running is not None:
            self.running = None
            self._announce_samples()

    def _announce_samples(self) -> None:
        """Now if the last time is long enough ago, else when it is."""
        if self._samples_timer.isActive():
            self._samples_due = True
        else:
            self._samples_timer.start()
            self.samples_changed.emit()

    def _on_samples_due(self) -> None:
        if self._samples_due:
            self._samples_due = False
            self._announce_samples()

    def _update_state(self) -> None:
        self.phase, self.words = self._describe()
        configuration = self.workspace.configuration
        errors = (error for job, error in self._errors.items() if job.configuration == configuration)
        self.error = self._refusal() or next(errors, None)
        state = (
            self.enabled,
            self.phase,
            self.words,
            self.error,
            self.sampling,
            self.threads,
            self.runtime,
        )
        if state != self._state:
            self._state = state
            self.state_changed.emit()

    def _refusal(self) -> ErrorInfo | None:
        """Why the model cannot be opened to be measured, as far as it concerns the user."""
        refusal = self.engine.refusal
        if refusal is None or refusal.kind != "consent":
            return refusal
        # A file that changed meanwhile is opened again, or the user is asked about it: no error.
        return None if self.workspace.consent[0] else NOT_AGREED

    def _describe(self) -> tuple[str, str]:
        """``phase`` and ``words``."""
        job = self.engine.job
        if job is None:
            if not self.enabled or not self.workspace.editable:
                return "", ""
            words = "Measuring in a moment" if self._requested is not None else ""
            return "cancelled" if self._halted else "" if self.settled else "waiting", words
        if not self.engine.is_open:
            return "starting", "Starting to measure"
        size = sizes.size_text(job.configuration.inputs)
        if self._is_sweeping and self.sweep is not None:
            return "sweep", f"Measuring {self.sweep.done + 1} of {self.sweep.total} · {size}"
        if isinstance(job, MeasureLayers):
            return "layers", f"Timing the layers at {size}"
        if isinstance(job, MeasureOps):
            return "ops", f"Timing every operation at {size}"
        if isinstance(job, Compare):
            return "comparing", "Measuring against the baseline"
        if job.when_quiet and (self.running is None or not self.running.samples_s):
            return "quiet", self._progress or "Waiting for a quiet machine"
        return job.tier, {
            "live": f"Measuring {size}",
            "settled": f"Measuring {size} precisely",
            "report": f"Measuring {size} for a report",
        }[job.tier]


def _key(job: Job) -> Job:
    """``job`` as it is wished for, without what was only learnt since."""
    if isinstance(job, Measure):
        return Measure(0, job.configuration, job.tier, job.threads, job.when_quiet, runtime=job.runtime)
    if isinstance(job, Compare):
        return Compare(0, job.configuration, job.baseline, job.threads, runtime=job.runtime)
    return job


def _kept_runtime(settings: Settings) -> RuntimeOptions:
    default = RuntimeOptions()
    kept = settings.text("measuring/ort_level", default.level)
    level = next((level for level in ORT_LEVELS if level == kept), default.level)
    return RuntimeOptions(level, settings.flag("measuring/ort_spinning", default.spinning))
