"""onnxruntime, imported with its telemetry off: official Linux builds from 1.29 on send file and graph names."""

from __future__ import annotations

import os
from functools import lru_cache
from types import ModuleType

from engine.errors import UnsupportedModelError


@lru_cache(1)
def onnxruntime() -> ModuleType:
    """The module. Raises UnsupportedModelError where it cannot be imported."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        import onnxruntime as module
    except (ImportError, OSError) as error:
        raise UnsupportedModelError(
            f"onnxruntime cannot be imported: {error}", hint="Install it: pip install onnxruntime."
        ) from error
    module.disable_telemetry_events()
    module.set_default_logger_severity(3)
    loaded: ModuleType = module
    return loaded
