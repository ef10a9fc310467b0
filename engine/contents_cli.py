"""``python main.py contents FILE``: what a model file holds, read without running, importing or unpacking any of it.

torch is not imported either. Exit status as of ``report``: 0 done, 1 a bug, 2 a file that cannot be read.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from engine.cli import OK, Parser, guarded, write_stdout
from engine.contents import Candidate, Contents
from engine.contents_text import text
from engine.errors import LoadError
from engine.files import read
from engine.matching import candidates
from engine.sources import split_file

SCHEMA = "misnomer-contents/1"
NO_MODEL = ("tensor", "pickle", "onnx")
"""Kinds of files that hold no weights of an architecture: no model, or one that is whole. The weights of all others,
also of TorchScript and of an exported program, can be opened with an architecture of the zoo, which runs nothing of the
file."""


class Listing(Struct, frozen=True, kw_only=True):
    """What ``--json`` writes."""

    schema: str
    contents: Contents
    candidates: tuple[Candidate, ...]


def main(argv: Sequence[str]) -> int:
    """The exit status of ``contents …``."""

    def run() -> int:
        options = _parser().parse_args(list(argv))
        write_stdout(_listing(options.file, options.json))
        return OK

    return guarded(run)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="misnomer contents",
        description="What a model file holds; nothing of it is run, imported or unpacked.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("file", metavar="FILE", help="a model file, the index of its shards, or a folder; "
        "FILE#GROUP matches that group of its tensors")  # fmt: skip
    add("--json", action="store_true", help="as one JSON object")
    return parser


def _listing(source: str, as_json: bool) -> bytes:
    """Raises LoadError for a file that cannot be read or has no such group."""
    path, group, _ = split_file(source)
    contents = read(_path(path))
    if group and all(each.path != group for each in contents.groups):
        known = ", ".join(each.path for each in contents.groups if each.path)
        raise LoadError(
            f"{Path(path).name} has no group {group!r}.",
            hint=f"It has: {known}." if known else "It has one group, which needs no name.",
            file=path,
        )
    is_weights = contents.kind not in NO_MODEL
    found = candidates(contents, group) if is_weights else ()
    if as_json:
        listing = Listing(schema=SCHEMA, contents=contents, candidates=found)
        return msgspec.json.format(msgspec.json.encode(listing), indent=1) + b"\n"
    return text(contents, found, is_weights).encode("utf-8", "replace")


def _path(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise LoadError(f"{path} is no usable path: {error}.", file=path) from error
