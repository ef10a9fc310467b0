"""The result of one analysis, as frozen columns of plain values. Both processes read it; nothing here computes costs.

Per layer and per module the numbers travel in columns: index ``i`` of every field of Layers is the same row.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import Struct

from engine.configuration import Configuration
from engine.edits import RESHAPING, Edit, SetAttribute, new_weights, python_lines
from engine.graph import Assumption, AttributeValue, Shape
from engine.measurement import Latency, LayerTimes
from engine.metrics import METRIC, ratio

TraceMode = Literal["meta", "fake", "cpu", "inference", "propagation", "run"]
"""How the operations were found: on the meta device, with fake tensors, or by a real CPU run; of an ONNX graph, how
their shapes were: by onnx.shape_inference, node by node where that leaves blanks, or by a run of onnxruntime."""

FAMILIES = (
    "convolution", "linear", "attention", "recurrent", "embedding", "norm",
    "activation", "pool", "elementwise", "movement", "other",
)  # fmt: skip
"""Families of operations; each has one colour everywhere."""


ONNX_IMPORTS = {"numpy.": "import numpy", "helper.": "from onnx import helper"}
"""Stand above the edits of an ONNX model, which is called ``model`` as onnx.load() gives it."""
EVERY_GRAPH = (
    "def every_graph(graph):",
    "    yield graph",
    "    for node in graph.node:",
    "        for attribute in node.attribute:",
    "            for body in [*attribute.graphs, *([attribute.g] if attribute.HasField('g') else [])]:",
    "                yield from every_graph(body)",
)
"""Of an ONNX model with bodies."""
EXPORTED_FROM = "# In the Python it was exported from; sizes written into the program do not follow."
"""Stands above the edits of an exported program."""


class ModelInfo(Struct, frozen=True):
    """What was opened."""

    name: str
    """For a title: ``resnet50``, ``TinyNet``."""
    source: str
    """What to pass to open it again: ``torchvision:resnet50``, ``net.py:build``."""
    format: str
    """``torchvision``, ``timm``, ``transformers``, ``python``, ``pickle``, ``torchscript``, ``pt2``, ``state dict`` or
    ``module`` (an object in memory)."""
    sha256: str | None = None
    """Of the file; None for a model that is not a file."""
    class_name: str = ""
    task: str = ""
    note: str = ""
    """Something the user must know about what was opened; may be empty."""
    weights: str = ""
    """The file whose weights a real run has; empty: they are random."""
    no_edits: str = ""
    """Why its layers cannot be removed or changed, as a sentence; empty when they can."""
    fixed_sizes: str = ""
    """Why an input size cannot be changed, as a sentence; empty when nothing but the structure fixes it."""
    unguarded: str = ""
    """What to open instead to try other sizes all the same, without a promise that the results mean anything."""


class Totals(Struct, frozen=True):
    """Whole-model numbers; a sum over counted rows where coverage is not complete."""

    params: int
    trainable_params: int
    buffers: int
    """Elements of buffers; not part of params."""
    untouched_params: int
    """Elements of parameters that this forward pass did not read."""
    macs: int
    flops: int
    special_ops: int
    weight_bytes: int
    activation_bytes: int
    peak_activation_bytes: int
    bytes_moved: int
    arithmetic_intensity: float | None = None
    reuse: float | None = None
    latency_s: float | None = None
    """Measured median of the whole forward pass at this configuration; None while it is not measured."""
    cpu_s: float | None = None
    """CPU time of all threads per forward pass."""
    zeros: int | None = None
    """Elements of parameters that are 0, as far as known; None where the weights are random or not looked at."""
    nonzero_macs: int | None = None
    """Of the MACs those on weights that are not 0; None as for zeros, and where that is not known of any. Rows of which
    it is not known are left out."""
    unweighed_params: int = 0
    """Elements of parameters whose zeros are not known while others are: ``zeros`` is then a lower bound."""

    def __getattr__(self, key: str) -> float | None:
        """Any further metric that is a ratio of two totals: its entry in metrics.METRICS is all it needs."""
        metric = METRIC.get(key)
        if metric is None or metric.parts is None:
            raise AttributeError(f"there is no total {key!r}")
        top, bottom = metric.parts
        return ratio(getattr(self, top), getattr(self, bottom))


class NotCounted(Struct, frozen=True):
    op: str
    calls: int


class Coverage(Struct, frozen=True):
    """How much of the forward pass the FLOPs total speaks for."""

    calls: int
    counted_calls: int
    not_counted: tuple[NotCounted, ...] = ()

    @property
    def share(self) -> float:
        """Counted share of executed calls, 0 to 1; 1 when nothing ran."""
        return self.counted_calls / self.calls if self.calls else 1.0


class Layers(Struct, frozen=True):
    """One row per executed operation (calls of one module at one shape share a row), in execution order."""

    id: tuple[str, ...] = ()
    """Stable across input sizes and edits: ``layer1.0.conv1:conv2d``."""
    path: tuple[str, ...] = ()
    """Module that owns the weight, else the innermost module being called; ``""`` is the model itself."""
    op: tuple[str, ...] = ()
    family: tuple[str, ...] = ()
    calls: tuple[int, ...] = ()
    params: tuple[int, ...] = ()
    """Elements of parameters this row reads, each tensor once."""
    shared: tuple[bool, ...] = ()
    """Whether another row reads one of these parameters too (the total counts them once)."""
    macs: tuple[int | None, ...] = ()
    flops: tuple[int | None, ...] = ()
    special_ops: tuple[int | None, ...] = ()
    weight_bytes: tuple[int, ...] = ()
    activation_bytes: tuple[int | None, ...] = ()
    """These three are None where nobody knows the shapes of an ONNX operator's outputs."""
    peak_activation_bytes: tuple[int | None, ...] = ()
    """Bytes of activations alive right after this operation (the largest over its calls)."""
    bytes_moved: tuple[int | None, ...] = ()
    input_shapes: tuple[tuple[Shape, ...], ...] = ()
    output_shapes: tuple[tuple[Shape, ...], ...] = ()
    dtype: tuple[str, ...] = ()
    formula: tuple[str, ...] = ()
    """The formula with the numbers of this row filled in; for an unknown operation, why it is not counted."""
    latency_s: tuple[float | None, ...] = ()
    """Measured exclusive time per forward pass; empty or None where it is not measured (see with_latency)."""
    cpu_s: tuple[float | None, ...] = ()
    zeros: tuple[int | None, ...] = ()
    """Of params, those that are 0; empty where nobody looked (see engine.sparsity), None where it is not known."""
    nonzero_macs: tuple[int | None, ...] = ()
    """Of macs, those on weights that are not 0; operations without weights keep all."""
    nonzero_formula: tuple[str, ...] = ()
    """How nonzero_macs came about, or why they are not counted; empty for a row whose MACs have no weight."""

    def __len__(self) -> int:
        return len(self.id)


