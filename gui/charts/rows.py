"""What the breakdown shows of the layer rows: one lane per metric, before beside now, and words for a row. No Qt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from engine import numbers
from engine.metrics import METRIC, Metric, column, combined, module_column, ratio
from engine.results import Analysis, Totals
from gui.charts.layout import Value, is_within, normalised, shown_rows
from gui.state_words import times_belong_to


@dataclass(frozen=True)
class Lane:
    """One metric over all rows. With several lanes, values are per cent of ``whole``, the metric's own total."""

    metric: Metric
    values: Sequence[Value]
    before: Sequence[Value] | None
    """Of the baseline, by row id; None when there is no baseline or nothing in this lane differs from it."""
    whole: Value
    unknown: Sequence[bool]
    """Rows of which this metric is not counted."""
    belongs: str = ""
    """For times of another configuration than the rows: which, in words. ``""`` while they belong together."""

    @property
    def is_empty(self) -> bool:
        """Whether it is a metric of a measurement, or of the weights' values, that nothing is known of."""
        metric = self.metric
        return (metric.measured or metric.weighed) and all(value is None for value in self.values)

    @property
    def is_share(self) -> bool:
        """Whether a normalised value is a share of a sum (and not of the largest)."""
        return self.metric.combine in ("sum", "params")

    def label(self, several: bool) -> str:
        """What the vertical axis shows, with its unit."""
        if self.is_empty:
            return f"{self.metric.label}, not {'measured' if self.metric.measured else 'known'}"
        belongs = f", {self.belongs}" if self.belongs else ""
        if several:
            word = "its total" if self.is_share else "its largest"
            return f"{self.metric.label}, % of {word} ({numbers.value(self.metric, self.whole)}){belongs}"
        return axis_words(self.metric) + belongs


class RowData:
    """The rows of one analysis (and of the baseline behind it) for the chosen metrics."""

    def __init__(self, analysis: Analysis, baseline: Analysis | None, keys: Sequence[str]) -> None:
        self.analysis = analysis
        self.layers = analysis.layers
        self.baseline = baseline
        self.keys = tuple(keys)
        self.several = len(self.keys) > 1
        same_rows = baseline is not None and baseline.layers.id == self.layers.id
        self._before_rows: list[int | None] | None = None
        if baseline is not None and not same_rows:
            place = {node: index for index, node in enumerate(baseline.layers.id)}
            self._before_rows = [place.get(node) for node in self.layers.id]
        self.lanes = [self._lane(METRIC[key]) for key in self.keys]
        self.unknown = [any(marks) for marks in zip(*(lane.unknown for lane in self.lanes), strict=True)]
        """Rows of which a shown metric is not counted."""
        shown: list[Sequence[Value]] = [lane.values for lane in self.lanes]
        shown += [lane.before for lane in self.lanes if lane.before is not None]
        self.rows = shown_rows(shown, self.unknown)
        """Row numbers that have a slot."""
        self._timed_rows: dict[str, int] | None = None

    @property
    def lanes_measured(self) -> bool:
        """Whether any of the shown metrics comes from the clock."""
        return any(lane.metric.measured for lane in self.lanes)

    @property
    def has_before(self) -> bool:
        return any(lane.before is not None for lane in self.lanes)

    @property
    def only_before(self) -> int:
        """Rows of the baseline that this analysis does not have."""
        if self.baseline is None or self._before_rows is None:
            return 0
        return len(self.baseline.layers) - sum(row is not None for row in self._before_rows)

    def _lane(self, metric: Metric) -> Lane:
        values = column(self.layers, metric.key)
        counted = values if metric.parts is None else column(self.layers, metric.parts[0])
        # A time that is not there is part of another row's, or still to be measured: no gap in the counting.
        # Nor is what nobody looked at.
        told = not metric.measured and (self.analysis.is_weighed or not metric.weighed)
        unknown = [value is None and told for value in counted]
        before = self.before_column(metric.key)
        if before is not None and list(before) == list(values):
            before = None
        whole = whole_of(self.analysis, metric, values)
        if self.several:
            values = normalised(values, whole)
            before = None if before is None else normalised(before, whole)
        return Lane(
            metric, values, before, whole, unknown, times_of(self.analysis) if metric.measured else ""
        )

    def before_column(self, key: str) -> Sequence[Value] | None:
        """Metric ``key`` of the baseline for the rows of now; None where it has no such row."""
        if self.baseline is None:
            return None
        values = column(self.baseline.layers, key)
        if self._before_rows is None:
            return values
        return [None if row is None else values[row] for row in self._before_rows]

    def families(self) -> list[str]:
        """Families with a slot, the most frequent first."""
        counts = Counter(self.layers.family[row] for row in self.rows)
        return [family for family, _ in counts.most_common()]

    def rows_of(self, node: str) -> list[int]:
        """Rows of a node: the one with this id, or all of a module. The whole model gives none: no need to mark it."""
        if not node:
            return []
        if ":" in node:
            try:
                return [self.layers.id.index(node)]
            except ValueError:
                return []
        return [row for row, path in enumerate(self.layers.path) if is_within(path, node)]

    def title(self, row: int) -> str:
        """A row for eyes: its module, and the operation where the module runs several."""
        path, op = self.layers.path[row], self.layers.op[row]
        if not path:
            return op
        return f"{path} · {op}" if self.layers.path.count(path) > 1 else path

    def sentences(self, row: int) -> list[str]:
        """Value, share and before of each shown metric; then the operation with its output shape."""
        lines = []
        for key in self.keys:
            metric = METRIC[key]
            value = column(self.layers, key)[row]
            whole = whole_of(self.analysis, metric, column(self.layers, key))
            before = self.before_column(key)
            parts = [value_words(metric, value)]
            if share := share_words(metric, value, whole):
                parts.append(share)
            if before is not None and (before[row] is not None or value is not None):
                parts.append(before_words(metric, before[row], value))
            lines.append(" · ".join(parts))
        if self.lanes_measured:
            lines += self._time_sentences(row)
        if self.unknown[row]:
            lines.append(self.layers.formula[row])
        shapes = ", ".join(numbers.shape(shape) for shape in self.layers.output_shapes[row][:2])
        lines.append(f"{self.layers.op[row]} → {shapes}" if shapes else self.layers.op[row])
        return lines

    def _time_sentences(self, row: int) -> list[str]:
        """Of a timed row: how fast its arithmetic ran, how the time was found, and what else the times belong to."""
        rates = [
            value_words(METRIC[key], value)
            for key in ("macs_per_s", "cores_busy")
            if key not in self.keys and (value := column(self.layers, key)[row])
        ]
        found = [" · ".join(rates)] if rates else []
        times = self.analysis.layer_times
        if times is not None:
            if self._timed_rows is None:
                self._timed_rows = {node: index for index, node in enumerate(times.row_id)}
            at = self._timed_rows.get(self.layers.id[row])
            if at is not None and times.note[at]:
                found.append(times.note[at])
        if belongs := times_of(self.analysis):
            found.append(belongs)
        return found

    def module_sentences(self, module: str, rows: Sequence[int]) -> list[str]:
        """Combined value, share and before of each shown metric for ``rows``, the rows of ``module``."""
        place = {path: index for index, path in enumerate(self.analysis.modules.path)}.get(module)
        lines = []
        for key in self.keys:
            metric = METRIC[key]
            value = module_value(self.analysis, key, module, place)
            parts = [value_words(metric, value)]
            whole = whole_of(self.analysis, metric, column(self.layers, key))
            if share := share_words(metric, value, whole):
                parts.append(share)
            if self.baseline is not None:
                there = self.baseline.modules.path
                index = there.index(module) if module in there else None
                before = module_value(self.baseline, key, module, index)
                if before is not None or value is not None:
                    parts.append(before_words(metric, before, value))
            lines.append(" · ".join(parts))
        if self.lanes_measured and (belongs := times_of(self.analysis)):
            lines.append(belongs)
        kind = "" if place is None else f"{self.analysis.modules.class_name[place]}, "
        lines.append(f"{kind}{len(rows)} {'row' if len(rows) == 1 else 'rows'}")
        return lines


