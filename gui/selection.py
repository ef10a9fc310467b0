"""What the user looks at: current, hovered and selected nodes and the zoom range, shared by all views.

Views read this and write this and never speak to each other. A node is a module path (``layer1.0``, ``""`` is the
model) or the id of an operation row (``layer1.0.conv1:conv2d``, always with a colon).
"""

from __future__ import annotations

from collections.abc import Iterable

from PySide6.QtCore import QObject, Signal

Range = tuple[float, float]


class Selection(QObject):
    """Looking, as opposed to changing: nothing here can be undone or reaches the engine."""

    current_changed = Signal(str)
    """The node with the keyboard focus; ``""`` also when there is none (then ``current`` is None)."""
    hovered_changed = Signal(str)
    selected_changed = Signal(object)
    """frozenset[str] of nodes."""
    range_changed = Signal(object)
    """(first, last) in layer-row coordinates, or None for all rows."""
    activated = Signal(str)
    """The user asks for this node's details (Enter or a double click)."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._current: str | None = None
        self._hovered: str | None = None
        self._selected: frozenset[str] = frozenset()
        self._range: Range | None = None

    @property
    def current(self) -> str | None:
        return self._current

    @property
    def hovered(self) -> str | None:
        return self._hovered

    @property
    def selected(self) -> frozenset[str]:
        return self._selected

    @property
    def range(self) -> Range | None:
        return self._range

    def set_current(self, node: str | None) -> None:
        """Make ``node`` the current one and select it alone; None for no node."""
        if node == self._current:
            return
        self._current = node
        self.set_selected(() if node is None else (node,))
        self.current_changed.emit(node or "")

    def set_hovered(self, node: str | None) -> None:
        if node != self._hovered:
            self._hovered = node
            self.hovered_changed.emit(node or "")

    def set_selected(self, nodes: Iterable[str]) -> None:
        """Replace the selected set; the current node stays."""
        selected = frozenset(nodes)
        if selected != self._selected:
            self._selected = selected
            self.selected_changed.emit(selected)

    def set_range(self, rows: Range | None) -> None:
        """Zoom every view along the network order to ``rows``."""
        if rows != self._range:
            self._range = rows
            self.range_changed.emit(rows)

    def activate(self, node: str) -> None:
        """Make ``node`` current and ask for its details."""
        self.set_current(node)
        self.activated.emit(node)

    def clear(self) -> None:
        """Forget everything, as when another model is opened."""
        self.set_current(None)
        self.set_hovered(None)
        self.set_selected(())
        self.set_range(None)
