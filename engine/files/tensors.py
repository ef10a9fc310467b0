"""Finds the tensors in the values of a pickle and groups them: state dicts, modules, optimizer state."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

from engine.contents import Group, PrefixTotal, Tensors, shown
from engine.files.dtypes import SIZES
from engine.files.limits import MAX_DEPTH, MAX_NAME, MAX_RECORDS, MAX_TENSORS, Budget, too_much
from engine.files.values import Array, Dict, Instance, Set, Tensor, Value
from engine.graph import Shape

WRAPPERS = (
    "module.",
    "_orig_mod.",
    "_forward_module.",
    "_fsdp_wrapped_module.",
    "_checkpoint_wrapped_module.",
)
"""What DataParallel, torch.compile, DeepSpeed and FSDP put before every name."""

_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
_OPTIMIZER = ("optim", "optimizer")
_EMA = ("ema", "averaged", "swa")
_RANDOM = re.compile(r"(?<![a-z])rngs?(?![a-z])|(random|generator)_?states?")
"""In the keys of what training keeps of its random number generators."""


class Row(NamedTuple):
    """One tensor of the listing; columns as in ``Tensors``."""

    name: str
    shape: Shape
    stride: Shape
    dtype: str
    offset: int
    storage: str
    bytes: int
    role: str


class Found(NamedTuple):
    """A group before it is summed up."""

    path: str
    role: str
    rows: list[Row]


class Listing:
    """All groups of a file, collected in the order they stand there."""

    def __init__(self) -> None:
        self.groups: list[Found] = []
        self.count = 0
        self.too_deep = False
        self.module: Instance | None = None
        """The first pickled module."""

    def add(self, path: str, role: str, rows: list[Row]) -> None:
        """Raises LoadError when there are more tensors than a listing has room for."""
        self.count += len(rows)
        if self.count > MAX_TENSORS:
            raise too_much(f"it lists more than {MAX_TENSORS:,} tensors")
        if rows:
            self.groups.append(Found(path, role, rows))

    def tensors(self) -> Tensors:
        rows = [(index, row) for index, group in enumerate(self.groups) for row in group.rows]
        return Tensors(
            name=tuple(row.name for _, row in rows),
            group=tuple(index for index, _ in rows),
            shape=tuple(row.shape for _, row in rows),
            stride=tuple(row.stride for _, row in rows),
            dtype=tuple(row.dtype for _, row in rows),
            offset=tuple(row.offset for _, row in rows),
            storage=tuple(row.storage for _, row in rows),
            bytes=tuple(row.bytes for _, row in rows),
            role=tuple(row.role for _, row in rows),
        )

    def summaries(self) -> tuple[Group, ...]:
        return tuple(_summary(group) for group in self.groups)

    def totals(self) -> tuple[PrefixTotal, ...]:
        """Per group and first component of the names; at most ``MAX_RECORDS`` of them."""
        totals: list[PrefixTotal] = []
        for index, group in enumerate(self.groups):
            start = len(wrapper_prefix([row.name for row in group.rows]))
            by_prefix: dict[str, list[Row]] = {}
            for row in group.rows:
                by_prefix.setdefault(row.name[start:].partition(".")[0], []).append(row)
            for prefix, rows in by_prefix.items():
                if len(totals) < MAX_RECORDS:
                    elements = sum(math.prod(row.shape) for row in rows)
                    totals.append(
                        PrefixTotal(index, prefix, len(rows), elements, sum(row.bytes for row in rows))
                    )
        return tuple(totals)


def _summary(group: Found) -> Group:
    distinct: dict[tuple[object, ...], Row] = {}
    for index, row in enumerate(group.rows):
        key = (row.storage, row.offset, row.shape, row.stride) if row.storage else (index,)
        distinct.setdefault(key, row)
    return Group(
        path=group.path,
        role=group.role,
        prefix=wrapper_prefix([row.name for row in group.rows]),
        tensors=len(group.rows),
        params=sum(math.prod(row.shape) for row in distinct.values() if row.role in ("parameter", "tensor")),
        elements=sum(math.prod(row.shape) for row in distinct.values()),
        bytes=sum(row.bytes for row in distinct.values()),
    )


def wrapper_prefix(names: list[str]) -> str:
    """``module._orig_mod.`` when all names begin with it."""
    prefix = ""
    while names:
        added = next(
            (each for each in WRAPPERS if all(name.startswith(prefix + each) for name in names)), None
        )
        if added is None:
            break
        prefix += added
    return prefix


def by_name(name: str) -> str:
    """Role of a state dict's tensor, as far as its name tells: batch norm's statistics are buffers."""
    return "buffer" if name.rpartition(".")[2] in _BUFFERS else "tensor"


def make_row(name: str, value: Tensor | Array, role: str = "") -> Row:
    storage = value.storage.key if value.storage is not None else ""
    if isinstance(value, Array):
        size = math.prod(value.shape) * (SIZES.get(value.dtype) or value.itemsize)
        return Row(name, value.shape, value.stride, value.dtype, 0, storage, size, role or by_name(name))
    role = role or ("parameter" if value.parameter else by_name(name))
    return Row(name, value.shape, value.stride, value.dtype, value.offset, storage, value.bytes, role)


def collect(root: Value, budget: Budget, listing: Listing) -> None:
    """Every tensor below ``root`` into ``listing``. Shared values count where they are met first; cycles end."""
    if isinstance(root, (Tensor, Array)):
        listing.add("", "other", [make_row("", root)])
        return
    seen: set[int] = set()
    # Values, their key paths and depths; a stack, because a hostile pickle nests deeper than Python may recurse.
    pending: list[tuple[Value, str, int]] = [(root, "", 0)]
    while pending:
        value, path, depth = pending.pop()
        if not isinstance(value, _CONTAINERS) or id(value) in seen:
            continue
        seen.add(id(value))
        if depth > MAX_DEPTH:
            listing.too_deep = True
            continue
        if isinstance(value, Instance) and is_module(value, budget):
            listing.module = listing.module or value
            listing.add(path, _role(path, "model"), list(_module_rows(value, budget)))
            continue
        parts = list(_parts(value, budget))
        if isinstance(value, Dict) and {"state", "param_groups"} <= {key for key, _ in parts[:16]}:
            rows: list[Row] = []
            _all_below(parts, budget, seen, rows, listing)
            listing.add(path, "optimizer", rows)
            continue
        direct = [make_row(key, part) for key, part in parts if isinstance(part, (Tensor, Array))]
        is_model = isinstance(value, Dict) and not all(_RANDOM.search(row.name.lower()) for row in direct)
        listing.add(path, _role(path, "model" if is_model else "other"), direct)
        pending += _deeper(parts, path, depth, budget)


_CONTAINERS = (Dict, Instance, list, tuple, Set)


def _deeper(
    parts: list[tuple[str, Value]], path: str, depth: int, budget: Budget
) -> list[tuple[Value, str, int]]:
    """The containers among ``parts``, last first, with their paths."""
    deeper = []
    for key, part in reversed(parts):
        if isinstance(part, _CONTAINERS):
            whole = joined(path, key)
            budget.spend_text(len(whole))
            deeper.append((part, whole, depth + 1))
    return deeper


def _all_below(
    parts: list[tuple[str, Value]], budget: Budget, seen: set[int], rows: list[Row], listing: Listing
) -> None:
    """Rows for all tensors in ``parts``, named by their whole path."""
    pending = [(key, part, 1) for key, part in reversed(parts)]
    while pending:
        path, value, depth = pending.pop()
        if isinstance(value, (Tensor, Array)):
            rows.append(make_row(path, value))
        elif isinstance(value, _CONTAINERS) and id(value) not in seen:
            seen.add(id(value))
            if depth > MAX_DEPTH:
                listing.too_deep = True
                continue
            for key, part in reversed(list(_parts(value, budget))):
                if isinstance(part, (Tensor, Array, *_CONTAINERS)):
                    whole = joined(path, key)
                    budget.spend_text(len(whole))
                    pending.append((whole, part, depth + 1))


def joined(path: str, key: str) -> str:
    return f"{path}.{key}"[-MAX_NAME:] if path else key


def _parts(value: Value, budget: Budget) -> Iterator[tuple[str, Value]]:
    """(key, part) of what a container holds."""
    if isinstance(value, (list, tuple, Set)):
        elements = value.elements if isinstance(value, Set) else value
        budget.spend_work(len(elements))
        for index, part in enumerate(elements):
            yield str(index), part
        return
    if isinstance(value, Dict):
        budget.spend_work(len(value.pairs))
        # As in a real dict, a later entry takes the place of an earlier one with the same key.
        last: dict[str, Value] = {key_text(key): part for key, part in value.pairs}
        yield from last.items()
        return
    assert isinstance(value, Instance)
    attributes = value.attributes()
    budget.spend_work(len(attributes) + len(value.pairs or ()) + len(value.elements or ()))
    yield from attributes.items()
    if not attributes and value.state is not None:
        yield "state", value.state
    if isinstance(value.args, tuple) and value.args:
        yield "args", value.args
    for key, part in value.pairs or ():
        yield key_text(key), part
    for index, part in enumerate(value.elements or ()):
        yield str(index), part


def key_text(key: Value) -> str:
    """A dict's key as a component of names."""
    if isinstance(key, str):
        return key[:MAX_NAME].encode("utf-8", "replace").decode()
    if isinstance(key, int) and key.bit_length() <= 128:
        return str(key)
    return f"<{type(key).__name__.lower()}>"


