"""The module tree of a model as columns, and edits applied to it in place and taken back."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from engine.edits import EDITABLE_FIELDS, Edit, RemoveLayer, SetAttribute
from engine.errors import InputError
from engine.graph import AttributeValue
from engine.results import Modules
from engine.self_editing import Removed, SelfEditing

CONVOLUTIONS = (
    nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
)  # fmt: skip
POOLS = (
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.LPPool1d, nn.LPPool2d,
)  # fmt: skip

DERIVED = ("_reversed_padding_repeated_twice",)
LARGEST = 1_000_000
"""Of a stride, padding, dilation or kernel size."""
LARGEST_WEIGHT = 2**50

HIDDEN_ATTRIBUTES = {"training", "inplace", "output_padding", "transposed", "track_running_stats", "momentum"}


class EditableModel:
    """A module with edits applied to it; ``apply`` moves from any set of edits to any other."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.edits: tuple[Edit, ...] = ()
        self.version = 0
        """Goes up with every change of the module."""
        self._undo: list[Callable[[], None]] = []

    def apply(self, edits: tuple[Edit, ...]) -> None:
        """Make ``edits`` the applied ones.

        Raises InputError for a layer, field or value that does not fit; then no edit is applied.
        """
        if edits == self.edits:
            return
        self.restore()
        try:
            for edit in edits:
                self._undo.append(_apply(self.module, edit))
        except BaseException:
            self.restore()
            raise
        self.edits = edits
        self.version += 1

    def restore(self) -> None:
        """Take every edit back."""
        while self._undo:
            self._undo.pop()()
        self.edits = ()
        self.version += 1


def _find(model: nn.Module, path: str) -> nn.Module:
    paths: dict[str, nn.Module] = dict(model.named_modules(remove_duplicate=False))
    paths.pop("", None)
    module = paths.get(path)
    if module is None:
        close = difflib.get_close_matches(path, paths, 3)
        raise InputError(
            f"The model has no layer {path!r}.",
            hint=f"Did you mean {', '.join(close)}?" if close else "Layer names are shown in the tree.",
            layer=path,
        )
    return module


def _apply(model: nn.Module, edit: Edit) -> Callable[[], None]:
    module = _find(model, edit.layer)
    if isinstance(edit, RemoveLayer):
        return _remove(model, edit.layer, module)
    return _set(model, module, edit)


def _remove(model: nn.Module, path: str, module: nn.Module) -> Callable[[], None]:
    parent_path, _, name = path.rpartition(".")
    parent = model.get_submodule(parent_path)
    parent._modules[name] = module.own_bypass(path) if isinstance(module, SelfEditing) else Removed(module)

    def undo() -> None:
        parent._modules[name] = module

    return undo


def editable_fields(module: nn.Module) -> tuple[str, ...]:
    """Fields of ``module`` that SetAttribute can change; empty for anything but convolutions and pools."""
    if isinstance(module, SelfEditing):
        return module.own_fields()
    if not isinstance(module, CONVOLUTIONS + POOLS):
        return ()
    return tuple(name for name in EDITABLE_FIELDS if hasattr(module, name))


def _set(model: nn.Module, module: nn.Module, edit: SetAttribute) -> Callable[[], None]:
    kind = type(module).__name__
    fields = editable_fields(module)
    if edit.field not in fields:
        hint = (
            f"Of {kind} these can: {', '.join(fields)}."
            if fields
            else "Convolutions and pools can be edited."
        )
        raise InputError(
            f"{edit.layer} is a {kind}; its {edit.field} cannot be set.", hint=hint, layer=edit.layer
        )
    rank = next((int(c) for c in kind if c.isdigit()), 2)
    value = _checked(edit, module, rank)
    if isinstance(module, SelfEditing):
        assert not isinstance(value, str)
        return module.own_set(edit.field, value)
    weight = module._parameters.get("weight")
    new_weight: nn.Parameter | None = None
    if edit.field == "kernel_size" and isinstance(module, CONVOLUTIONS) and isinstance(value, tuple):
        new_weight = _resized_weight(model, module, edit, value)
    before = {name: getattr(module, name) for name in (edit.field, *DERIVED) if hasattr(module, name)}

    def undo() -> None:
        for name, old in before.items():
            setattr(module, name, old)
        if weight is not None:
            module._parameters["weight"] = weight

    setattr(module, edit.field, value)
    if new_weight is not None:
        module._parameters["weight"] = new_weight
    if isinstance(module, CONVOLUTIONS):
        _refresh_padding(module)
    return undo


def _checked(edit: SetAttribute, module: nn.Module, rank: int) -> int | str | tuple[int, ...]:
    """The value as the module stores it: a tuple of ``rank`` for convolutions, whatever was given for pools."""
    value = edit.value
    where = f"{edit.layer}.{edit.field}"
    if isinstance(value, (str, float)):
        if edit.field == "padding" and value in ("same", "valid") and isinstance(module, CONVOLUTIONS[:3]):
            return value
        raise InputError(f"{where} cannot be {value!r}.", hint="Give whole numbers.", layer=edit.layer)
    numbers = value if isinstance(value, tuple) else (value,)
    least = 0 if edit.field == "padding" else 1
    if len(numbers) not in (1, rank):
        raise InputError(f"{where} takes 1 or {rank} numbers, not {len(numbers)}.", layer=edit.layer)
    if any(number < least or number > LARGEST for number in numbers):
        raise InputError(f"{where} must be {least} to {LARGEST:,}, not {edit.value}.", layer=edit.layer)
    if isinstance(module, CONVOLUTIONS) and len(numbers) == 1:
        return numbers * rank
    return numbers if len(numbers) > 1 else numbers[0]


