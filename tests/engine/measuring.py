"""Made-up measurements of hand-made analyses, for tests of words and reports."""

from __future__ import annotations

from collections.abc import Mapping

from engine.measurement import (
    Circumstances,
    Comparison,
    Flag,
    Latency,
    LayerTimes,
    Measurement,
    MemoryReadings,
)
from engine.results import Analysis, with_latency

SPREAD = (0.98, 0.99, 0.995, 1.0, 1.0, 1.0, 1.005, 1.01, 1.02, 1.0)


def measured(
    analysis: Analysis,
    median_s: float,
    layers: Mapping[str, float] | None = None,
    *,
    against: Analysis | None = None,
    ratio: float = 1.0,
    pairs: int = 20,
    flags: tuple[Flag, ...] = (),
    threads: int = 2,
    fingerprint: str = "abc",
) -> Analysis:
    """``analysis`` measured at ``median_s``; ``layers`` are row id → seconds, the other rows take none.

    ``against`` was measured in alternation with it, at ``ratio`` ± 2 %.
    """
    configuration, rows = analysis.configuration, analysis.layers.id
    samples = tuple(median_s * factor for factor in SPREAD)
    measurement = Measurement(
        configuration, "settled", threads, samples, "precise", batch=1, cpu_s=tuple(1.5 * s for s in samples),
        delay_s=(0.0,) * 8 + (0.1,) * 2, first_s=3 * median_s, warmups=3, flags=flags,
        circumstances=Circumstances(
            {"CPU": "Some CPU"}, {"Threads": str(threads)}, (0.5, 0.4, 0.3), "2026-01-02T03:04:05+00:00", fingerprint
        ),
    )  # fmt: skip
    times = None
    if layers is not None:
        wall = tuple(layers.get(row, 0.0) for row in rows)
        times = LayerTimes(
            configuration, threads, rows, wall, tuple(1.8 * s for s in wall), ("",) * len(rows),
            unattributed_s=median_s / 50, hook_s=2e-6, hook_calls=10, instrumented_s=1.02 * median_s,
            end_to_end_s=median_s, repeats=9,
        )  # fmt: skip
    comparison = None
    if against is not None:
        ratios = tuple(ratio * SPREAD[place % len(SPREAD)] for place in range(pairs))
        comparison = Comparison(
            against.configuration,
            configuration,
            threads,
            ratios,
            (median_s,) * pairs,
            samples,
            "precise",
            flags,
        )
    memory = MemoryReadings(configuration, 20 * 2**20, 26 * 2**20, None, ("no peak here",))
    return with_latency(analysis, Latency(measurement, times, memory, comparison))
