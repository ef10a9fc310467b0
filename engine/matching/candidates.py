"""Which architectures of torchvision and timm the weights in a file belong to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from engine.contents import Candidate, Contents, Group
from engine.contents_words import main_group
from engine.graph import Shape
from engine.matching import zoo_index
from engine.matching.fit import ARGUMENTS, CLASSES, EXACT, PARTLY, Fit, fit
from engine.matching.names import Plain, plain, views
from engine.matching.reasons import reason
from engine.matching.zoo_index import Architecture, Index
from engine.sources import FileSource

MAX_GROUPS = 8
MAX_CANDIDATES = 50
MAX_BESIDE_WHOLE = 10
"""Architectures that fit partly, listed after others that fit wholly."""
SHORTLIST = 120
"""Structures of each view that are compared tensor by tensor."""
LEAST_OVERLAP = 2
LEAST_SHARE = 0.3
"""Of the tensors of the smaller of two."""
MAX_TENSORS = 20_000
MAX_TEXT = 3_000_000
"""Of all groups that are matched, and characters of their names: no architecture has a fifth of either."""

_FITS = {EXACT: "exact", CLASSES: "other classes", ARGUMENTS: "other sizes", PARTLY: "partly"}


class _Match(NamedTuple):
    architecture: Architecture
    fit: Fit

    @property
    def key(self) -> tuple[int, float]:
        return self.fit.tier, -self.fit.similarity

    @property
    def text(self) -> str:
        return self.architecture.source_with(self.fit.arguments)


def candidates(contents: Contents, group: str = "") -> tuple[Candidate, ...]:
    """The architectures that fit, group by group, the best first; empty when none does.

    ``group`` is the path of one of the file's groups; without it the model comes first, then its averages and others.
    What fits equally well has the same rank, and all of it is listed.
    """
    found: list[Candidate] = []
    known: dict[frozenset[tuple[str, Shape]], list[_Match]] = {}
    tensors = text = 0
    for chosen in _groups(contents, group)[:MAX_GROUPS]:
        names, sizes = _tensors(contents, chosen)
        tensors, text = tensors + len(names), text + sum(map(len, names))
        if tensors > MAX_TENSORS or text > MAX_TEXT:
            break
        bare = plain(names, sizes)
        shapes = frozenset(bare.shapes.items())
        if shapes not in known:
            known[shapes] = _best(_matches(zoo_index.load(), bare))
        found += _candidates(contents, chosen, known[shapes], bare)
    return tuple(found)


def _groups(contents: Contents, path: str) -> list[Group]:
    """The group at ``path``, or all that may be weights, the model first."""
    if path:
        return [group for group in contents.groups if group.path == path]
    main = main_group(contents)
    others = [group for group in contents.groups if group.role in ("model", "ema") and group is not main]
    return ([] if main is None else [main]) + others


def _tensors(contents: Contents, group: Group) -> tuple[list[str], list[Shape]]:
    number = contents.groups.index(group)
    rows = contents.tensors
    chosen = [
        index
        for index, (of, role) in enumerate(zip(rows.group, rows.role, strict=True))
        if of == number and role != "temporary"
    ]
    return [rows.name[index] for index in chosen], [rows.shape[index] for index in chosen]


def _matches(index: Index, bare: Plain) -> Iterator[_Match]:
    """Everything worth naming, of all views."""
    several = views(bare.shapes)
    by_structure: dict[int, list[Architecture]] = {}
    for architecture in index.facts.architectures:
        by_structure.setdefault(architecture.structure, []).append(architecture)
    for view, overlap in zip(several, index.overlaps([view.shapes for view in several]), strict=True):
        for structure in _shortlist(overlap, index.tensors, len(view.shapes)):
            members = index.members(structure)
            fits = {}
            for architecture in by_structure[structure]:
                if architecture.rules not in fits:
                    fits[architecture.rules] = fit(view, members, architecture.rules)
                if fits[architecture.rules].is_worth_naming:
                    yield _Match(architecture, fits[architecture.rules])


def _shortlist(overlap: Sequence[int], tensors: Sequence[int], own: int) -> list[int]:
    """The structures that share the most tensors with the file, relative to the size of both."""
    shared = [
        number
        for number, count in enumerate(overlap)
        if count >= max(LEAST_OVERLAP, LEAST_SHARE * min(own, tensors[number]))
    ]
    return sorted(shared, key=lambda number: -overlap[number] / (tensors[number] + own - overlap[number]))[
        :SHORTLIST
    ]


def _best(matches: Iterator[_Match]) -> list[_Match]:
    """Each architecture once, the best first, as many as are worth listing; nothing of a tie is cut off."""
    found: dict[str, _Match] = {}
    for match in matches:
        known = found.get(match.architecture.source)
        if known is None or match.key < known.key:
            found[match.architecture.source] = match
    ordered = sorted(found.values(), key=lambda match: match.key)
    # Where a tensor has another shape the file cannot be opened so. It is said where nothing fits as well that can.
    usable = [match for match in ordered if not match.fit.other_shape]
    if usable:
        ordered = [each for each in ordered if not each.fit.other_shape or each.key < usable[0].key]
    whole = sum(match.fit.tier != PARTLY for match in ordered)
    most = min(MAX_CANDIDATES, whole + MAX_BESIDE_WHOLE) if whole or not usable else MAX_CANDIDATES
    if len(ordered) > most:
        last = ordered[most - 1].key
        ordered = [match for match in ordered if match.key <= last]
    return ordered


def _candidates(
    contents: Contents, group: Group, matches: Sequence[_Match], bare: Plain
) -> Iterator[Candidate]:
    stem = Path(contents.file).name.lower().replace("-", "_")
    for rank, (_, tied) in enumerate(groupby(matches, key=lambda match: match.key), 1):
        ordered = sorted(tied, key=lambda match: _place(match.architecture, stem))
        texts = [match.text for match in ordered]
        for match in ordered:
            others = [text for text in texts if text != match.text]
            yield _candidate(contents, group, match, bare, rank, others)


def _place(architecture: Architecture, stem: str) -> tuple[int, bool]:
    """Which of a tie stands first: the one that the file is called after, and those that are what they say."""
    name = architecture.source.partition(":")[2].partition(":")[0].partition("(")[0].lower()
    return (-len(name) if name in stem else 0), architecture.task == "quantization"


def _candidate(
    contents: Contents, group: Group, match: _Match, bare: Plain, rank: int, equals: Sequence[str]
) -> Candidate:
    main = main_group(contents)
    part = group.path if main is not None and group.path != main.path else ""
    tier = PARTLY if bare.derived else match.fit.tier
    return Candidate(
        # Adapters alone cannot be opened: the architecture they belong to can.
        source=match.text if bare.derived else str(FileSource(contents.file, part, match.text)),
        architecture=match.text,
        fit=_FITS[tier],
        matched=match.fit.matched,
        tensors=group.tensors,
        expected=match.fit.expected,
        reason=reason(match.fit, bare, equals),
        rank=rank,
        group=group.path,
    )
