"""What every loader is told beside the source."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LoadOptions:
    """``trust`` is the user's consent to run the source's code; with ``digest`` only for exactly that content."""

    trust: bool = False
    digest: str = ""
