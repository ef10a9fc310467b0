"""Starting: what the window's process imports, the command line, and how it ends."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

import main
from gui.app import CrashReporter, start_logging
from gui.views.text_dialog import TextDialog
from tests.conftest import sampled
from tests.gui.test_latency_engine import gone

ROOT = Path(main.__file__).parent
START_S = 120


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=START_S, cwd=ROOT, check=False
    )


def test_the_window_imports_no_framework() -> None:
    code = (
        "import sys, gui.app, gui.screenshot\n"
        "found = {name.partition('.')[0] for name in sys.modules} & {'torch', 'torchvision', 'onnx', 'onnxruntime'}\n"
        "sys.exit(', '.join(sorted(found)) or 0)"
    )
    done = run("-c", code)
    assert done.returncode == 0, done.stderr


def test_main_imports_neither_qt_nor_torch() -> None:
    code = "import sys, main\nsys.exit(any(name.startswith(('PySide6', 'torch')) for name in sys.modules))"
    assert run("-c", code).returncode == 0


def test_screenshot_of_the_settled_window(tmp_path: Path) -> None:
    path = tmp_path / "window.png"
    done = run(
        "main.py", "screenshot", "torchvision:alexnet", "-o", str(path), "--size", "1280x800", "--theme", "dark",
        "--input", "1x3x256x256", "--select", "features",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    picture = QImage(str(path))
    assert (picture.width(), picture.height()) == (1280, 800)
    assert picture.pixelColor(5, 400).lightness() < 60


WINDOW = """
import sys
from gui.app import Application, Options, make_application
from gui.settings import Settings
app = make_application(["misnomer"])
application = Application(app, Settings(sys.argv[1]), Options("torchvision:alexnet"))
def ready(event):
    with open(sys.argv[3], "w") as file:
        file.write(f"{application.engine.pid}\\n")
    if sys.argv[2] == "close":
        application.window.close()
application.engine.ready.connect(ready)
application.show()
sys.exit(app.exec())
"""


def has_line(path: Path) -> bool:
    return path.exists() and path.read_text().endswith("\n")


@pytest.mark.parametrize("end", ["close", "kill"])
def test_no_engine_outlives_its_window(tmp_path: Path, end: str, qtbot: QtBot) -> None:
    told = tmp_path / "engine"
    arguments = [sys.executable, "-c", WINDOW, str(tmp_path / "settings.ini"), end, str(told)]
    with subprocess.Popen(arguments, cwd=ROOT) as window:
        try:
            qtbot.waitUntil(lambda: has_line(told) or window.poll() is not None, timeout=START_S * 1000)
            engine = int(told.read_text())
            if end == "kill":
                window.kill()
            status = window.wait(START_S)
        finally:
            window.kill()
    assert status == (0 if end == "close" else -9)
    qtbot.waitUntil(lambda: gone(engine), timeout=START_S * 1000)


KNOWN_AT_ONCE = [
    (("torchvision:alexnet", "--size", "huge"), "--size"),
    (("torchvision:alexnet", "--set", "conv1"), "LAYER.FIELD=VALUE"),
]
KNOWN_TO_THE_ENGINE = [
    (("torchvision:resnet999",), "resnet999"),
    (("torchvision:alexnet", "--remove", "no_such_layer"), "no_such_layer"),
    (("torchvision:alexnet", "--input", "y=1x3x64x64"), "'y'"),
]


@pytest.mark.parametrize(
    ("arguments", "words"), [*KNOWN_AT_ONCE, *sampled(KNOWN_TO_THE_ENGINE, 1, "bad requests")]
)
def test_a_bad_request_is_one_sentence_and_status_2(
    tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    done = run("main.py", "screenshot", *arguments, "-o", str(tmp_path / "x.png"))
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "x.png").exists()


@pytest.mark.expects_log
def test_an_unhandled_exception_is_shown_and_logged(
    qapp: QApplication, qtbot: QtBot, caplog: pytest.LogCaptureFixture
) -> None:
    reporter = CrashReporter(qapp)
    try:
        raise ValueError("from a slot")
    except ValueError as error:
        with caplog.at_level(logging.CRITICAL), qtbot.waitSignal(reporter.raised):
            reporter._hook(ValueError, error, error.__traceback__)
    dialogs = [each for each in qapp.topLevelWidgets() if isinstance(each, TextDialog) and each.isVisible()]
    assert "ValueError: from a slot" in dialogs[0].text.toPlainText()
    assert "Unhandled exception" in caplog.text
    dialogs[0].close()


def test_logging_survives_a_folder_that_cannot_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configured: list[int] = []
    monkeypatch.setattr(logging, "basicConfig", lambda **options: configured.append(len(options["handlers"])))
    (tmp_path / "file").write_text("")
    start_logging(tmp_path / "file" / "folder")
    start_logging(tmp_path / "fine")
    assert configured == [1, 2]
