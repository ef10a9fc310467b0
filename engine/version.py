"""Misnomer's own version: that of the installed package, or of the source tree that it runs in."""

from __future__ import annotations

import tomllib
from functools import lru_cache
from importlib import metadata
from pathlib import Path


@lru_cache(1)
def version() -> str:
    """``0.1.0``; ``unknown`` where nothing tells."""
    source = Path(__file__).resolve().parent.parent / "pyproject.toml"
    try:
        if source.is_file():
            return str(tomllib.loads(source.read_text(encoding="utf-8"))["project"]["version"])
        return metadata.version("misnomer")
    except (metadata.PackageNotFoundError, OSError, KeyError, tomllib.TOMLDecodeError):
        return "unknown"
