"""Choosing a callable reads the user's file: no file may block, exhaust or break the window."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from gui.callables import MAX_BYTES, candidates
from gui.main_window import MainWindow

HOSTILE = {
    "minus": (b"x = " + b"-" * 200_000 + b"1", "nested too deeply"),
    "dots": (b"class A(a" + b".b" * 100_000 + b"): pass", "nested too deeply"),
    "bases": (b"class A(a" + b".b" * 2_000 + b"): pass", "nested too deeply"),
    "large": (b"x = [" + b"[1]," * (MAX_BYTES // 4) + b"]", "larger than 512 KiB"),
    "nul": (b"x = 1\0", "NUL"),
    "encoding": (b"# coding: nonsense\n", "nonsense"),
    "syntax": (b"def build(:\n    pass\n", "line 1"),
}


def test_likely_ones_come_first(tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    path.write_text(
        'def helper(a, b):\n    return a\n\nclass Net(nn.Module):\n    "A net."\n\ndef build(n=1):\n'
        "    '\\d is no escape'\n\ndef _hidden(): pass\n"
    )
    found = candidates(str(path))
    assert [(each.name, each.kind, each.required, each.likely) for each in found] == [
        ("build", "function", 0, True),
        ("Net", "class", 0, True),
        ("helper", "function", 2, False),
    ]
    assert found[1].summary == "A net."


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_file_is_refused_in_words(window: MainWindow, tmp_path: Path, kind: str) -> None:
    content, words = HOSTILE[kind]
    path = tmp_path / "bad.py"
    path.write_bytes(content)
    window.open_any(str(path))
    text = window.banner.text.text()
    assert window.banner.isVisible()
    assert text.startswith("bad.py was not opened. ")
    assert words in text
    assert "None" not in text
    assert "line 0" not in text


def test_a_pipe_is_not_read(window: MainWindow, tmp_path: Path, qtbot: QtBot) -> None:
    path = tmp_path / "pipe.py"
    os.mkfifo(path)
    window.open_any(str(path))
    assert "It is not a regular file." in window.banner.text.text()
