"""What a model file holds, as facts and tables for its dialog. Pure; no Qt."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from engine import numbers
from engine.contents import Candidate, Contents, Group, PrefixTotal, shown

KINDS = {
    "state dict": "State dict",
    "checkpoint": "Training checkpoint",
    "module": "Pickled module",
    "torchscript": "TorchScript",
    "exported program": "Exported program",
    "onnx": "ONNX model",
    "tensor": "Single tensor",
    "pickle": "Pickle without tensors",
}
ORIGINS = {
    "data": "data",
    "torch": "torch",
    "script": "TorchScript in this file",
    "other": "⚠ somebody's code",
}
NAME_LENGTH = 400
"""Characters of a name that a table shows; a hostile one may have a thousand."""


@dataclass(frozen=True)
class Column:
    """One column of a table: its values, and how they are written."""

    title: str
    what: str
    """For the header's tooltip."""
    values: Sequence[Any]
    """One per row, comparable with each other: they are what is sorted."""
    text: Callable[[Any], str] = str
    exact: Callable[[Any], str] | None = None
    """For tooltip and clipboard, where the text is rounded; None where it is not."""
    number: bool = False
    """Right-aligned, the largest first when sorted."""
    searched: bool = False
    """Whether the filter looks into it; its values are texts."""


@dataclass(frozen=True)
class Page:
    """A table."""

    name: str
    title: str
    columns: tuple[Column, ...]
    flagged: frozenset[int] = frozenset()
    """Rows that somebody should look at."""

    @property
    def rows(self) -> int:
        return len(self.columns[0].values) if self.columns else 0


def plain(text: str) -> str:
    """A name out of a file for eyes: no control characters, not endless."""
    return shown(text, NAME_LENGTH)


def count_text(number: int) -> str:
    return numbers.exact(number)


def facts(contents: Contents) -> list[tuple[str, str]]:
    """(label, text): kind, format, size, who wrote it; what the file does not say is left out."""
    found = [
        ("Kind", KINDS.get(contents.kind, contents.kind)),
        ("Format", contents.format),
        ("Size", f"{numbers.size(contents.size)} ({contents.size:,} bytes)"),
        ("Written by", shown(contents.producer)),
        ("Class", _classes(contents.classes)),
        ("Shards", f"{len(contents.shards):,}" if contents.shards else ""),
    ]
    return [(label, text) for label, text in found if text]


def _classes(classes: tuple[str, ...]) -> str:
    more = f" and {len(classes) - 1:,} more" if len(classes) > 1 else ""
    return f"{shown(classes[0], 80)}{more}" if classes else ""


def pages(contents: Contents) -> list[Page]:
    """Everything but the tensors, the most telling first; what is empty is left out."""
    found = [
        _code_page(contents),
        _operations_page(contents),
        _inputs_page(contents),
        _functions_page(contents),
        _opsets_page(contents),
        _external_page(contents),
        _files_page(contents),
        _metadata_page(contents),
        _notes_page(contents),
    ]
    return [page for page in found if page.rows]


# -- tensors -------------------------------------------------------------------------------------------------------


def tensors_page(contents: Contents) -> Page:
    """One row per tensor, in the order of the file."""
    tensors = contents.tensors
    columns = [
        Column("Tensor", "Name, as in the state dict", tensors.name, plain, searched=True),
        Column("Shape", "Sizes; sorted by the first", tensors.shape, numbers.shape),
        Column("Dtype", "Type of its elements", tensors.dtype, searched=True),
        _amounts("Elements", "Product of the sizes", tuple(map(prod, tensors.shape)), numbers.count),
        _amounts("Size", "Elements × bytes per element", tensors.bytes, numbers.size),
        Column(
            "Role",
            "What it is in the model; shared: others have the same memory",
            _roles(contents),
            searched=True,
        ),
    ]
    if len(contents.groups) > 1:
        paths = [group_path(group) for group in contents.groups]
        column = Column(
            "In",
            "Keys that lead to it in the file",
            [paths[at] for at in tensors.group],
            plain,
            searched=True,
        )
        columns.append(column)
    return Page("tensors", "Tensors", tuple(columns))


def _amounts(title: str, what: str, values: Sequence[int], text: Callable[[int], str]) -> Column:
    return Column(title, what, values, text, count_text, number=True)


