"""Which of a runtime's kernels does the work of which original nodes: the optimised graph against the original one.

onnxruntime keeps the names of the values that survive, so a kernel that puts out an original value does the work of the
node that made it, and of the nodes before it whose values no kernel puts out. Where a value lost its name, the kernel's
own name tells: ``/relu/Relu_output_0_nchwc`` (a value), ``/attn/MatMul/MatMulAddFusion`` (a node). A kernel that moves
data where the original moved none was inserted; the work before it is that of the kernel it takes its data from.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy
import onnx

from engine.onnx.computed import RANDOM
from engine.onnx.graph import Graph, Node

_FAMILIES = {
    "Reshape": "view", "Flatten": "view", "Squeeze": "view", "Unsqueeze": "view", "Identity": "view",
    "Dropout": "view", "Transpose": "layout", "ReorderInput": "layout", "ReorderOutput": "layout",
    "Cast": "type", "MemcpyFromHost": "copy", "MemcpyToHost": "copy",
}  # fmt: skip
"""Operators that only hand data on, changed in nothing but this; an optimiser puts them between others."""
_ALIKE = {"Gemm": ("MatMul",), "Conv": ("BatchNormalization",)}
"""Kernel → other nodes that it does the work of as it stands."""
_LAYOUT_DOMAIN = "com.microsoft.nchwc."
_NOT_FOLDED = ("DequantizeLinear", *RANDOM)
"""Even where all inputs are constant: fused into an integer kernel, or different at every call."""
_SUFFIXES = ("_bn_nchwc", "_nchwc", "_new_reshape")
_PREFIXES = ("fused ",)


class Kernel(NamedTuple):
    """A node of the optimised graph. ``name`` is what a profile calls it, less ``_kernel_time``."""

    name: str
    op: str
    """As ``Node.label``."""
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    bodies: dict[str, tuple[Kernel, ...]]
    """Of a control-flow node, by attribute."""


class Group(NamedTuple):
    """Kernels that together do the work of some original nodes; nearly always one kernel."""

    kernels: tuple[Kernel, ...]
    nodes: tuple[Node, ...]
    """In the order of the original graph; at least one."""


class Fusion(NamedTuple):
    """Every kernel is in one group or inserted; every original node in one group or folded."""

    groups: tuple[Group, ...]
    """By their first kernels' order."""
    inserted: tuple[Kernel, ...]
    """Kernels that do no original node's work: they change a layout, a type or the place of data."""
    folded: tuple[Node, ...]
    """Nodes that no kernel does the work of: computed when the model was loaded, or found to be of no use."""


def kernels_of(graph: onnx.GraphProto) -> tuple[Kernel, ...]:
    """The kernels of an optimised model, in the order of the file."""
    return tuple(
        Kernel(
            node.name,
            node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}",
            tuple(node.input),
            tuple(node.output),
            {
                attribute.name: kernels_of(attribute.g)
                for attribute in node.attribute
                if attribute.type == onnx.AttributeProto.GRAPH
            },
        )
        for node in graph.node
    )


def fusion(original: Graph, kernels: Iterable[Kernel]) -> Fusion:
    """Match ``kernels``, which a runtime made of ``original``; bodies of control flow with their own."""
    return _Matching(original, tuple(kernels)).result()


