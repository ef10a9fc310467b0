"""Errors a user can act on: typed arguments in, one clear sentence out.

Anything that is not an :class:`EngineError` is a bug; it travels as kind ``"bug"`` with its traceback.
Plain data only: both processes import this module.
"""

from __future__ import annotations

import traceback
from typing import Any

import msgspec
from msgspec import Struct

from engine.contents import Candidate, Contents


class ErrorInfo(Struct, frozen=True):
    """An error as it crosses the process boundary."""

    kind: str
    """``load``, ``unsupported``, ``input``, ``missing_shape``, ``architecture``, ``layer``, ``consent``, ``real_run``,
    ``cancelled``, ``export`` or ``bug``."""
    message: str
    """One sentence: what was wrong and where."""
    hint: str = ""
    """What to do about it; may be empty."""
    file: str = ""
    layer: str = ""
    """Path of the module that failed, ``""`` when the error is not tied to one."""
    expected: str = ""
    got: str = ""
    details: tuple[str, ...] = ()
    """For ``consent``: what would run. For ``real_run``: why, and what it would take."""
    digest: str = ""
    """For ``consent``: SHA-256 of the content the user is asked about."""
    contents: Contents | None = None
    """For ``consent``, ``architecture`` and ``unsupported``: what the file holds, where it could be read safely."""
    candidates: tuple[Candidate, ...] = ()
    """For ``architecture``: what the weights may belong to, the best fit first."""
    traceback: str = ""

    @property
    def sentence(self) -> str:
        """Message and hint as one line."""
        return f"{self.message} {self.hint}".strip()


class EngineError(Exception):
    """Base of every error that is the input's or the request's fault, not ours."""

    kind = "load"

    def __init__(self, message: str, *, hint: str = "", file: str = "", layer: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.file = file
        self.layer = layer

    def info(self) -> ErrorInfo:
        """This error as plain data, with the cause's traceback for the details button."""
        cause = self.__cause__
        text = "".join(traceback.format_exception(cause)) if cause is not None else ""
        whole = ErrorInfo(self.kind, self.message, self.hint, self.file, self.layer, traceback=text)
        return msgspec.structs.replace(whole, **self._more())

    def _more(self) -> dict[str, Any]:
        """Further fields of the ErrorInfo."""
        return {}


class LoadError(EngineError):
    """The source cannot be read or built."""


class UnsupportedModelError(EngineError):
    """The source is readable, but no analysis of it is possible; ``contents`` says what it holds."""

    kind = "unsupported"

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        file: str = "",
        layer: str = "",
        contents: Contents | None = None,
    ) -> None:
        super().__init__(message, hint=hint, file=file, layer=layer)
        self.contents = contents

    def _more(self) -> dict[str, Any]:
        return {"contents": self.contents}


class ArchitectureRequiredError(EngineError):
    """The file holds weights alone: the user has to say which architecture they belong to."""

    kind = "architecture"

    def __init__(
        self, message: str, *, hint: str, file: str, contents: Contents, candidates: tuple[Candidate, ...]
    ) -> None:
        super().__init__(message, hint=hint, file=file)
        self.contents = contents
        self.candidates = candidates

    def _more(self) -> dict[str, Any]:
        return {"contents": self.contents, "candidates": self.candidates}


class InputError(EngineError):
    """A shape, dtype, edit or option of the request does not fit the model."""

    kind = "input"


class MissingShapeError(InputError):
    """The source does not say what its inputs are and nothing in it lets us guess."""

    kind = "missing_shape"


class ExportError(EngineError):
    """A report cannot be written or read."""

    kind = "export"


class LayerError(EngineError):
    """The forward pass stopped inside a layer.

    ``expected`` and ``got`` name shapes where the failing operation is known to compare them.
    """

    kind = "layer"

    def __init__(
        self, message: str, *, layer: str, hint: str = "", expected: str = "", got: str = ""
    ) -> None:
        super().__init__(message, hint=hint, layer=layer)
        self.expected = expected
        self.got = got

    def _more(self) -> dict[str, Any]:
        return {"expected": self.expected, "got": self.got}


class ConsentRequiredError(EngineError):
    """Opening this source runs code of its author; the user has not agreed yet."""

    kind = "consent"

    def __init__(
        self,
        message: str,
        *,
        file: str,
        digest: str,
        details: tuple[str, ...],
        contents: Contents | None = None,
    ) -> None:
        super().__init__(
            message, hint="Pass --trust (or agree in the window) if you trust its author.", file=file
        )
        self.digest = digest
        self.details = details
        self.contents = contents

    def _more(self) -> dict[str, Any]:
        return {"digest": self.digest, "details": self.details, "contents": self.contents}


class RealRunRequiredError(EngineError):
    """Neither meta nor fake tensors can trace this model; a real CPU run could, if the user agrees."""

    kind = "real_run"

    def __init__(self, message: str, *, layer: str, details: tuple[str, ...]) -> None:
        super().__init__(
            message, hint="Allow a real run on the CPU (--allow-real-run) to analyse it.", layer=layer
        )
        self.details = details

    def _more(self) -> dict[str, Any]:
        return {"details": self.details}


class CancelledError(EngineError):
    """The user, or a newer request, asked to stop."""

    kind = "cancelled"

    def __init__(self) -> None:
        super().__init__("Cancelled.")


_NO_MEMORY = ("can't allocate memory", "not enough memory", "Cannot allocate memory", "bad_alloc")
"""How torch's CPU allocator, the system and C++ libraries say it."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that an allocation failed."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, (RuntimeError, OSError)) and any(words in str(error) for words in _NO_MEMORY)


def describe(error: BaseException) -> ErrorInfo:
    """Any exception as :class:`ErrorInfo`: an :class:`EngineError` in its own words, else a bug with its traceback."""
    if isinstance(error, EngineError):
        return error.info()
    return ErrorInfo(
        kind="bug",
        message=f"Internal error: {type(error).__name__}: {error}",
        hint="The log has the traceback.",
        traceback="".join(traceback.format_exception(error)),
    )
