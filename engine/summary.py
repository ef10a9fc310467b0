"""What changed against the baseline, in words: one sentence, where the change sits, what the user did.

Plain data that both processes read: the window and the reports say the same.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from engine import numbers
from engine.edits import RemoveLayer
from engine.graph import InputShape, Shape, elements
from engine.metrics import METRIC, Metric, ratio
from engine.reconciliation import Reconciliation, reconcile
from engine.results import Analysis
from engine.tree_values import Comparison, is_same

SAME_FACTOR = 0.01
"""Layers whose factors differ by less than this part are said to change by one factor."""
NEARLY_ALL = 0.9
MAX_NAMED = 5
"""Layers named in a sentence before "and 3 more"."""
MAX_CONTRIBUTORS = 4
FEW = 6
"""At most this many unchanged layers are named as "only …"."""
ALL_BUT = "Everything but "
MANY_PARTS = 2_000
"""A model with more of them (100,000 nodes without scopes) is told by its largest contributors alone."""


@dataclass(frozen=True)
class Span:
    """A piece of a sentence: plain, ``strong``, or a link to ``node``."""

    text: str
    strong: bool = False
    node: str | None = None


Sentence = tuple[Span, ...]


@dataclass(frozen=True)
class Contributor:
    """One part of the difference; ``share`` is its part of the whole difference, signed like it."""

    node: str
    label: str
    change: str
    share: str
    difference: str


@dataclass(frozen=True)
class Summary:
    headline: Sentence
    where: tuple[Sentence, ...]
    contributors: tuple[Contributor, ...]
    circumstances: tuple[str, ...]
    """Changes of input, of assumed sizes, of the model itself; weights that have no values any more."""
    python: tuple[str, ...]
    """The edits of the analysis; also given when nothing changed against the baseline."""
    params: Reconciliation | None = None
    """Why the parameters differ, where one of the two is an ONNX file and the other is not; said in circumstances."""

    @property
    def is_empty(self) -> bool:
        return not self.headline


@dataclass(frozen=True)
class Part:
    """A node of the comparison; ``work`` is FLOPs, which speak for layers without MACs too."""

    node: str
    label: str
    before: int | float
    after: int | float
    work_before: int | float
    work_after: int | float
    positions: float | None
    """Factor of the output's elements."""

    @property
    def same(self) -> bool:
        return self.before == self.after and self.work_before == self.work_after

    @property
    def factor(self) -> float | None:
        if self.before and self.after:
            return self.after / self.before
        return ratio(self.work_after, self.work_before)


def plain(sentences: Iterable[Sentence]) -> str:
    """Sentences as running text."""
    return " ".join("".join(span.text for span in sentence) for sentence in sentences)


def summarise(comparison: Comparison, count_mode: str) -> Summary:
    """The analysis against its baseline, in ``macs`` or ``flops``; empty when there is nothing to compare."""
    analysis = comparison.analysis
    baseline = comparison.baseline.analysis if comparison.baseline is not None else None
    python = tuple(analysis.python_lines())
    if baseline is None or is_same(analysis, baseline):
        return Summary((), (), (), (), python)
    nodes = _frontier_nodes(comparison)
    params = reconcile(analysis, baseline)
    return Summary(
        headline=headline(analysis, baseline, count_mode),
        where=_sentences(comparison, nodes, count_mode),
        contributors=tuple(_contributors(comparison, nodes, METRIC[count_mode])),
        circumstances=(*_circumstances(analysis, baseline), *([params.sentence] if params else [])),
        python=python,
        params=params,
    )


def where(comparison: Comparison, count_mode: str) -> tuple[Sentence, ...]:
    """Which parts of the model changed by which factor, and which cost what they did; empty when all do."""
    return _sentences(comparison, _frontier_nodes(comparison), count_mode)


def _sentences(comparison: Comparison, nodes: Sequence[int], count_mode: str) -> tuple[Sentence, ...]:
    if len(nodes) > MANY_PARTS:
        return ()
    return tuple(_where(comparison, [_part(comparison, node, count_mode) for node in nodes]))


def headline(analysis: Analysis, baseline: Analysis, count_mode: str) -> Sentence:
    """``Same parameters, 3.91 × the MACs, 4.00 × the peak memory.``"""
    spans: list[Span] = []
    phrases = (
        ("params", "parameters"),
        (count_mode, METRIC[count_mode].label),
        ("peak_activation_bytes", "peak memory"),
    )
    for key, noun in phrases:
        before, after = getattr(baseline.totals, key), getattr(analysis.totals, key)
        if spans:
            spans.append(Span(", "))
        spans.extend(_compared(before, after, noun, first=not spans, many=key != "peak_activation_bytes"))
    return (*spans, Span("."))


