"""Edits of ONNX files cost and compute what the same edits of the PyTorch model do, or are refused in a sentence."""

from __future__ import annotations

import copy
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

import numpy
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from engine.api import analyze_columns, open_session
from engine.configuration import Configuration
from engine.edits import Edit, RemoveLayer, SetAttribute, add_edit, parse_set
from engine.errors import CancelledError, InputError
from engine.graph import InputShape
from engine.onnx.edits import edited
from engine.onnx.loading import load
from engine.onnx.run_model import FOLDER_ENTRY, RunModel, seeded_inputs
from engine.onnx.runtime import onnxruntime
from engine.onnx.session import OnnxSession
from engine.results import Analysis
from tests.conftest import sampled
from tests.engine.onnx_text import document, parsed
from tests.onnx_models import export, randomised

INPUT = (1, 3, 32, 32)


class Block(nn.Module):
    """A residual block with one activation module that is called twice."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        self.downsample = nn.Sequential(nn.Conv2d(channels, out, 1, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv2(self.relu(self.bn1(self.conv1(x))))
        return self.relu(out + self.downsample(x))


class Net(nn.Module):
    """A small residual network; ``tail`` is what its output comes from."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 7, stride=2, padding=3)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = nn.Sequential(Block(16, 16), Block(16, 16))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(16, 10)
        self.tail = nn.Softmax(dim=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer1(self.maxpool(self.conv1(x)))
        return self.tail(self.fc(torch.flatten(self.avgpool(x), 1)))


class Opened(NamedTuple):
    session: OnnxSession
    module: nn.Module
    path: Path


@pytest.fixture(scope="module", params=["script", "dynamo"])
def net(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """The network by either exporter, with the module that it is."""
    torch.manual_seed(0)
    module = randomised(Net())
    path = tmp_path_factory.mktemp("edits") / "net.onnx"
    export(module, (torch.zeros(INPUT),), path, dynamo=request.param == "dynamo")
    return Opened(OnnxSession(load(path)), module, path)


def run(given: RunModel) -> list[numpy.ndarray[Any, Any]]:
    runtime = onnxruntime()
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    if given.folder:
        options.add_session_config_entry(FOLDER_ENTRY, given.folder)
    session = runtime.InferenceSession(given.model, options, providers=["CPUExecutionProvider"])
    found: list[numpy.ndarray[Any, Any]] = session.run(None, seeded_inputs(given.inputs))
    return found


def analysed(session: OnnxSession, *edits: Edit) -> Analysis:
    return session.analyze(Configuration(session.default_configuration().inputs, edits))


def with_edits(session: OnnxSession, *edits: Edit) -> list[numpy.ndarray[Any, Any]]:
    return run(session.model_for_run(Configuration(session.default_configuration().inputs, edits)))


def model(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, tuple[int, ...]],
    outputs: list[str],
    weights: dict[str, numpy.ndarray[Any, Any]],
    path: Path,
    **options: Any,
) -> OnnxSession:
    """A session on a graph made by hand; all of its inputs and outputs are float32."""
    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    for key, value in options.items():
        setattr(made, key, value)
    onnx.save(made, path)
    return OnnxSession(load(path))


def by_lines(session: OnnxSession, folder: Path, *edits: Edit) -> OnnxSession:
    """The file of ``session`` changed by the lines of Python that its edits are shown as."""
    loaded = onnx.load(session.document.path)
    exec("\n".join(analysed(session, *edits).python_lines()), {"model": loaded})
    for value in loaded.graph.output:
        value.type.tensor_type.ClearField("shape")
    del loaded.graph.value_info[:]
    onnx.save(loaded, folder / "lines.onnx")
    return OnnxSession(load(folder / "lines.onnx"))


def filled(*shape: int) -> numpy.ndarray[Any, Any]:
    return numpy.random.default_rng(len(shape)).standard_normal(shape, dtype=numpy.float32)


SAME_AS_IN_PYTORCH: list[tuple[Edit, ...]] = [
    (RemoveLayer("maxpool"),),
    (RemoveLayer("layer1.1"),),
    (RemoveLayer("layer1.1"), RemoveLayer("maxpool")),
    (RemoveLayer("layer1.0.relu"),),
    (RemoveLayer("layer1.0.downsample"),),
    (RemoveLayer("maxpool"), RemoveLayer("layer1.0"), SetAttribute("layer1.1.conv1", "dilation", 2),
     SetAttribute("layer1.1.conv1", "padding", 2)),
    (RemoveLayer("tail"),),
    (RemoveLayer("fc"), RemoveLayer("tail")),
    (SetAttribute("conv1", "stride", 1),),
    (SetAttribute("conv1", "padding", (1, 2)), SetAttribute("maxpool", "stride", 1)),
    (SetAttribute("maxpool", "kernel_size", 5), SetAttribute("maxpool", "padding", 2)),
]  # fmt: skip


@pytest.mark.parametrize(
    "edits", sampled(SAME_AS_IN_PYTORCH, 6, "edits"), ids=lambda edits: "+".join(e.layer for e in edits)
)
def test_an_edited_file_costs_and_computes_what_the_edited_module_does(
    net: Opened, edits: tuple[Edit, ...]
) -> None:
    module = copy.deepcopy(net.module)
    pytorch = open_session(module, INPUT)
    expected = analyze_columns(pytorch, INPUT, edits)
    found = analysed(net.session, *edits)
    assert found.totals.macs == expected.totals.macs
    exec("\n".join(expected.python_lines()), {"model": module, "nn": nn, "torch": torch})
    given = seeded_inputs(net.session.default_configuration().inputs)
    with torch.inference_mode():
        wanted = module(torch.from_numpy(next(iter(given.values()))))
    (output,) = with_edits(net.session, *edits)
    assert found.output_shapes == (tuple(wanted.shape),) == (output.shape,)
    numpy.testing.assert_allclose(output, wanted.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "edits",
    [
        *sampled(SAME_AS_IN_PYTORCH, 3, "lines"),
        (SetAttribute("conv1", "kernel_shape", 3), SetAttribute("conv1", "pads", 1)),
        (SetAttribute("layer1.0.conv2", "group", 4), RemoveLayer("layer1.0.relu")),
        (SetAttribute("maxpool", "auto_pad", "SAME_UPPER"),),
    ],
    ids=lambda edits: "+".join(e.layer for e in edits),
)
def test_the_python_lines_do_the_same_to_the_file(
    net: Opened, tmp_path: Path, edits: tuple[Edit, ...]
) -> None:
    changed = by_lines(net.session, tmp_path, *edits)
    assert analysed(changed).totals == analysed(net.session, *edits).totals
    for ours, theirs in zip(with_edits(net.session, *edits), with_edits(changed), strict=True):
        numpy.testing.assert_array_equal(ours, theirs)


def test_another_kernel_and_other_groups_cost_what_their_formula_says(net: Opened) -> None:
    def macs(name: str, *edits: Edit) -> int:
        layers = analysed(net.session, *edits).layers
        return dict(zip(layers.path, layers.macs, strict=True))[name] or 0

    # The block works on 16 channels at 8×8 positions.
    assert macs("layer1.0.conv2") == 16 * 16 * 3 * 3 * 8 * 8
    kernel = (SetAttribute("layer1.0.conv2", "kernel_shape", (5, 1)),
              SetAttribute("layer1.0.conv2", "pads", (2, 0, 2, 0)))  # fmt: skip
    assert macs("layer1.0.conv2", *kernel) == 16 * 16 * 5 * 1 * 8 * 8
    assert macs("layer1.0.conv2", SetAttribute("layer1.0.conv2", "groups", 16)) == 16 * 1 * 3 * 3 * 8 * 8
    before, after = analysed(net.session).totals, analysed(net.session, *kernel).totals
    assert after.params - before.params == 16 * 16 * (5 * 1 - 3 * 3)
    assert with_edits(net.session, *kernel)[0].shape == (1, 10)


def test_layers_keep_their_names_and_removed_ones_stay_visible(net: Opened) -> None:
    before = analysed(net.session)
    after = analysed(net.session, RemoveLayer("layer1.0.relu"), RemoveLayer("tail"), RemoveLayer("maxpool"))
    gone = {"maxpool:MaxPool", "tail:Softmax"} | {
        each for each in before.layers.id if "layer1.0.relu" in each
    }
    assert [each for each in before.layers.id if each not in gone] == [
        each for each in after.layers.id if not each.endswith(":Identity")
    ]
    rows = after.modules
    assert [path for path, removed in zip(rows.path, rows.removed, strict=True) if removed] == [
        "maxpool",
        "layer1.0.relu",
        "tail",
    ]
    at = rows.path.index("maxpool")
    assert rows.class_name[at] == "MaxPool" and not rows.editable[at]
    assert rows.attributes[at]["kernel_shape"] == (3, 3) and rows.attributes[at]["dilations"] == (1, 1)
    # What leaves the graph keeps its name, so something has to compute it.
    assert after.layers.id[-1] == "tail:Identity"
    assert set(after.layers.path) <= set(rows.path)
    shown = before.modules
    kept = [path for path in shown.path if not path.startswith("layer1.0.relu.")]
    assert list(rows.path) == kept


def test_attributes_are_shown_with_their_defaults_and_say_which_can_be_set(net: Opened) -> None:
    rows = analysed(net.session).modules
    at = rows.path.index("layer1.0.conv2")
    assert list(rows.attributes[at].items()) == [
        ("kernel_shape", (3, 3)),
        ("strides", (1, 1)),
        ("pads", (1, 1, 1, 1)),
        ("dilations", (1, 1)),
        ("auto_pad", "NOTSET"),
        ("group", 1),
    ]
    assert rows.editable[at] == tuple(rows.attributes[at])


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (RemoveLayer("layer1.0.add"), "layer1.0.add"),
        (RemoveLayer("maxpol"), "no layer 'maxpol'. Did you mean maxpool"),
        (RemoveLayer(""), "The model itself cannot be removed."),
        (SetAttribute("layer1", "strides", 2), "layer1 is a scope of"),
        (SetAttribute("conv1", "stride_x", 2), "conv1 is a Conv; its stride_x cannot be set. Of this Conv these can: "
         "kernel_shape, strides, pads, dilations, auto_pad, group."),
        (SetAttribute("conv1", "strides", 0), "conv1.strides must be 1 to 1,000,000, not 0."),
        (SetAttribute("conv1", "strides", (1, 2, 3)), "conv1.strides takes 1 or 2 numbers, not 3."),
        (SetAttribute("conv1", "pads", (1, 2, 3)), "conv1.pads takes 1, 2 or 4 numbers, not 3."),
        (SetAttribute("conv1", "strides", "wide"), "conv1.strides must be whole numbers, not 'wide'."),
        (SetAttribute("conv1", "strides", 1.5), "conv1.strides must be whole numbers, not 1.5."),
        (SetAttribute("conv1", "auto_pad", "SAME"), "conv1.auto_pad cannot be 'SAME'. It can be NOTSET, SAME_UPPER"),
        (SetAttribute("conv1", "group", 5), "conv1.group cannot be 5: 16 and 3 channels are no multiples of it."),
        (SetAttribute("conv1", "group", 2.0), "conv1.group must be a whole number, not 2.0."),
        (SetAttribute("maxpool", "ceil_mode", 2), "maxpool.ceil_mode must be 0 or 1, not 2."),
    ],
)  # fmt: skip
def test_what_cannot_be_edited_is_refused_with_what_to_do(net: Opened, edit: Edit, words: str) -> None:
    if edit.layer == "layer1.0.add":
        # The sum of two branches; exporters call it Add and add.
        names = analysed(net.session).layers.path
        edit = RemoveLayer(next(path for path in names if path.lower() == edit.layer))
        words = f"{edit.layer} cannot be removed: it joins 2 values (layer1.0.conv2, layer1.0.downsample"
    with pytest.raises(InputError) as caught:
        analysed(net.session, edit)
    assert words in caught.value.info().sentence
    assert analysed(net.session).totals.macs > 0, "the unedited model is as it was"


