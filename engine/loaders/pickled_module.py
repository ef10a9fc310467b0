"""A whole ``nn.Module`` saved with ``torch.save``, alone or inside a checkpoint: opened with consent, for it runs code.

Its classes are imported as Python would, those beside the file from the bytes that were agreed to. The analysis drops
the weights at once; a real run loads the file again.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from engine import confine
from engine.contents import Contents, shown
from engine.contents_words import main_group
from engine.errors import EngineError, LoadError, is_out_of_memory
from engine.loaders.asking import agreed_module
from engine.loaders.file_consent import HAS_RUN, IN_MEMORY, AgreedFile
from engine.loaders.guess import guess_binding
from engine.loaders.isolation import UserModules
from engine.loaders.loaded import LoadedModel, LoadOptions, to_meta
from engine.loaders.zeros import zeros_of
from engine.results import ModelInfo
from engine.sources import FileSource

MAX_DEPTH = 6
"""Of containers around a module in a checkpoint."""
MAX_VALUES = 10_000
"""Values of a checkpoint that are looked at for modules."""
CONSTANT_BYTES = 2**20
"""Storages up to this size keep their values in an analysis of a large file: they may be constants and not weights."""
_WRAPPERS = {
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "OptimizedModule": "_orig_mod",
}
"""Classes of torch around the model proper, and where they keep it."""


class _Found(NamedTuple):
    """A module in a file; ``path`` are the keys that lead to it."""

    path: str
    module: nn.Module


def open_file(contents: Contents, file: FileSource, options: LoadOptions) -> LoadedModel:
    """The module of ``contents``, or that at ``file.part`` of a checkpoint; of several the main one.

    Raises ConsentRequiredError before anything is run, LoadError for all that goes wrong while it is loaded.
    """
    trusted = agreed_module(contents, file, options)
    world = trusted.world()
    chosen = _load(contents, trusted, world, file.part, on_meta=True)
    module = chosen.module
    binding = guess_binding(module)
    notes = [chosen.note] if chosen.note else []
    if binding is not None:
        notes.append("The file says nothing about inputs; this one was guessed from the first layer.")
    info = ModelInfo(
        name=type(module).__name__,
        source=str(FileSource(contents.file, chosen.part)),
        format="pickle",
        sha256=trusted.digest,
        class_name=type(module).__name__,
        note=" ".join(notes),
        weights=contents.file,
    )

    def build_real() -> nn.Module:
        return _load(contents, trusted, world, file.part, on_meta=False).module

    return LoadedModel(
        info,
        module,
        binding,
        build_real,
        guessed_inputs=True,
        world=world,
        count_zeros=lambda stop: zeros_of(build_real(), stop),
        counting_builds=True,
    )


class _Chosen(NamedTuple):
    """The model of a file, without what wraps it."""

    module: nn.Module
    part: str
    note: str
    """What else the file holds; may be empty."""


def _load(
    contents: Contents, trusted: AgreedFile, world: UserModules, part: str, *, on_meta: bool
) -> _Chosen:
    """Runs the file's code. Raises LoadError with what went wrong and where."""
    try:
        with trusted.open() as handle, world.active():
            value = _unpickle(contents, handle, on_meta)
            found = list(_modules(value))
            chosen = _choose(contents, found, value, part)
            module, wrapper = _unwrapped(chosen.module)
            module = to_meta(module) if on_meta else module.eval()
    except EngineError:
        raise
    except (Exception, SystemExit) as error:
        failure = _failure(contents, error)
        failure.hint = f"{HAS_RUN} {failure.hint}"
        raise failure from error
    notes = [f"It was saved inside a {wrapper}; what that wraps is shown."] if wrapper else []
    others = [each.path for each in found if each is not chosen]
    if others:
        listed = ", ".join(f"#{shown(path, 60)}" for path in others[:6])
        notes.append(
            f"It is {shown(chosen.path, 60) or 'the outermost'} of the file, which also holds {listed}."
        )
    return _Chosen(module, chosen.path, " ".join(notes))


def _unpickle(contents: Contents, handle: Any, on_meta: bool) -> Any:
    if contents.format == "pickle":
        return pickle.load(handle)
    large = on_meta and contents.size > IN_MEMORY and contents.format == "torch.save"
    where = _constants_on_cpu if large else "cpu"
    return torch.load(handle, map_location=where, weights_only=False)


def _constants_on_cpu(storage: Any, location: str) -> Any:
    """For ``map_location``: large storages lose their values at once, so that one at a time is in memory."""
    del location
    if storage.nbytes() <= CONSTANT_BYTES:
        return storage
    return torch.UntypedStorage(storage.nbytes(), device="meta")  # type: ignore[no-untyped-call]


