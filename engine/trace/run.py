"""One traced forward pass: module and inputs in, rows and totals of memory out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import cached_property
from threading import Event
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from engine.errors import CancelledError, EngineError
from engine.graph import Assumption, Shape
from engine.trace.assume import Assumptions
from engine.trace.explain import layer_error
from engine.trace.modules import ModuleStack, module_paths, refusing_autocast
from engine.trace.recorder import ParameterRef, Recorder, Row, StopTrace, parameter_refs
from engine.trace.weights import CONSTANT, Held

log = logging.getLogger(__name__)


class Trace:
    """What one forward pass executed. ``failure`` is set when it stopped early; the rows before it are still here."""

    def __init__(
        self,
        recorder: Recorder,
        stack: ModuleStack,
        assumptions: tuple[Assumption, ...],
        output_shapes: tuple[Shape, ...],
        failure: EngineError | None,
        cause: BaseException | None,
    ) -> None:
        self.rows: list[Row] = list(recorder.rows.values())
        self.calls = recorder.calls
        self.touched = recorder.touched
        self.peak_bytes = recorder.peak
        self.module_calls = stack.calls
        self.assumptions = assumptions
        self.output_shapes = output_shapes
        self.failure = failure
        self.cause = cause
        self.in_operation = recorder.current is not None
        """Whether the failure came from an operation, not from the model's own Python."""


class Target:
    """A module to trace with what every trace of it needs; made again after the module changes."""

    def __init__(self, module: nn.Module, refs: dict[int, ParameterRef] | None = None) -> None:
        self.module = module
        self.refs = parameter_refs(module) if refs is None else refs
        self.paths = module_paths(module)
        tensors = [*module.parameters(), *module.buffers()]
        self.storages = [tensor.untyped_storage() for tensor in tensors]
        """Held, so that no activation can get the address of one that the model dropped."""

    @cached_property
    def holds(self) -> dict[int, Held]:
        """By storage of a parameter or buffer: what is in it."""
        found: dict[int, Held] = {}
        for buffer in self.module.buffers():
            found[buffer.untyped_storage()._cdata] = Held(CONSTANT)
        for parameter in self.module.parameters():
            cdata, ref = parameter.untyped_storage()._cdata, self.refs.get(id(parameter))
            several = cdata in found and found[cdata].name != CONSTANT
            found[cdata] = Held("" if several or ref is None else ref.name, int(parameter.storage_offset()))
        return found


def trace(
    target: Target,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    fast: bool = True,
    on_meta: bool = True,
    weigh: bool = False,
    assumptions: Mapping[str, int] | None = None,
    stop: Event | None = None,
    progress: Callable[[int], None] | None = None,
) -> Trace:
    """Run ``target.module(*args, **kwargs)`` once in inference mode and record what executes.

    Tensors may be meta (``on_meta``), fake or real; ``assumptions`` (None: real data) answers data-dependent sizes.
    With ``weigh`` the rows know which operands are weights.
    Raises CancelledError when ``stop`` is set; any other exception of the forward pass becomes ``Trace.failure``.
    """
    stack = ModuleStack(target.paths)
    assume = None if assumptions is None else Assumptions(assumptions)
    inputs = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    storages = [tensor.untyped_storage() for tensor in inputs]
    recorder = Recorder(
        stack,
        target.refs,
        [*target.storages, *storages],
        fast=fast,
        intercept=assume,
        stop=stop,
        progress=progress,
    )
    if weigh:
        recorder.follow_weights(target.holds, storages)
    failure: EngineError | None = None
    cause: BaseException | None = None
    shapes: tuple[Shape, ...] = ()
    try:
        with torch.inference_mode(), stack.watching(), refusing_autocast(on_meta), recorder:
            output = target.module(*args, **kwargs)
        shapes = output_shapes(output)
    except StopTrace as stopped:
        raise CancelledError() from stopped
    except (Exception, SystemExit) as error:
        failure = layer_error(error, stack, recorder.current)
        failure.__cause__ = error
        cause = error
    if stop is not None and stop.is_set():
        # The model may have caught what stopped it; what it computed then is no result.
        raise CancelledError()
    made = tuple(assume.made.values()) if assume is not None else ()
    return Trace(recorder, stack, made, shapes, failure, cause)


def output_shapes(output: Any) -> tuple[Shape, ...]:
    """Shapes of all tensors in a model's output, dataclass-like containers (Hugging Face) included."""
    leaves = pytree.tree_leaves(output)
    if len(leaves) == 1 and not isinstance(leaves[0], Tensor) and hasattr(leaves[0], "__dict__"):
        leaves = pytree.tree_leaves(vars(leaves[0]))
    return tuple(tuple(leaf.shape) for leaf in leaves if isinstance(leaf, Tensor))
