"""The Breakdown panel with real mouse and keyboard events on a net of realistic size."""

from __future__ import annotations

import os

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QColor, QGuiApplication, QImage, QWheelEvent
from PySide6.QtWidgets import QApplication, QWidget
from pytestqt.qtbot import QtBot

from engine.measurement import Latency
from engine.metrics import METRIC
from engine.results import Analysis, with_latency
from gui.charts.breakdown import BreakdownPanel
from gui.charts.icicle_layout import module_values
from gui.charts.rows import RowData, before_words
from gui.engine_client import EngineClient
from gui.selection import Selection
from gui.settings import Settings
from gui.theme import ThemeManager
from gui.workspace import Workspace
from tests.gui.analyses import Mod, Row, make
from tests.gui.desks import desk_of
from tests.gui.measurements import layer_times, measurement

BLOCKS = 50
"""Seven rows each: 352 rows, as many as a ResNet-152 has."""


def deep_net(size: int = 224, blocks: int = BLOCKS, *, without: str = "") -> Analysis:
    """stem, ``layer1`` … ``layer4`` with ``blocks`` blocks in all, fc; a block runs seven rows, one unknown."""
    mods = [Mod("", "DeepNet", 64 * blocks * 2 + 1000), Mod("stem", "Conv2d", 500)]
    rows = [
        Row("stem:conv2d", "stem", "convolution", params=500, macs=size * size * 90, flops=size * size * 180)
    ]
    for stage in range(1, 5):
        first, last = (stage - 1) * blocks // 4, stage * blocks // 4
        mods.append(Mod(f"layer{stage}", "Sequential", 128 * (last - first)))
        for block in range(first, last):
            path = f"layer{stage}.{block - first}"
            mods.append(Mod(path, "Block", 128))
            for name in ("conv1", "conv2"):
                mods.append(Mod(f"{path}.{name}", "Conv2d", 64))
                work = size * size * (40 + 10 * stage)
                rows.append(
                    Row(
                        f"{path}.{name}:conv2d",
                        f"{path}.{name}",
                        "convolution",
                        params=64,
                        macs=work,
                        flops=2 * work,
                    )
                )
                rows.append(Row(f"{path}:batch_norm#{name[-1]}", path, "norm", flops=size * size * 4))
            rows.append(Row(f"{path}:relu", path, "activation", flops=size * size * 2))
            rows.append(Row(f"{path}:topk", path, macs=None, flops=None, formula="topk is not counted"))
            rows.append(Row(f"{path}:add", path, "elementwise", flops=size * size))
    mods.append(Mod("fc", "Linear", 500))
    rows.append(Row("fc:linear", "fc", "linear", params=500, macs=500, flops=1000))
    return make(mods, [row for row in rows if row.id != without], size=size, name="deepnet")


class Stage:
    """A workspace without an engine process and a panel on the screen."""

    def __init__(self, qtbot: QtBot, folder: Path) -> None:
        app = QApplication.instance()
        assert isinstance(app, QApplication)
        self.workspace = Workspace(EngineClient(), Settings(str(folder / "settings.ini")))
        self.selection = Selection()
        self.theme = ThemeManager(app, "light")
        self.settings = Settings(str(folder / "settings.ini"))
        self.desk = desk_of(self.workspace, self.theme, self.settings, self.selection)
        self.measuring = self.desk.measuring
        self.panel = BreakdownPanel(self.desk)
        qtbot.addWidget(self.panel)
        self.panel.resize(600, 260)
        self.panel.show()
        qtbot.waitExposed(self.panel)
        self.bars = self.panel.bars
        self.icicle = self.panel.icicle

    def show(self, analysis: Analysis, baseline: Analysis | None = None) -> None:
        workspace = self.workspace
        workspace.model, workspace.configuration = analysis.model, analysis.configuration
        workspace.analysis, workspace.baseline = analysis, baseline
        workspace.model_changed.emit()
        workspace.analysis_changed.emit()
        workspace.baseline_changed.emit()

    def bar(self, node: str) -> QPoint:
        """A place inside the bar of a row, just above the base line."""
        assert self.bars.data is not None
        slot = self.bars.axis.slot_of(self.bars.data.layers.id.index(node))
        assert slot is not None
        return QPoint(round(self.bars.axis.x(slot + 0.4)), self.bars.height() - 26)


