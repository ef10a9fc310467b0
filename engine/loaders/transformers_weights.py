"""The weights in the folder of a transformers model: read as data, put in their places by transformers' own rules.

Its rules rename what older versions called otherwise, merge the experts of a layer into one tensor and tie what is
tied. They are tried on tensors without memory first, so that what does not fit is known when a model is opened.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from engine.contents import shown
from engine.contents_words import main_group
from engine.errors import LoadError
from engine.files import read
from engine.loaders.fit import fit as by_name
from engine.loaders.packages import first_line, offline
from engine.loaders.weights import Weights
from engine.loaders.zeros import count_zeros, zeros_of

SMALL = 2**30
"""Bytes of weights that may be allocated beside everything else."""


class Fit(NamedTuple):
    """Weights that belong to a model: the dtype that they have in it, and what they lack."""

    weights: Weights
    dtype: torch.dtype
    missing: tuple[str, ...]

    @property
    def note(self) -> str:
        """A sentence about what is missing; empty when nothing is."""
        if not self.missing:
            return ""
        tensors = f"{len(self.missing):,} tensors" if len(self.missing) > 1 else "a tensor"
        return (
            f"{shown(self.weights.file.name)} lacks {tensors} of the model ({shown(self.missing[0])}): "
            "their values are random."
        )


def fit(folder: Path, kind: Any, settings: Any) -> Fit:
    """The weights in ``folder`` for a model of the class ``kind``.

    Raises LoadError when they cannot be read, and when they are another model's.
    """
    contents = read(folder)
    group = main_group(contents)
    name = shown(Path(contents.file).name)
    if group is None:
        raise LoadError(f"{name} holds no weights.", file=contents.file)
    weights = Weights(contents, group)
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            module, missing = _loaded(kind, settings, _tensors(weights, lambda each: _like(weights, each)))
    except Exception as error:
        raise LoadError(
            f"The weights in {name} do not fit {kind.__name__}: {first_line(error)}",
            hint="They and config.json belong to different models; download both again.",
            file=contents.file,
        ) from error
    if len(missing) >= len(module.state_dict()):
        raise LoadError(
            f"{name} has none of the tensors of {kind.__name__}.",
            hint="It and config.json belong to different models; download both again.",
            file=contents.file,
        )
    dtype = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
    return Fit(weights, dtype, tuple(sorted(missing)))


def build(fitted: Fit, kind: Any, settings: Any) -> nn.Module:
    """The model with the values of the file. Raises LoadError when that cannot be read any more."""
    with fitted.weights.open() as opened:
        return _loaded(kind, settings, _tensors(fitted.weights, opened.tensor))[0]


def zeros(
    fitted: Fit, module: nn.Module, make: Callable[[], nn.Module], stop: Event
) -> Iterator[tuple[str, int]]:
    """As ``LoadedModel.count_zeros`` wants them; one tensor of the file in memory at a time.

    ``make`` builds the real model: only a small one is built to look into tensors that are merged of several in the
    file, such as experts. Those of a large one stay unknown, as what the file lacks does.
    """
    weights = fitted.weights
    names: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    uses = by_name(weights.shapes, wanted).uses
    found = [(group, next((name for name in group if name in uses), None)) for group in names.values()]
    merged = [group for group, use in found if use is None and not set(group) & set(fitted.missing)]
    if merged and sum(p.numel() * p.element_size() for p in module.parameters()) <= SMALL:
        yield from zeros_of(make(), stop)
        return
    with weights.open() as opened:
        tensors = [(group, partial(opened.tensor, uses[use][0])) for group, use in found if use is not None]
        yield from count_zeros(tensors, stop)


def _loaded(kind: Any, settings: Any, tensors: dict[str, Tensor]) -> tuple[nn.Module, set[str]]:
    """(model, names of what ``tensors`` lack)."""
    with offline():
        module, report = kind.from_pretrained(
            None, config=copy.deepcopy(settings), state_dict=tensors, output_loading_info=True
        )
    return module, set(report["missing_keys"])


def _tensors(weights: Weights, make: Callable[[str], Tensor]) -> dict[str, Tensor]:
    """Those that torch can compute with."""
    return {name: make(name) for name in weights.rows if weights.dtype(name) is not None}


def _like(weights: Weights, name: str) -> Tensor:
    return torch.empty(weights.rows[name].shape, dtype=weights.dtype(name))
