"""Stand-ins for containers that an exported program takes or gives and that no loaded library defines.

torch refuses to load a program whose ``ModelOutput`` or named tuple is not registered, although its operations never
see one. Nothing is imported: only how many values a container has is used of it.
"""

from __future__ import annotations

import json
import logging
import zipfile
from collections.abc import Iterator
from typing import Any, BinaryIO

from torch.utils import _pytree as pytree

log = logging.getLogger(__name__)

MODEL = "models/model.json"
NAMED_TUPLE = "collections.namedtuple"


def register_stand_ins(handle: BinaryIO) -> None:
    """For every container that the archive names and torch does not know. ``handle`` is left at its beginning.

    An archive that cannot be read is left to torch.export.load.
    """
    try:
        with zipfile.ZipFile(handle) as archive:
            entry = next((name for name in archive.namelist() if name.endswith(MODEL)), None)
            program = json.loads(archive.read(entry)) if entry is not None else {}
        names = set(_containers(program))
    except (
        zipfile.BadZipFile,
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
        log.info("The containers of a program cannot be listed: %s", error)
        names = set()
    finally:
        handle.seek(0)
    for name in sorted(names - set(pytree.SERIALIZED_TYPE_TO_PYTHON_TYPE)):
        _register(name)


def _containers(program: Any) -> Iterator[str]:
    """Names of the containers in the signatures of all modules."""
    for entry in program["graph_module"]["module_call_graph"]:
        signature = entry.get("signature") or {}
        for text in (signature.get("in_spec"), signature.get("out_spec")):
            if text:
                yield from _names(json.loads(text)[1])


def _names(spec: Any) -> Iterator[str]:
    if isinstance(spec.get("type"), str):
        yield spec["context"] if spec["type"] == NAMED_TUPLE else spec["type"]
    for child in spec.get("children_spec", ()):
        yield from _names(child)


def _register(name: str) -> None:
    def flatten(value: Any) -> tuple[list[Any], Any]:
        return list(value.values), value.context

    def unflatten(values: Any, context: Any) -> Any:
        made = stand_in()
        made.values, made.context = list(values), context
        return made

    stand_in: type[Any] = type(name.rpartition(".")[2] or "Container", (), {"values": (), "context": None})
    pytree.register_pytree_node(
        stand_in,
        flatten,
        unflatten,
        serialized_type_name=name,
        to_dumpable_context=lambda context: context,
        from_dumpable_context=lambda context: context,
    )
