"""ONNX files against onnx-tool: the same MACs, node by node, its convention taken apart; and the time it takes.

onnx-tool's "MACs" are multiply–accumulates of convolutions and products, plus one for every bias added, plus every
other operation at a price of its own (an exponential 32, a division 4). So its number for a convolution or product less
its bias has to be ours, as an integer; what it counts elsewhere is listed by operator. A file that it cannot read is
said in its words.

Times are CPU times, from file to numbers and of a new size once the file is open; imports are excluded. Alternating,
medians.
"""

from __future__ import annotations

import contextlib
import io
import logging
import statistics
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import onnx
import onnx_tool
import torch
import torchvision

from benchmarks.machine import describe, table
from engine.configuration import Configuration
from engine.graph import InputShape
from engine.loaders.options import LoadOptions
from engine.onnx.session import OnnxSession
from engine.opening import open_model

EXPORTED = (
    "resnet18",
    "resnet50",
    "mobilenet_v2",
    "efficientnet_b0",
    "regnet_x_400mf",
    "convnext_tiny",
    "vit_b_16",
)
OPEN_SIZES = tuple(name for name in EXPORTED if not name.startswith("vit"))
"""Exported with open height and width; positions of a ViT, and the classifiers of the light models, fix theirs."""
ROUNDS = 3
SIZES = (192, 256, 160)
PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


class Counted(NamedTuple):
    """One file by both."""

    ours: int
    theirs: int
    bias: int
    """In theirs: one per output element of a product with a bias."""
    others: Counter[str]
    """In theirs: operators that multiply and accumulate nothing."""
    differences: tuple[str, ...]
    """Products whose MACs differ."""

    @property
    def rest(self) -> int:
        """Of theirs, what nothing explains."""
        return self.theirs - self.ours - self.bias - sum(self.others.values())


def profiled(path: Path, shapes: dict[str, tuple[int, ...]] | None = None) -> Any:
    """onnx-tool's graph, counted. Raises whatever it raises."""
    graph = onnx_tool.loadmodel(str(path), {"verbose": False}).graph
    graph.graph_reorder_nodes()
    return counted_again(graph, shapes)


def counted_again(graph: Any, shapes: dict[str, tuple[int, ...]] | None) -> Any:
    given = {name: numpy.zeros(shape, numpy.float32) for name, shape in (shapes or {}).items()}
    graph.shape_infer(given or None)
    graph.profile()
    return graph


def compared(path: Path, model: OnnxSession, shapes: dict[str, tuple[int, ...]]) -> Counted:
    """Node by node, by the nodes' names."""
    graph = profiled(path, shapes)
    analysis = model.analyze(model.default_configuration())
    nodes = dict(zip(analysis.modules.path, analysis.modules.node, strict=True))
    rows = zip(analysis.layers.path, analysis.layers.macs, strict=True)
    ours = {nodes[layer]: macs or 0 for layer, macs in rows}
    bias, theirs, others, differences = 0, 0, Counter[str](), []
    for name, node in graph.nodemap.items():
        macs = int(node.macs[0])
        theirs += macs
        if node.op_type not in PRODUCTS:
            others[node.op_type] += macs
            if ours.get(name):
                differences.append(f"{node.op_type} {name}: ours {ours[name]:,}")
            continue
        added = 0
        if len(node.input) == 3:
            added = int(numpy.prod(graph.tensormap[node.output[0]].get_shape()))
        bias += added
        if macs - added != ours.get(name, 0):
            differences.append(
                f"{node.op_type} {name}: ours {ours.get(name, 0):,}, theirs {macs - added:,} without bias"
            )
    return Counted(analysis.totals.macs, theirs, bias, +others, tuple(differences))


