"""The headline cards."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from PySide6.QtGui import QFontMetricsF
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from engine.errors import ErrorInfo
from engine.graph import Dim, InputSpec
from engine.results import Coverage, NotCounted
from gui.measuring import Running
from gui.models.card_words import coverage_sentence
from gui.theme import SECONDARY_PX, ThemeManager, ui_font
from gui.views import cards
from gui.views.cards import SLOTS, CardsBar
from gui.workspace import Workspace
from tests.gui.analyses import small_net
from tests.gui.measurements import latency_of, measured
from tests.gui.panels import bring, learn, measuring_of, workspace_of

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
    bar = CardsBar(workspace, measuring_of(workspace), ThemeManager(qapp, "light"))
    qtbot.addWidget(bar)
    return bar


def test_value_difference_and_what_was_before(bar: CardsBar) -> None:
    headline = bar.cards["headline"]
    assert headline.words.label == "MACs"
    assert headline.words.value == f"68.6{THIN}M"
    assert headline.words.difference == f"×{THIN}2.71"
    assert headline.words.tone == "secondary"
    assert headline.words.detail == f"25.3{THIN}M before"
    assert "68,641,472" not in headline.words.detail
    assert f"{(216 + 2 * 576) * 224 * 224 + 80:,}" in headline.toolTip()
    assert "1 MAC = 2 FLOPs" in headline.toolTip()
    assert "x 1×3×224×224" in headline.toolTip()


def test_params_are_the_same_and_show_their_bytes(bar: CardsBar) -> None:
    params = bar.cards["params"]
    assert (params.words.value, params.words.difference) == (f"1.48{THIN}k", "=")
    assert params.words.detail == f"1,478 · 5.77{THIN}KiB"
    assert "20 are not read" in params.toolTip()


def test_only_what_should_be_small_is_coloured(bar: CardsBar) -> None:
    tones = {slot: card.words.tone for slot, card in bar.cards.items()}
    assert tones["activation_bytes"] == "worse"
    assert tones["params"] == tones["headline"] == "secondary"


def test_an_improvement_is_better(bar: CardsBar, workspace: Workspace) -> None:
    bring(workspace, small_net(112))
    assert bar.cards["activation_bytes"].words.tone == "better"


def test_the_baseline_itself_has_no_differences(bar: CardsBar, workspace: Workspace) -> None:
    bring(workspace, small_net())
    assert all(not card.words.difference for card in bar.cards.values())


def test_count_mode(bar: CardsBar, workspace: Workspace) -> None:
    workspace.set_count_mode("flops")
    assert bar.cards["headline"].words.label == "FLOPs"


def test_incomplete_coverage_is_a_lower_bound(bar: CardsBar, workspace: Workspace) -> None:
    coverage = Coverage(173, 161, (NotCounted("topk", 12),))
    net = small_net()
    layers = msgspec.structs.replace(net.layers, macs=(None, *net.layers.macs[1:]))
    bring(workspace, msgspec.structs.replace(net, coverage=coverage, layers=layers))
    assert bar.cards["headline"].words.value.startswith("≥ ")
    assert "12 × topk" in bar.cards["headline"].toolTip()
    assert not bar.cards["params"].words.value.startswith("≥")
    bring(workspace, msgspec.structs.replace(net, coverage=coverage))
    assert not bar.cards["headline"].words.value.startswith("≥"), "topk has no MACs; every row knows its MACs"


def test_coverage_sentence() -> None:
    assert coverage_sentence(Coverage(171, 171)) == "All 171 calls are counted."
    assert coverage_sentence(Coverage(2, 1, (NotCounted("nms", 1),))) == (
        f"All but 1 × nms are counted (50{THIN}% of calls)."
    )


def test_nothing_open(tmp_path: Path, qapp: QApplication, qtbot: QtBot) -> None:
    workspace = workspace_of(tmp_path)
    bar = CardsBar(workspace, measuring_of(workspace), ThemeManager(qapp, "light"))
    qtbot.addWidget(bar)
    assert [card.words.value for card in bar.cards.values()] == ["—"] * len(SLOTS)
    assert not bar.grab().isNull()


def test_late_numbers_are_dimmed_and_say_what_they_belong_to(
    bar: CardsBar, workspace: Workspace, qtbot: QtBot
) -> None:
    card = bar.cards["headline"]
    workspace.specs = SPECS
    workspace.set_sizes({"height": 112, "width": 112})
    assert not card.words.stale
    qtbot.waitUntil(lambda: bool(card.words.stale), timeout=2000)
    assert card.words.stale == "of 1×3×224×224"
    assert card.words.stale in card.accessibleDescription()
    workspace.undo_stack.undo()
    qtbot.waitUntil(lambda: not card.words.stale, timeout=2000)


@pytest.mark.parametrize("width", [104, 130, 144, 180, 260])
def test_nothing_of_a_card_is_cut_at_any_width(bar: CardsBar, width: int) -> None:
    for card in bar.cards.values():
        card.resize(width, 80)
        fit = card.fit()
        used = cards._value_width(card.words.value, fit.value_px)
        assert used <= fit.room
        beside = QFontMetricsF(ui_font(bold=True)).horizontalAdvance(card.words.difference)
        assert not (fit.difference_beside and card.words.difference) or used + beside <= fit.room
        assert not card.grab().isNull()
    if width in (104, 260):
        assert bar.cards["headline"].fit().difference_beside == (width == 260)


def test_cards_can_be_found_and_read_aloud(bar: CardsBar) -> None:
    for slot, card in bar.cards.items():
        assert card.objectName() == f"card_{slot}"
        assert card.accessibleName() and card.accessibleDescription() and card.toolTip()


# -- what was measured ---------------------------------------------------------------------------------------------


def test_a_measurement_of_another_size_is_old_at_once(bar: CardsBar, workspace: Workspace) -> None:
    card = bar.cards["latency_s"]
    learn(bar._measuring, latency_of(small_net(pool=False)))
    assert card.words.value.startswith("38.0 ±") and not card.words.stale
    other = small_net(112, pool=False)
    workspace.configuration = other.configuration
    workspace.configuration_changed.emit()
    assert card.words.value.startswith("38.0 ±")
    assert card.words.stale == bar.cards["throughput"].words.stale == "of 1×3×224×224 · paused"
    assert not bar.cards["headline"].words.stale, "the analysis is not late yet"
    learn(bar._measuring, latency_of(other, 12))
    assert card.words.value.startswith("12.") and not card.words.stale


def test_the_difference_is_apart_until_there_is_a_comparison(bar: CardsBar, workspace: Workspace) -> None:
    card = bar.cards["latency_s"]
    workspace.baseline = measured(small_net(), 20)
    learn(bar._measuring, latency_of(small_net(pool=False), 38))
    assert (card.words.difference, card.words.detail) == (f"×{THIN}1.9", "measured apart")
    assert card.words.tone == "secondary"
    assert bar.cards["throughput"].words.difference
    workspace.configuration = small_net(112, pool=False).configuration
    workspace.configuration_changed.emit()
    assert card.words.stale
    assert not card.words.difference, "the baseline is not what an old number is compared with"
    assert not bar.cards["throughput"].words.difference


def test_the_progress_line_follows_the_time_sampled_and_goes(bar: CardsBar) -> None:
    card, measuring = bar.cards["latency_s"], bar._measuring
    assert card.progress is None
    measuring.phase = "live"
    measuring.running = Running(small_net().configuration, 2, [0.2, 0.3])
    measuring.samples_changed.emit()
    assert card.progress == pytest.approx(0.5)
    assert not card.grab().isNull()
    measuring.phase, measuring.running = "", None
    measuring.state_changed.emit()
    assert card.progress is None


def test_an_opened_report_shows_its_own_latency(bar: CardsBar, workspace: Workspace) -> None:
    workspace.editable = False
    bring(workspace, measured(small_net(), 12))
    assert bar.cards["latency_s"].words.value.startswith("12.")
    assert not bar.cards["latency_s"].words.stale
    bring(workspace, small_net())
    assert bar.cards["latency_s"].words.value == "—"


def test_an_error_is_said_with_its_reason(bar: CardsBar) -> None:
    card, measuring = bar.cards["latency_s"], bar._measuring
    measuring.error = ErrorInfo("memory", "It needs 26.1 GiB; 20.3 GiB are free.")
    measuring.latency_changed.emit()
    assert card.words.value == "not measured"
    assert "26.1 GiB" in card.toolTip()


def test_a_refusal_is_readable_as_a_whole_on_a_narrow_card(bar: CardsBar, qtbot: QtBot) -> None:
    card, sentence = (
        bar.cards["latency_s"],
        "Running Big needs 25.5 GiB for the weights alone; 20.3 GiB are free.",
    )
    bar._measuring.error = ErrorInfo("input", sentence)
    bar._measuring.latency_changed.emit()
    card.resize(190, cards.HEIGHT)
    assert card.words.wraps
    lines = cards.wrapped(sentence, ui_font(SECONDARY_PX), card.fit().room, cards.SENTENCE_LINES)
    assert " ".join(lines) == sentence and len(lines) > 1
    low = card.grab().toImage().copy(0, cards.HEIGHT - 30, card.width(), 24)
    bar._measuring.error = ErrorInfo("input", "Short.")
    bar._measuring.latency_changed.emit()
    assert card.grab().toImage().copy(0, cards.HEIGHT - 30, card.width(), 24) != low


def test_too_long_a_sentence_is_elided_at_its_end() -> None:
    lines = cards.wrapped("word " * 40, ui_font(SECONDARY_PX), 160.0, 3)
    assert len(lines) == 3 and lines[-1].endswith("…") and not lines[0].endswith("…")
