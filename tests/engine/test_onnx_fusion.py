"""onnxruntime's kernels on the original nodes: every node has one owner, every kernel nodes or a label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn
from torch.nn import functional as F

from engine.latency.onnx_sessions import session_options
from engine.loaders.options import LoadOptions
from engine.measurement import ORT_LEVELS, OrtLevel, RuntimeOptions
from engine.onnx.document import open_document
from engine.onnx.fusion import Fusion, Kernel, fusion, kernels_of
from engine.onnx.graph import Graph
from engine.onnx.run_model import run_model
from engine.onnx.runtime import onnxruntime
from engine.onnx.session import OnnxSession
from engine.open_model import OpenModel
from engine.opening import open_model
from tests.conftest import EVERYTHING
from tests.onnx_models import export, randomised


class Residual(nn.Module):
    """conv-bn-relu, conv-bn, add, relu: what ResNets are made of."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.conv2, self.bn2 = nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(x + self.bn2(self.conv2(y)))


def residual_net() -> nn.Module:
    stem = nn.Sequential(nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))
    return nn.Sequential(stem, Residual(), Residual(), head)


class DenseStep(nn.Module):
    """bn-relu-conv before a concatenation: the norm cannot be folded into a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.bn, self.conv = nn.BatchNorm2d(16), nn.Conv2d(16, 16, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.conv(F.relu(self.bn(x)))], 1)


class Attention(nn.Module):
    """A transformer's block, causal, with what exporters make of one fused attention."""

    def __init__(self, width: int = 32, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.qkv = nn.LayerNorm(width), nn.Linear(width, 3 * width)
        self.proj, self.norm2 = nn.Linear(width, width), nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        q, k, v = (
            part.view(batch, tokens, self.heads, width // self.heads).transpose(1, 2)
            for part in self.qkv(self.norm1(x)).split(width, -1)
        )
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(seen.transpose(1, 2).reshape(batch, tokens, width))
        down: Tensor = self.down(F.gelu(self.up(self.norm2(x))))
        return x + down


class Language(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(100, 32), nn.Embedding(64, 32)
        self.blocks = nn.Sequential(Attention(), Attention())
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, 100, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
        logits: Tensor = self.head(self.norm(self.blocks(x)))
        return logits


IMAGE = (torch.zeros(1, 3, 32, 32),)
MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[Tensor, ...]]] = {
    "residual": (residual_net, IMAGE),
    "dense": (lambda: nn.Sequential(nn.Conv2d(3, 16, 3), DenseStep()), IMAGE),
    "language": (Language, (torch.zeros(1, 16, dtype=torch.int64),)),
}


def optimised(model: OpenModel, level: OrtLevel, folder: Path) -> tuple[Graph, tuple[Kernel, ...]]:
    """The original graph and the kernels that onnxruntime makes of it."""
    assert isinstance(model, OnnxSession)
    run = run_model(model.document, model.default_configuration().inputs, edited=True)
    options = session_options(1, RuntimeOptions(level=level), run.folder)
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    onnxruntime().InferenceSession(run.model, options, providers=["CPUExecutionProvider"])
    written = onnx.load(folder / "optimised.onnx", load_external_data=False)
    return model.document.graph, kernels_of(written.graph)


def matched(file: Path, level: OrtLevel, folder: Path) -> Fusion:
    """The fusion of an ONNX file, checked: everything is in it, once."""
    graph, kernels = optimised(open_model(str(file), LoadOptions()), level, folder)
    found = fusion(graph, kernels)
    placed = [kernel.outputs for group in found.groups for kernel in group.kernels]
    placed += [kernel.outputs for kernel in found.inserted]
    assert Counter(placed) == Counter(kernel.outputs for kernel in walk(kernels))
    nodes = [node.path for group in found.groups for node in group.nodes]
    nodes += [node.path for node in found.folded]
    assert Counter(nodes) == Counter(node.path for node in graph.walk())
    return found


def walk(kernels: tuple[Kernel, ...]) -> Iterator[Kernel]:
    for kernel in kernels:
        yield kernel
        for body in kernel.bodies.values():
            yield from walk(body)


def told(found: Fusion) -> Counter[str]:
    """``Conv <- Conv Relu`` → how often."""
    return Counter(
        f"{'+'.join(kernel.op.rpartition('.')[2] for kernel in group.kernels)} <- "
        f"{' '.join(node.op_type for node in group.nodes)}"
        for group in found.groups
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("fusion")
    return {
        name: export(randomised(make()), args, folder / f"{name}.onnx")
        for name, (make, args) in MODELS.items()
    }


@pytest.mark.parametrize("level", ORT_LEVELS)
@pytest.mark.parametrize("name", MODELS)
def test_every_node_and_every_kernel_has_its_place(
    files: dict[str, Path], tmp_path: Path, name: str, level: OrtLevel
) -> None:
    found = matched(files[name], level, tmp_path)
    moved = [kernel.op.rpartition(".")[2] for kernel in found.inserted]
    assert set(moved) <= {
        "Reshape",
        "Transpose",
        "Squeeze",
        "Unsqueeze",
        "ReorderInput",
        "ReorderOutput",
        "Cast",
    }
    if level == "disable":
        assert not moved
        assert all(len(group.nodes) == 1 for group in found.groups)


def test_a_residual_block_at_the_default_level(files: dict[str, Path], tmp_path: Path) -> None:
    """The addition and the activation after it are the second convolution's, not the next block's."""
    groups = told(matched(files["residual"], "all", tmp_path))
    assert groups == {
        "Conv <- Conv Relu": 3, "Conv <- Conv Add Relu": 2, "MaxPool <- MaxPool": 1,
        "GlobalAveragePool <- GlobalAveragePool": 1, "Flatten <- Flatten": 1, "Gemm <- Gemm": 1,
    }  # fmt: skip


def test_a_norm_before_an_activation_is_a_kernel_of_its_own(files: dict[str, Path], tmp_path: Path) -> None:
    groups = told(matched(files["dense"], "all", tmp_path))
    assert groups["Conv <- BatchNormalization Relu"] == 1
    assert groups["Conv <- Conv"] == 2
    assert groups["Concat <- Concat"] == 1


def test_a_transformer_at_the_default_level(files: dict[str, Path], tmp_path: Path) -> None:
    """Each projection is one Gemm with its bias; GELU's five nodes are one kernel, with the bias before it."""
    found = matched(files["language"], "all", tmp_path)
    owners = {node.path: group for group in found.groups for node in group.nodes}
    for block in ("blocks.0", "blocks.1"):
        gelu = [group for path, group in owners.items() if path.startswith(f"{block}.Erf")]
        assert [node.op_type for node in gelu[0].nodes][-5:] == ["Div", "Erf", "Add", "Mul", "Mul"]
        assert gelu[0].kernels[0].op.rpartition(".")[2] in ("Gelu", "BiasGelu")
    norms = [
        group for group in found.groups if any(node.op_type == "LayerNormalization" for node in group.nodes)
    ]
    assert len(norms) == 5
    assert all(group.kernels[0].op.endswith("LayerNormalization") for group in norms)
    products = [node for group in found.groups for node in group.nodes if node.op_type == "MatMul"]
    # Per block: qkv, scores, values, projection, up, down; and the head.
    assert len(products) == 2 * 6 + 1


# -- graphs by hand ----------------------------------------------------------------------------------------------


def graph_file(folder: Path, nodes: list[onnx.NodeProto], outputs: list[str], **more: object) -> Path:
    shape = ["n", 4]
    graph = helper.make_graph(
        nodes,
        "main",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [helper.make_tensor(name, TensorProto.FLOAT, [4], numpy.ones(4)) for name in ("w", "v")],
    )
    file = folder / "by_hand.onnx"
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]), file)
    return file


