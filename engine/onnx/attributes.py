"""Attributes of nodes: which an operator has, with their defaults, and which values an edit may give them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple, TypeGuard

from onnx import defs, helper

from engine.edits import FLAGS, Value
from engine.errors import InputError
from engine.graph import AttributeValue, Shape
from engine.onnx.graph import Node, StoredTensor

LARGEST = 1_000_000
"""Of a stride, padding, dilation or kernel size."""

WEIGHT_INPUT = {
    "Conv": 1, "ConvTranspose": 1, "ConvInteger": 1, "QLinearConv": 3, "FusedConv": 1, "NhwcConv": 1,
}  # fmt: skip
"""Convolutions whose kernel_shape and group are the shape of a weight: which input that is."""
SPATIAL = frozenset(
    {*WEIGHT_INPUT, "DeformConv", "MaxPool", "AveragePool", "LpPool", "MaxUnpool", "QLinearAveragePool"}
)
PER_DIMENSION = ("kernel_shape", "strides", "dilations", "output_padding")
FIRST = (*PER_DIMENSION[:2], "pads", "dilations", "auto_pad", "group", "ceil_mode", "count_include_pad")
"""Shown in this order; schemas have none."""
ALIASES = {
    "stride": "strides", "padding": "pads", "dilation": "dilations", "kernel_size": "kernel_shape",
    "groups": "group", "eps": "epsilon",
}  # fmt: skip
"""PyTorch's names of the same thing."""

TIED = frozenset(
    {
        "hidden_size", "layout", "num_scan_inputs", "scan_input_axes", "scan_output_axes", "scan_input_directions",
        "scan_output_directions", "to", "dtype", "output_dtype", "output_datatype", "stash_type", "precision",
        "softmax_precision", "storage_order", "block_size", "num_outputs",
    }
)  # fmt: skip
"""Fixed by the weights, the bodies or the element types around the node: another value alone fits nothing."""
TIED_OF = {("LSTM", "direction"), ("GRU", "direction"), ("RNN", "direction"), ("DeformConv", "kernel_shape"),
           ("DeformConv", "group"), ("Shape", "start"), ("Shape", "end")}  # fmt: skip
AT_LEAST = {"group": 1, "blocksize": 1, "size": 1, "p": 1, "num_groups": 1, "num_heads": 1}

_PADS = ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")
WORDS: dict[tuple[str, str], tuple[str, ...]] = {
    ("Pad", "mode"): ("constant", "reflect", "edge", "wrap"),
    ("Resize", "mode"): ("nearest", "linear", "cubic"),
    ("Upsample", "mode"): ("nearest", "linear"),
    ("GridSample", "mode"): ("linear", "nearest", "cubic", "bilinear", "bicubic"),
    ("GridSample", "padding_mode"): ("zeros", "border", "reflection"),
    ("DepthToSpace", "mode"): ("DCR", "CRD"),
    ("RoiAlign", "mode"): ("avg", "max"),
    ("RoiAlign", "coordinate_transformation_mode"): ("half_pixel", "output_half_pixel"),
    ("Resize", "coordinate_transformation_mode"): (
        "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric",
        "tf_half_pixel_for_nn", "tf_crop_and_resize",
    ),
    ("Resize", "nearest_mode"): ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"),
    ("Resize", "keep_aspect_ratio_policy"): ("stretch", "not_larger", "not_smaller"),
    ("Gelu", "approximate"): ("none", "tanh"),
    ("BitShift", "direction"): ("LEFT", "RIGHT"),
    ("ScatterElements", "reduction"): ("none", "add", "mul", "max", "min"),
    ("ScatterND", "reduction"): ("none", "add", "mul", "max", "min"),
}  # fmt: skip
"""Words that an attribute can be, from the operators' specification."""

_KINDS = {"INT": int, "FLOAT": float, "STRING": str, "INTS": tuple}
_KIND_WORDS = {
    int: "a whole number",
    float: "a number",
    str: "a word",
    tuple: "whole numbers, such as 1x1",
}


class Attribute(NamedTuple):
    """One attribute of an operator that an edit may set."""

    kind: type
    """int, float, str, or tuple for several whole numbers."""
    default: AttributeValue


