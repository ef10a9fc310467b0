"""Files made to hurt: nothing of them runs, each ends in a listing or a sentence, and none costs more than it may."""

from __future__ import annotations

import functools
import io
import json
import os
import pickle
import re
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.errors import LoadError, UnsupportedModelError
from engine.files import Contents, describe
from engine.loaders import load
from engine.loaders.loaded import LoadOptions
from engine.numbers import THIN
from tests.conftest import sampled
from tests.engine.model_files import Convolutional, attempt, build, safetensors_bytes, save_exported

CANARY = "canary-was-run"


class Runs:
    """Pickles to a call of ``function(*args)``."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.call = (function, args)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


TOUCH = f"touch {CANARY}"
OPEN = f"open({CANARY!r}, 'w').close()"
SYSTEM = Runs(os.system, TOUCH)
PROTO = b"\x80\x04"


def text(value: str) -> bytes:
    data = value.encode()
    return b"\x8c" + bytes([len(data)]) + data


def stack_global(module: str, name: str) -> bytes:
    return text(module) + text(name) + b"\x93"


def called(module: str, name: str, *args: str) -> bytes:
    return stack_global(module, name) + b"(" + b"".join(map(text, args)) + b"tR"


# Bare pickles, and a name that their listing has to show.
PICKLES: dict[str, tuple[bytes, str]] = {
    "os.system": (pickle.dumps(SYSTEM), "system"),
    "eval": (pickle.dumps(Runs(eval, OPEN)), "builtins.eval"),
    "exec": (pickle.dumps(Runs(exec, OPEN)), "builtins.exec"),
    "subprocess": (pickle.dumps(Runs(subprocess.check_output, ["touch", CANARY])), "subprocess.check_output"),
    "python 2's eval": (b"\x80\x02c__builtin__\neval\n(V" + OPEN.encode() + b"\ntR.", "builtins.eval"),
    "protocol 0": (b"cos\nsystem\n(S'" + TOUCH.encode() + b"'\ntR.", "os.system"),
    "protocol 0 that begins with a number": (
        b"I1\n0cos\nsystem\n(S'" + TOUCH.encode() + b"'\ntR.", "os.system",
    ),
    "INST": (b"(S'" + TOUCH.encode() + b"'\nios\nsystem\n.", "os.system"),
    "OBJ": (b"\x80\x02(cos\nsystem\nX" + struct.pack("<I", len(TOUCH)) + TOUCH.encode() + b"o.", "os.system"),
    "NEWOBJ": (PROTO + stack_global("os", "system") + text(TOUCH) + b"\x85\x81.", "os.system"),
    "NEWOBJ_EX": (PROTO + stack_global("subprocess", "Popen") + text(TOUCH) + b"\x85}\x92.", "subprocess.Popen"),
    "getattr chain": (
        PROTO + stack_global("builtins", "getattr") + stack_global("os", "path") + text("os") + b"\x86R.",
        "builtins.getattr",
    ),
    "computed function": (
        PROTO + called("builtins", "__import__", "os") + text(TOUCH) + b"\x85R.", "builtins.__import__",
    ),
    "dotted name": (PROTO + called("torch", "os.system", TOUCH) + b".", "torch.os.system"),
    "dotted name in layers": (
        PROTO + called("torch.nn.modules.module", "torch.os.system", TOUCH) + b".",
        "torch.nn.modules.module.torch.os.system",
    ),
    "STACK_GLOBAL from the memo": (
        PROTO + text("system") + b"\x940" + text("os") + b"\x940" + b"h\x01h\x00\x93" + text(TOUCH) + b"\x85R.",
        "os.system",
    ),
    "STACK_GLOBAL with computed strings": (
        PROTO + called("builtins", "str", "os") + text("system") + b"\x93" + text(TOUCH) + b"\x85R.",
        "builtins.__import__",
    ),
    "extension registry": (PROTO + b"\x82\x07)R.", "copyreg.extension 7"),
    "popped before the end": (PROTO + called("os", "system", TOUCH) + b"0N.", "os.system"),
    "second pickle behind the first": (PROTO + b"N." + PROTO + called("os", "system", TOUCH) + b".", "os.system"),
    "BUILD of a function": (
        PROTO + stack_global("os", "environ") + b"}" + text("a") + text("b") + b"sb.", "os.environ",
    ),
    "SETITEM of a module's dict": (
        PROTO + stack_global("os", "environ") + text("PATH") + text("/tmp") + b"s.", "os.environ",
    ),
    "nested pickle": (pickle.dumps(Runs(pickle.loads, pickle.dumps(SYSTEM))), "posix.system"),
    "nested pickle in protocol 2": (
        pickle.dumps(Runs(pickle.loads, pickle.dumps(Runs(eval, OPEN), 2)), 2), "builtins.eval",
    ),
    "codec that imports": (PROTO + called("_codecs", "encode", OPEN, "rot13") + b".", "_codecs.encode"),
    "numpy object of another class": (
        PROTO + stack_global("numpy._core.multiarray", "_reconstruct") + stack_global("evil", "Array")
        + b"K\x00\x85" + b"C\x01b\x87R.",
        "evil.Array",
    ),
    "_reconstructor of another class": (
        PROTO + stack_global("copyreg", "_reconstructor") + stack_global("evil", "Thing")
        + stack_global("builtins", "object") + b"N\x87R.",
        "evil.Thing",
    ),
    "_rebuild_from_type_v2 around a call": (
        PROTO + stack_global("torch._tensor", "_rebuild_from_type_v2") + b"(" + stack_global("os", "system")
        + stack_global("torch", "Tensor") + text(TOUCH) + b"\x85" + b"}tR.",
        "os.system",
    ),
    "torch.hub": (PROTO + called("torch.hub", "load", "evil/repo", "model") + b".", "torch.hub.load"),
    "webbrowser": (PROTO + called("webbrowser", "open", "http://localhost") + b".", "webbrowser.open"),
    "defaultdict with a factory": (
        PROTO + stack_global("collections", "defaultdict") + stack_global("evil", "factory") + b"\x85R.",
        "evil.factory",
    ),
    "runpy": (PROTO + called("runpy", "run_path", "evil.py") + b".", "runpy.run_path"),
    "frames that start mid opcode": (
        PROTO + b"\x95\x03" + b"\0" * 7 + called("os", "system", TOUCH) + b".", "os.system",
    ),
    "polyglot with a zip behind": (
        PROTO + called("os", "system", TOUCH) + b"." + b"PK\x05\x06" + b"\0" * 18, "os.system",
    ),
}  # fmt: skip


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(path: Path, sentence: str) -> LoadError:
    """The error of reading ``path``, whose message holds ``sentence``."""
    error = outcome(path)
    assert isinstance(error, LoadError)
    assert re.search(sentence, error.message), error.message
    return error


def outcome(path: Path) -> Contents | LoadError:
    """What reading gives; anything but contents or a whole sentence fails. Nothing may have run."""
    before = sorted(path.parent.iterdir())
    modules = set(sys.modules)
    result = attempt(path)
    if isinstance(result, LoadError):
        sentence = result.message
        assert result.file and result.hint
        assert path.name in sentence or "refused" in sentence
    else:
        sentence = describe(result)
    assert sentence.endswith(".") and len(sentence) < 2_000 and sentence.replace(THIN, " ").isprintable()
    assert not (path.parent / CANARY).exists()
    assert sorted(path.parent.iterdir()) == before
    assert not {"evil", "webbrowser", "runpy"} & (set(sys.modules) - modules)
    return result


@pytest.mark.parametrize("name", PICKLES)
def test_pickles_are_listed_and_not_run(here: Path, name: str) -> None:
    data, expected = PICKLES[name]
    path = here / "net.pt"
    path.write_bytes(data)
    contents = outcome(path)
    assert isinstance(contents, Contents)
    assert any(expected in foreign for foreign in contents.foreign), contents.foreign
    with pytest.raises(UnsupportedModelError, match="would import or call") as caught:
        load(str(path), LoadOptions())
    assert "nothing of it was run" in caught.value.message
    assert not (here / CANARY).exists()


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("place", ["value", "key", "optimizer", "nested bytes"])
def test_calls_nested_in_checkpoints(here: Path, place: str, old: bool) -> None:
    state = {"w": torch.zeros(2)}
    values: dict[str, Any] = {
        "value": {"model": state, "args": SYSTEM},
        "key": {"model": state, SYSTEM: 1},
        "optimizer": {"model": state, "optimizer": {"state": {0: {"step": [SYSTEM]}}, "param_groups": []}},
        "nested bytes": {"model": state, "extra": Runs(pickle.loads, pickle.dumps(SYSTEM))},
    }
    path = here / "net.pt"
    torch.save(values[place], path, _use_new_zipfile_serialization=not old)
    contents = outcome(path)
    assert isinstance(contents, Contents)
    assert any(name.endswith(".system") for name in contents.foreign)
    assert contents.tensors.name == ("w",)


def test_a_broken_pickle_names_what_it_would_have_run(here: Path) -> None:
    path = here / "net.pt"
    path.write_bytes(PROTO + called("os", "system", TOUCH) + b"\xff")
    error = outcome(path)
    assert isinstance(error, LoadError)
    assert "0xff is no pickle opcode" in error.message and "os.system" in error.hint


def write_zip(path: Path, entries: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)


def test_a_tar_of_the_first_torch(here: Path) -> None:
    path = here / "net.pt"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in (("sys_info", b"."), ("pickle", pickle.dumps(SYSTEM)), ("../escaped", b"x")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    contents = outcome(path)
    assert isinstance(contents, Contents)
    assert contents.foreign and contents.foreign[0].endswith(".system")
    assert any("before 0.1.10" in note for note in contents.notes)


def test_a_pickle_beside_the_one_that_torch_reads(here: Path) -> None:
    path = here / "net.pt"
    write_zip(path, {"a/data.pkl": pickle.dumps({}), "a/more.pkl": pickle.dumps(SYSTEM), "b/data.pkl": b"x"})
    contents = outcome(path)
    assert isinstance(contents, Contents)
    assert contents.foreign and any("more.pkl" in note for note in contents.notes)


def link() -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("a/data.pkl")
    info.create_system, info.external_attr = 3, 0o120777 << 16
    return info


def patched(data: bytes, find: bytes, replace: bytes) -> bytes:
    assert find in data
    return data.replace(find, replace)


def plain_zip(path: Path, data: bytes = b"\x80\x02}.") -> bytes:
    write_zip(path, {"a/data.pkl": data, "a/version": b"3\n"})
    return path.read_bytes()


def zip_link(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(link(), "/etc/passwd")


def zip_twice(path: Path) -> None:
    path.write_bytes(patched(plain_zip(path), b"a/version", b"a/datb.pk"))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02}.")
        archive.writestr("a/DATA.pkl", pickle.dumps(SYSTEM))


def zip_bomb(path: Path) -> None:
    write_zip(path, {"a/data.pkl": PROTO + b"N0" * 4_000_000 + b"."}, zipfile.ZIP_DEFLATED)


def zip_lying_size(path: Path) -> None:
    write_zip(path, {"a/data.pkl": PROTO + b"N0" * 1_000 + b"."}, zipfile.ZIP_DEFLATED)
    data = bytearray(path.read_bytes())
    central = data.rfind(b"PK\x01\x02")
    data[central + 24 : central + 28] = struct.pack("<I", 10)
    path.write_bytes(data)


def zip_huge_claim(path: Path) -> None:
    write_zip(path, {"a/data.pkl": PROTO + b"N0" * 1_000 + b"."}, zipfile.ZIP_DEFLATED)
    data = bytearray(path.read_bytes())
    central = data.rfind(b"PK\x01\x02")
    data[central + 24 : central + 28] = struct.pack("<I", 2**32 - 2)
    path.write_bytes(data)


def zip_overlap(path: Path) -> None:
    data = bytearray(plain_zip(path))
    central = data.rfind(b"PK\x01\x02")
    data[central + 42 : central + 46] = struct.pack("<I", 0)
    path.write_bytes(data)


def zip_flag(path: Path) -> None:
    data = bytearray(plain_zip(path))
    central = data.find(b"PK\x01\x02")
    data[central + 8] |= 1
    path.write_bytes(data)


def zip_header_name(path: Path) -> None:
    data = plain_zip(path)
    path.write_bytes(data.replace(b"a/data.pkl", b"a/evil.pkl", 1))


def zip_many(path: Path) -> None:
    data = plain_zip(path)
    end = data.rfind(b"PK\x05\x06")
    path.write_bytes(data[: end + 8] + struct.pack("<2H", 60_000, 60_000) + data[end + 12 :])


def zip_second_directory(path: Path) -> None:
    """The record at the end has a directory of harmless entries, the zip64 record, which torch goes by, another."""
    parts: list[tuple[bytes, bytes, int]] = []
    for value in ({}, SYSTEM):
        write_zip(path, {"a/data.pkl": pickle.dumps(value), "a/version": b"3", "a/byteorder": b"little"})
        whole = path.read_bytes()
        size, start = struct.unpack_from("<2L", whole, len(whole) - 10)
        parts.append((whole[:start], whole[start : start + size], start))
    (harmless, shown, _), (entries, hidden, _) = parts
    moved = bytearray(hidden)
    at = 0
    while at < len(moved):
        name, extra, comment = struct.unpack_from("<3H", moved, at + 28)
        (where,) = struct.unpack_from("<L", moved, at + 42)
        struct.pack_into("<L", moved, at + 42, where + len(harmless))
        at += 46 + name + extra + comment
    second = len(harmless) + len(entries)
    first = second + len(moved)
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 3, 3, len(moved), second)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, first + len(shown), 1)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 3, 3, len(shown), first, 0)
    path.write_bytes(harmless + entries + moved + shown + record + locator + end)


ZIPS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "parent folder": (lambda path: write_zip(path, {"../data.pkl": b""}), "points out of the archive"),
    "absolute name": (lambda path: write_zip(path, {"/etc/data.pkl": b""}), "points out of the archive"),
    "drive": (lambda path: write_zip(path, {"C:/data.pkl": b""}), "points out of the archive"),
    "backslashes": (
        lambda path: path.write_bytes(patched(plain_zip(path), b"a/version", b"..\\..\\ver")), "points out",
    ),
    "link": (zip_link, "is a link"),
    "one name twice": (zip_twice, "two entries named"),
    "bomb": (zip_bomb, "steps to read|unpack"),
    "more than it claims": (zip_lying_size, "unpacks to more"),
    "claims too much": (zip_huge_claim, "claims to unpack"),
    "overlapping entries": (zip_overlap, "overlaps"),
    "encrypted": (zip_flag, "is encrypted"),
    "two names of one entry": (zip_header_name, "disagree"),
    "more entries than there are": (zip_many, "claims 60,000"),
    "no directory": (lambda path: path.write_bytes(plain_zip(path)[:-22]), "without its directory"),
    "a second directory": (zip_second_directory, "disagree"),
    "directory beyond the end": (
        lambda path: path.write_bytes(plain_zip(path)[:-6] + b"\xff\xff\xff\x7f\0\0"), "does not fit",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ZIPS)
def test_archives_that_lie(here: Path, name: str) -> None:
    make, sentence = ZIPS[name]
    path = here / "net.pt"
    make(path)
    refused(path, sentence)


def entry(shape: list[int], start: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


SAFETENSORS: dict[str, tuple[bytes, str]] = {
    "10^15 elements": (safetensors_bytes({"w": entry([10**15], 0, 8)}, b"\0" * 8), "should not have 8 bytes"),
    "10^15 elements with their offsets": (
        safetensors_bytes({"w": entry([10**15], 0, 4 * 10**15)}, b"\0" * 8), "which is 8 bytes",
    ),
    "overflowing shape": (safetensors_bytes({"w": entry([2**62, 2**62], 0, 0)}), "memory cannot have"),
    "shape that overflows to 0": (safetensors_bytes({"w": entry([2**32, 2**32], 0, 0)}), "memory cannot have"),
    "overlap": (
        safetensors_bytes({"a": entry([2], 0, 8), "b": entry([2], 4, 12)}, b"\0" * 12), "overlaps the tensor",
    ),
    "gap": (safetensors_bytes({"a": entry([1], 0, 4), "b": entry([1], 8, 12)}, b"\0" * 12), "leaves 4 bytes"),
    "bytes left over": (safetensors_bytes({"a": entry([1], 0, 4)}, b"\0" * 12), "take 4 bytes, and 12"),
    "negative offset": (safetensors_bytes({"a": entry([1], -4, 0)}, b"\0" * 4), "offsets that cannot be"),
    "negative size": (safetensors_bytes({"a": entry([-1], 0, 4)}, b"\0" * 4), "memory cannot have"),
    "end before start": (safetensors_bytes({"a": entry([1], 4, 0)}, b"\0" * 4), "offsets that cannot be"),
    "offset of 2^64": (safetensors_bytes({"a": entry([1], 2**64, 2**64 + 4)}, b"\0" * 4), "offsets that cannot"),
    "header of 11 MB": (
        struct.pack("<Q", 11 * 10**6) + b"{}" + b" " * 11 * 10**6, "header claims 11,000,000 bytes",
    ),
    "header longer than the file": (struct.pack("<Q", 2**39) + b"{}" + b" " * 9, "header should be"),
    "key twice": (
        safetensors_bytes(b'{"a":%s,"a":%s}' % ((json.dumps(entry([1], 0, 4)).encode(),) * 2), b"\0" * 4), "twice",
    ),
    "unknown dtype": (safetensors_bytes({"a": entry([1], 0, 4, "F31")}, b"\0" * 4), "unknown dtype F31"),
    "dtype is a list": (safetensors_bytes({"a": {"dtype": [], "shape": [], "data_offsets": []}}), "unknown dtype"),
    "no dtype": (safetensors_bytes({"a": {"shape": [1]}}), "is not described"),
    "fractional shape": (safetensors_bytes({"a": {"dtype": "F32", "shape": [1.5], "data_offsets": [0, 6]}}), "shape"),
    "truth as a size": (safetensors_bytes({"a": {"dtype": "U8", "shape": [True], "data_offsets": [0, 1]}}), "shape"),
    "deep nesting": (safetensors_bytes(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "JSON is damaged"),
    "integer of 5,000 digits": (safetensors_bytes(b'{"a":' + b"9" * 5_000 + b"}"), "JSON is damaged"),
    "no UTF-8": (safetensors_bytes(b'{"\xff\xfe": 1}'), "JSON is damaged"),
    "metadata of numbers": (safetensors_bytes({"__metadata__": {"a": 1}}), "metadata"),
    "4-bit numbers that end in half a byte": (
        safetensors_bytes({"a": entry([3], 0, 1, "F4")}, b"\0"), "should not have 1 bytes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SAFETENSORS)
def test_safetensors_that_lie(here: Path, name: str) -> None:
    data, sentence = SAFETENSORS[name]
    path = here / "net.safetensors"
    path.write_bytes(data)
    refused(path, sentence)


def rebuilt(shape: bytes, stride: bytes, offset: bytes = b"K\0", count: bytes = b"K\x04") -> bytes:
    """A pickle with one tensor of a storage of ``count`` floats."""
    storage = text("storage") + stack_global("torch", "FloatStorage") + text("0") + text("cpu") + count
    args = (
        b"(("
        + storage
        + b"tQ"
        + offset
        + shape
        + stride
        + b"\x89"
        + stack_global("collections", "OrderedDict")
    )
    return PROTO + stack_global("torch._utils", "_rebuild_tensor_v2") + args + b")RtR."


HUGE = b"\x8a\x08" + struct.pack("<q", 10**15)
NEGATIVE = b"J" + struct.pack("<i", -1)
TENSORS: dict[str, tuple[bytes, str]] = {
    "10^15 elements": (rebuilt(HUGE + b"\x85", b"K\x01\x85"), "reaches beyond its storage"),
    "storage of 10^15": (rebuilt(HUGE + b"\x85", b"K\x01\x85", count=HUGE), "should have 4,000"),
    "negative size": (rebuilt(NEGATIVE + b"\x85", b"K\x01\x85"), "no count"),
    "negative stride": (rebuilt(b"K\x02\x85", NEGATIVE + b"\x85"), "no count"),
    "negative offset": (rebuilt(b"K\x02\x85", b"K\x01\x85", NEGATIVE), "no count"),
    "offset beyond": (rebuilt(b"K\x02\x85", b"K\x01\x85", b"K\x03"), "reaches beyond"),
    "wrong rank": (rebuilt(b"K\x02\x85", b")"), "another number of sizes"),
    "size is text": (rebuilt(text("4") + b"\x85", b"K\x01\x85"), "no count"),
    "100 dimensions": (rebuilt(b"(" + b"K\x01" * 100 + b"t", b"(" + b"K\x01" * 100 + b"t"), "no tuple of sizes"),
}  # fmt: skip


@pytest.mark.parametrize("name", TENSORS)
def test_tensors_that_lie(here: Path, name: str) -> None:
    data, sentence = TENSORS[name]
    path = here / "net.pt"
    write_zip(path, {"a/data.pkl": data, "a/data/0": b"\0" * 16})
    assert re.search(r"in a/data\.pkl, at byte", refused(path, sentence).message)


def test_a_storage_that_is_missing(here: Path) -> None:
    path = here / "net.pt"
    write_zip(path, {"a/data.pkl": rebuilt(b"K\x02\x85", b"K\x01\x85")})
    refused(path, "the data of storage 0 is missing")


def edit_exported(path: Path, change: Callable[[str, bytes], bytes]) -> None:
    module, example = build(Convolutional)
    save_exported(module, example, path)
    with zipfile.ZipFile(path) as archive:
        entries = {name: change(name, archive.read(name)) for name in archive.namelist()}
    write_zip(path, entries)


def test_exported_program_with_a_pickle_as_sample_input(here: Path) -> None:
    torch.save(SYSTEM, here / "evil.pt")
    evil = (here / "evil.pt").read_bytes()
    path = here / "net.pt2"
    edit_exported(path, lambda name, data: evil if "sample_inputs" in name else data)
    contents = outcome(path)
    assert isinstance(contents, Contents)
    assert any(name.endswith(".system") for name in contents.foreign)


@pytest.mark.parametrize("key", ["expr_str", "expr\\u005fstr"])
def test_exported_program_with_code_as_expression(here: Path, key: str) -> None:
    expression = f'{{"as_expr": {{"{key}": "__import__(\'os\').system(\'{TOUCH}\')"}}}}'.encode()
    path = here / "net.pt2"
    edit_exported(
        path, lambda name, data: data.replace(b'{"as_int": 2}', expression, 1) if "models/" in name else data
    )
    contents = outcome(path)
    assert isinstance(contents, Contents)
    assert contents.foreign == ("sympy.sympify",)
    assert "__import__" in next(call.example for call in contents.calls if call.function == "sympy.sympify")


def test_exported_program_with_pickled_weights(here: Path) -> None:
    def change(name: str, data: bytes) -> bytes:
        if name.endswith("weights_config.json"):
            return data.replace(b'"use_pickle": false', b'"use_pickle": true', 1)
        return pickle.dumps(SYSTEM) if name.endswith("weight_0") else data

    path = here / "net.pt2"
    edit_exported(path, change)
    contents = outcome(path)
    assert isinstance(contents, Contents)
    assert any(name.endswith(".system") for name in contents.foreign)
    assert any("torch.export.load would run it" in note for note in contents.notes)


def test_exported_program_whose_weights_lead_elsewhere(here: Path) -> None:
    path = here / "net.pt2"
    edit_exported(
        path, lambda name, data: data.replace(b'"weight_0"', b'"../../evil"') if "config" in name else data
    )
    refused(path, "is missing")


@pytest.mark.parametrize(
    "shard", ["../secret.bin", "/etc/passwd", "..", "C:\\secret", "a/b", "index.json", ""]
)
def test_shards_that_lead_elsewhere(here: Path, shard: str) -> None:
    path = here / "index.json"
    path.write_text(json.dumps({"weight_map": {"w": shard}}))
    refused(path, "is not a file beside it")


def test_indexes_that_name_each_other(here: Path) -> None:
    for file, other in (("index.json", "other.json"), ("other.json", "index.json")):
        (here / file).write_text(json.dumps({"weight_map": {"w": other}}))
    error = attempt(here / "index.json")
    assert isinstance(error, LoadError) and "cannot be an index again" in error.message


def test_shards_have_one_budget_together(here: Path) -> None:
    folder = here / "model"
    folder.mkdir()
    for index in range(30):
        (folder / f"s{index}.bin").write_bytes(PROTO + b"N0" * 50_000 + b"N.")
    places = {f"w{index}": f"s{index}.bin" for index in range(30)}
    (folder / "index.json").write_text(json.dumps({"weight_map": places}))
    refused(folder / "index.json", "takes more than 1,200,000 steps")


def test_a_shard_that_links_elsewhere(here: Path) -> None:
    (here / "secret").mkdir()
    (here / "secret" / "w.safetensors").write_bytes(safetensors_bytes({}))
    folder = here / "model"
    folder.mkdir()
    try:
        (folder / "w.safetensors").symlink_to(here / "secret" / "w.safetensors")
    except OSError as error:
        pytest.skip(f"no links here: {error}")
    (folder / "index.json").write_text(json.dumps({"weight_map": {"w": "w.safetensors"}}))
    refused(folder / "index.json", "a link out of its folder")


BOMBS: dict[str, Callable[[], bytes]] = {
    "opcodes": lambda: PROTO + b"N0" * 3_000_000 + b"N.",
    "empty dicts": lambda: PROTO + b"}" * 2_000_000 + b".",
    "marks": lambda: PROTO + b"(" * 2_000_000,
    "memo index": lambda: PROTO + b"Nr\xff\xff\xff\xff.",
    "deep tuple": lambda: PROTO + b")" + b"\x85" * 1_000_000 + b".",
    "deep list": lambda: PROTO + b"]" * 500_000 + b"a" * 499_999 + b".",
    "deep dict": lambda: PROTO + b"}K\x01" * 300_000 + b"N" + b"s" * 300_000 + b".",
    "list in itself": lambda: PROTO + b"]\x94h\0a.",
    "tuples that double": lambda: PROTO + b")" + b"2\x86" * 500_000 + b".",
    "dict keys that double": lambda: PROTO + b"}" + b")" + b"2\x86" * 200 + b"Ns.",
    "bytes of 2^63": lambda: PROTO + b"\x8e" + b"\xff" * 7 + b"\x7f.",
    "text of 2^32": lambda: PROTO + b"X\xff\xff\xff\xff.",
    "frame of 2^63": lambda: PROTO + b"\x95" + b"\xff" * 7 + b"\x7fN.",
    "integer of 2^31 bytes": lambda: PROTO + b"\x8b\xff\xff\xff\x7f.",
    "integer of a million digits": lambda: PROTO + b"I" + b"9" * 1_000_000 + b"\n.",
    "line without end": lambda: b"c" + b"x" * 4_000_000,
    "calls of calls": lambda: PROTO + stack_global("os", "system") + b")R" * 400_000 + b".",
    "distinct imports": lambda: PROTO + b"".join(b"cm%d\nx\n0" % i for i in range(400_000)) + b"N.",
    "shared arguments": lambda: (
        PROTO + b"]\x94(" + b"N" * 400_000 + b"e"
        + (stack_global("collections", "OrderedDict") + b"h\0\x85R0") * 10_000 + b"N."
    ),
    "long names": lambda: PROTO + b"c" + b"m" * 900_000 + b"\nx\n.",
    "modules below themselves": lambda: modules(40),
    "objects with one large state": lambda: (
        PROTO + b"}\x940" + b"h\0(" + b"".join(b"J" + struct.pack("<i", i) + b"N" for i in range(100_000)) + b"u0"
        + b"(" + (stack_global("argparse", "Namespace") + b")\x81h\0b") * 20_000 + b"l."
    ),
    "one archive handed over often": lambda: (
        PROTO + b"B" + struct.pack("<I", len(many_entries())) + many_entries() + b"\x85\x940"
        + (stack_global("pickle", "loads") + b"h\0R0") * 40_000 + b"N."
    ),
    "nested pickles": lambda: nested_pickles(50),
    "json of empty lists": lambda: safetensors_bytes(b'{"a":[' + b"[]," * 3_000_000 + b"[]]}"),
    "json of keys": lambda: safetensors_bytes(b"{" + b",".join(b'"a%d":[]' % i for i in range(700_000)) + b"}"),
}  # fmt: skip


def modules(depth: int) -> bytes:
    """Each module has the one below it as two children: 2^depth names."""
    module = (
        stack_global("torch.nn.modules.container", "Sequential") + b")\x81}(" + text("_parameters") + b"}"
    )
    leaf = module + text("_modules") + b"}ub"
    return PROTO + leaf + b"\x94" + b"".join(
        b"0" + module + text("_modules") + b"}(" + text("0") + b"h" + bytes([i]) + text("1") + b"h" + bytes([i])
        + b"uub\x94"
        for i in range(depth)
    ) + b"."  # fmt: skip


@functools.cache
def many_entries() -> bytes:
    """An archive of 2,000 empty files and an empty pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/data.pkl", PROTO + b"N.")
        for index in range(2_000):
            archive.writestr(f"a/{index}", b"")
    return buffer.getvalue()


def nested_pickles(depth: int) -> bytes:
    data = pickle.dumps(SYSTEM)
    for _ in range(depth):
        data = pickle.dumps(Runs(pickle.loads, data))
    return data


LIMITED = """
import sys
from pathlib import Path
try:
    import resource
    # Reading needs far less than 1 GB; address space that it reserves counts too.
    resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
except ImportError:
    pass
from engine.errors import LoadError
from engine.files import describe, read
for name in sys.argv[1:]:
    try:
        print(describe(read(Path(name))))
    except LoadError as error:
        print(error.message)
"""


def test_bombs_end_in_a_sentence_within_a_gigabyte(here: Path) -> None:
    """One process for all, with 1 GB of address space where the system can say so."""
    names = []
    for index, name in enumerate(sampled(list(BOMBS), 6, "bombs")):
        path = here / f"bomb{index}.pt"
        path.write_bytes(BOMBS[name]())
        names.append(str(path))
    zip_bomb(here / "zip.pt")
    names.append(str(here / "zip.pt"))
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, *names], capture_output=True, text=True, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(names)
    assert all(line.endswith(".") for line in lines)
    assert not (here / CANARY).exists()
