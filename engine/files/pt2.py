"""Exported programs (``torch.export.save``): operations, inputs and weights from the archive's JSON.

torch's own loader can run code in three ways; none of them is used here: ``sample_inputs`` and weights with
``use_pickle`` are only scanned, and expressions stay text. Schema: ``torch/_export/serde/schema.py``, version 8.
"""

from __future__ import annotations

import math
import re
from typing import Any

import msgspec
from msgspec import Struct

from engine.contents import GraphInput, Operation, shown
from engine.errors import LoadError
from engine.files.archive import Archive, ZipEntry
from engine.files.dtypes import EXPORT, SIZES
from engine.files.limits import MAX_COUNT, MAX_DIMENSIONS, MAX_NAME, MAX_RECORDS
from engine.files.pickles import Reading
from engine.files.tensors import Listing, Row
from engine.files.values import Global, Storage
from engine.graph import Shape

OLD_GRAPH = "serialized_exported_program.json"
"""torch 2.1 to 2.7 put everything into a plain zip under this name."""

TENSORS = ("data/weights/weight_", "data/constants/tensor_")
"""Where the bytes of tensors are."""
_MAX_GRAPH_BYTES = 32 * 2**20
_PLAIN_EXPRESSION = re.compile(r"[\w\s+\-*/%().,<>=!&|]*")
_SYMBOL = re.compile(r"Symbol\('(\w+)'[^()]*\)")
_QUOTED_NAME = re.compile(r"'[A-Za-z_]\w*'")
_ATTRIBUTE = re.compile(r"[A-Za-z_)]\s*\.|\.\s*[A-Za-z_]")
_STRING = re.compile(rb'"([^"\\]*+(?:\\.[^"\\]*+)*+)"(\s*:\s*(?="))?', re.DOTALL)
_CALLS = re.compile(r"([A-Za-z_]\w*)\s*\(")
_KNOWN_CALLS = frozenset(
    {"Abs", "Add", "And", "CeilDiv", "CeilToInt", "CleanDiv", "Eq", "Float", "FloatTrueDiv", "FloorDiv",
     "FloorToInt", "Ge", "Gt", "Half", "Identity", "Infinity", "IntTrueDiv", "Integer", "Le", "Lt", "Max",
     "Min", "Mod", "ModularIndexing", "Mul", "Ne", "NegativeOne", "Not", "One", "Or", "Piecewise", "Pow",
     "PowByNatural", "PythonMod", "Rational", "RoundToInt", "Symbol", "ToFloat", "TruncToInt", "Where",
     "Zero"}
)  # fmt: skip


class _Expression(Struct, gc=False):
    expr_str: str = ""


class _Size(Struct, gc=False):
    as_int: int | None = None
    as_expr: _Expression | None = None


class _Meta(Struct, gc=False):
    dtype: int
    sizes: list[_Size]
    strides: list[_Size] = []
    storage_offset: _Size | None = None


class _Named(Struct, gc=False):
    name: str = ""


class _TensorArgument(Struct, gc=False):
    as_tensor: _Named | None = None


class _Parameter(Struct, gc=False):
    arg: _Named
    parameter_name: str


class _Buffer(Struct, gc=False):
    arg: _Named
    buffer_name: str
    persistent: bool = True


class _Constant(Struct, gc=False):
    arg: _Named
    tensor_constant_name: str


class _UserInput(Struct, gc=False):
    arg: _TensorArgument


class _InputSpec(Struct, gc=False):
    parameter: _Parameter | None = None
    buffer: _Buffer | None = None
    tensor_constant: _Constant | None = None
    user_input: _UserInput | None = None


class _Signature(Struct, gc=False):
    input_specs: list[_InputSpec] = []


class _Node(Struct, gc=False):
    target: str


class _Graph(Struct, gc=False):
    nodes: list[_Node] = []
    tensor_values: dict[str, _Meta] = {}


class _GraphModule(Struct, gc=False):
    graph: _Graph
    signature: _Signature = msgspec.field(default_factory=_Signature)


class _Program(Struct, gc=False):
    graph_module: _GraphModule
    torch_version: str = ""


class _Payload(Struct, gc=False):
    path_name: str
    is_param: bool = False
    use_pickle: bool = False
    tensor_meta: _Meta | None = None


class _Config(Struct, gc=False):
    config: dict[str, _Payload] = {}


class Exported(Struct):
    """What an archive's graphs say."""

    producer: str
    operations: tuple[Operation, ...]
    inputs: tuple[GraphInput, ...]


def is_pt2(archive: Archive) -> bool:
    """A new archive says so in ``archive_format``; the old one has its graph at the top."""
    return archive.has("archive_format") or any(entry.name == OLD_GRAPH for entry in archive.entries)


