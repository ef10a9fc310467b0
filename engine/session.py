"""An open PyTorch model: edits it, traces it, costs it, keeps results."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import Event
from typing import Any, NamedTuple

import msgspec
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)

from engine.analysis import Parameters, build_analysis
from engine.configuration import Configuration
from engine.confine import network_hint
from engine.edits import Edit
from engine.errors import (
    EngineError,
    InputError,
    LoadError,
    MissingShapeError,
    RealRunRequiredError,
    UnsupportedModelError,
)
from engine.graph import InputShape, InputSpec, Shape
from engine.guard import Need, check_memory, free_bytes, memory_errors, require
from engine.loaders.inputs import InputBinding, bind_shapes
from engine.loaders.loaded import LoadedModel, replace_tensors
from engine.modules import EditableModel, ModuleColumns
from engine.open_model import FailedAnalysisError, KeptAnalyses, OpenModel
from engine.results import Analysis, ModelInfo, TraceMode
from engine.sparsity import with_zeros
from engine.trace.explain import first_sentence
from engine.trace.modules import NO_AUTOCAST
from engine.trace.recorder import ParameterRef
from engine.trace.run import Target, Trace, trace
from engine.trace.state import ModuleState

log = logging.getLogger(__name__)

META_LIMITS = (
    "meta tensor", "meta device", "device meta", "'Meta' backend", "on the same device", "Meta tensors",
    "different devices", "not on the expected device", "data-dependent", "no data", "fake tensor", "FakeTensor",
    "unbacked", "tensor subclasses", "storage of the tensor", "cannot be converted to",
    "Could not run", "is not supported on", NO_AUTOCAST,
)  # fmt: skip
"""Parts of messages that mean "this way of tracing cannot go on", as opposed to "the model refuses this input"."""


class _Runnable:
    """A module with the tensors that stand for its weights: on meta, or real after a real run was allowed."""

    def __init__(self, module: nn.Module) -> None:
        self.model = EditableModel(module)
        self._opened = {name: id(parameter) for name, parameter in _every_parameter(module)}
        self.refresh()
        self.aliases = tuple(shared.names for shared in self.parameters.shared)
        """Names of each parameter that has several."""

    def apply(self, edits: tuple[Edit, ...]) -> None:
        """Edit the module, which is in the state it was opened in. Raises InputError."""
        try:
            self.model.apply(edits)
        finally:
            if self.model.version != self._seen:
                self.refresh()

    def refresh(self) -> None:
        """After edits: what depends on the modules but not on the input."""
        self._seen = self.model.version
        self.target = Target(self.model.module)
        self.state = ModuleState(self.model.module)
        self.parameters = Parameters(self.model.module, self.target.refs)
        self.columns = ModuleColumns(self.model.module)
        self.remade = tuple(
            name for name, each in _every_parameter(self.model.module) if self._opened.get(name) != id(each)
        )
        """Parameters that are not those the model was opened with."""


def _every_parameter(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Every parameter under each of its names."""
    return module.named_parameters(remove_duplicate=False)


class RealModel(NamedTuple):
    """A module with allocated weights at one configuration, ready to be called."""

    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    target: Target
    state: ModuleState

    def forward(self) -> object:
        """One forward pass; the caller is in inference mode."""
        return self.module(*self.args, **self.kwargs)


