"""Attention as ONNX defines it, and what belongs to it: rotary embedding, linear attention."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

from engine.cost import Work
from engine.cost.per_element import per_element_work
from engine.graph import Shape
from engine.onnx.translate.combined import Extra, counted, plus, products
from engine.onnx.translate.registry import MICROSOFT, NodeCall, translates


class Heads(NamedTuple):
    """Sizes of scaled dot products: ``rows`` queries in all heads and images, each with ``keys`` keys."""

    rows: int
    keys: int
    width: int
    """Of a head's query and key."""
    value_width: int


def dot_products(heads: Heads, *, masked: bool, softcap: bool = False) -> Work:
    """softmax(scale · Q Kᵀ + mask) V, with the formula of torch's ``scaled_dot_product_attention``.

    A cap on the scores, c · tanh(x / c), is 3 FLOPs per score (2 special).
    """
    query, key = (heads.rows, heads.width), (heads.keys, heads.width)
    value, out = (heads.keys, heads.value_width), (heads.rows, heads.value_width)
    work = counted("scaled_dot_product_attention", (query, key, value), out, {"is_causal": masked})
    scores = heads.rows * heads.keys
    return plus(work, Extra("softcap", 3 * scores, 2 * scores)) if softcap else work


@translates("Attention")
def attention(call: NodeCall) -> tuple[str, Work]:
    """``Attention(Q, K, V, mask?, past_key?, past_value?)`` with H query heads, also when fewer key heads are shared.

    Q ``(B, H, L, E)`` or ``(B, L, H · E)``; S keys, those of the past included.
    MACs = B · H · L · S · (E + E_v); FLOPs as ``scaled_dot_product_attention``: the whole score matrix is counted,
    also with ``is_causal`` or a window; with a ``softcap`` + 3 per score (2 special). Source: ONNX, Attention.
    """
    query, key, value = call.input(0), call.input(1), call.input(2)
    past = call.optional(4)
    before = past[2] if past is not None else 0
    if len(query) == 4:
        heads = Heads(prod(query[:3]), before + key[2], query[3], value[3])
    else:
        q_heads, kv_heads = call.whole("q_num_heads", 1), call.whole("kv_num_heads", 1)
        rows = query[0] * q_heads * query[1]
        heads = Heads(rows, before + key[1], query[2] // q_heads, value[2] // kv_heads)
    masked = call.has(3) or bool(call.whole("is_causal")) or call.has(6)
    return "attention", dot_products(heads, masked=masked, softcap=call.number("softcap", 0.0) != 0)


@translates("FlexAttention", domain="ai.onnx.preview")
def flex_attention(call: NodeCall) -> tuple[str, Work]:
    """Scaled dot products of Q ``(B, H, L, E)``; what ``score_mod`` and ``prob_mod`` compute are rows of their own."""
    query, key, value = call.input(0), call.input(1), call.input(2)
    return "attention", dot_products(Heads(prod(query[:3]), key[2], query[3], value[3]), masked=False)


@translates("RotaryEmbedding")
@translates("RotaryEmbedding", domain=MICROSOFT)
def rotary(call: NodeCall) -> tuple[str, Work]:
    """Pairs of elements turned by an angle: FLOPs = 3 per turned element (6 per pair: 4 mul, 2 add).

    Elements beyond ``rotary_embedding_dim`` of each head are copied. Source: Su et al. 2021; ONNX, RotaryEmbedding.
    """
    shape = call.output()
    total = prod(shape)
    dim = call.whole("rotary_embedding_dim")
    heads = call.whole("num_heads")
    width = shape[-1] if len(shape) == 4 else shape[-1] // heads if heads else 0
    turned = total * dim // width if dim and width else total
    return "attention", per_element_work(turned, 3, 0, "6 per pair: 4 mul, 2 add")


@translates("LinearAttention")
@translates("LinearAttention", domain=MICROSOFT)
def linear_attention(call: NodeCall) -> tuple[str, Work]:
    """A state S ``(d_k, d_v)`` per key head, updated at each of B · T tokens and read by each query head.

    MACs = tokens · d_k · d_v · (H_kv for adding k vᵀ + H_kv for Sᵀ k with a delta rule + max(H_q, H_kv) for reading)
    FLOPs = 2 · MACs + tokens · H_kv · d_k · d_v and the exponentials of the decay (special) with a gate
          + 2 · tokens · H_kv · d_v with a delta rule (sub, mul by β) + outputs for the scale

    As the recurrence defines it; chunk-parallel kernels do other work. Source: ONNX, LinearAttention.
    """
    rule = call.text("update_rule", "gated_delta")
    query, value = call.input(0), call.input(2)
    q_heads, kv_heads = call.whole("q_num_heads", 1), call.whole("kv_num_heads", 1)
    tokens, d_k, d_v = query[0] * query[1], query[2] // q_heads, value[2] // kv_heads
    delta, gated = "delta" in rule, "gated" in rule
    cell = tokens * d_k * d_v
    macs = cell * (kv_heads * (2 if delta else 1) + max(q_heads, kv_heads))
    decays = prod(call.input(4)) if gated and call.has(4) else 0
    extras = (
        Extra("decay", cell * kv_heads if gated else 0),
        Extra("exp", decays, decays),
        Extra("delta", 2 * tokens * kv_heads * d_v if delta else 0),
        Extra("scale", tokens * max(q_heads, kv_heads) * d_v),
    )
    what = f"tokens·d_k·d_v·heads = {tokens:,}·{d_k}·{d_v}·{macs // cell if cell else 0}"
    return "attention", products(macs, what, (), *extras)


def rotated(*shapes: Shape) -> Extra:
    """Rotary embedding of whole tensors inside an attention operator."""
    return Extra("rotary", 3 * sum([prod(shape) for shape in shapes]))
