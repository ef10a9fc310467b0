"""What a Python file would run, read without running it: for the consent dialog, and the hash consent is given for."""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path

from engine.errors import LoadError

MAX_FILE_BYTES = 16 * 2**20
MAX_FILES = 200


def read_source(path: Path) -> bytes:
    """The content of a Python file. Raises LoadError when it cannot be read or is no Python source."""
    try:
        if path.is_dir():
            raise LoadError(
                f"{path.name} is a folder.",
                hint="Give the Python file in it and a callable: net.py:build.",
                file=str(path),
            )
        if path.stat().st_size > MAX_FILE_BYTES:
            raise LoadError(f"{path.name} is larger than 16 MiB; that is no Python source.", file=str(path))
        return path.read_bytes()
    except FileNotFoundError as error:
        raise LoadError(f"There is no file {path}.", hint="Check the path.", file=str(path)) from error
    except PermissionError as error:
        raise LoadError(f"{path} cannot be read: permission denied.", file=str(path)) from error
    except OSError as error:
        raise LoadError(f"{path} cannot be read: {error.strerror or error}.", file=str(path)) from error


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


def local_files(path: Path, content: bytes) -> dict[Path, bytes]:
    """``path`` and, as far as imports can be read off the text, the files of its folder that it imports."""
    root = package_root(path)
    files = {path: content}
    queue = [path]
    while queue and len(files) < MAX_FILES:
        current = queue.pop()
        try:
            tree = ast.parse(files[current])
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        for name in _imported(tree, current, root):
            for found in _resolve(root, name):
                if found not in files and found.stat().st_size <= MAX_FILE_BYTES:
                    files[found] = found.read_bytes()
                    queue.append(found)
    return files


def digest(files: dict[Path, bytes]) -> str:
    """SHA-256 over the contents, in the order of their paths."""
    whole = hashlib.sha256()
    for path in sorted(files):
        whole.update(hashlib.sha256(files[path]).digest())
    return whole.hexdigest()


def what_runs(path: Path, tree: ast.Module, files: dict[Path, bytes], call_text: str) -> tuple[str, ...]:
    """Lines for the dialog: the callable, files, imports and the statements at import that do more than define."""
    root = package_root(path)
    lines = [f"Calls {call_text} in {path.name}, then the model's forward()."]
    others = sorted(str(file.relative_to(root)) for file in files if file != path)
    if others:
        lines.append(f"Imports from its folder: {', '.join(others)}.")
    names = sorted(
        {
            name
            for file, content in files.items()
            for name in _imported(ast.parse(content) if file != path else tree, file, root)
            if not _resolve(root, name)
        }
    )
    if names:
        lines.append(f"Imports: {', '.join(names)}.")
    for node in tree.body:
        if isinstance(
            node, (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)
        ):
            continue
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        if any(isinstance(part, ast.Call) for part in ast.walk(node)):
            text = ast.unparse(node).splitlines()[0]
            lines.append(f"Line {node.lineno}, at import: {text[:120]}")
    return tuple(lines)


def callables(tree: ast.Module) -> list[str]:
    """Top-level functions and classes of a module, in order, private ones left out."""
    return [
        node.name
        for node in tree.body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
    ]


def _imported(tree: ast.Module, path: Path, root: Path) -> set[str]:
    """Dotted names of all modules the text imports anywhere, relative imports made absolute below ``root``."""
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
            names.update(
                ".".join((*parts, alias.name)) for alias in node.names if node.level and not node.module
            )
    return names


def _resolve(root: Path, name: str) -> list[Path]:
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
