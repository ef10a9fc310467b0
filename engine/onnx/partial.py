"""What is known of a model that stops at a node: the rows before that one."""

from __future__ import annotations

from msgspec.structs import replace

from engine.configuration import Configuration
from engine.onnx.assembly import Structure, build_analysis
from engine.onnx.contradictions import NodeError
from engine.results import Analysis, Layers, ModelInfo
from engine.totals import coverage_of, totals_of


def partial_analysis(
    model: ModelInfo, configuration: Configuration, structure: Structure, error: NodeError
) -> Analysis | None:
    """The result up to the node that refuses its inputs; None where nothing before it is known."""
    stopped = next((node for node in structure.document.graph.nodes if node.name == error.node), None)
    if error.shapes is None or stopped is None:
        return None
    whole = build_analysis(model, configuration, structure, error.shapes)
    row = f"{stopped.path}:{stopped.op_type}"
    if row not in whole.layers.id:
        return None
    layers = _first(whole.layers, whole.layers.id.index(row))
    peak = max(layers.peak_activation_bytes, default=0)
    return replace(
        whole,
        layers=layers,
        totals=totals_of(layers, structure.held, whole.totals.untouched_params, peak),
        coverage=coverage_of(layers),
        output_shapes=(),
        weight_uses=None,
    )


def _first(layers: Layers, count: int) -> Layers:
    return Layers(**{name: getattr(layers, name)[:count] for name in layers.__struct_fields__})
