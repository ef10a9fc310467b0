"""Which layer a node is, by what exporters write into node names, beside them as metadata, and into names of weights.

- ``/layer1/layer1.0/conv1/Conv`` (torch's TorchScript exporter) is a node of the layer ``layer1.0.conv1``: a numbered
  child repeats the name of what holds it. ``/layer1/layer1.0/relu_1/Relu`` is the second call of ``layer1.0.relu``.
- ``["", "layer1", "layer1.0", "layer1.0.conv1", "conv2d"]`` in ``pkg.torch.onnx.name_scopes`` (torch.export's exporter)
  is of the same layer. Where that exporter folded a norm into a convolution it names the norm; the weight's name tells.
- ``model/block1_conv/Conv2D`` (Keras, tf2onnx) and ``layer1.0.conv1`` are scopes as well; ``Conv_0``,
  ``resnetv17_conv0_fwd`` and no name at all are layers of the model itself.
- A node that uses ``layer1.0.conv1.weight`` is of the layer ``layer1.0.conv1``, where its own name tells nothing or
  only a module around that layer: a row is named after the owner of its weight. The product of a linear layer whose
  weight lost its name on the way (it was transposed) goes where the bias that is added to it belongs.

A node that is alone in its layer is that layer; of several each is a layer of its own below.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from engine.onnx.computed import computed, scoped
from engine.onnx.graph import Graph, Node
from engine.onnx.parameters import Tensors, owner

SCOPES = "pkg.torch.onnx.name_scopes"
CLASSES = "pkg.torch.onnx.class_hierarchy"
NO_MODULE = "_empty_nn_module_stack_from_metadata_hook"
"""What torch.export's exporter writes as the scope of nodes that it put in itself, such as the reading of sizes."""
NAMELESS = ("", "main_graph", "torch_jit", "torch-jit-export", "tf2onnx", "main", "graph", "torch_jit_export")
"""Names that exporters give every graph."""
DEEPEST = 32
"""Levels of scopes; what a name has beyond is one part."""
LONGEST = 128
"""Characters of one part of a path."""
_AGAIN = re.compile(r"(.+)_\d+$")
_CALL = re.compile(r"@\d+$")
_NUMBERED = re.compile(r"(?:n|node|op|layer)?_?\d+$", re.IGNORECASE)
"""A name that tells nothing, as one of the operator with a number does not."""
_OF_WEIGHT = re.compile(r"[._/](?:weight|kernel|gamma|scale|w|s)(?:_\d+)?(?::0)?$", re.IGNORECASE)


class Place(NamedTuple):
    """The layer around a node, ``""`` for the model itself, and what to call the node within it."""

    scope: str
    leaf: str


def give_paths(graph: Graph) -> None:
    """Set ``path`` of every node; paths are unique. Nodes of a body are below the node that has it."""
    told = scoped(graph)
    _give(graph, Place("", ""), "", Tensors(told, computed(told)), _Taken())


def _give(graph: Graph, control: Place, within: str, tensors: Tensors, taken: _Taken) -> None:
    """Paths of the nodes of one graph; it is the body at ``within`` of a node that is at ``control``."""
    nodes = graph.nodes
    places = _one_layer_per_module(nodes, _owned(nodes, [place(node) for node in nodes], tensors))
    if within:
        places = [Place(_below(each.scope, control.scope, within), each.leaf) for each in places]
    used = Counter([each.scope for each in places])
    inner = {around for scope in used for around in parents(scope)}
    taken.add(inner, used)
    for node, found in zip(nodes, places, strict=True):
        scope, leaf = found
        alone = bool(scope) and scope != within and used[scope] == 1 and scope not in inner
        node.path = scope if alone else taken.unique(f"{scope}.{leaf}" if scope else leaf)
        for attribute, body in node.subgraphs.items():
            branch = attribute.removesuffix("_branch")
            below = f"{node.path}.{_part(branch)}" if len(node.subgraphs) > 1 else node.path
            _give(body, found, below, tensors, taken)


def _below(scope: str, around: str, within: str) -> str:
    """The scope of a node in a body, which may repeat the scope around the node that has the body."""
    inner = scope.removeprefix(around).lstrip(".") if is_within(scope, around) else scope
    return f"{within}.{inner}" if inner else within


def place(node: Node) -> Place:
    """Where the node is by its metadata, else by its name."""
    written = _written_scopes(node)
    if written:
        return Place(_scope(tuple(written[-1].split("."))), _part(_written_leaf(node)))
    name = node.name
    if "/" in name:
        parts = [part for part in name.split("/") if part]
        return Place(_from_parts(tuple(parts[:-1])), _part(parts[-1] if parts else node.op_type))
    if owner(name):
        return Place(_scope(tuple(name.split("."))), node.op_type)
    return Place("", _part(name or node.op_type))


@lru_cache(4096)
def parents(scope: str) -> tuple[str, ...]:
    """All scopes around ``scope``: ``a.b.c`` → ``a``, ``a.b``."""
    parts = scope.split(".")
    return tuple([".".join(parts[:length]) for length in range(1, len(parts))])


def classes(node: Node) -> dict[str, str]:
    """The class of every module around a node, by path, where an exporter wrote it: ``layer1.0`` → ``BasicBlock``."""
    kinds = _read_list(node.metadata.get(CLASSES, ""))
    scopes = _read_list(node.metadata.get(SCOPES, ""))
    if len(kinds) != len(scopes):
        return {}
    found = {}
    for scope, kind in zip(scopes[:-1], kinds[:-1], strict=True):
        if scope == NO_MODULE:
            continue
        path = _scope(tuple(_CALL.sub("", scope).split("."))) if scope else ""
        found[path] = kind.rpartition(".")[2]
    return found


