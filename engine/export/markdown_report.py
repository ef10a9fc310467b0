"""Markdown: the breakdown for a pull request or an issue, as GitHub and GitLab render it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from engine import numbers
from engine.contents import printable
from engine.export import summary
from engine.export.formats import export_format
from engine.export.latency_words import latency_section
from engine.export.measured import imported, shown
from engine.metrics import METRIC, column
from engine.reconciliation import Reconciliation, reconcile
from engine.results import Analysis

TOP_ROWS = 20
_MODULE_KEYS = ("params", "macs", "flops", "activation_bytes", "peak_activation_bytes", "bytes_moved")
_WEIGHED_KEYS = ("sparsity", "nonzero_macs")
"""In the tables when the zeros in the weights are counted."""


@export_format("md", "Summary for a pull request (Markdown)", ".md")
def write(analysis: Analysis, baseline: Analysis | None) -> bytes:
    """Headline, what changed, modules, largest layers, conventions; UTF-8."""
    parts = [_head(analysis, baseline), _headline(analysis, baseline)]
    if baseline is not None:
        parts.append(_change(analysis, baseline))
    parts.append(_latency(analysis, baseline))
    if analysis.configuration.edits:
        parts.append("## Edits\n\n" + _code(analysis.python_lines()))
    parts += [_modules(analysis, baseline), _top(analysis, baseline), _parameters(analysis, baseline)]
    parts.append(_notes(analysis, baseline))
    # A lone surrogate (a file name that is not UTF-8) must not cost the report.
    return ("\n\n".join(filter(None, parts)) + "\n").encode("utf-8", "replace")


def text(words: str) -> str:
    """Foreign text inside a paragraph or table cell: nothing in it acts as Markdown or HTML, or on a terminal."""
    flat = printable(" ".join(words.split()))
    return re.sub(r"([\\`*_{}\[\]<>#|~&])", r"\\\1", flat)


def code(words: str) -> str:
    """Foreign text as inline code, also inside a table, where only ``|`` needs care."""
    flat = printable(" ".join(words.split()))
    longest = max((len(run) for run in re.findall("`+", flat)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if "`" in flat else ""
    return f"{fence}{pad}{flat}{pad}{fence}".replace("|", "\\|") if flat else ""


def _code(lines: Sequence[str]) -> str:
    lines = [printable(line) for line in lines]
    longest = max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([f"{fence}python", *lines, fence])


def _table(header: Sequence[str], right: int, rows: Iterable[Sequence[str]]) -> str:
    """A table whose columns from ``right`` on are numbers."""
    rule = ["---" if index < right else "--:" for index in range(len(header))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *rows))


def _head(analysis: Analysis, baseline: Analysis | None) -> str:
    model = analysis.model
    lines = [
        f"# {text(model.name)}",
        "",
        f"{code(model.source)} at {text(summary.input_sentence(analysis, baseline))}.",
    ]
    if baseline is not None:
        lines[-1] += f" Compared with {text(summary.baseline_sentence(analysis, baseline))}."
    lines.append(text(summary.coverage_sentence(analysis)))
    if model.note:
        lines += ["", f"> {text(model.note)}"]
    return "\n".join(lines)


def _headline(analysis: Analysis, baseline: Analysis | None) -> str:
    header = ["Total", "Value", "Exact"]
    if baseline is None:
        rows = [
            [c.metric.label, c.value, _exact(analysis, c.metric.key)] for c in summary.cards(analysis, None)
        ]
        return _table(header, 1, rows)
    header += ["Before", "Difference"]
    return _table(
        header,
        1,
        [
            [
                c.metric.label,
                c.value,
                _exact(analysis, c.metric.key),
                c.before.removesuffix(" before") if c.metric.measured else _exact(baseline, c.metric.key),
                c.difference,
            ]
            for c in summary.cards(analysis, baseline)
        ],
    )


def _exact(analysis: Analysis, key: str) -> str:
    if METRIC[key].measured:
        # Its last digits are noise.
        return numbers.NOT_APPLICABLE
    return numbers.exact_value(METRIC[key], getattr(analysis.totals, key))


def _change(analysis: Analysis, baseline: Analysis) -> str:
    return f"**What changed.** {text(summary.what_changed(analysis, baseline))}"


def _latency(analysis: Analysis, baseline: Analysis | None) -> str:
    section = latency_section(analysis, baseline)
    if section is None:
        return _imported(analysis)
    parts = [f"## Latency\n\n**{text(section.headline)}.**"]
    quiet = [f"- {text(words)}: {text(detail)}" for words, detail in section.doubts]
    parts.append(
        "\n".join(["Not quiet while it was measured:", "", *quiet]) if quiet else "The machine was quiet."
    )
    parts.append(_facts("Measured", section.facts))
    if section.memory:
        parts.append(_facts("Memory of one forward pass", section.memory))
    if section.layers:
        header = ["Slowest layers", "Operation", "Time", "Share", "Cores busy", "Speed"]
        before = baseline is not None and baseline.layer_times is not None
        header += ["Before"] if before else []
        rows = [
            [
                code(row.path),
                text(row.what) + (f" ({text(row.note)})" if row.note else ""),
                row.time,
                row.share,
                row.cores,
                row.speed,
                *([row.before] if before else []),
            ]
            for row in section.layers
        ]
        parts.append(_table(header, 2, rows))
        parts.append(text(section.layers_sentence))
    parts.append(_facts("Circumstances", section.circumstances))
    return "\n\n".join(parts)


def _imported(analysis: Analysis) -> str:
    """The slowest layers by times that nobody measured here."""
    times = imported(analysis)
    if times is None or times.origin is None:
        return ""
    slowest = sorted(
        (row for row in zip(times.row_id, times.latency_s, times.note, strict=True) if row[1] is not None),
        key=lambda row: -(row[1] or 0.0),
    )
    rows = [
        [code(id), text(note), numbers.duration(seconds or 0.0), numbers.share(seconds, times.end_to_end_s)]
        for id, seconds, note in slowest[:TOP_ROWS]
    ]
    rows.append(["", "inserted by the runtime", numbers.duration(times.inserted_s), ""])
    table = _table(["Slowest layers", "", "Time", "Share of a run"], 2, rows)
    return f"## Imported profile\n\nNot measured here: {text(times.origin.words)}.\n\n{table}"


def _facts(title: str, facts: Sequence[tuple[str, str]]) -> str:
    return _table([title, ""], 2, [[text(label), text(words)] for label, words in facts])


def _modules(analysis: Analysis, baseline: Analysis | None) -> str:
    deepest, levels = summary.overview_depth(analysis), summary.depths(analysis)
    keys = (*_MODULE_KEYS, *_WEIGHED_KEYS) if analysis.is_weighed else _MODULE_KEYS
    columns = {key: summary.module_totals(analysis, key) for key in keys}
    old: dict[str, float | None] = {}
    header = ["Module", "Class", *(METRIC[key].label for key in keys)]
    if baseline is not None:
        header.append("MACs against baseline")
        old = dict(zip(baseline.modules.path, summary.module_totals(baseline, "macs"), strict=True))
    rows = []
    for row, path in enumerate(analysis.modules.path):
        if levels[row] > deepest:
            continue
        state = " (removed)" if analysis.modules.removed[row] else ""
        cells = [code(path) + state if path else "whole model", text(analysis.modules.class_name[row])]
        cells += [numbers.value(METRIC[key], columns[key][row]) for key in keys]
        if baseline is not None:
            cells.append(numbers.difference(old.get(path), columns["macs"][row]) if path in old else "new")
        rows.append(cells)
    return "## Modules\n\n" + _table(header, 2, rows)


def _top(analysis: Analysis, baseline: Analysis | None) -> str:
    layers = analysis.layers
    order = sorted(
        range(len(layers)), key=lambda row: (-(layers.macs[row] or 0), -(layers.bytes_moved[row] or 0), row)
    )
    shown = order[:TOP_ROWS]
    before = dict(summary.pair_rows(layers, baseline.layers if baseline is not None else None))
    header = ["Layer", "Operation", "Output", "Params", "MACs", "Share", "Activations"]
    more = {key: column(layers, key) for key in _WEIGHED_KEYS} if analysis.is_weighed else {}
    header += [METRIC[key].label for key in more]
    if baseline is not None:
        header.append("MACs before")
    rows = []
    for row in shown:
        cells = [
            code(layers.path[row]),
            code(layers.op[row]),
            numbers.shapes(layers.output_shapes[row]),
            numbers.exact(layers.params[row]),
            numbers.exact(layers.macs[row]),
            numbers.share(layers.macs[row], analysis.totals.macs),
            numbers.size(layers.activation_bytes[row]),
            *(numbers.exact_value(METRIC[key], values[row]) for key, values in more.items()),
        ]
        if baseline is not None:
            old = before[row]
            cells.append(numbers.exact(baseline.layers.macs[old]) if old is not None else "new")
        rows.append(cells)
    return f"## Largest layers by MACs ({len(shown)} of {len(layers)})\n\n" + _table(header, 3, rows)


def _parameters(analysis: Analysis, baseline: Analysis | None) -> str:
    lines = []
    totals = analysis.totals
    frozen = totals.params - totals.trainable_params
    lines.append(
        f"- {totals.trainable_params:,} trainable, {frozen:,} frozen; beside them {totals.buffers:,} in buffers"
    )
    if zeros := summary.zeros_sentence(analysis):
        lines.append(f"- {zeros}")
    for shared in analysis.shared:
        lines.append(f"- Shared, counted once: {', '.join(map(code, shared.names))} ({shared.params:,})")
    for untouched in analysis.untouched:
        lines.append(f"- Not used by this forward pass: {code(untouched.name)} ({untouched.params:,})")
    section = "## Parameters\n\n" + "\n".join(lines)
    reconciliation = reconcile(analysis, baseline)
    return section if reconciliation is None else f"{section}\n\n{_reconciled(reconciliation)}"


def _reconciled(reconciliation: Reconciliation) -> str:
    """From the parameters of the baseline to those of the model, line by line."""
    rows = [["Baseline", "", f"{reconciliation.before:,}"]]
    rows += [[text(line.what), text(line.where), line.change] for line in reconciliation.lines]
    rows.append(["This model", "", f"{reconciliation.after:,}"])
    return "Why the parameters differ:\n\n" + _table(["Reason", "Layers", "Parameters"], 2, rows)


def _notes(analysis: Analysis, baseline: Analysis | None) -> str:
    lines = [f"- {line}" for line in summary.CONVENTIONS]
    lines += [f"- {metric.label}: {metric.description}" for metric in shown(analysis, baseline)]
    for assumption in analysis.assumptions:
        lines.append(f"- Assumption {code(assumption.key)}: {text(assumption.label)} = {assumption.value:,}")
    lines.append(f"- Found by: {summary.MODES[analysis.mode]}")
    facts = ", ".join(f"{text(name)} {text(value)}" for name, value in analysis.environment.items())
    if facts:
        lines.append(f"- Environment: {facts}")
    return "## What is counted\n\n" + "\n".join(lines)
