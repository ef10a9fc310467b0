"""The line above a chart: title, switches, a caption that gives way, and the menu of metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtGui import QAction, QActionGroup, QFontMetrics, QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import (
    QButtonGroup,
    QFrame,
    QHBoxLayout,
    QLabel,
    QMenu,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from engine.metrics import METRIC, METRICS
from engine.results import Analysis
from engine.sparsity import why_unknown
from gui.theme import SECONDARY_PX, ThemeManager, ui_font

MOST_TOGETHER = 4
"""As many metrics fit side by side before their lanes get too low to read."""

LEAST_CAPTION_PX = 160
"""In less room a caption that would have to be shortened is left out: half a word and dots tell nothing."""
TIGHT_PX = 320
"""A narrower panel has smaller buttons in its header."""


class Caption(QWidget):
    """One line of secondary text that never moves its neighbours: parts that find no room are left to the tooltip.

    Parts are separated by `` · ``, the most telling one first; that one is shortened where
    there is room for most of it, else left out.
    """

    def __init__(self, theme: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._text = ""
        self.setObjectName("chartCaption")
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        theme.changed.connect(self.update)

    @property
    def text(self) -> str:
        return self._text

    def set_text(self, text: str) -> None:
        if text != self._text:
            self._text = text
            self.setToolTip(text)
            self.setAccessibleName(text)
            self.update()

    def minimumSizeHint(self) -> QSize:
        return QSize(0, 20)

    def sizeHint(self) -> QSize:
        return QSize(120, 20)

    @property
    def shown(self) -> str:
        """As much of the text as there is room for."""
        metrics, text = QFontMetrics(ui_font(SECONDARY_PX)), self._text
        while " · " in text and metrics.horizontalAdvance(text) > self.width():
            text = text.rpartition(" · ")[0]
        if metrics.horizontalAdvance(text) <= self.width():
            return text
        if self.width() < LEAST_CAPTION_PX:
            return ""
        return metrics.elidedText(text, Qt.TextElideMode.ElideRight, self.width())

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setFont(ui_font(SECONDARY_PX))
        painter.setPen(self._theme.current.color("secondary"))
        painter.drawText(self.rect(), Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, self.shown)


class Segments(QWidget):
    """A switch between a few words; one is always chosen."""

    chosen = Signal(int)

    def __init__(self, words: Sequence[tuple[str, str]], name: str, parent: QWidget | None = None) -> None:
        """``words`` are (text, tooltip); ``name`` begins the object names."""
        super().__init__(parent)
        self._group = QButtonGroup(self)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(0)
        for index, (word, tip) in enumerate(words):
            button = QToolButton(self)
            button.setText(word)
            button.setToolTip(tip)
            button.setCheckable(True)
            button.setObjectName(f"{name}{word}")
            button.setAccessibleName(f"{word}: {tip}")
            place = "first" if index == 0 else "last" if index == len(words) - 1 else "middle"
            button.setProperty("segment", place)
            self._group.addButton(button, index)
            row.addWidget(button)
        self._group.button(0).setChecked(True)
        self._group.idClicked.connect(self.chosen)

    @property
    def index(self) -> int:
        return self._group.checkedId()

    def choose(self, index: int) -> None:
        """Check a segment without a signal."""
        self._group.button(index).setChecked(True)


class MetricButton(QToolButton):
    """Chooses one metric, or (``several``) up to four to be shown side by side."""

    keys_changed = Signal(object)
    """tuple[str, ...] of metric keys, in the order of METRICS."""

    def __init__(self, key: str, name: str, several: bool = False, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._keys: tuple[str, ...] = (key,)
        self._one_only = False
        self.setObjectName(name)
        self.setAccessibleName("Metric")
        self.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        menu = QMenu(self)
        menu.setToolTipsVisible(True)
        self._single = QActionGroup(self)
        self._single.setExclusionPolicy(QActionGroup.ExclusionPolicy.ExclusiveOptional)
        for metric in METRICS:
            action = menu.addAction(metric.label)
            action.setCheckable(True)
            action.setData(metric.key)
            action.setToolTip(metric.description)
            self._single.addAction(action)
        self._single.triggered.connect(self._on_single)
        self._together: QActionGroup | None = None
        self._together_menu: QMenu | None = None
        if several:
            menu.addSeparator()
            self._together_menu = menu.addMenu("Side by side")
            self._together = self._side_by_side(self._together_menu)
        self.setMenu(menu)
        self._show_keys()

    def _side_by_side(self, menu: QMenu) -> QActionGroup:
        menu.setToolTipsVisible(True)
        head = menu.addAction("Params, MACs and activations")
        head.setToolTip("Three metrics that disagree, each as a share of its own total")
        head.triggered.connect(self._on_usual_three)
        menu.addSeparator()
        group = QActionGroup(self)
        group.setExclusionPolicy(QActionGroup.ExclusionPolicy.None_)
        for metric in METRICS:
            action = menu.addAction(metric.label)
            action.setCheckable(True)
            action.setData(metric.key)
            action.setToolTip(metric.description)
            group.addAction(action)
        group.triggered.connect(self._on_together)
        return group

    @property
    def keys(self) -> tuple[str, ...]:
        return self._keys

    def set_keys(self, keys: Sequence[str]) -> None:
        """Choose these; emits if they are others than before."""
        ordered = tuple(metric.key for metric in METRICS if metric.key in keys)[:MOST_TOGETHER]
        changed = bool(ordered) and ordered != self._keys
        if changed:
            self._keys = ordered
        self._show_keys()
        if changed:
            self.keys_changed.emit(ordered)

    def set_one_only(self, one: bool) -> None:
        """While the chart can show one metric only, the first of the chosen ones stands on the button."""
        self._one_only = one
        if self._together_menu is not None:
            self._together_menu.setEnabled(not one)
        self._show_keys()

    def follow_count_mode(self, mode: str) -> None:
        """MACs become FLOPs, or FLOPs MACs; other metrics stay."""
        if mode in ("macs", "flops"):
            self.set_keys([mode if key in ("macs", "flops") else key for key in self._keys])

    def set_allowed(self, why_not: Callable[[str], str]) -> None:
        """Disable the metrics that the chart cannot show now: those with a reason, which is their tooltip."""
        for action in self._single.actions():
            why = why_not(action.data())
            action.setEnabled(not why)
            action.setToolTip(why or METRIC[action.data()].description)

    def _on_single(self, action: QAction) -> None:
        self.set_keys([action.data()])

    def _on_usual_three(self) -> None:
        count = next((key for key in self._keys if key in ("macs", "flops")), "macs")
        self.set_keys(["params", count, "activation_bytes"])

    def _on_together(self, action: QAction) -> None:
        rest = [key for key in self._keys if key != action.data()]
        self.set_keys([*rest, action.data()] if action.isChecked() else rest)

    def _show_keys(self) -> None:
        keys = self._keys[:1] if self._one_only else self._keys
        words = METRIC[keys[0]].label if len(keys) == 1 else f"{len(keys)} metrics"
        self.setText(f"{words} ▾")
        self.setToolTip("Metric: " + ", ".join(METRIC[key].label for key in keys))
        for action in self._single.actions():
            action.setChecked(len(keys) == 1 and action.data() in keys)
        if self._together is not None:
            for action in self._together.actions():
                action.setChecked(action.data() in self._keys)
                action.setEnabled(action.data() in self._keys or len(self._keys) < MOST_TOGETHER)


def why_unweighed(analysis: Analysis | None, key: str) -> str:
    """Why a metric of the weights' values cannot be shown, as a sentence; empty when it can."""
    why = why_unknown(analysis) if analysis is not None and METRIC[key].weighed else ""
    return f"{why[:1].upper()}{why[1:]}." if why else ""