def test_a_value_of_another_kind_of_attribute_is_checked_against_its_schema(tmp_path: Path) -> None:
    session = model(
        [
            helper.make_node("Transpose", ["x"], ["t"], "permute", perm=[0, 2, 1, 3]),
            helper.make_node("LeakyRelu", ["t"], ["l"], "leaky", alpha=0.1),
            helper.make_node("Softmax", ["l"], ["s"], "soft", axis=-1),
            helper.make_node("DepthToSpace", ["s"], ["d"], "spread", blocksize=2, mode="DCR"),
            helper.make_node("ReduceMean", ["d"], ["y"], "mean", axes=[2, 3], keepdims=1),
        ],
        {"x": (1, 4, 8, 6)},
        ["y"],
        {},
        tmp_path / "kinds.onnx",
    )

    def shape(*edits: Edit) -> tuple[int, ...]:
        found = analysed(session, *edits).output_shapes[0]
        assert with_edits(session, *edits)[0].shape == found
        return found

    assert shape(SetAttribute("mean", "axes", 2)) == (1, 2, 1, 12)
    assert shape(SetAttribute("mean", "keepdims", 0)) == (1, 2)
    assert shape(SetAttribute("permute", "perm", (0, 1, 2, 3)), SetAttribute("spread", "mode", "CRD")) == (
        1,
        1,
        1,
        1,
    )
    assert shape(SetAttribute("leaky", "alpha", 1), SetAttribute("soft", "axis", 1)) == (1, 2, 1, 1)
    for edit, words in (
        (SetAttribute("permute", "perm", (0, 1, 2)), "permute.perm must be the numbers 0 to 3 in some order"),
        (SetAttribute("leaky", "alpha", "steep"), "leaky.alpha must be a number, not 'steep'."),
        (SetAttribute("leaky", "alpha", float("inf")), "leaky.alpha must be a number, not inf."),
        (SetAttribute("spread", "mode", "ABC"), "spread.mode cannot be 'ABC'. It can be DCR, CRD."),
        (SetAttribute("spread", "blocksize", 0), "spread.blocksize must be 1 to"),
        (SetAttribute("mean", "keepdims", 3), "mean.keepdims must be 0 or 1, not 3."),
        (SetAttribute("soft", "axis", (1, 2)), "soft.axis must be a whole number, not 1x2."),
    ):
        with pytest.raises(InputError) as caught:
            analysed(session, edit)
        assert words in caught.value.info().sentence


