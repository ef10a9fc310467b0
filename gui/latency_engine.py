"""The process that measures and a warm spare, so that ending a long iteration costs little."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from typing import Any, TypeAlias

from PySide6.QtCore import QObject, QTimer, Signal

from engine.configuration import Configuration
from engine.errors import ErrorInfo
from engine.graph import InputShape
from engine.protocol import Compare, Failed, Measure, MeasureLayers, MeasureOps, Opened, Progress, Sampled
from gui.engine_client import EngineClient

log = logging.getLogger(__name__)

Job: TypeAlias = Measure | MeasureLayers | MeasureOps | Compare
"""A request to measure; its id is given when it is sent."""

ARGUMENTS = ("-m", "engine", "serve", "--latency")
VARIABLES = {"ORT_DISABLE_TELEMETRY": "1"}
"""ONNX Runtime's official builds report model names and hashes otherwise; it reads this when it is imported."""
GRACE_MS = 250
"""A kernel cannot be interrupted: what does not stop in this time is killed, and the spare takes over."""
LONGEST_GRACE_MS = 4000
"""Without a spare that is ready, killing makes the next measurement wait for an import that takes so long."""
IDLE_MS = 2000
"""Without anything to measure for this long, importing frameworks disturbs nobody: the spare starts."""
MAX_DEATHS = 3
"""Processes that die in a row without an answer before no more are started."""


