"""Files of ``torch.save`` in its three forms, and bare pickles: their values, and what reading them would run."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial

from engine.contents import Call, Import, shown
from engine.errors import LoadError
from engine.files.archive import LOCAL_MAGIC, Archive, ZipEntry, is_archive
from engine.files.dtypes import SIZES
from engine.files.limits import MAX_NESTED, MAX_TEXT_BYTES, Budget
from engine.files.pickle_machine import HANDLERS, Cursor, Machine, Record
from engine.files.places import Store
from engine.files.rebuild import Rebuilder
from engine.files.regions import Region
from engine.files.values import MalformedError, Storage, Value

MAGIC = 0x1950A86A20F9469CFC6C
"""First value of a file of torch.save before 1.6 (``torch.serialization.MAGIC_NUMBER``)."""

_MAGIC_HEAD = b"\x8a\x0a" + MAGIC.to_bytes(10, "little") + b"."
_TAR_BLOCK = 512


class Reading:
    """Everything that is read of one file: its budget, what its pickles would run, notes."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.record = Record()
        self.notes: list[str] = []
        self.stores: list[Store] = []
        """Where the storages of its tensors are."""
        self._depth = 0
        self._nested = 0

    def note(self, sentence: str) -> None:
        if sentence not in self.notes and len(self.notes) < 20:
            self.notes.append(sentence)

    def run(self, cursor: Cursor, stored: Callable[[str], int | None] | None = None, name: str = "") -> Value:
        """The value of the pickle at ``cursor``."""
        return self._machine(cursor, stored, name)[0]

    def _machine(
        self, cursor: Cursor, stored: Callable[[str], int | None] | None, name: str
    ) -> tuple[Value, Rebuilder]:
        rebuilder = Rebuilder(cursor.region, self.budget, stored, self.load_bytes, name)
        machine = Machine(cursor, self.budget, self.record, rebuilder, self.scan)
        value = machine.run()
        self._keep_arrays(rebuilder)
        return value, rebuilder

    def _keep_arrays(self, rebuilder: Rebuilder) -> None:
        for order in ("little", "big"):
            found = {key: array for key, array in rebuilder.arrays.items() if array[2] == order}
            if found:
                regions = {key: region for key, (_, region, _) in found.items()}
                storages = {key: storage for key, (storage, _, _) in found.items()}
                self.stores.append(Store(storages, regions.__getitem__, order))

    def archive(self, archive: Archive, name: str = "") -> Value:
        """The object in an archive of torch.save."""
        entry = archive.get("data.pkl")
        assert entry is not None
        return self.entry(archive, entry, "data/", name)

    def entry(self, archive: Archive, entry: ZipEntry, folder: str, name: str = "") -> Value:
        """The object of a pickle in an archive whose storages lie in ``folder``."""

        def stored(key: str) -> int | None:
            found = archive.get(folder + key)
            return found.size if found is not None else None

        if entry.size <= MAX_TEXT_BYTES:
            region = archive.region.of_bytes(archive.read(entry, MAX_TEXT_BYTES), entry.name)
        else:
            region = archive.open(entry)
        for note in archive.notes:
            self.note(note)
        cursor = Cursor(region)
        value, rebuilder = self._machine(cursor, stored, name)
        self.keep(archive, rebuilder.storages, folder)
        if cursor.position < region.size:
            self.note(
                f"{shown(entry.name)} goes on after its pickle ends: {region.size - cursor.position:,} bytes."
            )
        return value

    def keep(self, archive: Archive, storages: dict[str, Storage], folder: str = "") -> None:
        """Notes that these storages are entries in a folder of the archive."""
        self.stores.append(Store(storages, partial(_stored_in, archive, folder), _order(archive)))

    def legacy(self, region: Region, name: str = "") -> Value:
        """A file of torch.save before 1.6: magic, version, system, object, keys, and the storages one by one."""
        cursor = Cursor(region)
        for what in ("magic number", "version", "description of the system"):
            value = self.run(cursor)
            if what == "magic number" and value != MAGIC:
                raise region.failure(f"its {what} is wrong", cursor.position)
        value, rebuilder = self._machine(cursor, None, name)
        keys = self.run(cursor)
        parts = _parts(region, cursor.position, keys, rebuilder)
        # Written in little endian by every machine (writeFileRaw in torch/csrc/serialization.cpp).
        self.stores.append(Store(rebuilder.storages, parts.__getitem__))
        return value

    def bare(self, region: Region) -> tuple[Value, int]:
        """(value of the first pickle, number of pickles that follow it directly)."""
        cursor = Cursor(region)
        value = self.run(cursor)
        stores = list(self.stores)
        more = 0
        while cursor.position < region.size:
            start = cursor.position
            try:
                self.run(cursor)
            except LoadError:
                self.note(f"{region.size - start:,} bytes follow its last pickle.")
                break
            more += 1
        self.stores = stores  # the values of further pickles are not listed
        return value, more

    def tar(self, region: Region) -> None:
        """A file of torch.save before 0.1.10: only what its pickles would import is read."""
        for name, part in tar_members(region):
            if name in ("pickle", "storages", "tensors"):
                cursor = Cursor(part)
                try:
                    self._machine(cursor, None, "")
                except LoadError as error:
                    # Persistent ids of that time are numbers.
                    self.note(f"Of {name} only a part was read: {error.message}")

    def load_bytes(self, region: Region) -> Value:
        """The object in a torch file inside a pickle."""
        if self._depth >= MAX_NESTED:
            raise MalformedError(f"torch files are nested more than {MAX_NESTED} deep")
        self._depth += 1
        self._nested += 1
        try:
            name = f"{self._nested}/"
            if is_archive(region):
                return self.archive(self._checked(region), name)
            return self.legacy(region, name)
        finally:
            self._depth -= 1

    def _checked(self, region: Region) -> Archive:
        archive = Archive(region, self.budget)
        if not archive.has("data.pkl"):
            raise region.failure("an archive in it holds no data.pkl")
        return archive

    def scan(self, region: Region) -> None:
        """Writes down what bytes would run that are handed to somebody's code, if they are a pickle or torch file.

        Bytes that only by chance begin like a pickle of protocol 0 count when they are a whole one.
        """
        head = region.read(0, min(region.size, 64))
        if not could_be_pickle(head):
            return
        if self._depth >= MAX_NESTED:
            self.note(f"Pickles are nested more than {MAX_NESTED} deep; the innermost were not read.")
            return
        record, self.record = self.record, Record()
        stores = list(self.stores)
        self._depth += 1
        complete = False
        try:
            if is_archive(region):
                self.archive(self._checked(region))
            else:
                self.bare(region)
            complete = True
        except LoadError:
            self.budget.check()
        finally:
            self._depth -= 1
            self.record, found = record, self.record
            self.stores = stores  # its tensors are not those of the file
        if complete or is_surely_pickle(head):
            self.record.merge(found)

    def imports(self) -> tuple[Import, ...]:
        record = self.record
        return tuple(
            Import(shown(name, 200), count, record.origins[name]) for name, count in record.imports.items()
        )

    def calls(self) -> tuple[Call, ...]:
        record = self.record
        if record.left_out:
            self.note(f"{record.left_out:,} more imports and calls are not listed.")
        return tuple(
            Call(shown(name, 200), count, example, record.origins[name])
            for name, (count, example) in record.calls.items()
        )


