"""What is known along one slider: totals and refusals at its positions. No Qt."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from engine.configuration import Configuration
from engine.graph import Dim
from engine.measurement import Measurement
from engine.metrics import METRIC
from engine.protocol import Point
from engine.results import Analysis, Totals
from engine.statistics import Interval
from gui import sizes
from gui.charts.layout import Value
from gui.charts.rows import total_of

UNITS = {
    "height": "pixels",
    "width": "pixels",
    "sequence": "tokens",
    "frames": "frames",
    "batch": "samples",
}
"""What is counted along a dimension, by its label; others have no unit."""


@dataclass(frozen=True)
class Sweep:
    """Known positions in ascending order; a position is in ``totals`` or in ``refused``, never in both."""

    totals: dict[int, Totals] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)
    """Size → the reason, as a sentence."""

    def values(self, key: str) -> list[tuple[int, Value]]:
        return [(size, total_of(totals, key)) for size, totals in self.totals.items()]


def positions(
    specs: sizes.Specs, moving: Iterable[str], like: Configuration
) -> Callable[[Configuration], int | None]:
    """Tells where a configuration stands that equals ``like`` but for the symbols ``moving``; None for any other.

    ``moving`` are one slider and what is linked to it, all alike.
    """
    symbols = tuple(moving)

    def position(configuration: Configuration) -> int | None:
        if configuration.edits != like.edits or configuration.assumptions != like.assumptions:
            return None
        if not sizes.matches(specs, configuration.inputs):
            return None
        size = sizes.size_of(specs, configuration.inputs, symbols[0])
        expected = sizes.with_sizes(specs, like.inputs, dict.fromkeys(symbols, size))
        return size if expected == configuration.inputs else None

    return position


def collect(
    position: Callable[[Configuration], int | None],
    points: Mapping[Configuration, Point],
    extra: Iterable[Analysis | None] = (),
) -> Sweep:
    """What is known at the positions of one sweep, in ascending order.

    ``extra`` are analyses that count as points too.
    """
    totals: dict[int, Totals] = {}
    refused: dict[int, str] = {}
    for configuration, point in points.items():
        size = position(configuration)
        if size is None:
            continue
        if point.totals is not None:
            totals[size] = point.totals
        elif point.error is not None:
            refused[size] = point.error.sentence
    for analysis in extra:
        if analysis is not None and (size := position(analysis.configuration)) is not None:
            totals[size] = analysis.totals
            refused.pop(size, None)
    return Sweep(dict(sorted(totals.items())), dict(sorted(refused.items())))


class Dot(NamedTuple):
    """A measured value at a position."""

    value: float
    interval: Interval | None = None
    """95 % interval, where there is one."""
    doubts: tuple[str, ...] = ()
    """What speaks against the measurement, in words."""


def dots(
    position: Callable[[Configuration], int | None],
    measurements: Iterable[Measurement],
    totals: Mapping[int, Totals],
    key: str,
) -> dict[int, Dot]:
    """The measured metric ``key`` at the positions that are measured, in ascending order."""
    found: dict[int, Dot] = {}
    for measurement in measurements:
        size = position(measurement.configuration)
        if size is not None and (dot := _dot(key, measurement, totals.get(size))) is not None:
            found[size] = dot._replace(doubts=tuple(flag.words for flag in measurement.flags))
    return dict(sorted(found.items()))


def _dot(key: str, measurement: Measurement, totals: Totals | None) -> Dot | None:
    """One metric of a measurement; a ratio to the latency has an interval as well. None where a part is unknown."""
    if key == "latency_s":
        return Dot(measurement.median_s, measurement.interval)
    if key == "cpu_s":
        cpu = measurement.mean_cpu_s
        return None if cpu is None else Dot(cpu)
    parts = METRIC[key].parts
    if parts is None:
        value = None if totals is None else total_of(totals, key)
        return None if value is None else Dot(float(value))
    top, bottom = (_dot(part, measurement, totals) for part in parts)
    if top is None or bottom is None or not bottom.value:
        return None
    interval = bottom.interval
    if interval is not None and interval.low > 0 and top.interval is None and not METRIC[parts[0]].measured:
        interval = Interval(top.value / interval.high, top.value / interval.low)
    else:
        interval = None
    return Dot(top.value / bottom.value, interval)


def pieces(sweep: Sweep, key: str) -> list[list[tuple[int, float]]]:
    """Known values as lines: a refused position or an unknown value between two positions ends a line."""
    values = sweep.values(key)
    stops = [*sweep.refused, *(size for size, value in values if value is None)]
    return joined([(size, float(value)) for size, value in values if value is not None], stops)


def joined(values: Iterable[tuple[int, float]], stops: Collection[int]) -> list[list[tuple[int, float]]]:
    """Values in ascending order of their positions as lines that end where one of ``stops`` lies in between."""
    found: list[list[tuple[int, float]]] = []
    previous = None
    for size, value in values:
        if previous is None or any(previous < stop < size for stop in stops):
            found.append([])
        found[-1].append((size, value))
        previous = size
    return found


def refused_stretches(sweep: Sweep, low: int, high: int) -> list[tuple[float, float]]:
    """Where the model is known to refuse: from half-way to the accepted neighbour on each side, within the slider."""
    known = sorted([*((size, False) for size in sweep.totals), *((size, True) for size in sweep.refused)])
    found: list[tuple[float, float]] = []
    for index, (size, bad) in enumerate(known):
        if not bad:
            continue
        start = (known[index - 1][0] + size) / 2 if index else float(low)
        end = (known[index + 1][0] + size) / 2 if index + 1 < len(known) else float(high)
        if found and found[-1][1] >= start:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return found


def snapped(dim: Dim, size: float) -> int:
    """The slider position nearest to ``size``: a multiple of the step, or an end of the range."""
    step = max(dim.step, 1)
    near = round(size / step) * step
    candidates = [near, dim.minimum, dim.maximum]
    inside = [at for at in candidates if dim.minimum <= at <= dim.maximum]
    return min(inside, key=lambda at: abs(at - size))


def moved(dim: Dim, size: int, steps: int) -> int:
    """``size`` moved by whole steps to the next multiples of the step, kept inside the range."""
    step = max(dim.step, 1)
    base = size // step if steps > 0 or size % step == 0 else size // step + 1
    return min(max((base + steps) * step, dim.minimum), dim.maximum)


def sweep_name(labels: Iterable[str]) -> str:
    """What is swept, in a word: ``resolution`` for linked height and width, else the label."""
    names = list(dict.fromkeys(labels))
    return "resolution" if set(names) == {"height", "width"} else " = ".join(names)


def axis_label(names: Iterable[str], label: str = "") -> str:
    """``height = width (pixels)``; the unit is that of ``label`` (the first name), and left out where it has none."""
    shown = list(dict.fromkeys(names))
    unit = UNITS.get(label or shown[0], "") if shown else ""
    name = " = ".join(shown)
    return f"{name} ({unit})" if unit else name
