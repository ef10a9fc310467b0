"""What a file holds, in words."""

from __future__ import annotations

from pathlib import Path

from engine.contents import Contents, Group, shown
from engine.numbers import count, size

_KINDS = {
    "state dict": "a state dict",
    "checkpoint": "a training checkpoint",
    "module": "a pickled module",
    "torchscript": "a TorchScript model",
    "exported program": "an exported program",
    "onnx": "an ONNX model",
    "tensor": "a single tensor",
    "pickle": "a pickle without tensors",
}


def describe(contents: Contents) -> str:
    """One sentence: what the file is, how large, its tensors and what unpickling it would run."""
    parts = [
        f"{shown(Path(contents.file).name)} is {_KINDS[contents.kind]} ({contents.format}, {size(contents.size)})"
    ]
    main = main_group(contents)
    if main is not None:
        parts.append(f"{_amount(main)}{_where(main)}")
        others = len(contents.groups) - 1
        if others:
            noun = "collection" if others == 1 else "collections"
            parts.append(f"and {others:,} more {noun} of tensors")
    if contents.operations:
        operations = sum(each.count for each in contents.operations)
        parts.append(f"{operations:,} operation{'s' if operations != 1 else ''}")
    return f"{', '.join(parts)}. {what_runs(contents)}".strip()


def what_runs(contents: Contents) -> str:
    """What opening the file with torch would run, as a sentence; empty for formats that hold data alone."""
    foreign = contents.foreign
    if foreign:
        more = f" and {len(foreign) - 6:,} more" if len(foreign) > 6 else ""
        names = ", ".join(shown(name, 80) for name in foreign[:6])
        return f"Loading it with torch would import or call {names}{more}; nothing of it was run."
    if contents.kind == "torchscript":
        return "Loading it runs its TorchScript code; nothing of it was run."
    if contents.kind == "exported program":
        return "Nothing of it was run."
    if contents.imports:
        torch = any(each.origin == "torch" for each in contents.imports)
        return f"Its pickle imports {'only data and classes of torch' if torch else 'nothing but data'}."
    return ""


def main_group(contents: Contents) -> Group | None:
    """The model among the groups: the largest that is neither optimizer nor a copy; else the largest."""
    models = [group for group in contents.groups if group.role == "model"] or list(contents.groups)
    return max(models, key=lambda group: group.elements, default=None)


def _amount(group: Group) -> str:
    noun = "tensor" if group.tensors == 1 else "tensors"
    return f"{group.tensors:,} {noun} with {count(group.params)} parameters, {size(group.bytes)}"


def _where(group: Group) -> str:
    where = f" under {shown(group.path, 60)}" if group.path else ""
    return f'{where}, names beginning with "{group.prefix}"' if group.prefix else where
