"""Misnomer's engine: what a neural network costs, without a window.

``engine.analyze(module_or_source, inputs=…, edits=…)`` returns a Report. Importing the package imports nothing heavy:
the window reads its plain-data modules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.api import analyze as analyze

__all__ = ["analyze"]


def __getattr__(name: str) -> Any:
    if name == "analyze":
        from engine.api import analyze

        return analyze
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
