"""What goes into the model: its adjustable sizes, stated assumptions, and what results are compared with."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial

from PySide6.QtCore import QSize, Qt, QTimer
from PySide6.QtGui import QAction, QResizeEvent
from PySide6.QtWidgets import (
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QMenu,
    QScrollArea,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from engine import sources
from engine.graph import InputSpec
from gui import sizes
from gui.asked import REPORT_REASON
from gui.settings import Settings
from gui.theme import ThemeManager
from gui.tooltips import plain_tooltip
from gui.views.assumptions import AssumptionsButton
from gui.views.elided_label import ElidedLabel
from gui.views.size_control import SizeControl
from gui.workspace import Workspace

REFUSALS_MS = 120
"""Shading waits this long after the last change: it is no part of a slider's tick."""

GUARDS_OFF = "⚠ guards off"
NO_PROMISE = f"{GUARDS_OFF}: no promise for other sizes"
NOTE_BEGINNING = 17
"""Characters of why sizes are fixed that are always seen; the tooltip has the rest."""
MOST_ROWS = 3
"""More inputs than this scroll, by whole rows."""
ROW_GAP = 4
TITLE_PX = 160
ROWS_PX = 240
"""Narrowest the rows get before they scroll sideways."""


class InputBar(QWidget):
    """One row per model input; inputs that move together share a row. At the right the baseline's menu."""

    def __init__(
        self,
        workspace: Workspace,
        theme: ThemeManager,
        settings: Settings,
        baseline_menu: QMenu,
        open_actions: Sequence[QAction] = (),
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setObjectName("input_bar")
        self._workspace = workspace
        self._theme = theme
        self._settings = settings
        self._open_actions = open_actions
        self.controls: list[SizeControl] = []
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(16)
        self._scroll = RowsScroll(self)
        layout.addWidget(self._scroll, 1)
        self.assumptions = AssumptionsButton(self)
        self.assumptions.changed.connect(workspace.set_assumption)
        caption = QLabel("against baseline", self)
        caption.setProperty("role", "secondary")
        right = QHBoxLayout()
        right.setSpacing(8)
        right.addWidget(self.assumptions)
        right.addSpacing(8)
        right.addWidget(caption)
        self.baseline_button = QToolButton(self)
        self.baseline_button.setObjectName("baseline_button")
        self.baseline_button.setAccessibleName("Baseline")
        self.baseline_button.setToolTip("What the differences are taken against")
        self.baseline_button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.baseline_button.setMenu(baseline_menu)
        right.addWidget(self.baseline_button)
        column = QVBoxLayout()
        column.addLayout(right)
        column.addStretch(1)
        layout.addLayout(column)
        self._body: QWidget | None = None
        self._refusals_timer = QTimer(self, singleShot=True, interval=REFUSALS_MS)
        self._refusals_timer.timeout.connect(self._refresh_refusals)
        workspace.model_changed.connect(self._rebuild)
        workspace.configuration_changed.connect(self._on_configuration_changed)
        workspace.analysis_changed.connect(self._on_analysis_changed)
        workspace.points_changed.connect(self._refusals_timer.start)
        workspace.busy_changed.connect(self._refresh_empty)
        workspace.baseline_changed.connect(self._on_baseline_changed)
        self._rebuild()
        self._on_baseline_changed()

    # -- rows ----------------------------------------------------------------------------------------------------

    def _rebuild(self) -> None:
        self.controls.clear()
        self._body = QWidget()
        self._grid = QGridLayout(self._body)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(16)
        self._grid.setVerticalSpacing(ROW_GAP)
        row_of: dict[str, int] = {}
        titles: list[ElidedLabel] = []
        members: list[list[str]] = []
        """Names of the inputs of each row."""
        for spec in self._workspace.specs:
            symbols = [dim.symbol for dim in spec.dims if dim.symbol is not None]
            fresh = list(dict.fromkeys(symbol for symbol in symbols if symbol not in row_of))
            if symbols and not fresh:
                members[row_of[self._owning(symbols)]].append(spec.name)
                continue
            row_of |= dict.fromkeys(fresh, len(titles))
            titles.append(self._add_row(len(titles), spec, fresh))
            members.append([spec.name or "input"])
        short = short_names([name for names in members for name in names])
        for title, names in zip(titles, members, strict=True):
            words = ", ".join(names)
            title.setText(words)
            if title.sizeHint().width() > TITLE_PX:
                title.setText(", ".join(short[name] for name in names))
            title.setAccessibleName(f"Input {words}")
            title.setFixedWidth(min(title.sizeHint().width(), TITLE_PX))
            title.setToolTip(plain_tooltip(f"Input {words}\n{title.whatsThis()}"))
        if not self._workspace.specs:
            self._grid.addLayout(self._empty_row(), 0, 0)
        if not self._add_size_note():
            self._grid.setColumnStretch(self._grid.columnCount(), 1)
        self._scroll.show_rows(self._body)
        self._show_assumptions()
        self._refusals_timer.start()

    def _owning(self, symbols: list[str]) -> str:
        """The size that an input without one of its own is said to belong to: all of them have the batch."""
        return next((each for each in symbols if self._workspace.dim_of(each).label != "batch"), symbols[0])

    def _empty_row(self) -> QHBoxLayout:
        """Nothing is open: what is on its way, or the things to do."""
        row = QHBoxLayout()
        row.setSpacing(8)
        self._empty = QLabel(self._body)
        self._empty.setProperty("role", "secondary")
        row.addWidget(self._empty)
        for action in self._open_actions:
            button = QToolButton(self._body)
            button.setDefaultAction(action)
            button.setObjectName(action.objectName().replace("action_", "empty_"))
            button.setAccessibleName(action.text().rstrip("…"))
            row.addWidget(button)
        row.addStretch(1)
        self._refresh_empty()
        return row

    def _refresh_empty(self) -> None:
        if not self._workspace.specs:
            doing = self._workspace.busy_text
            self._empty.setText(
                f"{doing} …" if doing else "No model is open. Open a file, or pick from the zoo:"
            )

    def _add_row(self, row: int, spec: InputSpec, symbols: list[str]) -> ElidedLabel:
        """One line of the grid: title, controls, and what is fixed. Returns the title."""
        title = ElidedLabel(spec.name or "input", self._body)
        title.setProperty("role", "title")
        title.setWhatsThis(spec.dtype)
        self._grid.addWidget(title, row, 0)
        snap = self._settings.flag("input/snap", True)
        pending = [symbol for symbol in symbols if self._workspace.dim_of(symbol).label != "batch"]
        pending += [symbol for symbol in symbols if symbol not in pending]
        first, column = True, 0
        while pending:
            symbol = pending.pop(0)
            partner = sizes.plane_partner(self._workspace.specs, symbol)
            if partner in pending:
                pending.remove(partner)
                if self._workspace.dim_of(symbol).label == "width":
                    symbol, partner = partner, symbol
            else:
                partner = None
            control = SizeControl(
                self._workspace, self._theme, symbol, partner, wide=first, snap=snap, parent=self._body
            )
            control.moved.connect(self._on_moved)
            control.snap.toggled.connect(partial(self._settings.set, "input/snap"))
            self.controls.append(control)
            column += 1
            self._grid.addWidget(control, row, column, Qt.AlignmentFlag.AlignLeft)
            first = False
        fixed = QLabel(_fixed_text(spec), self._body)
        fixed.setProperty("role", "secondary")
        model = self._workspace.model
        why = (model.fixed_sizes if model is not None else "") or "Fixed by the model's structure."
        fixed.setToolTip(plain_tooltip(why if self._workspace.editable else REPORT_REASON))
        self._grid.addWidget(fixed, row, column + 1)
        return title

    def _add_size_note(self) -> bool:
        """Beside the first row: why sizes are fixed, or that nothing vouches for them, and the way out of it."""
        model = self._workspace.model
        if model is None or not self._workspace.editable:
            return False
        free = sources.split_file(model.source).part == sources.UNGUARDED
        if not free and not model.fixed_sizes:
            return False
        words = NO_PROMISE if free else model.fixed_sizes
        self.size_note = ElidedLabel(words, self._body, Qt.TextElideMode.ElideRight)
        self.size_note.setObjectName("size_note")
        self.size_note.setAccessibleDescription("Guards are off" if free else "Why sizes are fixed")
        self.size_note.setProperty("role", "caution" if free else "secondary")
        self.size_note.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        # However narrow the window is, this must be seen: sliders give way to it.
        self.size_note.ensurePolished()
        beginning = GUARDS_OFF if free else words[:NOTE_BEGINNING]
        self.size_note.setMinimumWidth(self.size_note.fontMetrics().horizontalAdvance(f"{beginning}…") + 4)
        if free and model.note:
            self.size_note.setToolTip(plain_tooltip(model.note))
        column = self._grid.columnCount()
        self._grid.addWidget(self.size_note, 0, column)
        self._grid.setColumnStretch(column, 1)
        other = str(sources.split_file(model.source)._replace(part="")) if free else model.unguarded
        if other:
            self.guards = QToolButton(self._body)
            self.guards.setObjectName("guards")
            self.guards.setText("Keep its sizes" if free else "Try other sizes")
            self.guards.setAccessibleName(self.guards.text())
            self.guards.setToolTip(plain_tooltip(f"Opens {sources.short(other)}"))
            self.guards.clicked.connect(partial(self._workspace.open_variant, other))
            self._grid.addWidget(self.guards, 0, column + 1)
        return True

    def _show_assumptions(self) -> None:
        analysis = self._workspace.analysis
        self.assumptions.show_assumptions(
            analysis.assumptions if analysis is not None else (), self._workspace.editable, REPORT_REASON
        )

    # -- following the workspace ---------------------------------------------------------------------------------

    def _on_moved(self, symbol: str, size: int) -> None:
        self._workspace.set_sizes({symbol: size})

    def _on_configuration_changed(self) -> None:
        for control in self.controls:
            control.refresh()
        self._refusals_timer.start()

    def _on_analysis_changed(self) -> None:
        self._show_assumptions()

    def _on_baseline_changed(self) -> None:
        label = self._workspace.baseline_label or "none"
        self.baseline_button.setText(f"{label} ▾")

    def _refresh_refusals(self) -> None:
        for control in self.controls:
            control.refresh_refusals()


class RowsScroll(QScrollArea):
    """The rows of inputs: as wide as there is room, a few of them high; the rest scrolls."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("input_rows")
        self.setAccessibleName("Inputs")
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.viewport().setAutoFillBackground(False)
        self.verticalScrollBar().valueChanged.connect(self._stop_at_row)

    def show_rows(self, body: QWidget) -> None:
        """Replace what is shown; the former rows are deleted."""
        old = self.takeWidget()
        if old is not None:
            old.hide()
            old.deleteLater()
        self.setWidget(body)
        # setWidget turns it on; the window's ground is to show through.
        body.setAutoFillBackground(False)
        self.updateGeometry()
        self.verticalScrollBar().setSingleStep(self._row_px())

    def _row_px(self) -> int:
        """From one row to the next, all as high as the highest."""
        body = self.widget()
        grid = body.layout() if body is not None else None
        rows = grid.rowCount() if isinstance(grid, QGridLayout) else 1
        return (body.sizeHint().height() + ROW_GAP) // rows if body is not None else ROW_GAP

    def _stop_at_row(self, value: int) -> None:
        """No row is cut."""
        bar, step = self.verticalScrollBar(), self._row_px()
        if value != bar.maximum():
            bar.setValue(min(round(value / step) * step, bar.maximum()))

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.updateGeometry()

    def sizeHint(self) -> QSize:
        body = self.widget()
        if body is None:
            return QSize(0, 0)
        wanted = body.sizeHint()
        grid = body.layout()
        rows = grid.rowCount() if isinstance(grid, QGridLayout) else 1
        height = wanted.height()
        if rows > MOST_ROWS:
            height = MOST_ROWS * self._row_px() - ROW_GAP
        if body.minimumSizeHint().width() > self.width() > 0:
            height += self.horizontalScrollBar().sizeHint().height()
        return QSize(wanted.width(), height)

    def minimumSizeHint(self) -> QSize:
        return QSize(ROWS_PX, self.sizeHint().height())


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Names in which the parts that tell nothing apart are elided: ``…3…key`` of ``past.3.self_attention.key``.

    Compared are names of equally many parts between points and slashes; a name without others like it stays.
    """
    alike: dict[int, list[tuple[str, list[str]]]] = {}
    for name in dict.fromkeys(names):
        parts = re.split(r"[./]", name)
        alike.setdefault(len(parts), []).append((name, parts))
    short: dict[str, str] = {}
    for group in alike.values():
        told = [len(set(column)) > 1 for column in zip(*(parts for _, parts in group), strict=True)]
        for name, parts in group:
            kept = "".join(
                part if shows else "\0" for part, shows in zip(_joined(parts, told), told, strict=True)
            )
            short[name] = re.sub("\0+", "…", kept) if len(group) > 1 else name
    return short


def _joined(parts: list[str], told: list[bool]) -> list[str]:
    """``parts`` with a point before those that follow one that is shown too."""
    return [f".{part}" if at and told[at - 1] else part for at, part in enumerate(parts)]


def _fixed_text(spec: InputSpec) -> str:
    """The sizes that nothing moves: ``3 channels``, and a dtype that is not float32."""
    fixed = [f"{dim.size} {dim.label}" for dim in spec.dims if dim.symbol is None and dim.label != "size"]
    plain = [str(dim.size) for dim in spec.dims if dim.symbol is None and dim.label == "size"]
    if plain:
        fixed.append("×".join(plain))
    if spec.dtype != "float32":
        fixed.append(spec.dtype)
    return " · ".join(fixed)
