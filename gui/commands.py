"""Changes that can be undone. A command holds values before and after, nothing of any view."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, TypeVar

from PySide6.QtGui import QUndoCommand

from engine.configuration import Configuration
from engine.results import Analysis

Value = TypeVar("Value")
Baseline = tuple[Analysis | None, str]
"""What results are compared with, and what it is called."""

PAUSE_S = 0.6
"""Changes of the same symbols that follow each other sooner than this are one step to undo."""
NO_MERGE = -1
SIZES_ID = 1


class SetValue(QUndoCommand, Generic[Value]):
    """Replace one value by another through ``apply``.

    Commands of the same ``gesture`` (not None) merge: a drag over a hundred sizes is undone in one step.
    """

    def __init__(
        self,
        text: str,
        apply: Callable[[Value], None],
        before: Value,
        after: Value,
        gesture: object = None,
    ) -> None:
        super().__init__(text)
        self._apply = apply
        self._before = before
        self._after = after
        self._gesture = gesture

    def id(self) -> int:
        return NO_MERGE if self._gesture is None else SIZES_ID

    def redo(self) -> None:
        self._apply(self._after)

    def undo(self) -> None:
        self._apply(self._before)

    def mergeWith(self, other: QUndoCommand) -> bool:
        if not isinstance(other, SetValue) or other._gesture != self._gesture:
            return False
        self._after = other._after
        self.setText(other.text())
        self.setObsolete(self._after == self._before)
        return True


class Gestures:
    """Which changes belong together: all of one drag, and those of the same symbols in quick succession."""

    def __init__(self) -> None:
        self._serial = 0
        self._held = False
        self._last = 0.0

    def begin(self) -> None:
        """A drag starts."""
        self._serial += 1
        self._held = True

    def end(self) -> None:
        self._held = False
        self._serial += 1

    def of(self, symbols: frozenset[str]) -> tuple[frozenset[str], int]:
        """The gesture that a change of ``symbols`` made now belongs to."""
        now = time.monotonic()
        if not self._held and now - self._last > PAUSE_S:
            self._serial += 1
        self._last = now
        return symbols, self._serial


SetConfiguration = SetValue[Configuration]
SetBaseline = SetValue[Baseline]
