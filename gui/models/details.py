"""What the inspector says about one node, as plain lines and a table. Pure; no Qt."""

from __future__ import annotations

from dataclasses import dataclass

from engine import numbers
from engine.edits import attribute_text
from engine.errors import ErrorInfo
from engine.graph import AttributeValue, Shape
from engine.metrics import METRICS, Metric, Number
from engine.results import Analysis
from gui.models.cells import CANNOT_RUN, MEASURED_APART, LayerCells
from gui.state_words import times_sentence

MAX_NAMES = 4
"""Parameter names listed before "and 12 more"."""


@dataclass(frozen=True)
class MetricLine:
    """One row of the table of numbers."""

    metric: Metric
    exact: str
    share: str
    """Part of the model's total; for a ratio its unit."""
    before: str
    """For eyes (the exact number is in the tree's tooltip). Empty without a baseline, and where nothing changed."""
    difference: str
    tone: str
    """Token of the difference's colour."""
    faded: bool = False
    """Measured of another configuration."""


@dataclass(frozen=True)
class Details:
    title: str
    subtitle: str
    facts: tuple[tuple[str, str], ...]
    """(label, text) in display order."""
    formula: str
    metrics: tuple[MetricLine, ...]
    editable: tuple[tuple[str, AttributeValue], ...]


def details(cells: LayerCells, node: int, *, compare: bool, failure: ErrorInfo | None = None) -> Details:
    """Everything about ``node``; ``compare`` adds the baseline's numbers where they differ.

    ``failure`` is why the configuration asked for has no numbers; the layer it names says so first.
    """
    structure, analysis = cells.structure, cells.analysis
    module, row = structure.module[node], structure.row[node]
    path = analysis.modules.path[module]
    is_module = structure.stands_for_module(node)
    attributes = analysis.modules.attributes[module] if is_module else {}
    fields = analysis.modules.editable[module] if is_module else ()
    title = path or structure.labels[0]
    if not is_module:
        title = f"{path}.{structure.labels[node]}" if path else structure.labels[node]
    return Details(
        title=title,
        subtitle=_subtitle(cells, node, is_module),
        facts=(
            *(_failure_facts(failure) if failure is not None and cells.state(node) == CANNOT_RUN else ()),
            *_facts(cells, node, {key: attributes[key] for key in attributes if key not in fields}),
        ),
        formula=_formula(analysis, row) if row >= 0 else "",
        metrics=tuple(line for metric in METRICS if (line := _metric_line(cells, node, metric, compare))),
        editable=tuple((key, attributes[key]) for key in fields if key in attributes),
    )


def _formula(analysis: Analysis, row: int) -> str:
    """How MACs and FLOPs came about, and what zeros in the weights would save of them."""
    layers = analysis.layers
    more = layers.nonzero_formula[row] if layers.nonzero_formula else ""
    return "\n".join(filter(None, (layers.formula[row], more and f"On non-zero weights: {more}")))


def _failure_facts(failure: ErrorInfo) -> list[tuple[str, str]]:
    facts = [("Cannot run", failure.message), ("Expected", failure.expected), ("Got", failure.got)]
    return [fact for fact in facts if fact[1]]


def _subtitle(cells: LayerCells, node: int, is_module: bool) -> str:
    structure, analysis = cells.structure, cells.analysis
    module, row = structure.module[node], structure.row[node]
    parts = [analysis.modules.class_name[module]] if is_module else []
    if row >= 0:
        parts += [analysis.layers.op[row], analysis.layers.family[row]]
    state = cells.state(node)
    # A node of an ONNX graph is called after its operator.
    return " · ".join(dict.fromkeys([*parts, state] if state else parts))


def _facts(cells: LayerCells, node: int, attributes: dict[str, AttributeValue]) -> list[tuple[str, str]]:
    structure, analysis = cells.structure, cells.analysis
    layers, row, module = analysis.layers, structure.row[node], structure.module[node]
    path = analysis.modules.path[module]
    facts: list[tuple[str, str]] = []
    if cells.state(node) == "removed":
        facts.append(("Now", "Identity: what comes in goes out, at no cost"))
    outputs = cells.output_shapes(node)
    if row >= 0:
        # The rows of a layer that cost nothing (a permutation before a norm) take and give what the layer does.
        first = structure.rows[node][0]
        facts.append(("Shapes", f"{_shapes(layers.input_shapes[first])} → {_shapes(outputs)}"))
        facts.append(("Dtype", layers.dtype[row]))
    elif outputs:
        facts.append(("Output", _shapes(outputs)))
    calls = layers.calls[row] if row >= 0 else analysis.modules.calls[module]
    if calls != 1:
        facts.append(("Calls", f"{calls:,}" if calls else "none in this forward pass"))
    if row < 0 and structure.rows[node]:
        count = len(structure.rows[node])
        facts.append(("Operations", f"{count:,} row{'s' if count != 1 else ''}"))
    if analysis.modules.node and analysis.modules.node[module] and (row >= 0 or not structure.rows[node]):
        facts.append(("Node", analysis.modules.node[module]))
    facts.extend(_parameter_facts(analysis, structure.row[node], module, node == 0))
    facts.extend(_weight_facts(analysis, path))
    facts.extend(_time_facts(cells, node))
    if attributes:
        text = " · ".join(f"{key} {attribute_text(value)}" for key, value in attributes.items())
        facts.append(("Attributes", text))
    return facts