class Modules(Struct, frozen=True):
    """One row per module of the model, parents before children; row 0 is the model itself (path ``""``)."""

    path: tuple[str, ...] = ()
    class_name: tuple[str, ...] = ()
    parent: tuple[int, ...] = ()
    """Row of the parent; -1 for the model."""
    calls: tuple[int, ...] = ()
    """How often this forward pass called it; 0 for an unused branch."""
    params: tuple[int, ...] = ()
    """Elements of distinct parameters in this module and below."""
    weight_bytes: tuple[int, ...] = ()
    untouched_params: tuple[int, ...] = ()
    """Of params: not read by this forward pass."""
    removed: tuple[bool, ...] = ()
    """Replaced by identity through an edit."""
    attributes: tuple[dict[str, AttributeValue], ...] = ()
    """Constructor-like attributes for the inspector, in display order."""
    editable: tuple[tuple[str, ...], ...] = ()
    """Which of the attributes an edit can set."""
    zeros: tuple[int, ...] = ()
    """Of params, those that are known to be 0; empty where nobody looked."""
    unweighed_params: tuple[int, ...] = ()
    """Of params, those of which nobody knows whether they are 0."""
    node: tuple[str, ...] = ()
    """What a file of nodes calls the node that the module is, of the model its graph; empty for a scope, and for other
    formats."""
    tensor: tuple[str, ...] = ()
    """The first value that this node makes, as the file calls it."""

    def __len__(self) -> int:
        return len(self.path)


class SharedParameter(Struct, frozen=True):
    """One tensor registered under several names; counted once."""

    names: tuple[str, ...]
    params: int


class UntouchedParameter(Struct, frozen=True):
    """A parameter that this forward pass never read."""

    name: str
    params: int


class WeightUse(Struct, frozen=True, array_like=True, omit_defaults=True):
    """How one row uses one parameter, as far as zeros in it matter."""

    name: str
    """Its first registered name, with ``[first:end]`` for a run of its elements; empty where nobody knows."""
    elements: int
    """Of the parameter, or of that run."""
    read: int = 0
    """Elements of it that count as params of the row; 0 where it is reached through something computed from it."""
    macs: int = 0
    """MACs of the row that multiply one of its elements, each of them equally often."""
    unknown: str = ""
    """Why nobody knows these MACs, as the rest of a sentence."""


class WeightUses(Struct, frozen=True):
    """What it takes to tell zeros and MACs on non-zero weights once the zeros of each parameter are counted."""

    rows: tuple[tuple[WeightUse, ...], ...]
    """Per row of Layers."""
    remade: tuple[str, ...] = ()
    """Parameters that an edit made anew, with random values."""
    owners: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """(parameter, modules that hold it) where names do not tell, as in an ONNX file."""


