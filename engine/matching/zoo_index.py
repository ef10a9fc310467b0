"""The index of torchvision's and timm's architectures that ships in ``resources/zoo_index.bin``.

``resources/make_zoo_index.py`` writes it with :func:`pack`. All names and shapes stand in shared tables. A structure
(the names and shapes of a state dict) is a list of runs through the table of tensors, in which neighbours follow each
other as in the first structure that has them: relatives share their runs, which keeps the file small and lets
:meth:`Index.overlaps` compare a file with all structures by two look-ups per run.
"""

from __future__ import annotations

import lzma
import sys
from array import array
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import NamedTuple

import msgspec
from msgspec import Struct

import resources
from engine.graph import Shape

FILE = "zoo_index.bin"
MAGIC = b"misnomer zoo 1\n"
_LZMA = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}]


class Size(Struct, frozen=True, array_like=True):
    """A size that an argument sets: ``factor / divisor · value ** power + offset`` is dimension ``dim`` of tensor
    ``tensor`` (its position in the structure)."""

    tensor: int
    dim: int
    factor: int
    divisor: int
    offset: int


class Rule(Struct, frozen=True, array_like=True):
    """What an argument of a builder does to its state dict."""

    argument: str
    """``num_classes``, ``in_chans``, ``img_size`` or ``image_size``."""
    default: int
    power: int
    sizes: tuple[Size, ...]
    absent: tuple[int, ...] = ()
    """Tensors that the value 0 leaves out; empty where 0 is no use."""


class Architecture(Struct, frozen=True, array_like=True):
    """An architecture under one of its names."""

    source: str
    """``torchvision:resnet50``."""
    base: str
    """``source`` as it takes further arguments: the name, then ``base_arguments``."""
    base_arguments: str
    structure: int
    rules: tuple[Rule, ...]
    task: str
    params: int
    input: str
    """Shape it is made for: ``1×3×224×224``."""

    def source_with(self, arguments: Mapping[str, int]) -> str:
        """The source that builds it with ``arguments``."""
        if not arguments:
            return self.source
        texts = [f"{name}={value}" for name, value in arguments.items()]
        return f"{self.base}({', '.join([self.base_arguments] * bool(self.base_arguments) + texts)})"


class Facts(Struct, frozen=True, array_like=True):
    """All architectures, without their tensors."""

    versions: tuple[tuple[str, str], ...]
    """Of the libraries the index was made from: ``(("timm", "1.0.31"), …)``."""
    architectures: tuple[Architecture, ...]


class Member(NamedTuple):
    """A tensor of a structure."""

    name: str
    shape: Shape
    buffer: bool


class Index:
    """The whole index, in memory."""

    def __init__(self, data: bytes) -> None:
        self.facts, tables = _split(data)
        text, sizes, columns = _tables(tables)
        self._names = text.split("\n")
        self._shapes = sizes.split("\n")
        self._pair_name, self._pair_shape, self._first, self._length, self._runs = columns[:5]
        self._buffer = columns[5]
        self._name_id = dict(zip(self._names, range(len(self._names)), strict=True))
        self._shape_id = dict(zip(self._shapes, range(len(self._shapes)), strict=True))
        self._last = [first + length for first, length in zip(self._first, self._length, strict=True)]
        self._run_start = list(accumulate(self._runs, initial=0))
        self.tensors = self._per_structure(list(self._length))
        """Tensors of each structure."""

    def _per_structure(self, per_run: Sequence[int]) -> list[int]:
        total = list(accumulate(per_run, initial=0))
        at = [total[start] for start in self._run_start]
        return [after - before for before, after in pairwise(at)]

    def members(self, structure: int) -> list[Member]:
        """The tensors of a structure, in the order of its state dict."""
        found: list[Member] = []
        for run in range(self._run_start[structure], self._run_start[structure + 1]):
            for pair in range(self._first[run], self._last[run]):
                shape = self._shapes[self._pair_shape[pair]]
                sizes = tuple(int(size) for size in shape.split(",")) if shape else ()
                found.append(Member(self._names[self._pair_name[pair]], sizes, bool(self._buffer[pair])))
        return found

    def overlaps(self, several: Sequence[Mapping[str, Shape]]) -> list[list[int]]:
        """For each of ``several`` mappings of name to shape: how many of them each structure has."""
        keys = [self._keys(shapes) for shapes in several]
        names = {name for each in keys for name, _ in each}
        # A list, not a dict by key: the same name and shape may be a parameter here and a buffer there.
        known = [
            (pair, (name, self._pair_shape[pair]))
            for pair, name in enumerate(self._pair_name)
            if name in names
        ]
        return [self._overlap(pair for pair, key in known if key in each) for each in keys]

    def _keys(self, shapes: Mapping[str, Shape]) -> set[tuple[int, int]]:
        found = set()
        for name, shape in shapes.items():
            name_id, shape_id = self._name_id.get(name), self._shape_id.get(_text(shape))
            if name_id is not None and shape_id is not None:
                found.add((name_id, shape_id))
        return found

    def _overlap(self, pairs: Iterable[int]) -> list[int]:
        hits = bytearray(len(self._pair_name))
        for pair in pairs:
            hits[pair] = 1
        before = list(accumulate(hits, initial=0))
        per_run = [before[last] - before[first] for first, last in zip(self._first, self._last, strict=True)]
        return self._per_structure(per_run)


