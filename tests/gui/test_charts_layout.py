"""Chart layout: bars, groups, ticks and icicle rectangles, as lists of numbers."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from gui.charts import icicle_layout, layout, ticks


def axis(count: int, width: float, span: tuple[float, float] | None = None) -> layout.RowAxis:
    return layout.RowAxis(list(range(count)), left=10.0, width=width, span=span)


def test_bars_keep_whole_pixels_and_a_gap() -> None:
    bars = layout.columns(axis(4, 48.0))
    assert [(bar.first, bar.x, bar.width) for bar in bars] == [
        (0, 10, 10),
        (1, 22, 10),
        (2, 34, 10),
        (3, 46, 10),
    ]


def test_bars_narrower_than_a_pixel_merge_and_keep_their_members() -> None:
    bars = layout.columns(axis(1000, 250.0))
    assert len(bars) == 250
    assert all(bar.width == 1 for bar in bars)
    assert bars[0].first == 0 and bars[-1].last == 999
    assert all(left.last + 1 == right.first for left, right in pairwise(bars))


def test_a_merged_bar_shows_its_largest_known_row() -> None:
    bars = [layout.Column(0, 2, 0, 1), layout.Column(3, 4, 1, 1)]
    assert layout.peaks(bars, [0, 1, 2, 5, 6], [3, None, 7, 0, 0, None, None]) == [(2, 7), (5, None)]


def test_the_column_of_a_slot() -> None:
    bars = [layout.Column(2, 4, 0, 1), layout.Column(5, 5, 1, 1)]
    assert [layout.column_at(bars, slot) for slot in (1, 2, 4, 5, 6)] == [None, 0, 0, 1, None]


def test_rows_without_the_metric_have_no_slot() -> None:
    assert layout.shown_rows([[5, 0, None, 0], [0, 0, None, 2]], [False, False, True, False]) == [0, 2, 3]


def test_the_nearest_slot_is_clamped_to_the_view() -> None:
    view = axis(100, 100.0, span=(20.0, 40.0))
    assert view.slot_at(-50) == 20
    assert view.slot_at(10.0 + 5 * 3 + 1) == 23
    assert view.slot_at(5000) == 39
    assert axis(0, 100.0).slot_at(3) is None


def test_zooming_keeps_the_slot_under_the_pointer() -> None:
    view = axis(100, 200.0)
    before = view.slot(70.0)
    closer = axis(100, 200.0, span=view.zoomed(70.0, 2.0))
    assert closer.slot(70.0) == pytest.approx(before)
    assert closer.span[1] - closer.span[0] == pytest.approx(50.0)


def test_zoom_and_pan_stay_inside() -> None:
    view = axis(100, 200.0, span=(0.0, 10.0))
    assert view.panned(+500.0) == (0.0, 10.0)
    assert view.panned(-20.0) == (1.0, 11.0)
    assert axis(100, 200.0).zoomed(50.0, 0.5) == (0.0, 100.0)
    first, last = axis(100, 200.0).zoomed(50.0, 1e9)
    assert last - first == layout.MIN_SLOTS


def test_a_zoom_range_speaks_rows_although_the_axis_has_slots() -> None:
    view = layout.RowAxis([2, 3, 10, 11, 40, 41], 0.0, 600.0)
    assert view.to_range((0.0, 6.0)) is None
    assert view.to_range((1.0, 5.0)) == (3.0, 41.0)
    assert view.to_span((3.0, 41.0)) == (1.0, 5.0)
    assert view.to_span((4.0, 41.0)) == (1.5, 5.5)  # widened to the closest zoom, four slots
    assert view.to_span(None) == (0.0, 6.0)
    assert view.slot_of(10) == 2 and view.slot_of(9) is None


def test_groups_are_runs_of_one_module() -> None:
    paths = ["conv1", "layer1.0.a", "layer1.1.a", "layer2.0.a", "fc"]
    assert layout.groups(paths, 1) == [
        ("conv1", 0, 0),
        ("layer1", 1, 2),
        ("layer2", 3, 3),
        ("fc", 4, 4),
    ]
    assert layout.groups(paths, 2)[1].short == "0"


def test_a_group_label_gives_way_in_steps() -> None:
    group = layout.Group("encoder.layers.encoder_layer_11", 0, 4)
    assert (group.short, group.tail) == ("encoder_layer_11", "…11")
    assert layout.Group("layer.norm", 0, 4).tail == ""


def test_a_group_that_holds_nearly_everything_is_opened() -> None:
    paths = [f"features.{index // 3}.conv" for index in range(30)] + ["classifier"]
    assert layout.best_groups(paths, 0, 30)[0] == ("features.0", 0, 2)
    assert layout.best_groups(["only"] * 5, 0, 4) == [("only", 0, 4)]


def test_shares_keep_unknown_unknown() -> None:
    assert layout.normalised([1, None, 3], 4) == [25.0, None, 75.0]
    assert layout.normalised([0, None], 0) == [0.0, None]


@pytest.mark.parametrize("x", range(0, 301, 20))
@pytest.mark.parametrize("y", [0, 40, 99])
@pytest.mark.parametrize("width", [60, 120, 260])
def test_a_readout_stays_inside_and_never_under_the_pointer(x: int, y: int, width: int) -> None:
    left, top = layout.readout_place((x, y), (width, 36), (0, 0, 300, 100))
    assert 0 <= left <= 300 - width and 0 <= top <= 100 - 36
    assert not (left <= x <= left + width and top <= y <= top + 36)


def test_ticks_share_one_prefix() -> None:
    scale = ticks.scale_for(1, 462_422_016, 170)
    labels = [tick.label.replace("\u202f", " ") for tick in ticks.ticks(scale, "count")]
    assert labels == ["0", "100 M", "200 M", "300 M", "400 M"]
    scale = ticks.scale_for(1, 3.2 * 2**20, 170)
    assert [tick.value for tick in ticks.ticks(scale, "bytes")] == [0, 2**20, 2 * 2**20, 3 * 2**20]
    assert ticks.ticks(scale, "bytes")[1].label == "1\u202fMiB"


def test_small_counts_have_whole_ticks() -> None:
    scale = ticks.scale_for(1, 3, 400)
    assert [tick.label for tick in ticks.ticks(scale, "count")] == ["0", "1", "2", "3"]
    assert [tick.label for tick in ticks.ticks(scale, "ratio")][1] == "0.5"


def test_a_low_chart_still_has_a_tick_above_zero() -> None:
    for largest in (9.5, 1.7e8, 4.9, 0.03):
        assert len(ticks.ticks(ticks.scale_for(1, largest, 30), "ratio")) >= 2


def test_nothing_to_show_still_has_a_scale() -> None:
    scale = ticks.scale_for(0, 0, 100)
    assert scale.height(0) == 0.0 and scale.height(None) == 0.0


def test_a_log_scale_begins_at_a_decade_and_zero_stays_on_the_ground() -> None:
    scale = ticks.scale_for(120, 9_000_000, 200, log=True)
    assert scale.low == 100
    assert scale.height(0) == 0 and scale.height(9e9) == 200
    assert scale.height(120) > 0
    labels = [tick.label.replace("\u202f", " ") for tick in ticks.ticks(scale, "count")]
    assert labels == ["100", "1 k", "10 k", "100 k", "1 M", "10 M"]


def test_whole_ticks_keep_the_ends_and_leave_room() -> None:
    assert ticks.whole_ticks(64, 512, 320, grain=32) == [64, 128, 256, 384, 512]
    assert ticks.whole_ticks(7, 7, 320) == [7]
    found = ticks.whole_ticks(1, 64, 400)
    assert found[0] == 1 and found[-1] == 64
    assert all(right - left >= 8 for left, right in pairwise(found))


def test_icicle_widths_are_shares_of_the_parent() -> None:
    #     0 (10) ── 1 (6) ── 3 (2)
    #            └─ 2 (4)
    cells = icicle_layout.icicle([-1, 0, 0, 1], [[1, 2], [3], [], []], [10, 6, 4, 2])
    assert sorted(cells) == [
        (0, 0, 0.0, 1.0),
        (1, 1, 0.0, 0.6),
        (2, 1, 0.6, 1.0),
        (3, 2, 0.0, pytest.approx(0.2)),
    ]


def test_a_focused_module_fills_the_width_below_its_ancestors() -> None:
    cells = icicle_layout.icicle([-1, 0, 0, 1], [[1, 2], [3], [], []], [10, 6, 4, 2], focus=1)
    assert sorted(cells) == [(0, 0, 0.0, 1.0), (1, 1, 0.0, 1.0), (3, 2, 0.0, pytest.approx(1 / 3))]


def test_children_that_share_parameters_still_fit_their_parent() -> None:
    cells = icicle_layout.icicle([-1, 0, 0], [[1, 2], [], []], [10, 10, 10])
    assert [(cell.start, cell.end) for cell in sorted(cells)[1:]] == [(0.0, 0.5), (0.5, 1.0)]


def test_unknown_modules_and_slivers_take_no_room() -> None:
    cells = icicle_layout.icicle([-1, 0, 0], [[1, 2], [], []], [1000, None, 1], thinnest=0.01)
    assert [cell.module for cell in cells] == [0]


def test_the_cell_under_the_pointer() -> None:
    cells = icicle_layout.icicle([-1, 0], [[1], []], [10, 5])
    assert icicle_layout.cell_at(cells, 1, 0.25) == (1, 1, 0.0, 0.5)
    assert icicle_layout.cell_at(cells, 1, 0.75) is None


def test_a_zoom_keeps_its_layers_when_rows_come_and_go() -> None:
    before = ["a", "b", "c", "d", "e"]
    assert layout.range_among((2.25, 4.5), before, ["a", "c", "d", "e"]) == (1.25, 3.5)
    assert layout.range_among((1.0, 3.0), before, ["a", "c", "d", "e"]) == (1.0, 2.0)
    assert layout.range_among((1.0, 2.0), ["a", "c", "d", "e"], before) == (2.0, 3.0)
    assert layout.range_among((1.0, 2.0), before, ["a", "c"]) is None, "nothing of it is left"


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_groups_are_runs_of_equal_first_components(depth: int) -> None:
    paths = ["", "a", "a", "a.b", "a.b", "a.bc", "a.b.c", "ab", "ab.c.d", "ab.c.e", "a", "a.b.c.d"]
    names = [".".join(path.split(".")[:depth]) for path in paths]
    found = layout.groups(paths, depth)
    assert [group.path for group in found for _ in range(group.first, group.last + 1)] == names
    assert all(one.path != other.path for one, other in pairwise(found))


def test_columns_of_very_many_slots_leave_none_out() -> None:
    wide = layout.RowAxis(range(100_000), 61.0, 743.0, (3.5, 98_765.25))
    bars = layout.columns(wide)
    assert bars[0].first == 3 and bars[-1].last == 98_765
    assert all(one.last + 1 == other.first for one, other in pairwise(bars))
    for bar in bars:
        pixels = {math.floor(wide.x(slot)) for slot in (bar.first, bar.last)}
        assert pixels == {bar.x}
