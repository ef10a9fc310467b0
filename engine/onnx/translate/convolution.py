"""Convolutions."""

from __future__ import annotations

from engine.graph import OpCall
from engine.onnx.translate.registry import NodeCall, shapes, translates

RANKS = {3: "conv1d", 4: "conv2d", 5: "conv3d"}


@translates("Conv")
def conv(call: NodeCall) -> OpCall:
    """``Conv(X, W, B?)``: strides, pads, dilations and auto_pad act through the output's size."""
    weight = call.inputs[1]
    bias = call.inputs[2] if len(call.inputs) > 2 else None
    op = RANKS.get(len(weight or ()), "conv2d")
    return OpCall(op, call.inputs, shapes(call.outputs), {"bias": bias})
