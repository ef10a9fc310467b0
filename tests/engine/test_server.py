"""The engine as a real process: protocol, chatter, latest wins, cancel, prefetch, death."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engine import protocol
from engine.configuration import Configuration
from engine.edits import RemoveLayer
from engine.graph import InputShape
from engine.protocol import (
    Analyze,
    Analyzed,
    Cancel,
    Event,
    Failed,
    Hello,
    ListZoo,
    Open,
    Opened,
    Point,
    Prefetch,
    Progress,
    Ready,
    Request,
    Saved,
    SaveModel,
    ZooListing,
)

ROOT = Path(__file__).parents[2]
E = TypeVar("E", bound=Event)


class Engine:
    """A started engine process and its pipes."""

    def __init__(self, first_on_path: Path | None = None) -> None:
        start = ["-m", "engine", "serve"]
        if first_on_path is not None:
            start = [
                "-c",
                f"import sys; sys.path[:0] = [{str(first_on_path)!r}]; import engine.server as s; s.main()",
            ]
        self.process = subprocess.Popen(
            [sys.executable, *start],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def send(self, *requests: Request) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"".join(map(protocol.encode, requests)))
        self.process.stdin.flush()

    def raw(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def read(self) -> Event:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the engine closed its output"
        return protocol.decode_event(line)

    def until(self, kind: type[E], wanted: Callable[[E], bool] = lambda event: True) -> E:
        while True:
            event = self.read()
            if isinstance(event, kind) and wanted(event):
                return event

    def close(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(20)


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.process.kill()
    engine.process.wait()


@pytest.fixture(scope="module")
def started() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.process.kill()
    engine.process.wait()


@pytest.fixture
def warm(started: Engine) -> Engine:
    """One process for several tests, ready, with every earlier request answered."""
    started.send(ListZoo(1000))
    started.until(ZooListing)
    return started


def at(*shape: int, **more: object) -> Configuration:
    return Configuration((InputShape("x", shape),), **more)  # type: ignore[arg-type]


def test_a_whole_conversation(engine: Engine) -> None:
    hello = engine.read()
    assert isinstance(hello, Hello)
    assert hello.version == protocol.PROTOCOL_VERSION
    assert hello.pid == engine.process.pid
    ready = engine.until(Ready)
    assert ready.versions["torch"].startswith("2.")
    engine.send(Open(1, "torchvision:resnet50"))
    opened = engine.until(Opened)
    assert opened.model.class_name == "ResNet"
    assert [dim.symbol for dim in opened.inputs[0].dims] == ["batch", None, "height", "width"]
    engine.send(Analyze(2, at(1, 3, 224, 224)))
    assert engine.until(Analyzed).analysis.totals.macs == 4_089_184_256
    engine.send(Analyze(3, at(1, 3, 224, 224, edits=(RemoveLayer("maxpool"),))))
    removed = engine.until(Analyzed)
    assert removed.id == 3
    assert removed.analysis.totals.macs == 15_996_551_168
    assert removed.engine_s > 0
    engine.send(Analyze(4, at(1, 3, 224, 224)))
    assert engine.until(Analyzed).engine_s == 0, "a known configuration is kept"
    engine.send(Analyze(5, at(1, 3, 224, 224, edits=(RemoveLayer("layer2"),))))
    failed = engine.until(Failed)
    assert failed.error.kind == "layer"
    assert failed.error.layer == "layer3.0.conv1"
    assert failed.partial is not None
    engine.send(ListZoo(6))
    zoo = engine.until(ZooListing)
    assert len([entry for entry in zoo.entries if entry.source.startswith("torchvision:")]) == 121
    assert engine.close() == 0


def test_messages_that_are_no_requests(engine: Engine) -> None:
    engine.until(Ready)
    for line in (
        b"\n",
        b"hello\n",
        b"{}\n",
        b'{"type":"fly","id":1}\n',
        b'{"type":"open","id":"x"}\n',
        b"[" * 5000 + b"\n",
    ):
        engine.raw(line)
    for _ in range(5):
        failed = engine.until(Failed)
        assert failed.error.kind == "input"
        assert failed.error.message.startswith("Not a request")
    engine.send(Analyze(1, at(1, 3, 8, 8)))
    assert engine.until(Failed).error.message == "No model is open."


def test_the_newest_of_waiting_analyses_wins(warm: Engine) -> None:
    warm.send(Open(1, "torchvision:swin_t"), *(Analyze(n, at(1, 3, 192 + 32 * n, 224)) for n in range(2, 8)))
    answers: dict[int, Event] = {}
    while 7 not in answers:
        event = warm.read()
        if isinstance(event, (Failed, Analyzed)):
            answers[event.id] = event
    cancelled = [id for id, event in answers.items() if isinstance(event, Failed)]
    assert all(answers[id].error.kind == "cancelled" for id in cancelled)  # type: ignore[union-attr]
    assert sorted(answers) == list(range(2, 8)), "every request is answered"
    assert len(cancelled) >= 4
    last = answers[7]
    assert isinstance(last, Analyzed)
    assert last.analysis.configuration.inputs[0].shape[2] == 192 + 32 * 7


def test_prefetching_yields_to_requests_and_goes_on(warm: Engine) -> None:
    warm.send(Open(1, "torchvision:mobilenet_v2"))
    sizes = list(range(64, 384, 32))
    warm.send(Prefetch(2, tuple(at(1, 3, size, size) for size in sizes)))
    first = warm.until(Point)
    warm.send(Analyze(3, at(1, 3, 400, 400)))
    points = [first]
    answered = False
    while len(points) < len(sizes) or not answered:
        event = warm.read()
        if isinstance(event, Point):
            points.append(event)
        answered = answered or isinstance(event, Analyzed)
    assert [point.configuration.inputs[0].shape[2] for point in points] == sizes
    assert all(point.totals is not None for point in points)
    warm.send(Analyze(4, at(1, 3, 64, 64)))
    assert warm.until(Analyzed).engine_s == 0


def test_prefetched_refusals_say_why(warm: Engine) -> None:
    warm.send(Open(1, "torchvision:vit_b_32"), Prefetch(2, (at(1, 3, 256, 256), at(1, 3, 224, 224))))
    refused = warm.until(Point)
    assert refused.error is not None
    assert "Expected 224 but got 256" in refused.error.message
    assert warm.until(Point).totals is not None


SLOW = """
    import sys, os
    import torch
    from torch import nn
    print("chatter on stdout")
    os.write(1, b"chatter on descriptor 1\\n")
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)
        def forward(self, x):
            print("more chatter")
            for _ in range(1_000_000):
                x = self.fc(x)
            return x
    def build():
        return Net()