def _compared(before: int, after: int, noun: str, *, first: bool, many: bool) -> list[Span]:
    difference = numbers.difference(before, after)
    if difference == "=":
        return [Span(f"Same {noun}" if first else f"the same {noun}")]
    if not before:
        return [Span(f"{'New' if first else 'new'} {noun}")]
    if difference.startswith("×"):
        return [_times(difference), Span(f" the {noun}")]
    word = "more" if after > before else "fewer" if many else "less"
    return [Span(difference.lstrip("+" + numbers.MINUS), strong=True), Span(f" {word} {noun}")]


def _times(difference: str) -> Span:
    """``× 3.91`` as it stands before a noun: ``3.91 ×``."""
    return Span(f"{difference.removeprefix('×').strip()}{numbers.THIN}×", strong=True)


def _factor(factor: float) -> Span:
    return Span(f"{numbers.significant(factor)}{numbers.THIN}×", strong=True)


# -- where the change sits -----------------------------------------------------------------------------------------


def frontier(comparison: Comparison, metric: str) -> list[Part]:
    """The model's parts to speak about: its children, opened up while nearly all change sits in one of them."""
    return [_part(comparison, node, metric) for node in _frontier_nodes(comparison)]


def _frontier_nodes(comparison: Comparison) -> Sequence[int]:
    structure = comparison.structure
    nodes: Sequence[int] = structure.children[0]
    while True:
        moved = [abs(_change(comparison, node, "flops")) for node in nodes]
        place = max(range(len(nodes)), key=moved.__getitem__, default=-1)
        if place < 0 or not structure.children[nodes[place]] or moved[place] <= NEARLY_ALL * sum(moved):
            return nodes
        nodes = [*nodes[:place], *structure.children[nodes[place]], *nodes[place + 1 :]]


def _change(comparison: Comparison, node: int, key: str) -> int | float:
    return (comparison.values.value(node, key) or 0) - (comparison.before(node, key) or 0)


def _part(comparison: Comparison, node: int, metric: str) -> Part:
    structure = comparison.structure
    path = comparison.analysis.modules.path[structure.module[node]]
    label = path if structure.stands_for_module(node) else structure.labels[node]
    return Part(
        node=structure.names[node],
        label=label,
        before=comparison.before(node, metric) or 0,
        after=comparison.values.value(node, metric) or 0,
        work_before=comparison.before(node, "flops") or 0,
        work_after=comparison.values.value(node, "flops") or 0,
        positions=_growth(comparison.output_shapes_before(node), comparison.output_shapes(node)),
    )


def _growth(before: Sequence[Shape], after: Sequence[Shape]) -> float | None:
    if not before or not after:
        return None
    return ratio(elements(after[0]), elements(before[0]))


def _where(comparison: Comparison, parts: list[Part]) -> list[Sentence]:
    """Which parts changed by which factor, and which cost what they did."""
    working = [part for part in parts if part.work_before and part.work_after]
    # What differs by less than the digits shown says nothing: norms that an exporter folded.
    changed = [
        part for part in working if not part.same and numbers.significant(part.factor or 1.0) != "1.00"
    ]
    kept = [part for part in working if part.same]
    if not changed:
        return []
    sentences: list[Sentence] = []
    groups = _by_factor(changed)
    if len(groups) == 1 and len(changed) > 1:
        sentences.append(_one_factor(comparison, parts, changed, kept))
        if sentences[0][0].text == ALL_BUT:
            return sentences
    else:
        for factor, members in groups[:3]:
            verb = " costs " if len(members) == 1 else " cost "
            sentences.append(
                (
                    *listed(members),
                    Span(verb),
                    _factor(factor),
                    Span(" what it did." if len(members) == 1 else " what they did."),
                )
            )
    if kept:
        only = "Only " if len(kept) <= min(FEW, len(changed)) else ""
        verb = " costs what it did." if len(kept) == 1 else " cost what they did."
        sentences.append((Span(only), *listed(kept), Span(verb)) if only else (*listed(kept), Span(verb)))
    return sentences


def _one_factor(comparison: Comparison, parts: list[Part], changed: list[Part], kept: list[Part]) -> Sentence:
    """``Everything after maxpool works on 4.00 × the positions`` where an edit explains it, else a plain list."""
    factor = changed[0].factor or 1.0
    amount = _factor(factor)
    grown = [part for part in changed if part.positions is not None and _close(part.positions, factor)]
    # A global pool or a classifier at the end does more work per element it puts out, or none more.
    on_positions = len(grown) >= len(changed) - 1
    edited = _edited_part(comparison, parts)
    if edited is not None and on_positions:
        untouched = {part.node for part in parts[: parts.index(edited)]}
        if untouched.isdisjoint(part.node for part in changed):
            start = Span("Everything after ")
            return (
                start,
                Span(edited.label, node=edited.node),
                Span(" works on "),
                amount,
                Span(" the positions."),
            )
    if on_positions and not kept:
        return (Span("Every layer works on "), amount, Span(" the positions."))
    what = " the positions." if on_positions else " what it did."
    if kept and len(kept) <= FEW and len(changed) > MAX_NAMED:
        return (
            Span(ALL_BUT),
            *listed(kept),
            Span(" works on " if on_positions else " costs "),
            amount,
            Span(what),
        )
    if on_positions:
        return (*listed(changed), Span(" work on "), amount, Span(" the positions."))
    return (*listed(changed), Span(" cost "), amount, Span(" what they did."))


