"""Reading and writing of report files: whole or not at all, with the reason in a sentence."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from engine.errors import ExportError

MAX_REPORT_BYTES = 256 * 2**20
"""A report of 10,000 layers has some 8 MiB; what is larger than this is no report and is not read."""


def write_file(path: str | os.PathLike[str], data: bytes) -> None:
    """Put ``data`` at ``path``; an existing file is replaced only when all of it is written.

    Raises ExportError when the place cannot be written.
    """
    # A link keeps pointing where it did, and a device or pipe is written to, never replaced.
    target = Path(os.path.realpath(path))
    try:
        if target.exists() and not target.is_file():
            target.write_bytes(data)
        else:
            _replace(target, data)
    except OSError as error:
        raise ExportError(
            f"{os.fspath(path)} cannot be written: {reason(error)}.", file=str(target)
        ) from error


def _replace(target: Path, data: bytes) -> None:
    mode = target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask()
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:64]}-")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp makes files private; a report should be as readable as any other file the user saves.
        os.chmod(temporary, mode)
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _umask() -> int:
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def read_file(path: str | os.PathLike[str]) -> bytes:
    """The bytes at ``path``. Raises ExportError when they cannot be read or are too many for a report."""
    name = os.fspath(path)
    try:
        with open(path, "rb") as stream:
            data = stream.read(MAX_REPORT_BYTES + 1)
    except OSError as error:
        raise ExportError(f"{name} cannot be read: {reason(error)}.", file=name) from error
    if len(data) > MAX_REPORT_BYTES:
        raise ExportError(f"{name} is no report: it is larger than {MAX_REPORT_BYTES >> 20} MiB.", file=name)
    return data


def reason(error: OSError) -> str:
    """What the operating system says, without error number and path: ``no such file or directory``."""
    text = error.strerror or str(error)
    return text[:1].lower() + text[1:]
