"""Windows without a display, settings in a temporary file, and one real engine for the whole session."""

from __future__ import annotations

import os

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QCoreApplication, QEvent
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from gui.engine_client import EngineClient
from gui.latency_engine import LatencyEngine
from gui.main_window import MainWindow
from gui.measuring import Measuring
from gui.selection import Selection
from gui.settings import Settings
from gui.theme import ThemeManager
from gui.workspace import Workspace

READY_MS = 60_000
ANSWER_MS = 30_000
"""Longest waits; a quiet machine needs a tenth of them."""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Of a file of their own, with measuring paused: tests that measure switch it on."""
    settings = Settings(str(tmp_path / "settings.ini"))
    settings.set("measuring/enabled", False)
    return settings


@pytest.fixture(scope="session")
def session_engine(qapp: QApplication) -> Iterator[EngineClient]:
    client = EngineClient()
    yield client
    client.stop()


@pytest.fixture
def engine(session_engine: EngineClient, qtbot: QtBot) -> EngineClient:
    """The real engine, ready; it keeps its process from test to test."""
    session_engine.start()
    qtbot.waitUntil(lambda: session_engine.state in ("ready", "failed"), timeout=READY_MS)
    # Hundreds of tests would each wait a minute for an engine that cannot start.
    assert session_engine.state == "ready", session_engine.stderr_text
    return session_engine


@pytest.fixture
def workspace(engine: EngineClient, settings: Settings) -> Iterator[Workspace]:
    workspace = Workspace(engine, settings)
    yield workspace
    dispose(workspace)


@pytest.fixture
def measuring(workspace: Workspace, settings: Settings) -> Iterator[Measuring]:
    measuring = Measuring(workspace, LatencyEngine(), settings)
    yield measuring
    measuring.close()
    measuring.engine.stop()


@pytest.fixture
def theme(qapp: QApplication) -> ThemeManager:
    return ThemeManager(qapp, "light")


@pytest.fixture
def window(
    workspace: Workspace, measuring: Measuring, theme: ThemeManager, settings: Settings, qtbot: QtBot
) -> Iterator[MainWindow]:
    """The main window, shown, with nothing open."""
    window = MainWindow(workspace, measuring, Selection(), theme, settings)
    window.resize(1600, 1000)
    window.show()
    qtbot.waitExposed(window)
    yield window
    window.hide()
    window.deleteLater()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


def dispose(workspace: Workspace) -> None:
    """End a workspace without ending its engine: what was under way is cancelled first."""
    workspace.cancel()
    workspace.close()
    workspace.deleteLater()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


def open_model(qtbot: QtBot, workspace: Workspace, source: str, trust: bool = False) -> None:
    """Open ``source`` and wait until it is on the screen."""
    with qtbot.waitSignal(workspace.model_changed, timeout=ANSWER_MS):
        workspace.open_source(source, trust)


def wait_current(qtbot: QtBot, workspace: Workspace) -> None:
    """Wait until the configuration asked for is on the screen."""
    qtbot.waitUntil(lambda: workspace.is_current and not workspace.busy, timeout=ANSWER_MS)
