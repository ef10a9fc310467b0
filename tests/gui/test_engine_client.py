"""The engine's process: answers, bad lines, deaths and the end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from pytestqt.qtbot import QtBot

from engine import protocol
from gui.engine_client import MAX_QUICK_DEATHS, MAX_STDERR_LINE, STDERR_LINES, EngineClient, LineBuffer
from tests.gui.conftest import READY_MS

HELLO = f'{{"type":"hello","version":{protocol.PROTOCOL_VERSION},"pid":1}}'
READY = '{"type":"ready","versions":{},"devices":["cpu"]}'

Start = Callable[[str], EngineClient]


@pytest.fixture
def scripted(tmp_path: Path, qapp: object) -> Iterator[Start]:
    """An engine client whose process runs the given Python text instead of the engine."""
    clients: list[EngineClient] = []

    def start(text: str) -> EngineClient:
        script = tmp_path / "fake.py"
        script.write_text(f"import sys, time\nsay = lambda line: print(line, flush=True)\n{text}\n")
        client = EngineClient(arguments=(str(script),))
        clients.append(client)
        return client

    yield start
    for client in clients:
        client.stop()


def gone(pid: int) -> bool:
    """Whether the process has ended (a zombie that nobody has reaped yet has)."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_lines_in_pieces() -> None:
    buffer = LineBuffer()
    assert buffer.feed(b"ab") == []
    assert buffer.feed(b"c\nd") == [b"abc"]
    assert buffer.feed(b"e\n\nf\ng") == [b"de", b"", b"f"]
    assert buffer.size == 1
    long = b"x" * 100_000
    for _ in range(50):
        assert buffer.feed(long) == []
    assert len(buffer.feed(b"\n")[0]) == 1 + 50 * len(long)


def test_real_engine_greets_and_answers(engine: EngineClient, qtbot: QtBot) -> None:
    assert {"torch", "onnx", "onnxruntime"} <= engine.versions.keys()
    with qtbot.waitSignal(engine.zoo_listed, timeout=READY_MS) as listed:
        request = engine.list_zoo()
    (listing,) = listed.args
    assert listing.id == request
    assert any(entry.source == "torchvision:resnet50" for entry in listing.entries)
    assert engine.state == "ready"


@pytest.mark.expects_log
def test_garbage_is_reported_and_survived(scripted: Start, qtbot: QtBot) -> None:
    client = scripted(
        f"say('''{HELLO}'''); say('no json'); say('{{\"type\":\"opened\"}}'); say('''{READY}''')\ntime.sleep(60)"
    )
    sentences: list[str] = []
    client.complained.connect(sentences.append)
    with qtbot.waitSignal(client.ready, timeout=READY_MS):
        client.start()
    assert len(sentences) == 2
    assert all(sentence.startswith("The engine sent something unreadable.") for sentence in sentences)


@pytest.mark.expects_log
def test_another_protocol_version_is_named(scripted: Start, qtbot: QtBot) -> None:
    client = scripted('say(\'{"type":"hello","version":99,"pid":1}\')\ntime.sleep(60)')
    with qtbot.waitSignal(client.complained, timeout=READY_MS) as complaint:
        client.start()
    assert "protocol 99" in complaint.args[0]


def test_a_huge_line_arrives_whole(scripted: Start, qtbot: QtBot) -> None:
    client = scripted(
        f"say('''{HELLO}'''); say('''{READY}''')\n"
        'say(\'{"type":"exported","id":1,"path":"\' + \'x\' * 20_000_000 + \'"}\')\ntime.sleep(60)'
    )
    with qtbot.waitSignal(client.exported, timeout=READY_MS) as exported:
        client.start()
    assert len(exported.args[0].path) == 20_000_000


@pytest.mark.expects_log
def test_quick_deaths_end_in_a_sentence_and_restart_tries_again(scripted: Start, qtbot: QtBot) -> None:
    client = scripted("sys.stderr.write('ModuleNotFoundError: No module named msgspec\\n'); sys.exit(1)")
    deaths: list[str] = []
    client.crashed.connect(deaths.append)
    with qtbot.waitSignal(client.gave_up, timeout=READY_MS) as given_up:
        client.start()
    assert len(deaths) == MAX_QUICK_DEATHS
    assert "No module named msgspec" in given_up.args[0]
    assert client.state == "failed"
    with qtbot.waitSignal(client.restarted, timeout=READY_MS):
        client.restart()


@pytest.mark.expects_log
def test_frameworks_that_cannot_be_imported_are_said_at_once(scripted: Start, qtbot: QtBot) -> None:
    failed = '{"type":"failed","id":0,"error":{"kind":"load","message":"torch is missing."}}'
    client = scripted(f"say('''{HELLO}'''); say('''{failed}''')")
    with qtbot.waitSignal(client.gave_up, timeout=READY_MS) as given_up:
        client.start()
    assert given_up.args == ["torch is missing."]


@pytest.mark.expects_log
def test_a_python_that_is_not_there(qtbot: QtBot) -> None:
    client = EngineClient("/nowhere/python")
    with qtbot.waitSignal(client.gave_up, timeout=READY_MS) as given_up:
        client.start()
    assert "/nowhere/python" in given_up.args[0]
    assert client.state == "failed"


@pytest.mark.expects_log
def test_killed_engine_is_replaced(scripted: Start, qtbot: QtBot) -> None:
    client = scripted(f"say('''{HELLO}'''); say('''{READY}''')\ntime.sleep(60)")
    with qtbot.waitSignal(client.ready, timeout=READY_MS):
        client.start()
    first = client.pid
    assert first, "0 would be every process of the tests"
    with qtbot.waitSignals([client.crashed, client.restarted, client.ready], timeout=READY_MS):
        os.kill(first, signal.SIGKILL)
    assert client.pid not in (0, first)
    assert client.state == "ready"


def test_stop_leaves_no_process(scripted: Start, qtbot: QtBot) -> None:
    client = scripted(
        f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\nsay('''{HELLO}'''); say('''{READY}''')\n"
        "while True: time.sleep(60)"
    )
    with qtbot.waitSignal(client.ready, timeout=READY_MS):
        client.start()
    pid = client.pid
    client.stop()
    assert gone(pid)
    assert client.state == "stopped"


def test_stderr_is_kept(scripted: Start, qtbot: QtBot) -> None:
    client = scripted(
        "sys.stderr.write('loading\\nhalf'); sys.stderr.flush()\n"
        f"say('''{HELLO}'''); say('''{READY}''')\ntime.sleep(60)"
    )
    client.start()
    qtbot.waitUntil(lambda: "loading" in client.stderr_text, timeout=READY_MS)


def test_endless_lines_of_stderr_do_not_pile_up(scripted: Start, qtbot: QtBot) -> None:
    client = scripted(
        "sys.stderr.write('a\\rb\\rc\\n'); sys.stderr.write('x' * 5_000_000); sys.stderr.write('\\rlast\\n')\n"
        f"sys.stderr.flush(); say('''{HELLO}'''); say('''{READY}''')\ntime.sleep(60)"
    )
    client.start()
    qtbot.waitUntil(lambda: client.stderr_text.endswith("last"), timeout=READY_MS)
    lines = client.stderr_text.split("\n")
    assert lines[:3] == ["a", "b", "c"]
    assert max(map(len, lines)) <= MAX_STDERR_LINE
    assert len(lines) <= STDERR_LINES
