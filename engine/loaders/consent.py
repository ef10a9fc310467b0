"""What a Python file would run, read without running it: for the consent dialog, and the hash consent is given for.

Nobody has agreed to anything yet when this is read, so it is bounded: a syntax tree takes some thousand times the
memory of its text.
"""

from __future__ import annotations

import ast
import gc
import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, TypeAlias

from engine.contents import shown
from engine.errors import LoadError

MAX_FILE_BYTES = 2**20
"""Of one file: the longest of torch and transformers have half of it."""
MAX_BYTES = 16 * 2**20
"""Of all files that would run together."""
MAX_FILES = 200
MAX_WORDS = 120_000
"""Names and signs of all files together that are parsed, some 0.6 MB of usual code: a second and 0.3 GB at most."""
BRACE_WORDS = 5
"""What a brace counts: in a text it may hold an expression, which is parsed on its own."""
MAX_MODULES = 20_000
"""Distinct names of modules that all files together import."""
LISTED_MODULES, LISTED_NAME = 100, 80
LISTED_STATEMENTS = 100
LONG_STATEMENT = 4_000
"""Characters of a statement from which on its first line stands for it."""
LONG_LINE = 120

_WORD = re.compile(rb"\w+|[^\w\s]")
_LONG_NAME = re.compile(rb"(?<!\w)(?:[^\W\d]\w*+[\s\\]*+\.[\s\\]*+){100}")
"""Python's parser keeps every beginning of the dotted name of a module."""
_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+(\.*)([\w.]*)[ \t]+import[ \t]+(?:\(([^)]*)\)|([^\n#;]*))|import[ \t]+([^\n#;]+))",
    re.MULTILINE,
)


class Import(NamedTuple):
    """``from ..module import members``, or ``import module``, which has no members."""

    module: str
    level: int = 0
    """Dots before it."""
    members: tuple[str, ...] = ()


class Budget:
    """What is left of the limits for one source and everything it imports from its folder."""

    def __init__(self) -> None:
        self._bytes, self._words, self._modules = MAX_BYTES, MAX_WORDS, MAX_MODULES

    def take_bytes(self, count: int) -> bool:
        self._bytes -= count
        return self._bytes >= 0

    def take_words(self, content: bytes) -> bool:
        """Whether ``content`` may be parsed; where not, nothing is taken."""
        left = self._words - BRACE_WORDS * content.count(b"{")
        for _ in _WORD.finditer(content):
            left -= 1
            if left < 0:
                return False
        self._words = left
        return True

    def take_modules(self, count: int) -> bool:
        self._modules -= count
        return self._modules >= 0


def read_source(path: Path) -> bytes:
    """The content of a Python file. Raises LoadError when it cannot be read or is no Python source."""
    try:
        kind = path.stat().st_mode
        if stat.S_ISDIR(kind):
            raise LoadError(
                f"{path.name} is a folder.",
                hint="Give the Python file in it and a callable: net.py:build.",
                file=str(path),
            )
        if not stat.S_ISREG(kind):
            raise LoadError(f"{path.name} is no regular file.", file=str(path))
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise LoadError(f"There is no file {path}.", hint="Check the path.", file=str(path)) from error
    except PermissionError as error:
        raise LoadError(f"{path} cannot be read: permission denied.", file=str(path)) from error
    except OSError as error:
        raise LoadError(f"{path} cannot be read: {error.strerror or error}.", file=str(path)) from error
    if len(content) > MAX_FILE_BYTES:
        raise LoadError(
            f"{path.name} is larger than {MAX_FILE_BYTES >> 20} MiB; that is no usual Python source.",
            hint="Move the model into a file of its own.",
            file=str(path),
        )
    return content


def parse(path: Path, content: bytes, budget: Budget) -> ast.Module:
    """Raises LoadError with the line when ``content`` is not valid Python, and when it is too long to be looked at."""
    if b"\0" in content or _LONG_NAME.search(content):
        raise LoadError(f"{path.name} is not a Python source file.", file=str(path))
    if not budget.take_words(content):
        raise LoadError(
            f"{path.name} is too long to say what it would run: it has more than {MAX_WORDS:,} words.",
            hint="Move the model into a file of its own.",
            file=str(path),
        )
    try:
        with _no_collection():
            return ast.parse(content, filename=str(path))
    except SyntaxError as error:
        raise LoadError(
            f"{path.name}, line {error.lineno}: {error.msg}.", hint="Correct the file.", file=str(path)
        ) from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise LoadError(f"{path.name} is not a Python source file.", file=str(path)) from error


def package_root(path: Path) -> Path:
    """The folder to import ``path`` from: above every package (folder with ``__init__.py``) it lies in."""
    root = path.parent
    while (root / "__init__.py").is_file() and root.parent != root:
        root = root.parent
    return root


@contextmanager
def _no_collection() -> Iterator[None]:
    """Without the collector, which would look through a growing tree again and again."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@dataclass(frozen=True)
class SourceFile:
    """A file that would run: its content and, unless it cannot be parsed or is too long, its syntax tree."""

    content: bytes
    tree: ast.Module | None

    @cached_property
    def imports(self) -> tuple[Import, ...]:
        """Anywhere in it; without a tree what looks like one."""
        return tuple(_imports(self.tree) if self.tree is not None else _imports_in(self.content))


def _imports(tree: ast.Module) -> Iterator[Import]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield Import(node.module or "", node.level, tuple(alias.name for alias in node.names))


def _imports_in(content: bytes) -> Iterator[Import]:
    for dots, module, several, members, plain in _IMPORT.findall(content.decode("utf-8", "replace")):
        if plain:
            yield from (Import(each.split()[0]) for each in plain.split(",") if each.strip())
        else:
            named = [each.split()[0] for each in (several or members).split(",") if each.strip()]
            yield Import(module, len(dots), tuple(named))


Files: TypeAlias = dict[Path, SourceFile]


def add_local_files(path: Path, source: SourceFile, root: Path, files: Files, budget: Budget) -> None:
    """Adds to ``files`` the file ``path``, the packages it lies in and, as far as imports can be read off the text,
    what they import from ``root``. A file that cannot be read is left out, so it cannot run either.

    Raises LoadError where there are more names of modules than can be looked up.
    """
    files[path] = source
    queue = [path]
    found = resolve(root, ".".join(path.relative_to(root).with_suffix("").parts))
    while True:
        for file in found:
            if file not in files and len(files) < MAX_FILES:
                local = read_local(file, budget)
                if local is not None:
                    files[file] = local
                    queue.append(file)
        if not queue:
            return
        current = queue.pop()
        names = sorted(_imported(files[current], current, root))
        if not budget.take_modules(len(names)):
            raise LoadError(
                f"{path.name} and what it imports name more than {MAX_MODULES:,} modules.",
                hint="No usual Python source does that.",
                file=str(path),
            )
        found = [file for each in names for file in resolve(root, each)]


def read_local(path: Path, budget: Budget) -> SourceFile | None:
    """The file, if it can be read at all and there is room for it."""
    try:
        content = read_source(path)
    except LoadError:
        return None
    if not budget.take_bytes(len(content)):
        return None
    try:
        return SourceFile(content, parse(path, content, budget))
    except LoadError:
        return SourceFile(content, None)


def digest(root: Path, files: Mapping[Path, SourceFile]) -> str:
    """SHA-256 over the places below ``root`` and the contents of all files."""
    whole = hashlib.sha256()
    for path in sorted(files):
        whole.update(hashlib.sha256(path.relative_to(root).as_posix().encode()).digest())
        whole.update(hashlib.sha256(files[path].content).digest())
    return whole.hexdigest()


def what_runs(path: Path, files: Mapping[Path, SourceFile], call_text: str) -> tuple[str, ...]:
    """Lines for the dialog: the callable, files, imports and the statements at import that do more than define."""
    root = package_root(path)
    lines = [f"Calls {call_text} in {path.name}, then the model's forward()."]
    others = sorted(str(file.relative_to(root)) for file in files if file != path)
    if others:
        lines.append(f"Imports from its folder: {', '.join(others)}.")
    imported = {name for file, source in files.items() for name in _imported(source, file, root, False)}
    names = sorted(name for name in imported if not resolve(root, name))
    if names:
        more = f" and {len(names) - LISTED_MODULES:,} more" if len(names) > LISTED_MODULES else ""
        listed = ", ".join(shown(name, LISTED_NAME) for name in names[:LISTED_MODULES])
        lines.append(f"Imports: {listed}{more}.")
    ordered = sorted(files, key=lambda file: (file != path, file))
    names_of = {file: "" if file == path else str(file.relative_to(root)) for file in ordered}
    lines.extend(statements({names_of[file]: files[file] for file in ordered}))
    return tuple(lines)


def statements(files: Mapping[str, SourceFile]) -> Iterator[str]:
    """``net.py, line 3, at import: os.system("x")`` for each top-level statement that calls something, file by file; a
    file without a name is the one that is meant. The first are listed, and how many more there are."""
    count = 0
    for name, source in files.items():
        where = f"{name}, line" if name else "Line"
        for node in _calling(source.tree):
            count += 1
            if count <= LISTED_STATEMENTS:
                yield f"{where} {node.lineno}, at import: {_text(node, source.content)}"
        if source.tree is None:
            yield f"{name} cannot be parsed, or is too long: what it runs at import is not listed."
    if count > LISTED_STATEMENTS:
        yield f"Runs {count - LISTED_STATEMENTS:,} more statements at import."


def _calling(tree: ast.Module | None) -> Iterator[ast.stmt]:
    """Top-level statements that call something when the module is imported."""
    for node in tree.body if tree is not None else ():
        if isinstance(
            node, (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)
        ):
            continue
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        if any(isinstance(part, ast.Call) for part in ast.walk(node)):
            yield node


def _text(node: ast.stmt, content: bytes) -> str:
    """The statement in one line, or the beginning of it."""
    lines = content.splitlines()[node.lineno - 1 : node.end_lineno]
    if sum(map(len, lines)) <= LONG_STATEMENT:
        return ast.unparse(node).splitlines()[0][:LONG_LINE]
    return lines[0].decode("utf-8", "replace").strip()[:LONG_LINE]


def callables(tree: ast.Module) -> list[str]:
    """Top-level functions and classes of a module, in order, private ones left out."""
    return [
        node.name
        for node in tree.body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
    ]


def _imported(source: SourceFile, path: Path, root: Path, members: bool = True) -> set[str]:
    """Dotted names of all modules the text imports anywhere, relative imports made absolute below ``root``.

    With ``members``, ``from a import b`` also gives ``a.b``, which may be a module or not.
    """
    names: set[str] = set()
    package = path.parent.relative_to(root).parts if path.is_relative_to(root) else ()
    for each in source.imports:
        base = package[: len(package) - each.level + 1] if each.level else ()
        parts = (*base, *([each.module] if each.module else []))
        if parts:
            names.add(".".join(parts))
        if members or not parts:
            names.update(".".join((*parts, member)) for member in each.members if member != "*")
    return names


def resolve(root: Path, name: str) -> list[Path]:
    """Files below ``root`` that importing ``name`` executes (packages on the way included)."""
    found = []
    folder = root
    for part in name.split("."):
        # Path.is_file raises for a name that is too long for the file system.
        if os.path.isfile(file := folder / f"{part}.py"):
            found.append(file)
            break
        folder = folder / part
        if os.path.isfile(init := folder / "__init__.py"):
            found.append(init)
        elif not os.path.isdir(folder):
            break
    return found
