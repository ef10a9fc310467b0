"""Pooling: maximum and average over windows, adaptive windows, regions of interest."""

from __future__ import annotations

from math import prod
from typing import Any

from engine.cost.registry import Work, cost_formula, not_counted, product
from engine.graph import OpCall, Shape


@cost_formula(
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "max_pool1d_with_indices",
    "max_pool2d_with_indices",
    "max_pool3d_with_indices",
    "mkldnn_max_pool2d",
    "mkldnn_max_pool3d",
    "fractional_max_pool2d",
    "fractional_max_pool3d",
    family="pool",
)
def max_pool(call: OpCall) -> Work:
    """Maximum over windows of k = prod(kernel_size) taps.

    FLOPs = k − 1 comparisons per output element. Taps in the padding are counted: too high by a few per
    cent for small outputs. Source: definition of ``torch.nn.MaxPool2d``.
    """
    out = call.outputs[0]
    outputs = prod(out)
    k = _taps(call)
    flops = outputs * (k - 1)
    return Work(0, flops, 0, f"FLOPs = outputs·(k − 1) = {product(out)}·({k} − 1) = {flops:,}")


@cost_formula("avg_pool1d", "avg_pool2d", "avg_pool3d", family="pool")
def avg_pool(call: OpCall) -> Work:
    """Mean over windows of k = prod(kernel_size) taps.

    FLOPs = k per output element: k − 1 additions and a division (special). Taps in the padding are counted.
    Source: definition of ``torch.nn.AvgPool2d``.
    """
    out = call.outputs[0]
    outputs = prod(out)
    k = _taps(call)
    flops = outputs * k
    return Work(0, flops, outputs, f"FLOPs = outputs·k = {product(out)}·{k} = {flops:,}, special {outputs:,}")


@cost_formula(
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "_adaptive_avg_pool2d",
    "_adaptive_avg_pool3d",
    "mkldnn_adaptive_avg_pool2d",
    family="pool",
)
def adaptive_avg_pool(call: OpCall) -> Work:
    """Mean over windows that divide the input into ``output_size`` parts.

    Part i of n runs from ⌊i·in/n⌋ to ⌈(i+1)·in/n⌉.
    FLOPs = Σ over outputs of the taps of their windows, exactly: k per output (1 division, special).
    Source: definition of ``torch.nn.AdaptiveAvgPool2d``.
    """
    outputs = prod(call.outputs[0])
    taps = _adaptive_taps(call)
    text = f"FLOPs = taps of all {outputs:,} windows = {taps:,}, special {outputs:,}"
    return Work(0, taps, outputs, text)


@cost_formula("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d", family="pool")
def adaptive_max_pool(call: OpCall) -> Work:
    """Maximum over the windows of ``adaptive_avg_pool``. FLOPs = Σ over outputs of (taps − 1), exactly."""
    outputs = prod(call.outputs[0])
    taps = _adaptive_taps(call)
    flops = taps - outputs
    text = f"FLOPs = taps of all windows − outputs = {taps:,} − {outputs:,} = {flops:,}"
    return Work(0, flops, 0, text)


@cost_formula("roi_align", "ps_roi_align", family="pool")
def roi_align(call: OpCall) -> Work:
    """Mean of s² bilinear samples per bin (torchvision): output ``(regions, C, bins_h, bins_w)``.

    FLOPs = 8 s² per output element (1 special), s = sampling_ratio: 7 per sample for the interpolation and
    s² for the mean. Positions and weights of the samples, shared by all channels, are left out (about 20 /
    C per sample). With sampling_ratio ≤ 0 the number of samples depends on the size of each region: not
    counted.
    Source: He et al. 2017; ``torchvision/csrc/ops/cpu/roi_align_kernel.cpp``.
    """
    ratio: Any = call.args["sampling_ratio"]
    if ratio <= 0:
        return not_counted(f"{call.op} with sampling_ratio {ratio} samples as often as each region is large")
    out = call.outputs[0]
    outputs = prod(out)
    flops = 8 * ratio * ratio * outputs
    text = f"FLOPs = outputs·8·s² = {product(out)}·8·{ratio * ratio} = {flops:,}, special {outputs:,}"
    return Work(0, flops, outputs, text)


@cost_formula("roi_pool", "ps_roi_pool", family="pool")
def roi_pool(call: OpCall) -> Work:
    """Maximum or mean over bins whose sizes depend on the regions' coordinates: not counted."""
    return not_counted(f"the windows of {call.op} depend on each region's size")


def _taps(call: OpCall) -> int:
    """Taps of one window; a kernel size given as one number holds for all spatial dimensions."""
    size: Any = call.args["kernel_size"]
    rank = 3 if "3d" in call.op else 2 if "2d" in call.op else 1
    if isinstance(size, int):
        return int(size**rank)
    return prod(size) if len(size) == rank else int(size[0] ** rank)


def _adaptive_taps(call: OpCall) -> int:
    """Taps of all windows of all planes."""
    image: Any = call.inputs[0]
    out: Shape = call.outputs[0]
    rank = 3 if "3d" in call.op else 2 if "2d" in call.op else 1
    taps = prod(out[:-rank])
    for size, parts in zip(image[-rank:], out[-rank:], strict=True):
        if size % parts == 0:
            taps *= size
        else:
            taps *= sum(-(-(part + 1) * size // parts) - part * size // parts for part in range(parts))
    return taps