@lru_cache(maxsize=4096)
def schema_attributes(op_type: str, domain: str, version: int) -> dict[str, Attribute] | None:
    """Scalar and list attributes of an operator, by name; None for one that onnx does not know."""
    try:
        schema = defs.get_schema(op_type, version, "" if domain == "ai.onnx" else domain)
    except defs.SchemaError:
        return None
    found = {}
    for name, attribute in schema.attributes.items():
        kind = _KINDS.get(str(attribute.type).rpartition(".")[2])
        if kind is not None:
            given = attribute.default_value
            default = helper.get_attribute_value(given) if given.name else None
            found[name] = Attribute(kind, default.decode() if isinstance(default, bytes) else default)
    return found


def attributes_of(node: Node, opsets: Mapping[str, int]) -> dict[str, Attribute]:
    """What the operator of ``node`` has; of an operator without a schema those that the node has."""
    domain = "" if node.domain == "ai.onnx" else node.domain
    known = schema_attributes(node.op_type, domain, opsets.get(domain, 1))
    if known is not None:
        return known
    return {
        name: Attribute(type(value), None)
        for name, value in node.attributes.items()
        if isinstance(value, (int, float, str)) or _is_ints(value)
    }


def editable_fields(node: Node, opsets: Mapping[str, int]) -> tuple[str, ...]:
    """Attributes of ``node`` that SetAttribute can change, in the order in which they are shown."""
    fields = (
        name for name in attributes_of(node, opsets) if not is_tied(node, name) and not _is_idle(node, name)
    )
    return tuple(sorted(fields, key=_order))


def is_tied(node: Node, name: str) -> bool:
    """Whether nothing but the value it has fits what is around the node."""
    return name in TIED or (node.op_type, name) in TIED_OF


def _is_idle(node: Node, name: str) -> bool:
    """Whether another attribute stands for this one: a rule for the padding replaces its numbers."""
    return (
        name == "pads"
        and name not in node.attributes
        and node.attributes.get("auto_pad", "NOTSET") != "NOTSET"
    )


def shown_attributes(
    node: Node, opsets: Mapping[str, int], stored: Mapping[str, StoredTensor]
) -> dict[str, AttributeValue]:
    """All attributes of ``node`` for eyes, defaults filled in; a kernel that only the weight tells is told."""
    rank = spatial_rank(node, stored)
    found: dict[str, AttributeValue] = {}
    for name, attribute in attributes_of(node, opsets).items():
        value = node.attributes.get(name, attribute.default)
        if value is None and rank and node.op_type in SPATIAL:
            value = _spatial_default(node, name, rank, stored)
        if value is not None and not _is_idle(node, name):
            found[name] = value
    for name, value in node.attributes.items():
        if name not in found and _is_shown(value):
            found[name] = value if not isinstance(value, tuple) else _words(value)
    return {name: found[name] for name in sorted(found, key=_order)}


def spatial_rank(node: Node, stored: Mapping[str, StoredTensor]) -> int:
    """Number of spatial dimensions of a convolution or pool; 0 where nothing tells."""
    if node.op_type not in SPATIAL:
        return 0
    for name in PER_DIMENSION:
        value = node.attributes.get(name)
        if _is_ints(value) and value:
            return len(value)
    weight = _weight(node, stored)
    return max(len(weight) - 2, 0) if weight is not None else 0


def _weight(node: Node, stored: Mapping[str, StoredTensor]) -> Shape | None:
    position = WEIGHT_INPUT.get(node.op_type)
    if position is None or position >= len(node.inputs):
        return None
    found = stored.get(node.inputs[position])
    return found.shape if found is not None else None


def _spatial_default(node: Node, name: str, rank: int, stored: Mapping[str, StoredTensor]) -> AttributeValue:
    if name in ("strides", "dilations"):
        return (1,) * rank
    if name == "pads":
        return (0,) * (2 * rank)
    if name == "output_padding":
        return (0,) * rank
    weight = _weight(node, stored)
    return weight[2:] if name == "kernel_shape" and weight is not None else None


def _order(name: str) -> tuple[int, str]:
    return (FIRST.index(name) if name in FIRST else len(FIRST), name)


def _is_ints(value: object) -> TypeGuard[tuple[int, ...]]:
    return isinstance(value, tuple) and all(type(each) is int for each in value)


def _is_shown(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, (int, str)) or (
        isinstance(value, tuple) and all(isinstance(each, (int, float, str)) for each in value)
    )


def _words(value: tuple[Any, ...]) -> AttributeValue:
    return (
        value
        if _is_ints(value)
        else ", ".join(f"{each:g}" if type(each) is float else str(each) for each in value)
    )


# -- values that an edit gives -----------------------------------------------------------------------------------


