"""How far the process's resident memory grows during a forward pass."""

from __future__ import annotations

import ctypes
import logging
import sys
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger(__name__)

SELF = Path("/proc/self")
RESET_PEAK = "5"
"""What proc(5) wants in clear_refs to set the resident peak back to what is resident."""


def process_growth(forward: Callable[[], None], reasons: list[str]) -> int | None:
    """Growth of the process's resident peak while ``forward`` runs, in bytes; None, and a reason more, where unknown.

    Linux only: elsewhere the peak is that of the whole life of the process and cannot be set back.
    """
    if not sys.platform.startswith("linux"):
        reasons.append("process growth: this system cannot set a process's peak back")
        return None
    _return_free_memory()
    try:
        (SELF / "clear_refs").write_text(RESET_PEAK)
        before = _status_bytes("VmRSS")
        forward()
        return max(_status_bytes("VmHWM") - before, 0)
    except (OSError, LookupError) as error:
        log.info("no process growth: %s", error)
        reasons.append("process growth: the kernel does not let the peak be set back")
        return None


def _status_bytes(field: str) -> int:
    """A size of procfs's status. Raises LookupError where it is not there."""
    for line in (SELF / "status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise LookupError(field)


def _return_free_memory() -> None:
    """What glibc keeps for later would hide growth: a pass that reuses it seems to need nothing."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
