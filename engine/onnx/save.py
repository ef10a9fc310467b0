"""Saving an edited ONNX model with its weights: checked, run once, and only then put where it was asked for."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import onnx
import psutil
from onnx import checker, shape_inference

from engine.contents import shown
from engine.edits import Edit, RemoveLayer, new_weights
from engine.errors import CancelledError, EngineError, ExportError
from engine.export.files import reason
from engine.files.onnx_external import is_text
from engine.graph import InputShape, Shape
from engine.numbers import size as size_words
from engine.onnx.attributes import WEIGHT_INPUT
from engine.onnx.document import Document, open_document
from engine.onnx.edit_lines import text
from engine.onnx.edits import EditedDocument
from engine.onnx.run_model import (
    RunModel,
    fix_sizes,
    forget_shapes,
    free_sizes,
    graphs,
    make_weights,
    run_model,
)
from engine.onnx.running import run_once, sentence
from engine.onnx.weight_files import LARGEST_FILE, Weights
from engine.unfinished import make_folder, remove_left
from engine.version import version

SUFFIX = ".onnx"
SPARE = 16 * 2**20
"""Bytes that a disk keeps free beyond what is written."""
EDITS_KEY, VERSION_KEY = "misnomer.edits", "misnomer.version"
RANDOM_KEY = "misnomer.random_weights"

Progress = Callable[[int, int | None, str], None]


class Wanted(NamedTuple):
    """What to save, and where."""

    document: Document
    edits: tuple[Edit, ...]
    inputs: tuple[InputShape, ...]
    outputs: tuple[Shape, ...]
    """Of the graph's outputs at ``inputs``; empty where they are not known."""
    path: Path
    replace: bool = False
    fix_sizes: bool = False
    assumed: Mapping[str, Mapping[int, int]] = {}
    """Values of inputs to try it with, as RunModel has them."""


def save(wanted: Wanted, obstacle: Callable[[], str], stop: threading.Event, progress: Progress) -> str:
    """Write the model; returns what the user should know about it, as sentences.

    ``obstacle`` tells why it cannot be run here, or ``""``. Raises ExportError with nothing written, InputError where
    new weights are too large, CancelledError soon after ``stop`` is set.
    """
    target = Path(os.path.realpath(wanted.path))
    model = _model(wanted)
    weights = Weights(model, wanted.document)
    data_name = ""
    if weights.are_outside or weights.bytes + model.ByteSize() > LARGEST_FILE:
        data_name = _data_name(target)
    _check_target(wanted, target, data_name, weights)
    _check_space(target, weights.bytes + model.ByteSize())
    with _writing(target) as folder:
        written = folder / target.name

        def report(done: int) -> None:
            progress(done, weights.bytes, f"Writing {target.name}")

        report(0)
        if data_name:
            weights.write_beside(written, data_name, stop, report)
        else:
            weights.write_inside(written, stop, report)
        notes = [
            *_new_weights(wanted),
            *wanted.document.notes,
            *_checked(wanted, written, progress),
            *_tried(wanted, written, obstacle, stop, progress),
        ]
        if stop.is_set():
            raise CancelledError()
        _put_in_place(folder, target, data_name)
    if data_name:
        notes.insert(0, f"Its weights are in {data_name} beside it.")
    return " ".join(notes)


def _model(wanted: Wanted) -> onnx.ModelProto:
    """The message to write, its large tensors still pointing at the files that have them."""
    document = wanted.document
    model = onnx.ModelProto()
    model.CopyFrom(document.model)
    if isinstance(document, EditedDocument):
        make_weights(model, document.remade)
    if wanted.fix_sizes:
        fix_sizes(model, wanted.inputs)
    elif not free_sizes(model, wanted.inputs) and not wanted.edits:
        return _signed(model, wanted)
    forget_shapes(model)
    return _signed(_with_shapes(model, wanted), wanted)


