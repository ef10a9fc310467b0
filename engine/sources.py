"""The text that names a model source: ``torchvision:resnet50``, ``net.py:build``, ``weights.pt#ema@timm:vit_tiny``.

Weights and what they belong to are one source: ``FILE@ARCHITECTURE``, with ``FILE#GROUP@ARCHITECTURE`` for one of
several state dicts in the file. ``FILE#PART`` without an architecture asks for a part or a way of opening the file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

SCHEMES = ("torchvision:", "timm:", "transformers:")
"""What a source begins with that is no file of weights."""
CONFIGURATION = "config.json"
"""The file of a transformers folder that says what the model is; the folder's code and weights lie beside it."""
UNGUARDED = "unguarded"
"""The part that opens an exported program for sizes it was not exported for."""

_ARCHITECTURE = re.compile(r"@(?=(?:torchvision|timm|transformers):|.*\.py(?::|$))")


class FileSource(NamedTuple):
    """A file or folder with, perhaps, the part that is meant and the architecture its weights belong to."""

    path: str
    part: str = ""
    architecture: str = ""

    def __str__(self) -> str:
        part = f"#{self.part}" if self.part else ""
        return f"{self.path}{part}@{self.architecture}" if self.architecture else f"{self.path}{part}"


def split_file(source: str) -> FileSource:
    """``source`` as a file with what follows it; a path that exists as it is written is taken whole."""
    python = split_python(source)
    if _exists(source) or (python is not None and _exists(python[0])):
        return FileSource(source)
    splits = [
        _split_part(source[: found.start()], source[found.end() :])
        for found in _ARCHITECTURE.finditer(source)
    ]
    return next((split for split in splits if _exists(split.path)), None) or (
        splits[0] if splits else _split_part(source, "")
    )


def _split_part(path: str, architecture: str) -> FileSource:
    """The first ``#`` after which what stands before it exists ends the path; else the last one does."""
    places = [match.start() for match in re.finditer("#", path)]
    if _exists(path) or not places:
        return FileSource(path, "", architecture)
    place = next((place for place in places if _exists(path[:place])), places[-1])
    return FileSource(path[:place], path[place + 1 :], architecture)


def split_python(source: str) -> tuple[str, str] | None:
    """(file, callable text) of ``net.py:build``; no text for a bare ``net.py``; None for other sources."""
    head, colon, tail = source.rpartition(".py:")
    if colon:
        return f"{head}.py", tail
    return (source, "") if source.lower().endswith(".py") else None


def is_file(source: str) -> bool:
    """Whether ``source`` begins with a path: one that exists, or a text with an ending or a folder in it."""
    if not source or source.startswith(SCHEMES):
        return False
    path = Path(split_file(source).path)
    return _exists(str(path)) or bool(path.name and path.suffix) or len(path.parts) > 1


def absolute(source: str) -> str:
    """``source`` with absolute paths, so that it does not depend on anyone's current folder."""
    return _with_paths(source, _absolute)


def short(source: str) -> str:
    """``source`` for a title: folders left out."""
    return _with_paths(source, lambda path: Path(path).name or path)


def _with_paths(source: str, change: Callable[[str], str]) -> str:
    """``source`` with every path in it changed."""
    if source.startswith("transformers:"):
        return f"transformers:{change(source.partition(':')[2])}"
    if not is_file(source):
        return source
    file = split_file(source)
    python = split_python(source)
    if python is not None and not file.architecture:
        path, call = python
        return f"{change(path)}:{call}" if call else change(path)
    return str(file._replace(path=change(file.path), architecture=_with_paths(file.architecture, change)))


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))


def _exists(path: str) -> bool:
    try:
        return os.path.exists(os.path.expanduser(path))
    except ValueError:  # a null character
        return False
