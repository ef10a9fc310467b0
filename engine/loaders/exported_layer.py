"""A layer of an exported program: its parameters, and per call of it the operations it runs.

An exported program holds no ``nn.Conv2d``; it holds calls of ``aten::conv2d``. What the inspector shows of a layer is
read off the arguments of its one operation, and an edit rewrites these.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn

from engine.errors import InputError
from engine.graph import AttributeValue
from engine.self_editing import Removed, SelfEditing

DEVICE = "_device"
"""Name under which the graphs of a layer read the device that its caller works on."""

_CONVOLUTIONS = frozenset(
    {"conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "convolution"}
)
_POOLS = frozenset(
    {"max_pool1d", "max_pool2d", "max_pool3d", "max_pool2d_with_indices", "max_pool3d_with_indices",
     "avg_pool1d", "avg_pool2d", "avg_pool3d"}
)  # fmt: skip
_SETTABLE = {
    "torch.nn.modules.conv.": ("stride", "padding", "dilation"),
    "torch.nn.modules.pooling.": ("kernel_size", "stride", "padding", "dilation"),
}
"""Where the class of a layer is defined → the fields that mean the same in its Python and in its operation."""
_UNTOLD = frozenset(
    {"cudnn_enabled", "cudnn_enable", "benchmark", "deterministic", "transposed", "output_padding", "momentum",
     "train", "training"}
)  # fmt: skip
"""Arguments that are no property of the layer, or that nobody asks for."""


class Value(NamedTuple):
    """What is known of a tensor between two layers."""

    dtype: torch.dtype
    rank: int
    is_state: bool
    """A parameter, buffer or constant."""


class Place:
    """The device on which the running forward pass makes its tensors; one per program."""

    device = torch.device("meta")


class Body:
    """One call of a layer: its operations as a graph and, once it was called, as a Python function.

    ``inputs`` and ``outputs`` are None where something else than a tensor is passed.
    """

    def __init__(
        self, graph: fx.Graph, inputs: tuple[Value | None, ...], outputs: tuple[Value | None, ...]
    ) -> None:
        self.graph = graph
        self.inputs = inputs
        self.outputs = outputs
        self._function: Callable[..., Any] | None = None

    def run(self, layer: nn.Module, args: tuple[Any, ...]) -> Any:
        """The outputs: one as it is, several as a tuple."""
        if self._function is None:
            self._function = _compiled(self.graph)
        return self._function(layer, *args)

    def changed(self) -> None:
        """After an edit of the graph."""
        self._function = None

    def operations(self) -> Iterator[fx.Node]:
        """Nodes that compute tensors."""
        for node in self.graph.nodes:
            if node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload):
                yield node

    @property
    def passed_on(self) -> int | None:
        """Which input stands for the output when the layer is removed: the first of its dtype and rank, else the
        first tensor that is no weight. None where no single tensor could take its place."""
        if len(self.outputs) != 1 or self.outputs[0] is None:
            return None
        out = self.outputs[0]
        data = [
            (place, each) for place, each in enumerate(self.inputs) if each is not None and not each.is_state
        ]
        alike = [place for place, each in data if (each.dtype, each.rank) == (out.dtype, out.rank)]
        return next(iter([*alike, *(place for place, _ in data)]), None)


def _compiled(graph: fx.Graph) -> Callable[..., Any]:
    """The graph as a function of (layer, inputs); values are dropped after their last use."""
    code = graph.python_code("self")
    names = dict(code.globals)
    exec(compile(code.src, "<exported program>", "exec"), names)
    function: Callable[..., Any] = names["forward"]
    return function


class ExportedLayer(SelfEditing):
    """A layer with the name and the weights it had where it was exported; ``type_name`` is its class there.

    Attributes begin with an underscore, so that no name of the program collides with them.
    """

    def __init__(self, type_name: str, place: Place) -> None:
        super().__init__()
        self._type_name = type_name
        self._place = place
        self._bodies: list[Body] = []

    def forward(self, *args: Any, call: int = 0) -> Any:
        """The ``call``-th call of this layer in one forward pass of the program."""
        return self._bodies[call].run(self, args)

    @property
    def _device(self) -> torch.device:
        return self._place.device

    # -- what can be changed -------------------------------------------------------------------------------------

    def own_attributes(self) -> dict[str, AttributeValue]:
        node = self._operation()
        if node is None:
            return {}
        found = _weight_attributes(node, self)
        for name, value in _arguments(node).items():
            if name in _UNTOLD or (isinstance(value, float) and not math.isfinite(value)):
                continue
            if isinstance(value, (list, tuple)) and all(type(part) is int for part in value):
                found[name] = tuple(value)
            elif isinstance(value, (bool, int, float, str)):
                found[name] = value
        return found

    def own_fields(self) -> tuple[str, ...]:
        node = self._operation()
        if node is None:
            return ()
        fields = next(
            (fields for start, fields in _SETTABLE.items() if self._type_name.startswith(start)), ()
        )
        known = _CONVOLUTIONS | _POOLS
        if _name(node) not in known:
            return ()
        arguments = _arguments(node)
        return tuple(
            field for field in fields if field in arguments and (field != "padding" or _is_first(node))
        )

    def own_set(self, field: str, value: int | tuple[int, ...]) -> Callable[[], None]:
        undo: list[Callable[[], None]] = []
        for body in self._bodies:
            (node,) = _main(body)
            undo.append(_rewritten(body, node, field, value))

        def restore() -> None:
            for each in undo:
                each()

        return restore

    def own_bypass(self, path: str) -> Removed:
        if not self._bodies:
            raise InputError(
                f"{path} cannot be removed: the exported program never calls it.",
                hint="Remove one of the layers in it.",
                layer=path,
            )
        places = [body.passed_on for body in self._bodies]
        if any(place is None for place in places):
            counts = max(len(body.outputs) for body in self._bodies)
            what = (
                f"gives {counts} values" if counts != 1 else "takes no tensor that could stand for its output"
            )
            raise InputError(
                f"{path} cannot be removed from an exported program: it {what}.",
                hint="Remove one of the layers in it.",
                layer=path,
            )
        return Bypass(self, [place or 0 for place in places])

    def _operation(self) -> fx.Node | None:
        """The operation that the layer's attributes are those of; None where its calls differ or have several."""
        found = [_main(body) for body in self._bodies]
        if not found or any(len(nodes) != 1 or nodes[0].target != found[0][0].target for nodes in found):
            return None
        return found[0][0]


