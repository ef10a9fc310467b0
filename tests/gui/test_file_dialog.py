"""Files of every kind in the window, with a real engine and real files: asked, shown, opened, revoked."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
import torch
import torchvision
from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QDragEnterEvent, QDropEvent, QGuiApplication
from PySide6.QtWidgets import QAbstractButton, QApplication, QComboBox, QDialog, QLineEdit, QSpinBox
from pytestqt.qtbot import QtBot
from torch import nn

from gui.main_window import MainWindow
from gui.settings import Settings
from gui.theme import ThemeManager
from gui.views.architecture_dialog import NOTHING, ArchitectureDialog
from gui.views.consent_dialog import ConsentDialog
from gui.views.file_dialog import ContentsDialog
from gui.views.settings_dialog import SettingsDialog
from tests.engine.model_files import save_exported, save_safetensors, save_script
from tests.gui.conftest import ANSWER_MS, open_model, wait_current

T = TypeVar("T", bound=QDialog)
LEFT = Qt.MouseButton.LeftButton
CONTROL = Qt.KeyboardModifier.ControlModifier
SMALLEST = "shufflenet_v2_x0_5"
"""Of torchvision's models the one with the smallest file, 5.6 MB."""
NET = """
import torch
from torch import nn

def build():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)), (torch.zeros(1, 3, 8, 8),)
"""


class MakesFolder:
    """Unpickling it makes a folder: the proof that somebody's code ran."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (self.path,)


def small_module() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)).eval()


def hostile(folder: Path) -> tuple[Path, Path]:
    """A pickled module with somebody's code in it, and what that would make."""
    module, proof = small_module(), folder / "proof"
    module.extra = MakesFolder(proof)  # type: ignore[assignment]
    torch.save(module, folder / "classifier.pt")
    return folder / "classifier.pt", proof


def dialog_of(qtbot: QtBot, window: MainWindow, kind: type[T]) -> T:
    """The open dialog of this kind."""

    def shown() -> list[T]:
        return [dialog for dialog in window.findChildren(kind) if dialog.isVisible()]

    qtbot.waitUntil(lambda: bool(shown()), timeout=ANSWER_MS)
    return shown()[-1]


def drop(window: MainWindow, *paths: Path) -> None:
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    arguments = (Qt.DropAction.CopyAction, mime, LEFT, Qt.KeyboardModifier.NoModifier)
    enter = QDragEnterEvent(QPoint(50, 50), *arguments)
    QApplication.sendEvent(window, enter)
    assert enter.isAccepted()
    QApplication.sendEvent(window, QDropEvent(QPointF(50, 50), *arguments))


@pytest.fixture
def old(window: MainWindow, qtbot: QtBot) -> MainWindow:
    """A window with a model that must stay whatever a file is."""
    open_model(qtbot, window.workspace, "torchvision:alexnet")
    return window


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training checkpoint of a model of torchvision's: wrapped names, and an average beside them."""
    torch.manual_seed(0)
    state = getattr(torchvision.models, SMALLEST)().state_dict()
    path = tmp_path_factory.mktemp("weights") / "run.ckpt"
    wrapped = {f"module.{name}": tensor for name, tensor in state.items()}
    torch.save({"epoch": 3, "model": wrapped, "ema": dict(state)}, path)
    return path


def test_a_hostile_module_runs_nothing_unless_it_is_agreed_to(
    old: MainWindow, qtbot: QtBot, tmp_path: Path, settings: Settings
) -> None:
    path, proof = hostile(tmp_path)
    drop(old, path)
    dialog = dialog_of(qtbot, old, ConsentDialog)
    assert dialog.cancel.isDefault()
    assert "mkdir" in dialog.details.toPlainText()
    titles = [dialog.view.tabText(at) for at in range(dialog.view.count())]
    dialog.view.setCurrentIndex(next(at for at, title in enumerate(titles) if "calls" in title))
    qtbot.mouseClick(dialog.copy_button, LEFT)
    copied = QGuiApplication.clipboard().text()
    assert "mkdir" in copied and str(proof) in copied, "with the arguments of the call"
    qtbot.keyClick(dialog, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: not old.workspace.busy)
    assert not proof.exists()
    assert old.toolbar.title.text() == "alexnet"
    assert not settings.agreements
    drop(old, path)
    again = dialog_of(qtbot, old, ConsentDialog)
    with qtbot.waitSignal(old.workspace.model_changed, timeout=ANSWER_MS):
        qtbot.mouseClick(again.run, LEFT)
    assert proof.exists(), "agreed to, it runs: that is what the dialog is about"
    assert old.workspace.model is not None and old.workspace.model.format == "pickle"
    assert [each.file for each in settings.agreements] == [str(path)]


