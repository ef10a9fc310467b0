"""The tree of an analysis, without numbers: modules, their executed operations below, in execution order.

Plain data that both processes read. A node is an integer; node 0 is the model. Names are those used
everywhere: a module by its path, an operation row by its id.
"""

from __future__ import annotations

from collections.abc import Set
from typing import TypeAlias

from engine.results import Analysis

StructureKey: TypeAlias = tuple[tuple[str, ...], tuple[int, ...], tuple[str, ...], tuple[str, ...], Set[int]]


def structure_key(analysis: Analysis, hidden: Set[int] = frozenset()) -> StructureKey:
    """What decides the tree. Two analyses with equal keys differ in numbers only."""
    modules, layers = analysis.modules, analysis.layers
    return modules.path, modules.parent, layers.id, layers.path, hidden


def idle_rows(analysis: Analysis) -> frozenset[int]:
    """Rows that cost nothing: views, selections and other names for data that is there already.

    Data movement that writes or moves bytes is no such row.
    """
    layers = analysis.layers
    columns = zip(layers.family, layers.flops, layers.activation_bytes, layers.bytes_moved, strict=True)
    return frozenset(
        row
        for row, (family, flops, activations, moved) in enumerate(columns)
        if family == "movement" and flops == 0 and activations == 0 and moved == 0
    )


class LayerStructure:
    """Nodes in display order (parents before children); every list is indexed by node.

    A leaf module that executed exactly one operation is one node: named by the row's id, labelled as the module.
    An operation that belongs to a module with child modules is a sibling of these. A module sits where
    its first operation executes; one without operations sits after the sibling registered before it.

    Rows of Layers in ``hidden`` have no node of their own; they still belong to their modules. A node of an ONNX graph
    is a module that is one operation: hidden, the module has none either.
    """

    def __init__(self, analysis: Analysis, hidden: Set[int] = frozenset()) -> None:
        self.key = structure_key(analysis, hidden)
        self.names: list[str] = []
        self.labels: list[str] = []
        self.module: list[int] = []
        """Row in Modules: the module itself, or the owner of the operation."""
        self.row: list[int] = []
        """Row in Layers; -1 for a module with children or without operations to show."""
        self.rows: list[list[int]] = []
        """Rows in Layers of the node and everything below, hidden ones included, in execution order."""
        self.parent: list[int] = []
        self.position: list[int] = []
        """Index among the siblings."""
        self.children: list[list[int]] = []
        self.level: list[int] = []
        _Builder(analysis, self, hidden).build()
        self.node_of_name = {name: node for node, name in enumerate(self.names)}
        paths, layers = analysis.modules.path, analysis.layers
        self.node_of_path = {
            paths[self.module[node]]: node for node in range(len(self.names)) if self.stands_for_module(node)
        }
        self._owner_of_hidden = {layers.id[row]: layers.path[row] for row in hidden}
        self._idle_paths = set(self._owner_of_hidden.values())

    def __len__(self) -> int:
        return len(self.names)

    def stands_for_module(self, node: int) -> bool:
        """Whether the node is a module, possibly with its only operation; False for an operation beside others."""
        parent = self.parent[node]
        return parent < 0 or self.module[node] != self.module[parent]

    def find(self, name: str) -> int | None:
        """The node called ``name``: a module path, the id of a row, or the path of a module shown as its row.

        For a hidden row that is the module it belongs to.
        """
        node = self.node_of_name.get(name)
        if node is not None:
            return node
        path = self._owner_of_hidden.get(name, name)
        if path not in self.node_of_path and path in self._idle_paths:
            path = self._above(path)
        return self.node_of_path.get(path)

    def _above(self, path: str) -> str:
        """The innermost module around a hidden one that has a line."""
        while path and path not in self.node_of_path:
            path = path.rpartition(".")[0]
        return path

    def ancestors(self, node: int) -> list[int]:
        """Parents from the innermost to the model."""
        found = []
        while (node := self.parent[node]) >= 0:
            found.append(node)
        return found


