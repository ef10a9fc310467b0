"""The inspector: everything about the current node, its attributes as editors, and the button that removes it."""

from __future__ import annotations

from dataclasses import replace

from PySide6.QtCore import Qt
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import (
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from engine.edits import SetAttribute
from engine.graph import AttributeValue
from engine.results import Analysis
from engine.tree_values import is_same
from gui.models.attribute_forms import form_of, is_shown
from gui.models.comparison import Comparer, idle_rows_of
from gui.models.details import Details, MetricLine, details
from gui.models.failing import failing_layer
from gui.models.removal import Removal, module_path, removal, removals
from gui.rich_text import rich
from gui.selection import Selection
from gui.state_words import belongs_to
from gui.theme import SECONDARY_PX, Theme, ThemeManager, mono_font
from gui.tooltips import plain_tooltip
from gui.views.attribute_editors import AttributeEditor, EditValue
from gui.views.dimmer import Dimmer
from gui.views.elided_label import ElidedLabel
from gui.views.throttle import Throttle
from gui.workspace import Workspace

LABEL_WIDTH = 84
MARGIN = 12
SCROLL_BAR = 14
"""With the frame's own lines."""


class InspectorPanel(QFrame):
    """Follows the current node of the selection and the workspace's analysis."""

    def __init__(
        self,
        workspace: Workspace,
        selection: Selection,
        theme: ThemeManager,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setObjectName("inspector")
        self.setProperty("panel", True)
        self.setAccessibleName("Inspector")
        self._workspace = workspace
        self._selection = selection
        self._theme = theme
        self._comparer = Comparer()
        self._removal: Removal | None = None
        self._source = ""
        self._path = ""
        """The layer that is shown, of the model from that source."""
        self._bound = ("", "")
        """Source and path that the editors are of."""
        self._kind = ""
        """The subtitle, but for what the numbers belong to."""
        self._editors: dict[str, AttributeEditor] = {}
        self._labels: dict[str, QLabel] = {}
        self._metrics: tuple[MetricLine, ...] = ()
        self._numbers_px = 0
        """Width of the whole table of numbers."""
        self._is_narrow = False
        self._editors_for: tuple[object, ...] = ()
        self._build()
        self._later = Throttle(self.refresh, self)
        workspace.analysis_changed.connect(self._later.request)
        workspace.model_changed.connect(self.refresh)
        workspace.baseline_changed.connect(self.refresh)
        workspace.failure_changed.connect(self.refresh)
        workspace.stale_changed.connect(self._show_stale)
        workspace.configuration_changed.connect(self._on_configuration_changed)
        selection.current_changed.connect(self.refresh)
        theme.changed.connect(self._on_theme_changed)
        self.refresh()

    # -- set-up --------------------------------------------------------------------------------------------------

    def _build(self) -> None:
        self._title = _elided(self, "inspector_title", role="title")
        self._subtitle = _elided(self, "inspector_subtitle", role="secondary")
        self._remove = QPushButton("Remove layer", self)
        self._remove.setObjectName("inspector_remove")
        self._remove.setAccessibleName("Remove layer")
        self._remove.clicked.connect(self._on_remove_clicked)
        head = QHBoxLayout()
        head.setContentsMargins(12, 8, 8, 8)
        head.setSpacing(8)
        titles = QVBoxLayout()
        titles.setSpacing(0)
        titles.addWidget(self._title)
        titles.addWidget(self._subtitle)
        head.addLayout(titles, 1)
        head.addWidget(self._remove)

        body = QWidget(self)
        self._grid = QGridLayout(body)
        self._grid.setContentsMargins(12, 4, 12, 12)
        self._grid.setHorizontalSpacing(12)
        self._grid.setVerticalSpacing(6)
        self._grid.setColumnStretch(1, 1)
        self._facts = _label(body, "inspector_facts", wrap=True)
        self._attributes = QWidget(body)
        self._attributes.setObjectName("inspector_attributes")
        self._attribute_grid = QGridLayout(self._attributes)
        self._attribute_grid.setContentsMargins(0, 0, 0, 0)
        self._attribute_grid.setHorizontalSpacing(12)
        self._attribute_grid.setVerticalSpacing(4)
        self._attribute_grid.setColumnMinimumWidth(0, LABEL_WIDTH)
        self._attribute_grid.setColumnStretch(3, 1)
        self._formula = _label(body, "inspector_formula", wrap=True)
        self._formula.setFont(mono_font())
        self._formula.setAccessibleName("Formula")
        self._numbers = _label(body, "inspector_numbers")
        self._numbers.setAccessibleName("Exact values")
        column = QVBoxLayout()
        column.setSpacing(10)
        for part in (self._facts, self._attributes, self._formula, self._numbers):
            column.addWidget(part)
        column.addStretch(1)
        self._grid.addLayout(column, 0, 0, 1, 2)
        self._scroll = QScrollArea(self)
        self._scroll.setObjectName("inspector_scroll")
        self._scroll.setWidgetResizable(True)
        self._scroll.setWidget(body)
        body.setAutoFillBackground(False)
        self._scroll.viewport().setAutoFillBackground(False)

        self._dimmer = Dimmer((self._facts, self._formula, self._numbers))
        self._empty = _label(self, "inspector_empty", role="secondary", wrap=True)
        self._empty.setText("Select a layer to see its shapes, formula and exact numbers.")
        self._empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(1, 1, 1, 1)
        layout.setSpacing(0)
        layout.addLayout(head)
        layout.addWidget(self._scroll, 1)
        layout.addWidget(self._empty, 1)

    # -- what it shows -------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Show the current node of the current analysis; fields being edited keep their text."""
        analysis, current = self._workspace.analysis, self._selection.current
        if current is not None:
            self._turn_to(module_path(current))
        shown = self._details(analysis, current)
        for widget in (self._subtitle, self._remove, self._scroll):
            widget.setVisible(shown is not None)
        self._empty.setVisible(shown is None)
        if shown is None or analysis is None or current is None:
            self._title.setText("Inspector")
            return
        self._title.setText(shown.title)
        self._kind = shown.subtitle
        self._show_stale()
        self._show_removal()
        self._facts.setText(_facts_html(shown, self._theme.current))
        self._facts.setVisible(bool(shown.facts))
        self._show_editors(shown)
        self._formula.setText(shown.formula)
        self._formula.setVisible(bool(shown.formula))
        self._metrics = shown.metrics
        self._show_numbers()

    def _show_stale(self) -> None:
        """Fade the numbers and say what they belong to while that is not what is asked for."""
        workspace = self._workspace
        words = ""
        if workspace.analysis is not None and workspace.stale:
            words = belongs_to(workspace.analysis.configuration, workspace.configuration)
        self._dimmer.set_dimmed(bool(words))
        self._subtitle.setText(" · ".join(part for part in (words, self._kind) if part))

    def _on_configuration_changed(self) -> None:
        if self._workspace.stale:
            self._show_stale()
        self._show_removal()
        if not self._workspace.is_current and any(_is_fresh_time(line) for line in self._metrics):
            # What was measured looks old at once; counted numbers may take a moment.
            self._metrics = tuple(
                replace(line, faded=True) if line.metric.measured else line for line in self._metrics
            )
            self._show_numbers()

    def _details(self, analysis: Analysis | None, current: str | None) -> Details | None:
        if analysis is None or current is None:
            return None
        baseline, failure = self._workspace.baseline, self._workspace.failure
        hidden = idle_rows_of(analysis)
        if current in analysis.layers.id:
            # A row that costs nothing has a page of its own when it is asked for.
            hidden -= {analysis.layers.id.index(current)}
        cells = self._comparer.compare(analysis, baseline, hidden=hidden, failed=failing_layer(failure))
        cells.outdated = not self._workspace.is_current
        cells.removals = removals(self._workspace.edits) if failure is not None else frozenset()
        node = cells.structure.find(current)
        if node is None:
            node = cells.structure.find(module_path(current))
        if node is None:
            return None
        error = failure.error if failure is not None else None
        return details(cells, node, compare=not is_same(analysis, baseline), failure=error)

    def _turn_to(self, path: str) -> None:
        """Another layer is shown: what is half typed is of the one before, and its value."""
        source = self._workspace.model.source if self._workspace.model is not None else ""
        if (source, path) == (self._source, self._path):
            return
        same, self._source, self._path = source == self._source, source, path
        for editor in list(self._editors.values()) if same else ():
            editor.finish()

    def _show_removal(self) -> None:
        analysis = self._workspace.analysis
        if analysis is None:
            return
        able = removal(analysis, self._path, self._workspace.edits, self._workspace.no_edits)
        self._removal = able
        self._remove.setText(able.label)
        self._remove.setAccessibleName(able.label)
        self._remove.setToolTip(plain_tooltip(able.tooltip))
        self._remove.setEnabled(not able.obstacle)

    def _show_editors(self, shown: Details) -> None:
        """Keep the editors while there are the same kinds of fields; a tick must not take the focus."""
        wanted = tuple((field, form_of(field, value)) for field, value in shown.editable)
        bound, self._bound = self._bound, (self._source, self._path)
        if wanted != self._editors_for:
            self._editors_for = wanted
            self._make_editors(shown)
        no_edits = self._workspace.no_edits
        pending = self._pending()
        for field, value in shown.editable:
            if (editor := self._editors.get(field)) is None:
                continue
            asked = _as_wide(field, pending.get(field, value), value)
            if bound == self._bound:
                editor.set_value(asked)
            else:
                editor.bind(self._path, asked)
            editor.set_obstacle(no_edits)
        self._attributes.setVisible(bool(self._editors))
        # Who sends the keyboard here (Enter in the tree) gets to the first field, or to scrolling.
        self.setFocusProxy(next(iter(self._editors.values()), self._scroll))

    def _pending(self) -> dict[str, EditValue]:
        """What was asked for: a value the model refuses stays in its field, so that the next one can complete it."""
        return {
            e.field: e.value
            for e in self._workspace.edits
            if isinstance(e, SetAttribute) and e.layer == self._path
        }

    def _make_editors(self, shown: Details) -> None:
        while (item := self._attribute_grid.takeAt(0)) is not None:
            widget = item.widget()
            if widget is not None:
                widget.hide()
                widget.deleteLater()
        self._editors.clear()
        self._labels.clear()
        for field, value in shown.editable:
            if not is_shown(value):
                continue
            editor = AttributeEditor(self._path, field, value, self._attributes)
            editor.committed.connect(self._on_committed)
            label = _label(self._attributes, f"attribute_label_{field}", role="secondary", wrap=True)
            label.setText(field.replace("_", " ").capitalize())
            label.show()
            editor.show()
            self._labels[field], self._editors[field] = label, editor
        self._place_editors()

    def _place_editors(self) -> None:
        """Two editors beside each other where both find room."""
        widest = max((editor.sizeHint().width() for editor in self._editors.values()), default=0)
        room = self._room
        label = max((label.sizeHint().width() for label in self._labels.values()), default=0)
        across = 2 if 2 * (widest + max(label, LABEL_WIDTH) + 2 * MARGIN) <= room else 1
        for number, (field, editor) in enumerate(self._editors.items()):
            row, place = divmod(number, across)
            self._labels[field].setMaximumWidth(room if across == 2 else max(room - widest - MARGIN, 0))
            self._attribute_grid.addWidget(self._labels[field], row, 2 * place)
            self._attribute_grid.addWidget(editor, row, 2 * place + 1)

    def _show_numbers(self) -> None:
        """Where not everything fits, the baseline's values are left to the tree's tooltips, and names wrap."""
        theme = self._theme.current
        self._numbers.setWordWrap(False)
        self._numbers.setText(_numbers_html(self._metrics, theme, narrow=False))
        self._numbers_px = self._numbers.sizeHint().width()
        self._is_narrow = self._numbers_px > self._room
        if self._is_narrow:
            self._numbers.setWordWrap(True)
            self._numbers.setText(_numbers_html(self._metrics, theme, narrow=True))

    @property
    def _room(self) -> int:
        """Pixels across for what scrolls."""
        return self.width() - 2 * MARGIN - SCROLL_BAR

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._place_editors()
        if self._is_narrow != (self._numbers_px > self._room):
            self._show_numbers()

    # -- slots ---------------------------------------------------------------------------------------------------

    def _on_committed(self, layer: str, field: str, value: EditValue) -> None:
        model = self._workspace.model
        # A field may be left as another model takes the place of the one that it is of.
        if model is not None and model.source == self._source:
            self._workspace.set_attribute(layer, field, value)

    def _on_remove_clicked(self) -> None:
        able = self._removal
        if able is None:
            return
        if able.is_removed:
            self._workspace.restore_layer(able.path)
        else:
            self._workspace.remove_layer(able.path)

    def _on_theme_changed(self) -> None:
        self._formula.setFont(mono_font())
        self.refresh()


def _is_fresh_time(line: MetricLine) -> bool:
    return line.metric.measured and not line.faded


def _elided(parent: QWidget, name: str, role: str) -> QLabel:
    label = ElidedLabel(parent=parent)
    label.setObjectName(name)
    label.setProperty("role", role)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
    return label


def _label(parent: QWidget, name: str, role: str = "", wrap: bool = False) -> QLabel:
    label = QLabel(parent)
    label.setObjectName(name)
    label.setWordWrap(wrap)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    if role:
        label.setProperty("role", role)
    return label


def _facts_html(shown: Details, theme: Theme) -> str:
    rows = (
        f"<tr><td width='{LABEL_WIDTH + 12}' style='color:{theme.secondary}'>{rich(label)}</td>"
        f"<td>{rich(text)}</td></tr>"
        for label, text in shown.facts
    )
    return f"<table cellpadding='1' cellspacing='0' width='100%'>{''.join(rows)}</table>"


def _numbers_html(lines: tuple[MetricLine, ...], theme: Theme, *, narrow: bool) -> str:
    """``narrow`` leaves out the baseline's values; the difference stays."""
    compared = any(line.before for line in lines)
    heads = ["", "Exact", "Share"]
    if compared:
        heads += ["Δ"] if narrow else ["Before", "Δ"]
    small = f"color:{theme.secondary}; font-size:{SECONDARY_PX}px"
    gap = "&nbsp;" if narrow else "&nbsp;&nbsp;"
    label_width = "" if narrow else f"width='{LABEL_WIDTH + 12}'"
    table = ["<table cellpadding='2' cellspacing='0'><tr>"]
    table += [f"<td align='right' style='{small}'>{head}</td>" for head in heads]
    table.append("</tr>")
    for line in lines:
        # Rich text knows no opacity; the facts say what old times belong to.
        quiet = theme.disabled if line.faded else theme.secondary
        ink = f"color:{theme.disabled if line.faded else theme.text}"
        table.append(f"<tr><td {label_width} style='color:{quiet}'>{line.metric.label}</td>")
        if narrow and line.metric.suffix:
            unit = f"<span style='{small}'>{rich(line.share)}</span>"
            table.append(f"<td align='right' colspan='2' style='{ink}'>{rich(line.exact)} {unit}</td>")
        else:
            table.append(
                f"<td align='right' style='{ink}'>{rich(line.exact)}</td>"
                f"<td align='right' style='color:{quiet}'>{gap}{rich(line.share)}</td>"
            )
        if compared and not narrow:
            table.append(f"<td align='right' style='color:{quiet}'>{gap}{rich(line.before)}</td>")
        if compared:
            tone = theme.disabled if line.faded else theme.color(line.tone).name()
            # Nothing of times that were measured apart draws the eye.
            weight = 400 if line.metric.measured else 600
            table.append(
                f"<td align='right' style='color:{tone}; font-weight:{weight}'>{gap}{rich(line.difference)}</td>"
            )
        table.append("</tr>")
    table.append("</table>")
    return "".join(table)


def _as_wide(field: str, value: AttributeValue, like: AttributeValue) -> AttributeValue:
    """``1`` as ``(1, 1)`` where the layer has one number per axis."""
    if isinstance(like, tuple) and isinstance(value, int):
        return (value,) * len(like)
    return value if form_of(field, value) == form_of(field, like) else like
