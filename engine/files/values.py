"""Inert values that a pickle is read into: they remember names and arguments and never do anything.

None of them is hashed, compared or printed: a pickle can nest and share values so that each of these never ends.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

from engine.contents import shown
from engine.files.regions import Region
from engine.graph import Shape

Value: TypeAlias = Any
"""str, int, float, bool, None, list, tuple or one of the classes below."""


class MalformedError(Exception):
    """A value that cannot be what it claims to be; the machine adds the place."""


class Global:
    """A name to import."""

    __slots__ = ("module", "name")

    def __init__(self, module: str, name: str) -> None:
        self.module = module
        self.name = name

    @property
    def full(self) -> str:
        return f"{self.module}.{self.name}"


class Instance:
    """What a call would have returned: an object of an unknown class, or the result of a function."""

    __slots__ = ("args", "callee", "elements", "pairs", "state")

    def __init__(self, callee: Value, args: Value) -> None:
        self.callee = callee
        self.args = args
        self.state: Value = None
        self.elements: list[Value] | None = None
        self.pairs: list[tuple[Value, Value]] | None = None

    @property
    def class_name(self) -> str:
        return self.callee.full if isinstance(self.callee, Global) else ""

    def state_size(self) -> int:
        """How many attributes there are to look at."""
        states = self.state if isinstance(self.state, tuple) and len(self.state) == 2 else (self.state,)
        return sum(len(state.pairs) for state in states if isinstance(state, Dict))

    def attributes(self) -> dict[str, Value]:
        """The instance's ``__dict__``, and its slots, as its pickled state gives them."""
        states = self.state if isinstance(self.state, tuple) and len(self.state) == 2 else (self.state,)
        return {
            key: value for state in states if isinstance(state, Dict) for key, value in state.texts().items()
        }


class Dict:
    """A dict, OrderedDict or defaultdict. A list of pairs, because keys may be anything."""

    __slots__ = ("pairs", "state")

    def __init__(self, pairs: list[tuple[Value, Value]] | None = None) -> None:
        self.pairs = pairs if pairs is not None else []
        self.state: Value = None

    def texts(self) -> dict[str, Value]:
        """The entries whose key is text; the last of several equal keys wins, as in a real dict."""
        return {key: value for key, value in self.pairs if isinstance(key, str)}


class Set:
    """A set or frozenset, with its elements as they came."""

    __slots__ = ("elements",)

    def __init__(self, elements: list[Value] | None = None) -> None:
        self.elements = elements if elements is not None else []


class Blob:
    """Bytes in the file, not read."""

    __slots__ = ("region",)

    def __init__(self, region: Region) -> None:
        self.region = region

    def data(self, limit: int) -> bytes:
        """The first ``limit`` bytes."""
        return self.region.read(0, min(limit, self.region.size))


class Storage(NamedTuple):
    """Memory of tensors: ``bytes`` of it, found in the file under ``key``."""

    key: str
    dtype: str
    bytes: int


class Tensor:
    """A tensor; strides and offset count elements. ``storage`` is None for one without memory (meta, sparse)."""

    __slots__ = ("bytes", "dtype", "offset", "parameter", "shape", "storage", "stride")

    def __init__(
        self,
        shape: Shape,
        stride: Shape,
        dtype: str,
        bytes: int,
        storage: Storage | None = None,
        offset: int = 0,
    ) -> None:
        self.shape = shape
        self.stride = stride
        self.dtype = dtype
        self.bytes = bytes
        self.storage = storage
        self.offset = offset
        self.parameter = False


class Array:
    """A numpy array; shape and dtype come with its state. ``storage`` is None where its bytes are no plain numbers."""

    __slots__ = ("dtype", "itemsize", "shape", "storage", "stride")

    def __init__(self, dtype: str = "", shape: Shape = (), itemsize: int = 0) -> None:
        self.dtype = dtype
        self.shape = shape
        self.itemsize = itemsize
        self.stride: Shape = ()
        self.storage: Storage | None = None


class NumpyType:
    """A numpy dtype; ``itemsize`` is 0 where its code does not say."""

    __slots__ = ("dtype", "itemsize", "order")

    def __init__(self, dtype: str, itemsize: int, order: str) -> None:
        self.dtype = dtype
        self.itemsize = itemsize
        self.order = order

    def set_state(self, state: Value) -> None:
        """``dtype.__setstate__((version, byte order, …))``."""
        if isinstance(state, tuple) and len(state) > 1 and state[1] == ">":
            self.order = "big"


def describe(value: Value, length: int = 100) -> str:
    """A value as short text for a list of calls: ``'rm -rf ~'``, ``(builtins.getattr, 3)``."""
    pieces: list[str] = []
    room = length

    def write(value: Value, depth: int) -> None:
        nonlocal room
        if room <= 0:
            return
        if isinstance(value, (tuple, list)) and depth < 3:
            opening, closing = "()" if isinstance(value, tuple) else "[]"
            add(opening)
            for index, part in enumerate(value[:8]):
                add(", " if index else "")
                write(part, depth + 1)
            add(", …" if len(value) > 8 else "")
            add(closing)
        elif isinstance(value, Instance) and depth < 3:
            write(value.callee, depth + 1)
            write(value.args, depth + 1)
        else:
            add(_leaf(value))

    def add(text: str) -> None:
        nonlocal room
        pieces.append(text[: max(room, 0)])
        room -= len(text)

    write(value, 0)
    text = "".join(pieces)
    return shown(text if room >= 0 else text[: length - 1] + "…", length)


def _leaf(value: Value) -> str:
    if isinstance(value, str):
        return repr(value[:200])
    if isinstance(value, bool) or value is None or isinstance(value, float):
        return repr(value)
    if isinstance(value, int):
        # Python refuses to print integers of more than 4,300 digits.
        return str(value) if value.bit_length() <= 128 else f"an integer of {value.bit_length():,} bits"
    if isinstance(value, Global):
        return value.full
    if isinstance(value, Blob):
        return f"{value.data(60)!r}" if value.region.size <= 60 else f"{value.region.size:,} bytes"
    if isinstance(value, Tensor):
        return f"tensor {value.shape}"
    return "…" if isinstance(value, (tuple, list, Instance)) else type(value).__name__.lower()
