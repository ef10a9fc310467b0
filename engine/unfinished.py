"""Folders beside a file that is being written: what a killed process leaves of them can be told, and removed.

The window reads this too: it removes what its own engine left, once that is gone.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

_LETTERS = 64
"""Of the file's name: a name of 255 bytes leaves no room for more."""


def make_folder(target: Path) -> Path:
    """An empty folder beside ``target``, of this process. Raises OSError."""
    prefix = f"{_prefix(target)}{os.getpid()}-"
    return Path(tempfile.mkdtemp(dir=target.parent, prefix=prefix))


def remove_left(target: Path, is_over: Callable[[int], bool]) -> None:
    """Remove the folders of ``target`` that belong to a process (by its id) that is over; what resists stays."""
    prefix = _prefix(target)
    try:
        names = [each.name for each in target.parent.iterdir() if each.name.startswith(prefix)]
    except OSError:
        return
    for name in names:
        pid, dash, _ = name.removeprefix(prefix).partition("-")
        if dash and pid.isdecimal() and is_over(int(pid)):
            shutil.rmtree(target.parent / name, ignore_errors=True)


def _prefix(target: Path) -> str:
    return f".{target.name[:_LETTERS]}.misnomer-"
