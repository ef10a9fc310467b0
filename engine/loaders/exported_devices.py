"""Programs exported on a GPU, loaded on the CPU: ``torch.export.load`` puts weights where the file says, or fails.

The outlined program runs wherever its inputs are, so the device in the file only decides where its weights would be
allocated. A copy of the archive with the CPU in its place is what is loaded then.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from typing import Any, BinaryIO

_ELSEWHERE = re.compile(rb'"type"\s*:\s*"(?:cuda|xpu|mps|hpu|mtia|privateuseone)"')
_SAMPLES = "data/sample_inputs/"
"""Pickled tensors of the device; a program needs none, and an empty record stands for none."""


def on_cpu(handle: BinaryIO) -> BinaryIO:
    """``handle`` at its beginning, or an archive that differs from it in the devices alone and has no sample inputs.

    An archive that cannot be read is left to torch.export.load.
    """
    try:
        with zipfile.ZipFile(handle) as archive:
            names = [name for name in archive.namelist() if name.endswith(".json")]
            texts = {name: archive.read(name) for name in names}
            moved = {name: _moved(text) for name, text in texts.items() if _ELSEWHERE.search(text)}
            return _copy(archive, moved) if moved else handle
    except (zipfile.BadZipFile, OSError, ValueError, KeyError, RecursionError):
        return handle
    finally:
        handle.seek(0)


def _moved(text: bytes) -> bytes:
    return json.dumps(json.loads(text, object_hook=_device)).encode()


def _device(value: dict[str, Any]) -> dict[str, Any]:
    """``Device`` of torch's export schema has exactly these two fields."""
    return {"type": "cpu", "index": None} if value.keys() == {"type", "index"} else value


def _copy(archive: zipfile.ZipFile, changed: dict[str, bytes]) -> BinaryIO:
    copy = io.BytesIO()
    with zipfile.ZipFile(copy, "w") as new:
        for name in archive.namelist():
            data = b"" if _SAMPLES in name else changed.get(name)
            new.writestr(name, archive.read(name) if data is None else data)
    copy.seek(0)
    return copy