def _role(path: str, otherwise: str) -> str:
    """What a group is for, by the keys that lead to it."""
    keys = path.lower().split(".")
    if any(key.startswith(_OPTIMIZER) for key in keys):
        return "optimizer"
    if any(key.startswith(_EMA) or key.endswith("_ema") for key in keys):
        return "ema"
    if any(_RANDOM.search(key) for key in keys):
        return "other"
    return otherwise


def is_module(value: Value, budget: Budget) -> bool:
    """Whether an instance is a pickled ``nn.Module``: it keeps its parameters and children in two dicts."""
    if not isinstance(value, Instance):
        return False
    budget.spend_work(value.state_size())
    attributes = value.attributes()
    return isinstance(attributes.get("_parameters"), Dict) and isinstance(attributes.get("_modules"), Dict)


def _module_rows(root: Instance, budget: Budget) -> Iterator[Row]:
    """Rows in the order and with the names of ``state_dict()``, then the buffers that it leaves out."""
    pending: list[tuple[Instance, str, int]] = [(root, "", 0)]
    temporary: list[Row] = []
    while pending:
        module, prefix, depth = pending.pop()
        attributes = module.attributes()
        budget.spend_work(16 + len(attributes))
        budget.spend_text(len(prefix))
        persistent = attributes.get("_non_persistent_buffers_set")
        left_out = persistent.elements if isinstance(persistent, Set) else []
        for store, role in (("_parameters", "parameter"), ("_buffers", "buffer")):
            for key, value in _texts(attributes.get(store), budget):
                if isinstance(value, (Tensor, Array)):
                    budget.spend_text(len(prefix))
                    if any(isinstance(name, str) and name == key for name in left_out[:MAX_RECORDS]):
                        temporary.append(make_row(prefix + key, value, "temporary"))
                    else:
                        yield make_row(prefix + key, value, role)
        children = [
            (child, f"{prefix}{key}.", depth + 1)
            for key, child in _texts(attributes.get("_modules"), budget)
            if is_module(child, budget)
        ]
        if depth < MAX_DEPTH:
            pending += reversed(children)
    yield from temporary


def _texts(store: Value, budget: Budget) -> list[tuple[str, Value]]:
    texts = store.texts() if isinstance(store, Dict) else {}
    budget.spend_work(len(texts))
    return [(key_text(key), value) for key, value in texts.items()]


def module_classes(root: Instance | None, budget: Budget) -> tuple[str, ...]:
    """Classes of a pickled module and of all below it, the outermost first, each once."""
    names: dict[str, None] = {}
    seen: set[int] = set()
    pending: list[Value] = [root]
    while pending and len(names) < MAX_RECORDS:
        value = pending.pop()
        if id(value) in seen or not isinstance(value, Instance):
            continue
        seen.add(id(value))
        names[shown(value.class_name)] = None
        pending += [child for _, child in reversed(_texts(value.attributes().get("_modules"), budget))]
    return tuple(names)
