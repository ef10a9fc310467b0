"""Costs of a trace: rows with their work, totals, coverage; the last step before the result leaves the engine."""

from __future__ import annotations

import platform
import sys
from collections import Counter
from functools import lru_cache

import torch

from engine.configuration import Configuration
from engine.cost import Work, cost_of
from engine.metrics import ratio
from engine.modules import ModuleColumns
from engine.results import (
    Analysis,
    Coverage,
    Layers,
    ModelInfo,
    NotCounted,
    SharedParameter,
    Totals,
    TraceMode,
    UntouchedParameter,
)
from engine.trace.recorder import ParameterRef, Row
from engine.trace.run import Trace


class Parameters:
    """Totals over the distinct parameters and buffers of a model; made once per set of edits."""

    def __init__(self, module: torch.nn.Module, refs: dict[int, ParameterRef]) -> None:
        distinct = list(module.parameters())
        self.params = sum(p.numel() for p in distinct)
        self.trainable = sum(p.numel() for p in distinct if p.requires_grad)
        self.weight_bytes = sum(p.numel() * p.element_size() for p in distinct)
        self.buffers = sum(b.numel() for b in module.buffers())
        self.buffer_bytes = sum(b.numel() * b.element_size() for b in module.buffers())
        self.elements = {ref.name: ref.elements for ref in refs.values()}
        names: dict[int, list[str]] = {}
        for name, parameter in module.named_parameters(remove_duplicate=False):
            names.setdefault(id(parameter), []).append(name)
        self.shared = tuple(
            SharedParameter(tuple(group), refs[key].elements)
            for key, group in names.items()
            if len(group) > 1
        )


def build_analysis(
    model: ModelInfo,
    configuration: Configuration,
    mode: TraceMode,
    trace: Trace,
    parameters: Parameters,
    modules: ModuleColumns,
) -> Analysis:
    """The result for one trace, which may be partial."""
    rows = trace.rows
    costs = [cost_of(row.signature.call) for row in rows]
    layers, totals = _layers(rows, costs, trace, parameters)
    uncounted: Counter[str] = Counter()
    for row, (_, work) in zip(rows, costs, strict=True):
        if work.flops is None:
            uncounted[row.signature.call.op] += row.calls
    untouched = [name for name in parameters.elements if name not in trace.touched]
    return Analysis(
        model=model,
        configuration=configuration,
        mode=mode,
        totals=totals,
        coverage=Coverage(
            calls=trace.calls,
            counted_calls=trace.calls - sum(uncounted.values()),
            not_counted=tuple(NotCounted(op, calls) for op, calls in uncounted.most_common()),
        ),
        layers=layers,
        modules=modules.columns(trace.module_calls, frozenset(untouched)),
        assumptions=trace.assumptions,
        shared=parameters.shared,
        untouched=tuple(UntouchedParameter(name, parameters.elements[name]) for name in untouched),
        output_shapes=trace.output_shapes,
        environment=environment(),
    )


def _layers(
    rows: list[Row], costs: list[tuple[str, Work]], trace: Trace, parameters: Parameters
) -> tuple[Layers, Totals]:
    readers = Counter(name for row in rows for name in row.params)
    macs: list[int | None] = []
    flops: list[int | None] = []
    special: list[int | None] = []
    moved: list[int] = []
    formulas: list[str] = []
    for row, (_, work) in zip(rows, costs, strict=True):
        calls = row.calls
        macs.append(None if work.macs is None else work.macs * calls)
        flops.append(None if work.flops is None else work.flops * calls)
        special.append(None if work.special_ops is None else work.special_ops * calls)
        call = row.signature.call
        moved.append((call.input_bytes + call.weight_bytes + call.output_bytes) * calls)
        text = work.formula
        formulas.append(text if calls == 1 else f"{calls} calls × ({text})")
    layers = Layers(
        id=tuple([row.id for row in rows]),
        path=tuple([row.path for row in rows]),
        op=tuple([row.signature.call.op for row in rows]),
        family=tuple([family for family, _ in costs]),
        calls=tuple([row.calls for row in rows]),
        params=tuple([row.param_elements for row in rows]),
        shared=tuple([any(readers[name] > 1 for name in row.params) for row in rows]),
        macs=tuple(macs),
        flops=tuple(flops),
        special_ops=tuple(special),
        weight_bytes=tuple([row.weight_bytes for row in rows]),
        activation_bytes=tuple([row.activation_bytes for row in rows]),
        peak_activation_bytes=tuple([row.live_bytes for row in rows]),
        bytes_moved=tuple(moved),
        input_shapes=tuple([tuple([s for s in row.signature.call.inputs if s is not None]) for row in rows]),
        output_shapes=tuple([row.signature.call.outputs for row in rows]),
        dtype=tuple([row.signature.dtype for row in rows]),
        formula=tuple(formulas),
    )
    total_macs = sum([value for value in macs if value is not None])
    total_flops = sum([value for value in flops if value is not None])
    total_moved = sum(moved)
    untouched = sum(n for name, n in parameters.elements.items() if name not in trace.touched)
    totals = Totals(
        params=parameters.params,
        trainable_params=parameters.trainable,
        buffers=parameters.buffers,
        untouched_params=untouched,
        macs=total_macs,
        flops=total_flops,
        special_ops=sum([value for value in special if value is not None]),
        weight_bytes=parameters.weight_bytes,
        activation_bytes=sum(layers.activation_bytes),
        peak_activation_bytes=trace.peak_bytes,
        bytes_moved=total_moved,
        arithmetic_intensity=ratio(total_flops, total_moved),
        reuse=ratio(total_macs, parameters.params),
    )
    return layers, totals


@lru_cache(1)
def environment() -> dict[str, str]:
    """Versions that can change a result, and the platform; no host or user name."""
    versions = {"python": platform.python_version(), "torch": str(torch.__version__)}
    torchvision = sys.modules.get("torchvision")
    if torchvision is not None:
        versions["torchvision"] = str(getattr(torchvision, "__version__", "unknown"))
    versions["platform"] = f"{platform.system()} {platform.machine()}"
    return versions
