"""The real workspace over an engine that was never started, holding hand-made results, for tests of panels."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtWidgets import QWidget

from engine.measurement import Latency
from engine.results import Analysis
from gui.engine_client import EngineClient
from gui.latency_engine import LatencyEngine
from gui.measuring import Measuring
from gui.settings import Settings
from gui.views.throttle import Throttle
from gui.workspace import Workspace


def workspace_of(
    folder: Path, analysis: Analysis | None = None, baseline: Analysis | None = None
) -> Workspace:
    """A workspace that shows ``analysis`` against ``baseline``; its settings live in ``folder``."""
    workspace = Workspace(EngineClient(), Settings(str(folder / "settings.ini")))
    if analysis is not None:
        workspace.model = analysis.model
        workspace.editable = True
        workspace.baseline = baseline
        workspace.baseline_label = "as opened"
        workspace.analysis = analysis
        workspace.configuration = analysis.configuration
    return workspace


def measuring_of(workspace: Workspace) -> Measuring:
    """Paused, so that it starts no process; what is known comes from :func:`learn`."""
    settings = workspace._settings
    settings.set("measuring/enabled", False)
    return Measuring(workspace, LatencyEngine(parent=workspace), settings, workspace)


def learn(measuring: Measuring, latency: Latency, *panels: QWidget) -> None:
    """``latency`` has been measured, and ``panels`` have taken it."""
    measuring.workspace.add_latency(latency)
    if measuring.workspace.configuration == latency.configuration:
        measuring.shown = latency.measurement
    measuring.latency_changed.emit()
    flush(*panels)


def flush(*panels: QWidget) -> None:
    """Panels that refresh a moment later than the rest do it now."""
    for panel in panels:
        throttle = panel.findChild(Throttle)
        assert throttle is not None
        throttle.flush()


def bring(workspace: Workspace, analysis: Analysis, *panels: QWidget) -> None:
    """A new result arrives, for the configuration that was asked for, and ``panels`` have taken it."""
    workspace.configuration = analysis.configuration
    workspace.configuration_changed.emit()
    workspace.analysis = analysis
    workspace.analysis_changed.emit()
    flush(*panels)
