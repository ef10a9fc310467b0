"""What a panel may be given: the objects that all views share."""

from __future__ import annotations

from typing import NamedTuple

from gui.measuring import Measuring
from gui.selection import Selection
from gui.settings import Settings
from gui.theme import ThemeManager
from gui.workspace import Workspace


class Desk(NamedTuple):
    """One window's shared objects."""

    workspace: Workspace
    measuring: Measuring
    selection: Selection
    theme: ThemeManager
    settings: Settings
