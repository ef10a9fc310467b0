"""Shortcuts answer like the real meta kernels, operation by operation, and refuse what they are not sure of."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from engine.loaders import load
from engine.loaders.loaded import LoadOptions
from engine.loaders.torchvision_zoo import entries
from engine.session import Session
from engine.trace.shortcuts import SHORTCUTS
from tests.conftest import sampled
from tests.engine.shortcut_check import ShortcutCheck

NAMES = [entry.name for entry in entries() if entry.task != "detection"]
DETECTORS = [entry.name for entry in entries() if entry.task == "detection"]


@pytest.mark.parametrize("name", sampled(NAMES, 14, "shortcuts"))
def test_every_answer_over_the_zoo(name: str) -> None:
    loaded = load(f"torchvision:{name}", LoadOptions())
    assert loaded.binding is not None
    args, kwargs = loaded.binding.arguments(
        loaded.binding.defaults(), lambda shape, dtype: torch.empty(shape, dtype=dtype, device="meta")
    )
    check = ShortcutCheck()
    with torch.inference_mode(), check:
        loaded.module(*args, **kwargs)
    assert not check.differences
    assert sum(check.answered.values()) > 10


@pytest.mark.parametrize("name", sampled([*NAMES, *DETECTORS], 7, "same rows"))
def test_fast_and_plain_trace_have_the_same_rows(name: str) -> None:
    session = Session(load(f"torchvision:{name}", LoadOptions()))
    configuration = session.default_configuration()
    quick = session.analyze(configuration)
    plain = session.analyze(configuration, fast=False)
    same = (
        "id",
        "op",
        "calls",
        "macs",
        "flops",
        "params",
        "weight_bytes",
        "input_shapes",
        "output_shapes",
        "dtype",
    )
    assert quick.totals.macs == plain.totals.macs
    assert quick.totals.flops == plain.totals.flops
    for field in same:
        assert getattr(quick.layers, field) == getattr(plain.layers, field), field


def test_layouts_and_odd_shapes() -> None:
    """Channels last, transposed operands, broadcasting, ceil mode, scalars, integers: alike or not answered."""
    check = ShortcutCheck()
    with torch.inference_mode(), check:
        x = torch.empty(2, 6, 7, 9, device="meta")
        last = x.to(memory_format=torch.channels_last)
        for t in (x, last, x.transpose(2, 3), x[:, ::2], x[:, :, 1:]):
            F.relu(t), F.gelu(t), F.silu(t), t + t, t * 2, t - 1.5, 2 - t, t / 3, t.clamp(0, 1), t**2
            t + torch.empty(9 if t.shape[-1] == 9 else t.shape[-1], device="meta")
            t * torch.empty(t.shape[1], 1, 1, device="meta")
            F.softmax(t, 1), t.mean((2, 3)), t.mean((2, 3), keepdim=True), t.sum(1), t.roll((1, 2), (2, 3))
            (
                F.max_pool2d(t, 3, 2, 1),
                F.max_pool2d(t, 3, 2, 1, ceil_mode=True),
                F.avg_pool2d(t, 2, ceil_mode=True),
            )
            (
                F.adaptive_avg_pool2d(t, 1),
                F.layer_norm(t, t.shape[-1:]),
                torch.cat([t, t], 1),
                torch.cat([t, t], -1),
            )
            F.interpolate(t, size=(14, 18), mode="bilinear"), t.eq(0), t.masked_fill(t.eq(0), 1.0)
            (
                F.group_norm(t, 1),
                F.rms_norm(t, t.shape[-1:]),
                F.instance_norm(t),
                t.neg(),
                t.exp(),
                t.sigmoid(),
                t @ t.transpose(-1, -2),
            )
            mean = torch.empty(t.shape[1], device="meta")
            F.batch_norm(t, mean, mean), F.batch_norm(t, mean, mean, mean, mean)
        tokens = torch.empty(3, 5, dtype=torch.int64, device="meta")
        tokens + 1, tokens * 2, tokens / 2, tokens + 1.5, tokens * tokens, tokens.neg(), -tokens + True
        half = torch.empty(4, 4, dtype=torch.float16, device="meta")
        half + 1, half * torch.empty(4, 4, device="meta"), F.linear(half, half), F.softmax(half, -1)
        row, column = torch.empty(5, 1, device="meta"), torch.empty(1, 4, device="meta")
        row + column, column * row, row.expand(5, 4) + column
        F.conv2d(x, torch.empty(4, 3, 3, 3, device="meta"), groups=2, stride=2, padding=1, dilation=2)
        F.conv3d(
            torch.empty(1, 2, 5, 6, 7, device="meta"),
            torch.empty(3, 2, 2, 3, 2, device="meta"),
            stride=(1, 2, 3),
        )
        torch.bmm(torch.empty(2, 3, 4, device="meta"), torch.empty(2, 5, 4, device="meta").mT)
    assert not check.differences
    assert sum(check.answered.values()) > 80


def test_recurrent_layers_are_answered_whole() -> None:
    check = ShortcutCheck()
    kinds = (torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN)
    for kind, layers, bidirectional, batch_first, bias in product(kinds, (1, 2), *[(True, False)] * 3):
        options: dict[str, Any] = {"bidirectional": bidirectional, "batch_first": batch_first, "bias": bias}
        module = kind(5, 7, layers, **options, device="meta").eval()
        with torch.inference_mode(), check:
            module(torch.empty(3, 4, 5, device="meta"))
    assert not check.differences
    assert sum(check.answered[f"aten.{name}.input"] for name in ("lstm", "gru", "rnn_tanh")) == 3 * 2 * 8

    projected = torch.nn.LSTM(5, 7, proj_size=2, device="meta").eval()
    check = ShortcutCheck()
    with torch.inference_mode(), check:
        projected(torch.empty(3, 4, 5, device="meta"))
    assert "aten.lstm.input" not in check.answered


def test_wrong_shapes_are_left_to_the_kernel() -> None:
    """A shortcut must not accept what the real operation refuses."""

    def refused(run: object) -> None:
        check = ShortcutCheck()
        with torch.inference_mode(), pytest.raises(RuntimeError), check:
            run()  # type: ignore[operator]

    def empty(*shape: int) -> Tensor:
        return torch.empty(shape, device="meta")

    refused(lambda: F.conv2d(empty(1, 4, 8, 8), empty(8, 3, 3, 3)))
    refused(lambda: F.conv2d(empty(1, 3, 2, 2), empty(8, 3, 3, 3)))
    refused(lambda: F.linear(empty(2, 5), empty(3, 4)))
    refused(lambda: empty(2, 3) + empty(2, 4))
    refused(lambda: empty(2, 3).add_(empty(4, 2, 3)))
    refused(lambda: empty(1, 2, 3) @ empty(1, 4, 5))
    refused(lambda: torch.cat([empty(2, 3), empty(2, 4)], 0))
    refused(lambda: F.max_pool2d(empty(1, 1, 2, 2), 3))
    refused(lambda: F.max_pool2d(empty(1, 1, 8, 8), 2, padding=2))
    refused(lambda: F.layer_norm(empty(2, 5), (4,)))
    for run in (
        lambda q, k: SHORTCUTS[torch.ops.aten.scaled_dot_product_attention.default](q, k, k),
        lambda q, k: SHORTCUTS[torch.ops.aten.matmul.default](q, k),
    ):
        assert run(empty(1, 2, 3, 4), empty(1, 2, 3, 5)) is NotImplemented
