"""Passes that other programs disturbed: which of them count, and what is said about layers timed in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from engine.measurement import UNDISTURBED_DELAY, Flag, LayerTimes

T = TypeVar("T")

UNDISTURBED = 3
"""So many passes in which the threads hardly waited for a core are enough to leave the others out."""
COVERAGE = (0.9, 1.1)
BELIEVED = (0.5, 1.5)
"""Coverage outside is no noise: the layers' times are of something else than the forward pass."""
OVERHEAD = 1.1


def enough_undisturbed(passes: Sequence[tuple[T, float]]) -> bool:
    """Whether there are enough passes in which the threads hardly waited for a core to leave the others out."""
    return sum(waiting <= UNDISTURBED_DELAY for _, waiting in passes) >= UNDISTURBED


def least_disturbed(passes: Sequence[tuple[T, float]]) -> list[T]:
    """The undisturbed passes where there are enough of them, else the half that waited least.

    Choosing by the waiting, which is not the model's doing, makes no layer faster than it is.
    """
    undisturbed = [one for one, waiting in passes if waiting <= UNDISTURBED_DELAY]
    half = (len(passes) + 1) // 2
    if len(undisturbed) >= min(UNDISTURBED, half):
        return undisturbed
    return [one for one, _ in sorted(passes, key=lambda each: each[1])[:half]]


def preempted_flags(*kinds: Sequence[tuple[object, float]]) -> tuple[Flag, ...]:
    """Of passes with the share of each that its threads waited; every kind of pass needs undisturbed ones."""
    if all(map(enough_undisturbed, kinds)):
        return ()
    waiting = [share for passes in kinds for _, share in passes]
    count = sum(share > UNDISTURBED_DELAY for share in waiting)
    if not count:
        return ()  # a slow model had no time for more
    return (Flag("preempted", f"the threads waited for a core in {count} of {len(waiting)} passes"),)


def layer_flags(times: LayerTimes) -> tuple[Flag, ...]:
    """What the sums say against the layers' times."""
    flags: list[Flag] = []
    low, high = COVERAGE
    if not low <= times.coverage <= high:
        severe = not BELIEVED[0] <= times.coverage <= BELIEVED[1]
        words = f"the layers add up to {times.coverage:.0%} of the forward pass"
        flags.append(Flag("coverage", words, severe))
    if times.overhead > OVERHEAD:
        flags.append(Flag("overhead", f"timed, the forward pass took {times.overhead:.2f} times as long"))
    return tuple(flags)
