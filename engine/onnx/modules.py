"""The tree of layers that node names and scopes tell, with what can be edited of each."""

from __future__ import annotations

from collections import Counter

from engine.graph import AttributeValue
from engine.onnx.document import Document
from engine.onnx.graph import Node
from engine.onnx.names import parents
from engine.onnx.parameters import Role
from engine.results import Modules


class ModuleTable:
    """One row per scope and per node, parents before children; row 0 is the model."""

    def __init__(self, document: Document, role_of: dict[str, Role]) -> None:
        self._paths = [""]
        self._row = {"": 0}
        self._node_of: dict[str, Node] = {}
        for node in document.graph.walk():
            for scope in (*parents(node.path), node.path):
                if scope not in self._row:
                    self._row[scope] = len(self._paths)
                    self._paths.append(scope)
            self._node_of[node.path] = node
        stored = document.graph.stored
        self._owned: dict[str, set[str]] = {path: set() for path in self._paths}
        for node in document.graph.walk():
            read = {name for name in node.inputs if role_of.get(name) == "parameter"}
            for scope in ("", *parents(node.path), node.path):
                self._owned[scope] |= read
        self._stored = stored
        self._called = Counter(path for node in document.graph.walk() for path in ("", *parents(node.path)))

    def columns(self) -> Modules:
        """Every row is called once by a forward pass."""
        paths = self._paths
        return Modules(
            path=tuple(paths),
            class_name=tuple([self._class_name(path) for path in paths]),
            parent=tuple([-1 if not path else self._row[path.rpartition(".")[0]] for path in paths]),
            calls=(1,) * len(paths),
            params=tuple([self._elements(path) for path in paths]),
            weight_bytes=tuple([sum(self._stored[n].bytes for n in self._owned[path]) for path in paths]),
            untouched_params=(0,) * len(paths),
            removed=(False,) * len(paths),
            attributes=tuple([self._attributes(path) for path in paths]),
            editable=((),) * len(paths),
        )

    def _class_name(self, path: str) -> str:
        node = self._node_of.get(path)
        return node.label if node is not None else ""

    def _elements(self, path: str) -> int:
        total = 0
        for name in self._owned[path]:
            size = 1
            for each in self._stored[name].shape:
                size *= each
            total += size
        return total

    def _attributes(self, path: str) -> dict[str, AttributeValue]:
        node = self._node_of.get(path)
        if node is None:
            return {}
        return {
            name: value
            for name, value in node.attributes.items()
            if isinstance(value, (int, float, str))
            or (isinstance(value, tuple) and all(isinstance(each, int) for each in value))
        }
