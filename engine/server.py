"""The engine as a process: requests on stdin, events on stdout, one JSON object per line.

One thread reads requests, one works. Neither library chatter nor a model's own ``input()`` can reach the protocol: file
descriptors 0 and 1 are duplicated for it, then pointed at nothing and at stderr.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.metadata
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from engine import confine, protocol
from engine.configuration import Configuration
from engine.errors import CancelledError, EngineError, ErrorInfo, InputError, describe
from engine.protocol import (
    MEASURING,
    Analyze,
    Analyzed,
    Cancel,
    Compare,
    Compared,
    Event,
    Export,
    Exported,
    Failed,
    ImportProfile,
    Inspect,
    Inspected,
    LayersMeasured,
    ListZoo,
    Measure,
    Measured,
    MeasureLayers,
    MeasureOps,
    Open,
    Opened,
    OpenReport,
    OpsMeasured,
    Point,
    Prefetch,
    ProfileImported,
    Progress,
    Ready,
    ReportFormat,
    ReportOpened,
    Request,
    Sampled,
    Saved,
    SaveModel,
    Weighed,
    ZooListing,
)

if TYPE_CHECKING:
    from engine.open_model import OpenModel

log = logging.getLogger(__name__)

PROGRESS_INTERVAL_S = 0.1
"""At most ten progress events per second."""
LAST_GRACE_S = 1.0
"""After the window is gone, for what runs to stop between two steps."""


class Inbox:
    """Requests waiting to be worked on. ``interrupt`` is set when the running work should stop."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._waiting: deque[Request] = deque()
        self._prefetch: deque[Configuration] = deque()
        self._prefetch_id = 0
        self._weigh = False
        self._closed = False
        self._running: Request | None = None
        self._prefetching = False
        self.interrupt = threading.Event()

    def put(self, request: Request) -> list[Request]:
        """Queue ``request``; returns requests it superseded or cancelled, which must be answered as cancelled."""
        dropped: list[Request] = []
        with self._condition:
            if isinstance(request, Prefetch):
                self._prefetch = deque(request.configurations)
                self._prefetch_id = request.id
                self._weigh = request.zeros
            elif isinstance(request, Cancel):
                if self._running is not None and self._running.id == request.id:
                    self.interrupt.set()
                dropped = [waiting for waiting in self._waiting if waiting.id == request.id]
            else:
                dropped = [waiting for waiting in self._waiting if _superseded(waiting, request)]
                if isinstance(request, Open):
                    self._prefetch.clear()
                    self._prefetch_id = 0
                    self._weigh = False
                if self._prefetching or _interrupted(self._running, request):
                    self.interrupt.set()
                self._waiting.append(request)
            for request_dropped in dropped:
                self._waiting.remove(request_dropped)
            self._condition.notify()
        return dropped

    def close(self) -> None:
        """No more requests will come: stop what runs and make ``get`` return None."""
        with self._condition:
            self._closed = True
            self.interrupt.set()
            self._condition.notify()

    def get(self) -> Request | tuple[int, Configuration] | int | None:
        """The next request, or else the next prefetch as ``(id, configuration)``, or else the id of one that wants
        the zeros counted: one short step of it. None when closed. Blocks."""
        with self._condition:
            self._running = None
            self._prefetching = False
            self._condition.wait_for(lambda: self._closed or self._waiting or self._prefetch or self._weigh)
            if self._closed:
                return None
            self.interrupt.clear()
            if self._waiting:
                self._running = self._waiting.popleft()
                return self._running
            if not self._prefetch:
                return self._prefetch_id
            self._prefetching = True
            return self._prefetch_id, self._prefetch.popleft()

    def weighed(self) -> None:
        """The zeros are counted, or cannot be."""
        with self._condition:
            self._weigh = False

    def put_back(self, id: int, configuration: Configuration) -> None:
        """A prefetch was interrupted: it is next again, unless another list replaced it."""
        with self._condition:
            if id == self._prefetch_id:
                self._prefetch.appendleft(configuration)


def _superseded(waiting: Request, request: Request) -> bool:
    """Whether the answer to ``waiting`` is of no use any more once ``request`` has come."""
    if isinstance(request, Open):
        return isinstance(waiting, (Open, Analyze, *MEASURING))
    if isinstance(request, Analyze):
        return isinstance(waiting, Analyze)
    return isinstance(request, MEASURING) and isinstance(waiting, MEASURING)


