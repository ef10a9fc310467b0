"""The tree of layers that node names and scopes tell, with what can be edited of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set

from msgspec.structs import replace

from engine.graph import AttributeValue
from engine.onnx.attributes import editable_fields, shown_attributes
from engine.onnx.document import Document
from engine.onnx.edits import EditedDocument, opsets
from engine.onnx.graph import Node
from engine.onnx.joins import is_within
from engine.onnx.names import classes, model_class, parents
from engine.onnx.parameters import Parameter
from engine.results import Modules

SHOWN_ITEMS = 16
"""Of a list in an attribute; the weights of a tree ensemble have thousands."""


class ModuleTable:
    """One row per scope and per node of a forward pass, parents before children; row 0 is the model."""

    def __init__(
        self,
        document: Document,
        nodes: Iterable[Node],
        read: Mapping[str, tuple[str, ...]],
        parameters: Mapping[str, Parameter],
        unread: Iterable[str] = (),
    ) -> None:
        """``read`` are the parameters of each of ``nodes`` by its name; ``unread`` those of none of them."""
        self._paths = [""]
        self._row = {"": 0}
        self._node_of: dict[str, Node] = {}
        self._class_of: dict[str, str] = {"": model_class(document.graph, document.model.graph.name)}
        self._parameters = parameters
        self._owned: dict[str, set[str]] = {"": set(unread)}
        self._opsets = opsets(document)
        self._graph_name = document.model.graph.name
        self._stored = document.stored
        self._removed: dict[str, Node | None] = {}
        """Paths that edits took out, with the node that each was; None for a scope."""
        nodes = list(nodes)
        if isinstance(document, EditedDocument) and document.original is not None:
            self._add_removed(document.original, document.removed, {node.path for node in nodes})
        for node in nodes:
            self._add(node)
            names = read.get(node.name, ())
            if names:
                for scope in ("", *parents(node.path), node.path):
                    self._owned.setdefault(scope, set()).update(names)
        self._columns = self._table()

    def columns(self, calls: Mapping[str, int] | None = None, untouched: Set[str] = frozenset()) -> Modules:
        """The table; ``calls`` by path where not every module is called once, ``untouched`` are parameters."""
        if calls is None and not untouched:
            return self._columns
        owned, parameters = self._owned, self._parameters
        return replace(
            self._columns,
            calls=self._columns.calls
            if calls is None
            else tuple([calls.get(path, 1) for path in self._paths]),
            untouched_params=tuple(
                [
                    sum(parameters[name].elements for name in owned.get(path, set()) & untouched)
                    for path in self._paths
                ]
            ),
        )

    def holders(self, path: str) -> tuple[str, ...]:
        """The modules around ``path`` and itself, the model first."""
        return ("", *parents(path), path) if path else ("",)

    def _add(self, node: Node) -> None:
        self._add_scopes(node.path, node)
        self._node_of[node.path] = node

    def _add_scopes(self, path: str, node: Node) -> None:
        """Rows for ``path`` and what is around it; ``node`` is there and tells their classes."""
        written: dict[str, str] | None = None
        for scope in (*parents(path), path):
            if scope not in self._row:
                self._row[scope] = len(self._paths)
                self._paths.append(scope)
                if scope != node.path:
                    written = classes(node) if written is None else written
                    self._class_of[scope] = written.get(scope, "")

    def _add_removed(self, original: Document, removed: tuple[str, ...], there: Set[str]) -> None:
        """Rows in the order that they had, of what edits took out too: it stays visible, and can be taken back."""
        for node in original.graph.walk():
            within = next((path for path in removed if is_within(node.path, path)), "")
            if within:
                self._removed.setdefault(within, None)
                self._add_scopes(within, node)
                if within == node.path:
                    self._removed[within] = node
            elif node.path in there:
                self._add(node)

    def _table(self) -> Modules:
        paths, parameters = self._paths, self._parameters
        owned = [self._owned.get(path, set()) for path in paths]
        return Modules(
            path=tuple(paths),
            class_name=tuple([self._class_name(path) for path in paths]),
            parent=tuple([-1 if not path else self._row[path.rpartition(".")[0]] for path in paths]),
            calls=(1,) * len(paths),
            params=tuple([sum([parameters[name].elements for name in names]) for names in owned]),
            weight_bytes=tuple([sum([parameters[name].bytes for name in names]) for names in owned]),
            untouched_params=(0,) * len(paths),
            removed=tuple([path in self._removed for path in paths]),
            attributes=tuple([self._attributes(path) for path in paths]),
            editable=tuple([self._editable(path) for path in paths]),
            node=tuple([self._node_name(path) for path in paths]),
            tensor=tuple([self._tensor_name(path) for path in paths]),
        )

    def _class_name(self, path: str) -> str:
        node = self._shown(path)
        return node.label if node is not None else self._class_of.get(path, "")

    def _node_name(self, path: str) -> str:
        if not path:
            return self._graph_name
        node = self._shown(path)
        return node.name if node is not None else ""

    def _tensor_name(self, path: str) -> str:
        node = self._shown(path)
        return next(filter(None, node.outputs), "") if node is not None else ""

    def _shown(self, path: str) -> Node | None:
        """The node whose facts the row shows: of a removed one those that it had."""
        return self._removed[path] if path in self._removed else self._node_of.get(path)

    def _editable(self, path: str) -> tuple[str, ...]:
        node = self._node_of.get(path)
        return editable_fields(node, self._opsets) if node is not None and path not in self._removed else ()

    def _attributes(self, path: str) -> dict[str, AttributeValue]:
        node = self._shown(path)
        if node is None:
            return {}
        found = shown_attributes(node, self._opsets, self._stored)
        return {
            name: value
            for name, value in found.items()
            if not isinstance(value, tuple) or len(value) <= SHOWN_ITEMS
        }
