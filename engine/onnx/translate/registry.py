"""Operator names → functions that say which operation of engine.cost a node is, and with which arguments."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from engine.cost import Work, cost_of
from engine.files.onnx import STANDARD
from engine.graph import OpCall, Shape
from engine.onnx.graph import Array, Node
from engine.results import FAMILIES

log = logging.getLogger(__name__)

MICROSOFT = "com.microsoft"
"""Operators of onnxruntime that files hold after its transformer optimiser or model builder."""
NHWC = "com.ms.internal.nhwc"
NCHWC = "com.microsoft.nchwc"
"""Standard operators in another layout, in models that onnxruntime saved after optimising them."""


class UnknownShapeError(Exception):
    """A formula needs the shape of a value that nobody could infer."""


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

    @property
    def op(self) -> str:
        return self.node.op_type

    def has(self, position: int) -> bool:
        """Whether the input at ``position`` is given: optional ones are ``""`` or missing at the end."""
        names = self.node.inputs
        return position < len(names) and names[position] != ""

    def makes(self, position: int) -> bool:
        """Whether the output at ``position`` is asked for."""
        names = self.node.outputs
        return position < len(names) and names[position] != ""

    def input(self, position: int = 0) -> Shape:
        """Shape of an input that the operator demands. Raises UnknownShapeError."""
        shape = self.inputs[position] if position < len(self.inputs) else None
        if shape is None:
            raise UnknownShapeError(_unknown("input", position, self.node.inputs))
        return shape

    def optional(self, position: int) -> Shape | None:
        """Shape of an input that may be absent. Raises UnknownShapeError where it is given and not known."""
        return self.input(position) if self.has(position) else None

    def output(self, position: int = 0) -> Shape:
        """Raises UnknownShapeError."""
        shape = self.outputs[position] if position < len(self.outputs) else None
        if shape is None:
            raise UnknownShapeError(_unknown("output", position, self.node.outputs))
        return shape

    def value(self, position: int) -> Array | None:
        """The value of an input where it is given, small and known."""
        return self.constant(position) if self.has(position) else None

    def whole(self, name: str, default: int = 0) -> int:
        """An attribute, as the following ones. Raises TypeError where the file holds one of another kind."""
        value = self.node.attributes.get(name)
        if value is None or isinstance(value, int):
            return default if value is None else value
        raise _other_kind(name, "a whole number")

    def number(self, name: str, default: float) -> float:
        value = self.node.attributes.get(name)
        if value is None or isinstance(value, (int, float)):
            return default if value is None else value
        raise _other_kind(name, "a number")

    def text(self, name: str, default: str = "") -> str:
        value = self.node.attributes.get(name)
        if value is None or isinstance(value, str):
            return default if value is None else value
        raise _other_kind(name, "a text")

    def wholes(self, name: str) -> Shape:
        """A list of integers; empty where the attribute is absent."""
        value = self.node.attributes.get(name)
        if value is None:
            return ()
        if isinstance(value, tuple) and all(isinstance(each, int) for each in value):
            return value
        raise _other_kind(name, "a list of whole numbers")

    def texts(self, name: str) -> tuple[str, ...]:
        value = self.node.attributes.get(name)
        if value is None:
            return ()
        if isinstance(value, tuple) and all(isinstance(each, str) for each in value):
            return value
        raise _other_kind(name, "a list of texts")


Translation: TypeAlias = Callable[[NodeCall], OpCall | tuple[str, Work]]
"""Either the operation that has a formula in engine.cost, or family and work at once where no other format has it."""

_translations: dict[tuple[str, str], Translation] = {}
_failed: set[str] = set()
"""Operators whose translation has raised already: a slider tick repeats every node, the log needs it once."""


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
    node = call.node
    translation = _found(node.domain, node.op_type)
    if translation is None:
        return "other", Work(None, None, None, f"not counted: no formula for {node.label}")
    try:
        found = translation(call)
    except UnknownShapeError as error:
        return _home(translation), Work(None, None, None, f"not counted: {error}")
    except Exception as error:
        return _home(translation), _failure(node, call, error)
    family, told = cost_of(found, unchecked=True) if isinstance(found, OpCall) else found
    if min(told.macs or 0, told.flops or 0, told.special_ops or 0) < 0:
        return family, Work(
            None, None, None, f"not counted: attributes of {node.label} make its size negative"
        )
    return family, told


def known_operators() -> dict[tuple[str, str], Translation]:
    """(domain, operator) → its translation, of everything that has a formula or a stated reason for having none."""
    return dict(_translations)


def explanation(domain: str, op_type: str) -> str:
    """The docstring of an operator's formula: symbols, what is left out, source; empty if unknown."""
    translation = _found(domain, op_type)
    return inspect.cleandoc(translation.__doc__ or "") if translation is not None else ""


def _found(domain: str, op_type: str) -> Translation | None:
    return _translations.get(("" if domain in STANDARD else domain, op_type))


def _home(translation: Translation) -> str:
    """The family of a row that could not be counted: most modules here are called after the family of theirs."""
    name = translation.__module__.rpartition(".")[2]
    return name if name in FAMILIES else "other"


def _failure(node: Node, call: NodeCall, error: Exception) -> Work:
    """A node that does not follow its operator's definition, or a bug of ours: its row is lost, not the analysis."""
    if node.label not in _failed:
        _failed.add(node.label)
        log.info(
            "The formula of %s failed on %s, %s", node.label, call.inputs, node.attributes, exc_info=True
        )
    reason = (
        f"not counted: the inputs or attributes do not fit {node.label} ({type(error).__name__}: {error})"
    )
    return Work(None, None, None, reason)


def _other_kind(name: str, wanted: str) -> TypeError:
    return TypeError(f"attribute {name} is not {wanted}")


def _unknown(kind: str, position: int, names: tuple[str, ...]) -> str:
    name = names[position] if position < len(names) else ""
    if not name:
        return f"the {kind} at position {position + 1} is missing"
    return f"the shape of {kind} {name!r} is not known"