def _stored_in(archive: Archive, folder: str, key: str) -> Region:
    entry = archive.get(folder + key)
    assert entry is not None  # the rebuilder looked it up
    return archive.open(entry)


def _order(archive: Archive) -> str:
    """``big`` where the archive says so; torch takes one that says nothing for little endian."""
    entry = archive.get("byteorder")
    return "big" if entry is not None and archive.read(entry, 2**10) == b"big" else "little"


def _parts(region: Region, position: int, keys: Value, rebuilder: Rebuilder) -> dict[str, Region]:
    """The storages behind the pickles by their keys: each is its number of elements (64 bits) and its data."""
    if not isinstance(keys, list):
        raise region.failure("its list of storages is no list", position)
    rebuilder.budget.spend_work(len(keys))
    storages = dict(rebuilder.storages)
    parts: dict[str, Region] = {}
    for key in keys:
        storage = storages.pop(key, None) if isinstance(key, str) else None
        if storage is None:
            raise region.failure("its list of storages names one that no tensor uses", position)
        (count,) = struct.unpack("<q", region.read(position, 8))
        size = count * SIZES[storage.dtype]
        if size != storage.bytes:
            raise region.failure(f"a storage should have {storage.bytes:,} bytes and has {size:,}", position)
        if position + 8 + size > region.size:
            raise region.failure("the data of its last tensors is missing", region.size)
        parts[key] = region.part(position + 8, size, region.name)
        position += 8 + size
    if storages:
        raise region.failure(f"the data of {len(storages):,} storages is missing", position)
    return parts


def is_legacy(head: bytes) -> bool:
    """Whether a file begins with the magic number of torch.save before 1.6, in any pickle protocol since 2."""
    return head[:1] == b"\x80" and _MAGIC_HEAD in head[:32]


def could_be_pickle(head: bytes) -> bool:
    """Whether it is worth trying to read bytes as a pickle, or as an archive with one: any opcode can come first."""
    return bool(head) and (HANDLERS[head[0]] is not None or head.startswith(LOCAL_MAGIC))


def is_surely_pickle(head: bytes) -> bool:
    """Whether bytes begin with a protocol number, or as an archive."""
    return (
        head[:1] == b"\x80" and head[1:2] in (b"\0", b"\1", b"\2", b"\3", b"\4", b"\5")
    ) or head.startswith(LOCAL_MAGIC)


def tar_members(region: Region) -> list[tuple[str, Region]]:
    """Regular files of a tar archive. Raises LoadError for sizes that lead out of it."""
    members: list[tuple[str, Region]] = []
    position = 0
    while position + _TAR_BLOCK <= region.size and len(members) < 100:
        header = region.read(position, _TAR_BLOCK)
        if not header.strip(b"\0"):
            break
        digits = header[124:136].strip(b" \0")
        if (
            header[257:262] != b"ustar"
            or len(digits) > 12
            or not digits.isdigit()
            or b"8" in digits
            or b"9" in digits
        ):
            raise region.failure("its tar header is damaged", position)
        size = int(digits, 8)
        name = header[:100].partition(b"\0")[0].decode("utf-8", "replace")
        if header[156:157] in (b"0", b"\0"):
            members.append((name, region.part(position + _TAR_BLOCK, size, name)))
        position += _TAR_BLOCK + -(-size // _TAR_BLOCK) * _TAR_BLOCK
    return members
