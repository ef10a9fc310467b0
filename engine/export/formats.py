"""The table of report formats: a module of this package that decorates a writer adds a row."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from msgspec import Struct

from engine.results import Analysis

Writer: TypeAlias = Callable[[Analysis, Analysis | None], bytes]
"""(analysis, baseline or None) → the bytes of the file."""


class Format(Struct, frozen=True):
    """One way to write an analysis down."""

    key: str
    """As in ``--format``."""
    label: str
    """For menus and file dialogs."""
    suffix: str
    """File ending with its dot."""
    write: Writer


FORMATS: dict[str, Format] = {}
"""Format by key, in the order in which menus show them. Complete once ``engine.export`` is imported."""


def export_format(key: str, label: str, suffix: str) -> Callable[[Writer], Writer]:
    """Register the decorated writer. Raises ValueError when the key is taken."""

    def register(writer: Writer) -> Writer:
        if key in FORMATS:
            raise ValueError(f"export format {key!r} is registered twice")
        FORMATS[key] = Format(key, label, suffix, writer)
        return writer

    return register
