"""Where the bytes of a file's tensors lie, for whoever wants to read them: plain data, nothing is read here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, TypeAlias

from engine.files.regions import Region
from engine.files.values import Storage


class Place(NamedTuple):
    """The bytes of one storage: ``size`` of them from ``start`` of ``file``, or ``data`` where they were packed."""

    file: Path
    start: int
    size: int
    order: str
    """``little`` or ``big``."""
    data: bytes | None = None


Places: TypeAlias = dict[str, Place]
"""``Tensors.storage`` → its place. Tensors without memory and sparse ones have none."""


class Store(NamedTuple):
    """Storages that are found in the same way: ``open`` gives the bytes of one by its key in the pickle."""

    storages: dict[str, Storage]
    open: Callable[[str], Region]
    order: str = "little"


def places_of(stores: Iterable[Store]) -> Places:
    """Call while the file is open. Raises LoadError for a storage that is not where it should be."""
    places: Places = {}
    for store in stores:
        for key, storage in store.storages.items():
            region = store.open(key)
            data = region.read(0, region.size) if region.in_memory else None
            places[storage.key] = Place(region.file, region.start, region.size, store.order, data)
    return places
