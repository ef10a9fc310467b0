"""What the forward pass of a transformers model takes: names from its signature, sizes from its configuration."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from msgspec.structs import replace
from torch import Tensor, nn

from engine.errors import InputError
from engine.graph import Dim, InputSpec, Shape
from engine.input_specs import Labels, make_spec
from engine.loaders.inputs import InputBinding

TOKENS = 128
"""At first, where the model takes as many."""
IMAGE_SIZE = 224
"""Where a configuration states none."""
SAMPLE_RATE = 16_000
"""Of the sound that speech models take; one second at first."""
LONGEST_SOUND_S = 30
SPEECH_FRAMES = 512
FEW_STEPS = 8
"""A model with fewer steps of tokens than this is given any number of them."""

PARTS = (
    "text_config", "vision_config", "audio_config", "encoder", "decoder", "backbone_config", "encoder_config",
    "speech_config", "speech_encoder_config",
)  # fmt: skip
"""Where a configuration made of several keeps them."""
COMPARED = {"get_image_features": "pixel_values", "get_audio_features": "input_features"}
"""By the method of a model that compares them with texts (it has ``get_text_features`` too): what it needs beside
``input_ids``."""
SWITCHES = {"interpolate_pos_encoding": True}
"""Arguments that forward() gets where it knows them: images may have any size, for which position embeddings are
resampled (at its own size a model computes the same without)."""
OFFSETS = range(5)
"""By how much a table of positions is longer than the configuration says: BART and OPT keep two rows for padding."""


class Size(NamedTuple):
    """Shape and labels of one input at first. ``fixed``: the model takes no other size."""

    shape: Shape
    labels: Labels
    is_integer: bool = False
    fixed: bool = False


class Longest(NamedTuple):
    """Tokens that a model takes; ``hard`` when it has no position for more, rather than never having seen more."""

    tokens: int
    hard: bool


def bind_inputs(module: Any) -> InputBinding | None:
    """The inputs that ``module`` needs; None when one of them cannot be known from the configuration."""
    parameters = inspect.signature(module.forward).parameters
    names = _names(module, parameters)
    specs: list[InputSpec] = []
    limits: dict[str, Longest] = {}
    symbols: dict[str, int] = {}
    for name in names:
        size = SIZES[name](module) if name in SIZES else None
        if size is None:
            return None
        if name == "decoder_input_ids":
            symbols["sequence"] = 0  # what is written has another length than what is read
        spec = make_spec(
            name, size.shape, "int64" if size.is_integer else _dtype(module), size.labels, symbols
        )
        longest = _longest(module, name) if size.is_integer else None
        if longest is not None:
            limits[name] = longest
        specs.append(InputSpec(name, tuple(_dim(dim, size, longest) for dim in spec.dims), spec.dtype))
    constants = {name: value for name, value in SWITCHES.items() if name in parameters}

    def pack(tensors: list[Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        given = dict(zip(names, tensors, strict=True))
        _check_lengths(given, limits)
        return (), {**given, **constants}

    return InputBinding(tuple(specs), pack)


def assumed_image_size(module: Any) -> bool:
    """Whether an image's size is ours, because the configuration states none."""
    return "pixel_values" in _names(module, inspect.signature(module.forward).parameters) and not _of(
        module.config, "image_size", "img_size"
    )


def _names(module: Any, parameters: Mapping[str, inspect.Parameter]) -> list[str]:
    """Arguments without a default, the main input, the decoder's tokens, and both of what a model compares."""
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    wanted = [
        name
        for name, parameter in parameters.items()
        if parameter.default is parameter.empty and parameter.kind not in variable
    ]
    main = module.main_input_name
    wanted += [main] if isinstance(main, str) else main
    if "decoder_input_ids" in parameters and getattr(module.config, "is_encoder_decoder", False):
        wanted.append("decoder_input_ids")
    if hasattr(module, "get_text_features") and not module.can_generate():
        wanted += [name for method, name in COMPARED.items() if hasattr(module, method)]
        wanted.append("input_ids")
    return [name for name in parameters if name in wanted]


def _dim(dim: Dim, size: Size, longest: Longest | None) -> Dim:
    """``dim`` with the range that the model says."""
    if size.fixed and dim.label != "batch":
        return Dim(dim.label, dim.size)
    if dim.label == "sequence" and longest is not None:
        if longest.tokens < FEW_STEPS * dim.step:
            return replace(dim, minimum=1, maximum=longest.tokens, step=1)
        step = 1 if longest.tokens % dim.step else dim.step
        return replace(dim, maximum=longest.tokens, step=step)
    if dim.label == "size" and dim.size == SAMPLE_RATE:
        tenth = SAMPLE_RATE // 10
        return replace(dim, minimum=tenth, maximum=LONGEST_SOUND_S * SAMPLE_RATE, step=tenth)
    return dim


