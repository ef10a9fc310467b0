"""Damaged files of every kind, and arbitrary ones: each ends in a valid listing or in a LoadError, and nothing else."""

from __future__ import annotations

import _compat_pickle
import contextlib
import inspect
import io
import json
import pickle
import pickletools
import random
import struct
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import LoadError
from engine.files import Contents, describe
from engine.files.limits import Budget
from engine.files.pickle_machine import HANDLERS, Cursor
from engine.files.pickles import Reading
from engine.files.regions import Region
from tests.conftest import EVERYTHING
from tests.engine.model_files import (
    Convolutional,
    attempt,
    build,
    safetensors_bytes,
    save_all,
    save_safetensors,
)

KINDS = ("state", "legacy", "module", "checkpoint", "script", "exported", "safetensors", "pickle", "index")
DAMAGES = 60
_UNHURRIED: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
}
FUZZ = settings(max_examples=1_000 if EVERYTHING else 60, derandomize=not EVERYTHING, **_UNHURRIED)
FUZZ_S = 600
"""Seconds that ``make test-all`` tries to upset each reader, with other examples every time."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """One sound file per kind."""
    folder = tmp_path_factory.mktemp("whole")
    contents = {name: path.read_bytes() for name, path in save_all(folder, Convolutional).items()}
    module, _ = build(Convolutional)
    contents["pickle"] = pickle.dumps(dict(module.state_dict()))
    places = dict.fromkeys(module.state_dict(), "part.safetensors")
    contents["index"] = json.dumps({"weight_map": places}).encode()
    return contents


def check(path: Path) -> Contents | None:
    """The listing, whose columns agree with one another; None after a LoadError that names the file."""
    contents = attempt(path)
    if isinstance(contents, LoadError):
        assert contents.message.endswith(".") and contents.file == str(path)
        return None
    tensors = contents.tensors
    columns = [getattr(tensors, name) for name in tensors.__struct_fields__]
    assert {len(column) for column in columns} == {len(tensors.name)}
    assert all(0 <= group < len(contents.groups) for group in tensors.group)
    assert all(size >= 0 for size in tensors.bytes)
    assert describe(contents)
    return contents


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Cut off, a few bits flipped, a stretch overwritten, taken out or put in twice."""
    way = rng.randrange(6)
    start = rng.randrange(len(data))
    stop = min(len(data), start + rng.choice((1, 4, 30, 500)))
    if way == 0:
        return data[:start]
    if way == 1:
        changed = bytearray(data)
        for _ in range(rng.choice((1, 3, 20))):
            changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        return bytes(changed)
    if way == 2:
        return data[:start] + rng.randbytes(stop - start) + data[stop:]
    if way == 3:
        return data[:start] + data[stop:]
    if way == 4:
        return data[:stop] + data[start:stop] + data[stop:]
    # Small files of many zeros put all damage into data, so the last one goes for the structure.
    edge = rng.choice((0, max(0, len(data) - 300)))
    at = edge + rng.randrange(min(300, len(data)))
    return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files(tmp_path: Path, whole: dict[str, bytes], kind: str) -> None:
    module, _ = build(Convolutional)
    save_safetensors(module.state_dict(), tmp_path / "part.safetensors")
    path = tmp_path / "net.bin"
    path.write_bytes(whole[kind])
    assert check(path) is not None
    rng = random.Random(f"damage {kind}")
    failures = 0
    for _ in range(DAMAGES * (20 if EVERYTHING else 1)):
        path.write_bytes(damaged(whole[kind], rng))
        failures += check(path) is None
    assert failures > 10


@pytest.mark.parametrize("kind", KINDS)
def test_every_truncation_of_the_structure(tmp_path: Path, whole: dict[str, bytes], kind: str) -> None:
    """Cut at every place of the first and last bytes: never a listing that pretends to be whole."""
    path = tmp_path / "net.bin"
    data = whole[kind]
    step = 1 if EVERYTHING else 17
    for length in {
        *range(0, min(len(data), 400), step),
        *range(max(0, len(data) - 400), len(data) - 1, step),
    }:
        path.write_bytes(data[:length])
        assert check(path) is None, length


READ_BY_TORCH = {
    "exported": ("models/model.json", "weights_config.json", "constants_config.json", "sample_inputs/model.pt",
                 "archive_version", ".data/version"),
    "script": (".py", "data.pkl", "constants.pkl", "version"),
}  # fmt: skip
"""Entries that torch's loaders interpret, by their endings; code files are renamed where a process scripted before."""


