"""An onnxruntime profile of an open model, recorded anywhere: its kernels on the rows whose work they do.

A profile has names and operators of kernels, not their inputs and outputs. So the model is loaded here at each level of
graph optimisation, the default first, until the kernels are those of the profile; that graph tells everything. Without
a match (another version, another processor's layouts, no room for the weights) the names alone must do.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from threading import Event
from typing import NamedTuple

import msgspec
import onnx

from engine.configuration import Configuration
from engine.errors import CancelledError, EngineError, InputError
from engine.graph import Shape
from engine.latency.onnx_layers import fused_notes, kernel_groups, kernels_inserted, medians
from engine.latency.onnx_profiled import EXTERNAL_BYTES, GRAPH, WEIGHTS, has_room, new_folder
from engine.latency.onnx_sessions import create, session_options
from engine.measurement import ORT_LEVELS, ImportedProfile, KernelGroup, LayerTimes, OrtLevel, RuntimeOptions
from engine.onnx.fusion import Fusion, Group, Kernel, fusion, is_only_moving, kernels_of, may_do
from engine.onnx.graph import Graph
from engine.onnx.profile import RunProfile
from engine.onnx.profile_file import read_given
from engine.onnx.run_model import run_model
from engine.onnx.session import OnnxSession
from engine.open_model import OpenModel
from engine.results import Layers
from engine.statistics import median

log = logging.getLogger(__name__)

MOST_WEIGHTS = 2 * 2**30
"""Larger models are not loaded only to see their kernels."""
MOST_LOST = 0.5
"""Of the kernels' time: where more cannot be placed, the profile is of another model."""
NOT_NAMED = "no kernel of the profile is known to do its work"


class _Placed(NamedTuple):
    fusion: Fusion
    level: str
    unplaced: tuple[Kernel, ...]


def imported_times(
    model: OpenModel, configuration: Configuration, path: str, stop: Event | None = None
) -> LayerTimes:
    """The profile in ``path`` as times of ``model``'s rows: medians over its runs.

    Raises LoadError for a file that is no profile, InputError for a model that is no ONNX file or has none of its
    kernels; what OnnxSession.analyze raises; CancelledError.
    """
    stop = stop or Event()
    if not isinstance(model, OnnxSession):
        raise InputError(
            f"{model.info.name} is no ONNX model: a profile of onnxruntime has nothing to say about it.",
            hint="Open the ONNX file that was profiled.",
        )
    file = Path(path)
    given = read_given(file, stop)
    configuration = msgspec.structs.replace(configuration, inputs=model.complete(configuration.inputs))
    layers = model.analyze(configuration, stop=stop).layers
    placed = _placed(model, configuration, given.runs, stop)
    kernels = medians(given.runs)
    groups = kernel_groups(placed.fusion, kernels, layers)
    lost = sum(kernels[each.name] for each in placed.unplaced)
    if not groups or lost > MOST_LOST * sum(kernels.values()):
        raise InputError(
            f"The kernels in {file.name} do not have the names of the nodes of {model.info.name}.",
            hint="Open the model that was profiled; its nodes need names.",
        )
    origin = ImportedProfile(
        file=file.name,
        runs=len(given.runs),
        level=placed.level,
        unplaced=tuple(f"{each.op} {each.name}" for each in placed.unplaced),
        other_shapes=_other_shapes(groups, given.runs[-1], layers),
        cut=given.cut,
    )
    return _times(configuration, layers, given.runs, placed, groups, origin)


def _times(
    configuration: Configuration,
    layers: Layers,
    runs: Sequence[RunProfile],
    placed: _Placed,
    groups: tuple[KernelGroup, ...],
    origin: ImportedProfile,
) -> LayerTimes:
    inserted = kernels_inserted(placed.fusion, medians(runs))
    whole = median([run.seconds for run in runs])
    times = {group.carrier: group.latency_s for group in groups}
    notes = fused_notes(groups, placed.fusion)
    if not placed.level:
        notes = {row: NOT_NAMED if note.startswith("folded") else note for row, note in notes.items()}
    return LayerTimes(
        configuration=configuration,
        threads=0,
        row_id=layers.id,
        latency_s=tuple(map(times.get, layers.id)),
        cpu_s=(None,) * len(layers.id),
        note=tuple(notes.get(row, "" if row in times else NOT_NAMED) for row in layers.id),
        unattributed_s=whole - sum(times.values()) - sum(seconds for _, seconds in inserted),
        hook_s=0.0,
        hook_calls=0,
        instrumented_s=whole,
        end_to_end_s=whole,
        repeats=len(runs),
        groups=groups,
        inserted=inserted,
        origin=origin,
    )


