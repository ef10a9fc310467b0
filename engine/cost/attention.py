"""Attention: the fused kernels of PyTorch, from scaled dot products to a whole encoder layer."""

from __future__ import annotations

from math import prod
from typing import Any

from engine.cost.registry import Work, cost_formula, product
from engine.graph import OpCall


@cost_formula(
    "scaled_dot_product_attention",
    "_scaled_dot_product_attention_math",
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_fused_attention_overrideable",
    family="attention",
)
def scaled_dot_product_attention(call: OpCall) -> Work:
    """softmax(scale · Q Kᵀ + mask) V for Q ``(…, H, L, E)``, K ``(…, H_kv, S, E)``, V ``(…, H_kv, S, E_v)``.

    scores = … · H · L · S, with the H heads of the query also when fewer key heads are shared (grouped query)
    MACs = scores · (E + E_v)
    FLOPs = 2 · MACs + scores for the scale + scores for a mask or ``is_causal``
          + softmax, per row of S scores 5 S − 2 (2 S special)

    The full score matrix is counted, also with ``is_causal``, where a kernel that skips the upper triangle
    does half. Dropout in training is left out (2 per score), as are the rescalings of flash attention's
    blocks (about E_v per row and block). There are no weights here, also where a query is learned.
    Source: Vaswani et al. 2017; definition of ``torch.nn.functional.scaled_dot_product_attention``;
    MACs equal half of torch's FlopCounterMode.
    """
    query: Any = call.inputs[0]
    key: Any = call.inputs[1]
    value: Any = call.inputs[2]
    args = call.args
    keys = key[-2]
    rows = prod(query[:-1])
    scores = rows * keys
    macs = scores * (query[-1] + value[-1])
    masked = args.get("attn_mask") is not None or args.get("attn_bias") is not None or args.get("is_causal")
    scaling = 2 * scores if masked else scores
    softmax = rows * (5 * keys - 2) if keys else 0
    flops = 2 * macs + scaling + softmax
    scaled = "scale and mask" if masked else "scale"
    text = (
        f"MACs = (…·H·L)·S·(E + E_v) = {product(query[:-1])}·{keys}·({query[-1]} + {value[-1]}) = {macs:,}; "
        f"FLOPs = 2·MACs + {scaled} {scaling:,} + softmax {softmax:,} = {flops:,}"
    )
    return Work(macs, flops, 2 * scores, text, ())


@cost_formula("_native_multi_head_attention", family="attention")
def native_multi_head_attention(call: OpCall) -> Work:
    """The fast path of ``nn.MultiheadAttention``: query ``(B, L, E)``, key and value ``(B, S, E)``, H heads.

    MACs = B · (2 L + 2 S) · E² for the four projections + 2 · B · L · S · E for Q Kᵀ and A V
    FLOPs = 2 · MACs + biases B · (2 L + 2 S) · E + scaled queries B · L · E + B · H · L · S with a mask
          + softmax, per row of S scores 5 S − 2 (2 S special)
          + averaged weights, if asked for, B · L · S · H (B · L · S special)

    Padding of nested tensors is counted. With L ≠ S the parts of the packed weight are used differently often: what
    its zeros would save is not known. Source: ``aten/src/ATen/native/transformers/attention.cpp``;
    FlopCounterMode counts 0 on CPU tensors.
    """
    query: Any = call.args["query"]
    key: Any = call.args["key"]
    args = call.args
    heads: Any = args["num_head"]
    masked = args.get("mask") is not None
    averaged = bool(args.get("need_weights", True)) and bool(args.get("average_attn_weights", True))
    macs, flops, special = _multi_head(query[0], query[1], key[1], query[2], heads, masked)
    if averaged:
        pairs = query[0] * query[1] * key[1]
        flops += pairs * heads
        special += pairs
    text = (
        f"MACs = B·(2L + 2S)·E² + 2·B·L·S·E "
        f"with B {query[0]}, L {query[1]}, S {key[1]}, E {query[2]} = {macs:,}; "
        f"FLOPs = 2·MACs + biases, scale, softmax over {heads} heads = {flops:,}, special {special:,}"
    )
    weighted = _projections(3, query[0], query[1], key[1], query[2]) if query[1] == key[1] else None
    return Work(macs, flops, special, text, weighted)


@cost_formula("_transformer_encoder_layer_fwd", family="attention")
def transformer_encoder_layer(call: OpCall) -> Work:
    """The fast path of ``nn.TransformerEncoderLayer``: src ``(B, L, E)``, feed-forward width F.

    MACs = 4 · B · L · E² + 2 · B · L² · E + 2 · B · L · E · F
    FLOPs = those of ``_native_multi_head_attention`` without averaged weights + 4 · B · L · E · F
          + biases B · L · (F + E) + activation, GELU 5 (1 special) or ReLU 1 each of B · L · F
          + two residual sums 2 · B · L · E + two layer norms, per row 7 E + 2 (3 special)

    Padding of nested tensors is counted. Source: ``aten/src/ATen/native/transformers/transformer.cpp``.
    """
    args = call.args
    src: Any = args["src"]
    heads: Any = args["num_heads"]
    ffn: Any = args["ffn_weight_1"]
    batch, length, width = src
    hidden = ffn[0]
    macs, flops, special = _multi_head(batch, length, length, width, heads, args.get("mask") is not None)
    tokens = batch * length
    feed_forward = 2 * tokens * width * hidden
    macs += feed_forward
    gelu = bool(args["use_gelu"])
    flops += 2 * feed_forward + tokens * (hidden + width) + tokens * hidden * (5 if gelu else 1)
    flops += 2 * tokens * width + 2 * tokens * (7 * width + 2)
    special += tokens * hidden * gelu + 2 * tokens * 3
    text = (
        f"MACs = 4·B·L·E² + 2·B·L²·E + 2·B·L·E·F "
        f"with B {batch}, L {length}, E {width}, F {hidden} = {macs:,}; "
        f"FLOPs = 2·MACs + biases, softmax, activation, residuals, norms = {flops:,}, special {special:,}"
    )
    each = tokens * width * hidden
    weighted = (*_projections(1, batch, length, length, width), (9, each), (11, each))
    return Work(macs, flops, special, text, weighted)


def _projections(
    first: int, batch: int, length: int, keys: int, width: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """The packed weight of query, key and value at input ``first``, and that of the output two places later."""
    square = batch * width * width
    return (first, square * (length + 2 * keys)), (first + 2, square * length)


def _multi_head(
    batch: int, length: int, keys: int, width: int, heads: int, masked: bool
) -> tuple[int, int, int]:
    """(MACs, FLOPs, special) of projections, scores, softmax and output of one multi-head attention."""
    projected = batch * (2 * length + 2 * keys) * width
    rows = batch * heads * length
    scores = rows * keys
    macs = projected * width + 2 * batch * length * keys * width
    flops = 2 * macs + projected + batch * length * width + rows * (5 * keys - 2) + (scores if masked else 0)
    return macs, flops, 2 * scores
