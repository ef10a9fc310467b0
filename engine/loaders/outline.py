"""An exported program's flat graph → nested layers with the names it was exported from.

Every node remembers the modules that were being called (``nn_module_stack``). A run of nodes with the same innermost
call becomes one body of that module; what it reads from outside are its inputs, in the order of their first use, and
what others read of it are its outputs. Parameters are read by the layer they belong to. Unlike
``torch.export.unflatten`` this keeps one layer per module however often it is called, copies no weights, and leaves
out what only checks or names devices: the same layers run on meta, fake and real tensors.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind
from torch.fx.node import map_aggregate

from engine.errors import UnsupportedModelError
from engine.loaders.exported_layer import DEVICE, Body, ExportedLayer, Place, Value

CHECKS = frozenset(
    {"aten::_assert_tensor_metadata", "aten::_assert_scalar", "aten::_assert_async", "aten::sym_constrain_range",
     "aten::sym_constrain_range_for_size", "aten::_functional_assert_scalar", "aten::_functional_assert_async",
     "aten::_functional_sym_constrain_range", "aten::_functional_sym_constrain_range_for_size",
     "aten::_make_dep_token"}
)  # fmt: skip
"""Operations that compute nothing: they check what the export assumed."""

_STATES = (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR, InputKind.CUSTOM_OBJ)


class Call(NamedTuple):
    """An entry of a node's module stack: which module, which of its calls, its class."""

    path: str
    key: str
    type_name: str


@dataclass
class _Region:
    """A stretch of nodes that one call of a module ran; ``start`` and ``end`` are places in the flat order."""

    call: Call
    start: int
    end: int = 0
    items: list[fx.Node | _Region] = field(default_factory=list)


def outline(
    program: ExportedProgram, tensors: Mapping[str, Tensor], constants: Mapping[str, Any]
) -> ExportedLayer:
    """The program as a module that takes its user inputs, flattened, as positional arguments.

    ``tensors`` are its parameters and buffers by name, on any device; names that share a tensor stay tied.
    ``constants`` become buffers that are not saved, or attributes where they are no tensors.
    Raises UnsupportedModelError for a program of a kind that cannot be run forwards.
    """
    return _Outline(program, tensors, constants).root


