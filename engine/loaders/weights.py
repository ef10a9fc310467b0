"""The tensors of a read file as torch tensors: from their bytes, nothing of the file is unpickled.

Files up to ``MAPPED`` bytes are read straight into the memory that the tensors keep. Larger ones are mapped, so that
opening them again costs nothing; they are looked at before each real run, and only one that another program shortens in
the middle of a run ends this process. Nothing is ever written to a file.
"""

from __future__ import annotations

import mmap
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from engine.contents import Contents, Group, shown
from engine.errors import LoadError
from engine.files import read
from engine.files.digest import sha256
from engine.files.places import Place, Places
from engine.files.regions import Region, open_file
from engine.graph import Shape, elements

MAPPED = 2**30
"""Bytes of the largest file that is read and not mapped."""
LEAST_MAPPED = 2**20
"""Bytes of the smallest part of such a file that is mapped."""

DTYPES = {
    name: getattr(torch, name)
    for name in (
        "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8",
        "uint64", "uint32", "uint16", "uint8", "bool", "complex128", "complex64", "complex32",
        "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu",
    )
    if hasattr(torch, name)
}  # fmt: skip
"""Of these, elements are numbers side by side. Quantised ones need their scales, of which the listing knows nothing."""


class _Row(NamedTuple):
    shape: Shape
    stride: Shape
    dtype: str
    offset: int
    storage: str


class Weights:
    """One group of tensors of a file, by their names there."""

    def __init__(self, contents: Contents, group: Group) -> None:
        tensors = contents.tensors
        index = contents.groups.index(group)
        self.file = Path(contents.file)
        self.contents = contents
        self._stamp = _stamp(self.file)
        self._mapped: dict[Path, tuple[int, int]] = {}
        """Files whose bytes tensors are still looked up in, as they were."""
        self.rows = {
            tensors.name[at]: _Row(
                tensors.shape[at],
                tensors.stride[at],
                tensors.dtype[at],
                tensors.offset[at],
                tensors.storage[at],
            )
            for at in range(len(tensors.name))
            if tensors.group[at] == index
        }

    @property
    def shapes(self) -> dict[str, Shape]:
        return {name: row.shape for name, row in self.rows.items()}

    def dtype(self, name: str) -> torch.dtype | None:
        """None where the tensor cannot be read: a sparse or quantised one, numpy's texts, one without memory."""
        row = self.rows[name]
        if not row.storage and elements(row.shape):
            return None
        return DTYPES.get(row.dtype) if len(row.stride) == len(row.shape) else None

    @contextmanager
    def open(self) -> Iterator[OpenWeights]:
        """Read tensors inside. Raises LoadError when the file is gone, damaged or not the one that was listed."""
        places: Places = {}
        now = read(self.file, places)
        if now.tensors != self.contents.tensors or _stamp(self.file) != self._stamp:
            raise _changed(self.file)
        with ExitStack() as stack:
            yield OpenWeights(self.file, self.rows, places, stack, self._mapped)

    def check(self) -> None:
        """Raises LoadError when a file has changed that tensors are mapped from."""
        for path, stamp in self._mapped.items():
            if _stamp(path) != stamp:
                raise _changed(path)


class OpenWeights:
    """Tensors of the open files. Those that share memory in the file share it here."""

    def __init__(
        self,
        file: Path,
        rows: Mapping[str, _Row],
        places: Places,
        stack: ExitStack,
        mapped: dict[Path, tuple[int, int]],
    ) -> None:
        """``mapped`` gets the files that are mapped, as they are now."""
        self._file = file
        self._mapped = mapped
        self._rows = rows
        self._places = places
        self._stack = stack
        self._files: dict[Path, Region] = {}
        self._users = Counter(row.storage for row in rows.values())
        self._shared: dict[str, Tensor] = {}

    def tensor(self, name: str) -> Tensor:
        """The values of a tensor whose ``Weights.dtype`` is known. Raises LoadError when they cannot be read."""
        row = self._rows[name]
        dtype = DTYPES[row.dtype]
        if not elements(row.shape):
            return torch.empty(row.shape, dtype=dtype)
        place = self._places.get(row.storage)
        start, count = row.offset * dtype.itemsize, _span(row) * dtype.itemsize
        if place is None or start + count > place.size:
            raise LoadError(
                f"{shown(self._file.name)} has no data for {shown(name)}.",
                hint="Save its state_dict() again with today's torch.",
                file=str(self._file),
            )
        data = self._bytes(row.storage, place, start, count, dtype.itemsize)
        if data.data_ptr() % dtype.itemsize:
            data = data.clone()
        if place.order == "big":
            data = _swapped(data, dtype)
        values = data.view(dtype)
        return values.as_strided(row.shape, row.stride, values.storage_offset())

    def _bytes(self, storage: str, place: Place, start: int, count: int, unit: int) -> Tensor:
        """``count`` bytes of a storage from ``start``; a storage of several tensors is read once, as a whole."""
        if self._users[storage] == 1:
            return self._read(place, start, count, unit)
        if storage not in self._shared:
            self._shared[storage] = self._read(place, 0, place.size, unit)
        return self._shared[storage][start : start + count]

    def _read(self, place: Place, start: int, count: int, unit: int) -> Tensor:
        if place.data is not None:
            return torch.frombuffer(bytearray(place.data[start : start + count]), dtype=torch.uint8)
        if place.file not in self._files:
            region = self._files[place.file] = self._stack.enter_context(_opened(place.file))
            if region.size > MAPPED:
                self._mapped[place.file] = _status(region)
        return _bytes_of(self._files[place.file], place.start + start, count, unit)


