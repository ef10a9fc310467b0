"""The real workspace over an engine that was never started, holding hand-made results, for tests of panels."""

from __future__ import annotations

from pathlib import Path

from engine.results import Analysis
from gui.engine_client import EngineClient
from gui.settings import Settings
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


def bring(workspace: Workspace, analysis: Analysis) -> None:
    """A new result arrives, for the configuration that was asked for."""
    workspace.configuration = analysis.configuration
    workspace.configuration_changed.emit()
    workspace.analysis = analysis
    workspace.analysis_changed.emit()
