"""``file.py:callable``: what is meant, and whether the user agreed to run it; imports neither torch nor the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from engine import confine
from engine.errors import ConsentRequiredError, LoadError
from engine.loaders import consent
from engine.loaders.call import parse_call
from engine.loaders.isolation import UserModules
from engine.loaders.options import LoadOptions


class AgreedPython(NamedTuple):
    """A Python file whose author the user trusts, and the callable in it that is meant."""

    path: Path
    call_text: str
    """As it was written: ``build(depth=50)``."""
    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    known: list[str]
    """Callables that the text of the file defines."""
    digest: str
    world: UserModules


def agreed_python(source: str, options: LoadOptions) -> AgreedPython:
    """Raises ConsentRequiredError without consent for this content of the file and of what it imports beside it,
    LoadError for a file that cannot be read, and where no callable is named."""
    given_path, call_text = _split(source)
    try:
        path = given_path.expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise LoadError(f"{given_path} is no usable path: {error}.", file=str(given_path)) from error
    content = consent.read_source(path)
    budget = consent.Budget()
    tree = consent.parse(path, content, budget)
    known = consent.callables(tree)
    if not call_text:
        raise LoadError(
            f"{path.name} needs a callable after its name.",
            hint=f"For example {given_path}:{known[0]}. It has: {', '.join(known)}."
            if known
            else "The file defines no function or class.",
            file=str(path),
        )
    name, args, kwargs = parse_call(call_text, source)
    root = consent.package_root(path)
    files: consent.Files = {}
    consent.add_local_files(path, consent.SourceFile(content, tree), root, files, budget)
    digest = consent.digest(root, files)
    if not options.trust or (options.digest and options.digest != digest):
        changed = " It has changed since you agreed." if options.trust else ""
        raise ConsentRequiredError(
            f"Opening {path.name} runs its code.{changed}",
            file=str(path),
            digest=digest,
            details=(*consent.what_runs(path, files, call_text), confine.network_words()),
        )
    contents = {file: source.content for file, source in files.items()}
    world = UserModules(root, contents, others_allowed=not options.digest)
    return AgreedPython(path, call_text, name, args, kwargs, known, digest, world)


def check(source: str, options: LoadOptions) -> None:
    """Raises what opening ``source`` raises before any of it runs."""
    agreed_python(source, options)


def _split(source: str) -> tuple[Path, str]:
    """(file, callable text); the text is empty when the source names only a file."""
    head, separator, tail = source.rpartition(".py:")
    if separator:
        return Path(head + ".py"), tail
    return Path(source), ""
