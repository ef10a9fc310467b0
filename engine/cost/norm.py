"""Normalisation: batch, layer, group, instance and RMS norm; weight norm."""

from __future__ import annotations

from math import prod
from typing import Any

from engine.cost.registry import Work, cost_formula
from engine.graph import OpCall


@cost_formula("layer_norm", "native_layer_norm", family="norm")
def layer_norm(call: OpCall) -> Work:
    """(x − mean) / √(var + ε) · weight + bias over rows of n = prod(normalized_shape) elements.

    FLOPs per row = 5 n + 2 (3 special), + n with a weight, + n with a bias:
    mean n (1 division), sub n, square n, add n − 1, divide 1, add ε, rsqrt, mul n.
    Source: Ba et al. 2016; definition of ``torch.nn.LayerNorm``.
    """
    x: Any = call.inputs[0]
    shape: Any = call.args["normalized_shape"]
    n = prod(shape)
    return _rows(prod(x), n, _affine(call))


@cost_formula("group_norm", "native_group_norm", family="norm")
def group_norm(call: OpCall) -> Work:
    """Normalisation of ``(N, C, …)`` over each of G groups: N · G rows of n = C / G · prod(spatial) elements.

    FLOPs per row = 5 n + 2 (3 special), + n with a weight, + n with a bias, as layer norm.
    Source: Wu and He 2018; definition of ``torch.nn.GroupNorm``.
    """
    x: Any = call.inputs[0]
    args = call.args
    groups: Any = args["num_groups"] if "num_groups" in args else args["group"]
    total = prod(x)
    return _rows(total, total // (x[0] * groups) if total else 0, _affine(call))


@cost_formula("instance_norm", family="norm")
def instance_norm(call: OpCall) -> Work:
    """Normalisation of ``(N, C, …)`` over each image and channel: N · C rows of n = prod(spatial) elements.

    FLOPs per row = 5 n + 2 (3 special), + n with a weight, + n with a bias, as layer norm. With running
    statistics in eval (``use_input_stats`` false) it is a batch norm in eval: 2 per element.
    Source: Ulyanov et al. 2016; definition of ``torch.nn.InstanceNorm2d``.
    """
    x: Any = call.inputs[0]
    if not call.args.get("use_input_stats", True):
        return _folded(prod(x))
    return _rows(prod(x), prod(x[2:]), _affine(call))


@cost_formula("rms_norm", "_fused_rms_norm", family="norm")
def rms_norm(call: OpCall) -> Work:
    """x / √(mean(x²) + ε) · weight over rows of n = prod(normalized_shape) elements.

    FLOPs per row = 3 n + 2 (2 special), + n with a weight:
    square n, add n − 1, divide 1, add ε, rsqrt, mul n.
    Source: Zhang and Sennrich 2019; definition of ``torch.nn.RMSNorm``.
    """
    x: Any = call.inputs[0]
    shape: Any = call.args["normalized_shape"]
    n = prod(shape)
    rows = prod(x) // n if n else 0
    each = 3 * n + 2
    if call.args.get("weight") is not None:
        each += n
    flops = rows * each
    text = (
        f"FLOPs = rows·(3n + 2{' + n' if each > 3 * n + 2 else ''}) = {rows:,}·{each:,} (n = {n:,}) "
        f"= {flops:,}, special {2 * rows:,}"
    )
    return Work(0, flops, 2 * rows, text)


@cost_formula(
    "batch_norm",
    "native_batch_norm",
    "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training",
    "_native_batch_norm_legit_functional",
    "_batch_norm_no_update",
    "_batch_norm_impl_index",
    "cudnn_batch_norm",
    family="norm",
)
def batch_norm(call: OpCall) -> Work:
    """Batch norm of ``(N, C, …)``.

    In eval FLOPs = 2 per element: scale and shift, folded per channel; the folding itself (about 6 per
    channel) is left out. In training, per channel of n = N · prod(spatial) elements: 5 n + 2 (3 special), +
    n with a weight, + n with a bias; the update of the running statistics (6 per channel) is left out.
    Source: Ioffe and Szegedy 2015; definition of ``torch.nn.BatchNorm2d``.
    """
    x: Any = call.inputs[0]
    total = prod(x)
    if not call.args.get("training", False):
        return _folded(total)
    return _rows(total, total // x[1] if total else 0, _affine(call))


@cost_formula("_weight_norm", "_weight_norm_interface", family="norm")
def weight_norm(call: OpCall) -> Work:
    """g · v / ‖v‖ per slice of v; g has one element per slice.

    FLOPs per slice of n elements = 2 n for the norm (square n, add n − 1, root) + 1 for g / ‖v‖ + n for the
    product = 3 n + 1 (2 special). Source: Salimans and Kingma 2016; definition of
    ``torch.nn.utils.weight_norm``.
    """
    v: Any = call.inputs[0]
    g: Any = call.inputs[1]
    slices, total = prod(g), prod(v)
    flops = 3 * total + slices
    text = f"FLOPs = 3·elements + slices = 3·{total:,} + {slices:,} = {flops:,}, special {2 * slices:,}"
    return Work(0, flops, 2 * slices, text)


def _affine(call: OpCall) -> int:
    """How many of weight and bias are there."""
    args = call.args
    return (args.get("weight") is not None) + (args.get("bias") is not None)


def _rows(total: int, n: int, affine: int) -> Work:
    """``total`` elements in rows of ``n``, each normalised by its own mean and variance."""
    rows = total // n if n else 0
    each = (5 + affine) * n + 2
    flops = rows * each
    text = (
        f"FLOPs = rows·(5n + 2{('', ' + n', ' + 2n')[affine]}) = {rows:,}·{each:,} (n = {n:,}) "
        f"= {flops:,}, special {3 * rows:,}"
    )
    return Work(0, flops, 3 * rows, text)


def _folded(total: int) -> Work:
    """Scale and shift of ``total`` elements."""
    return Work(0, 2 * total, 0, f"FLOPs = 2 (scale, shift) · {total:,} elements = {2 * total:,}")
