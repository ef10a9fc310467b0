"""The layer tree's cells, Qt model and proxy."""

from __future__ import annotations

import msgspec
import pytest
from PySide6.QtCore import Qt
from pytestqt.modeltest import ModelTester
from pytestqt.qtbot import QtBot

from engine.metrics import METRICS
from gui.models.columns import columns, known_keys, slot
from gui.models.layer_proxy import LayerProxyModel
from gui.models.layer_tree import LayerTreeModel
from gui.models.layer_tsv import tsv
from gui.models.roles import Role
from tests.gui.analyses import Mod, Row, make, small_net


def shown(model: LayerTreeModel, name: str, key: str, role: int = Qt.ItemDataRole.DisplayRole) -> object:
    return model.data(model.index_of(name, model.section_of(key)), role)


@pytest.fixture
def model() -> LayerTreeModel:
    model = LayerTreeModel()
    model.show(small_net(pool=False), small_net())
    return model


def test_unknown_rows_are_left_out_of_sums_and_said() -> None:
    mods = [Mod("", "Net"), Mod("a", "A"), Mod("a.x"), Mod("a.y"), Mod("b", "B"), Mod("b.x")]
    rows = [
        Row("a.x:mm", "a.x", macs=5, flops=10),
        Row("a.y:topk", "a.y", macs=None, flops=None),
        Row("b.x:topk", "b.x", macs=None, flops=None),
    ]
    model = LayerTreeModel()
    model.show(make(mods, rows), None)
    assert shown(model, "a", "headline") == "≥ 5"
    assert shown(model, "a.y", "headline") == "not counted"
    assert shown(model, "b", "headline") == "not counted"
    assert "1 operations" in str(shown(model, "a", "headline", Qt.ItemDataRole.ToolTipRole))
    assert shown(model, "b", "headline", Role.SORT) is None


def test_cells(model: LayerTreeModel) -> None:
    assert shown(model, "conv1", "headline.difference") == "="
    assert shown(model, "blocks", "headline.difference") == "×\N{NARROW NO-BREAK SPACE}4.00"
    assert shown(model, "relu", "headline") == "—"
    assert shown(model, "relu", "headline.difference") == ""
    assert shown(model, "conv1", "output") == "1×8×224×224"
    assert "10,838,016" in str(shown(model, "conv1", "headline", Qt.ItemDataRole.ToolTipRole))
    assert "C_in" in str(shown(model, "conv1", "headline", Qt.ItemDataRole.ToolTipRole))
    bar, ghost = shown(model, "", "headline", Role.BAR), shown(model, "", "headline", Role.GHOST)
    assert bar == 1
    assert isinstance(ghost, float) and 0.25 < ghost < 1
    assert shown(model, "blocks", "params", Role.BAR) is None
    assert shown(model, "conv1", "layer", Role.FAMILY) == "convolution"


def test_the_baseline_itself_shows_no_differences(model: LayerTreeModel) -> None:
    model.show(small_net(), small_net())
    assert shown(model, "conv1", "headline.difference") == shown(model, "conv1", "headline.change") == ""


def test_states_of_modules(model: LayerTreeModel) -> None:
    pool = model.index_of("pool")
    cell = model.data(pool, Role.CELL)
    assert (cell.text, cell.flag, cell.struck, cell.family) == ("pool", "removed", True, "pool")
    assert model.data(model.index_of("aux"), Role.CELL).flag == "not used"
    assert shown(model, "pool", "other.change") == "301\N{NARROW NO-BREAK SPACE}k → —"
    assert shown(model, "pool", "other.difference") == "−100\N{NARROW NO-BREAK SPACE}%"


def test_several_calls_are_marked() -> None:
    model = LayerTreeModel()
    model.show(make([Mod("", "Net"), Mod("fc")], [Row("fc:linear", "fc", calls=6)]), None)
    assert shown(model, "fc", "layer") == "fc ×6"


def test_the_count_switch_swaps_two_columns(model: LayerTreeModel) -> None:
    section = model.section_of("headline")
    macs = shown(model, "conv1", "headline", Role.SORT)
    model.set_count_mode("flops")
    assert model.section_of("headline") == section
    assert model.headerData(section, Qt.Orientation.Horizontal) == "FLOPs"
    assert isinstance(macs, int)
    assert shown(model, "conv1", "headline", Role.SORT) == 2 * macs


def test_columns_cover_every_metric_once() -> None:
    for mode in ("macs", "flops"):
        keys = [column.key for column in columns(mode)]
        assert len(keys) == len(set(keys)) == 2 + 3 * len(METRICS)
        assert {slot(metric, mode) for metric in METRICS} <= set(keys)
    assert known_keys(["output", "gone", "headline"]) == ["output", "headline"]


def test_model_is_a_proper_model(model: LayerTreeModel, qtmodeltester: ModelTester) -> None:
    qtmodeltester.check(model, force_py=True)


