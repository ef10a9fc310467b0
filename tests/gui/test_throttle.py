"""Later refreshes: none is lost, none comes at every tick."""

from __future__ import annotations

from PySide6.QtCore import QObject
from pytestqt.qtbot import QtBot

from gui.views.throttle import Throttle


def test_requests_in_a_burst_make_one_refresh_and_the_last_is_kept(qtbot: QtBot) -> None:
    calls: list[int] = []
    owner = QObject()
    throttle = Throttle(lambda: calls.append(len(calls)), owner)
    for _ in range(50):
        throttle.request()
    assert calls == [], "first the quick views paint"
    qtbot.waitUntil(lambda: calls == [0])
    throttle.request()
    qtbot.waitUntil(lambda: calls == [0, 1])
    throttle.request()
    throttle.flush()
    assert calls == [0, 1, 2]
    throttle.flush()
    assert calls == [0, 1, 2]
