"""What others wrote (names in files and of files) never spoofs, widens or formats the window."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel
from pytestqt.qtbot import QtBot
from torch import Tensor

from engine.contents import Contents
from engine.errors import ErrorInfo
from engine.files import read
from gui import tooltips
from gui.callables import candidates
from gui.foreign_text import LONGEST_WORD, menu_text, one_line, short_words, visible
from gui.opening import ArchitectureRequest
from gui.theme import ThemeManager
from gui.tooltips import plain_tooltip
from gui.views.architecture_dialog import ArchitectureDialog
from gui.views.callable_dialog import CallableDialog
from gui.views.consent_dialog import ConsentDialog
from gui.views.elided_label import ElidedLabel
from gui.views.file_dialog import SIZE, ContentsDialog, FileDialog

TURNED = "\N{RIGHT-TO-LEFT OVERRIDE}"
THIN = "\N{THIN SPACE}"
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
TENSOR = {"weight": torch.zeros(2, 3)}


def saved(path: Path, value: object = TENSOR) -> Contents:
    torch.save(value, path)
    return read(path)


def question(contents: Contents, source: str = "") -> ArchitectureRequest:
    return ArchitectureRequest(
        source or contents.file, ErrorInfo("architecture", "Weights.", contents=contents)
    )


def test_characters_that_turn_or_hide_others_are_seen() -> None:
    assert visible(f"a{TURNED}gnp.pt") == f"a{REPLACEMENT}gnp.pt"
    assert one_line("a\nb\tc\x00\x1b[31m") == f"a b c{REPLACEMENT}{REPLACEMENT}[31m"
    assert visible(f"38{THIN}ms, naïve 日本語\nnext") == f"38{THIN}ms, naïve 日本語\nnext"
    assert plain_tooltip(f"{TURNED}<b>\n") == f"<p>{REPLACEMENT}&lt;b&gt;<br></p>"
    assert menu_text("a&b.pt") == "a&&b.pt"
    assert max(map(len, short_words(f"{'W' * 250}.pt was not opened.").split())) == LONGEST_WORD + 1


def test_a_label_paints_a_name_as_it_is_stored(qtbot: QtBot) -> None:
    label = ElidedLabel(f"model{TURNED}gnp.pt")
    qtbot.addWidget(label)
    label.resize(400, 20)
    assert label.shown == f"model{REPLACEMENT}gnp.pt"
    assert TURNED not in label.toolTip()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (f"{'W' * 200}.pt", TENSOR),
        ("keys.pt", {"<h1>" + "x" * 2000: TENSOR, "b" * 300: TENSOR, "c": {"n" * 5000: torch.zeros(3)}}),
    ],
)
def test_a_name_makes_no_dialog_wider_than_the_screen(
    theme: ThemeManager, qtbot: QtBot, tmp_path: Path, name: str, value: dict[str, dict[str, Tensor]]
) -> None:
    contents = saved(tmp_path / name, value)
    error = ErrorInfo("consent", f"Opening {name} runs code.", digest="ab" * 32, contents=contents)
    problem = ErrorInfo(
        "unsupported", f"{name} is nothing.", f"{'y' * 300} is what to do.", contents=contents
    )
    dialogs: list[FileDialog] = [
        ArchitectureDialog(question(contents), theme),
        ConsentDialog(contents.file, error, theme),
        ContentsDialog(contents, theme, problem=problem),
    ]
    for dialog in dialogs:
        qtbot.addWidget(dialog)
        assert dialog.minimumSizeHint().width() <= min(SIZE[0], 1280 - 48), dialog.objectName()
        for label in dialog.findChildren(QLabel):
            formats = (Qt.TextFormat.PlainText, Qt.TextFormat.AutoText)
            assert label.textFormat() in formats
            assert label.textFormat() == Qt.TextFormat.PlainText or "<" not in label.text()


def test_docstrings_are_no_html_in_tooltips(qtbot: QtBot, tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    path.write_text("def one():\n    '''<img src=x><h1>big</h1>'''\n\ndef two():\n    pass\n")
    dialog = CallableDialog(str(path), candidates(str(path)))
    qtbot.addWidget(dialog)
    tips = [dialog.list.item(row).toolTip() for row in range(dialog.list.count())]
    assert any("&lt;img" in tip for tip in tips)
    assert not any("<img" in tip for tip in tips)


def test_only_weights_that_a_source_can_name_are_offered(
    theme: ThemeManager, qtbot: QtBot, tmp_path: Path
) -> None:
    large = {"weight": torch.zeros(20, 30)}
    contents = saved(tmp_path / "run.pt", {"w": torch.zeros(3), "model": large, "ema": dict(large)})
    assert "" in {group.path for group in contents.groups}, "tensors beside the state dicts"
    dialog = ArchitectureDialog(question(contents), theme)
    qtbot.addWidget(dialog)
    offered = [group.path for group in dialog._groups]
    assert sorted(offered) == ["ema", "model"]
    dialog.field.setText("torchvision:alexnet")
    for at, path in enumerate(offered):
        dialog.groups.setCurrentIndex(at)
        part = "" if path == "model" else "#ema"
        assert dialog.source == f"{contents.file}{part}@torchvision:alexnet"
    for asked, path in ((f"{contents.file}#ema", "ema"), (contents.file, "model")):
        again = ArchitectureDialog(question(contents, asked), theme)
        qtbot.addWidget(again)
        assert again.group is not None and again.group.path == path


def test_code_beside_the_weights_is_found(theme: ThemeManager, qtbot: QtBot, tmp_path: Path) -> None:
    (tmp_path / "own_net.py").write_text("def build():\n    pass\n")
    dialog = ArchitectureDialog(question(saved(tmp_path / "w.pt")), theme)
    qtbot.addWidget(dialog)
    dialog.field.setText("own_net.py:build")
    assert dialog.source == f"{tmp_path / 'w.pt'}@{tmp_path / 'own_net.py'}:build"
    dialog.field.setText("other_net.py:build")
    assert dialog.source.endswith("@other_net.py:build"), (
        "as it was typed: the engine says that it is not there"
    )


def test_enter_in_a_filter_answers_no_question(theme: ThemeManager, qtbot: QtBot, tmp_path: Path) -> None:
    contents = saved(tmp_path / "w.pt", {f"layer{at}.weight": torch.zeros(2) for at in range(12)})
    dialog = ArchitectureDialog(question(contents), theme)
    qtbot.addWidget(dialog)
    dialog.field.setText("torchvision:alexnet")
    dialog.show()
    qtbot.waitExposed(dialog)
    dialog.view.setCurrentIndex(1)
    view = dialog.view.tensors
    assert view is not None and dialog.open_button.isEnabled()
    view.tensors.filter.setFocus()
    qtbot.keyClicks(view.tensors.filter, "layer1")
    with qtbot.assertNotEmitted(dialog.chosen):
        qtbot.keyClick(view.tensors.filter, Qt.Key.Key_Return)
    assert dialog.isVisible()
    assert dialog.focusWidget() is view.tensors.table, "on to the rows"


def test_tab_walks_from_the_weights_to_their_candidates(
    theme: ThemeManager, qtbot: QtBot, tmp_path: Path
) -> None:
    large = {"weight": torch.zeros(20, 30)}
    contents = saved(tmp_path / "run.pt", {"model": large, "ema": dict(large)})
    dialog = ArchitectureDialog(question(contents), theme)
    qtbot.addWidget(dialog)
    dialog.groups.setCurrentIndex(1)
    assert dialog.groups.nextInFocusChain() is dialog.table


def test_the_zoo_is_asked_for_once(theme: ThemeManager, qtbot: QtBot, tmp_path: Path) -> None:
    dialog = ArchitectureDialog(question(saved(tmp_path / "w.pt")), theme)
    qtbot.addWidget(dialog)
    asked: list[bool] = []
    dialog.zoo_wanted.connect(lambda: asked.append(True))
    qtbot.keyClicks(dialog.field, "torchv")
    assert len(asked) == 1


def test_a_tooltip_breaks_words_that_no_screen_is_wide_enough_for() -> None:
    lines = plain_tooltip("one " + "x" * 300).split("\n")
    assert max(map(len, lines)) <= 4 + tooltips.LONGEST_WORD and "".join(lines) == "one " + "x" * 300
    assert plain_tooltip("x" * tooltips.LONGEST_WORD) == "x" * tooltips.LONGEST_WORD
