"""Normalisation: batch, layer, group, instance, RMS, Lp, local response; with the sums that onnxruntime fuses."""

from __future__ import annotations

from math import prod

from engine.cost import Work
from engine.graph import OpCall, Shape
from engine.onnx.translate.combined import Extra, activated, counted, plus
from engine.onnx.translate.registry import MICROSOFT, NHWC, NodeCall, translates


@translates("BatchNormalization")
@translates("BatchNormalization", domain=NHWC)
def batch_norm(call: NodeCall) -> OpCall:
    """FLOPs = 2 per element: scale and shift, folded per channel.

    In training (``training_mode``; before opset 14 when it writes running statistics) per channel of n elements 7 n +
    2 (3 special). Source: ONNX, BatchNormalization.
    """
    before = call.opset < 14 and call.makes(1) and not call.whole("is_test")
    args: dict[str, object] = {
        "training": bool(call.whole("training_mode")) or before,
        "weight": (),
        "bias": (),
    }
    return OpCall("batch_norm", (call.input(),), (call.output(),), args)


@translates("LayerNormalization")
def layer_norm(call: NodeCall) -> OpCall:
    """Rows of n = prod(shape from ``axis`` on). FLOPs per row = 5 n + 2 (3 special), + n with scale, + n with bias.

    Source: ONNX, LayerNormalization.
    """
    args: dict[str, object] = {
        "normalized_shape": _from_axis(call), "weight": call.optional(1), "bias": call.optional(2),
    }  # fmt: skip
    return OpCall("layer_norm", (call.input(),), (call.output(),), args)


@translates("RMSNormalization", "SimplifiedLayerNormalization")
@translates("SimplifiedLayerNormalization", domain=MICROSOFT)
def rms_norm(call: NodeCall) -> OpCall:
    """Rows of n = prod(shape from ``axis`` on). FLOPs per row = 3 n + 2 (2 special), + n with scale.

    Source: ONNX, RMSNormalization; SimplifiedLayerNormalization is onnxruntime's name of it.
    """
    args: dict[str, object] = {"normalized_shape": _from_axis(call), "weight": call.optional(1)}
    return OpCall("rms_norm", (call.input(),), (call.output(),), args)


@translates("GroupNormalization")
def group_norm(call: NodeCall) -> OpCall:
    """Rows of n = C / groups · prod(spatial). FLOPs per row = 7 n + 2 (3 special). Source: ONNX, GroupNormalization."""
    args: dict[str, object] = {
        "num_groups": call.whole("num_groups", 1), "weight": call.optional(1), "bias": call.optional(2),
    }  # fmt: skip
    return OpCall("group_norm", (call.input(),), (call.output(),), args)


@translates("InstanceNormalization")
def instance_norm(call: NodeCall) -> OpCall:
    """Rows of n = prod(spatial). FLOPs per row = 7 n + 2 (3 special). Source: ONNX, InstanceNormalization."""
    args: dict[str, object] = {"weight": call.optional(1), "bias": call.optional(2)}
    return OpCall("instance_norm", (call.input(),), (call.output(),), args)


