"""What decides the numbers of an opened model: plain data that results, measurements and messages refer to."""

from __future__ import annotations

from msgspec import Struct

from engine.edits import Edit
from engine.graph import InputShape


class Configuration(Struct, frozen=True):
    """Everything that decides the numbers of one opened model. Equal configurations have equal results."""

    inputs: tuple[InputShape, ...]
    edits: tuple[Edit, ...] = ()
    assumptions: tuple[tuple[str, int], ...] = ()
    """(key, value) of each data-dependent size that the user set."""
    allow_real_run: bool = False
