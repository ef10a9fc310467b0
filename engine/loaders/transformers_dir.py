"""``transformers:DIR``: a model of Hugging Face's transformers from a folder with its ``config.json``, or that file.

The configuration is data: it is read here, classes come from the installed transformers alone, and nothing is fetched.
"""

from __future__ import annotations

import copy
import hashlib
import re
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from torch import nn

from engine.contents import shown
from engine.errors import LoadError
from engine.loaders import timm_zoo, transformers_weights
from engine.loaders.folder_files import has_weights
from engine.loaders.loaded import LoadedModel, LoadOptions, build_on_meta, to_meta
from engine.loaders.packages import first_line, offline, optional_package
from engine.loaders.transformers_inputs import assumed_image_size, bind_inputs
from engine.loaders.transformers_weights import Fit
from engine.loaders.trial import IMAGE, refuses_other_images, with_fixed_images
from engine.results import ModelInfo

CONFIG = "config.json"
MAX_CONFIG_BYTES = 16 * 2**20
MAX_COUNT = 10_000
"""Layers or experts: no model has as many, and building them one by one would take for ever."""
COUNTED = re.compile(r"layers?$|depths?$|blocks?$|experts$|n_layer|stages?$")

FETCHED = re.compile(
    r"(attn|experts)_implementation|kernel_config|use_kernels|name_or_path$|^auto_map$|^use_pretrained_backbone$"
)
"""Keys that name code or weights to fetch; what computes is chosen here."""
QUANTIZED = "quantization_config"
PASSED_ON = ("model_args", "backbone_kwargs")
"""Keys of what timm is called with; there, ``checkpoint_path`` would be read."""
TIMM_NAMES = ("architecture", "backbone")
"""Keys of models of timm. With a colon (``hf-hub:…``, ``local-dir:…``) they say where another configuration is."""


