"""``torchvision:NAME``: any model of torchvision as its published weights define it, without downloading them.

``torchvision:NAME:WEIGHTS`` takes the architecture of other weights than the default ones (``vit_b_16`` at 384 pixels),
``torchvision:NAME(num_classes=10)`` passes arguments to the builder.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from engine.errors import LoadError
from engine.graph import Shape
from engine.input_specs import Labels, make_spec
from engine.loaders.call import parse_call
from engine.loaders.inputs import InputBinding
from engine.loaders.loaded import LoadedModel, LoadOptions, build_on_meta, to_meta
from engine.loaders.packages import first_line, unknown_model
from engine.results import ModelInfo, ZooEntry

FRAMES = 16
"""Frames of the clips that torchvision states its video models' operations for."""

FLOW_SIZE = 512
DETECTION_SIZE = 800
SEGMENTATION_SIZE = 520


def load(source: str, options: LoadOptions) -> LoadedModel:
    """Raises LoadError for a torchvision that cannot be imported, an unknown name or weights, or bad arguments."""
    models = _torchvision_models()
    text = source.removeprefix("torchvision:")
    call_text, _, weights_name = text.rpartition(":") if ":" in text else (text, "", "")
    name, args, kwargs = parse_call(call_text, source)
    if name not in models.list_models():
        raise unknown_model("torchvision", name, models.list_models())
    weights = _weights(models, name, weights_name)

    def build() -> nn.Module:
        model: nn.Module = _build(models, name, weights, args, kwargs)
        return model

    try:
        module = to_meta(build_on_meta(build))
    except Exception as error:
        raise LoadError(
            f"torchvision cannot build {call_text}: {first_line(error)}", hint="Check its arguments."
        ) from error
    binding = _binding(name, _task(models, name), weights, kwargs)
    note = ""
    if name.startswith("quantized_"):
        note = "The float structure before quantisation is shown; an int8 model moves a quarter of the weight bytes."
    info = ModelInfo(
        name=name,
        source=source,
        format="torchvision",
        class_name=type(module).__name__,
        task=_task(models, name),
        note=note,
    )
    return LoadedModel(info, module, binding, build, random_weights=True)


def entries() -> tuple[ZooEntry, ...]:
    """Every model of torchvision with what its default weights state; builds nothing."""
    models = _torchvision_models()
    result = []
    for name in models.list_models():
        weights = _weights(models, name, "")
        meta = weights.meta if weights is not None else {}
        spec = _binding(name, _task(models, name), weights, {}).specs[0]
        result.append(
            ZooEntry(
                source=f"torchvision:{name}",
                name=name,
                task=_task(models, name),
                params=meta.get("num_params"),
                gmacs=meta.get("_ops"),
                input=str(spec.default),
            )
        )
    return tuple(result)


def _torchvision_models() -> Any:
    try:
        import torchvision.models as models
    except Exception as error:  # a torchvision that does not match torch raises RuntimeError at import
        raise LoadError(
            f"torchvision cannot be imported: {first_line(error)}",
            hint="Install torch and torchvision in matching versions (both from the same index).",
        ) from error
    return models


def _weights(models: Any, name: str, weights_name: str) -> Any:
    """The member of the model's weights enum; None for a model without published weights."""
    enum = models.get_model_weights(name)
    members = list(enum)
    if not weights_name:
        if not members:
            return None
        return enum.DEFAULT
    for member in members:
        if member.name == weights_name:
            return member
    known = ", ".join(member.name for member in members) or "none"
    raise LoadError(f"torchvision has no weights {weights_name!r} for {name}.", hint=f"It has: {known}.")


@contextmanager
def _without_download() -> Iterator[None]:
    """Builders given weights choose the published architecture (classes, auxiliary heads, frozen norms, image size);
    the weights themselves are not fetched and not loaded."""
    from torchvision.models._api import WeightsEnum

    fetch, load_state_dict = WeightsEnum.get_state_dict, nn.Module.load_state_dict
    WeightsEnum.get_state_dict = lambda self, *args, **kwargs: {}
    nn.Module.load_state_dict = lambda self, *args, **kwargs: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        WeightsEnum.get_state_dict = fetch
        nn.Module.load_state_dict = load_state_dict  # type: ignore[method-assign]


def _build(models: Any, name: str, weights: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    builder = models.get_model_builder(name)
    parameters = inspect.signature(builder).parameters
    options = dict(kwargs)
    if "quantize" in parameters:
        # The quantised weights belong to the quantised model; the float one takes the weights it was made from.
        weights = weights.meta.get("unquantized", weights) if weights is not None else None
        options.setdefault("quantize", False)
        if name == "quantized_inception_v3":
            options.setdefault("aux_logits", True)  # its published parameter count includes them
    if "weights_backbone" in parameters:
        options.setdefault("weights_backbone", None)
    overridden = {"num_classes", "image_size", "aux_logits", "aux_loss", "num_keypoints"} & set(kwargs)
    options.setdefault("weights", None if overridden else weights)
    with _without_download(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # about initial values; there are none on meta
        return builder(*args, **options)


def _task(models: Any, name: str) -> str:
    """``classification``, ``segmentation``, ``detection``, ``video``, ``optical_flow`` or ``quantization``."""
    package = models.get_model_builder(name).__module__.removeprefix("torchvision.models.").split(".")
    known = ("segmentation", "detection", "video", "optical_flow", "quantization")
    return package[0] if package[0] in known else "classification"


def _crop(weights: Any) -> Any:
    transforms: Any = getattr(weights, "transforms", None)
    return transforms.keywords.get("crop_size") if hasattr(transforms, "keywords") else None


def _binding(name: str, task: str, weights: Any, kwargs: dict[str, Any]) -> InputBinding:
    """The inputs the library states its figures for: crop size of the weights, 16-frame clips, two images for flow."""
    symbols: dict[str, int] = {}
    crop = kwargs.get("image_size") or _crop(weights)
    if task == "video":
        size = crop[0] if isinstance(crop, (tuple, list)) else crop or 112
        shape: Shape = (1, 3, FRAMES, size, size)
        return _single("x", shape, ("batch", "channels", "frames", "height", "width"))
    labels: Labels = ("batch", "channels", "height", "width")
    if task == "optical_flow":
        shape = (1, 3, FLOW_SIZE, FLOW_SIZE)
        specs = tuple(make_spec(image, shape, "float32", labels, symbols) for image in ("image1", "image2"))
        return InputBinding(specs, lambda tensors: (tuple(tensors), {}))
    if task == "detection":
        digits = next((part for part in ("300", "320") if part in name), None)
        size = int(digits) if digits else DETECTION_SIZE
        spec = make_spec("images", (1, 3, size, size), "float32", labels, symbols)
        return InputBinding((spec,), _image_list)
    size = SEGMENTATION_SIZE if task == "segmentation" else crop or 224
    return _single("x", (1, 3, size, size), labels)


def _single(name: str, shape: Shape, labels: Labels) -> InputBinding:
    spec = make_spec(name, shape, "float32", labels, {})
    return InputBinding((spec,), lambda tensors: ((tensors[0],), {}))


def _image_list(tensors: list[Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Detectors take a list of (3, H, W) images; the batch dimension is the length of the list."""
    batch = tensors[0]
    images = [
        torch.empty(batch.shape[1:], dtype=batch.dtype, device=batch.device)
        if batch.device.type == "meta"
        else image
        for image in batch.unbind(0)
    ]
    return (images,), {}
