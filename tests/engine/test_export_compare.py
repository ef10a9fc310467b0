"""Conditions of ``--fail-if``: their meaning at the edges, and the sentences for those that mean nothing."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from engine.errors import InputError
from engine.export.compare import parse_condition
from engine.results import Totals

BEFORE = Totals(
    params=25_557_032,
    trainable_params=25_557_032,
    buffers=0,
    untouched_params=0,
    macs=4_000_000_000,
    flops=8_000_000_000,
    special_ops=0,
    weight_bytes=100 * 2**20,
    activation_bytes=1000,
    peak_activation_bytes=100 * 2**20,
    bytes_moved=5000,
    arithmetic_intensity=2.5,
    latency_s=0.04,
)


def now(**changes: Any) -> Totals:
    return msgspec.structs.replace(BEFORE, **changes)


@pytest.mark.parametrize(
    ("text", "changes", "expected"),
    [
        ("macs>+5%", {"macs": 4_200_000_000}, False),  # exactly 5 %
        ("macs>+5%", {"macs": 4_200_000_001}, True),
        ("macs>=+5%", {"macs": 4_200_000_000}, True),
        ("macs<-10%", {"macs": 3_600_000_000}, False),
        ("macs<-10%", {"macs": 3_599_999_999}, True),
        (" macs > \u221210 % ", {}, True),
        ("params>26M", {}, False),
        ("params>25.5M", {}, True),
        ("params>25,557,031", {}, True),
        ("params>=25_557_032", {}, True),
        ("peak_activation_bytes>100MiB", {}, False),
        ("peak_activation_bytes>100MB", {}, True),
        ("peak_activation_bytes<=0.1GiB", {}, True),
        ("activation_bytes>+0", {}, False),
        ("activation_bytes>+0", {"activation_bytes": 1001}, True),
        ("activation_bytes<-0", {"activation_bytes": 999}, True),
        ("bytes_moved>+1KiB", {"bytes_moved": 6024}, False),
        ("bytes_moved>+1kB", {"bytes_moved": 6024}, True),
        ("special_ops>+5%", {"special_ops": 1}, True),  # from nothing: more than any per cent
        ("special_ops>+5%", {}, False),
        ("arithmetic_intensity<3", {}, True),
        ("latency>50ms", {"latency_s": 0.05}, False),
        ("latency>50ms", {"latency_s": 0.0501}, True),
        ("latency_s>=50000 µs", {"latency_s": 0.05}, True),
        ("latency<0.05s", {"latency_s": 0.049}, True),
        ("latency>+5%", {"latency_s": 0.0421}, True),
        ("latency>+5%", {"latency_s": 0.0419}, False),
        ("latency>+3ms", {"latency_s": 0.0431}, True),
        ("macs_per_s<50G", {"latency_s": 0.1}, True),
    ],
)
def test_holds(text: str, changes: dict[str, Any], expected: bool) -> None:
    assert parse_condition(text).holds(now(**changes), BEFORE) is expected


def test_a_total_beyond_what_a_float_can_tell_apart() -> None:
    big = now(macs=2**60 + 1)
    assert parse_condition(f"macs>{2**60}").holds(big, None)
    assert not parse_condition(f"macs>{2**60 + 1}").holds(big, None)


def test_the_finding_says_before_after_and_factor() -> None:
    condition = parse_condition("macs>+5%")
    assert condition.finding(now(macs=12_000_000_000), BEFORE) == (
        "macs>+5% holds: 4,000,000,000 → 12,000,000,000 (×\u202f3.00)."
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("macs", "is not METRIC>VALUE"),
        ("macs>", "is not METRIC>VALUE"),
        ("macs=5", "is not METRIC>VALUE"),
        ("macs>1e9", "is not METRIC>VALUE"),
        ("size>5", "there is no total 'size'"),
        ("macs>5%", "a percentage needs a sign"),
        ("macs>5MiB", "'MiB' is no unit of macs"),
        ("weight_bytes>5M", "'M' is no unit of weight_bytes"),
        ("macs>+5%; import os", "is not METRIC>VALUE"),
        ("latency>50", "latency_s needs a unit"),
        ("latency>50M", "'M' is no unit of latency_s"),
    ],
)
def test_what_means_nothing_is_refused(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words.replace("'", ".")):
        parse_condition(text)


def test_without_a_reference_a_relative_condition_cannot_be_decided() -> None:
    with pytest.raises(InputError, match="compares with a reference"):
        parse_condition("macs>+5%").holds(BEFORE, None)
    with pytest.raises(InputError, match="compares with a reference"):
        parse_condition("macs>+5%").require_reference()
    parse_condition("macs>5M").require_reference()


def test_an_unknown_total_cannot_be_decided() -> None:
    with pytest.raises(InputError, match="reuse does not apply"):
        parse_condition("reuse>1").holds(BEFORE, None)


def test_a_measured_finding_is_told_with_its_unit() -> None:
    condition = parse_condition("latency>+5%")
    assert condition.finding(now(latency_s=0.06), BEFORE) == (
        "latency>+5% holds: 40.0\u202fms → 60.0\u202fms (+50\u202f%)."
    )


def test_what_is_not_measured_cannot_be_decided() -> None:
    with pytest.raises(InputError, match="latency_s is not measured on both sides"):
        parse_condition("latency>+5%").holds(now(), now(latency_s=None))
