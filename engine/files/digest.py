"""SHA-256 of files, where that is worth the wait."""

from __future__ import annotations

import hashlib
from pathlib import Path

from engine.files.regions import open_file

HASHED = 256 * 2**20
"""Bytes of the largest file whose SHA-256 is worth the wait."""
_STEP = 2**24


def sha256(path: Path) -> str | None:
    """Of a file that is not very large; None for others. Raises LoadError when it cannot be read."""
    with open_file(path) as region:
        if region.size > HASHED:
            return None
        whole = hashlib.sha256()
        for start in range(0, region.size, _STEP):
            whole.update(region.read(start, min(_STEP, region.size - start)))
        return whole.hexdigest()
