"""What was measured, as plain data: raw samples with their circumstances. Everything derived is a property.

Times are seconds, sizes bytes. Both processes read this; nothing here measures.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Literal, TypeAlias

import msgspec
from msgspec import Struct

from engine import statistics
from engine.configuration import Configuration
from engine.statistics import Interval, Outliers

Tier = Literal["live", "settled", "report"]
"""How much time a measurement may take: right after a drag, when nothing moves, on request."""
StopReason = Literal["precise", "plateau", "time", "single", "samples"]
STOPPED: dict[StopReason, str] = {
    "precise": "the interval is narrow enough",
    "plateau": "more samples made the interval no narrower",
    "time": "the time was up",
    "single": "one forward pass takes longer than there was time",
    "samples": "there are as many samples as are kept",
}
"""Why sampling ended, in words."""
Verdict = Literal["faster", "slower", "same", "unclear"]
OrtLevel = Literal["all", "extended", "basic", "disable"]
ORT_LEVELS: dict[OrtLevel, str] = {
    "all": "all: fusions and layouts for this processor (onnxruntime's default)",
    "extended": "extended: fusions, without layouts",
    "basic": "basic: folded constants, redundant nodes removed",
    "disable": "disable: the graph as it is stored",
}
"""onnxruntime's graph optimisation levels, in words."""

UNDISTURBED_DELAY = 0.02
"""A sample is undisturbed when its threads waited for a core for at most this share of its wall time."""
PERCENTILES = (0.9, 0.95, 0.99)
"""Those that are told, where there are samples enough."""
MAX_THREADS = 1024
MAX_UNPLACED = 5
"""Kernels that are named in one sentence."""
DEAD_ZONE = 0.02
"""Ratios nearer to 1 than this are no difference that matters."""
FLAGGED_DEAD_ZONE = 0.05
RATIO_Z = 2.58
"""99 % interval for comparisons: they are looked at again and again while they run."""

FLAGS: dict[str, str] = {
    "preempted": "other programs took the cores",
    "slowed": "the machine ran slower than it can",
    "drift": "it got slower or faster while it was measured",
    "spread": "the samples spread widely",
    "denormals": "subnormal numbers slow it down",
    "oversubscribed": "more threads than cores",
    "battery": "on battery",
    "threads": "the model sets its own number of threads",
    "cold": "only one forward pass was measured",
    "assumed": "what ran may not be what was counted: it depends on the data",
    "coverage": "the layers do not add up to the whole",
    "overhead": "timing the layers slowed it down",
}
"""Everything that can be said against a measurement, by key, in the words of the badge."""


class RuntimeOptions(Struct, frozen=True):
    """How a runtime executes an ONNX model; means nothing for a PyTorch model. The defaults are onnxruntime's own."""

    level: OrtLevel = "all"
    """Graph optimisation."""
    spinning: bool = True
    """Whether idle threads of the pool spin for work: faster on a quiet machine, several times slower on a busy one."""
    device: str = "cpu"
    """Whose execution provider comes first: ``cpu`` or ``cuda``."""


class Flag(Struct, frozen=True):
    """One reason to doubt a measurement."""

    key: str
    """Of FLAGS."""
    detail: str
    """With its numbers: ``run-queue delay above 2 % in 34 of 80 samples``."""
    severe: bool = False

    @property
    def words(self) -> str:
        return FLAGS.get(self.key, self.key)


class Circumstances(Struct, frozen=True):
    """What the numbers hold for: the machine, the settings, the moment."""

    machine: dict[str, str] = {}
    """CPU, instruction sets, cores allowed, VM, frequency, RAM, operating system, versions; label → text, for eyes."""
    settings: dict[str, str] = {}
    """Interop threads, OMP and MKL variables, affinity, denormals, seed, weights; label → text."""
    load: tuple[float, ...] = ()
    """Load averages at the start; empty where the system has none."""
    utc: str = ""
    """When it was measured: ISO 8601, UTC, whole seconds."""
    fingerprint: str = ""
    """Short hash over machine and settings: equal fingerprints may be compared."""


