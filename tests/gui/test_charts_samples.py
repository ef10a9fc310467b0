"""Where samples and earlier measurements go, and what tells them apart: lists of numbers and words."""

from __future__ import annotations

import pytest

from engine.configuration import Configuration
from engine.edits import RemoveLayer, SetAttribute
from engine.graph import InputShape
from engine.measurement import Measurement
from gui.charts import samples
from gui.charts.ticks import scale_for, ticks
from tests.gui.measurements import measurement


def configuration(height: int, width: int = 224, batch: int = 1, *edits: str) -> Configuration:
    inputs = (InputShape("x", (batch, 3, height, width)),)
    return Configuration(inputs, tuple(RemoveLayer(path) for path in edits))


def test_all_samples_are_on_the_axis_unless_some_lie_far_above() -> None:
    calm = [0.010, 0.011, 0.012, 0.011, 0.010]
    assert samples.highest_shown(calm) == 0.012
    assert samples.highest_shown([*calm, 0.019]) == 0.019
    clipped = samples.highest_shown([*calm, 0.5])
    assert 0.012 < clipped < 0.03
    # what must be readable stretches the axis, and then the outlier may fit as well
    assert samples.highest_shown([*calm, 0.5], always=[0.2]) == 0.2
    assert samples.highest_shown([*calm, 0.25], always=[0.2]) == 0.25


def test_no_samples_leave_the_axis_to_the_earlier_ones() -> None:
    assert samples.highest_shown([], always=[0.03, 0.05]) == 0.05
    assert samples.highest_shown([]) == 0.0


def test_the_axis_grows_in_steps() -> None:
    assert [samples.room_for(count) for count in (0, 1, 16, 17, 24, 25, 33, 49)] == [
        16,
        16,
        16,
        24,
        24,
        32,
        48,
        64,
    ]
    assert all(count <= samples.room_for(count) < 2 * count for count in range(16, 3000))


def test_the_sample_under_a_pixel() -> None:
    for index in (0, 5, 11):
        x = samples.place(index, 16, 40.0, 320.0)
        assert samples.nearest(x, 12, 16, 40.0, 320.0) == index
    assert samples.nearest(39.0, 12, 16, 40.0, 320.0) is None
    assert samples.nearest(samples.place(12, 16, 40.0, 320.0), 12, 16, 40.0, 320.0) is None


def test_samples_that_would_cover_each_other_are_drawn_once() -> None:
    scale = scale_for(0.009, 0.012, 100.0)
    times = [0.010 + 0.001 * (index % 7) / 7 for index in range(4000)] + [0.5]
    delays = [0.01 if index % 50 == 0 else 0.0 for index in range(4001)]
    trace = samples.running_trace(configuration(224), times, delays)
    assert trace is not None
    room = samples.room_for(4001)
    found = samples.marks(trace, scale, room, 40.0, 300.0, 120.0)
    assert len(found.dots) + len(found.crosses) < 1500
    assert len(found.above) == 1 and found.above[0][1] == 20.0
    assert {x for x, _ in found.dots} <= {samples.place(index, room, 40.0, 300.0) for index in range(4001)}
    assert max(x for x, _ in found.dots) > 40.0 + 300.0 * 3990 / room
    assert all(120.0 - scale.height(0.011) <= y <= 120.0 - scale.height(0.010) for _, y in found.dots)
    few = samples.running_trace(configuration(224), times[:100], delays[:100])
    assert few is not None
    every = samples.marks(few, scale, 128, 40.0, 300.0, 120.0)
    assert (len(every.dots), len(every.crosses)) == (98, 2)


def test_a_sample_that_waited_is_told_from_one_that_did_not() -> None:
    assert samples.disturbed([0.1, 0.1, 0.1], [0.0, 0.002, 0.0021]) == (False, False, True)
    assert samples.disturbed([0.1, 0.1], [0.004, 0.005], forwards=2) == (False, True)
    assert samples.disturbed([0.1, 0.1], []) == ()
    trace = samples.trace_of(measurement(configuration(224)))
    assert trace.told and trace.disturbed_count == 11


def test_undisturbed_samples_are_those_of_the_measurement() -> None:
    shown = measurement(configuration(224), samples=80)
    trace = samples.trace_of(shown)
    assert trace.disturbed_count == shown.n - len(shown.undisturbed_s)


def test_a_measurement_under_way_has_an_interval_from_six_samples_on() -> None:
    at = configuration(224)
    assert samples.running_trace(at, [], []) is None
    few = samples.running_trace(at, [0.03, 0.01, 0.02], [])
    assert few is not None and few.running
    assert (few.median_s, few.interval, few.told) == (0.02, None, False)
    more = samples.running_trace(at, [0.01] * 6, [0.0] * 6)
    assert more is not None and more.interval == (0.01, 0.01)


def test_labels_name_only_what_differs() -> None:
    assert samples.labels([configuration(160), configuration(192)]) == [("160", ""), ("192", "")]
    assert samples.labels([configuration(160, 160), configuration(192, 192)]) == [
        ("160×160", ""),
        ("192×192", ""),
    ]
    assert samples.labels([configuration(224), configuration(224, 224, 1, "layer1.pool")]) == [
        ("", "no edits"),
        ("", "− pool"),
    ]
    assert samples.labels([configuration(224)]) == [("", "")]
    assert samples.labels([]) == []


def test_inputs_of_other_ranks_are_named_whole() -> None:
    text = Configuration((InputShape("tokens", (1, 128)),))
    assert samples.labels([configuration(224), text]) == [("1×3×224×224", ""), ("1×128", "")]


def test_several_edits_are_counted() -> None:
    assert samples.edits_text((RemoveLayer("pool"), SetAttribute("conv", "stride", 2))) == "2 edits"
    assert samples.edits_text((SetAttribute("conv", "stride", 2),)) == "1 edit"


def test_earlier_measurements_take_no_more_than_their_share() -> None:
    for width in (80.0, 250.0, 900.0):
        count, taken = samples.strips_width(12, width)
        assert taken == count * samples.STRIP_PX <= samples.STRIPS_SHARE * width
    assert samples.strips_width(2, 900.0)[0] == 2
    assert samples.strips_width(12, 80.0) == (0, 0.0)


@pytest.mark.parametrize(
    ("largest", "labels"),
    [
        (0.038, ["0", "10\u202fms", "20\u202fms", "30\u202fms", "40\u202fms"]),
        (2.0, ["0", "0.5\u202fs", "1.0\u202fs", "1.5\u202fs", "2.0\u202fs"]),
        (0.0009, ["0", "200\u202fµs", "400\u202fµs", "600\u202fµs", "800\u202fµs"]),
    ],
)
def test_times_on_an_axis_share_one_unit(largest: float, labels: list[str]) -> None:
    assert [tick.label for tick in ticks(scale_for(0, largest, 150), "seconds")] == labels


def test_rates_on_an_axis_have_prefixes() -> None:
    assert [tick.label for tick in ticks(scale_for(0, 4e9, 150), "ratio")][1] == "1\u202fG"


def test_a_median_at_a_decade_is_above_the_foot_of_a_logarithmic_axis() -> None:
    found: Measurement = measurement(configuration(224), 10.0, spread=0.0)
    scale = scale_for(found.min_s, samples.highest_shown(found.samples_s), 100.0, log=True)
    assert 0 < scale.height(found.median_s) < 100
