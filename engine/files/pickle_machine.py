"""Reads a pickle without running it: every opcode of protocols 0 to 5, on inert values.

Follows CPython's ``pickle._Unpickler`` opcode by opcode, because a reader that parses otherwise than the real one can
be shown something else. What would be imported or called is written down; ``rebuild`` turns the calls that only make
data (tensors, ordered dicts, numpy scalars) into that data.
"""

from __future__ import annotations

import _compat_pickle  # Python 2 names of protocols 0 to 2, as pickle itself maps them
import codecs
import struct
from collections.abc import Callable

from engine.contents import shown
from engine.errors import LoadError
from engine.files.limits import MAX_NAME, MAX_OPEN_MARKS, MAX_RECORDS, Budget, too_much
from engine.files.rebuild import DATA_CALLS, Rebuilder, origin_of
from engine.files.regions import Region
from engine.files.values import (
    Array,
    Blob,
    Dict,
    Global,
    Instance,
    MalformedError,
    NumpyType,
    Set,
    Tensor,
    Value,
    describe,
)

_MIN_CHUNK, _MAX_CHUNK = 2**12, 2**18
_SKIP_WORK, _COMPUTED_CALL_WORK, _NEW_NAME_WORK = 16, 10, 6
_MAX_LINE = 2**20
_MAX_INTEGER_BYTES = 2**12

_REBUILD_FROM_TYPE = ("torch._tensor._rebuild_from_type_v2", "torch._tensor._rebuild_from_type")

Handler = Callable[["Machine"], None]
HANDLERS: list[Handler | None] = [None] * 256


def opcode(code: bytes) -> Callable[[Handler], Handler]:
    """Registers the handler of one opcode."""

    def register(handler: Handler) -> Handler:
        assert HANDLERS[code[0]] is None
        HANDLERS[code[0]] = handler
        return handler

    return register


class Cursor:
    """Reads a region forward, in pieces; what is skipped is never read."""

    __slots__ = ("_at", "_base", "_buffer", "_chunk", "region")

    def __init__(self, region: Region, start: int = 0) -> None:
        self.region = region
        self._base = start
        self._buffer = b""
        self._at = 0
        self._chunk = _MIN_CHUNK

    @property
    def position(self) -> int:
        return self._base + self._at

    def _fill(self, count: int) -> None:
        """At least ``count`` bytes into the buffer."""
        self._base += self._at
        self._at = 0
        rest = self.region.size - self._base
        if count > rest:
            raise self.region.failure("its pickle is cut off", self._base)
        self._buffer = self.region.read(self._base, min(max(count, self._chunk), rest))
        self._chunk = min(2 * self._chunk, _MAX_CHUNK)

    def take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._buffer):
            self._fill(count)
            end = count
        data = self._buffer[self._at : end]
        self._at = end
        return data

    def byte(self) -> int:
        if self._at >= len(self._buffer):
            self._fill(1)
        value = self._buffer[self._at]
        self._at += 1
        return value

    def line(self) -> bytes:
        """Up to the next newline, which is skipped."""
        at = self._buffer.find(b"\n", self._at)
        if at < 0:
            self._fill(min(_MAX_LINE, self.region.size - self.position))
            at = self._buffer.find(b"\n", 0, _MAX_LINE)
            if at < 0:
                raise self.region.failure("its pickle has a line that does not end", self.position)
        data = self._buffer[self._at : at]
        self._at = at + 1
        return data

    def part(self, count: int) -> Region:
        """The next ``count`` bytes as a region, skipped."""
        start = self.position
        region = self.region.part(start, count, self.region.name)
        if self._at + count <= len(self._buffer):
            self._at += count
        else:
            self._base, self._buffer, self._at, self._chunk = start + count, b"", 0, _MIN_CHUNK
        return region


