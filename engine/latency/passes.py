"""Repeated forward passes: the state they run in, how many there are, where they can be stopped."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from time import perf_counter

import torch

from engine.errors import CancelledError

DEFAULT_THREADS = torch.get_num_threads()
"""What the framework chose when it was imported."""


def timed(forward: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    start = perf_counter()
    forward()
    return perf_counter() - start


@contextmanager
def measuring(threads: int) -> Iterator[int]:
    """Inference mode with that many threads (0: the framework's default) and no garbage collection; gives the number.

    The number of threads stays set: changing it makes the pool start anew.
    """
    used = threads or DEFAULT_THREADS
    if torch.get_num_threads() != used:
        torch.set_num_threads(used)
    collecting = gc.isenabled()
    gc.disable()
    try:
        with torch.inference_mode():
            yield used
    finally:
        if collecting:
            gc.enable()


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
