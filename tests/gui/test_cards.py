"""The headline cards."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from PySide6.QtGui import QFontMetricsF
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from engine.graph import Dim, InputSpec
from engine.results import Coverage, NotCounted
from gui.theme import ThemeManager, ui_font
from gui.views import cards
from gui.views.cards import SLOTS, CardsBar, coverage_sentence
from gui.workspace import Workspace
from tests.gui.analyses import small_net
from tests.gui.panels import bring, workspace_of

THIN = "\N{NARROW NO-BREAK SPACE}"

SPECS = (
    InputSpec(
        "x",
        (Dim("batch", 1), Dim("channels", 3), *(Dim(s, 224, s, 32, 512, 32) for s in ("height", "width"))),
    ),
)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return workspace_of(tmp_path, small_net(pool=False), small_net())


@pytest.fixture
def bar(workspace: Workspace, qapp: QApplication, qtbot: QtBot) -> CardsBar:
    bar = CardsBar(workspace, ThemeManager(qapp, "light"))
    qtbot.addWidget(bar)
    return bar


def test_value_difference_and_what_was_before(bar: CardsBar) -> None:
    headline = bar.cards["headline"]
    assert headline.label == "MACs"
    assert headline.value == f"68.6{THIN}M"
    assert headline.difference == f"×{THIN}2.71"
    assert headline.tone == "secondary"
    assert headline.detail == f"25.3{THIN}M before"
    assert "68,641,472" not in headline.detail
    assert f"{(216 + 2 * 576) * 224 * 224 + 80:,}" in headline.toolTip()
    assert "1 MAC = 2 FLOPs" in headline.toolTip()
    assert "x 1×3×224×224" in headline.toolTip()


def test_params_are_the_same_and_show_their_bytes(bar: CardsBar) -> None:
    params = bar.cards["params"]
    assert (params.value, params.difference) == (f"1.48{THIN}k", "=")
    assert params.detail == f"1,478 · 5.77{THIN}KiB"
    assert "20 are not read" in params.toolTip()


def test_only_what_should_be_small_is_coloured(bar: CardsBar) -> None:
    tones = {slot: card.tone for slot, card in bar.cards.items()}
    assert tones["activation_bytes"] == tones["bytes_moved"] == "worse"
    assert tones["params"] == tones["headline"] == tones["arithmetic_intensity"] == "secondary"


def test_an_improvement_is_better(bar: CardsBar, workspace: Workspace) -> None:
    bring(workspace, small_net(112))
    assert bar.cards["activation_bytes"].tone == "better"


def test_the_baseline_itself_has_no_differences(bar: CardsBar, workspace: Workspace) -> None:
    bring(workspace, small_net())
    assert all(not card.difference for card in bar.cards.values())


def test_count_mode(bar: CardsBar, workspace: Workspace) -> None:
    workspace.set_count_mode("flops")
    assert bar.cards["headline"].label == "FLOPs"


def test_intensity_has_its_unit_apart(bar: CardsBar) -> None:
    card = bar.cards["arithmetic_intensity"]
    assert card.unit == "FLOP/B"
    assert "FLOP" not in card.value


def test_incomplete_coverage_is_a_lower_bound(bar: CardsBar, workspace: Workspace) -> None:
    coverage = Coverage(173, 161, (NotCounted("topk", 12),))
    net = small_net()
    layers = msgspec.structs.replace(net.layers, macs=(None, *net.layers.macs[1:]))
    bring(workspace, msgspec.structs.replace(net, coverage=coverage, layers=layers))
    assert bar.cards["headline"].value.startswith("≥ ")
    assert "12 × topk" in bar.cards["headline"].toolTip()
    assert not bar.cards["params"].value.startswith("≥")
    bring(workspace, msgspec.structs.replace(net, coverage=coverage))
    assert not bar.cards["headline"].value.startswith("≥"), "topk has no MACs; every row knows its MACs"


def test_coverage_sentence() -> None:
    assert coverage_sentence(Coverage(171, 171)) == "All 171 calls are counted."
    assert coverage_sentence(Coverage(2, 1, (NotCounted("nms", 1),))) == (
        f"All but 1 × nms are counted (50{THIN}% of calls)."
    )


def test_nothing_open(tmp_path: Path, qapp: QApplication, qtbot: QtBot) -> None:
    bar = CardsBar(workspace_of(tmp_path), ThemeManager(qapp, "light"))
    qtbot.addWidget(bar)
    assert [card.value for card in bar.cards.values()] == ["—"] * len(SLOTS)
    assert not bar.grab().isNull()


def test_late_numbers_are_dimmed_and_say_what_they_belong_to(
    bar: CardsBar, workspace: Workspace, qtbot: QtBot
) -> None:
    card = bar.cards["headline"]
    workspace.specs = SPECS
    workspace.set_sizes({"height": 112, "width": 112})
    assert not card.stale
    qtbot.waitUntil(lambda: card.stale, timeout=2000)
    assert card.stale_words == "of 1×3×224×224"
    assert card.stale_words in card.accessibleDescription()
    workspace.undo_stack.undo()
    qtbot.waitUntil(lambda: not card.stale, timeout=2000)


@pytest.mark.parametrize("width", [104, 130, 144, 180, 260])
def test_nothing_of_a_card_is_cut_at_any_width(bar: CardsBar, width: int) -> None:
    for card in bar.cards.values():
        card.resize(width, 80)
        fit = card.fit()
        used = cards._value_width(card.value, fit.value_px)
        assert used <= fit.room
        beside = QFontMetricsF(ui_font(bold=True)).horizontalAdvance(card.difference)
        assert not (fit.difference_beside and card.difference) or used + beside <= fit.room
        assert not card.grab().isNull()
    if width in (104, 260):
        assert bar.cards["headline"].fit().difference_beside == (width == 260)


def test_cards_can_be_found_and_read_aloud(bar: CardsBar) -> None:
    for slot, card in bar.cards.items():
        assert card.objectName() == f"card_{slot}"
        assert card.accessibleName() and card.accessibleDescription() and card.toolTip()
