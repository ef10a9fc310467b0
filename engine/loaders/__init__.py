"""A source string → a module without weights, its inputs, and what it is.

One file per kind of source; ``LOADERS`` is the table: first match opens, and its module is imported only then.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from engine.errors import LoadError
from engine.loaders.loaded import LoadedModel, LoadOptions


class LoaderEntry(NamedTuple):
    """``matches`` decides by the source string alone; ``module`` has ``load(source, options) -> LoadedModel``."""

    module: str
    matches: Callable[[str], bool]
    example: str


def _names_a_file(source: str) -> bool:
    """A path with an ending, such as ``net.pt``, or one that exists; what is in the file decides everything else."""
    try:
        path = Path(source).expanduser()
        return bool(path.name) and (bool(path.suffix) or path.exists())
    except (OSError, RuntimeError, ValueError):
        return False


LOADERS = (
    LoaderEntry(
        "engine.loaders.torchvision_zoo", lambda s: s.startswith("torchvision:"), "torchvision:resnet50"
    ),
    LoaderEntry("engine.loaders.python_file", lambda s: ".py:" in s or s.endswith(".py"), "net.py:build"),
    LoaderEntry("engine.loaders.model_file", _names_a_file, "net.pt"),
)


def load(source: str, options: LoadOptions) -> LoadedModel:
    """Open ``source``.

    Raises LoadError when nothing can read it, ConsentRequiredError when it would run code that is not trusted yet.
    """
    for entry in LOADERS:
        if entry.matches(source):
            loaded: LoadedModel = importlib.import_module(entry.module).load(source, options)
            return loaded
    examples = " or ".join(entry.example for entry in LOADERS)
    raise LoadError(
        f"{source!r} is no model source this program reads.", hint=f"Give for example {examples}."
    )
