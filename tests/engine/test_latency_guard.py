"""The memory guard: what does not fit is refused before it is built, with the numbers."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import torch
from torch import nn

from engine import cgroup, guard
from engine.api import open_session
from engine.configuration import Configuration
from engine.errors import CancelledError, InputError, LoadError
from engine.graph import InputShape
from engine.guard import Need, NotEnoughMemoryError, check_memory, memory_errors, require
from engine.protocol import Compare, Measure, Open
from engine.server import Server
from engine.session import Session

MIB = 2**20


def session_of(module: nn.Module, *shape: int) -> Session:
    return open_session(module, shape)


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Says how much memory is free."""
    return lambda size: monkeypatch.setattr(guard, "free_bytes", lambda: size)


def linear_need() -> tuple[Session, int]:
    """A session on one linear layer and what a forward pass of it takes: weights, 1.5 × output, input."""
    session = session_of(nn.Linear(1000, 500, bias=False), 64, 1000)
    return session, 4 * (1000 * 500) + 3 * (4 * 64 * 500) // 2 + 4 * 64 * 1000


def test_just_fitting_is_allowed_and_one_byte_less_is_not(free: Callable[[int], None]) -> None:
    session, need = linear_need()
    free(need)
    check_memory(session, session.default_configuration())
    free(need - 1)
    with pytest.raises(NotEnoughMemoryError):
        check_memory(session, session.default_configuration())


def test_weights_count_until_they_are_allocated(free: Callable[[int], None]) -> None:
    session, need = linear_need()
    with session.real(session.default_configuration()) as model, torch.inference_mode():
        model.forward()
    free(need - 4 * 1000 * 500)
    check_memory(session, session.default_configuration())
    free(need - 4 * 1000 * 500 - 1)
    with pytest.raises(NotEnoughMemoryError, match="activations"):
        check_memory(session, session.default_configuration())


def test_buffers_count_as_weights(free: Callable[[int], None]) -> None:
    module = nn.ReLU()
    module.register_buffer("mask", torch.zeros(1000, 1000))
    session = session_of(module, 2, 8)
    free(4 * 1000 * 1000)
    with pytest.raises(NotEnoughMemoryError, match="weights"):
        check_memory(session, session.default_configuration())


def test_a_stop_ends_the_analysis_that_the_guard_needs() -> None:
    session = session_of(nn.Linear(4, 4), 2, 4)
    stop = threading.Event()
    stop.set()
    with pytest.raises(CancelledError):
        check_memory(session, session.default_configuration(), stop)


def test_no_device_is_started_for_weights_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limited address space has no room for CUDA."""

    def started(device: object) -> None:
        raise AssertionError("the device was started")

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_rng_state", started)
    session = session_of(nn.Linear(4, 4), 2, 4)
    before = torch.get_rng_state()
    with session.real(session.default_configuration()):
        pass
    assert torch.equal(torch.get_rng_state(), before)


def test_the_sentence_has_the_numbers_and_advice(free: Callable[[int], None]) -> None:
    free(int(20.3 * 2**30))
    with pytest.raises(InputError) as caught:
        require(Need(int(25.1 * 2**30), 1 * 2**30), "seven")
    assert caught.value.message == (
        "Running seven needs 26.1 GiB (25.1 GiB weights + 1.0 GiB activations); 20.3 GiB are free."
    )
    assert "smaller" in caught.value.hint
    free(20 * MIB)
    with pytest.raises(InputError, match=r"needs 30 MiB for the weights alone; 20 MiB are free"):
        require(Need(30 * MIB), "small")


BIG = """
import torch
from torch import nn

def build():
    open({marker!r}, "a").write("built on " + str(torch.empty(0).device) + "\\n")
    return nn.Linear({width}, {width}, bias=False), (torch.zeros(1, {width}),)
"""


def test_what_is_larger_than_the_machine_is_refused_before_it_is_built(tmp_path: Path) -> None:
    marker = tmp_path / "built"
    width = int((guard.free_bytes() * 1.1 / 4) ** 0.5)
    source = tmp_path / "big.py"
    source.write_text(BIG.format(marker=str(marker), width=width))
    session = open_session(f"{source}:build", trust=True)
    assert "cpu" not in marker.read_text()
    with (
        pytest.raises(NotEnoughMemoryError, match="GiB are free"),
        session.real(session.default_configuration()),
    ):
        pass
    assert not session.has_real_weights
    assert "cpu" not in marker.read_text()


def test_a_small_one_is_built(tmp_path: Path) -> None:
    marker = tmp_path / "built"
    source = tmp_path / "small.py"
    source.write_text(BIG.format(marker=str(marker), width=16))
    session = open_session(f"{source}:build", trust=True)
    with session.real(session.default_configuration()) as model, torch.inference_mode():
        assert torch.is_tensor(model.forward())
    assert "built on cpu" in marker.read_text()


NO_WEIGHTS = """
import torch
from torch import nn

