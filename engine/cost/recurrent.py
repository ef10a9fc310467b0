"""Recurrent layers and cells: LSTM, GRU, plain RNN; both directions, projections, packed sequences."""

from __future__ import annotations

from math import prod
from typing import Any

from engine.cost.registry import Work, cost_formula
from engine.graph import OpCall

_UNIT = {
    "lstm": (13, 8, 5),
    "gru": (11, 6, 3),
    "rnn_tanh": (2, 2, 1),
    "rnn_relu": (2, 2, 0),
}
"""Per hidden unit and step, beside the gates' MACs: FLOPs, what two biases add to them, special ones.

LSTM: 4 sums of the input's and the state's part, 3 sigmoid and 1 tanh of gates, 3 for the cell state, 1
tanh and 1 mul for the output. GRU: 2 sums, 2 sigmoid, 2 and 1 tanh for the candidate, 4 for mixing it with
the state. Per bias: one addition for each gate (4, 3, 1).
"""


@cost_formula("lstm", "gru", "rnn_tanh", "rnn_relu", family="recurrent")
def recurrent_layers(call: OpCall) -> Work:
    """All steps, layers and directions of ``nn.LSTM``, ``nn.GRU`` or ``nn.RNN``.

    With G gates (4, 3, 1) of H units:
    rows = batch · steps (of a packed sequence: the real steps only)
    MACs = rows · Σ over layers and directions of elements of the weights
         = rows · Σ (G · H · in + G · H · (P or H) + P · H with a projection to P)
    FLOPs = 2 · MACs + rows · layers · directions · H · u, where u is
        LSTM 13 + 8 with biases (5 special) · GRU 11 + 6 (3 special) · tanh 2 + 2 (1 special) · ReLU 2 + 2

    Dropout between layers in training is left out. Source: equations of ``torch.nn.LSTM``, ``torch.nn.GRU``,
    ``torch.nn.RNN``; FlopCounterMode counts 0 on CPU tensors.
    """
    args = call.args
    data: Any = args["input"] if "input" in args else args["data"]
    params: Any = args["params"]
    biases = bool(args["has_biases"])
    passes: Any = args["num_layers"]
    if args["bidirectional"]:
        passes *= 2
    hidden = params[1][0] // _gates(call.op)
    first = len(call.inputs) - len(params)
    weights = {first + i: prod(shape) for i, shape in enumerate(params) if len(shape) == 2}
    return _work(call.op, prod(data[:-1]), weights, hidden * passes, biases)


@cost_formula("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell", family="recurrent")
def recurrent_cell(call: OpCall) -> Work:
    """One step of ``nn.LSTMCell``, ``nn.GRUCell`` or ``nn.RNNCell``: see ``recurrent_layers``."""
    args = call.args
    data: Any = args["input"]
    w_ih: Any = args["w_ih"]
    w_hh: Any = args["w_hh"]
    kind = call.op.removesuffix("_cell")
    biases = args.get("b_ih") is not None
    first = 3 if kind == "lstm" else 2
    weights = {first: prod(w_ih), first + 1: prod(w_hh)}
    return _work(kind, prod(data[:-1]), weights, w_hh[0] // _gates(kind), biases)


@cost_formula("mkldnn_rnn_layer", family="recurrent")
def mkldnn_rnn_layer(call: OpCall) -> Work:
    """One layer in one direction, as oneDNN runs it on a CPU: see ``recurrent_layers``.

    mode 0 ReLU, 1 tanh, 2 LSTM, 3 GRU.
    """
    args = call.args
    data: Any = args["input"]
    w_ih: Any = args["weight0"]
    w_hh: Any = args["weight1"]
    mode: Any = args["mode"]
    hidden: Any = args["hidden_size"]
    kind = ("rnn_relu", "rnn_tanh", "lstm", "gru")[mode]
    weights = {1: prod(w_ih), 2: prod(w_hh)}
    return _work(kind, prod(data[:-1]), weights, hidden, bool(args["has_biases"]))


@cost_formula("_thnn_fused_lstm_cell", "_thnn_fused_gru_cell", family="recurrent")
def fused_cell(call: OpCall) -> Work:
    """What is left of a cell when its two matrix products are separate operations; state ``(batch, H)``.

    MACs = 0; FLOPs = batch · H · (LSTM 13 + 8 with biases, 5 special; GRU 11 + 6, 3 special).
    """
    kind = "lstm" if "lstm" in call.op else "gru"
    state: Any = call.args["cx" if kind == "lstm" else "hx"]
    return _work(kind, prod(state[:-1]), {}, state[-1], call.args.get("input_bias") is not None)


def _gates(kind: str) -> int:
    return {"lstm": 4, "gru": 3}.get(kind, 1)


def _work(kind: str, rows: int, sizes: dict[int, int], units: int, biases: bool) -> Work:
    """``rows`` steps that each use every weight once and update ``units`` hidden units.

    ``sizes`` are the elements of the weight matrices by their position among the inputs.
    """
    weights = sum(sizes.values())
    each, for_biases, special_each = _UNIT[kind]
    if biases:
        each += for_biases
    macs = rows * weights
    flops = 2 * macs + rows * units * each
    special = rows * units * special_each
    text = (
        f"MACs = steps·weights = {rows:,}·{weights:,} = {macs:,}; "
        f"FLOPs = 2·MACs + {each}·{units:,} units·{rows:,} steps = {flops:,}, special {special:,}"
    )
    return Work(macs, flops, special, text, tuple((at, rows * size) for at, size in sizes.items()))