def test_a_trusted_module_opens_is_remembered_and_asked_about_again_once_revoked(
    old: MainWindow, qtbot: QtBot, tmp_path: Path, settings: Settings
) -> None:
    module, path = small_module(), tmp_path / "net.bin"
    torch.save(module, path)
    old.open_any(str(path))
    dialog = dialog_of(qtbot, old, ConsentDialog)
    with qtbot.waitSignal(old.workspace.model_changed, timeout=ANSWER_MS):
        qtbot.mouseClick(dialog.run, LEFT)
    assert old.workspace.analysis is not None
    assert old.workspace.analysis.totals.params == sum(each.numel() for each in module.parameters())
    assert "weights: net.bin" in old.toolbar.source.toolTip()
    with qtbot.waitSignal(old.workspace.model_changed, timeout=ANSWER_MS):
        old.open_any(str(path))
    old.activateWindow()
    qtbot.waitUntil(old.isActiveWindow)
    qtbot.keyClick(old, Qt.Key.Key_Comma, CONTROL)
    options = dialog_of(qtbot, old, SettingsDialog)
    assert options.table.table.index(0, 0).data() == "net.bin"
    assert options.table.table.index(0, 1).data() == "Pickled module"
    qtbot.mouseClick(options.revoke, LEFT)
    assert not settings.agreements
    assert options.nothing.isVisible()
    options.close()
    old.actions_.reload.trigger()
    asked = dialog_of(qtbot, old, ConsentDialog)
    asked.reject()
    assert old.workspace.model is not None and old.workspace.model.source.endswith("net.bin")


def test_weights_open_with_the_candidate_that_enter_chooses(
    old: MainWindow, qtbot: QtBot, weights: Path, settings: Settings
) -> None:
    old.open_any(str(weights))
    dialog = dialog_of(qtbot, old, ArchitectureDialog)
    best = dialog.selected
    assert best is not None and best.fit == "exact"
    names = [dialog.table.table.index(row, 0).data() for row in range(dialog.table.table.rowCount())]
    assert f"torchvision:{SMALLEST}" in names
    dialog.table.setCurrentIndex(dialog.table.table.index(names.index(f"torchvision:{SMALLEST}"), 0))
    assert dialog.preview.text().endswith(f"@torchvision:{SMALLEST}")
    with qtbot.waitSignal(old.workspace.model_changed, timeout=ANSWER_MS):
        qtbot.keyClick(dialog.table, Qt.Key.Key_Return)
    model, analysis = old.workspace.model, old.workspace.analysis
    assert model is not None and analysis is not None
    assert Path(model.weights) == weights
    expected = sum(each.numel() for each in getattr(torchvision.models, SMALLEST)().parameters())
    assert analysis.totals.params == expected
    assert settings.recent[0].endswith(f"@torchvision:{SMALLEST}"), "opened again without a question"


def test_another_group_of_the_file_has_candidates_of_its_own(
    old: MainWindow, qtbot: QtBot, weights: Path
) -> None:
    old.open_any(str(weights))
    dialog = dialog_of(qtbot, old, ArchitectureDialog)
    assert dialog.group is not None and dialog.group.role == "model"
    texts = [dialog.groups.itemText(at) for at in range(dialog.groups.count())]
    ema = next(at for at, text in enumerate(texts) if text.startswith("ema"))
    dialog.groups.setCurrentIndex(ema)
    assert dialog.selected is not None and dialog.selected.group == "ema"
    dialog.field.setText(f"torchvision:{SMALLEST}")
    assert dialog.source.endswith(f"#ema@torchvision:{SMALLEST}")
    with qtbot.waitSignal(old.workspace.model_changed, timeout=ANSWER_MS):
        qtbot.keyClick(dialog.field, Qt.Key.Key_Return)
    assert old.toolbar.source.text().startswith("run.ckpt#ema@")


