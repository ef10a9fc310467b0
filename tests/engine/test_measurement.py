"""What follows from raw samples, and that all of it survives the way between the processes."""

from __future__ import annotations

import msgspec
import pytest

from engine.configuration import Configuration
from engine.graph import InputShape
from engine.measurement import (
    Comparison,
    Flag,
    Latency,
    LayerTimes,
    Measurement,
    MemoryReadings,
    Verdict,
    verdict,
)

HERE = Configuration((InputShape("x", (8, 3, 32, 32)),))


def measured(*samples_s: float, **more: object) -> Measurement:
    return Measurement(HERE, "live", 1, samples_s, "precise", **more)  # type: ignore[arg-type]


def test_headline_numbers_are_of_all_samples() -> None:
    measurement = measured(0.5, 0.1, 0.2, 0.3, 0.4, 9.0, batch=8)
    assert measurement.median_s == pytest.approx(0.35)
    assert measurement.interval == (0.1, 9.0)
    assert measurement.throughput == pytest.approx(8 / 0.35)
    assert (measurement.min_s, measurement.max_s, measurement.n) == (0.1, 9.0, 6)
    assert measurement.outliers.severe == 1
    assert measurement.percentile_s(0.9) is None, "six samples cannot tell"


def test_undisturbed_samples_waited_for_at_most_two_percent() -> None:
    measurement = measured(1.0, 2.0, 3.0, delay_s=(0.02, 0.05, 0.05))
    assert measurement.undisturbed_s == (1.0, 3.0)
    assert measurement.undisturbed_median_s == 2.0
    several = measured(1.0, 1.0, delay_s=(0.15, 0.25), forwards_per_sample=10)
    assert several.undisturbed_s == (1.0,), "a delay belongs to all passes of its sample"
    assert measured(1.0).undisturbed_median_s is None, "not known"


def test_cpu_time_is_of_the_samples_that_make_the_median() -> None:
    """Two long samples do not make one thread busy on two cores."""
    assert measured(1.0, 1.0, 9.0, 1.0, 9.0, cpu_s=(0.8, 0.8, 8.1, 0.8, 8.1)).mean_cpu_s == pytest.approx(0.8)
    assert measured(1.0, 2.0, cpu_s=(1.1, 2.2)).mean_cpu_s == 1.5, "at most its thread"
    assert measured(1.0, 1.0, forwards_per_sample=10, cpu_s=(5.0, 5.0)).mean_cpu_s == 0.5
    assert measured(1.0).mean_cpu_s is None


def test_a_model_without_a_batch_has_no_throughput() -> None:
    assert measured(0.1).throughput is None


@pytest.mark.parametrize(
    ("ratios", "expected"),
    [
        ([1.10] * 8, "slower"),
        ([0.90] * 8, "faster"),
        ([1.00] * 8, "same"),
        ([1.02] * 8, "same"),
        ([0.9, 1.1] * 4, "unclear"),
        ([1.00, 1.03] * 4, "unclear"),
        ([1.10] * 5, "unclear"),
        ([1.10] * 7 + [0.5], "unclear"),
        ([1.10] * 11 + [0.5], "slower"),
    ],
)
def test_verdicts(ratios: list[float], expected: Verdict) -> None:
    assert verdict(ratios, 0.02) == expected


def test_flags_widen_the_dead_zone() -> None:
    quiet = Comparison(HERE, HERE, 1, (1.04,) * 8, (1.0,) * 8, (1.04,) * 8, "precise")
    assert quiet.verdict == "slower"
    assert msgspec.structs.replace(quiet, flags=(Flag("preempted", ""),)).verdict == "same"


def test_layers_their_rest_and_the_hooks_make_the_whole() -> None:
    times = LayerTimes(
        HERE,
        1,
        row_id=("a:x", "b:x", "c:x"),
        latency_s=(0.010, None, 0.020),
        cpu_s=(0.010, None, 0.020),
        note=("", "part of a:x", ""),
        unattributed_s=0.005,
        hook_s=0.001,
        hook_calls=5,
        instrumented_s=0.040,
        end_to_end_s=0.035,
        repeats=5,
    )
    assert times.rows_s + times.unattributed_s + times.hook_s * times.hook_calls == pytest.approx(0.040)
    assert times.coverage == pytest.approx(1.0)
    assert times.overhead == pytest.approx(40 / 35)


def test_workspace_is_what_the_allocator_holds_beyond_activations() -> None:
    assert MemoryReadings(HERE, 100, 130).workspace_bytes == 30
    assert MemoryReadings(HERE, 100, 90).workspace_bytes == 0
    assert MemoryReadings(HERE, 100).workspace_bytes is None


def test_a_latency_takes_newer_parts_and_survives_json() -> None:
    latency = Latency(measured(0.1, 0.2, flags=(Flag("cold", "why"),)))
    assert latency.measurement.median_s, "cached before it is sent"
    memory = MemoryReadings(HERE, 100, None, None, ("no profiler",))
    whole = latency.with_part(memory).with_part(measured(0.3))
    assert (whole.memory, whole.measurement.samples_s) == (memory, (0.3,))
    back = msgspec.json.decode(msgspec.json.encode(whole), type=Latency)
    assert back == whole
    assert latency.measurement.flags[0].words == "only one forward pass was measured"
