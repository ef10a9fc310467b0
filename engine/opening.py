"""A source string → an open model, by what it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import LoadError
from engine.files.identify import is_onnx
from engine.graph import InputShape
from engine.loaders.folder_files import file_in
from engine.open_model import OpenModel
from engine.sources import CONFIGURATION, is_file, split_file

if TYPE_CHECKING:
    from engine.loaders.options import LoadOptions


def open_model(source: str, options: LoadOptions, inputs: tuple[InputShape, ...] = ()) -> OpenModel:
    """Open ``source``; ``inputs`` describe the inputs of one that does not.

    Torch is imported only for what needs it. Raises EngineError subclasses as the loaders and sessions do.
    """
    path = onnx_path(source)
    if path is not None:
        from engine.onnx.loading import load as load_onnx
        from engine.onnx.session import OnnxSession

        return OnnxSession(load_onnx(path), inputs)
    from engine.loaders import load
    from engine.session import Session

    return Session(load(source, options), inputs)


def onnx_path(source: str) -> Path | None:
    """The file that ``source`` names, when that is an ONNX model by its content: itself, or alone in a folder."""
    if not is_file(source):
        return None
    file = split_file(source)
    if file.architecture or file.part:
        return None
    try:
        path = Path(file.path).expanduser()
        if path.is_dir():
            path = path if (path / CONFIGURATION).exists() else Path(file_in(str(path)))
        return path if is_onnx(path) else None
    except (LoadError, RuntimeError, ValueError, OSError):
        return None  # what is wrong with it, whoever opens it as something else will say
