"""Where bars, groups and read-outs go: arithmetic in pixels and row numbers, without Qt.

Three coordinates are used. A *row* is an index into ``results.Layers``; ``Selection.range`` speaks rows, so that a zoom
means the same in every view. A *slot* is a place on the axis: rows that have nothing of the shown metrics get none.
A *pixel* is a logical pixel of the chart.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

Value = int | float | None

MIN_SLOTS = 4.0
"""The closest zoom shows this many slots: closer, a bar says no more than its read-out."""


class Column(NamedTuple):
    """One drawn bar: the slots ``first`` … ``last`` (inclusive), from ``x``, ``width`` pixels wide."""

    first: int
    last: int
    x: float
    width: float


class Peak(NamedTuple):
    """What a column shows of one metric: the largest ``value`` of its rows and the ``row`` it belongs to."""

    row: int
    value: Value


class Group(NamedTuple):
    """Neighbouring slots (``first`` … ``last``) that belong to the module ``path``."""

    path: str
    first: int
    last: int

    @property
    def short(self) -> str:
        """Last component of the path, for when the whole path does not fit."""
        return self.path.rpartition(".")[2]

    @property
    def tail(self) -> str:
        """The number a component ends in (``encoder_layer_3`` → ``…3``), for less room still; else empty."""
        digits = len(self.short) - len(self.short.rstrip("0123456789"))
        return f"…{self.short[-digits:]}" if digits else ""


class RowAxis:
    """The horizontal axis of the breakdown: which rows have a slot, and which slots are in view.

    ``rows`` are the row numbers with a slot, ascending; ``span`` is the visible range in slots (all when None);
    ``left`` and ``width`` are the pixels it covers.
    """

    def __init__(
        self, rows: Sequence[int], left: float, width: float, span: tuple[float, float] | None = None
    ) -> None:
        self.rows = rows
        self.left = left
        self.width = max(1.0, width)
        self.span = clamp_span(span or (0.0, float(len(rows))), len(rows))

    @property
    def slot_width(self) -> float:
        """Pixels of one slot."""
        first, last = self.span
        return self.width / max(last - first, 1e-9)

    def x(self, slot: float) -> float:
        """Pixel of a slot's left edge."""
        return self.left + (slot - self.span[0]) * self.slot_width

    def slot(self, x: float) -> float:
        """Slot coordinate at a pixel, not clamped."""
        return self.span[0] + (x - self.left) / self.slot_width

    def slot_at(self, x: float) -> int | None:
        """The slot nearest to a pixel; None when there are no slots."""
        if not self.rows:
            return None
        first, last = self.span
        lowest, highest = math.floor(first), math.ceil(last) - 1
        return min(max(math.floor(self.slot(x)), lowest, 0), highest, len(self.rows) - 1)

    def slot_of(self, row: int) -> int | None:
        """The slot of a row; None for a row without one."""
        place = bisect_left(self.rows, row)
        return place if place < len(self.rows) and self.rows[place] == row else None

    def zoomed(self, x: float, factor: float) -> tuple[float, float]:
        """The span after zooming in by ``factor`` (> 1) with the slot under pixel ``x`` staying there."""
        first, last = self.span
        total = float(len(self.rows))
        length = min(max((last - first) / factor, min(MIN_SLOTS, total)), total)
        share = min(max((x - self.left) / self.width, 0.0), 1.0)
        start = self.slot(self.left + share * self.width) - share * length
        return clamp_span((start, start + length), len(self.rows))

    def panned(self, pixels: float) -> tuple[float, float]:
        """The span after dragging the picture ``pixels`` to the right."""
        first, last = self.span
        moved = -pixels / self.slot_width
        return clamp_span((first + moved, last + moved), len(self.rows))

    def to_range(self, span: tuple[float, float]) -> tuple[float, float] | None:
        """A span in rows, as ``Selection.range`` wants it; None for everything."""
        total = len(self.rows)
        first, last = clamp_span(span, total)
        if not total or (first <= 0.0 and last >= total):
            return None
        low, high = math.floor(first), math.ceil(last) - 1
        return (self.rows[low] + (first - low), self.rows[high] + (last - high))

    def to_span(self, limits: tuple[float, float] | None) -> tuple[float, float]:
        """A range in rows as a span in slots; rows without a slot take no room."""
        total = len(self.rows)
        if limits is None:
            return (0.0, float(total))
        return clamp_span((self.edge(limits[0]), self.edge(limits[1])), total)

    def edge(self, row: float) -> float:
        """The slot coordinate of a row coordinate; for a row without a slot the border where it would be."""
        place = bisect_left(self.rows, math.floor(row))
        if place < len(self.rows) and self.rows[place] == math.floor(row):
            return place + (row - math.floor(row))
        return float(place)


def clamp_span(span: tuple[float, float], total: int) -> tuple[float, float]:
    """``span`` moved and shortened to lie in ``0 … total``, never shorter than MIN_SLOTS (or ``total``)."""
    first, last = span
    shortest = min(MIN_SLOTS, float(total))
    if last - first < shortest:
        middle = (first + last) / 2
        first, last = middle - shortest / 2, middle + shortest / 2
    length = min(last - first, float(total))
    first = min(max(first, 0.0), total - length)
    return (first, first + length)


