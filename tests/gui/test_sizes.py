"""Sizes, grids and refusals: arithmetic without Qt."""

from __future__ import annotations

import pytest

from engine.configuration import Configuration
from engine.errors import ErrorInfo, InputError
from engine.graph import Dim, InputShape, InputSpec
from engine.protocol import Point
from gui import sizes
from gui.opening import parse_inputs
from gui.refusals import refusals
from gui.tooltips import plain_tooltip

HEIGHT = Dim("height", 224, "height", 32, 512, 32)
WIDTH = Dim("width", 224, "width", 32, 512, 32)
BATCH = Dim("batch", 1, "batch", 1, 64)
IMAGE = InputSpec("x", (BATCH, Dim("channels", 3), HEIGHT, WIDTH))
MASK = InputSpec("mask", (BATCH, HEIGHT, WIDTH), "bool")


def at(size: int, batch: int = 1) -> Configuration:
    return Configuration((InputShape("x", (batch, 3, size, size)),))


def test_symbols_are_listed_once_and_move_every_input() -> None:
    specs = (IMAGE, MASK)
    assert list(sizes.adjustable(specs)) == ["batch", "height", "width"]
    inputs = sizes.default_configuration(specs).inputs
    moved = sizes.with_sizes(specs, inputs, {"height": 64, "batch": 1000})
    assert moved == (InputShape("x", (1000, 3, 64, 224)), InputShape("mask", (1000, 64, 224), "bool"))
    assert sizes.size_of(specs, moved, "height") == 64
    with pytest.raises(KeyError):
        sizes.size_of(specs, moved, "depth")


def test_plane_and_first_sweep() -> None:
    assert sizes.plane_partner((IMAGE,), "height") == "width"
    assert sizes.plane_partner((IMAGE,), "width") == "height"
    assert sizes.plane_partner((IMAGE,), "batch") is None
    assert sizes.first_sweep((IMAGE,)) == "height"
    assert sizes.first_sweep((InputSpec("t", (BATCH,)),)) == "batch"
    assert sizes.first_sweep(()) == ""


def test_equal_sides_and_the_range_that_both_have() -> None:
    assert sizes.height_symbol((IMAGE,)) == "height"
    assert sizes.height_symbol((InputSpec("t", (BATCH,)),)) is None
    assert sizes.has_equal_sides((IMAGE,), at(224).inputs)
    assert not sizes.has_equal_sides((IMAGE,), (InputShape("x", (1, 3, 160, 224)),))
    assert not sizes.has_equal_sides((InputSpec("t", (BATCH,)),), (InputShape("t", (1,)),))
    narrow = Dim("width", 224, "width", 64, 256, 32)
    asked = (0, 100, 512, 32 * 512)
    assert [sizes.common(HEIGHT, narrow, size) for size in asked] == [1, 100, 512, narrow.limit]


def test_grid_is_nearest_first_on_steps_with_ends() -> None:
    positions = sizes.grid(HEIGHT, 224)
    assert positions[:3] == [224, 192, 256]
    assert sorted(positions) == list(range(32, 513, 32))
    long = sizes.grid(Dim("sequence", 128, "s", 1, 4096), 128)
    assert len(long) <= sizes.MAX_GRID
    odd = sizes.grid(Dim("height", 20, "h", 8, 45, 8), 20)
    assert sorted(odd) == [8, 16, 24, 32, 40, 45]


def test_refusals_reach_half_way_to_known_neighbours() -> None:
    error = ErrorInfo("layer", "layer1 needs at least 64 pixels.")
    points = {
        at(32): Point(1, at(32), error=error),
        at(64): Point(1, at(64), error=error),
        at(96): Point(1, at(96)),
        at(32, batch=2): Point(1, at(32, batch=2)),
    }
    found = refusals((IMAGE,), points, "height", at)
    assert [(each.low, each.high, each.size) for each in found] == [(32, 48, 32), (48, 80, 64)]
    assert found[0].reason == error.message
    assert refusals((IMAGE,), {at(96): Point(1, at(96))}, "height", at) == []


def test_written_shapes() -> None:
    assert parse_inputs("1x3x224x224") == (InputShape("", (1, 3, 224, 224), ""),)
    assert parse_inputs("ids=1x128:int64; mask=1x128") == (
        InputShape("ids", (1, 128), "int64"),
        InputShape("mask", (1, 128), ""),
    )
    for bad in ("", "axb", "1x3:int7", "1x0", "same"):
        with pytest.raises(InputError):
            parse_inputs(bad)


def test_a_tooltip_shows_tags_instead_of_obeying_them() -> None:
    assert plain_tooltip("net.py:build") == "net.py:build"
    assert plain_tooltip("<img src='x'>\n<b>bold</b>").startswith("<p>&lt;img")


def test_sizes_with_one_label_are_called_by_the_names_of_the_file() -> None:
    specs = (
        InputSpec("ids", (Dim("batch", 1, "batch_size"), Dim("sequence", 1, "sequence_length"))),
        InputSpec("past", (Dim("batch", 1, "batch_size"), Dim("sequence", 128, "past_length"))),
        InputSpec("left", (Dim("height", 8, "left.height"),)),
        InputSpec("right", (Dim("height", 9, "right.height"),)),
    )
    names = [sizes.name_of(specs, symbol) for symbol in sizes.adjustable(specs)]
    assert names == ["batch", "sequence_length", "past_length", "height", "height"]
