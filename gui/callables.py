"""What a Python file offers to open, read from its syntax tree: nothing runs. No Qt here."""

from __future__ import annotations

import ast
import os
import stat
import warnings
from dataclasses import dataclass

MAX_BYTES = 512 << 10
"""A larger file is no model's source, and its syntax tree would take seconds and gigabytes."""


@dataclass(frozen=True)
class Candidate:
    """A top-level function or class that may build a model."""

    name: str
    kind: str
    """``function`` or ``class``."""
    line: int
    required: int
    """Parameters without a default; more than none cannot be filled in."""
    summary: str
    """First line of its docstring."""
    likely: bool
    """A class derived from something called Module, or a function without required parameters."""


def candidates(path: str) -> list[Candidate]:
    """Likely ones first, else in the order of the file.

    Raises OSError when the file cannot be read, SyntaxError when it is no Python and ValueError when it is no file, too
    large, or nested too deeply to be read.
    """
    source = _source(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an author's invalid escapes are none of our messages
            return _found(ast.parse(source, path))
    except (RecursionError, MemoryError) as error:
        # The parser says MemoryError for a few thousand levels, without having used much of it.
        raise ValueError("It is nested too deeply to be read") from error


def _source(path: str) -> bytes:
    """The content of a regular file of at most MAX_BYTES: a pipe would block, a device would never end."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError("It is not a regular file")
    with open(path, "rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"It is larger than {MAX_BYTES >> 10} KiB, too large to be a model's source")
    if b"\0" in content:
        raise ValueError("It contains NUL bytes and is no Python source")
    return content


def _found(tree: ast.Module) -> list[Candidate]:
    found = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            required = _required(node.args)
            found.append(_candidate(node, "function", required, required == 0))
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            start = next(
                (each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"),
                None,
            )
            required = max(_required(start.args) - 1, 0) if start is not None else 0
            module = any("Module" in ast.unparse(base) for base in node.bases)
            found.append(_candidate(node, "class", required, module and required == 0))
    # A function may bring example inputs along, a class cannot.
    return sorted(found, key=lambda each: (not each.likely, each.kind != "function"))


def _required(arguments: ast.arguments) -> int:
    positional = len(arguments.posonlyargs) + len(arguments.args) - len(arguments.defaults)
    return positional + sum(default is None for default in arguments.kw_defaults)


def _candidate(node: ast.FunctionDef | ast.ClassDef, kind: str, required: int, likely: bool) -> Candidate:
    summary = (ast.get_docstring(node) or "").partition("\n")[0]
    return Candidate(node.name, kind, node.lineno, required, summary, likely)
