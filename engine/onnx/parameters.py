"""Which stored tensors are parameters: weights that were trained, rather than sizes, axes, statistics and masks.

ONNX does not say it: an initializer is a weight, a shape, an axis, a scale or a mask alike. What tells them apart, in
this order:

1. *Where it is read.* The second input of a ``Conv`` is a weight; the fourth of a ``BatchNormalization`` is a statistic
   (a buffer); scales, zero points, sizes, bounds of ``Clip`` and initial states are constants. Any other operand
   (``Add``, ``MatMul``, ``Concat`` …) may be one. What is computed from it once, before any forward pass (transposed,
   cast, dequantised …), is read in its place.
   Where torch.export's exporter wrote beside a tensor what it is, that holds; so do the names of PyTorch's buffers.
2. *What it is.* Floating point; integers only as quantised weights: packed 4-bit weights count the elements they stand
   for. An operand of one element is a constant (``1/sqrt(d)``, ``eps``), unless its name is that of a module's tensor
   or the exporter marked it as a parameter.
   Nor are tensors that stand in the code of an exported PyTorch model (means of colours, anchors). The one number that
   is added to the one column of a product with a weight is its bias.
3. *Its values*, where neither tells: an operand under a name that the exporter made up, of at most two distinct
   values, is a mask, and under any name one of 0 and a large negative number. Other computed tables (a bias that was
   gathered from a trained one) count as parameters.

A tensor that several nodes read counts once, also through ``Identity`` nodes: that is how an exporter writes tensors
that it found to be identical.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Literal, NamedTuple, TypeAlias

import numpy

from engine.onnx.computed import Computed
from engine.onnx.graph import Array, Graph, Node, StoredTensor
from engine.onnx.packed import packed_elements
from engine.onnx.slots import slot_of, takes_quantised, zero_point_of

Role: TypeAlias = Literal["parameter", "buffer", "constant"]
Values: TypeAlias = Callable[[str], Array | None]

FLOATS = frozenset({"float32", "float16", "bfloat16", "float64"})
QUANTISED = frozenset({
    "int8", "uint8", "int16", "uint16", "int4", "uint4", "int2", "uint2", "int32", "float8_e4m3fn", "float8_e4m3fnuz",
    "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0", "float4_e2m1",
})  # fmt: skip
"""Types a quantised weight or bias can have."""

SAME_TENSOR = frozenset({
    "Identity", "Cast", "CastLike", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "DequantizeLinear",
    "Expand",
})  # fmt: skip
"""Of a stored tensor these make the same one in another layout, type or with repeated elements."""
PARTS = frozenset({"Slice", "Split", "Gather", "Concat", "Tile", "Pad"})
"""And these a part of one, or several joined."""

MASKING = frozenset({"Add", "Sub", "Mul", "Where", "Min", "Max"})
"""Operators that masks are applied by, beside those that have an input for one."""
MASK_BYTES = 4_194_304
"""Larger tables are not looked into: a mask over 1,024 positions in float32."""
HIDDEN = -100.0
"""At most this is added to a score that shall not count: Swin's masks hold -100, others -10,000 or less."""
TABLES = QUANTISED - {"int32"}
"""Types of a quantised table of embeddings; wider integers are indices."""

_IN_ATTRIBUTES = {
    "LinearRegressor": ("coefficients", "intercepts"), "LinearClassifier": ("coefficients", "intercepts"),
    "SVMRegressor": ("support_vectors", "coefficients", "rho"),
    "SVMClassifier": ("support_vectors", "coefficients", "rho"),
}  # fmt: skip
"""Of ``ai.onnx.ml``: what was trained stands in attributes."""