class Measurement(Struct, frozen=True, dict=True):
    """End-to-end wall time of one forward pass: every sample, and what it holds for."""

    configuration: Configuration
    tier: Tier
    threads: int
    samples_s: tuple[float, ...]
    """One forward pass each (the mean of ``forwards_per_sample``), in the order measured; at least one."""
    stop_reason: StopReason
    device: str = "cpu"
    dtype: str = "float32"
    batch: int | None = None
    """Size of the inputs' batch dimension; None for a model that has none."""
    cpu_s: tuple[float, ...] = ()
    """CPU time of the whole process per sample, over all its passes."""
    delay_s: tuple[float, ...] = ()
    """Run-queue delay per sample, over all its passes, summed over threads; empty where the system does not tell."""
    forwards_per_sample: int = 1
    first_s: float = 0.0
    """The first forward pass after the model was built or its shapes changed; not among the samples."""
    warmups: int = 0
    """Forward passes before the first sample, the first one included."""
    reference_s: tuple[float, ...] = ()
    """Times of the reference kernel during the measurement."""
    reference_best_s: float | None = None
    """The best this process has seen of it."""
    flags: tuple[Flag, ...] = ()
    circumstances: Circumstances = Circumstances()
    runtime: RuntimeOptions | None = None
    """Of an ONNX model; None for what needs none."""

    @property
    def n(self) -> int:
        return len(self.samples_s)

    @cached_property
    def _ordered(self) -> tuple[float, ...]:
        """The samples in ascending order: every statistic sorts, which takes no time then."""
        return tuple(sorted(self.samples_s))

    @cached_property
    def median_s(self) -> float:
        return statistics.median(self._ordered)

    @cached_property
    def interval(self) -> Interval | None:
        """95 % interval of the median; None with too few samples."""
        return statistics.sorted_median_interval(self._ordered)

    @cached_property
    def iqr_s(self) -> float:
        return statistics.iqr(self._ordered)

    @property
    def min_s(self) -> float:
        return min(self.samples_s)

    @property
    def max_s(self) -> float:
        return max(self.samples_s)

    @cached_property
    def outliers(self) -> Outliers:
        return statistics.outliers(self.samples_s)

    def percentile_s(self, share: float) -> float | None:
        """That percentile; None where there are too few samples to state it."""
        if not statistics.supports_percentile(self.n, share):
            return None
        return statistics.quantile(self._ordered, share)

    @property
    def percentiles(self) -> dict[str, float]:
        """``p90`` and the like, those that so many samples support."""
        found = {f"p{share * 100:.0f}": self.percentile_s(share) for share in PERCENTILES}
        return {name: value for name, value in found.items() if value is not None}

    @cached_property
    def undisturbed_s(self) -> tuple[float, ...]:
        """The samples whose threads hardly waited for a core; empty where that is not known."""
        return tuple(
            sample
            for sample, delay in zip(self.samples_s, self.delay_s, strict=False)
            if delay <= UNDISTURBED_DELAY * sample * self.forwards_per_sample
        )

    @cached_property
    def undisturbed_median_s(self) -> float | None:
        return statistics.median(self.undisturbed_s) if self.undisturbed_s else None

    @property
    def mean_cpu_s(self) -> float | None:
        """CPU time of a forward pass of the median's length; None where it was not measured.

        The median of CPU over wall time, both of the same sample, at most ``threads``: a mean beside a median would
        count cores that are not there wherever a few samples are long.
        """
        if not self.cpu_s:
            return None
        pairs = zip(self.cpu_s, self.samples_s, strict=False)
        busy = statistics.median(
            [cpu / (wall * self.forwards_per_sample) for cpu, wall in pairs if wall > 0] or [0.0]
        )
        return min(busy, float(self.threads)) * self.median_s

    @property
    def throughput(self) -> float | None:
        """Items per second at this batch: batch / median; None for a model without a batch."""
        return self.batch / self.median_s if self.batch and self.median_s else None

    @property
    def quiet(self) -> bool:
        return not self.flags


