"""Zeros in the weights, joined with an analysis: zeros per row and module, and MACs on non-zero weights.

The zeros of each parameter are counted once per model (engine.loaders.zeros); how each row uses which parameter comes
with its analysis. MACs never change: a dense kernel multiplies zeros as well. Plain data that both processes read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from engine.results import Analysis, Modules, WeightUse

_RUN = re.compile(r"\[\d+:\d+\]$")


def with_zeros(analysis: Analysis, zeros: Mapping[str, int]) -> Analysis:
    """``analysis`` with what follows from the zeros of each parameter; as it is where its weights are not known.

    A parameter that is not in ``zeros``, or that an edit made anew, is unknown: its rows are not counted, and the
    totals are of the others.
    """
    uses = analysis.weight_uses
    if uses is None:
        return analysis
    known = {name: count for name, count in zeros.items() if whole_name(name) not in uses.remade}
    layers = analysis.layers
    row_zeros = tuple([_zeros(row, known) for row in uses.rows])
    told = [_nonzero(macs, row, known, uses.remade) for macs, row in zip(layers.macs, uses.rows, strict=True)]
    nonzero = tuple([number for number, _ in told])
    modules = _with_module_zeros(analysis, uses.rows, known)
    return msgspec.structs.replace(
        analysis,
        layers=msgspec.structs.replace(
            layers, zeros=row_zeros, nonzero_macs=nonzero, nonzero_formula=tuple([text for _, text in told])
        ),
        modules=modules,
        totals=msgspec.structs.replace(
            analysis.totals,
            zeros=modules.zeros[0],
            nonzero_macs=_total(layers.macs, nonzero),
            unweighed_params=modules.unweighed_params[0],
        ),
        weight_uses=None,
    )


def why_unknown(analysis: Analysis) -> str:
    """Why nothing is known of the zeros in its weights, as a clause; empty when it is known."""
    if analysis.is_weighed:
        return ""
    if analysis.weight_uses is not None:
        return "the zeros in the weights are not counted yet"
    if analysis.model.weights or analysis.model.format in ("python", "module"):
        return "the zeros in the weights are not counted"
    return "the weights are random"


def unweighed_macs(analysis: Analysis) -> int:
    """MACs of the rows of which nobody knows what zeros in their weights would save: no total has them."""
    layers = analysis.layers
    if not layers.nonzero_macs:
        return 0
    return sum(
        [macs or 0 for macs, known in zip(layers.macs, layers.nonzero_macs, strict=True) if known is None]
    )


def whole_name(name: str) -> str:
    """The parameter of which ``name`` may be a run of elements: ``in_proj_weight`` for ``in_proj_weight[0:64]``."""
    return _RUN.sub("", name)


def _zeros(row: Sequence[WeightUse], known: Mapping[str, int]) -> int | None:
    """Zeros among the params of a row; None where one is not known, or read in part."""
    total = 0
    for use in row:
        if not use.read:
            continue
        if use.read != use.elements or use.name not in known:
            return None
        total += known[use.name]
    return total


def _nonzero(
    macs: int | None, row: Sequence[WeightUse], known: Mapping[str, int], remade: Sequence[str]
) -> tuple[int | None, str]:
    """(MACs on non-zero weights, how that came about): MACs · non-zero / elements of each weight."""
    if macs is None:
        return None, ""
    factors = [use for use in row if use.macs or use.unknown]
    terms = []
    total = macs
    for use in factors:
        why = use.unknown or _why_unknown(use.name, known, remade)
        if why:
            return None, f"not counted: {why}"
        total -= use.macs * known[use.name] // use.elements
        terms.append(f"{use.macs:,} · {use.elements - known[use.name]:,}/{use.elements:,}")
    if not factors:
        return macs, ""
    rest = macs - sum(use.macs for use in factors)
    terms += [f"{rest:,}"] if rest else []
    return total, f"MACs · non-zero/elements = {' + '.join(terms)} = {total:,}"


def _total(macs: Sequence[int | None], nonzero: Sequence[int | None]) -> int | None:
    """Of the rows that are known; None where no row with MACs is among them."""
    known = [each for each, number in zip(macs, nonzero, strict=True) if number is not None]
    return sum([number or 0 for number in nonzero]) if any(known) or not any(macs) else None


def _why_unknown(name: str, known: Mapping[str, int], remade: Sequence[str]) -> str:
    if whole_name(name) in remade:
        return f"an edit made {name} anew, with random values"
    return "" if name in known else f"the zeros of {name} are not known"


def _with_module_zeros(
    analysis: Analysis, rows: Sequence[Sequence[WeightUse]], known: Mapping[str, int]
) -> Modules:
    """Zeros of the distinct parameters in each module and below, and elements of those that are not known."""
    modules = analysis.modules
    place = {path: index for index, path in enumerate(modules.path)}
    elements = {use.name: use.elements for row in rows for use in row if use.name == whole_name(use.name)}
    elements.pop("", None)
    elements.update((each.name, each.params) for each in analysis.untouched)
    held = _holders_of(analysis)
    zeros, unknown = [0] * len(modules), [0] * len(modules)
    for name, size in elements.items():
        counted = known.get(name)
        paths = held.get(name, (name.rpartition(".")[0],))
        for index in {at for path in paths for at in _around(path, place, modules.parent)}:
            if counted is None:
                unknown[index] += size
            else:
                zeros[index] += counted
    return msgspec.structs.replace(modules, zeros=tuple(zeros), unweighed_params=tuple(unknown))


def _holders_of(analysis: Analysis) -> dict[str, tuple[str, ...]]:
    """Paths of the modules that register a parameter, where these are not simply in its name."""
    found = {
        group.names[0]: tuple([name.rpartition(".")[0] for name in group.names]) for group in analysis.shared
    }
    uses = analysis.weight_uses
    found.update(uses.owners if uses is not None else ())
    return found


def _around(path: str, place: Mapping[str, int], parent: Sequence[int]) -> Iterator[int]:
    """Rows of the module at ``path`` and of all above it."""
    # A module that is registered twice has a row under its first path only.
    while path not in place:
        path = path.rpartition(".")[0]
    index = place[path]
    while index >= 0:
        yield index
        index = parent[index]
