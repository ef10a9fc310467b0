"""One attempt to open a model: what was asked, how far it is, and whether its code may run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from engine import sources
from engine.configuration import Configuration
from engine.edits import Edit, parse_value
from engine.errors import ErrorInfo, InputError
from engine.graph import DTYPE_BYTES, InputShape
from engine.protocol import Opened
from engine.results import ModelInfo

Reason = Literal["user", "restart", "reload"]
"""Why a source is opened: someone asked, the engine was replaced, its file changed."""


@dataclass(frozen=True)
class Plan:
    """What to change right after the first analysis, as the command line may ask."""

    inputs: tuple[InputShape, ...] = ()
    """An empty name means the model's only input."""
    edits: tuple[Edit, ...] = ()
    assumptions: tuple[tuple[str, int], ...] = ()
    words: str = "Command line"
    """What the step is called that does so, and can be undone."""

    def __bool__(self) -> bool:
        return bool(self.inputs or self.edits or self.assumptions)


@dataclass
class Opening:
    """From the request to the first analysis."""

    source: str
    reason: Reason = "user"
    trust: bool = False
    digest: str = ""
    inputs: tuple[InputShape, ...] = ()
    """For a source that does not say what its inputs are."""
    runs_on_change: bool = False
    """Whether the user agreed to whatever the file holds later, too."""
    plan: Plan = field(default_factory=Plan)
    request: int = 0
    """The request whose answer is awaited: the opening, then the first analysis; 0 while there is no engine."""
    opened: Opened | None = None
    configuration: Configuration | None = None
    """Of the first analysis."""
    crashes: int = 0
    cancelled: bool = False
    question: ErrorInfo | None = None
    """What the user is asked about it."""


@dataclass(frozen=True)
class ConsentRequest:
    """Opening ``source`` runs its author's code; ``error`` lists what would run."""

    source: str
    error: ErrorInfo


@dataclass(frozen=True)
class ArchitectureRequest:
    """The file of ``source`` holds weights alone; ``error`` has what it holds and what they may belong to."""

    source: str
    error: ErrorInfo


def model_file(model: ModelInfo) -> str:
    """The file or folder that holds the model or its weights; empty for the zoo and for Python files."""
    if model.weights:
        return model.weights
    if not sources.is_file(model.source):
        return ""
    file = sources.split_file(model.source)
    is_python = not file.architecture and sources.split_python(model.source) is not None
    return "" if is_python else file.path


def parse_inputs(text: str) -> tuple[InputShape, ...]:
    """``1x3x224x224`` or ``ids=1x128:int64; mask=1x128`` as shapes; name and dtype are empty where left out.

    Raises InputError.
    """
    shapes = []
    for part in filter(None, (part.strip() for part in text.split(";"))):
        name, _, rest = part.rpartition("=")
        sizes, _, dtype = rest.partition(":")
        value = parse_value(sizes, where=repr(part))
        shape = (value,) if isinstance(value, int) else value
        if isinstance(shape, str) or any(size < 1 for size in shape):
            raise InputError(f"{part!r} is not a shape.", hint="Write 1x3x224x224.")
        dtype = dtype.strip()
        if dtype and dtype not in DTYPE_BYTES:
            raise InputError(f"There is no dtype {dtype!r}.", hint=f"Known: {', '.join(DTYPE_BYTES)}.")
        shapes.append(InputShape(name.strip(), shape, dtype))
    if not shapes:
        raise InputError("There is no shape.", hint="Write 1x3x224x224.")
    return tuple(shapes)


def inputs_text(inputs: tuple[InputShape, ...]) -> str:
    """``inputs`` as :func:`parse_inputs` reads them; float32 goes without saying."""
    return "; ".join(_input_text(each) for each in inputs)


def _input_text(given: InputShape) -> str:
    name = f"{given.name}=" if given.name else ""
    dtype = "" if given.dtype in ("", "float32") else f":{given.dtype}"
    return f"{name}{'x'.join(map(str, given.shape))}{dtype}"


def stated(inputs: tuple[InputShape, ...]) -> tuple[InputShape, ...]:
    """``inputs`` with float32 where no dtype was written."""
    return tuple(each if each.dtype else InputShape(each.name, each.shape) for each in inputs)


def restated(inputs: tuple[InputShape, ...], present: tuple[InputShape, ...]) -> tuple[InputShape, ...]:
    """``inputs`` with the present dtype, by name or else by position, where none was written; float32 for new ones."""
    by_name = {each.name: each.dtype for each in present}
    by_position = [each.dtype for each in present[: len(inputs)]]
    by_position += ["float32"] * (len(inputs) - len(by_position))
    return tuple(
        InputShape(given.name, given.shape, given.dtype or by_name.get(given.name, dtype))
        for given, dtype in zip(inputs, by_position, strict=True)
    )


def planned_inputs(plan: Plan, inputs: tuple[InputShape, ...]) -> tuple[InputShape, ...]:
    """``inputs`` with the shapes of ``plan`` in their places; as many without names go by position.

    Raises InputError for a name that is not there.
    """
    result = list(inputs)
    names = [given.name for given in inputs]
    by_position = len(plan.inputs) == len(names) and not any(wanted.name for wanted in plan.inputs)
    for position, wanted in enumerate(plan.inputs):
        if not by_position and wanted.name not in names and (wanted.name or len(names) != 1):
            raise InputError(f"The model has no input {wanted.name!r}.", hint=f"It has: {', '.join(names)}.")
        named = names.index(wanted.name) if wanted.name in names else 0
        index = position if by_position else named
        result[index] = InputShape(names[index], wanted.shape, wanted.dtype or result[index].dtype)
    return tuple(result)
