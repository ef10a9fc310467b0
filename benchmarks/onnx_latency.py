"""onnxruntime's kernels against the whole run, at the same options: how much of it they are, whose work they do.

torchvision's models and a GPT-2 of half the usual width and depth, exported into a temporary folder with random norms.
``BENCH_THREADS`` and ``BENCH_ORT_LEVEL`` choose what is measured.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import get_args

import torch
import torchvision
from torch import Tensor, nn

from benchmarks.machine import describe, table
from engine.latency import default_threads, layer_times
from engine.loaders.options import LoadOptions
from engine.measurement import LayerTimes, OrtLevel, RuntimeOptions
from engine.open_model import OpenModel
from engine.opening import open_model

IMAGE = (1, 3, 224, 224)
TOKENS = (1, 128)
RUNS, MOST_RUNS = 3, 6
"""Undisturbed measurements of each model, and all together at most; the middle one is shown."""
COVERAGE = (0.9, 1.1)


class LanguageModel(nn.Module):
    """transformers' GPT-2 without its cache: token ids to logits."""

    def __init__(self) -> None:
        super().__init__()
        from transformers import GPT2Config, GPT2LMHeadModel

        self.model = GPT2LMHeadModel(
            GPT2Config(n_layer=6, n_head=8, n_embd=512, vocab_size=8000, n_positions=256)
        )

    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.model(ids, use_cache=False).logits
        return logits


def image_model(name: str) -> Callable[[], tuple[nn.Module, Tensor]]:
    return lambda: (torchvision.models.get_model(name), torch.zeros(IMAGE))


MODELS: dict[str, tuple[Callable[[], tuple[nn.Module, Tensor]], bool]] = {
    "resnet50": (image_model("resnet50"), False),
    "mobilenet_v2": (image_model("mobilenet_v2"), False),
    "vit_b_16": (image_model("vit_b_16"), True),
    "swin_t": (image_model("swin_t"), False),
    "GPT-2, 6 × 512": (lambda: (LanguageModel(), torch.zeros(TOKENS, dtype=torch.int64)), True),
}
"""Name → what makes it, and whether torch.export's exporter writes it."""


def randomise(module: nn.Module) -> None:
    """Norms that differ from each other and from 1: nothing is merged or left out by accident."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in (*module.named_parameters(), *module.named_buffers()):
            if tensor.is_floating_point() and tensor.dim() == 1:
                low = 0.5 if "var" in name or "weight" in name else -0.5
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + low)


def models(folder: Path) -> Iterator[tuple[str, OpenModel]]:
    for number, (name, (make, dynamo)) in enumerate(MODELS.items()):
        module, example = make()
        randomise(module.eval())
        file = folder / f"{number}.onnx"
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module, (example,), str(file), dynamo=dynamo, opset_version=18 if dynamo else 17
            )
        del module
        yield name, open_model(str(file), LoadOptions())


def row(name: str, model: OpenModel, threads: int, options: RuntimeOptions) -> list[str]:
    found: list[LayerTimes] = []
    quiet: list[LayerTimes] = []
    while len(quiet) < RUNS and len(found) < MOST_RUNS:
        found.append(layer_times(model, model.default_configuration(), threads, Event(), options))
        if all(flag.key != "preempted" for flag in found[-1].flags):
            quiet.append(found[-1])
    runs = sorted(quiet or found, key=kernels)
    middle = runs[len(runs) // 2]
    whole = middle.end_to_end_s
    low, high = COVERAGE
    return [
        name,
        f"{whole * 1e3:.2f}",
        f"{middle.rows_s / whole:.1%}",
        f"{middle.inserted_s / whole:.1%}",
        f"{middle.unattributed_s / whole:.1%}",
        f"{middle.hook_s * middle.hook_calls / whole:.1%}",
        f"{kernels(middle):.3f}",
        f"{kernels(runs[0]):.3f} to {kernels(runs[-1]):.3f}",
        f"{len(middle.groups)} + {len(middle.inserted)}",
        f"{sum(len(group.row_ids) for group in middle.groups)} of {len(middle.row_id)}",
        f"{len(quiet)} of {len(found)}",
        "reached" if low <= kernels(middle) <= high else "MISSED",
    ]


def kernels(times: LayerTimes) -> float:
    """All kernels over the plain run between them."""
    return (times.rows_s + times.inserted_s) / times.end_to_end_s


def main() -> None:
    level = next(each for each in get_args(OrtLevel) if each == os.environ.get("BENCH_ORT_LEVEL", "all"))
    options = RuntimeOptions(level=level)
    rows = [
        [
            "share of the plain run",
            "ms",
            "rows",
            "inserted",
            "between",
            "profiling",
            "kernels",
            "range",
            "kernels + inserted",
            "nodes in them",
            "undisturbed",
            "0.9–1.1",
        ]
    ]
    threads = 0
    with tempfile.TemporaryDirectory(prefix="misnomer-bench-") as folder:
        for name, model in models(Path(folder)):
            threads = int(os.environ.get("BENCH_THREADS", "0")) or default_threads(model)
            rows.append(row(name, model, threads, options))
            del model
    print(f"ONNX models on the CPU, {threads} threads, float32, batch 1, optimisation {level}")
    print(describe())
    print(
        "\nonnxruntime's kernels, profiled in a session of the same options; the middle of the undisturbed runs"
    )
    print(table(rows))


if __name__ == "__main__":
    main()
