"""Weights and archives on disk: ``net.pt``, ``model.safetensors``, ``weights.pt#ema@timm:resnet50``.

They are read without running anything of them (``engine.files``). What is in the file, not its name, decides which
module opens it; that one alone imports torch.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from engine.contents import shown
from engine.errors import LoadError, UnsupportedModelError
from engine.files import Contents, describe, read
from engine.files.identify import is_onnx
from engine.loaders import check as check_source
from engine.loaders.asking import agreed_module, agreed_program, agreed_script
from engine.loaders.chosen_weights import chosen_weights
from engine.loaders.options import LoadOptions
from engine.results import ModelInfo
from engine.sources import CONFIGURATION, FileSource, absolute, split_file

if TYPE_CHECKING:
    from engine.loaders.loaded import LoadedModel

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
ASKED: dict[str, Callable[[Contents, FileSource, LoadOptions], object]] = {
    "module": agreed_module,
    "torchscript": agreed_script,
    "exported program": agreed_program,
}
"""Kind of contents that run code → what its opener asks first; that raises ConsentRequiredError."""


def load(source: str, options: LoadOptions) -> LoadedModel:
    """Raises LoadError for a file that cannot be read, UnsupportedModelError with its contents for one without a model,
    ArchitectureRequiredError for weights alone, ConsentRequiredError where opening it would run code."""
    file = _found(source)
    if _is_configuration(file):
        folder: LoadedModel = importlib.import_module("engine.loaders.transformers_dir").load(
            f"transformers:{file.path}", options
        )
        return folder
    contents, kind = _read(file)
    opened: LoadedModel = importlib.import_module(OPENERS[kind]).open_file(contents, file, options)
    return replace(opened, info=_anywhere(opened.info))


def check(source: str, options: LoadOptions) -> None:
    """Raises what :func:`load` raises before it imports a framework or runs anything of the file."""
    file = _found(source)
    if _is_configuration(file) or (file == FileSource(file.path) and is_onnx(Path(file.path))):
        return
    contents, kind = _read(file)
    if OPENERS[kind] == STATE_DICT:
        chosen_weights(contents, file)
        check_source(file.architecture, options)
    elif kind in ASKED and not options.trust:
        ASKED[kind](contents, file, options)


def _found(source: str) -> FileSource:
    """``source`` with the path that is meant. Raises LoadError for the home of a user who is not there."""
    file = split_file(source)
    try:
        return file._replace(path=str(Path(file.path).expanduser()))
    except RuntimeError as error:
        raise LoadError(f"{file.path} is no usable path: {error}.", file=file.path) from error


def _is_configuration(file: FileSource) -> bool:
    path = Path(file.path)
    return path.name == CONFIGURATION and path.is_file() and not file.architecture


def _read(file: FileSource) -> tuple[Contents, str]:
    """What the file holds, and its kind, which has an opener. Raises LoadError, UnsupportedModelError."""
    contents = read(Path(file.path))
    if contents.kind == "onnx":
        raise UnsupportedModelError(
            f"{shown(Path(file.path).name)} is an ONNX model, which has no parts and needs no architecture.",
            hint="Open the file alone.",
            file=file.path,
            contents=contents,
        )
    kind = "state dict" if file.architecture else _kind(contents)
    if kind not in OPENERS:
        raise UnsupportedModelError(
            " ".join((describe(contents), *contents.notes)),
            hint="It holds no model: open one, or its weights.",
            file=file.path,
            contents=contents,
        )
    return contents, kind


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
