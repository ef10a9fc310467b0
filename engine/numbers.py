"""Numbers for eyes, in the window and in reports.

Three significant digits, SI for counts, powers of 1024 for bytes, a thin space before the unit (one that
no line breaks at).

The exact integer belongs into tooltips, the inspector and every copy: :func:`exact`. None is always "not counted"
(``—`` for a ratio that does not apply), never 0.
"""

from __future__ import annotations

import math

from engine.graph import InputShape, Shape
from engine.metrics import METRIC, Metric, Number

THIN = "\N{NARROW NO-BREAK SPACE}"
MINUS = "\N{MINUS SIGN}"
NOT_COUNTED = "not counted"
NOT_APPLICABLE = "—"

_SI = ("", "k", "M", "G", "T", "P", "E")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_EXACT_UNITS = {"bytes": "B", "seconds": "s"}
_TIMES = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9))


def significant(number: float, digits: int = 3) -> str:
    """``number`` rounded to ``digits`` significant digits, in plain notation: ``4.09``, ``25.6``, ``0.0123``."""
    if number == 0:
        return "0"
    exponent = math.floor(math.log10(abs(number)))
    rounded = round(number, digits - 1 - exponent)
    exponent = math.floor(math.log10(abs(rounded)))
    return f"{rounded:,.{max(digits - 1 - exponent, 0)}f}".replace("-", MINUS)


def _scaled(number: float, base: int, units: tuple[str, ...]) -> tuple[float, str]:
    """``number`` in the largest unit that keeps it below 1000 once rounded to three digits."""
    step = 0
    while abs(number) >= 999.5 and step < len(units) - 1:
        number /= base
        step += 1
    return number, units[step]


def count(number: Number) -> str:
    """``4.09 G``, ``25.6 M``, ``128``."""
    if number is None:
        return NOT_COUNTED
    if isinstance(number, int) and abs(number) < 1000:
        return str(number).replace("-", MINUS)
    scaled, prefix = _scaled(number, 1000, _SI)
    text = significant(scaled)
    return f"{text}{THIN}{prefix}" if prefix else text


def size(number: Number) -> str:
    """Bytes: ``97.5 MiB``, ``512 B``."""
    if number is None:
        return NOT_COUNTED
    if abs(number) < 1024:
        return f"{exact(number)}{THIN}B"
    scaled, unit = _scaled(number, 1024, _BINARY)
    return f"{significant(scaled)}{THIN}{unit}"


def duration(seconds: Number) -> str:
    """``38.2 ms``, ``1.20 s``."""
    if seconds is None:
        return NOT_COUNTED
    if seconds == 0:
        return f"0{THIN}s"
    unit, scale = _time_unit(seconds)
    return f"{significant(seconds / scale)}{THIN}{unit}"


def interval(median: float, low: float | None, high: float | None) -> str:
    """Seconds with their interval, ``38 ± 2 ms``: only the digits that the interval supports.

    What follows ± reaches the farther end. A lopsided interval, or one wider than half the value to a side, is written
    with its ends, ``1.0 (0.9–13) ms``. Without an interval, or with one of no width, :func:`duration`.
    """
    if low is None or high is None or low == high:
        return duration(median)
    unit, scale = _time_unit(median)
    half = max(high - median, median - low) / scale
    # A leading 1 may be off by half when it is rounded: 1.4 becomes 1.
    places = _places(half, 2 if _leading(half) == 1 else 1)
    if half > 0.5 * median / scale or _lopsided(median, low, high):
        return f"{_with_ends(median / scale, low / scale, high / scale)}{THIN}{unit}"
    return f"{_fixed(median / scale, places)} ± {_fixed(half, places)}{THIN}{unit}"


def ratio_interval(ratio: float, low: float | None, high: float | None) -> str:
    """``× 3.21 (3.15–3.30)``: a measured factor with its interval and the digits that this supports.

    More, where an end that is not 1 would read as 1: that decides whether there is a difference at all.
    """
    if low is None or high is None or low == high:
        return f"×{THIN}{significant(ratio)}"
    if _lopsided(ratio, low, high):
        return f"×{THIN}{_with_ends(ratio, low, high)}"
    places = _places((high - low) / 2, 1)
    while places < 6 and any(end != 1 and round(end, places) == 1 for end in (low, high)):
        places += 1
    return f"×{THIN}{_fixed(ratio, places)} ({_fixed(low, places)}–{_fixed(high, places)})"


def rate(number: float, low: float | None, high: float | None) -> str:
    """A measured rate, ``26`` or ``1.25 k``: at most three digits, and no more than its interval supports.

    Two without an interval.
    """
    digits = 2
    if low is not None and high is not None:
        half = max(high - number, number - low)
        digits = _places(half, 1) - _places(number, 1) + 1 if half > 0 else 3
    digits = min(max(digits, 1), 3)
    rounded = round(number, _places(number, digits))
    scaled, prefix = _scaled(rounded, 1000, _SI)
    return f"{significant(scaled, digits)}{THIN}{prefix}" if prefix else significant(scaled, digits)


def _lopsided(middle: float, low: float, high: float) -> bool:
    """Whether one end is more than twice as far away as the other, both rounded as ± would show them."""
    nearer, farther = sorted((high - middle, middle - low))
    places = _places(farther, 1)
    return round(farther, places) > 2.001 * round(max(nearer, 0.0), places)


