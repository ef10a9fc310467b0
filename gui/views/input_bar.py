"""What goes into the model: its adjustable sizes, stated assumptions, and what results are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from PySide6.QtCore import QTimer
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QHBoxLayout, QLabel, QMenu, QToolButton, QVBoxLayout, QWidget

from engine.graph import InputSpec
from gui import sizes
from gui.settings import Settings
from gui.theme import ThemeManager
from gui.views.assumptions import AssumptionsButton
from gui.views.size_control import SizeControl
from gui.workspace import REPORT_REASON, Workspace

REFUSALS_MS = 120
"""Shading waits this long after the last change: it is no part of a slider's tick."""


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
        self._rows = QVBoxLayout()
        self._rows.setSpacing(4)
        layout.addLayout(self._rows, 1)
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
        if self._body is not None:
            self._rows.removeWidget(self._body)
            self._body.hide()
            self._body.deleteLater()
        self.controls.clear()
        self._body = QWidget(self)
        rows = QVBoxLayout(self._body)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setSpacing(4)
        shown: set[str] = set()
        titles: list[QLabel] = []
        for spec in self._workspace.specs:
            symbols = [dim.symbol for dim in spec.dims if dim.symbol is not None]
            fresh = list(dict.fromkeys(symbol for symbol in symbols if symbol not in shown))
            if symbols and not fresh and titles:
                titles[-1].setText(f"{titles[-1].text()}, {spec.name}")
                continue
            shown.update(fresh)
            row, title = self._row(spec, fresh)
            titles.append(title)
            rows.addLayout(row)
        if not self._workspace.specs:
            rows.addLayout(self._empty_row())
        self._rows.addWidget(self._body)
        self._show_assumptions()
        self._refusals_timer.start()

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

    def _row(self, spec: InputSpec, symbols: list[str]) -> tuple[QHBoxLayout, QLabel]:
        row = QHBoxLayout()
        row.setSpacing(16)
        title = QLabel(spec.name or "input", self._body)
        title.setProperty("role", "title")
        title.setToolTip(f"Input {spec.name}, {spec.dtype}")
        row.addWidget(title)
        snap = self._settings.flag("input/snap", True)
        pending = [symbol for symbol in symbols if self._workspace.dim_of(symbol).label != "batch"]
        pending += [symbol for symbol in symbols if symbol not in pending]
        first = True
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
            row.addWidget(control)
            first = False
        fixed = QLabel(_fixed_text(spec), self._body)
        fixed.setProperty("role", "secondary")
        fixed.setToolTip("Fixed by the model's structure." if self._workspace.editable else REPORT_REASON)
        row.addWidget(fixed)
        row.addStretch(1)
        return row, title

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


def _fixed_text(spec: InputSpec) -> str:
    """The sizes that nothing moves: ``3 channels``, and a dtype that is not float32."""
    fixed = [f"{dim.size} {dim.label}" for dim in spec.dims if dim.symbol is None and dim.label != "size"]
    plain = [str(dim.size) for dim in spec.dims if dim.symbol is None and dim.label == "size"]
    if plain:
        fixed.append("×".join(plain))
    if spec.dtype != "float32":
        fixed.append(spec.dtype)
    return " · ".join(fixed)
