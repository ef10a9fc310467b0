"""Medians and their intervals against independent computations: binomial coefficients, numpy, counting."""

from __future__ import annotations

import random
from math import comb

import numpy as np
import pytest

from engine import statistics


def values(count: int, seed: int = 0) -> list[float]:
    generator = random.Random(seed)
    return [generator.lognormvariate(0, 0.3) for _ in range(count)]


@pytest.mark.parametrize("count", [1, 2, 5, 6, 7, 40, 101])
@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.9, 1.0])
def test_quantiles_are_numpys(count: int, share: float) -> None:
    data = values(count)
    assert statistics.quantile(data, share) == pytest.approx(float(np.quantile(data, share)))
    assert statistics.median(data) == pytest.approx(float(np.median(data)))
    assert statistics.sorted_median(sorted(data)) == pytest.approx(float(np.median(data)))


def test_no_values_have_no_quantile() -> None:
    with pytest.raises(ValueError):
        statistics.median([])


def coverage(count: int, z: float) -> float:
    """Exact probability that the interval holds the median of any continuous distribution."""
    interval = statistics.median_interval(list(map(float, range(count))), z=z)
    assert interval is not None
    k = int(interval.low)
    assert interval.high == count - 1 - k, "symmetric"
    # It misses when at most k of the values are on one side: then x[k] is beyond the median already.
    missed = sum(comb(count, below) for below in range(k + 1)) / 2**count
    return 1 - 2 * missed


@pytest.mark.parametrize(("count", "expected"), [(6, 0.97), (10, 0.98), (20, 0.96), (40, 0.96), (100, 0.943)])
def test_the_95_percent_interval_covers_what_it_says(count: int, expected: float) -> None:
    assert coverage(count, 1.96) == pytest.approx(expected, abs=0.006)


@pytest.mark.parametrize("count", [8, 12, 16, 24, 32, 48])
def test_the_99_percent_interval_covers_at_least_that_at_every_look(count: int) -> None:
    assert coverage(count, 2.58) > 0.98


def test_an_interval_holds_the_median_of_what_was_drawn_in_most_draws() -> None:
    held = 0
    for seed in range(500):
        interval = statistics.median_interval(values(25, seed))
        assert interval is not None
        held += interval.low <= 1.0 <= interval.high
    assert held >= 0.92 * 500


def test_five_values_are_too_few_for_an_interval() -> None:
    assert statistics.median_interval(values(5)) is None
    assert statistics.median_interval(values(6)) is not None
    assert statistics.median_interval(values(6), z=2.58) is None, "96.9 % is not 99 %"


def test_outliers_are_counted_by_fence() -> None:
    calm = [float(value) for value in range(1, 12)]  # quartiles 3.5 and 8.5
    assert statistics.outliers(calm) == (0, 0)
    assert statistics.outliers([*calm[:-1], 17.0]) == (1, 0)
    assert statistics.outliers([*calm[:-1], 24.0]) == (0, 1)
    assert statistics.outliers([]) == (0, 0)


@pytest.mark.parametrize(("share", "least"), [(0.9, 29), (0.95, 59), (0.99, 299)])
def test_percentiles_need_so_many_samples(share: float, least: int) -> None:
    assert statistics.supports_percentile(least, share)
    assert not statistics.supports_percentile(least - 1, share)
    assert share**least <= 0.05 < share ** (least - 1), "all samples below it by chance: at most 1 in 20"


def test_drift_is_the_last_third_against_the_first() -> None:
    assert statistics.drift([1.0] * 5 + [9.0] * 5 + [1.2] * 5) == pytest.approx(0.2)
    assert statistics.drift([1.0, 2.0] * 4) == 0, "too few"
