"""The engine as a child process: typed requests in, typed signals out, and a fresh process when it dies."""

from __future__ import annotations

import itertools
import logging
import re
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from PySide6.QtCore import QObject, QProcess, QProcessEnvironment, QTimer, Signal

from engine import protocol
from engine.configuration import Configuration
from engine.graph import InputShape
from engine.protocol import Event, Failed, Request
from engine.results import Analysis

log = logging.getLogger(__name__)
engine_log = logging.getLogger("engine")

ROOT = Path(__file__).resolve().parents[1]
QUICK_DEATH_S = 5.0
"""A process that dies sooner than this after its start counts towards giving up."""
MAX_QUICK_DEATHS = 3
BACKOFF_MS = (0, 500, 2000)
CANCEL_GRACE_MS = 3000
"""A kernel cannot be interrupted: what does not stop in this time is killed."""
NETWORK = "MISNOMER_ALLOW_NETWORK"
"""Environment variable with which an engine lets the code of models use the network."""
MAX_LINE_BYTES = 512 << 20
STDERR_LINES = 200
MAX_STDERR_LINE = 64 << 10
"""Characters of a line that are kept: a model may print without end and without newlines."""
_LINE_END = re.compile(r"\r\n|\n|\r")
_ANSWERS = (
    protocol.Opened
    | protocol.Analyzed
    | protocol.Failed
    | protocol.Exported
    | protocol.Saved
    | protocol.ReportOpened
    | protocol.ProfileImported
    | protocol.Inspected
    | protocol.ZooListing
    | protocol.Measured
    | protocol.LayersMeasured
    | protocol.OpsMeasured
    | protocol.Compared
)
"""Events that end a request."""


class LineBuffer:
    """Bytes in pieces → whole lines; a long line costs one join, not one copy per piece."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.size = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that ``data`` completes, without their newlines."""
        head, newline, rest = data.partition(b"\n")
        self._pieces.append(head)
        self.size += len(head)
        if not newline:
            return []
        first = b"".join(self._pieces)
        *whole, tail = rest.split(b"\n")
        self._pieces = [tail]
        self.size = len(tail)
        return [first, *whole]

    def clear(self) -> None:
        self._pieces = []
        self.size = 0


