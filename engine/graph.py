"""What a model is made of, as plain data: inputs, modules and executed operations.

Loaders and the tracer fill these; costs, results and the window read them. Sizes are elements, bytes are bytes.
"""

from __future__ import annotations

import math
from typing import TypeAlias

from msgspec import Struct

Shape: TypeAlias = tuple[int, ...]
AttributeValue: TypeAlias = bool | int | float | str | tuple[int, ...] | None
"""An attribute of a module or operation: ``kernel_size`` is ``(3, 3)``, ``padding`` may be ``"same"``."""

DTYPE_BYTES = {
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2,
    "int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint64": 8, "uint32": 4, "uint16": 2, "uint8": 1, "bool": 1,
    "complex64": 8, "complex128": 16,
}  # fmt: skip
"""Dtypes an input may have, with the bytes of one element."""


class InputShape(Struct, frozen=True):
    """One tensor input at one concrete shape."""

    name: str
    shape: Shape
    dtype: str = "float32"
    """``""`` in a request stands for the dtype that the model's own example has."""

    def __str__(self) -> str:
        text = "×".join(str(size) for size in self.shape) or "scalar"
        return text if self.dtype == "float32" else f"{text} {self.dtype}"


class Dim(Struct, frozen=True):
    """One dimension of an input and the range a slider offers for it.

    Dimensions with the same ``symbol`` move together (batch of two images, height of both).
    ``symbol`` is None for a size that the model's structure fixes, such as channels.
    """

    label: str
    """``batch``, ``channels``, ``height``, ``width``, ``frames``, ``sequence``, ``features`` or ``size``."""
    size: int
    symbol: str | None = None
    minimum: int = 1
    maximum: int = 1
    """Range that a slider offers at first: the usual sizes."""
    step: int = 1
    sum_of: tuple[str, ...] = ()
    """Symbols, or numbers, whose sum this size is: a mask is as long as the cache and the new tokens together."""

    @property
    def limit(self) -> int:
        """Largest size that can be asked for by typing it; a slider then reaches that far."""
        return 32 * self.maximum


class InputSpec(Struct, frozen=True):
    """A model input: its name, dtype and dimensions at their default sizes."""

    name: str
    dims: tuple[Dim, ...]
    dtype: str = "float32"

    @property
    def default(self) -> InputShape:
        return InputShape(self.name, tuple(dim.size for dim in self.dims), self.dtype)


class Assumption(Struct, frozen=True):
    """A size that depends on the data and was set to a stated value (proposals, detections)."""

    key: str
    label: str
    value: int
    minimum: int
    maximum: int


def elements(shape: Shape) -> int:
    """Number of elements of a shape; 1 for a scalar."""
    return math.prod(shape)


class OpCall(Struct):
    """One executed operation, as the tracer saw it; cost formulas are functions of this.

    Shapes are tuples; ``inputs`` holds the tensor arguments in schema order (None for an absent optional
    tensor, list arguments flattened in place), ``args`` all arguments by schema name with tensors replaced
    by their shapes (lists of tensors by tuples of shapes).
    """

    op: str
    """``conv2d``, ``add``: the aten name without namespace, overload and in-place underscore."""
    inputs: tuple[Shape | None, ...]
    outputs: tuple[Shape, ...]
    args: dict[str, object]
    input_bytes: int = 0
    """Bytes of all tensor arguments that are not parameters."""
    weight_bytes: int = 0
    output_bytes: int = 0
    inplace: bool = False