class KernelGroup(Struct, frozen=True):
    """One kernel that a runtime executed, and the layer rows whose work it did."""

    kernel: str
    """The runtime's name for it."""
    op: str
    """``FusedConv``, ``com.microsoft.Attention``."""
    latency_s: float
    row_ids: tuple[str, ...]
    """At least one, in order of execution; every row is in one group at most."""
    carrier: str
    """The row of ``row_ids`` that ``LayerTimes.latency_s`` gives the time to; the others have None there."""


class ImportedProfile(Struct, frozen=True):
    """Where times come from that were not measured here."""

    file: str
    """Its name."""
    runs: int
    level: str = ""
    """Key of ORT_LEVELS whose kernels these are; empty where that is not known."""
    unplaced: tuple[str, ...] = ()
    """Kernels that could be any node's work, as ``<operator> <name>``; their times are among those inserted."""
    other_shapes: bool = False
    """Whether most kernels put out other shapes than their layers here: another input size, or another model."""
    cut: bool = False
    """Whether the file holds more runs than were read."""

    @property
    def words(self) -> str:
        """What is known of it: ``imported from p.json, 20 runs; …``."""
        runs = f"the first {self.runs:,} runs" if self.cut else f"{self.runs:,} run{'s' * (self.runs != 1)}"
        level = f"graph optimisation {self.level!r}" if self.level else "kernels placed by their names"
        parts = [f"imported from {self.file}, {runs}; {level}, machine, threads and version unknown"]
        if self.unplaced:
            count = len(self.unplaced)
            kernels = f"{count:,} kernel{'s' * (count != 1)}"
            parts.append(f"{kernels} could not be placed: {', '.join(self.unplaced[:MAX_UNPLACED])}")
            parts[-1] += " …" * (count > MAX_UNPLACED)
        if self.other_shapes:
            parts.append("its kernels have other shapes than these layers")
        return "; ".join(parts)


class LayerTimes(Struct, frozen=True):
    """Where the time goes: a separate, instrumented set of forward passes. Columns by layer row (``Layers.id``).

    Rows, ``inserted``, ``unattributed_s`` and ``hook_s × hook_calls`` add up to ``instrumented_s``.
    """

    configuration: Configuration
    threads: int
    row_id: tuple[str, ...]
    latency_s: tuple[float | None, ...]
    """Exclusive wall time per forward pass, hook cost subtracted; None where it is part of another row."""
    cpu_s: tuple[float | None, ...]
    """CPU time of all threads meanwhile."""
    note: tuple[str, ...]
    """How a row's time was found where it is not simply measured: fused with others, split by its operations' times."""
    unattributed_s: float
    """In containers and in Python between the layers, hook cost subtracted."""
    hook_s: float
    """Calibrated cost of timing one module call."""
    hook_calls: int
    instrumented_s: float
    """Median wall time of the instrumented passes."""
    end_to_end_s: float
    """Median of plain passes, interleaved with them."""
    repeats: int
    flags: tuple[Flag, ...] = ()
    groups: tuple[KernelGroup, ...] = ()
    """The kernels of a runtime in order of execution; empty where the rows' own operations were timed."""
    inserted: tuple[tuple[str, float], ...] = ()
    """(name, seconds) of kernels that do no row's work: the runtime put them there to change a layout or a type."""
    origin: ImportedProfile | None = None
    """Of times out of a file, of another machine perhaps: ``threads`` is 0, and nothing was timed against them."""

    @property
    def rows_s(self) -> float:
        return sum(value for value in self.latency_s if value is not None)

    @property
    def inserted_s(self) -> float:
        return sum(seconds for _, seconds in self.inserted)

    @property
    def coverage(self) -> float:
        """Rows, inserted kernels and unattributed time over the plain end-to-end time; 1 is ideal."""
        return (self.rows_s + self.inserted_s + self.unattributed_s) / self.end_to_end_s

    @property
    def overhead(self) -> float:
        """Instrumented over plain end-to-end time; 1 is ideal."""
        return self.instrumented_s / self.end_to_end_s


