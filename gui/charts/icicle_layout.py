"""Where the rectangles of the module tree go: widths in shares of the whole, one depth per row. No Qt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from engine.metrics import METRIC, column, module_column
from engine.results import Analysis


class Cell(NamedTuple):
    """One module: its row in ``results.Modules``, its depth, and where it begins and ends (0 to 1)."""

    module: int
    depth: int
    start: float
    end: float


def is_additive(key: str) -> bool:
    """Whether a module's value is the sum of its parts, so that widths can stand for it."""
    return METRIC[key].combine in ("sum", "params")


def module_values(analysis: Analysis, key: str) -> list[int | float | None]:
    """Metric ``key`` of each module and everything below it; None where nothing below was counted.

    Parameters and weights are the distinct ones the module holds, also where this forward pass did not read them;
    everything else is the sum over executed rows.
    """
    modules, layers = analysis.modules, analysis.layers
    if METRIC[key].combine == "params":
        return list(module_column(modules, key))
    sums: list[int | float | None] = [None] * len(modules)
    place = {path: index for index, path in enumerate(modules.path)}
    for path, value in zip(layers.path, column(layers, key), strict=True):
        at = place.get(path, 0)
        if value is not None:
            sums[at] = (sums[at] or 0) + value
    for index in range(len(modules) - 1, 0, -1):
        value, parent = sums[index], modules.parent[index]
        if value is not None:
            sums[parent] = (sums[parent] or 0) + value
    return sums


def children_in_order(analysis: Analysis) -> list[list[int]]:
    """For each module the rows of its children, in the order in which they first ran; those that did not come last."""
    modules = analysis.modules
    place = {path: index for index, path in enumerate(modules.path)}
    never = len(analysis.layers)
    first = [never] * len(modules)
    for row, path in enumerate(analysis.layers.path):
        at = place.get(path, 0)
        first[at] = min(first[at], row)
    for index in range(len(modules) - 1, 0, -1):
        parent = modules.parent[index]
        first[parent] = min(first[parent], first[index])
    children: list[list[int]] = [[] for _ in modules.path]
    for index in range(1, len(modules)):
        children[modules.parent[index]].append(index)
    for siblings in children:
        siblings.sort(key=lambda index: first[index])
    return children


def row_extent(analysis: Analysis, module: str) -> tuple[int, int] | None:
    """First and last layer row of a module and what is below it; None when it did not run."""
    prefix = module + "."
    rows = [
        row
        for row, path in enumerate(analysis.layers.path)
        if not module or path == module or path.startswith(prefix)
    ]
    return (rows[0], rows[-1]) if rows else None


def icicle(
    parents: Sequence[int],
    children: Sequence[Sequence[int]],
    values: Sequence[int | float | None],
    focus: int = 0,
    thinnest: float = 0.0,
) -> list[Cell]:
    """Cells of ``focus`` and everything below it, and its ancestors at full width above; parents before children.

    A child's width is its share of its parent. Shared parameters can make children add up to more than their parent;
    then they share its width in proportion. Cells thinner than ``thinnest`` (a share of the whole) are left out.
    """
    line = [focus]
    while parents[line[-1]] >= 0:
        line.append(parents[line[-1]])
    line.reverse()
    cells = [Cell(module, depth, 0.0, 1.0) for depth, module in enumerate(line)]
    waiting = [cells[-1]]
    while waiting:
        parent = waiting.pop()
        below = children[parent.module]
        total = max(values[parent.module] or 0, sum(values[child] or 0 for child in below))
        if not total:
            continue
        start = parent.start
        width = parent.end - parent.start
        for child in below:
            end = start + width * (values[child] or 0) / total
            if end - start > thinnest:
                cell = Cell(child, parent.depth + 1, start, end)
                cells.append(cell)
                waiting.append(cell)
            start = end
    return cells


def cell_at(cells: Sequence[Cell], depth: int, share: float) -> Cell | None:
    """The cell at a depth and a horizontal position (0 to 1); None for the open space beside children."""
    for cell in cells:
        if cell.depth == depth and cell.start <= share < cell.end:
            return cell
    return None
