"""An onnxruntime profile: what its events say about every kernel of every run.

A list of events. ``model_run`` is one run, ``<name>_kernel_time`` in the category ``Node`` one kernel; times are
microseconds. Older versions also wrote ``_fence_before`` and ``_fence_after``. Kernels of a body lie inside those of
its control-flow node.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from msgspec import Struct

from engine.graph import Shape

KERNEL = "_kernel_time"
RUN = "model_run"


class ProfileEvent(Struct):
    """As onnxruntime writes it; ``ts`` and ``dur`` are microseconds."""

    name: str = ""
    cat: str = ""
    ts: int = 0
    dur: int = 0
    args: dict[str, Any] = {}


class KernelRun(NamedTuple):
    """One execution of one kernel."""

    name: str
    """Of the node in the optimised graph; ``<op>_<index>`` for one without a name."""
    op: str
    provider: str
    seconds: float
    """Exclusive: without the kernels of its bodies."""
    output_shapes: tuple[Shape, ...]
    in_use: int | None
    """Bytes that the arena had handed out after it; None in versions that do not tell."""
    in_use_before: int | None
    in_use_peak: int | None
    """The most it ever had handed out, up to then."""


class RunProfile(NamedTuple):
    """One run of the model."""

    seconds: float
    kernels: tuple[KernelRun, ...]
    """In the order in which they began."""


def runs_of(events: Sequence[ProfileEvent]) -> tuple[RunProfile, ...]:
    """By run, in order; kernels outside all runs are left out."""
    runs = sorted((each for each in events if each.name == RUN), key=lambda each: each.ts)
    kernels = sorted(
        (each for each in events if each.cat == "Node" and each.name.endswith(KERNEL)),
        # What encloses others begins with the first of them, or before.
        key=lambda each: (each.ts, -each.dur),
    )
    found: list[RunProfile] = []
    position = 0
    for run in runs:
        inside: list[ProfileEvent] = []
        while position < len(kernels) and kernels[position].ts <= run.ts + run.dur:
            if kernels[position].ts >= run.ts:
                inside.append(kernels[position])
            position += 1
        found.append(RunProfile(run.dur * 1e-6, _kernels(inside)))
    return tuple(found)


def _kernels(events: Sequence[ProfileEvent]) -> tuple[KernelRun, ...]:
    """Kernels run one after the other: what lies inside another is of its body."""
    own = [each.dur for each in events]
    around: list[int] = []
    for index, event in enumerate(events):
        while around and events[around[-1]].ts + events[around[-1]].dur < event.ts + event.dur:
            around.pop()
        if around and events[around[-1]].args.get("op_name") in ("If", "Loop", "Scan"):
            own[around[-1]] -= event.dur
        around.append(index)
    return tuple(_kernel(event, max(micros, 0) * 1e-6) for event, micros in zip(events, own, strict=True))


def _kernel(event: ProfileEvent, seconds: float) -> KernelRun:
    told = event.args
    in_use, change = _number(told.get("mem_bytes_in_use")), _number(told.get("mem_in_use_delta"))
    return KernelRun(
        event.name.removesuffix(KERNEL),
        str(told.get("op_name", "")),
        str(told.get("provider", "")),
        seconds,
        _shapes(told.get("output_type_shape")),
        in_use,
        in_use - change if in_use is not None and change is not None else None,
        _number(told.get("mem_in_use_peak")),
    )


def _number(text: object) -> int | None:
    try:
        return int(str(text))
    except ValueError:
        return None


def _shapes(told: object) -> tuple[Shape, ...]:
    """``[{"float": [1, 3, 224, 224]}]``; a sequence or an absent output has none."""
    shapes = []
    for each in told if isinstance(told, list) else ():
        for shape in each.values() if isinstance(each, dict) else ():
            if isinstance(shape, list) and all(isinstance(size, int) for size in shape):
                shapes.append(tuple(shape))
    return tuple(shapes)