def _edited_part(comparison: Comparison, parts: list[Part]) -> Part | None:
    """The part that holds the only edit the baseline does not have."""
    assert comparison.baseline is not None
    old = comparison.baseline.analysis.configuration.edits
    new = [edit for edit in comparison.analysis.configuration.edits if edit not in old]
    if len(new) != 1:
        return None
    layer = new[0].layer
    for part in parts:
        if layer == part.label or (
            layer.startswith(part.label + ".") and not isinstance(new[0], RemoveLayer)
        ):
            return part
    return None


def _by_factor(parts: Iterable[Part]) -> list[tuple[float, list[Part]]]:
    """Parts of (nearly) one factor together, the group with the largest cost first."""
    groups: list[tuple[float, list[Part]]] = []
    for part in parts:
        factor = part.factor
        if factor is None:
            continue
        for known, members in groups:
            if _close(known, factor):
                members.append(part)
                break
        else:
            groups.append((factor, [part]))
    return sorted(groups, key=lambda group: -sum(part.work_after for part in group[1]))


def _close(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=SAME_FACTOR)


def listed(parts: Sequence[Part]) -> list[Span]:
    """``conv1, bn1 and fc`` as links."""
    shown = parts[:MAX_NAMED] if len(parts) > MAX_NAMED + 1 else parts
    spans: list[Span] = []
    for place, part in enumerate(shown):
        if place:
            last = place == len(shown) - 1 and len(shown) == len(parts)
            spans.append(Span(" and " if last else ", "))
        spans.append(Span(part.label, node=part.node))
    if len(shown) < len(parts):
        spans.append(Span(f" and {len(parts) - len(shown)} more"))
    return spans


def _contributors(comparison: Comparison, nodes: Sequence[int], metric: Metric) -> list[Contributor]:
    """The parts that make up most of the difference, largest first."""
    changes = {node: change for node in nodes if (change := _change(comparison, node, metric.key))}
    whole = sum(changes.values())
    found = []
    for node in heapq.nlargest(MAX_CONTRIBUTORS, changes, key=lambda node: abs(changes[node])):
        part, change = _part(comparison, node, metric.key), changes[node]
        share = f"{numbers.significant(change / whole * 100, 2)}{numbers.THIN}%" if whole else ""
        difference = numbers.difference(part.before, part.after)
        found.append(Contributor(part.node, part.label, _signed(metric, change), share, difference))
    return found


def _signed(metric: Metric, change: int | float) -> str:
    text = numbers.value(metric, change)
    return f"+{text}" if change > 0 else text


# -- what the user did ---------------------------------------------------------------------------------------------


def _circumstances(analysis: Analysis, baseline: Analysis) -> list[str]:
    lines = []
    if (analysis.model.source, analysis.model.sha256) != (baseline.model.source, baseline.model.sha256):
        lines.append(f"Compared with {baseline.model.name}")
    before = {given.name: given for given in baseline.configuration.inputs}
    for given in analysis.configuration.inputs:
        old = before.get(given.name)
        if old is not None and old != given:
            lines.append(f"{given.name}: {input_change(old, given)}")
    assumed = dict(baseline.configuration.assumptions)
    for key, value in analysis.configuration.assumptions:
        if assumed.get(key) != value:
            was = f"{assumed[key]:,} → " if key in assumed else ""
            lines.append(f"{key}: {was}{value:,}")
    known = set(baseline.new_weights.values())
    return [*lines, *(sentence for sentence in analysis.new_weights.values() if sentence not in known)]


def input_change(before: InputShape, after: InputShape) -> str:
    """``224×224 → 256×256``, with the batch when that changed too."""
    if before.dtype != after.dtype or len(before.shape) != len(after.shape):
        return f"{before} → {after}"
    differing = [
        axis for axis, pair in enumerate(zip(before.shape, after.shape, strict=True)) if len(set(pair)) > 1
    ]
    if len(before.shape) == 4 and min(differing) >= 2:
        return f"{numbers.shape(before.shape[2:])} → {numbers.shape(after.shape[2:])}"
    if differing == [0]:
        return f"batch {before.shape[0]:,} → {after.shape[0]:,}"
    return f"{before} → {after}"