class LogButton(QToolButton):
    """Linear by default, logarithmic when down."""

    def __init__(self, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setText("Log")
        self.setCheckable(True)
        self.setObjectName(name)
        self.setAccessibleName("Logarithmic scale")
        self.setToolTip("Logarithmic scale (L)")
        self.setProperty("flat", True)


class Panel(QFrame):
    """A frame with a header line and one chart (or a stack of them) below."""

    def __init__(self, title: str, theme: ThemeManager, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self.setAccessibleName(title)
        self.setProperty("panel", True)
        self.caption = Caption(theme, self)
        self._header = QHBoxLayout()
        self._header.setContentsMargins(12, 6, 8, 6)
        self._header.setSpacing(8)
        self._tight = False
        self._tight_px = TIGHT_PX
        label = QLabel(title, self)
        label.setProperty("role", "title")
        self._header.addWidget(label)
        self._header.addWidget(self.caption, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(1, 1, 1, 1)
        column.setSpacing(0)
        column.addLayout(self._header)
        self._column = column

    def add_left(self, widget: QWidget) -> None:
        """Place a control beside the title."""
        self._header.insertWidget(self._header.indexOf(self.caption), widget)

    def add_right(self, widget: QWidget) -> None:
        """Place a control at the right end."""
        self._header.addWidget(widget)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit()

    @property
    def tight(self) -> bool:
        """Whether the header's buttons are small, for want of room."""
        return self._tight

    def set_tight_below(self, pixels: int) -> None:
        """In a narrower panel the header's buttons are small."""
        self._tight_px = pixels
        self._fit()

    def _fit(self) -> None:
        tight = self.width() < self._tight_px
        if tight != self._tight:
            self._tight = tight
            self._header.setSpacing(4 if tight else 8)
            for button in self.findChildren(QToolButton):
                button.setProperty("compact", tight)
                button.style().unpolish(button)
                button.style().polish(button)

    def set_chart(self, widget: QWidget) -> None:
        self._column.addWidget(widget, 1)