def _interrupted(running: Request | None, request: Request) -> bool:
    """Whether ``request`` ends what runs: an analysis that is nearly done is finished, a measurement is not."""
    if isinstance(request, Open):
        return isinstance(running, (Open, Analyze, *MEASURING))
    return isinstance(request, MEASURING) and isinstance(running, MEASURING)


class Server:
    """Serves one window until its stdin closes."""

    def __init__(self, source: BinaryIO, sink: BinaryIO, *, latency: bool = False) -> None:
        """``latency``: measures, so all of torch's threads are its own and its memory is limited meanwhile."""
        self._source = source
        self._sink = sink
        self._latency = latency
        self._lock = threading.Lock()
        self._inbox = Inbox()
        self._session: OpenModel | None = None
        self._last_progress = 0.0
        self._expected_ops: dict[str, int] = {}
        self._counting: Iterator[None] | None = None

    def send(self, event: Event) -> None:
        data = protocol.encode(event)
        with self._lock:
            self._sink.write(data)
            self._sink.flush()

    def serve(self) -> None:
        """Greet, import the frameworks, answer requests until stdin ends."""
        self.send(protocol.Hello(version=protocol.PROTOCOL_VERSION, pid=os.getpid()))
        threading.Thread(target=self._read, name="requests", daemon=True).start()
        try:
            versions = _import_for_latency() if self._latency else _import_for_analysis()
        except Exception as error:
            self.send(Failed(0, describe(error)))
            log.exception("The frameworks cannot be imported")
            return
        devices = _devices() if self._latency else ("cpu",)
        self.send(Ready(versions=versions, devices=devices, formats=_formats()))
        while True:
            work = self._inbox.get()
            if work is None:
                return
            if isinstance(work, tuple):
                self._prefetch(*work)
            elif isinstance(work, int):
                self._weigh(work)
            else:
                self._answer(work)

    def _read(self) -> None:
        for line in self._source:
            if not line.strip():
                continue
            try:
                request = protocol.decode_request(line)
            except protocol.ProtocolError as error:
                log.error("%s: %.200r", error, line)
                self.send(Failed(0, describe(InputError(str(error)))))
                continue
            for dropped in self._inbox.put(request):
                self.send(Failed(dropped.id, describe(CancelledError())))
        self._inbox.close()
        # A forward pass may take minutes to come to its end; no process outlives its window by so much.
        time.sleep(LAST_GRACE_S)
        os._exit(0)

    # -- requests ------------------------------------------------------------------------------------------------

    def _answer(self, request: Request) -> None:
        from engine.open_model import FailedAnalysisError

        try:
            with self._limits(request):
                event = self._handle(request)
            self.send(event)
        except FailedAnalysisError as failed:
            self.send(Failed(request.id, failed.error.info(), failed.partial))
        except EngineError as error:
            self.send(Failed(request.id, describe(error)))
        except (Exception, SystemExit) as error:
            log.exception("Request %d failed", request.id)
            self.send(Failed(request.id, describe(error)))

    def _limits(self, request: Request) -> contextlib.AbstractContextManager[None]:
        """What is free changes, so every request that measures has its own limit."""
        if not (self._latency and isinstance(request, MEASURING)):
            return contextlib.nullcontext()
        from engine.guard import limited_memory

        return limited_memory(request.threads)

    def _handle(self, request: Request) -> Event:
        if isinstance(request, Open):
            return self._open(request)
        if isinstance(request, Analyze):
            return self._analyze(request)
        if isinstance(request, Export):
            from engine.export import write_report

            write_report(request.path, request.format, request.analysis, request.baseline)
            return Exported(request.id, request.path)
        if isinstance(request, SaveModel):
            return self._save(request)
        if isinstance(request, OpenReport):
            from engine.export import read_report

            return ReportOpened(request.id, read_report(request.path), request.path)
        if isinstance(request, ImportProfile):
            return self._import_profile(request)
        if isinstance(request, Inspect):
            from engine.files import read

            self.send(Progress(request.id, 0, None, f"Reading {request.path}"))
            return Inspected(request.id, read(Path(request.path)))
        if isinstance(request, ListZoo):
            from engine import zoo

            return ZooListing(request.id, zoo.entries())
        if isinstance(request, Measure):
            return self._measure(request)
        if isinstance(request, (MeasureLayers, MeasureOps, Compare)):
            return self._measure_more(request)
        raise InputError(f"The engine does not answer {type(request).__name__}.")

    def _save(self, request: SaveModel) -> Event:
        last = 0.0

        def progress(done: int, total: int | None, what: str) -> None:
            nonlocal last
            now = time.perf_counter()
            if total is None or now - last >= PROGRESS_INTERVAL_S:
                last = now
                self.send(Progress(request.id, done, total, what))

        note = self._require_session().save(
            request.configuration,
            request.path,
            replace=request.replace,
            fix_sizes=request.fix_sizes,
            stop=self._inbox.interrupt,
            progress=progress,
        )
        return Saved(request.id, request.path, note)

    def _import_profile(self, request: ImportProfile) -> Event:
        from engine.guard import memory_errors
        from engine.latency.onnx_imported import imported_times

        session = self._require_session()
        self.send(Progress(request.id, 0, None, f"Reading {Path(request.path).name}"))
        with memory_errors(session.info.name):
            times = imported_times(session, request.configuration, request.path, self._inbox.interrupt)
        return ProfileImported(request.id, times)

    def _open(self, request: Open) -> Event:
        from engine.guard import limited_memory, memory_errors
        from engine.loaders.options import LoadOptions
        from engine.opening import open_model

        self.send(Progress(request.id, 0, None, f"Opening {request.source}"))
        gc.unfreeze()
        with limited_memory(may_use_gpu=True), memory_errors(request.source):
            opened = open_model(request.source, LoadOptions(request.trust, request.digest), request.inputs)
        if self._inbox.interrupt.is_set():
            raise CancelledError()
        self._counting = None
        self._session = opened
        self._expected_ops.clear()
        # Modules and frameworks live as long as the session; the collector need not walk them in the middle of a drag.
        gc.collect()
        gc.freeze()
        session = self._session
        return Opened(
            request.id,
            session.info,
            session.specs,
            session.watch,
            session.counts_zeros,
            session.guessed_inputs,
        )

    def _analyze(self, request: Analyze) -> Event:
        session = self._require_session()
        kept = session.kept(request.configuration)
        if kept is not None:
            return Analyzed(request.id, kept, 0.0)
        started = time.perf_counter()
        name = session.info.name
        expected = self._expected_ops.get(name)
        self._last_progress = started

        def progress(done: int) -> None:
            now = time.perf_counter()
            if now - self._last_progress >= PROGRESS_INTERVAL_S:
                self._last_progress = now
                total = expected if expected is not None and expected >= done else None
                of = f" of {total:,}" if total else ""
                self.send(Progress(request.id, done, total, f"Tracing {name} · {done:,}{of} operations"))

        analysis = session.analyze(request.configuration, stop=self._inbox.interrupt, progress=progress)
        self._expected_ops[name] = analysis.coverage.calls
        return Analyzed(request.id, analysis, time.perf_counter() - started)

    def _measure(self, request: Measure) -> Event:
        from engine.latency import default_threads, measure

        session = self._require_session()
        threads = request.threads or default_threads(session)

        def report(samples_s: Sequence[float], delay_s: Sequence[float]) -> None:
            self.send(Sampled(request.id, request.configuration, threads, tuple(samples_s), tuple(delay_s)))

        measurement = measure(
            session,
            request.configuration,
            request.tier,
            threads,
            stop=self._inbox.interrupt,
            report=report,
            reference_best_s=request.reference_best_s,
            when_quiet=request.when_quiet,
            progress=lambda what: self.send(Progress(request.id, 0, None, what)),
            runtime=request.runtime,
        )
        return Measured(request.id, measurement)

    def _measure_more(self, request: MeasureLayers | MeasureOps | Compare) -> Event:
        from engine.latency import compare, layer_times, memory_readings, op_times

        session, stop = self._require_session(), self._inbox.interrupt
        configuration, threads, runtime = request.configuration, request.threads, request.runtime
        if isinstance(request, MeasureLayers):
            times = layer_times(session, configuration, threads, stop, runtime)
            memory = memory_readings(session, configuration, threads, stop, runtime)
            return LayersMeasured(request.id, times, memory)
        if isinstance(request, MeasureOps):
            return OpsMeasured(request.id, op_times(session, configuration, threads, stop, runtime))
        comparison = compare(
            session,
            configuration,
            request.baseline,
            threads,
            stop=stop,
            reference_best_s=request.reference_best_s,
            runtime=runtime,
        )
        return Compared(request.id, comparison)

    def _prefetch(self, id: int, configuration: Configuration) -> None:
        from engine.open_model import FailedAnalysisError

        try:
            analysis = self._require_session().analyze(configuration, stop=self._inbox.interrupt)
            self.send(Point(id, configuration, totals=analysis.totals))
        except CancelledError:
            self._inbox.put_back(id, configuration)
        except FailedAnalysisError as failed:
            self.send(Point(id, configuration, error=failed.error.info()))
        except EngineError as error:
            self.send(Point(id, configuration, error=describe(error)))
        except (Exception, SystemExit) as error:
            log.exception("Prefetching failed")
            self.send(Point(id, configuration, error=describe(error)))

    def _weigh(self, id: int) -> None:
        """One step of counting the zeros; whatever has come meanwhile is worked on before the next."""
        error: ErrorInfo | None = None
        try:
            session = self._require_session()
            if session.zeros is None:
                self._counting = self._counting or session.count_zeros(threading.Event())
                for _ in self._counting:
                    return
        except EngineError as refused:
            error = describe(refused)
        except (Exception, SystemExit) as failed:
            log.exception("Counting zeros failed")
            error = describe(failed)
        self._counting = None
        self._inbox.weighed()
        self.send(Weighed(id, self._session.zeros if self._session is not None else None, error))

    def _require_session(self) -> OpenModel:
        if self._session is None:
            raise InputError("No model is open.", hint="Open one first.")
        return self._session