@pytest.fixture
def stage(qtbot: QtBot, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(qtbot, tmp_path)
    yield stage
    stage.theme.set_mode("light")


def wheel(widget: QWidget, at: QPoint, notches: int) -> None:
    """Turn the wheel over a widget, as the window system does."""
    position = QPointF(at)
    event = QWheelEvent(
        position,
        widget.mapToGlobal(position),
        QPoint(),
        QPoint(0, 120 * notches),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(widget, event)


def pixel_colors(image: QImage) -> set[str]:
    return {
        image.pixelColor(x, y).name() for x in range(0, image.width(), 2) for y in range(0, image.height(), 2)
    }


def test_without_a_model_a_sentence_says_what_to_do(stage: Stage) -> None:
    assert stage.bars.data is None
    assert len(pixel_colors(stage.bars.grab().toImage())) > 1


def test_only_rows_with_the_metric_have_a_slot_and_the_caption_says_so(stage: Stage) -> None:
    stage.show(deep_net())
    assert stage.bars.data is not None
    # stem, fc, two convolutions and the row that is not counted per block
    assert len(stage.bars.data.rows) == 2 + 3 * BLOCKS
    assert stage.panel.caption.text == "MACs per layer · 152 of 352 rows have any"


def test_the_metric_follows_macs_or_flops(stage: Stage) -> None:
    stage.show(deep_net())
    stage.workspace.count_mode = "flops"
    stage.workspace.count_mode_changed.emit()
    assert stage.panel.metric_button.keys == ("flops",)
    assert stage.bars.data is not None and stage.bars.data.keys == ("flops",)
    stage.panel.metric_button.set_keys(["params"])
    stage.workspace.count_mode = "macs"
    stage.workspace.count_mode_changed.emit()
    assert stage.panel.metric_button.keys == ("params",)


def test_hovering_and_clicking_a_bar_reaches_every_view(stage: Stage, qtbot: QtBot) -> None:
    stage.show(deep_net())
    qtbot.mouseMove(stage.bars.viewport(), stage.bar("layer2.3.conv2:conv2d"))
    assert stage.selection.hovered == "layer2.3.conv2:conv2d"
    qtbot.mouseClick(stage.bars.viewport(), Qt.MouseButton.LeftButton, pos=stage.bar("layer3.1.conv1:conv2d"))
    assert stage.selection.current == "layer3.1.conv1:conv2d"
    qtbot.mouseClick(
        stage.bars.viewport(),
        Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.ControlModifier,
        stage.bar("stem:conv2d"),
    )
    assert stage.selection.selected == {"layer3.1.conv1:conv2d", "stem:conv2d"}


def test_a_node_chosen_elsewhere_is_outlined_with_the_accent(stage: Stage) -> None:
    stage.show(deep_net())
    accent = QColor(stage.theme.current.accent).name()
    assert accent not in pixel_colors(stage.bars.grab().toImage())
    for node in ("layer2.3.conv2:conv2d", "layer2", "layer2.3:relu"):
        stage.selection.set_current(node)
        assert accent in pixel_colors(stage.bars.grab().toImage()), node


def test_the_wheel_zooms_at_the_pointer_and_a_drag_pans(stage: Stage, qtbot: QtBot) -> None:
    stage.show(deep_net())
    at = stage.bar("layer2.3.conv2:conv2d")
    before = stage.bars.axis.slot(at.x())
    with qtbot.waitSignal(stage.selection.range_changed):
        wheel(stage.bars.viewport(), at, 6)
    first, last = stage.bars.axis.span
    assert last - first < 50
    assert stage.bars.axis.slot(at.x()) == pytest.approx(before)
    view = stage.bars.viewport()
    qtbot.mousePress(view, Qt.MouseButton.LeftButton, pos=at)
    qtbot.mouseMove(view, at + QPoint(-60, 0))
    qtbot.mouseRelease(view, Qt.MouseButton.LeftButton, pos=at + QPoint(-60, 0))
    assert stage.bars.axis.span[0] > first
    assert stage.selection.current is None, "a drag is no click"
    qtbot.keyClick(stage.bars, Qt.Key.Key_0)
    assert stage.selection.range is None
    assert stage.bars.axis.span == (0.0, float(len(stage.bars.axis.rows)))


def test_a_range_set_elsewhere_zooms_the_bars(stage: Stage) -> None:
    stage.show(deep_net())
    assert stage.bars.data is not None
    first = stage.bars.data.layers.path.index("layer3.0.conv1")
    stage.selection.set_range((float(first), first + 70.0))
    low, high = stage.bars.axis.span
    assert stage.bars.data.rows[int(low)] == first
    assert high - low == pytest.approx(30, abs=1)  # three of seven rows of each of ten blocks


def test_a_zoom_stays_with_its_layers_after_an_edit(stage: Stage) -> None:
    net = deep_net()
    stage.show(net)
    rows = [row for row, path in enumerate(net.layers.path) if path.startswith("layer3.1")]
    stage.selection.set_range((float(rows[0]), rows[-1] + 1.0))
    edited = deep_net(without="layer1.0.conv1:conv2d")
    assert len(edited.layers) < len(net.layers)
    stage.workspace.analysis = edited
    stage.workspace.analysis_changed.emit()
    assert stage.selection.range is not None
    low, high = stage.selection.range
    assert edited.layers.id[int(low)] == net.layers.id[rows[0]]
    assert edited.layers.id[int(high) - 1] == net.layers.id[rows[-1]]


def test_arrow_keys_walk_the_bars_and_keep_them_in_view(stage: Stage, qtbot: QtBot) -> None:
    stage.show(deep_net())
    stage.bars.setFocus()
    qtbot.keyClick(stage.bars, Qt.Key.Key_Home)
    assert stage.selection.current == "stem:conv2d"
    qtbot.keyClick(stage.bars, Qt.Key.Key_Right)
    assert stage.selection.current == "layer1.0.conv1:conv2d"
    stage.selection.set_current("layer1.0:relu")  # between conv2 and topk, without a bar of its own
    qtbot.keyClick(stage.bars, Qt.Key.Key_Right)
    assert stage.selection.current == "layer1.0:topk"
    stage.selection.set_current("layer1.0:relu")
    qtbot.keyClick(stage.bars, Qt.Key.Key_Left)
    assert stage.selection.current == "layer1.0.conv2:conv2d"
    for _ in range(4):
        qtbot.keyClick(stage.bars, Qt.Key.Key_Plus)
    qtbot.keyClick(stage.bars, Qt.Key.Key_End)
    assert stage.selection.current == "fc:linear"
    assert stage.bars.axis.span[1] == len(stage.bars.axis.rows)
    with qtbot.waitSignal(stage.panel.activated) as signal:
        qtbot.keyClick(stage.bars, Qt.Key.Key_Return)
    assert signal.args == ["fc:linear"]


def test_the_baseline_is_matched_by_row_id_when_structures_differ(stage: Stage) -> None:
    before, now = deep_net(224), deep_net(448, without="layer1.0.conv1:conv2d")
    stage.show(now, before)
    data = stage.bars.data
    assert data is not None
    row = now.layers.id.index("layer4.2.conv1:conv2d")
    there = before.layers.id.index("layer4.2.conv1:conv2d")
    lane = data.lanes[0]
    assert lane.before is not None and lane.before[row] == before.layers.macs[there]
    assert data.only_before == 1
    assert "outlined: before · 1 row gone" in stage.panel.caption.text
    words = data.sentences(row)[0].replace("\u202f", " ")
    assert "before (× 4)" in words or "before (× 4.00)" in words


def test_an_equal_baseline_leaves_no_ghost(stage: Stage) -> None:
    stage.show(deep_net(), deep_net())
    assert stage.bars.data is not None and not stage.bars.data.has_before


def test_not_counted_is_said_and_never_shown_as_zero() -> None:
    net = deep_net()
    data = RowData(net, None, ["macs"])
    row = net.layers.id.index("layer1.0:topk")
    assert row in data.rows and data.unknown[row]
    assert data.sentences(row)[:2] == ["MACs not counted", "topk is not counted"]
    both = RowData(net, None, ["params", "macs"])
    assert [lane.unknown[row] for lane in both.lanes] == [False, True]
    # params of that row are known to be none: no slot
    assert row not in RowData(net, None, ["params"]).rows


def test_side_by_side_each_metric_is_a_share_of_its_own_total(stage: Stage) -> None:
    net = deep_net()
    stage.show(net)
    stage.panel.metric_button.set_keys(["macs", "params"])
    data = stage.bars.data
    assert data is not None and data.several
    assert [lane.metric.key for lane in data.lanes] == ["params", "macs"]
    row = net.layers.id.index("stem:conv2d")
    assert data.lanes[0].values[row] == pytest.approx(100 * 500 / net.totals.params)
    assert sum(value or 0 for value in data.lanes[1].values) == pytest.approx(100)
    assert "each in % of its own total" in stage.panel.caption.text


def test_log_by_a_click_and_by_key(stage: Stage, qtbot: QtBot) -> None:
    stage.show(deep_net())
    qtbot.mouseClick(stage.panel.log_button, Qt.MouseButton.LeftButton)
    assert stage.bars.log
    qtbot.keyClick(stage.bars, Qt.Key.Key_L)
    assert not stage.bars.log and not stage.panel.log_button.isChecked()


def test_modules_zoom_by_double_click_and_out_by_backspace(stage: Stage, qtbot: QtBot) -> None:
    net = deep_net()
    stage.show(net)
    qtbot.mouseClick(stage.panel.findChild(QWidget, "breakdownModules"), Qt.MouseButton.LeftButton)
    icicle = stage.icicle
    assert icicle.isVisible()
    paths = net.modules.path
    cell = next(cell for cell in icicle.cells if paths[cell.module] == "layer3")
    middle = QPoint(round(12 + (cell.start + cell.end) / 2 * (icicle.width() - 24)), 24 + 42 + 10)
    qtbot.mouseMove(icicle.viewport(), middle)
    assert stage.selection.hovered == "layer3"
    qtbot.mouseClick(icicle.viewport(), Qt.MouseButton.LeftButton, pos=middle)
    assert stage.selection.current == "layer3"
    qtbot.mouseDClick(icicle.viewport(), Qt.MouseButton.LeftButton, pos=middle)
    assert icicle.focus_module == "layer3"
    rows = [row for row, path in enumerate(net.layers.path) if path.startswith("layer3.")]
    assert stage.selection.range == (rows[0], rows[-1] + 1)
    qtbot.keyClick(icicle, Qt.Key.Key_Backspace)
    assert icicle.focus_module == "" and stage.selection.range is None
    qtbot.keyClick(icicle, Qt.Key.Key_Return)
    assert icicle.focus_module == "layer3"
    qtbot.keyClick(icicle, Qt.Key.Key_0)
    assert icicle.focus_module == ""


def test_modules_walk_by_arrow_keys(stage: Stage, qtbot: QtBot) -> None:
    stage.show(deep_net())
    stage.panel.segments.choose(1)
    stage.panel.segments.chosen.emit(1)
    steps = (
        (Qt.Key.Key_Down, ""),
        (Qt.Key.Key_Down, "stem"),
        (Qt.Key.Key_Right, "layer1"),
        (Qt.Key.Key_Down, "layer1.0"),
        (Qt.Key.Key_Up, "layer1"),
    )
    for key, path in steps:
        qtbot.keyClick(stage.icicle, key)
        assert stage.selection.current == path


def test_the_icicle_follows_a_zoom_of_the_bars(stage: Stage) -> None:
    net = deep_net()
    stage.show(net)
    stage.panel.segments.choose(1)
    stage.panel.segments.chosen.emit(1)
    rows = [row for row, path in enumerate(net.layers.path) if path.startswith("layer2.3")]
    stage.selection.set_range((rows[0] + 0.2, rows[-1] + 0.7))
    assert stage.icicle.focus_module == "layer2.3"
    stage.selection.set_range(None)
    assert stage.icicle.focus_module == ""
    # also a zoom from before it was shown
    stage.panel.segments.choose(0)
    stage.panel.segments.chosen.emit(0)
    stage.selection.set_range((float(rows[0]), rows[-1] + 1.0))
    stage.panel.segments.choose(1)
    stage.panel.segments.chosen.emit(1)
    assert stage.icicle.focus_module == "layer2.3"


def test_the_current_bar_is_described_for_screen_readers(stage: Stage) -> None:
    stage.show(deep_net())
    stage.selection.set_current("stem:conv2d")
    # per position: 90 of the stem, and 2 × (40 + 10 · stage) for the 12, 13, 12 and 13 blocks of the stages: 6,610
    assert stage.bars.accessibleDescription().replace("\u202f", " ") == "stem: 4.52 M MACs · 1.4 %"


def test_modules_offer_only_metrics_that_add_up(stage: Stage) -> None:
    stage.show(deep_net())
    stage.panel.metric_button.set_keys(["peak_activation_bytes"])
    stage.panel.segments.choose(1)
    stage.panel.segments.chosen.emit(1)
    assert stage.icicle.cells == []
    menu = stage.panel.metric_button.menu()
    enabled = {action.text(): action.isEnabled() for action in menu.actions() if action.data()}
    assert enabled["MACs"] and enabled["Params"] and not enabled["Peak memory"] and not enabled["Intensity"]


def test_a_new_theme_recolours(stage: Stage) -> None:
    stage.show(deep_net())
    for mode in ("light", "dark"):
        stage.theme.set_mode(mode)
        colors = pixel_colors(stage.bars.grab().toImage())
        assert QColor(stage.theme.current.surface).name() in colors
        assert QColor(stage.theme.current.family["convolution"]).name() in colors


def test_ctrl_c_copies_the_picture(stage: Stage, qtbot: QtBot) -> None:
    stage.show(deep_net())
    with qtbot.waitSignal(stage.bars.picture_copied):
        qtbot.keyClick(stage.bars, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    assert QGuiApplication.clipboard().image().width() == stage.bars.width()


def test_a_hidden_panel_catches_up_when_it_is_shown(stage: Stage) -> None:
    stage.show(deep_net())
    stage.panel.hide()
    stage.show(deep_net(blocks=8))
    assert stage.bars.data is not None and len(stage.bars.data.layers) == 352
    stage.panel.show()
    assert len(stage.bars.data.layers) == 8 * 7 + 2


def test_view_and_metrics_are_kept(stage: Stage, qtbot: QtBot) -> None:
    stage.panel.metric_button.set_keys(["params", "activation_bytes"])
    stage.panel.log_button.click()
    again = BreakdownPanel(stage.desk)
    qtbot.addWidget(again)
    assert again.metric_button.keys == ("params", "activation_bytes")
    assert again.bars.log and again.log_button.isChecked()


@pytest.mark.parametrize("size", [(260, 150), (600, 220), (1900, 700)])
def test_any_size_can_be_painted(stage: Stage, size: tuple[int, int]) -> None:
    stage.show(deep_net(), deep_net(96))
    stage.panel.resize(*size)
    for view in (0, 1):
        stage.panel.segments.choose(view)
        stage.panel.segments.chosen.emit(view)
        assert not stage.panel.grab().isNull()


# -- measured metrics ------------------------------------------------------------------------------------------------


def timed(net: Analysis) -> Analysis:
    """``net`` with a measurement and layer times of its own."""
    return with_latency(net, Latency(measurement(net.configuration), layer_times(net)))


def test_layer_times_are_bars_and_what_is_part_of_another_row_has_none(stage: Stage) -> None:
    net = deep_net(blocks=2)
    fused = [row for row in net.layers.id if ":relu" in row]
    times = layer_times(net, parts=fused)
    stage.show(with_latency(net, Latency(measurement(net.configuration), times)))
    stage.panel.metric_button.set_keys(["latency_s"])
    data = stage.bars.data
    assert data is not None
    assert len(data.rows) == len(net.layers) - len(fused)
    assert not any(data.unknown)  # a missing time is no gap in the counting
    caption = stage.panel.caption.text
    assert "2.00\u202fms between layers" in caption and "hook cost subtracted" in caption
    row = net.layers.id.index("stem:conv2d")
    lines = data.sentences(row)
    assert lines[0].startswith("Latency 1.00\u202fms · ")
    assert "MAC/s · Cores busy 1.70" in lines[1]
    assert "part of a fused kernel" in data.sentences(net.layers.id.index(fused[0]))
    assert data.lanes[0].whole == pytest.approx(times.rows_s)


def test_times_of_the_baseline_are_said_to_be_measured_apart(stage: Stage) -> None:
    stage.panel.metric_button.set_keys(["latency_s"])
    stage.show(timed(deep_net(blocks=2)), timed(deep_net(160, blocks=2, without="fc:linear")))
    assert stage.bars.data is not None and stage.bars.data.has_before
    assert stage.panel.caption.text.startswith("outlined: before, measured apart · ")
    stage.panel.metric_button.set_keys(["macs"])
    assert stage.panel.caption.text.endswith("have any") and "apart" not in stage.panel.caption.text
    words = before_words(METRIC["latency_s"], 1e-3, 3.14159e-3)
    assert words == "1.00\u202fms before (×\u202f3.1, measured apart)"


def test_times_of_an_earlier_configuration_are_faded_and_named(stage: Stage) -> None:
    net, other = deep_net(blocks=2), deep_net(160, blocks=2)
    stage.panel.metric_button.set_keys(["latency_s"])
    stage.show(timed(net))
    fresh = pixel_colors(stage.bars.grab().toImage())
    stage.show(with_latency(other, None, layer_times(net)))
    assert stage.panel.caption.text.startswith("times of 1×3×224×224")
    assert stage.bars.data is not None
    assert "times of 1×3×224×224" in stage.bars.data.lanes[0].label(False)
    assert "times of 1×3×224×224" in stage.bars.data.sentences(0)
    convolution = stage.theme.current.color("convolution").name()
    assert convolution in fresh
    # the legend keeps the colour; of the bars nothing has it
    below = stage.bars.grab().toImage().copy(60, 24, 500, 160)
    assert convolution not in pixel_colors(below)
    # numbers of the configuration asked for are not faded beside them
    stage.panel.metric_button.set_keys(["macs"])
    assert "times of" not in stage.panel.caption.text
    assert convolution in pixel_colors(stage.bars.grab().toImage().copy(60, 24, 500, 160))


def test_the_icicle_of_times_adds_up_and_fades(stage: Stage) -> None:
    net, other = deep_net(blocks=2), deep_net(160, blocks=2)
    times = layer_times(net)
    stage.panel.segments.choose(1)
    stage.panel.segments.chosen.emit(1)
    stage.panel.metric_button.set_keys(["latency_s"])
    stage.show(with_latency(net, Latency(measurement(net.configuration), times)))
    assert stage.icicle.cells
    assert module_values(stage.workspace.analysis or net, "latency_s")[0] == pytest.approx(times.rows_s)
    fresh = stage.icicle.grab().toImage()
    stage.show(with_latency(other, None, times))
    assert stage.panel.caption.text.startswith("times of 1×3×224×224")
    assert stage.icicle.grab().toImage() != fresh


@pytest.mark.parametrize("view", [0, 1])
def test_times_are_old_as_soon_as_something_else_is_asked_for(stage: Stage, view: int) -> None:
    stage.panel.segments.choose(view)
    stage.panel.segments.chosen.emit(view)
    stage.panel.metric_button.set_keys(["latency_s"])
    stage.show(timed(deep_net(blocks=2)))
    chart = stage.icicle if view else stage.bars
    assert not chart.stale_words
    stage.workspace.configuration = deep_net(160, blocks=2).configuration
    stage.workspace.configuration_changed.emit()
    assert chart.stale_words == "of 1×3×224×224"
    stage.panel.metric_button.set_keys(["macs"])
    assert not chart.stale_words, "counted numbers may take a moment"


@pytest.mark.parametrize("view", [0, 1])
def test_until_layers_are_timed_a_sentence_says_why(stage: Stage, view: int) -> None:
    stage.panel.segments.choose(view)
    stage.panel.segments.chosen.emit(view)
    stage.show(deep_net())
    stage.workspace.editable = True
    stage.panel.metric_button.set_keys(["latency_s"])
    chart = stage.icicle if view else stage.bars
    assert "Measuring is paused" in chart.words
    stage.measuring.enabled, stage.measuring.phase = True, "layers"
    stage.measuring.state_changed.emit()
    assert chart.words == "Timing the layers."
    stage.panel.metric_button.set_keys(["macs"])
    assert chart.words == ""


def test_beside_other_metrics_an_unmeasured_one_says_so_in_its_lane(stage: Stage) -> None:
    stage.show(deep_net())
    stage.panel.metric_button.set_keys(["macs", "latency_s"])
    assert stage.bars.data is not None
    assert [lane.label(True) for lane in stage.bars.data.lanes][1] == "Latency, not measured"
    assert stage.bars.words == ""


def test_a_model_without_rows(stage: Stage) -> None:
    net = deep_net()
    stage.show(msgspec.structs.replace(net, layers=type(net.layers)()))
    for view in (0, 1):
        stage.panel.segments.choose(view)
        stage.panel.segments.chosen.emit(view)
        assert not stage.panel.grab().isNull()


def test_panels_close_cleanly_at_the_end_of_the_program(tmp_path: Path) -> None:
    program = """
import sys
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication
app = QApplication([])
from gui.charts.breakdown import BreakdownPanel
from gui.charts.curve import CurvePanel
from gui.charts.live_latency import LiveLatencyPanel
from gui.engine_client import EngineClient
from gui.settings import Settings
from gui.theme import ThemeManager
from gui.workspace import Workspace
from tests.gui.desks import desk_of
settings = Settings(sys.argv[1])
desk = desk_of(Workspace(EngineClient(), settings), ThemeManager(app), settings)
panels = [BreakdownPanel(desk), CurvePanel(desk), LiveLatencyPanel(desk)]
for panel in panels:
    panel.show()
QTimer.singleShot(0, app.quit)
sys.exit(app.exec())
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "settings.ini")],
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