class Record:
    """What the pickles of one file would import and call: name → how often, and the arguments of the first call."""

    def __init__(self) -> None:
        self.imports: dict[str, int] = {}
        self.calls: dict[str, tuple[int, str]] = {}
        self.origins: dict[str, str] = {}
        self.left_out = 0

    def note_import(self, name: str, origin: str) -> None:
        self._count(self.imports, name)
        if self.origins.get(name) != "other":
            self.origins[name] = origin

    def note_call(self, function: Value, args: Value, origin: str) -> None:
        name = function.full if isinstance(function, Global) else describe(function)
        known = self.calls.get(name)
        if known is not None:
            self.calls[name] = (known[0] + 1, known[1])
        elif len(self.calls) < MAX_RECORDS:
            self.calls[name] = (1, describe(args))
        else:
            self.left_out += 1
        if self.origins.get(name) != "other":
            self.origins[name] = origin

    def _count(self, counts: dict[str, int], name: str, more: int = 1) -> None:
        if name in counts or len(counts) < MAX_RECORDS:
            counts[name] = counts.get(name, 0) + more
        else:
            self.left_out += 1

    def merge(self, other: Record) -> None:
        """Adds what another pickle would import and call."""
        for name, count in other.imports.items():
            self._count(self.imports, name, count)
        for name, (count, example) in other.calls.items():
            known = self.calls.get(name)
            if known is not None or len(self.calls) < MAX_RECORDS:
                self.calls[name] = (known[0] + count, known[1]) if known is not None else (count, example)
        for name, origin in other.origins.items():
            if self.origins.get(name) != "other":
                self.origins[name] = origin
        self.left_out += other.left_out

    @property
    def foreign(self) -> list[str]:
        """Names of somebody's code, each once."""
        names = [name for name in self.imports if self.origins[name] == "other"]
        names += [name for name in self.calls if self.origins[name] == "other"]
        return list(dict.fromkeys(names))


class Machine:
    """One pickle. ``run`` returns the value it would make; ``cursor`` then stands behind its STOP."""

    def __init__(
        self,
        cursor: Cursor,
        budget: Budget,
        record: Record,
        rebuilder: Rebuilder,
        nested: Callable[[Region], None],
    ) -> None:
        """``nested`` is given the bytes that a foreign call takes: they may be a pickle themselves."""
        self.cursor = cursor
        self.budget = budget
        self.record = record
        self.rebuilder = rebuilder
        self.nested = nested
        self.stack: list[Value] = []
        self.outer: list[list[Value]] = []
        self.memo: dict[int, Value] = {}
        self.globals: dict[tuple[str, str], Global] = {}
        self.protocol = 0
        self.result: Value = None
        self.running = True

    def run(self) -> Value:
        """Raises LoadError with the place for everything that is not a pickle, naming foreign code met before."""
        cursor, budget = self.cursor, self.budget
        start = cursor.position
        try:
            while self.running:
                start = cursor.position
                code = cursor.byte()
                handler = HANDLERS[code]
                if handler is None:
                    raise MalformedError(f"{code:#04x} is no pickle opcode")
                budget.work -= 1
                if budget.work < 0:
                    budget.spend_work(0)
                handler(self)
        except MalformedError as error:
            raise self._failure(str(error), start) from error
        except IndexError as error:
            raise self._failure("a pickle opcode needs more values than there are", start) from error
        except (ValueError, struct.error) as error:
            raise self._failure("a pickle opcode has a value that cannot be", start) from error
        except LoadError as error:
            raise self._with_imports(error) from error
        return self.result

    def _failure(self, what: str, start: int) -> LoadError:
        return self._with_imports(self.cursor.region.failure(what, start))

    def _with_imports(self, error: LoadError) -> LoadError:
        foreign = self.record.foreign
        if not foreign:
            return error
        names = ", ".join(shown(name, 60) for name in foreign[:5])
        hint = f"{error.hint} Do not load it elsewhere: until there its pickle imports or calls {names}."
        return LoadError(error.message, hint=hint.strip(), file=error.file or str(self.cursor.region.file))

    def to_mark(self) -> list[Value]:
        """Everything above the last MARK."""
        if not self.outer:
            raise MalformedError("a pickle opcode needs a MARK that is not there")
        items = self.stack
        self.stack = self.outer.pop()
        return items

    def text(self, raw: bytes, encoding: str = "utf-8", errors: str = "surrogatepass") -> str:
        self.budget.spend_text(len(raw))
        return raw.decode(encoding, errors)

    def find(self, module: str, name: str) -> Global:
        """The global, written down as an import."""
        self.budget.spend_work(2)
        if self.protocol < 3:
            if (module, name) in _compat_pickle.NAME_MAPPING:
                module, name = _compat_pickle.NAME_MAPPING[(module, name)]
            elif module in _compat_pickle.IMPORT_MAPPING:
                module = _compat_pickle.IMPORT_MAPPING[module]
        found = self.globals.get((module, name))
        if found is None:
            if len(module) > MAX_NAME or len(name) > MAX_NAME:
                raise MalformedError(f"the name of an import is longer than {MAX_NAME:,} characters")
            self.budget.spend_work(_NEW_NAME_WORK)
            found = self.globals[(module, name)] = Global(module, name)
        self.record.note_import(found.full, origin_of(found))
        return found

    def call(self, function: Value, args: Value) -> Value:
        """What ``function(*args)`` would give, as data or as an inert instance."""
        if isinstance(function, Global):
            if function.full in DATA_CALLS and isinstance(args, tuple):
                self.budget.spend_work(min(len(args), 64))
                value = DATA_CALLS[function.full](self.rebuilder, args)
                if value is not NotImplemented:
                    self.record.note_call(function, args, "data")
                    return value
                self.record.note_import(function.full, "other")
                origin = "other"
            else:
                origin = origin_of(function)
            if function.full in _REBUILD_FROM_TYPE:
                return self._rebuild_from_type(function, args)
            if function.full == "copyreg._reconstructor" and isinstance(args, tuple) and len(args) == 3:
                return self.call(args[0], ())
        else:
            self.budget.spend_work(_COMPUTED_CALL_WORK)
            origin = "other"
        if isinstance(args, (tuple, list)):
            for value in args[:16]:
                if isinstance(value, Blob):
                    self.nested(value.region)
        self.record.note_call(function, args, origin)
        return Instance(function, args)

    def _rebuild_from_type(self, function: Global, args: Value) -> Value:
        """``func(*args)`` made a tensor of ``type``: (func, type, args, state)."""
        if not isinstance(args, tuple) or len(args) != 4:
            raise MalformedError(f"{function.name} takes four arguments")
        if isinstance(args[0], Global) and args[0].full in _REBUILD_FROM_TYPE:
            raise MalformedError(f"{function.name} is asked to call itself")
        self.record.note_call(function, args[:2], "data")
        return self.call(args[0], args[2])

    def build(self, target: Value, state: Value) -> None:
        """BUILD: ``target.__setstate__(state)``."""
        if isinstance(target, (Instance, Dict)):
            target.state = state
        elif isinstance(target, Array):
            self.rebuilder.fill_array(target, state)
        elif isinstance(target, NumpyType):
            target.set_state(state)
        elif not isinstance(target, Tensor):
            # State of a class or function: attributes of what was imported are overwritten.
            self.record.note_call(Instance(Global("builtins", "setattr"), (target,)), (state,), "other")


