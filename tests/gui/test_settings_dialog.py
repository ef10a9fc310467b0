"""Consents in the settings: kept with file and time, migrated, revoked; what code may do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from gui.engine_client import NETWORK, EngineClient
from gui.latency_engine import LatencyEngine
from gui.main_window import MainWindow
from gui.measuring import Measuring
from gui.selection import Selection
from gui.settings import MAX_AGREED, Settings
from gui.theme import ThemeManager
from gui.views.consent_dialog import ConsentDialog
from gui.views.settings_dialog import SettingsDialog
from gui.workspace import Workspace
from tests.gui.conftest import ANSWER_MS, dispose, open_model

LEFT = Qt.MouseButton.LeftButton
TELLS = f"""
import os, sys
print('{{"type":"hello","version":1,"pid":1}}')
network = os.environ.get("{NETWORK}", "")
print('{{"type":"ready","versions":{{"network":"' + network + '"}},"devices":[]}}', flush=True)
sys.stdin.read()
"""
"""A process that speaks the engine's protocol and says what its environment is, in place of a framework's versions."""
NET = """
import torch
from torch import nn

def build():
    return nn.Conv2d(3, {channels}, 3), (torch.zeros(1, 3, 8, 8),)
"""


@pytest.fixture
def telling(settings: Settings) -> Iterator[Workspace]:
    """A workspace whose engine tells its environment."""
    engine = EngineClient(arguments=("-c", TELLS))
    workspace = Workspace(engine, settings)
    yield workspace
    dispose(workspace)
    engine.stop()


def window_of(workspace: Workspace, settings: Settings, theme: ThemeManager, qtbot: QtBot) -> MainWindow:
    measuring = Measuring(workspace, LatencyEngine(), settings)
    window = MainWindow(workspace, measuring, Selection(), theme, settings)
    qtbot.addWidget(window)
    window.show()
    return window


def settings_dialog(window: MainWindow) -> SettingsDialog:
    window.actions_.settings.trigger()
    return next(dialog for dialog in window.findChildren(SettingsDialog) if dialog.isVisible())


def test_a_consent_is_kept_with_its_file_and_time(tmp_path: Path) -> None:
    path = str(tmp_path / "s.ini")
    first = Settings(path)
    first.agree("aa", "/x/net.py", "python")
    first.agree("bb", "/x/net.pt", "module")
    first.agree("aa", "/y/net.py", "python")
    kept = Settings(path).agreements
    assert [(each.digest, each.file, each.kind) for each in kept] == [
        ("aa", "/y/net.py", "python"),
        ("bb", "/x/net.pt", "module"),
    ]
    assert all(each.when.endswith("+00:00") for each in kept)
    first.revoke("aa")
    assert not Settings(path).agreed("aa") and Settings(path).agreed("bb")
    assert not first.agreed("")


def test_consents_of_earlier_versions_hold_until_they_are_revoked(settings: Settings) -> None:
    settings.set_texts("consent/agreed", ["aa", "bb"])
    assert settings.agreed("aa")
    settings.agree("cc", "/x/net.py", "python")
    assert [each.digest for each in settings.agreements] == ["cc", "aa", "bb"]
    settings.revoke("aa")
    assert not settings.agreed("aa") and settings.agreed("bb")


@pytest.mark.parametrize("damage", ["", "nonsense", "{}", "[1, null]", '[{"digest": 3}]', '[{"file": "x"}]'])
def test_damaged_consents_count_as_never_given(settings: Settings, damage: str) -> None:
    settings.set("consent/given", damage)
    assert settings.agreements == []
    settings.agree("aa")
    assert settings.agreed("aa")


def test_only_so_many_consents_are_kept(settings: Settings) -> None:
    entries = [{"digest": f"{at:x}"} for at in range(MAX_AGREED)]
    settings.set("consent/given", json.dumps(entries))
    settings.agree("new")
    assert len(settings.agreements) == MAX_AGREED
    assert settings.agreements[0].digest == "new"


def test_consents_are_listed_and_revoked(
    telling: Workspace, settings: Settings, theme: ThemeManager, qtbot: QtBot
) -> None:
    for at in range(3):
        settings.agree(str(at) * 64, f"/models/net{at}.pt", "module")
    dialog = settings_dialog(window_of(telling, settings, theme, qtbot))
    assert [dialog.table.table.index(row, 0).data() for row in range(3)] == ["net2.pt", "net1.pt", "net0.pt"]
    place = dialog.table.visualRect(dialog.table.table.index(1, 0)).center()
    qtbot.mouseClick(dialog.table.viewport(), LEFT, pos=place)
    qtbot.keyClick(dialog.table, Qt.Key.Key_Delete)
    assert [each.file for each in settings.agreements] == ["/models/net2.pt", "/models/net0.pt"]
    qtbot.mouseClick(dialog.revoke_all, LEFT)
    assert settings.agreements == []
    assert dialog.nothing.isVisible() and not dialog.revoke_all.isEnabled() and not dialog.revoke.isEnabled()


@pytest.mark.expects_log  # engines are restarted
def test_the_network_is_allowed_to_the_next_engine(
    telling: Workspace, settings: Settings, theme: ThemeManager, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(NETWORK, raising=False)
    engine = telling.engine
    with qtbot.waitSignal(engine.ready, timeout=ANSWER_MS):
        engine.start()
    assert engine.versions == {"network": ""}
    dialog = settings_dialog(window_of(telling, settings, theme, qtbot))
    assert not dialog.network.isChecked()
    for allowed in ("1", ""):
        with qtbot.waitSignal(engine.ready, timeout=ANSWER_MS):
            dialog.network.click()
        assert settings.allow_network == bool(allowed)
        assert engine.versions == {"network": allowed}


def test_an_environment_that_allows_the_network_is_said(
    telling: Workspace, settings: Settings, theme: ThemeManager, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(NETWORK, "1")
    dialog = settings_dialog(window_of(telling, settings, theme, qtbot))
    assert dialog.network.isChecked() and not dialog.network.isEnabled()
    assert NETWORK in dialog.network.toolTip()


def test_a_file_that_runs_at_every_change_can_be_revoked(
    window: MainWindow, qtbot: QtBot, tmp_path: Path
) -> None:
    path = tmp_path / "net.py"
    path.write_text(NET.format(channels=2))
    window.open_any(f"{path}:build")
    qtbot.waitUntil(lambda: bool(window.findChildren(ConsentDialog)), timeout=ANSWER_MS)
    consent = window.findChildren(ConsentDialog)[-1]
    consent.watch.setChecked(True)
    with qtbot.waitSignal(window.workspace.model_changed, timeout=ANSWER_MS):
        consent.run.click()
    with qtbot.waitSignal(window.workspace.reloaded, timeout=ANSWER_MS):
        path.write_text(NET.format(channels=4))
    dialog = settings_dialog(window)
    assert "every change" in dialog.table.table.index(0, 1).data()
    dialog.table.selectRow(0)
    qtbot.mouseClick(dialog.revoke, LEFT)
    assert window.workspace.trusted_paths == ()
    dialog.reject()
    with qtbot.waitSignal(window.workspace.consent_required, timeout=ANSWER_MS):
        path.write_text(NET.format(channels=8))
    window.findChildren(ConsentDialog)[-1].reject()


def test_a_model_trusted_on_the_command_line_is_listed(
    window: MainWindow, qtbot: QtBot, tmp_path: Path
) -> None:
    (tmp_path / "net.py").write_text(NET.format(channels=2))
    open_model(qtbot, window.workspace, f"{tmp_path / 'net.py'}:build", trust=True)
    dialog = settings_dialog(window)
    qtbot.mouseClick(dialog.revoke_all, LEFT)
    dialog.reject()
    with qtbot.waitSignal(window.workspace.consent_required, timeout=ANSWER_MS):
        window.workspace.reload()
    window.findChildren(ConsentDialog)[-1].reject()