"""


def test_progress_cancel_and_chatter(warm: Engine, tmp_path: Path) -> None:
    file = tmp_path / "slow.py"
    file.write_text(textwrap.dedent(SLOW), encoding="utf-8")
    warm.send(Open(1, f"{file}:build"))
    asked = warm.until(Failed)
    assert asked.error.kind == "consent"
    warm.send(Open(2, f"{file}:build", trust=True, digest=asked.error.digest))
    assert warm.until(Opened).watch == str(file)
    warm.send(Analyze(3, at(1, 4)))
    progress = warm.until(Progress, lambda event: event.id == 3)
    assert "Tracing Net" in progress.what
    warm.send(Cancel(3))
    failed = warm.until(Failed)
    assert (failed.id, failed.error.kind) == (3, "cancelled")
    warm.send(Analyze(4, at(2, 4)), Open(5, "torchvision:alexnet"))
    answers = [warm.until(Failed), warm.until(Opened)]
    assert answers[0].error.kind == "cancelled"  # type: ignore[union-attr]


def test_an_onnx_model_is_saved_with_its_edits(warm: Engine, tmp_path: Path) -> None:
    graph = helper.make_graph(
        [
            helper.make_node("Relu", ["x"], ["a"], "relu"),
            helper.make_node("MatMul", ["a", "w"], ["y"], "product"),
        ],
        "made",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 8))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 4))],
        [numpy_helper.from_array(numpy.ones((8, 4), numpy.float32), "w")],
    )
    opened, saved = tmp_path / "net.onnx", tmp_path / "saved.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), opened)
    edited = Configuration((InputShape("x", (1, 8)),), (RemoveLayer("relu"),))
    warm.send(Open(1, str(opened)), SaveModel(2, edited, str(opened)), SaveModel(3, edited, str(saved)))
    assert warm.until(Opened).model.format == "onnx"
    refused = warm.until(Failed)
    assert refused.id == 2 and "belongs to the model that is open" in refused.error.message
    assert warm.until(Progress).what == "Writing saved.onnx"
    assert warm.until(Saved) == Saved(3, str(saved), "")
    assert [node.op_type for node in onnx.load(saved).graph.node] == ["MatMul"]
    # What is no ONNX file is saved by its own code, with the edits as Python.
    warm.send(Open(4, "torchvision:alexnet"), SaveModel(5, at(1, 3, 224, 224), str(tmp_path / "a.onnx")))
    failed = warm.until(Failed)
    assert failed.id == 5 and failed.error.message == (
        "alexnet cannot be saved as a model: only ONNX files can."
    )


def test_the_process_ends_with_its_input(engine: Engine) -> None:
    engine.send(Open(1, "torchvision:resnet18"), Analyze(2, at(1, 3, 224, 224)))
    engine.until(Opened)
    assert engine.close() == 0


def test_a_torchvision_that_does_not_fit_is_told_in_a_sentence(tmp_path: Path) -> None:
    """A CPU torch beside the registry's torchvision fails at import with a RuntimeError."""
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    engine = Engine(first_on_path=tmp_path)
    try:
        engine.send(Open(1, "torchvision:resnet18"))
        failed = engine.until(Failed)
        assert failed.error.kind == "load"
        assert (
            "torchvision cannot be imported: operator torchvision::nms does not exist" in failed.error.message
        )
        assert "matching versions" in failed.error.hint
        assert engine.close() == 0
    finally:
        engine.process.kill()
        engine.process.wait()
