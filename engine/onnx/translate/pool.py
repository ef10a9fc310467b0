"""Pooling: windows of kernel_shape, whole planes, regions of interest. Taps on padding are counted."""

from __future__ import annotations

from math import prod

from engine.cost import Work
from engine.cost.per_element import per_element_work
from engine.graph import OpCall
from engine.onnx.translate.registry import MICROSOFT, NCHWC, NHWC, NodeCall, translates


@translates("MaxPool", "AveragePool")
@translates("MaxPool", "AveragePool", domain=NHWC)
@translates("MaxPool", "AveragePool", domain=NCHWC)
@translates("NhwcMaxPool", domain=MICROSOFT)
def window(call: NodeCall) -> OpCall:
    """FLOPs per output for windows of k = prod(kernel_shape) taps: maximum k − 1, average k (1 special)."""
    op = "avg_pool1d" if call.op == "AveragePool" else "max_pool1d"
    return OpCall(op, (), (call.output(),), {"kernel_size": (prod(call.wholes("kernel_shape")),)})


@translates("GlobalMaxPool", "GlobalAveragePool")
@translates("GlobalMaxPool", "GlobalAveragePool", domain=NHWC)
@translates("GlobalMaxPool", "GlobalAveragePool", domain=NCHWC)
def whole_plane(call: NodeCall) -> OpCall:
    """FLOPs per output for planes of k elements: maximum k − 1, average k (1 special)."""
    op = "avg_pool1d" if call.op == "GlobalAveragePool" else "max_pool1d"
    return OpCall(op, (), (call.output(),), {"kernel_size": (_plane(call),)})


@translates("LpPool", "GlobalLpPool")
@translates("LpPool", "GlobalLpPool", domain=NHWC)
def lp_pool(call: NodeCall) -> tuple[str, Work]:
    """(Σ |x|^p)^(1/p) over windows, or planes, of k taps.

    FLOPs per output: p = 2: 2 k (1 special: square k, add k − 1, root) · p = 1: 2 k − 1 · other p: 3 k (k + 1
    special: abs k, pow k, add k − 1, root). Source: ONNX, LpPool.
    """
    k = _plane(call) if call.op == "GlobalLpPool" else prod(call.wholes("kernel_shape"))
    outputs = prod(call.output())
    each, special = {1: (2 * k - 1, 0), 2: (2 * k, 1)}.get(int(call.number("p", 2)), (3 * k, k + 1))
    return "pool", per_element_work(outputs, each, special, f"windows of {k} taps")


@translates("RoiAlign")
def roi_align(call: NodeCall) -> OpCall | tuple[str, Work]:
    """Mean of s² bilinear samples per bin: FLOPs = 8 s² per output (1 special); maximum: 8 s² − 1.

    With a ``sampling_ratio`` s of 0 the number of samples depends on each region: not counted.
    """
    ratio = call.whole("sampling_ratio")
    if call.text("mode", "avg") == "max" and ratio > 0:
        counts = f"7 per sample, join {ratio * ratio} samples"
        return "pool", per_element_work(prod(call.output()), 8 * ratio * ratio - 1, 0, counts)
    return OpCall("roi_align", call.inputs, (call.output(),), {"sampling_ratio": ratio})


@translates("Col2Im")
def col2im(call: NodeCall) -> OpCall:
    """Sums overlapping blocks back into an image. FLOPs = 1 per element of the blocks."""
    return OpCall("col2im", (call.input(),), (call.output(),), {})


def _plane(call: NodeCall) -> int:
    """Elements that become one, in any layout."""
    outputs = prod(call.output())
    return prod(call.input()) // outputs if outputs else 0
