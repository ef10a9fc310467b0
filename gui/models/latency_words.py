"""What is said about a measurement: the cards of latency and throughput, the badge, the facts of the panel. No Qt."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from engine import numbers
from engine.configuration import Configuration
from engine.errors import ErrorInfo
from engine.measured_summary import measured_times, rate_words, ratio_words, verdict_words
from engine.measurement import (
    ORT_LEVELS,
    STOPPED,
    Comparison,
    Flag,
    Latency,
    LayerTimes,
    Measurement,
    RuntimeOptions,
    Verdict,
)
from engine.statistics import Interval, median
from gui import sizes
from gui.models.card_words import CardWords
from gui.state_words import belongs_to

NOT_MEASURED = "not measured"
DOUBTS = "Doubts"
APART = "measured apart"
"""Two medians without alternation: no verdict."""
IN_ALTERNATION = "in alternation"
PAUSED = "Paused"
CANCELLED = "Cancelled"
TIER_WORDS = {"live": "live, up to 1 s", "settled": "settled, up to 3 s", "report": "for a report, 10 s"}
TONES: dict[Verdict, str] = {
    "faster": "better",
    "slower": "worse",
    "same": "secondary",
    "unclear": "secondary",
}
"""Colour of a verdict: only what is sure has one."""

_PARTS = re.compile(r" \([^()]* \+ [^()]*\)")
"""What a need of memory is made of: left to the panels, where there is room."""

Fact = tuple[str, str]
"""(label, text)."""


@dataclass(frozen=True)
class Situation:
    """What is known of the latency of what the window shows, and what is being done about it."""

    latency: Latency | None = None
    """Of the configuration asked for, else the last there was."""
    asked: Configuration | None = None
    current: bool = False
    """Whether ``latency`` is of the configuration asked for."""
    baseline: Measurement | None = None
    """The baseline's own measurement; None where that is the same configuration."""
    comparison: Comparison | None = None
    """With the baseline in alternation."""
    paused: bool = False
    error: ErrorInfo | None = None
    doing: str = ""
    """What is being measured, in words; empty for nothing."""
    since: str = ""
    """What else than the configuration changed since it was measured: ``Measuring.since``."""
    weights: str = ""
    """Where the model's weights come from; empty where that is not known."""

    @property
    def measurement(self) -> Measurement | None:
        return self.latency.measurement if self.latency is not None else None

    @property
    def stale_words(self) -> str:
        """What the numbers belong to; empty while they are current."""
        if self.measurement is None or self.current:
            return ""
        if self.asked == self.measurement.configuration:
            return since_words(self.since, self.measurement)
        return belongs_to(self.measurement.configuration, self.asked)


# -- cards ---------------------------------------------------------------------------------------------------------


def latency_words(label: str, description: str, now: Situation) -> CardWords:
    """Median with its interval, how it was measured, and the difference to the baseline."""
    measurement = now.measurement
    if measurement is None:
        return _unmeasured_words(label, description, now)
    difference, tone, detail = _difference(now)
    return CardWords(
        label,
        measured_times(measurement),
        caption=PAUSED if now.paused and now.current else _caption(measurement),
        difference=difference,
        tone=tone,
        detail=" · ".join(
            (detail or sizes.size_text(measurement.configuration.inputs), *unusual(measurement.runtime))
        ),
        belongs=bool(detail),
        tooltip=tooltip(label, now),
        stale=_stale_line(now),
    )


def throughput_words(label: str, description: str, now: Situation) -> CardWords:
    """Items per second at the batch measured; ``—`` for a model without a batch."""
    measurement = now.measurement
    if measurement is None:
        return _unmeasured_words(label, description, now)
    if measurement.batch is None:
        return CardWords(
            label,
            numbers.NOT_APPLICABLE,
            detail="the inputs have no batch",
            tooltip=f"{description}\nThe inputs of this model have no batch dimension.",
            stale=_stale_line(now),
        )
    difference, tone, detail = _throughput_difference(now)
    return CardWords(
        label,
        rate_words(measurement),
        "/s",
        caption=f"batch {measurement.batch}",
        difference=difference,
        tone=tone,
        detail=detail or sizes.size_text(measurement.configuration.inputs),
        tooltip=f"{description}\n{tooltip('Latency', now)}",
        stale=_stale_line(now),
    )


def _stale_line(now: Situation) -> str:
    """What an old number belongs to, and why there is no newer one."""
    why = NOT_MEASURED if now.error is not None else PAUSED.lower() if now.paused else ""
    if now.doing == CANCELLED:
        why = CANCELLED.lower()
    words = now.stale_words
    return f"{words} · {why}" if words and why else words


