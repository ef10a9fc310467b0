"""What the window remembers between runs: a typed facade over QSettings.

QSettings hands back ``'3'`` and ``'true'`` from an ini file, and a list of one as its element; every reader here
states the type, and lists travel as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from PySide6.QtCore import QByteArray, QSettings

MAX_RECENT = 12
MAX_AGREED = 500


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

    def agreed(self, digest: str) -> bool:
        """Whether the user agreed to run the code with this SHA-256."""
        return bool(digest) and digest in self.texts("consent/agreed")

    def agree(self, digest: str) -> None:
        known = self.texts("consent/agreed")
        if digest and digest not in known:
            self.set_texts("consent/agreed", [digest, *known][:MAX_AGREED])