class Bypass(Removed):
    """Stands where a layer was removed from a program: passes, per call, one of its inputs on."""

    def __init__(self, original: nn.Module, places: list[int]) -> None:
        super().__init__(original)
        self._places = places

    def forward(self, *args: Any, call: int = 0) -> Any:
        return args[self._places[call]]


def _main(body: Body) -> list[fx.Node]:
    """The convolution or pool of a body when it has one; else all its operations."""
    nodes = list(body.operations())
    known = [node for node in nodes if _name(node) in _CONVOLUTIONS or _name(node) in _POOLS]
    return known or nodes


def _name(node: fx.Node) -> str:
    """``conv2d`` for ``aten::conv2d``."""
    return str(node.target._schema.name).rpartition("::")[2]  # type: ignore[union-attr]


def _arguments(node: fx.Node) -> dict[str, Any]:
    """All arguments of an operation by their names in its schema, defaults included."""
    schema = node.target._schema  # type: ignore[union-attr]
    values = {each.name: each.default_value for each in schema.arguments if each.has_default_value()}
    values.update(zip((each.name for each in schema.arguments), node.args, strict=False))
    values.update(node.kwargs)
    return values


def _is_first(node: fx.Node) -> bool:
    """Whether the operation reads an input of its layer, so that nothing was padded before it."""
    source = node.args[0] if node.args else None
    return isinstance(source, fx.Node) and source.op == "placeholder"


def _weight_attributes(node: fx.Node, layer: ExportedLayer) -> dict[str, AttributeValue]:
    """Channels and kernel of a convolution, features of a linear: they are the shape of its weight."""
    arguments = _arguments(node)
    weight = arguments.get("weight")
    if not isinstance(weight, fx.Node) or weight.op != "get_attr":
        return {}
    tensor = _find(layer, str(weight.target))
    if tensor is None:
        return {}
    has_bias = arguments.get("bias") is not None
    if _name(node) == "linear" and tensor.dim() == 2:
        return {"in_features": tensor.shape[1], "out_features": tensor.shape[0], "bias": has_bias}
    if _name(node) not in _CONVOLUTIONS or tensor.dim() < 3:
        return {}
    groups = arguments["groups"]
    inner, outer = tensor.shape[1] * groups, tensor.shape[0]
    if "transpose" in _name(node) or arguments.get("transposed", False):
        inner, outer = outer, inner
    return {
        "in_channels": inner,
        "out_channels": outer,
        "kernel_size": tuple(tensor.shape[2:]),
        "bias": has_bias,
    }


def _find(layer: nn.Module, name: str) -> Tensor | None:
    value: Any = layer
    for part in name.split("."):
        value = getattr(value, part, None)
    return value if isinstance(value, Tensor) else None


def _rewritten(body: Body, node: fx.Node, field: str, value: int | tuple[int, ...]) -> Callable[[], None]:
    """Put ``value`` in the place of an argument; returns what puts the old one back."""
    before = node.target, node.args, node.kwargs
    names = [each.name for each in node.target._schema.arguments]  # type: ignore[union-attr]
    rank = next((int(digit) for digit in _name(node) if digit.isdigit()), 0) or _rank(node)
    numbers = list(value) if isinstance(value, tuple) else [value] * rank
    if isinstance(_arguments(node)[field], str):
        node.target = getattr(torch.ops.aten, _name(node)).default  # "same" has an overload of its own
    place = names.index(field)
    if place < len(node.args):
        node.update_arg(place, numbers)
    else:
        node.update_kwarg(field, numbers)
    body.changed()

    def undo() -> None:
        node.target, node.args, node.kwargs = before
        body.changed()

    return undo


def _rank(node: fx.Node) -> int:
    """Spatial dimensions of a ``convolution``, whose name does not say them."""
    return len(_arguments(node)["stride"])