def _unmeasured_words(label: str, description: str, now: Situation) -> CardWords:
    if now.error is not None:
        reason = f"{now.error.message} {now.error.hint}".strip()
        return CardWords(
            label,
            NOT_MEASURED,
            detail=_PARTS.sub("", now.error.message),
            wraps=True,
            tooltip=f"{label}: {NOT_MEASURED}\n{reason}",
        )
    detail = PAUSED if now.paused else now.doing
    return CardWords(label, numbers.NOT_APPLICABLE, detail=detail, tooltip=f"{description}\n{detail}".strip())


def _caption(measurement: Measurement) -> str:
    samples = f"n = {measurement.n:,}" if measurement.n > 1 else "single run"
    return f"{samples} · {threads_text(measurement.threads)}"


def unusual(runtime: RuntimeOptions | None) -> tuple[str, ...]:
    """The options of onnxruntime that are not its defaults, in a word or two each."""
    if runtime is None:
        return ()
    level = "unoptimised" if runtime.level == "disable" else runtime.level
    told = () if runtime.level == RuntimeOptions().level else (level,)
    return told if runtime.spinning else (*told, "no spinning")


def _difference(now: Situation) -> tuple[str, str, str]:
    """(difference, tone, detail): with a verdict where both were measured in alternation, else marked as apart."""
    comparison, measurement = now.comparison, now.measurement
    if comparison is not None:
        interval = comparison.interval
        factor, _, between = ratio_words(comparison).partition(" (")
        detail = between.rstrip(")") if interval is not None else "too few pairs"
        return f"{factor} {comparison.verdict}", TONES[comparison.verdict], detail
    if now.baseline is None or measurement is None:
        return "", "secondary", ""
    words = numbers.apart(now.baseline.median_s, measurement.median_s)
    detail = " · ".join(apart_notes(now.baseline))
    if now.baseline.threads != measurement.threads:
        detail = f"apart, with {threads_text(now.baseline.threads)}"
    return words, "secondary", detail


def comparison_before_s(comparison: Comparison) -> float:
    """The baseline's time in the pairs whose ratios make the verdict: median over its blocks."""
    return median(comparison.baseline_s)


def apart_notes(baseline: Measurement) -> tuple[str, ...]:
    """How a baseline was measured that was not measured in alternation, and what speaks against it."""
    return (APART, badge(baseline.flags)[0]) if baseline.flags else (APART,)


def _throughput_difference(now: Situation) -> tuple[str, str, str]:
    """(difference, tone, detail): coloured where the comparison's whole interval is beyond its dead zone."""
    measurement, baseline, comparison = now.measurement, now.baseline, now.comparison
    if measurement is None or baseline is None or not baseline.throughput or not measurement.throughput:
        return "", "secondary", ""
    if comparison is None:
        return numbers.apart(baseline.throughput, measurement.throughput), "secondary", APART
    scale = (measurement.batch or 1) / (baseline.batch or 1)
    interval = comparison.interval
    bounds = (scale / interval.high, scale / interval.low) if interval is not None else (None, None)
    difference = numbers.ratio_interval(scale / comparison.ratio, *bounds).partition(" (")[0]
    if interval is not None and scale / interval.high > 1 + comparison.dead_zone:
        return difference, "better", ""
    if interval is not None and scale / interval.low < 1 - comparison.dead_zone:
        return difference, "worse", ""
    same = comparison.verdict == "same" and scale == 1
    return f"{difference} {'same' if same else 'unclear'}", "secondary", ""


# -- numbers -------------------------------------------------------------------------------------------------------


def time_text(median_s: float, interval: Interval | None) -> str:
    """``38 ± 2 ms`` of samples that are no Measurement yet; the bare median without an interval."""
    low, high = interval or (None, None)
    return numbers.interval(median_s, low, high)


def since_words(since: str, measurement: Measurement) -> str:
    """What a measurement of the configuration asked for belongs to, after a change of something else."""
    if since == "reload":
        return "before it was opened again"
    if since == "interpreter":
        return "with another Python"
    if since == "runtime":
        return f"with {runtime_text(measurement.runtime or RuntimeOptions())}"
    return f"with {threads_text(measurement.threads)}"


def threads_text(threads: int) -> str:
    return numbers.many(threads, "thread")


def runtime_text(runtime: RuntimeOptions) -> str:
    """``optimisations all, spinning``: how onnxruntime ran a model."""
    spinning = "spinning" if runtime.spinning else "not spinning"
    return f"optimisations {runtime.level}, {spinning}"


# -- badge ---------------------------------------------------------------------------------------------------------


