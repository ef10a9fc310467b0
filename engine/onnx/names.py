"""Which layer a node is: the scopes that exporters write into node names, or beside them as metadata.

``/layer1/layer1.0/conv1/Conv`` (torch's TorchScript exporter) and ``["", "layer1", "layer1.0", "layer1.0.conv1",
"conv2d"]`` in ``pkg.torch.onnx.name_scopes`` (torch.export's) both are of the layer ``layer1.0.conv1``. A node that is
alone in its scope is that layer; any other is a layer of its own below its scope, by the last part of its name.
"""

from __future__ import annotations

import ast
from collections import Counter

from engine.onnx.graph import Graph, Node

SCOPES = "pkg.torch.onnx.name_scopes"


def give_paths(graph: Graph) -> None:
    """Set ``path`` of every node; paths are unique."""
    nodes = list(graph.walk())
    places = {id(node): place(node) for node in nodes}
    used = Counter(scope for scope, _ in places.values())
    inner = {parent for scope, _ in places.values() for parent in parents(scope)}
    taken: set[str] = set(inner)
    for node in nodes:
        scope, leaf = places[id(node)]
        alone = bool(scope) and used[scope] == 1 and scope not in inner
        node.path = _unique(scope if alone else f"{scope}.{leaf}".lstrip("."), taken)


def place(node: Node) -> tuple[str, str]:
    """(scope, last part of the name) of a node; the scope is ``""`` for the model itself."""
    written = _written_scopes(node)
    if written:
        return written[-1] if len(written) > 0 else "", _leaf(node)
    parts = [part for part in node.name.split("/") if part]
    scope = ""
    for part in parts[:-1]:
        scope = part if scope and part.startswith(f"{scope}.") else f"{scope}.{part}".lstrip(".")
    return scope, _leaf(node)


def parents(scope: str) -> list[str]:
    """All scopes around ``scope``: ``a.b.c`` → ``a``, ``a.b``."""
    parts = scope.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts))]


def _written_scopes(node: Node) -> list[str]:
    """Module scopes in the metadata, outermost first, without the operation itself; empty where there are none."""
    text = node.metadata.get(SCOPES, "")
    if not text:
        return []
    try:
        scopes = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return []
    return [str(each) for each in scopes[:-1]] if isinstance(scopes, list) else []


def _leaf(node: Node) -> str:
    last = node.name.rstrip("/").rpartition("/")[2] or node.op_type
    return last.replace(".", "_")


def _unique(path: str, taken: set[str]) -> str:
    number, unique = 1, path
    while unique in taken:
        number += 1
        unique = f"{path}_{number}"
    taken.add(unique)
    return unique
