"""One open model: edits it, traces it, costs it, keeps results. Used by the server, the command line and the API."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from contextlib import nullcontext
from threading import Event
from typing import Any

import psutil
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)

from engine.analysis import Parameters, build_analysis
from engine.errors import EngineError, InputError, MissingShapeError, RealRunRequiredError
from engine.graph import InputShape, InputSpec, Shape
from engine.loaders.inputs import InputBinding, bind_shapes
from engine.loaders.loaded import LoadedModel
from engine.modules import EditableModel, ModuleColumns
from engine.results import Analysis, Configuration, ModelInfo, TraceMode
from engine.trace.recorder import ParameterRef
from engine.trace.run import Target, Trace, trace

log = logging.getLogger(__name__)

KEPT_ROWS = 200_000
"""Layer rows of results that are kept; some 100 MB at most."""

META_LIMITS = (
    "meta tensor", "meta device", "device meta", "'Meta' backend", "on the same device", "Meta tensors",
    "different devices", "not on the expected device", "data-dependent", "no data", "fake tensor", "FakeTensor",
    "unbacked", "tensor subclasses", "storage of the tensor", "cannot be converted to",
    "Could not run", "is not supported on",
)  # fmt: skip
"""Parts of messages that mean "this way of tracing cannot go on", as opposed to "the model refuses this input"."""


class FailedAnalysisError(Exception):
    """An analysis that stopped inside the model: the error to show and the rows before it. Never leaves the engine."""

    def __init__(self, error: EngineError, partial: Analysis | None) -> None:
        super().__init__(error.message)
        self.error = error
        self.partial = partial


class _Runnable:
    """A module with the tensors that stand for its weights: on meta, or real after a real run was allowed."""

    def __init__(self, module: nn.Module) -> None:
        self.model = EditableModel(module)
        self.refresh()

    def refresh(self) -> None:
        """After edits: what depends on the modules but not on the input."""
        self.target = Target(self.model.module)
        self.parameters = Parameters(self.model.module, self.target.refs)
        self.columns = ModuleColumns(self.model.module)


class Session:
    """An open model. Not thread-safe: one analysis at a time; ``stop`` may be set from another thread."""

    def __init__(self, loaded: LoadedModel, inputs: tuple[InputShape, ...] = ()) -> None:
        """``inputs`` describe the inputs of a source that does not; raises MissingShapeError when they are needed."""
        self._loaded = loaded
        if loaded.binding is None and not inputs:
            raise MissingShapeError(
                f"{loaded.info.source} does not say what its inputs are.",
                hint="Return (module, example_args) from it, or give the shapes: --input x=1x3x224x224.",
            )
        self._binding: InputBinding = loaded.binding or bind_shapes(loaded.module, inputs)
        self._meta = _Runnable(loaded.module)
        self._real: _Runnable | None = None
        self._mode: TraceMode = "meta"
        self._never_steady = False
        self._kept: OrderedDict[Configuration, Analysis] = OrderedDict()
        self._kept_rows = 0

    @property
    def info(self) -> ModelInfo:
        return self._loaded.info

    @property
    def specs(self) -> tuple[InputSpec, ...]:
        return self._binding.specs

    @property
    def watch(self) -> str:
        return self._loaded.watch

    def default_configuration(self) -> Configuration:
        return Configuration(inputs=self._binding.defaults())

    def kept(self, configuration: Configuration) -> Analysis | None:
        """The result if it is known already."""
        analysis = self._kept.get(configuration)
        if analysis is not None:
            self._kept.move_to_end(configuration)
        return analysis

    def analyze(
        self,
        configuration: Configuration,
        *,
        stop: Event | None = None,
        progress: Callable[[int], None] | None = None,
        fast: bool = True,
    ) -> Analysis:
        """All costs of the model at ``configuration``; ``fast=False`` bypasses shortcuts and kept results.

        Raises InputError for a request that does not fit the model, FailedAnalysisError when the forward pass stops,
        RealRunRequiredError when only a real run could answer, CancelledError when ``stop`` is set.
        """
        known = self.kept(configuration) if fast else None
        if known is not None:
            return known
        shapes = self._binding.complete(configuration.inputs)
        mode: TraceMode = self._mode
        result: Trace | None = None
        while True:
            runnable, result = self._trace(mode, shapes, configuration, stop, progress, fast)
            if result.failure is None or not _way_cannot_go_on(result.cause):
                break
            if mode == "cpu":
                break
            log.info("Tracing on %s stopped: %s", mode, result.failure.message)
            mode = "fake" if mode == "meta" else "cpu"
            if mode == "cpu" and not configuration.allow_real_run:
                raise self._real_run_required(result)
        analysis = build_analysis(
            self.info, configuration, mode, result, runnable.parameters, runnable.columns
        )
        if result.failure is not None:
            raise FailedAnalysisError(result.failure, analysis) from result.failure
        self._mode = mode
        if fast:
            self._keep(configuration, analysis)
        return analysis

    # -- the three ways to trace ---------------------------------------------------------------------------------

    def _trace(
        self,
        mode: TraceMode,
        shapes: tuple[InputShape, ...],
        configuration: Configuration,
        stop: Event | None,
        progress: Callable[[int], None] | None,
        fast: bool,
    ) -> tuple[_Runnable, Trace]:
        runnable = self._runnable(mode, configuration)
        world = self._loaded.world.active() if self._loaded.world is not None else nullcontext()
        assumptions = None if mode == "cpu" else dict(configuration.assumptions)
        with world:
            if mode == "fake":
                return runnable, _trace_fake(
                    runnable, self._binding, shapes, assumptions or {}, stop, progress
                )
            args, kwargs = self._binding.arguments(shapes, _make_meta if mode == "meta" else _make_real)
            result = self._steady_trace(
                runnable.target,
                args,
                kwargs,
                fast=fast and mode == "meta",
                assumptions=assumptions,
                stop=stop,
                progress=progress,
            )
        return runnable, result

    def _steady_trace(self, target: Target, *arguments: Any, **options: Any) -> Trace:
        """The trace of a repeated forward pass: again, where the first one left something behind for the next.

        Detectors keep their anchors, language models their rotary tables; a second pass does not make them again.
        """
        before = _module_state(target.module)
        result = trace(target, *arguments, **options)
        if result.failure is None and not self._never_steady and _module_state(target.module) != before:
            before = _module_state(target.module)
            result = trace(target, *arguments, **options)
            self._never_steady = _module_state(target.module) != before
        return result

    def _runnable(self, mode: TraceMode, configuration: Configuration) -> _Runnable:
        runnable = self._meta
        if mode == "cpu":
            if self._real is None:
                self._check_memory()
                world = self._loaded.world.active() if self._loaded.world is not None else nullcontext()
                with world, torch.random.fork_rng():
                    torch.manual_seed(0)
                    self._real = _Runnable(self._loaded.build_real().eval())
            runnable = self._real
        if runnable.model.apply(configuration.edits):
            runnable.refresh()
        return runnable

    def _check_memory(self) -> None:
        needed, free = self._meta.parameters.weight_bytes, psutil.virtual_memory().available
        if needed * 1.5 > free:
            raise InputError(
                f"A real run needs {needed / 2**30:.1f} GiB for the weights alone; {free / 2**30:.1f} GiB are free.",
                hint="Close other programs, or analyse a smaller variant.",
            )

    def _real_run_required(self, failed: Trace) -> RealRunRequiredError:
        weights = self._meta.parameters.weight_bytes
        free = psutil.virtual_memory().available
        why = failed.failure.message if failed.failure is not None else ""
        layer = failed.failure.layer if failed.failure is not None else ""
        return RealRunRequiredError(
            f"{self.info.name} cannot be traced without running it for real.",
            layer=layer,
            details=(
                why,
                f"A real run on the CPU allocates {weights / 2**20:,.0f} MiB of weights plus activations "
                f"({free / 2**20:,.0f} MiB are free) and takes as long as one forward pass, for every size.",
            ),
        )

    def _keep(self, configuration: Configuration, analysis: Analysis) -> None:
        self._kept[configuration] = analysis
        self._kept_rows += len(analysis.layers)
        while self._kept_rows > KEPT_ROWS and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            self._kept_rows -= len(dropped.layers)


def _module_state(module: nn.Module) -> list[tuple[int, ...]]:
    """Identities of everything the modules hold as plain attributes; changes when a forward pass keeps something."""
    return [tuple([id(value) for value in vars(part).values()]) for part in module.modules()]


def _make_meta(shape: Shape, dtype: torch.dtype) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def _make_real(shape: Shape, dtype: torch.dtype) -> Tensor:
    """Standard normal values; integers are 0, a valid index everywhere."""
    if dtype.is_floating_point or dtype.is_complex:
        return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(0))
    return torch.zeros(shape, dtype=dtype)


def _trace_fake(
    runnable: _Runnable,
    binding: InputBinding,
    shapes: tuple[InputShape, ...],
    assumptions: dict[str, int],
    stop: Event | None,
    progress: Callable[[int], None] | None,
) -> Trace:
    """Trace with fake CPU tensors: they know their device, so models that mix in constants or ask for it work."""
    module = runnable.model.module
    with FakeTensorMode(allow_non_fake_inputs=True):
        swapped: list[tuple[dict[str, Any], str, Any]] = []
        fakes: dict[int, Tensor] = {}
        refs: dict[int, ParameterRef] = {}
        try:
            for owner in module.modules():
                for store in (owner._parameters, owner._buffers):
                    for name, tensor in store.items():
                        if tensor is None:
                            continue
                        if id(tensor) not in fakes:
                            fake: Tensor = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
                            if isinstance(tensor, nn.Parameter):
                                fake = nn.Parameter(fake, requires_grad=tensor.requires_grad)
                            fakes[id(tensor)] = fake
                            if id(tensor) in runnable.target.refs:
                                refs[id(fake)] = runnable.target.refs[id(tensor)]
                        swapped.append((store, name, tensor))
                        store[name] = fakes[id(tensor)]  # type: ignore[assignment]
            args, kwargs = binding.arguments(shapes, lambda s, d: torch.empty(s, dtype=d, device="cpu"))
            return trace(
                Target(module, refs),
                args,
                kwargs,
                fast=False,
                assumptions=assumptions,
                stop=stop,
                progress=progress,
            )
        finally:
            for store, name, tensor in swapped:
                store[name] = tensor


def _way_cannot_go_on(cause: BaseException | None) -> bool:
    if isinstance(cause, (NotImplementedError, DataDependentOutputException, DynamicOutputShapeException)):
        return True
    text = str(cause)
    return any(part in text for part in META_LIMITS)