def badge(flags: tuple[Flag, ...]) -> tuple[str, str]:
    """(words, tone): ``quiet``, or the worst that can be said."""
    if not flags:
        return "quiet", "better"
    worst = max(flags, key=lambda flag: flag.severe)
    more = f" +{len(flags) - 1}" if len(flags) > 1 else ""
    return f"{worst.words}{more}", "worse" if worst.severe else "caution"


# -- everything ----------------------------------------------------------------------------------------------------


def tooltip(label: str, now: Situation) -> str:
    """Everything about the measurement, one fact a line."""
    measurement = now.measurement
    if measurement is None:
        return label
    lines = [f"{label} of {numbers.inputs(measurement.configuration.inputs)}"]
    if now.stale_words:
        lines.append(f"An earlier measurement, {now.stale_words}")
    if now.error is not None:
        lines.append(f"What is asked for cannot be measured: {now.error.message}")
    lines += [f"{name}: {text}" for name, text in (*sample_facts(measurement), *comparison_facts(now))]
    lines += [f"{flag.words}: {flag.detail}" for flag in measurement.flags]
    if measurement.circumstances.fingerprint:
        lines.append(f"Fingerprint {measurement.circumstances.fingerprint}")
    return "\n".join(lines)


def sample_facts(measurement: Measurement) -> list[Fact]:
    """The samples in numbers, in the order of a reader's questions."""
    interval, found = measurement.interval, []
    found.append(("Median", numbers.duration(measurement.median_s)))
    if interval is not None:
        low, high = numbers.duration(interval.low), numbers.duration(interval.high)
        found.append((f"95{numbers.THIN}% interval", f"{low} to {high}"))
    else:
        found.append((f"95{numbers.THIN}% interval", "none: too few samples"))
    count = f"{measurement.n:,}"
    if measurement.forwards_per_sample > 1:
        count += f", each the mean of {measurement.forwards_per_sample:,} forward passes"
    found.append(("Samples", count))
    if measurement.n > 1:
        found.append(("Interquartile range", numbers.duration(measurement.iqr_s)))
        extremes = f"{numbers.duration(measurement.min_s)}, {numbers.duration(measurement.max_s)}"
        found.append(("Minimum, maximum", extremes))
    found += [(name, numbers.duration(value)) for name, value in measurement.percentiles.items()]
    outliers = measurement.outliers
    if outliers.mild or outliers.severe:
        found.append(("Outliers", f"{outliers.mild} mild, {outliers.severe} severe; all are kept"))
    if measurement.undisturbed_median_s is not None:
        share = f"{len(measurement.undisturbed_s)} of {measurement.n}"
        found.append(
            ("Undisturbed", f"{numbers.duration(measurement.undisturbed_median_s)}, {share} samples")
        )
    found += _circumstantial_facts(measurement)
    return found


def _circumstantial_facts(measurement: Measurement) -> list[Fact]:
    facts = []
    cpu = measurement.mean_cpu_s
    if cpu is not None:
        busy = cpu / (sum(measurement.samples_s) / measurement.n) if math.fsum(measurement.samples_s) else 0.0
        facts.append(
            (
                "CPU time",
                f"{numbers.duration(cpu)}: {numbers.significant(busy, 2)} of "
                f"{threads_text(measurement.threads)} busy",
            )
        )
    facts.append(("First forward pass", numbers.duration(measurement.first_s)))
    facts.append(("Warm-ups", f"{measurement.warmups}, the first one included"))
    if measurement.batch is not None:
        facts.append(
            ("Throughput", f"{rate_words(measurement)}{numbers.THIN}/s at batch {measurement.batch}")
        )
    facts.append(("Stopped because", STOPPED[measurement.stop_reason]))
    return facts


def comparison_facts(now: Situation) -> list[Fact]:
    """Against the baseline, in alternation or apart."""
    comparison = now.comparison
    if comparison is None:
        if now.baseline is None:
            return []
        difference, _, how = _difference(now)
        before = measured_times(now.baseline)
        doubts = [("Doubt", f"{flag.words}: {flag.detail}") for flag in now.baseline.flags]
        return [("Baseline", before), *doubts, ("Difference", f"{difference}, {how}: no verdict")]
    facts = [
        ("Against the baseline", f"{ratio_words(comparison)}, {verdict_words(comparison)}"),
        ("Before", f"{numbers.duration(comparison_before_s(comparison))}, {IN_ALTERNATION}"),
        ("Pairs", f"{len(comparison.ratios)}, in alternation; 99{numbers.THIN}% interval"),
    ]
    facts += [("Doubt", f"{flag.words}: {flag.detail}") for flag in comparison.flags]
    return facts


