"""What is said about the open model, the same in the title's tooltip and beside a measurement. No Qt."""

from __future__ import annotations

from pathlib import Path

from engine.results import ModelInfo


def weights_of(model: ModelInfo) -> str:
    """Where the weights come from that a measurement runs with: a file's name, ``random``."""
    if model.weights:
        return Path(model.weights).name
    return "as its code makes them" if model.format == "python" else "random"
