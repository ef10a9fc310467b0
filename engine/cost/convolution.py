"""Convolutions: direct, transposed and deformable, of any rank, grouped and dilated.

Every element of the weight is used equally often: once per output position, or per input position of a transposed one.
"""

from __future__ import annotations

from math import prod
from typing import Any

from engine.cost.registry import Work, cost_formula, product
from engine.graph import OpCall, Shape


@cost_formula(
    "conv1d",
    "conv2d",
    "conv3d",
    "mkldnn_convolution",
    "cudnn_convolution",
    "_slow_conv2d_forward",
    "thnn_conv2d",
    "slow_conv3d",
    "slow_conv3d_forward",
    "slow_conv_dilated2d",
    "slow_conv_dilated3d",
    "_conv_depthwise2d",
    "conv_depthwise3d",
    family="convolution",
)
def convolution(call: OpCall) -> Work:
    """Direct convolution of input ``(N, C_in, …)`` with weight ``(C_out, C_in/groups, k…)``.

    MACs = N · C_out · prod(out_spatial) · (C_in / groups) · prod(kernel)
    FLOPs = 2 · MACs + 1 per output element with a bias

    Stride, padding and dilation act through the output size. Taps that fall on zero padding are counted:
    too high by 0.6 % at 224×224 and by 22 % at 7×7 for a 3×3 kernel with padding 1. Fast algorithms
    (Winograd, FFT) do fewer.
    Source: definition of ``torch.nn.Conv2d``; equals half of torch's FlopCounterMode.
    """
    weight: Any = call.inputs[1]
    return _direct(call.outputs[0], weight, call.args.get("bias") is not None)


@cost_formula(
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "cudnn_convolution_transpose",
    "slow_conv_transpose2d",
    "slow_conv_transpose3d",
    family="convolution",
)
def conv_transpose(call: OpCall) -> Work:
    """Transposed convolution of input ``(N, C_in, …)`` with weight ``(C_in, C_out/groups, k…)``.

    MACs = N · C_in · prod(in_spatial) · (C_out / groups) · prod(kernel): every input position is multiplied
    with the whole kernel, however large the stride.
    FLOPs = 2 · MACs + 1 per output element with a bias

    Products that padding cuts off at the border are counted. Source: definition of
    ``torch.nn.ConvTranspose2d``; equals half of torch's FlopCounterMode.
    """
    image: Any = call.inputs[0]
    weight: Any = call.inputs[1]
    return _transposed(image, weight, call.outputs[0], call.args.get("bias") is not None)


@cost_formula("convolution", "_convolution", "convolution_overrideable", family="convolution")
def any_convolution(call: OpCall) -> Work:
    """The general operator behind all convolutions: direct, or transposed when its argument says so."""
    image: Any = call.inputs[0]
    weight: Any = call.inputs[1]
    bias = call.args.get("bias") is not None
    if call.args["transposed"]:
        return _transposed(image, weight, call.outputs[0], bias)
    return _direct(call.outputs[0], weight, bias)


@cost_formula("conv_tbc", family="convolution")
def conv_tbc(call: OpCall) -> Work:
    """Time–batch–channel convolution: input ``(T, N, C_in)``, weight ``(k, C_in, C_out)``, always with bias.

    MACs = T_out · N · C_out · k · C_in; FLOPs = 2 · MACs + 1 per output element. Padding taps are counted.
    Source: ``aten/src/ATen/native/ConvolutionTBC.cpp``.
    """
    weight: Any = call.inputs[1]
    outputs = prod(call.outputs[0])
    macs = outputs * weight[0] * weight[1]
    flops = 2 * macs + outputs
    text = (
        f"MACs = T·N·C_out·k·C_in = {product(call.outputs[0])}·{weight[0]}·{weight[1]} = {macs:,}; "
        f"FLOPs = 2·MACs + bias {outputs:,} = {flops:,}"
    )
    return Work(macs, flops, 0, text, ((1, macs),))


@cost_formula("deform_conv2d", family="convolution")
def deform_conv2d(call: OpCall) -> Work:
    """Deformable convolution (torchvision) of input ``(N, C_in, H, W)``.

    With weight ``(C_out, C_in/groups, k_h, k_w)``:
    MACs = N · C_out · H_out · W_out · (C_in / groups) · k_h · k_w, as a direct convolution
    FLOPs = 2 · MACs + 1 per output element for the bias (torchvision adds a zero one when there is none; ONNX
            does not)
          + 7 for the bilinear interpolation, 8 with a mask, per sampled value
            (N · H_out · W_out · k_h · k_w · C_in)
          + 2 per offset pair (elements of ``offset`` in all) for moving the sampling point

    The four interpolation weights per sampling point are left out: about 10 per point, 1/C_in of the
    interpolation.
    Source: Dai et al. 2017, Zhu et al. 2019; ``torchvision/csrc/ops/cpu/deform_conv2d_kernel.cpp``.
    """
    image: Any = call.inputs[0]
    weight: Any = call.args["weight"]
    offset: Any = call.args["offset"]
    out = call.outputs[0]
    macs = prod(out) * prod(weight[1:])
    outputs = prod(out) if call.args.get("bias", ()) is not None else 0
    samples = out[0] * out[2] * out[3] * weight[2] * weight[3] * image[1]
    each = 8 if call.args.get("use_mask") else 7
    moved = prod(offset)
    flops = 2 * macs + outputs + each * samples + moved
    text = (
        f"MACs = N·C_out·H·W·(C_in/groups)·k_h·k_w = {product(out)}·{product(weight[1:])} = {macs:,}; "
        f"FLOPs = 2·MACs + bias {outputs:,} + {each}·{samples:,} samples + offsets {moved:,} = {flops:,}"
    )
    return Work(macs, flops, 0, text, ((1, macs),))


_SPATIAL = {3: ("L", "k"), 4: ("H·W", "k_h·k_w"), 5: ("D·H·W", "k_d·k_h·k_w")}
"""Names of output and kernel sizes by the rank of the weight."""
_ANY_RANK = ("spatial", "kernel")


def _direct(out: Shape, weight: Shape, bias: bool) -> Work:
    outputs = prod(out)
    macs = outputs * prod(weight[1:])
    space, kernel = _SPATIAL.get(len(weight), _ANY_RANK)
    batch = "N·" if len(out) == len(weight) else ""
    text = (
        f"MACs = {batch}C_out·{space}·(C_in/groups)·{kernel} "
        f"= {product(out)}·{product(weight[1:])} = {macs:,}; FLOPs = 2·MACs"
    )
    return _with_bias(macs, outputs if bias else 0, text)


def _transposed(image: Shape, weight: Shape, out: Shape, bias: bool) -> Work:
    macs = prod(image) * prod(weight[1:])
    space, kernel = _SPATIAL.get(len(weight), _ANY_RANK)
    batch = "N·" if len(out) == len(weight) else ""
    text = (
        f"MACs = {batch}C_in·{space} of the input·(C_out/groups)·{kernel} "
        f"= {product(image)}·{product(weight[1:])} = {macs:,}; FLOPs = 2·MACs"
    )
    return _with_bias(macs, prod(out) if bias else 0, text)


def _with_bias(macs: int, bias: int, text: str) -> Work:
    flops = 2 * macs + bias
    if bias:
        text = f"{text} + bias {bias:,}"
    return Work(macs, flops, 0, f"{text} = {flops:,}", ((1, macs),))
