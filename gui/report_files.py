"""Which files are exported reports, by their content. No Qt."""

from __future__ import annotations

import os
import stat

HEAD_BYTES = 64 << 10
"""Read from either end: keys may have been sorted, and a checkpoint's index may have 10 MB."""
FAMILY = b'"misnomer-report/'
_MODELS = (b'"weight_map"', b'"model_type"', b'"architectures"')
"""Keys of an index of shards and of a model's configuration."""


def is_report(path: str) -> bool:
    """Whether ``path`` is a report rather than a model; what cannot be read is judged by its name."""
    named_so = path.lower().endswith(".json")
    try:
        text = _ends(path).lstrip(b"\xef\xbb\xbf \t\r\n")
    except (OSError, ValueError):
        return named_so
    if not text.startswith(b"{"):
        return named_so
    return FAMILY in text or (named_so and not any(key in text for key in _MODELS))


def _ends(path: str) -> bytes:
    """Both ends of a regular file; nothing of a folder, a pipe or a device, which might never end."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        return b""
    with open(path, "rb") as file:
        head = file.read(HEAD_BYTES)
        file.seek(0, os.SEEK_END)
        size = file.tell()
        if size <= HEAD_BYTES:
            return head
        file.seek(max(HEAD_BYTES, size - HEAD_BYTES))
        return head + file.read(HEAD_BYTES)
