"""Which file of a folder is the model where no configuration says so; nothing here imports torch."""

from __future__ import annotations

from pathlib import Path

from engine.contents import shown
from engine.errors import LoadError
from engine.files.shards import INDEXES, SINGLES
from engine.loaders import model_file
from engine.loaders.options import LoadOptions
from engine.sources import CONFIGURATION

SUFFIXES = (".pt2", ".pt", ".pth", ".ckpt", ".pkl", ".bin", ".safetensors", ".torchscript", ".ts", ".onnx")
"""Endings of model files; which kind one is, its content tells."""
LISTED = 10


def has_weights(folder: Path) -> bool:
    """Whether transformers would find weights in ``folder``."""
    return any((folder / name).is_file() for name in (*INDEXES, *SINGLES))


def file_in(source: str) -> str:
    """What to open of the folder ``source``, which has no configuration: itself with weights laid out as transformers
    does, or the one model file in it. Raises LoadError where there are several."""
    folder = Path(source).expanduser().absolute()
    files = [] if has_weights(folder) else _model_files(folder)
    if len(files) > 1:
        names = ", ".join(shown(file.name, 60) for file in files[:LISTED])
        more = f" and {len(files) - LISTED:,} more" if len(files) > LISTED else ""
        raise LoadError(
            f"The folder {shown(folder.name)} holds {len(files):,} model files: {names}{more}.",
            hint="Open one of them.",
            file=str(folder),
        )
    # A folder without a model is described by the reader of files.
    return str(files[0]) if files else source


def check(source: str, options: LoadOptions) -> None:
    """Raises what opening the folder ``source`` raises before any of it runs; of one with a configuration nothing."""
    if not (Path(source).expanduser() / CONFIGURATION).is_file():
        model_file.check(file_in(source), options)


def _model_files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    except OSError as error:
        raise LoadError(
            f"The folder {shown(folder.name)} cannot be read: {error.strerror or error}.", file=str(folder)
        ) from error
