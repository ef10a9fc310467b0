"""What disturbed a measurement: the run-queue delay of our threads, and the flags that follow from the samples."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from types import TracebackType

from engine import numbers, statistics
from engine.measurement import UNDISTURBED_DELAY, Flag

TASKS = Path("/proc/self/task")

DISTURBED_SHARE = 0.2
"""A flag is raised when more than this share of samples or readings is disturbed."""
SLOWED = 1.15
"""Reference readings above this multiple of the best are slow."""
DRIFT = 0.05
DRIFT_SAMPLES = 15
"""Thirds of five; with fewer, two slow samples in a row look like a drift."""
SPREAD, SEVERE_SPREAD = 0.1, 0.25
"""Interquartile range over the median, as torch.utils.benchmark warns."""
FAR_LOWER = 0.75
ALWAYS_BUSY = 0.9
CPU_TICK_S = 1 / 64 if sys.platform == "win32" else time.get_clock_info("process_time").resolution
"""Seconds between two values of the process's CPU clock. Windows counts in interrupts of its timer, every 15.6 ms, and
states the unit of the number, 100 ns, as the resolution."""
TICKS = 20
"""CPU time over fewer ticks is off by more than 5 %."""


class RunQueue:
    """How long this process's threads have waited for a core so far; tells nothing where there is no schedstat."""

    def __init__(self) -> None:
        self._files: dict[str, int] = {}

    def __enter__(self) -> RunQueue:
        self.refresh()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for file in self._files.values():
            os.close(file)
        self._files.clear()

    @property
    def known(self) -> bool:
        return bool(self._files)

    def refresh(self) -> None:
        """Look for new threads."""
        if not _tells():
            return
        for task in os.listdir(TASKS):
            if task not in self._files:
                with contextlib.suppress(OSError):  # it has ended meanwhile
                    self._files[task] = os.open(TASKS / task / "schedstat", os.O_RDONLY)

    def read_s(self) -> float:
        """Seconds, summed over threads: field 2 of schedstat is nanoseconds. 20 to 80 µs."""
        total = 0
        for task, file in list(self._files.items()):
            try:
                total += int(os.pread(file, 64, 0).split()[1])
            except (OSError, IndexError):
                os.close(self._files.pop(task))  # the thread has ended
        return total * 1e-9


@lru_cache
def _tells() -> bool:
    """Whether the kernel keeps these statistics: where it does not, there is no file, or one of zeros."""
    if sys.platform != "linux":
        return False
    try:
        return int((TASKS / str(os.getpid()) / "schedstat").read_text("ascii").split()[0]) > 0
    except (OSError, ValueError, IndexError):
        return False


def sample_flags(
    walls_s: Sequence[float], cpu_s: Sequence[float], delay_s: Sequence[float], threads: int
) -> tuple[Flag, ...]:
    """What the samples themselves tell; ``walls_s``, ``cpu_s`` and ``delay_s`` are of whole samples."""
    found = (_preempted(walls_s, cpu_s, delay_s, threads), _drift(walls_s), _spread(walls_s))
    return tuple(flag for flag in found if flag is not None)


def _preempted(
    walls_s: Sequence[float], cpu_s: Sequence[float], delay_s: Sequence[float], threads: int
) -> Flag | None:
    if delay_s:
        waited = sum(delay > UNDISTURBED_DELAY * wall for wall, delay in zip(walls_s, delay_s, strict=True))
        what = f"run-queue delay above {UNDISTURBED_DELAY:.0%}"
    else:
        walls_s, cpu_s = _over_ticks(walls_s, cpu_s)
        waited, what = _unoccupied(walls_s, cpu_s, threads), "CPU time far below wall time"
    if waited <= DISTURBED_SHARE * len(walls_s):
        return None
    return Flag("preempted", f"{what} in {waited} of {len(walls_s)} samples")


def _over_ticks(walls_s: Sequence[float], cpu_s: Sequence[float]) -> tuple[list[float], list[float]]:
    """Neighbouring samples together, as many as the CPU clock can tell the time of; too short a rest is left out."""
    walls, cpus = [], []
    wall = cpu = 0.0
    for one_wall, one_cpu in zip(walls_s, cpu_s, strict=True):
        wall, cpu = wall + one_wall, cpu + one_cpu
        if wall >= TICKS * CPU_TICK_S:
            walls.append(wall)
            cpus.append(cpu)
            wall = cpu = 0.0
    return walls, cpus


def _unoccupied(walls_s: Sequence[float], cpu_s: Sequence[float], threads: int) -> int:
    """Samples whose threads were busy far less than in the run's better ones.

    Threads of an idle pool do not count as busy and models differ, so only one thread has an absolute bound.
    """
    shares = [cpu / (threads * wall) for wall, cpu in zip(walls_s, cpu_s, strict=True) if wall > 0]
    if not shares:
        return 0
    bound = FAR_LOWER * statistics.quantile(shares, 0.75)
    if threads == 1:
        bound = max(bound, ALWAYS_BUSY)
    return sum(share < bound for share in shares)


def _drift(walls_s: Sequence[float]) -> Flag | None:
    drift = statistics.drift(walls_s) if len(walls_s) >= DRIFT_SAMPLES else 0.0
    if abs(drift) <= DRIFT:
        return None
    return Flag(
        "drift", f"the last third is {abs(drift):.0%} {'slower' if drift > 0 else 'faster'} than the first"
    )


def _spread(walls_s: Sequence[float]) -> Flag | None:
    if len(walls_s) < statistics.SMALLEST_N:
        return None
    spread = statistics.iqr(walls_s) / statistics.median(walls_s)
    if spread <= SPREAD:
        return None
    return Flag("spread", f"the interquartile range is {spread:.0%} of the median", spread > SEVERE_SPREAD)


def reference_flags(readings_s: Sequence[float], best_s: float) -> tuple[Flag, ...]:
    """Whether the machine was slower than it has been seen to be."""
    slow = [reading for reading in readings_s if reading > SLOWED * best_s]
    if len(slow) <= DISTURBED_SHARE * len(readings_s):
        return ()
    factor = statistics.median(slow) / best_s
    words = f"was {factor - 1:.0%} slower than" if factor <= 2 else f"took {numbers.significant(factor, 2)} ×"
    detail = f"the reference kernel {words} its best in {len(slow)} of {len(readings_s)} readings"
    return (Flag("slowed", detail),)
