"""Zeros in the weights reach the window after its first numbers, and then stand wherever a metric does."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import msgspec
import pytest
from PySide6.QtGui import QAction
from pytestqt.qtbot import QtBot

from engine.metrics import METRIC
from engine.results import Analysis, WeightUse, WeightUses
from engine.sparsity import with_zeros
from engine.tree import LayerStructure
from engine.tree_values import NodeValues
from gui.charts.breakdown import BreakdownPanel
from gui.charts.rows import RowData, value_words
from gui.main_window import MainWindow
from gui.models.card_words import metric_words
from gui.models.cells import LayerCells
from gui.models.columns import columns
from gui.models.details import details
from gui.models.layer_tsv import tsv
from gui.models.layer_widths import samples
from gui.workspace import Workspace
from tests.gui.analyses import small_net
from tests.gui.conftest import ANSWER_MS, open_model, wait_current

NET = """
import torch
from torch import nn

def build():
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), *head), (torch.zeros(1, 3, 32, 32),)
"""
SHAPES = {"0.weight": (8, 3, 3, 3), "0.bias": (8,), "4.weight": (10, 8), "4.bias": (10,)}
ZEROS = {"0.weight": 216 // 2, "0.bias": 4, "4.weight": 80 // 2, "4.bias": 5}
"""Every other element is 0."""
CONV_MACS = 30 * 30 * 216


@pytest.fixture
def source(tmp_path: Path) -> str:
    """A file of weights, half of them 0, with the code they belong to."""
    header: dict[str, object] = {}
    data = b""
    for name, shape in SHAPES.items():
        count = 1
        for size in shape:
            count *= size
        values = struct.pack("<ff", 0.0, 1.5) * (count // 2)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    text = json.dumps(header).encode()
    (tmp_path / "half.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    (tmp_path / "net.py").write_text(NET)
    return f"{tmp_path / 'half.safetensors'}@{tmp_path / 'net.py'}:build"


def wait_weighed(qtbot: QtBot, workspace: Workspace) -> Analysis:
    qtbot.waitUntil(lambda: workspace.settled, timeout=ANSWER_MS)
    assert workspace.analysis is not None and workspace.analysis.is_weighed
    return workspace.analysis


def test_zeros_come_when_idle_and_stay_through_every_change(
    workspace: Workspace, source: str, qtbot: QtBot
) -> None:
    open_model(qtbot, workspace, source, trust=True)
    analysis = wait_weighed(qtbot, workspace)
    assert analysis is workspace.baseline
    assert analysis.totals.zeros == sum(ZEROS.values())
    assert analysis.totals.nonzero_macs == (CONV_MACS + 80) // 2
    assert workspace.undo_stack.count() == 0
    point = workspace.points[analysis.configuration]
    assert point.totals is not None and point.totals.zeros == sum(ZEROS.values())
    sweep = [each.totals for each in workspace.points.values() if each.totals is not None]
    assert len(sweep) > 5
    assert all(each.nonzero_macs is not None for each in sweep)
    workspace.remove_layer("1")
    wait_current(qtbot, workspace)
    assert workspace.analysis is not None and workspace.analysis.is_weighed
    workspace.set_attribute("0", "kernel_size", 5)
    wait_current(qtbot, workspace)
    assert workspace.analysis.totals.zeros == sum(ZEROS.values()) - ZEROS["0.weight"]
    assert workspace.analysis.totals.unweighed_params == 8 * 3 * 25
    workspace.undo_stack.setIndex(0)
    wait_current(qtbot, workspace)
    assert workspace.analysis.totals == analysis.totals


def test_nothing_is_asked_of_random_weights(workspace: Workspace, qtbot: QtBot) -> None:
    open_model(qtbot, workspace, "torchvision:squeezenet1_1")
    qtbot.waitUntil(lambda: workspace.settled, timeout=ANSWER_MS)
    assert workspace.analysis is not None and not workspace.analysis.is_weighed


@pytest.mark.expects_log
def test_another_engine_need_not_count_again(
    window: MainWindow, workspace: Workspace, source: str, qtbot: QtBot
) -> None:
    open_model(qtbot, workspace, source, trust=True)
    before = wait_weighed(qtbot, workspace)
    with qtbot.waitSignal(workspace.engine.restarted, timeout=ANSWER_MS):
        workspace.engine.restart()
    wait_current(qtbot, workspace)
    workspace.set_sizes({"batch": 2})
    wait_current(qtbot, workspace)
    assert workspace.analysis is not None and workspace.analysis.totals.zeros == before.totals.zeros


def sparse_net(share: float = 0.5) -> Analysis:
    """The small net with that share of each convolution's weights at 0; fc's are not known."""
    net = small_net()
    uses = []
    for path, params, macs, family in zip(
        net.layers.path, net.layers.params, net.layers.macs, net.layers.family, strict=True
    ):
        weight = WeightUse(f"{path}.weight", params, params, macs or 0)
        uses.append((weight,) if family in ("convolution", "linear") else ())
    ready = msgspec.structs.replace(net, weight_uses=WeightUses(tuple(uses)))
    zeros = {"conv1.weight": 216, "blocks.0.conv.weight": 576, "blocks.1.conv.weight": 576}
    return with_zeros(ready, {name: int(count * share) for name, count in zeros.items()})


def cells_of(analysis: Analysis) -> LayerCells:
    return LayerCells(NodeValues(LayerStructure(analysis), analysis), None)


def text(cells: LayerCells, name: str, key: str) -> str:
    node = cells.structure.find(name)
    assert node is not None
    return cells.text(node, METRIC[key])


def test_cells_say_shares_bounds_and_what_is_not_known() -> None:
    cells = cells_of(sparse_net())
    assert text(cells, "conv1", "sparsity") == "50\u202f%"
    assert text(cells, "blocks", "zeros") == "576"
    assert text(cells, "blocks", "nonzero_macs") == "7.23\u202fM"
    assert text(cells, "fc", "sparsity") == text(cells, "fc", "nonzero_macs") == "not counted"
    assert text(cells, "relu", "sparsity") == text(cells, "relu", "nonzero_macs") == "—"
    assert text(cells, "", "nonzero_macs").startswith("≥ ")
    assert text(cells, "", "sparsity").startswith("≥ ")
    none = cells_of(sparse_net(0))
    assert text(none, "conv1", "sparsity") == "0\u202f%"
    whole = cells_of(sparse_net(1))
    assert text(whole, "conv1", "nonzero_macs") == "0"
    plain = cells_of(small_net())
    column = next(each for each in columns("macs") if each.key == "sparsity")
    assert text(plain, "conv1", "sparsity") == text(plain, "", "zeros") == "—"
    assert plain.tooltip(0, column).startswith("Sparsity: the zeros in the weights are not counted")
    assert "Sparsity" not in tsv(plain, [0], [column]) and "Sparsity" in tsv(cells, [0], [column])


def test_the_inspector_gives_value_and_formula() -> None:
    cells = cells_of(sparse_net())
    node = cells.structure.find("conv1")
    assert node is not None
    shown = details(cells, node, compare=False)
    macs = 216 * 224 * 224
    assert shown.formula.endswith(
        f"On non-zero weights: MACs · non-zero/elements = {macs:,} · 108/216 = {macs // 2:,}"
    )
    lines = {line.metric.key: line.exact for line in shown.metrics}
    assert (lines["zeros"], lines["sparsity"], lines["nonzero_macs"]) == (
        "108",
        "50\u202f%",
        f"{macs // 2:,}",
    )
    fc = cells.structure.find("fc")
    assert fc is not None
    assert "the zeros of fc.weight are not known" in details(cells, fc, compare=False).formula
    plain = cells_of(small_net())
    assert not {"zeros", "sparsity"} & {line.metric.key for line in details(plain, 0, compare=False).metrics}


def test_the_macs_card_speaks_of_zeros_from_five_per_cent_on() -> None:
    sparse = sparse_net()
    words = metric_words(METRIC["macs"], sparse, sparse)
    # What zeros fc's weights have is not known: its MACs are in no such total, and it says so.
    fc = sparse.layers.macs[sparse.layers.path.index("fc")]
    assert words.detail == "≥ 12.6\u202fM MACs on non-zero weights"
    assert f"Without {fc:,} MACs whose weights' zeros are not known" in words.tooltip
    assert f"MACs on non-zero weights: {sparse.totals.nonzero_macs:,}" in words.tooltip
    assert "684 are 0" in metric_words(METRIC["params"], sparse, sparse).tooltip
    for analysis in (sparse_net(0.04), small_net()):
        words = metric_words(METRIC["macs"], analysis, analysis)
        assert words.detail == f"{analysis.totals.macs:,}"
        assert "non-zero" not in words.tooltip


def test_chart_rows_of_zeros() -> None:
    data = RowData(sparse_net(), None, ("sparsity",))
    assert [data.lanes[0].values[row] for row in data.rows][:3] == [0.5, 0.5, 0.5]
    assert data.unknown[data.layers.id.index("fc:linear")]
    assert RowData(small_net(), None, ("sparsity",)).rows == []
    assert value_words(METRIC["nonzero_macs"], 7_225_344) == "7.23\u202fM MACs on non-zero weights"


def entry(panel: BreakdownPanel, key: str) -> QAction:
    return next(action for action in panel.metric_button._single.actions() if action.data() == key)


def test_the_window_shows_them_and_says_where_there_are_none(
    window: MainWindow, workspace: Workspace, source: str, qtbot: QtBot
) -> None:
    open_model(qtbot, workspace, source, trust=True)
    wait_weighed(qtbot, workspace)
    panel = window.findChild(BreakdownPanel)
    assert panel is not None
    panel.update_data()
    assert entry(panel, "sparsity").isEnabled()
    panel.metric_button.set_keys(["sparsity"])
    assert panel.bars.data is not None and not panel.bars.words
    open_model(qtbot, workspace, "torchvision:squeezenet1_1")
    panel.update_data()
    assert panel.bars.words == entry(panel, "sparsity").toolTip() == "The weights are random."
    assert not entry(panel, "sparsity").isEnabled()


def test_columns_have_room_for_what_an_edit_makes_unknown() -> None:
    column = next(each for each in columns("macs") if each.key == "sparsity")
    texts = [text for _, text in samples(column, sparse_net())]
    assert texts == ["≥ 88.9\u202f%", "not counted"]