def _put(machine: Machine, index: int) -> None:
    if index < 0:
        raise MalformedError("a memo number is negative")
    machine.memo[index] = machine.stack[-1]


def _get(machine: Machine, index: int) -> None:
    if index not in machine.memo:
        raise MalformedError(f"memo number {index} is read before it is written")
    machine.stack.append(machine.memo[index])


def _little(machine: Machine, count: int) -> int:
    return int.from_bytes(machine.cursor.take(count), "little")


def _decimal(line: bytes) -> int:
    """An integer as Python reads it from text, of a length that is no attack."""
    if len(line) > 1_000:
        raise MalformedError("an integer has more than 1,000 digits")
    return int(line)


def _pairs(items: list[Value]) -> list[tuple[Value, Value]]:
    if len(items) % 2:
        raise MalformedError("a dict has a key without a value")
    return list(zip(items[::2], items[1::2], strict=True))


@opcode(b"\x80")
def proto(machine: Machine) -> None:
    machine.protocol = machine.cursor.byte()
    if machine.protocol > 5:
        raise MalformedError(f"pickle protocol {machine.protocol} does not exist")


@opcode(b"\x95")
def frame(machine: Machine) -> None:
    size = _little(machine, 8)
    if machine.cursor.position + size > machine.cursor.region.size:
        raise MalformedError(f"a frame of {size:,} bytes reaches beyond the end")


@opcode(b".")
def stop(machine: Machine) -> None:
    machine.result = machine.stack.pop()
    machine.running = False


@opcode(b"(")
def mark(machine: Machine) -> None:
    if len(machine.outer) >= MAX_OPEN_MARKS:
        raise too_much(f"its pickle opens more than {MAX_OPEN_MARKS:,} lists in one another")
    machine.outer.append(machine.stack)
    machine.stack = []


@opcode(b"0")
def pop(machine: Machine) -> None:
    if machine.stack:
        machine.stack.pop()
    else:
        machine.to_mark()


@opcode(b"1")
def pop_mark(machine: Machine) -> None:
    machine.to_mark()


@opcode(b"2")
def dup(machine: Machine) -> None:
    machine.stack.append(machine.stack[-1])


def _constant(code: bytes, value: Value) -> None:
    @opcode(code)
    def push(machine: Machine) -> None:
        machine.stack.append(value)


_constant(b"N", None)
_constant(b"\x88", True)
_constant(b"\x89", False)


def _empty(code: bytes, make: Callable[[], Value]) -> None:
    @opcode(code)
    def push(machine: Machine) -> None:
        machine.stack.append(make())