class EngineClient(QObject):
    """One engine process. ``state`` is ``stopped``, ``starting``, ``ready``, ``busy``, ``restarting`` or ``failed``.

    Every request returns its id (0 when there is no process to send it to); every answer carries it. When the process
    dies, requests under way are lost: ``crashed`` says so, and after ``restarted`` the owner asks again for what it
    still wants. A client that does not restart is for one process only: its owner has another one ready.
    """

    state_changed = Signal(str)
    restarted = Signal()
    """A new process stands in for one that died; requests reach it from now on."""
    crashed = Signal(str)
    """The process died unexpectedly: one sentence."""
    gave_up = Signal(str)
    """It died too often within seconds; :meth:`restart` tries again."""
    complained = Signal(str)
    """The engine sent a line that is no valid message."""
    ended = Signal()
    """The process is gone after :meth:`discard`."""

    ready = Signal(object)
    opened = Signal(object)
    analyzed = Signal(object)
    failed = Signal(object)
    progressed = Signal(object)
    point_arrived = Signal(object)
    weighed = Signal(object)
    exported = Signal(object)
    saved = Signal(object)
    report_opened = Signal(object)
    profile_imported = Signal(object)
    inspected = Signal(object)
    zoo_listed = Signal(object)
    sampled = Signal(object)
    measured = Signal(object)
    layers_measured = Signal(object)
    ops_measured = Signal(object)
    compared = Signal(object)

    def __init__(
        self,
        python: str = "",
        parent: QObject | None = None,
        *,
        arguments: Sequence[str] = ("-m", "engine", "serve"),
        variables: Mapping[str, str] | None = None,
        restarts: bool = True,
    ) -> None:
        """``variables`` are added to the process's environment; see the class for ``restarts``."""
        super().__init__(parent)
        self.python = python or sys.executable
        self._arguments = list(arguments)
        self._variables = dict(variables or {})
        self._restarts = restarts
        self._discarded = False
        self._process: QProcess | None = None
        self._ids = itertools.count(1)
        self._outstanding: set[int] = set()
        self._buffer = LineBuffer()
        self._stderr: deque[str] = deque(maxlen=STDERR_LINES)
        self._stderr_tail = ""
        self._state = "stopped"
        self._is_ready = False
        self._replacement = False
        self._started_at = 0.0
        self._quick_deaths = 0
        self._why_killed = ""
        self._fatal = ""
        self.versions: dict[str, str] = {}
        self._restart_timer = QTimer(self, singleShot=True)
        self._restart_timer.timeout.connect(self._start_process)
        self._grace_timer = QTimer(self, singleShot=True, interval=CANCEL_GRACE_MS)
        self._grace_timer.timeout.connect(self._on_grace_over)
        self._cancelling = 0
        self._handlers: dict[type[Event], Callable[[Any], object]] = {
            protocol.Hello: self._on_hello,
            protocol.Ready: self._on_ready,
            protocol.Opened: self.opened.emit,
            protocol.Analyzed: self.analyzed.emit,
            protocol.Failed: self.failed.emit,
            protocol.Progress: self.progressed.emit,
            protocol.Point: self.point_arrived.emit,
            protocol.Weighed: self.weighed.emit,
            protocol.Exported: self.exported.emit,
            protocol.Saved: self.saved.emit,
            protocol.ReportOpened: self.report_opened.emit,
            protocol.ProfileImported: self.profile_imported.emit,
            protocol.Inspected: self.inspected.emit,
            protocol.ZooListing: self.zoo_listed.emit,
            protocol.Sampled: self.sampled.emit,
            protocol.Measured: self.measured.emit,
            protocol.LayersMeasured: self.layers_measured.emit,
            protocol.OpsMeasured: self.ops_measured.emit,
            protocol.Compared: self.compared.emit,
        }

    # -- life ----------------------------------------------------------------------------------------------------

    @property
    def state(self) -> str:
        return self._state

    @property
    def pid(self) -> int:
        """Process id, 0 when there is none."""
        return int(self._process.processId()) if self._process is not None else 0

    @property
    def stderr_text(self) -> str:
        """The last lines the engine wrote to stderr, for the details of an error."""
        return "\n".join(self._stderr)

    def start(self) -> None:
        """Start the process unless there is one."""
        if self._process is None and not self._restart_timer.isActive():
            self._set_state("starting")
            self._start_process()

    def restart(self, python: str = "") -> None:
        """A fresh process, in another interpreter if one is given; also after giving up."""
        self.python = python or self.python
        self._quick_deaths = 0
        if self._process is None:
            self._replacement = True
            self._restart_timer.start(0)
            self._set_state("restarting")
        else:
            self._kill("The engine was restarted.")

    def stop(self) -> None:
        """End the process and forget it; returns when it is gone (at most about two seconds, at once if discarded)."""
        self._restart_timer.stop()
        self._grace_timer.stop()
        process, self._process = self._process, None
        self._outstanding.clear()
        if process is not None:
            process.closeWriteChannel()
            process.terminate()
            if self._discarded or not process.waitForFinished(500):
                process.kill()
                process.waitForFinished(1500)
            process.deleteLater()
        self._set_state("stopped")

    def discard(self) -> None:
        """Kill the process without waiting for its end; ``ended`` follows, and the client is of no more use."""
        self._discarded = True
        if self._process is not None:
            self._process.kill()
        else:
            self.ended.emit()

    def _start_process(self) -> None:
        process = QProcess(self)
        environment = QProcessEnvironment.systemEnvironment()
        # Without the safe path the current folder comes first, and a user's own engine.py would be started.
        environment.insert("PYTHONSAFEPATH", "1")
        paths = [str(ROOT), environment.value("PYTHONPATH", "")]
        environment.insert("PYTHONPATH", (";" if sys.platform == "win32" else ":").join(filter(None, paths)))
        environment.insert("PYTHONIOENCODING", "utf-8")
        for name, value in self._variables.items():
            environment.insert(name, value)
        process.setProcessEnvironment(environment)
        process.readyReadStandardOutput.connect(self._on_stdout)
        process.readyReadStandardError.connect(self._on_stderr)
        process.finished.connect(self._on_finished)
        process.errorOccurred.connect(self._on_error)
        self._buffer.clear()
        self._is_ready = False
        self._why_killed = self._fatal = ""
        self._process = process
        self._started_at = time.monotonic()
        process.start(self.python, self._arguments)
        if self._replacement and self._process is process:
            self._replacement = False
            self.restarted.emit()

    def _kill(self, why: str) -> None:
        """Kill the process; ``crashed`` then says ``why``, and a fresh one starts."""
        if self._process is not None:
            self._why_killed = why
            self._process.kill()

    def _on_error(self, error: QProcess.ProcessError) -> None:
        if error == QProcess.ProcessError.FailedToStart:
            process, self._process = self._process, None
            self._outstanding.clear()
            self._grace_timer.stop()
            if process is not None:
                process.deleteLater()
            self._give_up(f"The engine cannot be started with {self.python}.")

    def _on_finished(self, code: int, status: QProcess.ExitStatus) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        self._on_stderr(process)
        process.deleteLater()
        self._outstanding.clear()
        self._grace_timer.stop()
        if self._discarded:
            self._set_state("stopped")
            self.ended.emit()
            return
        lived = time.monotonic() - self._started_at
        if self._why_killed:
            sentence = self._why_killed
        else:
            how = f"with exit status {code}"
            if status == QProcess.ExitStatus.CrashExit:
                how = "by a signal (killed, out of memory or a crash)"
            sentence = f"The engine ended {how} after {lived:.0f} s."
            self._quick_deaths = self._quick_deaths + 1 if lived < QUICK_DEATH_S else 1
        log.warning("%s", sentence)
        if not self._restarts:
            self._set_state("stopped")
            self.crashed.emit(self._fatal or sentence)
            return
        self.crashed.emit(sentence)
        if self._fatal:
            self._give_up(self._fatal)
            return
        if self._quick_deaths >= MAX_QUICK_DEATHS:
            last = next((line for line in reversed(self._stderr) if line.strip()), "")
            self._give_up(f"The engine ended {MAX_QUICK_DEATHS} times in a row. {last}".strip())
            return
        self._replacement = True
        self._set_state("restarting")
        self._restart_timer.start(BACKOFF_MS[min(max(self._quick_deaths - 1, 0), len(BACKOFF_MS) - 1)])

    def _give_up(self, sentence: str) -> None:
        log.error("%s", sentence)
        self._set_state("failed")
        self.gave_up.emit(sentence)

    def _on_grace_over(self) -> None:
        if self._cancelling in self._outstanding:
            self._kill("The engine did not stop in time and was restarted.")

    def _set_state(self, state: str) -> None:
        if state != self._state:
            self._state = state
            self.state_changed.emit(state)

    def _show_load(self) -> None:
        if self._process is not None and self._is_ready:
            self._set_state("busy" if self._outstanding else "ready")

    def set_variable(self, name: str, value: str) -> None:
        """An environment variable of the next process; an empty value takes it away again."""
        if value:
            self._variables[name] = value
        else:
            self._variables.pop(name, None)

    # -- requests ------------------------------------------------------------------------------------------------

    def open(
        self, source: str, trust: bool = False, digest: str = "", inputs: tuple[InputShape, ...] = ()
    ) -> int:
        return self._send(protocol.Open(next(self._ids), source, trust, digest, inputs))

    def analyze(self, configuration: Configuration) -> int:
        return self._send(protocol.Analyze(next(self._ids), configuration))

    def prefetch(self, configurations: tuple[Configuration, ...], zeros: bool = False) -> int:
        return self._send(protocol.Prefetch(next(self._ids), configurations, zeros), answered=False)

    def export(self, analysis: Analysis, format: str, path: str, baseline: Analysis | None = None) -> int:
        return self._send(protocol.Export(next(self._ids), analysis, format, path, baseline))

    def open_report(self, path: str) -> int:
        return self._send(protocol.OpenReport(next(self._ids), path))

    def inspect(self, path: str) -> int:
        return self._send(protocol.Inspect(next(self._ids), path))

    def list_zoo(self) -> int:
        return self._send(protocol.ListZoo(next(self._ids)))

    def request(self, message: Request) -> int:
        """Send ``message``, whatever its id, under a new one."""
        return self._send(msgspec.structs.replace(message, id=next(self._ids)))

    def cancel(self, request: int) -> None:
        """Ask request ``request`` to stop; the process is killed when it does not in time."""
        if request in self._outstanding:
            self.interrupt(request)
            self._cancelling = request
            self._grace_timer.start()

    def interrupt(self, request: int) -> None:
        """Ask request ``request`` to stop when it next can; the process goes on in any case."""
        if request in self._outstanding:
            self._send(protocol.Cancel(request), answered=False)

    def _send(self, request: Request, answered: bool = True) -> int:
        """Write ``request`` and return its id; 0 without a process, then ``restarted`` tells when to ask again."""
        if self._process is None:
            return 0
        self._process.write(protocol.encode(request))
        if answered:
            self._outstanding.add(request.id)
            self._show_load()
        return request.id

    # -- events --------------------------------------------------------------------------------------------------

    def _on_stdout(self) -> None:
        if self._process is None:
            return
        for line in self._buffer.feed(bytes(self._process.readAllStandardOutput().data())):
            if line.strip():
                self._on_line(line)
        if self._buffer.size > MAX_LINE_BYTES:
            self._kill("The engine sent a line without end and was restarted.")

    def _on_line(self, line: bytes) -> None:
        try:
            event = protocol.decode_event(line)
        except protocol.ProtocolError as error:
            log.error("Bad line from the engine: %s: %.200r", error, line)
            self.complained.emit(f"The engine sent something unreadable. {error}")
            return
        self._dispatch(event)

    def _dispatch(self, event: Event) -> None:
        if isinstance(event, Failed) and event.id == 0:
            self._on_failed_itself(event)
            return
        if isinstance(event, _ANSWERS):
            self._quick_deaths = 0
            self._outstanding.discard(event.id)
            self._show_load()
        self._handlers[type(event)](event)

    def _on_failed_itself(self, event: Failed) -> None:
        """An error of the engine rather than of a request: before Ready it cannot work at all."""
        log.error("The engine says: %s", event.error.sentence)
        if self._is_ready:
            self.complained.emit(event.error.sentence)
        else:
            self._fatal = event.error.sentence

    def _on_hello(self, event: protocol.Hello) -> None:
        log.info("Engine %d speaks protocol %d", event.pid, event.version)

    def _on_ready(self, event: protocol.Ready) -> None:
        self.versions = event.versions
        self._is_ready = True
        self._show_load()
        self.ready.emit(event)

    def _on_stderr(self, process: QProcess | None = None) -> None:
        process = process or self._process
        if process is None:
            return
        text = self._stderr_tail + bytes(process.readAllStandardError().data()).decode("utf-8", "replace")
        *lines, tail = _LINE_END.split(text)
        if len(tail) > MAX_STDERR_LINE:
            lines.append(tail)
            tail = ""
        self._stderr_tail = tail
        for line in lines:
            short = line[:MAX_STDERR_LINE]
            self._stderr.append(short)
            engine_log.info("%s", short)