_MADE_UP = re.compile(
    r"onnx::|_?val_\d|\d+$|/|.*_output_\d+$|.*const|scalar_tensor|.*:\d+$|(arange|expand|unsqueeze|index|view|slice|add"
    r"|mul|sub|masked_fill|where|full|zeros|ones|transpose|permute|clone|to|cat|stack)(_\w*?)?\d*$",
    re.IGNORECASE,
)
"""Names that exporters give to tensors that they computed or that have no name in the model."""
PARAMETER, BUFFER = "PARAMETER", "BUFFER"
"""What torch.export's exporter says a tensor is; anything else is a constant."""
_BUFFER = re.compile(
    r"\.(?:running_mean|running_var|num_batches_tracked|inv_freq|original_inv_freq|(?:cos|sin)_cached?)$"
)
"""Names of buffers in PyTorch models."""
_LITERAL = re.compile(r"(?:.*/)?Constant(?:_\d+)?_output_0$")
"""Names of tensors that are written in the code of a PyTorch model: its parameters are initializers."""
_MODULE_TENSOR = re.compile(r"[^\W\d][^\s./:]*(?:\.[^\s./:]+)+$")
"""``layer1.0.conv1.weight``."""


class Origin(NamedTuple):
    """A stored tensor that a fixed value was made of."""

    name: str
    direct: bool = True
    """Whether by layout, type and parts alone, without arithmetic."""
    dequantised: bool = False
    whole: bool = True
    """Whether all of it, and nothing else: no part, and not joined with others."""


class Use(NamedTuple):
    """A stored tensor that a node reads, itself or what was computed from it once."""

    name: str
    position: int
    role: Role


class Parameter(NamedTuple):
    """One that counts. ``bytes`` at the type it is stored in; packed weights count the elements they stand for."""

    elements: int
    bytes: int
    dtype: str


def is_made_up(name: str) -> bool:
    """Whether an exporter gave this name, rather than the model."""
    return _MADE_UP.match(name) is not None


def owner(name: str) -> str:
    """The layer that a tensor belongs to by its name: ``layer1.0.conv1`` of ``layer1.0.conv1.weight``; else empty."""
    return name.rpartition(".")[0] if _MODULE_TENSOR.match(name) else ""


