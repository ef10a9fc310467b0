"""TorchScript archives: the object tree of ``data.pkl`` and the class headers of the code, which is never compiled."""

from __future__ import annotations

import re

from engine.contents import Entry, shown
from engine.files.archive import Archive
from engine.files.limits import MAX_DEPTH, MAX_RECORDS, Budget
from engine.files.pickles import Reading
from engine.files.tensors import Listing, Row, key_text, make_row
from engine.files.values import Instance, Tensor, Value

TENSORS = ("data/", "constants/")
"""Where the bytes of tensors are."""
_MAX_CODE_BYTES = 2**22
_CLASS = re.compile(r"^class (\w+)\(", re.MULTILINE)
_PARAMETERS = re.compile(r"^  __parameters__ = \[([^\]\n]*)\]", re.MULTILINE)
_BUFFERS = re.compile(r"^  __buffers__ = \[([^\]\n]*)\]", re.MULTILINE)
_TEXT = re.compile(r'"([^"]*)"')

Roles = dict[str, dict[str, str]]
"""Class → attribute → ``parameter`` or ``buffer``."""


def is_torchscript(archive: Archive) -> bool:
    """As torch decides it: an archive with ``constants.pkl`` (``torch.serialization._is_torchscript_zip``)."""
    return archive.has("constants.pkl")


def read(archive: Archive, reading: Reading, listing: Listing) -> tuple[tuple[str, ...], tuple[Entry, ...]]:
    """(classes, code files); tensors go into ``listing``. Raises LoadError for what is damaged."""
    archive.has_checksums = True
    archive.check(data=TENSORS)
    code = [entry for entry in archive.entries if entry.name.startswith(f"{archive.root}code/")]
    sources = [entry for entry in code if entry.name.endswith(".py")]
    roles: Roles = {}
    for entry in sources[: MAX_RECORDS * 4]:
        text = archive.read(entry, _MAX_CODE_BYTES).decode("utf-8", "replace")
        module = entry.name[len(archive.root) + len("code/") : -len(".py")].replace("/", ".")
        _class_roles(module, text, roles)
    data = archive.get("data.pkl")
    classes: dict[str, None] = {}
    if data is not None:
        root = reading.entry(archive, data, "data/")
        listing.add("", "model", _rows(root, roles, classes, reading.budget))
    constants = archive.get("constants.pkl")
    if constants is not None:
        values = reading.entry(archive, constants, "constants/", "constants/")
        tensors = (
            [value for value in values if isinstance(value, Tensor)] if isinstance(values, tuple) else []
        )
        rows = [make_row(f"c{index}", tensor, "constant") for index, tensor in enumerate(tensors)]
        listing.add("constants", "constants", rows)
    for name in reading.record.origins:
        if name.startswith("__torch__."):
            reading.record.origins[name] = "script"
    if archive.has("bytecode.pkl"):
        reading.note("It also holds bytecode for the mobile interpreter.")
    names = tuple(Entry(shown(entry.name, 200), entry.size, entry.packed) for entry in sources[:MAX_RECORDS])
    return tuple(shown(name, 200) for name in list(classes)[:MAX_RECORDS]), names


def _class_roles(module: str, text: str, roles: Roles) -> None:
    starts = list(_CLASS.finditer(text))
    for index, start in enumerate(starts):
        end = starts[index + 1].start() if index + 1 < len(starts) else len(text)
        found: dict[str, str] = {}
        for pattern, role in ((_PARAMETERS, "parameter"), (_BUFFERS, "buffer")):
            match = pattern.search(text, start.end(), end)
            if match is not None:
                found.update(dict.fromkeys(_TEXT.findall(match[1]), role))
        roles[f"{module}.{start[1]}"] = found


def _rows(root: Value, roles: Roles, classes: dict[str, None], budget: Budget) -> list[Row]:
    """Tensors of the object tree, with the names that ``state_dict()`` of the loaded module has."""
    rows: list[Row] = []
    pending: list[tuple[Value, str, int]] = [(root, "", 0)]
    while pending:
        module, prefix, depth = pending.pop()
        if not isinstance(module, Instance) or not module.class_name.startswith("__torch__."):
            continue
        classes[module.class_name] = None
        attributes = module.attributes()
        budget.spend_work(16 + len(attributes))
        budget.spend_text((1 + len(attributes)) * len(prefix))
        known = roles.get(module.class_name, {})
        for role in ("parameter", "buffer", ""):
            for key, value in attributes.items():
                if isinstance(value, Tensor) and known.get(key, "") == role:
                    rows.append(make_row(prefix + key_text(key), value, role or "constant"))
        if depth < MAX_DEPTH:
            pending += [
                (value, f"{prefix}{key_text(key)}.", depth + 1)
                for key, value in reversed(list(attributes.items()))
                if isinstance(value, Instance)
            ]
    return rows