def _roles(contents: Contents) -> list[str]:
    tensors = contents.tensors
    uses = Counter(storage for storage in tensors.storage if storage)
    return [
        f"{role}, shared" if uses[storage] > 1 else role
        for role, storage in zip(tensors.role, tensors.storage, strict=True)
    ]


@dataclass(frozen=True)
class Part:
    """A row of the table of totals, and which tensors it stands for."""

    group: int
    """-1: all groups."""
    prefix: str = ""
    """Whole names begin with it; empty for all of the group."""

    def holds(self, group: int, name: str) -> bool:
        if self.group not in (-1, group):
            return False
        return not self.prefix or name == self.prefix or name.startswith(f"{self.prefix}.")


def parts_page(contents: Contents) -> tuple[Page, tuple[Part, ...]]:
    """Totals per group and per first component of the names, and what each row stands for."""
    parts, labels, rows = [Part(-1)], ["All tensors"], [_whole(contents)]
    several = len(contents.groups) > 1
    totals: dict[int, list[PrefixTotal]] = defaultdict(list)
    for total in contents.totals:
        totals[total.group].append(total)
    for at, group in enumerate(contents.groups):
        if several:
            parts.append(Part(at))
            labels.append(group_path(group))
            rows.append((group.tensors, group.elements, group.bytes))
        for total in totals[at]:
            parts.append(Part(at, f"{group.prefix}{total.prefix}"))
            labels.append(f"{'    ' if several else '  '}{plain(total.prefix)}")
            rows.append((total.tensors, total.elements, total.bytes))
    amounts = list(zip(*rows, strict=True))
    columns = (
        Column("Part", "A state dict in the file, or what names begin with", labels, searched=True),
        _amounts("Tensors", "How many", amounts[0], lambda number: f"{number:,}"),
        _amounts("Elements", "Parameters and buffers", amounts[1], numbers.count),
        _amounts("Size", "Bytes of their elements", amounts[2], numbers.size),
    )
    return Page("parts", "Parts", columns), tuple(parts)


def _whole(contents: Contents) -> tuple[int, int, int]:
    """Tensors, elements and bytes of all groups."""
    groups = contents.groups
    return (
        sum(group.tensors for group in groups),
        sum(group.elements for group in groups),
        sum(group.bytes for group in groups),
    )


def group_path(group: Group) -> str:
    """Where a group lies in the file: ``ema.module`` or, for the outermost, ``(the file)``."""
    return plain(group.path) or "(the file)"


def group_text(group: Group) -> str:
    """A group to choose: where it lies, what it is, and how much."""
    role = "" if group.role in ("other", group.path.lower()) else f" · {group.role}"
    tensors = "tensor" if group.tensors == 1 else "tensors"
    return f"{group_path(group)}{role} · {group.tensors:,} {tensors}, {numbers.count(group.params)} params"


# -- everything else -----------------------------------------------------------------------------------------------


def _code_page(contents: Contents) -> Page:
    """What unpickling imports and calls; somebody's code first."""
    rows = [("import", each.name, each.count, each.origin, "") for each in contents.imports]
    rows += [("call", each.function, each.count, each.origin, each.example) for each in contents.calls]
    rows.sort(key=lambda row: row[3] != "other")
    what, name, count, origin, example = zip(*rows, strict=True) if rows else ((), (), (), (), ())
    columns = (
        Column("Name", "Module or function, as the file names it", name, plain, searched=True),
        Column("Origin", "Whose code it is", [ORIGINS.get(each, each) for each in origin], searched=True),
        Column("What", "Imported, or called while it is loaded", what, searched=True),
        Column("Times", "How often", count, lambda number: f"{number:,}", number=True),
        Column("First arguments", "Of the first call", example, plain, searched=True),
    )
    flagged = frozenset(row for row, each in enumerate(origin) if each == "other")
    return Page("code", "Imports and calls", columns, flagged)


def _operations_page(contents: Contents) -> Page:
    operations = contents.operations
    columns = (
        Column(
            "Operation",
            "As the exported graph names it",
            [each.name for each in operations],
            plain,
            searched=True,
        ),
        Column(
            "Times",
            "How often it occurs",
            [each.count for each in operations],
            lambda n: f"{n:,}",
            number=True,
        ),
    )
    return Page("operations", "Operations", columns)