def files(folder: Path) -> Iterator[Path]:
    """ONNX's own light models, then exported ones with open height and width."""
    yield from sorted((Path(onnx.__file__).parent / "backend/test/data/light").glob("*.onnx"))
    # Its fused attention cannot be exported.
    torch.backends.mha.set_fastpath_enabled(False)
    for name in EXPORTED:
        module = torchvision.models.get_model(name, weights=None).eval()
        path = folder / f"{name}.onnx"
        axes = {"input": {2: "height", 3: "width"}} if name in OPEN_SIZES else {}
        with contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
            torch.onnx.export(
                module, (torch.zeros(1, 3, 224, 224),), str(path), dynamo=False,
                input_names=["input"], opset_version=17, dynamic_axes=axes,
            )  # fmt: skip
        yield path


def opened(path: Path) -> OnnxSession:
    model = open_model(str(path), LoadOptions())
    assert isinstance(model, OnnxSession)
    return model


def seconds(run: Callable[[], object]) -> float:
    """CPU time: both work in one thread, and other programs take none of it."""
    started = time.process_time()
    run()
    return time.process_time() - started


class Times(NamedTuple):
    """Medians, in seconds."""

    ours: float
    theirs: float

    @property
    def words(self) -> str:
        return f"{1e3 * self.ours:.1f} / {1e3 * self.theirs:.1f} ms ({self.theirs / self.ours:.1f} ×)"


def opening(path: Path, shapes: dict[str, tuple[int, ...]]) -> Times:
    """From file to numbers."""
    pairs = []
    for _ in range(ROUNDS):
        ours = seconds(lambda: _analysed(opened(path)))
        pairs.append((ours, seconds(lambda: profiled(path, shapes))))
    return Times(*(statistics.median(column) for column in zip(*pairs, strict=True)))


def _analysed(model: OnnxSession) -> None:
    model.analyze(model.default_configuration())


def resizing(path: Path, model: OnnxSession, name: str) -> Times:
    """A size not seen before, with the file open."""
    graph = profiled(path, {name: (1, 3, 224, 224)})
    _analysed(model)
    pairs = []
    for size in SIZES:
        shape = (1, 3, size, size)
        configuration = Configuration((InputShape(name, shape),))
        ours = seconds(lambda configuration=configuration: model.analyze(configuration))
        theirs = seconds(lambda shape=shape: counted_again(graph, {name: shape}))
        pairs.append((ours, theirs))
    return Times(*(statistics.median(column) for column in zip(*pairs, strict=True)))


def _verdict(counted: Counted) -> str:
    if not counted.differences and not counted.rest:
        return "equal"
    return f"DIFFERENT in {len(counted.differences)} nodes"


def main() -> None:
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    print(f"ONNX files against onnx-tool {onnx_tool.utils.VERSION}: MACs, and milliseconds ours / theirs")
    print(describe())
    rows = [
        [
            "model",
            "MACs",
            "theirs",
            "of it bias",
            "of it other operators",
            "products",
            "from file",
            "new size",
        ]
    ]
    notes: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for path in files(Path(folder)):
            row, more = _row(path)
            rows.append(row)
            notes += more
            print(" · ".join(row), flush=True)
    print(table(rows))
    print("\n".join(notes))


def _row(path: Path) -> tuple[list[str], list[str]]:
    name, model = path.stem, opened(path)
    shapes = {spec.name: spec.default.shape for spec in model.specs}
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            counted = compared(path, model, shapes)
            opening_times = opening(path, shapes)
            again = resizing(path, model, model.specs[0].name) if path.stem in OPEN_SIZES else None
    except (Exception, SystemExit) as error:
        _analysed(model)
        words = f"{name}: onnx-tool stops: {type(error).__name__}: {error}"
        return [name, f"{model.analyze(model.default_configuration()).totals.macs:,}", "stops", *[""] * 5], [
            words
        ]
    others = ", ".join(f"{op} {macs:,}" for op, macs in counted.others.most_common())
    notes = [f"{name}: theirs − ours = bias {counted.bias:,}" + (f" + {others}" if others else "")]
    notes += [f"  {difference}" for difference in counted.differences[:8]]
    return [
        name,
        f"{counted.ours:,}",
        f"{counted.theirs:,}",
        f"{counted.bias:,}",
        f"{sum(counted.others.values()):,}",
        _verdict(counted),
        opening_times.words,
        again.words if again is not None else "fixed",
    ], notes
