"""What the window knows of the zeros in the open model's weights; the engine counts them when nothing else is to do."""

from __future__ import annotations

from collections.abc import Mapping

from engine.configuration import Configuration
from engine.protocol import Point
from engine.results import Analysis, ModelInfo
from engine.sparsity import with_zeros


class KnownZeros:
    """Counted once per model, then a part of every result of it; nothing else is lost or asked for again."""

    def __init__(self) -> None:
        self._model: ModelInfo | None = None
        self._zeros: Mapping[str, int] | None = None
        self.awaited = False
        """Whether the weights have values that are still to be looked at."""
        self.behind: set[Configuration] = set()
        """Configurations whose totals came before the zeros were counted; the engine knows them better now."""

    def reset(self, model: ModelInfo | None, awaited: bool) -> None:
        """Another model is open (or the same file with other weights)."""
        if model is not None and model.sha256 and self._zeros is not None and _same(model, self._model):
            return  # another engine holds the same weights
        self._model, self._zeros, self.awaited = model, None, awaited
        self.behind = set()

    def take(self, zeros: Mapping[str, int] | None, points: Mapping[Configuration, Point]) -> None:
        """The engine has counted, or (None) has to give it up."""
        self.awaited = False
        self._zeros = zeros
        if zeros is not None:
            self.behind = {at for at, each in points.items() if each.totals and each.totals.zeros is None}

    def merged(self, analysis: Analysis) -> Analysis:
        """``analysis`` with its zeros, where it is of this model and they are known."""
        if self._zeros is None or self._model is None or not _same(analysis.model, self._model):
            return analysis
        return with_zeros(analysis, self._zeros)


def _same(one: ModelInfo, other: ModelInfo | None) -> bool:
    return other is not None and (one.source, one.sha256) == (other.source, other.sha256)
