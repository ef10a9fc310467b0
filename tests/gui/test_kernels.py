"""The kernels of an ONNX model: their tree, what the layers say about them, and the options they were run with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QPushButton, QToolButton, QWidget
from pytestqt.modeltest import ModelTester
from pytestqt.qtbot import QtBot

from engine.measurement import KernelGroup, Latency, LayerTimes, RuntimeOptions
from engine.numbers import THIN
from engine.results import Analysis, with_latency
from gui.charts.rows import RowData
from gui.models import kernels
from gui.models.latency_words import (
    Situation,
    circumstance_facts,
    latency_words,
    layer_facts,
    since_words,
    unusual,
)
from gui.models.layer_tree import LayerTreeModel
from gui.selection import Selection
from gui.theme import ThemeManager
from gui.views.actions import Actions
from gui.views.kernels_view import LEAST_LAYER_PX, MOST_SORTED
from gui.views.layer_rest import LayerRest
from gui.views.measurement_panel import FACTS, KERNELS, OPERATIONS, MeasurementPanel
from tests.gui.analyses import Mod, Row, make
from tests.gui.measurements import layer_times, measurement
from tests.gui.panels import learn, measuring_of, workspace_of

CONV, RELU, ADD, FC = "block.conv:Conv", "block.relu:Relu", "Add:Add", "fc:Gemm"


def net() -> Analysis:
    """A block whose Relu and Add are fused into its convolution, and a classifier."""
    mods = [Mod("", "main_graph"), Mod("block"), Mod("block.conv", "Conv"), Mod("block.relu", "Relu")]
    mods += [Mod("Add", "Add"), Mod("fc", "Gemm")]
    rows = [Row(CONV, "block.conv", "convolution", macs=90), Row(RELU, "block.relu", "activation")]
    rows += [Row(ADD, "Add", "elementwise", flops=4), Row(FC, "fc", "linear", macs=10)]
    analysis = make(mods, rows)
    return msgspec.structs.replace(analysis, model=msgspec.structs.replace(analysis.model, format="onnx"))


def times_of(analysis: Analysis) -> LayerTimes:
    """3 ms for what is fused, 1 ms for the classifier, 0.5 ms inserted by the runtime."""
    return msgspec.structs.replace(
        layer_times(analysis),
        latency_s=(3e-3, None, None, 1e-3),
        cpu_s=(6e-3, None, None, 2e-3),
        groups=(
            KernelGroup("Conv_nchwc", "com.microsoft.nchwc.Conv", 3e-3, (CONV, RELU, ADD), CONV),
            KernelGroup("fc", "Gemm", 1e-3, (FC,), FC),
        ),
        inserted=(("ReorderInput", 0.2e-3), ("ReorderOutput", 0.3e-3)),
    )


@pytest.fixture
def model() -> kernels.KernelsModel:
    model = kernels.KernelsModel()
    model.show(times_of(net()))
    return model


def column(
    model: kernels.KernelsModel | kernels.KernelsProxy, number: int, row: int | None = None
) -> list[object]:
    parent = model.index(row, 0) if row is not None else kernels.ROOT
    return [model.index(each, number, parent).data() for each in range(model.rowCount(parent))]


def test_nodes_stand_below_the_kernel_that_did_their_work(model: kernels.KernelsModel) -> None:
    assert column(model, kernels.KERNEL) == ["nchwc.Conv · 3 nodes", "Gemm", "Inserted by the runtime"]
    assert column(model, kernels.LAYER, 0) == ["block.conv", "block.relu", "Add"]
    assert column(model, kernels.TIME, 0) == ["", "", ""], "their time is the kernel's"
    assert model.rowCount(model.index(1, 0)) == 0
    assert column(model, kernels.KERNEL, 2) == ["ReorderInput", "ReorderOutput"]
    assert column(model, kernels.SHARE) == [f"67{THIN}%", f"22{THIN}%", f"11{THIN}%"]


def test_it_is_a_proper_model_and_sorts_by_time(
    model: kernels.KernelsModel, qtmodeltester: ModelTester
) -> None:
    qtmodeltester.check(model, force_py=True)
    proxy = kernels.KernelsProxy()
    proxy.setSourceModel(model)
    proxy.sort(kernels.TIME, Qt.SortOrder.AscendingOrder)
    assert column(proxy, kernels.KERNEL)[0] == "Inserted by the runtime"
    qtmodeltester.check(proxy, force_py=True)


def test_a_fused_row_names_the_layer_that_has_its_time() -> None:
    analysis = net()
    shown = with_latency(analysis, Latency(measurement(analysis.configuration), times_of(analysis)))
    tree = LayerTreeModel()
    tree.show(shown, None)
    section = tree.section_of("latency_s")
    assert [tree.index_of(node, section).data() for node in (CONV, RELU, ADD)] == [
        f"3.00{THIN}ms",
        "in conv",
        "in conv",
    ]
    assert tree.index_of("", section).data() == f"4.00{THIN}ms", "nothing is counted twice"
    lane = RowData(shown, None, ("latency_s",)).lanes[0]
    assert list(lane.values) == [3e-3, None, None, 1e-3]


def test_time_beside_the_layers_has_the_words_of_the_runtime(qtbot: QtBot) -> None:
    analysis = net()
    latency = Latency(measurement(analysis.configuration), times_of(analysis))
    facts = dict(layer_facts(latency))
    assert facts["Inserted by the runtime"] == f"500{THIN}µs: 2 kernels"
    assert "Hook cost" not in facts and "Cost of profiling" in facts
    rest = LayerRest()
    qtbot.addWidget(rest)
    rest.show_rest(with_latency(analysis, latency))
    assert "onnxruntime" in rest.toolTip()


def test_options_of_the_runtime_are_told() -> None:
    analysis = net()
    options = RuntimeOptions("basic", spinning=False)
    told = msgspec.structs.replace(measurement(analysis.configuration), runtime=options)
    facts = dict(circumstance_facts(told))
    assert facts["Graph optimisation"].startswith("basic") and facts["Spinning"] == "idle threads sleep"
    assert since_words("runtime", told) == "with optimisations basic, not spinning"


@pytest.fixture
def panel(qtbot: QtBot, tmp_path: Path, theme: ThemeManager) -> Iterator[MeasurementPanel]:
    """Shown, with its kernels in front."""
    analysis = net()
    workspace = workspace_of(tmp_path, analysis)
    measuring, selection = measuring_of(workspace), Selection()
    host = QWidget()
    qtbot.addWidget(host)
    actions = Actions(host, workspace, measuring)
    panel = MeasurementPanel(workspace, measuring, selection, theme, actions, host)
    assert "paused" in panel.kernels.words.text() and "Ctrl+R" in panel.kernels.words.text()
    learn(measuring, Latency(measurement(analysis.configuration), times_of(analysis)), panel)
    panel.kernels.refresh()
    panel.show_details()
    panel.resize(330, 400)
    host.resize(330, 400)
    host.show()
    yield panel
    workspace.close()


def test_the_panel_has_kernels_instead_of_operations(panel: MeasurementPanel) -> None:
    assert panel.pages.currentIndex() == KERNELS != OPERATIONS
    buttons = {button.objectName(): button for button in panel.findChildren(QToolButton)}
    assert buttons["measurement_operations_page"].isHidden()
    assert not buttons["measurement_kernels_page"].isHidden()
    assert panel.kernels.words.text().startswith("4 kernels for 4 nodes, 4.50")


def test_kernels_and_the_selection_follow_each_other(panel: MeasurementPanel) -> None:
    view, selection = panel.kernels, panel.kernels._selection
    tree, proxy = view.tree, view.proxy
    conv = proxy.index(0, 0)
    tree.setCurrentIndex(proxy.index(1, 0, conv))
    assert selection.current == RELU
    tree.collapse(conv)
    selection.set_current(FC)
    assert tree.currentIndex() == proxy.index(1, 0)
    selection.set_current(RELU)
    assert tree.currentIndex() == conv and not tree.isExpanded(conv), "folded, its kernel stands for it"
    assert selection.current == RELU
    tree.expand(conv)
    selection.set_current("Add")
    assert tree.currentIndex() == proxy.index(2, 0, conv), "the path of a layer with one node"
    selection.set_current("")
    assert not tree.selectionModel().hasSelection(), "no kernel is the model's"


def test_kernels_are_copied_as_rows(panel: MeasurementPanel, qtbot: QtBot) -> None:
    header = "Kernel\tNode\tLayer\tTime (s)"
    qtbot.mouseClick(panel.findChild(QPushButton, "measurement_copy"), Qt.MouseButton.LeftButton)
    whole = QGuiApplication.clipboard().text().splitlines()
    assert whole[:3] == [
        header,
        "nchwc.Conv · 3 nodes\t\tblock.conv\t0.003",
        "nchwc.Conv · 3 nodes\tConv\tblock.conv\t",
    ]
    assert len(whole) == 1 + 3 + 3 + 2
    panel.kernels.tree.setCurrentIndex(panel.kernels.proxy.index(1, 0))
    qtbot.keyClick(panel.kernels.tree, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    assert QGuiApplication.clipboard().text().splitlines() == [header, "Gemm\t\tfc\t0.001"]
    panel.show_page(FACTS)
    qtbot.mouseClick(panel.findChild(QPushButton, "measurement_copy"), Qt.MouseButton.LeftButton)
    assert QGuiApplication.clipboard().text().startswith("Samples")


@pytest.mark.parametrize("width", [260, 330, 700])
def test_layers_tell_kernels_apart_however_narrow_the_panel_is(panel: MeasurementPanel, width: int) -> None:
    panel.window().resize(width, 400)
    panel.resize(width, 400)
    tree = panel.kernels.tree
    assert tree.columnWidth(kernels.LAYER) >= min(LEAST_LAYER_PX, width // 3)
    assert tree.header().length() <= tree.viewport().width()
    assert width == 330 or tree.isColumnHidden(kernels.SHARE) == (width == 260)


def test_options_that_are_not_the_default_are_seen_without_a_menu() -> None:
    assert unusual(None) == unusual(RuntimeOptions()) == ()
    told = msgspec.structs.replace(
        measurement(net().configuration), runtime=RuntimeOptions("basic", spinning=False)
    )
    card = latency_words("Latency", "", Situation(Latency(told), told.configuration, current=True))
    assert card.detail.endswith(" · basic · no spinning")


def test_very_many_kernels_wait_until_the_page_is_seen_and_stand_as_they_ran(panel: MeasurementPanel) -> None:
    view = panel.kernels
    analysis = view._workspace.analysis
    assert analysis is not None
    groups = tuple(KernelGroup(f"k{number}", "Gemm", 1e-6, (FC,), FC) for number in range(MOST_SORTED + 1))
    many = msgspec.structs.replace(times_of(analysis), groups=groups)
    panel.pages.setCurrentIndex(FACTS)
    before = view.model.rowCount()
    view._workspace.analysis = with_latency(
        analysis, Latency(measurement(analysis.configuration), many), many
    )
    view.refresh()
    assert view.model.rowCount() == before, "nobody looks at them"
    panel.pages.setCurrentIndex(KERNELS)
    assert view.model.rowCount() == MOST_SORTED + 2
    assert not view.tree.isSortingEnabled()
