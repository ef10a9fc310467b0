"""Guards of an exported program: conditions on its input sizes beyond ranges, which the program itself would check.

They are Python expressions such as ``L['x'].size()[0] % 2 == 0``. They are read as arithmetic of sizes and never run;
one that says anything else is left out.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from engine.graph import Shape

LARGEST = 2**63
"""Of numbers between sizes; what is larger is not worth the arithmetic."""

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod, ast.Div: operator.truediv,
}  # fmt: skip
_COMPARED: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}  # fmt: skip


class _NotSizesError(Exception):
    """An expression is more than arithmetic of the sizes of known inputs."""


class Guards:
    """The guards of one program; ``examples`` are its inputs as they were exported, which must pass."""

    def __init__(self, code: Iterable[str], examples: Mapping[str, Shape]) -> None:
        self._guards = [guard for text in code if (guard := _parsed(text)) is not None]
        self._guards = [guard for guard in self._guards if _holds(guard, examples) is True]

    def broken(self, shapes: Mapping[str, Shape]) -> str:
        """The first guard that ``shapes`` of the inputs break, as ``x.shape[0] % 2 == 0``; empty when all hold."""
        return next(
            (ast.unparse(_shown(guard)) for guard in self._guards if _holds(guard, shapes) is False), ""
        )


def _parsed(text: str) -> ast.expr | None:
    try:
        return ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _holds(guard: ast.expr, shapes: Mapping[str, Shape]) -> bool | None:
    """None where it cannot be told."""
    try:
        return bool(_value(guard, shapes))
    except (_NotSizesError, ArithmeticError, RecursionError):
        return None


def _value(node: ast.expr, shapes: Mapping[str, Shape]) -> Any:
    match node:
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.BoolOp(op=op, values=values):
            return (all if isinstance(op, ast.And) else any)(_value(each, shapes) for each in values)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _value(operand, shapes)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, shapes)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            value = _BINARY[type(op)](_value(left, shapes), _value(right, shapes))
            if abs(value) > LARGEST:
                raise _NotSizesError
            return value
        case ast.Compare(left=left, ops=ops, comparators=rest) if all(type(op) in _COMPARED for op in ops):
            values = [_value(each, shapes) for each in (left, *rest)]
            pairs = zip(ops, values, values[1:], strict=False)
            return all(_COMPARED[type(op)](one, other) for op, one, other in pairs)
    place = _size(node)
    if place is None or place[0] not in shapes or not 0 <= place[1] < len(shapes[place[0]]):
        raise _NotSizesError
    return shapes[place[0]][place[1]]


def _size(node: ast.AST) -> tuple[str, int] | None:
    """(input, dimension) of ``L['x'].size()[0]``; None for anything else."""
    match node:
        case ast.Subscript(
            value=ast.Call(func=ast.Attribute(value=source, attr="size"), args=[]),
            slice=ast.Constant(value=int() as dimension),
        ):
            name = _name(source)
            return (name, dimension) if name else None
    return None


def _name(node: ast.expr) -> str:
    """The input's name as the graph has it: ``hc_0`` for ``L['hc'][0]``; empty for anything else."""
    match node:
        case ast.Subscript(value=ast.Name(id="L"), slice=ast.Constant(value=str() as name)):
            return name
        case ast.Subscript(value=inner, slice=ast.Constant(value=str() | int() as key)):
            outer = _name(inner)
            return f"{outer}_{key}" if outer else ""
    return ""


class _Shown(ast.NodeTransformer):
    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        place = _size(node)
        return ast.parse(f"{place[0]}.shape[{place[1]}]", mode="eval").body if place is not None else node


def _shown(guard: ast.expr) -> ast.expr:
    shown: ast.expr = _Shown().visit(ast.parse(ast.unparse(guard), mode="eval").body)
    return shown
