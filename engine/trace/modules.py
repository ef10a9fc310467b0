"""Which module is running: a stack of frames kept by wrapping ``nn.Module.__call__`` while a trace runs.

Wrapping the call, rather than registering hooks, costs half a microsecond per module, leaves the modules untouched
and cannot change which path a module takes (TransformerEncoderLayer looks for hooks before it fuses).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

NO_AUTOCAST = "autocast has no effect on meta tensors"


class Frame:
    """One running call of a module. ``counts`` numbers the operations of one kind within this call."""

    __slots__ = ("counts", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self.counts: dict[tuple[str, str], int] = {}


def module_paths(model: nn.Module) -> dict[int, str]:
    """By id of the module: its first registered path."""
    return {id(module): path for path, module in model.named_modules()}


class ModuleStack:
    """The frames of the modules being called, innermost last, and how often each module was called.

    A module that is not part of the traced model (made during the forward pass) runs in its caller's name.
    """

    def __init__(self, path_of: dict[int, str]) -> None:
        self.path_of = path_of
        self.frames = [Frame("")]
        self.calls: dict[str, int] = {}
        self.failed_path: str | None = None
        """Innermost module that the latest exception left, None while nothing failed."""
        self._failed: BaseException | None = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While active, every module call in this thread's process is a frame. Not reentrant; one trace at a time."""
        original = nn.Module.__call__
        path_of, frames, calls = self.path_of, self.frames, self.calls

        def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            path = path_of.get(id(module))
            if path is None:
                path = frames[-1].path
            else:
                calls[path] = calls.get(path, 0) + 1
            frames.append(Frame(path))
            try:
                return original(module, *args, **kwargs)
            except BaseException as error:
                if self._failed is not error:
                    self._failed, self.failed_path = error, path
                raise
            finally:
                frames.pop()

        nn.Module.__call__ = call  # type: ignore[method-assign]
        try:
            yield
        finally:
            nn.Module.__call__ = original  # type: ignore[method-assign]


@contextmanager
def refusing_autocast(active: bool) -> Iterator[None]:
    """While ``active``, entering ``torch.autocast`` raises: it does nothing on meta and dtypes would be wrong.

    Fake tensors follow it; NO_AUTOCAST in the message sends the trace there.
    """
    if not active:
        yield
        return
    enter = torch.autocast.__enter__

    def refuse(context: torch.autocast) -> Any:
        if context._enabled:
            raise NotImplementedError(NO_AUTOCAST)
        return enter(context)

    torch.autocast.__enter__ = refuse  # type: ignore[method-assign]
    try:
        yield
    finally:
        torch.autocast.__enter__ = enter  # type: ignore[method-assign]