def test_nodes_without_names_and_what_is_computed_twice(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Add", ["x", "w"], ["a"]),
        helper.make_node("Sin", ["a"], ["s"]),
        helper.make_node("Add", ["x", "w"], ["b"]),
        helper.make_node("Sin", ["b"], ["t"]),
        helper.make_node("Mul", ["s", "t"], ["y"]),
    ]
    found = matched(graph_file(tmp_path, nodes, ["y"]), "all", tmp_path)
    assert told(found) == {"Add <- Add Add": 1, "Sin <- Sin Sin": 1, "Mul <- Mul": 1}


def test_what_is_known_when_the_model_is_loaded_is_folded(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Add", ["w", "v"], ["sum"]),
        helper.make_node("Sqrt", ["sum"], ["root"]),
        helper.make_node("Mul", ["x", "root"], ["y"]),
    ]
    found = matched(graph_file(tmp_path, nodes, ["y"]), "all", tmp_path)
    assert [node.op_type for node in found.folded] == ["Add", "Sqrt"]
    assert told(found) == {"Mul <- Mul": 1}
    plain = matched(tmp_path / "by_hand.onnx", "disable", tmp_path)
    assert not plain.folded


def test_identities_and_the_end_of_the_graph(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Identity", ["x"], ["i"]),
        helper.make_node("Relu", ["i"], ["r"]),
        helper.make_node("Dropout", ["r"], ["d"]),
        helper.make_node("Identity", ["d"], ["y"]),
    ]
    found = matched(graph_file(tmp_path, nodes, ["y"]), "all", tmp_path)
    assert [node.op_type for group in found.groups for node in group.nodes].count("Relu") == 1
    assert not found.inserted


