"""An onnxruntime profile as a file: as ``profile.py`` reads its events, within limits of memory and work.

onnxruntime writes one event per line, so a large file is read line by line; up to ``WHOLE_BYTES`` any JSON will do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

import msgspec

from engine.errors import CancelledError, LoadError
from engine.onnx.profile import KERNEL, RUN, ProfileEvent, RunProfile, runs_of

WHOLE_BYTES = 16 * 2**20
LINE_BYTES = 2**20
"""Of one event: nodes with thousands of inputs stay below."""
MOST_EVENTS = 400_000
"""Kernels that are kept; a ResNet-50 has some 60 per run."""
MOST_LINES = 4_000_000
LONGEST_US = 2**53
"""Largest time or duration that is believed."""
CHECK_EVERY = 4096
ASKED = (
    "op_name", "provider", "output_type_shape", "mem_bytes_in_use", "mem_in_use_delta", "mem_in_use_peak",
)  # fmt: skip
"""Arguments of an event that are kept."""
HINT = "Set SessionOptions.enable_profiling and give the file that end_profiling() names."

_events = msgspec.json.Decoder(list[ProfileEvent])
_event = msgspec.json.Decoder(ProfileEvent)


class GivenProfile(NamedTuple):
    """What a file tells."""

    runs: tuple[RunProfile, ...]
    cut: bool
    """Whether the file has more than was read: the first runs are here."""


def read_given(file: Path, stop: Event) -> GivenProfile:
    """The runs in ``file`` that have kernels. Raises LoadError for what is no profile or has none, CancelledError."""
    profile = read_profile(file, stop)
    runs = tuple(run for run in profile.runs if run.kernels)
    if not runs:
        raise _refused(file, "none of its events is a run of a model with its kernels")
    return GivenProfile(runs, profile.cut)


def read_profile(file: Path, stop: Event) -> GivenProfile:
    """The complete runs in ``file``, those without kernels too. Raises LoadError for what is no profile."""
    try:
        small = file.stat().st_size <= WHOLE_BYTES
        events = iter(_events.decode(file.read_bytes())) if small else _lines(file)
        found, cut = _kept(events, file, stop)
    except (OSError, msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise _refused(file, str(error)) from error
    return GivenProfile(runs_of(found), cut)


def _refused(file: Path, what: str) -> LoadError:
    return LoadError(f"{file.name} is no profile of onnxruntime: {what}.", hint=HINT, file=str(file))


def _lines(file: Path) -> Iterator[ProfileEvent]:
    with file.open("rb") as stream:
        while line := stream.readline(LINE_BYTES):
            if len(line) == LINE_BYTES:
                raise _refused(file, f"a line of it is longer than {LINE_BYTES >> 20} MiB")
            line = line.strip().rstrip(b",")
            if line not in (b"", b"[", b"]"):
                yield _event.decode(line.removeprefix(b"[").removesuffix(b"]") if line[:1] == b"[" else line)


def _kept(events: Iterator[ProfileEvent], file: Path, stop: Event) -> tuple[list[ProfileEvent], bool]:
    """Runs and kernels, less what nobody asks for; whether there are more."""
    found: list[ProfileEvent] = []
    for number, event in enumerate(events):
        if number % CHECK_EVERY == 0 and stop.is_set():
            raise CancelledError()
        if len(found) == MOST_EVENTS or number == MOST_LINES:
            return found, True
        if event.name != RUN and not (event.cat == "Node" and event.name.endswith(KERNEL)):
            continue
        if not (0 <= event.ts < LONGEST_US and 0 <= event.dur < LONGEST_US and math.isfinite(event.ts)):
            raise _refused(file, f"{event.name!r} has a time that cannot be")
        told: dict[str, Any] = {key: event.args[key] for key in ASKED if key in event.args}
        found.append(ProfileEvent(event.name, event.cat, event.ts, event.dur, told))
    return found, False
