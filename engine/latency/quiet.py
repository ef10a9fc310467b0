"""Whether the machine is quiet enough to measure on, and waiting until it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import NamedTuple

import psutil

from engine import statistics
from engine.errors import CancelledError
from engine.latency.noise import SLOWED
from engine.latency.reference import Reference

WINDOW_S = 0.5
READINGS = 10
"""Of the reference kernel over the window."""
VARIES = 0.05
"""Interquartile range over the median of the reference kernel: a still machine has 2 %."""
BUSY_OTHERS = 0.1
"""Cores that other programs may keep busy: a desktop's own housekeeping takes a few hundredths."""
PRESSURE = 0.05
"""Share of the time in which some thread of the machine may have waited for a core."""
_PRESSURE_FILE = Path("/proc/pressure/cpu")


class _Reading(NamedTuple):
    """Counters that only grow, in seconds."""

    at: float
    busy: float
    """All cores of the machine together."""
    own: float
    waiting: float | None
    """Time in which some thread waited for a core; None where the system does not tell."""


def quiet_gate(stop: Event | None = None, *, reference: Reference | None = None) -> str | None:
    """Looks at the machine for half a second: None when it is quiet, else what is in the way.

    ``reference`` also finds a core whose speed varies or is below what it can be: neighbours on the same processor of
    a virtual machine take speed without taking time. Raises CancelledError when ``stop`` is set meanwhile.
    """
    before = _read()
    readings: list[float] = []
    for _ in range(READINGS):
        if (stop or Event()).wait(WINDOW_S / READINGS):
            raise CancelledError()
        if reference is not None:
            reference.read()  # the first after a pause is slower
            readings.append(reference.read())
    after = _read()
    seconds = after.at - before.at
    others = (after.busy - before.busy - (after.own - before.own)) / seconds
    if others > BUSY_OTHERS:
        return f"other programs keep {others:.1f} of {psutil.cpu_count()} cores busy"
    if before.waiting is not None and after.waiting is not None:
        waiting = (after.waiting - before.waiting) / seconds
        if waiting > PRESSURE:
            return f"programs wait for a core {waiting:.0%} of the time"
    if reference is not None:
        slower = statistics.median(readings) / reference.best_s - 1
        if slower > SLOWED - 1:
            return f"the machine runs {slower:.0%} slower than it can"
        varies = statistics.iqr(readings) / statistics.median(readings)
        if varies > VARIES:
            return f"the machine's speed varies by {varies:.0%}"
    return None


def wait_until_quiet(reference: Reference, stop: Event, progress: Callable[[str], None]) -> None:
    """Returns once the machine is quiet; ``progress`` is told what it waits for. Raises CancelledError."""
    while (reason := quiet_gate(stop, reference=reference)) is not None:
        progress(f"Waiting for a quiet machine: {reason}")


def _read() -> _Reading:
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    # Guest time is counted in user time as well.
    total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return _Reading(time.perf_counter(), total - idle, time.process_time(), _waiting_s())


def _waiting_s() -> float | None:
    """Linux pressure stall information: the total of the line ``some``, microseconds there."""
    try:
        line = _PRESSURE_FILE.read_text("ascii").splitlines()[0]
        return int(line.rpartition("total=")[2]) * 1e-6
    except (OSError, ValueError, IndexError):
        return None