class LatencyEngine(QObject):
    """One process that measures, one request at a time, and one that waits with its frameworks imported.

    The newest request replaces the one that waits and ends the one that runs. Nothing here blocks but :meth:`stop`.
    """

    changed = Signal()
    """``job``, ``is_open``, ``preparing`` or ``refusal``."""
    answered = Signal(object, object)
    """(Job, Measured | LayersMeasured | OpsMeasured | Compared | Failed). What was given up says nothing, unless it
    was finished already."""
    sampled = Signal(object)
    """Sampled, of the job under way."""
    progressed = Signal(object)
    """Progress, of the job under way."""

    def __init__(
        self, python: str = "", parent: QObject | None = None, *, arguments: Sequence[str] = ARGUMENTS
    ) -> None:
        super().__init__(parent)
        self.python = python or sys.executable
        self.refusal: ErrorInfo | None = None
        """Why the model cannot be opened here, or no process be started; until :meth:`open` is called again."""
        self._arguments = tuple(arguments)
        self._variables = dict(VARIABLES)
        self._active: EngineClient | None = None
        self._spare: EngineClient | None = None
        self._dying: list[EngineClient] = []
        self._source: tuple[str, bool, str, tuple[InputShape, ...]] | None = None
        self._sha256: str | None = None
        self._is_open = False
        self._request = 0
        self._job: Job | None = None
        self._given_up = False
        self._given_up_at = 0.0
        self._waiting: Job | None = None
        self._resting = True
        self._deaths = 0
        self._spare_deaths = 0
        self._deaths_at: dict[Configuration, int] = {}
        self._grace = QTimer(self, singleShot=True, interval=GRACE_MS)
        self._grace.timeout.connect(self._on_grace_over)
        self._idle = QTimer(self, singleShot=True, interval=IDLE_MS)
        self._idle.timeout.connect(self._on_idle)

    # -- what is known -------------------------------------------------------------------------------------------

    @property
    def job(self) -> Job | None:
        """What is being measured or will be next; None also while something stops."""
        return self._waiting or (None if self._given_up else self._job)

    @property
    def measuring(self) -> bool:
        """Whether the process works on a job, also one that was given up and has not stopped yet."""
        return self._job is not None

    @property
    def is_open(self) -> bool:
        """Whether the process that measures holds the model."""
        return self._is_open

    @property
    def preparing(self) -> bool:
        """Whether the spare is importing its frameworks, which would disturb a measurement."""
        return self._spare is not None and self._spare.state == "starting"

    @property
    def lacks_spare(self) -> bool:
        """Whether :meth:`prepare` would start a spare: the model is open, and nobody waits to take over."""
        return self._is_open and not self._resting and self._spare is None and self._spare_deaths < MAX_DEATHS

    @property
    def pids(self) -> tuple[int, ...]:
        """Of the process that measures and of the spare, 0 where there is none."""
        return tuple(client.pid if client is not None else 0 for client in (self._active, self._spare))

    # -- requests ------------------------------------------------------------------------------------------------

    def open(
        self,
        source: str,
        trust: bool,
        digest: str,
        inputs: tuple[InputShape, ...],
        sha256: str | None = None,
    ) -> None:
        """Measure this model from now on: as the analysis engine opened it, with the same consent.

        A file whose content is not ``sha256`` any more is refused: the window is about to open it again.
        """
        self._source = (source, trust, digest, inputs)
        self._sha256 = sha256
        self.refusal = None
        self._waiting = None
        self._is_open = False
        self._deaths = self._spare_deaths = 0
        self._deaths_at.clear()
        self._give_up_running()
        self._job = None  # an answer on its way is of another model
        self._pump()

    def distrust(self) -> None:
        """The consent was taken back: the process that has the model open goes on, no other one may open it."""
        if self._source is not None:
            source, _, _, inputs = self._source
            self._source = (source, False, "", inputs)

    def close_model(self) -> None:
        """Nothing is open any more, as when a report is shown."""
        self._source = self._job = None  # an answer on its way is of a model that is gone
        self.rest()

    def set_python(self, python: str) -> None:
        """Another interpreter from the next process on."""
        self.python = python
        self.refusal = None
        clients = self._active, self._spare
        self._active = self._spare = None
        self._forget_running()
        for client in clients:
            if client is not None:
                self._retire(client)

    def set_variable(self, name: str, value: str) -> None:
        """An environment variable from the next process on; an empty value takes it away again."""
        self._variables.pop(name, None)
        if value:
            self._variables[name] = value
        self.set_python(self.python)

    def ask(self, job: Job) -> None:
        """Do ``job`` next; what runs or waits gives way to it."""
        self._resting = False
        self._waiting = job
        if self._job is not None:
            self._give_up_running()
        self._pump()

    def prepare(self) -> None:
        """Start the spare now instead of once nothing was measured for a while."""
        if self.lacks_spare and not self._request:
            self._keep_ready(self._start())
            self.changed.emit()

    def cancel(self) -> None:
        """Stop measuring, within GRACE_MS or with the process."""
        if self.job is None:
            if self._idle.isActive():
                self._idle.start()  # something moves: an import would disturb it
            return
        self._waiting = None
        if self._job is not None:
            self._give_up_running()
        self._pump()

    def rest(self) -> None:
        """Stop everything that takes time: measuring, opening, importing. What is idle stays for :meth:`ask`."""
        self._resting = True
        self._waiting = None
        self._idle.stop()
        spare, active = self._spare, self._active
        if spare is not None and spare.state == "starting":
            self._spare = None
            self._retire(spare)
        if active is not None and not self._is_open:
            self._active = None
            self._forget_running()
            self._retire(active)
        self._give_up_running()
        self.changed.emit()

    def stop(self) -> None:
        """End every process and wait for it (well below a second: they are killed)."""
        self._source = self._waiting = None
        self._resting = True
        self._idle.stop()
        clients = [client for client in (self._active, self._spare, *self._dying) if client is not None]
        self._active = self._spare = None
        self._dying = []
        self._forget_running()
        for client in clients:
            client.discard()
        for client in clients:
            client.stop()
            client.deleteLater()

    # -- sending -------------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Send what is to be sent next, if the process is free for it."""
        self._idle.stop()
        if not self._request and self.refusal is None and self._source is not None:
            self._send()
        if not self._request and not self._resting:
            self._idle.start()
        self.changed.emit()

    def _send(self) -> None:
        if self._active is None:
            if self._waiting is None:
                return
            self._employ(self._start())
        client = self._active
        if client is None:
            return  # it could not be started
        if not self._is_open:
            if not self._resting:
                assert self._source is not None
                self._request = client.open(*self._source)
        elif self._waiting is not None and not self._dying:
            # A killed process may still hold its memory: the next measurement starts when it is gone.
            self._job, self._waiting = self._waiting, None
            self._request = client.request(self._job)

    def _give_up_running(self) -> None:
        """Whatever the process works on is not wanted any more."""
        if self._request and not self._given_up:
            assert self._active is not None
            self._given_up = True
            self._given_up_at = time.monotonic()
            self._active.interrupt(self._request)
            if self._active.state != "starting":
                self._grace.start()

    def _forget_running(self) -> None:
        """The process that worked on it is gone."""
        self._grace.stop()
        self._request, self._job, self._given_up, self._is_open = 0, None, False, False

    def _on_grace_over(self) -> None:
        client = self._active
        assert client is not None
        waited_s = time.monotonic() - self._given_up_at
        has_spare = self._spare is not None and self._spare.state == "ready"
        if not (has_spare or self._resting or waited_s * 1e3 >= LONGEST_GRACE_MS):
            self._grace.start()
            return
        log.info("Process %d did not stop measuring in %.1f s", client.pid, waited_s)
        self._take_over()
        self._retire(client)
        self._pump()

    def _take_over(self) -> None:
        """The spare takes the place of a process that is gone; :meth:`_pump` gives it the model and what waits."""
        self._forget_running()
        spare, self._active, self._spare = self._spare, None, None
        if spare is not None:
            spare.disconnect(self)
            self._employ(spare)

    def _on_idle(self) -> None:
        if self._source is None or self.refusal is not None:
            return
        if self._active is None:
            self._employ(self._start())
            self._pump()
        else:
            self.prepare()

    # -- processes -----------------------------------------------------------------------------------------------

    def _start(self) -> EngineClient:
        """A new process, which nobody listens to yet."""
        return EngineClient(
            self.python, self, arguments=self._arguments, variables=self._variables, restarts=False
        )

    def _employ(self, client: EngineClient) -> None:
        """Make ``client`` the one that measures."""
        self._active = client
        client.opened.connect(self._on_answer)
        client.failed.connect(self._on_answer)
        client.measured.connect(self._on_answer)
        client.layers_measured.connect(self._on_answer)
        client.ops_measured.connect(self._on_answer)
        client.compared.connect(self._on_answer)
        client.sampled.connect(self._on_sampled)
        client.progressed.connect(self._on_progressed)
        client.ready.connect(self._on_ready)
        client.crashed.connect(self._on_died)
        client.gave_up.connect(self._on_gave_up)
        client.start()

    def _keep_ready(self, client: EngineClient) -> None:
        """Make ``client`` the spare."""
        self._spare = client
        client.ready.connect(self.changed)
        client.crashed.connect(self._on_spare_died)
        client.gave_up.connect(self._on_spare_died)
        client.start()

    def _retire(self, client: EngineClient) -> None:
        """Kill a process that still runs; it says no more than that it is gone."""
        client.disconnect(self)
        self._dying.append(client)
        client.ended.connect(self._on_ended)
        client.discard()

    def _on_ended(self) -> None:
        for client in [each for each in self._dying if not each.pid]:
            self._dying.remove(client)
            client.deleteLater()
        self._pump()

    def _on_ready(self) -> None:
        if self._given_up:
            self._grace.start()
        self.changed.emit()

    def _on_gave_up(self, sentence: str) -> None:
        """The interpreter cannot be started at all."""
        assert self._active is not None
        self._active.deleteLater()
        self._active = None
        self._forget_running()
        self._refuse(ErrorInfo("engine", sentence, "Choose another Python interpreter."))
        self.changed.emit()

    def _on_spare_died(self) -> None:
        assert self._spare is not None
        self._spare.deleteLater()
        self._spare = None
        self._spare_deaths += 1
        self._pump()

    def _on_died(self, sentence: str) -> None:
        client = self._active
        assert client is not None
        client.deleteLater()
        text = client.stderr_text
        job = None if self._given_up else self._job
        self._deaths += 1
        self._take_over()
        if self._deaths >= MAX_DEATHS:
            self._refuse(ErrorInfo("crash", sentence, traceback=text))
        elif job is not None:
            self._lost(job, sentence, text)
        self._pump()

    def _lost(self, job: Job, sentence: str, text: str) -> None:
        """The process died over ``job``: once may have been bad luck, twice is the job."""
        deaths = self._deaths_at[job.configuration] = self._deaths_at.get(job.configuration, 0) + 1
        if deaths == 1:
            self._waiting = self._waiting or job
            return
        error = ErrorInfo(
            "crash",
            "The process that measures ended twice at this configuration.",
            "It probably needs more memory than there is.",
            details=(sentence,),
            traceback=text,
        )
        self.answered.emit(job, Failed(0, error))

    # -- answers -------------------------------------------------------------------------------------------------

    def _on_sampled(self, event: Sampled) -> None:
        if event.id == self._request and not self._given_up:
            self.sampled.emit(event)

    def _on_progressed(self, event: Progress) -> None:
        if event.id == self._request and self._job is not None and not self._given_up:
            self.progressed.emit(event)

    def _on_answer(self, event: Any) -> None:
        if event.id != self._request:
            return
        job, given_up = self._job, self._given_up
        self._grace.stop()
        self._request, self._job, self._given_up = 0, None, False
        self._deaths = 0
        if isinstance(event, Opened):
            self._on_opened(event, given_up)
        elif job is None:
            if not given_up:
                self._refuse(event.error)
        elif not isinstance(event, Failed):
            self._deaths_at.pop(job.configuration, None)
            self.answered.emit(job, event)
        elif not given_up:
            self.answered.emit(job, event)
        self._pump()

    def _on_opened(self, event: Opened, given_up: bool) -> None:
        if not given_up and event.model.sha256 != self._sha256:
            self._refuse(ErrorInfo("consent", "The file changed.", file=event.model.source))
        self._is_open = not given_up and self.refusal is None

    def _refuse(self, error: ErrorInfo) -> None:
        """The model cannot be opened; its file may just have changed, and is opened again then."""
        self.refusal = error
        self._waiting = None
