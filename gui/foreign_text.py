"""Text that others wrote (names of files and tensors, messages of somebody's code), made fit for eyes. No Qt."""

from __future__ import annotations

from engine.contents import printable

LONGEST_WORD = 48
"""Characters of one word; what is longer would make a window as wide as itself."""


def visible(text: str) -> str:
    """``text`` with a sign for every character that is not seen but changes how others are; newlines stay.

    Such are control characters and those that turn the direction of writing, with which ``gnp.pt`` looks like
    ``tp.png``.
    """
    return "\n".join(map(printable, text.replace("\t", " ").split("\n")))


def one_line(text: str) -> str:
    """``text`` as :func:`visible`, without newlines."""
    return visible(text).replace("\n", " ")


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
