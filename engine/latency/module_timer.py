"""Exclusive time of every module in one forward pass, by wrapping ``nn.Module.__call__`` (why: engine.trace.modules).

A module's exclusive time is its own less that of the modules it calls, so all exclusive times add up to the whole
pass by construction. Operations without a module of their own (additions, reshapes) are in their caller's time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from threading import get_ident
from time import perf_counter
from typing import Any, NamedTuple

import torch
from torch import nn

Clock = Callable[[], float]
"""Seconds from any origin."""

CALIBRATION_DEPTH = 200
CALIBRATION_ROUNDS = 30
"""The fastest of so many rounds counts; together they take about 30 ms."""


class PassTimes(NamedTuple):
    """One timed forward pass, by module path. ``self_s`` adds up to ``total_s``; nothing is subtracted yet."""

    total_s: float
    self_s: dict[str, float]
    """Exclusive seconds over all calls; the time it takes to time its children is in a module's own."""
    children: dict[str, int]
    """Timed calls that the module made directly. The caller of the whole model counts as the model (``""``)."""

    @property
    def calls(self) -> int:
        return sum(self.children.values())

    @property
    def containers(self) -> frozenset[str]:
        """Modules that called others; the call of the model itself is no module's."""
        return frozenset(path for path, count in self.children.items() if count > (path == ""))


class _Frame:
    __slots__ = ("calls", "path", "seconds")

    def __init__(self, path: str) -> None:
        self.path = path
        self.seconds = 0.0
        self.calls = 0


def time_modules(forward: Callable[[], object], path_of: dict[int, str], clock: Clock) -> PassTimes:
    """Run ``forward`` and time every call of a module that ``path_of`` knows by its id.

    Modules that it does not know, and those called in other threads, run in their caller's name. While it runs, all
    module calls of the process are wrapped; afterwards, whatever ``forward`` raised, they are as before. Not reentrant.
    """
    original, home = nn.Module.__call__, get_ident()
    self_s: dict[str, float] = {}
    children: dict[str, int] = {}
    outside = _Frame("")
    frames = [outside]

    def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        path = path_of.get(id(module))
        if path is None or get_ident() != home:
            return original(module, *args, **kwargs)
        frame = _Frame(path)
        frames.append(frame)
        start = clock()
        try:
            return original(module, *args, **kwargs)
        finally:
            seconds = clock() - start
            frames.pop()
            caller = frames[-1]
            caller.seconds += seconds
            caller.calls += 1
            self_s[path] = self_s.get(path, 0.0) + seconds - frame.seconds
            children[path] = children.get(path, 0) + frame.calls

    nn.Module.__call__ = call  # type: ignore[method-assign]
    try:
        start = clock()
        forward()
        total = clock() - start
    finally:
        nn.Module.__call__ = original  # type: ignore[method-assign]
    self_s[""] = self_s.get("", 0.0) + total - outside.seconds
    children[""] = children.get("", 0) + outside.calls
    return PassTimes(total, self_s, children)


@lru_cache
def hook_cost(clock: Clock = perf_counter) -> float:
    """Seconds that timing adds to one module call, once per process and clock.

    A chain of modules that do nothing, with and without timing, in alternation; the fastest of each counts, because
    whatever disturbs a round only makes it slower.
    """
    chain = nn.Sequential(*[nn.Identity() for _ in range(CALIBRATION_DEPTH)])
    paths = {id(module): path for path, module in chain.named_modules()}
    x = torch.empty(1)
    plain = timed = float("inf")
    with torch.inference_mode():
        for _ in range(CALIBRATION_ROUNDS):
            start = clock()
            chain(x)
            plain = min(plain, clock() - start)
            timed = min(timed, time_modules(lambda: chain(x), paths, clock).total_s)
    return max(timed - plain, 0.0) / (CALIBRATION_DEPTH + 1)
