"""``make screenshots``: the pictures of the README, taken from the real window.

``python docs/make_screenshots.py latency-light.png --tries 4`` makes one of them, at the best of four moments: what is
measured on a machine that does other things is disturbed, and the picture says so. Nothing in it is ever made up.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from gui.app import Application

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
sys.path.insert(0, str(ROOT))

INCOMPLETE = 100
"""Counts as so many flags: something was not measured before the picture was taken."""
FAILED = 255
KERNELS = 2
"""Page of the panel Measurement."""


class Picture(NamedTuple):
    """What is on it."""

    source: str
    theme: str = "light"
    size: tuple[int, int] = (1600, 1000)
    remove: str = ""
    select: str = ""
    columns: tuple[str, ...] = ()
    """Of the table of layers; none for those there are at first."""
    metrics: tuple[str, ...] = ()
    """Of the breakdown, likewise."""
    threads: int = 1
    """To measure with. Where other programs take a core, two threads wait for each other at every layer."""
    panels: tuple[str, ...] = ()
    """Object names of the panels to bring to the front."""
    page: int = 0
    """Of the panel Measurement."""


_MAXPOOL = Picture("torchvision:resnet50", remove="maxpool", select="layer2.0.conv2:conv2d")
_LATENCY = _MAXPOOL._replace(
    select="layer1.0.conv2:conv2d",
    columns=("headline", "headline.difference", "latency_s", "latency_s.difference"),
    metrics=("latency_s",),
    panels=("dock_live_latency", "dock_measurement"),
)
_ONNX = Picture(
    "resnet50.onnx",
    remove="maxpool",
    select="layer1.0.conv2:Conv",
    columns=("headline", "headline.difference", "latency_s", "latency_s.difference"),
    metrics=("latency_s",),
    panels=("dock_live_latency", "dock_measurement"),
    page=KERNELS,
)
"""A file that :func:`_export` writes."""
PICTURES = {
    "maxpool-light.png": _MAXPOOL,
    "latency-light.png": _LATENCY,
    "latency-dark.png": _LATENCY._replace(theme="dark"),
    "onnx-light.png": _ONNX,
    "onnx-dark.png": _ONNX._replace(theme="dark"),
    "vit.png": Picture("torchvision:vit_b_16", size=(1280, 720)),
    "weights.png": Picture("run-17.pth", size=(1120, 650)),
}
QUESTION = "architecture_dialog"
"""What is asked of the checkpoint that _checkpoint writes, and taken a picture of instead of the window."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PICTURES)}; default: all")
    parser.add_argument("--tries", type=int, default=1, help="take each so often, keep the least disturbed")
    parser.add_argument("--into", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    names = arguments.names or list(PICTURES)
    for name in names:
        if name not in PICTURES:
            parser.error(f"There is no picture {name}.")
    if arguments.into:
        picture = PICTURES[names[0]]
        take = _take_question if picture.source.endswith(".pth") else _take
        return take(picture, arguments.into)
    IMAGES.mkdir(parents=True, exist_ok=True)
    return 0 if all(_best(name, arguments.tries) for name in names) else 1


def _best(name: str, tries: int) -> bool:
    """Keep the least disturbed of some tries, each in a process of its own; False when none worked."""
    fewest = FAILED
    for number in range(1, tries + 1):
        with tempfile.TemporaryDirectory() as folder:
            taken = Path(folder) / name
            command = [sys.executable, str(Path(__file__)), name, "--into", str(taken)]
            flags = subprocess.run(command, cwd=ROOT, check=False).returncode
            sys.stderr.write(f"{name}, try {number}: {'failed' if flags == FAILED else f'{flags} flags'}\n")
            if flags < fewest:
                fewest = flags
                (IMAGES / name).write_bytes(taken.read_bytes())
        if not fewest:
            break
    return fewest < FAILED


def _take(picture: Picture, path: str) -> int:
    """Save the picture; how much there is to say against what was measured, or FAILED."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    from engine.edits import RemoveLayer
    from gui.app import Application, Options, make_application
    from gui.opening import Plan
    from gui.screenshot import Photographer
    from gui.settings import Settings

    app = make_application(["misnomer"])
    with tempfile.TemporaryDirectory() as folder:
        source = picture.source
        if source.endswith(".onnx"):
            source = str(Path(folder) / source)
            _export(Path(source))
        settings = Settings(str(Path(folder) / "settings.ini"))
        settings.set("measuring/threads", picture.threads)
        if picture.columns:
            settings.set_texts("layers/columns", picture.columns)
        if picture.metrics:
            settings.set_texts("breakdown/metrics", picture.metrics)
        plan = Plan(edits=(RemoveLayer(picture.remove),)) if picture.remove else Plan()
        application = Application(app, settings, Options(source, plan=plan, theme=picture.theme))
        application.window.resize(*picture.size)
        photographer = Photographer(application, path, picture.select)
        application.show()
        _raise(application, picture.panels, picture.page)
        app.exec()
        flags = _flags(application)
        application.window.close()
        application.latency_engine.stop()
        application.engine.stop()
    if photographer.error:
        sys.stderr.write(f"{photographer.error}\n")
        return FAILED
    return flags


def _export(path: Path) -> None:
    """A ResNet-50 with open height and width, as torch exports it; in a process that may import torch."""
    program = """
import sys, torch, torchvision
model = torchvision.models.resnet50().eval()
axes = {"input": {0: "batch", 2: "height", 3: "width"}}
torch.onnx.export(
    model, (torch.zeros(1, 3, 224, 224),), sys.argv[1],
    dynamo=False, opset_version=17, input_names=["input"], dynamic_axes=axes,
)
"""
    # It prints, and warns of what it means to do one day.
    subprocess.run([sys.executable, "-c", program, str(path)], check=True, capture_output=True)


def _checkpoint(path: Path) -> None:
    """A training checkpoint of a ResNet-18 for ten classes; made in a process that may import torch."""
    program = """
import sys, torch, torchvision
model = torch.nn.DataParallel(torchvision.models.resnet18(num_classes=10))
average = {f"module.{name}": value for name, value in model.module.state_dict().items()}
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
state = {"epoch": 17, "model": model.state_dict(), "ema": average, "optimizer": optimizer.state_dict()}
torch.save(state, sys.argv[1])
"""
    subprocess.run([sys.executable, "-c", program, str(path)], check=True)


def _take_question(picture: Picture, path: str) -> int:
    """Save what the window asks of weights alone; 0, or FAILED."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    from PySide6.QtCore import QTimer
    from PySide6.QtWidgets import QWidget

    from gui.app import Application, Options, make_application
    from gui.settings import Settings

    app = make_application(["misnomer"])
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / picture.source
        _checkpoint(weights)
        settings = Settings(str(Path(folder) / "settings.ini"))
        application = Application(app, settings, Options(str(weights), theme=picture.theme))
        saved = []

        def save() -> None:
            dialog = application.window.findChild(QWidget, QUESTION)
            if dialog is not None:
                dialog.resize(*picture.size)
                saved.append(dialog.grab().save(path))
            app.quit()

        application.workspace.architecture_required.connect(lambda *asked: QTimer.singleShot(1000, save))
        application.workspace.open_failed.connect(lambda *failed: app.quit())
        application.show()
        app.exec()
        application.window.close()
        application.latency_engine.stop()
        application.engine.stop()
    return 0 if any(saved) else FAILED


def _raise(application: Application, panels: tuple[str, ...], page: int) -> None:
    """Bring these panels to the front, and this page of Measurement, whatever selecting a layer brings there."""
    from PySide6.QtWidgets import QDockWidget

    def to_front() -> None:
        for name in panels:
            dock = application.window.area.findChild(QDockWidget, name)
            assert isinstance(dock, QDockWidget), name
            dock.raise_()
        if page:
            application.window.measurement.show_page(page)

    to_front()
    application.selection.current_changed.connect(to_front)


def _flags(application: Application) -> int:
    analysis = application.workspace.analysis
    latency = analysis.latency if analysis is not None else None
    if latency is None or not application.measuring.settled:
        return INCOMPLETE
    parts = (latency.measurement, latency.layers, latency.comparison)
    return min(sum(len(part.flags) for part in parts if part is not None), INCOMPLETE)


if __name__ == "__main__":
    sys.exit(main())
