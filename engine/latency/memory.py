"""Peak memory of one forward pass, measured two ways beside the analytic one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from itertools import accumulate
from threading import Event

import torch
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from engine.configuration import Configuration
from engine.errors import CancelledError
from engine.latency.collector import no_collection
from engine.latency.process_memory import process_growth
from engine.measurement import MemoryReadings
from engine.session import Session


def memory_readings(session: Session, configuration: Configuration, stop: Event) -> MemoryReadings:
    """Peaks of a forward pass after one that was not measured, with the threads that are set.

    Raises what Session.analyze and Session.real raise, CancelledError when ``stop`` is set between two passes, and what
    the forward pass raises.
    """
    analytic = session.analyze(configuration, stop=stop).totals.peak_activation_bytes
    reasons: list[str] = []
    with session.real(configuration) as model, torch.inference_mode(), no_collection():

        def forward() -> None:
            if stop.is_set():
                raise CancelledError()
            model.forward()

        forward()
        allocator = allocator_peak(forward, reasons)
        process = process_growth(forward, reasons)
    return MemoryReadings(configuration, analytic, allocator, process, tuple(reasons))


def allocator_peak(forward: Callable[[], None], reasons: list[str]) -> int | None:
    """Largest sum of live allocations that ``forward`` made in the framework's CPU allocator, in bytes.

    What lived before is not in it. None, and a reason more, where the profiler recorded no allocation.
    """
    # Read when the profiler starts first: kineto writes a line to stderr at every start and stop otherwise.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        forward()
    results = profiler.profiler.kineto_results if profiler.profiler is not None else None
    events = [
        (event.start_ns(), event.nbytes())
        for event in (results.events() if results is not None else ())
        if event.name() == "[memory]" and event.device_type() == DeviceType.CPU
    ]
    if not events:
        reasons.append("allocator peak: the profiler recorded no allocation")
        return None
    return peak_of(size for _, size in sorted(events, key=lambda event: event[0]))


def peak_of(changes: Iterable[int]) -> int:
    """Highest running sum of ``changes`` (bytes, negative when freed), at least 0."""
    return max(accumulate(changes, initial=0))
