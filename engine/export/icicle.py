"""The module tree as inline SVG: the model on top, what it is made of below, as wide as its share."""

from __future__ import annotations

from collections import defaultdict
from html import escape

from msgspec import Struct

from engine import numbers
from engine.export import summary
from engine.export.svg import WIDTH, fitted, opening, rectangle
from engine.metrics import METRIC, Metric, Number
from engine.results import Analysis


class _Tree(Struct, frozen=True):
    values: list[Number]
    children: dict[int, list[int]]
    own: dict[int, dict[str, int]]
    """Per module: sum per family of the operations that belong to it directly."""


def icicle(analysis: Analysis, key: str, row_height: int = 24, most_levels: int = 6) -> str:
    """Metric ``key`` by module: the model on top, what it is made of below, as wide as its share."""
    metric = METRIC[key]
    tree = _tree(analysis, key)
    if not tree.values or not tree.values[0]:
        return ""
    levels = min(max(summary.depths(analysis), default=0) + 1, most_levels)
    height = levels * row_height + 2
    parts = [opening(height, f"{metric.label} by module")]
    _cell(parts, analysis, tree, metric, 0, (0.0, float(WIDTH)), (0, levels, row_height))
    parts.append("</svg>")
    return "".join(parts)


def _tree(analysis: Analysis, key: str) -> _Tree:
    index = {path: row for row, path in enumerate(analysis.modules.path)}
    own: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    layers = analysis.layers
    for path, family, number in zip(layers.path, layers.family, getattr(layers, key), strict=True):
        own[index[path]][family] += number or 0
    children: dict[int, list[int]] = defaultdict(list)
    for row, parent in enumerate(analysis.modules.parent):
        if parent >= 0:
            children[parent].append(row)
    return _Tree(summary.module_totals(analysis, key), children, own)


def _cell(
    parts: list[str],
    analysis: Analysis,
    tree: _Tree,
    metric: Metric,
    row: int,
    span: tuple[float, float],
    place: tuple[int, int, int],
) -> None:
    """One module and all below it; ``span`` is (x, width), ``place`` (level, levels, row height)."""
    (x, width), (level, levels, row_height) = span, place
    value = tree.values[row] or 0
    path = analysis.modules.path[row]
    below = [child for child in tree.children.get(row, ()) if tree.values[child]]
    own = tree.own.get(row, {})
    family = max(own, key=lambda name: own[name]) if own and not below else ""
    name = path.rpartition(".")[2] or analysis.model.name
    title = (
        f"{path or analysis.model.name}\n{numbers.exact_value(metric, value)}"
        f" · {numbers.share(value, getattr(analysis.totals, metric.key))}"
    )
    label = fitted(name, width - 10)
    parts.append(f'<g class="{"leaf" if not below else "part"}"><title>{escape(title)}</title>')
    y = 1 + level * row_height
    fill = f"f-{family}" if family else "f-other" if not below else "box"
    parts.append(rectangle(fill, x + 0.5, y, max(width - 1, 0.3), row_height - 2))
    if label:
        parts.append(f'<text x="{x + 5:.1f}" y="{y + row_height / 2 + 3:.1f}">{escape(label)}</text>')
    parts.append("</g>")
    if level + 1 >= levels or width < 2:
        return
    # Parameters that two children share count in both of them and once in their parent.
    inside = sum(tree.values[child] or 0 for child in below)
    whole = max(value, inside)
    if inside < whole and below:
        share = width * (whole - inside) / whole
        _own(
            parts, path or analysis.model.name, own, whole - inside, (x, share), (y + row_height, row_height)
        )
        x += share
    for child in below:
        share = width * (tree.values[child] or 0) / whole
        if share >= 0.4:
            _cell(parts, analysis, tree, metric, child, (x, share), (level + 1, levels, row_height))
        x += share


def _own(
    parts: list[str],
    name: str,
    families: dict[str, int],
    value: float,
    span: tuple[float, float],
    place: tuple[int, int],
) -> None:
    """What a module has itself beside its children, such as the products of an attention."""
    (x, width), (y, row_height) = span, place
    if width < 0.4:
        return
    family = max(families, key=lambda each: families[each]) if families else "other"
    parts.append(f'<g class="leaf"><title>{escape(name)} itself\n{value:,.0f}</title>')
    parts.append(rectangle(f"f-{family}", x + 0.5, y, max(width - 1, 0.3), row_height - 2))
    label = fitted(family, width - 10)
    if label:
        parts.append(f'<text x="{x + 5:.1f}" y="{y + row_height / 2 + 3:.1f}">{escape(label)}</text>')
    parts.append("</g>")
