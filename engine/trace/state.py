"""What a forward pass leaves behind in its modules, and putting it back.

Detectors keep their anchors, language models their rotary tables and caches. Equal configurations must have equal
results whatever was analysed before, so every trace starts from the state in which the model was opened.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import is_
from typing import Any

from torch import nn


class ModuleState:
    """The attributes of all modules at this moment: identities, with plain dicts and lists one level deep."""

    def __init__(self, module: nn.Module) -> None:
        self._dicts: list[tuple[dict[Any, Any], list[Any], list[Any]]] = []
        self._lists: list[tuple[list[Any], list[Any]]] = []
        for part in module.modules():
            self._save(vars(part))
            for name, value in vars(part).items():
                if isinstance(value, dict) and not name.endswith("_hooks"):
                    self._save(value)
                elif type(value) is list:
                    self._lists.append((value, list(value)))

    def _save(self, mapping: dict[Any, Any]) -> None:
        self._dicts.append((mapping, list(mapping), list(mapping.values())))

    def restore(self) -> bool:
        """Undo every change since, if there was any; costs a microsecond per module when there is none."""
        changed = False
        for mapping, keys, values in self._dicts:
            if not _same(mapping.values(), values) or len(mapping) != len(keys):
                mapping.clear()
                mapping.update(zip(keys, values, strict=True))
                changed = True
        for items, saved in self._lists:
            if len(items) != len(saved) or not _same(items, saved):
                items[:] = saved
                changed = True
        return changed


def _same(now: Iterable[Any], before: list[Any]) -> bool:
    return all(map(is_, now, before))
