"""Inputs of an exported program: sliders for the sizes it was exported to vary, refusals for all others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import sympy  # type: ignore[import-untyped]
import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind

from engine.errors import InputError
from engine.graph import Dim, InputShape, InputSpec, Shape
from engine.input_specs import ADJUSTABLE, guess_labels, make_spec, slider_range
from engine.loaders.exported_guards import Guards
from engine.loaders.inputs import InputBinding

RUNS_AT_ONE = 2
"""torch writes a smallest size of 2 where it only did not look at 0 and 1; its own check lets these pass."""


@dataclass(frozen=True)
class Varying:
    """A size that may vary: ``factor · symbol + offset``, the symbol from ``low`` to ``high`` (None: any)."""

    text: str
    """The expression as the export has it."""
    symbol: str
    factor: int
    offset: int
    low: int
    high: int | None

    def at(self, value: int) -> int:
        return self.factor * value + self.offset

    @property
    def is_free(self) -> bool:
        """Whether it is one symbol with nothing to solve for."""
        return self.factor > 0 and self.offset % self.factor == 0

    def promise(self) -> str:
        """The sizes it was exported for: ``1 to 64 in steps of 2``."""
        least, most = max(1, self.at(self.low)), None if self.high is None else self.at(self.high)
        steps = f" in steps of {self.factor}" if self.factor > 1 else ""
        return f"{least:,} and more{steps}" if most is None else f"{least:,} to {most:,}{steps}"


Size: TypeAlias = int | Varying


@dataclass(frozen=True)
class TensorInput:
    """A tensor that the program takes: what the export says of its sizes, and those it was exported with."""

    name: str
    dtype: str
    sizes: tuple[Size, ...]
    example: Shape

    @property
    def labels(self) -> tuple[str, ...]:
        is_integer = not (self.dtype.startswith(("float", "bfloat", "complex")))
        labels = guess_labels(self.example, is_integer)
        return tuple(
            "size" if isinstance(size, Varying) and label not in ADJUSTABLE else label
            for label, size in zip(labels, self.sizes, strict=True)
        )


@dataclass(frozen=True)
class Signature:
    """All user inputs in order: tensors, and values that are the same in every pass."""

    slots: tuple[TensorInput | tuple[Any], ...]
    guards: Guards

    @property
    def tensors(self) -> tuple[TensorInput, ...]:
        return tuple(slot for slot in self.slots if isinstance(slot, TensorInput))

    def pack(self, tensors: list[Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The positional arguments of the outlined program."""
        given = iter(tensors)
        return tuple(next(given) if isinstance(slot, TensorInput) else slot[0] for slot in self.slots), {}


def read_signature(program: ExportedProgram) -> Signature:
    """The user inputs of ``program``."""
    slots: list[TensorInput | tuple[Any]] = []
    placeholders = [node for node in program.graph.nodes if node.op == "placeholder"]
    for node, spec in zip(placeholders, program.graph_signature.input_specs, strict=True):
        if spec.kind != InputKind.USER_INPUT:
            continue
        value = node.meta.get("val")
        if isinstance(value, Tensor):
            dtype = str(value.dtype).removeprefix("torch.")
            sizes = tuple(_size(size, program) for size in value.shape)
            example = tuple(_example(size, known) for size, known in zip(value.shape, sizes, strict=True))
            slots.append(TensorInput(node.name, dtype, sizes, example))
        elif isinstance(spec.arg, ConstantArgument):
            slots.append((spec.arg.value,))
        else:
            slots.append((_number(value),))
    examples = {slot.name: slot.example for slot in slots if isinstance(slot, TensorInput)}
    names = [slot.name if isinstance(slot, TensorInput) else "" for slot in slots]
    return Signature(tuple(slots), Guards(_guards(program, names), examples))


def _guards(program: ExportedProgram, names: Sequence[str]) -> list[str]:
    """The guards, with the inputs by name also where a strict export numbers them."""
    guards: list[str] = list(getattr(program, "_guards_code", ()))
    for number, name in enumerate(names):
        guards = [guard.replace(f"L['flat_args'][{number}]", f"L['{name}']") for guard in guards]
    return guards


