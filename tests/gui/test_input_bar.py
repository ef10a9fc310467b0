"""Sliders and number fields under a real mouse and keyboard, against the real engine."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnx import helper
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QWheelEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLabel, QWidget
from pytestqt.qtbot import QtBot

from engine.errors import ErrorInfo
from engine.protocol import Point
from gui.asked import REPORT_REASON
from gui.main_window import MainWindow
from gui.views.elided_label import ElidedLabel
from gui.views.input_bar import MOST_ROWS, ROW_GAP, RowsScroll, short_names
from gui.views.size_control import LABEL_PX, NumberField
from gui.views.size_slider import SizeSlider
from tests.gui.conftest import ANSWER_MS, open_model, wait_current
from tests.onnx_models import hand_made


@pytest.fixture
def resnet(window: MainWindow, qtbot: QtBot) -> MainWindow:
    open_model(qtbot, window.workspace, "torchvision:resnet18")
    return window


def slider_of(window: MainWindow, symbol: str) -> SizeSlider:
    slider = window.findChild(SizeSlider, f"slider_{symbol}")
    assert slider is not None
    return slider


def field_of(window: MainWindow, symbol: str) -> NumberField:
    field = window.findChild(NumberField, f"field_{symbol}")
    assert field is not None
    return field


def point(slider: SizeSlider, size: int) -> QPoint:
    return QPoint(round(slider.x_of(size)), slider.height() // 2)


def turn_wheel(widget: QWidget, notches: float) -> None:
    middle = QPointF(widget.rect().center())
    event = QWheelEvent(
        middle,
        QPointF(widget.mapToGlobal(widget.rect().center())),
        QPoint(),
        QPoint(0, round(120 * notches)),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(widget, event)


def test_a_drag_moves_everything_and_is_one_step_to_undo(resnet: MainWindow, qtbot: QtBot) -> None:
    slider = slider_of(resnet, "height")
    seen: list[int] = []
    slider.valueChanged.connect(seen.append)
    QTest.mousePress(slider, Qt.MouseButton.LeftButton, pos=point(slider, 224))
    for size in range(224, 385, 8):
        QTest.mouseMove(slider, point(slider, size))
    QTest.mouseRelease(slider, Qt.MouseButton.LeftButton, pos=point(slider, 384))
    assert seen == [256, 288, 320, 352, 384]
    wait_current(qtbot, resnet.workspace)
    assert field_of(resnet, "height").value() == field_of(resnet, "width").value() == 384
    assert resnet.workspace.undo_stack.count() == 1
    qtbot.keyClick(resnet, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert slider.value() == 224
    wait_current(qtbot, resnet.workspace)


def test_snap_can_be_turned_off(resnet: MainWindow, qtbot: QtBot) -> None:
    control = resnet.input_bar.controls[0]
    slider = slider_of(resnet, "height")
    qtbot.mouseClick(control.snap, Qt.MouseButton.LeftButton)
    assert control.snap.text() == "any size"
    QTest.mouseClick(slider, Qt.MouseButton.LeftButton, pos=point(slider, 301))
    assert abs(slider.value() - 301) <= 2
    assert slider.value() % 32
    wait_current(qtbot, resnet.workspace)
    qtbot.mouseClick(control.snap, Qt.MouseButton.LeftButton)
    assert control.snap.text() == "step 32"


def test_keys_and_wheel_walk_the_steps(resnet: MainWindow, qtbot: QtBot) -> None:
    slider = slider_of(resnet, "height")
    qtbot.keyClick(slider, Qt.Key.Key_Right)
    assert slider.value() == 256
    qtbot.keyClick(slider, Qt.Key.Key_PageUp)
    assert slider.value() == 384
    qtbot.keyClick(slider, Qt.Key.Key_Home)
    assert slider.value() == 32
    qtbot.keyClick(slider, Qt.Key.Key_End)
    assert slider.value() == 512
    turn_wheel(slider, -1)
    assert slider.value() == 480
    field = field_of(resnet, "batch")
    field.setFocus()
    qtbot.keyClick(field, Qt.Key.Key_Up)
    assert resnet.workspace.size_of("batch") == 2
    turn_wheel(field, 1)
    assert resnet.workspace.size_of("batch") == 3
    wait_current(qtbot, resnet.workspace)
    assert resnet.workspace.sweep_symbol == "batch"


def test_a_touchpad_moves_as_far_as_a_wheel(resnet: MainWindow, qtbot: QtBot) -> None:
    slider = slider_of(resnet, "height")
    for _ in range(7):
        turn_wheel(slider, 1 / 8)
    assert slider.value() == 224
    turn_wheel(slider, 1 / 8)
    assert slider.value() == 256
    turn_wheel(slider, 7 / 8)
    turn_wheel(slider, -1 / 8)
    assert slider.value() == 256
    turn_wheel(slider, 2)
    assert slider.value() == 320
    wait_current(qtbot, resnet.workspace)


def test_a_size_beyond_the_slider_can_be_typed_and_the_slider_reaches_it(
    resnet: MainWindow, qtbot: QtBot
) -> None:
    field = field_of(resnet, "height")
    field.setFocus()
    field.selectAll()
    qtbot.keyClicks(field, "1024")
    qtbot.keyClick(field, Qt.Key.Key_Return)
    wait_current(qtbot, resnet.workspace)
    slider = slider_of(resnet, "height")
    assert (slider.value(), slider.maximum()) == (1024, 1024)
    assert resnet.workspace.dim_of("height").maximum == 1024
    qtbot.keyClick(resnet, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    wait_current(qtbot, resnet.workspace)
    assert slider.maximum() == 512


@pytest.mark.parametrize(("typed", "becomes"), [("99999", 512 * 32), ("0", 1)])
def test_a_number_out_of_range_becomes_the_nearest_and_says_so(
    resnet: MainWindow, qtbot: QtBot, typed: str, becomes: int
) -> None:
    field = field_of(resnet, "height")
    field.setFocus()
    field.selectAll()
    qtbot.keyClicks(field, typed)
    assert field.text() == typed
    with qtbot.waitSignal(resnet.workspace.noticed, timeout=ANSWER_MS) as noticed:
        qtbot.keyClick(field, Qt.Key.Key_Return)
    assert noticed.args == [f"height goes from 1 to 16,384: {typed} became {becomes:,}."]
    assert resnet.workspace.size_of("height") == becomes
    wait_current(qtbot, resnet.workspace)


def test_a_number_is_typed(resnet: MainWindow, qtbot: QtBot) -> None:
    field = field_of(resnet, "height")
    field.setFocus()
    field.selectAll()
    qtbot.keyClicks(field, "300")
    assert resnet.workspace.size_of("height") == 224
    qtbot.keyClick(field, Qt.Key.Key_Return)
    assert resnet.workspace.size_of("height") == resnet.workspace.size_of("width") == 300
    wait_current(qtbot, resnet.workspace)


def test_height_and_width_apart(resnet: MainWindow, qtbot: QtBot) -> None:
    control = resnet.input_bar.controls[0]
    assert control.link.isChecked()
    assert not slider_of(resnet, "width").isVisible()
    qtbot.mouseClick(control.link, Qt.MouseButton.LeftButton)
    assert control.link.text() == "≠"
    assert slider_of(resnet, "width").isVisible()
    qtbot.keyClick(slider_of(resnet, "width"), Qt.Key.Key_Right)
    workspace = resnet.workspace
    assert (workspace.size_of("height"), workspace.size_of("width")) == (224, 256)
    qtbot.mouseClick(control.link, Qt.MouseButton.LeftButton)
    assert (workspace.size_of("height"), workspace.size_of("width")) == (224, 224)
    wait_current(qtbot, workspace)


def test_refused_sizes_are_shaded_with_their_reason(resnet: MainWindow, qtbot: QtBot) -> None:
    workspace = resnet.workspace
    refused = workspace.configuration_at("height", 64)
    error = ErrorInfo("layer", "layer4 needs at least 96 pixels.", layer="layer4")
    workspace.points[refused] = Point(0, refused, error=error)
    workspace.points_changed.emit()
    slider = slider_of(resnet, "height")
    qtbot.waitUntil(lambda: slider.refusal_at(64) is not None, timeout=ANSWER_MS)
    refusal = slider.refusal_at(64)
    assert refusal is not None
    assert refusal.reason == error.message
    assert slider.refusal_at(224) is None


def test_a_fixed_size_stops_the_slider_with_the_reason(window: MainWindow, qtbot: QtBot) -> None:
    workspace = window.workspace
    open_model(qtbot, workspace, "torchvision:vit_b_16")
    before = workspace.analysis
    slider = slider_of(window, "height")
    with qtbot.waitSignal(workspace.failure_changed, timeout=ANSWER_MS):
        qtbot.keyClick(slider, Qt.Key.Key_Right)
    assert workspace.analysis is before
    assert window.banner.isVisible()
    assert "224" in window.banner.text.text()
    qtbot.waitUntil(lambda: slider.refusal_at(256) is not None, timeout=ANSWER_MS)
    qtbot.mouseClick(window.banner.undo, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not window.banner.isVisible(), timeout=ANSWER_MS)
    assert slider.value() == 224


def test_fixed_dimensions_and_a_report_are_text(
    resnet: MainWindow, qtbot: QtBot, tmp_path_factory: pytest.TempPathFactory
) -> None:
    texts = [label.text() for label in resnet.input_bar.findChildren(QLabel)]
    assert "3 channels" in texts
    path = str(tmp_path_factory.mktemp("reports") / "r.json")
    with qtbot.waitSignal(resnet.workspace.exported, timeout=ANSWER_MS):
        resnet.workspace.export("json", path)
    with qtbot.waitSignal(resnet.workspace.model_changed, timeout=ANSWER_MS):
        resnet.workspace.open_source(path)
    assert resnet.input_bar.controls == []
    fixed = [label for label in resnet.input_bar.findChildren(QLabel) if label.text() == "1×3×224×224"]
    assert fixed[0].toolTip() == REPORT_REASON


def test_assumptions_are_number_fields(window: MainWindow, qtbot: QtBot) -> None:
    workspace = window.workspace
    open_model(qtbot, workspace, "torchvision:fasterrcnn_mobilenet_v3_large_320_fpn")
    button = window.input_bar.assumptions
    field = button.fields["rpn:nms"]
    assert button.text() == f"{len(button.fields)} assumptions ▾"
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(field.isVisible)
    before = field.value()
    field.setFocus()
    field.selectAll()
    qtbot.keyClicks(field, str(before // 2))
    qtbot.keyClick(field, Qt.Key.Key_Return)
    wait_current(qtbot, workspace)
    assert workspace.configuration is not None
    assert dict(workspace.configuration.assumptions) == {"rpn:nms": before // 2}
    field.window().hide()
    qtbot.keyClick(window, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(lambda: field.value() == before, timeout=ANSWER_MS)
    open_model(qtbot, workspace, "torchvision:resnet18")
    assert button.isHidden()


def test_a_narrower_range_of_one_assumption_pins_no_other(window: MainWindow, qtbot: QtBot) -> None:
    workspace = window.workspace
    open_model(qtbot, workspace, "torchvision:fasterrcnn_mobilenet_v3_large_320_fpn")
    assert workspace.analysis is not None
    first = workspace.analysis.assumptions[0]
    asked: list[tuple[str, int]] = []
    window.input_bar.assumptions.changed.connect(lambda key, value: asked.append((key, value)))
    field = window.input_bar.assumptions.fields[first.key]
    field.setValue(max(first.minimum, 1))
    wait_current(qtbot, workspace)
    assert asked == [(first.key, max(first.minimum, 1))]
    assert workspace.configuration is not None
    assert [key for key, _ in workspace.configuration.assumptions] == [first.key]
    for each in workspace.analysis.assumptions:
        other = window.input_bar.assumptions.fields[each.key]
        assert (other.maximum(), other.value()) == (each.maximum, each.value)
    workspace.undo_stack.undo()
    wait_current(qtbot, workspace)
    assert workspace.configuration.assumptions == ()


def test_inputs_that_move_together_share_a_row(window: MainWindow, qtbot: QtBot) -> None:
    open_model(qtbot, window.workspace, "torchvision:raft_small")
    names = [spec.name for spec in window.workspace.specs]
    titles = [label.text() for label in window.input_bar.findChildren(QLabel)]
    assert ", ".join(names) in titles
    assert len(window.input_bar.controls) == 2


def test_an_input_without_a_size_of_its_own_stands_where_its_size_is(
    window: MainWindow, qtbot: QtBot, tmp_path: Path
) -> None:
    inputs: dict[str, list[int | str]] = {
        "text": ["batch", "words", 4],
        "sound": ["batch", "samples" + "s" * 90, 4],
        "mask": ["batch", "words", 4],
    }
    nodes = [helper.make_node("Mul", ["text", "mask"], ["y"]), helper.make_node("Relu", ["sound"], ["z"])]
    open_model(qtbot, window.workspace, str(hand_made(tmp_path / "two.onnx", nodes, inputs, ["y", "z"], {})))
    titles = [label.text() for label in window.input_bar.findChildren(ElidedLabel) if label.whatsThis()]
    assert titles == ["text, mask", "sound"]
    labels = [label for label in window.input_bar.findChildren(ElidedLabel) if "sss" in label.text()]
    assert labels and all(label.width() <= LABEL_PX for label in labels)


def test_names_show_what_tells_them_apart() -> None:
    caches = [f"past.{i}.self.{which}" for i in range(2) for which in ("key", "value")]
    assert short_names([*caches, "x"]) == {
        "past.0.self.key": "…0…key",
        "past.0.self.value": "…0…value",
        "past.1.self.key": "…1…key",
        "past.1.self.value": "…1…value",
        "x": "x",
    }
    assert short_names(["a/b", "c/d"]) == {"a/b": "a.b", "c/d": "c.d"}
    assert short_names(["ids", "mask"]) == {"ids": "ids", "mask": "mask"}
    assert short_names(["same", "same"]) == {"same": "same"}


def test_many_inputs_scroll_by_whole_rows(window: MainWindow, qtbot: QtBot, tmp_path: Path) -> None:
    inputs: dict[str, list[int | str]] = {f"x{i}": [f"size{i}", 4] for i in range(8)}
    nodes = [helper.make_node("Relu", [name], [f"y{name}"]) for name in inputs]
    outputs = [f"y{name}" for name in inputs]
    open_model(qtbot, window.workspace, str(hand_made(tmp_path / "eight.onnx", nodes, inputs, outputs, {})))
    rows = window.findChild(RowsScroll, "input_rows")
    assert rows is not None
    bar = rows.verticalScrollBar()
    step = bar.singleStep()
    qtbot.waitUntil(lambda: abs(rows.viewport().height() - (MOST_ROWS * step - ROW_GAP)) <= 1)
    bar.setValue(step + step // 3)
    assert bar.value() == step
    bar.setValue(bar.maximum())
    assert bar.value() == bar.maximum() and bar.maximum() % step <= 1
