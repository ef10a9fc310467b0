"""Text that others wrote (names of files and tensors, messages of somebody's code), made fit for eyes. No Qt."""

from __future__ import annotations

import re

LONGEST_WORD = 48
"""Characters of one word; what is longer would make a window as wide as itself."""
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Control characters but tab and newline, and those that turn the direction of writing: with one of these,
``gnp.pt`` can look like ``tp.png``."""


def visible(text: str) -> str:
    """``text`` with a sign for every character that is not seen but changes how others are."""
    return _HIDDEN.sub(REPLACEMENT, text)


def one_line(text: str) -> str:
    """``text`` as :func:`visible`, without tabs and newlines."""
    return visible(text).replace("\n", " ").replace("\t", " ")


def short_words(text: str) -> str:
    """``text`` on one line, with words of a length that a line can break at; of long ones both ends are left."""
    half = LONGEST_WORD // 2
    return " ".join(
        word if len(word) <= LONGEST_WORD else f"{word[:half]}…{word[-half:]}"
        for word in one_line(text).split(" ")
    )


def menu_text(text: str) -> str:
    """``text`` as words of a menu or a button, where a single ``&`` would underline what follows it."""
    return short_words(text).replace("&", "&&")
