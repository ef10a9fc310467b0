"""Circumstances: what a measurement holds for, on any system, and what spoils it beforehand."""

from __future__ import annotations

import datetime
import getpass
import json
import os
import platform
import sys
from types import SimpleNamespace

import msgspec
import psutil
import pytest
import torch

from engine import cgroup
from engine.latency import circumstances as module
from engine.latency import torch_facts
from engine.latency.backend import Framework
from engine.latency.circumstances import allowed_cores, fingerprint, machine_flags
from engine.measurement import Circumstances

SILENT = Framework({})


def circumstances(settings: dict[str, str], framework: Framework | None = None) -> Circumstances:
    return module.circumstances(settings, framework or torch_facts.framework())


@pytest.fixture(autouse=True)
def _fresh() -> None:
    module._hardware.cache_clear()


def test_everything_asked_for_is_there() -> None:
    taken = circumstances({"Threads": "2", "Denormals": "kept"})
    assert set(taken.machine) == {
        "CPU", "Instruction sets", "Kernels of torch", "Cores allowed", "Virtual machine", "Frequency", "RAM",
        "Operating system", "Python", "torch", "torchvision", "oneDNN", "MKL",
    }  # fmt: skip
    assert all(taken.machine.values())
    assert taken.machine["torch"] == torch.__version__
    assert taken.machine["Operating system"].startswith(platform.system())
    assert {"Threads", "Denormals", "Affinity"} <= set(taken.settings)
    assert len(taken.fingerprint) == 12
    age = datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(taken.utc)
    assert datetime.timedelta(-1) < age < datetime.timedelta(minutes=5)
    assert len(taken.load) in (0, 3)


def test_thread_variables_are_recorded_and_change_the_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    before = circumstances({})
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    after = circumstances({})
    assert after.settings["OMP_WAIT_POLICY"] == "PASSIVE"
    assert before.fingerprint != after.fingerprint
    assert circumstances({}).fingerprint == after.fingerprint
    assert circumstances({"Threads": "1"}).fingerprint != after.fingerprint


def test_the_moment_is_no_part_of_the_fingerprint() -> None:
    assert fingerprint({"CPU": "a"}, {"Seed": "0"}) == fingerprint({"CPU": "a"}, {"Seed": "0"})
    assert fingerprint({"CPU": "a"}, {}) != fingerprint({}, {"CPU": "a"})


def test_no_host_and_no_user_name() -> None:
    words = set(
        json.dumps(msgspec.to_builtins(circumstances({}))).replace('"', " ").replace(",", " ").split()
    )
    assert platform.node() not in words - {"Linux"}
    assert getpass.getuser() not in words


@pytest.mark.parametrize("system", ["linux", "darwin", "win32"])
def test_what_cannot_be_read_says_so(monkeypatch: pytest.MonkeyPatch, system: str) -> None:
    """A system that tells nothing: no files, no commands, no sensors, an older torch."""
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(module, "_text", lambda file: "")
    monkeypatch.setattr(module, "_sysctl", lambda name: "")
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(psutil, "cpu_freq", lambda: None)
    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: None)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.delattr(os, "getloadavg", raising=False)
    taken = circumstances({}, SILENT)
    for label in ("CPU", "Instruction sets", "Virtual machine", "Frequency"):
        assert taken.machine[label] == "n/a (the system does not tell)"
    assert taken.load == ()
    assert taken.settings["Affinity"] == "n/a (the system does not tell)"


def test_a_mac_is_read_by_sysctl(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"machdep.cpu.brand_string": "Apple M3", "kern.hv_vmm_present": "0"}
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(module, "_sysctl", lambda name: told.get(name, ""))
    facts = module.machine(SILENT)
    assert (facts["CPU"], facts["Virtual machine"]) == ("Apple M3", "no")


def test_what_only_the_framework_knows_of_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(platform, "processor", lambda: "")
    facts = module.machine(
        Framework({"torch": "9"}, {"avx2": True, "amx_tile": False, "cpu_name": "Some CPU"})
    )
    assert (facts["CPU"], facts["Instruction sets"], facts["torch"]) == ("Some CPU", "AVX2", "9")


def test_a_virtual_machine_hides_its_frequency(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(
        module,
        "_text",
        lambda file: (
            "model name\t: Some CPU  @ 2GHz\nflags\t: avx2 hypervisor\n" if file.name == "cpuinfo" else ""
        ),
    )
    monkeypatch.setattr(psutil, "cpu_freq", lambda: None)
    facts = module.machine(SILENT)
    assert facts["CPU"] == "Some CPU @ 2GHz"
    assert facts["Instruction sets"] == "AVX2"
    assert (facts["Virtual machine"], facts["Frequency"]) == ("yes", "n/a (VM)")


def test_more_threads_than_cores_is_flagged() -> None:
    cores = allowed_cores()
    assert [flag.key for flag in machine_flags(cores) if flag.key == "oversubscribed"] == []
    found = [flag for flag in machine_flags(cores + 1) if flag.key == "oversubscribed"]
    assert found[0].detail.startswith(f"{cores + 1} threads on {cores} core")


def test_a_quota_makes_fewer_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroup, "cpu_quota", lambda: 0.5)
    assert allowed_cores() == 1


@pytest.mark.parametrize(("plugged", "flagged"), [(False, True), (True, False), (None, False)])
def test_the_battery_is_flagged(monkeypatch: pytest.MonkeyPatch, plugged: bool | None, flagged: bool) -> None:
    battery = SimpleNamespace(percent=41.0, power_plugged=plugged)
    monkeypatch.setattr(psutil, "sensors_battery", lambda: battery, raising=False)
    assert [flag.detail for flag in machine_flags(1) if flag.key == "battery"] == (
        ["running on the battery, 41 % left"] if flagged else []
    )
