"""What is known of the values of a graph at one input size: shapes, dtypes, and the values that sizes come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol, TypeAlias

from engine.graph import Assumption, Shape
from engine.onnx.graph import Array

How: TypeAlias = Literal["inference", "propagation", "run"]


class Value(NamedTuple):
    """What is known of one value; ``shape`` is None where it could not be inferred, and for what is no tensor."""

    shape: Shape | None
    dtype: str
    """``""`` where it is not known; ``sequence``, ``optional``, ``map`` or ``sparse`` for what is no tensor."""


UNKNOWN = Value(None, "")
NO_TENSOR = frozenset({"sequence", "optional", "map", "sparse"})


class Folds(Protocol):
    """engine.onnx.folding.Folder: a value by name, None where it is not known."""

    def __call__(self, name: str) -> Array | None: ...

    def forget(self) -> None: ...


@dataclass
class GraphShapes:
    """Of one graph; ``bodies`` by (node name, attribute) of its control-flow nodes, which see its values too."""

    values: dict[str, Value]
    constants: dict[str, Array] = field(default_factory=dict)
    """Values of small tensors that are known at these input sizes: stored ones and computed shapes."""
    bodies: dict[tuple[str, str], GraphShapes] = field(default_factory=dict)
    outer: GraphShapes | None = None
    trips: int = 1
    """How often one run of the graph around runs this body."""
    taken: bool = True
    """False for the branch of an If that does not run: none of its nodes do."""
    partial: dict[str, bytes] = field(default_factory=dict)
    """Types, as protobuf, of values of which the rank or some sizes are known."""
    folds: Folds | None = None
    """Evaluates values of this graph that follow from known ones."""

    def of(self, name: str) -> Value:
        """What is known of the value ``name``, here or in a graph around this one."""
        found = self.values.get(name)
        if found is None and self.outer is not None:
            return self.outer.of(name)
        return found or UNKNOWN

    def forget(self) -> None:
        """A value became known: what could not be evaluated may be now."""
        if self.folds is not None:
            self.folds.forget()

    def constant(self, name: str) -> Array | None:
        """The value itself, where it is small and follows from constants and sizes."""
        found = self.constants.get(name)
        if found is None and self.folds is not None and name in self.values:
            return self.folds(name)
        if found is None and self.outer is not None:
            return self.outer.constant(name)
        return found


@dataclass
class Shapes:
    """All of a model's."""

    main: GraphShapes
    how: How = "inference"
    """By onnx.shape_inference alone, with nodes that it left blank, or with a real run by onnxruntime."""
    unknown: tuple[str, ...] = ()
    """Names of the nodes with an output of unknown shape."""
    assumptions: tuple[Assumption, ...] = ()
    """Sizes, trip counts and branches that depend on the data, with the values they were given."""