def test_proxy_is_a_proper_model(model: LayerTreeModel, qtmodeltester: ModelTester) -> None:
    proxy = LayerProxyModel(model)
    proxy.set_search("conv")
    proxy.sort(model.section_of("headline"), Qt.SortOrder.DescendingOrder)
    qtmodeltester.check(proxy, force_py=True)


def test_new_numbers_do_not_reset(model: LayerTreeModel, qtbot: QtBot) -> None:
    index = model.index_of("blocks")
    resets: list[int] = []
    model.modelReset.connect(lambda: resets.append(1))
    before = shown(model, "blocks", "headline", Role.SORT)
    with qtbot.waitSignals([model.dataChanged, model.numbers_changed]):
        assert model.show(small_net(112, pool=False), small_net()) is False
    assert not resets
    assert shown(model, "blocks", "headline", Role.SORT) == before // 4  # type: ignore[operator]
    assert index.isValid() and model.name_of(index) == "blocks"


def test_another_structure_resets(model: LayerTreeModel, qtbot: QtBot) -> None:
    with qtbot.waitSignal(model.modelReset):
        assert model.show(small_net(), small_net()) is True
    with qtbot.waitSignal(model.modelReset):
        model.show(None, None)
    assert model.rowCount() == 0
    assert not model.index_of("conv1").isValid()


def proxy_children(proxy: LayerProxyModel, model: LayerTreeModel, name: str) -> list[str]:
    parent = proxy.mapFromSource(model.index_of(name))
    return [str(proxy.index(row, 0, parent).data()) for row in range(proxy.rowCount(parent))]


def test_sorting_is_numeric_within_siblings_and_returns_to_execution_order(model: LayerTreeModel) -> None:
    proxy = LayerProxyModel(model)
    proxy.sort(model.section_of("params"), Qt.SortOrder.DescendingOrder)
    assert proxy_children(proxy, model, "")[:4] == ["blocks", "conv1", "fc", "aux"]
    proxy.sort(-1)
    assert proxy_children(proxy, model, "") == ["conv1", "aux", "relu", "pool", "blocks", "mean", "fc"]


@pytest.mark.parametrize("order", [Qt.SortOrder.AscendingOrder, Qt.SortOrder.DescendingOrder])
def test_unknown_sorts_last(order: Qt.SortOrder) -> None:
    mods = [Mod("", "Net"), Mod("a"), Mod("b"), Mod("c")]
    rows = [
        Row("a:mm", "a", macs=1),
        Row("b:topk", "b", macs=None),
        Row("c:mm", "c", macs=3),
    ]
    model = LayerTreeModel()
    model.show(make(mods, rows), None)
    proxy = LayerProxyModel(model)
    proxy.sort(model.section_of("headline"), order)
    assert proxy_children(proxy, model, "")[-1] == "b"


def test_search_keeps_ancestors_and_what_is_below(model: LayerTreeModel) -> None:
    proxy = LayerProxyModel(model)
    proxy.set_search("blocks.1 CONV2D")
    assert proxy_children(proxy, model, "") == ["blocks"]
    assert proxy_children(proxy, model, "blocks") == ["1"]
    assert proxy_children(proxy, model, "blocks.1") == ["conv"]
    proxy.set_search("sequential")
    assert proxy_children(proxy, model, "blocks") == ["0", "1"]
    proxy.set_search("")
    assert len(proxy_children(proxy, model, "")) == 7


def test_search_survives_another_structure(model: LayerTreeModel) -> None:
    proxy = LayerProxyModel(model)
    proxy.set_search("fc")
    model.show(small_net(), None)
    assert proxy_children(proxy, model, "") == ["fc"]


def test_tsv_has_exact_numbers(model: LayerTreeModel) -> None:
    assert model.cells is not None and model.structure is not None
    picked = [
        model.columns[model.section_of(key)] for key in ("layer", "output", "params", "headline.change")
    ]
    node = model.structure.find("blocks.0.conv")
    assert node is not None
    lines = tsv(model.cells, [0, node], picked).splitlines()
    assert lines[0] == "Layer\tOperation or class\tOutput\tParams\tMACs before\tMACs after"
    assert lines[2] == f"blocks.0.conv\tconv2d\t1×8×224×224\t576\t{576 * 112 * 112}\t{576 * 224 * 224}"


def test_baseline_values_are_kept_between_ticks(model: LayerTreeModel) -> None:
    baseline = small_net()
    model.show(small_net(96), baseline)
    assert model.cells is not None
    first = model.cells.baseline
    model.show(small_net(64), baseline)
    assert model.cells.baseline is first


def test_numbers_survive_the_wire(model: LayerTreeModel) -> None:
    analysis = small_net()
    same = msgspec.json.decode(msgspec.json.encode(analysis), type=type(analysis))
    model.show(analysis, None)
    assert model.show(same, None) is False
