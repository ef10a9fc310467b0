"""What will not fit into memory is refused before it is built, with the numbers; what is misjudged ends in an error.

The estimate is weights + 1.5 × the analytic activation peak + inputs. The factor is for what the framework's kernels
hold beyond live tensors: reordered copies and scratch, 1.1 to 1.5 × the peak for convolutional networks.
"""

from __future__ import annotations

import logging
import math
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
from msgspec import Struct

from engine import cgroup
from engine.configuration import Configuration
from engine.errors import EngineError, InputError, is_out_of_memory
from engine.graph import DTYPE_BYTES, elements
from engine.open_model import FailedAnalysisError, OpenModel
from engine.results import Totals

log = logging.getLogger(__name__)

ACTIVATION_MARGIN = 1.5
SMALL_PART = 1000
"""What is less than this part of a need is not named."""
RESERVE = 256 * 2**20
"""Left to the rest of the system."""
STACK_SPACE, ARENA_SPACE = 8 * 2**20, 128 * 2**20
"""Address space that a thread reserves without using it: its stack, and a malloc arena."""
ARENAS_PER_CORE = 8
"""glibc makes no more arenas than that; further threads share them."""
GPU_DRIVERS = ("/dev/nvidiactl", "/dev/kfd")
"""What is there on Linux where the driver of a GPU is."""
WATCH_EVERY_S = 0.2
OUT_OF_MEMORY = 86
"""Exit status of a process that its watchdog ended."""
_ADVICE = "Close other programs, make the input or the batch smaller, or take a smaller variant."


class NotEnoughMemoryError(InputError):
    """It would not fit, or did not."""


class Need(Struct, frozen=True):
    """Bytes that a forward pass takes beyond what the process holds already."""

    weights: int
    """Buffers included; 0 when they are allocated already."""
    activations: int = 0
    """With the margin."""
    inputs: int = 0

    @property
    def total(self) -> int:
        return self.weights + self.activations + self.inputs


def free_bytes() -> int:
    """Bytes that can still be allocated: what the system has available, or less in a limited control group."""
    available = int(psutil.virtual_memory().available)
    left = cgroup.memory_left()
    return available if left is None else min(available, left)


def check_memory(
    session: OpenModel, configuration: Configuration, stop: threading.Event | None = None
) -> None:
    """Raises NotEnoughMemoryError when running ``configuration`` for real needs more than is free.

    Nothing is built for this: the peak comes from the analysis, which raises for what it cannot trace, and
    CancelledError when ``stop`` is set. Where only a real run could, it asks for the weights itself before it builds
    them.
    """
    try:
        totals = session.analyze(configuration, stop=stop).totals
    except FailedAnalysisError as failed:
        raise failed.error from failed.error.__cause__
    require(need_of(session, configuration, totals), session.info.name)


def need_of(session: OpenModel, configuration: Configuration, totals: Totals) -> Need:
    """What running ``configuration`` needs, by its analysed ``totals``."""
    weights = 0 if session.has_real_weights else session.weight_bytes_of(configuration)
    inputs = sum(elements(each.shape) * DTYPE_BYTES.get(each.dtype, 1) for each in configuration.inputs)
    return Need(weights, math.ceil(ACTIVATION_MARGIN * totals.peak_activation_bytes), inputs)


def require(need: Need, name: str) -> None:
    """Raises NotEnoughMemoryError, with the numbers, when ``need`` is more than is free; ``name`` is the model's."""
    free = free_bytes()
    if need.total <= free:
        return
    parts = [
        f"{_amount(size)} {what}"
        for size, what in (
            (need.weights, "weights"),
            (need.activations, "activations"),
            (need.inputs, "inputs"),
        )
        if size > need.total / SMALL_PART
    ]
    what = f" ({' + '.join(parts)})" if len(parts) > 1 else f" for the {parts[0].rpartition(' ')[2]} alone"
    raise NotEnoughMemoryError(
        f"Running {name} needs {_amount(need.total)}{what}; {_amount(free)} are free.", hint=_ADVICE
    )


def _amount(size: int) -> str:
    if size >= 0.95 * 2**30:
        return f"{size / 2**30:.1f} GiB"
    return f"{size / 2**20:.0f} MiB" if size >= 10 * 2**20 else f"{size / 2**10:.0f} KiB"


@contextmanager
def memory_errors(name: str) -> Iterator[None]:
    """Turns an allocation that failed inside into NotEnoughMemoryError; ``name`` is the model's."""
    try:
        yield
    except EngineError:
        raise
    except (MemoryError, RuntimeError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        raise NotEnoughMemoryError(
            f"{name} needed more memory than there is; {_amount(free_bytes())} are free.", hint=_ADVICE
        ) from error


@contextmanager
def limited_memory(threads: int = 0, *, may_use_gpu: bool = False) -> Iterator[None]:
    """While this is open, an allocation that does not fit into what is free now fails in this process alone.

    On Linux the address space is limited, so that torch raises a RuntimeError where the kernel would kill some process;
    elsewhere a thread ends this process when its resident memory grows too large. ``threads`` will be started.
    ``may_use_gpu``: what runs may start a GPU's driver, which reserves more address space than there is memory.
    """
    if sys.platform != "linux" or (may_use_gpu and any(map(os.path.exists, GPU_DRIVERS))):
        done = threading.Event()
        _watch(_resident() + max(free_bytes() - RESERVE, RESERVE), done)
        try:
            yield
        finally:
            done.set()
        return
    # The module exists on POSIX systems only.
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    _limit_address_space(threads)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _limit_address_space(threads: int) -> None:
    import resource

    cores = os.cpu_count() or 1
    threads = max(threads, cores)
    reserved = threads * STACK_SPACE + min(threads, ARENAS_PER_CORE * cores) * ARENA_SPACE
    most = int(psutil.Process().memory_info().vms) + max(free_bytes() - RESERVE, RESERVE) + reserved
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    for known in (soft, hard):
        if known != resource.RLIM_INFINITY:
            most = min(most, known)
    try:
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    except (OSError, ValueError) as error:
        log.info("No limit on memory: %s", error)


def _watch(most: int, done: threading.Event) -> threading.Thread:
    """A thread that ends this process when its resident memory passes ``most`` before ``done`` is set."""

    def watch() -> None:
        while _resident() <= most:
            if done.wait(WATCH_EVERY_S):
                return
        sys.stderr.write(
            f"The model needed more memory than there is: {_amount(most)} for this process. {_ADVICE}\n"
        )
        sys.stderr.flush()
        os._exit(OUT_OF_MEMORY)

    thread = threading.Thread(target=watch, name="memory watchdog", daemon=True)
    thread.start()
    return thread


def _resident() -> int:
    return int(psutil.Process().memory_info().rss)