def test_what_is_removed_is_edited_no_more(net: Opened) -> None:
    gone = RemoveLayer("layer1.0")
    for edit, words in (
        (
            SetAttribute("layer1.0.conv1", "strides", 2),
            "layer1.0.conv1 is part of layer1.0, which is removed.",
        ),
        (gone, "layer1.0 is removed already."),
    ):
        with pytest.raises(InputError) as caught:
            analysed(net.session, gone, edit)
        assert words in caught.value.info().sentence


def test_explicit_padding_and_a_rule_for_it_replace_each_other(net: Opened) -> None:
    def shown(*edits: Edit) -> tuple[dict[str, object], tuple[str, ...]]:
        rows = analysed(net.session, *edits).modules
        at = rows.path.index("maxpool")
        return dict(rows.attributes[at]), rows.editable[at]

    same = SetAttribute("maxpool", "padding", "same")
    attributes, fields = shown(same)
    assert attributes["auto_pad"] == "SAME_UPPER" and "pads" not in attributes and "pads" not in fields
    attributes, fields = shown(same, SetAttribute("maxpool", "pads", (0, 1)))
    assert attributes["auto_pad"] == "NOTSET" and attributes["pads"] == (0, 1, 0, 1) and "pads" in fields


def test_nodes_in_bodies_are_edited_where_they_are(tmp_path: Path) -> None:
    def branch(name: str, stride: int) -> onnx.GraphProto:
        nodes = [
            helper.make_node("Conv", ["x", "w"], [f"{name}_c"], f"{name}/conv", strides=[stride] * 2),
            helper.make_node("Relu", [f"{name}_c"], [f"{name}_r"], f"{name}/relu"),
            helper.make_node("Sigmoid", [f"{name}_r"], [f"{name}_y"], f"{name}/sigmoid"),
        ]
        return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(f"{name}_y", 1, None)])

    branches = {"then_branch": branch("yes_", 1), "else_branch": branch("no_", 2)}
    session = model(
        [
            helper.make_node("Identity", ["x0"], ["x"], "begin"),
            helper.make_node("If", ["yes"], ["y"], "choice", **branches),
        ],
        {"x0": (1, 2, 9, 9)},
        ["y"],
        {"w": filled(4, 2, 3, 3), "yes": numpy.array(True)},
        tmp_path / "branches.onnx",
    )  # fmt: skip
    before = analysed(session)
    paths = {path.rpartition(".")[2]: path for path in before.layers.path if "yes_" in path}
    conv, relu, last = paths["conv"], paths["relu"], paths["sigmoid"]
    assert before.totals.macs == 4 * 2 * 3 * 3 * 7 * 7
    edits: tuple[Edit, ...] = (SetAttribute(conv, "strides", 2), RemoveLayer(relu), RemoveLayer(last))
    after = analysed(session, *edits)
    assert after.totals.macs == 4 * 2 * 3 * 3 * 4 * 4
    (output,) = with_edits(session, *edits)
    assert output.shape == (1, 4, 4, 4) and output.min() < 0 and output.max() > 1
    numpy.testing.assert_array_equal(with_edits(by_lines(session, tmp_path, *edits))[0], output)
    # What a body reads from around it goes on as well.
    assert with_edits(session, RemoveLayer("begin"))[0].shape == (1, 4, 7, 7)


