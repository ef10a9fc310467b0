"""What is assumed of the data, as values of inputs: a run does what was counted where an input decides it.

A size that an input gives is that input's value. The branch of an If, and whether a Loop begins, follow from an input
where only sign and layout change between: Identity, Not, Cast, Reshape and the like. The rest depends on the data.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from engine.graph import Assumption
from engine.onnx.graph import Graph, Node

BRANCH, TRIPS = ".branch", ".trips"
PASSING = frozenset({"Identity", "Cast", "Squeeze", "Unsqueeze", "Reshape", "Flatten"})
"""Operators that keep the truth of a single element."""
_ELEMENT = re.compile(r"(.*)\[(\d+)\]", re.DOTALL)


class AssumedInputs(NamedTuple):
    """What to run with."""

    values: Mapping[str, Mapping[int, int]]
    """Input → position in it, flattened → value."""
    open: tuple[Assumption, ...]
    """Those that no input decides: what runs may differ from what was counted."""


def assumed_inputs(graph: Graph, assumptions: Sequence[Assumption]) -> AssumedInputs:
    """The inputs of ``graph`` that make ``assumptions`` true."""
    if not assumptions:
        return AssumedInputs({}, ())
    found = _Inputs(graph)
    # Sizes first: how often a Loop runs may be one of them.
    rest = [each for each in assumptions if not found.is_given(each)]
    return AssumedInputs(found.values, tuple(each for each in rest if not found.is_decided(each)))


class _Inputs:
    def __init__(self, graph: Graph) -> None:
        self.values: dict[str, dict[int, int]] = {}
        self._graph = graph
        # Names are those of one scope: a body may not call a value as the graph around it does.
        self._producers = {name: node for node in graph.walk() for name in node.outputs if name}

    def is_given(self, assumption: Assumption) -> bool:
        """Whether it is the value of an input, which is set."""
        element = _ELEMENT.fullmatch(assumption.key)
        for name, position in ((assumption.key, 0), (element[1], int(element[2])) if element else ("", 0)):
            if name in self._graph.inputs:
                return self._set(name, position, assumption.value)
        return False

    def is_decided(self, assumption: Assumption) -> bool:
        """Whether inputs that are set make it true; False where none decides it, or has to be something else."""
        decided = [
            decide(node, assumption.value)
            for ending, op_type, decide in ((BRANCH, "If", self._branch), (TRIPS, "Loop", self._trips))
            if assumption.key.endswith(ending)
            for node in self._graph.walk()
            if node.op_type == op_type and node.path == assumption.key.removesuffix(ending)
        ]
        return bool(decided) and all(decided)

    def _set(self, name: str, position: int, value: int) -> bool:
        return self.values.setdefault(name, {}).setdefault(position, value) == value

    def _branch(self, node: Node, value: int) -> bool:
        return self._truth(node.inputs[0], bool(value))

    def _trips(self, node: Node, value: int) -> bool:
        """Whether a Loop begins, and then runs as often as its count says."""
        count, condition = (*node.inputs, "", "")[:2]
        if condition and not self._truth(condition, value > 0):
            return False
        if condition and not value:
            return True
        return self._count(count) == value and (not value or _goes_on(node.subgraphs["body"]))

    def _count(self, name: str) -> int | None:
        known = self._graph.constants.get(name)
        if known is not None and known.size == 1:
            return int(known.reshape(-1)[0])
        return self.values.get(name, {}).get(0)

    def _truth(self, name: str, wanted: bool) -> bool:
        """Makes a condition ``wanted``; False where none of the inputs decides it."""
        while name not in self._graph.inputs:
            known = self._graph.constants.get(name)
            if known is not None and known.size == 1:
                return bool(known.reshape(-1)[0]) == wanted
            node = self._producers.get(name)
            if node is None or node.domain not in ("", "ai.onnx") or node.op_type not in PASSING | {"Not"}:
                return False
            name, wanted = node.inputs[0], wanted ^ (node.op_type == "Not")
        return self._set(name, 0, int(wanted))


def _goes_on(body: Graph) -> bool:
    """Whether a Loop's body never ends it: the condition that it returns is the one it got, or is stored as true."""
    name = body.outputs[0] if body.outputs else ""
    passing = {out: node.inputs[0] for node in body.nodes if node.op_type in PASSING for out in node.outputs}
    while name in passing:
        name = passing[name]
    known = body.constants.get(name)
    if known is not None:
        return known.size == 1 and bool(known.reshape(-1)[0])
    return len(body.inputs) > 1 and name == body.inputs[1]
