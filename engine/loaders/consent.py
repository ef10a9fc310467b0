"""What a Python file would run, read without running it: for the consent dialog, and the hash consent is given for."""

from __future__ import annotations

import ast
import hashlib
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from engine.errors import LoadError

MAX_FILE_BYTES = 16 * 2**20
MAX_FILES = 200


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
        raise LoadError(f"{path.name} is larger than 16 MiB; that is no Python source.", file=str(path))
    return content


def parse(path: Path, content: bytes) -> ast.Module:
    """Raises LoadError with the line when ``content`` is not valid Python."""
    if b"\0" in content:
        raise LoadError(f"{path.name} is not a Python source file.", file=str(path))
    try:
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


class SourceFile(NamedTuple):
    """A file that would run: its content and, unless it cannot be parsed, its syntax tree."""

    content: bytes
    tree: ast.Module | None


def local_files(
    path: Path, content: bytes, tree: ast.Module | None, root: Path | None = None
) -> dict[Path, SourceFile]:
    """``path``, the packages it lies in and, as far as imports can be read off the text, what they import from
    ``root`` (by default the folder above its packages). A file that cannot be read is left out, so it cannot run
    either."""
    root = root or package_root(path)
    files = {path: SourceFile(content, tree)}
    queue = [path]
    name = ".".join(path.relative_to(root).with_suffix("").parts)
    found = resolve(root, name)
    while True:
        for file in found:
            if file not in files and len(files) < MAX_FILES:
                source = read_local(file)
                if source is not None:
                    files[file] = source
                    queue.append(file)
        if not queue:
            return files
        current = queue.pop()
        current_tree = files[current].tree
        names = _imported(current_tree, current, root) if current_tree is not None else set()
        found = [file for each in sorted(names) for file in resolve(root, each)]


def read_local(path: Path) -> SourceFile | None:
    """The file, if it can be read at all."""
    try:
        content = read_source(path)
    except LoadError:
        return None
    try:
        return SourceFile(content, parse(path, content))
    except LoadError:
        return SourceFile(content, None)


def digest(root: Path, files: dict[Path, SourceFile]) -> str:
    """SHA-256 over the places below ``root`` and the contents of all files."""
    whole = hashlib.sha256()
    for path in sorted(files):
        whole.update(hashlib.sha256(path.relative_to(root).as_posix().encode()).digest())
        whole.update(hashlib.sha256(files[path].content).digest())
    return whole.hexdigest()


def what_runs(path: Path, files: dict[Path, SourceFile], call_text: str) -> tuple[str, ...]:
    """Lines for the dialog: the callable, files, imports and the statements at import that do more than define."""
    root = package_root(path)
    lines = [f"Calls {call_text} in {path.name}, then the model's forward()."]
    others = sorted(str(file.relative_to(root)) for file in files if file != path)
    if others:
        lines.append(f"Imports from its folder: {', '.join(others)}.")
    names = sorted(
        name
        for name in {
            n
            for file, (_, tree) in files.items()
            if tree is not None
            for n in _imported(tree, file, root, False)
        }
        if not resolve(root, name)
    )
    if names:
        lines.append(f"Imports: {', '.join(names)}.")
    for file in sorted(files, key=lambda file: (file != path, file)):
        where = "Line" if file == path else f"{file.relative_to(root)}, line"
        lines.extend(f"{where} {line}" for line in statements(files[file].tree))
    return tuple(lines)


def statements(tree: ast.Module | None) -> Iterator[str]:
    """``3, at import: os.system("x")`` for each top-level statement that calls something."""
    for node in tree.body if tree is not None else ():
        if isinstance(
            node, (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)
        ):
            continue
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        if any(isinstance(part, ast.Call) for part in ast.walk(node)):
            yield f"{node.lineno}, at import: {ast.unparse(node).splitlines()[0][:120]}"


def callables(tree: ast.Module) -> list[str]:
    """Top-level functions and classes of a module, in order, private ones left out."""
    return [
        node.name
        for node in tree.body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
    ]


def _imported(tree: ast.Module, path: Path, root: Path, members: bool = True) -> set[str]:
    """Dotted names of all modules the text imports anywhere, relative imports made absolute below ``root``.

    With ``members``, ``from a import b`` also gives ``a.b``, which may be a module or not.
    """
    names: set[str] = set()
    package = path.parent.relative_to(root).parts if path.is_relative_to(root) else ()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            parts = (*base, *([node.module] if node.module else []))
            if parts:
                names.add(".".join(parts))
            if members or not parts:
                names.update(".".join((*parts, alias.name)) for alias in node.names if alias.name != "*")
    return names


def resolve(root: Path, name: str) -> list[Path]:
    """Files below ``root`` that importing ``name`` executes (packages on the way included)."""
    found = []
    folder = root
    for part in name.split("."):
        if (file := folder / f"{part}.py").is_file():
            found.append(file)
            break
        folder = folder / part
        if (init := folder / "__init__.py").is_file():
            found.append(init)
    return found
