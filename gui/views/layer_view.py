"""The tree view of the layers: rows, branches and keys. What it shows and whom it tells is the panel's business."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from PySide6.QtCore import QEvent, QModelIndex, QPersistentModelIndex, QPointF, QRect, Qt, QTimer, Signal
from PySide6.QtGui import (
    QBrush,
    QKeyEvent,
    QKeySequence,
    QMouseEvent,
    QPainter,
    QPolygonF,
    QResizeEvent,
)
from PySide6.QtWidgets import QAbstractItemView, QStyleOptionViewItem, QTreeView, QWidget

from gui.models.layer_proxy import LayerProxyModel
from gui.models.layer_tree import LayerTreeModel
from gui.settings import Settings
from gui.state_words import STALE_OPACITY
from gui.theme import ThemeManager
from gui.views.layer_delegate import LayerDelegate
from gui.views.layer_header import LayerHeader

INDENTATION = 12
AT_ONCE = 1_000
"""Nodes that are expanded before they are seen."""
STRIPE = 3
"""Width of the accent at the left of the current row."""


@dataclass(frozen=True)
class ViewState:
    """What must survive a change of structure, by node name; ``top`` is the first visible node."""

    expanded: frozenset[str]
    top: str | None


class LayerView(QTreeView):
    """A tree over LayerProxyModel over LayerTreeModel."""

    node_activated = Signal(str)
    """Enter, or a double click on a row without children."""
    node_hovered = Signal(object)
    """str, or None when the mouse leaves."""
    copy_requested = Signal()

    def __init__(
        self, model: LayerTreeModel, theme: ThemeManager, settings: Settings, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.layers = model
        self.proxy = LayerProxyModel(model, self)
        self._theme = theme
        self._hovered = QPersistentModelIndex()
        self._row_is_selected = False
        """Of the row being drawn."""
        self._stale = False
        self._indentation = INDENTATION
        """Pixels before the name of the deepest row that is expanded."""
        self.columns = LayerHeader(model, theme, settings, self)
        self.setHeader(self.columns)
        self.setModel(self.proxy)
        self.setItemDelegate(LayerDelegate(theme, self))
        self.setUniformRowHeights(True)
        self.setIndentation(INDENTATION)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.setMouseTracking(True)
        self.setFrameShape(QTreeView.Shape.NoFrame)
        self.setSortingEnabled(True)
        self._deepen = QTimer(self, singleShot=True, interval=0)
        self._deepen.timeout.connect(self.fit)
        self.expanded.connect(self._deepen.start)
        self.collapsed.connect(self._deepen.start)
        self.columns.released.connect(self._deepen.start)
        self._to_expand: set[int] = set()
        """Nodes that expand once they are seen."""
        self._see = QTimer(self, singleShot=True, interval=0)
        self._see.timeout.connect(self._expand_seen)
        self.verticalScrollBar().valueChanged.connect(self._on_scrolled)
        model.modelReset.connect(self._to_expand_nothing)
        self.entered.connect(self._on_entered)
        theme.changed.connect(self.viewport().update)
        model.numbers_changed.connect(self.viewport().update)

    # -- nodes ---------------------------------------------------------------------------------------------------

    def name_at(self, index: QModelIndex | QPersistentModelIndex) -> str | None:
        """Name of the node at a proxy index."""
        return self.layers.name_of(self.proxy.mapToSource(index))

    def index_of(self, name: str | None) -> QModelIndex:
        """Proxy index of a node; invalid when it is not there or filtered out."""
        return QModelIndex() if name is None else self.proxy.mapFromSource(self.layers.index_of(name))

    def selected_names(self) -> list[str]:
        """Names of the selected nodes, in display order of the model."""
        nodes = sorted(
            self.proxy.mapToSource(index).internalId() for index in self.selectionModel().selectedRows()
        )
        structure = self.layers.structure
        return [structure.names[node] for node in nodes] if structure is not None else []

    def reveal(self, index: QModelIndex) -> None:
        """Expand the ancestors of ``index`` and scroll to it."""
        parent = index.parent()
        while parent.isValid():
            self.setExpanded(parent, True)
            parent = parent.parent()
        self.scrollTo(index)

    def expand_to_level(self, level: int | None) -> None:
        """Show ``level`` levels below the model; None for all."""
        self._to_expand.clear()
        if level is None:
            self.expandAll()
        else:
            self.expandToDepth(level - 1)
        self.fit()

    def expand_nodes(self, nodes: Iterable[int]) -> None:
        """Expand these nodes of the structure, as far as they are shown.

        Of very many only the first; the others expand once they are scrolled to: expanding one takes some 20 µs.
        """
        wanted = list(nodes)
        self._to_expand = set(wanted[AT_ONCE:])
        # With a layout pending, rows are laid out once and not anew for every node.
        self.scheduleDelayedItemsLayout()
        for node in wanted[:AT_ONCE]:
            index = self.proxy.mapFromSource(self.layers.index_of_node(node))
            if index.isValid():
                self.setExpanded(index, True)
        self.executeDelayedItemsLayout()
        self.fit()
        self._see.start()

    def _on_scrolled(self) -> None:
        if self._to_expand:
            self._see.start()

    def _expand_seen(self) -> None:
        """Expand what waits for being seen; what that brings into sight too."""
        if not self._to_expand:
            return
        index, bottom = self.indexAt(self.viewport().rect().topLeft()), self.viewport().height()
        while index.isValid() and self.visualRect(index).top() < bottom:
            node = self.proxy.mapToSource(index).internalId()
            if node in self._to_expand:
                self._to_expand.discard(node)
                self.setExpanded(index, True)
            index = self.indexBelow(index)

    def _to_expand_nothing(self) -> None:
        """Nodes have other numbers in another tree."""
        self._to_expand.clear()

    def set_hovered(self, name: str | None) -> None:
        """Show ``name``, or the innermost visible row that contains it, as hovered."""
        index = self.index_of(name)
        while index.isValid() and self.visualRect(index).isEmpty():
            index = index.parent()
        if self._hovered == index:
            return
        for changed in (self._hovered, index):
            if changed.isValid():
                row = self.visualRect(changed)
                self.viewport().update(0, row.top(), self.viewport().width(), row.height())
        self._hovered = QPersistentModelIndex(index)

    def set_stale(self, stale: bool) -> None:
        """Fade the rows while their numbers are not those asked for."""
        if stale != self._stale:
            self._stale = stale
            self.viewport().update()

    # -- state ---------------------------------------------------------------------------------------------------

    def state_by_name(self) -> ViewState:
        structure = self.layers.structure
        if structure is None:
            return ViewState(frozenset(), None)
        expanded = frozenset(
            structure.names[node]
            for node, children in enumerate(structure.children)
            if children
            and (
                node in self._to_expand
                or self.isExpanded(self.proxy.mapFromSource(self.layers.index_of_node(node)))
            )
        )
        return ViewState(expanded, self.name_at(self.indexAt(self.viewport().rect().topLeft())))

    def restore(self, state: ViewState) -> None:
        """Expand and scroll as in ``state``, as far as its nodes still exist."""
        structure = self.layers.structure
        if structure is None:
            return
        found = (structure.node_of_name.get(name) for name in state.expanded)
        self.expand_nodes(sorted(node for node in found if node is not None))
        top = self.index_of(state.top)
        if top.isValid():
            self.scrollTo(top, QAbstractItemView.ScrollHint.PositionAtTop)

    # -- columns -------------------------------------------------------------------------------------------------

    def show_columns(self, visible: frozenset[str], bars: frozenset[str]) -> None:
        """Show the layer column and those of ``visible``; value columns of ``bars`` are wide enough for a bar."""
        self.columns.choose(visible, bars)
        self.measure(afresh=True)

    def measure(self, *, afresh: bool) -> None:
        """Fit the columns to the numbers shown; unless ``afresh`` they only grow."""
        if self.columns.measure(self.layers.cells, afresh=afresh):
            self.fit()

    def fit(self) -> None:
        """Share the width between the columns, after rows were expanded or the room changed."""
        self._indentation = (self._deepest_level() + 1) * INDENTATION
        self.columns.arrange(self.viewport().width(), self._indentation)

    def shown_sections(self) -> list[int]:
        return [section for section in range(len(self.layers.columns)) if not self.isColumnHidden(section)]

    def _deepest_level(self) -> int:
        """Level of the deepest row below expanded ones; 0 is the model."""
        structure = self.layers.structure
        deepest, open_ = 0, [0] if structure is not None else []
        while structure is not None and open_:
            node = open_.pop()
            if self.isExpanded(self.proxy.mapFromSource(self.layers.index_of_node(node))):
                deepest = max(deepest, structure.level[node] + 1)
                open_.extend(child for child in structure.children[node] if structure.children[child])
        return deepest

    # -- Qt events -----------------------------------------------------------------------------------------------

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.columns.arrange(self.viewport().width(), self._indentation)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.matches(QKeySequence.StandardKey.Copy):
            self.copy_requested.emit()
            return
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self._activate(self.currentIndex())
            return
        super().keyPressEvent(event)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        index = self.indexAt(event.position().toPoint())
        if index.isValid() and not self.proxy.hasChildren(index.siblingAtColumn(0)):
            self._activate(index)
            return
        super().mouseDoubleClickEvent(event)

    def viewportEvent(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Leave:
            self.node_hovered.emit(None)
        return super().viewportEvent(event)

    def drawRow(
        self,
        painter: QPainter,
        options: QStyleOptionViewItem,
        index: QModelIndex | QPersistentModelIndex,
    ) -> None:
        self._row_is_selected = self.selectionModel().isSelected(index)
        ground = ""
        if self._row_is_selected:
            ground = "selection"
        elif self._hovered == index:
            ground = "hover"
        if ground:
            rect: QRect = options.rect
            painter.fillRect(rect, self._theme.current.color(ground))
        if self._stale:
            painter.setOpacity(STALE_OPACITY)
        super().drawRow(painter, options, index)
        if self._stale:
            painter.setOpacity(1.0)

    def drawBranches(
        self, painter: QPainter, rect: QRect, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        theme = self._theme.current
        if self._row_is_selected:
            painter.fillRect(QRect(0, rect.top(), STRIPE, rect.height()), theme.color("accent"))
        if not self.proxy.hasChildren(index):
            return
        # Right of the stripe of a selected row, which is drawn over the first level.
        x, y = rect.right() - INDENTATION / 2 + 1, rect.center().y() + 0.5
        arrow = (
            [QPointF(x - 3.5, y - 2), QPointF(x + 3.5, y - 2), QPointF(x, y + 2.5)]
            if self.isExpanded(index)
            else [QPointF(x - 2, y - 3.5), QPointF(x + 2.5, y), QPointF(x - 2, y + 3.5)]
        )
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QBrush(theme.color("secondary")))
        painter.drawPolygon(QPolygonF(arrow))
        painter.restore()

    def _activate(self, index: QModelIndex) -> None:
        name = self.name_at(index)
        if name is not None:
            self.node_activated.emit(name)

    def _on_entered(self, index: QModelIndex) -> None:
        self.node_hovered.emit(self.name_at(index))