def test_what_only_a_removed_layer_needed_goes_with_it(tmp_path: Path) -> None:
    session = model(
        [
            helper.make_node("Relu", ["x"], ["a"], "relu"),
            helper.make_node("Shape", ["a"], ["size"], "size"),
            helper.make_node("Slice", ["size", "zero", "one"], ["batch"], "batch"),
            helper.make_node("Concat", ["batch", "rest"], ["shape"], "shape", axis=0),
            helper.make_node("Reshape", ["a", "shape"], ["flat"], "flat"),
            helper.make_node("Tanh", ["flat"], ["y"], "tanh"),
        ],
        {"x": (2, 3, 4)},
        ["y"],
        {"zero": numpy.array([0]), "one": numpy.array([1]), "rest": numpy.array([-1])},
        tmp_path / "sizes.onnx",
    )
    assert analysed(session).output_shapes == ((2, 12),)
    after = analysed(session, RemoveLayer("flat"))
    assert after.output_shapes == ((2, 3, 4),) and after.layers.id == ("relu:Relu", "tanh:Tanh")
    assert not session.edited((RemoveLayer("flat"),)).stored


def test_what_a_branch_that_goes_read_stays_for_those_that_still_read_it(tmp_path: Path) -> None:
    """The If, its branches and what only they need go with the sum; ``kept`` has another reader."""
    text = """agraph (float[N,6] x, bool[1] flag) => (y) {
        kept = Sigmoid(x) own = Tanh(x)
        [choice] c = If (flag) <
            then_branch = big () => (t) { a = Relu(kept) t = Add(a, own) },
            else_branch = small () => (e) { e = Neg(kept) }
        >
        [tail] d = Add(c, w) r = Relu(kept) z = Shape(d) y = Reshape(r, z)
    }"""
    model = parsed(text, {"w": (6,)})
    opened = document(model, tmp_path)
    made = edited(opened, (RemoveLayer(opened.graph.nodes[-1].path),))
    assert [node.op_type for node in made.graph.nodes] == ["Sigmoid", "Relu", "Identity"]
    assert not made.stored and [each.name for each in opened.stored.values()] == ["w"]


