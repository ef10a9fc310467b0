"""What a headline card says about a metric's total: words and tones, no Qt."""

from __future__ import annotations

from dataclasses import dataclass

from engine import numbers
from engine.metrics import METRIC, Metric, ratio
from engine.results import Analysis, Coverage
from engine.sparsity import unweighed_macs
from engine.tree_values import is_same

SPARSE = 0.05
"""Share of zeros from which on the cards tell."""


@dataclass(frozen=True)
class CardWords:
    """Everything that a card shows."""

    label: str
    value: str
    unit: str = ""
    """Beside the value in smaller type."""
    caption: str = ""
    """At the right end of the label's line."""
    difference: str = ""
    tone: str = "secondary"
    """Token of the difference's colour."""
    detail: str = ""
    """Below the value."""
    belongs: bool = False
    """Whether the detail is about the difference: both then stand below the value."""
    wraps: bool = False
    """Whether the detail is a sentence on all lines below the label; the value then stands beside the label."""
    tooltip: str = ""
    stale: str = ""
    """What the numbers belong to while something else is asked for."""

    @property
    def text(self) -> str:
        """Value with its unit."""
        return f"{self.value}{numbers.THIN}{self.unit}" if self.unit else self.value


def nothing_words(metric: Metric) -> CardWords:
    """Nothing is open."""
    return CardWords(metric.label, numbers.NOT_APPLICABLE, tooltip=metric.description)


def metric_words(metric: Metric, analysis: Analysis, baseline: Analysis | None) -> CardWords:
    """The total of ``metric``, compared with ``baseline`` unless that is the same configuration."""
    after = getattr(analysis.totals, metric.key)
    text = numbers.value(metric, after)
    if after is not None and _is_bounded(metric, analysis):
        text = f"≥ {text}"
    difference, tone, detail = "", "secondary", _exact_line(metric, analysis)
    if baseline is not None and not is_same(analysis, baseline):
        before = getattr(baseline.totals, metric.key)
        difference = numbers.difference(before, after)
        if before != after:
            detail = f"{numbers.value(metric, before)} before"
            if metric.less_is_better and before is not None and after is not None:
                tone = "better" if after < before else "worse"
    tooltip = _tooltip(metric, analysis, baseline)
    return CardWords(metric.label, text, difference=difference, tone=tone, detail=detail, tooltip=tooltip)


def coverage_sentence(coverage: Coverage) -> str:
    """``All 171 calls are counted.`` or which operations are not."""
    if not coverage.not_counted:
        return f"All {coverage.calls:,} calls are counted."
    missing = ", ".join(f"{each.calls:,} × {each.op}" for each in coverage.not_counted)
    return (
        f"All but {missing} are counted ({numbers.share(coverage.counted_calls, coverage.calls)} of calls)."
    )


def _is_bounded(metric: Metric, analysis: Analysis) -> bool:
    """Whether the total is a lower bound because rows do not know this metric (topk has no MACs but unknown FLOPs)."""
    return bool(analysis.coverage.not_counted) and None in getattr(analysis.layers, metric.key)


def _is_sparse(analysis: Analysis) -> bool:
    """Whether enough weights are 0 to speak of: below, it is biases that nobody trained."""
    share = ratio(analysis.totals.zeros, analysis.totals.params)
    return share is not None and share >= SPARSE


def _exact_line(metric: Metric, analysis: Analysis) -> str:
    totals = analysis.totals
    if metric.key == "macs" and totals.nonzero_macs is not None and _is_sparse(analysis):
        bound = "≥ " if unweighed_macs(analysis) else ""
        return f"{bound}{numbers.count(totals.nonzero_macs)} MACs on non-zero weights"
    if metric.key == "params":
        return f"{numbers.exact(totals.params)} · {numbers.size(totals.weight_bytes)}"
    return numbers.exact_value(metric, getattr(totals, metric.key))


def _tooltip(metric: Metric, analysis: Analysis, baseline: Analysis | None) -> str:
    after = getattr(analysis.totals, metric.key)
    lines = [f"{metric.label}: {numbers.exact_value(metric, after)}", metric.description]
    if metric.key in ("macs", "flops"):
        lines.append("1 MAC = 2 FLOPs")
        if _is_sparse(analysis):
            nonzero = METRIC["nonzero_macs"]
            lines.append(f"{nonzero.label}: {numbers.exact_value(nonzero, analysis.totals.nonzero_macs)}")
            unknown = unweighed_macs(analysis)
            if unknown:
                lines.append(f"Without {numbers.exact(unknown)} MACs whose weights' zeros are not known")
    if metric.key == "params" and _is_sparse(analysis):
        zeros = numbers.share(analysis.totals.zeros, analysis.totals.params)
        lines.append(f"{numbers.exact(analysis.totals.zeros)} are 0 ({zeros})")
    if metric.key == "params":
        totals = analysis.totals
        lines.append(
            f"Trainable {numbers.exact(totals.trainable_params)}, "
            f"frozen {numbers.exact(totals.params - totals.trainable_params)}, "
            f"buffers {numbers.exact(totals.buffers)} (apart)"
        )
        if totals.untouched_params:
            lines.append(f"{numbers.exact(totals.untouched_params)} are not read by this forward pass")
    lines.append(f"Input {numbers.inputs(analysis.configuration.inputs)}")
    if baseline is not None and not is_same(analysis, baseline):
        lines.append(f"Baseline: {numbers.exact_value(metric, getattr(baseline.totals, metric.key))}")
    if metric.key in ("macs", "flops"):
        lines.append(coverage_sentence(analysis.coverage))
    return "\n".join(lines)
