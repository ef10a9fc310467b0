"""What onnxruntime is given to run: the file as it is, or the edited graph pointing at the weights where they lie.

Nothing is copied: onnxruntime reads external data at any offset of any file in one folder, so also out of an ``.onnx``.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import onnx
from onnx import TensorProto, helper

from engine.contents import shown
from engine.errors import InputError, UnsupportedModelError
from engine.files.onnx_external import file_at, is_text
from engine.graph import InputShape, Shape
from engine.onnx.document import Document
from engine.onnx.dtypes import BITS, NUMBERS, dtype_name, tensor_bytes
from engine.onnx.graph import VALUE_FIELDS, Array, Location
from engine.onnx.runtime import onnxruntime

FOLDER_ENTRY = "session.model_external_initializers_file_folder_path"
"""Session configuration entry of onnxruntime: where a model given as bytes has its external data."""
MOST_MADE = 2**30
"""Bytes of new weights that a graph may carry; a protobuf message ends at 2 GiB."""


class RunModel(NamedTuple):
    """``model`` is what ``InferenceSession`` takes; with bytes, ``folder`` is the value of FOLDER_ENTRY."""

    model: str | bytes
    folder: str
    inputs: tuple[InputShape, ...]
    assumed: Mapping[str, Mapping[int, int]] = {}
    """Values of some elements of inputs, as seeded_inputs takes them."""


def run_model(
    document: Document,
    inputs: tuple[InputShape, ...],
    *,
    edited: bool = False,
    remade: Mapping[str, int] | None = None,
) -> RunModel:
    """``document`` ready to run at ``inputs``.

    ``edited``: it differs from its file. ``remade`` are initializers without values in any file, with the fan-in of
    their random ones. Raises InputError for more new weights than a graph can carry, UnsupportedModelError where the
    weights lie in a file that a graph cannot name.
    """
    if not edited and not overrides_sizes(document.model, inputs):
        return _as_it_is(document, inputs)
    model = onnx.ModelProto()
    model.CopyFrom(document.model)
    make_weights(model, remade or {})
    forget_shapes(model)
    free_sizes(model, inputs)
    folder = _point_at_files(model, document)
    return RunModel(model.SerializeToString(), folder, inputs)


def _as_it_is(document: Document, inputs: tuple[InputShape, ...]) -> RunModel:
    """The file; its bytes where its name is no text, which onnxruntime's functions do not take."""
    if is_text(document.path):
        return RunModel(str(document.path), "", inputs)
    folder = document.path.parent
    return RunModel(document.path.read_bytes(), str(folder) if is_text(folder) else "", inputs)


def overrides_sizes(model: onnx.ModelProto, inputs: Collection[InputShape]) -> bool:
    """Whether a size that the file fixes is another one in ``inputs``."""
    given = {each.name: each.shape for each in inputs}
    return any(
        dim.HasField("dim_value") and dim.dim_value != size
        for value in model.graph.input
        for dim, size in zip(value.type.tensor_type.shape.dim, given.get(value.name, ()), strict=False)
    )


def free_sizes(model: onnx.ModelProto, inputs: Collection[InputShape]) -> bool:
    """Set the fixed sizes of graph inputs to those of ``inputs``; open ones stay open. Whether any was another."""
    changed = overrides_sizes(model, inputs)
    given = {each.name: each.shape for each in inputs}
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        for dim, size in zip(dims, given.get(value.name, ()), strict=False):
            if dim.HasField("dim_value"):
                dim.dim_value = size
    return changed


def fix_sizes(model: onnx.ModelProto, inputs: Collection[InputShape]) -> None:
    """Set every size of graph inputs to that of ``inputs``, the open ones too."""
    given = {each.name: each.shape for each in inputs}
    for value in model.graph.input:
        if value.name in given and value.type.HasField("tensor_type"):
            shape = value.type.tensor_type.shape
            del shape.dim[:]
            for size in given[value.name]:
                shape.dim.add().dim_value = size


def forget_shapes(model: onnx.ModelProto) -> None:
    """Drop what the file says about shapes inside and at the end: it was true of other sizes or another graph."""
    for graph in graphs(model.graph):
        # What the exporter wrote beside a value stays: it tells parameters from constants.
        stored = {tensor.name: tensor for tensor in graph.initializer}
        kept = [value for value in graph.value_info if value.metadata_props]
        for value in kept:
            value.ClearField("type")
            if value.name in stored:
                # A tensor's own type: shape inference makes an empty one of none, which onnx.checker refuses.
                value.type.tensor_type.elem_type = stored[value.name].data_type
        del graph.value_info[:]
        graph.value_info.extend(kept)
    for output in model.graph.output:
        if output.type.HasField("tensor_type"):
            output.type.tensor_type.ClearField("shape")


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """``graph`` and all bodies in it, outermost first; without recursion, as files can be nested deeply."""
    waiting = [graph]
    while waiting:
        current = waiting.pop()
        yield current
        for node in current.node:
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.GRAPH:
                    waiting.append(attribute.g)
                elif attribute.type == onnx.AttributeProto.GRAPHS:
                    waiting.extend(attribute.graphs)


def tensors(model: onnx.ModelProto) -> Iterator[tuple[str, TensorProto]]:
    """(value name, tensor) of every initializer and Constant node."""
    for graph in graphs(model.graph):
        for tensor in graph.initializer:
            yield tensor.name, tensor
        for node in graph.node:
            if node.op_type == "Constant" and node.output:
                for attribute in node.attribute:
                    if attribute.name == "value":
                        yield node.output[0], attribute.t