def _with_shapes(model: onnx.ModelProto, wanted: Wanted) -> onnx.ModelProto:
    """``model`` with the shapes that onnx infers.

    An output of which it says nothing has the rank that it was seen with, or else the one that the file says.
    """
    try:
        inferred = shape_inference.infer_shapes(model)
    except Exception:  # shapes inside are for readers; what they are is known without them
        inferred = model
    document = wanted.document
    opened = document.original if isinstance(document, EditedDocument) and document.original else document
    said = {value.name: value.type.tensor_type for value in opened.model.graph.output}
    seen = dict(zip((value.name for value in model.graph.output), wanted.outputs, strict=False))
    for value in inferred.graph.output:
        tensor = value.type.tensor_type
        if not value.type.HasField("tensor_type") or tensor.HasField("shape"):
            continue
        rank = len(seen[value.name]) if value.name in seen else _rank(said.get(value.name))
        if rank is not None:
            tensor.shape.SetInParent()
            for _ in range(rank):
                tensor.shape.dim.add()
    for graph in graphs(inferred.graph):
        known = [each for each in graph.value_info if each.type.WhichOneof("value")]
        del graph.value_info[:]
        graph.value_info.extend(known)
    return inferred


def _rank(tensor: onnx.TypeProto.Tensor | None) -> int | None:
    return len(tensor.shape.dim) if tensor is not None and tensor.HasField("shape") else None


def _signed(model: onnx.ModelProto, wanted: Wanted) -> onnx.ModelProto:
    """With what was edited, which weights have no values of their own since, and by what program."""
    said = {each.key: each.value for each in model.metadata_props}
    more = {EDITS_KEY: [edit_words(edit) for edit in wanted.edits], RANDOM_KEY: _new_weights(wanted)}
    for key, lines in more.items():
        earlier = said.get(key, "").splitlines()
        # Edits follow each other; that weights are random is not said twice.
        lines = [line for line in lines if key == EDITS_KEY or line not in earlier]
        said[key] = "\n".join([*earlier, *lines])
    said[VERSION_KEY] = version()
    del model.metadata_props[:]
    for key, value in said.items():
        if value or key not in more:
            model.metadata_props.add(key=key, value=value)
    return model


def _new_weights(wanted: Wanted) -> list[str]:
    """Sentences about the layers whose weights are random numbers in the file."""
    document = wanted.document
    if not isinstance(document, EditedDocument) or not document.remade:
        return []
    convolutions = {node.path for node in document.graph.walk() if node.op_type in WEIGHT_INPUT}
    return list(new_weights(wanted.edits, convolutions).values())


def edit_words(edit: Edit) -> str:
    """``remove maxpool``, ``set conv1.strides=1x1``: as the command line has it."""
    if isinstance(edit, RemoveLayer):
        return f"remove {edit.layer}"
    return f"set {edit.layer}.{edit.field}={text(edit.value)}"


# -- where it goes -----------------------------------------------------------------------------------------------


def _data_name(target: Path) -> str:
    """Name of the file for the weights: one that is there only if the model that is replaced has its own in it."""
    own = _data_of(target)
    base = target.name.encode("utf-8", "replace").decode().replace("?", "_")  # it is written into the model
    name, number = f"{base}.data", 2
    while os.path.lexists(target.parent / name) and (target.parent / name).resolve() not in own:
        name = f"{base}.{number}.data"
        number += 1
    return name


def _data_of(target: Path) -> set[Path]:
    """Files that hold weights of the model at ``target``; none where there is no model that can be read."""
    if not target.is_file():
        return set()
    try:
        document = open_document(target)
    except EngineError:
        return set()
    return Weights(document.model, document).files - {target}


def _put_in_place(folder: Path, target: Path, data_name: str) -> None:
    """Give what was written in ``folder`` its names. Where the second fails, the first is taken back."""
    if not data_name:
        os.replace(folder / target.name, target)
        return
    data, kept = target.parent / data_name, folder / f"{data_name}.before"
    was_there = os.path.lexists(data)
    if was_there:
        os.replace(data, kept)
    try:
        os.replace(folder / data_name, data)
        os.replace(folder / target.name, target)
    except BaseException:
        if was_there:
            os.replace(kept, data)
        else:
            data.unlink(missing_ok=True)
        raise


