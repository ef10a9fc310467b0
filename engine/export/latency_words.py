"""The latency section of the readable reports: numbers with their intervals, and everything that they hold for."""

from __future__ import annotations

from msgspec import Struct

from engine import numbers
from engine.measured_summary import measured_times, paired, rate_words, ratio_words, verdict_words
from engine.measurement import STOPPED, Flag, LayerTimes, Measurement, MemoryReadings
from engine.metrics import column
from engine.results import Analysis

SLOWEST = 15

Fact = tuple[str, str]
"""Label and text."""


class SlowRow(Struct, frozen=True):
    """One line of the table of slowest layers, or of what is beside them."""

    path: str
    """Of the module; ``""`` for the model itself, and for time outside of the layers."""
    what: str
    """The operation, or what this time is."""
    time: str
    share: str
    """Of all layers, unattributed time and the timing itself together."""
    cores: str = numbers.NOT_APPLICABLE
    speed: str = numbers.NOT_APPLICABLE
    before: str = numbers.NOT_APPLICABLE
    """In the baseline."""
    note: str = ""


class LatencySection(Struct, frozen=True):
    """What a report says about a measurement."""

    headline: str
    facts: tuple[Fact, ...]
    doubts: tuple[Fact, ...]
    """Flags in words, with their numbers; empty for a quiet machine."""
    memory: tuple[Fact, ...]
    layers: tuple[SlowRow, ...]
    layers_sentence: str
    circumstances: tuple[Fact, ...]


def latency_section(analysis: Analysis, baseline: Analysis | None) -> LatencySection | None:
    """The section for ``analysis``; None when nothing was measured of it."""
    latency = analysis.latency
    if latency is None:
        return None
    measurement, times = latency.measurement, latency.layers
    pair = paired(analysis, baseline) if baseline is not None else None
    return LatencySection(
        headline=_headline(measurement),
        facts=(*_facts(measurement), *_against(analysis, baseline)),
        doubts=(
            *_doubts("", measurement.flags),
            *_doubts("while the layers were timed, ", times.flags if times is not None else ()),
            *_doubts("while it was compared, ", pair.flags if pair is not None else ()),
        ),
        memory=_memory(latency.memory),
        layers=_slowest(analysis, times, baseline) if times is not None else (),
        layers_sentence=_layers_sentence(times) if times is not None else "",
        circumstances=_circumstances(measurement),
    )


def _headline(measurement: Measurement) -> str:
    passes = f"median of {measurement.n:,}" if measurement.n > 1 else "one forward pass, no interval"
    words = [measured_times(measurement), passes, numbers.many(measurement.threads, "thread")]
    if measurement.batch is not None:
        words.append(f"batch {measurement.batch:,}")
    return ", ".join([*words, measurement.dtype, measurement.device.upper()])


def _facts(measurement: Measurement) -> list[Fact]:
    duration = numbers.duration
    facts = []
    interval = measurement.interval
    if interval is not None:
        facts.append(
            ("95 % interval of the median", f"{duration(interval.low)} to {duration(interval.high)}")
        )
    if measurement.throughput is not None:
        facts.append(("Throughput", f"{rate_words(measurement)} items/s at this batch"))
    spread = [f"fastest {duration(measurement.min_s)}"]
    if measurement.n > 1:
        spread += [
            f"interquartile range {duration(measurement.iqr_s)}",
            f"slowest {duration(measurement.max_s)}",
        ]
        spread += [f"{name} {duration(value)}" for name, value in measurement.percentiles.items()]
    facts.append(("Samples", f"{measurement.n:,}; {', '.join(spread)}"))
    if measurement.forwards_per_sample > 1:
        facts.append(("One sample", f"mean of {measurement.forwards_per_sample:,} forward passes"))
    outliers = measurement.outliers
    if outliers.mild or outliers.severe:
        facts.append(("Outliers", f"{outliers.mild} mild, {outliers.severe} severe; none is left out"))
    if measurement.delay_s:
        facts.append(("Undisturbed", _undisturbed(measurement)))
    if measurement.stop_reason != "single":
        facts.append(("First forward pass", f"{duration(measurement.first_s)}, not among the samples"))
        facts.append(("Warm-up", numbers.many(measurement.warmups, "forward pass")))
    facts.append(("Stopped because", STOPPED[measurement.stop_reason]))
    return facts


def _undisturbed(measurement: Measurement) -> str:
    """``37.9 ms, median of the 60 samples whose threads hardly waited for a core``."""
    median = measurement.undisturbed_median_s
    if median is None:
        return "no sample: threads waited for a core in all of them"
    samples = numbers.many(len(measurement.undisturbed_s), "sample")
    return f"{numbers.duration(median)}, median of the {samples} whose threads hardly waited for a core"


def _against(analysis: Analysis, baseline: Analysis | None) -> list[Fact]:
    if baseline is None or baseline.latency is None:
        return []
    facts = [("Baseline", _headline(baseline.latency.measurement))]
    pair = paired(analysis, baseline)
    if pair is not None:
        facts.append(
            (
                "In alternation with it",
                f"{ratio_words(pair)}, {verdict_words(pair)}; {numbers.many(len(pair.ratios), 'pair')}"
                + (", 99 % interval" if pair.interval else ""),
            )
        )
    return facts


