"""Numbers for eyes, as LOOK has them: three digits, thin space, signs."""

from __future__ import annotations

import pytest

from engine import numbers
from engine.numbers import MINUS, THIN


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (128, "128"),
        (999, "999"),
        (1000, f"1.00{THIN}k"),
        (9_408, f"9.41{THIN}k"),
        (25_557_032, f"25.6{THIN}M"),
        (999_950, f"1.00{THIN}M"),
        (4_089_184_256, f"4.09{THIN}G"),
        (15_996_551_168, f"16.0{THIN}G"),
        (-2_000_000, f"{MINUS}2.00{THIN}M"),
        (None, "not counted"),
    ],
)
def test_count(number: int | None, text: str) -> None:
    assert numbers.count(number) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, f"0{THIN}B"),
        (1023, f"1,023{THIN}B"),
        (1024, f"1.00{THIN}KiB"),
        (25_557_032 * 4, f"97.5{THIN}MiB"),
        (1000 * 1024, f"0.977{THIN}MiB"),
        (24_600_000_000, f"22.9{THIN}GiB"),
        (None, "not counted"),
    ],
)
def test_size(number: int | None, text: str) -> None:
    assert numbers.size(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0382, f"38.2{THIN}ms"), (1.2, f"1.20{THIN}s"), (2.5e-6, f"2.50{THIN}µs"), (0.9999, f"1.00{THIN}s")],
)
def test_duration(seconds: float, text: str) -> None:
    assert numbers.duration(seconds) == text


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (4_089_184_256, 15_996_551_168, f"×{THIN}3.91"),
        (100, 112, f"+12{THIN}%"),
        (1000, 966, f"{MINUS}3.4{THIN}%"),
        (100, 200, f"+100{THIN}%"),
        (100, 201, f"×{THIN}2.01"),
        (100, 50, f"{MINUS}50{THIN}%"),
        (100, 32, f"×{THIN}0.320"),
        (7, 7, "="),
        (0, 0, "="),
        (0, 5, "new"),
        (5, 0, f"{MINUS}100{THIN}%"),
        (None, 5, "—"),
        (5, None, "—"),
    ],
)
def test_difference(before: int | None, after: int | None, text: str) -> None:
    assert numbers.difference(before, after) == text


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (1e-3, 3.14159e-3, f"×{THIN}3.1"),
        (1e-3, 1.04e-3, f"×{THIN}1.0"),
        (2e-3, 1.734e-3, f"×{THIN}0.87"),
        (1e-3, 0.1234, f"×{THIN}120"),
        (None, 1e-3, "—"),
        (1e-3, None, "—"),
        (0.0, 1e-3, "—"),
    ],
)
def test_measured_apart_has_two_digits(before: float | None, after: float | None, text: str) -> None:
    assert numbers.apart(before, after) == text


def test_value_follows_the_unit_of_its_metric() -> None:
    assert numbers.value("macs", 4_089_184_256) == f"4.09{THIN}G"
    assert numbers.value("weight_bytes", 102_228_128) == f"97.5{THIN}MiB"
    assert numbers.value("arithmetic_intensity", 38.7213) == f"38.7{THIN}FLOP/B"
    assert numbers.value("arithmetic_intensity", None) == "—"
    assert numbers.value("macs", None) == "not counted"


def test_exact_shape_and_share() -> None:
    assert numbers.exact(4_089_184_256) == "4,089,184,256"
    assert numbers.exact(None) == "not counted"
    assert numbers.shape((1, 3, 224, 224)) == "1×3×224×224"
    assert numbers.shape(()) == "scalar"
    assert numbers.share(1, 35) == f"2.9{THIN}%"
    assert numbers.share(1, 0) == "—"


