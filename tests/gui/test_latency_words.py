"""What is said about measurements: cards, badge, facts."""

from __future__ import annotations

import dataclasses

import msgspec

from engine.configuration import Configuration
from engine.errors import ErrorInfo
from engine.graph import InputShape
from engine.measured_summary import rate_words
from engine.measurement import Latency
from gui.models.latency_words import (
    CANCELLED,
    Situation,
    as_text,
    badge,
    latency_words,
    sections,
    throughput_words,
)
from tests.gui.analyses import small_net
from tests.gui.measurements import (
    PREEMPTED,
    SPREAD,
    comparison,
    latency_of,
    measurement,
    memory,
)

THIN = "\N{NARROW NO-BREAK SPACE}"
NET, OTHER = small_net(), small_net(112)
NOW = Situation(latency_of(NET), NET.configuration, True)


def test_the_card_has_median_interval_samples_and_threads() -> None:
    words = latency_words("Latency", "about", NOW)
    assert words.value == f"38.0 ± 0.5{THIN}ms"
    assert words.caption == "n = 41 · 2 threads"
    assert words.detail == "1×3×224×224"
    assert words.stale == words.difference == ""
    for part in (
        "95",
        "p90",
        "Interquartile",
        "First forward pass: 76.0",
        "30 of 41",
        "narrow enough",
        "abc123",
    ):
        assert part in words.tooltip, part
    assert "p95" not in words.tooltip, "41 samples cannot state it"


def test_one_sample_has_no_interval_and_its_tooltip_says_so() -> None:
    now = Situation(Latency(measurement(NET.configuration, 1500, samples=1)), NET.configuration, True)
    words = latency_words("Latency", "about", now)
    assert (words.value, words.caption) == (f"1.50{THIN}s", "single run · 2 threads")
    assert "none: too few samples" in words.tooltip


def test_an_old_measurement_says_what_it_belongs_to() -> None:
    words = latency_words(
        "Latency", "about", dataclasses.replace(NOW, asked=OTHER.configuration, current=False)
    )
    assert words.stale == "of 1×3×224×224"
    assert "An earlier measurement" in words.tooltip
    threads = latency_words("Latency", "about", dataclasses.replace(NOW, current=False))
    assert threads.stale == "with 2 threads", "the same configuration, measured otherwise"


def test_a_comparison_has_a_verdict_and_only_a_sure_one_has_a_colour() -> None:
    def shown(ratio: float) -> tuple[str, str, str]:
        now = dataclasses.replace(NOW, comparison=comparison(OTHER.configuration, NET.configuration, ratio))
        words = latency_words("Latency", "about", now)
        return words.difference, words.tone, words.detail

    difference, tone, between = shown(1.94)
    assert difference.startswith(f"×{THIN}1.94") and difference.endswith(" slower")
    assert tone == "worse" and between.startswith("1.93") and between.count("–") == 1
    pairs = dataclasses.replace(
        NOW,
        baseline=measurement(OTHER.configuration, 244),
        comparison=comparison(OTHER.configuration, NET.configuration),
    )
    assert f"Before: 20.0{THIN}ms, in alternation" in latency_words("Latency", "about", pairs).tooltip
    assert shown(0.5)[0].endswith("faster") and shown(0.5)[1] == "better"
    assert shown(1.0)[0].endswith("same") and shown(1.0)[1] == "secondary"
    assert shown(1.02)[0].endswith("unclear") and shown(1.02)[1] == "secondary"


def test_two_separate_medians_are_marked_apart_and_have_no_colour() -> None:
    now = dataclasses.replace(NOW, baseline=measurement(OTHER.configuration, 10))
    words = latency_words("Latency", "about", now)
    assert (words.difference, words.tone, words.detail) == (f"×{THIN}3.8", "secondary", "measured apart")
    assert "no verdict" in words.tooltip
    flagged = dataclasses.replace(NOW, baseline=measurement(OTHER.configuration, 10, flags=[PREEMPTED]))
    assert latency_words("Latency", "about", flagged).detail == f"measured apart · {PREEMPTED.words}"
    other = dataclasses.replace(NOW, baseline=measurement(OTHER.configuration, 19, threads=1))
    assert latency_words("Latency", "about", other).detail == "apart, with 1 thread"


def test_paused_failed_and_starting() -> None:
    paused = Situation(asked=NET.configuration, paused=True)
    assert latency_words("Latency", "about", paused).detail == "Paused"
    assert latency_words("Latency", "about", dataclasses.replace(NOW, paused=True)).caption == "Paused"
    needs = "It needs 26.1 GiB (25.1 GiB weights + 1.0 GiB activations); 20.3 GiB are free."
    error = ErrorInfo("memory", needs, "Take a smaller batch.")
    failed = latency_words("Latency", "about", Situation(asked=NET.configuration, error=error))
    assert (failed.value, failed.wraps) == ("not measured", True)
    assert failed.detail == "It needs 26.1 GiB; 20.3 GiB are free.", (
        "the parts are in the tooltip and the panels"
    )
    assert needs in failed.tooltip
    assert "26.1 GiB" in failed.tooltip and "smaller batch" in failed.tooltip
    starting = latency_words(
        "Latency", "about", Situation(asked=NET.configuration, doing="Starting to measure")
    )
    assert (starting.value, starting.detail) == ("—", "Starting to measure")