class Session(OpenModel):
    """An open PyTorch model, whatever kind of source it came from."""

    kind = "torch"

    def __init__(self, loaded: LoadedModel, inputs: tuple[InputShape, ...] = ()) -> None:
        """``inputs`` describe the inputs of a source that does not, or where what was guessed is wrong; raises
        MissingShapeError when they are needed."""
        self._loaded = loaded
        if loaded.binding is None and not inputs:
            raise MissingShapeError(
                f"{loaded.info.source} does not say what its inputs are.",
                hint="Return (module, example_args) from it, or give the shapes: --input x=1x3x224x224.",
            )
        binding = loaded.binding
        if binding is None or (loaded.guessed_inputs and inputs and not binding.resembles(inputs)):
            binding = bind_shapes(loaded.module, inputs)
        self._binding: InputBinding = binding
        self.info: ModelInfo = loaded.info
        self.specs: tuple[InputSpec, ...] = binding.specs
        self.watch = loaded.watch
        self.random_weights = loaded.random_weights
        self.guessed_inputs = loaded.guessed_inputs and not inputs
        self._meta = _Runnable(loaded.module)
        self._real: _Runnable | None = None
        self._kept = KeptAnalyses()
        self._zeros: dict[str, int] | None = None

    def kept(self, configuration: Configuration) -> Analysis | None:
        """The result if it is known already."""
        analysis = self._kept.get(configuration)
        if analysis is None:
            return None
        if self._zeros is not None and analysis.weight_uses is not None:
            analysis = with_zeros(analysis, self._zeros)
            self._kept.put(configuration, analysis)
        return analysis

    @property
    def counts_zeros(self) -> bool:
        """Whether the weights have values that can be looked at: not where they are random."""
        return self._loaded.count_zeros is not None

    @property
    def zeros(self) -> dict[str, int] | None:
        """Zeros of each parameter under all its names; None while they are not counted."""
        return self._zeros

    def count_zeros(self, stop: Event) -> Iterator[None]:
        """Count the zeros in the weights, a short step at a time; from the end on, results carry them.

        Raises NotEnoughMemoryError where it takes more than is free, and what the loader raises: EngineError
        subclasses, CancelledError soon after ``stop`` is set.
        """
        if self._loaded.count_zeros is None:
            return
        if self._loaded.counting_builds:
            require(Need(self.weight_bytes), self.info.name)
        with self._world():
            counting = self._loaded.count_zeros(stop)
        found: dict[str, int] = {}
        while True:
            with self._world():
                step = next(counting, None)
            if step is None:
                break
            name, zeros = step
            if name:
                found[name] = zeros
            yield
        for names in self._meta.aliases:
            counted = next((found[name] for name in names if name in found), None)
            if counted is not None:
                found.update(dict.fromkeys(names, counted))
        self._zeros = found

    def _world(self) -> AbstractContextManager[object]:
        """Where the model's own imports work."""
        return self._loaded.world.active() if self._loaded.world is not None else nullcontext()

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
        shapes = self._binding.complete(configuration.inputs)
        configuration = msgspec.structs.replace(configuration, inputs=shapes)
        known = self.kept(configuration) if fast else None
        if known is not None:
            return known
        # Always in this order and from the same state: what was analysed before must not decide how this is.
        mode: TraceMode = "meta"
        runnable, result = self._trace(mode, configuration, stop, progress, fast)
        while result.failure is not None and mode != "cpu" and _way_cannot_go_on(result):
            log.info("Tracing on %s stopped: %s", mode, result.failure.message)
            mode = "fake" if mode == "meta" else "cpu"
            if mode == "cpu" and not configuration.allow_real_run:
                raise self._real_run_required(result)
            runnable, result = self._trace(mode, configuration, stop, progress, fast)
        if result.failure is None and not result.rows and runnable.parameters.params:
            raise UnsupportedModelError(
                f"{self.info.name}'s forward() executed no operation that could be recorded.",
                hint="Work in other threads and in generators that forward() returns is not seen.",
            )
        remade = runnable.remade if self.counts_zeros else None
        analysis = build_analysis(
            self.info, configuration, mode, result, runnable.parameters, runnable.columns, remade
        )
        if self._zeros is not None:
            analysis = with_zeros(analysis, self._zeros)
        if result.failure is not None:
            raise FailedAnalysisError(result.failure, analysis) from result.failure
        if fast:
            self._kept.put(configuration, analysis)
        return analysis

    @property
    def weight_bytes(self) -> int:
        """Bytes of the open model's parameters and buffers, edits as last applied: what building it allocates."""
        return self._meta.parameters.weight_bytes + self._meta.parameters.buffer_bytes

    def weight_bytes_of(self, configuration: Configuration) -> int:
        """As weight_bytes: the open model has the edits that were analysed last."""
        return self.weight_bytes

    @property
    def has_real_weights(self) -> bool:
        """Whether the weights are allocated already."""
        return self._real is not None

    @contextmanager
    def real(self, configuration: Configuration) -> Iterator[RealModel]:
        """The model with allocated weights and seeded inputs at ``configuration``, inside the model's import world.

        Allocates the weights at the first use. Afterwards the modules are in the state the model was opened in.
        Raises InputError for a configuration that does not fit, and for one that memory cannot hold: before anything
        is built, or out of the body where the estimate was too low.
        """
        shapes = self._binding.complete(configuration.inputs)
        check_memory(self, msgspec.structs.replace(configuration, inputs=shapes))
        with memory_errors(self.info.name):
            runnable = self._runnable("cpu", configuration)
        with self._world(), memory_errors(self.info.name):
            try:
                args, kwargs = self._binding.arguments(shapes, _make_real)
                yield RealModel(runnable.model.module, args, kwargs, runnable.target, runnable.state)
            finally:
                runnable.state.restore()

    # -- the three ways to trace ---------------------------------------------------------------------------------

    def _trace(
        self,
        mode: TraceMode,
        configuration: Configuration,
        stop: Event | None,
        progress: Callable[[int], None] | None,
        fast: bool,
    ) -> tuple[_Runnable, Trace]:
        """One forward pass; the modules are afterwards in the state in which the model was opened."""
        runnable = self._runnable(mode, configuration)
        with self._world(), FakeTensorMode(allow_non_fake_inputs=True) if mode == "fake" else nullcontext():
            try:
                target = runnable.target
                if mode == "fake":
                    target = _fake_target(runnable)
                args, kwargs = self._binding.arguments(configuration.inputs, _MAKERS[mode])
                result = trace(
                    target,
                    args,
                    kwargs,
                    fast=fast and mode == "meta",
                    on_meta=mode == "meta",
                    weigh=self.counts_zeros,
                    assumptions=None if mode == "cpu" else dict(configuration.assumptions),
                    stop=stop,
                    progress=progress,
                )
            finally:
                runnable.state.restore()
        return runnable, result

    def _runnable(self, mode: TraceMode, configuration: Configuration) -> _Runnable:
        if configuration.edits and self.info.no_edits:
            raise InputError(self.info.no_edits)
        runnable = self._meta
        if mode == "cpu":
            if self._real is None:
                self._real = _Runnable(self._build_real())
            elif self._loaded.check is not None:
                self._loaded.check()
            runnable = self._real
        runnable.apply(configuration.edits)
        return runnable

    def _build_real(self) -> nn.Module:
        """The model with allocated weights, the same ones in every process. Raises EngineError subclasses."""
        name = self.info.name
        require(Need(self.weight_bytes), name)
        try:
            # Other devices have random states too, but asking for them starts the devices.
            with self._world(), memory_errors(name), torch.random.fork_rng(devices=()):
                torch.default_generator.manual_seed(0)
                return self._loaded.build_real().eval()
        except EngineError:
            raise
        except (Exception, SystemExit) as error:
            raise LoadError(
                f"Building {name} with its weights raised {type(error).__name__}: {first_sentence(error)}",
                hint=network_hint(error) or "Its analysis needs no weights and goes on without them.",
            ) from error

    def _real_run_required(self, failed: Trace) -> RealRunRequiredError:
        weights = self.weight_bytes
        free = free_bytes()
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