def test_a_long_chain_goes_at_once_and_the_edit_ends_when_it_is_asked_to(tmp_path: Path) -> None:
    """Half of the nodes are needed by nothing once the last one is gone."""
    count = 3_000
    nodes = [helper.make_node("Relu", [f"a{i}" if i else "x"], [f"a{i + 1}"], f"a{i}") for i in range(count)]
    nodes += [helper.make_node("Neg", [f"b{i}" if i else "x"], [f"b{i + 1}"], f"b{i}") for i in range(count)]
    nodes.append(helper.make_node("Shape", [f"b{count}"], ["s"], "sizes"))
    nodes.append(helper.make_node("Reshape", [f"a{count}", "s"], ["y"], "reshape"))
    graph = helper.make_graph(
        nodes, "chains",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 4))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 4))],
    )  # fmt: skip
    opened = document(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), tmp_path)
    made = edited(opened, (RemoveLayer("reshape"),))
    assert [node.path for node in made.graph.nodes] == [*(f"a{i}" for i in range(count)), "reshape"]
    assert len(made.model.graph.node) == count + 1 and made.model.graph.node[-1].op_type == "Identity"
    stop = Event()
    stop.set()
    for edit in (RemoveLayer("reshape"), SetAttribute("reshape", "allowzero", 1)):
        with pytest.raises(CancelledError):
            edited(opened, (edit,), stop)