def read(archive: Archive, reading: Reading, listing: Listing) -> Exported:
    """Raises LoadError for what is damaged, JSON that is none of the schema, or weights that are missing."""
    archive.has_checksums = True
    archive.check(data=TENSORS)
    old = next((entry for entry in archive.entries if entry.name == OLD_GRAPH), None)
    if old is not None:
        program = _decode(archive, old, _Program)
        _old_weights(archive, reading, listing, old, program)
        return _exported([(old, program)], archive)
    if not archive.has("archive_version"):
        raise archive.region.failure("it lacks its archive_version")
    models = _below(archive, "models/", ".json")
    programs = [(entry, _decode(archive, entry, _Program)) for entry in models]
    for entry in models:
        _expressions(archive, entry, reading)
    for folder, group in (("data/weights/", ""), ("data/constants/", "constants")):
        for entry in _below(archive, folder, "_config.json"):
            config = _decode(archive, entry, _Config)
            _weights(archive, reading, listing, entry, config, folder, group)
    for entry in _below(archive, "data/sample_inputs/", ".pt"):
        reading.scan(archive.open(entry))
    if _below(archive, "data/aotinductor/", ""):
        reading.note("It holds compiled code for one kind of machine (AOTInductor), which is not read.")
    return _exported(programs, archive)


def _below(archive: Archive, folder: str, ending: str) -> list[ZipEntry]:
    start = archive.root + folder
    return [e for e in archive.entries if e.name.startswith(start) and e.name.endswith(ending)][:MAX_RECORDS]


def _decode(archive: Archive, entry: ZipEntry, kind: type[Any]) -> Any:
    data = archive.read(entry, _MAX_GRAPH_BYTES)
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        region = archive.region.of_bytes(data, entry.name)
        raise region.failure(f"its JSON is not what torch.export writes: {shown(str(error))}") from error


def _exported(programs: list[tuple[ZipEntry, _Program]], archive: Archive) -> Exported:
    operations: dict[str, int] = {}
    inputs: list[GraphInput] = []
    for entry, program in programs:
        for node in program.graph_module.graph.nodes:
            operations[node.target] = operations.get(node.target, 0) + 1
        values = program.graph_module.graph.tensor_values
        for spec in program.graph_module.signature.input_specs:
            tensor = spec.user_input.arg.as_tensor if spec.user_input is not None else None
            if tensor is not None:
                if tensor.name not in values:
                    raise _problem(archive, entry, f"input {shown(tensor.name)} has no shape")
                meta = values[tensor.name]
                shape = tuple(_size_text(size) for size in meta.sizes[:MAX_DIMENSIONS])
                inputs.append(GraphInput(shown(tensor.name), EXPORT.get(meta.dtype, "unknown"), shape))
    version = next((program.torch_version for _, program in programs if program.torch_version), "")
    return Exported(
        producer=f"torch {shown(version, 40)}" if version else "torch.export",
        operations=tuple(
            Operation(shown(name), count) for name, count in list(operations.items())[:MAX_RECORDS]
        ),
        inputs=tuple(inputs[:MAX_RECORDS]),
    )


def _size_text(size: _Size) -> int | str:
    """A fixed size, or the expression of one that may vary: ``s27`` for ``Symbol('s27', positive=True)``."""
    if size.as_int is not None:
        return size.as_int
    expression = size.as_expr.expr_str if size.as_expr is not None else "?"
    return shown(_SYMBOL.sub(r"\1", expression[:MAX_NAME]), 60)


def _weights(
    archive: Archive,
    reading: Reading,
    listing: Listing,
    entry: ZipEntry,
    config: _Config,
    folder: str,
    group: str,
) -> None:
    model = entry.name[len(archive.root) + len(folder) : -len("_config.json")].partition("_weights")[0]
    rows: list[Row] = []
    storages: dict[str, Storage] = {}
    for name, payload in config.config.items():
        data = archive.get(folder + payload.path_name)
        if data is None:
            raise _problem(
                archive, entry, f"the data of {shown(name)} ({shown(payload.path_name)}) is missing"
            )
        if payload.use_pickle:
            reading.scan(archive.open(data))
            reading.note(f"{shown(name)} is a pickle; torch.export.load would run it.")
        if payload.tensor_meta is None:
            continue
        role = "constant" if group else "parameter" if payload.is_param else "buffer"
        row = _row(archive, entry, name, payload.tensor_meta, role, folder + payload.path_name)
        last = row.offset + sum((n - 1) * step for n, step in zip(row.shape, row.stride, strict=True)) + 1
        if not payload.use_pickle and row.bytes and last * SIZES[row.dtype] > data.size:
            raise _problem(archive, entry, f"{shown(name)} reaches beyond its data of {data.size:,} bytes")
        if not payload.use_pickle:
            storages[row.storage] = Storage(row.storage, row.dtype, data.size)
        rows.append(row)
    reading.keep(archive, storages)
    path = group if model in ("model", "model_constants") else f"{model}.{group}".strip(".")
    listing.add(path, "constants" if group else "model", rows)


