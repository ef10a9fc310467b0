"""Edits of a model: what the user changed, as plain data that can be undone, sent, saved and shown as Python."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TypeAlias

from msgspec import Struct

from engine.errors import InputError
from engine.graph import AttributeValue

EDITABLE_FIELDS = ("stride", "padding", "dilation", "kernel_size")
"""Fields of PyTorch's convolutions and pools that :class:`SetAttribute` can change; ONNX nodes have their own."""

FLAGS = frozenset(
    {
        "ceil_mode", "count_include_pad", "keepdims", "align_corners", "allowzero", "antialias", "exclude_outside",
        "exclusive", "reverse", "fmod", "is_causal", "largest", "sorted", "noop_with_empty_axes", "onesided",
        "inverse", "select_last_index", "transA", "transB", "upper", "training_mode", "detect_negative",
        "detect_positive", "center_point_box", "linear_before_reset", "input_forget", "interleaved", "saturate",
        "periodic",
    }
)  # fmt: skip
"""Attributes of ONNX nodes that are 0 or 1."""

RESHAPING = {
    "kernel_size": "kernel", "kernel_shape": "kernel", "group": "number of groups", "groups": "number of groups",
}  # fmt: skip
"""Fields that give a convolution's weight another shape, and what they are called."""

Value: TypeAlias = int | float | str | tuple[int, ...]


class RemoveLayer(Struct, frozen=True, tag="remove"):
    """Replace the module at ``layer`` by identity."""

    layer: str


class SetAttribute(Struct, frozen=True, tag="set"):
    """Set one field of the module at ``layer``."""

    layer: str
    field: str
    value: Value


Edit: TypeAlias = RemoveLayer | SetAttribute


def python_path(layer: str) -> str:
    """``layer1.0.conv1`` as Python source: ``model.layer1[0].conv1``."""
    parts = ["model"]
    for name in layer.split("."):
        if name.isdigit():
            parts.append(f"[{name}]")
        elif name.isidentifier():
            parts.append(f".{name}")
        else:
            parts.append(f".get_submodule({name!r})")
    return "".join(parts)


def python_lines(edits: tuple[Edit, ...], convolutions: Collection[str] = ()) -> list[str]:
    """The edits as lines of Python that do the same to a module called ``model``.

    ``convolutions`` are the layers whose kernel size is the shape of a weight, which then needs a new one.
    """
    lines = []
    for edit in edits:
        target = python_path(edit.layer)
        if isinstance(edit, RemoveLayer):
            if target.endswith(")"):
                lines.append(f"model.set_submodule({edit.layer!r}, nn.Identity())")
            else:
                lines.append(f"{target} = nn.Identity()")
        else:
            lines.append(f"{target}.{edit.field} = {edit.value!r}")
            if edit.field == "kernel_size" and edit.layer in convolutions:
                lines.append(_new_weight(target, edit.value))
    return lines


def _new_weight(target: str, kernel: Value) -> str:
    sizes = "*" + repr(kernel) if isinstance(kernel, tuple) else f"*[{kernel}] * ({target}.weight.dim() - 2)"
    return f"{target}.weight = nn.Parameter(torch.empty(*{target}.weight.shape[:2], {sizes}))"


def add_edit(edits: tuple[Edit, ...], new: Edit) -> tuple[Edit, ...]:
    """``edits`` with ``new`` on top; an earlier edit of the same field (or of a removed layer) gives way."""

    def survives(old: Edit) -> bool:
        if isinstance(new, RemoveLayer):
            return old.layer != new.layer and not old.layer.startswith(new.layer + ".")
        return not (isinstance(old, SetAttribute) and old.layer == new.layer and old.field == new.field)

    return (*filter(survives, edits), new)


def new_weights(edits: tuple[Edit, ...], convolutions: Collection[str]) -> dict[str, str]:
    """Layers whose weights have other shapes after ``edits``, and so no values, each with a sentence that says so.

    ``convolutions`` are the layers whose kernel and groups are the shape of a weight.
    """
    why: dict[str, list[str]] = {}
    for edit in edits:
        if isinstance(edit, SetAttribute) and edit.field in RESHAPING and edit.layer in convolutions:
            why.setdefault(edit.layer, []).append(RESHAPING[edit.field])
    return {
        layer: f"The weights of {layer} are new and random: its {' and '.join(what)} changed."
        for layer, what in why.items()
    }


def parse_set(text: str, *, any_field: bool = False) -> SetAttribute:
    """``layer2.0.conv2.stride=1`` or ``conv1.kernel_size=3x3`` as an edit.

    ``any_field``: the layers have others than EDITABLE_FIELDS, and values that are words and decimal numbers.
    Raises InputError when the text has no field, no value, or a field that cannot be edited.
    """
    target, separator, value = text.partition("=")
    layer, dot, field = target.strip().rpartition(".")
    if not separator or not dot or not layer or not value.strip():
        raise InputError(
            f"--set {text!r} is not LAYER.FIELD=VALUE.", hint="For example: --set layer2.0.conv2.stride=1"
        )
    if any_field:
        return SetAttribute(layer, field, parse_any(value))
    if field not in EDITABLE_FIELDS:
        raise InputError(
            f"--set {text!r}: the field {field!r} cannot be edited.",
            hint=f"Fields that can: {', '.join(EDITABLE_FIELDS)}.",
        )
    return SetAttribute(layer, field, parse_value(value, where=f"--set {text!r}"))


def parse_any(text: str) -> Value:
    """``2``, ``2x1``, ``1e-5`` or a word as an attribute value: what is no number is a word."""
    try:
        return parse_value(text, where="")
    except InputError:
        pass
    try:
        return float(text)
    except ValueError:
        return text.strip()


def parse_value(text: str, where: str) -> int | str | tuple[int, ...]:
    """``2``, ``2x1``, ``(2, 1)``, ``same`` or ``valid`` as an attribute value; ``where`` opens the error sentence."""
    text = text.strip()
    if text in ("same", "valid"):
        return text
    parts = [part for part in re.split(r"[x×,]", text.strip("()[] ")) if part.strip()]
    try:
        numbers = tuple(int(part) for part in parts)
    except ValueError:
        numbers = ()
    if not numbers:
        raise InputError(
            f"{where}: {text!r} is not a whole number or a list of them.", hint="Write 2 or 2x1."
        )
    return numbers[0] if len(numbers) == 1 else numbers


def attribute_text(value: AttributeValue) -> str:
    """An attribute value for eyes: ``3 × 3``, ``1``, ``same``, ``—`` for None."""
    if value is None:
        return "—"
    if isinstance(value, tuple):
        return " × ".join(str(part) for part in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
