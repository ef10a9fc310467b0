"""Statistics of timings: medians with intervals that assume nothing about the distribution. Plain arithmetic.

Sources: order-statistic interval of the median (Conover, Practical Nonparametric Statistics); Tukey's fences for
outliers; the sample size a percentile needs is that of a one-sided 95 % bound, ``n ≥ ln 0.05 / ln p``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

SMALLEST_N = 6
"""Fewer samples cannot bound a median with 95 % confidence: 1 − 2 · 0.5⁶ = 0.97, with five 0.94."""
MILD_FENCE, SEVERE_FENCE = 1.5, 3.0


class Interval(NamedTuple):
    """A range that holds the true value with the stated confidence."""

    low: float
    high: float

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2


class Outliers(NamedTuple):
    """Samples beyond Tukey's fences; ``mild`` does not include ``severe``. They are counted, never dropped."""

    mild: int
    severe: int


def quantile(values: Sequence[float], share: float) -> float:
    """The ``share`` (0 to 1) quantile with linear interpolation. Raises ValueError for no values."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    position = share * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])


def median(values: Sequence[float]) -> float:
    """Raises ValueError for no values."""
    return quantile(values, 0.5)


def iqr(values: Sequence[float]) -> float:
    """Interquartile range. Raises ValueError for no values."""
    return quantile(values, 0.75) - quantile(values, 0.25)


def median_interval(values: Sequence[float], *, z: float = 1.96) -> Interval | None:
    """Order-statistic interval of the median; None for too few values: below SMALLEST_N, at z = 2.58 below 7.

    0-based ``x[k]`` and ``x[n−1−k]`` of the sorted values with ``k = ⌊n/2 − z/2 · √n⌋``; z = 1.96 is 95 %, 2.58 99 %.
    """
    return sorted_median_interval(sorted(values), z)


def sorted_median_interval(ordered: Sequence[float], z: float = 1.96) -> Interval | None:
    """``median_interval`` of values in ascending order, without sorting them."""
    count = len(ordered)
    if count < SMALLEST_N:
        return None
    k = math.floor(count / 2 - z / 2 * math.sqrt(count))
    if k < 0:
        return None
    return Interval(ordered[k], ordered[count - 1 - k])


def sorted_median(ordered: Sequence[float]) -> float:
    """Median of values in ascending order, at least one."""
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def outliers(values: Sequence[float]) -> Outliers:
    """How many values lie beyond 1.5 and 3 interquartile ranges from the quartiles."""
    if not values:
        return Outliers(0, 0)
    first, third = quantile(values, 0.25), quantile(values, 0.75)
    spread = third - first

    def beyond(fence: float) -> int:
        return sum(value < first - fence * spread or value > third + fence * spread for value in values)

    severe = beyond(SEVERE_FENCE)
    return Outliers(beyond(MILD_FENCE) - severe, severe)


def supports_percentile(count: int, share: float) -> bool:
    """Whether ``count`` samples can bound that percentile: 29 for p90, 59 for p95, 299 for p99."""
    return count >= math.ceil(math.log(0.05) / math.log(share))


def drift(values: Sequence[float]) -> float:
    """Median of the last third over that of the first third, less 1; 0 below nine values."""
    third = len(values) // 3
    if third < 3:
        return 0.0
    return median(values[-third:]) / median(values[:third]) - 1
