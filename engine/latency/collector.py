"""Python's garbage collector while something is timed."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_collection() -> Iterator[None]:
    """Without the garbage collector, which otherwise walks all modules in the middle of some samples.

    What runs long calls :func:`collect_young` between passes.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def collect_young() -> None:
    """Frees the cycles that the last passes left, with the tensors in them; microseconds where there are none."""
    gc.collect(0)
