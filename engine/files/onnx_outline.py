"""An ONNX model without the values of its large tensors: what a file of gigabytes says in a few hundred kilobytes.

The outline is a ModelProto again. In it a large tensor is one with *external data* whose file is the model itself: an
offset and a length in the very file it was taken from, so whatever reads external data finds the values there.
Large tensors are passed over; their bytes are never read.
"""

from __future__ import annotations

from typing import NamedTuple

from engine.contents import shown
from engine.errors import LoadError
from engine.files import onnx_schema as schema
from engine.files.limits import Budget
from engine.files.protobuf import BYTES, VARINT, Field, Messages, message, varint
from engine.files.regions import Region

KEPT_BYTES = 1_024
"""Tensors of at most so many bytes keep their values …"""
KEPT_INDEX_BYTES = 65_536
"""… and so do sizes, axes and indices up to here."""
INDICES = ("int64", "int32", "bool")
MAX_OUTLINE = 2**28
"""Bytes; a graph of 100,000 nodes has some 20 MB."""
MAX_NESTING = 100
"""Messages in messages, as protobuf's own readers have it; a graph in a node of a graph is three."""
_MAX_TENSOR_FIELDS = 1_000
_DATA = (
    schema.RAW_DATA, schema.FLOAT_DATA, schema.INT32_DATA, schema.INT64_DATA, schema.DOUBLE_DATA, schema.UINT64_DATA,
)  # fmt: skip

_Piece = tuple[int, int] | bytes
"""Bytes of the file from here to there, or other ones."""


def kept_bytes(dtype: str) -> int:
    """Bytes up to which a tensor of ``dtype`` keeps its values."""
    return KEPT_INDEX_BYTES if dtype in INDICES else KEPT_BYTES


class _Shortened(NamedTuple):
    """A message in another form than in the file."""

    pieces: list[_Piece]
    size: int


def outline(region: Region, budget: Budget, own_name: str) -> bytes:
    """The model in ``region`` without its large tensors, which are found in the file ``own_name`` from then on.

    Raises LoadError for what is no protobuf message, is nested too deep, or is too large even without its tensors.
    """
    messages = Messages(region, budget)
    found = _Walk(messages, own_name).shortened("model", 0, region.size, 0)
    pieces: list[_Piece] = [(0, region.size)] if found is None else found.pieces
    size = region.size if found is None else found.size
    if size > MAX_OUTLINE:
        raise LoadError(
            f"{shown(region.file.name)} is refused: without its large tensors it is still {size >> 20:,} MiB.",
            hint=f"Graphs up to {MAX_OUTLINE >> 20} MiB are opened.",
            file=str(region.file),
        )
    return b"".join(piece if isinstance(piece, bytes) else messages.between(*piece) for piece in pieces)


class _Walk:
    def __init__(self, messages: Messages, own_name: str) -> None:
        self._messages = messages
        self._own = own_name.encode("utf-8", "replace")

    def shortened(self, kind: str, start: int, end: int, depth: int) -> _Shortened | None:
        """The message from ``start`` to ``end``; None where it stays as it is."""
        if depth > MAX_NESTING:
            raise self._messages.region.failure("its graphs are nested too deep to be read", start)
        if kind == "tensor":
            return self._tensor(start, end)
        nested = schema.NESTED[kind]
        pieces: list[_Piece] = []
        size, kept = 0, start
        for field in self._messages.fields(start, end):
            # What is this small cannot hold a large tensor.
            if field.wire != BYTES or field.value <= KEPT_BYTES or field.number not in nested:
                continue
            inner = self.shortened(nested[field.number], field.body, field.end, depth + 1)
            if inner is None:
                continue
            head = varint(field.number << 3 | BYTES) + varint(inner.size)
            pieces += [(kept, field.start), head, *inner.pieces]
            size += field.start - kept + len(head) + inner.size
            kept = field.end
        if not pieces:
            return None
        pieces.append((kept, end))
        return _Shortened(pieces, size + end - kept)

    def _tensor(self, start: int, end: int) -> _Shortened | None:
        fields = self._few_fields(start, end)
        data = [field for field in fields if field.number in _DATA]
        if len(data) != 1 or data[0].wire != BYTES or any(f.number == schema.SEGMENT for f in fields):
            return None
        values = data[0]
        numbers = {field.number: field.value for field in fields if field.wire == VARINT}
        dtype = schema.DTYPES.get(numbers.get(schema.DATA_TYPE, 0), "")
        is_raw = values.number == schema.RAW_DATA
        if not is_raw and dtype not in schema.PLAIN.get(values.number, ()):
            return None
        if values.value <= kept_bytes(dtype):
            return None
        marks = b"" if numbers.get(schema.DATA_LOCATION) == schema.EXTERNAL else self._location(values)
        pieces: list[_Piece] = [(start, values.start), (values.end, end), marks]
        return _Shortened(pieces, end - start - (values.end - values.start) + len(marks))

    def _few_fields(self, start: int, end: int) -> list[Field]:
        """The fields of a tensor; none where they are very many, which are values stored one by one."""
        found = []
        for field in self._messages.fields(start, end):
            found.append(field)
            if len(found) > _MAX_TENSOR_FIELDS:
                return []
        return found

    def _location(self, values: Field) -> bytes:
        entries = (
            (b"location", self._own),
            (b"offset", b"%d" % values.body),
            (b"length", b"%d" % values.value),
        )
        written = [
            message(schema.EXTERNAL_DATA, message(schema.KEY, key) + message(schema.VALUE, value))
            for key, value in entries
        ]
        place = varint(schema.DATA_LOCATION << 3 | VARINT) + varint(schema.EXTERNAL)
        return b"".join(written) + place
