"""Repeated forward passes: how many there are, where they can be stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Event
from time import perf_counter

from engine.errors import CancelledError


def timed(forward: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    start = perf_counter()
    forward()
    return perf_counter() - start


def paced(repeats: tuple[int, int], budget_s: float, stop: Event) -> Iterator[int]:
    """Counts rounds: at most ``repeats[1]``, and after the first only those that fit the budget.

    ``repeats[0]`` rounds may take up to twice the budget, so that a slow model still gets a median.
    Raises CancelledError before a round when ``stop`` is set.
    """
    fewest, most = repeats
    start = perf_counter()
    for number in range(most):
        if stop.is_set():
            raise CancelledError()
        spent = perf_counter() - start
        after_next = spent * (number + 1) / number if number else 0.0
        if after_next > budget_s * (1 if number >= fewest else 2):
            return
        yield number
