"""The truth of the window against the real engine: opening, changing, undoing, comparing, consent, reports."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest
from pytestqt.qtbot import QtBot

from engine.edits import RemoveLayer, SetAttribute
from engine.errors import ErrorInfo
from engine.graph import InputShape
from engine.measurement import Latency, LayerTimes, Measurement
from engine.results import Analysis
from gui.main_window import MainWindow
from gui.opening import ConsentRequest, Plan
from gui.settings import Settings
from gui.workspace import Workspace
from tests.gui.conftest import ANSWER_MS, open_model, wait_current

RESNET = "torchvision:resnet18"
NET = """
import torch
from torch import nn

def build():
    net = nn.Sequential(nn.Conv2d(3, {channels}, 3), nn.ReLU(), nn.Flatten(), nn.Linear({channels} * 30 * 30, 10))
    return net, (torch.zeros(1, 3, 32, 32),)
"""


@pytest.fixture
def resnet(workspace: Workspace, qtbot: QtBot) -> Workspace:
    open_model(qtbot, workspace, RESNET)
    return workspace


def write_net(folder: Path, channels: int = 8) -> str:
    path = folder / "net.py"
    path.write_text(NET.format(channels=channels))
    return f"{path}:build"


def test_open_shows_the_model_as_published(resnet: Workspace, settings: Settings) -> None:
    assert resnet.model is not None
    assert resnet.model.source == RESNET
    assert resnet.analysis is not None
    assert resnet.analysis.totals.params == 11_689_512
    assert resnet.analysis is resnet.baseline
    assert resnet.baseline_label == "as published"
    assert resnet.symbols() == ["batch", "height", "width"]
    assert resnet.sweep_symbol == "height"
    assert resnet.linked
    assert settings.recent == [RESNET]


def test_linked_sizes_move_together_and_undo_in_one_step(resnet: Workspace, qtbot: QtBot) -> None:
    resnet.begin_gesture()
    for size in range(224, 321, 4):
        resnet.set_sizes({"height": size})
    resnet.end_gesture()
    wait_current(qtbot, resnet)
    assert resnet.analysis is not None
    assert resnet.analysis.configuration.inputs[0].shape == (1, 3, 320, 320)
    assert resnet.undo_stack.count() == 1
    resnet.undo_stack.undo()
    wait_current(qtbot, resnet)
    assert resnet.size_of("height") == 224
    assert resnet.analysis is not None
    assert resnet.analysis.totals == resnet.baseline.totals if resnet.baseline else False


def test_two_drags_are_two_steps_and_a_drag_back_is_none(resnet: Workspace, qtbot: QtBot) -> None:
    for target in (256, 288):
        resnet.begin_gesture()
        resnet.set_sizes({"height": target})
        resnet.end_gesture()
    assert resnet.undo_stack.count() == 2
    resnet.begin_gesture()
    resnet.set_sizes({"height": 300})
    resnet.set_sizes({"height": 288})
    resnet.end_gesture()
    assert resnet.undo_stack.count() == 2
    wait_current(qtbot, resnet)


def test_sides_apart_and_together(resnet: Workspace, qtbot: QtBot) -> None:
    resnet.set_linked(False)
    resnet.set_sizes({"height": 160})
    assert (resnet.size_of("height"), resnet.size_of("width")) == (160, 224)
    resnet.set_linked(True)
    assert (resnet.size_of("height"), resnet.size_of("width")) == (160, 160)
    wait_current(qtbot, resnet)


def test_one_analysis_in_flight_and_the_newest_waits(resnet: Workspace, qtbot: QtBot) -> None:
    answers: list[int] = []
    resnet.analysis_changed.connect(
        lambda: answers.append(resnet.analysis.configuration.inputs[0].shape[2] if resnet.analysis else 0)
    )
    for size in range(230, 330):
        resnet.set_sizes({"height": size})
    wait_current(qtbot, resnet)
    assert answers == [230, 329]


def test_edits_undo_and_original_values(resnet: Workspace, qtbot: QtBot) -> None:
    before = resnet.analysis
    assert before is not None
    resnet.remove_layer("maxpool")
    wait_current(qtbot, resnet)
    assert resnet.configuration is not None
    assert resnet.configuration.edits == (RemoveLayer("maxpool"),)
    assert resnet.analysis is not None
    assert resnet.analysis.totals.params == before.totals.params
    assert resnet.analysis.totals.macs > 3 * before.totals.macs
    resnet.set_attribute("conv1", "stride", 1)
    assert resnet.configuration.edits == (RemoveLayer("maxpool"), SetAttribute("conv1", "stride", 1))
    resnet.set_attribute("conv1", "stride", (2, 2))
    assert resnet.configuration.edits == (RemoveLayer("maxpool"),)
    resnet.restore_layer("maxpool")
    assert resnet.configuration.edits == ()
    resnet.undo_stack.undo()
    assert resnet.configuration.edits == (RemoveLayer("maxpool"),)
    resnet.reset_edits()
    wait_current(qtbot, resnet)
    assert resnet.analysis.totals == before.totals


def test_a_refused_configuration_keeps_the_numbers(resnet: Workspace, qtbot: QtBot) -> None:
    before = resnet.analysis
    with qtbot.waitSignal(resnet.failure_changed, timeout=ANSWER_MS):
        resnet.remove_layer("layer1")
        resnet.remove_layer("layer2")
    assert resnet.failure is not None
    assert resnet.failure.error.kind == "layer"
    assert resnet.failure.error.layer.startswith("layer3")
    assert resnet.failure.partial is not None
    assert resnet.analysis is not None
    assert before is not None
    assert resnet.configuration is not None
    assert resnet.points[resnet.configuration].error is not None
    with qtbot.waitSignal(resnet.failure_changed, timeout=ANSWER_MS):
        resnet.undo_stack.undo()
    assert resnet.failure is None


def test_prefetch_fills_the_sweep_of_configuration_and_baseline(resnet: Workspace, qtbot: QtBot) -> None:
    resnet.remove_layer("maxpool")
    qtbot.waitUntil(lambda: resnet.settled, timeout=ANSWER_MS)
    baseline = resnet.baseline
    assert baseline is not None
    for like in (None, baseline.configuration):
        known = [resnet.points[resnet.configuration_at("height", size, like)] for size in range(32, 513, 32)]
        assert all(point.totals is not None for point in known)


def test_baseline_here_none_and_undo(resnet: Workspace, qtbot: QtBot) -> None:
    resnet.set_sizes({"height": 256})
    wait_current(qtbot, resnet)
    resnet.set_baseline_here()
    assert resnet.baseline is resnet.analysis
    assert resnet.baseline_label == "1×3×256×256"
    resnet.clear_baseline()
    assert resnet.baseline is None
    resnet.undo_stack.undo()
    resnet.undo_stack.undo()
    assert resnet.baseline_label == "as published"


def test_a_source_that_cannot_be_opened_changes_nothing(resnet: Workspace, qtbot: QtBot) -> None:
    before = resnet.model, resnet.configuration, resnet.analysis
    with qtbot.waitSignal(resnet.open_failed, timeout=ANSWER_MS) as failed:
        resnet.open_source("torchvision:resnet999")
    source, error = failed.args
    assert source == "torchvision:resnet999"
    assert isinstance(error, ErrorInfo)
    assert (resnet.model, resnet.configuration, resnet.analysis) == before
    resnet.set_sizes({"height": 192})
    wait_current(qtbot, resnet)
    assert resnet.analysis is not None
    assert resnet.analysis.configuration.inputs[0].shape[2] == 192


def test_the_old_model_stays_until_the_new_one_is_analysed(resnet: Workspace, qtbot: QtBot) -> None:
    names: list[str] = []
    resnet.busy_changed.connect(lambda: names.append(resnet.model.name if resnet.model else ""))
    open_model(qtbot, resnet, "torchvision:alexnet")
    assert names
    assert set(names[:-1]) == {"resnet18"} or names[-1] == "alexnet"
    assert resnet.model is not None
    assert resnet.model.name == "alexnet"
    assert resnet.undo_stack.count() == 0


def test_a_plan_follows_the_first_analysis(workspace: Workspace, qtbot: QtBot) -> None:
    plan = Plan((InputShape("", (1, 3, 256, 256), ""),), (RemoveLayer("maxpool"),))
    workspace.open_source(RESNET, plan=plan)
    qtbot.waitUntil(lambda: workspace.analysis is not None and workspace.is_current, timeout=ANSWER_MS)
    assert workspace.configuration is not None
    assert workspace.configuration.inputs[0] == InputShape("x", (1, 3, 256, 256))
    assert workspace.configuration.edits == (RemoveLayer("maxpool"),)
    assert workspace.baseline is not None
    assert workspace.baseline.configuration.edits == ()
    assert workspace.baseline.configuration.inputs == workspace.configuration.inputs, (
        "it was opened at this size"
    )
    assert workspace.baseline_label == "as opened"
    workspace.undo_stack.undo()
    assert not workspace.undo_stack.canUndo()
    assert workspace.configuration == workspace.baseline.configuration


def test_a_size_alone_on_the_command_line_is_nothing_to_undo(workspace: Workspace, qtbot: QtBot) -> None:
    workspace.open_source(RESNET, plan=Plan((InputShape("", (2, 3, 128, 128), ""),)))
    qtbot.waitUntil(lambda: workspace.analysis is not None and workspace.is_current, timeout=ANSWER_MS)
    assert workspace.baseline is workspace.analysis
    assert not workspace.undo_stack.canUndo()


def test_a_size_that_the_model_refuses_is_a_step_from_its_own(workspace: Workspace, qtbot: QtBot) -> None:
    wrong = InputShape("", (1, 3, 1, 1), "")
    workspace.open_source("torchvision:alexnet", plan=Plan((wrong,)))
    qtbot.waitUntil(lambda: workspace.failure is not None, timeout=ANSWER_MS)
    assert workspace.configuration is not None and workspace.configuration.inputs[0].shape == wrong.shape
    assert workspace.baseline is not None and workspace.baseline_label == "as published"
    assert workspace.undo_stack.canUndo()


def test_no_code_runs_without_consent_and_agreement_is_remembered(
    workspace: Workspace, settings: Settings, qtbot: QtBot, tmp_path: Path
) -> None:
    marker = tmp_path / "ran"
    source = write_net(tmp_path)
    path = tmp_path / "net.py"
    path.write_text(path.read_text() + f"\nopen({str(marker)!r}, 'w').close()\n")
    with qtbot.waitSignal(workspace.consent_required, timeout=ANSWER_MS) as asked:
        workspace.open_source(source)
    request: ConsentRequest = asked.args[0]
    assert request.error.details
    assert not marker.exists()
    workspace.decline()
    assert not marker.exists()
    assert workspace.model is None
    with qtbot.waitSignal(workspace.consent_required, timeout=ANSWER_MS):
        workspace.open_source(source)
    with qtbot.waitSignal(workspace.model_changed, timeout=ANSWER_MS):
        workspace.agree(request.error.digest)
    assert marker.exists()
    assert settings.agreed(request.error.digest)
    assert workspace.baseline_label == "as opened"
    with qtbot.waitSignal(workspace.model_changed, timeout=ANSWER_MS):
        workspace.open_source(source)


def test_a_watched_file_is_opened_again_when_it_changes(
    workspace: Workspace, qtbot: QtBot, tmp_path: Path
) -> None:
    source = write_net(tmp_path, channels=8)
    open_model(qtbot, workspace, source, trust=True)
    assert workspace.runs_on_change
    assert workspace.baseline is not None
    workspace.set_attribute("0", "padding", 1)
    workspace.undo_stack.undo()
    wait_current(qtbot, workspace)
    before = workspace.baseline.totals.params
    # As many editors do: a new file that takes the old one's place.
    (tmp_path / "new").write_text(NET.format(channels=16))
    (tmp_path / "new").replace(tmp_path / "net.py")
    qtbot.waitUntil(
        lambda: workspace.analysis is not None and workspace.analysis.totals.params != before,
        timeout=ANSWER_MS,
    )
    assert workspace.baseline.totals.params == before


def test_a_file_broken_for_a_moment_is_said_and_forgotten(
    window: MainWindow, workspace: Workspace, qtbot: QtBot, tmp_path: Path
) -> None:
    open_model(qtbot, workspace, write_net(tmp_path), trust=True)
    before = workspace.analysis
    with qtbot.waitSignal(workspace.open_failed, timeout=ANSWER_MS):
        (tmp_path / "net.py").write_text("def build(:\n")
    assert window.banner.isVisible()
    assert workspace.analysis is before
    with qtbot.waitSignal(workspace.reloaded, timeout=ANSWER_MS):
        write_net(tmp_path, channels=4)
    assert not window.banner.isVisible()


def test_a_changed_file_asks_again_without_consent_for_its_path(
    workspace: Workspace, qtbot: QtBot, tmp_path: Path
) -> None:
    source = write_net(tmp_path)
    with qtbot.waitSignal(workspace.consent_required, timeout=ANSWER_MS) as asked:
        workspace.open_source(source)
    with qtbot.waitSignal(workspace.model_changed, timeout=ANSWER_MS):
        workspace.agree(asked.args[0].error.digest, watch=False)
    assert not workspace.runs_on_change
    with qtbot.waitSignal(workspace.consent_required, timeout=ANSWER_MS) as again:
        write_net(tmp_path, channels=4)
    assert again.args[0].error.digest != asked.args[0].error.digest
    workspace.decline()
    assert workspace.analysis is not None


def test_reports_open_without_their_model_and_as_baseline(
    resnet: Workspace, qtbot: QtBot, tmp_path: Path
) -> None:
    path = str(tmp_path / "old.json")
    totals = resnet.analysis.totals if resnet.analysis else None
    with qtbot.waitSignal(resnet.exported, timeout=ANSWER_MS):
        resnet.export("json", path)
    resnet.remove_layer("maxpool")
    wait_current(qtbot, resnet)
    with qtbot.waitSignal(resnet.baseline_changed, timeout=ANSWER_MS):
        resnet.open_baseline_report(path)
    assert resnet.baseline_label == "old.json"
    assert resnet.baseline is not None
    assert resnet.baseline.totals == totals
    with qtbot.waitSignal(resnet.model_changed, timeout=ANSWER_MS):
        resnet.open_source(path)
    assert not resnet.editable
    assert resnet.symbols() == []
    resnet.remove_layer("maxpool")
    assert resnet.configuration is not None
    assert resnet.configuration.edits == ()
    assert resnet.undo_stack.count() == 0


def test_a_report_that_cannot_be_written(resnet: Workspace, qtbot: QtBot, tmp_path: Path) -> None:
    with qtbot.waitSignal(resnet.export_failed, timeout=ANSWER_MS) as failed:
        resnet.export("csv", str(tmp_path / "no" / "folder" / "x.csv"))
    assert failed.args[0].message
    assert not resnet.busy


def test_assumptions_of_a_detector(workspace: Workspace, qtbot: QtBot) -> None:
    open_model(qtbot, workspace, "torchvision:fasterrcnn_mobilenet_v3_large_320_fpn")
    assert workspace.analysis is not None
    assert "rpn:nms" in [each.key for each in workspace.analysis.assumptions]
    before = workspace.analysis.totals.flops
    workspace.set_assumption("rpn:nms", 20)
    wait_current(qtbot, workspace)
    assert workspace.analysis.totals.flops < before
    workspace.undo_stack.undo()
    wait_current(qtbot, workspace)
    assert workspace.analysis.totals.flops == before


def test_a_model_without_stated_inputs_asks_for_them(
    workspace: Workspace, qtbot: QtBot, tmp_path: Path
) -> None:
    path = tmp_path / "bare.py"
    path.write_text(
        "from torch import nn\n\ndef build():\n    return nn.Sequential(nn.ReLU(), nn.Flatten())\n"
    )
    with qtbot.waitSignal(workspace.shapes_required, timeout=ANSWER_MS):
        workspace.open_source(f"{path}:build", trust=True)
    with qtbot.waitSignal(workspace.model_changed, timeout=ANSWER_MS):
        workspace.give_shapes((InputShape("", (2, 7, 3), ""),))
    assert workspace.analysis is not None
    assert workspace.analysis.output_shapes == ((2, 21),)


SLOW_STEPS = """
import time
import torch
from torch import nn