def model_class(graph: Graph, name: str) -> str:
    """The class of the model where an exporter wrote it, else the graph's ``name`` unless all graphs are called so."""
    for node in graph.nodes:
        found = classes(node).get("")
        if found:
            return found
    return "" if name in NAMELESS else name


def _written_scopes(node: Node) -> list[str]:
    """Module scopes in the metadata, outermost first, without the operation itself; empty where there are none."""
    scopes = _read_list(node.metadata.get(SCOPES, ""))[:-1]
    return [_CALL.sub("", scope) for scope in scopes if scope != NO_MODULE]


def _written_leaf(node: Node) -> str:
    return node.name.rpartition("/")[2].removeprefix("node_") or node.op_type


@lru_cache(8192)
def _read_list(text: str) -> tuple[str, ...]:
    if not text:
        return ()
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return ()
    return tuple([str(each) for each in found]) if isinstance(found, list) else ()


@lru_cache(8192)
def _from_parts(parts: tuple[str, ...]) -> str:
    """``("layer1", "layer1.0", "conv1")`` → ``layer1.0.conv1``."""
    found: list[str] = []
    before = ""
    for part in parts:
        tail = part[len(before) + 1 :] if before and part.startswith(f"{before}.") else part
        found += [each for each in tail.split(".") if each]
        before = part
    return _scope(tuple(found))


@lru_cache(8192)
def _scope(parts: tuple[str, ...]) -> str:
    """Parts as a path, not deeper and none longer than what can be shown; ``""`` for a module without a name."""
    parts = tuple([part for part in parts if part])
    if len(parts) > DEEPEST:
        parts = (*parts[: DEEPEST - 1], "_".join(parts[DEEPEST - 1 :]))
    return ".".join([_part(part) for part in parts])


def _part(text: str) -> str:
    """One part of a path: dots separate parts, and a colon stands between a path and its operation."""
    text = text.replace(".", "_").replace(":", "_")
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _owned(nodes: list[Node], places: list[Place], tensors: Tensors) -> list[Place]:
    """``places``, where the owner of a node's weight tells more than its name."""
    place_of = {}
    readers: dict[str, list[Node]] = {}
    for node, found in zip(nodes, places, strict=True):
        place_of[node.name] = _by_weight(node, found, tensors)
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    for node in nodes:
        # The product of a linear layer, whose bias is added next.
        if node.op_type != "MatMul" or not node.outputs or node.name not in tensors.uses:
            continue
        after = readers.get(node.outputs[0], ())
        if len(after) == 1 and after[0].op_type == "Add" and after[0].name in tensors.uses:
            theirs, mine = place_of[after[0].name], place_of[node.name]
            if theirs.scope != mine.scope and is_within(theirs.scope, mine.scope):
                place_of[node.name] = Place(theirs.scope, mine.leaf)
    return [place_of[node.name] for node in nodes]


def _by_weight(node: Node, found: Place, tensors: Tensors) -> Place:
    for use in tensors.uses.get(node.name, ()):
        if use.role == "constant":
            continue
        layer = owner(use.name)
        if not layer:
            told = _OF_WEIGHT.sub("", use.name).strip("/")
            if told and told != use.name and _tells_nothing(node, found):
                return Place(_scope(tuple(told.replace("/", ".").split("."))), _part(node.op_type))
            return found
        layer = _scope(tuple(layer.split(".")))
        folded = "FuseBatchNorm" in node.metadata.get("pkg.onnxscript.rewriter.rule_name", "")
        again = _AGAIN.match(found.scope)
        if folded or is_within(layer, found.scope) or (again and again[1] == layer):
            return Place(layer, found.leaf)
        return found
    return found


def _tells_nothing(node: Node, found: Place) -> bool:
    """Whether a node has no name of its own: ``Conv_12``, ``n7``."""
    if found.scope:
        return False
    return _NUMBERED.match(found.leaf) is not None or found.leaf.startswith(f"{node.op_type}_")


def is_within(inner: str, outer: str) -> bool:
    return not outer or inner == outer or inner.startswith(f"{outer}.")


def _one_layer_per_module(nodes: list[Node], places: list[Place]) -> list[Place]:
    """Further calls of a module without weights, ``relu_1`` beside ``relu``, as nodes of that module.

    Only where both hold the same kinds of nodes: two layers can be called so as well.
    """
    kinds: dict[str, list[str]] = {}
    leaves: dict[str, set[str]] = {}
    for node, (scope, leaf) in zip(nodes, places, strict=True):
        kinds.setdefault(scope, []).append(node.op_type)
        leaves.setdefault(scope, set()).add(leaf)
    inner = {around for scope in kinds for around in parents(scope)}
    same: dict[str, str] = {}
    for scope, held in kinds.items():
        again = _AGAIN.match(scope.rpartition(".")[2])
        if again is None or scope in inner:
            continue
        first = f"{scope.rpartition('.')[0]}.{again[1]}".lstrip(".")
        if kinds.get(first) == held and first not in inner and leaves[first] == leaves[scope]:
            same[scope] = first
    return [Place(same.get(each.scope, each.scope), each.leaf) for each in places]


class _Taken:
    """Names that are given away, and how to make another from a name that is."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._next: dict[str, int] = {}

    def add(self, *names: Iterable[str]) -> None:
        self._names.update(*names)

    def unique(self, name: str) -> str:
        number, found = self._next.get(name, 1), name
        while found in self._names:
            number += 1
            found = f"{name}_{number}"
        self._next[name] = number
        self._names.add(found)
        return found
