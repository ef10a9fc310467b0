"""When a measurement has enough samples. Arithmetic on times that were measured elsewhere."""

from __future__ import annotations

import math
from bisect import insort
from typing import NamedTuple

from engine.measurement import StopReason, Tier
from engine.statistics import sorted_median, sorted_median_interval


class Limits(NamedTuple):
    """What a tier asks for and how long it may take."""

    tolerance: float | None
    """Half-width of the median's interval over the median; None: sample until the time is up."""
    least_s: float
    least_n: int
    cap_s: float
    blocks: int = 1
    """Parts with a pause between them, so that slow changes of the machine show."""
    plateau: bool = False
    """Stop when more samples no longer help."""


LIMITS: dict[Tier, Limits] = {
    "live": Limits(tolerance=0.05, least_s=0.2, least_n=6, cap_s=1.0),
    "settled": Limits(tolerance=0.02, least_s=0.5, least_n=10, cap_s=3.0, plateau=True),
    "report": Limits(tolerance=None, least_s=10.0, least_n=10, cap_s=10.0, blocks=3),
}
MOST_SAMPLES = 5000
LEAST_SAMPLE_S = 0.5e-3
"""Shorter forward passes are timed several at once: reading the clocks would be a part of the result."""
PLATEAU_SAMPLES, PLATEAU_GAIN = 16, 0.1


def forwards_per_sample(forward_s: float, cap_s: float) -> int:
    """How many passes make one sample: long enough to be timed, few enough samples to be kept."""
    wanted = max(LEAST_SAMPLE_S, cap_s / MOST_SAMPLES)
    return max(1, min(math.ceil(wanted / max(forward_s, 1e-7)), 10_000))


class Stopping:
    """Takes samples one by one and says when there are enough; a few microseconds per sample."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._ordered: list[float] = []
        self._half_widths: list[float] = []

    def add(self, sample_s: float, elapsed_s: float) -> StopReason | None:
        """Count one more sample, ``elapsed_s`` after sampling began; the reason to stop, or None to go on."""
        limits = self._limits
        insort(self._ordered, sample_s)
        interval = sorted_median_interval(self._ordered)
        self._half_widths.append(interval.half_width if interval is not None else math.inf)
        count = len(self._ordered)
        if elapsed_s >= limits.least_s and count >= limits.least_n:
            if self._precise(limits.tolerance):
                return "precise"
            if limits.plateau and self._on_plateau(count):
                return "plateau"
        if elapsed_s >= limits.cap_s:
            return "time"
        return "samples" if count >= MOST_SAMPLES else None

    def _precise(self, tolerance: float | None) -> bool:
        return tolerance is not None and self._half_widths[-1] <= tolerance * sorted_median(self._ordered)

    def _on_plateau(self, count: int) -> bool:
        """The interval narrowed by less than 10 % over the last 16 samples, or the last quarter where that is more.

        A quarter of all is a third more than before, which narrows an undisturbed median's interval by 13 %; 16 more
        samples do so only below sixty.
        """
        before = count - max(PLATEAU_SAMPLES, count // 4)
        if before < self._limits.least_n:
            return False
        return self._half_widths[-1] > (1 - PLATEAU_GAIN) * self._half_widths[before - 1]