class _Matching:
    """One graph or body. Kernels and nodes by their index, which is a topological order of both."""

    def __init__(self, original: Graph, kernels: tuple[Kernel, ...]) -> None:
        self._original = original
        self._nodes = original.nodes
        self._kernels = kernels
        self._producers = {
            value: index for index, node in enumerate(self._nodes) for value in node.outputs if value
        }
        self._by_name = {node.name: index for index, node in enumerate(self._nodes)}
        self._same = _same_values(original)
        self._sources = {value: index for index, kernel in enumerate(kernels) for value in kernel.outputs}
        self._computed: dict[str, int] = {}
        """Original value → the kernel that puts it out."""
        self._anchors: dict[int, list[int]] = {}
        """Kernel → nodes whose outputs it puts out."""
        self._owner: dict[int, int] = {}
        """Node → kernel; changed by ``_give`` alone."""
        self._owned: dict[int, set[int]] = {}
        self._leader: dict[int, int] = {}
        """Of a kernel that only helps another: the other."""

    def result(self) -> Fusion:
        for index in range(len(self._kernels)):
            self._anchor(index)
        self._constant = self._constants()
        for kernel, anchors in self._anchors.items():
            for anchor in anchors:
                if anchor not in self._owner:
                    self._give(anchor, kernel)
        for kernel, anchors in self._anchors.items():
            for anchor in anchors:
                self._take(kernel, anchor)
        self._adopt()
        for kernel in reversed(range(len(self._kernels))):
            self._hand_back(kernel)
        self._follow()
        return self._gather()

    def _give(self, node: int, kernel: int) -> None:
        if node in self._owner:
            self._owned[self._owner[node]].discard(node)
        self._owner[node] = kernel
        self._owned.setdefault(kernel, set()).add(node)

    # -- which kernel puts out which value -----------------------------------------------------------------------

    def _anchor(self, index: int) -> None:
        kernel = self._kernels[index]
        found = [value for value in kernel.outputs if value in self._producers]
        anchors = [self._producers[value] for value in found]
        named = self._named(kernel)
        if named is not None:
            anchors.append(named)
            found += self._nodes[named].outputs[:1]
        for value in found:
            self._computed.setdefault(self._first(value), index)
        if anchors:
            self._anchors[index] = list(dict.fromkeys(anchors))

    def _named(self, kernel: Kernel) -> int | None:
        """The node that the kernel's name tells of."""
        for name in _readings(kernel.name):
            if name in self._producers:
                return self._producers[name]
            index = self._by_name.get(name)
            if index is not None and (name == kernel.name or not _family(kernel.op)):
                return index
        return None

    def _first(self, value: str) -> str:
        return self._same.get(value, value)

    def _constants(self) -> set[int]:
        """Nodes whose outputs follow from stored values and shapes, and that no kernel puts out."""
        known = set(self._original.stored)
        constant: set[int] = set()
        for index, node in enumerate(self._nodes):
            told = all(not value or value in known for value in node.inputs)
            if (
                not (told or node.op_type in ("Shape", "Size"))
                or node.op_type in _NOT_FOLDED
                or node.subgraphs
            ):
                continue
            if not any(self._first(value) in self._computed for value in node.outputs):
                constant.add(index)
                known.update(node.outputs)
        return constant

    # -- who does the work of the other nodes --------------------------------------------------------------------

    def _take(self, kernel: int, anchor: int) -> None:
        """Give it the nodes before ``anchor`` whose values no kernel puts out."""
        waiting = [anchor]
        while waiting:
            for value in self._reads(waiting.pop()):
                producer = self._producers.get(value)
                if producer is None or producer in self._owner or producer in self._constant:
                    continue
                if self._computed.get(self._first(value), kernel) == kernel:
                    self._give(producer, kernel)
                    waiting.append(producer)

    def _reads(self, index: int) -> Iterator[str]:
        node = self._nodes[index]
        yield from node.inputs
        for body in node.subgraphs.values():
            for inner in body.walk():
                yield from (value for value in inner.inputs if value in self._producers)

    def _adopt(self) -> None:
        """Nodes that no kernel reached: the owner of the same value has them, else that of what reads theirs."""
        users = _users(enumerate(map(self._reads, range(len(self._nodes)))))
        for index in reversed(range(len(self._nodes))):
            if index in self._owner or index in self._constant:
                continue
            outputs = self._nodes[index].outputs
            same = [self._computed.get(self._first(value)) for value in outputs]
            readers = [self._owner.get(user) for value in outputs for user in users.get(value, ())]
            owner = next((each for each in (*same, *readers) if each is not None), None)
            if owner is not None:
                self._give(index, owner)

    def _hand_back(self, kernel: int) -> None:
        """Leave the kernel before it what this one cannot do: what comes before its own operator.

        onnxruntime's layouts hide behind one name that a convolution adds and activates too; and what only moves data
        where the original moves none does no node's work at all.
        """
        op = self._kernels[kernel].op
        owned = set(self._owned.get(kernel, ())) if _is_plain(op) else set()
        cores = [index for index in owned if _alike(op, self._nodes[index].op_type)]
        if cores:
            core = min(cores)
            for position, value in enumerate(self._nodes[core].inputs):
                before = self._within(value, owned - {core})
                if not all(self._stays(op, index) for index in before):
                    self._pass_on(kernel, position, before)
        elif owned and _family(op):
            source = self._pass_on(kernel, 0, owned)
            if source is not None and self._does(op, self._owned[source]):
                self._leader[kernel] = source

    def _does(self, op: str, nodes: Iterable[int]) -> bool:
        return any(_alike(op, self._nodes[index].op_type) for index in nodes)

    def _stays(self, op: str, index: int) -> bool:
        node_op = self._nodes[index].op_type
        return node_op == "Pad" or (_family(op) is not None and _family(node_op) is not None)

    def _within(self, value: str, allowed: set[int]) -> set[int]:
        """Nodes among ``allowed`` that ``value`` is made by."""
        found: set[int] = set()
        waiting = [value]
        while waiting:
            producer = self._producers.get(waiting.pop())
            if producer is not None and producer in allowed and producer not in found:
                found.add(producer)
                waiting.extend(self._reads(producer))
        return found

    def _pass_on(self, kernel: int, position: int, nodes: set[int]) -> int | None:
        """Give ``nodes`` to the kernel that this input comes from, past kernels that only hand it on."""
        inputs = self._kernels[kernel].inputs
        source = self._sources.get(inputs[position]) if position < len(inputs) else None
        while source is not None:
            op = self._kernels[source].op
            if not _family(op) or self._does(op, nodes):
                break
            source = self._sources.get(self._kernels[source].inputs[0])
        if source is not None:
            for node in nodes:
                self._give(node, source)
        return source

    def _follow(self) -> None:
        """A kernel without a node of its own works for the next one that has some, else for the one before it."""
        owners = set(self._owner.values())
        users = _users((index, kernel.inputs) for index, kernel in enumerate(self._kernels))
        for index in reversed(range(len(self._kernels))):
            kernel = self._kernels[index]
            if index in owners or index in self._leader or _family(kernel.op):
                continue
            after = [each for value in kernel.outputs for each in users.get(value, ())]
            before = [self._sources[value] for value in kernel.inputs if value in self._sources]
            candidates = [self._leader.get(each, each) for each in (*after, *before)]
            leader = next((each for each in candidates if each in owners), None)
            if leader is not None:
                self._leader[index] = leader

    # -- the result ----------------------------------------------------------------------------------------------

    def _gather(self) -> Fusion:
        nodes: dict[int, list[int]] = {}
        for node, kernel in sorted(self._owner.items()):
            nodes.setdefault(kernel, []).append(node)
        helpers: dict[int, list[int]] = {}
        for kernel, leader in self._leader.items():
            helpers.setdefault(leader, []).append(kernel)
        groups = [
            Group(
                tuple(self._kernels[each] for each in sorted((kernel, *helpers.get(kernel, ())))),
                tuple(self._nodes[node] for node in owned),
            )
            for kernel, owned in sorted(nodes.items())
        ]
        busy = nodes.keys() | self._leader.keys()
        inserted = [kernel for index, kernel in enumerate(self._kernels) if index not in busy]
        folded = [node for index, node in enumerate(self._nodes) if index not in self._owner]
        folded += [
            inner for node in tuple(folded) for body in node.subgraphs.values() for inner in body.walk()
        ]
        for inner in tuple(_inside(groups)):
            groups += inner.groups
            inserted += inner.inserted
            folded += inner.folded
        return Fusion(tuple(groups), tuple(inserted), tuple(folded))


