"""What server, command line and measurements need of an open model, whatever format it came from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from threading import Event
from typing import ClassVar

from engine.configuration import Configuration
from engine.edits import Edit
from engine.errors import EngineError, ExportError
from engine.graph import InputShape, InputSpec
from engine.input_specs import complete
from engine.results import Analysis, ModelInfo

KEPT_ROWS = 200_000
"""Layer rows of results that are kept; some 100 MB at most."""


class FailedAnalysisError(Exception):
    """An analysis that stopped inside the model: the error to show and the rows before it. Never leaves the engine."""

    def __init__(self, error: EngineError, partial: Analysis | None) -> None:
        super().__init__(error.message)
        self.error = error
        self.partial = partial


class OpenModel(ABC):
    """A model that analyses itself. Not thread-safe: one call at a time; ``stop`` may be set from another thread."""

    kind: ClassVar[str]
    """Which framework runs it: ``torch`` or ``onnx``; decides how it is measured."""
    info: ModelInfo
    specs: tuple[InputSpec, ...]
    watch: str = ""
    """File whose change means that the model should be opened again; empty for none."""
    fixed_dtypes: frozenset[str] = frozenset()
    """Inputs of which the source says the dtype: they cannot have another."""
    guessed_inputs: bool = False
    """Whether the number of inputs and their dimensions are a guess that nobody confirmed or corrected."""
    random_weights: bool = False
    """Whether a real run has freshly initialised weights, because the source holds none."""

    def complete(self, given: Sequence[InputShape]) -> tuple[InputShape, ...]:
        """All inputs in order, the ones not ``given`` at their default; without names they go by position.

        Raises InputError as engine.input_specs.complete does.
        """
        names = [spec.name for spec in self.specs]
        if given and not any(shape.name for shape in given) and len(given) == len(names):
            given = [InputShape(name, s.shape, s.dtype) for name, s in zip(names, given, strict=True)]
        return complete(self.specs, given, self.fixed_dtypes)

    def default_configuration(self) -> Configuration:
        return Configuration(inputs=tuple(spec.default for spec in self.specs))

    def by_path(self, edits: tuple[Edit, ...]) -> tuple[Edit, ...]:
        """``edits`` with the paths of layers that are called otherwise: by the name that a node has in the file."""
        return edits

    @abstractmethod
    def kept(self, configuration: Configuration) -> Analysis | None:
        """The result if it is known already."""

    @abstractmethod
    def analyze(
        self,
        configuration: Configuration,
        *,
        stop: Event | None = None,
        progress: Callable[[int], None] | None = None,
        fast: bool = True,
    ) -> Analysis:
        """All costs of the model at ``configuration``; ``fast=False`` bypasses shortcuts and kept results.

        Raises InputError for a request that does not fit the model, FailedAnalysisError when the model stops at a
        layer, RealRunRequiredError when only a real run could answer, CancelledError when ``stop`` is set.
        """

    def save(
        self,
        configuration: Configuration,
        path: str,
        *,
        replace: bool = False,
        fix_sizes: bool = False,
        stop: Event | None = None,
        progress: Callable[[int, int | None, str], None] = lambda done, total, what: None,
    ) -> str:
        """Write the model with the edits of ``configuration`` and its weights; returns what to know about the file.

        ``replace``: the file that is open may be replaced; ``fix_sizes``: input sizes that it leaves open are fixed.
        Raises ExportError with nothing written, CancelledError soon after ``stop`` is set.
        """
        raise ExportError(
            f"{self.info.name} cannot be saved as a model: only ONNX files can.",
            hint="The edits as Python do the same to the source it came from.",
        )

    @abstractmethod
    def weight_bytes_of(self, configuration: Configuration) -> int:
        """Bytes of weights that a real run allocates. Raises InputError for edits that do not fit."""

    @property
    @abstractmethod
    def has_real_weights(self) -> bool:
        """Whether the weights are allocated already."""

    @property
    @abstractmethod
    def counts_zeros(self) -> bool:
        """Whether the weights have values that can be looked at: not where they are random."""

    @property
    @abstractmethod
    def zeros(self) -> dict[str, int] | None:
        """Zeros of each parameter under all its names; None while they are not counted."""

    @abstractmethod
    def count_zeros(self, stop: Event) -> Iterator[None]:
        """Count the zeros in the weights, a short step at a time; from the end on, results carry them.

        Raises NotEnoughMemoryError where it takes more than is free, CancelledError soon after ``stop`` is set.
        """


class KeptAnalyses:
    """Results by configuration, the longest unused dropped first once there are ``KEPT_ROWS`` rows."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Configuration, Analysis] = OrderedDict()
        self._rows = 0

    def get(self, configuration: Configuration) -> Analysis | None:
        analysis = self._kept.get(configuration)
        if analysis is not None:
            self._kept.move_to_end(configuration)
        return analysis

    def put(self, configuration: Configuration, analysis: Analysis) -> None:
        replaced = self._kept.get(configuration)
        self._kept[configuration] = analysis
        self._kept.move_to_end(configuration)
        self._rows += len(analysis.layers) - (len(replaced.layers) if replaced is not None else 0)
        while self._rows > KEPT_ROWS and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            self._rows -= len(dropped.layers)