def _make_meta(shape: Shape, dtype: torch.dtype) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def _make_real(shape: Shape, dtype: torch.dtype) -> Tensor:
    """Standard normal values; integers are 0, a valid index everywhere."""
    if dtype.is_floating_point or dtype.is_complex:
        return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(0))
    return torch.zeros(shape, dtype=dtype)


def _make_fake(shape: Shape, dtype: torch.dtype) -> Tensor:
    """Inside a FakeTensorMode: a tensor that knows it is on the CPU, so models that ask or mix in constants work."""
    return torch.empty(shape, dtype=dtype, device="cpu")


_MAKERS: dict[TraceMode, Callable[[Shape, torch.dtype], Tensor]] = {
    "meta": _make_meta,
    "fake": _make_fake,
    "cpu": _make_real,
}


def _fake_target(runnable: _Runnable) -> Target:
    """The module with fake weights in place of those on meta; ``runnable.state.restore()`` puts these back."""
    refs: dict[int, ParameterRef] = {}
    kept: list[Tensor] = []

    def make(tensor: Tensor) -> Tensor:
        fake: Tensor = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
        if isinstance(tensor, nn.Parameter):
            fake = nn.Parameter(fake, requires_grad=tensor.requires_grad)
        kept.append(fake)
        ref = runnable.target.refs.get(id(tensor))
        if ref is not None:
            refs[id(fake)] = ref
        return fake

    module = runnable.model.module
    replace_tensors(module, make)
    return Target(module, refs)


def _way_cannot_go_on(result: Trace) -> bool:
    """Whether this way of tracing is at its end, rather than the model refusing the input."""
    cause = result.cause
    if isinstance(cause, (DataDependentOutputException, DynamicOutputShapeException)):
        return True
    if isinstance(cause, NotImplementedError) and result.in_operation:
        return True
    text = str(cause)
    return any(part in text for part in META_LIMITS)