def range_among(
    limits: tuple[float, float], before: Sequence[str], after: Sequence[str]
) -> tuple[float, float] | None:
    """A range of rows ``before`` as rows ``after``, by their ids; None (all rows) when none of them is left."""
    place = {node: row for row, node in enumerate(after)}
    first, last = math.floor(limits[0]), math.ceil(limits[1]) - 1
    kept = [row for row in range(max(first, 0), min(last + 1, len(before))) if before[row] in place]
    if not kept:
        return None
    low, high = place[before[kept[0]]], place[before[kept[-1]]] + 1.0
    if low >= high:
        return None
    # A part of a row at either end stays the part that it was.
    cut_low = limits[0] - first if kept[0] == first else 0.0
    cut_high = last + 1 - limits[1] if kept[-1] == last else 0.0
    return (low + cut_low, high - cut_high)


def columns(axis: RowAxis) -> list[Column]:
    """The bars in view, left to right; slots narrower than a pixel are merged into one bar per pixel.

    Wide bars keep a gap of about a sixth of their slot; edges lie on whole pixels, so that equal bars look equal.
    """
    first, last = axis.span
    low, high = math.floor(first), min(math.ceil(last), len(axis.rows))
    width = axis.slot_width
    found = []
    if width >= 1.0:
        gap = 0 if width < 3 else max(1, min(round(width / 6), 12))
        for slot in range(low, high):
            left = round(axis.x(slot))
            right = round(axis.x(slot + 1))
            found.append(Column(slot, slot, left, max(1, right - left - gap)))
        return found
    start = low
    while start < high:
        pixel = math.floor(axis.x(start))
        # The last slot of this pixel but for rounding: 100,000 slots are not walked through one by one.
        end = min(max(start, math.ceil(axis.slot(pixel + 1)) - 2), high - 1)
        while end + 1 < high and math.floor(axis.x(end + 1)) == pixel:
            end += 1
        found.append(Column(start, end, pixel, 1))
        start = end + 1
    return found


def peaks(bars: Sequence[Column], rows: Sequence[int], values: Sequence[Value]) -> list[Peak]:
    """The largest known value in each column. A column whose rows are all unknown gives None."""
    found = []
    for first, last, _, _ in bars:
        row = rows[first]
        value = values[row]
        for slot in range(first + 1, last + 1):
            other = values[rows[slot]]
            if other is not None and (value is None or other > value):
                row, value = rows[slot], other
        found.append(Peak(row, value))
    return found


def column_at(bars: Sequence[Column], slot: int) -> int | None:
    """Index of the column that draws ``slot``; None when it is out of view."""
    place = bisect_left(bars, slot, key=lambda column: column.last)
    return place if place < len(bars) and bars[place].first <= slot else None


def shown_rows(columns_of_values: Sequence[Sequence[Value]], unknown: Sequence[bool]) -> list[int]:
    """Rows that have something to show: a value other than 0 in any of the columns, or an unknown one."""
    return [row for row, marks in enumerate(zip(unknown, *columns_of_values, strict=True)) if any(marks)]


def normalised(values: Sequence[Value], total: float | None) -> list[float | None]:
    """Each value as a share of ``total`` in per cent; unknown stays unknown, and so does a share of nothing."""
    if not total:
        return [None if value is None else 0.0 for value in values]
    return [None if value is None else 100.0 * value / total for value in values]


def groups(paths: Sequence[str], depth: int) -> list[Group]:
    """Runs of neighbouring slots whose module paths agree in the first ``depth`` components."""
    found: list[Group] = []
    name, start, below = None, 0, ""
    for slot, path in enumerate(paths):
        if path == name or (below and path.startswith(below)):
            continue
        if name is not None:
            found.append(Group(name, start, slot - 1))
        name, start = ".".join(path.split(".")[:depth]), slot
        # Longer paths belong to the group only where its name has all the components.
        below = f"{name}." if name and name.count(".") == depth - 1 else ""
    if name is not None:
        found.append(Group(name, start, len(paths) - 1))
    return found


def best_groups(paths: Sequence[str], first: int, last: int) -> list[Group]:
    """Groups that tell the slots ``first`` … ``last`` apart: one level deeper while a single group holds most of them.

    A model whose layers all sit in ``features`` would otherwise have one label for everything.
    """
    visible = max(1, last - first + 1)
    deepest = max((path.count(".") + 1 for path in paths[first : last + 1]), default=1)
    for depth in range(1, deepest + 1):
        found = groups(paths, depth)
        largest = max((min(group.last, last) - max(group.first, first) + 1 for group in found), default=0)
        if largest <= 0.7 * visible:
            return found
    return groups(paths, 1)


def is_within(path: str, module: str) -> bool:
    """Whether ``path`` is ``module`` or below it."""
    return not module or path == module or path.startswith(module + ".")


def readout_place(
    pointer: tuple[float, float],
    size: tuple[float, float],
    bounds: tuple[float, float, float, float],
    gap: float = 14.0,
) -> tuple[float, float]:
    """Top left corner for a read-out of ``size`` that stays in ``bounds`` (left, top, width, height).

    Right of the pointer, else left of it; where neither has room, below or above, so that the pointer stays free.
    """
    x, y = pointer
    width, height = size
    left, top, full_width, full_height = bounds
    right, bottom = left + full_width, top + full_height
    inside_y = min(max(y - height / 2, top), max(top, bottom - height))
    if x + gap + width <= right:
        return (x + gap, inside_y)
    if x - gap - width >= left:
        return (x - gap - width, inside_y)
    inside_x = min(max(x - width / 2, left), max(left, right - width))
    if y + gap + height <= bottom:
        return (inside_x, y + gap)
    return (inside_x, max(top, y - gap - height))
