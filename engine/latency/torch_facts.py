"""What torch tells of itself and of the processor."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from importlib import metadata

import torch

from engine.latency.backend import Framework


@lru_cache(maxsize=1)
def framework() -> Framework:
    """Versions, and the libraries that compute."""
    facts = {
        "Kernels of torch": str(torch.backends.cpu.get_cpu_capability()),
        "torch": str(torch.__version__),
    }
    try:
        facts["torchvision"] = metadata.version("torchvision")
    except metadata.PackageNotFoundError:
        facts["torchvision"] = "n/a (not installed)"
    return Framework(facts | _libraries(), _capabilities())


def _capabilities() -> Mapping[str, object]:
    """What torch found out about the processor; empty in a torch that does not say."""
    read = getattr(torch.cpu, "get_capabilities", None)
    return dict(read()) if read is not None else {}


def _libraries() -> dict[str, str]:
    """Versions of the libraries that compute, out of torch's own description of itself."""
    text = torch.__config__.show()
    onednn = re.search(r"MKL-DNN v([\w.]+)", text)
    mkl = re.search(r"Math Kernel Library Version ([\w.]+)", text)
    return {
        "oneDNN": onednn[1] if onednn else "n/a (not in this torch)",
        "MKL": mkl[1] if mkl else "n/a (not in this torch)",
    }
