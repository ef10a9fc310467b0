"""The header of the layer tree: column widths that fit what is shown, or what the user dragged them to."""

from __future__ import annotations

from collections.abc import Iterator

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QFontMetricsF, QMouseEvent
from PySide6.QtWidgets import QHeaderView, QWidget

from engine.results import Analysis
from gui.models.cells import LayerCells
from gui.models.columns import LayerColumn
from gui.models.layer_tree import LayerTreeModel
from gui.models.layer_widths import NAME_ROOM, Fit, fit, samples
from gui.settings import Settings
from gui.theme import SECONDARY_PX, ThemeManager, ui_font
from gui.views.layer_delegate import BAR_WIDTH, MARGIN

WIDTHS_KEY = "layers/widths"
TITLE_MARGIN = 28
"""Padding of a section and room for the sort indicator."""
OUTPUT_MOST = 150
"""Longer shapes are elided in the middle."""


class LayerHeader(QHeaderView):
    """Sections of LayerTreeModel's columns. Widths the user dragged are remembered; a double click forgets one."""

    released = Signal()
    """The user let go of a divider, or double-clicked it: the layer column may take what is left."""

    def __init__(
        self, model: LayerTreeModel, theme: ThemeManager, settings: Settings, parent: QWidget | None = None
    ) -> None:
        super().__init__(Qt.Orientation.Horizontal, parent)
        self._layers = model
        self._settings = settings
        self._chosen: frozenset[str] = frozenset()
        self._bars: frozenset[str] = frozenset()
        self._content: dict[str, int] = {}
        self._empty: tuple[str, ...] = ()
        """Columns that give way first. Of differences only the first one: whoever chooses another wants to see it."""
        self._dragged = dict(_parse(settings.texts(WIDTHS_KEY)))
        self._pressed = False
        """Whether it is the user who resizes sections."""
        self._given_way: frozenset[str] = frozenset()
        self.setObjectName("layer_header")
        self.setAccessibleName("Columns of the layer tree")
        self.setToolTip("Drag a divider to resize a column, double-click it to fit the content again")
        self.setSectionsMovable(False)
        self.setStretchLastSection(False)
        self.setMinimumSectionSize(40)
        self.setSortIndicatorClearable(True)
        self.setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        self.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.setSectionsClickable(True)
        self.setHighlightSections(False)
        self.sectionResized.connect(self._on_section_resized)
        self.sectionHandleDoubleClicked.connect(self._on_handle_double_clicked)
        self._take_fonts()
        theme.changed.connect(self._take_fonts)

    @property
    def given_way(self) -> frozenset[str]:
        """Chosen columns for which there is no room now."""
        return self._given_way

    def chosen_sections(self) -> list[int]:
        """Sections of the layer column and those the user wants, whether there is room for them or not."""
        return [
            section
            for section, column in enumerate(self._layers.columns)
            if section == 0 or column.key in self._chosen
        ]

    def choose(self, visible: frozenset[str], bars: frozenset[str]) -> None:
        """Which columns are wanted, and which of them need room for a bar."""
        self._chosen, self._bars = visible, bars

    def measure(self, cells: LayerCells | None, *, afresh: bool) -> bool:
        """Measure what the chosen columns show; returns whether they have to be arranged again.

        During a drag (not ``afresh``) columns only grow, so that they do not move to and fro.
        """
        before, empty_before = ({} if afresh else self._content), self._empty
        analysis = cells.analysis if cells is not None else None
        self._content, self._empty = {}, ()
        for section in self.chosen_sections()[1:]:
            column = self._layers.columns[section]
            width = self._content_width(section, analysis)
            self._content[column.key] = max(width, before.get(column.key, 0))
            if _says_nothing(column, cells):
                self._empty = (*self._empty, column.key)
        return self._content != before or self._empty != empty_before

    def arrange(self, room: int, indentation: int) -> None:
        """Resize the sections to ``room`` pixels; names begin up to ``indentation`` pixels from the left."""
        widths = {key: self._dragged.get(key, width) for key, width in self._content.items()}
        layer = self._dragged.get("layer")
        need = NAME_ROOM + indentation if layer is None else layer
        found = fit(room, need, widths, empty=self._empty)
        if layer is not None:
            found = Fit(layer, found.given_way)
        self._given_way = found.given_way
        self._pressed = False
        for section, column in enumerate(self._layers.columns):
            if section == 0:
                self.resizeSection(0, found.layer)
                continue
            shown = column.key in widths and column.key not in found.given_way
            self.setSectionHidden(section, not shown)
            if shown:
                self.resizeSection(section, widths[column.key])

    def forget_widths(self) -> None:
        """Let every column fit its content again."""
        self._dragged.clear()
        self._remember()
        self.released.emit()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        self._pressed = True
        super().mousePressEvent(event)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        super().mouseReleaseEvent(event)
        self._pressed = False
        # While a divider moves nothing else does: it would run away from the pointer.
        self.released.emit()

    # -- inside --------------------------------------------------------------------------------------------------

    def _take_fonts(self) -> None:
        fonts = {"body": ui_font(), "bold": ui_font(bold=True), "small": ui_font(SECONDARY_PX)}
        self._metrics = {key: QFontMetricsF(font) for key, font in fonts.items()}
        self._advances: dict[tuple[str, str], float] = {}

    def _content_width(self, section: int, analysis: Analysis | None) -> int:
        column = self._layers.columns[section]
        title = str(self._layers.headerData(section, Qt.Orientation.Horizontal))
        width = max(
            (self._advance(*sample) + 2 * MARGIN for sample in samples(column, analysis)), default=0.0
        )
        if column.key in self._bars:
            width += MARGIN + BAR_WIDTH
        if column.kind == "output":
            width = min(width, OUTPUT_MOST)
        return int(max(width, self._advance("small", title) + TITLE_MARGIN)) + 1

    def _advance(self, font: str, text: str) -> float:
        """Width of a text, measured once: the same samples are asked for at every tick."""
        known = self._advances.get((font, text))
        if known is None:
            known = self._advances[font, text] = self._metrics[font].horizontalAdvance(text)
        return known

    def _on_section_resized(self, section: int, before: int, after: int) -> None:
        if self._pressed and after:
            self._dragged[self._layers.columns[section].key] = after
            self._remember()

    def _on_handle_double_clicked(self, section: int) -> None:
        self._dragged.pop(self._layers.columns[section].key, None)
        self._remember()
        self.released.emit()

    def _remember(self) -> None:
        self._settings.set_texts(
            WIDTHS_KEY, [f"{key}={width}" for key, width in sorted(self._dragged.items())]
        )


def _says_nothing(column: LayerColumn, cells: LayerCells | None) -> bool:
    """Nothing to compare with, or nothing measured."""
    if column.metric is not None and column.metric.measured:
        return cells is None or cells.analysis.layer_times is None
    return column.key == "headline.difference" and (cells is None or cells.is_baseline)


def _parse(texts: list[str]) -> Iterator[tuple[str, int]]:
    for text in texts:
        key, _, width = text.partition("=")
        if width.isdigit() and 40 <= int(width) <= 2000:
            yield key, int(width)
