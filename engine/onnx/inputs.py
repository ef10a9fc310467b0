"""The inputs of a graph as specs: symbolic and missing dimensions get a slider, and so do fixed ones."""

from __future__ import annotations

import onnx

from engine.graph import InputSpec
from engine.input_specs import guess_labels, make_spec
from engine.onnx.document import Document
from engine.onnx.dtypes import dtype_name

DEFAULTS = {"batch": 1, "height": 224, "width": 224, "sequence": 128, "channels": 3, "frames": 16}
"""Sizes of dimensions that the file leaves open."""


def input_specs(document: Document) -> tuple[InputSpec, ...]:
    """One spec per input that is no initializer."""
    symbols: dict[str, int] = {}
    given = set(document.graph.inputs)
    return tuple(_spec(each, symbols) for each in document.model.graph.input if each.name in given)


def _spec(value: onnx.ValueInfoProto, symbols: dict[str, int]) -> InputSpec:
    tensor = value.type.tensor_type
    dtype = dtype_name(tensor.elem_type)
    sizes = tuple(dim.dim_value for dim in tensor.shape.dim)
    labels = guess_labels(sizes, not dtype.startswith(("float", "bfloat")))
    shape = tuple(size or DEFAULTS.get(label, 1) for size, label in zip(sizes, labels, strict=True))
    return make_spec(value.name, shape, dtype, labels, symbols)
