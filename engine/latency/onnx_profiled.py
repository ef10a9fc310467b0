"""A second session of the same options that profiles: which kernels it has, whose work they do, how long each takes."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import onnx
import psutil

from engine.configuration import Configuration
from engine.guard import memory_errors
from engine.latency.onnx_ready import ReadyOnnx, ready
from engine.latency.onnx_sessions import create, give_up_others, session_options
from engine.onnx.fusion import Fusion, fusion, kernels_of
from engine.onnx.profile import RunProfile
from engine.onnx.profile_file import MOST_EVENTS, read_profile
from engine.onnx.run_model import RunModel, run_model
from engine.results import Layers

if TYPE_CHECKING:
    from engine.latency.onnx_backend import OnnxBackend

log = logging.getLogger(__name__)

FOLDER = "misnomer-profile-"
GRAPH, WEIGHTS = "optimised.onnx", "optimised.data"
EXTERNAL_BYTES = "1024"
"""Weights above go into a file of their own, which nobody reads."""
LEAST_RUNS = 4
"""Runs that a profile is worth having for: the first, and some that count."""


class Profiled:
    """A session that profiles every run until :meth:`end`."""

    def __init__(self, prepared: ReadyOnnx, fusion: Fusion, session: object, executed: int) -> None:
        self.forward = prepared.forward
        self.fusion = fusion
        self.most_runs = max(1, MOST_EVENTS // max(executed, 1))
        """So many have all their kernels in the profile."""
        self._session = session

    def end(self, stop: Event) -> tuple[RunProfile, ...]:
        """All runs so far, in order, less the last where they have too many kernels; there can be no more."""
        file = Path(self._session.end_profiling())  # type: ignore[attr-defined]
        try:
            return read_profile(file, stop).runs
        finally:
            file.unlink(missing_ok=True)


def executed_kernels(layers: Layers) -> int:
    """Of one run, about: nodes of bodies once per trip. Fewer where kernels are fused."""
    return sum(layers.calls)


def untimed(device: str, layers: Layers) -> str:
    """Why kernels are not timed one by one; ``""`` where they are."""
    if device != "cpu":
        return f"onnxruntime's profile has the time in which kernels are sent to {device}, not theirs"
    count = executed_kernels(layers)
    if count * LEAST_RUNS <= MOST_EVENTS:
        return ""
    return f"one run executes some {count:,} kernels: too many to time one by one"


@contextmanager
def profiled(backend: OnnxBackend, configuration: Configuration, stop: Event) -> Iterator[Profiled]:
    """Makes the session, in a folder that is gone afterwards. Raises what onnx_sessions.create does."""
    model, run = backend.session, _named(backend, configuration)
    layers = model.analyze(configuration, stop=stop).layers
    give_up_others(model, backend.key(configuration))
    folder = new_folder()
    session = None
    try:
        options = session_options(backend.threads, backend.runtime, run.folder)
        options.enable_profiling = True
        options.profile_file_prefix = str(folder / "profile")
        writes = has_room(folder, model.weight_bytes_of(configuration))
        if writes:
            options.optimized_model_filepath = str(folder / GRAPH)
            options.add_session_config_entry(
                "session.optimized_model_external_initializers_file_name", WEIGHTS
            )
            options.add_session_config_entry(
                "session.optimized_model_external_initializers_min_size_in_bytes", EXTERNAL_BYTES
            )
        with memory_errors(model.info.name):
            session = create(model, configuration, run, options, backend.device, stop)
            (folder / WEIGHTS).unlink(missing_ok=True)
            graph = model.edited(configuration.edits).graph
            kernels = kernels_of(onnx.load(folder / GRAPH, load_external_data=False).graph) if writes else ()
            with ready(model, session, configuration, stop) as prepared:
                yield Profiled(prepared, fusion(graph, kernels), session, executed_kernels(layers))
    finally:
        # Its profile is written when it goes.
        del session
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def fresh(backend: OnnxBackend, configuration: Configuration, stop: Event) -> Iterator[ReadyOnnx]:
    """A session of the same options that has not run and does not profile. Raises what onnx_sessions.create does."""
    model, run = backend.session, backend.run_model(configuration)
    give_up_others(model, backend.key(configuration))
    options = session_options(backend.threads, backend.runtime, run.folder)
    with memory_errors(model.info.name):
        session = create(model, configuration, run, options, backend.device, stop)
        with ready(model, session, configuration, stop) as prepared:
            yield prepared


def new_folder() -> Path:
    """Named after this process: it may be killed before the folder is gone, and the next one clears up."""
    for left in Path(tempfile.gettempdir()).glob(f"{FOLDER}*"):
        pid = left.name.removeprefix(FOLDER).partition("-")[0]
        if pid.isdecimal() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{FOLDER}{os.getpid()}-"))


def _named(backend: OnnxBackend, configuration: Configuration) -> RunModel:
    """What is run, as the document that is analysed: its nodes have names of their own, which a profile repeats.

    A profile calls nodes without a name by an index, and the file may have nodes of one name.
    """
    run = backend.run_model(configuration)
    if isinstance(run.model, bytes):
        return run
    return run_model(backend.session.edited(configuration.edits), run.inputs, edited=True)


def has_room(folder: Path, weights: int) -> bool:
    """For the optimised graph, with which onnxruntime writes all weights."""
    free = shutil.disk_usage(folder).free
    if free > 2 * weights + 2**28:
        return True
    log.info("No room for the optimised graph: %d bytes are free", free)
    return False