@translates("MeanVarianceNormalization")
def mean_variance(call: NodeCall) -> OpCall:
    """(x − mean) / deviation over ``axes`` (0, 2, 3): rows of n elements, FLOPs per row = 5 n + 2 (3 special).

    As a layer norm without scale and bias. Source: ONNX, MeanVarianceNormalization.
    """
    shape = call.input()
    n = prod([shape[axis] for axis in call.wholes("axes") or (0, 2, 3)])
    rows: Shape = (prod(shape) // n if n else 0, n)
    return OpCall("layer_norm", (rows,), (rows,), {"normalized_shape": (n,)})


@translates("LpNormalization")
def lp_norm(call: NodeCall) -> tuple[str, Work]:
    """x / ‖x‖ of order ``p`` along ``axis``: rows of n elements.

    FLOPs per row: p = 2: 3 n (n + 1 special: square n, add n − 1, root, div n) · p = 1: 3 n − 1 (n special).
    Source: ONNX, LpNormalization.
    """
    shape = call.input()
    total = prod(shape)
    rows = total // shape[call.whole("axis", -1)] if total else 0
    euclidean = call.whole("p", 2) == 2
    flops = 3 * total - (0 if euclidean else rows)
    special = total + (rows if euclidean else 0)
    minus = "" if euclidean else f" − {rows:,} rows"
    return "norm", Work(
        0, flops, special, f"FLOPs = 3·{total:,} elements{minus} = {flops:,}, special {special:,}"
    )


@translates("LRN")
@translates("LRN", domain=NHWC)
def local_response(call: NodeCall) -> tuple[str, Work]:
    """x / (bias + alpha / size · Σ x²) ^ beta, the sum over ``size`` channels.

    FLOPs = size + 4 per element (2 special): square, add size − 1, mul, add, pow, div. Channels beyond the border
    are counted. Source: Krizhevsky et al. 2012; ONNX, LRN.
    """
    size, n = call.whole("size", 1), prod(call.output())
    flops = (size + 4) * n
    return "norm", Work(
        0,
        flops,
        2 * n,
        f"FLOPs = (size + 4)·{n:,} elements = {size + 4}·{n:,} = {flops:,}, special {2 * n:,}",
    )


@translates("SkipLayerNormalization", "SkipSimplifiedLayerNormalization", domain=MICROSOFT)
def skip_norm(call: NodeCall) -> tuple[str, Work]:
    """norm(x + skip + bias) over the last dimension: layer norm (gamma, beta), or RMS norm for the simplified form.

    FLOPs = the norm's + 1 per element for the skip, + 1 with a bias. Source: onnxruntime, ContribOperators.md.
    """
    x = call.input()
    n = prod(x)
    if call.op == "SkipLayerNormalization":
        work = _layer_norm(x, call.has(3))
        return "norm", plus(work, Extra("skip", n), Extra("bias", n if call.has(4) else 0))
    work = counted("rms_norm", (x,), x, {"normalized_shape": x[-1:], "weight": ()})
    return "norm", plus(work, Extra("skip", n), Extra("bias", n if call.has(3) else 0))


@translates("EmbedLayerNormalization", "QEmbedLayerNormalization", domain=MICROSOFT)
def embed_norm(call: NodeCall) -> tuple[str, Work]:
    """Layer norm of word + position (+ segment) embeddings, output ``(B, S, hidden)``.

    FLOPs = layer norm + 1 per element for each sum; quantised tables + 2 per element looked up: sub, mul.
    Source: onnxruntime, ContribOperators.md.
    """
    out = call.output()
    sums = 2 if call.has(4) else 1
    looked_up = 2 * (sums + 1) * prod(out) if call.op.startswith("Q") else 0
    work = plus(_layer_norm(out, True), Extra("sums", sums * prod(out)), Extra("dequantise", looked_up))
    return "norm", work


@translates("GroupNorm", "SkipGroupNorm", domain=MICROSOFT)
def fused_group_norm(call: NodeCall) -> tuple[str, Work]:
    """Group norm in either layout of (x + skip + bias), then SiLU if ``activation`` is 1 (2 per element, 1 special).

    Source: onnxruntime, ContribOperators.md.
    """
    x = call.input()
    n = prod(x)
    work = counted("group_norm", (x,), x, {"num_groups": call.whole("groups", 1), "weight": (), "bias": ()})
    silu = activated("silu" if call.whole("activation") else "none", x)
    skip = Extra("skip", n if call.has(3) else 0)
    return "norm", plus(work, skip, Extra("bias", n if call.has(4) else 0), silu)


@translates("GatedRMSNorm", domain=MICROSOFT)
def gated_rms_norm(call: NodeCall) -> tuple[str, Work]:
    """RMS norm over groups as long as the scale, times an activated gate: + 1 per element + the activation."""
    x = call.input()
    work = counted("rms_norm", (x,), x, {"normalized_shape": call.input(1), "weight": ()})
    return "norm", plus(work, activated(call.text("activation", "silu"), x), Extra("gate", prod(x)))


def _layer_norm(x: Shape, bias: bool) -> Work:
    """Over the last dimension, with a scale."""
    return counted(
        "layer_norm", (x,), x, {"normalized_shape": x[-1:], "weight": (), "bias": () if bias else None}
    )


def _from_axis(call: NodeCall) -> Shape:
    """The dimensions of a row."""
    shape = call.input()
    axis = call.whole("axis", -1)
    return shape[axis + len(shape) if axis < 0 else axis :]
