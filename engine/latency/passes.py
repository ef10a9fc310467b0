"""Repeated forward passes: the time of one, how many there are, where they can be stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from threading import Event

from engine.errors import CancelledError


def timed(forward: Callable[[], object], stop: Event) -> float:
    """Wall seconds of one call. Raises CancelledError instead of starting it when ``stop`` is set."""
    if stop.is_set():
        raise CancelledError()
    started = time.perf_counter()
    forward()
    return time.perf_counter() - started


def paced(repeats: tuple[int, int], budget_s: float, stop: Event) -> Iterator[int]:
    """Counts rounds: at most ``repeats[1]``, and after the first only those that fit the budget.

    ``repeats[0]`` rounds may take up to twice the budget, so that a slow model still gets a median.
    Raises CancelledError before a round when ``stop`` is set.
    """
    fewest, most = repeats
    start = time.perf_counter()
    for number in range(most):
        if stop.is_set():
            raise CancelledError()
        spent = time.perf_counter() - start
        after_next = spent * (number + 1) / number if number else 0.0
        if after_next > budget_s * (1 if number >= fewest else 2):
            return
        yield number
