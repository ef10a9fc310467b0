"""Which positions of a slider to measure, and in which order; how far that is. Arithmetic without widgets."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from engine.graph import Dim

POSITIONS = 12


@dataclass(frozen=True)
class Sweep:
    """Measuring the slider's range, position by position."""

    symbol: str
    done: int
    total: int
    paused: bool = False
    finished: bool = False


def positions(dim: Dim, at: int, count: int = POSITIONS) -> list[int]:
    """About ``count`` sizes on the slider's steps, both ends and ``at`` included, by bisecting the range.

    The order does not run along the axis: a machine that gets slower or faster meanwhile makes no slope of it.
    """
    step = max(dim.step, 1)
    parts = max(count - 1, 1)
    wanted = [dim.minimum + (dim.maximum - dim.minimum) * part / parts for part in range(parts + 1)]
    grid = [min(max(round(size / step) * step, dim.minimum), dim.maximum) for size in wanted]
    grid[0], grid[-1] = dim.minimum, dim.maximum
    return list(dict.fromkeys([at, *bisected(sorted(set(grid)))]))


def bisected(ordered: list[int]) -> list[int]:
    """The ends first, then the middle of every gap, widest gaps first."""
    if len(ordered) < 3:
        return ordered
    result = [ordered[0], ordered[-1]]
    gaps = deque([(0, len(ordered) - 1)])
    while gaps:
        low, high = gaps.popleft()
        if high - low < 2:
            continue
        middle = (low + high) // 2
        result.append(ordered[middle])
        gaps.extend([(low, middle), (middle, high)])
    return result
