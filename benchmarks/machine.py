"""What the figures were measured on; printed above every table."""

from __future__ import annotations

import os
import platform

import psutil


def describe() -> str:
    """Processor count, load, memory, Python; no names of the machine."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else psutil.cpu_percent(0.1) / 100
    memory = psutil.virtual_memory()
    return (
        f"{psutil.cpu_count()} logical cores, load {load:.1f}, {memory.available / 2**30:.1f} of "
        f"{memory.total / 2**30:.1f} GiB free, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}"
    )


def table(rows: list[list[str]]) -> str:
    """Rows (the first is the header) as aligned columns, numbers to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            row[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
        ]
        lines.append("  ".join(cells))
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)
