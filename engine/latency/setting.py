"""How torch is set while something is timed: threads, subnormal numbers."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from threading import Event
from typing import NamedTuple, TypeVar

import torch

from engine.latency.measuring_thread import in_own_thread

T = TypeVar("T")

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

    def body() -> T:
        _inside.setting = setting
        torch.set_num_threads(setting.threads)
        torch.set_flush_denormal(setting.flush)
        return work()

    _one_interop_thread()
    before = torch.get_num_threads()
    try:
        return in_own_thread(stop, body)
    finally:
        torch.set_num_threads(before)


def _one_interop_thread() -> None:
    """Operations run one after the other anyway; once per process, and too late when torch has used them."""
    if torch.get_num_interop_threads() != 1:
        with contextlib.suppress(RuntimeError):
            torch.set_num_interop_threads(1)