def _row(archive: Archive, entry: ZipEntry, name: str, meta: _Meta, role: str, storage: str) -> Row:
    dtype = EXPORT.get(meta.dtype)
    shape, stride = _fixed(meta.sizes), _fixed(meta.strides)
    offset = _fixed([meta.storage_offset]) if meta.storage_offset is not None else (0,)
    if dtype is None or shape is None or stride is None or offset is None or len(stride) != len(shape):
        raise _problem(archive, entry, f"{shown(name)} is no tensor that memory can have")
    name = name[:MAX_NAME].encode("utf-8", "replace").decode()
    return Row(name, shape, stride, dtype, offset[0], storage, math.prod(shape) * SIZES[dtype], role)


def _fixed(sizes: list[_Size]) -> Shape | None:
    """Sizes as integers; None when one is no count."""
    counts = tuple(size.as_int for size in sizes[: MAX_DIMENSIONS + 1] if size.as_int is not None)
    if len(counts) != len(sizes) or len(sizes) > MAX_DIMENSIONS or math.prod(counts) > MAX_COUNT:
        return None
    return counts if all(0 <= count <= MAX_COUNT for count in counts) else None


def _old_weights(
    archive: Archive, reading: Reading, listing: Listing, entry: ZipEntry, program: _Program
) -> None:
    """Weights of an old archive, as its signature and graph describe them; the pickles beside it are scanned."""
    values = program.graph_module.graph.tensor_values
    found: dict[str, list[Row]] = {"model": [], "constants": []}
    for spec in program.graph_module.signature.input_specs:
        if spec.parameter is not None:
            name, arg, role, group = (
                spec.parameter.parameter_name,
                spec.parameter.arg.name,
                "parameter",
                "model",
            )
        elif spec.buffer is not None:
            role = "buffer" if spec.buffer.persistent else "temporary"
            name, arg, group = spec.buffer.buffer_name, spec.buffer.arg.name, "model"
        elif spec.tensor_constant is not None:
            name, arg, role = (
                spec.tensor_constant.tensor_constant_name,
                spec.tensor_constant.arg.name,
                "constant",
            )
            group = "constants"
        else:
            continue
        if arg not in values:
            raise _problem(archive, entry, f"{shown(name)} has no shape")
        found[group].append(_row(archive, entry, name, values[arg], role, ""))
    listing.add("", "model", found["model"])
    listing.add("constants", "constants", found["constants"])
    _expressions(archive, entry, reading)
    for other in archive.entries[:MAX_RECORDS]:
        if other.name.endswith(".pt"):
            reading.scan(archive.open(other))


def _expressions(archive: Archive, entry: ZipEntry, reading: Reading) -> None:
    """Writes down each expression that is more than arithmetic of sizes: torch hands them to ``sympy.sympify``, which
    evaluates text as Python. They can stand anywhere in the graph, and their key may be written with escapes."""
    text = archive.read(entry, _MAX_GRAPH_BYTES)
    if b"expr" not in text and b"\\" not in text:
        return
    seen: set[bytes] = set()
    is_value = False
    for token in _STRING.finditer(text):
        reading.budget.spend_work(1)
        if is_value and token[1] not in seen:
            seen.add(token[1])
            expression = _unescaped(token[1])
            if not _is_arithmetic(expression):
                reading.record.note_call(Global("sympy", "sympify"), (expression,), "other")
        key = token[1] if token[2] else b""
        is_value = key == b"expr_str" or (b"\\" in key and _unescaped(key) == "expr_str")


def _is_arithmetic(expression: str) -> bool:
    if len(expression) > MAX_NAME:
        return False
    expression = _QUOTED_NAME.sub("name", expression)
    calls = set(_CALLS.findall(expression))
    return bool(
        _PLAIN_EXPRESSION.fullmatch(expression)
        and calls <= _KNOWN_CALLS
        and "__" not in expression
        and not _ATTRIBUTE.search(expression)
    )


def _unescaped(raw: bytes) -> str:
    try:
        return msgspec.json.decode(b'"' + raw + b'"', type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return raw.decode("utf-8", "replace")


def _problem(archive: Archive, entry: ZipEntry, what: str) -> LoadError:
    region = archive.region.of_bytes(b"", entry.name)
    return region.failure(what)
