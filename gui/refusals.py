"""Where along a slider the model refuses, and why: known points → intervals to shade. No Qt here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from engine.configuration import Configuration
from engine.protocol import Point
from gui import sizes


@dataclass(frozen=True)
class Refusal:
    """From ``low`` to ``high`` (sizes, ends included) the model fails, as at the known position ``size``."""

    low: float
    high: float
    size: int
    reason: str


def refusals(
    specs: sizes.Specs,
    points: Mapping[Configuration, Point],
    symbol: str,
    at: Callable[[int], Configuration],
) -> list[Refusal]:
    """Intervals around every known refused position of ``symbol``, each reaching half way to its neighbours.

    ``at`` gives the configuration asked for with ``symbol`` at a size; points of other configurations do not count.
    """
    if not any(point.error is not None for point in points.values()):
        return []
    known: dict[int, Point] = {}
    for configuration, point in points.items():
        if not sizes.matches(specs, configuration.inputs):
            continue
        size = sizes.size_of(specs, configuration.inputs, symbol)
        if size not in known and at(size) == configuration:
            known[size] = point
    dim = sizes.adjustable(specs)[symbol]
    positions = sorted(known)
    result = []
    for index, size in enumerate(positions):
        error = known[size].error
        if error is None:
            continue
        low = (positions[index - 1] + size) / 2 if index else dim.minimum
        high = (positions[index + 1] + size) / 2 if index + 1 < len(positions) else dim.maximum
        result.append(Refusal(low, high, size, error.message))
    return result
