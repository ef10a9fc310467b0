"""How many elements of an ONNX model's weights are 0, counted in short steps that never hold a whole tensor."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from threading import Event

import numpy

from engine.errors import CancelledError
from engine.onnx.document import Document
from engine.onnx.dtypes import BITS
from engine.onnx.graph import Location, StoredTensor
from engine.onnx.weights import pieces, stored_tensors, values_of, zeros_in

BREATH = ("", 0)
"""Comes between two steps: whoever counts can do something more urgent before it asks for the next."""


def count_zeros(document: Document, names: Iterable[str], stop: Event) -> Iterator[tuple[str, int]]:
    """(name, zeros) of every stored tensor among ``names`` whose values can be counted; BREATH in between.

    Tensors with the same bytes of a file are read once. Raises LoadError for a file that changed, CancelledError soon
    after ``stop`` is set.
    """
    stored = stored_tensors(document.graph)
    known: dict[tuple[Location, str], int | None] = {}
    for name in names:
        tensor = stored.get(name)
        if tensor is None:
            continue
        if tensor.location is None:
            array = values_of(document, tensor)
            yield BREATH
            if array is not None and array.dtype != object:
                yield name, array.size - int(numpy.count_nonzero(array))
            continue
        key = tensor.location, tensor.dtype
        if key not in known:
            zeros: int | None = 0
            for part in _parts(tensor, tensor.location):
                if stop.is_set():
                    raise CancelledError()
                zeros = _plus(zeros, part)
                yield BREATH
            known[key] = zeros
        count = known[key]
        if count is not None:
            yield name, count


def _plus(zeros: int | None, more: int | None) -> int | None:
    return None if zeros is None or more is None else zeros + more


def _parts(tensor: StoredTensor, location: Location) -> Iterator[int | None]:
    """Zeros of one piece after the other; the elements that fill the last byte are none of the tensor's."""
    needed = tensor.bytes
    for data in pieces(Location(location.file, location.offset, needed)):
        yield zeros_in(data, tensor.dtype)
    bits = BITS.get(tensor.dtype, 0)
    if bits and bits < 8:
        yield math.prod(tensor.shape) - needed * 8 // bits