class _Outline:
    def __init__(
        self, program: ExportedProgram, tensors: Mapping[str, Tensor], constants: Mapping[str, Any]
    ) -> None:
        self._place = Place()
        self._layers: dict[str, ExportedLayer] = {}
        self._program = program
        self._flat = _flat(program.graph_module)
        self._position = {node: place for place, node in enumerate(self._flat.nodes)}
        calls = [_stack(node) for node in self._flat.nodes]
        types = {call.path: call.type_name for stack in calls for call in stack}
        self.root = self._layers[""] = _make_layer(types.get("", ""), self._place, _Root)
        for path in _all_paths(program, types):
            self._layer(path, types)
        self._register(tensors, constants)
        self._names = _state_names(program, tensors, constants)
        self._last_use = self._last_uses()
        region = _regions(self._flat.nodes, calls, types.get("", ""))
        _Writer(self, region).write()

    # -- the tree of layers ----------------------------------------------------------------------------------------

    def _layer(self, path: str, types: Mapping[str, str]) -> ExportedLayer:
        """The layer at ``path``, made with those above it when it is not there yet."""
        layer = self._layers.get(path)
        if layer is None:
            parent, _, name = path.rpartition(".")
            layer = _make_layer(types.get(path, ""), self._place, ExportedLayer)
            self._layer(parent, types).add_module(name, layer)
            self._layers[path] = layer
        return layer

    def layer(self, path: str) -> ExportedLayer:
        return self._layers[path]

    def _register(self, tensors: Mapping[str, Tensor], constants: Mapping[str, Any]) -> None:
        for name, value in (*tensors.items(), *constants.items()):
            parent, _, leaf = name.rpartition(".")
            layer = self._layer(parent, {})
            if leaf in layer._parameters or leaf in layer._buffers:
                continue
            if isinstance(value, nn.Parameter):
                layer.register_parameter(leaf, value)
            elif isinstance(value, Tensor):
                layer.register_buffer(leaf, value, persistent=name in tensors)
            else:
                setattr(layer, leaf, value)

    # -- what the nodes read ---------------------------------------------------------------------------------------

    def inputs_of(self, node: fx.Node) -> list[fx.Node]:
        meant = (self._flat.meant(each) for each in node.all_input_nodes)
        return [each for each in meant if isinstance(each, fx.Node)]

    def _last_uses(self) -> dict[fx.Node, int]:
        """Node → the last place where it is read."""
        uses: dict[fx.Node, int] = {}
        for place, node in enumerate(self._flat.nodes):
            for each in self.inputs_of(node):
                uses[each] = place
        for each in self._flat.outputs:
            if isinstance(each, fx.Node):
                uses[self._flat.meant(each)] = len(self._flat.nodes)
        return uses

    def outside(self, region: _Region) -> list[fx.Node]:
        """What a region reads and others made, in the order of first use."""
        found: dict[fx.Node, None] = {}
        for node in self._flat.nodes[region.start : region.end]:
            for each in self.inputs_of(node):
                if not region.start <= self._position[each] < region.end:
                    found[each] = None
        return list(found)

    def results(self, region: _Region) -> list[fx.Node]:
        """What a region makes and others read."""
        nodes = self._flat.nodes[region.start : region.end]
        return [node for node in nodes if self._last_use.get(node, -1) >= region.end]

    def state_below(self, node: fx.Node, path: str) -> str:
        """Name, relative to the layer at ``path``, of the state that an input node stands for; empty when the layer
        does not hold it."""
        start = f"{path}." if path else ""
        names = [name[len(start) :] for name in self._names.get(node, ()) if name.startswith(start)]
        return min(names, key=lambda name: name.count("."), default="")

    def is_state(self, node: fx.Node) -> bool:
        return node in self._names

    def meant(self, value: Any) -> Any:
        """A node for one that stands for it, or the constant that an inlined block was given."""
        return self._flat.meant(value)

    @property
    def outputs(self) -> list[tuple[OutputKind, str | None, Any]]:
        """(kind, what is mutated, node or constant) of every output."""
        specs = self._program.graph_signature.output_specs
        return [
            (spec.kind, spec.target, value) for spec, value in zip(specs, self._flat.outputs, strict=True)
        ]

    @property
    def user_inputs(self) -> list[fx.Node]:
        return [node for node, spec in self._inputs() if spec.kind == InputKind.USER_INPUT]

    def input_named(self, target: str) -> fx.Node | None:
        """The input node of a buffer by its name, or of a user input by the node's."""
        return next((node for node, spec in self._inputs() if target in (spec.target, node.name)), None)

    def _inputs(self) -> Iterable[tuple[fx.Node, Any]]:
        placeholders = [node for node in self._flat.nodes if node.op == "placeholder"]
        return zip(placeholders, self._program.graph_signature.input_specs, strict=True)


