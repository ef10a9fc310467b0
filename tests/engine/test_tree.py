"""The tree of an analysis: its nodes, their numbers, and rows that cost nothing."""

from __future__ import annotations

from engine.metrics import METRICS
from engine.results import Analysis
from engine.tree import LayerStructure, idle_rows
from engine.tree_values import NodeValues, compared
from tests.gui.analyses import Mod, Row, make, small_net

TREE = """\
SmallNet
  conv1
  aux
  relu
  pool
  blocks
    0
      conv
      add
    1
      conv
      add
  mean
  fc
"""


def as_text(structure: LayerStructure) -> str:
    return "".join(
        "  " * level + label + "\n" for level, label in zip(structure.level, structure.labels, strict=True)
    )


def test_structure_follows_execution_order_and_collapses_single_operations() -> None:
    structure = LayerStructure(small_net())
    assert as_text(structure) == TREE
    assert structure.names[1] == "conv1:conv2d"
    assert structure.find("conv1") == structure.find("conv1:conv2d") == 1
    assert structure.find("blocks.0:add") == 8
    assert structure.find("nothing") is None
    assert structure.ancestors(8) == [6, 5, 0]


def test_a_module_sits_where_it_first_runs_and_a_silent_one_after_its_elder_sibling() -> None:
    mods = [Mod("", "Net"), Mod("late"), Mod("idle", calls=0), Mod("early"), Mod("first_idle", calls=0)]
    rows = [Row("early:mm", "early"), Row(":add", ""), Row("late:mm", "late"), Row(":add#2", "")]
    assert LayerStructure(make(mods, rows)).labels == [
        "Net", "early", "first_idle", "add", "late", "idle", "add#2"
    ]  # fmt: skip


def test_a_leaf_with_several_operations_keeps_them_as_children() -> None:
    mods = [Mod("", "Net"), Mod("act", "Swish")]
    structure = LayerStructure(make(mods, [Row("act:sigmoid", "act"), Row("act:mul", "act")]))
    assert as_text(structure) == "Net\n  act\n    sigmoid\n    mul\n"
    assert structure.names[1:] == ["act", "act:sigmoid", "act:mul"]


def test_a_model_without_modules_below_shows_its_operations() -> None:
    structure = LayerStructure(make([Mod("", "Add")], [Row(":add", "")]))
    assert as_text(structure) == "Add\n  add\n"


def test_values_combine_as_the_metric_says() -> None:
    analysis = small_net(8)
    structure = LayerStructure(analysis)
    values = NodeValues(structure, analysis)
    blocks = structure.find("blocks")
    assert blocks is not None
    assert values.value(blocks, "macs") == 2 * 576 * 16
    assert values.value(blocks, "flops") == 2 * (2 * 576 * 16 + 8 * 16)
    assert values.value(blocks, "params") == 1152
    assert values.value(blocks, "weight_bytes") == 4 * 1152
    assert values.value(blocks, "peak_activation_bytes") == 64 * 16
    assert values.value(blocks, "reuse") == 16
    for metric in METRICS:
        assert values.value(0, metric.key) == getattr(analysis.totals, metric.key)


def with_idle_rows(permuted: bool = True) -> Analysis:
    """A norm between two permutations, a dropout that only passes on, and a fill that moves bytes."""
    mods = [Mod("", "Net"), Mod("norm", "LayerNorm2d", 8), Mod("drop", "Dropout"), Mod("fc", "Linear")]
    rows = [
        Row("norm:permute", "norm", "movement", input_shapes=((1, 8, 2, 2),)),
        Row("norm:layer_norm", "norm", "norm", params=8, flops=40, activation_bytes=128, bytes_moved=256),
        Row("norm:permute.1", "norm", "movement", output_shapes=((1, 8, 2, 2),)),
        Row("drop:view", "drop", "movement"),
        Row("drop:view.1", "drop", "movement"),
        Row("fc:linear", "fc", "linear", macs=64, flops=128, activation_bytes=32, bytes_moved=64),
        Row(":fill", "", "movement", bytes_moved=4),
        Row(":select", "", "movement", flops=None),
    ]
    return make(mods, rows if permuted else rows[1:2] + rows[3:])


def test_rows_that_cost_nothing() -> None:
    analysis = with_idle_rows()
    assert sorted(analysis.layers.id[row] for row in idle_rows(analysis)) == [
        "drop:view", "drop:view.1", "norm:permute", "norm:permute.1"
    ]  # fmt: skip


def test_hidden_rows_stay_with_their_modules() -> None:
    analysis = with_idle_rows()
    structure = LayerStructure(analysis, idle_rows(analysis))
    assert as_text(structure) == "Net\n  norm\n  drop\n  fc\n  fill\n  select\n"
    assert structure.names[1] == "norm:layer_norm"
    assert structure.rows[0] == list(range(8))
    assert structure.find("norm:permute") == structure.find("norm") == 1
    assert structure.find("drop:view.1") == 2
    values = NodeValues(structure, analysis)
    assert values.value(1, "flops") == 40
    assert values.value(2, "flops") == 0
    comparison = compared(analysis, with_idle_rows(permuted=False))
    assert comparison.output_shapes(1) == ((1, 8, 2, 2),)
    assert comparison.before(1, "bytes_moved") == 256


def test_nodes_of_onnx_graphs_that_cost_nothing_have_no_line() -> None:
    mods = [
        Mod("", "main_graph"),
        Mod("block"),
        Mod("block.conv", "Conv"),
        Mod("block.Flatten", "Flatten"),
        Mod("Reshape", "Reshape"),
    ]
    rows = [
        Row("block.conv:Conv", "block.conv", "convolution", macs=8, flops=16, bytes_moved=4),
        Row("block.Flatten:Flatten", "block.Flatten", "movement"),
        Row("Reshape:Reshape", "Reshape", "movement"),
    ]
    analysis = make(mods, rows)
    structure = LayerStructure(analysis, idle_rows(analysis))
    assert as_text(structure) == "main_graph\n  block\n    conv\n"
    assert structure.rows[0] == [0, 1, 2] and structure.rows[1] == [0, 1]
    assert structure.find("block.Flatten:Flatten") == structure.find("block.Flatten") == 1
    assert structure.find("Reshape:Reshape") == 0
    assert structure.find("Transpose:Transpose") is None
    assert as_text(LayerStructure(analysis)) == "main_graph\n  block\n    conv\n    Flatten\n  Reshape\n"
