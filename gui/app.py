"""Creates everything and connects it: the only module that knows everyone."""

from __future__ import annotations

import logging
import logging.handlers
import sys
import threading
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from PySide6.QtCore import (
    QMessageLogContext,
    QObject,
    QStandardPaths,
    QTimer,
    QtMsgType,
    Signal,
    qInstallMessageHandler,
)
from PySide6.QtWidgets import QApplication

from gui.engine_client import NETWORK, EngineClient
from gui.latency_engine import LatencyEngine
from gui.main_window import MainWindow
from gui.measuring import Measuring
from gui.opening import Plan
from gui.selection import Selection
from gui.settings import Settings
from gui.theme import ThemeManager
from gui.views.text_dialog import TextDialog
from gui.workspace import Workspace

log = logging.getLogger(__name__)
qt_log = logging.getLogger("qt")

DEFAULT_SOURCE = "torchvision:resnet50"
LOG_BYTES = 1 << 20


@dataclass(frozen=True)
class Options:
    """What a start of the window can be told."""

    source: str = DEFAULT_SOURCE
    trust: bool = False
    plan: Plan = field(default_factory=Plan)
    python: str = ""
    theme: str = ""
    """``light``, ``dark`` or ``system`` for this run; empty for what the settings say."""


class Application:
    """The objects of one window and their owners."""

    def __init__(self, app: QApplication, settings: Settings, options: Options) -> None:
        self.app = app
        self.settings = settings
        self.options = options
        self.theme = ThemeManager(app, options.theme or settings.theme)
        self.engine = EngineClient(options.python or settings.python)
        self.workspace = Workspace(self.engine, settings)
        self.latency_engine = LatencyEngine(self.engine.python)
        if settings.allow_network:
            self.engine.set_variable(NETWORK, "1")
            self.latency_engine.set_variable(NETWORK, "1")
        self.measuring = Measuring(self.workspace, self.latency_engine, settings)
        self.selection = Selection()
        self.window = MainWindow(self.workspace, self.measuring, self.selection, self.theme, settings)
        app.aboutToQuit.connect(self.engine.stop)
        app.aboutToQuit.connect(self.latency_engine.stop)

    def show(self) -> None:
        """Put the window on the screen first, then start the engine and open the source."""
        self.window.show()
        self.window.layers.setFocus()
        QTimer.singleShot(0, self.begin)

    def begin(self) -> None:
        self.engine.start()
        source = self.options.source
        if source.endswith(".py"):
            self.window.open_any(source)
        else:
            self.workspace.open_source(source, self.options.trust, plan=self.options.plan)


class CrashReporter(QObject):
    """Shows exceptions nobody handled; Qt would print a slot's exception and carry on."""

    raised = Signal(str, str)
    """(sentence, traceback); a signal, so that other threads can raise too."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._dialog: TextDialog | None = None
        self.raised.connect(self._show)

    def install(self) -> None:
        sys.excepthook = self._hook
        threading.excepthook = self._thread_hook

    def _hook(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            QApplication.quit()
            return
        text = "".join(traceback.format_exception(kind, error, trace))
        log.critical("Unhandled exception\n%s", text)
        self.raised.emit(f"Internal error: {kind.__name__}: {error}", text)

    def _thread_hook(self, arguments: threading.ExceptHookArgs) -> None:
        if arguments.exc_value is not None:
            self._hook(arguments.exc_type, arguments.exc_value, arguments.exc_traceback)

    def _show(self, sentence: str, text: str) -> None:
        parent = QApplication.activeWindow()
        self._dialog = TextDialog("Internal error", f"{sentence} The window goes on.", text, parent)
        self._dialog.open()


def make_application(arguments: list[str] | None = None) -> QApplication:
    """The QApplication with the names that settings and log folders are made from."""
    qInstallMessageHandler(_on_qt_message)
    app = QApplication(arguments if arguments is not None else sys.argv[:1])
    app.setApplicationName("misnomer")
    app.setApplicationDisplayName("Misnomer")
    app.setDesktopFileName("misnomer")
    return app


def start_logging(folder: Path | None = None) -> None:
    """Log to stderr and to a rotating file in the application's data folder (or ``folder``)."""
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    place = folder or Path(
        QStandardPaths.writableLocation(QStandardPaths.StandardLocation.AppLocalDataLocation)
    )
    try:
        place.mkdir(parents=True, exist_ok=True)
        handlers.append(
            logging.handlers.RotatingFileHandler(
                place / "misnomer.log", maxBytes=LOG_BYTES, backupCount=2, encoding="utf-8", delay=True
            )
        )
    except OSError:
        pass  # a read-only home must not keep the window from opening
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", handlers=handlers
    )
    handlers[0].setLevel(logging.WARNING)


def _on_qt_message(kind: QtMsgType, context: QMessageLogContext, message: str) -> None:
    """Qt's own messages into the log."""
    levels = {QtMsgType.QtCriticalMsg: logging.ERROR, QtMsgType.QtWarningMsg: logging.WARNING}
    quiet = "propagateSizeHints" in message  # the offscreen platform says so for every window
    qt_log.log(logging.DEBUG if quiet else levels.get(kind, logging.INFO), "%s", message)


def run(options: Options | None = None) -> int:
    """Show the window until it is closed; the exit status."""
    app = make_application()
    start_logging()
    reporter = CrashReporter(app)
    reporter.install()
    application = Application(app, Settings(), options or Options())
    application.show()
    return app.exec()
