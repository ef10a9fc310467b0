"""What a model file holds, as text in columns: for a terminal, and for ``grep`` and ``less`` behind a pipe."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from engine.contents import Candidate, Contents, shown
from engine.contents_words import describe
from engine.numbers import exact, shape, size

_NAME = 200


def text(contents: Contents, candidates: Sequence[Candidate], fits: bool = True) -> str:
    """Everything that was read, section by section; the long ones (archive entries, tensors) at the end.

    ``fits``: the architectures of the zoo were looked through, so that none is a finding.
    """
    lines = [describe(contents), ""]
    lines += _columns([["Kind", contents.kind], ["Format", contents.format], ["Size", _bytes(contents.size)],
                       *([["Producer", shown(contents.producer)]] if contents.producer else [])])  # fmt: skip
    lines += _notes(contents)
    lines += _candidates(candidates, fits)
    for title, head, rows, right in _sections(contents):
        if rows:
            lines += ["", f"{title} ({len(rows):,})", *_columns([head, *rows], right, indent="  ")]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _notes(contents: Contents) -> Iterator[str]:
    if contents.notes:
        yield from (
            "",
            f"Notes ({len(contents.notes):,})",
            *(f"  {shown(note, 500)}" for note in contents.notes),
        )


def _candidates(candidates: Sequence[Candidate], fits: bool) -> Iterator[str]:
    if candidates:
        several = len({each.group for each in candidates}) > 1
        rows = [
            [*([_path(each.group)] * several), str(each.rank), each.architecture, each.fit, each.reason]
            for each in candidates
        ]
        yield from ("", f"Architectures that fit ({len(rows):,})")
        heads = [*(["Group"] * several), "Rank", "Architecture", "Fit", "Reason"]
        yield from _columns([heads, *rows], {int(several)}, indent="  ")
        yield f"  To open one: python main.py report {shown(shlex.quote(candidates[0].source), 500)}"
    elif fits:
        yield from ("", "Architectures that fit (0)", "  None of torchvision and timm. "
                    "Open the weights with the model they belong to: FILE@net.py:build")  # fmt: skip


_Section = tuple[str, list[str], list[list[str]], set[int]]


def _sections(contents: Contents) -> Iterator[_Section]:
    """(title, heads, rows, columns of numbers)."""
    yield from _groups(contents)
    yield from _pickle(contents)
    yield "Classes", ["Name"], [[shown(name, _NAME)] for name in contents.classes], set()
    metadata = [[shown(key), shown(value, 500)] for key, value in contents.metadata]
    yield "Metadata", ["Key", "Value"], metadata, set()
    yield from _graph(contents)
    yield "Shards", ["File"], [[shown(name, _NAME)] for name in contents.shards], set()
    yield _tensors(contents)
    for title, entries in (("Code", contents.code), ("Files in the archive", contents.entries)):
        rows = [[shown(each.name, _NAME), exact(each.size), exact(each.packed)] for each in entries]
        yield title, ["Name", "Bytes", "Packed"], rows, {1, 2}


def _pickle(contents: Contents) -> Iterator[_Section]:
    imports = [[shown(each.name, _NAME), exact(each.count), each.origin] for each in contents.imports]
    yield "Imports", ["Name", "Times", "Origin"], imports, {1}
    calls = [
        [shown(each.function, _NAME), exact(each.count), each.origin, shown(each.example)]
        for each in contents.calls
    ]
    yield "Calls", ["Function", "Times", "Origin", "First call"], calls, {1}


def _graph(contents: Contents) -> Iterator[_Section]:
    inputs = [
        [shown(each.name), each.dtype, "×".join(shown(str(part)) for part in each.shape) or "scalar"]
        for each in contents.inputs
    ]
    yield "Inputs", ["Name", "Dtype", "Shape"], inputs, set()
    operations = [[shown(each.name, _NAME), exact(each.count)] for each in contents.operations]
    yield "Operations", ["Name", "Times"], operations, {1}
    opsets = [[shown(domain), str(version)] for domain, version in contents.opsets]
    yield "Operator sets", ["Domain", "Version"], opsets, {1}
    functions = [[shown(each.name, _NAME), exact(each.count)] for each in contents.functions]
    yield "Functions", ["Name", "Calls"], functions, {1}
    external = [[shown(each.name, _NAME), exact(each.size), exact(each.packed)] for each in contents.external]
    yield "External data", ["File", "Bytes", "Of its tensors"], external, {1, 2}


def _groups(contents: Contents) -> Iterator[_Section]:
    groups = [
        [_path(each.path), each.role, exact(each.tensors), exact(each.params), exact(each.elements),
         exact(each.bytes), shown(each.prefix)]
        for each in contents.groups
    ]  # fmt: skip
    heads = ["Path", "Role", "Tensors", "Parameters", "Elements", "Bytes", "Names begin with"]
    yield "Groups", heads, groups, {2, 3, 4, 5}
    several = len(contents.groups) > 1
    totals = [
        [*([_path(contents.groups[each.group].path)] * several), shown(each.prefix), exact(each.tensors),
         exact(each.elements), exact(each.bytes)]
        for each in contents.totals
    ]  # fmt: skip
    heads = [*(["Group"] * several), "Names begin with", "Tensors", "Elements", "Bytes"]
    yield "Totals", heads, totals, {several + 1, several + 2, several + 3}


def _tensors(contents: Contents) -> _Section:
    rows, several, outside = contents.tensors, len(contents.groups) > 1, bool(contents.external)
    tensors = [
        [*([_path(contents.groups[group].path)] * several), shown(name, _NAME) or "(unnamed)", shape(sizes),
         dtype, exact(amount), *([shown(storage, _NAME)] * outside)]
        for group, name, sizes, dtype, amount, storage in zip(
            rows.group, rows.name, rows.shape, rows.dtype, rows.bytes, rows.storage, strict=True
        )
    ]  # fmt: skip
    heads = [*(["Group"] * several), "Name", "Shape", "Dtype", "Bytes", *(["Stored at"] * outside)]
    return "Tensors", heads, tensors, {several + 3}


def _path(path: str) -> str:
    return shown(path, _NAME) or "(outermost)"


def _bytes(amount: int) -> str:
    return f"{size(amount)} ({exact(amount)} B)" if amount >= 1024 else size(amount)


def _columns(rows: Sequence[Sequence[str]], right: set[int] | None = None, indent: str = "") -> list[str]:
    """Rows with aligned columns, those in ``right`` to the right; the last one is as wide as it is."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if number in (right or ()) else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(indent + "  ".join(cells))
    return lines
