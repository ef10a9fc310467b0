"""Peak memory of one forward pass, measured two ways beside the analytic one."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
from collections.abc import Callable, Iterable
from itertools import accumulate
from pathlib import Path
from threading import Event

import torch
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from engine.configuration import Configuration
from engine.errors import CancelledError
from engine.latency.collector import no_collection
from engine.measurement import MemoryReadings
from engine.session import Session

log = logging.getLogger(__name__)

SELF = Path("/proc/self")
RESET_PEAK = "5"
"""What proc(5) wants in clear_refs to set the resident peak back to what is resident."""


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


def process_growth(forward: Callable[[], None], reasons: list[str]) -> int | None:
    """Growth of the process's resident peak while ``forward`` runs, in bytes; None, and a reason more, where unknown.

    Linux only: elsewhere the peak is that of the whole life of the process and cannot be set back.
    """
    if not sys.platform.startswith("linux"):
        reasons.append("process growth: this system cannot set a process's peak back")
        return None
    _return_free_memory()
    try:
        (SELF / "clear_refs").write_text(RESET_PEAK)
        before = _status_bytes("VmRSS")
        forward()
        return max(_status_bytes("VmHWM") - before, 0)
    except (OSError, LookupError) as error:
        log.info("no process growth: %s", error)
        reasons.append("process growth: the kernel does not let the peak be set back")
        return None


def _status_bytes(field: str) -> int:
    """A size of procfs's status. Raises LookupError where it is not there."""
    for line in (SELF / "status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise LookupError(field)


def _return_free_memory() -> None:
    """What glibc keeps for later would hide growth: a pass that reuses it seems to need nothing."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
