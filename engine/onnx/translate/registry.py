"""Operator names → functions that say which operation of engine.cost a node is, and with which arguments."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from engine.cost import Work, cost_of
from engine.graph import OpCall, Shape
from engine.onnx.graph import Array, Node

log = logging.getLogger(__name__)

MODULES = ("convolution", "elementwise")
"""Modules beside this one that register translations."""


class NodeCall(NamedTuple):
    """One node at known shapes. ``inputs`` and ``outputs`` are in schema order, None for an absent or unknown one."""

    node: Node
    opset: int
    inputs: tuple[Shape | None, ...]
    outputs: tuple[Shape | None, ...]
    input_dtypes: tuple[str, ...]
    output_dtypes: tuple[str, ...]
    constant: Callable[[int], Array | None]
    """The value of the input at that position, where it is small and known."""

    def attribute(self, name: str, default: object) -> object:
        value = self.node.attributes.get(name)
        return default if value is None else value


Translation: TypeAlias = Callable[[NodeCall], OpCall | tuple[str, Work]]
"""Either the operation that has a formula in engine.cost, or family and work at once where no other format has it."""

_translations: dict[tuple[str, str], Translation] = {}
_loaded = False


def translates(*ops: str, domain: str = "") -> Callable[[Translation], Translation]:
    """Register a function for operators of ``domain`` (``""`` is the standard one)."""

    def register(translation: Translation) -> Translation:
        for op in ops:
            if (domain, op) in _translations:
                raise ValueError(f"{domain}:{op} has a translation already.")
            _translations[domain, op] = translation
        return translation

    return register


def work(call: NodeCall) -> tuple[str, Work]:
    """(family, work) of one node; without a translation, or with unknown shapes, it is not counted."""
    _load()
    node = call.node
    translation = _translations.get(("" if node.domain == "ai.onnx" else node.domain, node.op_type))
    if translation is None:
        return "other", Work(None, None, None, f"not counted: no formula for {node.label}")
    if any(name and shape is None for name, shape in zip(node.outputs, call.outputs, strict=True)):
        return "other", Work(None, None, None, "not counted: the shapes are not known")
    found = translation(call)
    return cost_of(found) if isinstance(found, OpCall) else found


def _load() -> None:
    global _loaded
    if not _loaded:
        for name in MODULES:
            importlib.import_module(f"engine.onnx.translate.{name}")
        _loaded = True


def shapes(values: tuple[Shape | None, ...]) -> tuple[Shape, ...]:
    """Those that are known."""
    return tuple(each for each in values if each is not None)
