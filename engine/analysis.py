"""Costs of a trace: rows with their work, totals, coverage; the last step before the result leaves the engine."""

from __future__ import annotations

import platform
import sys
from collections import Counter
from functools import lru_cache

import torch

from engine.configuration import Configuration
from engine.cost import Work, cost_of
from engine.modules import ModuleColumns
from engine.results import (
    Analysis,
    Layers,
    ModelInfo,
    SharedParameter,
    TraceMode,
    UntouchedParameter,
    WeightUse,
    WeightUses,
)
from engine.totals import CostColumns, Held, coverage_of, totals_of
from engine.trace.recorder import ParameterRef, Row
from engine.trace.run import Trace

LIBRARIES = ("timm", "transformers")
"""Beside torch and torchvision, whose version can change what a model is made of."""


class Parameters:
    """Totals over the distinct parameters and buffers of a model; made once per set of edits."""

    def __init__(self, module: torch.nn.Module, refs: dict[int, ParameterRef]) -> None:
        distinct = list(module.parameters())
        self.params = sum(p.numel() for p in distinct)
        self.trainable = sum(p.numel() for p in distinct if p.requires_grad)
        self.weight_bytes = sum(p.numel() * p.element_size() for p in distinct)
        self.buffers = sum(b.numel() for b in module.buffers())
        self.buffer_bytes = sum(b.numel() * b.element_size() for b in module.buffers())
        self.held = Held(self.params, self.trainable, self.buffers, self.weight_bytes)
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
    remade: tuple[str, ...] | None = None,
) -> Analysis:
    """The result for one trace, which may be partial.

    ``remade`` are the parameters that an edit made anew, where the trace followed the weights; else None.
    """
    rows = trace.rows
    costs = [cost_of(row.signature.call) for row in rows]
    layers = _layers(rows, costs)
    untouched = [name for name in parameters.elements if name not in trace.touched]
    return Analysis(
        model=model,
        configuration=configuration,
        mode=mode,
        totals=totals_of(
            layers, parameters.held, sum(parameters.elements[name] for name in untouched), trace.peak_bytes
        ),
        coverage=coverage_of(layers),
        layers=layers,
        modules=modules.columns(trace.module_calls, frozenset(untouched)),
        assumptions=trace.assumptions,
        shared=parameters.shared,
        untouched=tuple(UntouchedParameter(name, parameters.elements[name]) for name in untouched),
        output_shapes=trace.output_shapes,
        environment=environment(_libraries(model)),
        weight_uses=None if remade is None else WeightUses(_weight_uses(rows, costs, parameters), remade),
    )


def _weight_uses(
    rows: list[Row], costs: list[tuple[str, Work]], parameters: Parameters
) -> tuple[tuple[WeightUse, ...], ...]:
    """Per row, what it reads of which parameter and how many of its MACs multiply an element of it."""
    found = []
    for row, (_, work) in zip(rows, costs, strict=True):
        factors = _factors(row, work)
        if not row.params:
            found.append(tuple(factors))
            continue
        uses = {use.name: use for use in factors}
        for name, read in zip(row.params, row.reads, strict=True):
            elements = parameters.elements[name]
            runs = _runs(row, name) if read < elements else {}
            reads = {name: 0, **runs} if runs and sum(runs.values()) == read else {name: read}
            for part, size in reads.items():
                use = uses.get(part)
                whole = elements if part == name else size
                uses[part] = WeightUse(part, whole, size, use.macs if use else 0, use.unknown if use else "")
        found.append(tuple(uses.values()))
    return tuple(found)


def _runs(row: Row, name: str) -> dict[str, int]:
    """The runs of elements of the parameter ``name`` that a row reads, with their sizes."""
    runs = [weight for weight in row.weights or () if weight and weight.name.startswith(f"{name}[")]
    return {weight.name: weight.elements for weight in runs if not weight.scattered}


def _factors(row: Row, work: Work) -> list[WeightUse]:
    """The weights among what a row's MACs multiply; one without a name where nobody knows how they are used."""
    if not work.macs:
        return []
    weights = row.weights
    if weights is None:
        return [WeightUse("", 0, unknown="the calls of this row use different weights")]
    if work.weighted is None:
        used = any(weight is not None for weight in weights)
        return [WeightUse("", 0, unknown="how often each weight is used is not known")] if used else []
    factors: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for position, macs in work.weighted:
        if position >= len(weights):
            return [WeightUse("", 0, unknown="which operand is the weight is not known")]
        weight = weights[position]
        if weight is None:
            continue
        if not weight.name:
            return [WeightUse("", 0, unknown="the weight is computed, or no parameter")]
        if weight.scattered:
            return [WeightUse("", 0, unknown=f"only a part of {weight.name} is used")]
        factors[weight.name] = factors.get(weight.name, 0) + macs * row.calls
        sizes[weight.name] = weight.elements
    if sum(factors.values()) > work.macs * row.calls:
        return [WeightUse("", 0, unknown="both factors are weights")]
    return [WeightUse(name, sizes[name], 0, macs) for name, macs in factors.items()]


def _layers(rows: list[Row], costs: list[tuple[str, Work]]) -> Layers:
    readers = Counter(name for row in rows for name in row.params)
    columns = CostColumns()
    moved: list[int] = []
    for row, (_, work) in zip(rows, costs, strict=True):
        columns.add(work, row.calls)
        call = row.signature.call
        moved.append((call.input_bytes + call.weight_bytes + call.output_bytes) * row.calls)
    return Layers(
        id=tuple([row.id for row in rows]),
        path=tuple([row.path for row in rows]),
        op=tuple([row.signature.call.op for row in rows]),
        family=tuple([family for family, _ in costs]),
        calls=tuple([row.calls for row in rows]),
        params=tuple([row.param_elements for row in rows]),
        shared=tuple([any(readers[name] > 1 for name in row.params) for row in rows]),
        macs=tuple(columns.macs),
        flops=tuple(columns.flops),
        special_ops=tuple(columns.special_ops),
        weight_bytes=tuple([row.weight_bytes for row in rows]),
        activation_bytes=tuple([row.activation_bytes for row in rows]),
        peak_activation_bytes=tuple([row.live_bytes for row in rows]),
        bytes_moved=tuple(moved),
        input_shapes=tuple([tuple([s for s in row.signature.call.inputs if s is not None]) for row in rows]),
        output_shapes=tuple([row.signature.call.outputs for row in rows]),
        dtype=tuple([row.signature.dtype for row in rows]),
        formula=tuple(columns.formula),
    )


def _libraries(model: ModelInfo) -> tuple[str, ...]:
    """Packages whose classes ``model`` is made of, beside torch and torchvision."""
    return tuple(name for name in LIBRARIES if model.format == name or f"{name}:" in model.source)


@lru_cache(8)
def environment(libraries: tuple[str, ...] = ()) -> dict[str, str]:
    """Versions that can change a result, those of ``libraries`` included, and the platform; no host or user name."""
    versions = {"python": platform.python_version(), "torch": str(torch.__version__)}
    for name in ("torchvision", *libraries):
        library = sys.modules.get(name)
        if library is not None:
            versions[name] = str(getattr(library, "__version__", "unknown"))
    versions["platform"] = f"{platform.system()} {platform.machine()}"
    return versions
