"""From the rows of an analysis to its totals and its coverage, whatever format they came from."""

from __future__ import annotations

from collections import Counter

from msgspec import Struct

from engine.cost import Work
from engine.metrics import ratio
from engine.results import Coverage, Layers, NotCounted, Totals


class Held(Struct, frozen=True):
    """What a model holds, each tensor once: elements, and bytes of the parameters."""

    params: int
    trainable: int
    buffers: int
    weight_bytes: int


class CostColumns:
    """The columns of Layers that follow from the work of each row and how often it runs."""

    def __init__(self) -> None:
        self.macs: list[int | None] = []
        self.flops: list[int | None] = []
        self.special_ops: list[int | None] = []
        self.formula: list[str] = []

    def add(self, work: Work, calls: int) -> None:
        """One more row: ``work`` of each of ``calls`` calls."""
        if calls == 1:
            self.macs.append(work.macs)
            self.flops.append(work.flops)
            self.special_ops.append(work.special_ops)
            self.formula.append(work.formula)
            return
        self.macs.append(None if work.macs is None else work.macs * calls)
        self.flops.append(None if work.flops is None else work.flops * calls)
        self.special_ops.append(None if work.special_ops is None else work.special_ops * calls)
        self.formula.append(f"{calls} calls × ({work.formula})")


def totals_of(layers: Layers, held: Held, untouched_params: int, peak_bytes: int) -> Totals:
    """Sums over the rows, beside what the model holds."""
    macs = sum([value for value in layers.macs if value is not None])
    flops = sum([value for value in layers.flops if value is not None])
    moved = sum([value for value in layers.bytes_moved if value is not None])
    return Totals(
        params=held.params,
        trainable_params=held.trainable,
        buffers=held.buffers,
        untouched_params=untouched_params,
        macs=macs,
        flops=flops,
        special_ops=sum([value for value in layers.special_ops if value is not None]),
        weight_bytes=held.weight_bytes,
        activation_bytes=sum([value for value in layers.activation_bytes if value is not None]),
        peak_activation_bytes=peak_bytes,
        bytes_moved=moved,
        arithmetic_intensity=ratio(flops, moved),
        reuse=ratio(macs, held.params),
    )


def coverage_of(layers: Layers) -> Coverage:
    """How many of the calls have a count; the operations of the others by number of calls."""
    uncounted: Counter[str] = Counter()
    for op, calls, flops in zip(layers.op, layers.calls, layers.flops, strict=True):
        if flops is None:
            uncounted[op] += calls
    calls = sum(layers.calls)
    return Coverage(
        calls=calls,
        counted_calls=calls - sum(uncounted.values()),
        not_counted=tuple([NotCounted(op, count) for op, count in uncounted.most_common()]),
    )
