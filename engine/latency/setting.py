"""How torch is set while something is timed: threads, subnormal numbers, no garbage collection."""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from typing import NamedTuple, TypeVar

import torch

T = TypeVar("T")

JOIN_S = 0.5
"""Windows hands a Ctrl-C over only between waits."""

_inside = threading.local()


class Setting(NamedTuple):
    """What all threads of a measurement have in common."""

    threads: int
    flush: bool
    """Subnormal numbers are flushed to zero."""


def in_setting(setting: Setting, stop: Event, work: Callable[[], T]) -> T:
    """``work()`` in a thread of its own whose OpenMP pool has this setting; sets ``stop`` when interrupted meanwhile.

    Flushing is a register of each thread, and a pool's threads copy it from the thread that makes them when they are
    made. With torch 2.15 and libgomp, ``set_flush_denormal`` on a thread that has its pool already reached the first
    half of 1e-39 × 0.5 over two threads and not the second, before and after changing the number of threads; a new
    thread, which makes a pool of its own, flushed both halves. The pool ends with its thread, so nothing spins on.
    """
    if getattr(_inside, "setting", None) == setting:
        return work()
    results: list[T] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            _inside.setting = setting
            torch.set_num_threads(setting.threads)
            torch.set_flush_denormal(setting.flush)
            results.append(work())
        except BaseException as error:
            errors.append(error)

    _one_interop_thread()
    before = torch.get_num_threads()
    thread = threading.Thread(target=body, name="measuring", daemon=True)
    try:
        thread.start()
        while thread.is_alive():
            thread.join(JOIN_S)
    except BaseException:
        stop.set()
        if thread.ident is not None:
            thread.join()
        raise
    finally:
        torch.set_num_threads(before)
    if errors:
        # Its traceback leads here: kept in a local variable, it would keep the model's tensors until a collection.
        raise errors.pop()
    return results[0]


def _one_interop_thread() -> None:
    """Operations run one after the other anyway; once per process, and too late when torch has used them."""
    if torch.get_num_interop_threads() != 1:
        with contextlib.suppress(RuntimeError):
            torch.set_num_interop_threads(1)


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
