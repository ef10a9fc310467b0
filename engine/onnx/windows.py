"""Sizes of what windows slide over: convolutions and pools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.graph import Shape


def windows(spatial: Shape, kernel: Shape, attributes: Mapping[str, Any]) -> Shape:
    """How many windows fit along each axis, by strides, pads, dilations, auto_pad and ceil_mode.

    Raises ValueError where the attributes have another number of axes. Source: ONNX, Conv, MaxPool.
    """
    rank = len(spatial)
    strides = attributes.get("strides") or (1,) * rank
    dilations = attributes.get("dilations") or (1,) * rank
    pads = attributes.get("pads") or (0,) * (2 * rank)
    auto = attributes.get("auto_pad", "NOTSET")
    ceil = bool(attributes.get("ceil_mode"))
    ends = [(pads[axis], pads[axis + rank]) for axis in range(rank)]
    sizes = []
    for size, taps, stride, dilation, (before, after) in zip(
        spatial, kernel, strides, dilations, ends, strict=True
    ):
        if auto in ("SAME_UPPER", "SAME_LOWER"):
            sizes.append(-(-size // stride))
            continue
        room = size + (0 if auto == "VALID" else before + after) - dilation * (taps - 1) - 1
        count = (-(-room // stride) if ceil else room // stride) + 1
        # A window that would start in the padding behind the input is left out.
        sizes.append(count - (ceil and (count - 1) * stride >= size + before))
    return tuple(sizes)


def with_channels(batch: int, spatial: Shape, channels: int, *, last: bool) -> Shape:
    """The whole shape, channels before or after the spatial sizes."""
    return (batch, *spatial, channels) if last else (batch, channels, *spatial)
