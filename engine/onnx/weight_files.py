"""Writing a model with its weights, which are copied piece by piece from the files that have them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import onnx
from onnx import TensorProto

from engine.errors import CancelledError
from engine.onnx.document import Document
from engine.onnx.graph import Location
from engine.onnx.run_model import location_of, point_at, tensors
from engine.onnx.weights import pieces

LARGEST_FILE = 2**31 - 2**20
"""Bytes of a model with its weights inside: protobuf reads no more than 2 GiB."""
ALIGNMENT = 4096
"""Weights begin on a page, so that they can be mapped into memory."""
GRAPH, INITIALIZER, RAW_DATA = 7, 5, 9
"""Field numbers of onnx.proto: of ModelProto, GraphProto and TensorProto."""

Report = Callable[[int], None]
"""Gets the bytes of weights that are written so far."""


class Weights:
    """The tensors of ``model``, a copy of a document's, whose values are in files."""

    def __init__(self, model: onnx.ModelProto, document: Document) -> None:
        self._model = model
        main = len(model.graph.initializer)
        self._found: list[tuple[TensorProto, Location]] = []
        self._elsewhere: list[tuple[TensorProto, Location]] = []
        """Those of them in bodies and Constant nodes."""
        for number, (_, tensor) in enumerate(tensors(model)):
            location = location_of(document, tensor)
            if location is not None:
                self._found.append((tensor, location))
                if number >= main:
                    self._elsewhere.append((tensor, location))
        self._document = document
        own = document.path.resolve()
        self.files = {Path(location.file).resolve() for _, location in self._found}
        self.are_outside = any(file != own for file in self.files)
        """Whether any is not in the model's own file."""
        self.bytes = sum(location.length for _, location in self._found)

    def write_inside(self, path: Path, stop: threading.Event, report: Report) -> None:
        """Write the model to ``path`` with every value in it.

        Message lengths are known before any weight is read, so initializers pass through memory in pieces.
        """
        for tensor, location in self._elsewhere:  # where exporters keep what is small
            _inside(tensor, b"".join(_pieces(location, stop)))
        initializers = [(each, location_of(self._document, each)) for each in self._model.graph.initializer]
        for tensor, found in initializers:
            if found is not None:
                _inside(tensor, b"")
        heads = [tensor.SerializeToString() for tensor, _ in initializers]
        lengths = [
            len(head) + (_field_bytes(RAW_DATA, found.length) if found is not None else 0)
            for head, (_, found) in zip(heads, initializers, strict=True)
        ]
        rest = onnx.GraphProto()
        rest.CopyFrom(self._model.graph)
        del rest.initializer[:]
        graph = rest.SerializeToString()
        around = onnx.ModelProto()
        around.CopyFrom(self._model)
        around.ClearField("graph")
        whole = len(graph) + sum(_field_bytes(INITIALIZER, length) for length in lengths)
        with path.open("wb") as stream:
            stream.write(around.SerializeToString() + _field(GRAPH, whole) + graph)
            written = 0
            for head, length, (_, found) in zip(heads, lengths, initializers, strict=True):
                stream.write(_field(INITIALIZER, length) + head)
                if found is not None:
                    stream.write(_field(RAW_DATA, found.length))
                    written = _copy(found, stream, stop, report, written)

    def write_beside(self, path: Path, data_name: str, stop: threading.Event, report: Report) -> None:
        """Write the model to ``path`` and the values that are in files to ``data_name`` beside it."""
        placed: dict[Location, int] = {}
        written = 0
        with (path.parent / data_name).open("wb") as stream:
            for tensor, location in self._found:
                if location not in placed:
                    stream.write(b"\0" * (-stream.tell() % ALIGNMENT))
                    placed[location] = stream.tell()
                    written = _copy(location, stream, stop, report, written)
                point_at(tensor, data_name, placed[location], location.length)
        path.write_bytes(self._model.SerializeToString())


def _pieces(location: Location, stop: threading.Event) -> Iterator[bytes]:
    """The bytes at ``location``. Raises LoadError where they are not there any more, CancelledError."""
    for piece in pieces(location):
        if stop.is_set():
            raise CancelledError()
        yield piece


def _copy(location: Location, stream: BinaryIO, stop: threading.Event, report: Report, written: int) -> int:
    for piece in _pieces(location, stop):
        stream.write(piece)
        written += len(piece)
        report(written)
    return written


def _inside(tensor: TensorProto, values: bytes) -> None:
    """Make ``tensor`` one with its values in itself; without any they follow it in the stream."""
    del tensor.external_data[:]
    tensor.ClearField("data_location")
    if values:
        tensor.raw_data = values


def _field(number: int, length: int) -> bytes:
    """Tag and length that stand before a field's bytes in a protobuf message."""
    return _varint(number << 3 | 2) + _varint(length)


def _field_bytes(number: int, length: int) -> int:
    return len(_field(number, length)) + length


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
