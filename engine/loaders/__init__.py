"""A source string → a module without weights, its inputs, and what it is.

One file per kind of source; ``LOADERS`` is the table: first match opens, and its module is imported only then.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from engine.errors import LoadError
from engine.sources import is_file, split_file, split_python

if TYPE_CHECKING:
    from engine.loaders.loaded import LoadedModel, LoadOptions


class LoaderEntry(NamedTuple):
    """``matches`` decides by the source string alone; ``module`` has ``load(source, options) -> LoadedModel``."""

    module: str
    matches: Callable[[str], bool]
    example: str
    asks: str = ""
    """The module whose ``check(source, options)`` raises what opening raises before anything of the source runs; it
    imports no framework. Empty where there is nothing to ask."""


def _names_python(source: str) -> bool:
    """``net.py:build`` alone, rather than weights for it: ``weights.pt@net.py:build``."""
    return split_python(source) is not None and not split_file(source).architecture


def _names_a_folder(source: str) -> bool:
    """A folder alone, rather than weights in it for a certain architecture."""
    file = split_file(source)
    try:
        return not (file.part or file.architecture) and Path(file.path).expanduser().is_dir()
    except (OSError, RuntimeError, ValueError):
        return False


LOADERS = (
    LoaderEntry(
        "engine.loaders.torchvision_zoo", lambda s: s.startswith("torchvision:"), "torchvision:resnet50"
    ),
    LoaderEntry("engine.loaders.timm_zoo", lambda s: s.startswith("timm:"), "timm:resnet50"),
    LoaderEntry(
        "engine.loaders.transformers_dir", lambda s: s.startswith("transformers:"), "transformers:bert-base"
    ),
    LoaderEntry(
        "engine.loaders.model_folder", _names_a_folder, "bert-base", asks="engine.loaders.folder_files"
    ),
    LoaderEntry(
        "engine.loaders.python_file", _names_python, "net.py:build", asks="engine.loaders.python_consent"
    ),
    LoaderEntry("engine.loaders.model_file", is_file, "net.pt", asks="engine.loaders.model_file"),
)


def load(source: str, options: LoadOptions) -> LoadedModel:
    """Open ``source``.

    Raises LoadError when nothing can read it, ConsentRequiredError when it would run code that is not trusted yet.
    """
    loaded: LoadedModel = importlib.import_module(_entry(source).module).load(source, options)
    return loaded


def check(source: str, options: LoadOptions) -> None:
    """Raises what :func:`load` raises before anything of ``source`` runs and before a framework is imported, which
    takes seconds: that it is no model, needs consent, or is weights without an architecture."""
    entry = _entry(source)
    if entry.asks:
        importlib.import_module(entry.asks).check(source, options)


def _entry(source: str) -> LoaderEntry:
    for entry in LOADERS:
        if entry.matches(source):
            return entry
    examples = " or ".join(entry.example for entry in LOADERS)
    raise LoadError(
        f"{source!r} is no model source this program reads.", hint=f"Give for example {examples}."
    )
