"""Where the samples of a measurement and the measurements before it go: arithmetic, without Qt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from engine import statistics
from engine.configuration import Configuration
from engine.edits import Edit, RemoveLayer
from engine.measurement import UNDISTURBED_DELAY, Measurement
from engine.statistics import Interval
from gui.charts.ticks import Scale

Pixel = tuple[float, float]

CLIP_FACTOR = 1.5
"""Samples up to this many times the axis's natural end stretch the axis; beyond, they are marked at its top."""
FEWEST = 16
"""Samples that the axis has room for at least, so that the first few are no row of boulders."""
APART_PX = 1.0
"""Samples nearer to each other than this are too many to draw them all, four times a second."""
COVERED_PX = 2.0
"""Of those, two within this many pixels cannot be told apart."""
STRIP_PX = 58.0
"""Width of an earlier measurement; its label has to fit."""
STRIPS_SHARE = 0.42
"""Earlier measurements take at most this share of the width."""


class Trace(NamedTuple):
    """The samples on the screen: those of a finished measurement, or of one under way."""

    configuration: Configuration
    samples_s: Sequence[float]
    disturbed: Sequence[bool]
    """One per sample; empty where the system does not tell."""
    median_s: float
    interval: Interval | None
    running: bool = False

    @property
    def told(self) -> bool:
        """Whether disturbed samples can be told from undisturbed ones."""
        return bool(self.disturbed)

    @property
    def disturbed_count(self) -> int:
        return sum(self.disturbed)


def trace_of(measurement: Measurement) -> Trace:
    """The samples of a finished measurement."""
    return Trace(
        measurement.configuration,
        measurement.samples_s,
        disturbed(measurement.samples_s, measurement.delay_s, measurement.forwards_per_sample),
        measurement.median_s,
        measurement.interval,
    )


def running_trace(
    configuration: Configuration, samples_s: Sequence[float], delay_s: Sequence[float]
) -> Trace | None:
    """The samples so far of a measurement under way; None before the first one."""
    if not samples_s:
        return None
    ordered = sorted(samples_s)
    return Trace(
        configuration,
        tuple(samples_s),
        disturbed(samples_s, delay_s),
        statistics.sorted_median(ordered),
        statistics.sorted_median_interval(ordered),
        running=True,
    )


def disturbed(samples_s: Sequence[float], delay_s: Sequence[float], forwards: int = 1) -> tuple[bool, ...]:
    """Which samples waited for a core longer than UNDISTURBED_DELAY of their time; empty where that is not known."""
    if len(delay_s) != len(samples_s):
        return ()
    return tuple(
        delay > UNDISTURBED_DELAY * sample * forwards
        for sample, delay in zip(samples_s, delay_s, strict=True)
    )


def highest_shown(samples_s: Sequence[float], always: Sequence[float] = ()) -> float:
    """The largest value that the axis has to show: all samples, unless a few lie far above the others.

    The natural end is Tukey's severe fence (at least a quarter above the median) or the largest of ``always``
    (medians and intervals). One outlier of seconds would press everything else to the base line; those above are
    marked at the top instead.
    """
    if not samples_s:
        return max(always, default=0.0)
    ordered = sorted(samples_s)  # sorting what is in order takes no time
    median, third = statistics.sorted_median(ordered), statistics.quantile(ordered, 0.75)
    fence = third + statistics.SEVERE_FENCE * statistics.iqr(ordered)
    natural = max(1.25 * median, fence, *always)
    highest = max((ordered[-1], *always))
    return highest if highest <= CLIP_FACTOR * natural else natural


def room_for(count: int) -> int:
    """Places on the axis for ``count`` samples: 16, 24, 32, 48, 64 …, so that samples stand still between two steps."""
    room = FEWEST
    while room < count:
        room += room // 2 if room & (room - 1) == 0 else room // 3
    return room


def place(index: int, room: int, left: float, width: float) -> float:
    """Pixel of the middle of a sample's place."""
    return left + (index + 0.5) * width / room


class Marks(NamedTuple):
    """Pixels of the samples, by how they are drawn."""

    dots: list[Pixel]
    crosses: list[Pixel]
    """Samples that waited for a core."""
    above: list[Pixel]
    """Samples beyond the axis, at its top."""


def marks(trace: Trace, scale: Scale, room: int, left: float, width: float, bottom: float) -> Marks:
    """Where the samples of ``trace`` are drawn; of those that would cover each other, one."""
    found = Marks([], [], [])
    waited = trace.disturbed or (False,) * len(trace.samples_s)
    pitch, top = width / room, bottom - scale.pixels
    height = scale.height if scale.log else (scale.pixels / scale.high).__mul__
    thin = pitch < APART_PX
    seen: set[tuple[bool, int, int]] = set()
    for index, value in enumerate(trace.samples_s):
        x = left + (index + 0.5) * pitch
        if value > scale.high:
            found.above.append((x, top))
            continue
        y = bottom - height(value)
        if thin:
            place = (waited[index], int(x / COVERED_PX), int(y / COVERED_PX))
            if place in seen:
                continue
            seen.add(place)
        (found.crosses if waited[index] else found.dots).append((x, y))
    return found


def nearest(x: float, count: int, room: int, left: float, width: float) -> int | None:
    """The sample under a pixel; None beside them."""
    index = int((x - left) // (width / room)) if width > 0 else -1
    return index if 0 <= index < count else None


def strips_width(count: int, width: float) -> tuple[int, float]:
    """How many earlier measurements there is room for, and the pixels they take together."""
    shown = min(count, int(STRIPS_SHARE * width // STRIP_PX))
    return shown, shown * STRIP_PX


def labels(configurations: Sequence[Configuration]) -> list[tuple[str, str]]:
    """What tells configurations apart, in two short lines each: sizes that differ, and edits where those differ.

    ``("224×224", "without pool")``; sizes or edits that all have in common are left out.
    """
    sizes = [tuple(size for given in each.inputs for size in given.shape) for each in configurations]
    same_ranks = len({len(each) for each in sizes}) <= 1
    if same_ranks:
        differing = [index for index, column in enumerate(zip(*sizes, strict=True)) if len(set(column)) > 1]
        size_words = ["×".join(str(each[index]) for index in differing) for each in sizes]
    else:
        size_words = ["×".join(map(str, each)) for each in sizes]
    edits = [each.edits for each in configurations]
    edit_words = [edits_text(each) for each in edits] if len(set(edits)) > 1 else [""] * len(edits)
    return list(zip(size_words, edit_words, strict=True))


def edits_text(edits: tuple[Edit, ...]) -> str:
    """``no edits``, ``− maxpool`` for a removed layer, ``3 edits``."""
    if not edits:
        return "no edits"
    if len(edits) == 1 and isinstance(edits[0], RemoveLayer):
        return f"− {edits[0].layer.rpartition('.')[2]}"
    return f"{len(edits)} edit{'s' if len(edits) > 1 else ''}"