def _resized_weight(
    model: nn.Module, module: nn.Module, edit: SetAttribute, kernel: tuple[int, ...]
) -> nn.Parameter:
    """The weight for a new kernel size. Raises InputError where the weight is not the layer's own plain parameter."""
    weight = module._parameters.get("weight")
    owners = [part for part in model.modules() if any(p is weight for p in part._parameters.values())]
    if weight is None or len(owners) != 1:
        raise InputError(
            f"{edit.layer}.kernel_size cannot be set: its weight is {'shared' if weight is not None else 'computed'}.",
            hint="Its stride, padding and dilation can.",
            layer=edit.layer,
        )
    shape = (*weight.shape[:2], *kernel)
    if math.prod(shape) > LARGEST_WEIGHT:
        raise InputError(f"{edit.layer} with a kernel of {kernel} has too many weights.", layer=edit.layer)
    new = torch.empty(shape, dtype=weight.dtype, device=weight.device)
    if not new.is_meta:
        # What happens to be in memory may be subnormal or not a number, and slow or wrong to compute with.
        fan_in = math.prod(shape[1:])
        with torch.no_grad():
            new.normal_(0.0, fan_in**-0.5, generator=torch.Generator(new.device).manual_seed(0))
    return nn.Parameter(new, requires_grad=weight.requires_grad)


def _refresh_padding(module: Any) -> None:
    """Bring what a convolution derives from its padding in line with it."""
    if getattr(module, "padding_mode", "zeros") != "zeros" and not isinstance(module.padding, str):
        module._reversed_padding_repeated_twice = [p for p in reversed(module.padding) for _ in (0, 1)]


# -- columns -----------------------------------------------------------------------------------------------------


def attributes_of(module: nn.Module) -> dict[str, AttributeValue]:
    """Constructor-like attributes of one module for the inspector, the constructor's order first."""
    if isinstance(module, SelfEditing):
        return module.own_attributes()
    found: dict[str, AttributeValue] = {}
    try:
        order = list(inspect.signature(type(module).__init__).parameters)
    except (TypeError, ValueError):
        order = []
    public = [name for name in vars(module) if not name.startswith("_") and name not in HIDDEN_ATTRIBUTES]
    for name in sorted(public, key=lambda n: order.index(n) if n in order else len(order)):
        value = vars(module)[name]
        if isinstance(value, (list, torch.Size)):
            value = tuple(value)
        if isinstance(value, tuple) and not all(type(part) is int for part in value):
            continue
        if isinstance(value, float) and not math.isfinite(value):
            continue
        if isinstance(value, (bool, int, float, str, tuple)):
            found[name] = value
    if "bias" in module._parameters:
        found["bias"] = module._parameters["bias"] is not None
    return found


class ModuleColumns:
    """The columns of ``Modules`` that do not depend on the input; made once per set of edits."""

    def __init__(self, model: nn.Module) -> None:
        self.path: list[str] = []
        self.class_name: list[str] = []
        self.parent: list[int] = []
        self.params: list[int] = []
        self.weight_bytes: list[int] = []
        self.removed: list[bool] = []
        self.attributes: list[dict[str, AttributeValue]] = []
        self.editable: list[tuple[str, ...]] = []
        self._own: list[tuple[Tensor, ...]] = []
        self._names: dict[int, str] = {}
        for name, parameter in model.named_parameters():
            self._names[id(parameter)] = name
        row_of: dict[str, int] = {}
        for path, module in model.named_modules():
            row_of[path] = len(self.path)
            parent = path.rpartition(".")[0] if path else None
            self.path.append(path)
            self.parent.append(-1 if parent is None else row_of.get(parent, 0))
            removed = isinstance(module, Removed)
            shown = module.original if removed else module
            self.class_name.append(type(shown).__name__)
            self.removed.append(removed)
            self.attributes.append(attributes_of(shown))
            self.editable.append(() if removed else editable_fields(module))
            tensors = tuple(module.parameters())
            self._own.append(tensors)
            self.params.append(sum(p.numel() for p in tensors))
            self.weight_bytes.append(sum(p.numel() * p.element_size() for p in tensors))

    def columns(self, calls: Mapping[str, int], untouched: Collection[str]) -> Modules:
        """With how often each module was called and the names of parameters that were not read."""
        if untouched:
            missing = [
                sum(p.numel() for p in tensors if self._names.get(id(p)) in untouched)
                for tensors in self._own
            ]
        else:
            missing = [0] * len(self.path)
        return Modules(
            path=tuple(self.path),
            class_name=tuple(self.class_name),
            parent=tuple(self.parent),
            calls=tuple(calls.get(path, 0) for path in self.path),
            params=tuple(self.params),
            weight_bytes=tuple(self.weight_bytes),
            untouched_params=tuple(missing),
            removed=tuple(self.removed),
            attributes=tuple(self.attributes),
            editable=tuple(self.editable),
        )
