"""Messages between the window and the engine: one JSON object per line, validated when decoded.

Requests carry an id; every answer repeats it. The engine works on one request at a time; a newer ``Analyze``
supersedes those still waiting (latest wins), which answer ``Failed`` with kind ``cancelled``.
Prefetching runs only while no request waits and stops as soon as one comes.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec
from msgspec import Struct

from engine.configuration import Configuration
from engine.contents import Contents
from engine.errors import ErrorInfo
from engine.graph import InputShape, InputSpec
from engine.measurement import (
    Comparison,
    LayerTimes,
    Measurement,
    MemoryReadings,
    OpTimes,
    RuntimeOptions,
    Tier,
)
from engine.results import Analysis, ModelInfo, Totals, ZooEntry

PROTOCOL_VERSION = 1


class ReportFormat(Struct, frozen=True):
    """One way the engine can write a report; the table is in engine.export."""

    key: str
    label: str
    """For menus and file dialogs."""
    suffix: str
    """File ending with its dot."""


# -- window → engine ---------------------------------------------------------------------------------------------


class Open(Struct, frozen=True, tag="open"):
    """Load a model; it replaces the one that was open. Answer: Opened or Failed."""

    id: int
    source: str
    trust: bool = False
    """The user agreed to run the code of this source (only its content with this digest, if one is given)."""
    digest: str = ""
    inputs: tuple[InputShape, ...] = ()
    """For a source that does not say what its inputs are (Failed kind ``missing_shape`` asks for them)."""


class Analyze(Struct, frozen=True, tag="analyze"):
    """Compute all costs of the open model at one configuration. Answer: Analyzed or Failed (with ``partial``)."""

    id: int
    configuration: Configuration


class Prefetch(Struct, frozen=True, tag="prefetch"):
    """Compute these when idle, in this order; replaces the previous list. Answers: one Point each."""

    id: int
    configurations: tuple[Configuration, ...]
    zeros: bool = False
    """Afterwards count the zeros in the weights, in short steps. Answer: Weighed."""


class Cancel(Struct, frozen=True, tag="cancel"):
    """Stop request ``id`` if it runs or waits; it answers Failed with kind ``cancelled``."""

    id: int


class Export(Struct, frozen=True, tag="export"):
    """Write ``analysis`` as a report, compared with ``baseline`` when one is given."""

    id: int
    analysis: Analysis
    format: str
    """Key of a ReportFormat."""
    path: str
    baseline: Analysis | None = None


class SaveModel(Struct, frozen=True, tag="save_model"):
    """Write the open ONNX model with the edits of ``configuration``, with its weights. Answer: Saved or Failed.

    The file is checked and run once before it gets its name; Progress tells which, and Cancel ends it without a file.
    """

    id: int
    configuration: Configuration
    path: str
    replace: bool = False
    """The user agreed that ``path`` may be the file that is open; other files are replaced like those of exports."""
    fix_sizes: bool = False
    """Write the configuration's input sizes into the file; else those that the file leaves open stay so."""


class OpenReport(Struct, frozen=True, tag="open_report"):
    """Read an exported JSON report back. Answer: ReportOpened or Failed."""

    id: int
    path: str


class ImportProfile(Struct, frozen=True, tag="import_profile"):
    """Read an onnxruntime profile as times of the open ONNX model's layers. Answer: ProfileImported or Failed."""

    id: int
    configuration: Configuration
    path: str


class Inspect(Struct, frozen=True, tag="inspect"):
    """Say what a model file or folder holds, without running anything of it. Answer: Inspected or Failed."""

    id: int
    path: str


class ListZoo(Struct, frozen=True, tag="list_zoo"):
    """Answer: ZooListing."""

    id: int


class Measure(Struct, frozen=True, tag="measure"):
    """Time the open model's forward pass. Answers: Sampled while it runs, then Measured or Failed.

    The four measuring requests need real weights and supersede each other: a newer one ends the one that runs between
    two forward passes, which answers Failed with kind ``cancelled``.
    """

    id: int
    configuration: Configuration
    tier: Tier = "live"
    threads: int = 0
    """0: the framework's default."""
    when_quiet: bool = False
    """Wait until the machine is quiet; Progress tells what it waits for."""
    reference_best_s: float | None = None
    """Best time of the reference kernel that an earlier engine on this machine saw."""
    runtime: RuntimeOptions = RuntimeOptions()
    """Of an ONNX model."""


class MeasureLayers(Struct, frozen=True, tag="measure_layers"):
    """Time every layer and read the memory of a forward pass. Answer: LayersMeasured or Failed."""

    id: int
    configuration: Configuration
    threads: int = 0
    runtime: RuntimeOptions = RuntimeOptions()


class MeasureOps(Struct, frozen=True, tag="measure_ops"):
    """Time every executed operation. Answer: OpsMeasured or Failed."""

    id: int
    configuration: Configuration
    threads: int = 0
    runtime: RuntimeOptions = RuntimeOptions()


class Compare(Struct, frozen=True, tag="compare"):
    """Time two configurations of the open model in alternation. Answer: Compared or Failed."""

    id: int
    configuration: Configuration
    baseline: Configuration
    threads: int = 0
    reference_best_s: float | None = None
    runtime: RuntimeOptions = RuntimeOptions()