def bind(signature: Signature, file: str, unguarded: str) -> ExportedInputs:
    """Inputs with the sizes that were exported; ``unguarded`` is what to open for others."""
    return ExportedInputs(signature, _specs(signature.tensors), file, unguarded)


def bind_unguarded(signature: Signature) -> InputBinding:
    """Inputs with sliders for every size that usually varies, whatever was exported."""
    symbols: dict[str, int] = {}
    specs = tuple(
        make_spec(each.name, each.example, each.dtype, each.labels, symbols) for each in signature.tensors
    )
    return InputBinding(specs, signature.pack)


def exported_sizes(signature: Signature) -> str:
    """``x of 1×3×224×224, batch 1 and more``: what the export promises, for a sentence."""
    return "; ".join(_promise(each) for each in signature.tensors)


def fixes_sizes(signature: Signature) -> bool:
    """Whether a size that usually varies was fixed by the export."""
    return any(
        label in ADJUSTABLE and isinstance(size, int)
        for each in signature.tensors
        for label, size in zip(each.labels, each.sizes, strict=True)
    )


class ExportedInputs(InputBinding):
    """Refuses sizes and dtypes that the program was not exported for, as the program itself would."""

    def __init__(self, signature: Signature, specs: tuple[InputSpec, ...], file: str, unguarded: str) -> None:
        super().__init__(specs, signature.pack)
        self._tensors = signature.tensors
        self._guards = signature.guards
        self._file = file
        self._advice = f"Export it again for such sizes, or open {unguarded} to try them without a promise."

    def complete(self, given: Sequence[InputShape]) -> tuple[InputShape, ...]:
        shapes = super().complete(given)
        values: dict[str, tuple[int, str]] = {}
        for tensor, spec, shape in zip(self._tensors, self.specs, shapes, strict=True):
            if shape.dtype != tensor.dtype:
                raise InputError(
                    f"{self._file} was exported for {tensor.name} of {tensor.dtype}, not {shape.dtype}.",
                    hint="Export it again with such an input.",
                )
            for dim, size, allowed in zip(spec.dims, shape.shape, tensor.sizes, strict=True):
                if isinstance(allowed, int):
                    if size != allowed:
                        raise self._refusal(tensor.name, dim.label, f"{allowed:,}", size)
                else:
                    self._check(tensor.name, dim.label, size, allowed, values)
        guard = self._guards.broken({shape.name: shape.shape for shape in shapes})
        if guard:
            raise InputError(
                f"{self._file} was exported with the guard {guard}, which these sizes do not keep.",
                hint=self._advice,
            )
        return shapes

    def _check(
        self, name: str, label: str, size: int, allowed: Varying, values: dict[str, tuple[int, str]]
    ) -> None:
        """Raises InputError for a size out of range, or one that does not belong to another input's."""
        if not allowed.factor:
            return
        value, rest = divmod(size - allowed.offset, allowed.factor)
        if rest or value < allowed.low or (allowed.high is not None and value > allowed.high):
            raise self._refusal(name, label, allowed.promise(), size)
        where = f"{label} of {name}"
        known, first = values.setdefault(allowed.symbol, (value, where))
        if known != value:
            raise InputError(
                f"The {where} must be {allowed.at(known):,} where the {first} is what it is, not {size:,}: "
                f"{self._file} was exported so.",
                hint="Give both sizes so that they fit.",
            )

    def _refusal(self, name: str, label: str, promise: str, size: int) -> InputError:
        return InputError(
            f"{self._file} was exported for {name} with {label} {promise}, not {size:,}.", hint=self._advice
        )


def _promise(tensor: TensorInput) -> str:
    shape = "×".join(map(str, tensor.example)) or "one number"
    varying = [
        f"{label} {size.promise() if size.factor else size.text}"
        for label, size in zip(tensor.labels, tensor.sizes, strict=True)
        if isinstance(size, Varying)
    ]
    return f"{tensor.name} of {', '.join([shape, *varying])}"


