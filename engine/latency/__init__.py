"""What a model really costs on this machine: end-to-end times, layers, operations, memory, one state against another.

Everything here needs allocated weights and runs in the process that calls it; nothing else should run there.
"""

from __future__ import annotations

from engine.latency.backend import default_threads
from engine.latency.run import compare, layer_times, measure, memory_readings, op_times

__all__ = ["compare", "default_threads", "layer_times", "measure", "memory_readings", "op_times"]
