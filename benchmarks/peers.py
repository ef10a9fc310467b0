"""One complete analysis at a size not seen before, against other counters as their users run them.

Ours: paths, liveness, formulas, all columns, and the encoded result. Theirs: one call on a real CPU model, or
FlopCounterMode on the meta device. Imports and model building are excluded on both sides. Every round runs all
tools one after the other at that round's size; the ratio of a tool is the median over the rounds of its time over ours.
"""

from __future__ import annotations

import contextlib
import io
import logging
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import msgspec
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import onnx_peers
from benchmarks.machine import describe, table
from engine.configuration import Configuration
from engine.graph import InputShape
from engine.loaders import load
from engine.loaders.loaded import LoadOptions
from engine.session import Session

MODELS = ("resnet50", "mobilenet_v2", "vit_b_16", "swin_t", "efficientnet_b0")
SIZES = (192, 256, 224, 288, 160)
"""One round per size; ViT accepts 224 only and runs all its rounds there, with its kept results dropped."""

TARGETS = {"FlopCounterMode, meta": 4.0, "fvcore": 6.0, "fastest of the others": 2.0}


def tools(name: str) -> dict[str, Callable[[int], Any]]:
    """Tool → a function that analyses ``name`` at one size."""
    import ptflops
    import thop
    import torchinfo
    from fvcore.nn import FlopCountAnalysis

    loaded = load(f"torchvision:{name}", LoadOptions())
    real = loaded.build_real().eval()
    # thop and ptflops leave attributes and hooks on a model; each gets its own.
    own = {tool: loaded.build_real().eval() for tool in ("ptflops", "thop", "torchinfo")}
    state: dict[str, Session] = {"session": Session(loaded)}

    def ours(size: int) -> Any:
        if name.startswith("vit"):
            state["session"]._kept.clear()
        configuration = Configuration((InputShape("x", (1, 3, size, size)),))
        return msgspec.json.encode(state["session"].analyze(configuration))

    def flop_counter(size: int) -> Any:
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            loaded.module(torch.empty(1, 3, size, size, device="meta"))
        return counter.get_total_flops()

    def fvcore_count(size: int) -> Any:
        return FlopCountAnalysis(real, torch.randn(1, 3, size, size)).by_module()

    def ptflops_count(size: int) -> Any:
        return ptflops.get_model_complexity_info(
            own["ptflops"], (3, size, size), as_strings=False, print_per_layer_stat=False, verbose=False
        )

    def torchinfo_count(size: int) -> Any:
        return torchinfo.summary(own["torchinfo"], (1, 3, size, size), verbose=0, device="cpu")

    def thop_count(size: int) -> Any:
        return thop.profile(own["thop"], (torch.randn(1, 3, size, size),), verbose=False)

    return {
        "ours": ours,
        "FlopCounterMode, meta": flop_counter,
        "fvcore": fvcore_count,
        "ptflops": ptflops_count,
        "torchinfo": torchinfo_count,
        "thop": thop_count,
    }


def measure(name: str) -> dict[str, list[float]]:
    """Tool → seconds per round."""
    running = tools(name)
    times: dict[str, list[float]] = {tool: [] for tool in running}
    sizes = [224] * len(SIZES) if name.startswith("vit") else list(SIZES)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        for run in running.values():
            run(224 if name.startswith("vit") else 128)
        for size in sizes:
            for tool, run in running.items():
                started = time.perf_counter()
                run(size)
                times[tool].append(time.perf_counter() - started)
    return times


def _verdict(value: float, target: float) -> str:
    return "reached" if value >= target else "MISSED"


def main() -> None:
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    print("One analysis at a size not seen before: milliseconds (median) and how many times ours")
    print(describe())
    header = [
        "model",
        "ours",
        *(t for t in ("FlopCounterMode, meta", "fvcore", "ptflops", "torchinfo", "thop")),
    ]
    rows = [header]
    verdicts = []
    for name in MODELS:
        times = measure(name)
        ours = times["ours"]
        ratios = {
            tool: statistics.median(t / o for t, o in zip(values, ours, strict=True))
            for tool, values in times.items()
        }
        rows.append(
            [name, f"{1e3 * statistics.median(ours):.1f}"]
            + [f"{1e3 * statistics.median(times[tool]):.0f} ({ratios[tool]:.1f} ×)" for tool in header[2:]]
        )
        others = min(ratios[tool] for tool in ("ptflops", "torchinfo", "thop"))
        reached = {
            "FlopCounterMode, meta": ratios["FlopCounterMode, meta"],
            "fvcore": ratios["fvcore"],
            "fastest of the others": others,
        }
        verdicts.append(
            f"{name}: "
            + ", ".join(
                f"{tool} {value:.1f} × ({_verdict(value, TARGETS[tool])}, target {TARGETS[tool]:g} ×)"
                for tool, value in reached.items()
            )
        )
        sys.stdout.flush()
    print(table(rows))
    print("\n".join(verdicts))
    print()
    onnx_peers.main()