def _inputs_page(contents: Contents) -> Page:
    inputs = contents.inputs
    shapes = ["×".join(str(size) for size in each.shape) or "()" for each in inputs]
    columns = (
        Column(
            "Input", "Its name in the exported graph", [each.name for each in inputs], plain, searched=True
        ),
        Column("Shape", "A letter is a size that may vary", shapes, plain),
        Column("Dtype", "Type of its elements", [each.dtype for each in inputs]),
    )
    return Page("inputs", "Inputs", columns)


def _functions_page(contents: Contents) -> Page:
    functions = contents.functions
    names = [each.name for each in functions]
    columns = (
        Column("Function", "Made of operators, by the model itself", names, plain, searched=True),
        Column("Calls", "From its graph", [each.count for each in functions], count_text, number=True),
    )
    return Page("functions", "Functions", columns)


def _opsets_page(contents: Contents) -> Page:
    domains = [domain for domain, _ in contents.opsets]
    versions = [version for _, version in contents.opsets]
    columns = (
        Column(
            "Operators of", "Whose operators: ai.onnx are those of ONNX itself", domains, plain, searched=True
        ),
        Column("Version", "Of the operator set", versions, str, number=True),
    )
    return Page("opsets", "Operator sets", columns)


def _external_page(contents: Contents) -> Page:
    files = contents.external
    columns = (
        Column("File", "Beside the model", [each.name for each in files], plain, searched=True),
        _amounts("Size", "Of the file", [each.size for each in files], numbers.size),
        _amounts(
            "Values", "Bytes of the model's tensors in it", [each.packed for each in files], numbers.size
        ),
    )
    return Page("external", "External data", columns)


def _files_page(contents: Contents) -> Page:
    entries = contents.entries or contents.code
    if contents.shards and not entries:
        column = Column("Shard", "File beside the index", contents.shards, plain, searched=True)
        return Page("files", "Shards", (column,))
    columns = (
        Column("File", "Path inside the archive", [each.name for each in entries], plain, searched=True),
        _amounts("Size", "Unpacked", [each.size for each in entries], numbers.size),
        _amounts(
            "Packed", "Bytes that it takes in the archive", [each.packed for each in entries], numbers.size
        ),
    )
    return Page("files", "Files in the archive", columns)


def _metadata_page(contents: Contents) -> Page:
    keys = [key for key, _ in contents.metadata]
    values = [value for _, value in contents.metadata]
    columns = (
        Column("Key", "As its writer calls it", keys, plain, searched=True),
        Column("Value", "What its writer says", values, plain, searched=True),
    )
    return Page("metadata", "Metadata", columns)


def _notes_page(contents: Contents) -> Page:
    column = Column("Note", "What is odd about the file", contents.notes, searched=True)
    return Page("notes", "Notes", (column,), flagged=frozenset(range(len(contents.notes))))


# -- candidates ----------------------------------------------------------------------------------------------------


def candidates_page(candidates: Sequence[Candidate]) -> Page:
    """The architectures that the weights may belong to, the best fit first."""
    columns = (
        Column(
            "Architecture",
            "What would be opened with these weights",
            [each.architecture for each in candidates],
            plain,
            searched=True,
        ),
        Column(
            "Rank", "The same number: they fit equally well", [each.rank for each in candidates], number=True
        ),
        Column(
            "Fit",
            "Exact: every name and shape is the same",
            [each.fit for each in candidates],
            searched=True,
        ),
        Column(
            "Matched",
            "Tensors of the file that it has, of all in the file",
            [(each.matched, -each.tensors) for each in candidates],
            _matched,
            number=True,
        ),
        Column(
            "Why", "What fits and what does not", [each.reason for each in candidates], plain, searched=True
        ),
    )
    return Page("candidates", "Architectures", columns)


def _matched(pair: tuple[int, int]) -> str:
    matched, tensors = pair
    return f"{matched:,} of {-tensors:,}"


def as_tsv(page: Page, rows: Sequence[int]) -> str:
    """Some rows with a line of titles, numbers exact, for a spreadsheet."""
    lines = ["\t".join(column.title for column in page.columns)]
    for row in rows:
        fields = ((column.exact or column.text)(column.values[row]).strip() for column in page.columns)
        lines.append("\t".join(field.replace("\t", " ").replace("\n", " ") for field in fields))
    return "\n".join(lines) + "\n"