def resolve(node: Node, field: str, value: Value, opsets: Mapping[str, int]) -> tuple[str, Value]:
    """``field`` and ``value`` in ONNX's words where they are PyTorch's: ``padding=same`` is an ``auto_pad``."""
    has = attributes_of(node, opsets)
    if field in has:
        return field, value
    if field == "padding" and value in ("same", "valid") and "auto_pad" in has:
        return "auto_pad", "SAME_UPPER" if value == "same" else "VALID"
    other = ALIASES.get(field, field)
    return (other if other in has else field), value


def checked(node: Node, field: str, value: Value, opsets: Mapping[str, int], rank: int) -> Value:
    """``value`` as the attribute stores it, one number spread over the ``rank`` dimensions.

    Raises InputError for a field that the operator has not, and a value that it cannot have.
    """
    has = attributes_of(node, opsets)
    where = f"{node.path}.{field}"
    attribute = has.get(field)
    if attribute is None or is_tied(node, field):
        fields = ", ".join(editable_fields(node, opsets))
        raise InputError(
            f"{node.path} is a {node.label}; its {field} cannot be set.",
            hint=f"Of this {node.label} these can: {fields}." if fields else "It has nothing to set.",
            layer=node.path,
        )
    if attribute.kind is tuple:
        return _checked_numbers(node, field, value, rank)
    if attribute.kind is float and type(value) is int:
        value = float(value)
    if type(value) is not attribute.kind or (isinstance(value, float) and not math.isfinite(value)):
        raise InputError(
            f"{where} must be {_KIND_WORDS[attribute.kind]}, not {_text(value)}.", layer=node.path
        )
    words = _PADS if field == "auto_pad" else WORDS.get((node.op_type, field))
    if isinstance(value, str) and words and value not in words:
        raise InputError(
            f"{where} cannot be {value!r}.", hint=f"It can be {', '.join(words)}.", layer=node.path
        )
    if isinstance(value, int) and not _in_range(field, value):
        least = "0 or 1" if field in FLAGS else f"{AT_LEAST.get(field, -(2**31)):,} to {2**31 - 1:,}"
        raise InputError(f"{where} must be {least}, not {value}.", layer=node.path)
    return value


def _in_range(field: str, value: int) -> bool:
    if field in FLAGS:
        return value in (0, 1)
    return AT_LEAST.get(field, -(2**31)) <= value < 2**31


def _checked_numbers(node: Node, field: str, value: Value, rank: int) -> Value:
    where = f"{node.path}.{field}"
    given = value if isinstance(value, tuple) else (value,)
    numbers = tuple(each for each in given if type(each) is int)
    if len(numbers) != len(given):
        raise InputError(
            f"{where} must be whole numbers, not {_text(value)}.", hint="Write 2 or 2x1.", layer=node.path
        )
    if field == "perm":
        return _permutation(node, numbers)
    if node.op_type not in SPATIAL or not (field in PER_DIMENSION or field == "pads"):
        return numbers
    least = 0 if field in ("pads", "output_padding") else 1
    if any(not least <= number <= LARGEST for number in numbers):
        raise InputError(f"{where} must be {least} to {LARGEST:,}, not {_text(value)}.", layer=node.path)
    return _spread(node, field, numbers, rank)


def _spread(node: Node, field: str, numbers: tuple[int, ...], rank: int) -> tuple[int, ...]:
    """One number for all dimensions; of pads also one per dimension, for both of its ends."""
    wanted = 2 * rank if field == "pads" else rank
    if not rank or len(numbers) == wanted:
        return numbers
    if len(numbers) == 1:
        return numbers * wanted
    if field == "pads" and len(numbers) == rank:
        return numbers * 2
    counts = sorted({1, rank, wanted})
    words = " or ".join(filter(None, (", ".join(map(str, counts[:-1])), str(counts[-1]))))
    raise InputError(f"{node.path}.{field} takes {words} numbers, not {len(numbers)}.", layer=node.path)


def _permutation(node: Node, numbers: tuple[int, ...]) -> tuple[int, ...]:
    before = node.attributes.get("perm")
    length = len(before) if isinstance(before, tuple) else len(numbers)
    if sorted(numbers) != list(range(length)):
        raise InputError(
            f"{node.path}.perm must be the numbers 0 to {length - 1} in some order, not {_text(numbers)}.",
            layer=node.path,
        )
    return numbers


def _text(value: object) -> str:
    return (
        "x".join(map(str, value))
        if isinstance(value, tuple)
        else repr(value)
        if isinstance(value, str)
        else str(value)
    )
