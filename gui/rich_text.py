"""Text for labels that show HTML, so that Qt keeps a number and its unit on one line."""

from __future__ import annotations

import re
from html import escape

from engine.numbers import THIN

_NO_BREAK = "\N{NO-BREAK SPACE}"
_WORD_JOINER = "\N{WORD JOINER}"
_RATE = re.compile(r"\b(MAC|FLOP)/(?=\w)")


def rich(text: str) -> str:
    """``text`` escaped, with its thin spaces as wide ones: Qt's reader of HTML makes all others ordinary spaces.

    Nor does a line break after the slash of ``38.7 G MAC/s``, where Qt breaks by the rules of Unicode; one of a path
    still does.
    """
    return _RATE.sub(rf"\1/{_WORD_JOINER}", escape(text).replace(THIN, _NO_BREAK))
