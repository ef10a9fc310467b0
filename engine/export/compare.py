"""``--fail-if``: conditions on totals, absolute or against a reference, decided in exact arithmetic."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Literal

from msgspec import Struct

from engine.errors import InputError
from engine.metrics import METRIC, Number
from engine.numbers import difference, exact, exact_value, value
from engine.results import Totals

OPERATORS: dict[str, Callable[[Fraction, Fraction], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_COUNT_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BYTE_UNITS = {
    "": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip
_TIME_UNITS = {
    "s": Fraction(1), "ms": Fraction(1, 10**3), "us": Fraction(1, 10**6), "µs": Fraction(1, 10**6),
    "μs": Fraction(1, 10**6), "ns": Fraction(1, 10**9),
}  # fmt: skip
"""Both signs for micro are in use."""
_PATTERN = re.compile(
    r"\s*(?P<key>\w+)\s*(?P<operator>>=|<=|>|<)\s*(?P<sign>[+\-\u2212]?)\s*"
    r"(?P<number>[0-9][0-9_,]{0,30}(?:\.[0-9]{1,30})?)\s*(?P<unit>%|[A-Za-zµμ]*)\s*"
)
_SHORT = {"latency": "latency_s", "cpu": "cpu_s"}
"""Names for the command line of totals whose field says its unit."""


class Condition(Struct, frozen=True):
    """``macs>+5%`` and the like: fails a run when it holds."""

    text: str
    key: str
    """Field of :class:`engine.results.Totals`."""
    operator: str
    kind: Literal["absolute", "difference", "percent"]
    """What stands on the left: the total, its difference to the reference, or that in per cent."""
    limit: Fraction

    @property
    def needs_reference(self) -> bool:
        return self.kind != "absolute"

    def holds(self, totals: Totals, reference: Totals | None) -> bool:
        """Whether the condition is true.

        A growth from 0 is more than any per cent. Raises InputError when a reference is needed and absent, or
        a total is not known.
        """
        compare = OPERATORS[self.operator]
        now = self._known(getattr(totals, self.key))
        if self.kind == "absolute":
            return compare(now, self.limit)
        if reference is None:
            raise self._no_reference()
        before = self._known(getattr(reference, self.key))
        limit = self.limit if self.kind == "difference" else self.limit * before / 100
        return compare(now - before, limit)

    def require_reference(self) -> None:
        """Raises InputError when the condition needs a reference; called where there is none."""
        if self.needs_reference:
            raise self._no_reference()

    def _no_reference(self) -> InputError:
        return InputError(
            f"--fail-if {self.text!r} compares with a reference, and there is none.",
            hint="Give one with --against OLD.json, or edit the model with --remove or --set.",
        )

    @property
    def is_measured(self) -> bool:
        """Whether it is about something that only a measurement knows."""
        return self.key in METRIC and METRIC[self.key].measured

    @property
    def is_of_zeros(self) -> bool:
        """Whether it is about something that only a look at the weights tells."""
        return self.key in METRIC and METRIC[self.key].weighed

    def _known(self, number: Number) -> Fraction:
        if number is None and self.is_measured:
            raise InputError(
                f"--fail-if {self.text!r} cannot be decided: {self.key} is not measured on both sides.",
                hint="Measure with --latency cpu, and give a report made with it to --against.",
            )
        if number is None and self.is_of_zeros:
            raise InputError(
                f"--fail-if {self.text!r} cannot be decided: {self.key} is not known on both sides.",
                hint="It needs the values of the weights: open a file that holds them.",
            )
        if number is None:
            raise InputError(
                f"--fail-if {self.text!r} cannot be decided: {self.key} does not apply to this model."
            )
        # As it is written: 0.05 of a report is 50 ms, though the binary number is a little more.
        return Fraction(repr(number))

    def finding(self, totals: Totals, reference: Totals | None) -> str:
        """What the condition found: ``macs>+5% holds: 4,089,184,256 → 15,996,551,168 (× 3.91).``"""
        now = getattr(totals, self.key)
        metric = METRIC.get(self.key)
        text = exact_value(metric, now) if metric else exact(now)
        measured = self.is_measured and metric is not None
        if measured:
            text = value(self.key, now)
        if self.needs_reference and reference is not None:
            before = getattr(reference, self.key)
            as_text = measured or (metric is not None and metric.unit == "share")
            old = value(self.key, before) if as_text else exact(before)
            text = f"{old} → {text} ({difference(before, now)})"
        return f"{self.text.strip()} holds: {text}."


def parse_condition(text: str) -> Condition:
    """``macs>+5%``, ``params>26M``, ``weight_bytes>100MiB`` or ``latency>50ms`` as a condition.

    A number with a sign is a difference to the reference. Raises InputError that says what is wrong.
    """
    found = _PATTERN.fullmatch(text)
    if found is None:
        raise InputError(
            f"--fail-if {text!r} is not METRIC>VALUE.",
            hint="For example: macs>+5%, params>26M or peak_activation_bytes>100MiB.",
        )
    key, unit = _SHORT.get(found["key"], found["key"]), found["unit"]
    known = list(dict.fromkeys([*Totals.__struct_fields__, *METRIC]))
    if key not in known:
        raise InputError(
            f"--fail-if {text!r}: there is no total {key!r}.",
            hint=f"Totals: {', '.join(known)}.",
        )
    number = Fraction(found["number"].replace("_", "").replace(",", ""))
    a_share = key in METRIC and METRIC[key].unit == "share" and not found["sign"]
    if unit == "%" and a_share:
        unit, number = "", number / 100
    if unit == "%":
        if not found["sign"]:
            raise InputError(
                f"--fail-if {text!r}: a percentage needs a sign.", hint=f"Write +{number}% or -{number}%."
            )
        factor = Fraction(1)
    else:
        factor = _factor(text, key, unit)
    sign = -1 if found["sign"] in ("-", "\u2212") else 1
    kind: Literal["absolute", "difference", "percent"] = (
        "percent" if unit == "%" else "difference" if found["sign"] else "absolute"
    )
    return Condition(text, key, found["operator"], kind, sign * number * factor)


def _factor(text: str, key: str, unit: str) -> Fraction:
    if key in METRIC and METRIC[key].unit == "seconds":
        if unit.lower() not in _TIME_UNITS:
            what = f"{unit!r} is no unit of {key}" if unit else f"{key} needs a unit"
            raise InputError(f"--fail-if {text!r}: {what}.", hint="Units: s, ms, us, ns.")
        return _TIME_UNITS[unit.lower()]
    units = _BYTE_UNITS if key.endswith("bytes") or key == "bytes_moved" else _COUNT_UNITS
    if unit.lower() not in units:
        names = "B, KiB, MiB, GiB, kB, MB, GB" if units is _BYTE_UNITS else "k, M, G, T"
        raise InputError(f"--fail-if {text!r}: {unit!r} is no unit of {key}.", hint=f"Units: {names}.")
    return Fraction(units[unit.lower()])