def _check_lengths(given: Mapping[str, Tensor], limits: Mapping[str, Longest]) -> None:
    """On the meta device nobody else notices a token without a position."""
    for name, longest in limits.items():
        length = given[name].shape[-1]
        if longest.hard and length > longest.tokens:
            raise InputError(
                f"Input {name!r} has {length:,} tokens; the model has {longest.tokens:,} positions.",
                hint=f"Give at most {longest.tokens:,}.",
            )


def _of(config: Any, *names: str) -> Any:
    """The first of ``names`` that the configuration, or else a part of it, says; None when nothing does."""
    for part in (config, *(getattr(config, part, None) for part in PARTS)):
        for name in names:
            value = getattr(part, name, None)
            if value is not None:
                return value
    return None


def _dtype(module: nn.Module) -> str:
    floating = (p.dtype for p in module.parameters() if p.dtype.is_floating_point)
    return str(next(floating, torch.float32)).removeprefix("torch.")


def _longest(module: Any, name: str) -> Longest | None:
    """None when the configuration states no limit."""
    config = module.config
    if name == "decoder_input_ids":
        config = getattr(config, "decoder", None) or config
        tokens = _of(config, "max_target_positions", "max_position_embeddings")
    else:
        config = getattr(config, "text_config", None) or config
        tokens = _of(config, "max_position_embeddings", "max_seq_len", "max_sequence_length")
    if not isinstance(tokens, int) or tokens < 1:
        return None
    tables = [
        table
        for path, table in module.named_modules()
        if isinstance(table, nn.Embedding)
        and ("position" in path.rpartition(".")[2] or path.endswith("wpe"))
        and table.num_embeddings - tokens in OFFSETS
    ]
    # Where positions begin after the padding's index, as RoBERTa's do, the rows before it are no positions.
    padded = [t.num_embeddings - t.padding_idx - 1 for t in tables if t.padding_idx is not None]
    return Longest(min(padded, default=tokens), bool(tables))


def _pair(size: Any) -> tuple[int, int] | None:
    """(height, width) of an image size as configurations write it."""
    if isinstance(size, Mapping):
        size = (size.get("height"), size.get("width"))
    if isinstance(size, int):
        size = (size, size)
    if isinstance(size, Sequence) and len(size) == 2 and all(isinstance(each, int) for each in size):
        return size[0], size[1]
    return None


def _tokens(name: str) -> Callable[[Any], Size]:
    def tokens(module: Any) -> Size:
        longest = _longest(module, name)
        length = min(TOKENS, longest.tokens) if longest is not None else TOKENS
        return Size((1, length), ("batch", "sequence"), is_integer=True)

    return tokens


def _pixels(module: Any) -> Size | None:
    """An image, or the frames of a video where the configuration has a number of them."""
    config = module.config
    stated = _of(config, "image_size", "img_size", "crop_size")
    size = _pair(stated) if stated is not None else (IMAGE_SIZE, IMAGE_SIZE)
    channels = _of(config, "num_channels", "in_channels", "in_chans") or 3
    if size is None or not isinstance(channels, int):
        return None
    frames = _of(config, "num_frames", "frames_per_clip")
    if isinstance(frames, int):
        return Size((1, frames, channels, *size), ("batch", "frames", "channels", "height", "width"))
    return Size((1, channels, *size), ("batch", "channels", "height", "width"))


def _sound(module: Any) -> Size | None:
    """Samples of a waveform, or the spectrogram of models that take their patches."""
    config = module.config
    mel, length = _of(config, "num_mel_bins"), _of(config, "max_length")
    if mel and length and _of(config, "patch_size"):
        return Size((1, length, mel), ("batch", "frames", "features"), fixed=True)
    channels = _of(config, "audio_channels")
    if channels:
        return Size((1, channels, SAMPLE_RATE), ("batch", "channels", "size"))
    if _of(config, "conv_kernel") is None:
        return None
    return Size((1, SAMPLE_RATE), ("batch", "size"))


def _features(module: Any) -> Size | None:
    """Frames of a spectrogram: all of them for Whisper and its kind, whose encoder has a position for each."""
    config = module.config
    mel, positions = _of(config, "num_mel_bins"), _of(config, "max_source_positions")
    channels = _of(config, "input_feat_per_channel", "feature_projection_input_dim")
    if channels:
        return Size((1, SPEECH_FRAMES, channels), ("batch", "frames", "features"))
    if mel and positions:
        return Size((1, mel, 2 * positions), ("batch", "features", "frames"), fixed=True)
    return None


def _series(module: Any) -> Size | None:
    """Past values of several channels."""
    config = module.config
    length, channels = _of(config, "context_length"), _of(config, "num_input_channels")
    return (
        Size((1, length, channels), ("batch", "sequence", "features"), fixed=True)
        if length and channels
        else None
    )


SIZES: dict[str, Callable[[Any], Size | None]] = {
    "input_ids": _tokens("input_ids"),
    "decoder_input_ids": _tokens("decoder_input_ids"),
    "pixel_values": _pixels,
    "pixel_values_videos": _pixels,
    "input_values": _sound,
    "input_features": _features,
    "past_values": _series,
}
"""By the name of forward()'s argument."""
