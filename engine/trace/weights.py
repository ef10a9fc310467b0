"""Which operands of an operation are weights, also where the forward pass computes them: a mask times what it masks.

Needed only for what zeros in the weights would save; a trace without weights to look at does not pay for it.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from typing import Any, NamedTuple

from torch import Tensor

from engine.trace.ops import TRANSFERS, OpInfo

CONSTANT = "\0"
"""Instead of a parameter's name: made of buffers and constants alone, no weight."""
SAME_ZEROS = TRANSFERS | {"clone", "contiguous", "type_as", "reshape", "flatten", "neg"}
"""Operations whose result has a zero where their argument has one, and nowhere else."""
SHAPE_ONLY = ("zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like", "new_")
"""Beginnings of the names of operations that read no value of their argument."""
NO_PRODUCTS = frozenset(
    {
        "add", "sub", "mul", "div", "relu", "gelu", "silu", "sigmoid", "hardtanh", "hardswish", "hardsigmoid",
        "batch_norm", "layer_norm", "group_norm", "softmax", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "mean",
        "cat", "flatten", "reshape", "contiguous", "clone", "roll", "pad", "embedding", "dropout", "feature_dropout",
    }
)  # fmt: skip
"""Operations without MACs, of which models have most: nobody asks for their weights."""
MASKED = re.compile(r"_orig$|(?:^|\.)parametrizations\.[^.]+\.original$")
"""Ends of the names that pruning and parametrizations give the parameter that a mask is multiplied with. Its zeros
are counted with the mask (see engine.loaders.zeros)."""


class Weight(NamedTuple):
    """What one operand has to do with a parameter."""

    name: str
    """Of the parameter, with ``[first:end]`` for a run of its elements; empty for something computed of weights whose
    zeros nobody follows, and for values that the model holds elsewhere than in parameters and buffers."""
    elements: int
    """Of the parameter, or of that run."""
    scattered: bool = False
    """Whether the operand holds only a part of the elements, and no such run."""


class Held(NamedTuple):
    """What is in one storage."""

    name: str
    """Of the parameter; empty for several, CONSTANT for none."""
    offset: int = 0
    """Where in the storage it begins, in elements."""


class WeightFollower:
    """Knows during one forward pass what every tensor has to do with the parameters."""

    def __init__(
        self, sizes: Mapping[str, int], holds: Mapping[int, Held], activations: Container[int]
    ) -> None:
        """``sizes``: elements of each parameter; ``holds``: what is in each storage of weights (see Target.holds).

        ``activations`` are the storages that the forward pass makes, while they are alive, and those of its inputs.
        """
        self._sizes = sizes
        self._holds = holds
        self._activations = activations
        self._computed: dict[int, Held] = {}
        """The same for storages that are computed of weights and buffers alone, while they are alive."""
        self._parts: set[int] = set()
        """Ids of views, which the recorder keeps alive, that leave out some of the elements."""

    def weights(self, info: OpInfo, args: Any, kwargs: dict[str, Any]) -> tuple[Weight | None, ...]:
        """Per entry of ``OpCall.inputs`` the parameter it is, shows or was computed of; None for an activation.

        Empty for an operation that multiplies and adds nothing up.
        """
        if info.name in NO_PRODUCTS:
            return ()
        return tuple([None if each is None else self._weight(each) for each in _operands(info, args, kwargs)])

    @property
    def any_computed(self) -> bool:
        return bool(self._computed)

    def view(self, args: Any, outputs: list[Tensor]) -> None:
        """An operation that only passed a view of a parameter on."""
        source = next(each for each in args if isinstance(each, Tensor))
        for tensor in outputs:
            if tensor.numel() < source.numel() or id(source) in self._parts:
                self._parts.add(id(tensor))

    def executed(self, info: OpInfo, args: Any, kwargs: dict[str, Any], outputs: list[Tensor]) -> None:
        """Any other operation: remember its results when they are computed of weights and buffers alone."""
        if info.inplace and not self._computed:
            return
        if not info.inplace and args and isinstance(args[0], Tensor) and not self._is_stored(args[0]):
            return
        operands = [tensor for tensor in _operands(info, args, kwargs) if tensor is not None]
        if operands and all(map(self._is_stored, operands)):
            name = self._stands_for(info, args, operands, outputs)
            for tensor in outputs:
                cdata = tensor.untyped_storage()._cdata
                if cdata not in self._holds:
                    self._computed[cdata] = Held(name, int(tensor.storage_offset()))
        elif info.inplace:
            for tensor in outputs:
                self.forget(tensor.untyped_storage()._cdata)

    def forget(self, cdata: int) -> None:
        """The storage is gone, or something else was written into it."""
        self._computed.pop(cdata, None)

    def _is_stored(self, tensor: Tensor) -> bool:
        """Whether its values are those of a weight or buffer, or computed of such alone."""
        cdata = tensor.untyped_storage()._cdata
        return cdata in self._holds or cdata in self._computed

    def _stands_for(self, info: OpInfo, args: Any, operands: list[Tensor], outputs: list[Tensor]) -> str:
        """The parameter whose zeros the results have; "" where nobody knows, CONSTANT where no weight is among them."""
        weights = [weight for weight in map(self._weight, operands) if weight is not None]
        if not weights or info.name.startswith(SHAPE_ONLY):
            return CONSTANT
        first = weights[0]
        whole = len(weights) == 1 and outputs[0].numel() == self._sizes.get(first.name)
        if not whole or first.scattered or info.inplace:
            return ""
        alone = len(operands) == 1
        scaled = info.name in ("mul", "div") and alone and args[-1] != 0
        masked = info.name == "mul" and not alone and MASKED.search(first.name) is not None
        return first.name if scaled or masked or info.name in SAME_ZEROS else ""

    def _weight(self, tensor: Tensor) -> Weight | None:
        cdata = tensor.untyped_storage()._cdata
        held = self._holds.get(cdata) or self._computed.get(cdata)
        if held is None:
            return None if cdata in self._activations else Weight("", tensor.numel())
        if held.name == CONSTANT:
            return None
        if not held.name:
            return Weight("", tensor.numel())
        elements = self._sizes[held.name]
        if tensor.numel() < elements and tensor.is_contiguous():
            first = tensor.storage_offset() - held.offset
            return Weight(f"{held.name}[{first}:{first + tensor.numel()}]", tensor.numel())
        return Weight(held.name, elements, tensor.numel() < elements or id(tensor) in self._parts)


def _operands(info: OpInfo, args: Any, kwargs: dict[str, Any]) -> list[Tensor | None]:
    """The tensor arguments in the order in which OpCall.inputs has their shapes, None for an absent one."""
    found: list[Tensor | None] = []
    for name, value in zip(info.arg_names, args, strict=False):
        if value is None and name in info.optional_tensors:
            found.append(None)
        else:
            _collect(value, found)
    for value in kwargs.values():
        _collect(value, found)
    return found


def _collect(value: Any, into: list[Tensor | None]) -> None:
    if isinstance(value, Tensor):
        into.append(value)
    elif isinstance(value, (list, tuple)):
        for part in value:
            _collect(part, into)
