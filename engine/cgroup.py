"""What a control group (a container, a job of a cluster) leaves of the machine. Linux only; elsewhere None.

Both versions are read: in v2 every limit stands in ``memory.max`` and ``cpu.max``, in v1 each controller has a
tree of its own. A limit of any group above holds too, so the tightest counts.
Source: Linux kernel documentation, admin-guide/cgroup-v2 and cgroup-v1/memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def memory_left() -> int | None:
    """Bytes that this process's groups still allow; None where no group limits memory."""
    left = [
        most - used
        for group in _groups("memory")
        if (most := _number(group / "memory.max", group / "memory.limit_in_bytes")) is not None
        and (used := _used(group)) is not None
    ]
    return max(min(left), 0) if left else None


def cpu_quota() -> float | None:
    """Cores' worth of CPU time that this process's groups allow; None where no group limits it."""
    quotas = [quota for group in _groups("cpu") if (quota := _quota(group)) is not None]
    return min(quotas) if quotas else None


def _groups(controller: str) -> Iterator[Path]:
    """The directories of the groups this process is in, for one controller, the innermost first."""
    try:
        lines = MEMBERSHIP.read_text("utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controllers and controller not in controllers.split(","):
            continue
        root = ROOT / controllers if controllers else ROOT
        inner = root / path.lstrip("/")
        # Inside a container the path may be the host's, and the container's own group is mounted as the root.
        yield from (group for group in (inner, *inner.parents) if group.is_relative_to(root))


def _used(group: Path) -> int | None:
    """Bytes in use less file cache that the kernel would give up first; what container tools report."""
    used = _number(group / "memory.current", group / "memory.usage_in_bytes")
    if used is None:
        return None
    try:
        lines = (group / "memory.stat").read_text("ascii").splitlines()
    except OSError:
        return used
    statistics = dict(line.split(" ", 1) for line in lines if " " in line)
    cache = statistics.get("total_inactive_file", statistics.get("inactive_file", "0"))
    return max(used - int(cache), 0)


def _quota(group: Path) -> float | None:
    try:
        most, period = (group / "cpu.max").read_text("ascii").split()
    except (OSError, ValueError):
        amount, every = _number(group / "cpu.cfs_quota_us"), _number(group / "cpu.cfs_period_us")
        return amount / every if amount and every else None
    return None if most == "max" else int(most) / int(period)


def _number(*files: Path) -> int | None:
    """The number in the first of ``files`` that can be read; None for ``max``, a negative one and one past 2⁶²."""
    for file in files:
        try:
            number = int(file.read_text("ascii"))
        except (OSError, ValueError):
            continue
        return number if 0 <= number < 2**62 else None
    return None
