"""What changed against the baseline: a sentence, where the change sits, and the edits as Python to copy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from urllib.parse import quote, unquote

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from engine import numbers
from engine.measured_summary import latency_sentences
from engine.metrics import METRIC
from engine.reconciliation import Reconciliation
from engine.results import Analysis
from engine.summary import Contributor, Sentence, Summary, summarise
from gui.models.cells import LayerCells
from gui.models.comparison import Comparer
from gui.rich_text import rich
from gui.selection import Selection
from gui.theme import Theme, ThemeManager, mono_font
from gui.views.dimmer import Dimmer
from gui.views.elided_label import ElidedLabel
from gui.views.throttle import Throttle
from gui.workspace import Workspace

LINK = "node:"
LEAST_PX = 20
MOST_LINES = 8
"""Of code; more scroll."""


class WhatChangedPanel(QFrame):
    """Reads the workspace's analysis, baseline and edits; a click on a layer makes it the current one."""

    def __init__(
        self,
        workspace: Workspace,
        selection: Selection,
        theme: ThemeManager,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setObjectName("what_changed")
        self.setProperty("panel", True)
        self.setAccessibleName("What changed")
        self._workspace = workspace
        self._selection = selection
        self._theme = theme
        self._comparer = Comparer()
        self._summarised: tuple[Analysis, Analysis | None, str, LayerCells, Summary] | None = None
        self._timed: Summary | None = None
        """What is on the screen together with sentences about measured times; None without such sentences."""
        self._build()
        self._later = Throttle(self.refresh, self)
        workspace.analysis_changed.connect(self._later.request)
        workspace.model_changed.connect(self.refresh)
        workspace.baseline_changed.connect(self.refresh)
        workspace.count_mode_changed.connect(self.refresh)
        workspace.configuration_changed.connect(self._on_configuration_changed)
        workspace.failure_changed.connect(self.refresh)
        workspace.stale_changed.connect(self._show_failure)
        theme.changed.connect(self._on_theme_changed)
        self.refresh()

    def _build(self) -> None:
        title = QLabel("What changed", self)
        title.setProperty("role", "title")
        self._against = ElidedLabel(parent=self)
        self._against.setObjectName("what_changed_baseline")
        self._against.setProperty("role", "secondary")
        self._against.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self._reset = self._button("Reset edits", "reset_edits", "Take back every edit; input sizes stay")
        self._reset.clicked.connect(self._workspace.reset_edits)
        self._copy = self._button("Copy as Python", "copy_python", "Copy the edits as lines of Python")
        self._copy.clicked.connect(self.copy_python)
        head = QHBoxLayout()
        head.setContentsMargins(12, 8, 8, 8)
        head.setSpacing(8)
        head.addWidget(title)
        head.addWidget(self._against, 1)
        head.addWidget(self._copy)

        body = QWidget(self)
        self._failure = self._text(body, "what_changed_failure")
        self._headline = self._text(body, "what_changed_headline")
        self._where = self._text(body, "what_changed_where")
        self._parts = self._text(body, "what_changed_parts")
        self._python = self._text(body, "what_changed_python")
        self._python.setAccessibleName("Edits as Python")
        self._python.setFont(mono_font())
        self._python.setWordWrap(False)
        self._code = CodeArea(self._python, body)
        self._dimmer = Dimmer((self._headline, self._where, self._parts))
        column = QVBoxLayout(body)
        column.setContentsMargins(12, 4, 12, 12)
        column.setSpacing(8)
        self._params = self._text(body, "what_changed_params")
        for part in (self._failure, self._headline, self._where, self._params, self._parts, self._code):
            column.addWidget(part)
        column.addWidget(self._reset, 0, Qt.AlignmentFlag.AlignLeft)
        column.addStretch(1)
        scroll = QScrollArea(self)
        scroll.setObjectName("what_changed_scroll")
        scroll.setWidgetResizable(True)
        # It shares a low window with the charts.
        scroll.setMinimumHeight(LEAST_PX)
        scroll.setWidget(body)
        body.setAutoFillBackground(False)
        scroll.viewport().setAutoFillBackground(False)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(1, 1, 1, 1)
        layout.setSpacing(0)
        layout.addLayout(head)
        layout.addWidget(scroll, 1)

    def _button(self, text: str, name: str, tooltip: str) -> QPushButton:
        button = QPushButton(text, self)
        button.setObjectName(name)
        button.setAccessibleName(text)
        button.setToolTip(tooltip)
        return button

    def _text(self, parent: QWidget, name: str) -> QLabel:
        label = QLabel(parent)
        label.setObjectName(name)
        label.setWordWrap(True)
        label.setTextFormat(Qt.TextFormat.RichText)
        label.setTextInteractionFlags(Qt.TextInteractionFlag.TextBrowserInteraction)
        label.linkActivated.connect(self._on_link)
        return label

    # -- what it shows -------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Compare the workspace's analysis with its baseline."""
        analysis, baseline = self._workspace.analysis, self._workspace.baseline
        theme = self._theme.current
        self._timed = None
        self._show_edits()
        self._show_failure()
        if analysis is None:
            self._summarised = None
            self._show_nothing("Open a model, change something, and the difference is told here.")
            return
        mode = self._workspace.count_mode
        comparison, summary = self._summary_of(analysis, baseline, mode)
        if self._workspace.failure is not None and summary.is_empty:
            self._show_nothing("")
            return
        if baseline is None:
            self._show_nothing("No baseline to compare with. Set one to see what a change costs.")
            return
        if summary.is_empty:
            self._show_nothing(f"Nothing yet: this is the baseline. {self._invitation()}")
            return
        against = f"against {self._workspace.baseline_label}"
        self._against.setText(against)
        self._against.setToolTip(against)
        self._headline.setText(_html(summary.headline, theme))
        self._headline.show()
        measured = latency_sentences(comparison, mode) if self._workspace.is_current else ()
        self._timed = summary if measured else None
        self._show_where(summary, measured, theme)
        self._params.setText(_params_html(summary.params, theme) if summary.params is not None else "")
        self._params.setVisible(summary.params is not None)
        self._parts.setText(
            _contributors_html(summary.contributors, METRIC[self._workspace.count_mode].label, theme)
        )
        self._parts.setVisible(len(summary.contributors) > 1)

    def _summary_of(
        self, analysis: Analysis, baseline: Analysis | None, mode: str
    ) -> tuple[LayerCells, Summary]:
        """Made once: other colours and a failure say the same in other words."""
        known = self._summarised
        if known is None or known[0] is not analysis or known[1] is not baseline or known[2] != mode:
            comparison = self._comparer.compare(analysis, baseline)
            known = self._summarised = (analysis, baseline, mode, comparison, summarise(comparison, mode))
        return known[3], known[4]

    def _show_where(self, summary: Summary, measured: tuple[Sentence, ...], theme: Theme) -> None:
        told = summary.params.sentence if summary.params is not None else ""  # in a table of its own
        lines = [rich(line) for line in summary.circumstances if line != told]
        if measured:
            lines.append(" ".join(_html(sentence, theme) for sentence in measured))
        sentences = " ".join(_html(sentence, theme) for sentence in summary.where)
        html = "<br>".join([*lines, sentences] if sentences else lines)
        self._where.setText(f"<span style='color:{theme.secondary}'>{html}</span>")
        self._where.setVisible(bool(html))

    def _invitation(self) -> str:
        """What can be changed in this model."""
        model = self._workspace.model
        if model is None or not model.no_edits:
            return "Move a slider, change an attribute or remove a layer."
        slider = "Move a slider. " if self._workspace.symbols() else ""
        return f"{slider}{model.no_edits}"

    def _show_nothing(self, sentence: str) -> None:
        self._against.clear()
        self._headline.hide()
        self._params.hide()
        self._parts.hide()
        self._where.setText(f"<span style='color:{self._theme.current.secondary}'>{rich(sentence)}</span>")
        self._where.setVisible(bool(sentence))

    def _show_failure(self) -> None:
        """What the numbers on the screen belong to while the configuration asked for has none."""
        failure, analysis = self._workspace.failure, self._workspace.analysis
        stale = self._workspace.stale and analysis is not None
        self._dimmer.set_dimmed(stale)
        self._failure.setVisible(failure is not None or stale)
        theme = self._theme.current
        lines = []
        if failure is not None:
            reason = rich(first_sentence(failure.error.message))
            lines.append(f"<b style='color:{theme.caution}'>Not computed.</b> {reason}")
        if analysis is not None:
            shown = f"The numbers shown belong to the last good state: {last_state(analysis)}."
            lines.append(f"<span style='color:{theme.secondary}'>{rich(shown)}</span>")
        self._failure.setText("<br>".join(lines))

    def _on_configuration_changed(self) -> None:
        self._show_edits()
        if self._timed is not None and not self._workspace.is_current:
            # Times of what is no longer asked for are not for a moment told as if they were of it.
            self._show_where(self._timed, (), self._theme.current)
            self._timed = None

    def _show_edits(self) -> None:
        """The edits asked for, also while (or because) their result is not there."""
        lines = self._python_lines()
        self._python.setText(_code_html(lines, self._theme.current))
        self._code.setVisible(bool(lines))
        self._code.updateGeometry()
        for button in (self._copy, self._reset):
            button.setVisible(bool(lines))
        self._reset.setEnabled(self._workspace.editable)

    def _python_lines(self) -> list[str]:
        configuration, analysis = self._workspace.configuration, self._workspace.analysis
        if configuration is None or analysis is None:
            return []
        return analysis.python_lines(configuration.edits)

    # -- slots ---------------------------------------------------------------------------------------------------

    def copy_python(self) -> None:
        """The edits as Python to the clipboard."""
        lines = self._python_lines()
        if lines:
            QGuiApplication.clipboard().setText("\n".join(lines) + "\n")
            self._workspace.noticed.emit(
                f"Copied {len(lines)} line{'s' if len(lines) > 1 else ''} of Python."
            )

    def _on_link(self, link: str) -> None:
        if link.startswith(LINK):
            self._selection.set_current(unquote(link.removeprefix(LINK)))

    def _on_theme_changed(self) -> None:
        self._python.setFont(mono_font())
        self.refresh()


class CodeArea(QScrollArea):
    """Lines of code that scroll by themselves: however long they are, what stands around them stays in sight."""

    def __init__(self, code: QLabel, parent: QWidget) -> None:
        super().__init__(parent)
        self._code = code
        self.setObjectName("what_changed_code")
        self.setAccessibleName("Edits as Python")
        self.setWidgetResizable(True)
        self.setWidget(code)
        code.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
        code.setAutoFillBackground(False)
        self.viewport().setAutoFillBackground(False)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:
        code = self._code.sizeHint()
        most = self.fontMetrics().lineSpacing() * MOST_LINES
        return QSize(code.width(), min(code.height(), most) + self.horizontalScrollBar().sizeHint().height())

    def minimumSizeHint(self) -> QSize:
        return QSize(0, self.sizeHint().height())


def first_sentence(text: str) -> str:
    """``text`` up to its first full stop; a point inside a name (``layer1.0``) is none."""
    end = text.find(". ")
    return text if end < 0 else text[: end + 1]


def last_state(analysis: Analysis) -> str:
    """``x 1×3×224×224, 2 edits``: the configuration of an analysis in words."""
    edits = len(analysis.configuration.edits)
    words = "no edits" if not edits else f"{edits} edit{'s' if edits > 1 else ''}"
    return f"{numbers.inputs(analysis.configuration.inputs)}, {words}"


def _html(sentence: Sentence, theme: Theme) -> str:
    parts = []
    for span in sentence:
        text = rich(span.text)
        if span.node is not None:
            parts.append(_link(span.node, text, theme))
        else:
            parts.append(f"<b style='color:{theme.text}'>{text}</b>" if span.strong else text)
    return "".join(parts)


def _code_html(lines: Sequence[str], theme: Theme) -> str:
    ground = f"background-color:{theme.window}; color:{theme.text}"
    # Spaces at the beginning of a line mean something in Python, and nothing in HTML.
    indents = ("&nbsp;" * (1 + len(line) - len(line.lstrip(" "))) for line in lines)
    return "<br>".join(
        f"<span style='{ground}'>{indent}{rich(line.lstrip(' '))}&nbsp;</span>"
        for indent, line in zip(indents, lines, strict=True)
    )


def _link(node: str, text: str, theme: Theme) -> str:
    return f"<a href='{LINK}{quote(node)}' style='color:{theme.accent}; text-decoration:none'>{text}</a>"


def _params_html(params: Reconciliation, theme: Theme) -> str:
    """Why the file has other parameters than the model it comes from, in lines that sum to the difference."""
    quiet = f"color:{theme.secondary}"
    rows = [("Baseline", "", f"{params.before:,}")]
    rows += [(line.what, line.where, line.change) for line in params.lines]
    rows.append(("This model", "", f"{params.after:,}"))
    body = (
        f"<tr><td align='right'>{rich(count)}&nbsp;&nbsp;</td><td>{rich(what)} "
        f"<span style='{quiet}'>{rich(where)}</span></td></tr>"
        for what, where, count in rows
    )
    title = f"<tr><td colspan='2' style='{quiet}'>Parameters, line by line</td></tr>"
    return f"<table cellpadding='2' cellspacing='0'>{title}{''.join(body)}</table>"


def _contributors_html(parts: Iterable[Contributor], label: str, theme: Theme) -> str:
    """The largest parts of the difference, as a small table."""
    rows = [
        f"<tr><td colspan='4' style='color:{theme.secondary}'>Most of the difference in {label}</td></tr>"
    ]
    rows += [
        f"<tr><td>{_link(part.node, rich(part.label), theme)}&nbsp;&nbsp;</td>"
        f"<td align='right'>{rich(part.change)}&nbsp;&nbsp;</td>"
        f"<td align='right' style='color:{theme.secondary}'>{rich(part.share)}&nbsp;&nbsp;</td>"
        f"<td align='right' style='color:{theme.secondary}'>{rich(part.difference)}</td></tr>"
        for part in parts
    ]
    return f"<table cellpadding='2' cellspacing='0'>{''.join(rows)}</table>"
