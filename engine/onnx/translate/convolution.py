"""Convolutions: direct, transposed, deformable, causal. Strides, pads, dilations and auto_pad act through the sizes."""

from __future__ import annotations

from math import prod

from engine.cost import Work
from engine.graph import OpCall
from engine.onnx.translate.combined import Extra, activated, counted, plus, products
from engine.onnx.translate.registry import MICROSOFT, NCHWC, NHWC, NodeCall, translates


@translates("Conv")
@translates("Conv", domain=NHWC)
@translates("NhwcConv", domain=MICROSOFT)
def conv(call: NodeCall) -> OpCall:
    """``Conv(X, W, B?)`` with W ``(C_out, C_in/groups, k…)``.

    MACs = outputs · (C_in / groups) · prod(kernel); FLOPs = 2 · MACs + 1 per output with a bias. Taps on padding
    are counted. Source: ONNX, Conv.
    """
    return OpCall("conv2d", (None, call.input(1)), (call.output(),), {"bias": call.optional(2)})


@translates("FusedConv", "NhwcFusedConv", domain=MICROSOFT)
@translates("Conv", domain=NCHWC)
def fused_conv(call: NodeCall) -> tuple[str, Work]:
    """``Conv(X, W, B?, Z?)``, a sum with Z and an activation. FLOPs = convolution + 1 per output with Z + activation.

    Source: onnxruntime, ContribOperators.md.
    """
    out = call.output()
    work = counted("conv2d", (None, call.input(1)), out, {"bias": call.optional(2)})
    added = Extra("sum", prod(out) if call.has(3) else 0)
    return "convolution", plus(work, added, activated(call.text("activation"), out))


@translates("ConvTranspose")
@translates("ConvTranspose", domain=NHWC)
@translates("ConvTransposeWithDynamicPads", domain=MICROSOFT)
def conv_transpose(call: NodeCall) -> OpCall:
    """``ConvTranspose(X, W, B?)`` with W ``(C_in, C_out/groups, k…)``: every input position meets the whole kernel.

    MACs = elements of X · (C_out / groups) · prod(kernel), whatever strides, pads, output_padding and output_shape.
    Source: ONNX, ConvTranspose.
    """
    bias = call.optional(3 if call.op == "ConvTransposeWithDynamicPads" else 2)
    return OpCall("conv_transpose2d", (call.input(), call.input(1)), (call.output(),), {"bias": bias})


@translates("DeformConv")
def deform_conv(call: NodeCall) -> OpCall:
    """``DeformConv(X, W, offset, B?, mask?)`` in two dimensions: as torchvision's, bias counted where there is one."""
    args: dict[str, object] = {
        "weight": call.input(1), "offset": call.input(2), "bias": call.optional(3), "use_mask": call.has(4),
    }  # fmt: skip
    return OpCall("deform_conv2d", call.inputs, (call.output(),), args)


@translates("CausalConvWithState")
@translates("CausalConvWithState", domain=MICROSOFT)
def causal_conv(call: NodeCall) -> tuple[str, Work]:
    """Depthwise convolution with W ``(C, 1, k…)`` over the past only, the state standing for the padding.

    MACs = outputs · prod(kernel); FLOPs = 2 · MACs + 1 per output with a bias + activation (SiLU 2, 1 special).
    Source: ONNX, CausalConvWithState.
    """
    out, taps = call.output(), prod(call.input(1)[1:])
    macs = prod(out) * taps
    bias = Extra("bias", prod(out) if call.has(2) else 0)
    activation = activated(call.text("activation", "none"), out)
    return "convolution", products(macs, f"outputs·k = {prod(out):,}·{taps}", ((1, macs),), bias, activation)