def test_weights_that_fit_nothing_open_with_the_users_own_code(
    old: MainWindow, qtbot: QtBot, tmp_path: Path, settings: Settings
) -> None:
    (tmp_path / "net.py").write_text(NET)
    namespace: dict[str, Callable[[], tuple[nn.Module, object]]] = {}
    exec(NET, namespace)
    state = namespace["build"]()[0].state_dict()
    save_safetensors(state, tmp_path / "own.safetensors")
    old.open_any(str(tmp_path / "own.safetensors"))
    dialog = dialog_of(qtbot, old, ArchitectureDialog)
    assert dialog.nothing.text() == NOTHING and dialog.nothing.isVisible()
    assert not dialog.open_button.isEnabled()
    qtbot.keyClicks(dialog.field, str(tmp_path / "net.py"))
    assert "callable" in dialog.problem.text() and not dialog.open_button.isEnabled()
    qtbot.keyClicks(dialog.field, ":build")
    assert not dialog.problem.isVisible()
    qtbot.keyClick(dialog.field, Qt.Key.Key_Return)
    consent = dialog_of(qtbot, old, ConsentDialog)
    assert consent.contents is None, "it is the code that is asked about, not the weights"
    with qtbot.waitSignal(old.workspace.model_changed, timeout=ANSWER_MS):
        qtbot.mouseClick(consent.run, LEFT)
    assert old.workspace.analysis is not None
    assert old.workspace.analysis.totals.params == sum(tensor.numel() for tensor in state.values())
    assert settings.agreements[0].kind == "python"


def test_cancelled_weights_leave_everything_as_it_is(old: MainWindow, qtbot: QtBot, weights: Path) -> None:
    old.open_any(str(weights))
    dialog = dialog_of(qtbot, old, ArchitectureDialog)
    qtbot.keyClick(dialog, Qt.Key.Key_Escape)
    qtbot.waitUntil(lambda: not old.workspace.busy)
    assert old.toolbar.title.text() == "alexnet"
    old.workspace.set_sizes({"height": 256})
    wait_current(qtbot, old.workspace)


def test_what_cannot_be_computed_is_shown_and_why(old: MainWindow, qtbot: QtBot, tmp_path: Path) -> None:
    (tmp_path / "evil.pkl").write_bytes(f"cos\nmkdir\n(S'{tmp_path / 'proof'}'\ntR.".encode())
    old.open_any(str(tmp_path / "evil.pkl"))
    dialog = dialog_of(qtbot, old, ContentsDialog)
    assert "mkdir" in dialog.text()
    assert "evil.pkl was not opened" in old.banner.text.text()
    qtbot.keyClick(dialog, Qt.Key.Key_Escape)
    qtbot.mouseClick(old.banner.contents, LEFT)
    dialog_of(qtbot, old, ContentsDialog).close()
    assert not (tmp_path / "proof").exists()
    assert old.toolbar.title.text() == "alexnet"


