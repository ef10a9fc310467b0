"""Resizing and sampling of images: upsampling in all modes, grid sampling."""

from __future__ import annotations

from functools import partial
from math import ceil, prod
from typing import Any

from engine.cost.per_element import per_element
from engine.cost.registry import Work, cost_formula, product
from engine.graph import OpCall

_upsample = partial(per_element, family="pool")

_upsample(
    "upsample_nearest1d",
    "upsample_nearest2d",
    "upsample_nearest3d",
    "_upsample_nearest_exact1d",
    "_upsample_nearest_exact2d",
    "_upsample_nearest_exact3d",
    flops=0,
    counts="copies of the nearest",
)
_upsample("upsample_linear1d", flops=3, counts="2 mul, 1 add")
_upsample("upsample_bilinear2d", flops=7, counts="4 mul, 3 add")
_upsample("upsample_trilinear3d", flops=15, counts="8 mul, 7 add")
_upsample("upsample_bicubic2d", flops=31, counts="16 mul, 15 add")

_SUPPORT = {"_upsample_bilinear2d_aa": 1, "_upsample_bicubic2d_aa": 2, "_upsample_lanczos2d_aa": 3}
"""Half width of the filter, in input pixels when enlarging and in output pixels when reducing."""


@cost_formula(*_SUPPORT, family="pool")
def antialiased(call: OpCall) -> Work:
    """Separable filtering with antialiasing, columns first: input ``(…, H, W)`` to ``(…, H_out, W_out)``.

    Taps per axis t = ⌈2 · support · max(1, in / out)⌉, support 1 (bilinear), 2 (bicubic), 3 (Lanczos)
    FLOPs = (2 t_w − 1) · … · H · W_out + (2 t_h − 1) · … · H_out · W_out

    The filter weights, shared by all rows, are left out; taps cut off at the border are counted.
    Source: ``aten/src/ATen/native/cpu/UpSampleKernel.cpp``.
    """
    image: Any = call.inputs[0]
    out = call.outputs[0]
    width = 2 * _SUPPORT[call.op]
    t_h, t_w = (ceil(width * max(1.0, image[axis] / out[axis])) for axis in (-2, -1))
    flops = (2 * t_w - 1) * prod(out) // out[-2] * image[-2] + (2 * t_h - 1) * prod(out)
    text = f"FLOPs of {t_w} and {t_h} taps, one axis after the other, to {product(out)} = {flops:,}"
    return Work(0, flops, 0, text)


@cost_formula("grid_sampler", "grid_sampler_2d", "grid_sampler_3d", "cudnn_grid_sampler", family="pool")
def grid_sampler(call: OpCall) -> Work:
    """Samples of input ``(N, C, …)`` at the points of grid ``(N, …, d)``.

    By interpolation_mode (0 linear, 1 nearest, 2 cubic):
    FLOPs = a per output element + b per point
        d = 2: bilinear a = 7, b = 14 (pixel position 4, floor 2, fractions 4, weights 4)
        d = 3: trilinear a = 15, b = 31 (6, 3, 6, 16)
        nearest a = 0, b = 3 d (pixel position 2 d, round d)
        bicubic a = 31, b = 74 (4, 2, 2, cubic weights 50, their products 16)

    Padding by border or reflection is left out (2 to 8 per point).
    Source: definition of ``torch.nn.functional.grid_sample``.
    """
    args = call.args
    grid: Any = call.inputs[1]
    mode = args.get("interpolation_mode", 0)
    d = grid[-1]
    if mode == 1:
        each, point = 0, 3 * d
    elif mode == 2:
        each, point = 31, 74
    else:
        each, point = (7, 14) if d == 2 else (15, 31)
    outputs, points = prod(call.outputs[0]), prod(grid[:-1])
    flops = each * outputs + point * points
    text = f"FLOPs = {each} · {outputs:,} outputs + {point} · {points:,} points = {flops:,}"
    return Work(0, flops, 0, text)
