"""A desk for panels without an engine process: what is known comes from the tests."""

from __future__ import annotations

from gui.desk import Desk
from gui.latency_engine import LatencyEngine
from gui.measuring import Measuring
from gui.selection import Selection
from gui.settings import Settings
from gui.theme import ThemeManager
from gui.workspace import Workspace


def desk_of(
    workspace: Workspace, theme: ThemeManager, settings: Settings, selection: Selection | None = None
) -> Desk:
    """The objects of one window around ``workspace``; measuring is paused, and never starts anything by itself."""
    settings.set("measuring/enabled", False)
    measuring = Measuring(workspace, LatencyEngine(parent=workspace), settings, workspace)
    measuring.close()
    return Desk(workspace, measuring, selection or Selection(), theme, settings)
