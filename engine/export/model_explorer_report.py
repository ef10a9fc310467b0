"""Model Explorer node data: one metric per file, coloured on the graph and summed up per group.

Keys are names of the nodes' output tensors, which it accepts beside its adapters' own node ids. The schema is
``NodeDataProviderData`` of its source (``common/types.ts``): graph id → ``{name, results: {key: {value}}, gradient}``.
"""

from __future__ import annotations

import json

from engine.errors import ExportError
from engine.export.formats import export_format
from engine.export.nodes import node_metrics
from engine.results import Analysis

GRADIENT = [{"stop": 0, "bgColor": "#f4f6fb"}, {"stop": 1, "bgColor": "#e8703a"}]
"""Light to strong; dark text is readable on both."""


@export_format("model-explorer", "MACs per node for Model Explorer (JSON)", ".macs.node_data.json")
def write_macs(analysis: Analysis, baseline: Analysis | None) -> bytes:
    """MACs of every node; a baseline has no place there. Raises ExportError for a model without nodes."""
    return _write(analysis, "macs")


@export_format(
    "model-explorer-latency", "Times per node for Model Explorer (JSON)", ".latency.node_data.json"
)
def write_times(analysis: Analysis, baseline: Analysis | None) -> bytes:
    """Measured seconds of every node that has a time. Raises ExportError where no layer was timed."""
    return _write(analysis, "latency_s")


def _write(analysis: Analysis, key: str) -> bytes:
    found = [metric for metric in node_metrics(analysis) if metric.key == key and metric.tensor]
    if not found:
        raise ExportError(
            f"No node of {analysis.model.name} has this number.",
            hint="Measure the layers first; on the command line: --latency cpu."
            if key == "latency_s"
            else "",
        )
    data = {
        "name": f"{found[0].label} (Misnomer)",
        "results": {metric.tensor: {"value": metric.value} for metric in found},
        "gradient": GRADIENT,
    }
    return json.dumps({analysis.modules.node[0]: data}, ensure_ascii=False, indent=1).encode()