def _bytes_of(region: Region, start: int, count: int, unit: int) -> Tensor:
    """``count`` bytes of an open file, for elements of ``unit`` bytes. Raises LoadError where it ends before that."""
    region.part(start, count, "")
    # Elements that do not lie on a multiple of their size would have to be copied out of the mapping.
    if region.size > MAPPED and count >= LEAST_MAPPED and start % unit == 0:
        mapped = _mapped(region, start, count)
        if mapped is not None:
            return mapped
    data = torch.empty(count, dtype=torch.uint8)
    _read_into(region, start, data.numpy().data)
    return data


@contextmanager
def _opened(path: Path) -> Iterator[Region]:
    """Raises LoadError when the file cannot be opened, or was written to in the meantime."""
    with open_file(path) as region:
        before = _status(region)
        yield region
        if _status(region) != before:
            raise _changed(path)


def _stamp(path: Path) -> tuple[int, int]:
    with open_file(path) as region:
        return _status(region)


def _status(region: Region) -> tuple[int, int]:
    """(size, time of the last change) of the open file as it is now."""
    status = os.fstat(region.handle.fileno())
    return status.st_size, status.st_mtime_ns


def _mapped(region: Region, start: int, count: int) -> Tensor | None:
    """Bytes of the file in memory that is private to this process; None where they cannot be mapped."""
    if _status(region)[0] < region.size:
        # A look at what is no longer there would end the process.
        raise _changed(region.file)
    skipped = start % mmap.ALLOCATIONGRANULARITY
    try:
        mapping = mmap.mmap(
            region.handle.fileno(), skipped + count, access=mmap.ACCESS_COPY, offset=start - skipped
        )
    except (OSError, ValueError, MemoryError):
        return None
    return torch.frombuffer(mapping, dtype=torch.uint8)[skipped:]


def _read_into(region: Region, start: int, target: memoryview) -> None:
    handle = region.handle
    try:
        handle.seek(start)
        done = 0
        while done < len(target):
            count = handle.readinto(target[done:])  # type: ignore[attr-defined]
            if not count:
                raise region.failure("it became shorter while it was read", start + done)
            done += count
    except OSError as error:
        raise region.failure(f"it cannot be read: {error.strerror or error}", start) from error


def _span(row: _Row) -> int:
    """Elements from the first to the last of a tensor as it lies in its storage."""
    return sum((size - 1) * step for size, step in zip(row.shape, row.stride, strict=True)) + 1


def _swapped(data: Tensor, dtype: torch.dtype) -> Tensor:
    """Bytes of the other byte order; each half of a complex number is a number of its own."""
    size = dtype.itemsize // 2 if dtype.is_complex else dtype.itemsize
    return data.view(-1, size).flip(1).contiguous().view(-1)


def _changed(path: Path) -> LoadError:
    return LoadError(
        f"{shown(path.name)} is not what it was when it was opened.", hint="Open it again.", file=str(path)
    )


def dtype_name(dtype: torch.dtype) -> str:
    """``float32`` for torch.float32."""
    return str(dtype).removeprefix("torch.")


def sha256_of(contents: Contents) -> str | None:
    """Of a file that is one and not very large; None for others. Raises LoadError when it cannot be read."""
    return None if contents.shards else sha256(Path(contents.file))
