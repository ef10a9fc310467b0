"""What the readable reports say beside the rows: cards, modules, differences, coverage, in words."""

from __future__ import annotations

from collections import Counter, defaultdict

from msgspec import Struct

from engine import numbers
from engine.edits import attribute_text
from engine.export.measured import shown
from engine.measured_summary import latency_sentences, measured_times, paired, ratio_words
from engine.metrics import METRIC, Metric, Number, column, combined, module_column, ratio
from engine.results import FAMILIES, Analysis, Layers
from engine.sparsity import unweighed_macs
from engine.summary import headline, plain, where
from engine.tree_values import compared

NO_CARD = ("special_ops", "weight_bytes", "zeros")
"""Weights stand with the parameters, special operations with the FLOPs, zeros with their share."""

NOT_MEASURED = "not measured"

Pair = tuple[int | None, int | None]
"""Row now and row before; None where the layer is not there."""


def pair_rows(now: Layers, before: Layers | None) -> list[Pair]:
    """Every layer of either analysis once, matched by id, in execution order.

    A layer that runs another operation now (an ONNX file's ``Conv`` for ``conv2d``) is matched by its path, where it
    is the only one there. A layer that is only in ``before`` stands after the one that preceded it there.
    """
    if before is None:
        return [(row, None) for row in range(len(now))]
    before_ids = _ids_as_in(now, before)
    current = {id_: row for row, id_ in enumerate(now.id)}
    gone_after: dict[int | None, list[int]] = defaultdict(list)
    anchor: int | None = None
    for row, id_ in enumerate(before_ids):
        if id_ in current:
            anchor = current[id_]
        else:
            gone_after[anchor].append(row)
    previous = {id_: row for row, id_ in enumerate(before_ids)}
    pairs: list[Pair] = [(None, row) for row in gone_after[None]]
    for row, id_ in enumerate(now.id):
        pairs.append((row, previous.get(id_)))
        pairs += [(None, gone) for gone in gone_after[row]]
    return pairs


def _ids_as_in(now: Layers, before: Layers) -> list[str]:
    """The ids of ``before``, with those of ``now`` for layers of one operation whose operation has another name."""
    alone = Counter(now.path)
    alone_before = Counter(before.path)
    id_at = {path: id_ for path, id_ in zip(now.path, now.id, strict=True) if alone[path] == 1}
    known = frozenset(now.id)
    return [
        id_at.get(path, id_) if id_ not in known and alone_before[path] == 1 else id_
        for path, id_ in zip(before.path, before.id, strict=True)
    ]


def module_totals(analysis: Analysis, key: str) -> list[Number]:
    """Metric ``key`` of every module, what lies below included; None where nothing in it is counted."""
    metric, modules = METRIC[key], analysis.modules
    if metric.parts is not None:
        top, bottom = (module_totals(analysis, part) for part in metric.parts)
        return [ratio(a, b) for a, b in zip(top, bottom, strict=True)]
    if metric.combine == "params":
        return list(module_column(modules, key))
    index = {path: row for row, path in enumerate(modules.path)}
    values: list[list[Number]] = [[] for _ in modules.path]
    for path, number in zip(analysis.layers.path, column(analysis.layers, key), strict=True):
        values[index[path]].append(number)
    totals: list[Number] = [0] * len(modules)
    combine = combined(key)
    # Parents stand before their children, so that going backwards every child is done before its parent.
    for row in reversed(range(len(modules))):
        totals[row] = combine(values[row]) if values[row] else 0
        if row:
            values[modules.parent[row]].append(totals[row])
    return totals


def depths(analysis: Analysis) -> list[int]:
    """How deep every module lies; 0 is the model."""
    found: list[int] = []
    for parent in analysis.modules.parent:
        found.append(found[parent] + 1 if parent >= 0 else 0)
    return found


def overview_depth(analysis: Analysis, most: int = 40) -> int:
    """The deepest level to which the module tree has at most ``most`` rows; at least 1."""
    levels = Counter(depths(analysis))
    rows, depth = 0, 0
    while depth in levels and (rows + levels[depth] <= most or depth <= 1):
        rows += levels[depth]
        depth += 1
    return max(depth - 1, 1)


def layer_label(analysis: Analysis, row: int) -> str:
    """``layer1.0.conv1`` and the operation where the module's path alone would not say it."""
    path, op = analysis.layers.path[row], analysis.layers.op[row]
    return f"{path} {op}".strip()


class Card(Struct, frozen=True):
    """One headline: a total, its exact value, the difference to the baseline."""

    metric: Metric
    value: str
    exact: str
    difference: str = ""
    before: str = ""
    direction: str = ""
    """``better`` or ``worse`` where one direction is better for the user, else empty."""


def cards(analysis: Analysis, baseline: Analysis | None) -> list[Card]:
    """The headline cards in the order of the metric table."""
    return [
        _measured_card(metric, analysis, baseline) if metric.measured else _card(metric, analysis, baseline)
        for metric in shown(analysis, baseline)
        if metric.key not in NO_CARD
    ]


def _card(metric: Metric, analysis: Analysis, baseline: Analysis | None) -> Card:
    now: Number = getattr(analysis.totals, metric.key)
    text, detail = numbers.value(metric, now), numbers.exact_value(metric, now)
    if metric.key == "params":
        detail += f" · {numbers.size(analysis.totals.weight_bytes)}"
    if metric.unit in ("ratio", "share"):
        detail = metric.description.partition(":")[0].rstrip(".")
    if baseline is None:
        return Card(metric, text, detail)
    before: Number = getattr(baseline.totals, metric.key)
    direction = ""
    if metric.less_is_better and now is not None and before is not None and now != before:
        direction = "better" if now < before else "worse"
    return Card(
        metric,
        text,
        detail,
        numbers.difference(before, now),
        f"{numbers.value(metric, before)} before",
        direction,
    )


