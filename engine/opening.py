"""A source string → an open model, by what it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from engine.graph import InputShape
from engine.open_model import OpenModel
from engine.sources import is_file, split_file

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
    """The file that ``source`` names, when that is an ONNX model by its content."""
    if not is_file(source):
        return None
    file = split_file(source)
    path = Path(file.path).expanduser()
    return path if path.suffix == ".onnx" and path.is_file() and not file.architecture else None
