"""Keeps our packages and the user's apart: their ``import engine`` must find their ``engine.py``, not ours.

Many training repositories have an ``engine.py``, ``main.py`` or ``resources.py`` beside the model. While user code
runs, our modules of these names leave ``sys.modules`` and our root leaves ``sys.path``; afterwards they are back and
the user's are kept aside, so that imports inside their functions work at any later forward pass too.
"""

from __future__ import annotations

import importlib
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
    """The import world of one user source, rooted at ``root`` (first on ``sys.path`` while its code runs).

    Its modules are in ``sys.modules`` only while it is active: two folders may each have a ``net.py``.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._aside: dict[str, ModuleType] = {}
        importlib.invalidate_caches()

    @contextmanager
    def active(self) -> Iterator[None]:
        """Run user code inside. Code of ours that runs meanwhile must not import our modules by name."""
        ours = {name: module for name, module in sys.modules.items() if _ours(name)}
        path = list(sys.path)
        for name in ours:
            del sys.modules[name]
        before = set(sys.modules)
        sys.modules.update(self._aside)
        sys.path[:] = [str(self.root), *(entry for entry in path if not _is_our_root(entry))]
        try:
            yield
        finally:
            for name in set(sys.modules) - before:
                module = sys.modules[name]
                if _ours(name) or self._is_users(module):
                    self._aside[name] = sys.modules.pop(name)
            sys.modules.update(ours)
            sys.path[:] = path

    def _is_users(self, module: ModuleType) -> bool:
        file = getattr(module, "__file__", None)
        if not file:
            return False
        path = Path(file)
        return path.is_relative_to(self.root) and "site-packages" not in path.parts


def _is_our_root(entry: str) -> bool:
    try:
        return Path(entry or ".").resolve() == OUR_ROOT
    except OSError:
        return False
