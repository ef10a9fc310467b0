"""Zip archives, read by their central directory and never unpacked to disk.

Our own reader, because Python's keeps what a hostile directory claims: millions of entries, two with one name, names
that lead out of the archive, entries that overlap (the way of the smallest bombs). Each of these is an error here.
Format: PKWARE APPNOTE 6.3.10, sections 4.3 and 4.4.
"""

from __future__ import annotations

import stat
import struct
import zlib
from typing import NamedTuple

from engine.contents import shown
from engine.files.limits import MAX_DIRECTORY_BYTES, MAX_ENTRIES, MAX_INFLATED_BYTES, Budget, too_much
from engine.files.regions import Region

STORED, DEFLATED = 0, 8
LOCAL_MAGIC = b"PK\x03\x04"
_CENTRAL_MAGIC, _END_MAGIC, _END64_MAGIC, _LOCATOR_MAGIC = (
    b"PK\x01\x02",
    b"PK\x05\x06",
    b"PK\x06\x06",
    b"PK\x06\x07",
)
_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_ARCHIVE_WORK, _ENTRY_WORK, _HEADER_WORK = 100, 3, 5
_BYTES_PER_STEP = 2**10
_MAX_COMMENT = 2**16
_MAX_CHECKED = 32 * 2**20
"""Bytes of the largest entry whose checksum is looked at: pickles and descriptions are smaller, tensors need not be."""
_CHUNK = 2**20
_NEWEST = 63
"""Version of the format (6.3) up to which Python reads archives; torch writes 0."""
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_UTF8 = 0x800


class ZipEntry(NamedTuple):
    """One file in the archive, as the central directory has it."""

    name: str
    method: int
    crc: int
    packed: int
    size: int
    header: int


