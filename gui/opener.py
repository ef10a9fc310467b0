"""Opens models: what the user is asked on the way, changed files, and opening again after the engine died."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QObject, Signal

from engine import sources
from engine.configuration import Configuration
from engine.errors import ErrorInfo, InputError
from engine.graph import InputShape
from engine.protocol import Analyzed, Failed, Opened
from engine.results import Analysis
from gui import sizes
from gui.analysis_queue import AnalysisQueue
from gui.engine_client import EngineClient
from gui.file_watch import FileWatch
from gui.opening import ArchitectureRequest, ConsentRequest, Opening, Plan, Reason, planned_inputs
from gui.settings import Settings

MAX_CRASHES = 2
"""A model while whose opening the engine died this often is given up."""


class Opener(QObject):
    """From a request to the first analysis; until then nothing on the screen changes."""

    finished = Signal(object, object, object)
    """(Opening, Analysis | None, Failed | None): the engine holds the model, its first analysis is there or failed."""
    failed = Signal(str, object)
    """(source, ErrorInfo)"""
    consent_required = Signal(object)
    """ConsentRequest; answer with :meth:`agree` or :meth:`decline`."""
    shapes_required = Signal(object)
    """ErrorInfo: the model does not say what its inputs are; answer with :meth:`give_shapes` or :meth:`decline`."""
    architecture_required = Signal(object)
    """ArchitectureRequest: the file holds weights alone; answer with :meth:`choose` or :meth:`decline`."""
    question_withdrawn = Signal()
    """Nobody waits for the user's answer any more: another model is opened, or a report is shown."""
    consent_revoked = Signal()
    """What may run was taken back, perhaps of the model on the screen: see :attr:`consent`."""
    noticed = Signal(str)
    changed = Signal()
    """Something was sent, has come back, or waits for the user."""

    def __init__(
        self,
        engine: EngineClient,
        queue: AnalysisQueue,
        settings: Settings,
        asked: Callable[[], Configuration | None],
        parent: QObject | None = None,
    ) -> None:
        """``asked`` gives the configuration of the model on the screen, to be kept when it is opened again."""
        super().__init__(parent)
        self._engine = engine
        self._queue = queue
        self._settings = settings
        self._asked = asked
        self._opening: Opening | None = None
        self._question: Opening | None = None
        self._in_engine = False
        self._refusal: ErrorInfo | None = None
        self._dropped: Opening | None = None
        self._origin: Opening | None = None
        self._trusted_paths: set[str] = set()
        self._changed = ""
        """The watched file, once it changed while something was being opened or asked."""
        self._fresh: Plan | None = None
        """What to ask of the watched file when it is opened again, once we replaced it ourselves."""
        self._watch = FileWatch(self)
        self._watch.changed.connect(self._on_file_changed)
        engine.opened.connect(self._on_opened)
        engine.analyzed.connect(self._on_analyzed)
        engine.failed.connect(self._on_failed)
        engine.crashed.connect(self._on_crashed)
        engine.restarted.connect(self._on_restarted)
        engine.gave_up.connect(self._on_gave_up)

    @property
    def under_way(self) -> Opening | None:
        """What the engine is opening; None also while the user is asked."""
        return self._opening

    @property
    def can_reload(self) -> bool:
        return self._origin is not None

    @property
    def origin(self) -> Opening | None:
        """How the model on the screen was opened; None for an opened report."""
        return self._origin

    @property
    def refusal(self) -> ErrorInfo | None:
        """Why the engine does not have the model on the screen any more; None while it has, or is to get it."""
        return self._refusal

    @property
    def consent(self) -> tuple[bool, str]:
        """(trust, digest) for opening the model on the screen once more: a consent may have been taken back since."""
        origin = self._origin
        if origin is None:
            return False, ""
        if self.runs_on_change:
            return True, ""
        trust = origin.trust and (not origin.digest or self._settings.agreed(origin.digest))
        return trust, origin.digest if trust else ""

    @property
    def watched(self) -> str:
        """The file whose change opens the model again; ``""`` for none."""
        return self._watch.path

    @property
    def runs_on_change(self) -> bool:
        """Whether the user agreed that the watched file's code runs again when it changes."""
        return self._watch.path in self._trusted_paths

    @property
    def trusted_paths(self) -> tuple[str, ...]:
        """Files whose code runs again when they change, until the window closes."""
        return tuple(sorted(self._trusted_paths))

    # -- requests ------------------------------------------------------------------------------------------------

    def open(self, opening: Opening) -> None:
        """Open a model instead of whatever is being opened."""
        if self._opening is not None:
            self._engine.cancel(self._opening.request)
        if opening.reason == "user":
            self._withdraw_question()
        self._opening = opening
        self._send(opening)

    def reload(self) -> None:
        """Open the model on the screen again, with the trust that was given."""
        if self._origin is not None:
            self.open(self._again("reload"))

    def open_with(self, inputs: tuple[InputShape, ...]) -> None:
        """Open the model on the screen again with these inputs, and the trust that was given."""
        if self._origin is not None:
            opening = self._again("user")
            opening.inputs, opening.plan = inputs, Plan(inputs=inputs)
            self.open(opening)

    def take_replaced(self, plan: Plan) -> None:
        """We wrote the watched file ourselves: the model on the screen starts anew from it, as ``plan`` says.

        What led to it is in the file now, and must not be asked of it once more.
        """
        self._watch.accept()
        self._fresh = plan
        busy = self._opening is not None and self._opening.reason == "user"
        if busy or self._question is not None:
            self._changed = self._watch.path
        else:
            self._reload_changed(self._watch.path)

    def cancel(self) -> None:
        """Stop opening, if need be with the engine; the model on the screen stays."""
        if self._opening is not None:
            self._opening.cancelled = True
            self._engine.cancel(self._opening.request)

    def forget(self) -> None:
        """A report takes the model's place: nothing is opened again."""
        self.cancel()
        self._withdraw_question()
        self._opening = self._dropped = self._origin = self._fresh = None
        self._changed = ""
        self._refusal = None
        self._watch.watch("")
        self._queue.release()

    def agree(self, digest: str, *, watch: bool = False) -> None:
        """The user lets the code with this digest run; with ``watch`` also whatever its file holds later."""
        opening, self._question = self._question, None
        if opening is not None:
            asked = opening.question
            contents = asked.contents if asked is not None else None
            file = asked.file if asked is not None and asked.file else opening.source
            self._settings.agree(digest, file, contents.kind if contents is not None else "python")
            opening.runs_on_change = watch
            opening.trust, opening.digest = True, digest
            self.open(opening)

    def distrust(self, path: str) -> None:
        """Ask again before the code of this file runs once it has changed."""
        self._trusted_paths.discard(path)
        origin = self._origin
        if origin is not None and self._watch.path == path:
            origin.runs_on_change = False
            origin.trust = origin.trust and bool(origin.digest)
        self.changed.emit()
        self.consent_revoked.emit()

    def revoke(self, digest: str) -> None:
        """Ask again before the code with this SHA-256 is opened; what is open stays open."""
        self._settings.revoke(digest)
        self.consent_revoked.emit()

    def choose(self, source: str) -> None:
        """The source to open instead: the weights together with what they belong to."""
        opening, self._question = self._question, None
        if opening is not None:
            opening.source = source
            # What the user trusted was the file, of which nothing runs now; the architecture may be other code.
            opening.trust, opening.digest = False, ""
            self.open(opening)

    def give_shapes(self, inputs: tuple[InputShape, ...]) -> None:
        """The inputs of the model that is being opened."""
        opening, self._question = self._question, None
        if opening is not None:
            opening.inputs = inputs
            self.open(opening)

    def decline(self) -> None:
        """The user answers a question with no: everything stays as it is."""
        opening, self._question = self._question, None
        if opening is None:
            return
        if opening.reason == "restart":
            self._refusal = _not_trusted_again()
            self.failed.emit(opening.source, self._refusal)
        else:
            self._say_unopened(opening)
        if self._opening is None:
            self._end()

    def _withdraw_question(self) -> None:
        if self._question is not None:
            self._question = None
            self.question_withdrawn.emit()

    def _send(self, opening: Opening) -> None:
        opening.opened = opening.question = None
        self._dropped = None
        self._queue.hold()
        if self._engine.state == "failed":
            self._engine.restart()
        # Without a process nothing is sent; it is when the engine has been restarted.
        opening.request = self._engine.open(opening.source, opening.trust, opening.digest, opening.inputs)
        self.changed.emit()

    def _ask(self, opening: Opening, question: ErrorInfo) -> bool:
        """The user has to answer first; the model on the screen stays usable. False if they are asked already."""
        free = self._question is None
        if free:
            self._question = opening
            opening.question = question
        self._end(again=free and opening.reason != "restart")
        return free

    def _end(self, *, again: bool = True) -> None:
        """Nothing is being opened any more; with ``again``, an engine that lost the screen's model gets it back."""
        self._opening = None
        # What the engine refuses, or the user does not let run again, waits until someone asks for it.
        lost = self._origin is not None and not self._in_engine and self._refusal is None
        if again and lost and self._engine.state not in ("failed", "stopped"):
            self.open(self._again("restart"))
        else:
            self.changed.emit()
            self._queue.release()
            if again and self._question is None:
                self._follow_change()

    def _again(self, reason: Reason) -> Opening:
        origin = self._origin
        assert origin is not None
        trust, digest = self.consent
        return Opening(origin.source, reason, trust, digest, origin.inputs)

    # -- answers -------------------------------------------------------------------------------------------------

    def _on_opened(self, event: Opened) -> None:
        opening = self._opening
        # Whatever was opened, also something the user no longer waits for, took the place of what was there.
        self._in_engine = False
        if opening is None or event.id != opening.request:
            return
        if opening.cancelled:
            # It was ready before the engine heard that nobody wants it any more.
            self._end()
            self._say_unopened(opening)
            return
        opening.opened = event
        asked = self._asked()
        keep = opening.reason != "user" and asked is not None and sizes.matches(event.inputs, asked.inputs)
        configuration = asked if keep and asked is not None else _first_configuration(opening, event)
        opening.configuration = configuration
        given_up = self._queue.gave_up_on(configuration)
        if given_up is not None:
            self._finish(None, Failed(0, given_up))
            return
        opening.request = self._engine.analyze(configuration)
        self.changed.emit()

    def _on_analyzed(self, event: Analyzed) -> None:
        if self._opening is not None and event.id == self._opening.request:
            self._finish(event.analysis, None)

    def _finish(self, analysis: Analysis | None, failure: Failed | None) -> None:
        opening, self._opening = self._opening, None
        assert opening is not None
        assert opening.opened is not None
        self._origin, self._in_engine, self._refusal = opening, True, None
        self._fresh = None
        path = opening.opened.watch
        self._watch.watch(path)
        if path and opening.trust and (opening.runs_on_change or not opening.digest):
            self._trusted_paths.add(path)
        self.finished.emit(opening, analysis, failure)
        self.changed.emit()
        if opening.configuration is not None:
            self._queue.answered(opening.configuration)
        self._queue.release()
        self._follow_change()

    def _on_failed(self, event: Failed) -> None:
        opening, error = self._opening, event.error
        if opening is None or event.id != opening.request:
            return
        if error.kind == "consent" and (not opening.trust or error.digest != opening.digest):
            self._on_consent(opening, error)
        elif error.kind == "missing_shape" and opening.reason == "user":
            if self._ask(opening, error):
                self.shapes_required.emit(error)
        elif error.kind == "architecture" and opening.reason == "user":
            if self._ask(opening, error):
                self.architecture_required.emit(ArchitectureRequest(opening.source, error))
        elif opening.opened is None:
            if opening.reason == "restart":
                self._refusal = _cancelled_again() if error.kind == "cancelled" else error
            self._end()
            self._say(opening, error)
        elif error.kind != "cancelled" and _is_asked_size(opening):
            # What is refused is asked for once more after the model is there, as a step that can be undone.
            opening.configuration = sizes.default_configuration(opening.opened.inputs)
            opening.request = self._engine.analyze(opening.configuration)
        elif error.kind != "cancelled" or opening.reason != "user":
            self._finish(None, event)
        else:
            # The engine already holds the model whose analysis was cancelled: back to the one on the screen.
            self._end()
            self._say(opening, error)

    def _say(self, opening: Opening, error: ErrorInfo) -> None:
        if error.kind == "cancelled":
            self._say_unopened(opening)
        else:
            self.failed.emit(opening.source, error)

    def _say_unopened(self, opening: Opening) -> None:
        self.noticed.emit(f"{sources.short(opening.source)} was not opened.")

    def _on_consent(self, opening: Opening, error: ErrorInfo) -> None:
        if self._settings.agreed(error.digest):
            opening.trust, opening.digest = True, error.digest
            self._send(opening)
        elif self._ask(opening, error):
            self.consent_required.emit(ConsentRequest(opening.source, error))

    def _on_file_changed(self, path: str) -> None:
        if self._opening is not None or self._question is not None:
            self._changed = path
        else:
            self._reload_changed(path)

    def _follow_change(self) -> None:
        """Open the model again if its file changed while something else was under way."""
        path, self._changed = self._changed, ""
        if path and path == self._watch.path:
            self._reload_changed(path)

    def _reload_changed(self, path: str) -> None:
        fresh, self._fresh = self._fresh, None
        if fresh is not None and self._origin is not None:
            opening = self._again("user")
            opening.plan = fresh
            self.open(opening)
            return
        self.noticed.emit(f"{Path(path).name} changed and is opened again.")
        self.reload()

    # -- a new engine --------------------------------------------------------------------------------------------

    def _on_crashed(self) -> None:
        opening = self._opening
        self._in_engine = False
        if opening is not None:
            opening.crashes += 1
            if opening.opened is not None and opening.configuration is not None:
                self._queue.note_crash(opening.configuration)

    def _on_restarted(self) -> None:
        """A new engine knows nothing: give it what was being opened, else the model on the screen."""
        opening, self._refusal = self._opening, None
        cancelled = opening is not None and opening.cancelled
        if (
            opening is not None
            and opening.reason == "user"
            and opening.crashes < MAX_CRASHES
            and not cancelled
        ):
            self._send(opening)
            return
        self._opening = None
        if opening is not None and cancelled:
            self._say_unopened(opening)
        elif opening is not None and opening.crashes >= MAX_CRASHES and opening.opened is None:
            self.failed.emit(
                opening.source,
                ErrorInfo(
                    "crash",
                    f"The engine ended {MAX_CRASHES} times while it opened {sources.short(opening.source)}.",
                    "It may need more memory than this machine has.",
                    traceback=self._engine.stderr_text,
                ),
            )
            if opening.reason != "user":
                self._end(again=False)
                return
        if self._dropped is not None:
            self._dropped.crashes = 0
            self.open(self._dropped)
        elif self._origin is not None:
            again = self._again("restart")
            again.crashes = opening.crashes if opening is not None and opening.reason == "restart" else 0
            self.open(again)
        else:
            self._end()

    def _on_gave_up(self, sentence: str) -> None:
        """There is no engine until someone restarts it; what was to be opened is opened then."""
        opening = self._opening
        if opening is None:
            return
        self._end(again=False)
        if opening.reason == "user":
            self._dropped = opening
            self.failed.emit(opening.source, ErrorInfo("crash", sentence))


def _not_trusted_again() -> ErrorInfo:
    """The engine is a new one, and the user does not let the model's code run in it."""
    return ErrorInfo(
        "consent",
        "What is on the screen stays, but nothing new can be computed: its code may not run again.",
        "Open it again (F5) to be asked once more.",
    )


def _cancelled_again() -> ErrorInfo:
    """The engine is a new one, and the user did not wait until it had the model."""
    return ErrorInfo(
        "load",
        "What is on the screen stays, but nothing new can be computed: the new engine does not have the model.",
        "Open it again (F5).",
    )


def _first_configuration(opening: Opening, event: Opened) -> Configuration:
    """What the model is shown at first, and compared with: its own sizes, or those asked for where it can have them."""
    default = sizes.default_configuration(event.inputs)
    if opening.crashes:
        return default
    try:
        inputs = planned_inputs(opening.plan, default.inputs)
    except InputError:
        return default
    return Configuration(inputs) if sizes.matches(event.inputs, inputs) else default


def _is_asked_size(opening: Opening) -> bool:
    """Whether the first analysis is of sizes that the user stated, instead of the model's own."""
    opened = opening.opened
    return (
        opening.reason == "user"
        and opened is not None
        and opening.configuration != sizes.default_configuration(opened.inputs)
    )
