"""A transformer of 7 × 10⁹ parameters as ``file.py:callable``: time to its analysis, engine memory, slider ticks."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import psutil

from benchmarks.machine import describe
from engine import protocol
from engine.configuration import Configuration
from engine.graph import InputShape
from engine.protocol import Analyze, Analyzed, Event, Failed, Open, Opened

ROOT = Path(__file__).parents[1]

MODEL = """
    import torch
    from torch import nn
    import torch.nn.functional as F

    class Block(nn.Module):
        def __init__(self, width, heads, hidden):
            super().__init__()
            self.heads = heads
            self.norm1, self.norm2 = nn.RMSNorm(width), nn.RMSNorm(width)
            self.q, self.k, self.v, self.o = (nn.Linear(width, width, bias=False) for _ in range(4))
            self.gate, self.up = nn.Linear(width, hidden, bias=False), nn.Linear(width, hidden, bias=False)
            self.down = nn.Linear(hidden, width, bias=False)

        def forward(self, x):
            y = self.norm1(x)
            q, k, v = (f(y).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.q, self.k, self.v))
            x = x + self.o(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
            y = self.norm2(x)
            return x + self.down(F.silu(self.gate(y)) * self.up(y))

    class Model(nn.Module):
        def __init__(self, width=4096, layers=32, heads=32, hidden=11008, vocabulary=32000):
            super().__init__()
            self.embedding = nn.Embedding(vocabulary, width)
            self.blocks = nn.ModuleList(Block(width, heads, hidden) for _ in range(layers))
            self.norm = nn.RMSNorm(width)
            self.head = nn.Linear(width, vocabulary, bias=False)

        def forward(self, tokens):
            x = self.embedding(tokens)
            for block in self.blocks:
                x = block(x)
            return self.head(self.norm(x))

    def build():
        return Model().half(), (torch.zeros(1, 2048, dtype=torch.long),)
"""


def main() -> None:
    print("A transformer of 6.7 × 10⁹ parameters, from a Python file")
    print(describe())
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "large.py"
        file.write_text(textwrap.dedent(MODEL), encoding="utf-8")
        started = time.perf_counter()
        engine = subprocess.Popen(
            [sys.executable, "-m", "engine", "serve"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            _send(engine, Open(1, f"{file}:build", trust=True))
            _until(engine, Opened)
            _send(engine, _request(2, 2048))
            first = _until(engine, Analyzed)
            assert isinstance(first, Analyzed)
            whole = time.perf_counter() - started
            totals = first.analysis.totals
            print(f"{totals.params:,} parameters, {totals.macs:,} MACs at 2,048 tokens, "
                  f"peak {totals.peak_activation_bytes / 2**20:,.0f} MiB, "
                  f"{len(first.analysis.layers)} rows")  # fmt: skip
            print(f"from start to the first analysis, torch's import included: {whole:.1f} s (target 15)")
            ticks = []
            for number, size in enumerate(range(32, 32 + 32 * 40, 32), 3):
                began = time.perf_counter()
                _send(engine, _request(number, size))
                _until(engine, Analyzed)
                ticks.append(time.perf_counter() - began)
            ticks.sort()
            print(f"slider tick, engine and transport: median {1e3 * statistics.median(ticks):.0f} ms, "
                  f"p95 {1e3 * ticks[int(0.95 * len(ticks))]:.0f} ms (target 500)")  # fmt: skip
            memory = psutil.Process(engine.pid).memory_info().rss
            print(f"engine memory: {memory / 2**30:.2f} GiB (target 2)")
        finally:
            engine.kill()
            engine.wait()


def _request(number: int, tokens: int) -> Analyze:
    return Analyze(number, Configuration((InputShape("tokens", (1, tokens), "int64"),)))


def _send(engine: subprocess.Popen[bytes], message: Open | Analyze) -> None:
    assert engine.stdin is not None
    engine.stdin.write(protocol.encode(message))
    engine.stdin.flush()


def _until(engine: subprocess.Popen[bytes], kind: type[Event]) -> Event:
    assert engine.stdout is not None
    while True:
        event = protocol.decode_event(engine.stdout.readline())
        if isinstance(event, Failed):
            raise SystemExit(event.error.sentence)
        if isinstance(event, kind):
            return event
