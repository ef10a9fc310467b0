"""Whether nodes have the inputs and outputs that their operators cannot do without.

onnx's own shape inference takes them for granted, and the process ends where they are missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import onnx
from onnx import defs

from engine.contents import shown
from engine.errors import LoadError
from engine.files.onnx import STANDARD
from engine.files.regions import DAMAGED


class Arity(NamedTuple):
    """What an operator needs."""

    inputs: tuple[str, ...]
    """Names of the inputs up to the last one that must be there; ``""`` for one among them that need not be."""
    fewest_inputs: int
    outputs: int
    most_inputs: int
    most_outputs: int


_COUNTS = {"Split": "num_outputs", "Scan": "num_scan_inputs"}
"""Operators → the attribute that says how many of its outputs or inputs there are, and up to which onnx counts."""


class ArityCheck:
    """Checks the nodes of a model that imports these operator sets."""

    def __init__(self, opsets: Mapping[str, int]) -> None:
        self._opsets = {"" if domain in STANDARD else domain: version for domain, version in opsets.items()}

    def check(self, node: onnx.NodeProto) -> None:
        """Raises LoadError for a node that lacks an input or output, or has too many."""
        domain = "" if node.domain in STANDARD else node.domain
        arity = _arity(node.op_type, domain, self._opsets.get(domain, 1))
        if arity is None:
            return
        given = len(node.input)
        for position, name in enumerate(arity.inputs):
            if name and (position >= given or not node.input[position]):
                raise _damaged(node, f"lacks its input {name}")
        if given < arity.fewest_inputs:
            raise _damaged(node, "lacks an input")
        if len(node.output) < arity.outputs:
            raise _damaged(node, "lacks an output")
        counted = _COUNTS.get(node.op_type) if not domain else None
        if counted is not None:
            told = next((each.i for each in node.attribute if each.name == counted), 0)
            if not 0 <= told <= max(given, len(node.output)):
                raise _damaged(node, f"has {told:,} as its {counted}, which it cannot have")
        if given > arity.most_inputs or len(node.output) > arity.most_outputs:
            raise _damaged(node, "has more inputs or outputs than the operator")


@lru_cache(4096)
def _arity(op: str, domain: str, version: int) -> Arity | None:
    """None for operators that onnx does not know."""
    try:
        schema = defs.get_schema(op, version, domain)
    except defs.SchemaError:
        return None
    options = defs.OpSchema.FormalParameterOption
    needed = [each.name if each.option == options.Single else "" for each in schema.inputs]
    while needed and not needed[-1]:
        needed.pop()
    return Arity(tuple(needed), schema.min_input, schema.min_output, schema.max_input, schema.max_output)


def _damaged(node: onnx.NodeProto, what: str) -> LoadError:
    return LoadError(f"Its node {shown(node.name)} ({shown(node.op_type, 60)}) {what}.", hint=DAMAGED)
