"""Tooltips of text that others wrote. No Qt."""

from __future__ import annotations

import html

from gui.foreign_text import visible


def plain_tooltip(text: str) -> str:
    """``text`` of unknown origin (a path, an error) as a tooltip that shows its tags instead of obeying them."""
    text = visible(text)
    if "<" not in text:
        return text
    return f"<p>{html.escape(text)}</p>".replace("\n", "<br>")