def test_a_weight_is_made_anew_only_where_it_belongs_to_one_layer(tmp_path: Path) -> None:
    session = model(
        [
            helper.make_node("Conv", ["x", "w"], ["a"], "first"),
            helper.make_node("Conv", ["x", "w"], ["b"], "second"),
            helper.make_node("Mul", ["v", "two"], ["u"], "scaled"),
            helper.make_node("Conv", ["x", "u"], ["c"], "third"),
            helper.make_node("DequantizeLinear", ["q", "scale"], ["dq"], "unpack"),
            helper.make_node("Conv", ["x", "dq"], ["d"], "fourth"),
            helper.make_node("Constant", [], ["k"], "sixth", value=numpy_helper.from_array(filled(1, 4, 3, 3))),
            helper.make_node("Conv", ["x", "k"], ["f"], "seventh"),
            helper.make_node("ConvTranspose", ["x", "t"], ["e"], "fifth"),
        ],
        {"x": (1, 4, 9, 9)},
        ["a", "b", "c", "d", "e", "f"],
        {
            "w": filled(2, 4, 3, 3), "v": filled(2, 4, 3, 3), "two": numpy.array([2], numpy.float32),
            "q": numpy.ones((2, 4, 3, 3), numpy.int8), "scale": numpy.array(0.1, numpy.float32),
            "t": filled(4, 6, 3, 3),
        },
        tmp_path / "weights.onnx",
    )  # fmt: skip
    for layer, why in (("first", "shared"), ("third", "computed")):
        with pytest.raises(InputError, match=f"{layer}.kernel_shape cannot be set: its weight is {why}"):
            analysed(session, SetAttribute(layer, "kernel_shape", 5))
    edits = (SetAttribute("fourth", "kernel_shape", 5), SetAttribute("fifth", "group", 2),
             SetAttribute("seventh", "kernel_shape", 1))  # fmt: skip
    after = analysed(session, *edits)
    macs = dict(zip(after.layers.path, after.layers.macs, strict=True))
    assert macs["fourth"] == 2 * 4 * 5 * 5 * 5 * 5
    # A transposed convolution with two groups: every input position meets 6 / 2 of the outputs.
    assert macs["fifth"] == 9 * 9 * 4 * 3 * 3 * 3
    made = with_edits(session, *edits)
    assert [each.shape for each in made[3:]] == [(1, 2, 5, 5), (1, 6, 11, 11), (1, 1, 9, 9)]
    for ours, theirs in zip(made, with_edits(by_lines(session, tmp_path, *edits)), strict=True):
        numpy.testing.assert_array_equal(ours, theirs)


