"""An ONNX file in the main window, through the real engine: open, resize, edit, save, open again; no code runs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import get_args

import numpy
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PySide6.QtCore import Qt
from PySide6.QtGui import QAction
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QLabel,
    QLineEdit,
    QMessageBox,
    QPushButton,
    QScrollArea,
    QSlider,
    QSpinBox,
    QToolButton,
    QWidget,
)
from pytestqt.qtbot import QtBot

from engine.edits import SetAttribute
from engine.results import TraceMode
from gui.main_window import FILTERS, MainWindow
from gui.settings import Settings
from gui.views.inspector import InspectorPanel
from gui.views.status_bar import MODE_WORDS, uncounted_rows
from gui.workspace import Workspace
from tests.gui.conftest import ANSWER_MS, open_model, wait_current

CHANNELS, CLASSES, SIZE = 8, 4, 224
"""SIZE is what an open height and width begin with."""


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two convolutions with a pool between them, a norm and a classifier, at an open batch, height and width."""
    random = numpy.random.default_rng(0)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(random.standard_normal(shape).astype(numpy.float32), name)

    three = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [1, 1]}
    nodes = [
        helper.make_node("Conv", ["input", "w1"], ["a"], "/stem/conv/Conv", **three),
        helper.make_node("Relu", ["a"], ["b"], "/stem/relu/Relu"),
        helper.make_node("MaxPool", ["b"], ["c"], "/pool/MaxPool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node(
            "Conv", ["c", "w2"], ["d"], "/body/conv/Conv", auto_pad="SAME_UPPER", kernel_shape=[3, 3]
        ),
        helper.make_node("InstanceNormalization", ["d", "s", "t"], ["e"], "/body/norm/InstanceNormalization"),
        helper.make_node("GlobalAveragePool", ["e"], ["f"], "/mean/GlobalAveragePool"),
        helper.make_node("Flatten", ["f"], ["g"], "/Flatten"),
        helper.make_node("Gemm", ["g", "w3"], ["output"], "/head/Gemm", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, "height", "width"])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", CLASSES])],
        [
            weight("w1", CHANNELS, 3, 3, 3),
            weight("w2", CHANNELS, CHANNELS, 3, 3),
            weight("s", CHANNELS),
            weight("t", CHANNELS),
            weight("w3", CLASSES, CHANNELS),
        ],
    )
    path = tmp_path_factory.mktemp("onnx") / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture
def opened(window: MainWindow, qtbot: QtBot, net: Path, tmp_path: Path) -> MainWindow:
    """A window with a copy of the file."""
    shutil.copy(net, tmp_path / "net.onnx")
    open_model(qtbot, window.workspace, str(tmp_path / "net.onnx"))
    wait_current(qtbot, window.workspace)
    return window


