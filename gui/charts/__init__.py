"""The charts: the only importer of pyqtgraph. Layout is arithmetic (no Qt), painting is a view of it.

A new chart is one module here with a ``PANEL``; the window finds it.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gui.charts.entry import ChartEntry


def panels() -> list[ChartEntry]:
    """The entries of all chart modules, in their order."""
    modules = [
        importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)
    ]
    entries = [module.PANEL for module in modules if hasattr(module, "PANEL")]
    return sorted(entries, key=lambda entry: (entry.order, entry.title))
