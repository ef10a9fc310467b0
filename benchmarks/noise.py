"""What measuring makes of a disturbed machine: flags and undisturbed medians under a load that comes and goes, and
verdicts on states that are equal or differ by a known amount."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from statistics import median
from threading import Event, Thread
from types import TracebackType
from typing import NamedTuple

import torch
from torch import nn

from benchmarks.machine import describe, table
from engine.api import open_session
from engine.configuration import Configuration
from engine.edits import RemoveLayer, SetAttribute
from engine.latency import compare, measure
from engine.latency.quiet import quiet_gate
from engine.latency.setting import Setting, in_setting
from engine.latency.torch_reference import torch_reference
from engine.measurement import Measurement, Verdict
from engine.session import Session

RUNS = 20
COMPARISONS = 50
WRONG_ALLOWED, FOUND_NEEDED = 2, 48
QUIET_FLAGS_ALLOWED = 1
OFF = 0.05
"""A median that is so far above the quiet one is a disturbed run."""
BURST_S, PAUSE_S = (0.2, 1.2), (0.2, 1.2)
BUSY = "while True: pass"


class Load:
    """As many busy programs as there are cores, which come and go; ends with its ``with``."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._over = Event()
        self._thread = Thread(target=self._run, daemon=True)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(self._random.uniform(*PAUSE_S)):
            programs = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(os.cpu_count() or 1)]
            self._over.wait(self._random.uniform(*BURST_S))
            for program in programs:
                program.kill()
                program.wait()


class Series(NamedTuple):
    """Runs of one configuration, and what the gate said before and after each of them where it was not quiet."""

    runs: list[Measurement]
    gate: list[str]

    @property
    def plain(self) -> list[float]:
        return [run.median_s for run in self.runs]

    @property
    def undisturbed(self) -> list[float]:
        return [run.undisturbed_median_s for run in self.runs if run.undisturbed_median_s is not None]

    @property
    def flagged(self) -> int:
        return sum(not run.quiet for run in self.runs)


def series(session: Session, threads: int, best_s: float | None) -> Series:
    configuration = session.default_configuration()
    runs: list[Measurement] = []
    gate: list[str] = []
    reference = torch_reference(threads, best_s)
    for _ in range(RUNS):
        gate += filter(None, [quiet_gate(reference=reference)])
        run = measure(session, configuration, "settled", threads, stop=Event(), reference_best_s=best_s)
        best_s = run.reference_best_s
        runs.append(run)
    return Series(runs, gate)


def spread(values: list[float]) -> float:
    """(Largest − smallest) / median."""
    return (max(values) - min(values)) / median(values) if values else float("nan")


def under_load(name: str, threads: int) -> list[list[str]]:
    """A quiet series, then one beside the load."""
    session = open_session(f"torchvision:{name}")
    torch.set_num_threads(threads)
    quiet = series(session, threads, None)
    with Load(threads):
        loaded = series(session, threads, quiet.runs[-1].reference_best_s)
    true_s = median(quiet.undisturbed or quiet.plain)
    disturbed = [run for run in loaded.runs if run.median_s > (1 + OFF) * true_s]
    silent = sum(run.quiet for run in disturbed)
    shares = median(len(run.undisturbed_s) / run.n for run in loaded.runs)
    halved = spread(loaded.undisturbed) <= spread(loaded.plain) / 2
    judged = _said(quiet.flagged <= QUIET_FLAGS_ALLOWED)
    if quiet.gate:
        judged = f"not judged: not quiet {len(quiet.gate)} times, {quiet.gate[0]}"
    label = f"{name}, {threads} thread{'s' if threads > 1 else ''}"
    return [
        [f"{label}, quiet", *_figures(quiet), f"{quiet.flagged} of {RUNS}", "", judged],
        [
            f"{label}, load",
            *_figures(loaded),
            f"{loaded.flagged} of {RUNS}",
            f"{len(disturbed) - silent} of {len(disturbed)}",
            f"flags {_said(silent == 0)}, half the spread {_said(halved)} ({shares:.0%} undisturbed)",
        ],
    ]


def _figures(found: Series) -> list[str]:
    undisturbed = found.undisturbed
    return [
        f"{median(found.plain) * 1e3:.1f}",
        f"{spread(found.plain):.1%}",
        f"{median(undisturbed) * 1e3:.1f}" if undisturbed else "–",
        f"{spread(undisturbed):.1%} (n={len(undisturbed)})",
    ]


def _said(reached: bool) -> str:
    return "reached" if reached else "MISSED"


class Layered(nn.Module):
    """Eleven equal layers: removing one takes 1/11 of the work away; eleven are 10 % slower than ten."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(nn.Conv2d(64, 64, 3, padding=1) for _ in range(11)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.layers(x)
        return result


def verdicts(session: Session, current: Configuration, baseline: Configuration) -> list[Verdict]:
    """Each comparison on its own, in one setting."""

    def all_of_them() -> list[Verdict]:
        return [
            compare(session, current, baseline, torch.get_num_threads(), stop=Event()).verdict
            for _ in range(COMPARISONS)
        ]

    return in_setting(Setting(torch.get_num_threads(), session.random_weights), Event(), all_of_them)


def comparisons() -> list[list[str]]:
    session = open_session(Layered(), (1, 64, 56, 56))
    eleven = session.default_configuration()
    same = Configuration(eleven.inputs, (SetAttribute("layers.3", "stride", (1, 1)),))
    ten = Configuration(eleven.inputs, (RemoveLayer("layers.5"),))
    rows = []
    reference = torch_reference(torch.get_num_threads())
    for name, current, baseline, wrong in (
        ("identical", same, eleven, ("faster", "slower")),
        ("10 % slower", eleven, ten, ("faster", "same")),
    ):
        gate = quiet_gate(reference=reference)
        started = time.perf_counter()
        found = verdicts(session, current, baseline)
        seconds = (time.perf_counter() - started) / COMPARISONS
        errors = sum(found.count(verdict) for verdict in wrong)  # type: ignore[arg-type]
        if name == "identical":
            judged = _said(errors <= WRONG_ALLOWED)
        elif gate is not None:
            judged = f"{_said(errors == 0)} (never the wrong way); 48 of 50 not judged: {gate}"
        else:
            judged = _said(errors == 0 and found.count("slower") >= FOUND_NEEDED)
        counts = [str(found.count(verdict)) for verdict in ("faster", "slower", "same", "unclear")]  # type: ignore[arg-type]
        rows.append([name, *counts, f"{seconds:.1f}", judged])
    return rows


def main() -> None:
    print("Measuring beside a load that comes and goes, float32, batch 1, settled tier")
    print(describe())
    rows = [
        ["twenty runs", "ms", "spread", "undisturbed ms", "spread", "flagged", "disturbed flagged", "judged"]
    ]
    for threads in sorted({1, torch.get_num_threads()}):
        rows += under_load("resnet18", threads)
    print(table(rows))
    print(f"\n{COMPARISONS} comparisons each, eleven equal convolutions")
    print(
        table([["states", "faster", "slower", "same", "unclear", "s each", "judged"], *comparisons()]),
    )


if __name__ == "__main__":
    main()