def build():
    if torch.empty(0).device.type == "cpu":
        raise FileNotFoundError("no weights.pt")
    return nn.Linear(4, 4), (torch.zeros(1, 4),)
"""


def test_what_only_fails_with_its_weights_says_so(tmp_path: Path) -> None:
    source = tmp_path / "lost.py"
    source.write_text(NO_WEIGHTS)
    session = open_session(f"{source}:build", trust=True)
    with (
        pytest.raises(LoadError, match=r"Building Linear .* raised FileNotFoundError: no weights\.pt\."),
        session.real(session.default_configuration()),
    ):
        pass


REAL_ONLY = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        open({marker!r}, "a").write("built on " + str(torch.empty(0).device) + "\\n")
        self.fc = nn.Linear(64, 64)

    def forward(self, x):
        x.sum().numpy()
        return self.fc(x)

def build():
    return Net(), (torch.zeros(1, 64),)
"""


def test_what_only_a_real_run_can_trace_is_refused_before_it_is_built(
    tmp_path: Path, free: Callable[[int], None]
) -> None:
    marker = tmp_path / "built"
    source = tmp_path / "real.py"
    source.write_text(REAL_ONLY.format(marker=str(marker)))
    session = open_session(f"{source}:build", trust=True)
    configuration = msgspec.structs.replace(session.default_configuration(), allow_real_run=True)
    free(4 * 64 * 65 - 1)
    with pytest.raises(NotEnoughMemoryError, match="weights alone"):
        check_memory(session, configuration)
    assert "cpu" not in marker.read_text()
    free(MIB)
    check_memory(session, configuration)
    assert "cpu" in marker.read_text()


def test_seven_billion_parameters_are_refused_with_the_numbers(free: Callable[[int], None]) -> None:
    with torch.device("meta"):
        model = nn.Sequential(*(nn.Linear(8192, 8192, bias=False) for _ in range(104)))
    session = session_of(model, 1, 8192)
    free(int(20.3 * 2**30))
    with pytest.raises(NotEnoughMemoryError, match=r"needs 26\.0 GiB .*; 20\.3 GiB are free"):
        check_memory(session, session.default_configuration())


def test_an_input_that_grew_is_refused_where_the_small_one_ran(free: Callable[[int], None]) -> None:
    session = session_of(nn.Conv2d(3, 64, 3, padding=1), 1, 3, 32, 32)
    small = session.default_configuration()
    large = small.__class__(inputs=session.complete((InputShape("", (1, 3, 2048, 2048), "float32"),)))
    free(64 * MIB)
    with session.real(small):
        pass
    with pytest.raises(NotEnoughMemoryError, match="activations"), session.real(large):
        pass


def test_a_failed_allocation_becomes_a_sentence() -> None:
    with (
        pytest.raises(NotEnoughMemoryError, match="big needed more memory than there is"),
        memory_errors("big"),
    ):
        torch.empty(2**50)
    with pytest.raises(NotEnoughMemoryError), memory_errors("net"):
        raise RuntimeError("std::bad_alloc")
    with pytest.raises(RuntimeError, match="shapes"), memory_errors("net"):
        raise RuntimeError("shapes do not match")


