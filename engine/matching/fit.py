"""How well the tensors of a file fit one structure of the index, with which arguments of its builder."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from engine.graph import Shape
from engine.matching.names import COUNTER, View
from engine.matching.zoo_index import Member, Rule, Size

EXACT, CLASSES, ARGUMENTS, PARTLY = range(4)

MAX_DEPTH = 8
"""Components of the prefixes that copies are looked for below."""


class Fit(NamedTuple):
    """A view of a file against a structure. Names are those of the structure, ``extra`` and ``outside`` the file's."""

    view: View
    arguments: dict[str, int]
    """Arguments with which the structure's sizes become those of the file."""
    defaults: dict[str, int]
    """What these arguments are otherwise."""
    expected: int
    matched: int
    copies: int
    """Tensors beside the view that are copies of matched ones, such as an average of the weights."""
    missing: tuple[str, ...]
    """Parameters that the file does not have."""
    missing_buffers: int
    other_shape: tuple[tuple[str, Shape, Shape], ...]
    """Name, shape in the structure and in the file."""
    extra: tuple[str, ...]
    outside: tuple[str, ...]

    @property
    def tier(self) -> int:
        """The first thing to rank by."""
        if self.missing or self.other_shape or self.extra or self.outside:
            return PARTLY
        if not self.arguments:
            return EXACT
        return CLASSES if set(self.arguments) == {"num_classes"} else ARGUMENTS

    @property
    def similarity(self) -> float:
        """Matched among all tensors of either side; buffers that are missing do not count."""
        strange = len(self.missing) + len(self.other_shape) + len(self.extra) + len(self.outside)
        return self.matched / max(self.matched + strange, 1)

    @property
    def is_worth_naming(self) -> bool:
        """Whether the file may well hold weights of this architecture, and not a name or two by chance."""
        own = self.matched / max(self.matched + len(self.missing) + len(self.other_shape), 1)
        of_file = self.matched / max(self.matched + len(self.other_shape) + len(self.extra), 1)
        if self.tier != PARTLY:
            return True
        return self.matched >= 4 and (own >= 0.9 or of_file >= 0.9 or (own >= 0.4 and of_file >= 0.4))


def fit(view: View, members: Sequence[Member], rules: Sequence[Rule]) -> Fit:
    """Compare the names and shapes of ``view`` with those of a structure."""
    shapes = {member.name: member.shape for member in members}
    names = list(shapes)
    absent: set[str] = set()
    arguments: dict[str, int] = {}
    for rule in rules:
        value = _value(rule, names, shapes, view.shapes)
        if value == 0:
            absent = {names[tensor] for tensor in rule.absent}
        elif value is not None:
            for size in rule.sizes:
                name = names[size.tensor]
                shapes[name] = _with(shapes[name], size.dim, _dimension(size, rule.power, value))
        if value is not None:
            arguments[rule.argument] = value
    return _compared(view, members, shapes, absent, arguments, rules)


def _compared(
    view: View,
    members: Sequence[Member],
    shapes: Mapping[str, Shape],
    absent: set[str],
    arguments: dict[str, int],
    rules: Sequence[Rule],
) -> Fit:
    missing, other_shape, matched, missing_buffers = [], [], 0, 0
    for member in members:
        if member.name in absent:
            continue
        own = view.shapes.get(member.name)
        if own == shapes[member.name]:
            matched += 1
        elif own is not None:
            other_shape.append((member.name, shapes[member.name], own))
        elif member.buffer:
            missing_buffers += 1
        else:
            missing.append(member.name)
    extra = tuple(name for name in view.shapes if name not in shapes and not name.endswith(COUNTER))
    outside = tuple(name for name in view.outside if not _is_copy(name, shapes))
    return Fit(
        view=view,
        arguments=arguments,
        defaults={rule.argument: rule.default for rule in rules if rule.argument in arguments},
        expected=len(members) - len(absent),
        matched=matched,
        copies=len(view.outside) - len(outside),
        missing=tuple(missing),
        missing_buffers=missing_buffers,
        other_shape=tuple(other_shape),
        extra=extra,
        outside=outside,
    )


def _is_copy(name: str, shapes: Mapping[str, Shape]) -> bool:
    """Whether ``teacher.fc.weight`` is what the structure calls ``fc.weight``, below a prefix."""
    rest = name
    for _ in range(MAX_DEPTH):
        rest = rest.partition(".")[2]
        if rest in shapes:
            return True
    return name.endswith(COUNTER)


def _value(
    rule: Rule, names: Sequence[str], shapes: Mapping[str, Shape], own: Mapping[str, Shape]
) -> int | None:
    """The value of the argument that gives the file's sizes; None when the default does, or none."""
    if rule.absent and not any(names[tensor] in own for tensor in rule.absent):
        return 0
    values: set[int | None] = set()
    for size in rule.sizes:
        name = names[size.tensor]
        shape = own.get(name)
        if shape is None:
            continue
        if len(shape) != len(shapes[name]):
            return None
        values.add(_solved(size, rule.power, shape[size.dim]))
    if len(values) != 1:
        return None
    value = values.pop()
    return None if value == rule.default else value


def _dimension(size: Size, power: int, value: int) -> int:
    return size.factor * int(value**power) // size.divisor + size.offset


def _solved(size: Size, power: int, dimension: int) -> int | None:
    """The positive whole value of the argument that makes a dimension this large."""
    scaled, rest = divmod((dimension - size.offset) * size.divisor, size.factor)
    if rest or scaled < 1:
        return None
    value = scaled if power == 1 else math.isqrt(scaled)
    return value if value**power == scaled else None


def _with(shape: Shape, dim: int, dimension: int) -> Shape:
    return (*shape[:dim], dimension, *shape[dim + 1 :])
