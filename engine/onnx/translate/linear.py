"""Matrix products: Gemm, MatMul, Einsum, and what onnxruntime fuses with them."""

from __future__ import annotations

from math import prod

from engine.cost import Work
from engine.graph import OpCall
from engine.onnx.translate.combined import Extra, activated, counted, moved, plus, products
from engine.onnx.translate.registry import MICROSOFT, NodeCall, translates
from engine.onnx.translate.uncounted import Reason, uncounted


@translates("MatMul")
def matmul(call: NodeCall) -> OpCall:
    """Matrix product of ``(…, m, k)`` and ``(…, k, n)``, batch dimensions broadcast; vectors are allowed.

    MACs = outputs · k; FLOPs = 2 · MACs. Source: ONNX, MatMul (numpy.matmul).
    """
    return OpCall("matmul", (call.input(0), call.input(1)), (call.output(),), {})


@translates("Gemm")
def gemm(call: NodeCall) -> tuple[str, Work]:
    """alpha · A B + beta · C with A ``(m, k)`` and B ``(k, n)``, each of which may be stored transposed.

    MACs = m · n · k; FLOPs = 2 · MACs + 1 per output with C, + 1 each for an alpha and a beta other than 1.
    Source: ONNX, Gemm.
    """
    return "linear", _gemm(call)


@translates("FusedGemm", "GemmFastGelu", domain=MICROSOFT)
def fused_gemm(call: NodeCall) -> tuple[str, Work]:
    """Gemm and an activation; GemmFastGelu is a matrix product with a bias and GELU by tanh (9, 1 special).

    Source: onnxruntime, ContribOperators.md.
    """
    if call.op == "FusedGemm":
        return "linear", plus(_gemm(call), activated(call.text("activation"), call.output()))
    out = call.output()
    work = counted("matmul", (call.input(0), call.input(1)), out, {})
    bias = Extra("bias", prod(out) if call.has(2) else 0)
    return "linear", plus(work, bias, activated("fastgelu", out))


@translates("FusedMatMul", "TransposeMatMul", "FusedMatMulActivation", domain=MICROSOFT)
def fused_matmul(call: NodeCall) -> tuple[str, Work]:
    """alpha · A B with either operand transposed, also in its batch dimensions, and an activation.

    MACs = outputs · k; FLOPs = 2 · MACs + 1 per output for an alpha other than 1 + activation.
    Source: onnxruntime, ContribOperators.md.
    """
    out, left = call.output(), call.input(0)
    if not call.whole("transA") or len(left) < 2:
        k = left[-1]
    else:
        k = left[0] if call.whole("transBatchA") else left[-2]
    work = counted("matmul", ((k,), call.input(1)), out, {})
    scale = Extra("alpha", prod(out) if call.number("alpha", 1.0) != 1 else 0)
    return "linear", plus(work, scale, activated(call.text("activation"), out))


@translates("Einsum")
def einsum(call: NodeCall) -> OpCall:
    """Einstein summation, two operands at a time from left to right: as ``einsum`` of torch.

    A pair that sums over common labels: MACs = product of the sizes of all its labels. Without a common sum: 1 FLOP
    per element of the product. Source: ONNX, Einsum.
    """
    tensors = tuple([call.input(at) for at in range(len(call.node.inputs))])
    args: dict[str, object] = {"tensors": tensors, "equation": call.text("equation")}
    return OpCall("einsum", tensors, (call.output(),), args)


@translates("CDist", domain=MICROSOFT)
def cdist(call: NodeCall) -> OpCall | tuple[str, Work]:
    """Distances of all rows of A ``(m, k)`` and B ``(n, k)``: as ``cdist`` of torch for the Euclidean metric.

    Its square has no root: one operation per output fewer. Other metrics are not counted.
    """
    metric = call.text("metric")
    if metric == "euclidean":
        return OpCall("cdist", (call.input(0), call.input(1)), (call.output(),), {"p": 2.0})
    if metric == "sqeuclidean":
        macs = prod(call.output()) * call.input(0)[-1]
        return "linear", products(macs, "outputs·k", (), Extra("differences", macs))
    return uncounted(
        Reason(f"has the metric {metric}, whose operations have no formula here", macs=None), call
    )


def _gemm(call: NodeCall) -> Work:
    left = call.input(0)
    if call.whole("transA"):
        left = left[::-1]
    # The bias stands last among the operands of a Gemm, first among those of torch's addmm.
    beta = call.number("beta", 1.0) if call.has(2) else 0
    args: dict[str, object] = {"alpha": call.number("alpha", 1.0), "beta": beta}
    return moved(counted("addmm", (None, left, call.input(1)), call.output(), args), {1: 0, 2: 1})
