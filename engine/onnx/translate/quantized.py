"""Quantised arithmetic: QuantizeLinear and its relatives, products of integers, QLinear operators.

MACs are those of the operator on real numbers. Quantising an element is 5 FLOPs, as for exported PyTorch programs:
mul by the inverse scale, round, add the zero point, clamp 2; turning it back is 2: sub the zero point, mul. Without a
zero point 1 less each. In products the zero points of the inputs are left out: kernels fold them into one sum per row.
What zeros in quantised weights save is not known: the zero point says which number is zero.
"""

from __future__ import annotations

from math import prod

from engine.cost import Work
from engine.cost.per_element import per_element_work
from engine.graph import Shape
from engine.onnx.translate.combined import ACTIVATIONS, Extra, activated, counted, plus, products, unweighted
from engine.onnx.translate.registry import MICROSOFT, NHWC, NodeCall, translates
from engine.onnx.translate.uncounted import Reason, uncounted

QUANTISE = 5
DEQUANTISE = 2
DYNAMIC = 7
"""Quantising with a scale found first: min and max as well."""


@translates("QuantizeLinear")
@translates("QuantizeLinear", "QuantizeWithOrder", "QuantizeBFP", domain=MICROSOFT)
def quantise(call: NodeCall) -> tuple[str, Work]:
    """saturate(round(x / scale) + zero point). FLOPs = 5 per element: mul, round, add, clamp 2; 4 without zero point.

    Counted with the inverse scale, as kernels do and as for PyTorch; the definition divides.
    Source: ONNX, QuantizeLinear.
    """
    if call.has(2):
        return "elementwise", per_element_work(prod(call.output()), QUANTISE, 0, "mul, round, add, clamp 2")
    return "elementwise", per_element_work(prod(call.output()), QUANTISE - 1, 0, "mul, round, clamp 2")


@translates("DequantizeLinear")
@translates("DequantizeLinear", "DequantizeWithOrder", "DequantizeBFP", domain=MICROSOFT)
def dequantise(call: NodeCall) -> tuple[str, Work]:
    """(x − zero point) · scale. FLOPs = 2 per element; 1 without a zero point. Source: ONNX, DequantizeLinear."""
    if call.has(2):
        return "elementwise", per_element_work(prod(call.output()), DEQUANTISE, 0, "sub, mul")
    return "elementwise", per_element_work(prod(call.output()), DEQUANTISE - 1, 0, "mul")


@translates("DynamicQuantizeLinear")
def dynamic_quantise(call: NodeCall) -> tuple[str, Work]:
    """Scale and zero point from the smallest and largest element. FLOPs = 7 per element: min, max, quantise 5.

    The arithmetic on the one scale and zero point (about 10) is left out. Source: ONNX, DynamicQuantizeLinear.
    """
    return "elementwise", per_element_work(
        prod(call.input()), DYNAMIC, 0, "min, max, mul, round, add, clamp 2"
    )


@translates("GatherBlockQuantized", domain=MICROSOFT)
def gather_quantised(call: NodeCall) -> tuple[str, Work]:
    """Rows of a quantised table, turned into real numbers: FLOPs = 2 per element of the output: sub, mul."""
    return "embedding", per_element_work(prod(call.output()), DEQUANTISE, 0, "sub, mul")


@translates("ConvInteger")
def integer_conv(call: NodeCall) -> tuple[str, Work]:
    """Convolution of integers: MACs as ``Conv``, FLOPs = 2 · MACs. Source: ONNX, ConvInteger."""
    return "convolution", unweighted(counted("conv2d", (None, call.input(1)), call.output(), {}))


@translates("QLinearConv")
@translates("QLinearConv", domain=MICROSOFT)
@translates("QLinearConv", domain=NHWC)
def quantised_conv(call: NodeCall) -> tuple[str, Work]:
    """Convolution of integers, requantised: MACs as ``Conv``; FLOPs = 2 · MACs + bias + 5 per output."""
    out = call.output()
    work = counted("conv2d", (None, call.input(3)), out, {"bias": call.optional(8)})
    return "convolution", unweighted(plus(work, _requantised(out)))


