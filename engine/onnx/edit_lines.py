"""Edits of an ONNX file as lines of Python that do the same with ``onnx`` to a model called ``model``."""

from __future__ import annotations

import math
from collections.abc import Sequence

from onnx import TensorProto

from engine.edits import Value
from engine.onnx.dtypes import dtype_name

MAIN = "[model.graph]"
ALL = "every_graph(model.graph)"
"""Where the file has bodies; engine.results defines the function above the lines."""


def set_attribute(
    outputs: Sequence[str], path: str, name: str, value: Value, without: str, *, bodies: bool
) -> list[str]:
    """Set attribute ``name`` of the node that computes ``outputs``, and drop ``without`` if that is one."""
    output = next(each for each in outputs if each)
    others = f" not in {(name, without)!r}" if without else f" != {name!r}"
    return [
        f"node = next(n for g in {ALL if bodies else MAIN} for n in g.node if {output!r} in n.output)  # {path}",
        f"others = [a for a in node.attribute if a.name{others}]",
        "del node.attribute[:]",
        f"node.attribute.extend([*others, helper.make_attribute({name!r}, {value!r})])",
    ]


def new_weight(
    name: str, tensor: TensorProto, fan_in: int, *, bodies: bool, node: bool, input: bool
) -> list[str]:
    """Random values in place of the weight ``name``, which gets the shape of ``tensor``.

    ``node``: it is the value of a Constant node, not an initializer; ``input``: it is among the graph's inputs too.
    """
    shape, dtype = tuple(tensor.dims), dtype_name(tensor.data_type)
    graphs = ALL if bodies else MAIN
    random = "numpy.random.default_rng(0)"
    if dtype.startswith(("int", "uint")):
        low = 0 if dtype.startswith("u") else -8
        values = f"{random}.integers({low}, {low + 16}, {shape})"
    else:
        scale = math.sqrt(max(fan_in, 1))
        values = f"{random}.standard_normal({shape}, dtype=numpy.float32) / numpy.float32({scale!r})"
    if node:
        found = (
            f"a.t for g in {graphs} for n in g.node if {name!r} in n.output "
            "for a in n.attribute if a.name == 'value'"
        )
    else:
        found = f"t for g in {graphs} for t in g.initializer if t.name == {name!r}"
    lines = [
        f"weight = next({found})",
        f"values = {values}",
        "weight.CopyFrom(helper.make_tensor(weight.name, weight.data_type, values.shape, values.ravel()))",
    ]
    if input:
        lines += [
            f"value = next(v for v in model.graph.input if v.name == {name!r})",
            f"value.CopyFrom(helper.make_tensor_value_info(value.name, {tensor.data_type}, {shape}))",
        ]
    return lines


def remove(
    path: str,
    gone: Sequence[tuple[str, ...]],
    instead: dict[str, str],
    kept: dict[str, str],
    unused: Sequence[str],
    *,
    bodies: bool,
) -> list[str]:
    """Take the nodes that compute ``gone`` and the initializers ``unused`` out.

    Reads of a key of ``instead`` become reads of its value; a key of ``kept`` stays, as a copy of its value.
    """
    names = [next(filter(None, outputs)) for outputs in gone if any(outputs)]
    lines = [f"# {path} removed", f"for graph in {ALL if bodies else MAIN}:"]
    if kept:
        lines += [
            f"    for node in [n for n in graph.node if not {set(kept)!r}.isdisjoint(n.output)]:",
            f"        name = next(o for o in node.output if o in {sorted(kept)!r})",
            f'        node.CopyFrom(helper.make_node("Identity", [{kept!r}[name]], [name]))',
        ]
    lines += [
        f"    nodes = [n for n in graph.node if not {_set(names)}.intersection(n.output)]",
        "    del graph.node[:]",
        "    graph.node.extend(nodes)",
    ]
    if instead:
        lines += [
            "    for node in graph.node:",
            f"        node.input[:] = [{instead!r}.get(name, name) for name in node.input]",
        ]
    if unused:
        lines += [
            f"    weights = [t for t in graph.initializer if t.name not in {_set(unused)}]",
            "    del graph.initializer[:]",
            "    graph.initializer.extend(weights)",
        ]
    return lines


def text(value: Value) -> str:
    """``3x3`` for ``(3, 3)``."""
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _set(names: Sequence[str]) -> str:
    return "{" + ", ".join(map(repr, names)) + "}" if names else "set()"
