"""What one cell of the layer tree shows: text for eyes, state and bar, made once per result and node.

Pure: no Qt. `gui.models.layer_tree` keeps the cells it has made; `gui.views.layer_delegate` paints them.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine import numbers
from engine.metrics import Metric, Number, ratio
from engine.sparsity import why_unknown
from engine.tree_values import Comparison, NodeValues
from gui.models.columns import LayerColumn
from gui.models.layer_widths import shapes_text
from gui.state_words import times_sentence

CANNOT_RUN = "cannot run"
TO_BE_REMOVED = "to be removed"
IN_ABOVE = "in ↑"
"""Instead of a time: it is part of the row above that carries it; the tooltip says why."""
FUSED = "in "
"""Before the name of the layer whose time this one's is part of: one kernel did the work of both."""
MEASURED_APART = "measured apart"
"""Of two times that were not taken in alternation: their difference has no verdict."""
_STATES = {
    CANNOT_RUN: "Stops the forward pass of the configuration asked for; the numbers are of the last good state",
    "removed": "Replaced by identity",
    TO_BE_REMOVED: "Asked to be removed, which cannot be computed; the numbers are of the last good state",
    "not used": "Not called in this forward pass",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """``tone`` is a token of the theme; ``bar`` and ``ghost`` are shares of the model's total, 0 to 1."""

    text: str
    tone: str = "text"
    flag: str = ""
    """Words after the text: ``cannot run``, ``removed``, ``to be removed`` or ``not used``."""
    flag_tone: str = "secondary"
    struck: bool = False
    small: bool = False
    bold: bool = False
    family: str = ""
    bar: float | None = None
    ghost: float | None = None
    faded: bool = False
    """Measured of another configuration: painted as old."""


class LayerCells(Comparison):
    """Cells, sort keys and tooltips of one analysis, compared with a baseline by node name."""

    def __init__(self, values: NodeValues, baseline: NodeValues | None, failed: str = "") -> None:
        """``failed``: path of the layer that stops the configuration asked for; empty for none."""
        super().__init__(values, baseline)
        self._failed = self.structure.node_of_path.get(failed) if failed else None
        self.removals: frozenset[str] = frozenset()
        """Paths of layers that are asked to be removed, where that cannot be computed."""
        self.outdated = False
        """Whether something else is asked for meanwhile: times must look old at once, also those of this analysis."""

    def cell(self, node: int, column: LayerColumn, with_bar: bool) -> Cell:
        """The cell of ``node`` in ``column``; ``with_bar`` asks for the inline bar of a value column."""
        if column.kind == "layer":
            return self._layer_cell(node)
        if column.kind == "output":
            return Cell(shapes_text(self.output_shapes(node)), tone="secondary", small=True)
        assert column.metric is not None
        if column.kind == "value":
            return self._value_cell(node, column.metric, with_bar)
        if self.is_baseline:
            return Cell("")
        if column.kind == "difference":
            return self._difference_cell(node, column.metric)
        before, after = self.before(node, column.metric.key), self.values.value(node, column.metric.key)
        faded = self.is_stale(column.metric)
        if before == after:
            return Cell(self.text(node, column.metric), tone="secondary", faded=faded)
        old = numbers.value(column.metric, before) if before is not None else numbers.NOT_APPLICABLE
        return Cell(f"{old} → {self.text(node, column.metric)}", faded=faded)

    def sort_key(self, node: int, column: LayerColumn) -> Number | str:
        """What ``column`` sorts by: a number, a label, or None for what is unknown or does not apply."""
        if column.kind == "layer":
            return self.structure.labels[node]
        if column.kind == "output":
            shapes = self.output_shapes(node)
            return _elements(shapes[0]) if shapes else None
        assert column.metric is not None
        after = self.values.value(node, column.metric.key)
        if column.kind == "value":
            return after
        before = self.before(node, column.metric.key)
        return ratio(after, before)

    def tooltip(self, node: int, column: LayerColumn) -> str:
        """Exact numbers and how they came about, as plain text."""
        if column.kind == "layer":
            return self._layer_tooltip(node)
        if column.kind == "output":
            return "\n".join(numbers.shape(shape) for shape in self.output_shapes(node))
        metric = column.metric
        assert metric is not None
        if metric.measured:
            return self._measured_tooltip(node, metric)
        if metric.weighed and not self.analysis.is_weighed:
            return f"{metric.label}: {why_unknown(self.analysis)}\n{metric.description}"
        after = self.values.value(node, metric.key)
        lines = [f"{metric.label}: {numbers.exact_value(metric, after)}"]
        share = self.values.share(node, metric.key)
        if share is not None and metric.combine != "max":
            lines.append(f"{numbers.share(after, self.values.total(metric.key))} of the model")
        if self.baseline is not None:
            before = self.before(node, metric.key)
            change = numbers.difference(before, after)
            lines.append(f"Baseline: {numbers.exact_value(metric, before)} ({change})")
        unknown = self.values.unknown_rows(node, metric.key)
        if self.structure.row[node] < 0 and unknown:
            lines.append(f"Without {unknown} operations that are not counted")
        layers, row = self.analysis.layers, self.structure.row[node]
        if row >= 0 and metric.key in ("macs", "flops", "special_ops") and layers.formula[row]:
            lines.append(layers.formula[row])
        elif row >= 0 and metric.key == "nonzero_macs" and layers.nonzero_formula[row]:
            lines.append(layers.nonzero_formula[row])
        else:
            lines.append(metric.description)
        return "\n".join(lines)

    def is_stale(self, metric: Metric) -> bool:
        """Whether the numbers of ``metric`` belong to another configuration and must be shown as old."""
        return metric.measured and (self.outdated or self.analysis.stale_times)

    def state(self, node: int) -> str:
        """A key of ``_STATES`` or empty; an operation is always used."""
        if node == self._failed:
            return CANNOT_RUN
        if not self.structure.stands_for_module(node):
            return ""
        modules = self.analysis.modules
        module = self.structure.module[node]
        if modules.removed[module]:
            return "removed"
        if modules.path[module] in self.removals:
            return TO_BE_REMOVED
        return "" if modules.calls[module] or self.structure.rows[node] else "not used"

    def text(self, node: int, metric: Metric) -> str:
        """A value for eyes: ``—`` for nothing to count, ``not counted`` for unknown, ``≥`` where rows are unknown."""
        value = self.values.value(node, metric.key)
        if value is None and metric.measured:
            if metric.parts is None and (carrier := self.values.carrier(node)):
                return f"{FUSED}{self._label_of(carrier)}"
            is_part = metric.parts is None and self.values.time_note(node)
            return IN_ABOVE if is_part else numbers.NOT_APPLICABLE
        if metric.weighed and not self.analysis.is_weighed:
            return numbers.NOT_APPLICABLE
        if self.values.is_bounded(node, metric.key):
            return f"≥ {numbers.value(metric, value)}" if value is not None else numbers.NOT_COUNTED
        if value is None and metric.parts is not None:
            top = self.values.value(node, metric.parts[0])
            return numbers.NOT_COUNTED if top is None else numbers.NOT_APPLICABLE
        if value == 0 and self.values.is_nothing(node, metric.key):
            return numbers.NOT_APPLICABLE
        return numbers.value(metric, value)

    def _label_of(self, row_id: str) -> str:
        """The name of a layer row, as its own line in the tree has it."""
        node = self.structure.find(row_id)
        return self.structure.labels[node] if node is not None else row_id.rpartition(":")[0]

    def _value_cell(self, node: int, metric: Metric, with_bar: bool) -> Cell:
        text = self.text(node, metric)
        small = text in (numbers.NOT_COUNTED, IN_ABOVE) or text.startswith(FUSED)
        quiet = small or text == numbers.NOT_APPLICABLE
        faded = self.is_stale(metric)
        tone = "caution" if text == numbers.NOT_COUNTED else "secondary" if quiet else "text"
        if not with_bar or metric.combine == "ratio" or text == numbers.NOT_COUNTED:
            return Cell(text, tone=tone, small=small, faded=faded)
        total = self.values.total(metric.key)
        bar = ratio(self.values.value(node, metric.key), total) or 0.0
        before = self.before(node, metric.key) if self.baseline is not None else None
        return Cell(text, tone=tone, small=small, bar=bar, ghost=ratio(before, total), faded=faded)

    def _difference_cell(self, node: int, metric: Metric) -> Cell:
        assert self.baseline is not None
        before, after = self.before(node, metric.key), self.values.value(node, metric.key)
        if self.baseline_node(node) is None:
            return Cell("new", tone="secondary") if after else Cell("")
        if not before and not after and before is not None:
            return Cell("")
        if metric.measured:
            # Single layers are never timed in alternation: no verdict, and nothing to draw the eye to.
            return Cell(numbers.apart(before, after), tone="secondary", faded=self.is_stale(metric))
        text = numbers.difference(before, after)
        if text in ("=", numbers.NOT_APPLICABLE) or before is None or after is None:
            return Cell(text, tone="secondary")
        tone = "secondary"
        if metric.less_is_better:
            tone = "better" if after < before else "worse"
        return Cell(text, tone=tone, bold=True)

    def _layer_cell(self, node: int) -> Cell:
        label = self.structure.labels[node]
        row = self.structure.row[node]
        family = ""
        if row >= 0:
            family = self.analysis.layers.family[row]
            calls = self.analysis.layers.calls[row]
            label = f"{label} ×{calls}" if calls > 1 else label
        state = self.state(node)
        if state and not family:
            family = self._family_before(node)
        return Cell(
            label,
            tone="secondary" if state and state != CANNOT_RUN else "text",
            flag=state,
            flag_tone="secondary" if state == "not used" else "caution",
            struck=state in ("removed", TO_BE_REMOVED),
            family=family,
        )

    def _measured_tooltip(self, node: int, metric: Metric) -> str:
        after = self.values.value(node, metric.key)
        if self.analysis.layer_times is None:
            return f"{metric.label}: not measured\n{metric.description}"
        lines = [
            f"{metric.label}: {numbers.value(metric, after) if after is not None else self.text(node, metric)}"
        ]
        if metric.combine != "ratio" and after is not None:
            lines.append(f"{numbers.share(after, self.values.total(metric.key))} of all layers")
        before = self.before(node, metric.key)
        if before is not None:
            words = f"{numbers.apart(before, after)}, {MEASURED_APART}: no verdict"
            lines.append(f"Baseline: {numbers.value(metric, before)} ({words})")
        if note := self.values.time_note(node):
            lines.append(note)
        if self.is_stale(metric):
            lines.append(times_sentence(self.analysis.layer_times, self.analysis.configuration))
        lines.append(metric.description)
        return "\n".join(lines)

    def _family_before(self, node: int) -> str:
        """A removed layer keeps the colour it had in the baseline."""
        other = self.baseline_node(node)
        if other is None or self.baseline is None or self.baseline.structure.row[other] < 0:
            return ""
        return self.baseline.analysis.layers.family[self.baseline.structure.row[other]]

    def _layer_tooltip(self, node: int) -> str:
        modules, module = self.analysis.modules, self.structure.module[node]
        lines = [modules.path[module] or self.structure.labels[0], modules.class_name[module]]
        row = self.structure.row[node]
        if row >= 0:
            layers = self.analysis.layers
            calls = f", {layers.calls[row]} calls" if layers.calls[row] > 1 else ""
            lines.append(f"{layers.op[row]} · {layers.family[row]}{calls}")
            if layers.shared[row]:
                lines.append("Shares parameters with another layer; the total counts them once")
        if state := self.state(node):
            lines.append(_STATES[state])
        return "\n".join(lines)


def _elements(shape: tuple[int, ...]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product
