"""The JSON report, schema ``misnomer-report/1``: what scripts read, what the window opens without the model.

Rows are objects here and columns in :mod:`engine.results`; both ways are exact. Within version 1, fields may
be added with a default, never renamed, moved or given another meaning.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any, Self, TypeVar

import msgspec
from msgspec import Struct

from engine.configuration import Configuration
from engine.edits import Edit
from engine.errors import ExportError
from engine.export.files import read_file, write_file
from engine.export.formats import FORMATS
from engine.export.measured import (
    LatencyReport,
    LayersReport,
    RowTimes,
    imported,
    latency_of,
    latency_report,
    layers_report,
    own,
    problem,
    row_times,
    shown,
    times_of,
)
from engine.graph import Assumption, AttributeValue, InputShape, Shape
from engine.metrics import ratio
from engine.reconciliation import Reconciliation, reconcile
from engine.results import (
    FAMILIES,
    Analysis,
    Coverage,
    Layers,
    ModelInfo,
    Modules,
    SharedParameter,
    Totals,
    TraceMode,
    UntouchedParameter,
    with_latency,
)

FAMILY = "misnomer-report"
SCHEMA = f"{FAMILY}/1"


class WrittenTotals(Totals, frozen=True):
    """The totals as they stand in the file."""

    sparsity: float | None = None
    """zeros / params; written for readers, computed again when read."""


class LayerRow(Struct, frozen=True):
    """One executed operation; field by field the row of :class:`engine.results.Layers`."""

    id: str
    path: str
    op: str
    family: str
    calls: int
    params: int
    shared: bool
    macs: int | None
    flops: int | None
    special_ops: int | None
    weight_bytes: int
    activation_bytes: int | None
    peak_activation_bytes: int | None
    bytes_moved: int | None
    input_shapes: tuple[Shape, ...]
    output_shapes: tuple[Shape, ...]
    dtype: str
    formula: str
    latency_s: float | None = None
    """Measured exclusive wall time per forward pass; null where nothing was measured or it is part of another row."""
    cpu_s: float | None = None
    zeros: int | None = None
    """Of params, those that are 0; null where it is not known, as in all rows where the weights are random."""
    nonzero_macs: int | None = None
    """Of macs, those on weights that are not 0."""
    nonzero_formula: str = ""
    note: str = ""
    """How the time was found where it is not simply measured."""
    sparsity: float | None = None
    """zeros / params; written for readers, computed again when read."""


class ModuleRow(Struct, frozen=True):
    """One module; field by field the row of :class:`engine.results.Modules`."""

    path: str
    class_name: str
    parent: int
    calls: int
    params: int
    weight_bytes: int
    untouched_params: int
    removed: bool
    attributes: dict[str, AttributeValue]
    editable: tuple[str, ...]
    zeros: int | None = None
    unweighed_params: int = 0
    node: str = ""
    tensor: str = ""


Row = TypeVar("Row", bound=Struct)
Columns = TypeVar("Columns", bound=Struct)


_MEASURED = ("latency_s", "cpu_s", "note")
"""Fields of a layer row that a measurement fills."""


_WEIGHED = ("zeros", "nonzero_macs", "nonzero_formula", "unweighed_params")
"""Fields of rows whose columns are empty where nobody looked at the weights."""


_NAMES = ("node", "tensor")
"""Fields whose columns are empty for formats that have no nodes."""


def _fields(row: type[Struct], weighed: bool) -> list[str]:
    """Those that have a column."""
    left_out = (*_MEASURED, "sparsity", *(() if weighed else _WEIGHED))
    return [field for field in row.__struct_fields__ if field not in left_out]


def _rows(columns: Struct, row: type[Row], weighed: bool) -> tuple[Row, ...]:
    fields = [field for field in _fields(row, weighed) if field not in _NAMES or getattr(columns, field)]
    values = zip(*(getattr(columns, field) for field in fields), strict=True)
    return tuple(row(**dict(zip(fields, each, strict=True))) for each in values)


def _columns(rows: tuple[Row, ...], row: type[Row], columns: type[Columns], weighed: bool) -> Columns:
    found = {field: tuple(getattr(each, field) for each in rows) for field in _fields(row, weighed)}
    return columns(**{field: values for field, values in found.items() if field not in _NAMES or any(values)})


def _layer_rows(analysis: Analysis) -> tuple[LayerRow, ...]:
    times = row_times(analysis)
    found = []
    for row in _rows(analysis.layers, LayerRow, analysis.is_weighed):
        more: dict[str, Any] = dict(zip(_MEASURED, times[row.id], strict=True)) if row.id in times else {}
        found.append(msgspec.structs.replace(row, **more, sparsity=ratio(row.zeros, row.params)))
    return tuple(found)


class Report(Struct, frozen=True, kw_only=True):
    """One analysis as it stands in a report. Counts are integers, sizes bytes, times seconds.

    ``report.totals.macs`` is the model's; ``report.layers`` are the rows in execution order.
    """

    schema: str = SCHEMA
    model: ModelInfo
    inputs: tuple[InputShape, ...]
    edits: tuple[Edit, ...]
    assumptions: tuple[Assumption, ...]
    """Data-dependent sizes and the values that the numbers are for."""
    totals: Totals
    coverage: Coverage
    layers: tuple[LayerRow, ...]
    latency: LatencyReport | None = None
    """What was measured of this configuration; null when nothing was."""
    environment: dict[str, str]
    modules: tuple[ModuleRow, ...]
    derived: dict[str, float | None] = {}
    """Metrics that are ratios of totals, by key; written for readers, computed again when read."""
    shared: tuple[SharedParameter, ...] = ()
    untouched: tuple[UntouchedParameter, ...] = ()
    output_shapes: tuple[Shape, ...] = ()
    mode: TraceMode = "meta"
    set_assumptions: tuple[tuple[str, int], ...] = ()
    """Of the assumptions, (key, value) of those that the user set."""
    allow_real_run: bool = False
    edit_lines: tuple[tuple[str, ...], ...] = ()
    """Of an ONNX model: per edit, Python that does the same to the file."""
    reconciliation: Reconciliation | None = None
    """Why the parameters differ from the baseline's, where one is an ONNX file and the other is not."""
    profile: LayersReport | None = None
    """Where the rows' times come from that were imported and not measured; null when nothing was."""

    @classmethod
    def from_analysis(cls, analysis: Analysis, baseline: Analysis | None = None) -> Self:
        """``analysis`` as a report; :meth:`to_analysis` gives it back, field by field.

        What was measured of another configuration is left out; of a ``baseline`` only why parameters differ is told.
        """
        analysis = own(analysis)
        configuration, latency = analysis.configuration, analysis.latency
        return cls(
            model=analysis.model,
            inputs=configuration.inputs,
            edits=configuration.edits,
            assumptions=analysis.assumptions,
            totals=analysis.totals,
            coverage=analysis.coverage,
            layers=_layer_rows(analysis),
            latency=latency_report(latency) if latency is not None else None,
            profile=layers_report(imported(analysis)),
            environment=analysis.environment,
            modules=_rows(analysis.modules, ModuleRow, analysis.is_weighed),
            derived={m.key: getattr(analysis.totals, m.key) for m in shown(analysis) if m.parts is not None},
            shared=analysis.shared,
            untouched=analysis.untouched,
            output_shapes=analysis.output_shapes,
            mode=analysis.mode,
            set_assumptions=configuration.assumptions,
            allow_real_run=configuration.allow_real_run,
            edit_lines=analysis.edit_lines,
            reconciliation=reconcile(analysis, baseline),
        )

    def to_analysis(self) -> Analysis:
        """The analysis that this report was made from."""
        configuration = Configuration(
            inputs=self.inputs,
            edits=self.edits,
            assumptions=self.set_assumptions,
            allow_real_run=self.allow_real_run,
        )
        analysis = Analysis(
            model=self.model,
            configuration=configuration,
            mode=self.mode,
            totals=self.totals,
            coverage=self.coverage,
            layers=_columns(self.layers, LayerRow, Layers, self.totals.zeros is not None),
            modules=_columns(self.modules, ModuleRow, Modules, self.totals.zeros is not None),
            assumptions=self.assumptions,
            shared=self.shared,
            untouched=self.untouched,
            output_shapes=self.output_shapes,
            environment=self.environment,
            edit_lines=self.edit_lines,
        )
        if self.latency is None and self.profile is not None and self.profile.origin is not None:
            return with_latency(analysis, None, times_of(self.profile, configuration, self._row_times()))
        if self.latency is None:
            return own(analysis)
        return with_latency(analysis, latency_of(self.latency, configuration, self._row_times()))

    def _row_times(self) -> RowTimes:
        return {row.id: (row.latency_s, row.cpu_s, row.note) for row in self.layers}

    def to_json(self) -> bytes:
        """The report file: indented JSON in UTF-8, one line end at the end."""
        totals = WrittenTotals(**msgspec.structs.asdict(self.totals), sparsity=self.totals.sparsity)
        written = msgspec.structs.replace(self, totals=totals)
        try:
            data = msgspec.json.encode(written)
        except UnicodeEncodeError:
            # A file name that is not UTF-8 holds lone surrogates; a question mark there must do.
            data = json.dumps(msgspec.to_builtins(written), ensure_ascii=False).encode("utf-8", "replace")
        return msgspec.json.format(data, indent=1) + b"\n"

    def render(self, format: str = "md", against: Report | None = None) -> bytes:
        """The report as ``json``, ``csv``, ``md`` or ``html``, compared with ``against`` when that is given.

        Raises ExportError for an unknown format.
        """
        if format not in FORMATS:
            raise ExportError(
                f"There is no report format {format!r}.", hint=f"Formats: {', '.join(FORMATS)}."
            )
        return FORMATS[format].write(self.to_analysis(), against.to_analysis() if against else None)

    def save(self, path: str | os.PathLike[str], format: str = "", against: Report | None = None) -> None:
        """Write the report to ``path``; the format follows from the file ending when it is not given.

        Raises ExportError for an unknown format or ending and for a place that cannot be written.
        """
        write_file(path, self.render(format or format_of(path), against))


