"""Time of every executed operation, by a dispatch mode: the drill-down, and the key to split a module's time."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from threading import Event
from time import perf_counter
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from engine.configuration import Configuration
from engine.graph import Shape
from engine.latency.collector import no_collection
from engine.latency.passes import paced, timed
from engine.latency.side_effects import SideEffects
from engine.measurement import OpTimes
from engine.session import RealModel, Session
from engine.statistics import median
from engine.trace.modules import ModuleStack
from engine.trace.ops import op_info
from engine.trace.recorder import Recorder

MAX_OPS = 20_000
"""Operations that are kept of one forward pass, in order."""
REPEATS = (3, 5)
BUDGET_S = 2.0


class Executed(NamedTuple):
    """One operation as it ran."""

    op: str
    row_id: str
    """As the analysis of the same execution would call its row; ``""`` for an operation that is no row."""
    row_path: str
    """Owner of the row: of the weight, else ``path``."""
    path: str
    """Innermost module being called."""
    reads_parameters: bool
    output_shapes: tuple[Shape, ...]


class OpPass(NamedTuple):
    """One forward pass, operation by operation; the cost of timing is in the seconds."""

    executed: list[Executed]
    seconds: list[float]
    called: frozenset[str]
    """Paths of the modules that were called."""


class _OpTimer(Recorder):  # type: ignore[no-untyped-call]
    """Records as the analysis does, so that operations get the same row ids, and times each kernel call alone."""

    def __init__(self, stack: ModuleStack, model: RealModel, inputs: list[Tensor]) -> None:
        static = [*model.target.storages, *(tensor.untyped_storage() for tensor in inputs)]
        super().__init__(stack, model.target.refs, static, fast=False)
        self.executed: list[Executed] = []
        self.seconds: list[float] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        info = op_info(func)
        kwargs = kwargs or {}
        path = self._stack.frames[-1].path
        self.current = (info, args, kwargs, path)
        start = perf_counter()
        out = func(*args, **kwargs)
        seconds = perf_counter() - start
        row = self._record(info, args, kwargs, out) if info.tracked else None
        self.current = None
        self.seconds.append(seconds)
        if row is None:
            self.executed.append(Executed(info.name, "", path, path, False, ()))
        else:
            shapes = row.signature.call.outputs
            self.executed.append(Executed(info.name, row.id, row.path, path, bool(row.params), shapes))
        return out


def op_pass(model: RealModel) -> OpPass:
    """One forward pass with every operation timed; the caller is in inference mode."""
    stack = ModuleStack(model.target.paths)
    inputs = [leaf for leaf in pytree.tree_leaves((model.args, model.kwargs)) if isinstance(leaf, Tensor)]
    timer = _OpTimer(stack, model, inputs)
    with stack.watching(), timer:
        model.forward()
    return OpPass(timer.executed, timer.seconds, frozenset(stack.calls))


def op_times(session: Session, configuration: Configuration, threads: int, stop: Event) -> OpTimes:
    """Every operation of a forward pass in order with its time, with the ``threads`` that are set.

    Medians over the passes that executed the same operations as the last one. Raises what Session.analyze and
    Session.real raise, CancelledError when ``stop`` is set between two passes, and what the forward pass raises.
    """
    known = set(session.analyze(configuration, stop=stop).layers.id)
    plain: list[float] = []
    passes: list[OpPass] = []
    with session.real(configuration) as model, torch.inference_mode(), no_collection():
        effects = SideEffects(model)
        timed(model.forward, stop)
        effects.undo()
        op_pass(model)
        effects.undo()
        for _ in paced(REPEATS, BUDGET_S, stop):
            plain.append(timed(model.forward, stop))
            effects.undo()
            passes.append(op_pass(model))
            effects.undo()
    executed = passes[-1].executed
    alike = [one.seconds for one in passes if one.executed == executed]
    kept = executed[:MAX_OPS]
    cost = op_cost()
    return OpTimes(
        configuration=configuration,
        threads=threads,
        op=tuple(one.op for one in kept),
        path=tuple(one.path for one in kept),
        row_id=tuple(one.row_id if one.row_id in known else "" for one in kept),
        output_shapes=tuple(one.output_shapes for one in kept),
        latency_s=tuple(max(median(column) - cost, 0.0) for column in zip(*alike, strict=True))[:MAX_OPS],
        op_s=cost,
        end_to_end_s=median(plain),
    )


@lru_cache
def op_cost() -> float:
    """Seconds that timing adds to one operation, once per process.

    An addition to one element, called as the model calls it and as the dispatch mode calls it; medians.
    """
    calls = 200

    class Timer(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            start = perf_counter()
            out = func(*args, **kwargs)
            seconds.append(perf_counter() - start)
            return out

    x = torch.zeros(1)
    seconds: list[float] = []
    plain: list[float] = []

    def run(add: Callable[[int], object]) -> None:
        for _ in range(calls):
            add(1)

    with torch.inference_mode():
        for _ in range(10):
            started = perf_counter()
            run(x.add_)
            plain.append((perf_counter() - started) / calls)
            with Timer():  # type: ignore[no-untyped-call]
                run(x.add_)
    return max(median(seconds) - median(plain), 0.0)