def axis_words(metric: Metric) -> str:
    """``Intensity (FLOP/B)``; times and counts have their unit in each of the axis's numbers."""
    unit = metric.suffix or ("bytes" if metric.unit == "bytes" else "")
    return f"{metric.label} ({unit})" if unit else metric.label


def times_of(analysis: Analysis) -> str:
    """``times of 1×3×224×224`` while the measured columns are of another configuration, else ``""``."""
    times = analysis.layer_times
    if times is None or not analysis.stale_times:
        return ""
    return f"times {times_belong_to(times, analysis.configuration)}"


def whole_of(analysis: Analysis, metric: Metric, values: Sequence[Value]) -> Value:
    """What a row of this metric is a share of: the model's total, or for maxima and ratios the largest row.

    Times of layers are shares of their own sum: the headline is of other forward passes.
    """
    if metric.measured and metric.combine == "sum":
        return sum(value for value in values if value is not None) or None
    if metric.combine in ("sum", "params"):
        return total_of(analysis.totals, metric.key)
    return max((value for value in values if value is not None), default=None)


def module_value(analysis: Analysis, key: str, module: str, place: int | None) -> Value:
    """Metric ``key`` of ``module`` and everything below it; ``place`` is its row in Modules, None when it is not there.

    None where nothing was counted or nothing ran.
    """
    metric = METRIC[key]
    if place is None:
        return None
    if metric.combine == "params":
        return module_column(analysis.modules, key)[place]
    if metric.parts is not None:
        top, bottom = (module_value(analysis, part, module, place) for part in metric.parts)
        return ratio(top, bottom)
    values = column(analysis.layers, key)
    paths = analysis.layers.path
    return combined(key)([values[row] for row in range(len(paths)) if is_within(paths[row], module)])


def total_of(totals: Totals, key: str) -> Value:
    """Metric ``key`` of the whole model."""
    value: Value = getattr(totals, key)
    return value


def value_words(metric: Metric, value: Value) -> str:
    """``462 M MACs``, ``Activations 3.06 MiB``, ``MACs not counted``."""
    if metric.measured and value is None:
        return f"{metric.label} not measured"
    text = numbers.value(metric, value)
    if metric.unit == "count" and value is not None:
        # MACs and FLOPs keep their capitals.
        word = metric.label if metric.label[:2].isupper() else metric.label.lower()
        return f"{text} {word}"
    return f"{metric.label} {text}"


def share_words(metric: Metric, value: Value, whole: Value) -> str:
    """``2.9 %`` of the total, ``40 % of the peak``; nothing for ratios and unknown values."""
    if metric.combine == "ratio" or value is None or not whole:
        return ""
    share = numbers.share(value, whole)
    return f"{share} of the peak" if metric.combine == "max" else share


def before_words(metric: Metric, before: Value, now: Value) -> str:
    """``116 M before (× 3.98)``, ``as before``, ``not there before``."""
    if before == now:
        return "as before"
    if before is None:
        return "no value before"
    if metric.measured:
        return f"{numbers.value(metric, before)} before ({numbers.apart(before, now)}, measured apart)"
    return f"{numbers.value(metric, before)} before ({numbers.difference(before, now)})"
