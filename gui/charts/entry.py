"""What a chart's module says of itself: a module of this package with a ``PANEL`` is a panel of the window."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from PySide6.QtWidgets import QWidget

from gui.desk import Desk


class ChartEntry(NamedTuple):
    """``make`` builds the panel. The first two entries by ``order`` have a place of their own, others share one."""

    title: str
    name: str
    """Object name of its dock, by which the layout remembers it."""
    make: Callable[[Desk], QWidget]
    order: int = 100
