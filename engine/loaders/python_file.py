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
from engine.errors import EngineError, LoadError
from engine.loaders.guess import guess_binding
from engine.loaders.inputs import InputBinding, bind_example
from engine.loaders.isolation import UserModules
from engine.loaders.loaded import LoadedModel, build_on_meta, to_meta
from engine.loaders.options import LoadOptions
from engine.loaders.python_consent import agreed_python
from engine.results import ModelInfo


def load(source: str, options: LoadOptions) -> LoadedModel:
    """Raises LoadError for every way a file can be wrong, ConsentRequiredError before running any of it."""
    path, call_text, name, args, kwargs, known, digest, world = agreed_python(source, options)
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