_empty(b")", tuple)
_empty(b"]", list)
_empty(b"}", Dict)
_empty(b"\x8f", Set)


def _number(code: bytes, layout: str) -> None:
    unpack = struct.Struct(layout)

    @opcode(code)
    def push(machine: Machine) -> None:
        machine.stack.append(unpack.unpack(machine.cursor.take(unpack.size))[0])


_number(b"J", "<i")
_number(b"K", "<B")
_number(b"M", "<H")
_number(b"G", ">d")


@opcode(b"I")
def int_(machine: Machine) -> None:
    line = machine.cursor.line()
    machine.stack.append(line == b"01" if line in (b"00", b"01") else _decimal(line))


@opcode(b"L")
def long_(machine: Machine) -> None:
    machine.stack.append(_decimal(machine.cursor.line().removesuffix(b"L")))


def _long(code: bytes, count: int) -> None:
    @opcode(code)
    def push(machine: Machine) -> None:
        size = _little(machine, count)
        if size > _MAX_INTEGER_BYTES:
            raise MalformedError(f"an integer takes {size:,} bytes")
        machine.stack.append(int.from_bytes(machine.cursor.take(size), "little", signed=True))


_long(b"\x8a", 1)
_long(b"\x8b", 4)


@opcode(b"F")
def float_(machine: Machine) -> None:
    machine.stack.append(float(machine.cursor.line()))


@opcode(b"S")
def string(machine: Machine) -> None:
    line = machine.cursor.line().strip()
    if len(line) < 2 or line[0] != line[-1] or line[:1] not in (b"'", b'"'):
        raise MalformedError("a string is not in quotes")
    machine.stack.append(machine.text(codecs.escape_decode(line[1:-1])[0], "utf-8", "replace"))


@opcode(b"V")
def unicode_(machine: Machine) -> None:
    machine.stack.append(machine.text(machine.cursor.line(), "raw-unicode-escape", "strict"))


def _text(code: bytes, count: int, errors: str) -> None:
    @opcode(code)
    def push(machine: Machine) -> None:
        size = _little(machine, count)
        if size > machine.budget.text:
            machine.budget.spend_text(size)
        machine.stack.append(machine.text(machine.cursor.take(size), errors=errors))


_text(b"\x8c", 1, "surrogatepass")
_text(b"X", 4, "surrogatepass")
_text(b"\x8d", 8, "surrogatepass")
# Python 2's str: bytes or text; torch and we read them as UTF-8.
_text(b"U", 1, "replace")
_text(b"T", 4, "replace")


def _bytes(code: bytes, count: int) -> None:
    @opcode(code)
    def push(machine: Machine) -> None:
        machine.budget.spend_work(_SKIP_WORK)
        machine.stack.append(Blob(machine.cursor.part(_little(machine, count))))


_bytes(b"C", 1)
_bytes(b"B", 4)
_bytes(b"\x8e", 8)
_bytes(b"\x96", 8)


@opcode(b"\x97")
def next_buffer(machine: Machine) -> None:
    raise MalformedError("it needs buffers that are kept outside of the file")


@opcode(b"\x98")
def readonly_buffer(machine: Machine) -> None:
    machine.stack[-1] = machine.stack[-1]


@opcode(b"t")
def tuple_(machine: Machine) -> None:
    items = machine.to_mark()
    machine.stack.append(tuple(items))


def _short_tuple(code: bytes, count: int) -> None:
    @opcode(code)
    def build(machine: Machine) -> None:
        if len(machine.stack) < count:
            raise IndexError
        machine.stack[-count:] = [tuple(machine.stack[-count:])]


_short_tuple(b"\x85", 1)
_short_tuple(b"\x86", 2)
_short_tuple(b"\x87", 3)


@opcode(b"l")
def list_(machine: Machine) -> None:
    items = machine.to_mark()
    machine.stack.append(items)


@opcode(b"d")
def dict_(machine: Machine) -> None:
    items = machine.to_mark()
    machine.stack.append(Dict(_pairs(items)))


@opcode(b"\x91")
def frozenset_(machine: Machine) -> None:
    items = machine.to_mark()
    machine.stack.append(Set(items))


def _append_all(machine: Machine, target: Value, items: list[Value]) -> None:
    if isinstance(target, list):
        target.extend(items)
    elif isinstance(target, Set):
        target.elements.extend(items)
    elif isinstance(target, Instance):
        if target.elements is None:
            target.elements = []
        target.elements.extend(items)
    else:
        raise MalformedError(f"elements are appended to {describe(target)}")


@opcode(b"a")
def append(machine: Machine) -> None:
    value = machine.stack.pop()
    _append_all(machine, machine.stack[-1], [value])


