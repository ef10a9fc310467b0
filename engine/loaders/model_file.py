"""Weights and archives on disk: ``net.pt``, ``model.safetensors``, ``weights.pt#ema@timm:resnet50``.

They are read without running anything of them (``engine.files``). What is in the file, not its name, decides which
module opens it.
"""

from __future__ import annotations

import importlib
import os
from dataclasses import replace
from pathlib import Path

import msgspec

from engine.errors import LoadError, UnsupportedModelError
from engine.files import Contents, describe, read
from engine.loaders.loaded import LoadedModel, LoadOptions
from engine.results import ModelInfo
from engine.sources import CONFIGURATION, FileSource, absolute, split_file

STATE_DICT = "engine.loaders.state_dict"
OPENERS = {
    "state dict": STATE_DICT,
    "checkpoint": STATE_DICT,
    "tensor": STATE_DICT,
    "module": "engine.loaders.pickled_module",
    "torchscript": "engine.loaders.torchscript_file",
    "exported program": "engine.loaders.exported",
}
"""Kind of contents → the module whose ``open_file(contents, file, options)`` opens it."""


def load(source: str, options: LoadOptions) -> LoadedModel:
    """Raises LoadError for a file that cannot be read, UnsupportedModelError with its contents for one without a model,
    ArchitectureRequiredError for weights alone, ConsentRequiredError where opening it would run code."""
    file = split_file(source)
    try:
        path = Path(file.path).expanduser()
    except RuntimeError as error:
        raise LoadError(f"{file.path} is no usable path: {error}.", file=file.path) from error
    if path.name == CONFIGURATION and path.is_file() and not file.architecture:
        folder: LoadedModel = importlib.import_module("engine.loaders.transformers_dir").load(
            f"transformers:{path}", options
        )
        return folder
    contents = read(path)
    opener = STATE_DICT if file.architecture else OPENERS.get(_kind(contents))
    if opener is None:
        raise UnsupportedModelError(
            " ".join((describe(contents), *contents.notes)),
            hint="It holds no model: open one, or its weights.",
            file=str(path),
            contents=contents,
        )
    opened: LoadedModel = importlib.import_module(opener).open_file(
        contents, FileSource(str(path), file.part, file.architecture), options
    )
    return replace(opened, info=_anywhere(opened.info))


def _anywhere(info: ModelInfo) -> ModelInfo:
    """``info`` whose files are found from any folder: reports keep it, and open the model again."""
    return msgspec.structs.replace(
        info,
        source=absolute(info.source),
        weights=os.path.abspath(info.weights) if info.weights else "",
        unguarded=absolute(info.unguarded),
    )


def _kind(contents: Contents) -> str:
    """A checkpoint with a whole module in it is opened as that module: its other tensors belong to the training."""
    is_module = contents.kind == "checkpoint" and contents.classes
    return "module" if is_module else contents.kind
