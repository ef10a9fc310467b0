"""Work in a thread of its own, so that an interrupt reaches the caller while a forward pass runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from threading import Event
from typing import TypeVar

T = TypeVar("T")

JOIN_S = 0.5
"""Windows hands a Ctrl-C over only between waits."""


def in_own_thread(stop: Event, work: Callable[[], T]) -> T:
    """``work()`` in a new thread; sets ``stop`` when the caller is interrupted meanwhile, and waits for its end."""
    results: list[T] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=body, name="measuring", daemon=True)
    try:
        thread.start()
        while thread.is_alive():
            thread.join(JOIN_S)
    except BaseException:
        stop.set()
        if thread.ident is not None:
            thread.join()
        raise
    if errors:
        # Its traceback leads here: kept in a local variable, it would keep the model's tensors until a collection.
        raise errors.pop()
    return results[0]
