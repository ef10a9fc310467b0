"""Scales and tick labels: numbers on an axis share one prefix and one number of decimals. No Qt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

Unit = Literal["count", "bytes", "seconds", "ratio", "percent", "share"]

_SI = ("", "k", "M", "G", "T", "P", "E")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_TIMES = ("s", "ms", "µs", "ns")
_THIN = "\u202f"


class Tick(NamedTuple):
    value: float
    label: str


class Scale(NamedTuple):
    """Maps values to pixels above the base line. ``low`` is 0 on a linear scale and the first decade on a log one."""

    low: float
    high: float
    pixels: float
    log: bool = False

    def height(self, value: float | None) -> float:
        """Pixels above the base line, clamped to the scale; 0 for unknown, for 0 and for less than ``low``."""
        if value is None or value <= 0:
            return 0.0
        if not self.log:
            share = value / self.high
        elif value <= self.low:
            return 0.0
        else:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        return min(share, 1.0) * self.pixels


def scale_for(smallest: float, largest: float, pixels: float, log: bool = False) -> Scale:
    """A scale with a little air above ``largest``; on a log scale it begins at the decade below ``smallest`` (> 0)."""
    if largest <= 0:
        return Scale(0.0, 1.0, pixels)
    if not log:
        return Scale(0.0, largest * 1.06, pixels)
    low = 10.0 ** math.floor(math.log10(smallest) - 1e-9)
    return Scale(low, max(largest * 1.5, low * 10), pixels, log=True)


def ticks(scale: Scale, unit: Unit, spacing: float = 36.0) -> list[Tick]:
    """Ticks about ``spacing`` pixels apart, from the base line up."""
    if scale.log:
        return _log_ticks(scale, unit, spacing)
    count = max(1, min(8, int(scale.pixels / spacing)))
    power = _power(scale.high, unit)
    factor = _base(unit) ** power
    step = nice_step(scale.high / factor / count, scale.high / factor)
    if unit in ("count", "bytes") and power == 0:
        step = max(1.0, step)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    steps = int(scale.high / factor / step + 1e-9)
    return [
        Tick(index * step * factor, _label(index * step, decimals, unit, power)) for index in range(steps + 1)
    ]


def nice_step(rough: float, most: float = math.inf) -> float:
    """The 1, 2 or 5 × 10ⁿ nearest to ``rough`` on a logarithmic scale, but not above ``most``."""
    if rough <= 0:
        return 1.0
    power = math.floor(math.log10(rough))
    steps = [nice * 10.0**each for each in (power - 1, power, power + 1) for nice in (1, 2, 5)]
    fitting = [step for step in steps if step <= most * (1 + 1e-9)]
    return min(fitting, key=lambda step: abs(math.log(step / rough)))


def whole_ticks(low: int, high: int, pixels: float, spacing: float = 64.0, grain: int = 1) -> list[int]:
    """Positions between two whole numbers about ``spacing`` pixels apart: multiples of ``grain`` × 1, 2, 4, 5, 8, 10 …

    The ends are always there; a multiple too near to an end gives way. ``grain`` is the slider's step.
    """
    if high <= low or pixels <= 0:
        return [low]
    room = (high - low) * spacing / pixels
    step = grain
    for multiple in _multiples():
        step = grain * multiple
        if step >= room:
            break
    inner = range((low // step + 1) * step, high, step)
    return [low, *(at for at in inner if at - low >= room * 0.65 and high - at >= room * 0.65), high]


def _multiples() -> list[int]:
    return [nice * 10**power for power in range(9) for nice in (1, 2, 4, 5, 8)]


def _log_ticks(scale: Scale, unit: Unit, spacing: float) -> list[Tick]:
    if unit == "bytes":
        lowest, highest = math.ceil(math.log2(scale.low)), math.floor(math.log2(scale.high))
        candidates: Sequence[float] = [2.0**power for power in range(lowest, highest + 1) if power % 5 == 0]
    else:
        lowest, highest = round(math.log10(scale.low)), math.floor(math.log10(scale.high))
        candidates = [10.0**power for power in range(lowest, highest + 1)]
    room = max(1, int(scale.pixels / spacing))
    stride = max(1, math.ceil(len(candidates) / (room + 1)))
    return [Tick(value, _plain_label(value, unit)) for value in candidates[::stride]]


def _plain_label(value: float, unit: Unit) -> str:
    power = _power(value, unit)
    scaled = value / _base(unit) ** power
    decimals = max(0, -math.floor(math.log10(scaled) + 1e-9)) if scaled > 0 else 0
    return _label(scaled, decimals, unit, power)


def _base(unit: Unit) -> float:
    return 1024.0 if unit == "bytes" else 1000.0


def _power(value: float, unit: Unit) -> int:
    """The power of the unit's base that the prefix stands for; negative for times below a second."""
    if value <= 0 or unit in ("percent", "share"):
        return 0
    power = math.floor(math.log(value * (1 + 1e-12), _base(unit)) + 1e-12)
    if unit == "seconds":
        return min(max(power, 1 - len(_TIMES)), 0)
    return min(max(power, 0), len(_SI) - 1)


def _label(number: float, decimals: int, unit: Unit, power: int) -> str:
    if number == 0:
        return "0"
    if unit == "share":
        number, decimals, unit = number * 100, max(decimals - 2, 0), "percent"
    text = f"{number:,.{decimals}f}"
    if unit == "percent":
        return f"{text}{_THIN}%"
    if unit == "seconds":
        return f"{text}{_THIN}{_TIMES[-power]}"
    suffix = _BINARY[power] if unit == "bytes" else _SI[power]
    return f"{text}{_THIN}{suffix}" if suffix else text