def format_of(path: str | os.PathLike[str]) -> str:
    """The key of the format that the ending of ``path`` names. Raises ExportError when it names none."""
    name = os.fspath(path)
    # The longest first: .netron.json ends in .json too.
    for key, known in sorted(FORMATS.items(), key=lambda entry: -len(entry[1].suffix)):
        if name.lower().endswith(known.suffix):
            return key
    endings = ", ".join(known.suffix for known in FORMATS.values())
    raise ExportError(f"The ending of {name} names no report format.", hint=f"Known endings: {endings}.")


def load_report(path: str | os.PathLike[str]) -> Report:
    """The JSON report at ``path``. Raises ExportError that says in which way it is none."""
    return parse_report(read_file(path), os.fspath(path))


class _Header(Struct):
    schema: Any = None


_header_decoder = msgspec.json.Decoder(_Header)
_report_decoder = msgspec.json.Decoder(Report)


def parse_report(data: bytes, name: str) -> Report:
    """``data`` as a report; ``name`` opens the error sentences. Raises ExportError."""
    try:
        schema = _header_decoder.decode(data.removeprefix(b"\xef\xbb\xbf")).schema
    except (msgspec.ValidationError, RecursionError) as error:
        raise ExportError(
            f"{name} is no Misnomer report: it is JSON of something else.", file=name
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ExportError(f"{name} is no Misnomer report: it is not JSON.", file=name) from error
    if not isinstance(schema, str) or not schema.startswith(f"{FAMILY}/"):
        raise ExportError(f'{name} is no Misnomer report: "schema" is not "{SCHEMA}".', file=name)
    if schema != SCHEMA:
        version = schema.removeprefix(f"{FAMILY}/")[:20]
        raise ExportError(
            f"{name} is a report of version {version}, and this program reads version 1.",
            hint="Open it with the version of Misnomer that wrote it, or export it again.",
            file=name,
        )
    try:
        report = _report_decoder.decode(data.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _damaged(name, *_field_and_problem(str(error))) from error
    _check(report, name)
    return report


def _field_and_problem(message: str) -> tuple[str, str]:
    """msgspec's ``Expected `int`, got `str` - at `$.totals.macs` `` as the field and the rest, in plain words."""
    found = re.fullmatch(r"(.*?)(?: - at `(?:key in )?\$\.?(.*?)`)?", message, flags=re.DOTALL)
    problem, field = (found[1], found[2] or "") if found else (message, "")
    problem = problem.replace("`", "")
    missing = re.fullmatch(r"Object missing required field (\S+)", problem)
    if missing:
        return f"{field}.{missing[1]}".lstrip("."), "is missing"
    return field, problem[:1].lower() + problem[1:]


def _damaged(name: str, field: str, problem: str) -> ExportError:
    where = f"{field}: " if field else ""
    return ExportError(f"{name} is a damaged report: {where}{problem}.", file=name)


def _check(report: Report, name: str) -> None:
    """What types cannot say and views rely on. Raises ExportError naming the field."""
    found = problem(report.latency) if report.latency is not None else None
    if found is not None:
        raise _damaged(name, *found)
    paths = {}
    for index, module in enumerate(report.modules):
        if not (module.parent == -1 if index == 0 else 0 <= module.parent < index):
            raise _damaged(
                name, f"modules[{index}].parent", f"{module.parent} is not the row of a module above"
            )
        if report.totals.zeros is not None and module.zeros is None:
            raise _damaged(name, f"modules[{index}].zeros", "is missing")
        if module.path in paths:
            raise _damaged(name, f"modules[{index}].path", f"{module.path!r} is there twice")
        paths[module.path] = index
    ids = set()
    for index, layer in enumerate(report.layers):
        if layer.path not in paths:
            raise _damaged(name, f"layers[{index}].path", f"{layer.path!r} is not among the modules")
        if layer.family not in FAMILIES:
            raise _damaged(name, f"layers[{index}].family", f"{layer.family!r} is no family of operations")
        if layer.id in ids:
            raise _damaged(name, f"layers[{index}].id", f"{layer.id!r} is there twice")
        ids.add(layer.id)
    rows = [("totals", report.totals), ("coverage", report.coverage)]
    rows += [(f"layers[{index}]", row) for index, row in enumerate(report.layers)]
    rows += [(f"modules[{index}]", row) for index, row in enumerate(report.modules)]
    for where, row in rows:
        for field in row.__struct_fields__:
            number = getattr(row, field)
            # The cost of timing, once subtracted, may leave a layer that takes no time a little below 0.
            lowest = -1 if field in ("parent", *_MEASURED) else 0
            if type(number) in (int, float) and not lowest <= number < 2**63:
                raise _damaged(name, f"{where}.{field}", f"{number} is not a possible number")
