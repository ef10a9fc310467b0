"""Losses, and the steps of optimisers: training graphs hold them."""

from __future__ import annotations

from math import prod

from engine.cost import Work
from engine.cost.per_element import per_element_work
from engine.graph import OpCall
from engine.onnx.translate.registry import NodeCall, translates

_REDUCTION = {"none": 0, "mean": 1, "sum": 2}


@translates("SoftmaxCrossEntropyLoss", "NegativeLogLikelihoodLoss")
def loss(call: NodeCall) -> OpCall:
    """As ``cross_entropy`` and ``nll_loss`` of torch; class weights (1 per row) are left out."""
    op = "cross_entropy_loss" if call.op == "SoftmaxCrossEntropyLoss" else "nll_loss"
    reduction = _REDUCTION.get(call.text("reduction", "mean"), 1)
    return OpCall(op, (call.input(0), call.input(1)), (call.output(),), {"reduction": reduction})


@translates("Adagrad", "Adam", "Momentum", domain="ai.onnx.preview.training")
def optimiser(call: NodeCall) -> tuple[str, Work]:
    """One step on every element of the optimised tensors, which are the first outputs.

    FLOPs per element: Adagrad 9 (2 special: root, div) · Adam 15 (2 special), regularised after as well · Momentum 7,
    9 in the mode of Nesterov. Source: ONNX, ai.onnx.preview.training.
    """
    nesterov = call.op == "Momentum" and call.text("mode", "standard") == "nesterov"
    each, special, states = {"Adagrad": (9, 2, 2), "Adam": (15, 2, 3)}.get(
        call.op, (9 if nesterov else 7, 0, 2)
    )
    tensors = len(call.node.outputs) // states
    n = sum([prod(call.output(at)) for at in range(tensors)])
    return "elementwise", per_element_work(n, each, special, "regularise, average, step")