class Config(NamedTuple):
    """A configuration file: what it says, and the SHA-256 of its content."""

    path: Path
    values: dict[str, Any]
    sha256: str

    @property
    def architectures(self) -> list[str]:
        """Names of model classes, as far as they are names."""
        listed = self.values.get("architectures")
        return [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []


def load(source: str, options: LoadOptions) -> LoadedModel:
    """Raises LoadError for a folder without a configuration, one that needs its own code, and one that does not fit
    the installed transformers."""
    given = Path(source.removeprefix("transformers:"))
    try:
        path = given.expanduser().absolute()
        path = path / CONFIG if path.is_dir() else path
    except (OSError, RuntimeError, ValueError) as error:
        raise LoadError(f"{given} is no usable path: {error}.", file=str(given)) from error
    return open_config(read_config(path))


def read_config(path: Path) -> Config:
    """Raises LoadError when ``path`` is no JSON object."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_CONFIG_BYTES + 1)
    except FileNotFoundError as error:
        missing = (
            f"{path.name} in {path.parent.name or path.parent}"
            if path.parent.is_dir() and path.name == CONFIG
            else shown(str(path))
        )
        raise LoadError(
            f"There is no {missing}.",
            hint="Give the folder of a model as transformers saves it.",
            file=str(path),
        ) from error
    except OSError as error:
        raise LoadError(f"{path} cannot be read: {error.strerror or error}.", file=str(path)) from error
    if len(content) > MAX_CONFIG_BYTES:
        raise LoadError(f"{path.name} is larger than 16 MiB; that is no configuration.", file=str(path))
    try:
        values = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise LoadError(f"{path.name} is no JSON: {first_line(error)}", file=str(path)) from error
    if not isinstance(values, dict):
        raise LoadError(f"{path.name} is no configuration: it holds no JSON object.", file=str(path))
    return Config(path, values, hashlib.sha256(content).hexdigest())


def open_config(config: Config) -> LoadedModel:
    """The model that ``config`` describes; its weights, if its folder has some, are for real runs.

    Raises LoadError where the installed transformers cannot build it without running foreign code, and for weights
    that are damaged or another model's.
    """
    transformers = optional_package("transformers", "transformers:DIR")
    kind, settings = _class(transformers, config)
    fitted = _weights(config, kind, settings)

    def build() -> nn.Module:
        with offline():
            # Building writes into the configuration.
            model: nn.Module = kind._from_config(copy.deepcopy(settings))
        return model

    def build_real() -> nn.Module:
        return build() if fitted is None else transformers_weights.build(fitted, kind, settings)

    try:
        module = to_meta(build_on_meta(build))
    except Exception as error:
        raise _misfit(transformers, config, f"cannot build {kind.__name__}", error) from error
    binding = bind_inputs(module)
    fixed = binding is not None and refuses_other_images(module, binding)
    info = _info(config, module, fitted)
    if binding is not None and fixed:
        binding = with_fixed_images(binding)
        sizes = [str(dim.size) for spec in binding.specs for dim in spec.dims if dim.label in IMAGE][:2]
        why = f"{kind.__name__} was built for images of {'×'.join(sizes)} pixels and refuses other sizes."
        info = msgspec.structs.replace(info, fixed_sizes=why)
    return LoadedModel(
        info,
        module,
        binding,
        build_real,
        watch=str(config.path),
        random_weights=fitted is None,
        count_zeros=None
        if fitted is None
        else lambda stop: transformers_weights.zeros(fitted, module, build_real, stop),
    )


def _weights(config: Config, kind: Any, settings: Any) -> Fit | None:
    """The weights beside ``config``, whose dtype ``settings`` get; None where there are none, or they are quantised."""
    folder = config.path.parent
    if config.path.name != CONFIG or not has_weights(folder) or config.values.get(QUANTIZED):
        return None
    fitted = transformers_weights.fit(folder, kind, settings)
    settings.dtype = fitted.dtype
    return fitted


def _info(config: Config, module: nn.Module, fitted: Fit | None) -> ModelInfo:
    is_folder = config.path.name == CONFIG
    notes = [*_notes(module, config), fitted.note if fitted is not None else ""]
    return ModelInfo(
        name=config.path.parent.name if is_folder else config.path.stem,
        source=f"transformers:{config.path.parent if is_folder else config.path}",
        format="transformers",
        sha256=config.sha256,
        class_name=type(module).__name__,
        task=task_of(type(module).__name__),
        note=" ".join(filter(None, notes)),
        weights=str(fitted.weights.file) if fitted is not None else "",
    )


def task_of(class_name: str) -> str:
    """``sequence classification`` for ``BertForSequenceClassification``; ``features`` for a model without a head."""
    if "CausalLM" in class_name or "LMHead" in class_name:
        return "language modelling"
    _, found, task = class_name.rpartition("For")
    words: list[str] = re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z]+", task)
    return " ".join(word if word.isupper() else word.lower() for word in words) if found else "features"


def _class(transformers: Any, config: Config) -> tuple[Any, Any]:
    """(model class, configuration object), both of transformers itself."""
    values, file = config.values, str(config.path)
    names = config.architectures
    known = [kind for kind in (_model_class(transformers, name) for name in names) if kind is not None]
    model_type = values.get("model_type")
    if not isinstance(model_type, str):
        raise LoadError(
            f"{config.path.name} has no model_type, so it is no configuration of transformers.",
            hint="Open the model as file.py:callable.",
            file=file,
        )
    if model_type not in transformers.CONFIG_MAPPING or (names and not known and values.get("auto_map")):
        what = names[0] if names and not known else f"the model type {model_type!r}"
        raise _foreign(transformers, config, what)
    _check_values(values, config)
    try:
        settings = transformers.CONFIG_MAPPING[model_type].from_dict(_without_fetching(values))
    except Exception as error:
        raise _misfit(
            transformers, config, f"does not accept it as a configuration of {model_type}", error
        ) from error
    if known:
        return known[0], settings
    try:
        found = transformers.MODEL_MAPPING[type(settings)]
    except KeyError as error:
        raise _foreign(transformers, config, f"a model of the type {model_type!r} without a task") from error
    return (found[0] if isinstance(found, (tuple, list)) else found), settings


def _model_class(transformers: Any, name: str) -> Any:
    """None for what is no model of transformers."""
    with offline():
        kind = getattr(transformers, name, None) if name.isidentifier() else None
    return kind if isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel) else None


def _foreign(transformers: Any, config: Config, what: str) -> LoadError:
    if config.values.get("auto_map"):
        return LoadError(
            f"{config.path.name} asks for code of its own ({what}), which is not run.",
            hint="If you trust it, open it as file.py:callable with a file that builds the model.",
            file=str(config.path),
        )
    return LoadError(
        f"transformers {transformers.__version__} does not know {what}, which {config.path.name} asks for.",
        hint="Update transformers, or open the model as file.py:callable.",
        file=str(config.path),
    )


def _misfit(transformers: Any, config: Config, what: str, error: Exception) -> LoadError:
    saved = config.values.get("transformers_version")
    hint = f"It was saved by transformers {saved}." if isinstance(saved, str) else "Check its values."
    return LoadError(
        f"{config.path.name}: transformers {transformers.__version__} {what}: {first_line(error)}",
        hint=hint,
        file=str(config.path),
    )


def _check_values(values: dict[str, Any], config: Config) -> None:
    """Raises LoadError for a number of layers that nobody can build, and for models that are somewhere else."""
    for key, value in values.items():
        if isinstance(value, dict):
            _check_values(value, config)
        elif COUNTED.search(key) and (count := _count(value)) > MAX_COUNT:
            raise LoadError(
                f"{config.path.name}: {key} is {count:,}, more than the {MAX_COUNT:,} that are built.",
                hint="Correct it.",
                file=str(config.path),
            )
        elif key in TIMM_NAMES and isinstance(value, str) and ":" in value:
            raise LoadError(
                f"{config.path.name}: {key} is {shown(value, 80)}, which is no name of timm's; nothing is fetched.",
                hint="Put the name of the architecture there.",
                file=str(config.path),
            )


def _count(value: Any) -> int:
    """A number as configurations write it, or as a list with one for each stage."""
    parts = value if isinstance(value, list) else [value]
    return sum(part for part in parts if isinstance(part, int))


def _without_fetching(values: dict[str, Any]) -> dict[str, Any]:
    """``values`` without what would be fetched, or computed by somebody's kernels; weights are quantised later."""
    kept = {key: value for key, value in values.items() if not FETCHED.search(key) and key != QUANTIZED}
    for key in PASSED_ON:
        if isinstance(kept.get(key), dict):
            kept[key] = {name: value for name, value in kept[key].items() if name not in timm_zoo.WEIGHTS}
    return {
        key: _without_fetching(value) if isinstance(value, dict) else value for key, value in kept.items()
    }


def _notes(module: Any, config: Config) -> list[str]:
    """What the user must know about what is shown."""
    notes = []
    names = config.architectures
    if names and type(module).__name__ not in names:
        notes.append(f"transformers has no {names[0]}; its base model {type(module).__name__} is shown.")
    if config.values.get("auto_map"):
        notes.append("The folder's own code was not run: this is the class of transformers with that name.")
    if config.values.get(QUANTIZED):
        notes.append("The structure before quantisation is shown; weights that are quantised are not read.")
    if assumed_image_size(module):
        notes.append("Its configuration states no image size; the first one is a guess.")
    if module.can_generate():
        notes.append("One pass over the whole input, whose keys and values it keeps to go on from there.")
    return notes