def test_bodies_of_control_flow_are_matched_too(tmp_path: Path) -> None:
    trips = helper.make_tensor("trips", TensorProto.INT64, [], [3])
    true = helper.make_tensor("true", TensorProto.BOOL, [], [True])
    body = helper.make_graph(
        [
            helper.make_node("Mul", ["state", "w"], ["scaled"]),
            helper.make_node("Exp", ["scaled"], ["next"]),
            helper.make_node("Identity", ["go"], ["on"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, None),
        ],
    )
    nodes = [
        helper.make_node("Constant", [], ["trips"], value=trips),
        helper.make_node("Constant", [], ["true"], value=true),
        helper.make_node("Loop", ["trips", "true", "x"], ["looped"], name="loop", body=body),
        helper.make_node("Relu", ["looped"], ["y"]),
    ]
    found = matched(graph_file(tmp_path, nodes, ["y"]), "all", tmp_path)
    groups = told(found)
    assert groups["Mul <- Mul"] == groups["Exp <- Exp"] == groups["Relu <- Relu"] == 1
    assert any("Loop" in group.partition(" <- ")[2].split() for group in groups)


def test_a_graph_without_kernels_is_folded_whole(tmp_path: Path) -> None:
    """Where there is no room to write the optimised graph, nothing is claimed."""
    graph = open_document(graph_file(tmp_path, [helper.make_node("Relu", ["x"], ["y"])], ["y"])).graph
    assert fusion(graph, ()) == Fusion((), (), tuple(graph.nodes))


# -- torchvision's models, both exporters ------------------------------------------------------------------------


NAMES = ("mobilenet_v2", "resnet50", "densenet121", "vit_b_16", "swin_t")
ZOO = [(name, dynamo) for name in NAMES for dynamo in (False, True)]
QUICK = [("squeezenet1_1", False)]


@pytest.mark.sweep
@pytest.mark.parametrize(("name", "dynamo"), ZOO if EVERYTHING else QUICK)
def test_torchvision_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, dynamo: bool) -> None:
    torchvision = pytest.importorskip("torchvision")
    # Its fused attention is an operator that only PyTorch has.
    monkeypatch.setattr(torch.backends.mha, "_is_fastpath_enabled", False)
    module = randomised(getattr(torchvision.models, name)())
    file = export(module, (torch.zeros(1, 3, 224, 224),), tmp_path / "model.onnx", dynamo=dynamo)
    for level in ("all", "basic"):
        found = matched(file, level, tmp_path)
        heavy = [node for node in found.folded if node.op_type in ("Conv", "Gemm", "MatMul", "Softmax")]
        assert not heavy
        assert not [
            kernel for kernel in found.inserted if kernel.op in ("Conv", "Gemm", "MatMul", "FusedMatMul")
        ]
