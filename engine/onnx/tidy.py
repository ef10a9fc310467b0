"""A model's nodes made fit to be spoken of: every one with a name of its own, in the order in which they can run."""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from typing import TypeAlias

import onnx

from engine.contents import printable, shown
from engine.errors import LoadError
from engine.files.onnx import STANDARD
from engine.files.regions import DAMAGED
from engine.input_specs import LARGEST_INPUT
from engine.onnx.arity import ArityCheck

MAX_NAME = 500
"""Characters of a node's name."""


MAX_GRAPHS = 32
"""Graphs in graphs. Each is three protobuf messages in one another, the type of a value in the innermost five more:
protobuf reads no more than 100."""


class Names:
    """Gives unique names; asking again and again for the same costs no more than the first time."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}

    def unique(self, wanted: str) -> str:
        """``wanted``, or that with a number behind it."""
        name = wanted
        number = self._next.get(wanted, 2)
        while name in self._taken:
            name = f"{wanted}_{number}"
            number += 1
            self._next[wanted] = number
        self._taken.add(name)
        return name


def tidy(model: onnx.ModelProto) -> tuple[str, ...]:
    """Name and order the nodes of ``model``; sentences about what was wrong.

    Names lose what is not seen but changes how text is shown. Raises LoadError for nodes that wait for one another, and
    for names that are no text: protobuf hands out bytes in their place.
    """
    notes: dict[str, None] = {}
    _check((model.graph.name, *[each.domain for each in model.opset_import]), "it")
    _check_inputs(model.graph)
    arity = ArityCheck({each.domain: each.version for each in model.opset_import})
    _tidy(model.graph, Names(), arity, (), notes)
    if all(each.domain not in STANDARD for each in model.opset_import):
        model.opset_import.add(domain="", version=1)
        if any(node.domain in STANDARD for node in model.graph.node):
            notes["It does not say of which operator set it is; set 1 is assumed, as ONNX has it."] = None
    return tuple(notes)


_Scopes: TypeAlias = tuple[set[str], ...]
"""Names of values that are known, of the innermost graph first."""


def _tidy(
    graph: onnx.GraphProto, names: Names, arity: ArityCheck, around: _Scopes, notes: dict[str, None]
) -> None:
    if len(around) >= MAX_GRAPHS:
        raise LoadError(
            f"Its graphs are nested more than {MAX_GRAPHS} deep.",
            hint="Protobuf reads no more: export it again.",
        )
    _check_values(graph)
    known = {each.name for each in graph.input}
    known.update(each.name for each in graph.initializer)
    known.update(each.values.name for each in graph.sparse_initializer)
    if not _in_order(graph, (set(), known, *around)):
        _sort(graph, (known, *around))
        notes["Its nodes were not in an order in which they can run, and were sorted."] = None
    for index, node in enumerate(graph.node):
        _check_node(node)
        name = node.name
        unique = names.unique(_visible(name) or f"{node.op_type}_{index}")
        if unique != name:
            node.name = unique
        arity.check(node)
        for attribute in node.attribute:
            for body in _bodies(attribute):
                _tidy(body, names, arity, (known, *around), notes)
        known.update(node.output)


def _check_inputs(graph: onnx.GraphProto) -> None:
    for value in graph.input:
        dims = value.type.tensor_type.shape.dim if value.type.HasField("tensor_type") else ()
        sizes = [dim.dim_value for dim in dims if dim.dim_value > 0]
        if math.prod(sizes) > LARGEST_INPUT:
            given = shown("×".join(map(str, sizes)), 80)
            raise LoadError(
                f"Its input {shown(str(value.name))} of {given} is too large for any machine.", hint=DAMAGED
            )


BODIES = {
    "If": ("then_branch", "else_branch"),
    "Loop": ("body",),
    "Scan": ("body",),
    "SequenceMap": ("body",),
}
"""Operators → the attributes that are graphs and must be there."""


def _check_node(node: onnx.NodeProto) -> None:
    own = (node.name, node.op_type, node.domain, *node.input, *node.output)
    _check((*own, *[each.name for each in node.attribute]), "a node")
    for each in node.metadata_props:
        _check((each.key, each.value), "a node")
    if node.op_type in BODIES and node.domain in STANDARD:
        there = {each.name for each in node.attribute if each.HasField("g")}
        missing = next((name for name in BODIES[node.op_type] if name not in there), None)
        if missing is not None:
            raise LoadError(
                f"Its {node.op_type} {shown(node.name or node.output[0] if node.output else '')} lacks its {missing}.",
                hint=DAMAGED,
            )


def _check_values(graph: onnx.GraphProto) -> None:
    tensors = [*graph.initializer, *[each.values for each in graph.sparse_initializer]]
    for tensor in tensors:
        _check((tensor.name,), "a tensor")
        for entry in tensor.external_data:
            _check((entry.key, entry.value), "a tensor")
    for value in (*graph.input, *graph.output, *graph.value_info):
        dims = value.type.tensor_type.shape.dim if value.type.HasField("tensor_type") else ()
        _check((value.name, *[dim.dim_param for dim in dims]), "a value")


def _check(texts: tuple[str, ...], what: str) -> None:
    try:
        "".join(texts)
    except TypeError as error:
        raise LoadError(f"Its graph is damaged: {what} has a name that is no text.", hint=DAMAGED) from error


def _visible(name: str) -> str:
    if len(name) <= MAX_NAME and name.isprintable():
        return name
    return printable(name.replace("\n", " "))[:MAX_NAME]


def _bodies(attribute: onnx.AttributeProto) -> list[onnx.GraphProto]:
    return ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs)


def _in_order(graph: onnx.GraphProto, scopes: _Scopes) -> bool:
    """Whether no node reads a value before the node that makes it; one that nobody makes does not matter here.

    What the nodes make is added to the first scope.
    """
    late: set[str] = set()
    for node in graph.node:
        has_body = any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute)
        late.update(name for name in (_read(node) if has_body else node.input) if not _knows(scopes, name))
        if late and not late.isdisjoint(node.output):
            return False
        scopes[0].update(node.output)
    return True


def _knows(scopes: _Scopes, name: str) -> bool:
    return not name or any(name in scope for scope in scopes)


def _sort(graph: onnx.GraphProto, scopes: _Scopes) -> None:
    """Order the nodes, the stored order as far as it goes. Raises LoadError where there is none."""
    maker = {name: index for index, node in enumerate(graph.node) for name in node.output if name}
    readers: dict[int, list[int]] = defaultdict(list)
    waits = [0] * len(graph.node)
    for index, node in enumerate(graph.node):
        makers = {maker[name] for name in _read(node) if name in maker and not _knows(scopes, name)}
        waits[index] = len(makers)
        for each in makers:
            readers[each].append(index)
    ready = [index for index, count in enumerate(waits) if not count]
    order = []
    while ready:
        index = heapq.heappop(ready)
        order.append(index)
        for reader in readers[index]:
            waits[reader] -= 1
            if not waits[reader]:
                heapq.heappush(ready, reader)
    if len(order) < len(graph.node):
        stuck = next(index for index, count in enumerate(waits) if count)
        node = graph.node[stuck]
        raise LoadError(
            f"Its node {shown(node.name or node.op_type)} waits for a value that is made from its own.",
            hint="Nothing can run such a graph: export the model again.",
        )
    nodes = [graph.node[index] for index in order]
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def _read(node: onnx.NodeProto) -> set[str]:
    """What a node reads, also in its bodies; names that these make themselves may be among it."""
    found = set(node.input)
    for attribute in node.attribute:
        for body in _bodies(attribute):
            made = {name for inner in body.node for name in inner.output}
            for inner in body.node:
                found |= _read(inner) - made
            found.update(each.name for each in body.output if each.name not in made)
    found.discard("")
    return found
