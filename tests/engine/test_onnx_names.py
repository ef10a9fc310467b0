"""Layers of ONNX nodes: by scopes in names and metadata, by the owners of weights, and for odd names."""

from __future__ import annotations

from pathlib import Path

import numpy
import pytest
import torch
from onnx import NodeProto, helper
from torch import Tensor, nn

from engine.onnx.document import open_document
from engine.onnx.loading import load
from engine.onnx.names import DEEPEST
from engine.onnx.session import OnnxSession
from engine.results import Analysis
from tests.onnx_models import export, hand_made, randomised


class Block(nn.Module):
    """Two convolutions with norms, one activation called twice, and a projection used as a function."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.layers = nn.Sequential(nn.Conv2d(8, 8, 1), nn.Sequential(nn.ReLU(), nn.Conv2d(8, 8, 1)))
        self.listed = nn.ModuleList([nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)])
        self.act = nn.ReLU()
        self.proj = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.bn1(self.conv1(x)))
        x = self.layers(x)
        for each in self.listed:
            x = each(x)
        x = self.act(x).mean((2, 3)).unsqueeze(1)
        return nn.functional.linear(x, self.proj.weight, self.proj.bias)


def analysed(path: Path) -> Analysis:
    session = OnnxSession(load(path))
    return session.analyze(session.default_configuration())


def paths_of(names: list[str], folder: Path) -> list[str]:
    """The paths of a chain of ReLUs with these names."""
    nodes = [
        helper.make_node("Relu", ["x" if at == 0 else f"y{at - 1}"], [f"y{at}"], name=name)
        for at, name in enumerate(names)
    ]
    path = hand_made(folder / "chain.onnx", nodes, {"x": (1, 4)}, [f"y{len(names) - 1}"], {})
    return [node.path for node in open_document(path).graph.nodes]


@pytest.fixture(scope="module", params=[False, True], ids=["torchscript", "dynamo"])
def block(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[bool, Analysis]:
    """(whether by torch.export's exporter, the exported block)."""
    path = tmp_path_factory.mktemp("block") / "block.onnx"
    export(randomised(Block()), (torch.randn(1, 3, 8, 8),), path, dynamo=request.param)
    return request.param, analysed(path)


def test_layers_have_the_paths_of_the_modules_they_were_exported_from(block: tuple[bool, Analysis]) -> None:
    there = block[1].modules.path
    expected = {
        "conv1",
        "layers",
        "layers.0",
        "layers.1",
        "layers.1.0",
        "layers.1.1",
        "listed.0",
        "listed.1",
        "act",
    }
    assert expected <= set(there)
    # The functional call is a row of the module that owns the weight; its bias tells it where the weight cannot.
    assert "proj" in there
    assert not [name for name in there if name.startswith(("bn1", "act_", "onnx"))]


def test_classes_are_the_exported_ones_and_no_name_that_every_graph_has(block: tuple[bool, Analysis]) -> None:
    dynamo, analysis = block
    class_of = dict(zip(analysis.modules.path, analysis.modules.class_name, strict=True))
    assert class_of[""] == analysis.model.class_name == ("Block" if dynamo else "")
    assert class_of["layers"] == ("Sequential" if dynamo else "")
    assert class_of["conv1"] == "Conv"


@pytest.mark.parametrize(
    ("names", "paths"),
    [
        (["/layer1/layer1.0/conv1/Relu"], ["layer1.0.conv1"]),
        (["/features/features.0/features.0.0/Relu"], ["features.0.0"]),
        (["/backbone/layer1/layer1.0/Relu"], ["backbone.layer1.0"]),
        (["/encoder/layers.3/Relu"], ["encoder.layers.3"]),
        (
            ["model/block1_conv/Relu", "model/block1_conv/Relu6"],
            ["model.block1_conv.Relu", "model.block1_conv.Relu6"],
        ),
        (["Relu_0", "", "Relu_0"], ["Relu_0", "Relu_1", "Relu_0_2"]),
        (["layer1.0.relu", "layer1.1.relu"], ["layer1.0.relu", "layer1.1.relu"]),
        (["/a/Relu", "/a/Relu_1", "/a/b/Relu"], ["a.Relu", "a.Relu_1", "a.b"]),
        (["/act/Relu", "/act_1/Relu", "/act_2/Relu"], ["act.Relu", "act.Relu_2", "act.Relu_3"]),
        (["//", "/", "a//b/"], ["Relu", "Relu_2", "a"]),
        (["a:b/c:d"], ["a_b"]),
        (["π/层 1/…"], ["π.层 1"]),
    ],
)
def test_names_as_scopes(names: list[str], paths: list[str], tmp_path: Path) -> None:
    assert paths_of(names, tmp_path) == paths


def test_deep_and_long_names_are_cut_and_stay_apart(tmp_path: Path) -> None:
    found = paths_of(["/".join(["x"] * 500 + [end]) for end in ("a", "b")] + ["y" * 9_000], tmp_path)
    assert len(set(found)) == 3
    assert max(path.count(".") for path in found) <= DEEPEST
    assert max(len(part) for path in found for part in path.split(".")) <= 200


def test_a_weight_that_another_layer_owns_does_not_rename_its_user(tmp_path: Path) -> None:
    weight = numpy.ones((4, 4), numpy.float32) * numpy.arange(4, dtype=numpy.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "embed.weight"], ["a"], name="/embed/MatMul"),
        helper.make_node("MatMul", ["a", "embed.weight"], ["b"], name="/head/MatMul"),
    ]
    path = hand_made(tmp_path / "tied.onnx", nodes, {"x": (2, 4)}, ["b"], {"embed.weight": weight})
    analysis = analysed(path)
    assert analysis.layers.path == ("embed", "head")
    assert analysis.totals.params == 4 * 4
    assert analysis.layers.shared == (True, True)
    assert [shared.names for shared in analysis.shared] == [("embed.weight", "head.weight")]


def test_unnamed_nodes_are_called_after_their_weights(tmp_path: Path) -> None:
    node: NodeProto = helper.make_node("MatMul", ["x", "gpu_0/fc_w_0"], ["y"])
    path = hand_made(
        tmp_path / "bare.onnx", [node], {"x": (2, 4)}, ["y"], {"gpu_0/fc_w_0": numpy.eye(4, dtype="f4")}
    )
    assert open_document(path).graph.nodes[0].path == "gpu_0.fc"


def test_what_the_exporter_put_in_itself_is_of_no_layer(tmp_path: Path) -> None:
    """torch.export's exporter writes a scope for nodes that read sizes, which no module has."""
    node = helper.make_node("Relu", ["x"], ["y"], name="node_Relu_0")
    scope = "_empty_nn_module_stack_from_metadata_hook"
    node.metadata_props.add(key="pkg.torch.onnx.name_scopes", value=str([scope, "sym_size_int_4"]))
    node.metadata_props.add(key="pkg.torch.onnx.class_hierarchy", value=str([scope, "aten.sym_size.int"]))
    found = analysed(hand_made(tmp_path / "own.onnx", [node], {"x": (1, 4)}, ["y"], {}))
    assert not [path for path in found.modules.path if scope in path]
    assert found.layers.path == ("node_Relu_0",)
