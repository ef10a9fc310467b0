"""Keeps our packages and the user's apart: their ``import engine`` must find their ``engine.py``, not ours.

Many training repositories have an ``engine.py``, ``main.py`` or ``resources.py`` beside the model. While user code
runs, our modules of these names leave ``sys.modules`` and our root leaves ``sys.path``; afterwards they are back and
the user's are kept aside, so that imports inside their functions work at any later forward pass too.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

OUR_NAMES = ("engine", "gui", "main", "resources")
OUR_ROOT = Path(__file__).resolve().parents[2]


def _ours(name: str) -> bool:
    return name.partition(".")[0] in OUR_NAMES


class UserModules:
    """The import world of one user source, rooted at ``root`` (first on ``sys.path`` while its code runs)."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._aside: dict[str, ModuleType] = {}

    @contextmanager
    def active(self) -> Iterator[None]:
        """Run user code inside. Code of ours that runs meanwhile must not import our modules by name."""
        ours = {name: module for name, module in sys.modules.items() if _ours(name)}
        path = list(sys.path)
        for name in ours:
            del sys.modules[name]
        sys.modules.update(self._aside)
        sys.path[:] = [str(self.root), *(entry for entry in path if not _is_our_root(entry))]
        try:
            yield
        finally:
            self._aside = {name: module for name, module in sys.modules.items() if _ours(name)}
            for name in self._aside:
                del sys.modules[name]
            sys.modules.update(ours)
            sys.path[:] = path

    def forget(self) -> None:
        """Drop every module loaded from below the root, so that the next load reads the files again."""
        self._aside.clear()
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            if file and not _ours(name) and self._below_root(Path(file)):
                del sys.modules[name]

    def _below_root(self, file: Path) -> bool:
        return file.is_relative_to(self.root) and "site-packages" not in file.parts


def _is_our_root(entry: str) -> bool:
    try:
        return Path(entry or ".").resolve() == OUR_ROOT
    except OSError:
        return False
