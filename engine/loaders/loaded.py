"""What every loader returns, and the ways to build a module without allocating its weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Event
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from engine.graph import InputSpec
from engine.loaders.inputs import InputBinding
from engine.loaders.isolation import UserModules
from engine.loaders.options import LoadOptions as LoadOptions
from engine.results import ModelInfo

ZeroCounter: TypeAlias = Callable[[Event], Iterator[tuple[str, int]]]
"""(parameter's name, elements of it that are 0) one by one, with ("", 0) between short steps so that what is more
urgent need not wait (engine.loaders.zeros counts so); raises CancelledError soon after the event is set."""


@dataclass
class LoadedModel:
    """An open model: ``module`` is in eval mode with all tensors on the meta device.

    ``binding`` is None when the source does not say what its inputs are; the first configuration then has to.
    ``build_real`` builds the module again with allocated weights, for a real run.
    """

    info: ModelInfo
    module: nn.Module
    binding: InputBinding | None
    build_real: Callable[[], nn.Module]
    guessed_inputs: bool = False
    """Whether ``binding`` is a guess: inputs that are given may have another number of dimensions, or be more."""
    watch: str = ""
    world: UserModules | None = None
    """The import world to run the model's forward in; None for models that import nothing of their own."""
    random_weights: bool = False
    """Whether ``build_real`` gives freshly initialised weights, because the source holds none."""
    count_zeros: ZeroCounter | None = None
    """Counts the zeros in the source's weights; None where these are random."""
    counting_builds: bool = False
    """Whether counting builds the module with its weights, which takes their memory."""
    check: Callable[[], None] | None = None
    """Called before each real run: raises LoadError when the files that hold its weights have changed."""

    @property
    def specs(self) -> tuple[InputSpec, ...]:
        return self.binding.specs if self.binding is not None else ()


class _EmptyOnMeta(TorchFunctionMode):
    """Sends only uninitialised allocations to meta: parameters are made by ``torch.empty``, while constructors that
    read values (``torch.arange(…).tolist()``, stochastic-depth tables, RegNet widths) keep real tensors."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.empty and kwargs.get("device") in (None, "cpu"):
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


def build_on_meta(build: Callable[[], Any]) -> Any:
    """``build()`` without allocating weights: everything on meta, or else (a constructor that reads values) only
    uninitialised storage. The result's own tensors may still be mixed; ``to_meta`` moves modules."""
    try:
        with torch.device("meta"):
            return build()
    except (NotImplementedError, RuntimeError, ValueError, TypeError):
        with _EmptyOnMeta():
            return build()


def build_without_weights(build: Callable[[], nn.Module]) -> nn.Module | None:
    """``build()`` with real tensors but for uninitialised storage, such as parameters, which is on meta.

    For a caller that has the weights. None where the constructor reads what it would have put there.
    """
    try:
        with _EmptyOnMeta():
            return build()
    except (NotImplementedError, RuntimeError, ValueError, TypeError):
        return None


def to_meta(module: nn.Module) -> nn.Module:
    """``module`` in eval mode with parameters and buffers on meta; tied tensors stay one."""
    replace_tensors(
        module, lambda tensor: tensor if tensor.is_meta else torch.empty_like(tensor, device="meta")
    )
    return module.eval()


def replace_tensors(module: nn.Module, make: Callable[[Tensor], Tensor]) -> Callable[[], None]:
    """Put ``make(tensor)`` in the place of every parameter and buffer, once per distinct tensor.

    Parameters stay parameters. Returns the function that puts the old tensors back.
    """
    made: dict[int, Tensor] = {}
    before: list[tuple[dict[str, Any], str, Tensor]] = []
    stores: list[dict[str, Any]] = []
    for owner in module.modules():
        stores += [owner._parameters, owner._buffers]
    for store in stores:
        for name, tensor in store.items():
            if tensor is None:
                continue
            if id(tensor) not in made:
                new = make(tensor)
                if isinstance(tensor, nn.Parameter) and not isinstance(new, nn.Parameter):
                    new = nn.Parameter(new, requires_grad=tensor.requires_grad)
                made[id(tensor)] = new
            before.append((store, name, tensor))
    for store, name, tensor in before:
        store[name] = made[id(tensor)]

    def undo() -> None:
        for store, name, tensor in before:
            store[name] = tensor

    return undo
