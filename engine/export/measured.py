"""What was measured, as it stands in the report file: raw samples, what follows from them, and the circumstances.

Derived numbers are written for readers; reading takes the raw ones and computes the others again, so that both ways are
exact. Times of layers stand in the rows of the layers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from engine.configuration import Configuration
from engine.measurement import (
    Circumstances,
    Comparison,
    Flag,
    ImportedProfile,
    KernelGroup,
    Latency,
    LayerTimes,
    Measurement,
    MemoryReadings,
    RuntimeOptions,
    StopReason,
    Tier,
    Verdict,
)
from engine.metrics import METRICS, Metric
from engine.results import Analysis, with_latency

RowTimes = Mapping[str, tuple[float | None, float | None, str]]
"""Row id → wall seconds, CPU seconds, note."""


class OutlierCounts(Struct, frozen=True):
    """Samples beyond Tukey's fences; none is dropped."""

    mild: int
    severe: int


class Undisturbed(Struct, frozen=True):
    """The samples whose threads hardly waited for a core."""

    n: int
    median_s: float


class LayersReport(Struct, frozen=True, kw_only=True):
    """What the layers' own times add up to."""

    threads: int
    unattributed_s: float
    hook_s: float
    hook_calls: int
    instrumented_s: float
    end_to_end_s: float
    repeats: int
    flags: tuple[Flag, ...] = ()
    groups: tuple[KernelGroup, ...] = ()
    inserted: tuple[tuple[str, float], ...] = ()
    origin: ImportedProfile | None = None
    coverage: float = 0.0
    overhead: float = 0.0


class MemoryReport(Struct, frozen=True, kw_only=True):
    """Three views of the peak, and what the allocator held beyond live activations."""

    analytic_bytes: int
    allocator_bytes: int | None = None
    process_bytes: int | None = None
    workspace_bytes: int | None = None
    reasons: tuple[str, ...] = ()


class ComparisonReport(Struct, frozen=True, kw_only=True):
    """Measured in alternation with ``baseline``; ratios are ours over the baseline's."""

    ratio: float = 0.0
    ci_low: float | None = None
    """99 % interval."""
    ci_high: float | None = None
    verdict: Verdict = "unclear"
    baseline: Configuration
    threads: int
    ratios: tuple[float, ...]
    baseline_s: tuple[float, ...]
    current_s: tuple[float, ...]
    stop_reason: StopReason
    flags: tuple[Flag, ...] = ()


class LatencyReport(Struct, frozen=True, kw_only=True):
    """The wall time of one forward pass; seconds."""

    median_s: float = 0.0
    ci_low_s: float | None = None
    """95 % interval of the median; null with too few samples."""
    ci_high_s: float | None = None
    iqr_s: float = 0.0
    min_s: float = 0.0
    n: int = 0
    percentiles: dict[str, float] = {}
    """Those that so many samples can state."""
    outliers: OutlierCounts = OutlierCounts(0, 0)
    undisturbed: Undisturbed | None = None
    """Null where the system does not tell how long threads waited, or where all samples were disturbed."""
    throughput: float | None = None
    """Items per second at this batch."""
    batch: int | None = None
    device: str = "cpu"
    dtype: str = "float32"
    threads: int
    tier: Tier
    stop_reason: StopReason
    flags: tuple[Flag, ...] = ()
    warmups: int = 0
    first_s: float = 0.0
    forwards_per_sample: int = 1
    samples_s: tuple[float, ...]
    cpu_s: tuple[float, ...] = ()
    delay_s: tuple[float, ...] = ()
    reference_s: tuple[float, ...] = ()
    reference_best_s: float | None = None
    circumstances: Circumstances = Circumstances()
    runtime: RuntimeOptions | None = None
    layers: LayersReport | None = None
    memory: MemoryReport | None = None
    comparison: ComparisonReport | None = None


def own(analysis: Analysis) -> Analysis:
    """``analysis`` with nothing measured but what was measured, or imported, of its own configuration."""
    latency, configuration = analysis.latency, analysis.configuration
    times = imported(analysis)
    if times is not None:
        return with_latency(analysis, None, times)
    if latency is not None and latency.configuration == configuration:
        return with_latency(analysis, _own_parts(latency))
    return msgspec.structs.replace(
        analysis,
        layers=msgspec.structs.replace(analysis.layers, latency_s=(), cpu_s=()),
        totals=msgspec.structs.replace(analysis.totals, latency_s=None, cpu_s=None),
        latency=None,
        layer_times=None,
    )


def imported(analysis: Analysis) -> LayerTimes | None:
    """The times out of a file that its layers show, unless something was measured of this configuration."""
    times = analysis.layer_times
    if times is None or times.origin is None or times.configuration != analysis.configuration:
        return None
    return times


def shown(*analyses: Analysis | None) -> tuple[Metric, ...]:
    """The metrics to list: the measured ones only where at least one of ``analyses`` has a measurement.

    And those of the weights' values only where at least one knows these.
    """
    measured = any(each is not None and each.latency is not None for each in analyses)
    known = weighed(*analyses)
    return tuple(
        metric for metric in METRICS if (measured or not metric.measured) and (known or not metric.weighed)
    )


def weighed(*analyses: Analysis | None) -> bool:
    """Whether the zeros in the weights of at least one of ``analyses`` are counted."""
    return any(each is not None and each.is_weighed for each in analyses)


def timed(*analyses: Analysis | None) -> bool:
    """Whether the layers of at least one of ``analyses`` have times."""
    return any(each is not None and each.layer_times is not None for each in analyses)