def _doubts(when: str, flags: tuple[Flag, ...]) -> tuple[Fact, ...]:
    return tuple((flag.words, f"{when}{flag.detail}") for flag in flags)


def _memory(readings: MemoryReadings | None) -> tuple[Fact, ...]:
    """Three views of the peak, and the difference of the first two as a row of its own."""
    if readings is None:
        return ()
    why = "; ".join(readings.reasons) or "not read"
    rows = (
        ("Activations alive at once (analytic)", readings.analytic_bytes),
        ("Allocator's peak", readings.allocator_bytes),
        ("Kernel workspace (their difference)", readings.workspace_bytes),
        ("Growth of the process", readings.process_bytes),
    )
    return tuple((label, f"n/a ({why})" if size is None else numbers.size(size)) for label, size in rows)


def _slowest(analysis: Analysis, times: LayerTimes, baseline: Analysis | None) -> tuple[SlowRow, ...]:
    layers = analysis.layers
    wall, cores, speed = (column(layers, key) for key in ("latency_s", "cores_busy", "macs_per_s"))
    notes = dict(zip(times.row_id, times.note, strict=True))
    old = {}
    if baseline is not None and baseline.layer_times is not None:
        old = dict(zip(baseline.layers.id, column(baseline.layers, "latency_s"), strict=True))
    order = sorted(
        (row for row in range(len(layers)) if wall[row] is not None), key=lambda row: -(wall[row] or 0)
    )
    rows = [
        SlowRow(
            path=layers.path[row],
            what=layers.op[row],
            time=_time(wall[row]),
            share=_share(wall[row], times),
            cores=numbers.value("cores_busy", cores[row]),
            speed=numbers.value("macs_per_s", speed[row] or None),
            before=_time(old.get(layers.id[row])),
            note=notes.get(layers.id[row], ""),
        )
        for row in order[:SLOWEST]
    ]
    hooks, calls = times.hook_s * times.hook_calls, numbers.many(times.hook_calls, "module call")
    rest = sum(wall[row] or 0 for row in order[SLOWEST:])
    if len(order) > SLOWEST:
        rows.append(
            SlowRow("", f"{len(order) - SLOWEST:,} further operations", _time(rest), _share(rest, times))
        )
    unattributed = times.unattributed_s
    return (
        *rows,
        SlowRow("", "all layers", _time(times.rows_s), _share(times.rows_s, times), note="the rows above"),
        *_inserted(times),
        SlowRow(
            "",
            "unattributed",
            _time(unattributed),
            _share(unattributed, times),
            note="in containers and in Python between the layers",
        ),
        SlowRow(
            "",
            "timing itself",
            _time(hooks),
            _share(hooks, times),
            note=f"{calls} at {numbers.duration(times.hook_s)}; not in the rows above",
        ),
    )


def _inserted(times: LayerTimes) -> tuple[SlowRow, ...]:
    if not times.inserted:
        return ()
    kernels = numbers.many(len(times.inserted), "kernel")
    seconds = times.inserted_s
    return (
        SlowRow(
            "",
            "inserted by the runtime",
            _time(seconds),
            _share(seconds, times),
            note=f"{kernels} that do no layer's work",
        ),
    )


def _time(seconds: float | None) -> str:
    return numbers.NOT_APPLICABLE if seconds is None else numbers.duration(seconds)


def _share(seconds: float | None, times: LayerTimes) -> str:
    return numbers.share(None if seconds is None else max(seconds, 0.0), _whole(times))


def _whole(times: LayerTimes) -> float:
    """What the lines of the table add up to: about the instrumented forward pass, whose median is one of its own."""
    known = times.rows_s + times.inserted_s
    return known + max(times.unattributed_s, 0.0) + times.hook_s * times.hook_calls


def _layers_sentence(times: LayerTimes) -> str:
    """What the rows add up to, against the plain forward pass."""
    return (
        f"Layers are timed in passes of their own (medians of {times.repeats:,}). Shares are of all layers, "
        f"unattributed time and the timing itself together, {numbers.duration(_whole(times))}. Rows and "
        f"unattributed time make up {times.coverage * 100:.0f}{numbers.THIN}% of "
        f"{numbers.duration(times.end_to_end_s)}, a plain forward pass between them; "
        f"with the timing it took {numbers.duration(times.instrumented_s)}."
    )


def _circumstances(measurement: Measurement) -> tuple[Fact, ...]:
    taken = measurement.circumstances
    facts = [*taken.machine.items(), *taken.settings.items()]
    if taken.load:
        facts.append(("Load averages", ", ".join(f"{value:.2f}" for value in taken.load)))
    if taken.utc:
        facts.append(("Time (UTC)", taken.utc))
    if taken.fingerprint:
        facts.append(("Fingerprint of machine and settings", taken.fingerprint))
    return tuple(facts)