@opcode(b"e")
def appends(machine: Machine) -> None:
    items = machine.to_mark()
    _append_all(machine, machine.stack[-1], items)


@opcode(b"\x90")
def additems(machine: Machine) -> None:
    items = machine.to_mark()
    _append_all(machine, machine.stack[-1], items)


def _set_all(machine: Machine, target: Value, items: list[Value]) -> None:
    pairs = _pairs(items)
    if isinstance(target, Dict):
        target.pairs.extend(pairs)
    elif isinstance(target, Instance):
        if target.pairs is None:
            target.pairs = []
        target.pairs.extend(pairs)
    elif isinstance(target, Global):
        machine.record.note_call(
            Instance(Global("operator", "setitem"), (target,)), tuple(items[:8]), "other"
        )
    else:
        raise MalformedError(f"entries are set in {describe(target)}")


@opcode(b"s")
def setitem(machine: Machine) -> None:
    value = machine.stack.pop()
    key = machine.stack.pop()
    _set_all(machine, machine.stack[-1], [key, value])


@opcode(b"u")
def setitems(machine: Machine) -> None:
    items = machine.to_mark()
    _set_all(machine, machine.stack[-1], items)


@opcode(b"p")
def put(machine: Machine) -> None:
    _put(machine, _decimal(machine.cursor.line()))


@opcode(b"q")
def binput(machine: Machine) -> None:
    machine.memo[machine.cursor.byte()] = machine.stack[-1]


@opcode(b"r")
def long_binput(machine: Machine) -> None:
    machine.memo[_little(machine, 4)] = machine.stack[-1]


@opcode(b"\x94")
def memoize(machine: Machine) -> None:
    machine.memo[len(machine.memo)] = machine.stack[-1]


@opcode(b"g")
def get(machine: Machine) -> None:
    _get(machine, _decimal(machine.cursor.line()))


@opcode(b"h")
def binget(machine: Machine) -> None:
    _get(machine, machine.cursor.byte())


@opcode(b"j")
def long_binget(machine: Machine) -> None:
    _get(machine, _little(machine, 4))


@opcode(b"c")
def global_(machine: Machine) -> None:
    module = machine.text(machine.cursor.line())
    machine.stack.append(machine.find(module, machine.text(machine.cursor.line())))


@opcode(b"\x93")
def stack_global(machine: Machine) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    if isinstance(name, str) and isinstance(module, str):
        machine.stack.append(machine.find(module, name))
    else:
        computed = Instance(Global("builtins", "__import__"), (module, name))
        machine.record.note_call(computed.callee, computed.args, "other")
        machine.stack.append(computed)


@opcode(b"i")
def inst(machine: Machine) -> None:
    module = machine.text(machine.cursor.line())
    found = machine.find(module, machine.text(machine.cursor.line()))
    args = tuple(machine.to_mark())
    machine.stack.append(machine.call(found, args))


@opcode(b"o")
def obj(machine: Machine) -> None:
    items = machine.to_mark()
    machine.stack.append(machine.call(items[0], tuple(items[1:])))


@opcode(b"\x81")
def newobj(machine: Machine) -> None:
    args, function = machine.stack.pop(), machine.stack.pop()
    machine.stack.append(machine.call(function, args))


@opcode(b"\x92")
def newobj_ex(machine: Machine) -> None:
    keywords, args, function = machine.stack.pop(), machine.stack.pop(), machine.stack.pop()
    if isinstance(keywords, Dict) and not keywords.pairs:
        machine.stack.append(machine.call(function, args))
    else:
        machine.stack.append(machine.call(function, (args, keywords)))


@opcode(b"R")
def reduce(machine: Machine) -> None:
    args, function = machine.stack.pop(), machine.stack.pop()
    machine.stack.append(machine.call(function, args))


@opcode(b"b")
def build(machine: Machine) -> None:
    state = machine.stack.pop()
    machine.build(machine.stack[-1], state)


@opcode(b"P")
def persid(machine: Machine) -> None:
    machine.stack.append(machine.rebuilder.persistent(machine.text(machine.cursor.line())))


@opcode(b"Q")
def binpersid(machine: Machine) -> None:
    machine.stack.append(machine.rebuilder.persistent(machine.stack.pop()))


def _extension(code: bytes, count: int) -> None:
    @opcode(code)
    def push(machine: Machine) -> None:
        machine.stack.append(machine.find("copyreg", f"extension {_little(machine, count)}"))


_extension(b"\x82", 1)
_extension(b"\x83", 2)
_extension(b"\x84", 4)
