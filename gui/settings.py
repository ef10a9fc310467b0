"""What the window remembers between runs: a typed facade over QSettings.

QSettings hands back ``'3'`` and ``'true'`` from an ini file, and a list of one as its element; every reader here
states the type, and lists travel as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from PySide6.QtCore import QByteArray, QSettings

MAX_RECENT = 12
MAX_AGREED = 500


@dataclass(frozen=True)
class Agreement:
    """That code with this SHA-256 may run, given for one file; its content counts, not its name."""

    digest: str
    file: str = ""
    """Where it lay; empty for agreements of the time when this was not kept."""
    kind: str = ""
    """``python`` or ``Contents.kind``."""
    when: str = ""
    """ISO 8601, UTC."""


class Settings:
    """Values by key with a default of the right type; ``path`` names an ini file (tests), else the user's own."""

    def __init__(self, path: str | None = None) -> None:
        if path is None:
            self._store = QSettings(
                QSettings.Format.IniFormat, QSettings.Scope.UserScope, "misnomer", "misnomer"
            )
        else:
            self._store = QSettings(path, QSettings.Format.IniFormat)

    # -- any key -------------------------------------------------------------------------------------------------

    def text(self, key: str, default: str = "") -> str:
        return str(self._store.value(key, default, type=str))

    def flag(self, key: str, default: bool = False) -> bool:
        return bool(self._store.value(key, default, type=bool))

    def number(self, key: str, default: int = 0) -> int:
        try:
            return int(self.text(key, str(default)))
        except ValueError:
            return default

    def texts(self, key: str, default: Sequence[str] = ()) -> list[str]:
        """A list of strings; ``default`` when there is none or it is damaged."""
        try:
            values = json.loads(self.text(key, "null"))
        except ValueError:
            return list(default)
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            return list(default)
        return values

    def blob(self, key: str) -> QByteArray:
        """Window geometry and the like; empty when there is none."""
        stored = self._store.value(key, QByteArray(), type=QByteArray)
        return stored if isinstance(stored, QByteArray) else QByteArray()

    def set(self, key: str, value: str | bool | int | QByteArray) -> None:
        self._store.setValue(key, value)

    def set_texts(self, key: str, values: Sequence[str]) -> None:
        self._store.setValue(key, json.dumps(list(values)))

    def remove(self, key: str) -> None:
        self._store.remove(key)

    def save(self) -> None:
        """Write to disk now; QSettings would do it later on its own."""
        self._store.sync()

    # -- by name -------------------------------------------------------------------------------------------------

    @property
    def theme(self) -> str:
        """``system``, ``light`` or ``dark``."""
        mode = self.text("theme", "system")
        return mode if mode in ("system", "light", "dark") else "system"

    @theme.setter
    def theme(self, mode: str) -> None:
        self.set("theme", mode)

    @property
    def python(self) -> str:
        """Interpreter that runs the engine; empty for the one that runs the window."""
        return self.text("engine/python")

    @python.setter
    def python(self, path: str) -> None:
        self.set("engine/python", path)

    @property
    def recent(self) -> list[str]:
        """Sources opened lately, newest first."""
        return self.texts("recent")

    def add_recent(self, source: str) -> None:
        rest = [old for old in self.recent if old != source]
        self.set_texts("recent", [source, *rest][:MAX_RECENT])

    @property
    def allow_network(self) -> bool:
        """Whether the code of models may use the network."""
        return self.flag("consent/network")

    @allow_network.setter
    def allow_network(self, allowed: bool) -> None:
        self.set("consent/network", allowed)

    # -- consent -------------------------------------------------------------------------------------------------

    @property
    def agreements(self) -> list[Agreement]:
        """What the user agreed to, the newest first; entries that are damaged count as never given."""
        try:
            entries = json.loads(self.text("consent/given", "[]"))
        except ValueError:
            entries = []
        found = [each for each in map(_agreement, entries if isinstance(entries, list) else ()) if each]
        known = {each.digest for each in found}
        # Before files and times were kept there was only a list of hashes.
        return found + [Agreement(old) for old in self.texts("consent/agreed") if old not in known]

    def agreed(self, digest: str) -> bool:
        """Whether the user agreed to run the code with this SHA-256."""
        return bool(digest) and any(each.digest == digest for each in self.agreements)

    def agree(self, digest: str, file: str = "", kind: str = "") -> None:
        """Remember that the code with this SHA-256 may run."""
        if digest:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            others = [each for each in self.agreements if each.digest != digest]
            self._keep([Agreement(digest, file, kind, now), *others])

    def revoke(self, digest: str) -> None:
        """Ask again before the code with this SHA-256 runs."""
        self._keep([each for each in self.agreements if each.digest != digest])

    def _keep(self, agreements: list[Agreement]) -> None:
        self.remove("consent/agreed")
        self.set("consent/given", json.dumps([asdict(each) for each in agreements[:MAX_AGREED]]))
        # A consent that was taken back must not return because the program was killed.
        self.save()


def _agreement(entry: object) -> Agreement | None:
    """None for what is no agreement."""
    if not isinstance(entry, dict):
        return None
    fields = [entry.get(name, "") for name in ("digest", "file", "kind", "when")]
    if not fields[0] or not all(isinstance(field, str) for field in fields):
        return None
    return Agreement(*fields)