class Step(nn.Module):
    def forward(self, x):
        if x.shape[-1] > 64:
            time.sleep(0.1)
        return x + 1

def build():
    return nn.Sequential(*[Step() for _ in range(60)]), (torch.zeros(1, 3, 32, 32),)
"""


@pytest.fixture
def slow(workspace: Workspace, qtbot: QtBot, tmp_path: Path) -> Workspace:
    """A model whose analysis takes 6 s above 64 pixels and a moment below."""
    path = tmp_path / "slow.py"
    path.write_text(SLOW_STEPS)
    open_model(qtbot, workspace, f"{path}:build", trust=True)
    qtbot.waitUntil(lambda: not workspace.busy, timeout=ANSWER_MS)
    return workspace


def test_a_slow_analysis_gives_way_to_a_newer_one(slow: Workspace, qtbot: QtBot) -> None:
    failures: list[ErrorInfo | None] = []
    slow.failure_changed.connect(lambda: failures.append(slow.failure.error if slow.failure else None))
    pid = slow.engine.pid
    slow.set_sizes({"height": 128})
    started = time.monotonic()
    slow.set_sizes({"height": 48})
    qtbot.waitUntil(lambda: slow.is_current and not slow.busy, timeout=ANSWER_MS)
    assert time.monotonic() - started < 3
    assert failures == []
    assert slow.engine.pid == pid


def test_cancelling_while_a_newer_position_waits_says_so(slow: Workspace, qtbot: QtBot) -> None:
    before = slow.analysis
    slow.set_sizes({"height": 128})
    slow.set_sizes({"height": 160})
    slow.cancel()
    qtbot.waitUntil(lambda: not slow.busy, timeout=ANSWER_MS)
    assert slow.failure is not None
    assert slow.failure.error.kind == "cancelled"
    assert slow.analysis is before
    assert slow.stale
    slow.undo_stack.undo()
    wait_current(qtbot, slow)
    assert slow.failure is None
    assert not slow.stale


def test_a_late_answer_makes_the_numbers_stale_and_says_how_far_it_is(slow: Workspace, qtbot: QtBot) -> None:
    assert not slow.stale
    slow.set_sizes({"height": 128})
    assert not slow.stale
    with qtbot.waitSignal(slow.stale_changed, timeout=ANSWER_MS):
        pass
    assert slow.stale
    qtbot.waitUntil(lambda: slow.progress is not None, timeout=ANSWER_MS)
    assert slow.progress is not None
    assert 0 < slow.progress.done < 60
    assert "Tracing" in slow.progress.what
    slow.set_sizes({"height": 48})
    wait_current(qtbot, slow)
    assert not slow.stale


def test_quick_answers_and_refusals(resnet: Workspace, qtbot: QtBot) -> None:
    changes: list[bool] = []
    resnet.stale_changed.connect(lambda: changes.append(resnet.stale))
    resnet.set_sizes({"height": 256})
    wait_current(qtbot, resnet)
    assert changes == []
    resnet.remove_layer("layer3.0.downsample")
    qtbot.waitUntil(lambda: resnet.failure is not None, timeout=ANSWER_MS)
    resnet.undo_stack.undo()
    qtbot.waitUntil(lambda: resnet.is_current and resnet.failure is None, timeout=ANSWER_MS)
    assert changes == [True, False]


def test_undo_to_uneven_sides_unlinks_them(resnet: Workspace, qtbot: QtBot) -> None:
    resnet.set_linked(False)
    resnet.set_sizes({"height": 160})
    resnet.set_linked(True)
    resnet.undo_stack.undo()
    assert (resnet.size_of("height"), resnet.size_of("width")) == (160, 224)
    assert not resnet.linked
    wait_current(qtbot, resnet)


def test_another_model_ends_the_gesture(resnet: Workspace, qtbot: QtBot) -> None:
    resnet.begin_gesture()
    resnet.set_sizes({"height": 256})
    open_model(qtbot, resnet, "torchvision:alexnet")
    resnet.set_sizes({"height": 256})
    resnet.begin_gesture()
    resnet.set_sizes({"height": 288})
    resnet.end_gesture()
    assert resnet.undo_stack.count() == 2
    wait_current(qtbot, resnet)


def measured(analysis: Analysis, seconds: float) -> Latency:
    """All of ``analysis``'s rows at ``seconds`` each."""
    configuration, rows = analysis.configuration, analysis.layers.id
    count = len(rows)
    times = LayerTimes(
        configuration, 2, rows, (seconds,) * count, (None,) * count, ("",) * count, 0.0, 0.0, 0, 1.0, 1.0, 3
    )
    return Latency(Measurement(configuration, "live", 2, (seconds * count,), "single"), times)