class MemoryReadings(Struct, frozen=True):
    """Three views of one forward pass's peak memory; None where a reading cannot be had, with the reason."""

    configuration: Configuration
    analytic_bytes: int
    """Largest set of live activations, by lifetime of storages."""
    allocator_bytes: int | None = None
    """Largest sum of live allocations that the framework made."""
    process_bytes: int | None = None
    """Growth of the process's resident peak."""
    reasons: tuple[str, ...] = ()
    """Why a reading is missing."""

    @property
    def workspace_bytes(self) -> int | None:
        """Kernel workspace: what the allocator held beyond live activations (reordered copies, scratch)."""
        return None if self.allocator_bytes is None else max(self.allocator_bytes - self.analytic_bytes, 0)


class Comparison(Struct, frozen=True, dict=True):
    """A configuration measured against another in alternation; ratios are ``current / baseline`` of paired blocks."""

    baseline: Configuration
    current: Configuration
    threads: int
    ratios: tuple[float, ...]
    baseline_s: tuple[float, ...]
    """Block medians, one per ratio."""
    current_s: tuple[float, ...]
    stop_reason: StopReason
    flags: tuple[Flag, ...] = ()

    @cached_property
    def ratio(self) -> float:
        return statistics.median(self.ratios)

    @cached_property
    def interval(self) -> Interval | None:
        """99 % interval of the ratio; None with too few pairs."""
        return statistics.median_interval(self.ratios, z=RATIO_Z)

    @property
    def dead_zone(self) -> float:
        return FLAGGED_DEAD_ZONE if self.flags else DEAD_ZONE

    @property
    def verdict(self) -> Verdict:
        return verdict(self.ratios, self.dead_zone)


def verdict(ratios: Sequence[float], dead_zone: float) -> Verdict:
    """From the 99 % interval of the median ratio: outside the dead zone around 1, inside it, or neither."""
    interval = statistics.median_interval(ratios, z=RATIO_Z)
    if interval is None:
        return "unclear"
    if interval.low > 1 + dead_zone:
        return "slower"
    if interval.high < 1 - dead_zone:
        return "faster"
    if interval.low >= 1 - dead_zone and interval.high <= 1 + dead_zone:
        return "same"
    return "unclear"


class OpTimes(Struct, frozen=True):
    """Every executed operation of one forward pass with its time, in order: the drill-down. Medians over repeats."""

    configuration: Configuration
    threads: int
    op: tuple[str, ...]
    path: tuple[str, ...]
    """Innermost module being called."""
    row_id: tuple[str, ...]
    """Of the layer row this belongs to; ``""`` where the analysis has no such row."""
    output_shapes: tuple[tuple[tuple[int, ...], ...], ...]
    latency_s: tuple[float, ...]
    op_s: float
    """Calibrated cost of timing one operation, already subtracted."""
    end_to_end_s: float


class Latency(Struct, frozen=True):
    """Everything measured of one configuration."""

    measurement: Measurement
    layers: LayerTimes | None = None
    memory: MemoryReadings | None = None
    comparison: Comparison | None = None
    """With the baseline at the time."""

    @property
    def configuration(self) -> Configuration:
        return self.measurement.configuration

    def with_part(self, part: Part) -> Latency:
        """The same with a newer part of it."""
        if isinstance(part, Measurement):
            return msgspec.structs.replace(self, measurement=part)
        if isinstance(part, LayerTimes):
            return msgspec.structs.replace(self, layers=part)
        if isinstance(part, MemoryReadings):
            return msgspec.structs.replace(self, memory=part)
        return msgspec.structs.replace(self, comparison=part)


Part: TypeAlias = Measurement | LayerTimes | MemoryReadings | Comparison
