"""Names of operations → their formulas, and the one function that applies them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import lru_cache
from typing import TypeAlias

from msgspec import Struct

from engine.graph import OpCall, Shape
from engine.results import FAMILIES

log = logging.getLogger(__name__)


class Work(Struct, frozen=True):
    """The arithmetic of one executed operation; None is *not counted*, which is not 0."""

    macs: int | None
    """Multiply–accumulates."""
    flops: int | None
    """2 × MACs plus all other arithmetic, special operations included."""
    special_ops: int | None
    """Divisions, roots, exponentials and other special functions; each is also one of ``flops``."""
    formula: str
    """The formula with the numbers of this call filled in, or why the call is not counted."""
    weighted: tuple[tuple[int, int], ...] | None = None
    """(position in ``OpCall.inputs``, how many of ``macs`` multiply an element of it) for every operand that can be a
    weight and whose elements are each used equally often; none where a zero in a weight saves nothing.

    None: the formula does not say, so that with a weight among the inputs nobody knows."""


Formula: TypeAlias = Callable[[OpCall], Work]

_formulas: dict[str, tuple[str, Formula]] = {}
_failed: set[str] = set()
"""Operations whose formula has raised already: a slider tick repeats every call, the log needs it once."""


def cost_formula(*ops: str, family: str) -> Callable[[Formula], Formula]:
    """Register a pure function of shapes as the formula of the operations called ``ops``.

    Raises ValueError when one of them has a formula already, or when there is no such family.
    """
    if family not in FAMILIES:
        raise ValueError(f"Unknown family {family!r}; there are {', '.join(FAMILIES)}.")

    def register(formula: Formula) -> Formula:
        for op in ops:
            if op in _formulas:
                first = _formulas[op][1]
                raise ValueError(
                    f"The operation {op!r} has a formula already: {first.__module__}.{first.__qualname__}."
                )
        _formulas.update(dict.fromkeys(ops, (family, formula)))
        return formula

    return register


def cost_of(call: OpCall, *, unchecked: bool = False) -> tuple[str, Work]:
    """(family, work) of one executed operation.

    An operation without a formula is of family ``other`` and not counted. So is, in its own family, a call
    on which the formula fails: that is a bug of ours, logged with its traceback, but no reason to lose the
    whole analysis. With ``unchecked`` it may as well be a file that contradicts itself, which is no error here.
    """
    entry = _formulas.get(call.op)
    if entry is None:
        return "other", Work(None, None, None, f"not counted: no formula for op {call.op}")
    family, formula = entry
    try:
        return family, formula(call)
    except Exception as error:
        if call.op not in _failed:
            _failed.add(call.op)
            level = logging.INFO if unchecked else logging.ERROR
            words = "The formula of %s failed on inputs %s, %s"
            log.log(level, words, call.op, call.inputs, call.args, exc_info=True)
        reason = f"not counted: the formula of {call.op} failed ({type(error).__name__}: {error})"
        return family, Work(None, None, None, reason)


def known_ops() -> dict[str, str]:
    """Operation → family, of everything that has a formula (or a stated reason for not being counted)."""
    return {op: family for op, (family, _) in _formulas.items()}


def explanation(op: str) -> str:
    """The docstring of the formula of ``op``: symbols, what is left out, source; empty if unknown."""
    entry = _formulas.get(op)
    return (entry[1].__doc__ or "") if entry else ""


@lru_cache(4096)
def product(shape: Shape) -> str:
    """A shape as a product for formula texts: ``1·64·112·112``; ``1`` for a scalar.

    Cached because joining costs more than a formula's arithmetic and the shapes of a model repeat.
    """
    return "·".join(map(str, shape)) or "1"


def not_counted(reason: str, macs: int | None = 0) -> Work:
    """Work of an operation whose FLOPs are not counted, with no multiply–accumulates unless said."""
    return Work(macs, None, None, f"not counted: {reason}")
