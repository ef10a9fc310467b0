"""What a change really costs, in words: the measured ratio beside that of the MACs, and why the two differ.

Plain data that both processes read: the window and the reports say the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine import measurement, numbers
from engine.measurement import FLAGGED_DEAD_ZONE, Latency, Measurement
from engine.metrics import METRIC, ratio
from engine.results import Analysis
from engine.summary import Part, Sentence, Span, frontier, listed
from engine.tree_values import Comparison, is_same

MOST = 0.7
"""Parts are named, the largest first, until they make up this much of the difference."""
MAX_PARTS = 4
SAME_SPEED = 0.03
"""Speeds that differ by less than this part are called the same."""


def latency_sentences(comparison: Comparison, count_mode: str) -> tuple[Sentence, ...]:
    """``MACs × 3.91, latency × 3.21 (3.15–3.30), slower.`` and what the layers say about it; empty when not measured.

    A verdict needs both states measured in alternation. Two separate measurements are told as such, without one.
    """
    analysis = comparison.analysis
    baseline = comparison.baseline.analysis if comparison.baseline is not None else None
    if baseline is None or (is_same(analysis, baseline) and _measurement(analysis) == _measurement(baseline)):
        return ()
    pair = paired(analysis, baseline)
    if pair is not None:
        sentences = _interleaved(pair, _counted(analysis, baseline, count_mode))
        slower = {"slower": True, "faster": False}.get(pair.verdict)
    else:
        now, before = _measurement(analysis), _measurement(baseline)
        if now is None or before is None:
            return ()
        sentences = [_apart(now, before, _counted(analysis, baseline, count_mode))]
        change = now.median_s / before.median_s - 1
        slower = change > 0 if abs(change) > FLAGGED_DEAD_ZONE else None
    return (*sentences, *(_reason(comparison, slower) if slower is not None else ()))


def paired(analysis: Analysis, baseline: Analysis) -> measurement.Comparison | None:
    """The two states measured in alternation, if they were."""
    found = analysis.latency.comparison if analysis.latency is not None else None
    if found is None or (found.current, found.baseline) != (analysis.configuration, baseline.configuration):
        return None
    # A report of another machine, or of a file's earlier content, is not what was measured here.
    here = (analysis.model, analysis.environment) == (baseline.model, baseline.environment)
    return found if here else None


def measured_times(measured: Measurement) -> str:
    """``38 ± 2 ms``."""
    low, high = measured.interval or (None, None)
    return numbers.interval(measured.median_s, low, high)


def rate_words(measured: Measurement) -> str:
    """``26`` or ``1.25 k``: items per second, as precise as the interval of the latency; ``—`` without a batch."""
    if measured.throughput is None or not measured.batch:
        return numbers.NOT_APPLICABLE
    low, high = measured.interval or (None, None)
    if not low or not high:
        return numbers.rate(measured.throughput, None, None)
    return numbers.rate(measured.throughput, measured.batch / high, measured.batch / low)


def ratio_words(pair: measurement.Comparison) -> str:
    """``× 3.21 (3.15–3.30)``."""
    low, high = pair.interval or (None, None)
    return numbers.ratio_interval(pair.ratio, low, high)


def verdict_words(pair: measurement.Comparison) -> str:
    """``slower``, ``the same within 2 %``, ``unclear: …``."""
    if pair.verdict == "same":
        return f"the same within {pair.dead_zone * 100:.0f}{numbers.THIN}%"
    if pair.verdict == "unclear":
        return f"unclear: {'the samples do not settle it' if pair.interval else 'too few samples'}"
    return pair.verdict


def _measurement(analysis: Analysis) -> Measurement | None:
    latency: Latency | None = analysis.latency
    if latency is None or latency.configuration != analysis.configuration:
        return None
    return latency.measurement


def _counted(analysis: Analysis, baseline: Analysis, count_mode: str) -> list[Span]:
    """``MACs × 3.91, latency``."""
    label = METRIC[count_mode].label
    difference = numbers.difference(
        getattr(baseline.totals, count_mode), getattr(analysis.totals, count_mode)
    )
    if difference == "=":
        return [Span(f"The same {label}, latency ")]
    return [Span(f"{label} "), Span(difference, strong=True), Span(", latency ")]


def _interleaved(pair: measurement.Comparison, counted: list[Span]) -> list[Sentence]:
    sentences: list[Sentence] = [
        (*counted, Span(ratio_words(pair), strong=True), Span(f", {verdict_words(pair)}."))
    ]
    if pair.flags:
        words = " and ".join(dict.fromkeys(flag.words for flag in pair.flags))
        sentences.append((Span(f"The machine was not quiet: {words}."),))
    return sentences


def _apart(now: Measurement, before: Measurement, counted: list[Span]) -> Sentence:
    """Two measurements at different times, perhaps on different machines."""
    factor = numbers.apart(before.median_s, now.median_s)
    words = f" ({measured_times(now)}, before {measured_times(before)}), measured apart"
    mine, theirs = now.circumstances.fingerprint, before.circumstances.fingerprint
    if now.threads != before.threads:
        words += f" and with {now.threads} instead of {before.threads} threads"
    elif mine and theirs and mine != theirs:
        words += f" on different machines or settings (fingerprints {mine} and {theirs})"
    return (*counted, Span(factor, strong=True), Span(f"{words}, so without a verdict."))


# -- why ---------------------------------------------------------------------------------------------------------


class _Timed:
    """Parts of the model together: their MACs and times now and before."""

    def __init__(self, comparison: Comparison, parts: Sequence[Part]) -> None:
        self.parts = parts
        nodes = [comparison.structure.node_of_name[part.node] for part in parts]
        self.macs = sum(comparison.values.value(node, "macs") or 0 for node in nodes)
        self.macs_before = sum(comparison.before(node, "macs") or 0 for node in nodes)
        self.seconds = sum(comparison.values.value(node, "latency_s") or 0 for node in nodes)
        self.seconds_before = sum(comparison.before(node, "latency_s") or 0 for node in nodes)

    @property
    def added(self) -> float:
        return self.seconds - self.seconds_before


def _reason(comparison: Comparison, slower: bool) -> tuple[Sentence, ...]:
    """Which layers the difference is in, and how fast they compute now and before.

    Empty without times of layers, and where these differ the other way: they are measured at other times.
    """
    baseline = comparison.baseline.analysis if comparison.baseline is not None else None
    doubts: list[str] = []
    for analysis in (comparison.analysis, baseline):
        if analysis is None or analysis.layer_times is None or analysis.stale_times:
            return ()
        doubts += [flag.words for flag in analysis.layer_times.flags]
    each = [_Timed(comparison, [part]) for part in frontier(comparison, "macs")]
    whole = sum(one.added for one in each)
    if (whole > 0) != slower:
        return ()
    same_way = sorted(
        (one for one in each if one.added * whole > 0), key=lambda one: abs(one.added), reverse=True
    )
    moved = sum(one.added for one in same_way)
    named: list[_Timed] = []
    while same_way and len(named) < MAX_PARTS and abs(sum(one.added for one in named)) < MOST * abs(moved):
        named.append(same_way.pop(0))
    if not named:
        return ()
    order = {one.parts[0].node: place for place, one in enumerate(each)}
    parts = sorted((one.parts[0] for one in named), key=lambda part: order[part.node])
    group = _Timed(comparison, parts)
    word = "added" if slower else "saved"
    start = f"{numbers.share(abs(group.added), abs(moved))} of the {word} time is in "
    if doubts:
        start = f"Measured apart, layer by layer ({' and '.join(dict.fromkeys(doubts))}): {start}"
    return ((Span(start), *listed(parts), *_speeds(group)),)


def _speeds(group: _Timed) -> list[Span]:
    """``: MACs × 4.00 there, at 62.0 G MAC/s instead of 48.1 G MAC/s.``"""
    now, before = ratio(group.macs, group.seconds), ratio(group.macs_before, group.seconds_before)
    if not now and not before:
        return [Span(", which has no MACs." if len(group.parts) == 1 else ", which have no MACs.")]
    if not now or not before:
        return [Span(".")]
    difference = numbers.difference(group.macs_before, group.macs)
    counted = "the same MACs" if difference == "=" else f"MACs {difference}"
    speed = numbers.value("macs_per_s", now)
    if abs(now / before - 1) < SAME_SPEED:
        return [Span(f": {counted} there, at the same speed of {speed}.")]
    return [Span(f": {counted} there, at {speed} instead of {numbers.value('macs_per_s', before)}.")]