@lru_cache(maxsize=1)
def load() -> Index:
    """The index that ships with the program."""
    return Index(resources.read_bytes(FILE))


@lru_cache(maxsize=1)
def facts() -> Facts:
    """The architectures alone, which is quicker than the whole index."""
    return _split(resources.read_bytes(FILE))[0]


def _split(data: bytes) -> tuple[Facts, bytes]:
    if not data.startswith(MAGIC):
        raise ValueError(f"resources/{FILE} is of another version; make it again.")
    start = len(MAGIC) + 4
    end = start + int.from_bytes(data[len(MAGIC) : start], "little")
    return msgspec.json.decode(_inflate(data[start:end]), type=Facts), data[end:]


def _tables(packed: bytes) -> tuple[str, str, list[array[int]]]:
    """Names, shapes and the columns, each preceded by its length in bytes."""
    data = _inflate(packed)
    parts: list[bytes] = []
    place = 0
    while place < len(data):
        length = int.from_bytes(data[place : place + 4], "little")
        parts.append(data[place + 4 : place + 4 + length])
        place += 4 + length
    return parts[0].decode(), parts[1].decode(), [_column(part) for part in parts[2:]]


def _column(data: bytes) -> array[int]:
    """32-bit numbers, written with all lowest bytes first, as those of a column resemble each other."""
    count = len(data) // 4
    whole = bytearray(len(data))
    for byte in range(4):
        whole[byte::4] = data[byte * count : (byte + 1) * count]
    column = array("I")
    column.frombytes(whole)
    if sys.byteorder == "big":
        column.byteswap()
    return column


def _inflate(data: bytes) -> bytes:
    return lzma.decompress(data, lzma.FORMAT_RAW, filters=_LZMA)


def pack(facts: Facts, structures: Sequence[Sequence[Member]]) -> bytes:
    """The bytes of an index; the same for the same architectures."""
    names: dict[str, int] = {}
    shapes: dict[str, int] = {}
    pairs: dict[tuple[int, int, bool], int] = {}
    first, length, runs = array("I"), array("I"), array("I")
    for structure in structures:
        numbers = []
        for member in structure:
            name = names.setdefault(member.name, len(names))
            shape = shapes.setdefault(_text(member.shape), len(shapes))
            numbers.append(pairs.setdefault((name, shape, member.buffer), len(pairs)))
        before = len(first)
        for number in numbers:
            if len(first) > before and first[-1] + length[-1] == number:
                length[-1] += 1
            else:
                first.append(number)
                length.append(1)
        runs.append(len(first) - before)
    columns = [array("I", column) for column in zip(*pairs, strict=True)]
    ordered = [*columns[:2], first, length, runs, columns[2]]
    parts = ["\n".join(names).encode(), "\n".join(shapes).encode(), *map(_column_bytes, ordered)]
    tables = b"".join(len(part).to_bytes(4, "little") + part for part in parts)
    head = _deflate(msgspec.json.encode(facts))
    return MAGIC + len(head).to_bytes(4, "little") + head + _deflate(tables)


def _column_bytes(column: array[int]) -> bytes:
    if sys.byteorder == "big":
        column.byteswap()
    whole = column.tobytes()
    return b"".join(whole[byte::4] for byte in range(4))


def _deflate(data: bytes) -> bytes:
    return lzma.compress(data, lzma.FORMAT_RAW, filters=_LZMA)


def _text(shape: Shape) -> str:
    return ",".join(map(str, shape))
