"""A quiet strip above the panels: what failed, where, and what to do. The numbers below it stay."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QSizePolicy, QToolButton, QWidget

from engine import sources
from engine.errors import ErrorInfo
from gui.foreign_text import short_words
from gui.selection import Selection
from gui.sizes import size_text
from gui.views.actions import Actions
from gui.views.text_dialog import TextDialog
from gui.workspace import Workspace

NOT_WRITTEN = "The report was not written."
TEXT_PX = 160
"""Narrowest the sentence gets."""
LONGEST_TEXT = 480
"""Characters of the whole sentence; the details have all of it."""


class Banner(QFrame):
    """The failure of the configuration asked for or the last thing that was not opened or written: the newer one."""

    real_run_asked = Signal(object)
    """ErrorInfo of kind ``real_run``."""
    contents_asked = Signal(object)
    """ErrorInfo with contents."""

    def __init__(
        self, workspace: Workspace, selection: Selection, actions: Actions, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.setObjectName("banner")
        self.setAccessibleName("Problem")
        self._workspace = workspace
        self._selection = selection
        self._error: ErrorInfo | None = None
        self._other: tuple[str, ErrorInfo] | None = None
        layout = QHBoxLayout(self)
        layout.setContentsMargins(12, 6, 8, 6)
        layout.setSpacing(8)
        self.sign = QLabel("⚠", self)
        self.sign.setProperty("role", "caution")
        layout.addWidget(self.sign)
        self.text = QLabel(self)
        self.text.setWordWrap(True)
        self.text.setTextFormat(Qt.TextFormat.PlainText)
        self.text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.text.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.text.setMinimumWidth(TEXT_PX)
        self.text.setAccessibleName("What failed")
        layout.addWidget(self.text, 1)
        self.real_run = self._button("Allow a real run…", "Run the model once on the CPU, with real weights")
        self.restart = self._button("Restart engine", "A fresh engine process")
        self.retry = self._button("Try again", "Ask for the same configuration again")
        self.undo = self._button("Undo", "Take back the last change")
        self.shapes = self._button("Input shapes…", actions.input_shapes.toolTip())
        self.go = self._button("Go to layer", "Select the layer that stopped the forward pass")
        self.contents = self._button("File contents…", "What is in the file, without running anything of it")
        self.details = self._button("Details…", "The whole error, with its traceback if there is one")
        self.copy = self._button("Copy", "Copy the error as text")
        self.dismiss = self._button("✕", "Close this message")
        self.dismiss.setAccessibleName("Close message")
        for button in (
            self.real_run,
            self.restart,
            self.retry,
            self.undo,
            self.shapes,
            self.go,
            self.contents,
            self.details,
            self.copy,
            self.dismiss,
        ):
            layout.addWidget(button)
        self.real_run.clicked.connect(self._on_real_run)
        self.retry.clicked.connect(workspace.retry)
        self.restart.clicked.connect(actions.engine_restart.trigger)
        self.undo.clicked.connect(workspace.undo_stack.undo)
        self.shapes.clicked.connect(actions.input_shapes.trigger)
        self.go.clicked.connect(self._on_go)
        self.contents.clicked.connect(self._on_contents)
        self.details.clicked.connect(self._on_details)
        self.copy.clicked.connect(self._on_copy)
        self.dismiss.clicked.connect(self._on_dismiss)
        workspace.failure_changed.connect(self._on_failure_changed)
        workspace.open_failed.connect(self._on_open_failed)
        workspace.inspect_failed.connect(self._on_inspect_failed)
        workspace.exported.connect(self._on_exported)
        workspace.export_failed.connect(self._on_export_failed)
        workspace.import_failed.connect(self._on_import_failed)
        workspace.save_failed.connect(self._on_save_failed)
        workspace.opening_began.connect(self.leave_other_file)
        workspace.model_changed.connect(self._on_dismiss)
        workspace.reloaded.connect(self._on_dismiss)
        self._refresh()

    def _button(self, words: str, what: str) -> QToolButton:
        button = QToolButton(self)
        button.setText(words)
        button.setToolTip(what)
        button.setAccessibleName(words.rstrip("…"))
        button.setObjectName("banner_" + words.rstrip("…").lower().replace(" ", "_"))
        button.setProperty("flat", "true")
        return button

    @property
    def error(self) -> ErrorInfo | None:
        """What is shown, None while the banner is hidden."""
        return self._error

    def show_problem(self, title: str, error: ErrorInfo) -> None:
        """Show something other than the failure of a configuration; it stays until it is closed."""
        self._other = (title, error)
        self._refresh()

    def engine_is_back(self) -> None:
        """A message that there is no engine is over."""
        if self._other is not None and self._other[1].kind == "engine":
            self._on_dismiss()

    def _on_failure_changed(self) -> None:
        # The newest problem is the one to read; only a missing engine explains all the others.
        if (
            self._workspace.failure is not None
            and self._other is not None
            and self._other[1].kind != "engine"
        ):
            self._other = None
        self._refresh()

    def _on_open_failed(self, source: str, error: ErrorInfo) -> None:
        self.show_problem(f"{sources.short(source)} was not opened.", error)

    def _on_inspect_failed(self, path: str, error: ErrorInfo) -> None:
        self.show_problem(f"{sources.short(path)} cannot be shown.", error)

    def _on_exported(self) -> None:
        if self._other is not None and self._other[0] == NOT_WRITTEN:
            self._on_dismiss()

    def _on_export_failed(self, error: ErrorInfo) -> None:
        self.show_problem(NOT_WRITTEN, error)

    def _on_import_failed(self, error: ErrorInfo) -> None:
        if error.kind == "cancelled":
            self._workspace.noticed.emit("The profile was not imported.")
        else:
            self.show_problem("The profile was not imported.", error)

    def _on_save_failed(self, error: ErrorInfo) -> None:
        if error.kind == "cancelled":
            self._workspace.noticed.emit("The model was not saved.")
        else:
            self.show_problem("The model was not saved.", error)

    def leave_other_file(self) -> None:
        """The user turns to another file: what was wrong with the last one says nothing about it."""
        if self._other is not None and self._other[1].kind != "engine":  # that still explains what fails
            self._on_dismiss()

    def _on_dismiss(self) -> None:
        self._other = None
        self._refresh()

    def _refresh(self) -> None:
        failure = self._workspace.failure
        if self._other is not None:
            title, self._error = self._other
        else:
            title, self._error = "", failure.error if failure is not None else None
        error = self._error
        if error is None:
            self.hide()
            return
        own = self._other is None
        suspect = own and self._workspace.suspects_inputs
        if suspect and self._workspace.guessed_inputs:
            title = self._guess_words()
        sentence = f"{title} {error.sentence}".strip()
        told = all(words in error.sentence for words in (error.expected, error.got))
        if not told:
            sentence += f" Expected {error.expected or 'something else'}, got {error.got or 'this'}."
        self.text.setText(shortened(sentence))
        self.real_run.setVisible(own and error.kind == "real_run")
        self.restart.setVisible(error.kind == "engine")
        self.retry.setVisible(own and error.kind in ("cancelled", "crash", "bug"))
        self.undo.setVisible(own and self._workspace.undo_stack.canUndo())
        self.shapes.setVisible(suspect)
        self.go.setVisible(own and bool(error.layer))
        self.contents.setVisible(error.contents is not None)
        self.dismiss.setVisible(not own)
        self.show()

    def _guess_words(self) -> str:
        asked = self._workspace.configuration
        inputs = f" {size_text(asked.inputs)}" if asked is not None else ""
        return f"The input{inputs} was guessed, as the source states none: Input shapes… gives another."

    def _on_real_run(self) -> None:
        if self._error is not None:
            self.real_run_asked.emit(self._error)

    def _on_go(self) -> None:
        if self._error is not None:
            self._selection.set_current(self._error.layer)

    def _on_copy(self) -> None:
        if self._error is not None:
            QGuiApplication.clipboard().setText(error_text(self._error))

    def _on_contents(self) -> None:
        if self._error is not None:
            self.contents_asked.emit(self._error)

    def _on_details(self) -> None:
        if self._error is not None:
            TextDialog("Details", self._error.message, error_text(self._error), self.window()).open()


def shortened(text: str) -> str:
    """``text`` with words of a length that a line can break at, and not more than the banner should be high."""
    whole = short_words(text)
    if len(whole) <= LONGEST_TEXT:
        return whole
    return whole[: LONGEST_TEXT - 2].rpartition(" ")[0] + " …"


def error_text(error: ErrorInfo) -> str:
    """Everything known about an error, for a dialog and the clipboard."""
    lines = [error.message, error.hint]
    for label, value in (
        ("File", error.file),
        ("Layer", error.layer),
        ("Expected", error.expected),
        ("Got", error.got),
    ):
        if value:
            lines.append(f"{label}: {value}")
    lines.extend(error.details)
    if error.traceback:
        lines.extend(["", error.traceback])
    return "\n".join(line for line in lines if line or line == "").strip()