def macs(height: int, width: int, *, pooled: bool = True, stride: int = 1) -> int:
    """Of the net at batch 1."""
    first = CHANNELS * 3 * 9 * (height // stride) * (width // stride)
    shrunk = stride * (2 if pooled else 1)
    return first + CHANNELS * CHANNELS * 9 * (height // shrunk) * (width // shrunk) + CHANNELS * CLASSES


def total(workspace: Workspace) -> int:
    assert workspace.analysis is not None
    return workspace.analysis.totals.macs


def part(window: MainWindow, kind: type[QWidget], name: str) -> QWidget:
    found = window.findChild(kind, name)
    assert found is not None, name
    return found


def test_opens_without_a_question_and_says_what_it_is(opened: MainWindow) -> None:
    workspace = opened.workspace
    assert "*.onnx" in FILTERS
    assert workspace.model is not None and workspace.model.format == "onnx"
    assert opened.windowTitle() == "net — Misnomer"
    assert total(workspace) == macs(SIZE, SIZE)
    assert workspace.symbols() == ["batch", "height", "width"]
    mode = part(opened, QLabel, "status_mode")
    assert isinstance(mode, QLabel) and mode.text() == "shapes inferred"
    coverage = part(opened, QToolButton, "status_coverage")
    assert isinstance(coverage, QToolButton) and coverage.text().startswith("100")
    assert opened.layers.view.index_of("stem").isValid()


def test_every_way_to_the_numbers_has_words() -> None:
    assert set(MODE_WORDS) == set(get_args(TraceMode))


def test_slider_moves_the_numbers(opened: MainWindow, qtbot: QtBot) -> None:
    slider = part(opened, QSlider, "slider_height")
    assert isinstance(slider, QSlider)
    with qtbot.waitSignal(opened.workspace.analysis_changed, timeout=ANSWER_MS):
        slider.setValue(128)
    wait_current(qtbot, opened.workspace)
    assert total(opened.workspace) == macs(128, 128)


def test_attributes_are_edited_in_place(opened: MainWindow, qtbot: QtBot) -> None:
    workspace = opened.workspace
    opened.selection.set_current("stem.conv:Conv")
    field = opened.inspector.findChild(QSpinBox, "attribute_strides_0")
    other = opened.inspector.findChild(QSpinBox, "attribute_strides_1")
    assert field is not None and other is not None
    field.setValue(2)
    other.setValue(2)
    wait_current(qtbot, workspace)
    assert total(workspace) == macs(SIZE, SIZE, stride=2)
    assert workspace.analysis is not None and any(
        "strides" in line for line in workspace.analysis.python_lines()
    )
    field.setValue(1)
    other.setValue(1)
    wait_current(qtbot, workspace)
    assert workspace.configuration is not None and not workspace.configuration.edits


def test_words_and_decimal_numbers_are_edited_too(opened: MainWindow, qtbot: QtBot) -> None:
    workspace = opened.workspace
    opened.selection.set_current("body.conv:Conv")
    words = opened.inspector.findChild(QComboBox, "attribute_auto_pad_text")
    assert words is not None and words.currentText() == "SAME_UPPER"
    words.setCurrentText("VALID")
    words.textActivated.emit("VALID")
    wait_current(qtbot, workspace)
    half = SIZE // 2 - 2
    whole = macs(SIZE, SIZE) - CHANNELS * CHANNELS * 9 * ((SIZE // 2) ** 2 - half * half)
    assert total(workspace) == whole
    opened.selection.set_current("body.norm:InstanceNormalization")
    line = opened.inspector.findChild(QLineEdit, "attribute_epsilon_line")
    assert line is not None and line.text() == "1e-05"
    line.selectAll()
    qtbot.keyClicks(line, "0.001")
    qtbot.keyClick(line, Qt.Key.Key_Return)
    wait_current(qtbot, workspace)
    assert workspace.failure is None
    assert workspace.configuration is not None
    assert [(edit.layer, edit.field) for edit in workspace.configuration.edits] == [  # type: ignore[union-attr]
        ("body.conv", "auto_pad"),
        ("body.norm", "epsilon"),
    ]


def test_a_half_typed_line_is_of_the_layer_it_was_typed_for(opened: MainWindow, qtbot: QtBot) -> None:
    workspace = opened.workspace
    opened.selection.set_current("body.norm:InstanceNormalization")
    line = opened.inspector.findChild(QLineEdit, "attribute_epsilon_line")
    assert line is not None
    line.selectAll()
    qtbot.keyClicks(line, "0.25")
    opened.selection.set_current("stem.conv:Conv")
    assert workspace.edits == (SetAttribute("body.norm", "epsilon", 0.25),)
    wait_current(qtbot, workspace)


def test_flags_pads_and_words_have_fields_of_their_own(opened: MainWindow, qtbot: QtBot) -> None:
    workspace, inspector = opened.workspace, opened.inspector
    opened.selection.set_current("stem.conv:Conv")
    pads = [inspector.findChild(QSpinBox, f"attribute_pads_{place}") for place in range(4)]
    rows = {pad.y() for pad in pads if pad is not None and pad.minimum() == 0}
    assert None not in pads and len(rows) == 2, "begin above end"
    words = inspector.findChild(QComboBox, "attribute_auto_pad_text")
    assert words is not None and not words.isEditable()
    opened.selection.set_current("pool:MaxPool")
    flag = inspector.findChild(QCheckBox, "attribute_ceil_mode_flag")
    assert flag is not None and not flag.isChecked()
    flag.click()
    assert workspace.edits == (SetAttribute("pool", "ceil_mode", 1),)
    wait_current(qtbot, workspace)
    assert flag.isVisible() and flag.isChecked()
    flag.click()
    assert not workspace.edits
    wait_current(qtbot, workspace)


def test_the_inspector_needs_no_scrolling_across_in_a_small_window(opened: MainWindow, qtbot: QtBot) -> None:
    """329 × 230 is what it has at 1280×720."""
    workspace = opened.workspace
    panel = InspectorPanel(workspace, opened.selection, opened.theme)
    qtbot.addWidget(panel)
    panel.resize(329, 230)
    panel.show()
    opened.selection.set_current("stem.conv:Conv")
    workspace.set_attribute("stem.conv", "kernel_shape", (5, 5))
    wait_current(qtbot, workspace)
    qtbot.waitUntil(lambda: workspace.settled, timeout=ANSWER_MS)
    scroll = panel.findChild(QScrollArea, "inspector_scroll")
    numbers = panel.findChild(QLabel, "inspector_numbers")
    assert scroll is not None and numbers is not None
    for layer in ("stem.conv:Conv", "body.conv:Conv", "pool:MaxPool"):
        opened.selection.set_current(layer)
        qtbot.waitUntil(lambda: "Δ" in numbers.text() or layer != "stem.conv:Conv")  # noqa: B023
        assert scroll.widget().minimumSizeHint().width() <= scroll.viewport().width(), layer


def test_a_refused_removal_is_marked_and_taken_back(opened: MainWindow, qtbot: QtBot) -> None:
    workspace, layers = opened.workspace, opened.layers
    opened.selection.set_current("stem.conv:Conv")
    remove = part(opened, QPushButton, "inspector_remove")
    assert isinstance(remove, QPushButton)
    qtbot.mouseClick(remove, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: workspace.failure is not None, timeout=ANSWER_MS)
    cells, structure = layers.model.cells, layers.model.structure
    assert cells is not None and structure is not None
    assert cells.state(structure.node_of_path["stem.conv"]) == "to be removed"
    assert remove.text() == "Restore layer" and remove.isEnabled()
    qtbot.mouseClick(remove, Qt.MouseButton.LeftButton)
    wait_current(qtbot, workspace)
    assert workspace.failure is None and total(workspace) == macs(SIZE, SIZE)


def test_a_layer_is_removed_and_restored(opened: MainWindow, qtbot: QtBot) -> None:
    workspace = opened.workspace
    opened.selection.set_current("pool:MaxPool")
    remove = part(opened, QPushButton, "inspector_remove")
    qtbot.mouseClick(remove, Qt.MouseButton.LeftButton)
    wait_current(qtbot, workspace)
    assert total(workspace) == macs(SIZE, SIZE, pooled=False)
    assert opened.layers.view.index_of("pool").isValid(), "it stays, as removed"
    qtbot.mouseClick(remove, Qt.MouseButton.LeftButton)
    wait_current(qtbot, workspace)
    assert total(workspace) == macs(SIZE, SIZE)


def test_weights_that_an_edit_makes_anew_are_said_to_be_random(opened: MainWindow, qtbot: QtBot) -> None:
    workspace = opened.workspace
    opened.selection.set_current("body.conv:Conv")
    with qtbot.waitSignal(workspace.analysis_changed, timeout=ANSWER_MS):
        workspace.set_attribute("body.conv", "kernel_shape", (5, 5))
    wait_current(qtbot, workspace)
    sentence = "The weights of body.conv are new and random: its kernel changed."
    facts, where = part(opened, QLabel, "inspector_facts"), part(opened, QLabel, "what_changed_where")
    for label in (facts, where):
        assert isinstance(label, QLabel)
        qtbot.waitUntil(lambda label=label: sentence in label.text().replace("\N{NO-BREAK SPACE}", " "))
    workspace.set_attribute("body.conv", "kernel_shape", (3, 3))
    wait_current(qtbot, workspace)
    qtbot.waitUntil(lambda: "random" not in facts.text() + where.text())  # type: ignore[attr-defined]
    workspace.set_attribute("pool", "kernel_shape", (3, 3))
    wait_current(qtbot, workspace)
    assert workspace.analysis is not None and not workspace.analysis.new_weights, "a pool has no weights"


def choose(qtbot: QtBot, window: MainWindow, action: QAction, path: Path) -> None:
    """Trigger ``action`` and type ``path`` into its file dialog; a question whether to replace it is agreed to."""
    action.trigger()
    dialog = window.findChild(QFileDialog)
    assert dialog is not None
    dialog.setOption(QFileDialog.Option.DontConfirmOverwrite)
    line = dialog.findChild(QLineEdit)
    assert line is not None
    line.setText(str(path))
    qtbot.keyClick(line, Qt.Key.Key_Return)


def test_the_edited_model_is_saved_and_opens_with_the_same_numbers(
    opened: MainWindow, qtbot: QtBot, tmp_path: Path
) -> None:
    workspace = opened.workspace
    workspace.remove_layer("pool")
    wait_current(qtbot, workspace)
    action = opened.actions_.save_model
    assert action.isEnabled() and action.text() == "Edited model (.onnx)…"
    with qtbot.waitSignal(workspace.saved, timeout=ANSWER_MS):
        choose(qtbot, opened, action, tmp_path / "smaller.onnx")
    assert opened.saved.isVisible() and "smaller.onnx" in opened.saved.text.text()
    onnx.checker.check_model(str(tmp_path / "smaller.onnx"))
    with qtbot.waitSignal(workspace.model_changed, timeout=ANSWER_MS):
        qtbot.mouseClick(opened.saved.open, Qt.MouseButton.LeftButton)
    wait_current(qtbot, workspace)
    assert workspace.model is not None and workspace.model.name == "smaller"
    assert total(workspace) == macs(SIZE, SIZE, pooled=False)
    assert workspace.symbols() == ["batch", "height", "width"], "what the file leaves open stays so"
    assert not opened.saved.isVisible()


def test_sizes_are_written_when_asked(opened: MainWindow, qtbot: QtBot, tmp_path: Path) -> None:
    workspace = opened.workspace
    workspace.set_sizes({"height": 64})
    wait_current(qtbot, workspace)
    assert opened.actions_.save_fixed.text() == "Copy of the model at these sizes (.onnx)…"
    with qtbot.waitSignal(workspace.saved, timeout=ANSWER_MS):
        choose(qtbot, opened, opened.actions_.save_fixed, tmp_path / "fixed.onnx")
    given = onnx.load(tmp_path / "fixed.onnx").graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_value for dim in given] == [1, 3, 64, 64]


def test_the_file_that_is_open_is_replaced_only_after_a_question(
    opened: MainWindow, qtbot: QtBot, tmp_path: Path
) -> None:
    workspace, path = opened.workspace, tmp_path / "net.onnx"
    before = path.read_bytes()
    choose(qtbot, opened, opened.actions_.save_model, path)
    question = opened.findChild(QMessageBox, "replace_dialog")
    assert question is not None
    cancel = next(button for button in question.buttons() if button.objectName() == "replace_no")
    qtbot.mouseClick(cancel, Qt.MouseButton.LeftButton)
    assert not workspace.busy and path.read_bytes() == before


def replace(qtbot: QtBot, window: MainWindow, path: Path) -> None:
    """Save over the file that is open, and agree to it."""
    choose(qtbot, window, window.actions_.save_model, path)
    question = window.findChild(QMessageBox, "replace_dialog")
    assert question is not None
    yes = next(button for button in question.buttons() if button.objectName() == "replace_yes")
    qtbot.mouseClick(yes, Qt.MouseButton.LeftButton)


def test_a_replaced_file_is_the_model_from_then_on(opened: MainWindow, qtbot: QtBot, tmp_path: Path) -> None:
    workspace, path = opened.workspace, tmp_path / "net.onnx"
    workspace.set_sizes({"height": 64})
    workspace.remove_layer("pool")
    wait_current(qtbot, workspace)
    with qtbot.waitSignals([workspace.saved, workspace.model_changed], timeout=ANSWER_MS):
        replace(qtbot, opened, path)
    wait_current(qtbot, workspace)
    assert workspace.failure is None and not opened.banner.isVisible()
    assert workspace.configuration is not None and not workspace.configuration.edits
    assert not workspace.undo_stack.canUndo()
    assert workspace.analysis is workspace.baseline
    assert total(workspace) == macs(64, 64, pooled=False)
    assert opened.saved.isVisible() and not opened.saved.open.isVisible(), "it is open already"
    model = onnx.load(path)
    model.graph.node[0].attribute[1].ints[:] = [2, 2]
    with qtbot.waitSignal(workspace.reloaded, timeout=ANSWER_MS):
        onnx.save(model, path)


def test_edits_made_while_the_file_is_replaced_stay(opened: MainWindow, qtbot: QtBot, tmp_path: Path) -> None:
    workspace = opened.workspace
    workspace.remove_layer("pool")
    wait_current(qtbot, workspace)
    later = SetAttribute("stem.conv", "strides", (2, 2))
    with qtbot.waitSignal(workspace.model_changed, timeout=ANSWER_MS):
        workspace.save_model(str(tmp_path / "net.onnx"), replace=True)
        workspace.set_attribute(later.layer, later.field, later.value)
    wait_current(qtbot, workspace)
    assert workspace.configuration is not None and workspace.configuration.edits == (later,)
    assert total(workspace) == macs(SIZE, SIZE, stride=2, pooled=False)
    workspace.undo_stack.undo()
    wait_current(qtbot, workspace)
    assert total(workspace) == macs(SIZE, SIZE, pooled=False)


def test_a_saving_is_cancelled(opened: MainWindow, qtbot: QtBot, tmp_path: Path) -> None:
    workspace = opened.workspace
    workspace.remove_layer("pool")
    wait_current(qtbot, workspace)
    with qtbot.waitSignal(workspace.save_failed, timeout=ANSWER_MS) as failed:
        workspace.save_model(str(tmp_path / "never.onnx"))
        assert workspace.busy_text == "Saving the model"
        opened.actions_.cancel.trigger()
    assert failed.args is not None and failed.args[0].kind == "cancelled"
    assert [each.name for each in tmp_path.glob("*.onnx")] == ["net.onnx"]
    assert not list(tmp_path.glob(".never*")) and not opened.saved.isVisible()
    assert workspace.edits and not workspace.busy


def test_what_is_saved_of_a_model_that_is_gone_is_said_in_the_status_bar(
    opened: MainWindow, qtbot: QtBot, net: Path, tmp_path: Path
) -> None:
    workspace, said = opened.workspace, []
    workspace.noticed.connect(said.append)
    shutil.copy(net, tmp_path / "other.onnx")
    with qtbot.waitSignal(workspace.model_changed, timeout=ANSWER_MS):
        workspace.save_model(str(tmp_path / "copy.onnx"))
        workspace.open_source(str(tmp_path / "other.onnx"))
    wait_current(qtbot, workspace)
    assert any("Saved copy.onnx, from net.onnx" in each for each in said)
    assert (tmp_path / "copy.onnx").exists() and not opened.saved.isVisible()


def test_what_cannot_be_saved_says_why(window: MainWindow, qtbot: QtBot) -> None:
    action = window.actions_.save_model
    assert not action.isEnabled() and action.toolTip() == "Open an ONNX model first."
    open_model(qtbot, window.workspace, "torchvision:squeezenet1_1")
    assert not action.isEnabled() and action.toolTip().startswith("Only ONNX models")


def test_a_changed_file_is_opened_again(opened: MainWindow, qtbot: QtBot, tmp_path: Path) -> None:
    workspace, path = opened.workspace, tmp_path / "net.onnx"
    assert workspace.watched == str(path)
    model = onnx.load(path)
    pool = next(node for node in model.graph.node if node.op_type == "MaxPool")
    next(attribute for attribute in pool.attribute if attribute.name == "strides").ints[:] = [1, 1]
    with qtbot.waitSignal(workspace.reloaded, timeout=ANSWER_MS):
        onnx.save(model, path)
    wait_current(qtbot, workspace)
    rest = CHANNELS * CHANNELS * 9 * (SIZE - 1) ** 2
    assert total(workspace) == CHANNELS * 3 * 9 * SIZE**2 + rest + CHANNELS * CLASSES


def test_a_damaged_file_gives_a_sentence(window: MainWindow, qtbot: QtBot, net: Path, tmp_path: Path) -> None:
    path = tmp_path / "half.onnx"
    path.write_bytes(net.read_bytes()[:200])
    with qtbot.waitSignal(window.workspace.open_failed, timeout=ANSWER_MS):
        window.workspace.open_source(str(path))
    error = window.banner.error
    assert error is not None and error.kind != "bug" and "half.onnx" in window.banner.text.text()


def test_options_of_the_runtime_are_offered_for_onnx_alone(
    opened: MainWindow, qtbot: QtBot, settings: Settings
) -> None:
    button, measuring = opened.toolbar.threads, opened.measuring
    names = {action.objectName(): action for action in button.menu().actions()}
    assert names["ort_level_all"].isVisible() and names["ort_level_all"].isChecked()
    names["ort_level_basic"].trigger()
    names["ort_spinning"].trigger()
    assert (measuring.runtime.level, measuring.runtime.spinning) == ("basic", False)
    assert "optimisations basic, not spinning" in button.toolTip()
    assert settings.text("measuring/ort_level") == "basic"
    open_model(qtbot, opened.workspace, "torchvision:squeezenet1_1")
    assert not names["ort_level_all"].isVisible() and not names["ort_spinning"].isVisible()
    assert measuring.runtime.level == "all", "of no concern to torch"


def test_a_model_without_numbers_says_so_and_one_with_a_baked_size_opens_there(
    window: MainWindow, qtbot: QtBot, tmp_path: Path
) -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 8, "h", "w"])
    nodes = [
        helper.make_node("Constant", [], ["target"], value_ints=[1, 8 * 16 * 16]),
        helper.make_node("Reshape", ["x", "target"], ["y"], "/flatten/Reshape"),
    ]
    open_model(qtbot, window.workspace, save_graph(tmp_path / "baked.onnx", nodes, [x], "y"))
    wait_current(qtbot, window.workspace)
    assert window.workspace.size_of("h") == 16 and window.workspace.dim_of("h").minimum <= 16
    nodes[0] = helper.make_node("Constant", [], ["target"], value_ints=[7, 11, 13])
    open_model(qtbot, window.workspace, save_graph(tmp_path / "never.onnx", nodes, [x], "y"))
    qtbot.waitUntil(lambda: window.workspace.failure is not None, timeout=ANSWER_MS)
    empty = part(window, QLabel, "layer_empty")
    assert isinstance(empty, QLabel) and empty.isVisible()
    assert empty.text().startswith("No layer can be shown at 1×8×224×224")


def save_graph(
    path: Path, nodes: list[onnx.NodeProto], inputs: list[onnx.ValueInfoProto], output: str
) -> str:
    """A graph whose only weight is ``w``, 8 × 8; the shape of its output is left open."""
    weight = numpy_helper.from_array(numpy.ones((8, 8), numpy.float32), "w")
    graph = helper.make_graph(
        nodes, "graph", inputs, [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)], [weight]
    )
    operators = [helper.make_opsetid("", 17), helper.make_opsetid("own.ops", 1)]
    onnx.save(helper.make_model(graph, opset_imports=operators, ir_version=8), path)
    return str(path)


