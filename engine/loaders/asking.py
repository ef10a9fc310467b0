"""What is asked before a model file that runs code is opened, kind by kind; nothing here imports torch.

The loader of a kind asks here first, and so does the command line before it imports what the loader needs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from engine.contents import Contents, shown
from engine.errors import LoadError, UnsupportedModelError
from engine.loaders.file_consent import AgreedFile, agreed, local_modules
from engine.loaders.options import LoadOptions
from engine.sources import UNGUARDED, FileSource

COMPILED = "data/aotinductor/"
"""Folder of compiled code in an archive of torch.export; loading the program would start it."""
MANGLED = re.compile(r"^__torch__\.|___torch_mangle_\d+\.")
"""What TorchScript puts before and into the names of classes."""


def agreed_module(contents: Contents, file: FileSource, options: LoadOptions) -> AgreedFile:
    """The file of a pickled module, if the user agreed to unpickle it. Raises ConsentRequiredError, LoadError."""
    del file
    path = Path(contents.file)
    return agreed(
        contents,
        options,
        details=(f"Loading {shown(path.name)} builds its objects by importing and calling what it names.",),
        local_files=local_modules(path, contents.foreign),
    )


# -- TorchScript ---------------------------------------------------------------------------------------------------


def agreed_script(contents: Contents, file: FileSource, options: LoadOptions) -> AgreedFile:
    """The TorchScript archive, if the user agreed to load it. Raises ConsentRequiredError, LoadError."""
    if file.part:
        name = shown(Path(contents.file).name)
        raise LoadError(
            f"{name} is one TorchScript model; it has no part #{shown(file.part, 60)}.",
            hint="Open it without #….",
            file=contents.file,
        )
    return agreed(contents, options, details=tuple(_what_a_script_runs(contents)))


def _what_a_script_runs(contents: Contents) -> Iterator[str]:
    count = len(contents.code)
    names = list(dict.fromkeys(MANGLED.sub("", name) for name in contents.classes))
    classes = ", ".join(shown(name, 60) for name in names[:6])
    more = f" and {len(names) - 6:,} more" if len(names) > 6 else ""
    yield (
        f"Compiles its {count:,} TorchScript source {'file' if count == 1 else 'files'}"
        f"{f', with the classes {classes}{more}' if classes else ''}, and runs their forward()."
    )
    yield (
        "TorchScript cannot import Python modules, but it can call every operation of torch, "
        "and some of them read and write files."
    )


# -- exported programs ---------------------------------------------------------------------------------------------


def agreed_program(contents: Contents, file: FileSource, options: LoadOptions) -> AgreedFile:
    """The exported program, if the user agreed to load it.

    Raises ConsentRequiredError, LoadError, UnsupportedModelError for an archive without a program.
    """
    name = shown(Path(contents.file).name)
    _check_part(file, name)
    _check_program(contents, name)
    return agreed(
        contents,
        options,
        details=(
            "Loads the program with torch.export.load, which unpickles its sample inputs and evaluates its "
            "expressions of sizes as Python; then runs its operations.",
            *(f"Its reader says: {note}" for note in contents.notes),
        ),
        local_files=local_modules(Path(contents.file), contents.foreign),
    )


def _check_part(file: FileSource, name: str) -> None:
    if file.part not in ("", UNGUARDED):
        raise LoadError(
            f"{name} has no part {shown(file.part)!r}.",
            hint=f"An exported program is opened as it is, or as {name}#{UNGUARDED} for other sizes.",
            file=file.path,
        )


def _check_program(contents: Contents, name: str) -> None:
    """Raises UnsupportedModelError for an archive without the one program that torch.export.load returns."""
    names = [entry.name for entry in contents.entries]
    if any(COMPILED in each for each in names):
        raise UnsupportedModelError(
            f"{name} holds code compiled for one kind of machine (AOTInductor); loading would start it.",
            hint="Save the exported program itself: torch.export.save(program, 'net.pt2').",
            file=contents.file,
            contents=contents,
        )
    programs = sorted(
        each.rpartition("models/")[2].removesuffix(".json")
        for each in names
        if "/models/" in f"/{each}" and each.endswith(".json")
    )
    if programs and "model" not in programs:
        raise UnsupportedModelError(
            f"{name} holds the programs {', '.join(map(shown, programs[:6]))}, and none called model.",
            hint="Save one program per file: torch.export.save(program, 'net.pt2').",
            file=contents.file,
            contents=contents,
        )