Request: TypeAlias = (
    Open
    | Analyze
    | Prefetch
    | Cancel
    | Export
    | SaveModel
    | OpenReport
    | ImportProfile
    | Inspect
    | ListZoo
    | Measure
    | MeasureLayers
    | MeasureOps
    | Compare
)
MEASURING = (Measure, MeasureLayers, MeasureOps, Compare)


# -- engine → window ---------------------------------------------------------------------------------------------


class Hello(Struct, frozen=True, tag="hello"):
    """First message of an engine; sent before torch is imported, so ``versions`` may still be partial."""

    version: int
    pid: int


class Ready(Struct, frozen=True, tag="ready"):
    """The frameworks are imported."""

    versions: dict[str, str]
    devices: tuple[str, ...]
    """What ``RuntimeOptions.device`` may be, the CPU first; of the process that only analyses, the CPU."""
    formats: tuple[ReportFormat, ...] = ()


class Opened(Struct, frozen=True, tag="opened"):
    id: int
    model: ModelInfo
    inputs: tuple[InputSpec, ...]
    watch: str = ""
    """File whose change means that the model should be opened again; empty for none."""
    counts_zeros: bool = False
    """Whether its weights have values to look at (see Prefetch.zeros); not where they are random."""
    guessed_inputs: bool = False
    """Whether ``inputs`` are a guess, because the source does not say them and nobody gave others."""


class Analyzed(Struct, frozen=True, tag="analyzed"):
    id: int
    analysis: Analysis
    engine_s: float = 0.0
    """Seconds the engine took, 0 for a kept result; the benchmark reads it."""


class Failed(Struct, frozen=True, tag="failed"):
    id: int
    error: ErrorInfo
    partial: Analysis | None = None
    """For a failed analysis: the rows before the layer that stopped it."""


class Progress(Struct, frozen=True, tag="progress"):
    id: int
    done: int
    total: int | None
    what: str


class Point(Struct, frozen=True, tag="point"):
    """A prefetched configuration: its totals, or why the model refuses it."""

    id: int
    configuration: Configuration
    totals: Totals | None = None
    error: ErrorInfo | None = None


class Weighed(Struct, frozen=True, tag="weighed"):
    """Zeros of each parameter of the open model, under each of its names; from now on results carry them."""

    id: int
    zeros: dict[str, int] | None = None
    """None when they cannot be counted."""
    error: ErrorInfo | None = None


class Exported(Struct, frozen=True, tag="exported"):
    id: int
    path: str


class Saved(Struct, frozen=True, tag="saved"):
    id: int
    path: str
    note: str = ""
    """What the user should know, as sentences: what was written beside it, what could not be checked."""


class ReportOpened(Struct, frozen=True, tag="report_opened"):
    id: int
    analysis: Analysis
    path: str


class ProfileImported(Struct, frozen=True, tag="profile_imported"):
    id: int
    layers: LayerTimes
    """With their ``origin``: never to be shown as measured here."""


class Inspected(Struct, frozen=True, tag="inspected"):
    id: int
    contents: Contents


class ZooListing(Struct, frozen=True, tag="zoo"):
    id: int
    entries: tuple[ZooEntry, ...]


class Sampled(Struct, frozen=True, tag="sampled"):
    """Samples of a running measurement since the last such event; at most four a second."""

    id: int
    configuration: Configuration
    threads: int
    samples_s: tuple[float, ...]
    delay_s: tuple[float, ...] = ()
    """Of one forward pass, as the samples are; empty where the system does not tell."""


class Measured(Struct, frozen=True, tag="measured"):
    id: int
    measurement: Measurement


class LayersMeasured(Struct, frozen=True, tag="layers_measured"):
    id: int
    layers: LayerTimes
    memory: MemoryReadings


class OpsMeasured(Struct, frozen=True, tag="ops_measured"):
    id: int
    ops: OpTimes


class Compared(Struct, frozen=True, tag="compared"):
    id: int
    comparison: Comparison


Event: TypeAlias = (
    Hello
    | Ready
    | Opened
    | Analyzed
    | Failed
    | Progress
    | Point
    | Weighed
    | Exported
    | Saved
    | ReportOpened
    | ProfileImported
    | Inspected
    | ZooListing
    | Sampled
    | Measured
    | LayersMeasured
    | OpsMeasured
    | Compared
)

_encoder = msgspec.json.Encoder()
_request_decoder = msgspec.json.Decoder(Request)
_event_decoder = msgspec.json.Decoder(Event)


class ProtocolError(Exception):
    """A line that is no valid message; says which way it is bad."""


def encode(message: Request | Event) -> bytes:
    """``message`` as one line of JSON, newline included."""
    return _encoder.encode(message) + b"\n"


def decode_request(line: bytes) -> Request:
    """Raises ProtocolError when ``line`` is no valid request."""
    try:
        request: Request = _request_decoder.decode(line)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ProtocolError(f"Not a request: {error}") from error
    return request


def decode_event(line: bytes) -> Event:
    """Raises ProtocolError when ``line`` is no valid event or an engine of another protocol version speaks."""
    try:
        event: Event = _event_decoder.decode(line)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ProtocolError(f"Not an event: {error}") from error
    if isinstance(event, Hello) and event.version != PROTOCOL_VERSION:
        raise ProtocolError(f"The engine speaks protocol {event.version}, this window {PROTOCOL_VERSION}.")
    return event