@translates("QLinearConvTranspose", domain=NHWC)
def quantised_transpose(call: NodeCall) -> tuple[str, Work]:
    """Transposed convolution of integers, requantised: FLOPs = ConvTranspose's + 5 per output."""
    out = call.output()
    work = counted("conv_transpose2d", (call.input(), call.input(3)), out, {"bias": call.optional(8)})
    return "convolution", unweighted(plus(work, _requantised(out)))


@translates("MatMulInteger")
@translates("MatMulInteger16", domain=MICROSOFT)
def integer_matmul(call: NodeCall) -> tuple[str, Work]:
    """Matrix product of integers: MACs = outputs · k; FLOPs = 2 · MACs. Source: ONNX, MatMulInteger."""
    return "linear", _product(call.output(), call.input()[-1])


@translates("QLinearMatMul")
@translates("QOrderedMatMul", domain=MICROSOFT)
def quantised_matmul(call: NodeCall) -> tuple[str, Work]:
    """Matrix product of integers, requantised: FLOPs = 2 · MACs + 5 per output, + 1 with a bias (QOrderedMatMul)."""
    out = call.output()
    bias = Extra("bias", prod(out) if call.op == "QOrderedMatMul" and call.has(5) else 0)
    return "linear", _product(out, call.input()[-1], bias, _requantised(out))


@translates("QGemm", domain=MICROSOFT)
def quantised_gemm(call: NodeCall) -> tuple[str, Work]:
    """Gemm of integers: FLOPs = 2 · MACs + bias + 5 per output to requantise, 1 for the scale of a real output."""
    out, left = call.output(), call.input()
    bias = Extra("bias", prod(out) if call.has(6) else 0)
    end = _requantised(out) if call.has(7) else Extra("scale", prod(out))
    return "linear", _product(out, left[0] if call.whole("transA") else left[-1], bias, end)


@translates("DynamicQuantizeMatMul", "MatMulIntegerToFloat", domain=MICROSOFT)
def scaled_matmul(call: NodeCall) -> tuple[str, Work]:
    """Matrix product of integers, scaled to real numbers: FLOPs = 2 · MACs + 1 per output, + 1 with a bias.

    DynamicQuantizeMatMul quantises A before, 7 per element.
    """
    out, left = call.output(), call.input()
    dynamic = call.op == "DynamicQuantizeMatMul"
    bias = Extra("bias", prod(out) if call.has(4 if dynamic else 6) else 0)
    quantised = Extra("quantise A", DYNAMIC * prod(left) if dynamic else 0)
    return "linear", _product(out, left[-1], Extra("scale", prod(out)), bias, quantised)


@translates("MatMulNBits", "MatMulBnb4", "MatMulFpQ4", domain=MICROSOFT)
@translates("MatMulBlockQuantizedFp4Weight", "MatMulBlockQuantizedFp8Weight", "GemmFloat8", domain=MICROSOFT)
def packed_matmul(call: NodeCall) -> tuple[str, Work]:
    """A ``(…, K)`` with weights of few bits ``(K, N)``, which are turned into real numbers once.

    MACs = rows · K · N; FLOPs = 2 · MACs + 2 · K · N for the weights (sub, mul), + 1 per output with a bias.
    Source: onnxruntime, ContribOperators.md.
    """
    out, left = call.output(), call.input()
    k = left[0] if call.op == "GemmFloat8" and call.whole("transA") else left[-1]
    bias_at = {"MatMulNBits": 5, "GemmFloat8": 2}.get(call.op)
    bias = Extra("bias", prod(out) if bias_at is not None and call.has(bias_at) else 0)
    return "linear", _product(out, k, Extra("dequantise", DEQUANTISE * k * out[-1]), bias)


