"""What is known along one slider: totals and refusals at its positions. No Qt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from engine.configuration import Configuration
from engine.graph import Dim
from engine.protocol import Point
from engine.results import Analysis, Totals
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


def collect(
    specs: sizes.Specs,
    moving: Iterable[str],
    like: Configuration,
    points: Mapping[Configuration, Point],
    extra: Iterable[Analysis | None] = (),
) -> Sweep:
    """Points that equal ``like`` but for the symbols ``moving`` (one slider and what is linked to it, all alike).

    ``extra`` are analyses that count as points too. Positions come in ascending order.
    """
    symbols = tuple(moving)
    totals: dict[int, Totals] = {}
    refused: dict[int, str] = {}

    def position(configuration: Configuration) -> int | None:
        if configuration.edits != like.edits or configuration.assumptions != like.assumptions:
            return None
        if not sizes.matches(specs, configuration.inputs):
            return None
        size = sizes.size_of(specs, configuration.inputs, symbols[0])
        expected = sizes.with_sizes(specs, like.inputs, dict.fromkeys(symbols, size))
        return size if expected == configuration.inputs else None

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


def pieces(sweep: Sweep, key: str) -> list[list[tuple[int, float]]]:
    """Known values as lines: a refused position or an unknown value between two positions ends a line."""
    stops = sorted([*sweep.refused, *(size for size, value in sweep.values(key) if value is None)])
    found: list[list[tuple[int, float]]] = []
    previous = None
    for size, value in sweep.values(key):
        if value is None:
            continue
        broken = previous is None or any(previous < stop < size for stop in stops)
        if broken:
            found.append([])
        found[-1].append((size, float(value)))
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


def axis_label(labels: Iterable[str]) -> str:
    """``height = width (pixels)``; the unit is left out where a dimension has none."""
    names = list(dict.fromkeys(labels))
    unit = UNITS.get(names[0], "") if names else ""
    name = " = ".join(names)
    return f"{name} ({unit})" if unit else name
