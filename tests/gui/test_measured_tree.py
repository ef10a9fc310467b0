"""Times in the layer tree and the inspector: missing, old, part of another row, and their sums."""

from __future__ import annotations

import msgspec
import pytest
from PySide6.QtCore import Qt

from engine.measurement import Latency
from engine.results import Analysis, with_latency
from gui.models.cells import IN_ABOVE
from gui.models.comparison import Comparer
from gui.models.details import details
from gui.models.layer_tree import LayerTreeModel
from gui.models.layer_tsv import tsv
from gui.models.roles import Role
from gui.state_words import STALE_OPACITY
from tests.gui.analyses import small_net
from tests.gui.measurements import latency_of, layer_times, measured, measurement

THIN = "\N{NARROW NO-BREAK SPACE}"
TIP = Qt.ItemDataRole.ToolTipRole


def tree_of(analysis: Analysis, baseline: Analysis | None = None) -> LayerTreeModel:
    model = LayerTreeModel()
    model.show(analysis, baseline)
    return model


def shown(model: LayerTreeModel, name: str, key: str = "latency_s", role: int = 0) -> object:
    return model.data(model.index_of(name, model.section_of(key)), role)


def test_modules_are_sums_of_their_rows_and_so_is_the_model() -> None:
    model = tree_of(measured(small_net()))
    # Rows in execution order: conv1 1, relu 2, pool 3, blocks.0.conv 4, add 5, blocks.1.conv 6, add 7, mean 8, fc 9.
    assert shown(model, "blocks", role=Role.SORT) == pytest.approx(22e-3)
    assert shown(model, "", role=Role.SORT) == pytest.approx(45e-3)
    assert shown(model, "", "cores_busy", Role.SORT) == pytest.approx(1.7)
    assert shown(model, "conv1") == f"1.00{THIN}ms"
    assert f"2.2{THIN}% of all layers" in str(shown(model, "conv1", role=TIP))


def test_not_measured_is_a_dash_and_not_zero() -> None:
    model = tree_of(small_net())
    assert shown(model, "conv1") == shown(model, "") == shown(model, "conv1", "macs_per_s") == "—"
    assert shown(model, "conv1", role=Role.SORT) is None
    assert "not measured" in str(shown(model, "conv1", role=TIP))
    header = model.headerData(model.section_of("latency_s"), Qt.Orientation.Horizontal, TIP)
    assert "Not measured yet" in str(header)


def test_a_part_of_a_fused_row_points_to_it() -> None:
    net = small_net()
    times = layer_times(net, parts=("blocks.0:add",))
    model = tree_of(with_latency(net, None, times))
    assert shown(model, "blocks.0:add") == IN_ABOVE
    assert "part of a fused kernel" in str(shown(model, "blocks.0:add", role=TIP))
    assert shown(model, "blocks.0") == f"4.00{THIN}ms"


def test_times_of_another_configuration_are_faded_and_say_so() -> None:
    before, after = small_net(112), small_net(224)
    model = tree_of(with_latency(after, None, layer_times(before)), measured(small_net(112)))
    for name in ("conv1", "", "blocks"):
        for key in ("latency_s", "latency_s.difference", "latency_s.change", "macs_per_s"):
            assert model.cell(model.index_of(name).internalId(), model.section_of(key)).faded
        assert not model.cell(model.index_of(name).internalId(), model.section_of("params")).faded
    header = model.headerData(model.section_of("latency_s"), Qt.Orientation.Horizontal, TIP)
    assert "of 1×3×112×112" in str(header)
    assert "of 1×3×112×112" in str(shown(model, "conv1", role=TIP))
    assert model.cells is not None
    column = model.columns[model.section_of("latency_s")]
    assert "Latency (s, of 1×3×112×112)" in tsv(model.cells, [0], [column])
    assert STALE_OPACITY == 0.4


def test_current_times_are_not_faded() -> None:
    model = tree_of(measured(small_net()), measured(small_net(112)))
    cell = model.cell(0, model.section_of("latency_s"))
    assert not cell.faded
    difference = model.cell(0, model.section_of("latency_s.difference"))
    assert (difference.text, difference.tone, difference.bold) == (f"×{THIN}1.0", "secondary", False)


def test_a_difference_of_times_has_two_digits_and_no_verdict() -> None:
    before, after = small_net(112), small_net(224)
    now = layer_times(after)
    # conv1 takes 3.14 ms instead of 1 ms.
    now = msgspec.structs.replace(now, latency_s=(3.14159e-3, *now.latency_s[1:]))
    model = tree_of(with_latency(after, Latency(measurement(after.configuration), now)), measured(before))
    assert shown(model, "conv1", "latency_s.difference") == f"×{THIN}3.1"
    tip = str(shown(model, "conv1", role=TIP))
    assert f"Baseline: 1.00{THIN}ms (×{THIN}3.1, measured apart: no verdict)" in tip
    header = model.headerData(model.section_of("latency_s.difference"), Qt.Orientation.Horizontal, TIP)
    assert "measured apart: no verdict" in str(header)
    assert model.cells is not None
    node = model.cells.structure.find("conv1")
    assert node is not None
    shown_there = details(model.cells, node, compare=True)
    lines = {line.metric.key: line for line in shown_there.metrics}
    assert (lines["latency_s"].difference, lines["latency_s"].tone) == (f"×{THIN}3.1", "secondary")
    assert ("Time", "now and before measured apart") in shown_there.facts


def test_the_inspector_has_times_parallelism_and_speed() -> None:
    net = measured(small_net())
    cells = Comparer().compare(net, None)
    node = cells.structure.find("conv1:conv2d")
    assert node is not None
    lines = {line.metric.key: line for line in details(cells, node, compare=False).metrics}
    assert lines["latency_s"].exact == f"1.00{THIN}ms"
    assert lines["latency_s"].share == f"2.2{THIN}%"
    assert (lines["cores_busy"].exact, lines["cores_busy"].share) == ("1.7", "of 2 threads")
    assert (lines["macs_per_s"].exact, lines["macs_per_s"].share) == (f"10.8{THIN}G", "MAC/s")
    assert not lines["latency_s"].faded


def test_the_inspector_says_what_old_times_belong_to_and_how_they_were_found() -> None:
    net = small_net()
    old = with_latency(net, None, layer_times(small_net(112), parts=("fc:linear",)))
    cells = Comparer().compare(old, None)
    fc, conv = cells.structure.find("fc:linear"), cells.structure.find("conv1:conv2d")
    assert fc is not None and conv is not None
    facts = [text for label, text in details(cells, fc, compare=False).facts if label == "Time"]
    assert facts[0] == "part of a fused kernel" and "112" in facts[1]
    lines = details(cells, conv, compare=False).metrics
    assert [line.faded for line in lines if line.metric.measured] == [True] * 4


def test_without_times_the_inspector_has_no_lines_of_them() -> None:
    net = with_latency(small_net(), latency_of(small_net(112)))
    cells = Comparer().compare(net, None)
    assert not any(line.metric.measured for line in details(cells, 0, compare=False).metrics)
    assert measurement(net.configuration).n == 41
