"""The wire format of protobuf: which fields a message has and where their bytes lie, read a stretch at a time.

Format: https://protobuf.dev/programming-guides/encoding/. Nothing here knows what the fields mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from engine.files.limits import Budget
from engine.files.regions import Region

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types; 3 and 4 are groups, which nobody writes any more."""
_STRETCH = 2**16
_LONGEST = 20
"""Bytes of a field's tag and length, or number."""


class Field(NamedTuple):
    """One field. ``value`` is its number, or the length of its bytes, which are from ``body`` to ``end``."""

    number: int
    wire: int
    value: int
    start: int
    body: int
    end: int


class Messages:
    """The messages in a region. Offsets count from the beginning of the region."""

    def __init__(self, region: Region, budget: Budget) -> None:
        self.region = region
        self._budget = budget
        self._data = b""
        self._from = 0

    def fields(self, start: int, end: int) -> Iterator[Field]:
        """The fields of the message from ``start`` to ``end``, in their order.

        Raises LoadError where the bytes are no message, or for more fields than the budget allows.
        """
        at = start
        while at < end:
            field = self._field(at, end)
            yield field
            at = field.end

    def read(self, field: Field) -> bytes:
        """The bytes of a field that has some."""
        return self.between(field.body, field.end)

    def between(self, start: int, end: int) -> bytes:
        """The bytes from ``start`` to ``end``."""
        local = start - self._from
        if local >= 0 and end - self._from <= len(self._data):
            return self._data[local : local + end - start]
        return self.region.read(start, end - start)

    def text(self, field: Field) -> str:
        return self.read(field).decode("utf-8", "replace")

    def numbers(self, field: Field) -> list[int]:
        """The signed integers of a repeated field, packed or one by one."""
        if field.wire == VARINT:
            return [signed(field.value)]
        data, found, at = self.read(field), [], 0
        self._budget.spend_work(len(data))
        while at < len(data):
            value, at = self._varint(data, at, field.body)
            found.append(signed(value))
        return found

    def _field(self, at: int, end: int) -> Field:
        self._budget.spend_work(1)
        data, local = self._data, at - self._from
        if local < 0 or local + _LONGEST > len(data):
            stop = min(self.region.size, at + _STRETCH)
            if local < 0 or self._from + len(data) < stop:
                data = self._data = self.region.read(at, stop - at)
                self._from, local = at, 0
        base = self._from
        tag = data[local]
        if tag < 0x80:
            local += 1
        else:
            tag, local = self._varint(data, local, base)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise self.region.failure("a field there has no number", at)
        if wire in (BYTES, VARINT):
            value = data[local] if local < len(data) else 0x80
            if value < 0x80:
                local += 1
            else:
                value, local = self._varint(data, local, base)
            body = base + local
            after = body + value if wire == BYTES else body
        elif wire in (FIXED64, FIXED32):
            value, body = 0, base + local
            after = body + (8 if wire == FIXED64 else 4)
        else:
            raise self.region.failure(f"a field there is of the unknown wire type {wire}", at)
        if after > end:
            raise self.region.failure(
                f"a field of {after - at:,} bytes there is longer than what it is in", at
            )
        return Field(number, wire, value, at, body, after)

    def _varint(self, data: bytes, at: int, base: int) -> tuple[int, int]:
        """(number, where it ends)."""
        value = shift = 0
        for place in range(at, min(at + 10, len(data))):
            byte = data[place]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & (2**64 - 1), place + 1
            shift += 7
        raise self.region.failure("a number there does not end", base + at)


def signed(value: int) -> int:
    """A varint as the int64 that it stands for."""
    return value - 2**64 if value >= 2**63 else value


def varint(value: int) -> bytes:
    """``value``, which is not negative, as a varint."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def message(number: int, content: bytes) -> bytes:
    """A field with bytes."""
    return varint(number << 3 | BYTES) + varint(len(content)) + content
