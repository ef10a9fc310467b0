"""What numbers belong to, in a few words beside them, while something else is asked for. No Qt."""

from __future__ import annotations

from engine.configuration import Configuration
from gui import sizes

STALE_OPACITY = 0.4
"""Of numbers that do not belong to the configuration asked for."""


def belongs_to(shown: Configuration, asked: Configuration | None) -> str:
    """``of 1×3×64×64``; the edits, or that there are none, only where those are what differs from ``asked``."""
    words = f"of {sizes.size_text(shown.inputs)}"
    if asked is None or shown.edits == asked.edits:
        return words
    count = len(shown.edits)
    return f"{words} with {count} edit{'s' if count > 1 else ''}" if count else f"{words} without edits"


def measured_of(shown: Configuration, asked: Configuration | None) -> str:
    """The same as a sentence for tooltips."""
    return f"Measured {belongs_to(shown, asked)}: an earlier configuration."