def test_throughput_states_its_batch() -> None:
    words = throughput_words("Throughput", "about", NOW)
    assert (words.value, words.unit, words.caption) == ("26.3", "/s", "batch 1")
    without = Latency(measurement(NET.configuration, batch=None))
    assert throughput_words("Throughput", "about", Situation(without, NET.configuration, True)).value == "—"


def test_throughput_has_the_digits_that_its_interval_supports() -> None:
    def shown(spread: float, median_ms: float = 38.0, samples: int = 41) -> str:
        return rate_words(measurement(NET.configuration, median_ms, spread=spread, samples=samples))

    assert shown(0.001) == "26.3"
    assert shown(0.04) == "26.3", "within 0.4"
    assert shown(0.4) == "26", "within 4"
    assert shown(0.9, 8.0) == "120", "within 40"
    assert shown(0.98, 38.0, 8) == "30", "within more than 10"
    assert shown(0.4, 0.08) == f"12{THIN}k", "no digit is added with the prefix"
    assert shown(0.04, samples=1) == "26"


def test_throughput_of_a_larger_batch_may_be_better_although_it_takes_longer() -> None:
    now = dataclasses.replace(
        NOW,
        latency=Latency(measurement(NET.configuration, 40, batch=4)),
        baseline=measurement(OTHER.configuration, 20, batch=1),
        comparison=comparison(OTHER.configuration, NET.configuration, 2.0),
    )
    assert latency_words("Latency", "about", now).tone == "worse"
    assert throughput_words("Throughput", "about", now).tone == "better"


def test_throughput_without_a_sure_difference_says_so() -> None:
    def shown(ratio: float) -> tuple[str, str]:
        now = dataclasses.replace(
            NOW,
            baseline=measurement(OTHER.configuration, 20),
            comparison=comparison(OTHER.configuration, NET.configuration, ratio),
        )
        words = throughput_words("Throughput", "about", now)
        return words.difference, words.tone

    assert shown(1.02)[0].endswith(" unclear") and shown(1.02)[1] == "secondary"
    assert shown(1.0)[0].endswith(" same") and shown(1.0)[1] == "secondary"
    assert shown(0.5) == (f"×{THIN}2.000", "better")
    spread = comparison(OTHER.configuration, NET.configuration)
    spread = msgspec.structs.replace(spread, ratios=tuple(0.3 + 0.02 * i for i in range(20)))
    now = dataclasses.replace(NOW, baseline=measurement(OTHER.configuration, 20), comparison=spread)
    assert throughput_words("Throughput", "about", now).difference == f"×{THIN}2.0", (
        "no more digits than are sure"
    )


def test_an_old_number_says_that_its_successor_was_cancelled() -> None:
    now = Situation(NOW.latency, OTHER.configuration, doing=CANCELLED)
    assert latency_words("Latency", "about", now).stale.endswith(" · cancelled")
    assert latency_words("Latency", "about", Situation(doing=CANCELLED)).detail == "Cancelled"


def test_what_changed_beside_the_configuration_is_named() -> None:
    assert NOW.latency is not None
    asked = NOW.latency.configuration
    words = {since: Situation(NOW.latency, asked, since=since).stale_words for since in ("threads", "reload")}
    assert words == {"threads": "with 2 threads", "reload": "before it was opened again"}


def test_the_badge_is_a_word_and_the_worst_comes_first() -> None:
    assert badge(()) == ("quiet", "better")
    assert badge((SPREAD,)) == ("the samples spread widely", "caution")
    assert badge((SPREAD, PREEMPTED)) == ("other programs took the cores +1", "worse")


def test_facts_have_the_named_rows_and_the_workspace() -> None:
    facts = {label: text for _, found in sections(NOW) for label, text in found}
    assert facts["Layers"] == f"45.0{THIN}ms"
    assert facts["Unattributed (containers and Python)"] == f"2.00{THIN}ms"
    assert facts["Hook cost"] == f"55.0{THIN}µs: 11 × 5.00{THIN}µs"
    assert facts["Coverage"].startswith("1.00")
    assert facts["Kernel workspace"] == f"1.00{THIN}MiB"
    assert facts["CPU"] == "Test CPU" and facts["Fingerprint"] == "abc123"
    assert "Doubts" not in dict(sections(NOW))
    assert "Median\t38.0" in as_text(NOW)


def test_the_weights_it_was_measured_with_are_a_circumstance() -> None:
    known = dict(sections(dataclasses.replace(NOW, weights="w.pt")))
    assert ("Weights", "w.pt") in known["Circumstances"]
    assert "Weights" not in dict(dict(sections(NOW))["Circumstances"])


def test_a_missing_reading_has_its_reason() -> None:
    latency = msgspec.structs.replace(latency_of(NET, flags=[PREEMPTED]), memory=memory(NET, complete=False))
    found = dict(sections(Situation(latency, NET.configuration, True)))
    facts = dict(found["Memory of one forward pass"])
    assert facts["Kernel workspace"] == facts["Allocator peak"] == "—"
    assert "cannot be reset" in facts["Missing"]
    assert dict(found["Doubts"]) == {PREEMPTED.words: PREEMPTED.detail}


def test_nothing_measured_has_no_sections() -> None:
    assert sections(Situation(asked=Configuration((InputShape("x", (1, 3)),)))) == []