def test_what_was_measured_is_on_the_screen_once(resnet: Workspace, qtbot: QtBot) -> None:
    first = resnet.analysis
    assert first is not None
    changes: list[str] = []
    resnet.analysis_changed.connect(lambda: changes.append("analysis"))
    resnet.baseline_changed.connect(lambda: changes.append("baseline"))
    resnet.add_latency(measured(first, 0.001))
    assert changes == ["analysis", "baseline"]
    assert resnet.analysis is resnet.baseline
    assert resnet.analysis is not None
    assert resnet.analysis.layers.latency_s == (0.001,) * len(first.layers)
    assert not resnet.analysis.stale_times
    assert resnet.analysis.totals.macs == first.totals.macs
    changes.clear()
    other = msgspec.structs.replace(first, configuration=resnet.configuration_at("height", 96))
    resnet.add_latency(measured(other, 0.002))
    assert changes == []
    resnet.set_sizes({"height": 96})
    wait_current(qtbot, resnet)
    assert resnet.analysis.layers.latency_s[0] == 0.002
    assert resnet.baseline is not None
    assert resnet.baseline.layers.latency_s[0] == 0.001


def test_layer_times_of_before_stay_as_old_ones(resnet: Workspace, qtbot: QtBot) -> None:
    first = resnet.analysis
    assert first is not None
    resnet.add_latency(measured(first, 0.001))
    resnet.remove_layer("maxpool")
    wait_current(qtbot, resnet)
    assert resnet.analysis is not None
    assert resnet.analysis.latency is None
    assert resnet.analysis.stale_times
    assert resnet.analysis.layers.latency_s[0] == 0.001
    resnet.drop_latencies()
    assert resnet.latencies == {}
    assert resnet.analysis.layer_times is None
    assert resnet.baseline is not None
    assert resnet.baseline.latency is None
    resnet.undo_stack.undo()
    wait_current(qtbot, resnet)
    assert resnet.analysis.layer_times is None