class Says:
    """Unpickling it hands somebody's function a text that looks like HTML, and like another line."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, ("<b>bold</b>\n• Uses, for plain data: nothing.",)


def test_somebodys_code_stands_first_and_apart_in_both_themes(
    old: MainWindow, qtbot: QtBot, tmp_path: Path, theme: ThemeManager
) -> None:
    module = small_module()
    module.extra = Says()  # type: ignore[assignment]
    torch.save(module, tmp_path / "classifier.pt")
    old.open_any(str(tmp_path / "classifier.pt"))
    details = dialog_of(qtbot, old, ConsentDialog).details
    lines = details.toPlainText().split("\n")
    marked = [line.startswith("⚠ ") for line in lines]
    assert lines[0].startswith(f"⚠ Calls {os.mkdir.__module__}.mkdir(") and "<b>bold</b>" in lines[0]
    assert marked == sorted(marked, reverse=True), "nothing harmless stands above it"
    assert marked.count(True) == 1
    assert any(line.startswith("• Uses classes and functions of torch") for line in lines)
    for mode in ("dark", "light"):
        theme.set_mode(mode)
        (coloured,) = details.extraSelections()
        assert coloured.cursor.selectedText() == lines[0]
        assert coloured.format.foreground().color() == theme.current.color("caution")
    details.selectAll()
    details.copy()
    assert QGuiApplication.clipboard().text() == "\n".join(lines)


def test_what_failed_after_its_code_ran_is_said_to_have_run(
    old: MainWindow, qtbot: QtBot, tmp_path: Path
) -> None:
    path, proof = hostile(tmp_path)
    proof.mkdir()  # so that making it once more raises
    old.open_any(str(path))
    dialog = dialog_of(qtbot, old, ConsentDialog)
    with qtbot.waitSignal(old.workspace.open_failed, timeout=ANSWER_MS):
        qtbot.mouseClick(dialog.run, LEFT)
    assert "FileExistsError" in old.banner.text.text()
    assert "Its code may have run already." in old.banner.text.text()


def test_the_banner_about_a_file_goes_when_another_is_opened(
    old: MainWindow, qtbot: QtBot, tmp_path: Path
) -> None:
    empty, net = tmp_path / "empty.pt", tmp_path / "net.pt"
    empty.write_bytes(b"")
    torch.save(small_module(), net)

    def fail() -> None:
        with qtbot.waitSignal(old.workspace.open_failed, timeout=ANSWER_MS):
            drop(old, empty)
        assert "empty.pt was not opened." in old.banner.text.text() and old.banner.isVisible()

    fail()
    drop(old, net)
    dialog = dialog_of(qtbot, old, ConsentDialog)
    assert not old.banner.isVisible()
    qtbot.mouseClick(dialog.cancel, LEFT)
    qtbot.waitUntil(lambda: not old.workspace.busy)
    assert not old.banner.isVisible(), "nor does it come back"
    fail()
    open_model(qtbot, old.workspace, "torchvision:alexnet")
    assert not old.banner.isVisible()
    fail()
    with qtbot.waitSignal(old.workspace.open_failed, timeout=ANSWER_MS):
        drop(old, tmp_path / "missing.pt")
    assert "missing.pt was not opened." in old.banner.text.text(), "what failed last is what is told"


def test_damaged_files_end_in_a_sentence(
    old: MainWindow, qtbot: QtBot, tmp_path: Path, weights: Path
) -> None:
    cut, empty = tmp_path / "cut.pt", tmp_path / "empty.pt"
    cut.write_bytes(weights.read_bytes()[:10_000])
    empty.write_bytes(b"")
    for path in (cut, empty, tmp_path / "missing.pt", tmp_path):
        with qtbot.waitSignal(old.workspace.open_failed, timeout=ANSWER_MS):
            drop(old, path)
        assert f"{path.name} was not opened." in old.banner.text.text()
        assert not [dialog for dialog in old.findChildren(QDialog) if dialog.isVisible()]
    assert old.toolbar.title.text() == "alexnet"


def test_a_dropped_folder_of_weights_is_opened(old: MainWindow, qtbot: QtBot, tmp_path: Path) -> None:
    save_safetensors(small_module().state_dict(), tmp_path / "model.safetensors")
    drop(old, tmp_path)
    dialog = dialog_of(qtbot, old, ArchitectureDialog)
    assert dialog.contents is not None and dialog.contents.format == "safetensors"
    dialog.reject()
    drop(old, tmp_path / "model.safetensors", tmp_path / "settings.ini")
    dialog = dialog_of(qtbot, old, ArchitectureDialog)
    assert old.status.words.text() == "model.safetensors is opened; one at a time."
    dialog.reject()


def test_shards_are_opened_by_their_index_which_is_no_report(
    old: MainWindow, qtbot: QtBot, tmp_path: Path
) -> None:
    state = small_module().state_dict()
    places = {name: f"part{at % 2}.safetensors" for at, name in enumerate(state)}
    for part in set(places.values()):
        save_safetensors({name: state[name] for name in state if places[name] == part}, tmp_path / part)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    drop(old, *(tmp_path / part for part in sorted(set(places.values()))), index)
    dialog = dialog_of(qtbot, old, ArchitectureDialog)
    assert dialog.contents is not None
    assert set(dialog.contents.shards) == set(places.values())
    assert len(dialog.contents.tensors.name) == len(state)
    dialog.reject()


def test_contents_of_the_open_model(old: MainWindow, qtbot: QtBot, weights: Path) -> None:
    assert not old.actions_.contents.isEnabled()
    assert "no model file" in old.actions_.contents.toolTip()
    open_model(qtbot, old.workspace, f"{weights}@torchvision:{SMALLEST}")
    qtbot.keyClick(old, Qt.Key.Key_F, CONTROL | Qt.KeyboardModifier.AltModifier)
    dialog = dialog_of(qtbot, old, ContentsDialog)
    view = dialog.view.tensors
    assert view is not None
    whole = view.tensors.model.rowCount()
    qtbot.keyClick(view.tensors.table, Qt.Key.Key_F, CONTROL)
    assert view.tensors.filter.hasFocus()
    qtbot.keyClicks(view.tensors.filter, "conv1 running")
    rows = view.tensors.model.rowCount()
    assert 0 < rows < whole
    assert view.tensors.count.text() == f"{rows:,} of {whole:,}"
    view.tensors.filter.clear()
    view.parts.selectRow(2)
    assert 0 < view.tensors.model.rowCount() < whole
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    qtbot.waitUntil(lambda: dialog.sha256.text() == digest)
    with qtbot.waitSignal(old.workspace.inspected, timeout=ANSWER_MS):
        old.actions_.contents.trigger()
    shown = [each for each in old.findChildren(ContentsDialog) if each.isVisible()]
    assert len(shown) == 1, "of one file there is one window"
    shown[0].close()


def test_a_model_that_cannot_be_edited_says_why(old: MainWindow, qtbot: QtBot, tmp_path: Path) -> None:
    save_script(small_module(), torch.zeros(1, 3, 8, 8), tmp_path / "scripted.pt")
    open_model(qtbot, old.workspace, str(tmp_path / "scripted.pt"), trust=True)
    model = old.workspace.model
    assert model is not None and model.no_edits
    assert "not editable" in old.toolbar.source.text()
    assert model.no_edits in old.toolbar.source.toolTip()
    old.selection.set_current("0")
    remove = old.inspector.findChild(QAbstractButton, "inspector_remove")
    assert remove is not None
    assert not remove.isEnabled()
    assert remove.toolTip() == model.no_edits
    for field in old.inspector.findChildren(QSpinBox):
        assert not field.isEnabled() and field.toolTip() == model.no_edits
    old.workspace.remove_layer("0")
    assert old.workspace.configuration is not None and not old.workspace.configuration.edits


def test_fixed_sizes_are_explained_and_can_be_tried_all_the_same(
    old: MainWindow, qtbot: QtBot, tmp_path: Path, settings: Settings
) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    save_exported(module, torch.zeros(1, 3, 16, 16), tmp_path / "net.pt2")
    old.open_any(str(tmp_path / "net.pt2"))
    dialog = dialog_of(qtbot, old, ConsentDialog)
    with qtbot.waitSignal(old.workspace.model_changed, timeout=ANSWER_MS):
        qtbot.mouseClick(dialog.run, LEFT)
    bar, model = old.input_bar, old.workspace.model
    assert model is not None and model.fixed_sizes
    assert bar.size_note.text() == model.fixed_sizes
    assert not bar.controls
    with qtbot.waitSignal(old.workspace.model_changed, timeout=ANSWER_MS):
        qtbot.mouseClick(bar.guards, LEFT)
    assert old.input_bar.controls, "without a question: the content is the one that was agreed to"
    assert "guards off" in bar.size_note.text()
    old.workspace.set_sizes({old.workspace.symbols()[0]: 24})
    wait_current(qtbot, old.workspace)
    with qtbot.waitSignal(old.workspace.model_changed, timeout=ANSWER_MS):
        qtbot.mouseClick(bar.guards, LEFT)
    assert not bar.controls


def test_the_completer_knows_the_zoo(old: MainWindow, qtbot: QtBot, weights: Path) -> None:
    old.open_any(str(weights))
    dialog = dialog_of(qtbot, old, ArchitectureDialog)
    qtbot.keyClicks(dialog.field, "torchvision:resn")
    qtbot.waitUntil(lambda: dialog.field.completer() is not None, timeout=ANSWER_MS)
    completer = dialog.field.completer()
    completer.setCompletionPrefix("resnet50")
    assert "torchvision:resnet50" in {
        completer.completionModel().index(row, 0).data() for row in range(completer.completionCount())
    }
    dialog.reject()


def test_every_control_of_the_dialogs_has_a_name_and_a_tooltip(
    old: MainWindow, qtbot: QtBot, weights: Path, tmp_path: Path
) -> None:
    old.open_any(str(weights))
    question = dialog_of(qtbot, old, ArchitectureDialog)
    old.actions_.settings.trigger()
    bare = []
    for dialog in (question, dialog_of(qtbot, old, SettingsDialog)):
        for kind in (QAbstractButton, QLineEdit, QComboBox):
            for widget in dialog.findChildren(kind):
                inner = widget.objectName().startswith("qt_") or not widget.isVisible()
                inner = inner or isinstance(widget.parent(), QLineEdit | QComboBox)
                if not inner and not (widget.objectName() and widget.accessibleName() and widget.toolTip()):
                    bare.append((type(widget).__name__, widget.objectName()))
        dialog.reject()
    assert bare == []
