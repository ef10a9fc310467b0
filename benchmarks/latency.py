"""Measured latency against torch.utils.benchmark, and the layers' times against the whole, on real models."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from statistics import median
from threading import Event
from time import perf_counter
from typing import NamedTuple

import torch
from torch import nn
from torch.utils.benchmark import Timer

from benchmarks.machine import describe, table
from engine.api import open_session
from engine.latency import layer_times, measure
from engine.latency.noise import RunQueue
from engine.latency.setting import Setting, in_setting
from engine.measurement import LayerTimes
from engine.session import Session
from engine.statistics import Interval, median_interval

ZOO = (
    "resnet18", "resnet50", "mobilenet_v2", "squeezenet1_1", "vit_b_16", "swin_t",
    "fasterrcnn_mobilenet_v3_large_320_fpn",
)  # fmt: skip
ROUNDS, MAX_ROUNDS = 12, 40
"""Between them it goes on until the ratio is known well enough to be judged."""
KNOWN = 0.015
"""Half-width of the ratio's 95 % interval at which it is."""
DISTURBED = 0.02
"""A round is disturbed when our threads waited for a core for more than this share of it (Linux only)."""
ENOUGH = 10
"""With fewer undisturbed rounds, all are judged."""
TIMER_S = 0.5
"""How long torch.utils.benchmark samples in each round; ours (settled) ends by its own rules, 0.5 to 3 s."""
LAYER_RUNS = 3
MAX_LAYER_RUNS = 6
THREADS = int(os.environ.get("BENCH_THREADS", "0")) or torch.get_num_threads()
"""Fewer than there are cores give steadier ratios where other programs run."""
TOLERANCE = 0.03
COVERAGE = (0.9, 1.1)


def models() -> Iterator[tuple[str, Session]]:
    for name in ZOO:
        yield name, open_session(f"torchvision:{name}")
    yield "LSTM 2×512, 64 steps", open_session(nn.LSTM(512, 512, num_layers=2).eval(), (64, 1, 512))


class Round(NamedTuple):
    """One measurement by each, in seconds, and for how much of it the threads waited for a core."""

    ours: float
    theirs: float
    waiting: float

    @property
    def disturbed(self) -> bool:
        return self.waiting > DISTURBED


def rounds(session: Session, threads: int) -> list[Round]:
    """Who goes first alternates. The waiting is exogenous: leaving disturbed rounds out favours neither."""
    configuration = session.default_configuration()

    def ours() -> float:
        return measure(session, configuration, "settled", threads, stop=Event()).median_s

    def theirs() -> float:
        with session.real(configuration) as model, torch.inference_mode():
            timer = Timer("forward()", globals={"forward": model.forward}, num_threads=threads)
            return float(timer.blocked_autorange(min_run_time=TIMER_S).median)

    ours(), theirs()
    found: list[Round] = []
    with RunQueue() as queue:
        while len(found) < MAX_ROUNDS and not _known(found):
            waited, start = queue.read_s(), perf_counter()
            if len(found) % 2:
                other = theirs()
                own = ours()
            else:
                own = ours()
                other = theirs()
            waiting = (queue.read_s() - waited) / (perf_counter() - start)
            found.append(Round(own, other, waiting))
    return found


def _known(found: list[Round]) -> bool:
    ratios = [one.ours / one.theirs for one in found if not one.disturbed]
    interval = median_interval(ratios) if len(ratios) >= ROUNDS else None
    return interval is not None and interval.half_width <= KNOWN


def _judged(middle: float, interval: Interval | None) -> str:
    """Missed only where the interval shows it; a machine that is too restless to tell is said to be."""
    if abs(middle - 1) <= TOLERANCE:
        return "reached"
    if interval is not None and interval.low <= 1 + TOLERANCE and interval.high >= 1 - TOLERANCE:
        return "unclear"
    return "MISSED"


def compare_row(name: str, session: Session, threads: int) -> list[str]:
    setting = Setting(threads, session.random_weights)
    found = in_setting(setting, Event(), lambda: rounds(session, threads))
    quiet = [one for one in found if not one.disturbed]
    judged = quiet if len(quiet) >= ENOUGH else found
    ratios = [one.ours / one.theirs for one in judged]
    middle, interval = median(ratios), median_interval(ratios)
    return [
        name,
        f"{median(one.ours for one in judged) * 1e3:.2f}",
        f"{median(one.theirs for one in judged) * 1e3:.2f}",
        f"{middle:.3f}",
        f"{interval.low:.3f} to {interval.high:.3f}" if interval is not None else "–",
        f"{len(quiet)} of {len(found)}",
        _judged(middle, interval),
    ]


def layer_row(name: str, session: Session, threads: int) -> list[str]:
    configuration = session.default_configuration()
    found: list[LayerTimes] = []
    quiet: list[LayerTimes] = []
    while len(quiet) < LAYER_RUNS and len(found) < MAX_LAYER_RUNS:
        found.append(layer_times(session, configuration, threads, Event()))
        if all(flag.key != "preempted" for flag in found[-1].flags):
            quiet.append(found[-1])
    runs = sorted(quiet or found, key=lambda one: one.coverage)
    middle = runs[len(runs) // 2]
    low, high = COVERAGE
    return [
        name,
        f"{middle.end_to_end_s * 1e3:.2f}",
        *(f"{part / middle.end_to_end_s:.1%}" for part in _parts(middle)),
        f"{middle.coverage:.3f}",
        f"{runs[0].coverage:.3f} to {runs[-1].coverage:.3f}",
        f"{len(quiet)} of {len(found)}",
        "reached" if low <= middle.coverage <= high else "MISSED",
    ]


def _parts(times: LayerTimes) -> tuple[float, float, float]:
    return times.rows_s, times.unattributed_s, times.hook_s * times.hook_calls


def main() -> None:
    print(f"Latency on the CPU, {THREADS} threads, float32, batch 1")
    print(describe())
    against = [
        [
            "ms per forward pass",
            "ours",
            "torch",
            "ratio",
            "95 % interval",
            "undisturbed",
            f"within {TOLERANCE:.0%}",
        ]
    ]
    layers = [
        [
            "share of the plain pass",
            "ms",
            "rows",
            "unattributed",
            "timing",
            "rows + unattr.",
            "range",
            "undisturbed",
            "0.9–1.1",
        ]
    ]
    for name, session in models():
        against.append(compare_row(name, session, THREADS))
        layers.append(layer_row(name, session, THREADS))
        del session
        gc.collect()
    print(
        "\nMedian of paired ratios of the undisturbed rounds, alternating with torch.utils.benchmark in one process"
    )
    print(table(against))
    print("\nPer-layer times, calibrated cost of timing subtracted; the middle of the undisturbed runs")
    print(table(layers))


if __name__ == "__main__":
    main()
