"""What an ONNX file holds, read from its outline: operators, inputs, tensors and where their values are."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from engine.contents import Entry, GraphInput, Operation, shown
from engine.errors import LoadError
from engine.files import onnx_schema as schema
from engine.files.limits import MAX_COUNT, MAX_DIMENSIONS, MAX_RECORDS, Budget
from engine.files.onnx_external import ExternalFiles
from engine.files.onnx_outline import MAX_NESTING, outline
from engine.files.protobuf import BYTES, Field, Messages, signed
from engine.files.regions import Region
from engine.files.tensors import Listing, Row, by_name
from engine.graph import Shape

STANDARD = ("", "ai.onnx")
KNOWN = (
    *STANDARD, "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview", "ai.onnx.preview.training", "com.microsoft",
    "com.microsoft.nchwc", "com.microsoft.experimental", "com.ms.internal.nhwc",
)  # fmt: skip
"""Domains of ONNX itself and of onnxruntime; operators of others are code that somebody else has."""
WITH_BODIES = ("If", "Loop", "Scan", "SequenceMap")
MAX_NODES = 100_000
_MAX_TOP = 100_000
_OLDEST, _NEWEST = 1, 30


def looks_right(region: Region, head: bytes) -> bool:
    """Whether the bytes are those of a ModelProto, or began as one before they were damaged.

    Its fields may come in any order. One that begins with its ``ir_version``, as all exporters write it, need not be
    whole.
    """
    if not head or head[0] & 7 not in (0, 2) or head[0] == 0:
        return False
    found = set()
    try:
        for count, field in enumerate(Messages(region, Budget()).fields(0, region.size)):
            if schema.MODEL_WIRES.get(field.number, field.wire) != field.wire:
                return False
            found.add(field.number)
            if count > _MAX_TOP:
                return False
    except LoadError:
        return _begins_right(head)
    return schema.GRAPH in found


def _begins_right(head: bytes) -> bool:
    return (
        len(head) > 4
        and head[0] == schema.IR_VERSION << 3
        and _OLDEST <= head[1] <= _NEWEST
        and schema.MODEL_WIRES.get(head[2] >> 3) == head[2] & 7
    )


class Model(NamedTuple):
    """What is said of a model besides its tensors."""

    ir_version: int
    producer: str
    opsets: tuple[tuple[str, int], ...]
    operations: tuple[Operation, ...]
    inputs: tuple[GraphInput, ...]
    functions: tuple[Operation, ...]
    metadata: tuple[tuple[str, str], ...]
    external: tuple[Entry, ...]
    notes: tuple[str, ...]


def read(region: Region, budget: Budget, listing: Listing) -> Model:
    """Everything of the model in ``region``; its tensors go to ``listing``. Raises LoadError for what is damaged."""
    files = ExternalFiles(region.file)
    small = region.of_bytes(outline(region, budget, files.own_name), "")
    reader = _Reader(Messages(small, budget), files, budget)
    reader.model(0, small.size)
    for path, role in (
        ("", "model"),
        ("constants", "constants"),
        ("subgraphs", "model"),
        ("functions", "constants"),
    ):
        listing.add(path, role, reader.rows[path])
    return reader.result()


RoleOf: TypeAlias = Callable[[str], str]
_INDICES = ("int64", "bool", "string")
"""Types of sizes, indices and masks rather than of weights."""


def _constant(name: str) -> str:
    return "constant"


class _Node(NamedTuple):
    op: str
    domain: str
    output: str
    attributes: list[Field]

    @property
    def label(self) -> str:
        return self.op if self.domain in STANDARD else f"{self.domain}.{self.op}"


class _Reader:
    def __init__(self, messages: Messages, files: ExternalFiles, budget: Budget) -> None:
        self._messages = messages
        self._files = files
        self._budget = budget
        self.rows: dict[str, list[Row]] = {"": [], "constants": [], "subgraphs": [], "functions": []}
        self._texts = {schema.PRODUCER: "", schema.PRODUCER_VERSION: ""}
        self._numbers = {schema.IR_VERSION: 0}
        self._opsets: list[tuple[str, int]] = []
        self._metadata: list[tuple[str, str]] = []
        self._functions: list[str] = []
        self._calls: Counter[str] = Counter()
        self._domains: Counter[str] = Counter()
        self._inputs: list[GraphInput] = []
        self._used: Counter[str] = Counter()
        self._notes: dict[str, None] = {}
        self._nodes = 0

    def result(self) -> Model:
        own = {name.rpartition(".")[0] for name in self._functions}
        custom = {name: count for name, count in self._domains.items() if name not in (*KNOWN, *own)}
        notes = list(self._notes)[:MAX_RECORDS]
        if custom:
            names = ", ".join(f"{shown(name, 60)} ({count:,})" for name, count in list(custom.items())[:12])
            notes.append(f"It has operators of custom domains, of which nothing is loaded: {names}.")
        producer = " ".join(text for text in self._texts.values() if text)
        files = [
            Entry(shown(location, 200), self._files.found[location][1], size)
            for location, size in self._used.items()
            if location in self._files.found and location != self._files.own_name
        ]
        return Model(
            self._numbers[schema.IR_VERSION], producer, tuple(self._opsets),
            tuple(Operation(name, count) for name, count in self._calls.most_common(MAX_RECORDS)),
            tuple(self._inputs[:MAX_RECORDS]),
            tuple(Operation(name, self._calls[name]) for name in self._functions[:MAX_RECORDS]),
            tuple(self._metadata[:100]), tuple(files[:MAX_RECORDS]), tuple(notes),
        )  # fmt: skip

    def model(self, start: int, end: int) -> None:
        for field in self._messages.fields(start, end):
            if field.number in self._texts and field.wire == BYTES:
                self._texts[field.number] = shown(self._messages.text(field))
            elif field.number in self._numbers:
                self._numbers[field.number] = signed(field.value)
            elif field.wire != BYTES:
                continue
            elif field.number == schema.OPSET:
                self._opsets.append(self._opset(field))
            elif field.number == schema.MODEL_METADATA:
                key, value = self._entry(field)
                self._metadata.append((shown(key), shown(value, 1_000)))
            elif field.number == schema.FUNCTIONS:
                self._function(field)
            elif field.number == schema.GRAPH:
                self._graph(field, "", 0)

    def _opset(self, field: Field) -> tuple[str, int]:
        domain, version = "", 0
        for each in self._messages.fields(field.body, field.end):
            if each.number == schema.OPSET_DOMAIN and each.wire == BYTES:
                domain = self._messages.text(each)
            elif each.number == schema.OPSET_VERSION:
                version = signed(each.value)
        return shown(domain) or "ai.onnx", version

    def _entry(self, field: Field) -> tuple[str, str]:
        found = {
            each.number: self._messages.text(each)
            for each in self._messages.fields(field.body, field.end)
            if each.wire == BYTES
        }
        return found.get(schema.KEY, ""), found.get(schema.VALUE, "")

    def _function(self, field: Field) -> None:
        texts = {schema.FUNCTION_NAME: "", schema.FUNCTION_DOMAIN: ""}
        for each in self._messages.fields(field.body, field.end):
            if each.number in texts and each.wire == BYTES:
                texts[each.number] = self._messages.text(each)
            elif each.number == schema.FUNCTION_NODE and each.wire == BYTES:
                self._node(each, "functions", 0, False)
        name, domain = texts[schema.FUNCTION_NAME], texts[schema.FUNCTION_DOMAIN]
        self._functions.append(shown(f"{domain}.{name}" if domain not in STANDARD else name, 200))

    def _graph(self, field: Field, group: str, depth: int) -> None:
        if depth > MAX_NESTING:
            raise self._messages.region.failure("its graphs are nested too deep to be read", field.start)
        inputs: list[GraphInput] = []
        stored: set[str] = set()
        for each in self._messages.fields(field.body, field.end):
            if each.wire != BYTES:
                continue
            if each.number == schema.NODE:
                self._nodes += 1
                if self._nodes <= MAX_NODES:
                    self._node(each, group, depth, True)
                else:
                    self._notes[f"Of its operators the first {MAX_NODES:,} are listed."] = None
            elif each.number == schema.INITIALIZER:
                row = self._tensor(each, "", by_name)
                stored.add(row.name)
                self.rows[group].append(row)
            elif each.number == schema.SPARSE_INITIALIZER:
                self.rows[group].append(self._sparse(each, ""))
            elif each.number == schema.GRAPH_INPUT and depth == 0:
                inputs.append(self._input(each))
        self._inputs += [each for each in inputs if each.name not in stored]

    def _node(self, field: Field, group: str, depth: int, counts: bool) -> None:
        texts = {schema.OP_TYPE: "", schema.NODE_DOMAIN: "", schema.OUTPUT: ""}
        attributes = []
        for each in self._messages.fields(field.body, field.end):
            if each.wire != BYTES:
                continue
            if each.number in texts and not texts[each.number]:
                texts[each.number] = self._messages.text(each)
            elif each.number == schema.ATTRIBUTE:
                attributes.append(each)
        domain = texts[schema.NODE_DOMAIN]
        node = _Node(texts[schema.OP_TYPE], domain, texts[schema.OUTPUT], attributes)
        if counts:
            self._calls[shown(node.label, 200)] += 1
        self._domains[domain] += 1
        is_constant = node.op == "Constant" and domain in STANDARD
        if is_constant or node.op in WITH_BODIES or domain not in STANDARD:
            for each in attributes:
                self._attribute(each, node, group or ("constants" if is_constant else "subgraphs"), depth)

    def _attribute(self, field: Field, node: _Node, group: str, depth: int) -> None:
        for each in self._messages.fields(field.body, field.end):
            if each.wire != BYTES:
                continue
            if each.number == schema.ATTRIBUTE_TENSOR:
                self.rows[group].append(self._tensor(each, node.output, _constant))
            elif each.number in (schema.ATTRIBUTE_GRAPH, schema.ATTRIBUTE_GRAPHS):
                self._graph(each, "functions" if group == "functions" else "subgraphs", depth + 1)

    def _input(self, field: Field) -> GraphInput:
        name, dtype, shape = "", "", tuple[int | str, ...]()
        for each in self._messages.fields(field.body, field.end):
            if each.wire == BYTES and each.number == schema.VALUE_NAME:
                name = self._messages.text(each)
            elif each.wire == BYTES and each.number == schema.VALUE_TYPE:
                for kind in self._messages.fields(each.body, each.end):
                    if kind.number == schema.TENSOR_TYPE and kind.wire == BYTES:
                        dtype, shape = self._tensor_type(kind)
        return GraphInput(shown(name), dtype or "no tensor", shape)

    def _tensor_type(self, field: Field) -> tuple[str, tuple[int | str, ...]]:
        dtype = ""
        sizes: list[int | str] = []
        for each in self._messages.fields(field.body, field.end):
            if each.number == schema.ELEMENT_TYPE and each.wire != BYTES:
                dtype = schema.DTYPES.get(each.value, f"type {each.value}")
            elif each.number == schema.SHAPE and each.wire == BYTES:
                dims = self._messages.fields(each.body, each.end)
                sizes += [self._dim(dim) for dim in dims if dim.wire == BYTES and dim.number == schema.DIM]
        return dtype, tuple(sizes[:MAX_DIMENSIONS])

    def _dim(self, field: Field) -> int | str:
        size: int | str = "?"
        for each in self._messages.fields(field.body, field.end):
            if each.number == schema.DIM_VALUE and each.wire != BYTES:
                size = signed(each.value)
            elif each.number == schema.DIM_PARAM and each.wire == BYTES:
                size = shown(self._messages.text(each), 40) or "?"
        return size

    def _sparse(self, field: Field, name: str) -> Row:
        values = Row(name, (), (), "", 0, "", 0, "tensor")
        shape: list[int] = []
        for each in self._messages.fields(field.body, field.end):
            if each.number == schema.SPARSE_VALUES and each.wire == BYTES:
                values = self._tensor(each, name, by_name)
            elif each.number == schema.SPARSE_DIMS:
                shape += self._messages.numbers(each)
        return values._replace(shape=self._shape(field, values.name, shape))

    def _tensor(self, field: Field, name: str, role_of: RoleOf) -> Row:
        sizes: list[int] = []
        dtype, external, own = "", dict[str, str](), ""
        for each in self._messages.fields(field.body, field.end):
            if each.number == schema.DIMS and len(sizes) <= MAX_DIMENSIONS:
                sizes += self._messages.numbers(each)
            elif each.number == schema.DATA_TYPE and each.wire != BYTES:
                dtype = schema.DTYPES.get(each.value, f"type {each.value}")
            elif each.number == schema.TENSOR_NAME and each.wire == BYTES:
                own = self._messages.text(each)
            elif each.number == schema.EXTERNAL_DATA and each.wire == BYTES:
                key, value = self._entry(each)
                external[key] = value
        name = (name or own)[:MAX_RECORDS]
        shape = self._shape(field, name, sizes)
        size = (math.prod(shape) * schema.BITS.get(dtype, 0) + 7) // 8
        stride = tuple(math.prod(shape[index + 1 :]) for index in range(len(shape)))
        storage = self._storage(name, external, size) if external else ""
        return Row(
            name,
            shape,
            stride,
            dtype,
            0,
            storage,
            size,
            role_of(name) if dtype not in _INDICES else "constant",
        )

    def _shape(self, field: Field, name: str, sizes: list[int]) -> Shape:
        if any(size < 0 for size in sizes) or len(sizes) > MAX_DIMENSIONS or math.prod(sizes) > MAX_COUNT:
            raise self._messages.region.failure(f"tensor {shown(name)} has a shape that memory cannot have")
        return tuple(sizes)

    def _storage(self, name: str, external: dict[str, str], size: int) -> str:
        """``net.onnx.data@4096``; a note where the bytes are not to be had."""
        location = external.get("location", "")
        try:
            extent = self._files.extent(name, external, size)
        except LoadError as error:
            if len(self._notes) < 20:
                self._notes[error.message] = None
            return ""
        self._used[location] += extent.length
        return f"{shown(location, 200)}@{extent.offset}"
