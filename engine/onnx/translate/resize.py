"""Resizing and sampling of images."""

from __future__ import annotations

from math import prod

from engine.cost import Work
from engine.cost.per_element import per_element_work
from engine.graph import OpCall, Shape
from engine.onnx.translate.registry import MICROSOFT, NCHWC, NHWC, NodeCall, translates
from engine.onnx.translate.uncounted import Reason, uncounted

_ANTIALIASED = {"linear": "_upsample_bilinear2d_aa", "cubic": "_upsample_bicubic2d_aa"}


@translates("Resize", "Upsample")
@translates("Resize", domain=NHWC)
@translates("Upsample", domain=NCHWC)
def resize(call: NodeCall) -> OpCall | tuple[str, Work]:
    """Interpolation over d axes: all but the first two, or those whose size changes where one of the two does.

    FLOPs per output element: nearest 0 · linear 2^(d+1) − 1 (2^d mul, 2^d − 1 add: 3, 7, 15) · cubic 2 · 4^d − 1
    (7, 31, 127). With ``antialias`` in two dimensions as torch's separable filters. Positions and weights, shared by
    rows and channels, are left out. Source: ONNX, Resize.
    """
    mode = call.text("mode", "nearest")
    if mode == "nearest":
        return "pool", per_element_work(prod(call.output()), 0, 0, "copies of the nearest")
    image, out = call.input(), call.output()
    axes = _axes(call, image, out)
    kind = "cubic" if mode == "cubic" else "linear"
    if call.whole("antialias"):
        if axes == (len(out) - 2, len(out) - 1):
            return OpCall(_ANTIALIASED[kind], (image,), (out,), {})
        return uncounted(Reason("filters against aliasing in other than the last two dimensions"), call)
    taps = (4 if kind == "cubic" else 2) ** len(axes)
    return "pool", per_element_work(prod(out), 2 * taps - 1, 0, f"{taps} mul, {taps - 1} add")


@translates("GridSample")
@translates("GridSample", domain=NHWC)
@translates("GridSample", domain=MICROSOFT)
def grid_sample(call: NodeCall) -> OpCall | tuple[str, Work]:
    """Samples at the points of a grid: as ``grid_sampler`` of torch; cubic in three dimensions is not counted."""
    mode = {"nearest": 1, "cubic": 2, "bicubic": 2}.get(call.text("mode", "linear"), 0)
    grid = call.input(1)
    if mode == 2 and grid[-1] != 2:
        return uncounted(Reason("interpolates by cubes in three dimensions"), call)
    return OpCall("grid_sampler", (call.input(), grid), (call.output(),), {"interpolation_mode": mode})


@translates("AffineGrid")
def affine_grid(call: NodeCall) -> OpCall:
    """Sampling grid θ · (x, y, 1)ᵀ. MACs = elements of the output · (d + 1); FLOPs = 2 · MACs."""
    return OpCall("affine_grid_generator", (call.input(),), (call.output(),), {})


@translates("CropAndResize", domain=MICROSOFT)
def crop_and_resize(call: NodeCall) -> tuple[str, Work]:
    """One sample per output: bilinear 7 FLOPs, nearest 0. Source: onnxruntime, ContribOperators.md."""
    bilinear = call.text("mode", "bilinear") == "bilinear"
    return "pool", per_element_work(
        prod(call.output()), 7 if bilinear else 0, 0, "4 mul, 3 add" if bilinear else "copy"
    )


def _axes(call: NodeCall, image: Shape, out: Shape) -> Shape:
    """The axes along which is interpolated, in order."""
    named = call.wholes("axes")
    if named:
        return tuple(sorted([axis % len(out) for axis in named]))
    if len(out) > 2 and image[:2] == out[:2]:
        return tuple(range(2, len(out)))
    return tuple(
        [axis for axis, (before, after) in enumerate(zip(image, out, strict=True)) if before != after]
    )
