"""Questions about a file that is being opened: who may answer them, and when nobody asks any more."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot
from torch import nn

from gui.main_window import MainWindow
from gui.settings import Settings
from gui.views.architecture_dialog import ArchitectureDialog
from gui.views.consent_dialog import ConsentDialog
from gui.views.zoo_dialog import ZooDialog
from gui.workspace import Workspace
from tests.engine.model_files import save_exported, save_safetensors
from tests.gui.conftest import ANSWER_MS, READY_MS, open_model
from tests.gui.test_file_dialog import NET, dialog_of, small_module

LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def asked(window: MainWindow, qtbot: QtBot, tmp_path: Path) -> tuple[MainWindow, ConsentDialog, Path]:
    """A window with a model, and the question whether a pickled module may run."""
    open_model(qtbot, window.workspace, "torchvision:alexnet")
    torch.save(small_module(), tmp_path / "net.pt")
    window.open_any(str(tmp_path / "net.pt"))
    return window, dialog_of(qtbot, window, ConsentDialog), tmp_path / "net.pt"


def questions(window: MainWindow) -> list[ConsentDialog]:
    return [each for each in window.findChildren(ConsentDialog) if each.isVisible()]


def test_a_question_goes_when_another_model_is_opened(
    asked: tuple[MainWindow, ConsentDialog, Path], qtbot: QtBot, settings: Settings
) -> None:
    window, dialog, _ = asked
    window.actions_.open_zoo.trigger()  # a window that was open before the question came
    zoo = dialog_of(qtbot, window, ZooDialog)
    with qtbot.waitSignal(window.workspace.model_changed, timeout=ANSWER_MS):
        zoo.chosen.emit("torchvision:squeezenet1_1")
        assert not dialog.isVisible(), "an answer to it would be an answer about nothing"
    zoo.reject()
    assert window.toolbar.title.text() == "squeezenet1_1"
    assert not settings.agreements


def test_each_question_is_about_the_file_opened_last(
    asked: tuple[MainWindow, ConsentDialog, Path], qtbot: QtBot, settings: Settings, tmp_path: Path
) -> None:
    window, first, _ = asked
    torch.save(nn.Sequential(nn.Conv2d(3, 2, 1)).eval(), tmp_path / "other.pt")
    window.open_any(str(tmp_path / "other.pt"))
    assert not first.isVisible()
    second = dialog_of(qtbot, window, ConsentDialog)
    with qtbot.waitSignal(window.workspace.model_changed, timeout=ANSWER_MS):
        qtbot.mouseClick(second.run, LEFT)
    assert window.workspace.file == str(tmp_path / "other.pt")
    assert [each.file for each in settings.agreements] == [str(tmp_path / "other.pt")]


def test_a_question_goes_when_a_report_is_shown(
    asked: tuple[MainWindow, ConsentDialog, Path], qtbot: QtBot, tmp_path: Path
) -> None:
    window, dialog, _ = asked
    workspace = window.workspace
    with qtbot.waitSignal(workspace.exported, timeout=ANSWER_MS):
        workspace.export("json", str(tmp_path / "report.json"))
    with qtbot.waitSignal(workspace.model_changed, timeout=ANSWER_MS):
        workspace.open_report(str(tmp_path / "report.json"))
    assert not dialog.isVisible()
    assert not workspace.editable


def test_a_model_that_is_opened_after_a_report_is_what_is_shown(
    window: MainWindow, qtbot: QtBot, tmp_path: Path
) -> None:
    workspace = window.workspace
    open_model(qtbot, workspace, "torchvision:alexnet")
    with qtbot.waitSignal(workspace.exported, timeout=ANSWER_MS):
        workspace.export("json", str(tmp_path / "report.json"))
    with qtbot.waitSignals([workspace.model_changed, workspace.engine.report_opened], timeout=ANSWER_MS):
        workspace.open_report(str(tmp_path / "report.json"))
        workspace.open_source("torchvision:squeezenet1_1")
    qtbot.waitUntil(lambda: not workspace.busy, timeout=ANSWER_MS)
    assert workspace.editable
    assert window.toolbar.title.text() == "squeezenet1_1"


@pytest.mark.expects_log
def test_a_new_engine_asks_once_for_code_whose_consent_was_taken_back(
    asked: tuple[MainWindow, ConsentDialog, Path], qtbot: QtBot, settings: Settings
) -> None:
    window, dialog, _ = asked
    workspace = window.workspace
    with qtbot.waitSignal(workspace.model_changed, timeout=ANSWER_MS):
        qtbot.mouseClick(dialog.run, LEFT)
    workspace.revoke(settings.agreements[0].digest)
    workspace.engine.restart()
    again = dialog_of_new(qtbot, window, dialog)
    with qtbot.waitSignal(workspace.open_failed):
        qtbot.mouseClick(again.cancel, LEFT)
    assert "may not run again" in window.banner.text.text()
    shown: list[object] = []
    workspace.consent_required.connect(shown.append)
    with qtbot.waitSignal(workspace.inspected, timeout=ANSWER_MS):
        workspace.inspect(workspace.file)  # answered after whatever was sent before
    assert not shown and not questions(window)
    assert window.toolbar.title.text() == "Sequential", "the last good model stays"
    workspace.set_sizes({"height": workspace.size_of("height") + 32})
    assert workspace.failure is not None and "may not run again" in workspace.failure.error.message
    with qtbot.waitSignal(workspace.open_failed, timeout=ANSWER_MS):
        workspace.open_source("torchvision:no_such_model")
    with qtbot.waitSignal(workspace.inspected, timeout=ANSWER_MS):
        workspace.inspect(workspace.file)
    assert not shown, "what was declined is not asked again beside something else"
    window.actions_.reload.trigger()
    with qtbot.waitSignal(workspace.reloaded, timeout=ANSWER_MS):
        qtbot.mouseClick(dialog_of_new(qtbot, window, again).run, LEFT)


def dialog_of_new(qtbot: QtBot, window: MainWindow, old: ConsentDialog) -> ConsentDialog:
    qtbot.waitUntil(lambda: bool(questions(window)) and questions(window)[-1] is not old, timeout=READY_MS)
    return questions(window)[-1]


def test_other_sizes_of_a_program_ask_again_once_its_consent_was_taken_back(
    window: MainWindow, qtbot: QtBot, settings: Settings, tmp_path: Path
) -> None:
    workspace = window.workspace
    save_exported(small_module(), torch.zeros(1, 3, 16, 16), tmp_path / "net.pt2")
    window.open_any(str(tmp_path / "net.pt2"))
    with qtbot.waitSignal(workspace.model_changed, timeout=ANSWER_MS):
        qtbot.mouseClick(dialog_of(qtbot, window, ConsentDialog).run, LEFT)
    workspace.revoke(settings.agreements[0].digest)
    qtbot.mouseClick(window.input_bar.guards, LEFT)
    qtbot.waitUntil(lambda: bool(questions(window)), timeout=ANSWER_MS)
    questions(window)[-1].reject()
    assert not window.input_bar.controls


def test_a_file_that_changes_while_something_is_asked_is_opened_again_afterwards(
    window: MainWindow, qtbot: QtBot, tmp_path: Path
) -> None:
    workspace, net = window.workspace, tmp_path / "net.py"
    net.write_text(NET)
    open_model(qtbot, workspace, f"{net}:build", trust=True)
    assert workspace.analysis is not None
    before = workspace.analysis.totals.params
    torch.save(small_module(), tmp_path / "net.pt")
    window.open_any(str(tmp_path / "net.pt"))
    dialog = dialog_of(qtbot, window, ConsentDialog)
    changed: list[str] = []
    workspace._opener._watch.changed.connect(changed.append)
    net.write_text(NET.replace("nn.Linear(4, 5)", "nn.Linear(4, 7)"))
    qtbot.waitUntil(lambda: bool(changed))
    with qtbot.waitSignal(workspace.reloaded, timeout=ANSWER_MS):
        dialog.reject()
    assert workspace.analysis.totals.params == before + 2 * (4 + 1)


def test_trust_in_weights_is_no_trust_in_the_code_that_builds_the_model(
    window: MainWindow, qtbot: QtBot, tmp_path: Path
) -> None:
    proof = tmp_path / "proof"
    (tmp_path / "net.py").write_text(f"{NET}\nimport os\nos.mkdir({str(proof)!r})\n")
    save_safetensors(small_module().state_dict(), tmp_path / "own.safetensors")
    window.workspace.open_source(str(tmp_path / "own.safetensors"), trust=True)
    dialog = dialog_of(qtbot, window, ArchitectureDialog)
    dialog.field.setText(f"{tmp_path / 'net.py'}:build")
    qtbot.keyClick(dialog.field, Qt.Key.Key_Return)
    dialog_of(qtbot, window, ConsentDialog).reject()
    assert not proof.exists()


def test_what_was_ready_before_it_was_cancelled_is_not_shown(
    workspace: Workspace, qtbot: QtBot, settings: Settings
) -> None:
    open_model(qtbot, workspace, "torchvision:alexnet")
    said: list[str] = []
    workspace.noticed.connect(said.append)
    opened: list[object] = []
    workspace.engine.opened.connect(opened.append)
    workspace.open_source("torchvision:squeezenet1_0")
    opening = workspace._opener.under_way
    assert opening is not None
    # The request to cancel is as late as it can be: the answer is on its way.
    opening.cancelled = True
    qtbot.waitUntil(lambda: len(opened) == 2 and not workspace.busy, timeout=ANSWER_MS)
    assert "torchvision:squeezenet1_0 was not opened." in said
    assert workspace.model is not None and workspace.model.name == "alexnet"
    workspace.set_sizes({"height": 256})
    qtbot.waitUntil(lambda: workspace.is_current, timeout=ANSWER_MS)


def test_measuring_does_not_open_code_whose_consent_was_taken_back(
    window: MainWindow, qtbot: QtBot, settings: Settings, tmp_path: Path
) -> None:
    measuring = window.measuring
    torch.save(small_module(), tmp_path / "net.pt")
    window.open_any(str(tmp_path / "net.pt"))
    with qtbot.waitSignal(window.workspace.model_changed, timeout=ANSWER_MS):
        qtbot.mouseClick(dialog_of(qtbot, window, ConsentDialog).run, LEFT)
    measuring.set_enabled(True)
    window.workspace.revoke(settings.agreements[0].digest)
    qtbot.waitUntil(lambda: measuring.engine.refusal is not None, timeout=READY_MS)
    assert measuring.engine.refusal.kind == "consent"
    assert not measuring.engine.is_open
    assert measuring.error is not None and "may not be opened again" in measuring.error.message