def _placed(
    model: OnnxSession, configuration: Configuration, runs: Sequence[RunProfile], stop: Event
) -> _Placed:
    graph = model.edited(configuration.edits).graph
    executed = {kernel.name: kernel.op for run in runs for kernel in run.kernels}
    for level in ORT_LEVELS:
        kernels = _kernels_at(model, configuration, level, stop)
        if kernels is None:
            break
        if executed.keys() <= set(_names(kernels)):
            return _Placed(fusion(graph, kernels), level, ())
    found = _by_names(graph, executed)
    unplaced = tuple(each for each in found.inserted if not is_only_moving(each.op))
    return _Placed(_without_doubtful(found, unplaced), "", unplaced)


def _names(kernels: Iterable[Kernel]) -> Iterable[str]:
    for kernel in kernels:
        yield kernel.name
        for body in kernel.bodies.values():
            yield from _names(body)


def _kernels_at(
    model: OnnxSession, configuration: Configuration, level: OrtLevel, stop: Event
) -> tuple[Kernel, ...] | None:
    """What onnxruntime here makes of the model at ``level``; None where it cannot be asked."""
    weights = model.weight_bytes_of(configuration)
    if weights > MOST_WEIGHTS:
        return None
    folder = new_folder()
    try:
        if not has_room(folder, weights):
            return None
        run = run_model(model.edited(configuration.edits), configuration.inputs, edited=True)
        options = session_options(1, RuntimeOptions(level=level, spinning=False), run.folder)
        options.optimized_model_filepath = str(folder / GRAPH)
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", WEIGHTS)
        options.add_session_config_entry(
            "session.optimized_model_external_initializers_min_size_in_bytes", EXTERNAL_BYTES
        )
        create(model, configuration, run, options, "cpu", stop)
        return kernels_of(onnx.load(folder / GRAPH, load_external_data=False).graph)
    except CancelledError:
        raise
    except EngineError as error:
        log.info("The kernels are placed by their names alone: %s", error)
        return None
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(folder)


def _by_names(graph: Graph, executed: dict[str, str]) -> Fusion:
    """By the names of kernels alone; those of bodies are found in the bodies."""
    return fusion(graph, tuple(Kernel(name, op, (), (), {}) for name, op in executed.items()))


def _without_doubtful(found: Fusion, unplaced: Sequence[Kernel]) -> Fusion:
    """Without nodes that an ``unplaced`` kernel may stand for, in groups whose own kernel is something else."""
    ops = {kernel.op for kernel in unplaced}
    groups = []
    left = []
    for group in found.groups:
        doubtful = [
            node
            for node in group.nodes
            if any(may_do(op, node.op_type) for op in ops)
            and not any(may_do(kernel.op, node.op_type) for kernel in group.kernels)
        ]
        left += doubtful
        kept = tuple(node for node in group.nodes if not any(node is each for each in doubtful))
        groups.append(Group(group.kernels, kept or group.nodes))
    return Fusion(tuple(groups), found.inserted, (*found.folded, *left))


def _other_shapes(groups: Sequence[KernelGroup], run: RunProfile, layers: Layers) -> bool:
    """Whether most kernels put out other shapes than the last row whose work they do."""
    outputs: dict[str, tuple[Shape, ...]] = {kernel.name: kernel.output_shapes for kernel in run.kernels}
    known = dict(zip(layers.id, layers.output_shapes, strict=True))
    compared = [
        outputs[group.kernel][0] in {shape for row in group.row_ids for shape in known[row]}
        for group in groups
        if outputs.get(group.kernel) and known[group.row_ids[-1]]
    ]
    return 2 * sum(compared) < len(compared)
