"""What numbers belong to, in a few words beside them, while something else is asked for. No Qt."""

from __future__ import annotations

from engine.configuration import Configuration
from engine.measurement import LayerTimes
from gui import sizes
from gui.foreign_text import short_words

STALE_OPACITY = 0.4
"""Of numbers that do not belong to the configuration asked for."""


def belongs_to(shown: Configuration, asked: Configuration | None) -> str:
    """``of 1×3×64×64``; the edits, or that there are none, only where those are what differs from ``asked``."""
    words = f"of {sizes.size_text(shown.inputs)}"
    if asked is None or shown.edits == asked.edits:
        return words
    count = len(shown.edits)
    return f"{words} with {count} edit{'s' if count > 1 else ''}" if count else f"{words} without edits"


def times_belong_to(times: LayerTimes, asked: Configuration | None) -> str:
    """What layer times that are not current belong to: another configuration, or a file."""
    if times.origin is not None:
        return f"imported from {short_words(times.origin.file)}"
    return belongs_to(times.configuration, asked)


def times_sentence(times: LayerTimes, asked: Configuration | None) -> str:
    """The same as a sentence for tooltips."""
    if times.origin is not None:
        return f"Not measured here: {short_words(times.origin.words)}."
    return f"Measured {belongs_to(times.configuration, asked)}: an earlier configuration."