class Tensors:
    """The stored tensors of a model by role, and which node reads which."""

    def __init__(
        self,
        graph: Graph,
        once: Computed,
        marked: Mapping[str, str] | None = None,
        values: Values = lambda name: None,
    ) -> None:
        """``marked`` is what the exporter says a tensor is, by name; ``values`` reads a tensor, as far as it can."""
        self._computed = once
        self._marked = marked or {}
        self._values = values
        self._origins: dict[str, tuple[Origin, ...]] = {}
        self._masks: dict[str, bool] = {}
        self._products = {
            node.outputs[0]: node for node in graph.walk() if node.op_type == "MatMul" and node.outputs
        }
        self.stored: dict[str, StoredTensor] = {}
        self._generated(graph)
        for each in graph.graphs():
            self.stored.update(each.stored)
        self.roles: dict[str, Role] = {}
        self.packed: dict[str, int] = {}
        """Elements that packed weights stand for."""
        self.in_attributes: dict[str, tuple[str, ...]] = {}
        """By node name, parameters that are attributes of the node, under names made up for them."""
        self.shifted: set[str] = set()
        """Quantised weights of which a stored 0 is not the number 0, as far as is known."""
        self.uses: dict[str, tuple[Use, ...]] = {}
        """By node name; nodes that are computed once are not there."""
        for node in graph.walk():
            if node.name not in once.once_names:
                found = (*self._uses(node), *self._attributes(node))
                if found:
                    self.uses[node.name] = found
        self._unread(graph)

    def origins(self, value: str) -> tuple[Origin, ...]:
        """The stored tensors that the fixed value is made of; none for any other."""
        known = self._origins.get(value)
        if known is not None:
            return known
        # An explicit stack: chains of constants can be longer than Python's own.
        stack = [value]
        while stack:
            name = stack[-1]
            node = self._computed.once.get(name)
            if name in self._origins:
                stack.pop()
            elif node is None or name in self.stored:
                self._origins[name] = (Origin(name),) if name in self.stored else ()
                stack.pop()
            else:
                inputs = self._data_inputs(node)
                missing = [each for each in inputs if each not in self._origins]
                if missing:
                    stack.extend(missing)
                else:
                    self._origins[name] = self._joined(node, inputs)
                    stack.pop()
        return self._origins[value]

    def parameters(self) -> dict[str, Parameter]:
        """Every parameter by the name of its stored tensor, in the order of the file."""
        return {name: self._parameter(name) for name in self.stored if self.roles.get(name) == "parameter"}

    def buffers(self) -> dict[str, StoredTensor]:
        return {name: self.stored[name] for name, role in self.roles.items() if role == "buffer"}

    def _parameter(self, name: str) -> Parameter:
        stored = self.stored[name]
        return Parameter(self.packed.get(name, math.prod(stored.shape)), stored.bytes, stored.dtype)

    def _generated(self, graph: Graph) -> None:
        """Weights that were taken out of a model: ``ConstantOfShape`` of ``conv1_w_0__SHAPE`` gives ``conv1_w_0``."""
        for node in graph.nodes:
            if node.op_type == "ConstantOfShape" and node.inputs == tuple(
                f"{each}__SHAPE" for each in node.outputs[:1]
            ):
                shape = graph.constants.get(node.inputs[0])
                if shape is not None:
                    name = node.outputs[0]
                    value = node.attributes.get("value")
                    dtype = str(value.dtype) if isinstance(value, numpy.ndarray) else "float32"
                    self.stored[name] = StoredTensor(name, dtype, tuple(int(size) for size in shape))

    def _data_inputs(self, node: Node) -> tuple[str, ...]:
        if node.op_type in SAME_TENSOR or (node.op_type in PARTS and node.op_type != "Concat"):
            return node.inputs[:1]
        return tuple(name for name in node.inputs if name)

    def _joined(self, node: Node, inputs: tuple[str, ...]) -> tuple[Origin, ...]:
        found: dict[str, Origin] = {}
        direct = node.op_type in SAME_TENSOR or node.op_type in PARTS
        for name in inputs:
            for origin in self._origins[name]:
                dequantised = origin.dequantised or node.op_type == "DequantizeLinear"
                if node.op_type == "DequantizeLinear" and self._is_shifted(node, 2):
                    self.shifted.add(origin.name)
                found.setdefault(
                    origin.name,
                    Origin(
                        origin.name,
                        origin.direct and direct,
                        dequantised,
                        origin.whole and node.op_type not in PARTS,
                    ),
                )
        return tuple(found.values())

    def _uses(self, node: Node) -> Iterator[Use]:
        seen: set[str] = set()
        for position, name in enumerate(node.inputs):
            if name not in self._computed.fixed:
                continue
            for origin in self.origins(name):
                role = self._role(node, position, origin)
                if self.roles.get(origin.name) in (None, "constant"):
                    self.roles[origin.name] = role
                if origin.name not in seen:
                    seen.add(origin.name)
                    yield Use(origin.name, position, role)

    def _attributes(self, node: Node) -> Iterator[Use]:
        """Parameters that a classical model holds in attributes of its node: lists of float32."""
        if node.domain != "ai.onnx.ml":
            return
        for attribute in _IN_ATTRIBUTES.get(node.op_type, ()):
            values = node.attributes.get(attribute)
            if isinstance(values, tuple) and values:
                # With a space: no name of a tensor in a module, so no layer is named after it.
                name = f"{node.name} {attribute}"
                self.stored[name] = StoredTensor(name, "float32", (len(values),))
                self.roles[name] = "parameter"
                self.in_attributes[node.name] = (*self.in_attributes.get(node.name, ()), name)
                yield Use(name, len(node.inputs), "parameter")

    def _role(self, node: Node, position: int, origin: Origin) -> Role:
        slot = slot_of(node, position)
        stored = self.stored[origin.name]
        if slot == "none":
            return "constant"
        if slot == "buffer":
            return "buffer"
        if slot == "packed":
            shape = self._values(node.inputs[2]) if node.op_type == "MatMulFpQ4" else None
            self.packed[stored.name] = packed_elements(node, position, stored, shape)
            return "parameter"
        if stored.dtype not in FLOATS:
            return self._integer_role(node, position, origin)
        marked = self._marked.get(origin.name, "")
        if marked == BUFFER or (not marked and _BUFFER.search(origin.name)):
            return "buffer"
        if marked == PARAMETER or (slot in ("weight", "quantised", "table") and origin.direct):
            return "parameter"
        if math.prod(stored.shape) <= 1:
            return "parameter" if owner(origin.name) or self._is_only_bias(node, stored) else "constant"
        if marked or _LITERAL.match(stored.name):
            return "constant"
        masks = slot == "mask" or node.op_type in MASKING
        if masks and not is_made_up(origin.name) and self._hides(stored):
            return "constant"
        could_be_mask = is_made_up(origin.name) and (masks or not origin.direct)
        return "constant" if could_be_mask and self._is_mask(stored) else "parameter"

    def _integer_role(self, node: Node, position: int, origin: Origin) -> Role:
        """Of a tensor of integers: a parameter only as a quantised weight."""
        stored = self.stored[origin.name]
        if origin.dequantised:
            return "parameter" if stored.dtype in QUANTISED else "constant"
        if slot_of(node, position) == "table":
            # Rows are turned into real numbers after the look-up, with a zero point that stands there.
            is_weight = stored.dtype in TABLES and len(stored.shape) > 1
            if is_weight:
                self.shifted.add(stored.name)
            return "parameter" if is_weight else "constant"
        if not takes_quantised(node, position):
            return "constant"
        if self._is_shifted(node, zero_point_of(node, position)):
            self.shifted.add(stored.name)
        return "parameter" if stored.dtype in QUANTISED else "constant"

    def _is_only_bias(self, node: Node, stored: StoredTensor) -> bool:
        """Whether this is the one number that is added to the one column of a product with a weight."""
        if node.op_type != "Add" or stored.shape != (1,):
            return False
        return any(
            self._makes_one_column(self._products[name]) for name in node.inputs if name in self._products
        )

    def _makes_one_column(self, product: Node) -> bool:
        weight = product.inputs[1] if len(product.inputs) > 1 else ""
        origins = self.origins(weight) if weight in self._computed.fixed else ()
        if len(origins) != 1 or not origins[0].direct:
            return False
        shape = self.stored[origins[0].name].shape
        # A weight may be stored transposed.
        return len(shape) > 1 and (shape[-1] == 1 if weight in self.stored else 1 in shape)

    def _is_shifted(self, node: Node, position: int) -> bool:
        """Whether the zero point at ``position`` is other than 0, or not known."""
        name = node.inputs[position] if 0 < position < len(node.inputs) else ""
        if not name:
            return False
        array = self._values(name)
        return array is None or bool(numpy.any(array))

    def _is_mask(self, stored: StoredTensor) -> bool:
        """Whether a table without a name of its own holds at most two distinct values."""
        if stored.bytes > MASK_BYTES:
            return False
        if stored.name not in self._masks:
            array = self._values(stored.name)
            self._masks[stored.name] = array is not None and has_two_values(array)
        return self._masks[stored.name]

    def _hides(self, stored: StoredTensor) -> bool:
        """Whether a table of any name holds nothing but 0 and one number that no score outweighs."""
        array = self._values(stored.name) if stored.bytes <= MASK_BYTES else None
        if array is None or not array.size or not has_two_values(array):
            return False
        return bool(array.max() == 0 and array.min() <= HIDDEN)

    def _unread(self, graph: Graph) -> None:
        """Stored tensors that nothing reads are parameters that the pass does not touch, where they look like one."""
        read = {name for node in graph.walk() for name in node.inputs} | set(graph.outputs)
        for name, stored in graph.stored.items():
            if name not in read and stored.dtype in FLOATS and math.prod(stored.shape) > 1:
                self.roles[name] = "buffer" if _BUFFER.search(name) else "parameter"


def has_two_values(array: Array) -> bool:
    """Whether all elements are one of two values, as in a mask."""
    flat = array.reshape(-1)
    if not flat.size:
        return False
    others = flat[flat != flat[0]]
    return bool(others.size == 0 or (others == others[0]).all())
