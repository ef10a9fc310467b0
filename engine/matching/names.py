"""Names of tensors as the bare model has them, without what wrappers, adapters, pruning and quantisation add to them.

Training runs save models inside DataParallel, ``torch.compile``, FSDP, PEFT, parametrizations and modules of their own.
Nothing here computes weights: a weight that is kept in two parts stands for itself by its shape alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from engine.graph import Shape

MAX_VIEWS = 12
SHARE = 0.2
"""A prefix with fewer of the names is no model of its own."""

_WRAPPERS = re.compile(
    r"(?:(?<=\.)|^)(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|_forward_module)\."
)
_BASE_LAYER = re.compile(r"(?<=\.)base_layer\.(?=[^.]+$)")
_SAVED_MODULE = re.compile(r"(?<=\.)modules_to_save\.[^.]+\.")
_ORIGINAL = re.compile(r"(?<=\.)original_module\.")
_LORA_WEIGHT = re.compile(r"^(?P<layer>.+)\.lora_(?:embedding_)?(?P<half>[AB])(?:\.[^.]+)??(?:\.weight)?$")
_ADAPTER = re.compile(r"(?:^|\.)(?:lora_[A-Za-z_]+|lora_down|lora_up|hada_w[12]_[ab]|oft_[A-Za-z]+)(?:\.|$)")
_PARAMETRIZED = re.compile(r"^(?P<layer>(?:.*\.)?)parametrizations\.(?P<name>[^.]+)\.(?P<what>.+)$")
_COMPOSED = re.compile(r"(?:^|\.)parametrizations\.|_(?:orig|v)$")
_OBSERVER = re.compile(r"(?:^|\.)(?:\w*fake_quant|activation_post_process\w*|_packed_params)(?:\.|$)")
COUNTER = "num_batches_tracked"


class Plain(NamedTuple):
    """The tensors of one group under the names of the bare model."""

    shapes: dict[str, Shape]
    adapters: int
    """Tensors of LoRA and other adapters."""
    derived: bool
    """The file holds adapters alone: the shapes are those of the weights that they change."""
    composed: int
    """Weights that are computed from several tensors: weight norm, spectral norm and other parametrizations."""


class View(NamedTuple):
    """The tensors below a prefix as a model of their own."""

    prefix: str
    shapes: dict[str, Shape]
    outside: tuple[str, ...]
    """Names of the other tensors."""


def plain(names: Sequence[str], shapes: Sequence[Shape]) -> Plain:
    """``names`` without what was put around them; what is no tensor of the bare model is left out."""
    known = set(names)
    found: dict[str, int] = {}
    adapters = composed = 0
    for index, name in enumerate(names):
        if _ADAPTER.search(name):
            adapters += 1
            continue
        bare = _bare(name, known)
        # A module that PEFT saves is there twice; the trained copy follows the original.
        if bare is not None and (bare not in found or _SAVED_MODULE.search(name)):
            found[bare] = index
            composed += bool(_COMPOSED.search(name))
    result = {name: shapes[index] for name, index in found.items()}
    if adapters and len(result) < adapters:
        derived = _adapted_weights(names, shapes)
        return Plain(result | derived, adapters, True, composed)
    return Plain(result, adapters, False, composed)


def _bare(name: str, known: set[str]) -> str | None:
    """The name of the bare model's tensor; None for a tensor that the bare model does not have."""
    if _belongs_to_another(name, known) or _OBSERVER.search(name) or name == "n_averaged":
        return None
    parametrized = _PARAMETRIZED.match(name)
    if parametrized is not None:
        layer, what = parametrized["layer"], parametrized["what"]
        two = f"{layer}parametrizations.{parametrized['name']}.original1" in known
        name = f"{layer}{parametrized['name']}"
        if what != ("original1" if two else "original"):
            return None
    else:
        renamed = _without_hooks(name, known)
        if renamed is None:
            return None
        name = renamed
    for pattern in (_WRAPPERS, _SAVED_MODULE, _ORIGINAL, _BASE_LAYER):
        name = pattern.sub("", name)
    return name


def _belongs_to_another(name: str, known: set[str]) -> bool:
    """``fc.weight.absmax`` beside ``fc.weight``: how another tensor is quantised; ``scale`` with ``zero_point`` too."""
    layer, _, last = name.rpartition(".")
    if last in ("scale", "zero_point"):
        return f"{layer}.scale" in known and f"{layer}.zero_point" in known
    return layer in known or layer.rpartition(".")[0] in known


def _without_hooks(name: str, known: set[str]) -> str | None:
    """The weight behind the hooks of ``torch.nn.utils``: ``prune``, ``spectral_norm`` and ``weight_norm``."""
    stem, _, ending = name.rpartition("_")
    original = f"{stem}_orig" in known
    if ending == "orig" and (f"{stem}_mask" in known or f"{stem}_u" in known):
        return stem
    if ending in ("mask", "u", "v") and original:
        return None
    if ending == "v" and f"{stem}_g" in known:
        return stem
    if ending == "g" and f"{stem}_v" in known:
        return None
    return name


def _adapted_weights(names: Sequence[str], shapes: Sequence[Shape]) -> dict[str, Shape]:
    """Names and shapes of the weights that pairs of LoRA matrices (rank, in) and (out, rank) change."""
    halves: dict[str, dict[str, Shape]] = {}
    for name, shape in zip(names, shapes, strict=True):
        match = _LORA_WEIGHT.match(name)
        if match is not None and len(shape) >= 2:
            halves.setdefault(match["layer"], {})[match["half"]] = shape
    return {
        f"{_WRAPPERS.sub('', layer)}.weight": (pair["B"][0], *pair["A"][1:])
        for layer, pair in halves.items()
        if len(pair) == 2
    }


def views(shapes: Mapping[str, Shape]) -> list[View]:
    """The whole, and every part of it below a prefix that could be a model of its own: ``module.``, ``teacher.`` …"""
    found = [View("", dict(shapes), ())]
    for prefix in _prefixes(shapes):
        below = {name[len(prefix) :]: shape for name, shape in shapes.items() if name.startswith(prefix)}
        outside = tuple(name for name in shapes if not name.startswith(prefix))
        found.append(View(prefix, below, outside))
    return found


def _prefixes(names: Iterable[str]) -> list[str]:
    """Prefixes, whole components, with their share of all names; the outer ones first."""
    level = list(names)
    enough = max(1, SHARE * len(level))
    found: list[str] = []
    pending = [("", level)]
    while pending and len(found) < MAX_VIEWS:
        prefix, below = pending.pop(0)
        heads = Counter(name[len(prefix) :].partition(".")[0] for name in below if "." in name[len(prefix) :])
        for head, count in heads.most_common():
            if count < enough or len(found) >= MAX_VIEWS:
                break
            deeper = f"{prefix}{head}."
            found.append(deeper)
            pending.append((deeper, [name for name in below if name.startswith(deeper)]))
    return found