class Analysis(Struct, frozen=True):
    """Everything known about one configuration of one model."""

    model: ModelInfo
    configuration: Configuration
    mode: TraceMode
    totals: Totals
    coverage: Coverage
    layers: Layers
    modules: Modules
    assumptions: tuple[Assumption, ...] = ()
    """Data-dependent sizes and the values they were given; a number the user may set."""
    shared: tuple[SharedParameter, ...] = ()
    untouched: tuple[UntouchedParameter, ...] = ()
    output_shapes: tuple[Shape, ...] = ()
    environment: dict[str, str] = {}
    """Python, torch, torchvision, operating system."""
    latency: Latency | None = None
    """What was measured of this configuration; None while nothing is."""
    layer_times: LayerTimes | None = None
    """What the measured columns of ``layers`` show: of this configuration, or of an earlier one (stale_times)."""
    edit_lines: tuple[tuple[str, ...], ...] = ()
    """Of an ONNX model: per edit of the configuration, Python that does the same to the file."""
    weight_uses: WeightUses | None = None
    """While the weights' zeros are not counted yet; None afterwards, and where they are random."""

    @property
    def is_weighed(self) -> bool:
        """Whether the zeros in the weights are counted."""
        return self.totals.zeros is not None

    @property
    def stale_times(self) -> bool:
        """Whether the measured columns are those of another configuration, or of a file, and must not look current."""
        times = self.layer_times
        return times is not None and (times.origin is not None or times.configuration != self.configuration)

    @property
    def new_weights(self) -> dict[str, str]:
        """Layers whose weights the edits made anew, with random values, each with a sentence that says so."""
        edits = self.configuration.edits
        if not any(isinstance(edit, SetAttribute) and edit.field in RESHAPING for edit in edits):
            return {}
        layers = self.layers
        rows = zip(layers.path, layers.family, strict=True)
        return new_weights(edits, {path for path, family in rows if family == "convolution"})

    def python_lines(self, edits: tuple[Edit, ...] | None = None) -> list[str]:
        """The edits (or others of the same model) as lines of Python for a module called ``model``.

        Of an ONNX model the engine knows the lines: those of edits that are not in this result are not there yet.
        """
        if self.model.format == "onnx":
            return self._onnx_lines(self.configuration.edits if edits is None else edits)
        modules = self.modules
        convolutions = [
            p for p, a in zip(modules.path, modules.attributes, strict=True) if "in_channels" in a
        ]
        lines = python_lines(self.configuration.edits if edits is None else edits, convolutions)
        # An exported program has no such attributes; the module that it was made from has.
        return [EXPORTED_FROM, *lines] if lines and self.model.format == "pt2" else lines

    def _onnx_lines(self, edits: tuple[Edit, ...]) -> list[str]:
        known = dict(zip(self.configuration.edits, self.edit_lines, strict=False))
        lines: list[str] = []
        for edit in edits:
            lines += known.get(edit, (f"# {edit.layer}: known once it is analysed",))
        if not lines:
            return []
        defined = EVERY_GRAPH if any("every_graph" in line for line in lines) else ()
        code = [line for line in lines if not line.startswith("#")]
        imported = [line for use, line in ONNX_IMPORTS.items() if any(use in each for each in code)]
        return [*imported, *defined, *lines]


def with_latency(analysis: Analysis, latency: Latency | None, earlier: LayerTimes | None = None) -> Analysis:
    """``analysis`` with what was measured of its configuration.

    ``earlier`` are layer times to show, marked as stale, while those of this configuration are not there.
    """
    if latency is not None and latency.configuration != analysis.configuration:
        latency = None
    times = latency.layers if latency is not None and latency.layers is not None else earlier
    wall: dict[str, float | None] = {}
    cpu: dict[str, float | None] = {}
    if times is not None:
        wall = dict(zip(times.row_id, times.latency_s, strict=True))
        cpu = dict(zip(times.row_id, times.cpu_s, strict=True))
    rows = analysis.layers.id
    measurement = latency.measurement if latency is not None else None
    return msgspec.structs.replace(
        analysis,
        layers=msgspec.structs.replace(
            analysis.layers, latency_s=tuple(map(wall.get, rows)), cpu_s=tuple(map(cpu.get, rows))
        ),
        totals=msgspec.structs.replace(
            analysis.totals,
            latency_s=measurement.median_s if measurement is not None else None,
            cpu_s=measurement.mean_cpu_s if measurement is not None else None,
        ),
        latency=latency,
        layer_times=times,
    )


class ZooEntry(Struct, frozen=True):
    """One model that can be opened without a file."""

    source: str
    name: str
    task: str
    params: int | None = None
    """As published with the weights; None when the library states none."""
    gmacs: float | None = None
    """As published (torchvision calls it GFLOPS), at ``input``."""
    input: str = ""