@pytest.mark.parametrize("kind", READ_BY_TORCH)
def test_a_bit_that_flipped_is_found_before_torch_is_given_the_file(
    tmp_path: Path, whole: dict[str, bytes], kind: str
) -> None:
    path = tmp_path / "net.bin"
    data = whole[kind]
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = [each for each in archive.infolist() if each.filename.endswith(READ_BY_TORCH[kind])]
    assert len(entries) >= len(READ_BY_TORCH[kind])
    for entry in entries:
        name, extra = struct.unpack_from("<2H", data, entry.header_offset + 26)
        middle = entry.header_offset + 30 + name + extra + entry.compress_size // 2
        path.write_bytes(data[:middle] + bytes([data[middle] ^ 2]) + data[middle + 1 :])
        error = attempt(path)
        assert isinstance(error, LoadError) and error.hint.startswith("It is damaged"), entry.filename
        assert entry.filename.rpartition("/")[2] in error.message


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_shrinks_while_it_is_read(
    tmp_path: Path, whole: dict[str, bytes], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.bin"
    path.write_bytes(whole[kind])
    reads = Region.read
    calls: list[int] = []

    def shrinking(region: Region, offset: int, count: int) -> bytes:
        calls.append(offset)
        if len(calls) == 2:
            path.write_bytes(b"")
        return reads(region, offset, count)

    monkeypatch.setattr(Region, "read", shrinking)
    # The header is all that is read of safetensors; it was read when the file shrank.
    assert check(path) is None or kind == "safetensors"
    assert len(calls) >= 2


def damage_inside(kind: str, seed: int, whole: dict[str, bytes], folder: Path) -> None:
    """Damage in one entry, with the archive around it sound."""
    rng = random.Random(seed)
    path = folder / "entry_damage.bin"
    with zipfile.ZipFile(io.BytesIO(whole[kind])) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice([name for name in entries if name.endswith((".pkl", ".json", ".py"))])
    entries[name] = damaged(entries[name], rng)
    with zipfile.ZipFile(path, "w") as archive:
        for each, data in entries.items():
            archive.writestr(each, data)
    check(path)


@FUZZ
@given(kind=st.sampled_from(["checkpoint", "module", "script", "exported"]), seed=st.integers(0, 2**32))
def test_damaged_entries_in_sound_archives(
    kind: str, seed: int, whole: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    damage_inside(kind, seed, whole, tmp_path_factory.getbasetemp())


# Arguments that fit each opcode, so that the machine gets further than its first byte.
_ARGUMENTS: dict[str, st.SearchStrategy[bytes]] = {
    "uint1": st.binary(min_size=1, max_size=1),
    "uint2": st.binary(min_size=2, max_size=2),
    "int4": st.binary(min_size=4, max_size=4),
    "uint4": st.integers(0, 5).map(lambda n: struct.pack("<I", n)),
    "uint8": st.integers(0, 2**64 - 1).map(lambda n: struct.pack("<Q", n)),
    "float8": st.binary(min_size=8, max_size=8),
}
_NAMES = st.sampled_from(
    ["collections\nOrderedDict\n", "torch._utils\n_rebuild_tensor_v2\n", "torch._utils\n_rebuild_parameter\n",
     "os\nsystem\n", "numpy\ndtype\n", "numpy._core.multiarray\n_reconstruct\n", "torch\nFloatStorage\n",
     "torch._tensor\n_rebuild_from_type_v2\n", "copyreg\n_reconstructor\n", "builtins\nset\n", "argparse\nNamespace\n"]
).map(str.encode)  # fmt: skip
_TEXTS = st.sampled_from(["storage", "cpu", "_parameters", "_modules", "state", "param_groups", "w", "é"])


def _opcode_bytes(opcode: Any) -> st.SearchStrategy[bytes]:
    code = opcode.code.encode("latin-1")
    argument = opcode.arg.name if opcode.arg is not None else ""
    if opcode.name in ("GLOBAL", "INST"):
        return _NAMES.map(lambda data: code + data)
    if argument in _ARGUMENTS:
        return _ARGUMENTS[argument].map(lambda data: code + data)
    if argument.endswith("1") and argument not in ("long1",):
        return _TEXTS.map(lambda text: code + bytes([len(text.encode())]) + text.encode())
    if argument.endswith("4") and argument not in ("long4",):
        return _TEXTS.map(lambda text: code + struct.pack("<I", len(text.encode())) + text.encode())
    if argument.endswith("8"):
        return _TEXTS.map(lambda text: code + struct.pack("<Q", len(text.encode())) + text.encode())
    if argument == "long1":
        return st.binary(max_size=9).map(lambda data: code + bytes([len(data)]) + data)
    if argument == "long4":
        return st.binary(max_size=9).map(lambda data: code + struct.pack("<I", len(data)) + data)
    if argument:
        return st.integers(-3, 9).map(lambda number: code + f"{number}\n".encode())
    return st.just(code)


OPCODES = st.one_of([_opcode_bytes(opcode) for opcode in pickletools.opcodes if opcode.name != "STOP"])


@FUZZ
@given(body=st.lists(OPCODES, max_size=60), protocol=st.integers(0, 5))
def test_any_opcodes(body: list[bytes], protocol: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "opcodes.bin"
    path.write_bytes(b"\x80\x04\x80" + bytes([protocol]) + b"".join(body) + b".")
    check(path)


class Stub:
    """Takes everything that an unpickler does to an object, and does nothing."""

    def __new__(cls, *args: Any, **keywords: Any) -> Stub:
        return object.__new__(cls)

    def __init__(self, *args: Any, **keywords: Any) -> None: ...

    def __call__(self, *args: Any, **keywords: Any) -> Stub:
        return Stub()

    def __setstate__(self, state: Any) -> None: ...

    def __setitem__(self, key: Any, value: Any) -> None: ...

    append = extend = add = update = __setstate__


class Recorder(pickle._Unpickler):  # type: ignore[name-defined,misc]
    """Python's own machine; whatever it would import is a Stub."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self.found: set[str] = set()

    def find_class(self, module: str, name: str) -> type[Stub]:
        if self.proto < 3:
            module, name = _compat_pickle.NAME_MAPPING.get((module, name), (module, name))
            module = _compat_pickle.IMPORT_MAPPING.get(module, module)
        self.found.add(f"{module}.{name}")
        return Stub

    def persistent_load(self, key: Any) -> Stub:
        return Stub()


@FUZZ
@given(body=st.lists(OPCODES, max_size=60), protocol=st.integers(0, 5))
def test_nothing_that_python_would_import_is_missing_from_a_listing(body: list[bytes], protocol: int) -> None:
    """The other way round may differ: what Python refuses can still be listed here."""
    data = b"\x80" + bytes([protocol]) + b"".join(body) + b"N."
    reading = Reading(Budget())
    try:
        reading.run(Cursor(Region(io.BytesIO(data), Path("net.pkl"), len(data))))
    except LoadError:
        return
    recorder = Recorder(data)
    with contextlib.suppress(Exception):
        recorder.load()
    assert recorder.found <= set(reading.record.imports)


def test_every_opcode_has_a_handler() -> None:
    assert {ord(opcode.code) for opcode in pickletools.opcodes} == {
        code for code, handler in enumerate(HANDLERS) if handler is not None
    }


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=300),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=5), inner, max_size=4)
        | st.tuples(inner, inner)
    ),
    max_leaves=12,
)  # fmt: skip


def plain(value: Any) -> Any:
    """An inert value as the real one."""
    if isinstance(value, list):
        return [plain(part) for part in value]
    if isinstance(value, tuple):
        return tuple(plain(part) for part in value)
    return {key: plain(part) for key, part in value.pairs} if hasattr(value, "pairs") else value


@FUZZ
@given(value=VALUES, protocol=st.integers(0, 5))
def test_the_machine_reads_what_pickle_wrote(value: Any, protocol: int) -> None:
    data = pickle.dumps(value, protocol)
    reading = Reading(Budget())
    read_back, more = reading.bare(Region(io.BytesIO(data), Path("net.pkl"), len(data)))
    assert plain(read_back) == value
    assert more == 0 and not reading.record.imports


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**65), 2**65) | st.sampled_from(["F32", "I64", "w"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["w", "dtype", "shape", "data_offsets", "__metadata__"]), inner, max_size=4
        )
    ),
    max_leaves=10,
)


@FUZZ
@given(
    header=st.dictionaries(st.sampled_from(["a", "b", "__metadata__"]), JSON, max_size=3)
    | st.binary(max_size=40),
    data=st.binary(max_size=16),
    extra=st.integers(-3, 3),
)
def test_any_safetensors(
    header: Any, data: bytes, extra: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    content = bytearray(safetensors_bytes(header if isinstance(header, dict) else b"{" + header, data))
    content[0] = max(0, min(255, content[0] + extra))
    path.write_bytes(content)
    check(path)


@FUZZ
@given(
    shapes=st.lists(st.lists(st.integers(0, 5), max_size=3), max_size=5),
    names=st.lists(st.text(min_size=1, max_size=8), min_size=5, max_size=5, unique=True),
)
def test_sound_safetensors_are_listed(
    shapes: list[list[int]], names: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "sound.safetensors"
    header: dict[str, Any] = {}
    end = 0
    for name, shape in zip(names, shapes, strict=False):
        size = 2
        for length in shape:
            size *= length
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    path.write_bytes(safetensors_bytes(header, b"\0" * end))
    contents = check(path)
    assert contents is not None
    assert sorted(contents.tensors.shape) == sorted(tuple(shape) for shape in shapes)
    assert sum(contents.tensors.bytes) == end


@FUZZ
@given(seed=st.integers(0, 2**32))
def test_damaged_archives(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A small archive, so that damage often meets its directory."""
    rng = random.Random(seed)
    path = tmp_path_factory.getbasetemp() / "archive.bin"
    method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a/data.pkl", pickle.dumps({"w": [1, 2, 3]}))
        archive.writestr("a/version", "3\n")
    path.write_bytes(damaged(path.read_bytes(), rng))
    check(path)


@FUZZ
@given(
    data=st.binary(max_size=300),
    head=st.sampled_from([b"", b"\x80\x02", b"PK\x03\x04", b"{", b"\x08\x08\x12", b"(", b"c"]),
)
def test_any_bytes(data: bytes, head: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "bytes.bin"
    path.write_bytes(head + data)
    check(path)


def test_the_budget_covers_everything_nested() -> None:
    """Two pickles that each stay within the limits do not together."""
    budget = Budget()
    budget.spend_work(budget.work)
    with pytest.raises(LoadError, match="steps to read"):
        budget.spend_work(1)


# -- ten minutes per reader ----------------------------------------------------------------------------------------

_SEEDS = {"seed": st.integers(0, 2**32)}
_BODIES = {"body": st.lists(OPCODES, max_size=120), "protocol": st.integers(0, 5)}
_HEADERS = {
    "header": st.dictionaries(st.sampled_from(["a", "b", "__metadata__"]), JSON, max_size=4),
    "data": st.binary(max_size=32),
    "extra": st.integers(-3, 3),
}
READERS: dict[str, tuple[Any, dict[str, st.SearchStrategy[Any]]]] = {
    "pickle": (test_any_opcodes, _BODIES),
    "imports": (test_nothing_that_python_would_import_is_missing_from_a_listing, _BODIES),
    "archive": (test_damaged_archives, _SEEDS),
    "safetensors": (test_any_safetensors, _HEADERS),
    "torchscript": (test_damaged_entries_in_sound_archives, {"kind": st.just("script"), **_SEEDS}),
    "exported": (test_damaged_entries_in_sound_archives, {"kind": st.just("exported"), **_SEEDS}),
}
"""Reader → a property from above and what it is tried with."""


@pytest.mark.skipif(not EVERYTHING, reason="ten minutes each, in make test-all")
@pytest.mark.timeout(FUZZ_S + 300)
@pytest.mark.parametrize("reader", READERS)
def test_ten_minutes(reader: str, whole: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    test, strategies = READERS[reader]
    inner = test.hypothesis.inner_test
    fixtures = {"whole": whole, "tmp_path_factory": tmp_path_factory}
    needed = {name: value for name, value in fixtures.items() if name in inspect.signature(inner).parameters}

    def example(**drawn: Any) -> None:
        inner(**drawn, **needed)

    end = time.monotonic() + FUZZ_S
    while time.monotonic() < end:
        # A run of its own every few seconds: its examples are drawn anew, and what it keeps of them stays small.
        settings(max_examples=1_000, database=None, **_UNHURRIED)(given(**strategies)(example))()
