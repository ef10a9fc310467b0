"""A clock that only forward passes move: what is measured then follows from the test alone."""

from __future__ import annotations

import random
from types import ModuleType

import pytest
from torch import Tensor, nn


class FakeClock:
    """Stands in for the module ``time`` where forward passes are timed."""

    def __init__(self) -> None:
        self.now = 0.0
        self.noise = random.Random(0)
        self.spread = 0.0
        """Standard deviation of a pass's time, as a share of it."""

    def perf_counter(self) -> float:
        return self.now

    def process_time(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds * max(self.noise.gauss(1.0, self.spread), 0.1)

    def install(self, monkeypatch: pytest.MonkeyPatch, *modules: ModuleType) -> None:
        for module in modules:
            monkeypatch.setattr(module, "time", self)


clock = FakeClock()
"""The one that Busy layers move; they are copied with their model, a module's global is not."""


class Busy(nn.Module):
    """Passes its input on and takes ``seconds`` for it."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def forward(self, x: Tensor) -> Tensor:
        clock.advance(self.seconds)
        return x + 0