def _inside(groups: Iterable[Group]) -> Iterator[Fusion]:
    """Of the bodies of control-flow nodes."""
    for group in groups:
        bodies = {name: body for kernel in group.kernels for name, body in kernel.bodies.items()}
        for node in group.nodes:
            for name, body in node.subgraphs.items():
                yield fusion(body, bodies.pop(name, ()))


def _family(op: str) -> str | None:
    return _FAMILIES.get(op.rpartition(".")[2])


def is_only_moving(op: str) -> bool:
    """Whether a kernel of this operator only hands data on, in another layout or type."""
    return _family(op) is not None


def may_do(kernel_op: str, node_op: str) -> bool:
    """Whether a kernel of that operator may do what such a node says, alone or with others."""
    return _alike(kernel_op.removeprefix("Fused"), node_op)


def _is_plain(op: str) -> bool:
    """Whether the kernel is one standard operator, in a layout of its own perhaps."""
    return "." not in op or op.startswith(_LAYOUT_DOMAIN)


def _alike(kernel_op: str, node_op: str) -> bool:
    """Whether such a kernel may do just what such a node says."""
    bare = kernel_op.rpartition(".")[2]
    family = _FAMILIES.get(bare)
    return (
        bare == node_op
        or node_op in _ALIKE.get(bare, ())
        or (family is not None and family == _family(node_op))
    )


def _users(reads: Iterable[tuple[int, Iterable[str]]]) -> dict[str, list[int]]:
    """Value → who reads it."""
    users: dict[str, list[int]] = {}
    for index, values in reads:
        for value in values:
            users.setdefault(value, []).append(index)
    return users


def _readings(name: str) -> Iterator[str]:
    """What a kernel's name may be made of, the likeliest first: itself, then with less and less added to it."""
    yield name
    for suffix in _SUFFIXES:
        if name.endswith(suffix):
            yield name.removesuffix(suffix)
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    name = name.partition("_token_")[0]
    while name:
        yield name
        name = name.rpartition("/")[0]


def _same_values(graph: Graph) -> dict[str, str]:
    """Value → the first one that is computed alike, for values that are not it: a runtime computes these once."""
    same: dict[str, str] = {}
    seen: dict[Hashable, tuple[str, ...]] = {}
    for name, array in graph.constants.items():
        key = ("", array.dtype.str, array.shape, array.tobytes() if array.dtype != object else str(array))
        first = seen.setdefault(key, (name,))[0]
        if first != name:
            same[name] = first
    for node in graph.nodes:
        if node.subgraphs or node.op_type in RANDOM:
            continue
        made = (node.label, tuple(same.get(value, value) for value in node.inputs), _frozen(node.attributes))
        outputs = seen.setdefault(made, node.outputs)
        if outputs is not node.outputs and len(outputs) == len(node.outputs):
            same.update(zip(node.outputs, outputs, strict=True))
    return same


def _frozen(attributes: Mapping[str, object]) -> Hashable:
    return tuple(
        (name, _frozen_value(value)) for name, value in sorted(attributes.items(), key=lambda each: each[0])
    )


def _frozen_value(value: object) -> Hashable:
    if isinstance(value, numpy.ndarray):
        return value.dtype.str, value.shape, value.tobytes() if value.dtype != object else str(value)
    return value if isinstance(value, Hashable) else repr(value)
