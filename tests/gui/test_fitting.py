"""What must fit: long names, many inputs, little room, and a status line in which nothing jumps."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from engine.errors import ErrorInfo
from engine.protocol import Progress
from gui.charts.header import LEAST_CAPTION_PX, Caption
from gui.engine_client import EngineClient
from gui.foreign_text import LONGEST_WORD
from gui.main_window import MainWindow
from gui.theme import ThemeManager
from gui.views.banner import shortened
from gui.views.input_bar import MOST_ROWS
from gui.views.size_control import NumberField
from tests.gui.conftest import open_model, wait_current

MANY = """
import torch


class Several(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Conv2d(3, 4, 3) for _ in range(14))

    def forward(self, **given):
        return sum(layer(x).mean() for layer, x in zip(self.layers, given.values()))


def several():
    names = [f"an_input_with_a_name_of_{number}_that_is_long" for number in range(14)]
    return Several(), (), {name: torch.zeros(1, 3, 32 + n, 32 + n) for n, name in enumerate(names)}
"""


def test_many_inputs_scroll_and_leave_the_window_its_size(
    window: MainWindow, qtbot: QtBot, tmp_path: Path
) -> None:
    path = tmp_path / "many.py"
    path.write_text(MANY)
    window.resize(1280, 720)
    low = window.input_bar.height()
    open_model(qtbot, window.workspace, f"{path}:several", trust=True)
    qtbot.waitUntil(lambda: len(window.findChildren(NumberField)) > 20)
    qtbot.waitUntil(lambda: window.input_bar.height() > 2 * low)
    assert (window.width(), window.height()) == (1280, 720)
    field = window.input_bar.controls[-1].fields[0]
    assert window.input_bar.height() < (MOST_ROWS + 1) * (field.height() + 8)
    left = [control.geometry().left() for control in window.input_bar.controls if len(control.fields) == 2]
    assert len(set(left)) == 1, "the rows are one grid"
    wait_current(qtbot, window.workspace)


def test_the_status_line_is_cut_at_its_end(window: MainWindow, qtbot: QtBot) -> None:
    window.measuring.words = "Measuring 7 of 13 · 1×3×224×224"
    window.measuring.state_changed.emit()
    words = window.status.words
    words.setMaximumWidth(words.fontMetrics().horizontalAdvance("Measuring 7 of 13 ·"))
    qtbot.waitUntil(lambda: words.shown != words.text())
    assert words.shown.startswith("Measuring 7 of") and words.shown.endswith("…")
    assert words.toolTip() == words.text()


def test_a_long_name_does_not_widen_the_window(window: MainWindow, qtbot: QtBot) -> None:
    window.resize(1280, 720)
    error = ErrorInfo("load", f"There is nothing at /{'b' * 300}.", "Look elsewhere. " * 100)
    window.banner.show_problem(f"{'x' * 200}.py was not opened.", error)
    qtbot.waitUntil(window.banner.isVisible)
    qtbot.waitUntil(
        lambda: window.banner.text.height() >= window.banner.text.heightForWidth(window.banner.text.width())
    )
    assert (window.width(), window.height()) == (1280, 720)
    assert window.minimumSizeHint().width() <= 960
    assert window.minimumSizeHint().height() <= 720


def test_long_words_are_shortened_in_the_middle() -> None:
    assert shortened("A short sentence.\nAnd more.") == "A short sentence. And more."
    assert shortened("4.09\N{NARROW NO-BREAK SPACE}G") == "4.09\N{NARROW NO-BREAK SPACE}G"
    name = "a" * 100 + "/model.py"
    short = shortened(f"{name} was not opened.")
    assert short.endswith("/model.py was not opened.") and "…" in short
    assert len(short.split(" ")[0]) <= LONGEST_WORD + 1
    assert len(shortened("word " * 1000)) < 500


def test_what_the_sentence_says_is_not_said_again(window: MainWindow) -> None:
    banner = window.banner
    error = ErrorInfo("layer", "fc takes 512 features but got 2048.", expected="512", got="2048")
    banner.show_problem("", error)
    assert banner.text.text() == "fc takes 512 features but got 2048."
    banner.show_problem("", ErrorInfo("layer", "fc stopped.", expected="512", got="2048"))
    assert banner.text.text() == "fc stopped. Expected 512, got 2048."


@pytest.mark.parametrize("size", [(960, 540), (1280, 720)])
def test_a_small_window_cuts_no_chart(window: MainWindow, qtbot: QtBot, size: tuple[int, int]) -> None:
    window.resize(*size)
    window.actions_.reset_layout.trigger()

    def fits() -> bool:
        window.resize(*size)
        return (window.width(), window.height()) == size

    qtbot.waitUntil(fits)
    open_model(qtbot, window.workspace, "torchvision:resnet18")
    assert (window.width(), window.height()) == size
    for panel, chart in ((window.breakdown, window.breakdown.bars), (window.curve, window.curve.chart)):
        bottom = chart.mapTo(panel, chart.rect().bottomLeft()).y()
        assert bottom < panel.height()
        assert panel.mapTo(window, panel.rect().bottomLeft()).y() < window.status.y()
    wait_current(qtbot, window.workspace)


def test_nothing_in_the_status_line_jumps(
    window: MainWindow, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_model(qtbot, window.workspace, "torchvision:resnet18")
    wait_current(qtbot, window.workspace)
    status = window.status
    fixed = (status.engine, status.mode, status.coverage)

    def places() -> list[int]:
        status.layout().activate()
        return [widget.x() for widget in fixed]

    before = places()
    status.notice("Something worth a sentence that is not short.")
    assert places() == before
    for state in ("busy", "ready"):
        monkeypatch.setattr(EngineClient, "state", state)
        status._refresh_engine()
        assert places() == before
    monkeypatch.undo()
    window.workspace.progress = Progress(0, 1, 2, "Tracing")
    for widget in (status.bar, status.cancel):
        widget.show()
        assert places() == before


def test_a_caption_is_whole_or_most_of_it_or_not_there(theme: ThemeManager, qtbot: QtBot) -> None:
    caption = Caption(theme)
    qtbot.addWidget(caption)
    caption.set_text("MACs against resolution · and more")
    seen = []
    for width in range(600, 0, -20):
        caption.resize(width, 20)
        seen.append(caption.shown)
    assert list(dict.fromkeys(seen)) == [
        "MACs against resolution · and more",
        "MACs against resolution",
        "",
    ]
    caption.set_text("times of a long name that is longer than what there is room for")
    caption.resize(LEAST_CAPTION_PX, 20)
    assert caption.shown.startswith("times of") and caption.shown.endswith("…")
    caption.resize(LEAST_CAPTION_PX - 1, 20)
    assert caption.shown == ""
