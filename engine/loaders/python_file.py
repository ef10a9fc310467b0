"""``file.py:callable``: a Python callable that returns a module, or (module, example_args, example_kwargs).

Runs the user's code, so it asks for consent first (DESIGN §6). ``callable`` may be a function, an ``nn.Module`` class,
an instance, or a call with literal arguments: ``net.py:build(depth=50)``.
"""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from engine import confine
from engine.errors import ConsentRequiredError, EngineError, LoadError
from engine.loaders import consent
from engine.loaders.call import parse_call
from engine.loaders.guess import guess_binding
from engine.loaders.inputs import InputBinding, bind_example
from engine.loaders.isolation import UserModules
from engine.loaders.loaded import LoadedModel, LoadOptions, build_on_meta, to_meta
from engine.results import ModelInfo


def split_source(source: str) -> tuple[Path, str]:
    """(file, callable text); the text is empty when the source names only a file."""
    head, separator, tail = source.rpartition(".py:")
    if separator:
        return Path(head + ".py"), tail
    return Path(source), ""


def load(source: str, options: LoadOptions) -> LoadedModel:
    """Raises LoadError for every way a file can be wrong, ConsentRequiredError before running any of it."""
    given_path, call_text = split_source(source)
    try:
        path = given_path.expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise LoadError(f"{given_path} is no usable path: {error}.", file=str(given_path)) from error
    content = consent.read_source(path)
    tree = consent.parse(path, content)
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
    files = consent.local_files(path, content, tree)
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
    target = _import(path, name, world, known)

    def call() -> Any:
        return target(*args, **kwargs) if callable(target) and not isinstance(target, nn.Module) else target

    def build() -> Any:
        with world.active():
            return call()

    try:
        built = build_on_meta(build)
    except EngineError:
        raise
    except (Exception, SystemExit) as error:
        raise LoadError(
            f"{call_text} in {path.name} raised {type(error).__name__}: {error}{_line_in(path, error)}.",
            hint=confine.network_hint(error) or "Correct the file; it is opened again when it changes.",
            file=str(path),
        ) from error
    module, example_args, example_kwargs = _unpack(built, call_text, path)
    module = to_meta(module)
    binding: InputBinding | None
    note = ""
    if example_args or example_kwargs:
        binding = bind_example(module, example_args, example_kwargs)
    else:
        binding = guess_binding(module)
        if binding is not None:
            note = f"{call_text} gives no example inputs; the input was guessed from its first layer."
    info = ModelInfo(
        name=type(module).__name__,
        source=f"{path}:{call_text}",
        format="python",
        sha256=digest,
        class_name=type(module).__name__,
        note=note,
    )

    def build_real() -> nn.Module:
        return _unpack(build(), call_text, path)[0]

    guessed = not (example_args or example_kwargs)
    return LoadedModel(
        info, module, binding, build_real, guessed_inputs=guessed, watch=str(path), world=world
    )


def _import(path: Path, name: str, world: UserModules, known: list[str]) -> Any:
    """The attribute ``name`` of the imported file."""
    try:
        with world.active():
            module = world.load_file(path)
    except (Exception, SystemExit) as error:
        raise LoadError(
            f"Importing {path.name} raised {type(error).__name__}: {error}{_line_in(path, error)}.",
            hint="Install what it needs, or run the engine in the interpreter that has it (--python PATH)."
            if isinstance(error, ImportError)
            else confine.network_hint(error) or "Correct the file.",
            file=str(path),
        ) from error
    target: Any = module
    for part in name.split("."):
        target = getattr(target, part, None)
    if target is None:
        raise LoadError(
            f"{path.name} has no {name!r}.",
            hint=f"It has: {', '.join(known)}." if known else "It defines no function or class.",
            file=str(path),
        )
    return target


def _unpack(built: Any, call_text: str, path: Path) -> tuple[nn.Module, tuple[Any, ...], dict[str, Any]]:
    """Module, example args and kwargs from what the callable returned; a lone tensor or dict counts as example."""
    parts = built if isinstance(built, tuple) else (built,)
    module = parts[0] if parts else None
    if not isinstance(module, nn.Module) or len(parts) > 3:
        raise LoadError(
            f"{call_text} in {path.name} returned {_described(built)}, not a torch.nn.Module.",
            hint="Return a module, or (module, example_args, example_kwargs).",
            file=str(path),
        )
    args: Any = parts[1] if len(parts) > 1 else ()
    kwargs: Any = parts[2] if len(parts) > 2 else {}
    if isinstance(args, Tensor):
        args = (args,)
    elif isinstance(args, dict) and len(parts) == 2:
        args, kwargs = (), args
    if not isinstance(args, (tuple, list)) or not isinstance(kwargs, dict):
        raise LoadError(
            f"{call_text} in {path.name} returned example inputs of type {type(args).__name__}.",
            hint="Return (module, (x, y), {'mask': m}): a tuple and a dict.",
            file=str(path),
        )
    return module, tuple(args), kwargs


def _described(value: Any) -> str:
    if isinstance(value, tuple):
        return f"a tuple of {', '.join(type(part).__name__ for part in value) or 'nothing'}"
    return f"an object of type {type(value).__name__}" if value is not None else "None"


def _line_in(path: Path, error: BaseException) -> str:
    """`` (line 12)`` where the traceback passes through the file."""
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)
    ]
    return f" (line {lines[-1]})" if lines else ""
