"""Changes that can be undone. A command holds values before and after, nothing of any view."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from PySide6.QtGui import QUndoCommand

from engine.results import Analysis, Configuration

Value = TypeVar("Value")
Baseline = tuple[Analysis | None, str]
"""What results are compared with, and what it is called."""

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


SetConfiguration = SetValue[Configuration]
SetBaseline = SetValue[Baseline]