def test_an_old_file_lists_its_weights_among_its_inputs(tmp_path: Path) -> None:
    session = model(
        [helper.make_node("Conv", ["x", "w"], ["a"], "conv"), helper.make_node("Relu", ["a"], ["y"], "relu")],
        {"x": (1, 3, 9, 9), "w": (2, 3, 3, 3)},
        ["y"],
        {"w": filled(2, 3, 3, 3)},
        tmp_path / "old.onnx",
        ir_version=3,
    )
    assert [each.name for each in session.specs] == ["x"]
    smaller = SetAttribute("conv", "kernel_shape", 1)
    assert with_edits(session, smaller)[0].shape == (1, 2, 9, 9)
    numpy.testing.assert_array_equal(
        with_edits(by_lines(session, tmp_path, smaller))[0], with_edits(session, smaller)[0]
    )
    assert with_edits(session, RemoveLayer("conv"))[0].shape == (1, 3, 9, 9)


def test_what_takes_or_gives_several_values_is_not_removed(tmp_path: Path) -> None:
    session = model(
        [
            helper.make_node("Split", ["x"], ["a", "b"], "split", axis=1),
            helper.make_node("Cast", ["a"], ["whole"], "cast", to=TensorProto.INT64),
            helper.make_node("Cast", ["whole"], ["back"], "back", to=TensorProto.FLOAT),
            helper.make_node("Concat", ["back", "b"], ["y"], "concat", axis=1),
            helper.make_node("RandomNormal", [], ["z"], "noise", shape=[2]),
        ],
        {"x": (1, 4)},
        ["y", "z"],
        {},
        tmp_path / "several.onnx",
    )
    for layer, words in (
        ("split", "split cannot be removed: it passes on 2 values (a, b), and removing it leaves one."),
        ("concat", "concat cannot be removed: it joins 2 values (back, split)"),
        ("cast", "cast cannot be removed: it takes float32 and gives int64, which what follows needs."),
        ("noise", "noise cannot be removed: no value goes into it that could go on."),
    ):
        with pytest.raises(InputError) as caught:
            analysed(session, RemoveLayer(layer))
        assert words in caught.value.info().sentence


def test_sets_are_read_as_the_file_needs_them() -> None:
    assert parse_set("conv1.strides=2x1", any_field=True) == SetAttribute("conv1", "strides", (2, 1))
    assert parse_set("a.b.alpha=1e-5", any_field=True) == SetAttribute("a.b", "alpha", 1e-5)
    assert parse_set("pool.auto_pad=SAME_UPPER", any_field=True) == SetAttribute(
        "pool", "auto_pad", "SAME_UPPER"
    )
    with pytest.raises(InputError, match="'strides' cannot be edited"):
        parse_set("conv1.strides=2")


def test_going_back_and_forth_between_edits_gives_the_same_every_time(net: Opened) -> None:
    first, edits = analysed(net.session).totals, ()
    for layer in ("maxpool", "layer1.1", "tail"):
        edits = add_edit(edits, RemoveLayer(layer))
        analysed(net.session, *edits)
    inputs = net.session.default_configuration().inputs
    again = net.session.analyze(Configuration(inputs, edits), fast=False).totals
    assert again == analysed(net.session, *edits).totals
    assert net.session.analyze(Configuration(inputs), fast=False).totals == first
    larger = (InputShape(inputs[0].name, (1, 3, 64, 64)),)
    # Twice as high and wide; the linear layer sees one position.
    linear = 16 * 10
    macs = net.session.analyze(Configuration(larger, edits)).totals.macs
    assert macs == 4 * (again.macs - linear) + linear
