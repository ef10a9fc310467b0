"""Quantisation as it is written into exported programs: ``quantized_decomposed``, torch's reference operations."""

from __future__ import annotations

from math import prod
from typing import Any

from engine.cost.per_element import per_element, per_element_work
from engine.cost.registry import Work, cost_formula
from engine.graph import OpCall

_SPACE = "quantized_decomposed::"


def _named(*names: str) -> tuple[str, ...]:
    return tuple(_SPACE + name for name in names)


per_element(
    *_named(
        "quantize_per_tensor", "quantize_per_channel", "quantize_per_token", "quantize_per_channel_group"
    ),
    flops=5,
    counts="mul, round, add, clamp 2",
    family="elementwise",
)
per_element(
    *_named(
        "dequantize_per_tensor",
        "dequantize_per_channel",
        "dequantize_per_token",
        "dequantize_per_channel_group",
    ),
    flops=2,
    counts="sub, mul",
    family="elementwise",
)
per_element(
    *_named("fake_quant_per_channel"),
    flops=7,
    counts="mul, round, add, clamp 2, sub, mul",
    family="elementwise",
)


@cost_formula(
    *_named(
        "choose_qparams",
        "choose_qparams_symmetric",
        "choose_qparams_per_token",
        "choose_qparams_per_token_asymmetric",
        "_choose_qparams_per_token_asymmetric_impl",
    ),
    family="elementwise",
)
def choose_qparams(call: OpCall) -> Work:
    """Smallest and largest element, from which scale and zero point follow.

    FLOPs = 2 per element of the input: min, max. The arithmetic on each scale and zero point (about 10) is left out.
    Source: ``torch/ao/quantization/fx/_decomposed.py``.
    """
    x: Any = call.inputs[0]
    return per_element_work(prod(x), 2, 0, "min, max")


@cost_formula(*_named("convert_element_type"), family="movement")
def convert_element_type(call: OpCall) -> Work:
    """The same numbers in another dtype: 0 MACs, 0 FLOPs, as all conversions."""
    return Work(0, 0, 0, "FLOPs = 0: data movement")
