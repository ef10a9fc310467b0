"""What a Python file offers to open, read from its syntax tree: nothing runs. No Qt here."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

MAX_BYTES = 8 << 20
"""A larger file is no model's source."""


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

    Raises OSError when the file cannot be read and SyntaxError (ValueError for NUL bytes) when it is no Python.
    """
    if Path(path).stat().st_size > MAX_BYTES:
        raise ValueError("The file is too large to be a model's source.")
    tree = ast.parse(Path(path).read_bytes(), path)
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
    return sorted(found, key=lambda each: not each.likely)


def _required(arguments: ast.arguments) -> int:
    positional = len(arguments.posonlyargs) + len(arguments.args) - len(arguments.defaults)
    return positional + sum(default is None for default in arguments.kw_defaults)


def _candidate(node: ast.FunctionDef | ast.ClassDef, kind: str, required: int, likely: bool) -> Candidate:
    summary = (ast.get_docstring(node) or "").partition("\n")[0]
    return Candidate(node.name, kind, node.lineno, required, summary, likely)