def _with_ends(middle: float, low: float, high: float) -> str:
    """``1.0 (0.9–13)``: the value and the nearer end to a digit of their distance, the farther to one of its own.

    Three digits at most, and one at least. An end that is not 1 never reads as 1: of a ratio that decides.
    """
    nearer, farther = sorted((high - middle, middle - low))
    far = _places(farther, 2 if _leading(farther) == 1 else 1)
    near = min(_places(nearer, 1), _places(middle, 3)) if nearer > 0 else far
    near = max(near, far)

    def end(value: float) -> str:
        places = near if abs(value - middle) < farther else far
        if value > 0:
            places = max(places, _places(value, 1))
        while places < 6 and value != 1 and round(value, places) == 1:
            places += 1
        return _fixed(value, places)

    return f"{_fixed(middle, near)} ({end(low)}–{end(high)})"


def _time_unit(seconds: float) -> tuple[str, float]:
    """The largest unit in which ``seconds`` is at least 1 once rounded, and its seconds."""
    for unit, scale in _TIMES:
        if abs(seconds) >= 0.9995 * scale:
            return unit, scale
    return _TIMES[-1]


def _leading(number: float) -> int:
    """The first significant digit of a positive number, rounded to two."""
    return int(f"{number:.1e}"[0])


def _places(number: float, digits: int) -> int:
    """Decimal places that show ``digits`` significant digits of a positive number; negative for tens, hundreds …"""
    return digits - 1 - int(f"{number:.{digits - 1}e}".partition("e")[2])


def _fixed(number: float, places: int) -> str:
    return f"{round(number, places):,.{max(places, 0)}f}".replace("-", MINUS)


def many(number: int, noun: str) -> str:
    """``1 thread``, ``2 threads``, ``3 passes``."""
    ending = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{number:,} {noun}{ending}"


def exact(number: Number) -> str:
    """``4,089,184,256``; a ratio with six significant digits."""
    if number is None:
        return NOT_COUNTED
    text = f"{number:,}" if isinstance(number, int) else f"{number:,.6g}"
    return text.replace("-", MINUS)


def value(metric: Metric | str, number: Number) -> str:
    """``number`` in the unit of ``metric`` (or of the metric with that key)."""
    metric = METRIC[metric] if isinstance(metric, str) else metric
    if metric.unit == "bytes":
        return size(number)
    if metric.unit == "seconds":
        return duration(number)
    if metric.unit == "count":
        return count(number)
    if number is None:
        return NOT_APPLICABLE
    if metric.unit == "share":
        return percent(number)
    text = count(number) if abs(number) >= 999.5 else significant(number)
    return f"{text}{THIN}{metric.suffix}" if metric.suffix else text


def difference(before: Number, after: Number) -> str:
    """``× 3.91`` above a factor of 2 or below 0.5, else ``+12 %`` or ``−3.4 %``; ``=`` when equal.

    ``new`` when there was nothing before, ``—`` when either is unknown.
    """
    if before is None or after is None:
        return NOT_APPLICABLE
    if before == after:
        return "="
    if before == 0:
        return "new"
    factor = after / before
    if factor > 2 or 0 < factor < 0.5:
        return f"×{THIN}{significant(factor)}"
    percent = (factor - 1) * 100
    sign = "+" if percent > 0 else MINUS
    return f"{sign}{significant(abs(percent), 3 if abs(percent) >= 100 else 2)}{THIN}%"


def apart(before: Number, after: Number) -> str:
    """``× 1.2``: the factor between two separate measurements; ``—`` without one of them.

    Two digits at most: measurements at different times differ by more than their own intervals say.
    """
    if not before or after is None:
        return NOT_APPLICABLE
    return f"×{THIN}{significant(after / before, 2)}"


def share(part: Number, whole: Number) -> str:
    """``2.9 %`` of a whole; ``—`` when either is unknown or the whole is 0."""
    if part is None or not whole:
        return NOT_APPLICABLE
    return f"{significant(part / whole * 100, 2)}{THIN}%" if part < whole else f"100{THIN}%"


def percent(share: int | float, digits: int = 3) -> str:
    """A share of 0 to 1 in per cent: ``80 %``, ``99.9 %``. Never 0 or 100 unless it is exactly that."""
    text = significant(share * 100, digits)
    if text == "100" and share < 1:
        text = ">99.9"
    return f"{_without_zeros(text)}{THIN}%"


def _without_zeros(text: str) -> str:
    """``80`` for ``80.0``."""
    return text.rstrip("0").rstrip(".") if "." in text else text


def shape(sizes: Shape) -> str:
    """``1×3×224×224``; ``scalar`` for no dimension."""
    return "×".join(str(size_) for size_ in sizes) or "scalar"


def exact_value(metric: Metric, number: Number) -> str:
    """``number`` to the last digit with its unit: ``102,228,128 B``, ``4,089,184,256``."""
    if number is None:
        return NOT_APPLICABLE if metric.unit in ("ratio", "share") else NOT_COUNTED
    if metric.unit == "share":
        return percent(number, 6)
    unit = _EXACT_UNITS.get(metric.unit, metric.suffix)
    return f"{exact(number)}{THIN}{unit}" if unit else exact(number)


def shapes(several: tuple[Shape, ...]) -> str:
    """Several shapes with commas; ``—`` for none."""
    return ", ".join(shape(each) for each in several) or NOT_APPLICABLE


def inputs(several: tuple[InputShape, ...]) -> str:
    """``x 1×3×224×224``: all inputs with their names."""
    return ", ".join(f"{each.name} {each}" for each in several) or "no tensor input"
