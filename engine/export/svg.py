"""Bars per layer as inline SVG: layout in user units, colours by class, so that the page decides light or dark.

All text that comes from a model passes through :func:`html.escape`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from html import escape

from msgspec import Struct

from engine import numbers
from engine.export import summary
from engine.metrics import METRIC, Metric, Number, column
from engine.results import Analysis

WIDTH = 1080
LEFT, RIGHT, TOP = 64, 4, 8
MAX_BARS = WIDTH - LEFT - RIGHT
"""Bars narrower than one unit are merged; the largest of a group stands for it."""
CHARACTER = 6.8
"""Width of an average character at 11 units; labels that would not fit are left out or elided."""


_UNITS = {
    "bytes": ("B", "KiB", "MiB", "GiB", "TiB", "PiB"),
    "count": ("", "k", "M", "G", "T", "P"),
    "seconds": ("ns", "µs", "ms", "s"),
}
"""Of axes, each base times the one before."""


class Bar(Struct, frozen=True):
    """One layer of a bar chart."""

    label: str
    group: str
    family: str
    now: int
    before: int
    title: str


def ticks(top: float, base: int) -> list[float]:
    """Three to six round positions from 0 up to at least ``top``; powers of two times 1024 for bytes."""
    if top <= 0:
        return [0, 1]
    power: float = 1
    while top / power >= base:
        power *= base
    steps = (
        [2.0**n for n in range(-3, 11)]
        if base == 1024
        else [m * 10.0**e for e in range(-2, 3) for m in (1, 2, 5)]
    )
    step = next((each * power for each in steps if top / (each * power) <= 5), top)
    if power == 1:
        step = max(step, 1)
    return [step * n for n in range(int(-(-top // step)) + 1)]


def tick_labels(positions: Sequence[float], metric: Metric) -> list[str]:
    """All positions in the unit of the largest: ``0``, ``0.2 G``, ``0.4 G``."""
    base = 1024 if metric.unit == "bytes" else 1000
    units = _UNITS.get(metric.unit, _UNITS["count"])
    scale, unit = 1, 0
    while positions[-1] / scale >= base and unit < len(units) - 1:
        scale, unit = scale * base, unit + 1
    return [
        f"{position / scale:g}{numbers.THIN if units[unit] else ''}{units[unit]}" if position else "0"
        for position in positions
    ]


def bars(analysis: Analysis, baseline: Analysis | None, key: str, height: int = 220) -> str:
    """Metric ``key`` of every layer that has any, in network order; the baseline a ghost where it differs."""
    metric = METRIC[key]
    rows = _bars(analysis, baseline, metric)
    if not rows:
        return ""
    positions = ticks(max(max(bar.now, bar.before) for bar in rows), 1024 if metric.unit == "bytes" else 1000)
    bottom = height - 24
    scale = (bottom - TOP) / positions[-1]
    slot = (WIDTH - LEFT - RIGHT) / len(rows)
    # With few layers, slots would make slabs of them.
    slot = min(slot, 64.0)
    width = slot * 0.8 if slot > 3 else slot
    parts = [opening(height, f"{metric.label} per layer in network order")]
    for position, label in zip(positions, tick_labels(positions, metric), strict=True):
        y = bottom - position * scale
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="axis end" x="{LEFT - 8}" y="{y + 4:.1f}">{escape(label)}</text>')
    parts += _groups(rows, slot, bottom)
    for index, bar in enumerate(rows):
        x = LEFT + index * slot + (slot - width) / 2
        parts.append(f"<g><title>{escape(bar.title)}</title>")
        # The whole column answers the pointer, so that a small bar has a readout too.
        parts.append(f'<rect class="hit" x="{x:.2f}" y="{TOP}" width="{width:.2f}" height="{bottom - TOP}"/>')
        if bar.now:
            parts.append(rectangle(f"f-{bar.family}", x, bottom - bar.now * scale, width, bar.now * scale))
        # Where nothing changed, a ghost would only darken the bar.
        if bar.before and bar.before != bar.now:
            inset = width * 0.25 if slot > 3 else 0
            parts.append(
                rectangle(
                    "ghost", x + inset, bottom - bar.before * scale, width - 2 * inset, bar.before * scale
                )
            )
        parts.append("</g>")
    parts.append("</svg>")
    return "".join(parts)


def _bars(analysis: Analysis, baseline: Analysis | None, metric: Metric) -> list[Bar]:
    now = column(analysis.layers, metric.key)
    before = column(baseline.layers, metric.key) if baseline else []
    level = _group_level(analysis)
    rows = []
    for row, old in summary.pair_rows(analysis.layers, baseline.layers if baseline else None):
        value, ghost = now[row] if row is not None else 0, before[old] if old is not None else 0
        if not value and not ghost:
            continue
        source, index = (analysis, row) if row is not None else (baseline, old)
        assert source is not None and index is not None
        path = source.layers.path[index]
        rows.append(
            Bar(
                summary.layer_label(source, index),
                ".".join(path.split(".")[:level]),
                source.layers.family[index],
                _amount(metric, value),
                _amount(metric, ghost),
                _readout(
                    metric, summary.layer_label(source, index), value, ghost, analysis, baseline is not None
                ),
            )
        )
    return _merged(rows)


def _amount(metric: Metric, value: Number) -> int:
    """What a bar is as long as: whole nanoseconds for a time; what is unknown, or a little below 0, has no bar."""
    return max(round((value or 0) * (1e9 if metric.unit == "seconds" else 1)), 0)


def _readout(
    metric: Metric, label: str, now: Number, before: Number, analysis: Analysis, compared: bool
) -> str:
    unit = f" {metric.label}" if metric.unit == "count" else ""
    told = numbers.value if metric.measured else numbers.exact_value
    text = f"{label}\n{told(metric, now)}{unit}"
    if metric.combine in ("sum", "params"):
        text += f" · {numbers.share(now, getattr(analysis.totals, metric.key))}"
    return f"{text}\n{told(metric, before)} before" if compared else text


def _merged(rows: list[Bar]) -> list[Bar]:
    size = -(-len(rows) // MAX_BARS)
    if size <= 1:
        return rows
    return [
        max(rows[start : start + size], key=lambda bar: max(bar.now, bar.before))
        for start in range(0, len(rows), size)
    ]


def _group_level(analysis: Analysis) -> int:
    """How many components of a path name a part of the network, so that no part is most of it."""
    paths = [path.split(".") for path in analysis.layers.path]
    for level in (1, 2, 3):
        sizes = Counter(tuple(path[:level]) for path in paths)
        if sizes and max(sizes.values()) <= 0.6 * len(paths):
            return level
    return 1


def _group_name(group: str) -> str:
    """``layer1``, ``encoder_layer_0``; a number keeps the name before it: ``features.3``."""
    parts = group.split(".")
    return ".".join(parts[-2:]) if parts[-1].isdigit() else parts[-1]


def _groups(rows: list[Bar], slot: float, bottom: int) -> list[str]:
    """A thin line where a new part of the network begins, with its name where there is room for it."""
    starts = [index for index, bar in enumerate(rows) if index == 0 or rows[index - 1].group != bar.group]
    parts: list[str] = []
    for start, end in zip(starts, [*starts[1:], len(rows)], strict=True):
        room, x = (end - start) * slot, LEFT + start * slot
        label = fitted(_group_name(rows[start].group), room - 12)
        if not label:
            continue
        parts.append(f'<path class="grid" d="M{x:.1f} {TOP}V{bottom + 6}"/>')
        parts.append(f'<text class="axis" x="{x + 4:.1f}" y="{bottom + 16}">{escape(label)}</text>')
    return parts


def opening(height: int, label: str) -> str:
    """The opening tag of a chart that is ``WIDTH`` wide; ``label`` names it for screen readers."""
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}"'
        ' xmlns="http://www.w3.org/2000/svg">'
    )


def rectangle(kind: str, x: float, y: float, width: float, height: float) -> str:
    """A rectangle whose colour is that of the class ``kind``."""
    return f'<rect class="{kind}" x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}"/>'


def fitted(text: str, room: float) -> str:
    """``text``, elided in the middle to ``room`` units; empty when too little would be left."""
    fits = int(room / CHARACTER)
    if len(text) <= fits:
        return text
    if fits < 7:
        return ""
    keep = fits - 1
    return f"{text[: (keep + 1) // 2]}…{text[len(text) - keep // 2 :]}"
