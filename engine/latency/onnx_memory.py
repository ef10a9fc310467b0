"""Peak memory of one run of an ONNX model: what its arena handed out, and the growth of the process."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Event
from typing import TYPE_CHECKING

from engine.configuration import Configuration
from engine.latency.collector import no_collection
from engine.latency.onnx_profiled import fresh, profiled, untimed
from engine.latency.process_memory import process_growth
from engine.measurement import MemoryReadings
from engine.onnx.profile import KernelRun

if TYPE_CHECKING:
    from engine.latency.onnx_backend import OnnxBackend


def memory_readings(backend: OnnxBackend, configuration: Configuration, stop: Event) -> MemoryReadings:
    """Of the first run of a session: afterwards its arena keeps what it has. Raises as OnnxBackend.layer_times does."""
    analysis = backend.session.analyze(configuration, stop=stop)
    analytic = analysis.totals.peak_activation_bytes
    reasons: list[str] = []
    why = untimed(backend.device, analysis.layers)
    if why:
        reasons.append(f"allocator peak: {why}")
        with no_collection(), fresh(backend, configuration, stop) as unprofiled:
            process = process_growth(unprofiled.forward, reasons)
        return MemoryReadings(configuration, analytic, None, process, tuple(reasons))
    with no_collection(), profiled(backend, configuration, stop) as profile:
        # Later runs take one block for all, planned from what this one asked for.
        process = process_growth(profile.forward, reasons)
        if process is None:
            profile.forward()
        runs = profile.end(stop)
        arena = arena_peak(runs[0].kernels if runs else (), reasons)
    return MemoryReadings(configuration, analytic, arena, process, tuple(reasons))


def arena_peak(kernels: Sequence[KernelRun], reasons: list[str]) -> int | None:
    """Most bytes that the arena handed out during a run, beyond what it had handed out before: weights stay out.

    Scratch that a kernel gives back before it ends shows only where it makes a new peak of the arena's life.
    """
    first = kernels[0] if kernels else None
    if first is None or first.in_use_before is None:
        reasons.append("allocator peak: this onnxruntime's profile does not tell")
        return None
    most, peak = first.in_use_before, first.in_use_peak
    for kernel in kernels:
        most = max(most, kernel.in_use or 0)
        if kernel.in_use_peak is not None and peak is not None and kernel.in_use_peak > peak:
            most = max(most, kernel.in_use_peak)
    return most - first.in_use_before