class Archive:
    """``entries`` by name, in the directory's order."""

    def __init__(self, region: Region, budget: Budget) -> None:
        """Raises LoadError for a directory that is cut off, lies, or no writer of PyTorch would make."""
        self.region = region
        self._budget = budget
        self.start_of_directory, directory, count = _directory(region)
        budget.spend_work(_ARCHIVE_WORK + _ENTRY_WORK * count)
        self.entries = _entries(region, directory, count, self.start_of_directory)
        # torch looks records up without regard to case, so two that differ in case alone are one name twice.
        self._by_name: dict[str, ZipEntry] = {}
        for entry in self.entries:
            if entry.name.lower() in self._by_name:
                raise region.failure(
                    f"it has two entries named {shown(entry.name)}",
                    entry.header,
                    "Programs differ in which one counts.",
                )
            self._by_name[entry.name.lower()] = entry
        _check_overlaps(region, self.entries, self.start_of_directory)
        self.notes: list[str] = []
        self.has_checksums = False
        """Whether its writer always writes true checksums; torch.save can be told not to."""

    def check(self, data: tuple[str, ...]) -> None:
        """Raises LoadError for damage that would only be met by torch's loader, after it was given the file.

        Every entry must be below the root and where the directory says. With ``has_checksums``, small entries that are
        stored as they are must be what was written, but for tensors: in the folders ``data`` below the root.
        """
        self._budget.spend_work(_HEADER_WORK * len(self.entries))
        tensors = tuple(self.root + folder for folder in data)
        for entry in self.entries:
            if not entry.name.startswith(self.root):
                raise self.region.failure(
                    f"{shown(entry.name)} is not in {shown(self.root)} as all others", entry.header
                )
            content = self._data(entry)
            is_checked = entry.method == STORED and entry.size <= _MAX_CHECKED
            if self.has_checksums and is_checked and not entry.name.startswith(tensors):
                self._budget.spend_work(entry.size // _BYTES_PER_STEP)
                checksum = 0
                for start in range(0, content.size, _CHUNK):
                    checksum = zlib.crc32(content.read(start, min(_CHUNK, content.size - start)), checksum)
                if checksum != entry.crc:
                    raise content.failure("its checksum does not match")

    @property
    def root(self) -> str:
        """The folder that holds everything, with its slash: that of the first entry, as torch has it."""
        first = self.entries[0].name if self.entries else ""
        return first[: first.index("/") + 1] if "/" in first else ""

    def get(self, name: str) -> ZipEntry | None:
        """The entry below the root."""
        return self._by_name.get((self.root + name).lower())

    def has(self, name: str) -> bool:
        return self.get(name) is not None

    def open(self, entry: ZipEntry) -> Region:
        """The content of an entry: a part of the file where it is stored, else unpacked in memory.

        Raises LoadError when the entry is not what the directory says, or unpacks to too much.
        """
        region = self._data(entry)
        if entry.method == STORED:
            return region
        if entry.size > MAX_INFLATED_BYTES:
            raise too_much(f"{shown(entry.name)} claims to unpack to {entry.size:,} bytes")
        self._budget.spend_inflated(entry.size)
        return region.of_bytes(_inflate(region, entry), entry.name)

    def read(self, entry: ZipEntry, limit: int) -> bytes:
        """The whole content of a small entry. Raises LoadError when it is larger than ``limit`` bytes."""
        if entry.size > limit:
            raise too_much(
                f"{shown(entry.name)} is {entry.size:,} bytes, and {limit:,} is the most of its kind"
            )
        self._budget.spend_work(entry.size // _BYTES_PER_STEP)
        data = self.open(entry).read(0, entry.size)
        if zlib.crc32(data) != entry.crc:
            if self.has_checksums:
                raise self.region.of_bytes(data, entry.name).failure("its checksum does not match")
            self.notes.append(
                f"The checksum of {shown(entry.name)} does not match: it is damaged, or was written without checksums."
            )
        return data

    def _data(self, entry: ZipEntry) -> Region:
        header = self.region.read(entry.header, _LOCAL.size)
        magic, _, flags, *_, name_length, extra_length = _LOCAL.unpack(header)
        raw = self.region.read(entry.header + _LOCAL.size, name_length)
        if magic != LOCAL_MAGIC or _decode(raw, flags) != entry.name:
            raise self.region.failure(
                f"the header of {shown(entry.name)} and the archive's directory disagree", entry.header
            )
        start = entry.header + _LOCAL.size + name_length + extra_length
        if start + entry.packed > self.start_of_directory:
            raise self.region.failure(
                f"{shown(entry.name)} reaches into the archive's directory", entry.header
            )
        if entry.method not in (STORED, DEFLATED):
            raise self.region.failure(
                f"{shown(entry.name)} is compressed by method {entry.method}, which is not read here",
                entry.header,
                hint="PyTorch writes no such files: unpack it, and pack it again.",
            )
        return self.region.part(start, entry.packed, entry.name)


def _inflate(region: Region, entry: ZipEntry) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    pieces: list[bytes] = []
    total = 0
    for offset in range(0, region.size, 2**16):
        chunk = region.read(offset, min(2**16, region.size - offset))
        try:
            piece = inflater.decompress(chunk, entry.size - total + 1)
        except zlib.error as error:
            raise region.failure("its compressed data is damaged", offset) from error
        pieces.append(piece)
        total += len(piece)
        if total > entry.size:
            raise region.failure(f"it unpacks to more than the {entry.size:,} bytes it claims", offset)
    if total != entry.size or not inflater.eof:
        raise region.failure(f"it unpacks to {total:,} bytes and claims {entry.size:,}")
    return b"".join(pieces)


def _directory(region: Region) -> tuple[int, bytes, int]:
    """(start, bytes, number of entries) of the central directory."""
    tail_start = max(0, region.size - _MAX_COMMENT - _END.size)
    tail = region.read(tail_start, region.size - tail_start)
    at = tail.rfind(_END_MAGIC)
    if at < 0 or len(tail) - at < _END.size:
        raise region.failure("it is a zip archive without its directory, which stands at the end")
    end = tail_start + at
    _, *fields, comment = _END.unpack_from(tail, at)
    if end + _END.size + comment > region.size:
        raise region.failure("its zip directory is cut off", end)
    large = _zip64(region, end)
    if large is not None:
        # Whoever reads archives goes by the larger record where there is one; the two must not tell different tales.
        pairs = zip(fields, large, (2**16 - 1,) * 4 + (2**32 - 1,) * 2, strict=True)
        if any(small not in (value, most) for small, value, most in pairs):
            raise region.failure("its zip directory and its zip64 directory disagree", end)
        fields = list(large)
    disk, first_disk, here, count, size, start = fields
    if disk or first_disk or here != count:
        raise region.failure("its zip directory says that it goes on in another file", end)
    if size > MAX_DIRECTORY_BYTES or count > MAX_ENTRIES:
        raise too_much(f"its zip directory lists {count:,} entries in {size:,} bytes")
    if start + size > end:
        raise region.failure(
            f"its zip directory should be {size:,} bytes at {start:,} and does not fit there", end
        )
    return start, region.read(start, size), count


def _zip64(region: Region, end: int) -> tuple[int, ...] | None:
    """What the zip64 directory says in the place of the six numbers in the record at ``end``; None without one."""
    at = end - _LOCATOR.size
    locator = region.read(at, _LOCATOR.size) if at >= 0 else b""
    if not locator.startswith(_LOCATOR_MAGIC):
        return None
    _, disk, where, disks = _LOCATOR.unpack(locator)
    magic, _, _, needed, *fields = _END64.unpack(region.read(where, _END64.size))
    if magic != _END64_MAGIC:
        raise region.failure("its zip64 directory is not where it should be", where)
    if disk or disks > 1 or needed > _NEWEST:
        raise region.failure("its zip64 directory is damaged", where)
    return tuple(fields)


def _entries(region: Region, directory: bytes, count: int, start: int) -> list[ZipEntry]:
    entries: list[ZipEntry] = []
    at = 0
    while at < len(directory):
        if len(directory) - at < _CENTRAL.size or directory[at : at + 4] != _CENTRAL_MAGIC:
            raise region.failure(f"entry {len(entries) + 1} of its zip directory is damaged", start + at)
        (_, _, needed, flags, method, _, _, crc, packed, size, name_length, extra_length, comment_length, disk, _,
         external, header) = _CENTRAL.unpack_from(directory, at)  # fmt: skip
        name_end = at + _CENTRAL.size + name_length
        extra_end = name_end + extra_length
        if extra_end + comment_length > len(directory):
            raise region.failure(f"entry {len(entries) + 1} of its zip directory is cut off", start + at)
        name = _decode(directory[at + _CENTRAL.size : name_end], flags)
        if disk not in (0, 0xFFFF) or needed > _NEWEST:
            raise region.failure(f"entry {len(entries) + 1} of its zip directory is damaged", start + at)
        packed, size, header = _extended(directory[name_end:extra_end], packed, size, header)
        _check_entry(region, name, flags, external >> 16, start + at)
        entries.append(ZipEntry(name, method, crc, packed, size, header))
        if method == STORED and packed != size:
            raise region.failure(f"{shown(name)} is stored as it is, and yet has two sizes", start + at)
        at = extra_end + comment_length
    if len(entries) != count:
        raise region.failure(f"its zip directory has {len(entries):,} entries and claims {count:,}", start)
    return entries


def _extended(extra: bytes, packed: int, size: int, header: int) -> tuple[int, int, int]:
    """Sizes and offset with the zip64 values put in the places that hold 0xFFFFFFFF."""
    fields = [size, packed, header]
    at = 0
    while at + 4 <= len(extra):
        tag, length = struct.unpack_from("<2H", extra, at)
        if tag == 1:
            values = iter(struct.unpack_from(f"<{min(length, len(extra) - at - 4) // 8}Q", extra, at + 4))
            fields = [next(values, field) if field == 0xFFFFFFFF else field for field in fields]
            break
        at += 4 + length
    return fields[1], fields[0], fields[2]


def _decode(raw: bytes, flags: int) -> str:
    return raw.decode("utf-8", "replace") if flags & _UTF8 else raw.decode("cp437")


def _check_entry(region: Region, name: str, flags: int, mode: int, place: int) -> None:
    if flags & _ENCRYPTED:
        raise region.failure(
            f"{shown(name)} is encrypted", place, "Decrypt it first; PyTorch writes no such files."
        )
    parts = name.replace("\\", "/").split("/")
    if ".." in parts or name.startswith(("/", "\\")) or ":" in parts[0] or "\0" in name:
        raise region.failure(
            f"its entry {shown(name)} points out of the archive",
            place,
            "No program that writes models does that.",
        )
    if stat.S_ISLNK(mode):
        raise region.failure(
            f"its entry {shown(name)} is a link", place, "Links in archives are never followed."
        )


def _check_overlaps(region: Region, entries: list[ZipEntry], directory: int) -> None:
    """Raises LoadError when two entries share bytes or one reaches into the directory."""
    ordered = sorted(entries, key=lambda entry: entry.header)
    for entry, after in zip(ordered, [*(each.header for each in ordered[1:]), directory], strict=True):
        name_length = len(entry.name.encode("utf-8", "replace")) if entry.name.isascii() else 0
        if entry.header + _LOCAL.size + name_length + entry.packed > after:
            raise region.failure(f"{shown(entry.name)} overlaps what follows it", entry.header)


def is_archive(region: Region) -> bool:
    """Whether torch would take the region for a zip archive: by its first four bytes."""
    return region.size >= 4 and region.read(0, 4) == LOCAL_MAGIC
