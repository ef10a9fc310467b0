"""Stretches of bytes with a name for messages: a file, an entry of an archive, bytes inside a pickle.

Nothing is memory-mapped: a file that shrinks under a mapping kills the process, and a listing reads no weights anyway.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from engine.contents import shown
from engine.errors import LoadError

DAMAGED = "It is damaged, or was not copied whole: get the file again."


class Region:
    """``size`` bytes from ``start`` of an open file. ``name`` is the entry they belong to, empty for a whole file."""

    __slots__ = ("_handle", "_start", "file", "name", "size")

    def __init__(self, handle: BinaryIO, file: Path, size: int, name: str = "", start: int = 0) -> None:
        self._handle = handle
        self._start = start
        self.file = file
        self.name = name
        self.size = size

    @property
    def handle(self) -> BinaryIO:
        """The open file that the bytes are read from."""
        return self._handle

    @property
    def start(self) -> int:
        """Where the bytes begin in the open file."""
        return self._start

    @property
    def in_memory(self) -> bool:
        """Whether the bytes are not those of the file itself: they were unpacked, or read as a whole."""
        return isinstance(self._handle, io.BytesIO)

    def read(self, offset: int, count: int) -> bytes:
        """Exactly ``count`` bytes. Raises LoadError where the region ends before that."""
        if offset < 0 or count < 0 or offset + count > self.size:
            raise self.failure(f"it ends where {count:,} more bytes should follow", offset)
        try:
            self._handle.seek(self._start + offset)
            data = self._handle.read(count)
        except OSError as error:
            raise self.failure(f"it cannot be read: {error.strerror or error}", offset) from error
        if len(data) != count:
            raise self.failure("it became shorter while it was read", offset)
        return data

    def part(self, start: int, size: int, name: str) -> Region:
        """The ``size`` bytes from ``start``. Raises LoadError where they reach beyond the end."""
        if start < 0 or size < 0 or start + size > self.size:
            raise self.failure(
                f"{shown(name) or 'a part of it'} should be {size:,} bytes from there, and it ends before",
                start,
            )
        return Region(self._handle, self.file, size, name, self._start + start)

    def of_bytes(self, data: bytes, name: str) -> Region:
        """``data``, which was unpacked from this region."""
        return Region(io.BytesIO(data), self.file, len(data), name)

    def failure(self, what: str, offset: int | None = None, hint: str = DAMAGED) -> LoadError:
        """The error of this place: file, entry, byte."""
        place = [f"in {shown(self.name)}"] if self.name else []
        place += [f"at byte {offset:,}"] if offset is not None else []
        where = f" ({', '.join(place)})" if place else ""
        return LoadError(
            f"{shown(self.file.name)} cannot be read{where}: {what}.", hint=hint, file=str(self.file)
        )


@contextmanager
def open_file(path: Path) -> Iterator[Region]:
    """A regular file, open for reading. Raises LoadError for everything else; never waits for a pipe or a device."""
    name = shown(path.name)
    try:
        # A pipe without a writer must not block; O_BINARY exists on Windows only.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            what = "a folder" if stat.S_ISDIR(mode) else "no regular file"
            raise LoadError(f"{name} is {what}.", hint="Give a model file.", file=str(path))
        handle = os.fdopen(os.open(path, flags), "rb")
    except FileNotFoundError as error:
        raise LoadError(
            f"There is no file {shown(str(path))}.", hint="Check the path.", file=str(path)
        ) from error
    except PermissionError as error:
        raise LoadError(
            f"{name} cannot be read: permission denied.", hint="Allow reading it.", file=str(path)
        ) from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise LoadError(
            f"{name} cannot be read: {reason}.", hint="Check the path.", file=str(path)
        ) from error
    with handle:
        status = os.fstat(handle.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise LoadError(f"{name} is no regular file.", hint="Give a model file.", file=str(path))
        yield Region(handle, path, status.st_size)