def _measured_card(metric: Metric, analysis: Analysis, baseline: Analysis | None) -> Card:
    """A measured total with its interval; better or worse only where a measurement in alternation says so."""
    now: Number = getattr(analysis.totals, metric.key)
    latency = analysis.latency
    text, detail = _measured_value(metric, analysis), metric.description.partition(":")[0].rstrip(".")
    if metric.key == "latency_s" and latency is not None:
        detail = f"n = {latency.measurement.n:,}, {numbers.many(latency.measurement.threads, 'thread')}"
    if baseline is None:
        return Card(metric, text, detail)
    before: Number = getattr(baseline.totals, metric.key)
    was = f"{_measured_value(metric, baseline)} before"
    pair = paired(analysis, baseline)
    if metric.key == "latency_s" and pair is not None:
        direction = {"faster": "better", "slower": "worse"}.get(pair.verdict, "")
        return Card(metric, text, detail, ratio_words(pair), was, direction)
    return Card(metric, text, detail, numbers.apart(before, now), f"{was}, measured apart", "")


def _measured_value(metric: Metric, analysis: Analysis) -> str:
    if analysis.latency is None:
        return NOT_MEASURED
    if metric.key == "latency_s":
        return measured_times(analysis.latency.measurement)
    number: Number = getattr(analysis.totals, metric.key)
    return NOT_MEASURED if number is None else numbers.value(metric, number)


def what_changed(analysis: Analysis, baseline: Analysis) -> str:
    """Which totals are the same, how the others differ, what it really costs, and where: the window's words."""
    comparison = compared(analysis, baseline)
    measured = latency_sentences(comparison, "macs")
    return plain((headline(analysis, baseline, "macs"), *measured, *where(comparison, "macs")))


def zeros_sentence(analysis: Analysis) -> str:
    """How many parameters are 0, and of how many parameters and MACs that is not known; empty where none has values."""
    totals = analysis.totals
    if totals.zeros is None:
        return "the zeros in the weights were not looked at" if analysis.weight_uses is not None else ""
    known = totals.params - totals.unweighed_params
    text = f"{totals.zeros:,} of {known:,} parameters are 0"
    share = ratio(totals.zeros, known)
    text += f" ({numbers.percent(share)})" if share is not None else ""
    text += f"; of {totals.unweighed_params:,} it is not known" if totals.unweighed_params else ""
    unknown = unweighed_macs(analysis)
    if not unknown:
        return text
    return f"{text}; MACs on non-zero weights leave out {unknown:,} MACs, of which it is not known"


def input_sentence(analysis: Analysis, baseline: Analysis | None) -> str:
    """The inputs, and those of the baseline when they differ."""
    now = numbers.inputs(analysis.configuration.inputs)
    if baseline is None or baseline.configuration.inputs == analysis.configuration.inputs:
        return now
    return f"{now} (baseline: {numbers.inputs(baseline.configuration.inputs)})"


def baseline_sentence(analysis: Analysis, baseline: Analysis) -> str:
    """What the numbers are compared with."""
    name = baseline.model.name
    if baseline.model.source != analysis.model.source:
        name = f"{name} ({baseline.model.source})"
    edits = len(baseline.configuration.edits)
    state = "without edits" if not edits else f"with {edits} edit{'s' if edits > 1 else ''}"
    return f"{name}, {state}, at {numbers.inputs(baseline.configuration.inputs)}"


MODES = {
    "meta": "traced on the meta device: every operation with its shapes, no weights, no arithmetic",
    "fake": "traced with fake tensors: every operation with its shapes, no arithmetic",
    "cpu": "traced by a real run on the CPU",
    "inference": "onnx.shape_inference on the graph without its weights",
    "propagation": "onnx.shape_inference on the graph without its weights, and node by node where that left blanks",
    "run": "onnx.shape_inference, and a run by onnxruntime for the shapes that it does not tell",
}


def coverage_sentence(analysis: Analysis) -> str:
    """``All 175 calls counted.`` or what is not."""
    coverage = analysis.coverage
    if not coverage.not_counted and coverage.counted_calls == coverage.calls:
        if coverage.calls == 1:
            return "The executed operation is counted."
        return f"All {coverage.calls:,} executed operations are counted."
    missing = ", ".join(f"{entry.calls} × {entry.op}" for entry in coverage.not_counted)
    text = f"{coverage.counted_calls:,} of {coverage.calls:,} executed operations are counted"
    return f"{text}; not counted: {missing}." if missing else f"{text}."


def attributes(row: dict[str, object]) -> str:
    """``kernel_size 3 × 3, stride 2 × 2``."""
    return ", ".join(f"{name} {attribute_text(value)}" for name, value in row.items())  # type: ignore[arg-type]


def families(analysis: Analysis, key: str) -> list[tuple[str, float]]:
    """(family, sum of ``key``) of the families that have any, in the fixed order."""
    sums: dict[str, float] = defaultdict(float)
    for family, number in zip(analysis.layers.family, column(analysis.layers, key), strict=True):
        sums[family] += number or 0
    return [(family, sums[family]) for family in FAMILIES if sums[family]]


CONVENTIONS = (
    "1 MAC is one multiply–accumulate and 2 FLOPs. Some tools and papers call a MAC a FLOP.",
    "Counted is what one forward pass at the stated input executes, batch included.",
    "Convolution taps that fall on zero padding are counted.",
    "Shared parameters count once in totals; views and in-place results write no new bytes.",
    "An operation without a formula is “not counted”, never 0; totals are then sums over the counted rows.",
)
"""What every number rests on; definitions of the metrics stand in engine.metrics."""
