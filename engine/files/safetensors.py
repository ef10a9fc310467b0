"""safetensors: a length, a JSON header and the data. Weights are never read.

Format and limits: https://github.com/huggingface/safetensors (README, "Format"; ``tensor.rs``).
"""

from __future__ import annotations

import json
import math
from typing import Any

from engine.contents import shown
from engine.errors import LoadError
from engine.files.dtypes import SAFETENSORS, SAFETENSORS_BITS
from engine.files.limits import (
    MAX_COUNT,
    MAX_DIMENSIONS,
    MAX_JSON_BYTES,
    MAX_NAME,
    MAX_TENSORS,
    Budget,
    too_much,
)
from engine.files.places import Store
from engine.files.regions import Region
from engine.files.tensors import Row, by_name
from engine.files.values import Storage
from engine.graph import Shape

_LENGTH_BYTES = 8


def looks_right(head: bytes, size: int) -> bool:
    """Whether a file begins like safetensors: a plausible header length and an opening brace."""
    return (
        len(head) > _LENGTH_BYTES
        and head[8:9] == b"{"
        and int.from_bytes(head[:8], "little") < 2**40
        and size > 9
    )


def read(region: Region, budget: Budget) -> tuple[list[Row], tuple[tuple[str, str], ...], Store]:
    """(tensors in the order of their data, metadata, where the data is).

    Raises LoadError for a header that its file does not match.
    """
    length = int.from_bytes(region.read(0, _LENGTH_BYTES), "little")
    if length > region.size - _LENGTH_BYTES:
        raise region.failure(f"its header should be {length:,} bytes, and the file is {region.size:,}", 0)
    if length > MAX_JSON_BYTES:
        raise LoadError(
            f"{shown(region.file.name)} is refused: its header claims {length:,} bytes, and {MAX_JSON_BYTES:,} (some "
            "90,000 tensors) is the most that is read.",
            hint="If it is yours, save its tensors in several files with an index (save_pretrained does).",
            file=str(region.file),
        )
    budget.spend_json(length)
    header = parse_json(region, region.read(_LENGTH_BYTES, length), _LENGTH_BYTES)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise region.failure("its metadata is no mapping of texts", _LENGTH_BYTES)
    if len(header) > MAX_TENSORS:
        raise too_much(f"it lists more than {MAX_TENSORS:,} tensors")
    data = region.size - _LENGTH_BYTES - length
    spans = sorted((_span(region, name, entry, data), name) for name, entry in header.items())
    end = 0
    for (start, stop), name in spans:
        if start != end:
            what = (
                "overlaps the tensor before it"
                if start < end
                else f"leaves {start - end:,} bytes before it unused"
            )
            raise region.failure(f"tensor {shown(name)} {what}", _LENGTH_BYTES + length + start)
        end = stop
    if end != data:
        what = f"its tensors take {end:,} bytes, and {data:,} follow the header"
        raise region.failure(what, _LENGTH_BYTES + length)
    rows = [_row(name, header[name], span) for span, name in spans]
    shown_metadata = tuple((shown(key), shown(value, 1_000)) for key, value in list(metadata.items())[:100])
    return rows, shown_metadata, _store(region, _LENGTH_BYTES + length, rows)


def _store(region: Region, start: int, rows: list[Row]) -> Store:
    storages = {row.storage: Storage(row.storage, row.dtype, row.bytes) for row in rows if row.storage}
    return Store(storages, lambda key: region.part(start + int(key), storages[key].bytes, region.name))


def parse_json(region: Region, text: bytes, offset: int = 0) -> dict[str, Any]:
    """A JSON object. Raises LoadError for anything else, for a key that comes twice and for endless nesting."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) != len(pairs):
            seen: set[str] = set()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            raise region.failure(f"{shown(twice)} stands in its header twice", offset)
        return value

    try:
        value = json.loads(text.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise region.failure("its JSON is damaged", offset) from error
    if not isinstance(value, dict):
        raise region.failure("its JSON is no object", offset)
    return value


def _span(region: Region, name: str, entry: Any, data: int) -> tuple[int, int]:
    """(start, end) of a tensor's data. Raises LoadError when dtype, shape and size do not agree."""

    def problem(what: str) -> Exception:
        return region.failure(f"tensor {shown(name)} {what}", _LENGTH_BYTES)

    if (
        not isinstance(entry, dict)
        or set(entry) != {"dtype", "shape", "data_offsets"}
        or len(name) > MAX_NAME
    ):
        raise problem("is not described by dtype, shape and data_offsets")
    shape, offsets = entry["shape"], entry["data_offsets"]
    dtype = entry["dtype"] if isinstance(entry["dtype"], str) else "that is no text"
    if dtype not in SAFETENSORS_BITS:
        raise problem(f"is of unknown dtype {shown(dtype, 40)}")
    if not _counts(shape) or len(shape) > MAX_DIMENSIONS or math.prod(shape) > MAX_COUNT:
        raise problem("has a shape that memory cannot have")
    if not _counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise problem("has offsets that cannot be")
    start, end = offsets
    if end > data:
        raise problem(f"ends at byte {end:,} of the data, which is {data:,} bytes")
    bits = math.prod(shape) * SAFETENSORS_BITS[dtype]
    if bits % 8 or bits // 8 != end - start:
        raise problem(f"of {math.prod(shape):,} elements should not have {end - start:,} bytes")
    return start, end


def _counts(values: Any) -> bool:
    return isinstance(values, list) and all(
        isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_COUNT for value in values
    )


def _row(name: str, entry: dict[str, Any], span: tuple[int, int]) -> Row:
    shape: Shape = tuple(entry["shape"])
    stride = tuple(math.prod(shape[index + 1 :]) for index in range(len(shape)))
    name = name.encode("utf-8", "replace").decode()
    storage = str(span[0]) if span[1] > span[0] else ""
    return Row(name, shape, stride, SAFETENSORS[entry["dtype"]], 0, storage, span[1] - span[0], by_name(name))
