"""A folder: a model as transformers or timm save it, weights in one or more parts, or a file that is alone in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.contents import shown
from engine.errors import LoadError
from engine.loaders import load as load_source
from engine.loaders import model_file, transformers_dir
from engine.loaders.folder_files import file_in, has_weights
from engine.loaders.loaded import LoadedModel
from engine.loaders.options import LoadOptions
from engine.sources import FileSource


def load(source: str, options: LoadOptions) -> LoadedModel:
    """Raises LoadError with what is in the folder where that is no model or more than one."""
    folder = Path(source).expanduser().absolute()
    if (folder / transformers_dir.CONFIG).is_file():
        config = transformers_dir.read_config(folder / transformers_dir.CONFIG)
        if "model_type" in config.values:
            return transformers_dir.open_config(config)
        if isinstance(config.values.get("architecture"), str):
            return _timm_folder(folder, config, options)
        if "_class_name" in config.values:
            raise LoadError(
                f"The folder {shown(folder.name)} is a model of diffusers, which is not opened.",
                hint="Open it as file.py:callable with a file that builds the model.",
                file=str(folder),
            )
    return model_file.load(file_in(source), options)


def _timm_folder(folder: Path, config: transformers_dir.Config, options: LoadOptions) -> LoadedModel:
    """As timm saves models for the Hugging Face hub: the architecture by name, and weights beside it."""
    given = config.values.get("model_args")
    arguments: dict[str, Any] = dict(given) if isinstance(given, dict) else {}
    if isinstance(config.values.get("num_classes"), int):
        arguments.setdefault("num_classes", config.values["num_classes"])
    listed = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    architecture = f"timm:{config.values['architecture']}{f'({listed})' if listed else ''}"
    if not has_weights(folder):
        return load_source(architecture, options)
    return load_source(str(FileSource(str(folder), "", architecture)), options)
