"""The inspector, its editors and what it says."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QComboBox, QLabel, QPushButton, QScrollArea, QSpinBox
from pytestqt.qtbot import QtBot

from engine.edits import RemoveLayer, SetAttribute
from engine.errors import ErrorInfo
from engine.graph import AttributeValue
from engine.protocol import Failed
from engine.results import Analysis, SharedParameter, UntouchedParameter
from gui.models.attribute_forms import Form, form_of, is_shown
from gui.models.comparison import Comparer
from gui.models.details import Details, details
from gui.selection import Selection
from gui.theme import ThemeManager
from gui.views.attribute_editors import AttributeEditor
from gui.views.inspector import InspectorPanel
from gui.workspace import Workspace
from tests.gui.analyses import CONV_FIELDS, Mod, Row, make, small_net
from tests.gui.measurements import measured
from tests.gui.panels import bring, workspace_of


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return workspace_of(tmp_path, small_net(), small_net())


@pytest.fixture
def selection() -> Selection:
    return Selection()


@pytest.fixture
def panel(workspace: Workspace, selection: Selection, qapp: QApplication, qtbot: QtBot) -> InspectorPanel:
    panel = InspectorPanel(workspace, selection, ThemeManager(qapp, "light"))
    qtbot.addWidget(panel)
    panel.resize(430, 420)
    with qtbot.waitExposed(panel):
        panel.show()
    return panel


def text(panel: InspectorPanel, name: str) -> str:
    label = panel.findChild(QLabel, name)
    assert label is not None
    return label.text() if label.isVisibleTo(panel) else ""


def spin(panel: InspectorPanel, name: str) -> QSpinBox:
    """The visible field; the one of the layer shown before may still wait for its deletion."""
    return next(field for field in panel.findChildren(QSpinBox, name) if field.isVisible())


def button(panel: InspectorPanel) -> QPushButton:
    found = panel.findChild(QPushButton, "inspector_remove")
    assert found is not None
    return found


def said(analysis: Analysis, name: str, baseline: Analysis | None = None) -> Details:
    cells = Comparer().compare(analysis, baseline)
    node = cells.structure.find(name)
    assert node is not None
    return details(cells, node, compare=baseline is not None)


def test_nothing_selected_is_one_sentence(panel: InspectorPanel) -> None:
    assert text(panel, "inspector_empty") == "Select a layer to see its shapes, formula and exact numbers."
    assert not button(panel).isVisible()


def test_an_operation(panel: InspectorPanel, selection: Selection) -> None:
    selection.set_current("conv1:conv2d")
    assert text(panel, "inspector_title") == "conv1"
    assert text(panel, "inspector_subtitle") == "Conv2d · conv2d · convolution"
    assert "1×8×224×224" in text(panel, "inspector_facts")
    assert "in_channels 3" in text(panel, "inspector_facts")
    assert text(panel, "inspector_formula").startswith("N · C_out")
    assert f"{216 * 224 * 224:,}" in text(panel, "inspector_numbers")
    assert [spin(panel, f"attribute_{field}_0").value() for field in CONV_FIELDS] == [3, 1, 1, 1]


def test_details_of_a_module() -> None:
    shown = said(small_net(), "blocks")
    assert (shown.title, shown.subtitle, shown.formula) == ("blocks", "Sequential", "")
    assert ("Operations", "4 rows") in shown.facts
    numbers = {line.metric.key: line for line in shown.metrics}
    assert numbers["params"].exact == "1,152"
    assert numbers["macs"].exact == f"{2 * 576 * 112 * 112:,}"
    assert numbers["reuse"].share == "MAC/param"
    assert "special_ops" not in numbers, "nothing to count, nothing to read"


def test_details_of_an_operation_beside_child_modules() -> None:
    shown = said(small_net(), "blocks.0:add")
    assert (shown.title, shown.subtitle) == ("blocks.0.add", "add · elementwise")
    assert not shown.editable


def test_details_of_unused_and_removed_modules() -> None:
    unused = said(
        msgspec.structs.replace(small_net(), untouched=(UntouchedParameter("aux.weight", 20),)), "aux"
    )
    assert ("Calls", "none in this forward pass") in unused.facts
    assert any("aux.weight" in fact for _, fact in unused.facts)
    removed = said(small_net(pool=False), "pool", small_net())
    assert removed.subtitle == "Identity · removed"
    lines = {line.metric.key: line for line in removed.metrics}
    assert lines["activation_bytes"].difference.startswith("−100")
    assert lines["activation_bytes"].tone == "better"


def test_shared_parameters_are_named() -> None:
    mods = [Mod("", "Tied", 40), Mod("emb", "Embedding", 40), Mod("out", "Linear", 40)]
    rows = [
        Row("emb:embedding", "emb", params=40, shared=True),
        Row("out:linear", "out", params=40, macs=40, shared=True),
    ]
    analysis = make(mods, rows)
    named = msgspec.structs.replace(analysis, shared=(SharedParameter(("emb.weight", "out.weight"), 40),))
    assert ("Shared", "emb.weight, out.weight: one tensor of 40, counted once") in said(named, "out").facts
    assert any("counts them once" in fact for _, fact in said(analysis, "out").facts)


def test_several_calls_and_unknown_numbers() -> None:
    analysis = make([Mod("", "Net"), Mod("x", calls=6)], [Row("x:topk", "x", calls=6, macs=None, flops=None)])
    shown = said(analysis, "x")
    assert ("Calls", "6") in shown.facts
    assert {line.metric.key: line.exact for line in shown.metrics}["macs"] == "not counted"


def test_baseline_stands_beside_what_changed(
    panel: InspectorPanel, workspace: Workspace, selection: Selection
) -> None:
    selection.set_current("blocks.0.conv:conv2d")
    assert "Before" not in text(panel, "inspector_numbers")
    bring(workspace, small_net(pool=False), panel)
    assert "Before" in text(panel, "inspector_numbers")
    assert "×\N{NO-BREAK SPACE}4.00" in text(panel, "inspector_numbers")


def test_remove_and_restore(
    panel: InspectorPanel, workspace: Workspace, selection: Selection, qtbot: QtBot
) -> None:
    selection.set_current("pool:max_pool2d")
    assert button(panel).text() == "Remove layer"
    qtbot.mouseClick(button(panel), Qt.MouseButton.LeftButton)
    assert workspace.configuration is not None
    assert workspace.configuration.edits == (RemoveLayer("pool"),)
    bring(workspace, small_net(pool=False), panel)
    assert text(panel, "inspector_title") == "pool"
    assert button(panel).text() == "Restore layer"
    qtbot.mouseClick(button(panel), Qt.MouseButton.LeftButton)
    assert workspace.configuration.edits == ()


def test_what_cannot_be_removed_says_why(
    panel: InspectorPanel, workspace: Workspace, selection: Selection
) -> None:
    selection.set_current("")
    assert not button(panel).isEnabled()
    assert "model itself" in button(panel).toolTip()
    workspace.editable = False
    selection.set_current("fc:linear")
    assert not button(panel).isEnabled()
    assert "report" in button(panel).toolTip()


def test_an_attribute_is_set_on_enter(
    panel: InspectorPanel, workspace: Workspace, selection: Selection, qtbot: QtBot
) -> None:
    selection.set_current("conv1:conv2d")
    field = spin(panel, "attribute_stride_0")
    field.setFocus()
    field.selectAll()
    qtbot.keyClicks(field, "2")
    assert workspace.configuration is not None
    assert workspace.configuration.edits == ()
    qtbot.keyClick(field, Qt.Key.Key_Return)
    assert workspace.configuration.edits == (SetAttribute("conv1", "stride", (2, 1)),)


def test_typing_survives_a_tick(
    panel: InspectorPanel, workspace: Workspace, selection: Selection, qtbot: QtBot
) -> None:
    selection.set_current("conv1:conv2d")
    field = spin(panel, "attribute_kernel_size_0")
    panel.activateWindow()
    field.setFocus()
    qtbot.waitUntil(field.hasFocus)
    field.selectAll()
    qtbot.keyClicks(field, "11")
    bring(workspace, small_net(112), panel)
    assert spin(panel, "attribute_kernel_size_0") is field
    assert field.hasFocus()
    assert field.text() == "11"


def test_a_half_typed_number_is_of_the_layer_it_was_typed_for(
    panel: InspectorPanel, workspace: Workspace, selection: Selection, qtbot: QtBot
) -> None:
    selection.set_current("blocks.0.conv:conv2d")
    field = spin(panel, "attribute_stride_0")
    panel.activateWindow()
    field.setFocus()
    qtbot.waitUntil(field.hasFocus)
    field.selectAll()
    qtbot.keyClicks(field, "2")
    assert workspace.configuration is not None and not workspace.configuration.edits
    selection.set_current("conv1:conv2d")
    assert workspace.configuration.edits == (SetAttribute("blocks.0.conv", "stride", (2, 1)),)
    assert spin(panel, "attribute_stride_0").value() == 1, "of conv1"


def test_layers_of_one_kind_share_their_editors(panel: InspectorPanel, selection: Selection) -> None:
    selection.set_current("conv1:conv2d")
    fields = [spin(panel, f"attribute_{field}_0") for field in CONV_FIELDS]
    selection.set_current("blocks.0.conv:conv2d")
    assert [spin(panel, f"attribute_{field}_0") for field in CONV_FIELDS] == fields
    fields[0].stepUp()
    edits = panel._workspace.edits
    assert [edit.layer for edit in edits] == ["blocks.0.conv"]


def test_a_removal_that_is_refused_can_be_taken_back(
    panel: InspectorPanel, workspace: Workspace, selection: Selection, qtbot: QtBot
) -> None:
    selection.set_current("pool:max_pool2d")
    qtbot.mouseClick(button(panel), Qt.MouseButton.LeftButton)
    assert button(panel).text() == "Restore layer", "as soon as it is asked for"
    workspace.failure = Failed(1, ErrorInfo("layer", "fc takes 8 features.", layer="fc"))
    workspace.failure_changed.emit()
    assert "to be removed" in text(panel, "inspector_subtitle")
    qtbot.mouseClick(button(panel), Qt.MouseButton.LeftButton)
    assert workspace.configuration is not None and not workspace.configuration.edits
    assert button(panel).text() == "Remove layer"


@pytest.mark.parametrize(
    ("field", "value", "form"),
    [
        ("ceil_mode", 1, Form("flag")),
        ("ceil_mode", 7, Form("numbers")),
        ("pads", (1, 1, 1, 1), Form("numbers", (2, 2), 0)),
        ("pads", (0, 0, 0, -1), Form("numbers", (2, 2))),
        ("strides", (2, 2), Form("numbers", (2,), 1)),
        ("axis", -1, Form("numbers")),
        ("perm", (0, 2, 3, 1), Form("line")),
        ("auto_pad", "VALID", Form("words", words=("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"))),
        ("approximate", "erf", Form("words", words=("erf", "none", "tanh"))),
        ("mode", "linear", Form("line")),
        ("epsilon", 1e-5, Form("line")),
    ],
)
def test_fields_take_what_the_attribute_can_be(field: str, value: AttributeValue, form: Form) -> None:
    assert form_of(field, value) == form


def test_editors_follow_the_model(panel: InspectorPanel, workspace: Workspace, selection: Selection) -> None:
    selection.set_current("conv1:conv2d")
    analysis = small_net()
    attributes = list(analysis.modules.attributes)
    attributes[1] = {**attributes[1], "stride": (4, 4)}
    modules = msgspec.structs.replace(analysis.modules, attributes=tuple(attributes))
    bring(workspace, msgspec.structs.replace(analysis, modules=modules), panel)
    assert spin(panel, "attribute_stride_1").value() == 4


def test_the_keyboard_arrives_at_the_first_field(
    panel: InspectorPanel, selection: Selection, qtbot: QtBot
) -> None:
    selection.set_current("conv1:conv2d")
    panel.activateWindow()
    panel.setFocus()
    qtbot.waitUntil(spin(panel, "attribute_kernel_size_0").hasFocus)
    selection.set_current("relu:relu")
    assert text(panel, "inspector_title") == "relu"


def test_words_are_edited_as_text(qtbot: QtBot) -> None:
    editor = AttributeEditor("conv", "padding", "same")
    qtbot.addWidget(editor)
    combo = editor.findChild(QComboBox)
    assert combo is not None
    committed: list[object] = []
    editor.committed.connect(lambda *what: committed.append(what))
    combo.setFocus()
    combo.setEditText("1x2")
    qtbot.keyClick(combo.lineEdit(), Qt.Key.Key_Return)
    combo.setEditText("some")
    qtbot.keyClick(combo.lineEdit(), Qt.Key.Key_Return)
    assert committed == [("conv", "padding", (1, 2))]
    assert is_shown((1, 2)) and not is_shown(True) and not is_shown(None)


def test_controls_can_be_found_and_read_aloud(panel: InspectorPanel, selection: Selection) -> None:
    selection.set_current("conv1:conv2d")
    for control in [button(panel), *panel.findChildren(QSpinBox)]:
        assert control.objectName() and control.accessibleName() and control.toolTip()


def test_the_failing_layer_says_what_it_expected(
    panel: InspectorPanel, workspace: Workspace, selection: Selection
) -> None:
    selection.set_current("fc:linear")
    error = ErrorInfo("layer", "fc takes 8 features.", layer="fc", expected="8 features", got="512 features")
    workspace.failure = Failed(1, error)
    workspace.failure_changed.emit()
    assert "cannot run" in text(panel, "inspector_subtitle")
    for words in ("fc takes 8 features.", "Expected", "8 features", "Got", "512 features"):
        assert words in text(panel, "inspector_facts")
    selection.set_current("conv1:conv2d")
    assert "Expected" not in text(panel, "inspector_facts")


def test_a_row_that_costs_nothing_has_a_page(
    panel: InspectorPanel, workspace: Workspace, selection: Selection
) -> None:
    rows = [Row("norm:permute", "norm", "movement"), Row("norm:layer_norm", "norm", "norm", flops=4)]
    bring(workspace, make([Mod("", "Net"), Mod("norm", "LayerNorm2d")], rows), panel)
    selection.set_current("norm")
    assert text(panel, "inspector_subtitle") == "LayerNorm2d · layer_norm · norm"
    selection.set_current("norm:permute")
    assert text(panel, "inspector_title") == "norm.permute"


def test_nothing_is_clipped_in_a_narrow_panel(
    panel: InspectorPanel, workspace: Workspace, selection: Selection, qtbot: QtBot
) -> None:
    selection.set_current("blocks.0.conv:conv2d")
    bring(workspace, small_net(pool=False), panel)
    panel.resize(330, 260)
    scroll = panel.findChild(QScrollArea, "inspector_scroll")
    assert scroll is not None
    qtbot.waitUntil(lambda: scroll.widget().minimumSizeHint().width() <= scroll.viewport().width())
    assert "Before" not in text(panel, "inspector_numbers")
    assert spin(panel, "attribute_stride_0").y() == spin(panel, "attribute_stride_1").y()


def test_times_are_old_as_soon_as_something_else_is_asked_for(
    panel: InspectorPanel, workspace: Workspace, selection: Selection, qapp: QApplication
) -> None:
    selection.set_current("conv1:conv2d")
    bring(workspace, measured(small_net()), panel)
    faint = ThemeManager(qapp, "light").current.disabled
    assert faint not in text(panel, "inspector_numbers")
    workspace.configuration = small_net(112).configuration
    workspace.configuration_changed.emit()
    assert faint in text(panel, "inspector_numbers")
    panel.refresh()
    assert faint in text(panel, "inspector_numbers"), "the analysis is still that of before"
    bring(workspace, measured(small_net(112)), panel)
    assert faint not in text(panel, "inspector_numbers")
