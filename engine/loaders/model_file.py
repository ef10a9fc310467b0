"""Weights and archives on disk: ``net.pt``, ``model.safetensors``, a model folder.

They are read without running anything of them (``engine.files``); what they hold is the answer until they can be
computed.
"""

from __future__ import annotations

from pathlib import Path

from engine.errors import LoadError, UnsupportedModelError
from engine.files import Contents, describe, read
from engine.loaders.loaded import LoadedModel, LoadOptions

_ADVICE = {
    "exported program": "Its operations are not computed yet.",
    "torchscript": "TorchScript is not computed yet.",
    "pickle": "It holds no model.",
}


def load(source: str, options: LoadOptions) -> LoadedModel:
    """Raises LoadError for a file that cannot be read, UnsupportedModelError with its contents for one that can."""
    del options
    try:
        path = Path(source).expanduser()
    except RuntimeError as error:
        raise LoadError(f"{source} is no usable path: {error}.", file=source) from error
    contents = read(path)
    raise UnsupportedModelError(
        " ".join((describe(contents), *contents.notes)), hint=_advice(contents), file=str(path)
    )


def _advice(contents: Contents) -> str:
    """What to open instead."""
    reason = _ADVICE.get(contents.kind, "Weights alone are not computed yet.")
    return f"{reason} Open the model that belongs to it: file.py:callable, or torchvision:NAME."
