"""The zoo as a table: two libraries, searched and sorted without losing the selection."""

from __future__ import annotations

import pytest
from PySide6.QtCore import QPersistentModelIndex, Qt
from pytestqt.modeltest import ModelTester
from pytestqt.qtbot import QtBot

from engine.results import ZooEntry
from gui.models import zoo
from gui.views.zoo_dialog import ZooDialog

ENTRIES = (
    ZooEntry("torchvision:vit_b_16", "vit_b_16", "classification", 86_567_656, 17.56, "1×3×224×224"),
    ZooEntry("timm:resnet50", "resnet50", "classification", 25_557_032, None, "1×3×224×224"),
    ZooEntry("torchvision:resnet50", "resnet50", "classification", 25_557_032, 4.09, "1×3×224×224"),
    ZooEntry("timm:samvit_base_patch16", "samvit_base_patch16", "features", None, None, "1×3×1024×1024"),
)


def sources(proxy: zoo.ZooProxy) -> list[str]:
    return [proxy.index(row, 0).data(zoo.SOURCE_ROLE) for row in range(proxy.rowCount())]


@pytest.fixture
def proxy() -> zoo.ZooProxy:
    return zoo.ZooProxy(zoo.ZooModel(ENTRIES))


def test_models_are_valid(proxy: zoo.ZooProxy, qtmodeltester: ModelTester) -> None:
    qtmodeltester.check(proxy.sourceModel())
    qtmodeltester.check(proxy)
    proxy.sort(zoo.PARAMS, Qt.SortOrder.DescendingOrder)
    proxy.set_search("resnet")
    qtmodeltester.check(proxy)


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("", ["timm:resnet50", "torchvision:resnet50", "timm:samvit_base_patch16", "torchvision:vit_b_16"]),
        ("resnet timm", ["timm:resnet50"]),
        ("TORCHVISION", ["torchvision:resnet50", "torchvision:vit_b_16"]),
        ("vitb16", ["torchvision:vit_b_16"]),
        ("features", ["timm:samvit_base_patch16"]),
        ("resnet51", []),
    ],
)
def test_every_word_must_stand_somewhere(proxy: zoo.ZooProxy, search: str, found: list[str]) -> None:
    proxy.set_search(search)
    assert sources(proxy) == found


@pytest.mark.parametrize(
    ("search", "best"),
    [
        ("resnet50", "torchvision:resnet50"),
        ("vit", "torchvision:vit_b_16"),
        ("patch16", "timm:samvit_base_patch16"),
    ],
)
def test_the_model_of_that_name_is_the_one_that_enter_opens(search: str, best: str, qtbot: QtBot) -> None:
    dialog = ZooDialog()
    qtbot.addWidget(dialog)
    dialog.show()
    entries = (*ENTRIES[2:], ZooEntry("timm:cspresnet50", "cspresnet50", "classification"), *ENTRIES[:2])
    dialog.set_entries(entries)
    qtbot.keyClicks(dialog.search, search)
    with qtbot.waitSignal(dialog.chosen) as chosen:
        qtbot.keyClick(dialog.search, Qt.Key.Key_Return)
    assert chosen.args == [best]


def test_numbers_are_sorted_as_numbers_and_unknown_ones_are_least(proxy: zoo.ZooProxy) -> None:
    proxy.sort(zoo.PARAMS)
    assert sources(proxy)[0] == "timm:samvit_base_patch16"
    assert sources(proxy)[-1] == "torchvision:vit_b_16"
    assert proxy.index(0, zoo.PARAMS).data() == "—"
    assert [proxy.index(row, zoo.LIBRARY).data() for row in (0, 3)] == ["timm", "torchvision"]


def test_a_selected_row_stays_selected_when_it_moves(proxy: zoo.ZooProxy) -> None:
    chosen = QPersistentModelIndex(proxy.index(0, 0))
    assert chosen.data(zoo.SOURCE_ROLE) == "timm:resnet50"
    proxy.sort(zoo.NAME, Qt.SortOrder.DescendingOrder)
    assert chosen.row() > 0
    assert chosen.data(zoo.SOURCE_ROLE) == "timm:resnet50"


def test_entries_that_come_later_are_sorted_as_the_header_says(qtbot: QtBot) -> None:
    dialog = ZooDialog()
    qtbot.addWidget(dialog)
    dialog.show()
    dialog.table.sortByColumn(zoo.PARAMS, Qt.SortOrder.DescendingOrder)
    dialog.set_entries(ENTRIES)
    assert sources(dialog.proxy)[0] == "torchvision:vit_b_16"
    text = max((entry.input for entry in ENTRIES), key=len)
    assert dialog.table.columnWidth(zoo.INPUT) > dialog.table.fontMetrics().horizontalAdvance(text)
    with qtbot.waitSignal(dialog.chosen) as chosen:
        qtbot.keyClick(dialog.search, Qt.Key.Key_Return)
    assert chosen.args == ["torchvision:vit_b_16"]
