"""Keeps our packages and the user's apart, and runs only the bytes the user agreed to.

Many training repositories have an ``engine.py``, ``main.py`` or ``resources.py`` beside the model: while user code
runs, our modules of these names leave ``sys.modules`` and an import of them finds theirs or nothing. Afterwards ours
are back and theirs are kept aside, so that imports inside their functions work at any later forward pass too.

Files below the user's root are imported by a finder of our own, from the content that was hashed for consent: no other
file, no compiled cache and no later version of a file can run in its place.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from pathlib import Path
from types import CodeType, ModuleType

OUR_NAMES = ("engine", "gui", "main", "resources")


def _ours(name: str) -> bool:
    return name.partition(".")[0] in OUR_NAMES


def _compiled(folder: Path, stem: str) -> Iterator[Path]:
    """Files without readable text that Python would import from ``folder`` as the module or package ``stem``."""
    for place in (folder / stem / "__init__", folder / stem):
        for suffix in importlib.machinery.all_suffixes():
            if suffix != ".py" and (path := place.with_name(f"{place.name}{suffix}")).is_file():
                yield path


class _SourceLoader(Loader):
    """Executes given source bytes; writes no cache into the user's folder."""

    def __init__(self, path: Path, content: bytes) -> None:
        self._path = path
        self._content = content

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._content, str(self._path), "exec", dont_inherit=True)

    def get_source(self, fullname: str) -> str:
        return importlib.util.decode_source(self._content)

    def exec_module(self, module: ModuleType) -> None:
        exec(self.get_code(module.__name__), module.__dict__)


class UserModules(MetaPathFinder):
    """The import world of one user source.

    ``files`` are the contents below ``root`` that may run. With ``others_allowed`` (a blanket consent) further files
    of the folder may run too, from their content at that moment.
    """

    def __init__(self, root: Path, files: Mapping[Path, bytes], others_allowed: bool) -> None:
        self.root = root
        self._files = files
        self._others_allowed = others_allowed
        places = {
            Path(place).resolve() for place in (sys.prefix, sys.base_prefix, sysconfig.get_path("stdlib"))
        }
        self._interpreter = [place for place in places if not root.is_relative_to(place)]
        self._aside: dict[str, ModuleType] = {}
        self._names: set[str] = set()
        """Modules that belong to this world."""

    @contextmanager
    def active(self) -> Iterator[None]:
        """Run user code inside. Code of ours that runs meanwhile must not import our modules by name."""
        ours = {name: module for name, module in sys.modules.items() if _ours(name)}
        path = list(sys.path)
        for name in ours:
            del sys.modules[name]
        sys.modules.update(self._aside)
        sys.path.insert(0, str(self.root))
        sys.meta_path.insert(0, self)
        try:
            yield
        finally:
            sys.meta_path.remove(self)
            for name in [name for name in self._names if name in sys.modules]:
                self._aside[name] = sys.modules.pop(name)
            for name in [name for name in sys.modules if _ours(name)]:
                del sys.modules[name]
            sys.modules.update(ours)
            sys.path[:] = path

    def load_file(self, path: Path) -> ModuleType:
        """Import ``path``, which is one of the files, under the name its place in the folder gives it.

        A name that something else has already (``copy.py``) or that is no module name (``net.v2.py``) is replaced by a
        private one. Call inside ``active``.
        """
        parts = path.relative_to(self.root).with_suffix("").parts
        name = ".".join(parts)
        if all(part.isidentifier() for part in parts) and (name in self._aside or name not in sys.modules):
            return importlib.import_module(name)
        name = "_user_" + "".join(c if c.isalnum() else "_" for c in name)
        spec = self._spec(name, path, is_package=False)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        assert spec.loader is not None
        spec.loader.exec_module(module)
        return module

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """A file below the root, or None to let Python look elsewhere. Raises ImportError for what may not run."""
        for folder in self._folders(fullname, path):
            stem = fullname.rpartition(".")[2]
            package = folder / stem / "__init__.py"
            if package.is_file():
                return self._spec(fullname, package, is_package=True)
            if (module := folder / f"{stem}.py").is_file():
                return self._spec(fullname, module, is_package=False)
            if not self._others_allowed:
                for compiled in _compiled(folder, stem):
                    raise self._refusal(fullname, compiled, "compiled code cannot be shown")
            if (folder / stem).is_dir() and not _ours(fullname):
                self._names.add(fullname)  # a namespace package; Python itself knows how to make one
        if _ours(fullname):
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
        return None

    def _folders(self, fullname: str, path: Sequence[str] | None) -> list[Path]:
        """Where to look: the root for a top-level name, the parts of the parent package below the root else."""
        if path is None:
            return [self.root]
        folders = [Path(entry) for entry in path]
        return [folder for folder in folders if self._is_users(folder)]

    def _is_users(self, folder: Path) -> bool:
        """Below the root, but no installed package: the root may be a home folder with an interpreter in it."""
        if not folder.is_relative_to(self.root) or {"site-packages", "dist-packages"} & set(folder.parts):
            return False
        return not any(folder.is_relative_to(place) for place in self._interpreter)

    def _spec(self, fullname: str, path: Path, is_package: bool) -> importlib.machinery.ModuleSpec:
        content = self._files.get(path)
        if content is None:
            if not self._others_allowed:
                raise self._refusal(
                    fullname, path, "it is imported in a way that cannot be read off the text"
                )
            content = path.read_bytes()
        self._names.add(fullname)
        spec = importlib.util.spec_from_file_location(
            fullname,
            path,
            loader=_SourceLoader(path, content),
            submodule_search_locations=[str(path.parent)] if is_package else None,
        )
        assert spec is not None
        return spec

    def _refusal(self, fullname: str, path: Path, why: str) -> ImportError:
        return ImportError(
            f"{path.relative_to(self.root)} is not among the files you agreed to run ({why})", name=fullname
        )
