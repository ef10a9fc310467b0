"""The reference kernel in torch."""

from __future__ import annotations

import torch

from engine.latency.reference import Reference

SIZE = 256
"""Three matrices of 256 × 256 float32 are 0.8 MB: they stay in a second-level cache and displace little."""
PRODUCTS = 2


def torch_reference(threads: int, best_s: float | None = None) -> Reference:
    """Two 256³ products, 67 MFLOP, with ``threads``, which the calling thread has set already: 0.3 to 0.7 ms here."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(SIZE, SIZE, generator=generator) for _ in range(2))
    out = torch.empty(SIZE, SIZE)

    def kernel() -> None:
        with torch.inference_mode():
            for _ in range(PRODUCTS):
                torch.mm(a, b, out=out)

    return Reference(kernel, ("torch", threads), best_s)
