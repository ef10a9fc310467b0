"""Which fields an attribute is edited with: what kind, how many, what they may say. Pure; no Qt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from engine.edits import FLAGS, Value, attribute_text, parse_value
from engine.errors import InputError
from engine.graph import AttributeValue

Kind: TypeAlias = Literal["numbers", "flag", "words", "line"]

LARGEST = 4096
"""A larger number is typed into a line."""
MOST_ACROSS = 3
"""More numbers than this do not fit beside each other; they are typed into one line."""
ENDS = "pads"
"""Has the padding at the beginning of every axis, then that at its end."""
CHOICES: dict[str, tuple[tuple[str, ...], ...]] = {
    "padding": (("valid", "same"),),
    "auto_pad": (("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"),),
    "approximate": (("none", "tanh"),),
    "direction": (("LEFT", "RIGHT"), ("forward", "reverse", "bidirectional")),
    "reduction": (("none", "add", "mul", "max", "min"),),
    "nearest_mode": (("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"),),
    "keep_aspect_ratio_policy": (("stretch", "not_larger", "not_smaller"),),
    "padding_mode": (("zeros", "border", "reflection"),),
    "coordinate_transformation_mode": (
        (
            "half_pixel",
            "half_pixel_symmetric",
            "pytorch_half_pixel",
            "align_corners",
            "asymmetric",
            "tf_half_pixel_for_nn",
            "tf_crop_and_resize",
        ),
        ("half_pixel", "output_half_pixel"),
    ),
}
"""All the words that a field can be, per kind of operator that has it."""
TYPED_TOO = "padding"
"""A field of PyTorch's that is a word or numbers."""
AT_LEAST_ONE = frozenset(
    {
        "stride", "strides", "dilation", "dilations", "kernel_size", "kernel_shape", "group", "blocksize", "size",
        "p", "num_groups", "num_heads",
    }
)  # fmt: skip
AT_LEAST_ZERO = frozenset({"padding", "pads", "output_padding"})


@dataclass(frozen=True)
class Form:
    """The same for two layers whose attribute is edited with the same fields."""

    kind: Kind
    rows: tuple[int, ...] = (1,)
    """Number of fields in each row."""
    least: int = -LARGEST
    words: tuple[str, ...] = ()
    """All that can be chosen; empty where a word is typed."""


def form_of(field: str, value: AttributeValue) -> Form:
    """The fields for ``value``, which an editor :func:`can show <is_shown>`."""
    if isinstance(value, str):
        return Form("words", words=_words(field, value)) if field in CHOICES else Form("line")
    if isinstance(value, int):
        if field in FLAGS and value in (0, 1):
            return Form("flag")
        return Form("numbers", least=_least(field, (value,))) if abs(value) <= LARGEST else Form("line")
    if isinstance(value, tuple) and value and all(abs(each) <= LARGEST for each in value):
        rows = _rows(field, len(value))
        if max(rows) <= MOST_ACROSS:
            return Form("numbers", rows, _least(field, value))
    return Form("line")


def is_shown(value: AttributeValue) -> bool:
    """Whether there are fields for such a value."""
    return isinstance(value, int | float | str | tuple) and not isinstance(value, bool)


def row_label(field: str, rows: int, row: int) -> str:
    """What stands before a row of several: ``begin``, ``end``."""
    return ("begin", "end")[row] if field == ENDS and rows == 2 else ""


def line_text(value: AttributeValue) -> str:
    """``value`` as it is typed: ``1e-05``, ``0, 0, 1``."""
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    # A float of ONNX has 32 bits: 1e-05 is stored as 9.99999974e-06.
    return f"{value:.7g}" if isinstance(value, float) else attribute_text(value)


def parsed(text: str, like: AttributeValue, field: str) -> Value:
    """What was typed, as a value of the kind of ``like``. InputError for what is none."""
    if field == TYPED_TOO:
        return parse_value(text, where=field)
    if isinstance(like, str):
        return text.strip()
    try:
        if isinstance(like, float):
            return float(text)
        numbers = tuple(int(part) for part in text.replace("×", ",").replace(",", " ").split())
    except ValueError as error:
        raise InputError(f"{field}: {text!r} is no number.", hint="Write 2, 0.5 or 0, 1, 2.") from error
    if isinstance(like, tuple):
        return numbers
    if len(numbers) != 1:
        raise InputError(f"{field}: {text!r} is not one whole number.", hint="Write 2.")
    return numbers[0]


def _words(field: str, value: str) -> tuple[str, ...]:
    """The list that has ``value``; a value of no list stands before the first."""
    lists = CHOICES[field]
    return next((words for words in lists if value in words), (value, *lists[0]))


def _rows(field: str, count: int) -> tuple[int, ...]:
    return (count // 2, count // 2) if field == ENDS and count % 2 == 0 else (count,)


def _least(field: str, values: tuple[int, ...]) -> int:
    """The least number that the fields take; what the file has already can always be shown."""
    least = 1 if field in AT_LEAST_ONE else 0 if field in AT_LEAST_ZERO else -LARGEST
    return least if min(values) >= least else -LARGEST
