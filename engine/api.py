"""The engine as one Python call: ``engine.analyze(module_or_source, inputs=…, edits=…) -> Report``.

Torch is imported for what needs it: not for an ONNX file.
"""

from __future__ import annotations

import contextlib
import operator
import sys
from collections.abc import Callable, Mapping, Sequence
from threading import Event
from typing import TYPE_CHECKING, Any, SupportsIndex, TypeAlias

import numpy

from engine.configuration import Configuration
from engine.edits import Edit
from engine.errors import EngineError, InputError
from engine.export.report import Report
from engine.graph import InputShape
from engine.guard import NotEnoughMemoryError
from engine.loaders.options import LoadOptions
from engine.measurement import Latency, RuntimeOptions, Tier
from engine.open_model import FailedAnalysisError, OpenModel
from engine.opening import open_model
from engine.results import Analysis, with_latency
from engine.sparsity import with_zeros

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    Given: TypeAlias = Tensor | NDArray[Any]
    Inputs: TypeAlias = (
        Given | Sequence[int] | Sequence[Given] | Sequence[InputShape] | Mapping[str, Sequence[int] | Given]
    )

MOST_LOOKED_AT = 2 * 2**30
"""Bytes of weights in files that are read to count the zeros in them without being asked to: a second or two."""
LIVE_DETAILS_S = 0.2
"""A forward pass that takes longer is measured as a whole only, in the tier ``live``."""


def analyze(
    model: nn.Module | str,
    inputs: Inputs = (),
    edits: Sequence[Edit] = (),
    *,
    assumptions: Mapping[str, int] | None = None,
    trust: bool = False,
    allow_real_run: bool = False,
    latency: str = "",
    threads: int = 0,
    tier: Tier = "settled",
    runtime: RuntimeOptions = RuntimeOptions(),  # noqa: B008  frozen
    zeros: bool = False,
) -> Report:
    """All costs of ``model`` at ``inputs`` with ``edits`` applied.

    ``model`` is a source (``"torchvision:resnet50"``, ``"net.onnx"``, ``"net.py:build"``) or a module in memory, which
    stays as it is. ``inputs``: one shape ``(1, 3, 224, 224)``, one tensor or array or a sequence of them (the
    positional arguments of forward), a mapping from input name to shape or tensor, or InputShapes. Left out: the
    source's own default.
    Where the weights have values, zeros in them are counted too: ``report.totals.sparsity``, ``nonzero_macs``; of more
    than 2 GiB in files only with ``zeros``.
    ``assumptions`` set data-dependent sizes by key. ``trust`` is the consent to run the source's code.
    ``latency="cpu"`` measures as well, in this process, with ``threads`` (0: the framework's default) and as thoroughly
    as ``tier`` says, an ONNX model with the ``runtime`` options; with edits also in alternation with the unedited
    model. It takes seconds, and real weights.
    Raises EngineError subclasses with one clear sentence.
    """
    check_device(latency)
    session = open_session(model, inputs, trust=trust)

    def analyzed(edits: tuple[Edit, ...]) -> Analysis:
        return analyze_columns(
            session, inputs, edits, assumptions=assumptions, allow_real_run=allow_real_run, zeros=zeros
        )

    analysis = analyzed(tuple(edits))
    if latency:
        baseline = None
        if edits:
            # An unedited model that refuses this input is nothing to compare with.
            with contextlib.suppress(EngineError):
                baseline = analyzed(()).configuration
        analysis = measure_columns(
            session, analysis, against=baseline, threads=threads, tier=tier, runtime=runtime
        )
    return Report.from_analysis(analysis)


def check_device(latency: str) -> None:
    """Raises InputError for a device that this version does not measure on; empty means not to measure."""
    if latency and latency != "cpu":
        raise InputError(
            f"Latency on {latency!r} cannot be measured: this version measures on the CPU.", hint="Write cpu."
        )


def measure_columns(
    session: OpenModel,
    analysis: Analysis,
    *,
    against: Configuration | None = None,
    threads: int = 0,
    tier: Tier = "settled",
    progress: Callable[[str], None] = lambda what: None,
    stop: Event | None = None,
    runtime: RuntimeOptions = RuntimeOptions(),  # noqa: B008  frozen
) -> Analysis:
    """``analysis`` with its latency, its layers' times and its memory measured in this process.

    ``against`` is timed in alternation with it. Of a slow model the tier ``live`` measures the whole forward pass only:
    the layers, the memory and the comparison take dozens more. ``progress`` gets what is being done.
    Raises EngineError subclasses, CancelledError soon after ``stop`` is set.
    """
    # Whoever only counts should not wait for it.
    from engine import latency

    stop = stop or Event()
    configuration, name = analysis.configuration, session.info.name
    progress(f"Measuring {name}")
    measurement = latency.measure(
        session, configuration, tier, threads, stop=stop, progress=progress, runtime=runtime
    )
    if tier == "live" and measurement.median_s > LIVE_DETAILS_S:
        return with_latency(analysis, Latency(measurement))
    progress(f"Timing the layers of {name}")
    layers = latency.layer_times(session, configuration, threads, stop, runtime)
    progress(f"Reading the memory of {name}")
    memory = latency.memory_readings(session, configuration, threads, stop, runtime)
    comparison = None
    if against is not None:
        progress(f"Comparing {name} with the unedited model")
        best = measurement.reference_best_s
        comparison = latency.compare(
            session, configuration, against, threads, stop=stop, reference_best_s=best, runtime=runtime
        )
    return with_latency(analysis, Latency(measurement, layers, memory, comparison))