@translates("MatMulNBitsMlp", "MatMulNBitsQkv", domain=MICROSOFT)
def packed_layers(call: NodeCall) -> tuple[str, Work]:
    """Several products of packed weights in one operator, with a norm before: not counted."""
    return "linear", Work(None, None, None, f"not counted: {call.node.label} has no formula here yet")


_POINTWISE = {"QLinearAdd": (2, 1, 0), "QLinearMul": (2, 1, 0), "QLinearWhere": (2, 1, 0)} | {
    "QLinearLeakyRelu": (1, 2, 0), "QLinearSigmoid": (1, 1, 1), "QLinearConcat": (1, 0, 0),
}  # fmt: skip
"""Tensors that are turned back, FLOPs and special ones of the operation on real numbers."""


@translates(*_POINTWISE, domain=MICROSOFT)
def pointwise(call: NodeCall) -> tuple[str, Work]:
    """Turned into real numbers, computed, quantised: FLOPs per output = 2 per input tensor + operation + 5.

    QLinearAdd, QLinearMul and QLinearWhere 10 · QLinearLeakyRelu 9 · QLinearSigmoid 8 (1 special) · QLinearConcat 7.
    Kernels of 8 bits look some of them up in a table. Source: onnxruntime, ContribOperators.md.
    """
    tensors, flops, special = _POINTWISE[call.op]
    counts = f"{DEQUANTISE * tensors} to dequantise, {flops}, {QUANTISE} to quantise"
    each = DEQUANTISE * tensors + flops + QUANTISE
    return "elementwise", per_element_work(prod(call.output()), each, special, counts)


@translates("QLinearAveragePool", "QLinearGlobalAveragePool", domain=MICROSOFT)
@translates("QLinearAveragePool", domain=NHWC)
def average_pool(call: NodeCall) -> tuple[str, Work]:
    """Mean over k taps, requantised: FLOPs = k + 5 per output (1 special)."""
    out = call.output()
    k = prod(call.wholes("kernel_shape"))
    if call.op == "QLinearGlobalAveragePool":
        k = prod(call.input()) // prod(out) if prod(out) else 0
    return "pool", plus(counted("avg_pool1d", (), out, {"kernel_size": (k,)}), _requantised(out))


@translates("QLinearReduceMean", domain=MICROSOFT)
def reduce_mean(call: NodeCall) -> tuple[str, Work]:
    """Mean over rows, requantised: FLOPs = n per row (1 special) + 5."""
    out = call.output()
    return "elementwise", plus(counted("mean", (call.input(),), out, {}), _requantised(out))