def _modules(value: Any) -> Iterator[_Found]:
    """The modules in ``value``, not those inside other modules, with the paths that the listing has too."""
    pending: list[tuple[Any, str, int]] = [(value, "", 0)]
    seen: set[int] = set()
    while pending and len(seen) < MAX_VALUES:
        current, path, depth = pending.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        if isinstance(current, nn.Module):
            yield _Found(path, current)
        elif depth < MAX_DEPTH:
            inside = _inside(current)
            pending += [
                (each, f"{path}.{key}" if path else str(key), depth + 1) for key, each in reversed(inside)
            ]


def _inside(value: Any) -> list[tuple[Any, Any]]:
    """(key, value) of a container; of an object its attributes."""
    if isinstance(value, dict):
        return list(value.items())
    if isinstance(value, (list, tuple)):
        return list(enumerate(value))
    return list(vars(value).items()) if hasattr(value, "__dict__") and not isinstance(value, type) else []


def _choose(contents: Contents, found: list[_Found], value: Any, part: str) -> _Found:
    """The module at ``part``; without one the main one by role and size. Raises LoadError when there is none."""
    name = shown(Path(contents.file).name)
    if not found:
        raise LoadError(
            f"{name} gave an object of type {type(value).__name__}, and no torch.nn.Module is in it.",
            hint="Save the model itself, or its state_dict().",
            file=contents.file,
        )
    if part:
        at = next((each for each in found if each.path == part), None)
        if at is None:
            known = ", ".join(f"#{shown(each.path, 60)}" for each in found[:6] if each.path)
            raise LoadError(
                f"{name} has no module at #{shown(part, 60)}.",
                hint=f"It has: {known}." if known else "It is a module itself: leave the part out.",
                file=contents.file,
            )
        return at
    main = main_group(contents)
    at = next((each for each in found if main is not None and each.path == main.path), None)
    return at or max(found, key=lambda each: sum(p.numel() for p in each.module.parameters()))


def _unwrapped(module: nn.Module) -> tuple[nn.Module, str]:
    """(the model inside DataParallel and the like, the outermost wrapper's class or nothing)."""
    outermost = ""
    while (attribute := _WRAPPERS.get(type(module).__name__)) and type(module).__module__.startswith(
        "torch."
    ):
        inner = module._modules.get(attribute)
        if inner is None:
            break
        outermost, module = outermost or type(module).__name__, inner
    return module, outermost


def _failure(contents: Contents, error: BaseException) -> LoadError:
    """What went wrong while the file's code ran, and what to do."""
    path = Path(contents.file)
    name = shown(path.name)
    if is_out_of_memory(error):
        return LoadError(
            f"Loading {name} needed more memory than is free.",
            hint="Close other programs; if what it asks for makes no sense, do not trust the file.",
            file=contents.file,
        )
    missing = _missing_class(contents, error)
    if missing is not None:
        return missing
    reason = str(error).strip().split("\n")[0][:300].rstrip(". ") or "no reason given"
    hint = (
        confine.network_hint(error) or "Check that it loads with torch.load(…, weights_only=False) as it is."
    )
    return LoadError(
        f"Loading {name} raised {type(error).__name__}: {shown(reason, 300)}.", hint=hint, file=contents.file
    )


def _missing_class(contents: Contents, error: BaseException) -> LoadError | None:
    """For a class or module that could not be found: which, and where to put it."""
    path = Path(contents.file)
    name = shown(path.name)
    elsewhere = "or run the engine in the interpreter that has it (--python PATH)"
    if isinstance(error, ModuleNotFoundError) and error.name:
        module = error.name
        needed = [each for each in contents.foreign if each.startswith(f"{module}.")]
        what = f"its class {shown(needed[0], 80)} is defined there" if needed else "its code imports it"
        return LoadError(
            f"{name} needs the module {shown(module, 80)}, which is not here ({what}).",
            hint=f"Put {shown(module.partition('.')[0], 80)}.py, or the package, beside {name}, {elsewhere}.",
            file=contents.file,
        )
    if not isinstance(error, AttributeError) or "get attribute" not in str(error):
        return None
    main = [each for each in contents.foreign if each.startswith("__main__.")]
    if main and "__main__" in str(error):
        return LoadError(
            f"{name} needs {shown(main[0], 80)}: its class was defined in the script that saved it.",
            hint="Move the class into a file of its own and save again from there, "
            f"or open the weights with it: {name}@net.py:{shown(main[0].removeprefix('__main__.'), 40)}.",
            file=contents.file,
        )
    return LoadError(
        f"{name} needs a class that its module does not have: {shown(str(error), 200).rstrip('. ')}.",
        hint=f"Put the version of the file it was saved with beside {name}, {elsewhere}.",
        file=contents.file,
    )
