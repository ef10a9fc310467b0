"""JSON: the complete report, for scripts and for opening in the window again."""

from __future__ import annotations

from engine.export.formats import export_format
from engine.export.report import Report
from engine.results import Analysis


@export_format("json", "Report for scripts and for this program (JSON)", ".json")
def write(analysis: Analysis, baseline: Analysis | None) -> bytes:
    """The report of ``analysis``. A baseline is its own file; why an ONNX file has other parameters is said."""
    return Report.from_analysis(analysis, baseline).to_json()
