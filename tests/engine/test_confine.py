"""The network is closed to a confined process, to its threads and to what it starts; nothing else is."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import textwrap
import urllib.error
from pathlib import Path

import pytest

from engine import confine

ROOT = Path(__file__).parents[2]
CLOSABLE = sys.platform in ("linux", "darwin")


def run(code: str, *arguments: str, **environment: str) -> dict[str, str]:
    """What ``code`` puts into ``found``, in a process of its own."""
    whole = f"import json, sys\nfound = {{}}\n{textwrap.dedent(code)}\nprint(json.dumps(found))"
    done = subprocess.run(
        [sys.executable, "-c", whole, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.skipif(not CLOSABLE, reason="this system cannot close the network to one process")
def test_no_connection_from_the_process_its_threads_and_its_children() -> None:
    found = run(
        """
        import socket, subprocess, threading
        from engine import confine

        def attempt(place):
            try:
                socket.create_connection(("127.0.0.1", 9), 1)
            except OSError as error:
                found[place] = type(error).__name__

        go = threading.Event()
        thread = threading.Thread(target=lambda: (go.wait(), attempt("older thread")))
        thread.start()
        attempt("before")
        confine.confine()
        go.set()
        thread.join()
        attempt("after")
        child = "import socket\\ntry: socket.socket()\\nexcept OSError as error: print(type(error).__name__)"
        found["child"] = subprocess.run(
            [sys.executable, "-c", child], capture_output=True, text=True
        ).stdout.strip()
        found["words"] = confine.network_words()
        """
    )
    assert found.pop("before") == "ConnectionRefusedError"
    assert found.pop("words") == "The process that runs it cannot open network connections."
    assert found == dict.fromkeys(("older thread", "after", "child"), "PermissionError")


def test_what_a_model_may_use_still_works() -> None:
    found = run(
        """
        import ctypes.util, multiprocessing, os, socket, subprocess, tempfile
        from engine import confine
        confine.confine()
        a, b = socket.socketpair()
        a.send(b"pair")
        found["socketpair"] = b.recv(9).decode()
        found["library"] = str(bool(ctypes.util.find_library("c")) or sys.platform != "linux")
        context = multiprocessing.get_context("spawn")
        with context.Pool(1) as pool:
            found["worker"] = str(pool.map(len, ["abc"])[0])
        with tempfile.TemporaryDirectory() as folder:
            found["files"] = str(os.path.isdir(folder))
        """
    )
    assert found == {"socketpair": "pair", "library": "True", "worker": "3", "files": "True"}


def test_the_user_can_leave_the_network_open() -> None:
    code = """
        import socket
        from engine import confine
        confine.confine(allow_network=confine.network_allowed())
        socket.socket().close()
        found["words"] = confine.network_words()
        """
    words = run(code, **{confine.ALLOW_NETWORK: "1"})["words"]
    assert words == "The process that runs it can use the network: as you asked for."


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process believes that its network is closed."""
    monkeypatch.setattr(confine._State, "closed", True)


REFUSED = PermissionError(errno.EACCES, "Permission denied")


@pytest.mark.usefixtures("closed")
@pytest.mark.parametrize(
    "error",
    [
        REFUSED,
        urllib.error.URLError(REFUSED),
        urllib.error.URLError(socket.gaierror(-3, "Temporary failure in name resolution")),
        RuntimeError("cannot download", OSError("in between", REFUSED)),
    ],
)
def test_a_hint_for_code_that_needs_the_network(error: Exception) -> None:
    assert "--allow-network" in confine.network_hint(error)
    outer = ValueError("the model could not be built")
    outer.__cause__ = error
    assert "--allow-network" in confine.network_hint(outer)


@pytest.mark.usefixtures("closed")
def test_no_hint_for_other_errors() -> None:
    assert confine.network_hint(PermissionError(errno.EACCES, "Permission denied", "weights.pt")) == ""
    assert confine.network_hint(ValueError("3")) == ""


def test_no_hint_while_the_network_is_open() -> None:
    assert confine.network_hint(REFUSED) == ""


def test_unknown_machines_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confine.platform, "machine", lambda: "pdp11")
    assert confine._close_linux() == "how to close it is not known for pdp11"
