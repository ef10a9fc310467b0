"""Every metric, declared once: key, label, unit, how it sums. Columns, axes, cards and exports read this.

Adding a metric that is a ratio of others is one entry in METRICS, with its ``parts``: rows, modules, totals, charts,
exports and ``--fail-if`` follow. A new quantity is a column of its own as well: a field of results.Layers and Totals
(and of Modules where it combines as ``params``), filled in engine/analysis.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

if TYPE_CHECKING:
    from engine.results import Layers, Modules

Number = int | float | None


class Metric(Struct, frozen=True):
    """One quantity per layer and in total."""

    key: str
    """Name of the column in results.Layers, of the field in results.Totals and in the report."""
    label: str
    unit: Literal["count", "bytes", "seconds", "ratio", "share"]
    """Decides the format: counts in powers of 1000, bytes in powers of 1024, a share (0 to 1) in per cent."""
    combine: Literal["sum", "max", "ratio", "params"]
    """How rows make a module's value; ``ratio`` divides sums of ``parts``, ``params`` counts shared tensors once."""
    description: str
    suffix: str = ""
    """Unit shown after the number, e.g. ``FLOP/B``."""
    less_is_better: bool = False
    """Whether a difference is coloured; parameters and MACs stay neutral."""
    parts: tuple[str, str] | None = None
    """Numerator and denominator of a ratio."""
    measured: bool = False
    """Whether it comes from the clock: it may be missing, and it may be of an earlier configuration."""
    weighed: bool = False
    """Whether it comes from the values of the weights: missing where these are random or not looked at yet."""


METRICS: tuple[Metric, ...] = (
    Metric("params", "Params", "count", "params", "Elements of parameters; shared tensors once in totals."),
    Metric(
        "macs",
        "MACs",
        "count",
        "sum",
        "Multiply–accumulates of convolution, linear, matmul, attention and recurrent gates.",
    ),
    Metric(
        "flops",
        "FLOPs",
        "count",
        "sum",
        "2 × MACs plus the arithmetic of biases, norms, activations, pools and elementwise operations.",
    ),
    Metric(
        "nonzero_macs",
        "MACs on non-zero weights",
        "count",
        "sum",
        "Of the MACs those whose weight is not 0: what hardware that skips every zero would do. MACs are all of them.",
        weighed=True,
    ),
    Metric(
        "special_ops",
        "Special ops",
        "count",
        "sum",
        "Divisions, roots, exponentials and other special functions; each is also one FLOP.",
    ),
    Metric("weight_bytes", "Weights", "bytes", "params", "Bytes of parameters at their dtype."),
    Metric(
        "zeros",
        "Zeros",
        "count",
        "params",
        "Elements of parameters that are 0; shared tensors once in totals.",
        weighed=True,
    ),
    Metric(
        "sparsity",
        "Sparsity",
        "share",
        "ratio",
        "Zeros per parameter: the share of the weights that is 0.",
        parts=("zeros", "params"),
        weighed=True,
    ),
    Metric(
        "activation_bytes",
        "Activations",
        "bytes",
        "sum",
        "Bytes of new storages written by executed operations; views and in-place results are not counted again.",
        less_is_better=True,
    ),
    Metric(
        "peak_activation_bytes",
        "Peak memory",
        "bytes",
        "max",
        "Largest set of activations alive at once, by lifetime of storages; inputs and weights excluded.",
        less_is_better=True,
    ),
    Metric(
        "bytes_moved",
        "Bytes moved",
        "bytes",
        "sum",
        "Inputs and weights read plus outputs written, each once: the algorithmic minimum, no cache model.",
        less_is_better=True,
    ),
    Metric(
        "arithmetic_intensity",
        "Intensity",
        "ratio",
        "ratio",
        "FLOPs per byte moved.",
        suffix="FLOP/B",
        parts=("flops", "bytes_moved"),
    ),
    Metric(
        "reuse",
        "Reuse",
        "ratio",
        "ratio",
        "MACs per parameter: how often a weight works in one forward pass.",
        suffix="MAC/param",
        parts=("macs", "params"),
    ),
    Metric(
        "latency_s",
        "Latency",
        "seconds",
        "sum",
        "Measured wall time of one forward pass; of a layer, the time spent in it and in nothing below it.",
        less_is_better=True,
        measured=True,
    ),
    Metric(
        "cpu_s",
        "CPU time",
        "seconds",
        "sum",
        "CPU time of all threads meanwhile, waiting in a spinning pool included.",
        less_is_better=True,
        measured=True,
    ),
    Metric(
        "cores_busy",
        "Cores busy",
        "ratio",
        "ratio",
        "CPU time over wall time: the degree of parallelism, at most the number of threads.",
        parts=("cpu_s", "latency_s"),
        measured=True,
    ),
    Metric(
        "macs_per_s",
        "Speed",
        "ratio",
        "ratio",
        "MACs per second of measured time: how well the machine's arithmetic is used.",
        suffix="MAC/s",
        parts=("macs", "latency_s"),
        measured=True,
    ),
)

METRIC = {metric.key: metric for metric in METRICS}


def ratio(numerator: Number, denominator: Number) -> float | None:
    """``numerator / denominator``; None (not applicable) when either is unknown or the denominator is 0."""
    if numerator is None or not denominator:
        return None
    return numerator / denominator


def column(layers: Layers, key: str) -> Sequence[Number]:
    """The values of metric ``key`` for every layer row; None where not counted or not applicable."""
    metric = METRIC[key]
    if metric.parts is None:
        values: Sequence[Number] = getattr(layers, key)
        # What is not measured, or not looked at, has an empty column: nothing is known of any row.
        return values or [None] * len(layers)
    top, bottom = (column(layers, part) for part in metric.parts)
    return [ratio(a, b) for a, b in zip(top, bottom, strict=True)]


def module_column(modules: Modules, key: str) -> Sequence[Number]:
    """The values of a metric that combines as ``params`` for every module; None where nobody looked."""
    values: Sequence[Number] = getattr(modules, key)
    return values or [None] * len(modules)


def combined(key: str) -> Callable[[Sequence[Number]], Number]:
    """How rows of metric ``key`` make one number: unknown rows are left out, all unknown is None."""
    take = max if METRIC[key].combine == "max" else sum

    def combine(values: Sequence[Number]) -> Number:
        known = [value for value in values if value is not None]
        return take(known) if known else None

    return combine