def test_thirty_inputs_leave_room_for_the_rest(window: MainWindow, qtbot: QtBot, tmp_path: Path) -> None:
    caches = [f"past.{i}.{which}" for i in range(15) for which in ("key", "value")]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", "past", 8]) for name in caches]
    inputs.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "now", 8]))
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y0"], "/proj/MatMul")]
    for i, name in enumerate(caches):
        nodes.append(helper.make_node("ReduceMean", [name], [f"m{i}"], f"/{i}/ReduceMean", keepdims=0))
        nodes.append(helper.make_node("Add", [f"y{i}", f"m{i}"], [f"y{i + 1}"], f"/{i}/Add"))
    open_model(qtbot, window.workspace, save_graph(tmp_path / "kv.onnx", nodes, inputs, "y30"))
    assert len(window.workspace.specs) == 31 and window.workspace.symbols() == ["batch", "past", "now"]
    assert len(window.input_bar.controls) == 3
    assert window.input_bar.height() < 160
    window.workspace.set_sizes({"now": 4})
    wait_current(qtbot, window.workspace)
    assert total(window.workspace) == 4 * 8 * 8


def test_what_depends_on_the_data_is_assumed_and_can_be_set(
    window: MainWindow, qtbot: QtBot, tmp_path: Path
) -> None:
    step = helper.make_graph(
        [
            helper.make_node("MatMul", ["state", "w"], ["next"], "/loop/MatMul"),
            helper.make_node("Identity", ["go"], ["again"], "/loop/Identity"),
        ],
        "step",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, [2, 8]),
        ],
        [
            helper.make_tensor_value_info("again", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, [2, 8]),
        ],
    )
    nodes = [
        helper.make_node("Cast", ["t"], ["trips"], "/Cast", to=TensorProto.INT64),
        helper.make_node("Loop", ["trips", "", "x"], ["y"], "/loop/Loop", body=step),
        helper.make_node("Mystery", ["y"], ["z"], "/mystery/Mystery", domain="own.ops"),
    ]
    inputs = [
        helper.make_tensor_value_info("t", TensorProto.FLOAT, []),
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 8]),
    ]
    open_model(qtbot, window.workspace, save_graph(tmp_path / "loop.onnx", nodes, inputs, "z"))
    wait_current(qtbot, window.workspace)
    assert "own.ops" in window.status.words.text(), "what must be known of the file is said once"
    once = total(window.workspace)
    assert once == 2 * 8 * 8
    button = window.input_bar.assumptions
    assert button.isVisible() and "assumption" in button.text()
    (field,) = button.fields.values()
    field.setValue(7)
    wait_current(qtbot, window.workspace)
    assert total(window.workspace) == 7 * once
    analysis = window.workspace.analysis
    assert analysis is not None
    assert "mystery: own.ops.Mystery" in uncounted_rows(analysis)


def test_what_failed_is_taken_back_to_the_numbers_that_are_still_there(
    opened: MainWindow, qtbot: QtBot
) -> None:
    workspace = opened.workspace
    with qtbot.waitSignal(workspace.failure_changed, timeout=ANSWER_MS):
        workspace.remove_layer("stem.conv")
    qtbot.waitUntil(lambda: not workspace.busy, timeout=ANSWER_MS)
    assert workspace.failure is not None
    workspace.undo_stack.undo()
    assert workspace.failure is None and workspace.is_current and not workspace.busy, "without the engine"
    assert not workspace.stale and total(workspace) == macs(SIZE, SIZE)