def _formats() -> tuple[ReportFormat, ...]:
    from engine.export import FORMATS

    return tuple(ReportFormat(entry.key, entry.label, entry.suffix) for entry in FORMATS.values())


def _import_for_analysis() -> dict[str, str]:
    import torch

    import engine.session  # everything an analysis needs, so that the first one does not wait for it
    import engine.trace.run  # noqa: F401

    torch.set_num_threads(1)  # shapes only; the other cores belong to the window
    _stay_offline()
    return _versions()


def _import_for_latency() -> dict[str, str]:
    """Everything that measuring needs, torchvision too: a spare that takes over has no seconds for imports."""
    import engine.latency.torch_backend

    # What is missing is told when an ONNX model is measured.
    with contextlib.suppress(EngineError, ImportError):
        import engine.latency.onnx_backend  # noqa: F401
        from engine.onnx.runtime import onnxruntime

        onnxruntime()
    # Opening a model tells what is wrong with a torchvision that is missing or does not fit.
    with contextlib.suppress(Exception):
        import torchvision.models.detection  # noqa: F401
    _stay_offline()
    return _versions()


def _devices() -> tuple[str, ...]:
    """On what models can be measured here: PyTorch ones on the first, ONNX ones where onnxruntime has a provider."""
    try:
        from engine.latency.onnx_sessions import devices

        return devices()
    except (EngineError, ImportError):
        return ("cpu",)


def _stay_offline() -> None:
    """What the platform may not be able to close, the libraries leave alone."""
    from engine.loaders.packages import stay_offline

    if not confine.network_allowed():
        stay_offline()


def _versions() -> dict[str, str]:
    import torch

    found = {"python": sys.version.split()[0], "torch": str(torch.__version__)}
    for name in ("onnx", "onnxruntime"):  # whose import can wait for an ONNX model
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def main(*, latency: bool = False) -> int:
    """``python -m engine serve [--latency]``: keep stdout for the protocol alone and serve."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    confine.confine(allow_network=confine.network_allowed())
    source, sink = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    # A model that reads its standard input gets an end of file, not our requests.
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115  lives as long as the process
    Server(source, sink, latency=latency).serve()
    sink.close()
    # Threads and atexit handlers of frameworks have nothing to save; leaving at once cannot hang the window's close.
    sys.stderr.flush()
    os._exit(0)