def layer_facts(latency: Latency) -> list[Fact]:
    """Where the time of the instrumented pass went, rows that belong to no layer included."""
    times = latency.layers
    if times is None:
        return []
    facts = [
        ("Layers", numbers.duration(times.rows_s)),
        *_beside_the_layers(times),
        ("Instrumented pass", f"{numbers.duration(times.instrumented_s)}, median of {times.repeats}"),
        ("Plain pass, interleaved", numbers.duration(times.end_to_end_s)),
        ("Coverage", f"{numbers.significant(times.coverage)} of the plain pass"),
        ("Overhead", f"× {numbers.significant(times.overhead)}"),
    ]
    return facts + [("Doubt", f"{flag.words}: {flag.detail}") for flag in times.flags]


def _beside_the_layers(times: LayerTimes) -> list[Fact]:
    """The time of no layer, as the framework that ran it spends it."""
    unattributed, hooks = numbers.duration(times.unattributed_s), times.hook_s * times.hook_calls
    if times.groups:
        inserted = f"{numbers.duration(times.inserted_s)}: {numbers.many(len(times.inserted), 'kernel')}"
        return [
            *([("Inserted by the runtime", inserted)] if times.inserted else []),
            ("Unattributed (between the kernels)", unattributed),
            ("Cost of profiling", numbers.duration(hooks)),
        ]
    return [
        ("Unattributed (containers and Python)", unattributed),
        ("Hook cost", f"{numbers.duration(hooks)}: {times.hook_calls:,} × {numbers.duration(times.hook_s)}"),
    ]


def memory_facts(latency: Latency) -> list[Fact]:
    """Three views of the peak, and the kernels' workspace between the first two."""
    memory = latency.memory
    if memory is None:
        return []

    def reading(number: int | None) -> str:
        return numbers.size(number) if number is not None else numbers.NOT_APPLICABLE

    return [
        ("Analytic peak", numbers.size(memory.analytic_bytes)),
        ("Allocator peak", reading(memory.allocator_bytes)),
        ("Kernel workspace", reading(memory.workspace_bytes)),
        ("Process growth", reading(memory.process_bytes)),
        *(("Missing", reason) for reason in memory.reasons),
    ]


def circumstance_facts(measurement: Measurement) -> list[Fact]:
    """What the numbers hold for."""
    told = measurement.circumstances
    facts = [
        ("Tier", TIER_WORDS[measurement.tier]),
        ("Device", f"{measurement.device}, {measurement.dtype}, {threads_text(measurement.threads)}"),
        ("Input", numbers.inputs(measurement.configuration.inputs)),
        *_runtime_facts(measurement.runtime),
    ]
    facts += [*told.settings.items(), *told.machine.items()]
    if told.load:
        facts.append(("Load averages", ", ".join(f"{load:.2f}" for load in told.load)))
    if measurement.reference_best_s and measurement.reference_s:
        middle, best = median(measurement.reference_s), measurement.reference_best_s
        facts.append(("Reference kernel", f"{numbers.duration(middle)}; at best {numbers.duration(best)}"))
    facts += [("Measured at", moment(told.utc)), ("Fingerprint", told.fingerprint)]
    return [fact for fact in facts if fact[1]]


def _runtime_facts(runtime: RuntimeOptions | None) -> list[Fact]:
    if runtime is None:
        return []
    return [
        ("Graph optimisation", ORT_LEVELS[runtime.level]),
        ("Spinning", "idle threads spin for work" if runtime.spinning else "idle threads sleep"),
    ]


def moment(utc: str) -> str:
    """ISO 8601 for eyes, with places to break the line: ``2026-01-02 03:04:05 UTC``."""
    return utc.replace("T", " ").removesuffix("Z").removesuffix("+00:00") + " UTC" if utc else ""


def sections(now: Situation) -> list[tuple[str, list[Fact]]]:
    """(title, facts) of everything known; sections without facts are left out."""
    latency = now.latency
    if latency is None:
        return []
    measurement = latency.measurement
    found = [
        ("Samples", sample_facts(measurement)),
        (DOUBTS, [(flag.words, flag.detail) for flag in measurement.flags]),
        ("Comparison", comparison_facts(now)),
        ("Layers", layer_facts(latency)),
        ("Memory of one forward pass", memory_facts(latency)),
        ("Circumstances", [("Weights", now.weights)] * bool(now.weights) + circumstance_facts(measurement)),
    ]
    return [(title, facts) for title, facts in found if facts]


def as_text(now: Situation) -> str:
    """All of it as tab-separated lines, for the clipboard."""
    lines = []
    for title, facts in sections(now):
        lines += [title, *(f"{label}\t{text}" for label, text in facts), ""]
    return "\n".join(lines)