def open_session(model: nn.Module | str, inputs: Inputs = (), *, trust: bool = False) -> OpenModel:
    """A session on ``model``; ``inputs`` help where it does not say what its inputs are."""
    if isinstance(model, str):
        return open_model(model, LoadOptions(trust=trust), input_shapes(inputs))
    from engine.in_memory import in_memory
    from engine.session import Session

    shapes = input_shapes(inputs)
    return Session(in_memory(model, inputs), shapes)


def analyze_columns(
    session: OpenModel,
    inputs: Inputs = (),
    edits: tuple[Edit, ...] = (),
    *,
    assumptions: Mapping[str, int] | None = None,
    allow_real_run: bool = False,
    zeros: bool = False,
) -> Analysis:
    """Like ``analyze`` on an open session, with the result in columns: also what zeros in its weights would save.

    ``zeros``: however much there is to read for that.

    Raises the LayerError of a failed forward.
    """
    configuration = Configuration(
        inputs=session.complete(input_shapes(inputs)),
        edits=session.by_path(edits),
        assumptions=tuple(sorted((assumptions or {}).items())),
        allow_real_run=allow_real_run,
    )
    try:
        analysis = session.analyze(configuration)
    except FailedAnalysisError as failed:
        raise failed.error from failed.error.__cause__
    _check_assumptions(session.info.name, analysis, assumptions or {})
    if session.counts_zeros and session.zeros is None and (zeros or _is_soon_read(session, configuration)):
        # Without room for the weights there is all the rest.
        with contextlib.suppress(NotEnoughMemoryError):
            for _ in session.count_zeros(Event()):
                pass
    return analysis if session.zeros is None else with_zeros(analysis, session.zeros)


def _check_assumptions(name: str, analysis: Analysis, given: Mapping[str, int]) -> None:
    """Raises InputError for one that ``analysis`` did not make, or not with the value that was given."""
    made = {assumption.key: assumption for assumption in analysis.assumptions}
    unknown = sorted(given.keys() - made.keys())
    if unknown:
        known = f"It has: {', '.join(sorted(made))}." if made else "No size of it depends on data."
        raise InputError(f"{name} assumes nothing called {unknown[0]!r}.", hint=known)
    for key, value in given.items():
        least, most = made[key].minimum, made[key].maximum
        if not least <= value <= most:
            raise InputError(
                f"{name}: the assumption {key} = {value:,} is not between {least:,} and {most:,}.",
                hint=f"It is: {made[key].label}.",
            )


def _is_soon_read(session: OpenModel, configuration: Configuration) -> bool:
    """Whether its weights are few, or in memory."""
    return session.info.format == "module" or session.weight_bytes_of(configuration) <= MOST_LOOKED_AT


def input_shapes(inputs: Inputs) -> tuple[InputShape, ...]:
    """Any accepted form of inputs as InputShapes; names are empty where none was given."""
    if _is_tensor(inputs):
        return (_shape_of("", inputs),)
    if isinstance(inputs, Mapping):
        return tuple(_shape_of(name, value) for name, value in inputs.items())
    items: list[Any] = list(inputs)
    if items and all(isinstance(item, SupportsIndex) and not _is_tensor(item) for item in items):
        items = [operator.index(item) for item in items]
        return (InputShape("", tuple(items), ""),)
    return tuple(item if isinstance(item, InputShape) else _shape_of("", item) for item in items)


def _is_tensor(value: object) -> bool:
    """Whether it is a tensor or an array; torch has not been imported where nobody has a tensor."""
    torch = sys.modules.get("torch")
    return isinstance(value, numpy.ndarray) or (torch is not None and isinstance(value, torch.Tensor))


def _shape_of(name: str, value: Any) -> InputShape:
    if _is_tensor(value):
        return InputShape(name, tuple(value.shape), str(value.dtype).removeprefix("torch."))
    try:
        return InputShape(name, tuple(operator.index(size) for size in value), "")
    except (TypeError, ValueError) as error:
        raise InputError(
            f"Input {name!r} is {value!r}, which is no shape and no tensor.", hint="Give (1, 3, 224, 224)."
        ) from error