def location_of(document: Document, tensor: TensorProto) -> Location | None:
    """Where the bytes of a tensor of ``document.model`` are; None for one that has its values."""
    if tensor.data_location != TensorProto.EXTERNAL:
        return None
    entries = {entry.key: entry.value for entry in tensor.external_data}
    length = tensor_bytes(tuple(tensor.dims), dtype_name(tensor.data_type))
    return Location(
        str(file_at(document.path, entries.get("location", ""))),
        int(entries.get("offset") or 0),
        int(entries.get("length") or length),
    )


def point_at(tensor: TensorProto, file: str, offset: int, length: int) -> None:
    """Make ``tensor`` one whose values are bytes of ``file``, which is relative to the folder of the model."""
    for field in VALUE_FIELDS:
        tensor.ClearField(field)
    del tensor.external_data[:]
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", file), ("offset", str(offset)), ("length", str(length))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value


def _point_at_files(model: onnx.ModelProto, document: Document) -> str:
    """Every tensor of ``model`` whose values are in files; the folder that all of these are in."""
    found = [
        (tensor, location)
        for _, tensor in tensors(model)
        if (location := location_of(document, tensor)) is not None
    ]
    real = {location.file: os.path.realpath(location.file) for _, location in found}
    folder = os.path.commonpath(
        [os.path.dirname(path) for path in real.values()] or [str(document.path.parent)]
    )
    for tensor, location in found:
        relative = Path(os.path.relpath(real[location.file], folder)).as_posix()
        if not is_text(Path(folder) / relative):
            raise UnsupportedModelError(
                f"{shown(Path(location.file).name)} has a name or a folder that is not UTF-8: an edited graph cannot"
                " say where its weights are.",
                hint="Rename it.",
                file=location.file,
            )
        point_at(tensor, relative, location.offset, location.length)
    return folder


def make_weights(model: onnx.ModelProto, remade: Mapping[str, int]) -> None:
    """Give the tensors in ``remade`` random values: what an edit makes anew has none in the file.

    Raises InputError where they are more than a graph can carry.
    """
    made = [(name, tensor) for name, tensor in tensors(model) if name in remade] if remade else []
    left = MOST_MADE
    for name, tensor in made:
        shape, dtype = tuple(tensor.dims), dtype_name(tensor.data_type)
        left -= tensor_bytes(shape, dtype)
        if left < 0:
            raise InputError(
                f"The new weight {name} of {'×'.join(map(str, shape))} is too large to run or to save.",
                hint="Take a smaller kernel.",
            )
        for field in VALUE_FIELDS:
            tensor.ClearField(field)
        del tensor.external_data[:]
        tensor.data_location = TensorProto.DEFAULT
        tensor.raw_data = random_values(shape, dtype, remade[name]).tobytes()


def random_values(shape: Shape, dtype: str, fan_in: int = 1) -> Array:
    """The same values in every process: normal with variance 1 / ``fan_in``; integers from −8 to 7, or 0 to 15.

    Of a dtype that numpy has not, the bytes of a tensor: small numbers of whatever they mean.
    """
    generator = numpy.random.default_rng(0)
    if dtype in ("float16", "float32", "float64", "bfloat16"):
        values = generator.standard_normal(shape, dtype=numpy.float32) / numpy.float32(
            math.sqrt(max(fan_in, 1))
        )
        if dtype == "bfloat16":  # the upper half of a float32
            return (values.view(numpy.uint32) >> 16).astype(numpy.uint16)
        return values.astype(dtype)
    if BITS.get(dtype, 8) < 8 or not dtype.startswith(("int", "uint")):
        return generator.integers(0, 64, tensor_bytes(shape, dtype)).astype(numpy.uint8)
    low = 0 if dtype.startswith("u") else -8
    return generator.integers(low, low + 16, shape).astype(dtype)


def seeded_inputs(
    inputs: Collection[InputShape], assumed: Mapping[str, Mapping[int, int]] | None = None
) -> dict[str, Any]:
    """What onnxruntime takes as inputs, the same in every process: arrays, OrtValues of dtypes that numpy has not.

    Floating-point numbers are standard normal; integers are 0, a valid index everywhere. ``assumed`` has other values
    of some elements, by name and position in the flattened input. Raises UnsupportedModelError for a dtype that has no
    numbers.
    """
    return {each.name: _input(each, (assumed or {}).get(each.name, {})) for each in inputs}


def _input(given: InputShape, assumed: Mapping[int, int]) -> Any:
    width = BITS.get(given.dtype, 0)
    if not width or (8 % width and width % 8):
        raise UnsupportedModelError(
            f"Input {given.name!r} is of {given.dtype}, which cannot be made up to run the model.",
            hint="Models whose inputs are numbers of whole bytes, or of 2 or 4 bits, can be run.",
        )
    dtype = helper.tensor_dtype_to_np_dtype(NUMBERS[given.dtype])
    values: Array = numpy.zeros(given.shape, dtype)
    if given.dtype.startswith(("float", "bfloat")):
        values[...] = random_values(given.shape, "float64" if given.dtype == "float64" else "float32")
    for position, value in assumed.items():
        values.reshape(-1)[position] = value
    if dtype.isbuiltin == 1:
        return values
    bits: Array = values.view(f"u{dtype.itemsize}")
    if width < 8:
        bits = _packed(bits, width)
    return onnxruntime().OrtValue.ortvalue_from_numpy_with_onnx_type(bits, NUMBERS[given.dtype])


def _packed(bits: Array, width: int) -> Array:
    """Elements of ``width`` bits in as few bytes as they take, the first lowest; in front of bytes that are unused.

    The shape stays, as onnxruntime takes that of the tensor from it.
    """
    flat, many = bits.reshape(-1), 8 // width
    made = numpy.zeros_like(flat)
    for place in range(many):
        part = flat[place::many] & ((1 << width) - 1)
        made[: part.size] |= part << (place * width)
    return made.reshape(bits.shape)
