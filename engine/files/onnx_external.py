"""Files beside an ONNX model that hold values of its tensors: found without being opened, and only in its own folder.

A model comes from anywhere, and its external data is any path that its author wrote. None is followed out of the
folder: not by ``..``, not from the root, not to another drive or host, not through a symbolic link. A model that is
itself a link, as in Hugging Face's cache, may have its data beside the file that it leads to.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple

from engine.contents import shown
from engine.errors import LoadError


class Extent(NamedTuple):
    """Bytes of a file."""

    file: Path
    offset: int
    length: int


NAMELESS = "\0"
"""Stands for a model whose name no location can have; no file is called so."""


def is_text(path: Path) -> bool:
    """Whether ``path`` can be said in UTF-8: a protobuf message and the libraries for ONNX take no other."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def own_name(path: Path) -> str:
    """The location that means the file of the model at ``path`` itself."""
    return path.name if is_text(Path(path.name)) else NAMELESS


def file_at(path: Path, location: str) -> Path:
    """The file that ``location`` means, in the external data of the model at ``path``."""
    return path if location == own_name(path) else path.parent / location


class ExternalFiles:
    """The external data of the model at ``path``. Each file is looked at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.own_name = own_name(path)
        """What stands for the model itself in the outline of engine.files.onnx_outline."""
        self.found: dict[str, tuple[Path, int]] = {}
        """Location as the model writes it → (file, bytes)."""

    def extent(self, tensor: str, entries: dict[str, str], needed: int) -> Extent:
        """Where the ``needed`` bytes of the values of ``tensor`` are, by the entries of its ``external_data``.

        Raises LoadError, with tensor and file, for whatever is no stretch of a regular file in the model's folder.
        """
        location = entries.get("location", "")
        if location not in self.found:
            self.found[location] = self._look(tensor, location)
        file, size = self.found[location]
        offset = self._number(tensor, entries, "offset", 0)
        length = self._number(tensor, entries, "length", needed)
        if length < needed:
            raise self._refused(
                tensor,
                f"should have {needed:,} bytes, and its length in {shown(location)} is {length:,}",
                "It is damaged: export the model again.",
            )
        if offset + length > size:
            raise self._refused(
                tensor,
                f"is at bytes {offset:,} to {offset + length:,} of {shown(location)}, which has {size:,}",
                "It was not copied whole, or belongs to another model: get both files again.",
            )
        return Extent(file, offset, length)

    def _look(self, tensor: str, location: str) -> tuple[Path, int]:
        path = self.path if location == self.own_name else self._inside(tensor, location)
        try:
            status = path.stat()
        except FileNotFoundError as error:
            raise self._refused(
                tensor, f"is in {shown(location)}, which is not there", "Put that file beside the model."
            ) from error
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise self._refused(
                tensor, f"is in {shown(location)}, which cannot be read: {reason}", _BESIDE
            ) from error
        if not stat.S_ISREG(status.st_mode):
            raise self._refused(tensor, f"is in {shown(location)}, which is no regular file", _OUTSIDE)
        if not os.access(path, os.R_OK):
            raise self._refused(
                tensor, f"is in {shown(location)}: permission denied", "Allow reading that file."
            )
        return path, status.st_size

    def _inside(self, tensor: str, location: str) -> Path:
        """The path of ``location``. Raises LoadError unless it is in the folder, also after every link."""
        windows, posix = PureWindowsPath(location), PurePosixPath(location)
        if (
            not location
            or "\0" in location
            or posix.is_absolute()
            or windows.drive
            or windows.root
            or ".." in posix.parts
            or ".." in windows.parts
        ):
            what = (
                f"is in {shown(location)}, outside the model's folder" if location else "is in no named file"
            )
            raise self._refused(tensor, what, _OUTSIDE)
        try:
            folder = self.path.parent.absolute()
            real = (folder / location).resolve()
            inside = any(real.is_relative_to(each) for each in (folder.resolve(), self.path.resolve().parent))
        except (OSError, ValueError, RuntimeError) as error:
            raise self._refused(
                tensor, f"is in {shown(location)}, which is no usable path", _OUTSIDE
            ) from error
        if not inside:
            raise self._refused(
                tensor, f"is in {shown(location)}, a link that leads out of the model's folder", _OUTSIDE
            )
        return folder / location

    def _number(self, tensor: str, entries: dict[str, str], key: str, absent: int) -> int:
        text = entries.get(key, "")
        if not text:
            return absent
        if not (text.isascii() and text.isdigit() and len(text) < 20):
            raise self._refused(
                tensor, f"has the {key} {shown(text, 40)} in its external data, which is no number of bytes"
            )
        return int(text)

    def _refused(
        self, tensor: str, what: str, hint: str = "It is damaged: export the model again."
    ) -> LoadError:
        return LoadError(
            f"{shown(self.path.name)} cannot be opened: its tensor {shown(tensor)} {what}.",
            hint=hint,
            file=str(self.path),
        )


_BESIDE = "It must be a file beside the model that can be read."
_OUTSIDE = "Values of tensors are read only from files in the folder of the model."
