"""Tooltips of text that others wrote. No Qt."""

from __future__ import annotations

import html
import re

from gui.foreign_text import visible

LONGEST_WORD = 96
"""Characters of one word on one line: a tooltip that is wider than the screen is cut."""
_LONG = re.compile(rf"\S{{{LONGEST_WORD}}}(?=\S)")


def plain_tooltip(text: str) -> str:
    """``text`` of unknown origin (a path, an error) as a tooltip that shows its tags instead of obeying them."""
    text = _LONG.sub(r"\g<0>\n", visible(text))
    if "<" not in text:
        return text
    return f"<p>{html.escape(text)}</p>".replace("\n", "<br>")
