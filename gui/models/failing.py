"""Which layer stops the configuration asked for."""

from __future__ import annotations

from engine.protocol import Failed

_KINDS = ("layer", "input", "unsupported")
"""Errors that speak about the layer itself; one that asks for a real run or was cancelled does not."""


def failing_layer(failure: Failed | None) -> str:
    """Path of the layer that cannot run; ``""`` when nothing failed or no single layer is to blame."""
    return failure.error.layer if failure is not None and failure.error.kind in _KINDS else ""
