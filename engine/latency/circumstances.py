"""What a measurement holds for: the machine, the settings, the moment; and what about them spoils it.

What cannot be read says so, with the reason. No host and no user names: reports are passed on.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import psutil

from engine import cgroup
from engine.latency.backend import Framework
from engine.measurement import Circumstances, Flag

_INSTRUCTION_SETS = {
    "AVX2": ("avx2",),
    "AVX-512": ("avx512_f", "avx512f"),
    "VNNI": ("avx512_vnni", "avx_vnni"),
    "BF16": ("avx512_bf16", "bf16"),
    "AMX": ("amx_tile", "amx_bf16", "amx_int8"),
    "NEON": ("neon", "asimd"),
    "SVE": ("sve",),
}
"""What decides which kernels run: name → the words of frameworks and of the system's kernel that mean it."""
_ENVIRONMENT = ("OMP_", "KMP_", "MKL_", "GOMP_", "ONEDNN_", "DNNL_", "ATEN_CPU_CAPABILITY")
"""Variables that change how threads wait, where they run and which kernels are taken."""
_CPU0 = Path("/sys/devices/system/cpu/cpu0/cpufreq")
_UNTOLD = "n/a (the system does not tell)"


def circumstances(settings: Mapping[str, str], framework: Framework) -> Circumstances:
    """The circumstances of a measurement that starts now; ``settings`` are those the caller chose, label → text."""
    known, chosen = machine(framework), {**settings, **_surroundings()}
    return Circumstances(
        machine=known,
        settings=chosen,
        load=_load(),
        utc=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        fingerprint=fingerprint(known, chosen),
    )


def fingerprint(machine: Mapping[str, str], settings: Mapping[str, str]) -> str:
    """Twelve hexadecimal digits; equal ones mean the same machine and settings."""
    text = json.dumps([dict(machine), dict(settings)], sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:12]


def machine_flags(threads: int) -> tuple[Flag, ...]:
    """What is wrong before a measurement with ``threads`` threads has begun."""
    flags = []
    cores = allowed_cores()
    if threads > cores:
        flags.append(
            Flag(
                "oversubscribed", f"{threads} threads on {cores} core{'s' if cores > 1 else ''}", severe=True
            )
        )
    battery = _battery()
    if battery is not None:
        flags.append(Flag("battery", battery))
    return tuple(flags)


def allowed_cores() -> int:
    """Cores this process may run on: its affinity, and a control group's quota rounded up."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroup.cpu_quota()
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def physical_cores() -> int:
    """Of the cores this process may run on, those that are no second thread of another, as far as the system tells."""
    return min(psutil.cpu_count(logical=False) or allowed_cores(), allowed_cores())


def machine(framework: Framework) -> dict[str, str]:
    """What does not change while the process runs: processor, memory, operating system, versions; label → text."""
    facts = dict(_hardware())
    told = framework.capabilities
    if facts["CPU"] == _UNTOLD and told.get("cpu_name"):
        facts["CPU"] = str(told["cpu_name"])
    facts["Instruction sets"] = ", ".join(_instruction_sets(told)) or _UNTOLD
    return facts | framework.facts


@lru_cache(maxsize=1)
def _hardware() -> Mapping[str, str]:
    logical, physical = os.cpu_count() or 1, psutil.cpu_count(logical=False)
    cores = f"{allowed_cores()} of {logical} logical"
    if physical:
        cores += f" ({physical} physical)"
    hypervisor = _virtual()
    return {
        "CPU": _cpu_name(),
        "Instruction sets": "",
        "Cores allowed": cores,
        "Virtual machine": hypervisor,
        "Frequency": _frequency(hypervisor.startswith("yes")),
        "RAM": f"{psutil.virtual_memory().total / 2**30:.1f} GiB",
        "Operating system": f"{platform.system()} {platform.release()} {platform.machine()}".strip(),
        "Python": platform.python_version(),
    }


def _cpu_name() -> str:
    found = ""
    if sys.platform == "linux":
        found = _cpuinfo("model name")
    elif sys.platform == "darwin":
        found = _sysctl("machdep.cpu.brand_string")
    return " ".join((found or platform.processor()).split()) or _UNTOLD


def _instruction_sets(capabilities: Mapping[str, object]) -> list[str]:
    flags = set(_cpuinfo("flags", "Features").split()) if sys.platform == "linux" else set()
    flags |= {key for key, value in capabilities.items() if value is True}
    return [name for name, keys in _INSTRUCTION_SETS.items() if flags.intersection(keys)]


def _virtual() -> str:
    """Whether a hypervisor says that it is there."""
    if sys.platform == "linux":
        flags = _cpuinfo("flags").split()
        if flags:
            return "yes" if "hypervisor" in flags else "no"
    elif sys.platform == "darwin":
        told = _sysctl("kern.hv_vmm_present")
        if told:
            return "yes" if told == "1" else "no"
    return _UNTOLD


def _frequency(virtual: bool) -> str:
    """Governor and highest frequency; the present one changes all the time and is no fact about the machine."""
    words = []
    governor = _text(_CPU0 / "scaling_governor")
    if governor:
        words.append(f"governor {governor}")
    try:
        most = psutil.cpu_freq()
    except (OSError, RuntimeError, NotImplementedError):
        most = None
    if most is not None and most.max:
        words.append(f"up to {most.max / 1000:.2f} GHz")
    return ", ".join(words) or ("n/a (VM)" if virtual else _UNTOLD)


def _surroundings() -> dict[str, str]:
    """Settings that nobody passes: the environment's."""
    settings = {"Affinity": _affinity()}
    for name in sorted(os.environ):
        if name.startswith(_ENVIRONMENT):
            settings[name] = os.environ[name]
    return settings


def _affinity() -> str:
    if not hasattr(os, "sched_getaffinity"):
        return _UNTOLD
    cores = sorted(os.sched_getaffinity(0))
    return "all cores" if len(cores) == os.cpu_count() else "cores " + ", ".join(map(str, cores))


def _load() -> tuple[float, ...]:
    try:
        return tuple(round(value, 2) for value in os.getloadavg())
    except (AttributeError, OSError):
        return ()


def _battery() -> str | None:
    """How full the battery is that the machine runs on; None on mains power and where nothing is known."""
    read = getattr(psutil, "sensors_battery", None)
    if read is None:
        return None
    try:
        battery = read()
    except (OSError, RuntimeError, NotImplementedError):
        return None
    if battery is None or battery.power_plugged is not False:
        return None
    return f"running on the battery, {battery.percent:.0f} % left"


def _cpuinfo(*keys: str) -> str:
    """The first processor's value of the first of ``keys`` that is there."""
    for line in _text(Path("/proc/cpuinfo")).splitlines():
        key, _, value = line.partition(":")
        if key.strip() in keys:
            return value.strip()
    return ""


def _sysctl(name: str) -> str:
    try:
        done = subprocess.run(["sysctl", "-n", name], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8", "replace").strip()
    except OSError:
        return ""
