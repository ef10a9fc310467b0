"""The values of stored tensors, read from where they lie when somebody asks for them.

A tensor is read into memory, not mapped: a file that another program shortens would end the process under a mapping.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy
import onnx

from engine.contents import shown
from engine.errors import LoadError
from engine.files.regions import open_file
from engine.onnx.document import Document
from engine.onnx.dtypes import BITS, NUMBERS
from engine.onnx.graph import Array, Graph, Location, StoredTensor
from engine.onnx.reading import array_of
from engine.onnx.run_model import tensors

STEP = 2**24
"""Bytes that are read at a time."""


def reader(document: Document, largest: int = STEP) -> Callable[[str], Array | None]:
    """What gives the values of a stored tensor by name: None for one without values, or of more than ``largest`` bytes.

    Raises LoadError for a file that changed since it was opened.
    """
    stored = stored_tensors(document.graph)

    def values(name: str) -> Array | None:
        found = stored.get(name)
        return values_of(document, found) if found is not None and found.bytes <= largest else None

    return values


def stored_tensors(graph: Graph) -> dict[str, StoredTensor]:
    """Those of the graph and of its bodies by value name; the outermost where a name comes several times."""
    found: dict[str, StoredTensor] = {}
    for stored in every_stored(graph):
        found.setdefault(stored.name, stored)
    return found


def every_stored(graph: Graph) -> Iterator[StoredTensor]:
    """Those of the graph, then of its bodies: two bodies may use one name."""
    for each in graph.graphs():
        yield from each.stored.values()


def values_of(document: Document, stored: StoredTensor) -> Array | None:
    """The values in the shape of the tensor, one by one where several share a byte. None where there are none."""
    if stored.location is not None:
        data = b"".join(pieces(stored.location))
        kind = onnx.TensorProto(
            data_type=NUMBERS[stored.dtype], dims=stored.shape, raw_data=data[: stored.bytes]
        )
        return array_of(kind, stored.name)
    kept = document.graph.constants.get(stored.name)
    return kept if kept is not None else _embedded(document, stored)


def pieces(location: Location) -> Iterator[bytes]:
    """The bytes there, at most STEP at a time. Raises LoadError where they are gone."""
    with open_file(Path(location.file)) as region:
        if location.offset + location.length > region.size:
            raise LoadError(
                f"{shown(Path(location.file).name)} became shorter since the model was opened.",
                hint="Open the model again.",
                file=location.file,
            )
        for start in range(0, location.length, STEP):
            yield region.read(location.offset + start, min(STEP, location.length - start))


def _embedded(document: Document, stored: StoredTensor) -> Array | None:
    """Values that stayed in the graph although they are many: typed data whose bytes are no plain numbers."""
    for name, tensor in tensors(document.model):
        if name == stored.name and tuple(tensor.dims) == stored.shape:
            array = array_of(tensor, name) if tensor.ByteSize() > 0 and _has_values(tensor) else None
            return array
    return None


def _has_values(tensor: onnx.TensorProto) -> bool:
    return bool(
        tensor.int32_data or tensor.int64_data or tensor.uint64_data or tensor.float_data or tensor.double_data
        or tensor.HasField("raw_data") or tensor.string_data
    )  # fmt: skip


def zeros_in(data: bytes, dtype: str) -> int | None:
    """Elements that are 0 among the packed little-endian ``data``; None for a dtype that nobody can tell of.

    −0.0 is 0, NaN is not.
    """
    bits = BITS.get(dtype, 0)
    if dtype in _PLAIN:
        array = numpy.frombuffer(data, _PLAIN[dtype])
        return array.size - int(numpy.count_nonzero(array))
    octets = numpy.frombuffer(data, numpy.uint8)
    if dtype == "bfloat16":
        halves = octets.view("<u2") & numpy.uint16(0x7FFF)
        return halves.size - int(numpy.count_nonzero(halves))
    if dtype in ("float8_e4m3fn", "float8_e5m2"):
        return octets.size - int(numpy.count_nonzero(octets & numpy.uint8(0x7F)))
    if dtype == "float8_e8m0":
        return 0  # its smallest number is 2^-127
    if bits in (2, 4):
        mask = {"float4_e2m1": 0x7}.get(dtype, (1 << bits) - 1)
        return sum(
            octets.size - int(numpy.count_nonzero(octets & numpy.uint8(mask << shift)))
            for shift in range(0, 8, bits)
        )
    return None


_PLAIN = {
    "float64": "<f8", "float32": "<f4", "float16": "<f2", "int64": "<i8", "int32": "<i4", "int16": "<i2", "int8": "i1",
    "uint64": "<u8", "uint32": "<u4", "uint16": "<u2", "uint8": "u1", "bool": "u1", "complex64": "<c8",
    "complex128": "<c16", "float8_e4m3fnuz": "u1", "float8_e5m2fnuz": "u1",
}  # fmt: skip
"""dtype → what numpy counts zeros of; the last two have one zero, of which no bit is set."""
