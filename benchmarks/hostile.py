"""What a hostile file costs the engine that opens it: seconds, CPU seconds and memory, for every case of the tests."""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmarks.machine import describe
from tests.engine.test_files_hostile import BOMBS
from tests.engine.test_hostile_opening import HOSTILE, MAX_BYTES, MAX_S, Engine, Maker, file

SAMPLE_EVERY_S = 0.005
SHOWN = 8


class Cost(NamedTuple):
    seconds: float
    cpu_s: float
    bytes: int
    """The most that the engine's resident memory grew by meanwhile."""


def cost_of(engine: Engine, make: Maker) -> Cost:
    process = psutil.Process(engine.process.pid)
    done = threading.Event()
    before = process.memory_info().rss
    peak = [before]

    def watch() -> None:
        while not done.wait(SAMPLE_EVERY_S):
            peak[0] = max(peak[0], process.memory_info().rss)

    with tempfile.TemporaryDirectory() as folder:
        source = str(Path(folder) / make(Path(folder)))
        watcher = threading.Thread(target=watch)
        watcher.start()
        cpu_s, started = sum(process.cpu_times()[:2]), time.perf_counter()
        engine.open(source)
        seconds = time.perf_counter() - started
        done.set()
        watcher.join()
    return Cost(seconds, sum(process.cpu_times()[:2]) - cpu_s, peak[0] - before)


def main() -> None:
    print(describe())
    cases = {**HOSTILE, **{f"bomb: {name}": file("net.pt", data) for name, data in BOMBS.items()}}
    with tempfile.TemporaryDirectory() as folder:
        engine = Engine(Path(folder))
        costs = {name: cost_of(engine, make) for name, make in cases.items()}
        engine.process.kill()
        engine.process.wait()
    slow = sum(cost.seconds > MAX_S for cost in costs.values())
    large = sum(cost.bytes > MAX_BYTES for cost in costs.values())
    print(
        f"{len(costs)} hostile files: {slow} took more than {MAX_S:g} s, {large} more than 1 GB. The slowest:"
    )
    for name, cost in sorted(costs.items(), key=lambda each: -each[1].seconds)[:SHOWN]:
        print(f"  {name:40} {cost.seconds:5.2f} s  {cost.cpu_s:5.2f} s CPU  {cost.bytes / 2**20:6.0f} MiB")