def _check_target(wanted: Wanted, target: Path, data_name: str, weights: Weights) -> None:
    if target.suffix.lower() != SUFFIX:
        raise ExportError(
            f"{wanted.path.name} does not end in {SUFFIX}, by which an ONNX model is known.",
            hint=f"Call it {wanted.path.stem}{SUFFIX}.",
        )
    if not target.parent.is_dir():
        raise ExportError(f"{target} cannot be written: there is no folder {target.parent}.")
    if target.is_dir():
        raise ExportError(f"{target} is a folder.")
    opened = {wanted.document.path.resolve(), *weights.files}
    hit = next((each for each in (target, target.parent / data_name) if each.resolve() in opened), None)
    if hit is not None and not wanted.replace:
        raise ExportError(
            f"{hit.name} belongs to the model that is open; saving there would replace it.",
            hint="Choose another name.",
            file=str(hit),
        )


def _check_space(target: Path, needed: int) -> None:
    free = shutil.disk_usage(target.parent).free
    if needed + SPARE > free:
        raise ExportError(
            f"{target.name} needs {size_words(needed)}; {size_words(free)} are free on that disk.",
            hint="Free some space, or save elsewhere.",
        )


@contextmanager
def _writing(target: Path) -> Iterator[Path]:
    """A folder beside ``target`` for what is being written; afterwards it is gone with all that is in it."""
    try:
        remove_left(target, lambda pid: not psutil.pid_exists(pid))
        folder = make_folder(target)
    except OSError as error:
        raise ExportError(f"{target} cannot be written: {reason(error)}.", file=str(target)) from error
    try:
        yield folder
    except OSError as error:
        raise ExportError(f"{target} cannot be written: {reason(error)}.", file=str(target)) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# -- whether it is right -----------------------------------------------------------------------------------------


def _checked(wanted: Wanted, path: Path, progress: Progress) -> Iterator[str]:
    """Raises ExportError for what onnx.checker finds; what it finds in the opened file too is only told."""
    if not is_text(path):
        yield "It was not checked and not run: onnx and onnxruntime open only paths that are UTF-8, and its is not."
        return
    progress(0, None, f"Checking {path.name}")
    found = _complaint(path)
    if not found:
        return
    if not _complaint(wanted.document.path):
        raise ExportError(f"The edited model does not pass onnx.checker: {found}")
    yield f"onnx.checker finds something in it, as in the file that was opened: {found}"


def _complaint(path: Path) -> str:
    """What onnx.checker finds, without the path; empty where it finds nothing or cannot open such a path."""
    if not is_text(path):
        return ""
    try:
        checker.check_model(str(path))
    except checker.ValidationError as error:
        words = " ".join(str(error).replace(f"{path.parent}{os.sep}", "").split())
        return shown(words, 300)
    return ""


def _tried(
    wanted: Wanted, path: Path, obstacle: Callable[[], str], stop: threading.Event, progress: Progress
) -> Iterator[str]:
    """Run the file once. Raises ExportError where the edits are why it does not run."""
    if stop.is_set():
        raise CancelledError()
    if not is_text(path):
        return
    progress(0, None, f"Running {path.name} once")
    why = obstacle()
    if why:
        yield f"It was not run: {why}"
        return
    try:
        run_once(RunModel(str(path), "", wanted.inputs, wanted.assumed), stop)
    except CancelledError:
        raise
    except EngineError as error:
        yield f"It was not run: {error.message}"
    except MemoryError:
        yield "It was not run: it needs more memory than there is."
    except Exception as error:  # onnxruntime's own, of many kinds
        found = shown(sentence(error), 300)
        original = wanted.document.original if isinstance(wanted.document, EditedDocument) else None
        if original is not None and _runs(original, wanted, stop):
            raise ExportError(f"The edited model does not run in onnxruntime: {found}") from error
        yield f"onnxruntime runs neither it nor the file that was opened: {found}"


def _runs(document: Document, wanted: Wanted, stop: threading.Event) -> bool:
    try:
        run_once(run_model(document, wanted.inputs)._replace(assumed=wanted.assumed), stop)
    except CancelledError:
        raise
    except Exception:  # onnxruntime's own; whether it runs is the question
        return False
    return True