class _Writer:
    """Writes the graph of one region, and of those in it."""

    def __init__(self, whole: _Outline, region: _Region) -> None:
        self._whole = whole
        self._region = region
        self._layer = whole.layer(region.call.path)
        self._graph = fx.Graph()
        self._made: dict[fx.Node, fx.Node] = {}
        self._device: fx.Node | None = None

    def write(self) -> tuple[list[fx.Node], list[fx.Node]]:
        """Adds the body to its layer; returns what it takes and gives, as nodes of the flat graph."""
        whole, region = self._whole, self._region
        path = region.call.path
        is_root = not path
        takes = (
            whole.user_inputs
            if is_root
            else [n for n in whole.outside(region) if not whole.state_below(n, path)]
        )
        for node in takes:
            self._made[node] = self._graph.placeholder(node.name)
        for item in region.items:
            if isinstance(item, _Region):
                self._call(item)
            elif item.op not in ("placeholder", "output"):
                self._copy(item)
        gives = [] if is_root else whole.results(region)
        if is_root:
            outputs = self._root_outputs()
            self._graph.output(outputs[0] if len(outputs) == 1 else tuple(outputs))
        else:
            values = [self._made[node] for node in gives]
            self._graph.output(values[0] if len(values) == 1 else tuple(values))
        body = Body(self._graph, tuple(map(self._value, takes)), tuple(map(self._value, gives)))
        self._layer._bodies.append(body)
        return takes, gives

    def _call(self, region: _Region) -> None:
        path = region.call.path
        number = len(self._whole.layer(path)._bodies)
        takes, gives = _Writer(self._whole, region).write()
        start = len(self._region.call.path) + 1 if self._region.call.path else 0
        args = tuple(self._get(node) for node in takes)
        kwargs: dict[str, Any] = {"call": number} if number else {}
        # Not after the module, which may be called like a name of the function that is made of the graph: self.
        made = self._graph.create_node("call_module", path[start:], args, kwargs, "made")
        if len(gives) == 1:
            self._made[gives[0]] = made
            return
        for place, node in enumerate(gives):
            self._made[node] = self._graph.call_function(operator.getitem, (made, place))

    def _copy(self, node: fx.Node) -> None:
        if node.op == "get_attr":
            self._made[node] = self._attribute(node)
            return
        name = _schema_name(node)
        if name in CHECKS and not node.users:
            return
        args = map_aggregate(node.args, self._argument)
        kwargs = map_aggregate(node.kwargs, self._argument)
        assert isinstance(args, tuple) and isinstance(kwargs, dict)
        if name == "aten::sym_size" and len(args) == 2:
            # As the operation, without the way through the dispatcher.
            self._made[node] = self._graph.create_node("call_method", "size", args, {}, node.name)
            return
        target = _REPLACED.get(str(node.target), node.target)
        self._made[node] = self._graph.create_node(node.op, target, args, kwargs, node.name)

    def _argument(self, value: Any) -> Any:
        """An argument in this graph: nodes by what was made of them, devices by the one that is worked on."""
        value = self._whole.meant(value)
        if isinstance(value, fx.Node):
            return self._get(value)
        if isinstance(value, torch.device):
            if self._device is None:
                self._device = self._graph.get_attr(DEVICE)
            return self._device
        return value

    def _get(self, node: fx.Node) -> fx.Node:
        """A value made before, or a state of this layer."""
        made = self._made.get(node)
        if made is None:
            name = self._whole.state_below(node, self._region.call.path)
            assert name, f"{node.name} is read before it is made"
            made = self._made[node] = self._graph.create_node("get_attr", name, name="state")
        return made

    def _attribute(self, node: fx.Node) -> fx.Node:
        """A branch of a condition, or a constant that the export left in the graph."""
        value: Any = self._whole._program.graph_module
        for part in str(node.target).split("."):
            value = getattr(value, part)
        name = f"_{node.target}".replace(".", "_")
        if isinstance(value, fx.GraphModule):
            value = _Branch(self._layer, _branch_body(value))
            vars(self._layer)[name] = value
        elif isinstance(value, Tensor):
            self._layer.register_buffer(name, value, persistent=False)
        else:
            vars(self._layer)[name] = value
        return self._graph.get_attr(name)

    def _root_outputs(self) -> list[Any]:
        """What the user gets; before that, the writes to buffers and inputs that the export made into outputs."""
        outputs: list[Any] = []
        for kind, target, value in self._whole.outputs:
            value = self._whole.meant(value)
            made = self._get(value) if isinstance(value, fx.Node) else value
            if kind == OutputKind.USER_OUTPUT:
                outputs.append(made)
            elif kind in (OutputKind.BUFFER_MUTATION, OutputKind.USER_INPUT_MUTATION):
                place = self._whole.input_named(str(target))
                if place is not None:
                    self._graph.call_function(torch.ops.aten.copy_.default, (self._get(place), made))
            elif kind != OutputKind.TOKEN:
                raise UnsupportedModelError(
                    "It was exported for training, with a loss as its output.",
                    hint="Export the model's forward in eval mode.",
                )
        return outputs

    def _value(self, node: fx.Node) -> Value | None:
        value = node.meta.get("val")
        if not isinstance(value, Tensor):
            return None
        return Value(value.dtype, value.dim(), self._whole.is_state(node))