@translates("QLinearSoftmax", domain=MICROSOFT)
def softmax(call: NodeCall) -> tuple[str, Work]:
    """Softmax of real numbers between dequantising (2) and quantising (5) each element."""
    out = call.output()
    n = out[call.whole("axis", -1)] if call.whole("opset", 13) >= 13 else prod(out[call.whole("axis", -1) :])
    rows = (prod(out) // n if n else 0, n)
    work = counted("softmax", (rows,), out, {"dim": 1})
    return "activation", plus(work, Extra("quantise", (DEQUANTISE + QUANTISE) * prod(out)))


@translates("QOrderedGelu", "QOrderedLayerNormalization", domain=MICROSOFT)
def ordered(call: NodeCall) -> tuple[str, Work]:
    """GELU by erf, or layer norm over the last dimension, between dequantising (2) and quantising (5) each element."""
    out = call.output()
    around = Extra("quantise", (DEQUANTISE + QUANTISE) * prod(out))
    if call.op == "QOrderedGelu":
        flops, special = ACTIVATIONS["gelu"]
        n = prod(out)
        return "activation", plus(per_element_work(n, flops, special, "mul, erf, add, mul, mul"), around)
    args: dict[str, object] = {
        "normalized_shape": out[-1:],
        "weight": (),
        "bias": () if call.has(3) else None,
    }
    return "norm", plus(counted("layer_norm", (out,), out, args), around)


@translates("MoE", "QMoE", domain=MICROSOFT)
def mixture(call: NodeCall) -> tuple[str, Work]:
    """Mixture of experts: each of T tokens ``(…, H)`` goes through ``k`` of the experts' two or three layers.

    fc1 ``(experts, f · I, H)``, fc2 ``(experts, H, I)``, fc3 as fc1 or absent; f is 2 for a fused SwiGLU. Older
    files hold them the other way round, ``(experts, H, I)`` and ``(experts, I, H)``: the axis that is H tells, and
    where none is, the node is not counted. Bytes hold several quantised weights along the last axis.
    MACs = T · k · (f · I · H + I · H + I · H with fc3)
    FLOPs = 2 · MACs + activation of I, with a gate + 1 + biases + softmax of the router's T · experts
          + 2 · T · k · H for the weighted sum; quantised weights + 2 per weight of all experts

    Which expert works how often depends on the data, so what zeros in the weights save is not known.
    """
    x, router, quantised = call.input(0), call.input(1), call.op == "QMoE"
    hidden, experts = x[-1], router[-1]
    tokens = prod(x) // hidden if hidden else 0
    first, second, third = (2, 5, 8) if quantised else (2, 4, 6)
    fused = call.whole("swiglu_fusion") > 0
    inner = _inner(_expert(call, first), _expert(call, second), hidden, 2 if fused else 1)
    if inner is None:
        return uncounted(
            Reason(f"has weights of which no axis is the {hidden:,} of its input", macs=None), call
        )
    widths = {first: 2 * inner if fused else inner, second: hidden, third: inner}
    weights = (widths[first] + inner + (inner if call.has(third) else 0)) * hidden
    chosen = tokens * call.whole("k", 1)
    gates = Extra("gate", chosen * inner if call.has(third) or fused else 0)
    name = call.text("activation_type", "relu")
    activation = activated("silu" if name == "swiglu" else name, (chosen, inner))
    # A bias follows its weight; quantised ones have their scales between.
    after = 2 if quantised else 1
    biases = Extra("bias", chosen * sum([width for at, width in widths.items() if call.has(at + after)]))
    routed = tokens * max(5 * experts - 2, 0)
    end = (
        Extra("router's softmax", routed, 2 * tokens * experts),
        Extra("weighted sum", 2 * chosen * hidden),
    )
    dequantised = Extra("dequantise", DEQUANTISE * experts * weights if quantised else 0)
    what = f"tokens·k·weights of an expert = {chosen:,}·{weights:,}"
    return "linear", products(chosen * weights, what, None, activation, gates, biases, *end, dequantised)


def _expert(call: NodeCall, position: int) -> tuple[int, int]:
    """The matrix of one expert at an input, its last axis in weights."""
    rows, columns = call.input(position)[1:]
    if call.input_dtypes[position] != "uint8":
        return rows, columns
    own = {2: "fc1_expert_weight_bits", 5: "fc2_expert_weight_bits"}[position]
    bits = call.whole(own) or call.whole("expert_weight_bits", 4)
    return rows, columns * 8 // bits


def _inner(first: tuple[int, int], second: tuple[int, int], hidden: int, halves: int) -> int | None:
    """Inner size of an expert whose first layer makes ``halves`` of it; None where the two matrices do not fit."""
    for outputs, inputs, back, inner in (
        (*first, *second),
        (*first[::-1], *second[::-1]),
    ):
        if inputs == back == hidden and outputs == halves * inner:
            return inner
    return None


def _requantised(shape: Shape) -> Extra:
    return Extra("requantise", QUANTISE * prod(shape))


def _product(out: Shape, k: int, *extras: Extra) -> Work:
    """A matrix product of which nobody knows what zeros in its weight save."""
    return products(prod(out) * k, f"outputs·k = {prod(out):,}·{k}", None, *extras)
