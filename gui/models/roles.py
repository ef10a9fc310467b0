"""Item roles of the layer tree beyond Qt's own."""

from __future__ import annotations

from enum import IntEnum

from PySide6.QtCore import Qt

_FIRST = int(Qt.ItemDataRole.UserRole) + 1


class Role(IntEnum):
    SORT = _FIRST
    """The number (or text) to sort by; None for unknown."""
    NODE = _FIRST + 1
    """Name of the node: a module path or the id of a row."""
    BAR = _FIRST + 2
    """Share of the model's total, 0 to 1; None for no bar."""
    GHOST = _FIRST + 3
    """The baseline's value on the same scale; None without a baseline."""
    FAMILY = _FIRST + 4
    """Family of the operation, for the colour of its square; empty for a module."""
    CELL = _FIRST + 5
    """Everything the delegate paints, as one `cells.Cell`: one call per cell instead of six."""
    COLUMN = _FIRST + 6
    """Header only: key of the column, the same in every run."""
