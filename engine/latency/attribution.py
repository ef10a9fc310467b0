"""From exclusive times of modules to times of layer rows. Arithmetic: nothing here measures or runs a model.

A module that calls no other gives all its time to its rows, divided in the ratio of its operations' times where there
are several. A module that calls others gives its rows the time of their operations; the rest of its own time is Python
between the layers and stays unattributed, as does the time of modules and operations without a row.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from engine.latency.module_timer import PassTimes
from engine.latency.ops import Executed
from engine.results import Layers

BY_OPERATIONS = "split by the times of its module's operations"
ALONE = "time of the operation alone; its module calls others"
DID_NOT_RUN = "did not run in the measured passes"

Seconds = Mapping[str, Mapping[str, float]]
"""Module path → row id → seconds of the operations that ran with that module innermost; ``""`` for those of no row."""


class Match(NamedTuple):
    """Which row of the analysis an executed operation counts in, and what to say about the rows that did not run."""

    row_of: dict[Executed, str]
    """``""`` where there is none."""
    notes: dict[str, str]
    """Row id → what to say: it did not run, or one kernel did the work of several rows and one of them has its time."""


def match_rows(executed: Iterable[Executed], called: Collection[str], layers: Layers) -> Match:
    """Rows of ``layers`` for operations of a real forward pass, in which the modules ``called`` were called.

    By id; else by owner and operation, which finds a row whose shape depends on data. An operation with parameters that
    fits no row is a kernel that does in one what the analysis has as several: it gets the rows of its module, and of
    the modules under it that were not called, that did not run themselves.
    """
    distinct = list(dict.fromkeys(executed))
    known = set(layers.id)
    alike = {(path, op): id for id, path, op in zip(layers.id, layers.path, layers.op, strict=True)}
    row_of: dict[Executed, str] = {}
    for one in distinct:
        similar = alike.get((one.row_path, one.op), "") if one.row_id else ""
        row_of[one] = one.row_id if one.row_id in known else similar
    ran = set(row_of.values())
    idle = [index for index, id in enumerate(layers.id) if id not in ran]
    notes: dict[str, str] = {}
    for one in sorted(distinct, key=lambda one: -one.path.count(".")):
        if row_of[one] or not one.reads_parameters:
            continue
        group = [index for index in idle if _inside(layers.path[index], one.path, called)]
        if not group:
            continue
        taken = set(group)
        idle = [index for index in idle if index not in taken]
        carrier = layers.id[next((index for index in group if layers.macs[index]), group[0])]
        row_of[one] = carrier
        for index in group:
            notes[layers.id[index]] = f"part of {carrier}: one kernel, {one.op}"
        notes[carrier] = f"one kernel, {one.op}, for {len(group)} rows"
    notes.update({layers.id[index]: DID_NOT_RUN for index in idle})
    return Match(row_of, notes)


def _inside(row_path: str, module: str, called: Collection[str]) -> bool:
    if row_path == module:
        return True
    return row_path not in called and (not module or row_path.startswith(module + "."))


def shares(
    times: Mapping[str, float], containers: Collection[str], ops: Seconds
) -> dict[str, dict[str, float]]:
    """By module path: the share of its exclusive time (``times``, the cost of timing subtracted) for each row.

    Shares of one module add up to at most 1.
    """
    result: dict[str, dict[str, float]] = {}
    for path, seconds in times.items():
        own = ops.get(path, {})
        total = sum(own.values())
        if not own:
            continue
        if path in containers:
            whole = max(total, seconds)
        else:
            whole = total
        if whole > 0:
            result[path] = {row: value / whole for row, value in own.items() if row}
        else:
            result[path] = {row: 1 / len(own) for row in own if row}
    return result


def how(parts: Mapping[str, Mapping[str, float]], containers: Collection[str]) -> dict[str, str]:
    """By row id: how its time was found, where it is not simply that of its module."""
    notes: dict[str, str] = {}
    for path, given in parts.items():
        if path in containers:
            notes.update(dict.fromkeys(given, ALONE))
        elif len(given) > 1:
            notes.update(dict.fromkeys(given, BY_OPERATIONS))
    return notes


def without_hooks(times: PassTimes, hook_s: float) -> dict[str, float]:
    """Exclusive times less what timing the children cost. May be slightly negative where that was overestimated."""
    return {path: seconds - hook_s * times.children.get(path, 0) for path, seconds in times.self_s.items()}


def divide(
    times: Mapping[str, float], parts: Mapping[str, Mapping[str, float]]
) -> tuple[dict[str, float], float]:
    """Seconds by row id and the unattributed rest; together they are all of ``times``."""
    rows: dict[str, float] = {}
    rest = 0.0
    for path, seconds in times.items():
        given = 0.0
        for row, share in parts.get(path, {}).items():
            part = max(seconds, 0.0) * share
            rows[row] = rows.get(row, 0.0) + part
            given += part
        rest += seconds - given
    return rows, rest
