"""Subnormal numbers: how many a model's layers put out, and whether they cost time.

Processors compute with them in microcode: ResNet-18 on inputs of 1e-39 takes 45 to 62 times as long.
"""

from __future__ import annotations

import time
from threading import Event

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from engine.errors import CancelledError
from engine.latency.passes import timed
from engine.latency.setting import Setting, in_setting
from engine.measurement import Flag
from engine.session import RealModel

SLOWER = 0.1
"""They are worth a flag when a pass is this much slower with them than with zeros in their place."""
PASSES, BUDGET_S = 9, 0.5


def denormals_flag(model: RealModel, fastest_s: float, threads: int, stop: Event) -> Flag | None:
    """Counts subnormal values in one untimed pass; where there are some, times passes that flush them to zero.

    ``fastest_s`` is the fastest pass without flushing. The fastest of either kind are compared: subnormal numbers slow
    every pass down, other programs only some. Raises CancelledError when ``stop`` is set.
    """
    if stop.is_set():
        raise CancelledError()
    count = count_subnormals(model)
    if not count:
        return None

    def flushed() -> float:
        with torch.inference_mode():
            timed(model.forward, stop)
            started = time.perf_counter()
            times = [timed(model.forward, stop)]
            while len(times) < PASSES and time.perf_counter() - started < BUDGET_S:
                times.append(timed(model.forward, stop))
        return min(times)

    without_s = in_setting(Setting(threads, flush=True), stop, flushed)
    if fastest_s / without_s - 1 <= SLOWER:
        return None
    by = f"{fastest_s / without_s:.2f} times as long as with zeros in their place"
    return Flag(
        "denormals", f"{count:,} subnormal values in the layers' outputs: a pass takes {by}", severe=True
    )


def count_subnormals(model: RealModel) -> int:
    """Subnormal values in the outputs of all leaf modules over one pass, in inference mode."""
    total = 0

    def look(module: torch.nn.Module, args: object, output: object) -> None:
        nonlocal total
        for leaf in pytree.tree_leaves(output):
            if isinstance(leaf, Tensor) and _is_plain(leaf):
                small = (leaf != 0) & (leaf.abs() < torch.finfo(leaf.dtype).tiny)
                total += int(small.sum())

    handles = [
        part.register_forward_hook(look)
        for part in model.module.modules()
        # Modules of TorchScript take no hooks.
        if not any(part.children()) and not isinstance(part, torch.jit.ScriptModule)
    ]
    try:
        with torch.inference_mode():
            model.forward()
    finally:
        for handle in handles:
            handle.remove()
    return total


def _is_plain(tensor: Tensor) -> bool:
    """Whether its values can be looked at: formats of one byte and other layouts (sparse, oneDNN's) do not compare."""
    dense = tensor.layout is torch.strided and not tensor.is_nested
    return dense and tensor.is_floating_point() and tensor.element_size() > 1