# -- from the program ----------------------------------------------------------------------------------------------


def _size(size: int | torch.SymInt, program: ExportedProgram) -> Size:
    """A size as the export has it; of one that no line describes, ``factor`` is 0."""
    if isinstance(size, int):
        return size
    expression = size.node.expr
    if expression.is_Integer:
        return int(expression)
    symbols = sorted(expression.free_symbols, key=str)
    if len(symbols) != 1:
        return Varying(str(expression), "", 0, 0, 1, None)
    symbol = symbols[0]
    offset = expression.subs(symbol, 0)
    factor = sympy.expand(expression - offset) / symbol
    low, high = _range(program, symbol)
    if not (sympy.simplify(factor).is_Integer and offset.is_Integer and int(sympy.simplify(factor)) > 0):
        return Varying(str(expression), str(symbol), 0, 0, low, high)
    return Varying(str(expression), str(symbol), int(sympy.simplify(factor)), int(offset), low, high)


def _range(program: ExportedProgram, symbol: sympy.Symbol) -> tuple[int, int | None]:
    limits = program.range_constraints.get(symbol)
    if limits is None:
        return 1, None
    low = _bound(limits.lower)
    return 1 if low is None or low <= RUNS_AT_ONE else low, _bound(limits.upper)


def _bound(value: Any) -> int | None:
    """A limit as a number; None for infinity, and for what is written in its place."""
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError, AttributeError):
        return None
    return number if abs(number) < 2**62 else None


def _example(size: int | torch.SymInt, known: Size) -> int:
    """The size that was exported with, or the smallest that may be where the file does not tell."""
    if isinstance(size, int):
        return size
    hint = size.node.hint if size.node.has_hint() else None
    if hint is not None:
        return int(hint)
    return known.at(known.low) if isinstance(known, Varying) else known


def _number(value: Any) -> Any:
    """A number that may vary, at the one it was exported with."""
    node = getattr(value, "node", None)
    return node.hint if node is not None and node.has_hint() else value


# -- to sliders ------------------------------------------------------------------------------------------------------


def _specs(tensors: Sequence[TensorInput]) -> tuple[InputSpec, ...]:
    """Dimensions that the export moves together share a symbol. Of a symbol that occurs in different expressions none
    gets a slider: one number would have to set several sizes."""
    forms: dict[str, set[tuple[int, int]]] = {}
    for tensor in tensors:
        for size in tensor.sizes:
            if isinstance(size, Varying):
                forms.setdefault(size.symbol, set()).add((size.factor, size.offset))
    names: dict[str, str] = {}

    def dim(tensor: TensorInput, label: str, size: Size, example: int) -> Dim:
        if isinstance(size, int) or not size.factor or len(forms[size.symbol]) > 1:
            return Dim(label, example)
        if size.symbol not in names:
            names[size.symbol] = _free_name(label, tensor.name, set(names.values()))
        return _slider(label, example, size, names[size.symbol])

    return tuple(
        InputSpec(
            each.name,
            tuple(dim(each, *parts) for parts in zip(each.labels, each.sizes, each.example, strict=True)),
            each.dtype,
        )
        for each in tensors
    )


def _free_name(label: str, name: str, taken: set[str]) -> str:
    """``height``, ``x.height``, ``x.height2`` …"""
    if label not in taken:
        return label
    number, symbol = 2, f"{name}.{label}"
    while symbol in taken:
        symbol = f"{name}.{label}{number}"
        number += 1
    return symbol


def _slider(label: str, example: int, size: Varying, symbol: str) -> Dim:
    """The usual range of such a slider, as far as the export allows, on sizes that it allows."""
    minimum, maximum, step = slider_range(label, example)
    minimum = max(minimum, size.at(size.low), 1)
    if size.high is not None:
        maximum = min(maximum, size.at(size.high))
    if not size.is_free:
        step = 1
    elif step % size.factor:
        step = size.factor
    if size.factor > 1:
        minimum += (size.offset - minimum) % size.factor
    return Dim(label, example, symbol, min(minimum, example), max(maximum, example), step)
