"""Attention operators of onnxruntime: with the projections inside, with packed inputs, with grouped heads and caches.

Sizes: B images, L queries, S keys (past ones included), N heads. Source of all: onnxruntime, ContribOperators.md.
"""

from __future__ import annotations

from math import prod

from engine.cost import Work
from engine.graph import Shape
from engine.onnx.translate.attention import Heads, dot_products, rotated
from engine.onnx.translate.combined import Extra, plus, unweighted
from engine.onnx.translate.registry import MICROSOFT, NodeCall, UnknownShapeError, translates


def projected(work: Work, tokens: int, weight: Shape, position: int, bias: bool) -> Work:
    """``work`` after ``tokens`` met the merged weight of query, key and value at input ``position``."""
    if work.macs is None or work.flops is None:
        return work
    macs = tokens * prod(weight)
    outputs = tokens * weight[-1]
    flops = work.flops + 2 * macs
    text = f"MACs = projection {tokens:,}·{prod(weight):,} = {macs:,} and {work.formula}"
    whole = Work(work.macs + macs, flops, work.special_ops, text, ((position, macs),))
    return plus(whole, Extra("bias", outputs if bias else 0))


@translates("Attention", "DecoderMaskedSelfAttention", domain=MICROSOFT)
def attention(call: NodeCall) -> tuple[str, Work]:
    """``Attention(input, weights, bias?, mask?, past?, attention_bias?)``: projections and scaled dot products.

    input ``(B, L, in)``, weights ``(in, d_q + d_k + d_v)``
    MACs = B · L · in · (d_q + d_k + d_v) + B · L · S · (d_q + d_v)
    FLOPs = 2 · MACs + bias + as ``scaled_dot_product_attention`` (1 per score for masks) + rotary 3 per element
    """
    x, weight = call.input(0), call.input(1)
    sizes = call.wholes("qkv_hidden_sizes") or (weight[1] // 3,) * 3
    heads = call.whole("num_heads", 1)
    masked = call.has(3) or call.has(5) or bool(call.whole("unidirectional"))
    scores = Heads(x[0] * heads * x[1], x[1] + _past(call, 4, 3), sizes[0] // heads, sizes[2] // heads)
    work = projected(dot_products(scores, masked=masked), x[0] * x[1], weight, 1, call.has(2))
    turned = rotated((x[0] * x[1], sizes[0] + sizes[1])) if call.whole("do_rotary") else Extra("rotary", 0)
    return "attention", plus(work, turned)


@translates("QAttention", domain=MICROSOFT)
def quantised_attention(call: NodeCall) -> tuple[str, Work]:
    """Attention with a projection of 8 bits: + 1 per projected element for the scale. Weights' zeros are not known."""
    x, weight = call.input(0), call.input(1)
    heads = call.whole("num_heads", 1)
    masked = call.has(5) or bool(call.whole("unidirectional"))
    width = weight[1] // 3 // heads
    scores = Heads(x[0] * heads * x[1], x[1] + _past(call, 8, 3), width, width)
    work = projected(dot_products(scores, masked=masked), x[0] * x[1], weight, 1, True)
    return "attention", unweighted(plus(work, Extra("scale", x[0] * x[1] * weight[1])))


@translates("QOrderedAttention", domain=MICROSOFT)
def ordered_attention(call: NodeCall) -> tuple[str, Work]:
    """Attention of 8 bits with three weights, inputs 5 to 7, and biases, inputs 11 to 13.

    + 5 for requantising each projected element, each probability and each output.
    """
    x, weights = call.input(0), [call.input(at) for at in (5, 6, 7)]
    heads = call.whole("num_heads", 1)
    tokens = x[0] * x[1]
    scores = Heads(tokens * heads, x[1], weights[0][1] // heads, weights[2][1] // heads)
    masked = call.has(17) or bool(call.whole("unidirectional"))
    merged = (x[2], sum([weight[1] for weight in weights]))
    work = projected(dot_products(scores, masked=masked), tokens, merged, 5, True)
    requantised = tokens * merged[1] + scores.rows * scores.keys + tokens * weights[2][1]
    return "attention", unweighted(plus(work, Extra("requantise", 5 * requantised)))


@translates("PackedAttention", domain=MICROSOFT)
def packed_attention(call: NodeCall) -> tuple[str, Work]:
    """Attention over tokens without padding; scores are counted as if every sequence were as long as the longest."""
    x, weight, offsets = call.input(0), call.input(1), call.input(3)
    sizes = call.wholes("qkv_hidden_sizes") or (weight[1] // 3,) * 3
    heads = call.whole("num_heads", 1)
    scores = Heads(prod(offsets) * heads, offsets[1], sizes[0] // heads, sizes[2] // heads)
    return "attention", projected(dot_products(scores, masked=call.has(5)), x[0], weight, 1, True)


@translates("MultiHeadAttention", "DecoderMaskedMultiHeadAttention", domain=MICROSOFT)
def multi_head(call: NodeCall) -> tuple[str, Work]:
    """Scaled dot products of query ``(B, L, d)`` with key ``(B, S, d)``, or packed in one tensor, or a cached key.

    MACs = B · L · S · (d + d_v); FLOPs as ``scaled_dot_product_attention`` + 1 per element of query, key and value
    with a bias. The output tells d_v.
    """
    is_decoder = call.op.startswith("Decoder")
    query, out = call.input(0), call.output()
    heads = call.whole("num_heads", 1)
    value_width = out[-1] // heads
    width = _query_width(call, query, heads)
    key = call.optional(1)
    keys = query[1] if key is None else key[2] if len(key) == 4 else key[1]
    keys += 0 if key is not None and len(key) == 4 else _past(call, 5 if is_decoder else 6, 2)
    masks = (3, 4) if is_decoder else (4, 5)
    masked = any(call.has(at) for at in masks) or bool(call.whole("unidirectional"))
    work = dot_products(Heads(out[0] * heads * out[1], keys, width, value_width), masked=masked)
    has_bias = call.has(10 if is_decoder else 3)
    biased = out[0] * heads * (out[1] * width + keys * (width + value_width))
    return "attention", plus(work, Extra("bias", biased if has_bias else 0))


@translates("PackedMultiHeadAttention", domain=MICROSOFT)
def packed_multi_head(call: NodeCall) -> tuple[str, Work]:
    """Scaled dot products over tokens without padding; scores as if every sequence were as long as the longest."""
    query, out, offsets = call.input(0), call.output(), call.input(4)
    heads = call.whole("num_heads", 1)
    width = query[-1] if len(query) == 4 else query[-1] // heads
    scores = Heads(prod(offsets) * heads, offsets[1], width, out[-1] // heads)
    biased = out[0] * heads * (2 * width + out[-1] // heads)
    work = dot_products(scores, masked=call.has(6))
    return "attention", plus(work, Extra("bias", biased if call.has(3) else 0))


@translates("GroupQueryAttention", domain=MICROSOFT)
def group_query(call: NodeCall) -> tuple[str, Work]:
    """Scaled dot products of N query heads that share fewer key heads, with a cache of past keys and values.

    query ``(B, L, N · E)``, or packed with key and value. S is ``total_sequence_length`` where that is a constant, else
    the past's length and L.
    MACs = B · N · L · S · 2 E, the whole score matrix also with ``causal`` or a local window
    FLOPs as ``scaled_dot_product_attention`` + softcap 3 per score (2 special) + rotary 3 per element of query and key
    + norms of query and key (3 E + 2 + E per head, 2 special); dequantising a cache is left out
    """
    query = call.input(0)
    heads, kv_heads = call.whole("num_heads", 1), call.whole("kv_num_heads", 1)
    width = query[2] // heads if call.has(1) else query[2] // (heads + 2 * kv_heads)
    batch, length = query[0], query[1]
    total = call.value(6)
    keys = int(total.ravel()[0]) if total is not None and total.size else length + _past(call, 3, 2)
    masked = bool(call.whole("causal", 1)) or call.has(10)
    softcap = call.number("softcap", 0.0) != 0
    work = dot_products(Heads(batch * heads * length, keys, width, width), masked=masked, softcap=softcap)
    vectors = batch * length * (heads + kv_heads)
    turned = rotated((vectors, width)) if call.whole("do_rotary") else Extra("rotary", 0)
    normed = Extra("norms", vectors * (4 * width + 2), 2 * vectors) if call.has(14) else Extra("norms", 0)
    return "attention", plus(work, turned, normed)


@translates("PagedAttention", domain=MICROSOFT)
def paged(call: NodeCall) -> tuple[str, Work]:
    """Scaled dot products with a cache in blocks: how long each sequence is stands in the data, so not counted."""
    return "attention", Work(None, None, None, "not counted: the lengths of its sequences are data")


@translates("DecoderAttention", domain=MICROSOFT)
def decoder_attention(call: NodeCall) -> tuple[str, Work]:
    """query ``(L, B, d)``, key ``(S, B, d)`` with projections of query, key and value and a bias; caches not counted.

    MACs = B · L · d² + 2 · B · S · d² + 2 · B · L · S · d
    """
    query, key = call.input(0), call.input(1)
    heads, width = call.whole("num_heads", 1), query[2]
    scores = Heads(query[0] * query[1] * heads, key[0], width // heads, width // heads)
    work = dot_products(scores, masked=call.has(5))
    work = projected(work, query[0] * query[1], call.input(2), 2, True)
    first = work.weighted or ()
    work = projected(work, key[0] * key[1], call.input(3), 3, True)
    return "attention", Work(
        work.macs, work.flops, work.special_ops, work.formula, first + (work.weighted or ())
    )


@translates("GatedRelativePositionBias", domain=MICROSOFT)
def gated_position_bias(call: NodeCall) -> tuple[str, Work]:
    """A gate per query and head from query_layer ``(B, L, N · E)`` and weight ``(E, D)``, times relative positions.

    MACs = B · L · N · E · D; FLOPs = 2 · MACs + biases + two sums of D / 2 + per query and head 2 sigmoids (special)
    and 3 for the gate + 1 per output.
    """
    query, weight, out = call.input(0), call.input(3), call.output()
    each = prod(query) // weight[0]
    macs = each * prod(weight)
    text = f"MACs = queries·heads·E·D = {each:,}·{prod(weight):,} = {macs:,}; FLOPs = 2·MACs = {2 * macs:,}"
    biases = prod(query) + each * weight[1]
    gate = each * (weight[1] - 2 + 2 + 3)
    work = Work(macs, 2 * macs, 0, text, ((3, macs),))
    return "attention", plus(
        work, Extra("biases", biases), Extra("gate", gate, 2 * each), Extra("product", prod(out))
    )


def _past(call: NodeCall, position: int, axis: int) -> int:
    """Keys in the cache at input ``position``: its size along ``axis``."""
    past = call.optional(position)
    return past[axis] if past is not None else 0


def _query_width(call: NodeCall, query: Shape, heads: int) -> int:
    """Of a head: query is ``(B, L, d)``, or ``(B, L, N, 3, E)`` with key and value, or those behind each other."""
    if len(query) == 5:
        return query[4]
    if call.op.startswith("Decoder") and not call.has(1):
        return query[2] // 3 // heads
    if len(query) != 3:
        raise UnknownShapeError(f"the query has {len(query)} dimensions, 3 or 5 are known")
    return query[2] // heads
