"""From the slider's valueChanged to cards, tree and visible charts repainted, split into its four parts.

PyTorch models of the zoo, and ONNX files exported from them with open sizes into a temporary folder.
The real window at 1600 × 1000 with a real engine process. Unknown positions: 100 sizes that nothing has computed
before (one pixel apart, snapping off). Known positions: the same sizes once more. Each tick waits for its repaint.
A last pass moves the slider without waiting: a drag that never queues up ends with its last position on the screen.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import torch
import torchvision
from PySide6.QtCore import QEvent, QEventLoop, QObject, QTimer
from PySide6.QtWidgets import QAbstractButton, QAbstractScrollArea, QSlider, QWidget

from benchmarks.machine import describe, table
from engine.protocol import decode_event
from gui.app import Application, Options, make_application
from gui.settings import Settings

UNKNOWN = {
    "resnet50": 50, "mobilenet_v2": 50, "efficientnet_b0": 66, "swin_t": 150, "convnext_large": 150,
    "efficientnet_b7": 150,
}  # fmt: skip
"""Model → p95 in milliseconds that a tick at an unknown position may take."""
ONNX = {"resnet50": 50, "densenet121": 100}
"""The same of ONNX files."""
KNOWN_SMALL, KNOWN_LARGE = 33, 60
"""The same at known positions, up to 300 rows and up to 1,000."""
STEPS = 100
FIRST_SIZE = 201
PARTS = ("engine", "transport", "models", "painting")


class PaintWatch(QObject):
    """Tells when every watched widget has painted since ``arm``."""

    def __init__(self, widgets: list[QWidget]) -> None:
        super().__init__()
        self._widgets = widgets
        self._missing: set[int] = set()
        self.loop: QEventLoop | None = None
        self.done_at = 0.0
        for widget in widgets:
            widget.installEventFilter(self)

    def arm(self) -> None:
        self._missing = {id(widget) for widget in self._widgets}

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Paint and self._missing:
            self._missing.discard(id(watched))
            if not self._missing:
                # The filter runs before the widget paints; back in the event loop all of this pass is painted.
                QTimer.singleShot(0, self._finish)
        return False

    def _finish(self) -> None:
        self.done_at = time.perf_counter()
        if self.loop is not None:
            self.loop.quit()


class Drag:
    """Moves the height slider of an application and takes the times of each tick."""

    def __init__(self, application: Application) -> None:
        self._workspace = application.workspace
        window = application.window
        slider = window.findChild(QSlider, "slider_height")
        assert slider is not None
        self._slider = slider
        views = [
            window.findChild(QAbstractScrollArea, name) for name in ("layer_tree", "barsChart", "curveChart")
        ]
        card = window.findChild(QWidget, "card_headline")
        assert card is not None
        self._watch = PaintWatch([*(view.viewport() for view in views if view is not None), card])
        self._arrived = self._taken = self._engine_s = 0.0
        take = application.engine._on_line

        def timed(line: bytes) -> None:
            if not line.startswith(b'{"type":"analyzed"'):
                take(line)
                return
            self._engine_s = decode_event(line).engine_s  # type: ignore[union-attr]  # not in the times below
            self._arrived = time.perf_counter()
            self._watch.arm()
            take(line)
            self._taken = time.perf_counter()

        application.engine._on_line = timed  # type: ignore[method-assign]

    def tick(self, size: int) -> dict[str, float]:
        """Seconds of one tick by part and in all; decoding counts as ``models``."""
        loop = self._watch.loop = QEventLoop()
        started = time.perf_counter()
        self._slider.setValue(size)
        sent = time.perf_counter()
        QTimer.singleShot(20_000, loop.quit)
        loop.exec()
        done = self._watch.done_at
        return {
            "engine": self._engine_s,
            "transport": self._arrived - sent - self._engine_s,
            "models": self._taken - self._arrived + sent - started,
            "painting": done - self._taken,
            "whole": done - started,
        }

    def flood(self, sizes: list[int]) -> float:
        """Milliseconds from the last of many moves without pause until its size is the one on the screen."""
        loop = QEventLoop()
        queue = list(sizes)
        last_move = 0.0

        def move() -> None:
            nonlocal last_move
            self._slider.setValue(queue.pop(0))
            last_move = time.perf_counter()
            if not queue:
                mover.stop()
                check()

        def check() -> None:
            if not queue and self._workspace.settled:
                loop.quit()

        mover = QTimer(interval=8)  # as fast as a mouse reports
        mover.timeout.connect(move)
        self._workspace.busy_changed.connect(check)
        self._workspace.analysis_changed.connect(check)
        mover.start()
        QTimer.singleShot(60_000, loop.quit)
        loop.exec()
        return 1e3 * (time.perf_counter() - last_move)


def open_model(application: Application, source: str) -> None:
    """Open ``source`` and wait until the window has settled."""
    loop = QEventLoop()
    poll = QTimer(interval=50)
    opened = False

    def check() -> None:
        model = application.workspace.model
        if opened and model is not None and model.source == source and application.workspace.settled:
            loop.quit()

    poll.timeout.connect(check)
    poll.start()
    application.workspace.open_source(source)
    opened = True
    QTimer.singleShot(60_000, loop.quit)
    loop.exec()
    poll.stop()


def p95(values: list[float]) -> float:
    return sorted(values)[int(0.95 * (len(values) - 1))]


def export(name: str, folder: Path) -> Path:
    """A torchvision model as an ONNX file with open batch, height and width; random norms, so that none are merged."""
    path = folder / f"{name}.onnx"
    model = torchvision.models.get_model(name, weights=None).eval()
    for each in model.modules():
        if isinstance(each, torch.nn.BatchNorm2d):
            for tensor in (each.weight, each.bias, each.running_mean, each.running_var):
                assert tensor is not None
                torch.nn.init.uniform_(tensor, 0.5, 1.5)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (torch.zeros(1, 3, 224, 224),),
            str(path),
            dynamo=False,
            input_names=["input"],
            dynamic_axes={"input": {0: "batch", 2: "height", 3: "width"}},
            opset_version=17,
        )
    return path


def measure(application: Application, source: str, name: str, unknown_ms: int) -> list[list[str]]:
    """Rows of the table for one model."""
    open_model(application, source)
    snap = application.window.findChild(QAbstractButton, "snap")
    if snap is not None and snap.isChecked():
        snap.click()
    drag = Drag(application)
    drag.tick(FIRST_SIZE - 1)
    sizes = list(range(FIRST_SIZE, FIRST_SIZE + STEPS))
    unknown = [drag.tick(size) for size in sizes]
    known = [drag.tick(size) for size in reversed(sizes[:-1])]
    queued = drag.flood(list(range(FIRST_SIZE + STEPS + 1, FIRST_SIZE + 2 * STEPS)))
    analysis = application.workspace.analysis
    assert analysis is not None
    count = len(analysis.layers)
    rows = []
    targets = (unknown_ms, KNOWN_SMALL if count <= 300 else KNOWN_LARGE)
    for label, ticks, target in zip(("unknown", "known"), (unknown, known), targets, strict=True):
        whole = [1e3 * tick["whole"] for tick in ticks]
        worst = p95(whole)
        rows.append(
            [
                f"{name} ({count} rows), {label}",
                f"{statistics.median(whole):.1f}",
                f"{worst:.1f}",
                str(target),
            ]
            + ["reached" if worst <= target else "MISSED"]
            + [f"{1e3 * statistics.median([tick[part] for tick in ticks]):.1f}" for part in PARTS]
            + [f"{queued:.0f}" if label == "unknown" else ""]
        )
    return rows


def main() -> None:
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    app = make_application(["misnomer"])
    print(
        "Slider: milliseconds from valueChanged to cards, tree and charts repainted, 1600 × 1000, 100 steps"
    )
    print(describe())
    rows = [["model", "median", "p95", "target", "", *PARTS, "ms behind at the end of a drag"]]
    with tempfile.TemporaryDirectory() as folder:
        models = [(f"torchvision:{name}", name, target) for name, target in UNKNOWN.items()]
        models += [(str(export(name, Path(folder))), f"{name}.onnx", target) for name, target in ONNX.items()]
        for source, name, target in models:
            application = Application(
                app, Settings(str(Path(folder) / f"{name}.ini")), Options(source=source)
            )
            application.window.resize(1600, 1000)
            application.show()
            rows += measure(application, source, name, target)
            application.window.close()
            application.engine.stop()
    print(table(rows))