def test_only_the_latest_measurements_are_kept(resnet: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked for, shown or compared with stays, however long ago it was measured."""
    monkeypatch.setattr("gui.workspace.MAX_LATENCIES", 4)
    first = resnet.analysis
    assert first is not None
    resnet.add_latency(measured(first, 0.001))

    def add(size: int) -> None:
        other = msgspec.structs.replace(first, configuration=resnet.configuration_at("height", size))
        resnet.add_latency(measured(other, 0.002))

    for size in (32, 64, 96, 128):
        add(size)
    assert [each.inputs[0].shape[-1] for each in resnet.latencies] == [224, 64, 96, 128]
    add(64)  # measured again: the newest
    add(160)
    assert [each.inputs[0].shape[-1] for each in resnet.latencies] == [224, 128, 64, 160]
    assert resnet.analysis is not None and resnet.analysis.latency is not None


def test_a_baseline_is_chosen_with_what_is_known_of_it(resnet: Workspace, qtbot: QtBot) -> None:
    first = resnet.analysis
    assert first is not None
    resnet.clear_baseline()
    resnet.add_latency(measured(first, 0.001))
    resnet.set_sizes({"height": 96})
    wait_current(qtbot, resnet)
    resnet.set_baseline_first()
    assert resnet.baseline is not None
    assert resnet.baseline.latency is not None
    steps = resnet.undo_stack.count()
    resnet.set_baseline_first()
    assert resnet.undo_stack.count() == steps
    open_model(qtbot, resnet, "torchvision:alexnet")
    assert resnet.latencies == {}
