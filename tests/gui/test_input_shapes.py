"""A model whose guessed input is wrong is opened again with the right one, without asking for its consent again."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from engine.errors import InputError
from engine.graph import InputShape
from gui.main_window import MainWindow
from gui.opening import Plan, inputs_text, parse_inputs, planned_inputs, restated
from gui.settings import Settings
from gui.views.consent_dialog import ConsentDialog
from gui.views.shape_dialog import ShapeDialog
from tests.gui.conftest import ANSWER_MS, open_model
from tests.gui.test_file_dialog import dialog_of

LEFT = Qt.MouseButton.LeftButton
BATCH, STEPS, FEATURES, WIDTH, HIDDEN, CLASSES = 1, 12, 20, 16, 8, 3
MACS = STEPS * FEATURES * WIDTH + STEPS * 4 * HIDDEN * (WIDTH + HIDDEN) + HIDDEN * CLASSES
"""Linear at every step, the four gates of an LSTM at every step, a Linear of the last step."""
RECURRENT = f"""
from torch import nn

class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.project = nn.Linear({FEATURES}, {WIDTH})
        self.recur = nn.LSTM({WIDTH}, {HIDDEN}, batch_first=True)
        self.head = nn.Linear({HIDDEN}, {CLASSES})

    def forward(self, x):
        return self.head(self.recur(self.project(x))[0][:, -1])

def build():
    return Recurrent()
"""


def test_a_wrongly_guessed_input_is_replaced(
    window: MainWindow, qtbot: QtBot, settings: Settings, tmp_path: Path
) -> None:
    workspace, banner, action = window.workspace, window.banner, window.actions_.input_shapes
    assert not action.isEnabled()
    (tmp_path / "recurrent.py").write_text(RECURRENT)
    window.open_any(f"{tmp_path / 'recurrent.py'}:build")
    consent = dialog_of(qtbot, window, ConsentDialog)
    with qtbot.waitSignal(workspace.model_changed, timeout=ANSWER_MS):
        qtbot.mouseClick(consent.run, LEFT)
    assert workspace.analysis is None
    assert f"The input {BATCH}×{FEATURES} was guessed" in banner.text.text()
    assert banner.shapes.isVisible()
    assert action.isEnabled()

    qtbot.mouseClick(banner.shapes, LEFT)
    dialog = dialog_of(qtbot, window, ShapeDialog)
    assert dialog.field.text() == f"x={BATCH}x{FEATURES}"
    dialog.field.setText(f"{BATCH}x{STEPS}x{FEATURES + 1}")
    questions: list[object] = []
    workspace.consent_required.connect(questions.append)
    with qtbot.waitSignal(workspace.model_changed, timeout=ANSWER_MS):
        dialog.accept()
    assert workspace.analysis is None
    assert "guessed" not in banner.text.text(), "these were given"

    qtbot.mouseClick(banner.shapes, LEFT)
    dialog = dialog_of(qtbot, window, ShapeDialog)
    assert dialog.field.text() == f"x={BATCH}x{STEPS}x{FEATURES + 1}"
    dialog.field.setText(f"{BATCH}x{STEPS}x{FEATURES}")
    with qtbot.waitSignal(workspace.model_changed, timeout=ANSWER_MS):
        dialog.accept()
    assert workspace.analysis is not None
    assert workspace.analysis.totals.macs == MACS
    assert workspace.analysis.output_shapes == ((BATCH, CLASSES),)
    assert not questions, "the same code was agreed to before"
    assert len(settings.agreements) == 1
    assert not banner.isVisible()
    assert workspace.undo_stack.count() == 0

    with qtbot.waitSignal(workspace.reloaded, timeout=ANSWER_MS):
        workspace.reload()
    assert workspace.analysis.totals.macs == MACS, "the inputs stay when it is opened again"


def test_a_model_with_its_own_inputs_takes_other_sizes_and_goes_on(window: MainWindow, qtbot: QtBot) -> None:
    workspace = window.workspace
    open_model(qtbot, workspace, "torchvision:alexnet")
    window.actions_.input_shapes.trigger()
    dialog = dialog_of(qtbot, window, ShapeDialog)
    assert dialog.field.text() == "x=1x3x224x224"
    dialog.field.setText("2x3x128x128")
    with qtbot.waitSignal(workspace.model_changed, timeout=ANSWER_MS):
        dialog.accept()
    assert workspace.analysis is not None
    assert workspace.analysis.configuration.inputs == (InputShape("x", (2, 3, 128, 128)),)
    assert workspace.failure is None


def test_the_question_goes_with_its_model(window: MainWindow, qtbot: QtBot) -> None:
    open_model(qtbot, window.workspace, "torchvision:alexnet")
    window.actions_.input_shapes.trigger()
    dialog = dialog_of(qtbot, window, ShapeDialog)
    chosen: list[object] = []
    dialog.chosen.connect(chosen.append)
    open_model(qtbot, window.workspace, "torchvision:squeezenet1_1")
    assert not [each for each in window.findChildren(ShapeDialog) if each.isVisible()]
    assert not chosen


def test_inputs_are_written_as_they_are_read() -> None:
    inputs = (InputShape("ids", (1, 128), "int64"), InputShape("mask", (1, 128), "float32"))
    text = inputs_text(inputs)
    assert text == "ids=1x128:int64; mask=1x128"
    assert [each.shape for each in parse_inputs(text)] == [each.shape for each in inputs]


def test_a_dtype_that_is_not_written_stays() -> None:
    present = (InputShape("ids", (1, 128), "int64"),)
    ids = InputShape("", (1, 12, 20), "int64")
    assert restated(parse_inputs("1x12x20"), present) == (ids,)
    assert restated(parse_inputs("1x12x20; 1x4"), present) == (ids, InputShape("", (1, 4), "float32"))
    assert restated(parse_inputs("ids=1x2:float32"), present) == (InputShape("ids", (1, 2), "float32"),)


def test_shapes_without_names_go_by_position() -> None:
    inputs = (InputShape("ids", (1, 128), "int64"), InputShape("mask", (1, 128), "float32"))
    plan = Plan(inputs=parse_inputs("1x64; 1x32"))
    assert planned_inputs(plan, inputs) == (
        InputShape("ids", (1, 64), "int64"),
        InputShape("mask", (1, 32), "float32"),
    )
    with pytest.raises(InputError):
        planned_inputs(Plan(inputs=parse_inputs("1x64")), inputs)
