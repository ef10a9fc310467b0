"""Files that ship with the program: colour tokens, the report page, the index of architectures. Plain data."""

from __future__ import annotations

from importlib.resources import files


def read(name: str) -> str:
    """Text of the resource ``name`` (``report.css``), with ``\\n`` line ends.

    Raises FileNotFoundError when no such resource is shipped.
    """
    return files(__name__).joinpath(name).read_text(encoding="utf-8")


def read_bytes(name: str) -> bytes:
    """The resource ``name`` as it is (``zoo_index.bin``).

    Raises FileNotFoundError when no such resource is shipped.
    """
    return files(__name__).joinpath(name).read_bytes()