def _weight_facts(analysis: Analysis, path: str) -> list[tuple[str, str]]:
    """That the weights of the layer, or of those in it, have no values of their own since an edit."""
    sentences = (
        sentence for layer, sentence in analysis.new_weights.items() if layer == path or _owns(path, layer)
    )
    return [("Weights", sentence) for sentence in sentences]


def _time_facts(cells: LayerCells, node: int) -> list[tuple[str, str]]:
    """What must be known of the node's times: how they were found, and that they are old."""
    times = cells.analysis.layer_times
    if times is None:
        return []
    notes = [cells.values.time_note(node)]
    if not cells.is_baseline and cells.before(node, "latency_s") is not None:
        notes.append(f"now and before {MEASURED_APART}")
    if cells.analysis.stale_times:
        notes.append(times_sentence(times, cells.analysis.configuration))
    return [("Time", note) for note in notes if note]


def _parameter_facts(analysis: Analysis, row: int, module: int, is_model: bool) -> list[tuple[str, str]]:
    path = analysis.modules.path[module]
    facts = []
    shared = [each for each in analysis.shared if any(_owns(path, name) for name in each.names)]
    if shared:
        lines = (
            f"{_names(each.names)}: one tensor of {numbers.exact(each.params)}, counted once"
            for each in shared
        )
        facts.append(("Shared", "; ".join(lines)))
    elif row >= 0 and analysis.layers.shared[row]:
        facts.append(("Shared", "Another layer reads these parameters too; the total counts them once"))
    untouched = [each for each in analysis.untouched if _owns(path, each.name)]
    if untouched and (row < 0 or is_model):
        total = sum(each.params for each in untouched)
        names = _names(tuple(each.name for each in untouched))
        facts.append(
            ("Untouched", f"{numbers.exact(total)} parameters are not read by this forward pass: {names}")
        )
    return facts


def _metric_line(cells: LayerCells, node: int, metric: Metric, compare: bool) -> MetricLine | None:
    """None where there is nothing to count, now and before."""
    if metric.measured:
        return _measured_line(cells, node, metric, compare)
    if metric.weighed and not cells.analysis.is_weighed:
        return None
    after = cells.values.value(node, metric.key)
    share = ""
    if metric.combine in ("sum", "params") and after:
        share = numbers.share(after, cells.values.total(metric.key))
    text = numbers.NOT_APPLICABLE if after is None and metric.parts is not None else numbers.exact(after)
    if metric.unit == "share":
        text = numbers.exact_value(metric, after)
    if metric.unit == "bytes" and after is not None:
        text += f"{numbers.THIN}B"
    if metric.suffix:
        share = metric.suffix
    before_text, difference, tone = "", "", "secondary"
    if compare:
        before = cells.before(node, metric.key)
        if before != after and not (before is None and not after):
            before_text = numbers.value(metric, before).removesuffix(metric.suffix).strip()
            difference = numbers.difference(before, after)
            tone = _tone(metric, before, after)
    is_zero = after == 0 and cells.values.is_nothing(node, metric.key)
    nothing = is_zero or text == numbers.NOT_APPLICABLE
    if nothing and not before_text:
        return None
    return MetricLine(metric, text, share, before_text, difference, tone)


def _measured_line(cells: LayerCells, node: int, metric: Metric, compare: bool) -> MetricLine | None:
    """Times in readable units (their last digits mean nothing); differences without colour, as there is no verdict."""
    times, after = cells.analysis.layer_times, cells.values.value(node, metric.key)
    if times is None or not after:
        return None
    text = numbers.value(metric, after).removesuffix(metric.suffix).strip()
    share = metric.suffix
    if metric.combine == "sum":
        share = numbers.share(after, cells.values.total(metric.key))
    elif metric.key == "cores_busy":
        text = numbers.significant(after, 2)
        share = f"of {times.threads} thread{'s' if times.threads != 1 else ''}"
    before_text, difference = "", ""
    before = cells.before(node, metric.key) if compare else None
    if before is not None:
        before_text = numbers.value(metric, before).removesuffix(metric.suffix).strip()
        difference = numbers.apart(before, after)
    faded = cells.is_stale(metric)
    return MetricLine(metric, text, share, before_text, difference, "secondary", faded)


def _tone(metric: Metric, before: Number, after: Number) -> str:
    if not metric.less_is_better or before is None or after is None:
        return "secondary"
    return "better" if after < before else "worse"


def _owns(path: str, name: str) -> bool:
    return not path or name.startswith(path + ".")


def _names(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:MAX_NAMES])
    rest = len(names) - MAX_NAMES
    return f"{shown} and {rest:,} more" if rest > 0 else shown


def _shapes(shapes: tuple[Shape, ...]) -> str:
    return ", ".join(numbers.shape(shape) for shape in shapes) or numbers.NOT_APPLICABLE
