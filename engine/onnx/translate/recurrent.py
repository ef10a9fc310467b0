"""Recurrent layers: LSTM, GRU, RNN in one or both directions."""

from __future__ import annotations

from math import prod

from engine.cost import Work
from engine.graph import Shape
from engine.onnx.translate.combined import Extra, counted, plus, unweighted
from engine.onnx.translate.registry import MICROSOFT, NodeCall, translates

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_MODE = {"LSTM": 2, "GRU": 3}


@translates(*GATES)
def recurrent(call: NodeCall) -> tuple[str, Work]:
    """All steps of X ``(steps, batch, in)``, ``(batch, steps, in)`` with ``layout`` 1, with G gates of H units.

    W ``(directions, G H, in)``, R ``(directions, G H, H)``, B ``(directions, 2 G H)``; rows = steps · batch, of
    ``sequence_lens`` where it is a constant, else padding is counted.
    MACs = rows · elements of W and R
    FLOPs = 2 · MACs + rows · directions · H · u: LSTM 13 + 8 with B (5 special) · GRU 11 + 6 (3 special) · RNN with
    tanh 2 + 2 (1 special), with ReLU 2 + 2; + 6 with peepholes P (3 mul, 3 add), + 2 G with ``clip``.

    Other ``activations`` count as the usual ones. GRU counts alike with ``linear_before_reset`` 0 and 1.
    Source: ONNX, LSTM, GRU, RNN; the same formula as for ``torch.nn.LSTM``.
    """
    return "recurrent", _recurrent(call, call.op)


@translates("DynamicQuantizeLSTM", domain=MICROSOFT)
def quantised_lstm(call: NodeCall) -> tuple[str, Work]:
    """LSTM with weights of 8 bits; inputs and states are quantised at every step.

    FLOPs = LSTM's + 7 per element of X and of every state (min, max, and quantising 5) + 2 per gate for the scales.
    What zeros in the weights save is not known. Source: onnxruntime, ContribOperators.md.
    """
    work = unweighted(_recurrent(call, "LSTM"))
    rows = _rows(call)
    units = prod(call.input(2)[:-1]) if call.input(2) else 0
    quantised = Extra("quantise", 7 * rows * (call.input()[-1] + units))
    return "recurrent", plus(work, quantised, Extra("scale", 2 * rows * 4 * units))


def _recurrent(call: NodeCall, kind: str) -> Work:
    rows = _rows(call)
    recurrence = call.input(2)
    # (directions, gates · H, H), or (directions, H, gates · H) of the quantised one.
    units = recurrence[0] * min(recurrence[1:])
    args: dict[str, object] = {
        "input": (rows, call.input()[-1]), "weight0": call.input(1), "weight1": recurrence,
        "mode": _MODE.get(kind, 0 if _is_relu(call) else 1), "hidden_size": units, "has_biases": call.has(3),
    }  # fmt: skip
    work = counted("mkldnn_rnn_layer", call.inputs, (), args)
    peepholes = Extra("peepholes", 6 * rows * units if kind == "LSTM" and call.has(7) else 0)
    clipped = Extra("clip", 2 * GATES[kind] * rows * units if "clip" in call.node.attributes else 0)
    return plus(work, peepholes, clipped)


def _rows(call: NodeCall) -> int:
    """Steps of all sequences."""
    shape: Shape = call.input()
    steps, batch = (shape[1], shape[0]) if call.whole("layout") else (shape[0], shape[1])
    lengths = call.value(4)
    if lengths is None:
        return steps * batch
    return sum([min(int(length), steps) for length in lengths.ravel()])


def _is_relu(call: NodeCall) -> bool:
    return any(name.lower() == "relu" for name in call.texts("activations"))
