"""An analysis, or two, as a report. Importing this package fills the table of formats.

A new format is one module whose name ends in ``_report`` and that decorates its writer with
``export_format``.
"""

from __future__ import annotations

import importlib
import os
import pkgutil

from engine.errors import ExportError
from engine.export.files import write_file
from engine.export.formats import FORMATS
from engine.export.measured import own
from engine.export.report import Report, format_of, load_report
from engine.results import Analysis

__all__ = ["FORMATS", "Report", "format_of", "load_report", "read_report", "render", "write_report"]

_ORDER = ("html", "md", "csv", "json")
"""What menus show first; formats that are not named here follow."""

for _module in pkgutil.iter_modules(__path__):
    if _module.name.endswith("_report"):
        importlib.import_module(f"{__name__}.{_module.name}")
for _key in (*_ORDER, *(key for key in list(FORMATS) if key not in _ORDER)):
    FORMATS[_key] = FORMATS.pop(_key)


def render(analysis: Analysis, format: str, baseline: Analysis | None = None) -> bytes:
    """``analysis`` in the format of that key, compared with ``baseline``. Raises ExportError for another key."""
    if format not in FORMATS:
        raise ExportError(f"There is no report format {format!r}.", hint=f"Formats: {', '.join(FORMATS)}.")
    return FORMATS[format].write(own(analysis), own(baseline) if baseline is not None else None)


def write_report(
    path: str | os.PathLike[str], format: str, analysis: Analysis, baseline: Analysis | None = None
) -> None:
    """Write ``analysis`` to ``path``, whole or not at all. Raises ExportError."""
    write_file(path, render(analysis, format, baseline))


def read_report(path: str | os.PathLike[str]) -> Analysis:
    """The analysis in the JSON report at ``path``. Raises ExportError that says in which way it is none."""
    return load_report(path).to_analysis()
