"""Layers that know themselves how they are edited, and what stands where a layer was removed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from engine.graph import AttributeValue


class Removed(nn.Module):
    """Stands where a layer was removed: passes its first argument on."""

    def __init__(self, original: nn.Module) -> None:
        super().__init__()
        object.__setattr__(self, "original", original)  # not a submodule: it must not run or be counted

    def forward(self, first: Any = None, *rest: Any, **named: Any) -> Any:
        return first if first is not None or not named else next(iter(named.values()))


class SelfEditing(nn.Module):
    """A layer that is no module of torch's and says itself what it shows and what of it can be changed."""

    def own_attributes(self) -> dict[str, AttributeValue]:
        """For the inspector, in display order."""
        raise NotImplementedError

    def own_fields(self) -> tuple[str, ...]:
        """Those of EDITABLE_FIELDS that can be set."""
        raise NotImplementedError

    def own_set(self, field: str, value: int | tuple[int, ...]) -> Callable[[], None]:
        """Set one of ``own_fields``, one number for every dimension; returns what takes it back."""
        raise NotImplementedError

    def own_bypass(self, path: str) -> Removed:
        """What to put in its place to remove it. Raises InputError where nothing can stand there."""
        raise NotImplementedError
