"""Stands for the process that measures: speaks the protocol and measures nothing. The size asked for says what it does.

``python fake_latency.py FOLDER``: ``FOLDER/busy`` is locked while it works, ``FOLDER/overlap`` appears when two do.
"""

from __future__ import annotations

import fcntl
import os
import queue
import signal
import sys
import threading
import time
from pathlib import Path
from typing import IO

from engine import protocol
from engine.configuration import Configuration
from engine.errors import ErrorInfo
from engine.measurement import Comparison, LayerTimes, Measurement, MemoryReadings, OpTimes
from engine.protocol import Event, Failed, Request
from engine.results import ModelInfo

HANGS, DIES, DIES_ONCE, REFUSES, FINISHES, SLOW, LONG = 321, 353, 385, 417, 449, 481, 513
"""Sizes of the last dimension. FINISHES does not listen to a cancel; SLOW says that a pass takes long; LONG is one pass of LONG_S."""
LONG_S = 0.6
SLOW_S = 0.3
SAMPLES = 8
SAMPLE_S = 0.01


class Fake:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.requests: queue.Queue[Request | None] = queue.Queue()
        self.cancelled: set[int] = set()
        self.lock = threading.Lock()

    def say(self, event: Event) -> None:
        with self.lock:
            sys.stdout.buffer.write(protocol.encode(event))
            sys.stdout.buffer.flush()

    def serve(self) -> None:
        threading.Thread(target=self.read, daemon=True).start()
        self.say(protocol.Hello(protocol.PROTOCOL_VERSION, os.getpid()))
        self.say(protocol.Ready({}, ("cpu",)))
        while (request := self.requests.get()) is not None:
            self.say(self.answer(request))

    def read(self) -> None:
        for line in sys.stdin.buffer:
            request = protocol.decode_request(line)
            if isinstance(request, protocol.Cancel):
                self.cancelled.add(request.id)
            else:
                self.requests.put(request)
        os._exit(0)

    def answer(self, request: Request) -> Event:
        if isinstance(request, protocol.Open):
            if "slow" in request.source:
                time.sleep(60)
            return protocol.Opened(request.id, ModelInfo("fake", request.source, "fake"), ())
        assert isinstance(request, protocol.MEASURING)
        with (self.folder / "busy").open("w") as busy:
            self.claim(busy)
            return self.measure(request)

    def claim(self, busy: IO[str]) -> None:
        try:
            fcntl.flock(busy, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            (self.folder / "overlap").touch()

    def measure(
        self, request: protocol.Measure | protocol.MeasureLayers | protocol.MeasureOps | protocol.Compare
    ) -> Event:
        configuration, threads = request.configuration, request.threads or 2
        size = configuration.inputs[0].shape[-1]
        marker = self.folder / "died"
        if size in (HANGS, LONG):
            time.sleep(60 if size == HANGS else LONG_S)
        if size == DIES or (size == DIES_ONCE and not marker.exists()):
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if size == REFUSES:
            return Failed(request.id, ErrorInfo("input", "It needs 26.1 GiB; 20.3 GiB are free."))
        for _ in range(SAMPLES):
            time.sleep(SAMPLE_S)
            if request.id in self.cancelled and size != FINISHES:
                return Failed(request.id, ErrorInfo("cancelled", "Cancelled."))
            if isinstance(request, protocol.Measure):
                self.say(protocol.Sampled(request.id, configuration, threads, (size / 1e4,)))
        return result(request, configuration, threads, SLOW_S if size == SLOW else size / 1e4)


def result(request: Request, configuration: Configuration, threads: int, seconds: float) -> Event:
    if isinstance(request, protocol.Measure):
        samples = (seconds,) * SAMPLES
        return protocol.Measured(
            request.id, Measurement(configuration, request.tier, threads, samples, "precise")
        )
    if isinstance(request, protocol.MeasureLayers):
        layers = LayerTimes(
            configuration,
            threads,
            ("features.0:conv2d",),
            (seconds,),
            (None,),
            ("",),
            0.0,
            0.0,
            0,
            seconds,
            seconds,
            3,
        )
        return protocol.LayersMeasured(request.id, layers, MemoryReadings(configuration, 1 << 20))
    if isinstance(request, protocol.Compare):
        ratios = (seconds,) * SAMPLES
        comparison = Comparison(request.baseline, configuration, threads, ratios, ratios, ratios, "precise")
        return protocol.Compared(request.id, comparison)
    return protocol.OpsMeasured(
        request.id,
        OpTimes(configuration, threads, ("conv2d",), ("",), ("",), ((),), (seconds,), 0.0, seconds),
    )


if __name__ == "__main__":
    Fake(Path(sys.argv[1])).serve()
