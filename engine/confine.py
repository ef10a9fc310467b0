"""Takes the network from this process, for good: a model's own code computes and needs none.

Linux: a seccomp filter answers EACCES to whoever opens a socket, in every thread and every process started later.
macOS: the sandbox profile ``no-network``. Elsewhere nothing is done. Either way :func:`network_words` says what holds.

This is no sandbox: code that the user agreed to run can still read and change the user's files.
Sources: Linux kernel documentation, userspace-api/seccomp_filter; seccomp(2); audit.h for the architectures; macOS
sandbox_init(3).
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import platform
import socket
import sys
from collections.abc import Iterator
from typing import NamedTuple

log = logging.getLogger(__name__)

ALLOW_NETWORK = "MISNOMER_ALLOW_NETWORK"
"""Environment variable of an engine process; anything but nothing and ``0`` leaves the network open."""


class _Machine(NamedTuple):
    """Numbers of system calls on one architecture."""

    audit_arch: int
    seccomp: int
    refused: tuple[int, ...]
    """socket, io_uring_setup; ptrace, process_vm_writev and pidfd_getfd, by which another process's sockets could be
    used."""
    first_foreign: int | None
    """Where the numbers of another ABI of the same architecture begin (x32)."""


_MACHINES = {
    "x86_64": _Machine(0xC000003E, 317, (41, 425, 101, 311, 438), 0x40000000),
    "aarch64": _Machine(0xC00000B7, 277, (198, 425, 117, 271, 438), None),
}
_PR_SET_NO_NEW_PRIVS = 38
_SET_MODE_FILTER, _FLAG_TSYNC = 1, 1
_LOAD_WORD, _IF_EQUAL, _IF_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER_OFFSET, _ARCH_OFFSET = 0, 4
"""In ``struct seccomp_data``."""
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_SANDBOX_NAMED = 1


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("if_true", ctypes.c_uint8),
        ("if_false", ctypes.c_uint8),
        ("value", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(_Instruction)))


class _State:
    """Of this process."""

    closed = False
    reason = "nothing has closed it"


def confine(*, allow_network: bool = False) -> None:
    """Close the network to this process and to all it starts; what cannot be done is kept for :func:`network_words`.

    ``allow_network``: the user wants it open.
    """
    if _State.closed:
        return
    if allow_network:
        _State.reason = "as you asked for"
    else:
        reason = _close()
        _State.closed, _State.reason = not reason, reason
    log.debug("%s", network_words())


def network_allowed() -> bool:
    """Whether the environment asks for an open network."""
    return os.environ.get(ALLOW_NETWORK, "") not in ("", "0")


def network_closed() -> bool:
    """Whether this process cannot open network connections."""
    return _State.closed


def network_words() -> str:
    """One sentence for the user: whether the process that runs a model's code has the network."""
    if _State.closed:
        return "The process that runs it cannot open network connections."
    return f"The process that runs it can use the network: {_State.reason}."


def network_hint(error: BaseException) -> str:
    """What to do when ``error`` comes from the closed network, as a sentence; empty when it does not."""
    if not _State.closed or not any(_is_refusal(each) for each in _causes(error)):
        return ""
    return "The network is closed to models. Add --allow-network (or allow it in the settings) to open it."


def _is_refusal(error: BaseException) -> bool:
    if isinstance(error, socket.gaierror):
        return True  # what looks names up has no socket either
    return isinstance(error, PermissionError) and error.errno == errno.EACCES and error.filename is None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """``error`` and what it came from; libraries for the network also keep that in ``reason`` or in ``args``."""
    pending: list[BaseException | None] = [error]
    seen: set[int] = set()
    while pending and len(seen) < 100:
        current = pending.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        inside = (getattr(current, "reason", None), *current.args)
        pending += [current.__cause__, current.__context__]
        pending += [each for each in inside if isinstance(each, BaseException)]


def _close() -> str:
    """Why the network stays open; empty when it is closed."""
    try:
        if sys.platform == "linux":
            return _close_linux()
        if sys.platform == "darwin":
            return _close_macos()
    except (OSError, AttributeError, ValueError) as error:  # no C library, or one without these functions
        return f"it could not be closed ({error})"
    return "this operating system has no simple way to close it for one process"


def _close_linux() -> str:
    machine = _MACHINES.get(platform.machine()) if ctypes.sizeof(ctypes.c_void_p) == 8 else None
    if machine is None:
        return f"how to close it is not known for {platform.machine() or 'this processor'}"
    libc = ctypes.CDLL(None, use_errno=True)
    program = _filter(machine)
    instructions = (_Instruction * len(program))(*program)
    whole = _Program(len(program), instructions)
    arguments = [ctypes.c_ulong(number) for number in (1, 0, 0, 0)]
    # Without the right to gain rights (sudo, setuid programs) a filter may be set by anybody.
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, *arguments) != 0:
        return f"it could not be closed ({os.strerror(ctypes.get_errno())})"
    libc.syscall.restype = ctypes.c_long
    status = libc.syscall(
        ctypes.c_long(machine.seccomp),
        ctypes.c_ulong(_SET_MODE_FILTER),
        ctypes.c_ulong(_FLAG_TSYNC),
        ctypes.byref(whole),
    )
    if status > 0:
        return f"it could not be closed in thread {status}"
    return f"it could not be closed ({os.strerror(ctypes.get_errno())})" if status else ""


def _filter(machine: _Machine) -> list[_Instruction]:
    """Refuses system calls of other ABIs, whose numbers differ, and those of ``machine.refused``."""
    checks = [(_IF_EQUAL, number) for number in machine.refused]
    if machine.first_foreign is not None:
        checks.append((_IF_AT_LEAST, machine.first_foreign))
    program = [
        _Instruction(_LOAD_WORD, 0, 0, _ARCH_OFFSET),
        # Jumps count the instructions to leave out: to the refusal, which is the last one.
        _Instruction(_IF_EQUAL, 0, len(checks) + 2, machine.audit_arch),
        _Instruction(_LOAD_WORD, 0, 0, _NUMBER_OFFSET),
    ]
    program += [
        _Instruction(code, len(checks) - place, 0, number) for place, (code, number) in enumerate(checks)
    ]
    return [
        *program,
        _Instruction(_RETURN, 0, 0, _ALLOW),
        _Instruction(_RETURN, 0, 0, _ERRNO | errno.EACCES),
    ]


def _close_macos() -> str:
    library = ctypes.CDLL(None)
    problem = ctypes.c_char_p()
    library.sandbox_init.argtypes = (ctypes.c_char_p, ctypes.c_uint64, ctypes.POINTER(ctypes.c_char_p))
    if library.sandbox_init(b"no-network", _SANDBOX_NAMED, ctypes.byref(problem)) != 0:
        return f"it could not be closed ({(problem.value or b'').decode('utf-8', 'replace')})"
    return ""