LIMITED = """
from engine import guard
import torch
guard.free_bytes = lambda: 600 * 2**20
with guard.limited_memory():
    small = torch.ones(2**20)
    try:
        torch.ones(2**30)
    except RuntimeError as error:
        print("refused:", "allocate memory" in str(error))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited on Linux only")
def test_on_linux_an_allocation_that_does_not_fit_fails_alone() -> None:
    done = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "refused: True"), done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited on Linux only")
def test_a_limit_for_a_while_is_taken_back(free: Callable[[int], None]) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    free(600 * MIB)
    with guard.limited_memory():
        assert resource.getrlimit(resource.RLIMIT_AS)[0] != before[0]
        with pytest.raises(RuntimeError, match="allocate memory"):
            torch.ones(2**30)
    assert resource.getrlimit(resource.RLIMIT_AS) == before


@pytest.mark.skipif(sys.platform != "linux", reason="limits of address space")
def test_a_gpu_driver_may_reserve_address_space(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    monkeypatch.setattr(guard, "GPU_DRIVERS", (str(tmp_path),))
    with guard.limited_memory(may_use_gpu=True):
        assert resource.getrlimit(resource.RLIMIT_AS) == before
        assert any(thread.name == "memory watchdog" for thread in threading.enumerate())
    with guard.limited_memory():
        assert resource.getrlimit(resource.RLIMIT_AS) != before
    monkeypatch.setattr(guard, "GPU_DRIVERS", (str(tmp_path / "none"),))
    with guard.limited_memory(may_use_gpu=True):
        assert resource.getrlimit(resource.RLIMIT_AS) != before
    assert resource.getrlimit(resource.RLIMIT_AS) == before


@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited on Linux only")
def test_threads_get_room_for_their_stacks(free: Callable[[int], None]) -> None:
    import resource

    free(600 * MIB)
    with guard.limited_memory(1):
        few = resource.getrlimit(resource.RLIMIT_AS)[0]
    with guard.limited_memory(1000):
        assert resource.getrlimit(resource.RLIMIT_AS)[0] > few + 900 * guard.STACK_SPACE


@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited on Linux only")
def test_every_measuring_request_has_its_own_limit(free: Callable[[int], None]) -> None:
    import resource

    server = Server(io.BytesIO(), io.BytesIO(), latency=True)
    here = Configuration(())
    limits = []
    for size, request in ((600 * MIB, Measure(1, here)), (900 * MIB, Compare(2, here, here))):
        free(size)
        with server._limits(request):
            limits.append(resource.getrlimit(resource.RLIMIT_AS)[0])
    assert limits[1] > limits[0] + 200 * MIB, "memory was freed meanwhile"
    before = resource.getrlimit(resource.RLIMIT_AS)
    with server._limits(Open(3, "torchvision:resnet18")):
        assert resource.getrlimit(resource.RLIMIT_AS) == before


def test_a_watchdog_that_is_done_ends() -> None:
    done = threading.Event()
    thread = guard._watch(2**62, done)
    done.set()
    thread.join(60)
    assert not thread.is_alive()


WATCHED = """
from engine import guard
import threading
thread = guard._watch(guard._resident() + 50 * 2**20, threading.Event())
held = bytearray(b"x" * (200 * 2**20))
thread.join(60)
"""


def test_elsewhere_the_watchdog_ends_the_process_with_a_sentence() -> None:
    done = subprocess.run([sys.executable, "-c", WATCHED], capture_output=True, text=True, check=False)
    assert done.returncode == guard.OUT_OF_MEMORY
    assert "needed more memory than there is" in done.stderr


@pytest.mark.parametrize(
    ("membership", "files", "left"),
    [
        ("0::/job/step", {"job/memory.max": "1000", "job/memory.current": "400"}, 600),
        (
            "0::/job",
            {
                "job/memory.max": "1000",
                "job/memory.current": "400",
                "job/memory.stat": "anon 100\ninactive_file 250",
            },
            850,
        ),
        ("0::/job", {"job/memory.max": "max", "job/memory.current": "400"}, None),
        (
            "0::/job/step",
            {
                "job/step/memory.max": "500",
                "job/step/memory.current": "100",
                "job/memory.max": "450",
                "job/memory.current": "300",
            },
            150,
        ),
        (
            "4:memory:/docker/a\n1:cpu:/docker/a",
            {"memory/memory.limit_in_bytes": "1000", "memory/memory.usage_in_bytes": "300"},
            700,
        ),
        (
            "4:memory:/a",
            {"memory/a/memory.limit_in_bytes": str(2**63 - 4096), "memory/a/memory.usage_in_bytes": "3"},
            None,
        ),
        ("0::/job", {"job/memory.max": "100", "job/memory.current": "400"}, 0),
    ],
)
def test_limits_of_control_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, membership: str, files: dict[str, str], left: int | None
) -> None:
    (tmp_path / "self").write_text(membership + "\n")
    monkeypatch.setattr(cgroup, "MEMBERSHIP", tmp_path / "self")
    monkeypatch.setattr(cgroup, "ROOT", tmp_path / "fs")
    for name, text in files.items():
        file = tmp_path / "fs" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    assert cgroup.memory_left() == left
    if left is not None:
        assert guard.free_bytes() == left


def test_without_control_groups_the_system_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroup, "MEMBERSHIP", tmp_path / "none")
    assert cgroup.memory_left() is None
    assert guard.free_bytes() > 0


@pytest.mark.parametrize(
    ("membership", "files", "quota"),
    [
        ("0::/job", {"job/cpu.max": "150000 100000"}, 1.5),
        ("0::/job", {"job/cpu.max": "max 100000"}, None),
        ("1:cpu:/a", {"cpu/a/cpu.cfs_quota_us": "200000", "cpu/a/cpu.cfs_period_us": "100000"}, 2.0),
        ("1:cpu:/a", {"cpu/a/cpu.cfs_quota_us": "-1", "cpu/a/cpu.cfs_period_us": "100000"}, None),
    ],
)
def test_quotas_of_control_groups(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    membership: str,
    files: dict[str, str],
    quota: float | None,
) -> None:
    (tmp_path / "self").write_text(membership + "\n")
    monkeypatch.setattr(cgroup, "MEMBERSHIP", tmp_path / "self")
    monkeypatch.setattr(cgroup, "ROOT", tmp_path / "fs")
    for name, text in files.items():
        file = tmp_path / "fs" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    assert cgroup.cpu_quota() == quota
