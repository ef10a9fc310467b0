"""What a layer stands between: the one value that goes on when the layer is taken out of the graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from engine.errors import InputError
from engine.onnx.computed import Computed, computed
from engine.onnx.graph import Graph, Node

MOST_NAMED = 3
"""Layers or values that a sentence names."""


class Join(NamedTuple):
    """``before`` goes on in place of ``after`` once ``nodes`` are gone, which are nodes of one graph."""

    nodes: tuple[Node, ...]
    before: str
    after: str
    """``""`` where nothing reads what the nodes compute: they only go."""


class Joins:
    """Of one document, bodies included; looks at the graph as it was opened."""

    def __init__(self, graph: Graph, dtypes: Mapping[str, str]) -> None:
        """``dtypes`` of values by name, as far as they are known."""
        self._graph = graph
        self._dtypes = dtypes
        self._computed: Computed = computed(graph)
        self._producer: dict[str, Node] = {}
        self._readers: dict[str, list[Node]] = {}
        self._results: set[str] = set()
        """Outputs of the graph and of bodies: somebody outside reads them."""
        for each in graph.graphs():
            self._results.update(each.outputs)
            for node in each.nodes:
                self._producer.update(dict.fromkeys(node.outputs, node))
                for name in reads(node):
                    self._readers.setdefault(name, []).append(node)
        self.read: frozenset[str] = frozenset((*self._readers, *self._results))
        """Values that somebody reads."""

    def is_result(self, name: str) -> bool:
        """Whether the graph or a body gives this value out, so that its name has to stay."""
        return name in self._results

    def of(self, path: str) -> list[Join]:
        """What to join when ``path`` is taken out, a node or a scope; one join per call of a module.

        Empty for a path that is not there. Raises InputError where the values around it cannot be joined.
        """
        holders = [
            nodes
            for graph in self._graph.graphs()
            if (nodes := [node for node in graph.nodes if is_within(node.path, path)])
        ]
        # What a body holds goes with the node that has the body.
        inside = {id(node) for nodes in holders for top in nodes for node in below(top)}
        tops = [[node for node in nodes if id(node) not in inside] for nodes in holders]
        return [self._join(path, part) for nodes in tops for part in self._parts(nodes)]

    def _parts(self, nodes: list[Node]) -> Iterator[list[Node]]:
        """``nodes`` by what hangs together: the calls of a module that is called several times are apart."""
        group = {id(node): [node] for node in nodes}
        for node in nodes:
            for name in reads(node):
                maker = self._producer.get(name)
                if maker is None or id(maker) not in group or group[id(maker)] is group[id(node)]:
                    continue
                small, large = sorted((group[id(maker)], group[id(node)]), key=len)
                large.extend(small)
                for moved in small:
                    group[id(moved)] = large
        found = {id(part): part for part in group.values()}
        order = {id(node): number for number, node in enumerate(nodes)}
        for part in found.values():
            yield sorted(part, key=lambda node: order[id(node)])

    def _join(self, path: str, nodes: list[Node]) -> Join:
        own = {id(each) for node in nodes for each in (node, *below(node))}
        made = [name for node in nodes for name in node.outputs if name]
        read_outside = [name for name in made if self._is_read_outside(name, own)]
        if not read_outside:
            return Join(tuple(nodes), "", "")
        if len(read_outside) > 1:
            raise InputError(
                f"{path} cannot be removed: it passes on {len(read_outside)} values "
                f"({_some(read_outside)}), and removing it leaves one.",
                hint="Remove layers inside it that pass on one value.",
                layer=path,
            )
        return Join(tuple(nodes), self._before(path, nodes, set(made), read_outside[0]), read_outside[0])

    def _before(self, path: str, nodes: list[Node], made: set[str], after: str) -> str:
        """The value that goes on in place of ``after``."""
        entering = dict.fromkeys(name for node in nodes for name in reads(node) if name not in made)
        known = self._computed
        data = [name for name in entering if name not in known.fixed and name not in known.sizes]
        dtype = self._dtypes.get(after, "")
        fitting = [name for name in data if not dtype or self._dtypes.get(name, dtype) == dtype]
        if len(fitting) == 1:
            return fitting[0]
        if len(fitting) > 1:
            raise InputError(
                f"{path} cannot be removed: it joins {len(fitting)} values ({self._makers(fitting)}), "
                "and removing it does not say which of them goes on.",
                hint="Remove what computes one of them instead.",
                layer=path,
            )
        if data:
            raise InputError(
                f"{path} cannot be removed: it takes {self._dtypes.get(data[0])} and gives {dtype}, "
                "which what follows needs.",
                layer=path,
            )
        raise InputError(f"{path} cannot be removed: no value goes into it that could go on.", layer=path)

    def _is_read_outside(self, name: str, own: set[int]) -> bool:
        return name in self._results or any(id(node) not in own for node in self._readers.get(name, ()))

    def _makers(self, names: list[str]) -> str:
        return _some([self._producer[name].path if name in self._producer else name for name in names])


def reads(node: Node) -> Iterator[str]:
    """Values that ``node`` and its bodies read from around it; each as often as it is read."""
    yield from (name for name in node.inputs if name)
    for body in node.subgraphs.values():
        own = {*body.inputs, *body.stored}
        for inner in body.nodes:
            own.update(inner.outputs)
        for inner in body.nodes:
            yield from (name for name in reads(inner) if name not in own)
        yield from (name for name in body.outputs if name not in own)


def is_within(path: str, scope: str) -> bool:
    """Whether ``path`` is ``scope`` or below it."""
    return path == scope or path.startswith(f"{scope}.")


def below(node: Node) -> Iterator[Node]:
    """The nodes of all bodies of ``node``."""
    for body in node.subgraphs.values():
        yield from body.walk()


def _some(names: list[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