@pytest.mark.parametrize(
    ("median", "low", "high", "text"),
    [
        (0.0382, 0.0361, 0.0401, f"38 ± 2{THIN}ms"),
        (0.0382, 0.03806, 0.03834, f"38.20 ± 0.14{THIN}ms"),
        (0.0382, 0.0379, 0.0384, f"38.2 ± 0.3{THIN}ms"),
        (0.0382, 0.0370, 0.0402, f"38 ± 2{THIN}ms"),  # the farther end
        (0.0382, 0.0380, 0.0402, f"38.2 (38.0–40){THIN}ms"),  # lopsided
        (0.0127, 0.0125, 0.0136, f"12.7 (12.5–13.6){THIN}ms"),
        (0.001, 0.0009, 0.013, f"1.0 (0.9–13){THIN}ms"),
        (0.2, 0.15, 0.7, f"200 (150–700){THIN}ms"),
        (0.4, 0.03, 0.5, f"400 (30–500){THIN}ms"),
        (0.402, 0.28, 0.52, f"400 ± 120{THIN}ms"),
        (0.402, 0.1, 0.8, f"400 (100–800){THIN}ms"),
        (1.234, 1.2, 1.26, f"1.23 ± 0.03{THIN}s"),
        (0.00000812, 0.0000080, 0.00000836, f"8.1 ± 0.2{THIN}µs"),
        (0.0382, 0.0372, 0.03919, f"38.2 ± 1.0{THIN}ms"),
        (0.0382, 0.0382, 0.0382, f"38.2{THIN}ms"),
        (0.0382, None, None, f"38.2{THIN}ms"),
    ],
)
def test_interval_has_the_digits_it_supports(
    median: float, low: float | None, high: float | None, text: str
) -> None:
    assert numbers.interval(median, low, high) == text


@pytest.mark.parametrize(
    ("ratio", "low", "high", "text"),
    [
        (3.21, 3.15, 3.30, f"×{THIN}3.21 (3.15–3.30)"),
        (3.2, 3.1, 3.3, f"×{THIN}3.2 (3.1–3.3)"),
        (1.004, 0.995, 1.012, f"×{THIN}1.004 (0.995–1.012)"),
        (15.2, 11.0, 19.0, f"×{THIN}15 (11–19)"),
        (3.21, None, None, f"×{THIN}3.21"),
        (2.9, 1.3, 3.9, f"×{THIN}2.9 (1.3–3.9)"),  # not (1–4)
        (0.5, 0.2, 0.96, f"×{THIN}0.50 (0.20–0.96)"),
        (2.0, 1.0, 3.0, f"×{THIN}2 (1–3)"),
        (1.3, 1.2, 13.0, f"×{THIN}1.3 (1.2–13)"),  # lopsided
        (1.2, 1.004, 1.21, f"×{THIN}1.20 (1.004–1.21)"),
    ],
)
def test_ratio_with_its_interval(ratio: float, low: float | None, high: float | None, text: str) -> None:
    assert numbers.ratio_interval(ratio, low, high) == text


@pytest.mark.parametrize(
    ("rate", "low", "high", "text"),
    [
        (26.23, 25.1, 27.2, "26"),
        (26.23, 26.2, 26.3, "26.2"),
        (26.23, 15.0, 60.0, "30"),
        (5.0, 1.0, 40.0, "5"),
        (1254.0, 1250.0, 1258.0, f"1.25{THIN}k"),
        (26.23, None, None, "26"),
    ],
)
def test_a_rate_has_the_digits_it_supports(
    rate: float, low: float | None, high: float | None, text: str
) -> None:
    assert numbers.rate(rate, low, high) == text


def test_exact_seconds_have_their_unit() -> None:
    assert numbers.exact_value(numbers.METRIC["latency_s"], 0.0382) == f"0.0382{THIN}s"


def test_nouns_follow_their_number() -> None:
    assert [numbers.many(count, "thread") for count in (0, 1, 2000)] == [
        "0 threads",
        "1 thread",
        "2,000 threads",
    ]
    assert numbers.many(3, "forward pass") == "3 forward passes"
