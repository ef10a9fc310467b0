"""``timm:NAME``: any architecture of timm, with random weights; nothing is downloaded.

``timm:NAME(num_classes=10, img_size=256)`` passes arguments to the model, ``timm:NAME.TAG`` takes the architecture of
that set of published weights.
"""

from __future__ import annotations

import importlib.util
import inspect
from typing import Any

from torch import nn

from engine.errors import LoadError
from engine.graph import Dim, InputShape, InputSpec
from engine.input_specs import make_spec
from engine.loaders.call import parse_call
from engine.loaders.inputs import InputBinding
from engine.loaders.loaded import LoadedModel, LoadOptions, build_on_meta, to_meta
from engine.loaders.packages import first_line, offline, optional_package, unknown_model
from engine.loaders.trial import IMAGE, refuses_other_images, with_fixed_images
from engine.results import ModelInfo, ZooEntry

WEIGHTS = frozenset(
    {"pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "pretrained_strict", "pretrained_filter_fn",
     "checkpoint_path", "cache_dir", "state_dict"}
)  # fmt: skip
"""Arguments of ``timm.create_model`` that fetch or unpickle weights."""


def load(source: str, options: LoadOptions) -> LoadedModel:
    """Raises LoadError for a timm that is missing or cannot be imported, an unknown name, or bad arguments."""
    timm = _timm()
    text = source.removeprefix("timm:")
    name, args, kwargs = parse_call(text, source)
    _check_name(timm, name)
    _check_arguments(name, args, kwargs)

    def build() -> nn.Module:
        with offline():
            model: nn.Module = timm.create_model(name, pretrained=False, **kwargs)
        return model

    try:
        module = to_meta(build_on_meta(build))
    except Exception as error:
        raise LoadError(
            f"timm cannot build {text}: {first_line(error)}", hint="Check its arguments."
        ) from error
    size = tuple(_input_config(module)["input_size"])
    binding = _binding(module, size)
    # Many of those that timm calls fixed only need a multiple of something.
    fixed = _input_config(module)["fixed_input_size"] and refuses_other_images(module, binding)
    info = ModelInfo(
        name=name,
        source=source,
        format="timm",
        class_name=type(module).__name__,
        task="classification" if getattr(module, "num_classes", 0) else "features",
        note=_note(timm, name),
        fixed_sizes=_why_fixed(name, kwargs, module, size) if fixed else "",
        unguarded=_resampling(name, kwargs, module) if fixed else "",
    )
    return LoadedModel(
        info, module, binding if not fixed else with_fixed_images(binding), build, random_weights=True
    )


def installed() -> bool:
    """Whether timm can be asked for its models; imports nothing."""
    return importlib.util.find_spec("timm") is not None


def entries() -> tuple[ZooEntry, ...]:
    """Every architecture of timm with the input of its default weights; builds nothing. Raises LoadError."""
    timm = _timm()
    return tuple(_entry(timm, name) for name in timm.list_models())


def _entry(timm: Any, name: str) -> ZooEntry:
    config = timm.models.get_pretrained_cfg(name)
    channels, height, width = config.input_size if config is not None else (3, 224, 224)
    return ZooEntry(
        source=f"timm:{name}",
        name=name,
        task="classification" if config is None or config.num_classes else "features",
        input=str(InputShape("x", (1, channels, height, width), "float32")),
    )


def _timm() -> Any:
    return optional_package("timm", "timm:NAME")


def _check_name(timm: Any, name: str) -> None:
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        raise unknown_model("timm", architecture, timm.list_models())
    known = timm.models.get_arch_pretrained_cfgs(architecture) if tag else {}
    if tag and name not in known:
        has = ", ".join(filter(None, (each.partition(".")[2] for each in known))) or "none"
        raise LoadError(f"timm has no weights {tag!r} for {architecture}.", hint=f"It has: {has}.")


def _check_arguments(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    if args:
        raise LoadError(
            f"timm takes the arguments of {name} by their names.", hint=f"Write {name}(num_classes=10)."
        )
    refused = sorted(WEIGHTS & set(kwargs))
    if refused:
        raise LoadError(
            f"{refused[0]} is not passed to timm: weights are neither downloaded nor unpickled here.",
            hint=f"Open a file of weights as FILE@timm:{name}.",
        )


def _note(timm: Any, name: str) -> str:
    current = timm.models.get_deprecated_models().get(name)
    return f"timm calls it {current} now." if current else ""


def _input_config(module: nn.Module) -> dict[str, Any]:
    """``input_size`` (channels, height, width) that the model was made for, whether it is a ``fixed_input_size``."""
    config: dict[str, Any] = _timm().models.get_model_input_config(module)
    return config


def _binding(module: nn.Module, size: tuple[int, int, int]) -> InputBinding:
    """One image; where 32 pixels are no whole number of patches, the sizes are multiples of a patch."""
    spec = make_spec("x", (1, *size), "float32", ("batch", "channels", "height", "width"), {})
    patch = _patch(module)
    by_patch = patch > 1 and size[1] % patch == 0 and 32 % patch != 0

    def adjusted(dim: Dim) -> Dim:
        if dim.label not in IMAGE or not by_patch:
            return dim
        return Dim(dim.label, dim.size, dim.symbol, 2 * patch, 2 * dim.size, patch)

    spec = InputSpec(spec.name, tuple(adjusted(dim) for dim in spec.dims), spec.dtype)
    return InputBinding((spec,), lambda tensors: ((tensors[0],), {}))


def _patch(module: nn.Module) -> int:
    size: Any = getattr(getattr(module, "patch_embed", None), "patch_size", None)
    return int(size[0]) if isinstance(size, (tuple, list)) else int(size or 0)


def _why_fixed(name: str, kwargs: dict[str, Any], module: nn.Module, size: tuple[int, int, int]) -> str:
    height, width = size[1:]
    larger = _call(name, {**kwargs, "img_size": 2 * height})
    others = f"Open timm:{larger} for another one"
    if _resampling(name, kwargs, module):
        flexible = _call(name, {**kwargs, "dynamic_img_size": True})
        others += f", or timm:{flexible} to resample its position embedding for any"
    return f"{name} was built for {height}×{width} pixels and refuses other sizes. {others}."


def _resampling(name: str, kwargs: dict[str, Any], module: nn.Module) -> str:
    """The source whose position embedding follows the size; empty for a class that cannot."""
    if "dynamic_img_size" in kwargs or "dynamic_img_size" not in inspect.signature(type(module)).parameters:
        return ""
    return f"timm:{_call(name, {**kwargs, 'dynamic_img_size': True})}"


def _call(name: str, kwargs: dict[str, Any]) -> str:
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in kwargs.items())})"