class _Root(ExportedLayer):
    """The program itself: notes which device its inputs are on."""

    def forward(self, *args: Any, call: int = 0) -> Any:
        first = next(
            (each for each in chain(args, self.parameters(), self.buffers()) if isinstance(each, Tensor)),
            None,
        )
        if first is not None:
            self._place.device = first.device
        return super().forward(*args, call=call)


class _Branch:
    """The body of a condition as a function; its operations are rows of the layer that decides."""

    def __init__(self, layer: ExportedLayer, body: Body) -> None:
        self._layer = layer
        self._body = body

    def __call__(self, *args: Any) -> Any:
        return self._body.run(self._layer, args)


def _make_layer(type_name: str, place: Place, base: type[ExportedLayer]) -> ExportedLayer:
    """A layer whose class is called like the one it was exported from."""
    name = type_name.rpartition(".")[2] or "Module"
    layer: ExportedLayer = type(name, (base,), {"__module__": __name__})(type_name, place)
    return layer


# -- the flat graph ------------------------------------------------------------------------------------------------


class _Flat(NamedTuple):
    """All nodes in order, with those of inlined subgraphs; ``aliases`` lead from a node to the one meant by it."""

    nodes: list[fx.Node]
    aliases: dict[fx.Node, Any]
    outputs: tuple[Any, ...]

    def meant(self, value: Any) -> Any:
        while isinstance(value, fx.Node) and value in self.aliases:
            value = self.aliases[value]
        return value


def _flat(module: fx.GraphModule) -> _Flat:
    aliases: dict[fx.Node, Any] = {}
    nodes: list[fx.Node] = []
    outputs = _add(module, nodes, aliases)
    used = {each for node in nodes for each in node.all_input_nodes}
    # A subgraph that was inlined is named by nobody any more.
    kept = [node for node in nodes if node.op != "get_attr" or node in used]
    return _Flat(kept, aliases, outputs)


def _add(module: fx.GraphModule, nodes: list[fx.Node], aliases: dict[fx.Node, Any]) -> tuple[Any, ...]:
    """The nodes of a graph and of the subgraphs in it that only switch gradients or autocast off; its outputs."""
    inlined: dict[fx.Node, tuple[Any, ...]] = {}
    outputs: tuple[Any, ...] = ()
    for node in module.graph.nodes:
        body = _inlinable(module, node)
        if body is not None:
            graph_module, args = body
            inner = [each for each in graph_module.graph.nodes if each.op == "placeholder"]
            aliases.update(zip(inner, args, strict=True))
            inlined[node] = _add(graph_module, nodes, aliases)
        elif node.op == "call_function" and node.target is operator.getitem and node.args[0] in inlined:
            aliases[node] = inlined[node.args[0]][node.args[1]]
        elif node.op == "output":
            value = node.args[0]
            outputs = tuple(value) if isinstance(value, (tuple, list)) else (value,)
        elif node.op != "placeholder" or node not in aliases:
            nodes.append(node)
    return outputs


def _inlinable(module: fx.GraphModule, node: fx.Node) -> tuple[fx.GraphModule, Sequence[Any]] | None:
    """(subgraph, its arguments) of a block under ``no_grad`` or with autocast off, which in inference is plain code."""
    name = str(node.target) if node.op == "call_function" else ""
    if name == "wrap_with_set_grad_enabled":
        body, args = node.args[1], node.args[2:]
    elif name == "wrap_with_autocast" and node.args[2] is False:
        body, args = node.args[4], node.args[5:]
    else:
        return None
    assert isinstance(body, fx.Node)
    return module.get_submodule(str(body.target)), args  # type: ignore[return-value]


