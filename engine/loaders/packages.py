"""Optional packages that a source needs: imported when asked for, kept from the network, a sentence without them."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from engine.errors import LoadError

OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
    "USE_HUB_KERNELS": "NO",
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "HF_DEACTIVATE_ASYNC_LOAD": "1",
}
"""What keeps the Hugging Face libraries from the network, quiet, and in one thread (fake tensors know no other). They
read most of it when they are imported."""


def stay_offline() -> None:
    """For a process of the engine's own: also what is imported in the middle of a forward pass keeps to OFFLINE."""
    os.environ.update(OFFLINE)


@contextmanager
def offline() -> Iterator[None]:
    """Nothing is fetched, reported or printed by the Hugging Face libraries inside.

    Afterwards they are as they were before: whoever calls the engine from Python may want their network.
    """
    before = {name: os.environ.get(name) for name in OFFLINE}
    known = "huggingface_hub" in sys.modules
    os.environ.update(OFFLINE)
    constants: Any = sys.modules.get("huggingface_hub.constants")
    was_offline = getattr(constants, "HF_HUB_OFFLINE", False)
    if constants is not None:
        constants.HF_HUB_OFFLINE = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        constants = sys.modules.get("huggingface_hub.constants")
        if constants is not None:
            constants.HF_HUB_OFFLINE = was_offline if known else _is_set(before["HF_HUB_OFFLINE"])


def _is_set(value: str | None) -> bool:
    return (value or "").upper() in ("1", "ON", "YES", "TRUE")


def optional_package(name: str, sources: str) -> Any:
    """The imported package; ``sources`` are what it is needed for: ``timm:NAME``. Raises LoadError without it."""
    try:
        with offline():
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        if missing == name:
            raise LoadError(
                f"{sources} needs the package {name}, which is not installed.",
                hint=f"Install it for this Python: pip install {name}.",
            ) from error
        raise LoadError(
            f"{name} cannot be imported without the package {missing}.", hint=f"pip install {missing}"
        ) from error
    except Exception as error:  # versions that do not match raise anything
        raise LoadError(
            f"{name} cannot be imported: {first_line(error)}",
            hint=f"Install versions of torch, torchvision and {name} that belong together.",
        ) from error


def unknown_model(library: str, name: str, known: Sequence[str]) -> LoadError:
    """``library`` has no model called ``name``; those with similar names are suggested."""
    close = difflib.get_close_matches(name, known, 3)
    hint = f"Did you mean {', '.join(close)}?" if close else "Open the zoo to see all names."
    return LoadError(f"{library} has no model {name!r}.", hint=hint)


def first_line(error: BaseException) -> str:
    """The first line of the message, or the kind of error when it has none; it ends with a full stop."""
    lines = str(error).strip().splitlines()
    text = lines[0][:300].rstrip(".! ") if lines else type(error).__name__
    return f"{text}."
