"""What one ONNX node computes: ``work(call) -> (family, Work)``, through the same formulas as every other format."""

from __future__ import annotations

from engine.onnx.translate.registry import NodeCall, work

__all__ = ["NodeCall", "work"]
