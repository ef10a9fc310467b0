"""Memory of a forward pass: the allocator's peak against arithmetic, the process's growth, reasons for none."""

from __future__ import annotations

import sys
from pathlib import Path
from threading import Event

import pytest
import torch
from torch import Tensor, nn

from engine.api import open_session
from engine.errors import CancelledError
from engine.latency import memory_readings, process_memory
from engine.latency.memory import allocator_peak, peak_of
from engine.latency.process_memory import process_growth
from engine.measurement import MemoryReadings

MIB = 2**20
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="procfs is Linux's")


def readings(model: nn.Module, shape: tuple[int, ...]) -> MemoryReadings:
    session = open_session(model.eval(), shape)
    return memory_readings(session, session.default_configuration(), 1, Event())


def test_the_peak_is_the_highest_running_sum() -> None:
    assert peak_of([3, 4, -3, 2, -4]) == 7
    assert peak_of([-5, 3]) == 0
    assert peak_of([]) == 0


def test_a_convolution_needs_at_least_what_lives_between_its_layers() -> None:
    model = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 8, 3, padding=1))
    found = readings(model, (1, 3, 64, 64))
    assert found.analytic_bytes == (16 + 16) * 64 * 64 * 4  # in and out of the ReLU
    assert found.allocator_bytes is not None
    assert found.allocator_bytes >= found.analytic_bytes
    assert found.workspace_bytes == found.allocator_bytes - found.analytic_bytes


def test_elementwise_layers_need_no_workspace() -> None:
    found = readings(nn.Sequential(nn.ReLU(), nn.Sigmoid(), nn.Tanh()), (4, 1000))
    assert found.allocator_bytes == found.analytic_bytes == 2 * 4 * 1000 * 4
    assert found.workspace_bytes == 0


def test_what_lived_before_is_not_in_the_allocators_peak() -> None:
    kept = torch.ones(MIB)
    reasons: list[str] = []

    def forward() -> None:
        kept.add_(torch.ones(1000).sum())

    assert allocator_peak(forward, reasons) == 1000 * 4 + 4
    assert reasons == []


def test_a_pass_that_allocates_nothing_has_no_reading_but_a_reason() -> None:
    reasons: list[str] = []
    assert allocator_peak(lambda: None, reasons) is None
    assert "allocator" in reasons[0]


@linux
def test_the_process_grows_by_what_is_written() -> None:
    reasons: list[str] = []

    def forward() -> None:
        torch.ones(64 * MIB // 4)

    grown = process_growth(forward, reasons)
    if grown is None:  # a kernel or a sandbox without clear_refs
        assert reasons
    else:
        assert 60 * MIB < grown < 128 * MIB


@linux
def test_a_kernel_that_cannot_reset_the_peak_is_a_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(process_memory, "SELF", tmp_path)
    (tmp_path / "status").write_text("Name:\tpython\n")
    reasons: list[str] = []
    assert process_growth(lambda: None, reasons) is None
    assert reasons == ["process growth: the kernel does not let the peak be set back"]


def test_another_system_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "win32")
    reasons: list[str] = []
    assert process_growth(lambda: None, reasons) is None
    assert "this system" in reasons[0]


def test_stop_ends_it_before_the_next_pass() -> None:
    stop = Event()

    class Stops(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if not x.is_meta:
                assert not stop.is_set()
                stop.set()
            return x + 1

    session = open_session(Stops().eval(), (2, 3))
    with pytest.raises(CancelledError):
        memory_readings(session, session.default_configuration(), 1, stop)


def test_the_profiler_writes_nothing_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    readings(nn.Sequential(nn.ReLU()), (4, 10))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("threads", [1, 3])
def test_it_is_read_with_the_threads_asked_for(threads: int) -> None:
    found: set[int] = set()

    class Notes(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if not x.is_meta:
                found.add(torch.get_num_threads())
            return x + 1

    before = torch.get_num_threads()
    session = open_session(Notes().eval(), (2, 3))
    memory_readings(session, session.default_configuration(), threads, Event())
    assert found == {threads}
    assert torch.get_num_threads() == before