def _stack(node: fx.Node) -> list[Call]:
    """The modules that were being called, outermost (the model, path empty) first; those that do not lie in each other
    are left out."""
    calls: list[Call] = []
    for key, (path, kind) in node.meta.get("nn_module_stack", {}).items():
        path = str(path).partition("@")[0]
        name = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
        if not calls or path.startswith(f"{calls[-1].path}." if calls[-1].path else ""):
            if path or not calls:
                calls.append(Call(path, str(key), name))
    return calls


def _regions(nodes: Sequence[fx.Node], stacks: Sequence[list[Call]], root_type: str) -> _Region:
    """The calls as a tree. A node without a stack belongs to the call before it."""
    root = _Region(Call("", "", root_type), 0)
    open_regions = [root]
    for place, (node, stack) in enumerate(zip(nodes, stacks, strict=True)):
        calls = [call for call in stack if call.path]
        if stack or node.op == "placeholder":
            depth = 1
            while (
                depth < len(open_regions)
                and depth <= len(calls)
                and open_regions[depth].call[:2] == calls[depth - 1][:2]
            ):
                depth += 1
            for region in open_regions[depth:]:
                region.end = place
            del open_regions[depth:]
            for call in calls[depth - 1 :]:
                region = _Region(call, place)
                open_regions[-1].items.append(region)
                open_regions.append(region)
        open_regions[-1].items.append(node)
    for region in open_regions:
        region.end = len(nodes)
    return root


def _all_paths(program: ExportedProgram, types: Mapping[str, str]) -> list[str]:
    """Paths of all modules, in the order in which the model registered them where the program knows it."""
    known = [entry.fqn for entry in program.module_call_graph]
    return [path for path in dict.fromkeys(name.partition("@")[0] for name in (*known, *types)) if path]


def _state_names(
    program: ExportedProgram, tensors: Mapping[str, Tensor], constants: Mapping[str, Any]
) -> dict[fx.Node, tuple[str, ...]]:
    """Input node of a parameter, buffer or constant → all names of it."""
    names: dict[int, list[str]] = {}
    values = {**tensors, **constants}
    for name, value in values.items():
        names.setdefault(id(value), []).append(name)
    placeholders = [node for node in program.graph.nodes if node.op == "placeholder"]
    return {
        node: tuple(names[id(values[spec.target])])
        for node, spec in zip(placeholders, program.graph_signature.input_specs, strict=True)
        if spec.kind in _STATES and spec.target is not None
    }


def _schema_name(node: fx.Node) -> str:
    """``aten::sym_size``; empty for what is no operator of torch."""
    return str(node.target._schema.name) if isinstance(node.target, torch._ops.OpOverload) else ""


# -- blocks with subgraphs -------------------------------------------------------------------------------------------


def _branch_body(module: fx.GraphModule) -> Body:
    """A subgraph as one body: everything it reads is handed to it."""
    graph = fx.Graph()
    made: dict[fx.Node, Any] = {}
    device: list[fx.Node] = []

    def argument(value: Any) -> Any:
        if isinstance(value, fx.Node):
            return made[value]
        if isinstance(value, torch.device):
            device[:] = device or [graph.get_attr(DEVICE)]
            return device[0]
        return value

    for node in module.graph.nodes:
        if _schema_name(node) not in CHECKS or node.users:
            made[node] = graph.node_copy(node, lambda each: made[each])
            made[node].args = map_aggregate(node.args, argument)
            made[node].kwargs = map_aggregate(node.kwargs, argument)
    return Body(graph, (), ())


def _choose(
    condition: Any, then: Callable[..., Any], other: Callable[..., Any], operands: Sequence[Any] = ()
) -> Any:
    """``torch.cond``: one of two branches; without data it is a stated assumption which."""
    return (then if condition else other)(*operands)


def _autocast(
    device: str,
    dtype: torch.dtype | None,
    enabled: bool,
    cache: bool | None,
    body: Callable[..., Any],
    *args: Any,
) -> Any:
    with torch.autocast(device, dtype=dtype, enabled=enabled, cache_enabled=cache):
        return body(*args)


_REPLACED: dict[str, Callable[..., Any]] = {"cond": _choose, "wrap_with_autocast": _autocast}
"""Blocks with subgraphs by their names → functions that run them under any dispatch mode."""