class _Builder:
    """Fills a LayerStructure depth first, so that nodes are numbered in display order."""

    def __init__(self, analysis: Analysis, structure: LayerStructure, hidden: Set[int]) -> None:
        self.analysis = analysis
        self.out = structure
        self.hidden = hidden
        modules = analysis.modules
        index = {path: i for i, path in enumerate(modules.path)}
        self.child_modules: list[list[int]] = [[] for _ in modules.path]
        for child, parent in enumerate(modules.parent):
            if parent >= 0:
                self.child_modules[parent].append(child)
        self.own_rows: list[list[int]] = [[] for _ in modules.path]
        self.first_row: list[int | None] = [None] * len(modules.path)
        for row, path in enumerate(analysis.layers.path):
            owner = index[path]
            self.own_rows[owner].append(row)
            while owner >= 0 and self.first_row[owner] is None:
                self.first_row[owner] = row
                owner = modules.parent[owner]

    def build(self) -> None:
        if self.child_modules:
            self._add_module(0, parent=-1)

    def _add_module(self, module: int, parent: int) -> int:
        own = self.own_rows[module]
        shown = [row for row in own if row not in self.hidden]
        path = self.analysis.modules.path[module]
        label = path.rpartition(".")[2] if parent >= 0 else self._model_label()
        if parent >= 0 and len(shown) == 1 and not self.child_modules[module]:
            node = self._add_node(self.analysis.layers.id[shown[0]], label, module, shown[0], parent)
            self.out.rows[node] = own
            return node
        node = self._add_node(path, label, module, -1, parent)
        for row, child in self._items(module):
            if child is not None and self._is_idle_node(child):
                self.out.rows[node].extend(self.own_rows[child])
            elif child is not None:
                below = self._add_module(child, node)
                self.out.rows[node].extend(self.out.rows[below])
            elif row in self.hidden:
                self.out.rows[node].append(row)
            else:
                self._add_node(self.analysis.layers.id[row], self._op_label(row), module, row, node)
                self.out.rows[node].append(row)
        return node

    def _is_idle_node(self, module: int) -> bool:
        """Whether a module is but an operation (a node of an ONNX graph), and that one is hidden."""
        own = self.own_rows[module]
        if self.child_modules[module] or not own or not set(own) <= self.hidden:
            return False
        class_name, ops = self.analysis.modules.class_name[module], self.analysis.layers.op
        return all(ops[row] == class_name for row in own)

    def _items(self, module: int) -> list[tuple[int, int | None]]:
        """(first row, child module or None for an operation of the module itself), in display order."""
        items: list[tuple[int, int | None]] = [(row, None) for row in self.own_rows[module]]
        last_row = -1
        for child in self.child_modules[module]:
            first = self.first_row[child]
            if first is None:
                first = last_row
            last_row = first
            items.append((first, child))
        # Stable: siblings without operations follow the one registered before them.
        return sorted(items, key=lambda item: item[0])

    def _add_node(self, name: str, label: str, module: int, row: int, parent: int) -> int:
        out = self.out
        node = len(out.names)
        out.names.append(name)
        out.labels.append(label)
        out.module.append(module)
        out.row.append(row)
        out.rows.append([row] if row >= 0 else [])
        out.parent.append(parent)
        out.children.append([])
        out.position.append(len(out.children[parent]) if parent >= 0 else 0)
        out.level.append(out.level[parent] + 1 if parent >= 0 else 0)
        if parent >= 0:
            out.children[parent].append(node)
        return node

    def _op_label(self, row: int) -> str:
        """The op, with whatever the id adds to tell several of one module apart."""
        op = self.analysis.layers.op[row]
        suffix = self.analysis.layers.id[row].rpartition(":")[2]
        return suffix if suffix.startswith(op) else op

    def _model_label(self) -> str:
        modules = self.analysis.modules
        return self.analysis.model.class_name or modules.class_name[0] or self.analysis.model.name