def _own_parts(latency: Latency) -> Latency:
    configuration = latency.configuration
    layers, memory, comparison = latency.layers, latency.memory, latency.comparison
    return Latency(
        latency.measurement,
        layers if layers is not None and layers.configuration == configuration else None,
        memory if memory is not None and memory.configuration == configuration else None,
        comparison if comparison is not None and comparison.current == configuration else None,
    )


def row_times(analysis: Analysis) -> RowTimes:
    """The measured part of every layer row, of an analysis with nothing but its own."""
    times = analysis.layer_times
    if times is None:
        return {}
    cells = zip(times.latency_s, times.cpu_s, times.note, strict=True)
    return dict(zip(times.row_id, cells, strict=True))


def latency_report(latency: Latency) -> LatencyReport:
    """``latency`` for the file; its layer rows are not in it."""
    measurement = latency.measurement
    interval, outliers = measurement.interval, measurement.outliers
    undisturbed = measurement.undisturbed_median_s
    return LatencyReport(
        **_shared(measurement, LatencyReport),
        median_s=measurement.median_s,
        ci_low_s=interval.low if interval else None,
        ci_high_s=interval.high if interval else None,
        iqr_s=measurement.iqr_s,
        min_s=measurement.min_s,
        n=measurement.n,
        percentiles=measurement.percentiles,
        outliers=OutlierCounts(outliers.mild, outliers.severe),
        undisturbed=Undisturbed(len(measurement.undisturbed_s), undisturbed)
        if undisturbed is not None
        else None,
        throughput=measurement.throughput,
        layers=layers_report(latency.layers),
        memory=_memory(latency.memory),
        comparison=_comparison(latency.comparison),
    )


def latency_of(report: LatencyReport, configuration: Configuration, rows: RowTimes) -> Latency:
    """What :func:`latency_report` and the layer rows were made from."""
    layers, memory, comparison = report.layers, report.memory, report.comparison
    return Latency(
        Measurement(configuration=configuration, **_shared(report, Measurement)),
        times_of(layers, configuration, rows) if layers is not None else None,
        MemoryReadings(configuration=configuration, **_shared(memory, MemoryReadings)) if memory else None,
        Comparison(current=configuration, **_shared(comparison, Comparison)) if comparison else None,
    )


def times_of(layers: LayersReport, configuration: Configuration, rows: RowTimes) -> LayerTimes:
    """What :func:`layers_report` and the layer rows were made from."""
    return LayerTimes(
        configuration=configuration,
        row_id=tuple(rows),
        latency_s=tuple(wall for wall, _, _ in rows.values()),
        cpu_s=tuple(cpu for _, cpu, _ in rows.values()),
        note=tuple(note for _, _, note in rows.values()),
        **_shared(layers, LayerTimes),
    )


def layers_report(times: LayerTimes | None) -> LayersReport | None:
    """``times`` for the file; its layer rows are not in it."""
    if times is None:
        return None
    return LayersReport(**_shared(times, LayersReport), coverage=times.coverage, overhead=times.overhead)


def _memory(readings: MemoryReadings | None) -> MemoryReport | None:
    if readings is None:
        return None
    return MemoryReport(**_shared(readings, MemoryReport), workspace_bytes=readings.workspace_bytes)


def _comparison(comparison: Comparison | None) -> ComparisonReport | None:
    if comparison is None:
        return None
    interval = comparison.interval
    return ComparisonReport(
        **_shared(comparison, ComparisonReport),
        ratio=comparison.ratio,
        ci_low=interval.low if interval else None,
        ci_high=interval.high if interval else None,
        verdict=comparison.verdict,
    )


def _shared(struct: Struct, other: type[Struct]) -> dict[str, Any]:
    """The fields of ``struct`` that ``other`` has too; properties are no fields."""
    return {
        name: getattr(struct, name) for name in struct.__struct_fields__ if name in other.__struct_fields__
    }


_COMPARED = ("ratios", "baseline_s", "current_s")


def problem(report: LatencyReport) -> tuple[str, str] | None:
    """The field that views could not work with and what is wrong with it; None when all is well."""
    times: list[tuple[str, Iterable[float | None]]] = [
        (f"latency.{name}", getattr(report, name))
        for name in ("samples_s", "cpu_s", "delay_s", "reference_s")
    ]
    times.append(("latency.first_s", (report.first_s, report.reference_best_s)))
    if report.layers is not None:
        layers = report.layers
        times.append(("latency.layers", (layers.instrumented_s, layers.hook_s, layers.hook_calls)))
    if report.comparison is not None:
        comparison = report.comparison
        times += [(f"latency.comparison.{name}", getattr(comparison, name)) for name in _COMPARED]
    divisors = ("latency.samples_s", *(f"latency.comparison.{name}" for name in _COMPARED))
    for field, values in times:
        for value in values:
            if value is not None and not (0 <= value < math.inf and (value or field not in divisors)):
                return field, f"{value} is not a possible number"
    if not report.samples_s:
        return "latency.samples_s", "there is no sample"
    if report.comparison is not None and not report.comparison.ratios:
        return "latency.comparison.ratios", "there is no ratio"
    if report.layers is not None and not 0 < report.layers.end_to_end_s < math.inf:
        return "latency.layers.end_to_end_s", f"{report.layers.end_to_end_s} is not a possible number"
    if min(report.forwards_per_sample, report.threads, report.batch or 1) < 1:
        return "latency", "threads, batch and forwards_per_sample are at least 1"
    return None
