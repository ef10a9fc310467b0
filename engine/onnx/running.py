"""A run by onnxruntime that can be stopped, and what onnxruntime says when it fails, in sentences."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Event
from typing import Any

from engine.errors import CancelledError, is_out_of_memory
from engine.graph import InputShape
from engine.onnx.run_model import FOLDER_ENTRY, RunModel, seeded_inputs
from engine.onnx.runtime import onnxruntime

LOOK_EVERY_S = 0.02
"""How often the watch looks whether to stop: a wake-up takes some 10 µs."""
SILENT = 4
"""Only what ends the process is logged: errors come as exceptions, and are told once."""


@contextmanager
def watched(stop: Event, end: Callable[[], None]) -> Iterator[None]:
    """Calls ``end()`` from another thread soon after ``stop`` is set, while this is open."""
    done = Event()

    def watch() -> None:
        while not done.wait(LOOK_EVERY_S):
            if stop.is_set():
                end()
                return

    thread = threading.Thread(target=watch, name="stop watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def quiet_options(folder: str = "") -> Any:
    """SessionOptions for a model whose external data are in ``folder``, of which nothing is logged."""
    made = onnxruntime().SessionOptions()
    made.log_severity_level = SILENT
    if folder:
        made.add_session_config_entry(FOLDER_ENTRY, folder)
    return made


def made_up(
    inputs: Collection[InputShape], assumed: Mapping[str, Mapping[int, int]] | None = None
) -> dict[str, Any]:
    """As run_model.seeded_inputs, all of them OrtValues."""
    kind = onnxruntime().OrtValue
    return {
        name: value if isinstance(value, kind) else kind.ortvalue_from_numpy(value)
        for name, value in seeded_inputs(inputs, assumed).items()
    }


def run_once(
    given: RunModel, stop: Event, names: Sequence[str] | None = None, *, optimised: bool = True
) -> list[Any]:
    """The outputs ``names``, or all, of one pass on made-up inputs in a session of its own, as OrtValues.

    ``stop`` ends it while the model is loaded and between two nodes, also in a body: CancelledError. A failed
    allocation is a MemoryError; everything else is raised as onnxruntime has it, in exceptions without a common base.
    """
    runtime = onnxruntime()
    options = quiet_options(given.folder)
    if not optimised:
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    run_options = runtime.RunOptions()
    run_options.log_severity_level = SILENT

    def end() -> None:
        options.set_load_cancellation_flag(True)
        run_options.terminate = True

    if stop.is_set():
        raise CancelledError()
    with watched(stop, end):
        try:
            session = runtime.InferenceSession(given.model, options, providers=["CPUExecutionProvider"])
            made: list[Any] = session.run_with_ort_values(
                names, made_up(given.inputs, given.assumed), run_options
            )
        except Exception as error:
            if stop.is_set():
                raise CancelledError() from error
            if out_of_memory(error):
                raise MemoryError(sentence(error)) from error
            raise
    return made


# -- what onnxruntime says when it fails -------------------------------------------------------------------------


_CODE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : (\w+) : ")
_NODE = re.compile(r"(?:Name:|node with name |Node \()'?([^')]+)['\)]")
_STATUS = re.compile(r"Status Message: (.*)", re.DOTALL)
_PLACE = re.compile(r"\S*\.(?:cc|h):\d+ .*?\)(?:::<lambda\(\)>)? ")
"""Where in onnxruntime's own source: file, line and function."""
_FILE = re.compile(r"Load model from .*? failed:\s*")


def error_code(error: BaseException) -> str:
    """``NOT_IMPLEMENTED``, ``INVALID_GRAPH`` …; empty where it has none."""
    found = _CODE.match(str(error))
    return found[1] if found else ""


def failed_node(error: BaseException) -> str:
    """The name of the node that stopped it; empty where it names none."""
    found = _NODE.search(str(error))
    return found[1] if found else ""


def out_of_memory(error: BaseException) -> bool:
    """Whether it says that an allocation failed."""
    text = str(error)
    return is_out_of_memory(error) or "Failed to allocate memory" in text or "bad allocation" in text


def sentence(error: BaseException) -> str:
    """The first line of what matters, without onnxruntime's own file names."""
    text = _CODE.sub("", str(error))
    status = _STATUS.search(text)
    line = (status[1] if status else text).strip().splitlines()[:1]
    words = _PLACE.sub("", _FILE.sub("", line[0])) if line else type(error).__name__
    words = words.removesuffix(" node with name ''")
    return words.strip().rstrip(".") + "."
