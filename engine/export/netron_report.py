"""Netron attachment: the metrics of every node, shown in Netron's side bar once it is dropped onto the open model.

Netron takes a ``.json`` file with this signature and matches ``target`` with the names of nodes, up to their first line
end; rows that match nothing it leaves out without a word, and a node without a name has none. Seen in its source
(``source/metrics.js``, ``source/view.js``).
"""

from __future__ import annotations

import json

from engine.export.formats import export_format
from engine.export.nodes import NodeMetric, node_metrics, total_metrics
from engine.results import Analysis


@export_format("netron", "Node metrics for Netron (JSON attachment)", ".netron.json")
def write(analysis: Analysis, baseline: Analysis | None) -> bytes:
    """Metrics of the model and of its nodes; a baseline has no place there. Raises ExportError without nodes."""
    rows = [_item("model", "", metric) for metric in total_metrics(analysis)]
    seen: set[tuple[str, str]] = set()
    for metric in node_metrics(analysis):
        target = metric.node.split("\n")[0]
        if target and (target, metric.key) not in seen:
            seen.add((target, metric.key))
            rows.append(_item("node", target, metric))
    document = {
        "signature": "netron:attachment",
        "metadata": [
            {"kind": "model", "target": "", "name": "counted by", "value": "Misnomer", "type": "string"}
        ],
        "metrics": rows,
    }
    return json.dumps(document, ensure_ascii=False, indent=1).encode()


def _item(kind: str, target: str, metric: NodeMetric) -> dict[str, object]:
    return {"kind": kind, "target": target, "name": metric.label, "value": metric.value, "type": "attribute"}
