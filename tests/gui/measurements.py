"""Hand-made measurements of hand-made analyses, for tests of models and panels."""

from __future__ import annotations

from collections.abc import Sequence

from engine.configuration import Configuration
from engine.measurement import (
    Circumstances,
    Comparison,
    Flag,
    Latency,
    LayerTimes,
    Measurement,
    MemoryReadings,
    OpTimes,
)
from engine.results import Analysis, with_latency

PREEMPTED = Flag("preempted", "run-queue delay above 2 % in 34 of 80 samples", severe=True)
SPREAD = Flag("spread", "IQR is 12 % of the median")


def measurement(
    configuration: Configuration,
    median_ms: float = 38.0,
    *,
    samples: int = 41,
    spread: float = 0.04,
    batch: int | None = 1,
    threads: int = 2,
    flags: Sequence[Flag] = (),
) -> Measurement:
    """``samples`` evenly spread over ``median_ms`` · (1 ± ``spread``); every fourth one waited for a core."""
    middle = (samples - 1) / 2
    steps = [(i - middle) / middle if middle else 0.0 for i in range(samples)]
    times = tuple(median_ms / 1e3 * (1 + spread * step) for step in steps)
    return Measurement(
        configuration,
        "settled",
        threads,
        times,
        "precise" if samples > 1 else "single",
        batch=batch,
        cpu_s=tuple(1.7 * time for time in times),
        delay_s=tuple(0.1 * time if i % 4 == 0 else 0.0 for i, time in enumerate(times)),
        first_s=2 * median_ms / 1e3,
        warmups=3,
        reference_s=(1e-3, 1.1e-3),
        reference_best_s=1e-3,
        flags=tuple(flags),
        circumstances=Circumstances(
            {"CPU": "Test CPU", "Operating system": "Test OS"},
            {"Denormals": "kept", "Seed": "0"},
            (0.5, 0.4, 0.3),
            "2026-01-02T03:04:05Z",
            "abc123",
        ),
    )


def layer_times(analysis: Analysis, *, parts: Sequence[str] = (), threads: int = 2) -> LayerTimes:
    """1 ms for the first row, 2 ms for the second …; rows of ``parts`` are part of the one before them."""
    rows = analysis.layers.id
    wall = tuple(None if row in parts else (i + 1) * 1e-3 for i, row in enumerate(rows))
    total = sum(value for value in wall if value is not None)
    return LayerTimes(
        analysis.configuration,
        threads,
        rows,
        wall,
        tuple(None if value is None else 1.7 * value for value in wall),
        tuple("part of a fused kernel" if row in parts else "" for row in rows),
        unattributed_s=2e-3,
        hook_s=5e-6,
        hook_calls=len(analysis.modules),
        instrumented_s=total + 2e-3 + 5e-6 * len(analysis.modules),
        end_to_end_s=total + 2e-3,
        repeats=7,
    )


def comparison(baseline: Configuration, current: Configuration, ratio: float = 1.94) -> Comparison:
    """Twenty pairs within half a per cent of ``ratio``."""
    ratios = tuple(ratio * (1 + 0.005 * (i - 9.5) / 9.5) for i in range(20))
    return Comparison(
        baseline, current, 2, ratios, (20e-3,) * 20, tuple(20e-3 * each for each in ratios), "precise"
    )


def memory(analysis: Analysis, *, complete: bool = True) -> MemoryReadings:
    peak = analysis.totals.peak_activation_bytes
    if not complete:
        return MemoryReadings(
            analysis.configuration, peak, reasons=("the process's peak cannot be reset here",)
        )
    return MemoryReadings(analysis.configuration, peak, peak + (1 << 20), peak + (3 << 20))


def op_times(analysis: Analysis) -> OpTimes:
    """The analysis' own rows, and one operation that belongs to none."""
    layers = analysis.layers
    return OpTimes(
        analysis.configuration,
        2,
        (*layers.op, "empty"),
        (*layers.path, ""),
        (*layers.id, ""),
        (*layers.output_shapes, ((1,),)),
        tuple((i + 1) * 1e-3 for i in range(len(layers) + 1)),
        2e-6,
        40e-3,
    )


def latency_of(analysis: Analysis, median_ms: float = 38.0, *, flags: Sequence[Flag] = ()) -> Latency:
    """Everything that is measured of one configuration, but for a comparison."""
    return Latency(
        measurement(analysis.configuration, median_ms, flags=flags), layer_times(analysis), memory(analysis)
    )


def measured(analysis: Analysis, median_ms: float = 38.0) -> Analysis:
    """``analysis`` as the workspace carries it once it is measured."""
    return with_latency(analysis, latency_of(analysis, median_ms))
