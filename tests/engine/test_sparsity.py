"""Zeros in the weights and MACs on those that are not 0: counted, followed to the row that uses them, reported."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import msgspec
import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize, prune

from engine.api import analyze, analyze_columns, open_session
from engine.cli import main
from engine.configuration import Configuration
from engine.cost import known_ops
from engine.edits import Edit, RemoveLayer, SetAttribute
from engine.errors import CancelledError, InputError
from engine.export import render
from engine.export.compare import parse_condition
from engine.export.report import Report, parse_report
from engine.export.summary import zeros_sentence
from engine.graph import InputShape, InputSpec
from engine.guard import NotEnoughMemoryError
from engine.loaders import load, zeros
from engine.loaders.loaded import LoadOptions
from engine.loaders.zeros import count_zeros, zeros_of
from engine.protocol import Analyze, Analyzed, Open, Opened, Point, Prefetch, Weighed
from engine.results import Analysis
from engine.server import Inbox
from engine.session import Session
from engine.sparsity import why_unknown, with_zeros
from engine.trace.weights import NO_PRODUCTS
from engine.tree import LayerStructure
from engine.tree_values import NodeValues
from tests.engine.model_files import Convolutional, Recurrent, Transformer, build, save_exported, save_script
from tests.engine.test_server import Engine, at, engine

__all__ = ["engine"]


def prune_all(module: nn.Module, amount: float, *, masks: bool = False) -> None:
    """Every weight of two and more dimensions, the smallest values first; ``masks`` are left in."""
    for part in list(module.modules()):
        for name, parameter in list(part._parameters.items()):
            if parameter is not None and parameter.dim() > 1:
                prune.l1_unstructured(part, name, amount)  # type: ignore[no-untyped-call]
                if not masks:
                    prune.remove(part, name)  # type: ignore[no-untyped-call]


def counted(module: nn.Module, stop: Event | None = None) -> dict[str, int]:
    return {name: count for name, count in zeros_of(module, stop or Event()) if name}


def columns(model: nn.Module | str, inputs: Any = (), edits: tuple[Edit, ...] = ()) -> Analysis:
    return analyze_columns(open_session(model, inputs, trust=True), inputs, edits)


def row(analysis: Analysis, id: str) -> dict[str, Any]:
    """One row of the layers."""
    index = analysis.layers.id.index(id)
    return {
        key: getattr(analysis.layers, key)[index]
        for key in ("params", "macs", "zeros", "nonzero_macs", "nonzero_formula")
    }


# -- counting ----------------------------------------------------------------------------------------------------

REAL = torch.tensor([0.0, -0.0, 1.0, -2.0, 0.5, 0.0])
TENSORS: dict[str, tuple[Tensor, int]] = {
    "float32": (REAL, 3),
    "float16": (REAL.half(), 3),
    "bfloat16": (REAL.bfloat16(), 3),
    "float64": (REAL.double(), 3),
    "not a number": (torch.tensor([float("nan"), float("inf"), 0.0]), 1),
    "complex64": (torch.complex(REAL, REAL.flip(0)), 2),
    "bool": (REAL != 0, 3),
    "int8": (REAL.to(torch.int8), 4),
    "uint16": (REAL.abs().to(torch.uint16), 4),
    "uint64": (REAL.abs().to(torch.uint64), 4),
    "float8_e4m3fn": (REAL.to(torch.float8_e4m3fn), 3),
    "float8_e5m2": (REAL.to(torch.float8_e5m2), 3),
    "float8_e4m3fnuz": (REAL.to(torch.float8_e4m3fnuz), 3),
    "transposed": (torch.eye(7)[:, 2:].t(), 7 * 5 - 5),
    "every other": (torch.eye(8)[::2, ::3], 4 * 3 - 2),
    "channels last": (torch.eye(6).view(1, 4, 3, 3).to(memory_format=torch.channels_last), 30),
    "expanded": (torch.tensor([[0.0], [1.0]]).expand(2, 1000), 1000),
    "scalar": (torch.tensor(0.0), 1),
    "empty": (torch.empty(0, 3), 0),
    "sparse": (torch.eye(9).to_sparse(), 72),
    "blocks of a hybrid": (torch.eye(9).view(9, 3, 3).to_sparse(1), 72),
}


@pytest.mark.parametrize("name", TENSORS)
def test_zeros_of_every_dtype_and_layout(name: str) -> None:
    tensor, wanted = TENSORS[name]
    assert dict(count_zeros([(("w",), tensor)], Event())) == {"": 0, "w": wanted}


def test_a_large_tensor_is_counted_in_steps_that_can_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zeros, "CHUNK", 100)
    tensor = torch.eye(100)
    steps = list(count_zeros([(("w", "tied"), tensor), (("t",), tensor[:, 1:].t())], Event()))
    assert len(steps) == 100 + 2 + 100 + 1
    assert [step for step in steps if step[0]] == [("w", 9_900), ("tied", 9_900), ("t", 9_900 - 99)]
    stop = Event()
    counting = count_zeros([(("w",), tensor)], stop)
    next(counting)
    stop.set()
    with pytest.raises(CancelledError):
        next(counting)


def test_what_has_no_values_is_left_out() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.LazyLinear(2), nn.Linear(2, 2, device="meta"))
    assert counted(model) == {"0.weight": 0, "0.bias": 0}


class Masks(nn.Module):
    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.mask


def test_a_mask_that_pruning_left_counts_with_its_weight() -> None:
    model = nn.Linear(10, 10)
    prune.l1_unstructured(model, "weight", 0.8)  # type: ignore[no-untyped-call]
    assert counted(model)["weight_orig"] == 80
    other = nn.Linear(10, 10)
    parametrize.register_parametrization(other, "weight", Masks(torch.eye(10)))
    assert counted(other)["parametrizations.weight.original"] == 90


MASKED = """
import torch
from torch import nn
from torch.nn.utils import parametrize, prune


class Masks(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mask", torch.ones(10, 10))

    def forward(self, weight):
        return weight * self.mask


def hooks():
    layer = nn.Linear(10, 10)
    prune.identity(layer, "weight")
    return nn.Sequential(layer), torch.zeros(3, 10)


def parametrized():
    layer = nn.Linear(10, 10)
    parametrize.register_parametrization(layer, "weight", Masks())
    return nn.Sequential(layer), torch.zeros(3, 10)


def plain():
    return nn.Sequential(nn.Linear(10, 10)), torch.zeros(3, 10)
"""


def test_masks_in_a_file_count_with_its_weights(tmp_path: Path) -> None:
    """What the file says of a weight without its mask is no zero of what the layer computes with."""
    (tmp_path / "masked.py").write_text(MASKED, encoding="utf-8")
    layer = nn.Linear(10, 10)
    prune.l1_unstructured(layer, "weight", 0.8)  # type: ignore[no-untyped-call]
    torch.save(nn.Sequential(layer).state_dict(), tmp_path / "hooks.pt")
    parametrize.register_parametrization(other := nn.Linear(10, 10), "weight", Masks(torch.eye(10)))
    torch.save(nn.Sequential(other).state_dict(), tmp_path / "parametrized.pt")
    program = torch.export.export(nn.Sequential(other).eval(), (torch.zeros(3, 10),), strict=False)
    torch.export.save(program, tmp_path / "net.pt2")
    found = {}
    for source in ("hooks.pt@hooks", "hooks.pt@plain", "parametrized.pt@parametrized", "net.pt2"):
        file, _, builder = source.partition("@")
        architecture = f"@{tmp_path / 'masked.py'}:{builder}" if builder else ""
        total = analyze(f"{tmp_path / file}{architecture}", trust=True).totals
        found[source] = total.macs, total.zeros, total.nonzero_macs, total.unweighed_params
    known, unknown = (3 * 100, 80, 3 * 20, 0), (3 * 100, 0, None, 100)
    assert found == {
        "hooks.pt@hooks": known,
        "hooks.pt@plain": known,
        "parametrized.pt@parametrized": unknown,
        "net.pt2": unknown,
    }


def test_shared_weights_have_their_zeros_under_every_name() -> None:
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    model[1].weight = model[0].weight
    nn.init.eye_(model[0].weight)
    assert counted(model) == {"0.weight": 12, "1.weight": 12}
    analysis = columns(model, (1, 4))
    assert analysis.totals.zeros == 12
    assert analysis.layers.zeros == (12, 12)
    assert analysis.modules.zeros == (12, 12, 12)
    removed = columns(model, (1, 4), (RemoveLayer("0"),))
    assert (removed.totals.zeros, removed.layers.nonzero_macs) == (12, (4,))


# -- MACs on non-zero weights -------------------------------------------------------------------------------------


def halves(shape: tuple[int, ...]) -> Tensor:
    """Ones and about as many zeros."""
    return (torch.rand(shape, generator=torch.Generator().manual_seed(0)) > 0.5).float()


class Calls(nn.Module):
    """One operation of a weight of ones and zeros: its outputs on ones add up to the MACs that do something."""

    def __init__(self, shape: tuple[int, ...], call: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.weight = nn.Parameter(halves(shape))
        self.call = call

    def forward(self, x: Tensor) -> Tensor:
        return self.call(x, self.weight)


OPERATIONS: dict[str, tuple[tuple[int, ...], tuple[int, ...], Callable[[Tensor, Tensor], Tensor]]] = {
    "conv1d": ((2, 4, 9), (6, 4, 3), lambda x, w: functional.conv1d(x, w, stride=2)),
    "grouped conv2d": ((2, 4, 9, 8), (6, 2, 3, 3), lambda x, w: functional.conv2d(x, w, groups=2)),
    "conv3d": ((1, 2, 5, 5, 5), (3, 2, 2, 2, 2), lambda x, w: functional.conv3d(x, w, dilation=2)),
    "conv_transpose2d": (
        (2, 4, 5, 5),
        (4, 3, 3, 3),
        lambda x, w: functional.conv_transpose2d(x, w, stride=2),
    ),
    "linear": ((2, 7, 5), (3, 5), functional.linear),
    "matmul from the right": ((2, 7, 5), (5, 3), torch.matmul),
    "matmul from the left": ((2, 7, 5), (3, 7), lambda x, w: w @ x),
    "transposed weight": ((7, 5), (3, 5), lambda x, w: x @ w.t()),
    "batched": ((2, 7, 5), (2, 5, 3), torch.bmm),
    "expanded weight": ((2, 7, 5), (5, 3), lambda x, w: torch.bmm(x, w.expand(2, 5, 3))),
    "vector": ((7, 5), (5,), torch.mv),
    "addmm": ((7, 5), (5, 3), lambda x, w: torch.addmm(torch.zeros(3, device=x.device), x, w)),
    "einsum": ((2, 7, 5), (4, 5, 3), lambda x, w: torch.einsum("bsi,hio->bhso", x, w)),
    "tensordot": ((2, 7, 5), (5, 3), lambda x, w: torch.tensordot(x, w, 1)),
    "bilinear": ((2, 5), (3, 5, 5), lambda x, w: functional.bilinear(x, x, w)),
    "cast": ((2, 5), (3, 5), lambda x, w: functional.linear(x.double(), w.double())),
    "scaled": ((2, 5), (3, 5), lambda x, w: functional.linear(x, w * 0.25) * 4),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_macs_on_non_zero_weights_are_the_products_that_are_not_zero(name: str) -> None:
    shape, weight, call = OPERATIONS[name]
    model = Calls(weight, call).eval()
    analysis = columns(model, shape)
    with torch.no_grad():
        assert analysis.totals.nonzero_macs == int(model(torch.ones(shape)).sum())
        model.weight.fill_(1)
        assert analysis.totals.macs == int(model(torch.ones(shape)).sum())
    assert analysis.totals.zeros == int((halves(weight) == 0).sum())


CANNOT: dict[str, tuple[tuple[int, ...], Callable[[Tensor, Tensor], Tensor], str]] = {
    "a part": ((6, 5), lambda x, w: functional.linear(x, w[:3]), "the zeros of weight[0:15] are not known"),
    "scattered": ((3, 10), lambda x, w: functional.linear(x, w[:, ::2]), "only a part of weight is used"),
    "computed": (
        (3, 5),
        lambda x, w: functional.linear(x, w.softmax(0)),
        "the weight is computed, or no parameter",
    ),
    "both": ((5, 5), lambda x, w: x + torch.mm(w, w)[:2], "both factors are weights"),
    "three": (
        (5, 5),
        lambda x, w: torch.einsum("ab,bc,ad->dc", x, w, x),
        "how often each weight is used is not known",
    ),
    "its sum": (
        (3, 5),
        lambda x, w: torch.einsum("bi,oi->b", x, w),
        "how often each weight is used is not known",
    ),
}


@pytest.mark.parametrize("name", CANNOT)
def test_what_nobody_knows_is_not_counted_with_the_reason(name: str) -> None:
    weight, call, why = CANNOT[name]
    analysis = columns(Calls(weight, call).eval(), (2, 5))
    index = next(i for i, macs in enumerate(analysis.layers.macs) if macs)
    assert analysis.layers.nonzero_macs[index] is None
    assert analysis.layers.nonzero_formula[index] == f"not counted: {why}"
    assert analysis.totals.zeros == int((halves(weight) == 0).sum())
    unknown = f"leave out {analysis.layers.macs[index]:,} MACs, of which it is not known"
    assert zeros_sentence(analysis).endswith(unknown)


class Attends(nn.Module):
    """Queries to something else."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, query: Tensor, other: Tensor) -> Tensor:
        attended: Tensor = self.attention(query, other, other, need_weights=False)[0]
        return attended


def test_attention_has_no_weights_and_keeps_its_macs() -> None:
    analysis = columns(Attends().eval(), [torch.zeros(2, 5, 8)] * 2)
    found = row(analysis, "attention:scaled_dot_product_attention")
    assert found["nonzero_macs"] == found["macs"] == 2 * 5 * 5 * (8 + 8)
    assert found["nonzero_formula"] == ""


def test_cross_attention_uses_parts_of_its_packed_weight() -> None:
    model = Attends().eval()
    weight = model.attention.in_proj_weight
    assert weight is not None
    with torch.no_grad():
        weight[:8, 3:] = 0
        weight[8:, :2] = 0
    analysis = columns(model, [torch.zeros(1, 5, 8), torch.zeros(1, 7, 8)])
    asked, given = (row(analysis, f"attention:linear{end}") for end in ("", ".1"))
    assert (asked["zeros"], asked["nonzero_macs"]) == (8 * 5 + 8, 5 * 8 * 3)  # the biases begin as zeros
    assert (given["zeros"], given["nonzero_macs"]) == (16 * 2 + 16, 7 * 16 * 6)
    assert analysis.modules.zeros[0] == 8 * 5 + 16 * 2 + 24 + 8


@pytest.mark.parametrize("cell", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_cells_use_each_weight_once_per_step(cell: type[nn.Module]) -> None:
    model = cell(6, 5).eval()
    prune_all(model, 0.75)
    analysis = columns(model, (3, 6))
    weights = [parameter for parameter in model.parameters() if parameter.dim() == 2]
    assert analysis.totals.nonzero_macs == 3 * sum(int((weight != 0).sum()) for weight in weights)


# -- pruned models ------------------------------------------------------------------------------------------------

SOURCE = """
import torch
from torch import nn


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(16, 12, 2, bidirectional=True, batch_first=True)
        self.out = nn.Linear(24, 5)

    def forward(self, x):
        return self.out(self.lstm(x)[0])


def lstm():
    return Tagger(), (torch.zeros(2, 7, 16),)


def encoder():
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), (torch.zeros(2, 7, 16),)
"""


def made(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    """The same modules as SOURCE makes."""
    torch.manual_seed(0)
    if name == "resnet18":
        return torchvision.models.resnet18(weights=None).eval(), (1, 3, 224, 224)
    space: dict[str, Any] = {"__name__": "made"}
    exec(compile(SOURCE, "net.py", "exec"), space)
    module, (example,) = space[name]()
    return module.eval(), tuple(example.shape)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pruned state dicts beside the code they belong to."""
    path = tmp_path_factory.mktemp("pruned")
    (path / "net.py").write_text(SOURCE)
    for name in ("resnet18", "lstm", "encoder"):
        module, _ = made(name)
        prune_all(module, 0.8)
        torch.save(module.state_dict(), path / f"{name}.pt")
    return path


def source(folder: Path, name: str) -> str:
    architecture = "torchvision:resnet18" if name == "resnet18" else f"{folder}/net.py:{name}"
    return f"{folder}/{name}.pt@{architecture}"


@pytest.mark.parametrize("name", ["resnet18", "lstm", "encoder"])
def test_a_pruned_model_shows_its_zeros_per_layer_and_its_macs_as_ever(folder: Path, name: str) -> None:
    """Done-when 6: 80 % zeros per layer, MACs unchanged, MACs on non-zero weights beside them."""
    dense, shape = made(name)
    saved: dict[str, Tensor] = torch.load(folder / f"{name}.pt")
    analysis = columns(source(folder, name))
    assert analysis.totals.macs == columns(dense, shape).totals.macs
    parameters = {name: saved[name] for name, _ in dense.named_parameters()}
    is_zero = {name: int((tensor == 0).sum()) for name, tensor in parameters.items()}
    assert analysis.totals.zeros == sum(is_zero.values())
    assert analysis.totals.unweighed_params == 0
    for path, found in zip(analysis.modules.path, analysis.modules.zeros, strict=True):
        prefix = f"{path}." if path else ""
        assert found == sum(count for name, count in is_zero.items() if name.startswith(prefix))
    values = NodeValues(LayerStructure(analysis), analysis)
    for node in range(len(values.structure)):
        if values.value(node, "macs") and values.value(node, "params"):  # biases are not pruned
            assert 0.7 < (values.value(node, "sparsity") or 0) < 0.85
    rows = zip(
        analysis.layers.path,
        analysis.layers.op,
        analysis.layers.macs,
        analysis.layers.nonzero_macs,
        strict=True,
    )
    for path, op, macs, nonzero in rows:
        if op in ("conv2d", "linear"):
            weight = saved[f"{path}.in_proj_weight" if path.endswith("self_attn") else f"{path}.weight"]
            assert nonzero == macs * int((weight != 0).sum()) // weight.numel()
        elif op == "lstm":
            weights = [tensor for name, tensor in saved.items() if name.startswith("lstm.weight")]
            assert nonzero == 2 * 7 * sum(int((weight != 0).sum()) for weight in weights)
        else:
            assert nonzero == macs
    assert analysis.totals.nonzero_macs == sum(filter(None, analysis.layers.nonzero_macs))


@pytest.mark.parametrize("name", ["lstm", "encoder"])
def test_masks_that_pruning_left_are_followed_to_the_operation(name: str) -> None:
    """The hooks compute each weight before it is used; what nobody calls (out_proj's hook) is not counted."""
    module, shape = made(name)
    prune_all(module, 0.8, masks=True)
    analysis = columns(module, shape)
    plain, _ = made(name)
    prune_all(plain, 0.8)
    wanted = columns(plain, shape)
    assert analysis.totals.zeros == wanted.totals.zeros
    own = {path: index for index, path in enumerate(wanted.modules.path)}
    for path, found in zip(analysis.modules.path, analysis.modules.zeros, strict=True):
        assert found == wanted.modules.zeros[own[path]]
    told = dict(zip(wanted.layers.id, wanted.layers.nonzero_macs, strict=True))
    for id, macs, nonzero, why in zip(
        analysis.layers.id,
        analysis.layers.macs,
        analysis.layers.nonzero_macs,
        analysis.layers.nonzero_formula,
        strict=True,
    ):
        if "out_proj" in id and macs:
            assert (nonzero, why) == (None, "not counted: the weight is computed, or no parameter")
        elif macs:
            assert nonzero == told[id]


def test_a_pickled_module_with_masks_counts_what_it_computes_with(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(20, 10), nn.ReLU(), nn.Linear(10, 5)).eval()
    prune_all(module, 0.8, masks=True)
    torch.save(module, tmp_path / "net.pt")
    session = Session(load(str(tmp_path / "net.pt"), LoadOptions(trust=True)))
    analysis = analyze_columns(session, (3, 20))
    assert analysis.totals.macs == 3 * (200 + 50)
    assert analysis.totals.nonzero_macs == 3 * (40 + 10)
    assert analysis.modules.zeros[1] == 160


def test_weights_that_do_not_fit_into_memory_are_not_built_to_be_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(nn.Linear(20, 10), tmp_path / "net.pt")
    session = Session(load(str(tmp_path / "net.pt"), LoadOptions(trust=True)))
    monkeypatch.setattr("engine.guard.free_bytes", lambda: 100)
    analysis = analyze_columns(session, (3, 20))
    assert (analysis.totals.macs, analysis.totals.zeros) == (600, None)
    with pytest.raises(NotEnoughMemoryError, match="Running Linear needs 1 KiB"):
        next(session.count_zeros(Event()))


# -- edits --------------------------------------------------------------------------------------------------------


def small() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.Conv2d(4, 5, 3, bias=False)).eval()
    prune_all(model, 0.5)
    return model


def test_a_removed_layer_takes_its_zeros_along() -> None:
    analysis = columns(small(), (1, 3, 9, 9))
    assert analysis.totals.zeros == 54 + 90
    model = nn.Sequential(small(), nn.Conv2d(5, 5, 3, bias=False)).eval()
    assert columns(model, (1, 3, 9, 9), (RemoveLayer("1"),)).totals.zeros == 54 + 90


def test_a_weight_that_an_edit_makes_anew_is_unknown_and_the_rest_is_not() -> None:
    analysis = columns(small(), (1, 3, 9, 9))
    edits = (SetAttribute("1", "kernel_size", 5),)
    edited = columns(small(), (1, 3, 9, 9), edits)
    found = row(edited, "1:conv2d")
    assert (found["zeros"], found["nonzero_macs"]) == (None, None)
    assert found["nonzero_formula"] == "not counted: an edit made 1.weight anew, with random values"
    assert edited.totals.zeros == 54
    assert edited.totals.unweighed_params == 4 * 5 * 25
    assert edited.totals.nonzero_macs == row(analysis, "0:conv2d")["nonzero_macs"]
    values = NodeValues(LayerStructure(edited), edited)
    assert values.is_bounded(0, "zeros") and values.is_bounded(0, "nonzero_macs")
    assert "of 500 it is not known" in render(edited, "md").decode()


def test_as_many_elements_in_another_shape_are_as_new() -> None:
    edited = columns(small(), (1, 3, 11, 11), (SetAttribute("0", "kernel_size", (1, 9)),))
    assert edited.totals.zeros == 90
    assert edited.totals.unweighed_params == 4 * 3 * 9


def test_zeros_join_a_result_that_was_there_before_them() -> None:
    session = open_session(small(), (1, 3, 9, 9))
    early = session.analyze(session.default_configuration())
    assert early.weight_uses is not None and not early.is_weighed
    assert why_unknown(early) == "the zeros in the weights are not counted yet"
    late = analyze_columns(session)
    assert session.zeros is not None
    assert with_zeros(early, session.zeros) == late == session.kept(session.default_configuration())
    assert with_zeros(late, {}) is late


# -- random weights, reports, the command line --------------------------------------------------------------------


def test_random_weights_have_no_sparsity() -> None:
    analysis = columns("torchvision:resnet18")
    assert (analysis.totals.zeros, analysis.totals.nonzero_macs, analysis.totals.sparsity) == (
        None,
        None,
        None,
    )
    assert why_unknown(analysis) == "the weights are random"
    for format in ("md", "csv", "html"):
        assert b"parsity" not in render(analysis, format)
    with pytest.raises(InputError, match="sparsity is not known on both sides"):
        parse_condition("sparsity<50%").holds(analysis.totals, None)


def test_reports_carry_the_zeros_and_give_them_back() -> None:
    analysis = columns(small(), (1, 3, 9, 9))
    report = Report.from_analysis(analysis)
    assert parse_report(report.to_json(), "x.json").to_analysis() == analysis
    data = json.loads(report.to_json())
    assert (data["totals"]["zeros"], data["totals"]["nonzero_macs"]) == (144, 54 * 49 + 90 * 25)
    assert data["derived"]["sparsity"] == data["totals"]["sparsity"] == 144 / (108 + 180)
    assert [(each["zeros"], each["sparsity"]) for each in data["layers"]] == [(54, 0.5), (90, 0.5)]
    assert data["layers"][0]["nonzero_formula"] == "MACs · non-zero/elements = 5,292 · 54/108 = 2,646"
    table = list(csv.DictReader(io.StringIO(render(analysis, "csv").decode())))
    assert [(each["zeros"], each["sparsity"], each["nonzero_macs"]) for each in table] == [
        ("54", "0.5", "2646"),
        ("90", "0.5", "2250"),
    ]
    page = render(analysis, "html").decode()
    assert "144 of 288 parameters are 0 (50\u202f%)" in page and "on non-zero weights: MACs" in page
    text = render(analysis, "md", analysis).decode()
    assert "| Sparsity | 50\u202f% |" in text and "| MACs on non-zero weights | 4.90\u202fk |" in text


def test_a_report_of_other_zeros_has_changed_rows() -> None:
    analysis, dense = columns(small(), (1, 3, 9, 9)), columns(nn.Sequential(*small()).eval(), (1, 3, 9, 9))
    assert dense.layers == analysis.layers
    model = small()
    with torch.no_grad():
        model[0].weight.fill_(1)  # type: ignore[index,union-attr]
    rows = csv.DictReader(io.StringIO(render(analysis, "csv", columns(model, (1, 3, 9, 9))).decode()))
    assert [each["change"] for each in rows] == ["changed", "same"]
    unweighed = open_session(model, (1, 3, 9, 9))
    before = msgspec.structs.replace(unweighed.analyze(unweighed.default_configuration()), weight_uses=None)
    rows = csv.DictReader(io.StringIO(render(analysis, "csv", before).decode()))
    assert [each["change"] for each in rows] == ["same", "same"]


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("sparsity<80%", True),
        ("sparsity>0.4", True),
        ("sparsity>50%", False),
        ("zeros>=144", True),
        ("nonzero_macs<4.8k", False),
        ("sparsity>+0.01", False),
    ],
)
def test_conditions_on_zeros(text: str, holds: bool) -> None:
    totals = columns(small(), (1, 3, 9, 9)).totals
    assert parse_condition(text).holds(totals, totals) is holds


def test_the_command_line_reports_the_zeros_of_a_file(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given = ["report", source(folder, "resnet18"), "--input", "1x3x64x64", "-o", str(tmp_path / "r.json")]
    assert main([*given[1:], "--fail-if", "sparsity<70%"]) == 0
    assert main([*given[1:], "--fail-if", "nonzero_macs>1k"]) == 3
    assert "nonzero_macs>1k holds" in capfd.readouterr().err
    totals = json.loads((tmp_path / "r.json").read_text())["totals"]
    assert 0.79 < totals["zeros"] / totals["params"] < 0.81
    assert 0.19 < totals["nonzero_macs"] / totals["macs"] < 0.21


# -- the server ---------------------------------------------------------------------------------------------------


def test_counting_comes_after_every_request_and_every_position() -> None:
    inbox = Inbox()
    configuration = Configuration((InputShape("x", (1, 4)),))
    inbox.put(Prefetch(5, (configuration,), zeros=True))
    inbox.put(Analyze(6, configuration))
    request = inbox.get()
    assert isinstance(request, Analyze) and request.id == 6
    assert inbox.get() == (5, configuration)
    assert inbox.get() == inbox.get() == 5
    inbox.put(Analyze(7, configuration))
    assert not inbox.interrupt.is_set(), "a step is short: nothing is lost by ending it"
    assert isinstance(inbox.get(), Analyze)
    assert inbox.get() == 5
    inbox.put(Prefetch(8, (), zeros=False))
    inbox.put(Open(9, "torchvision:resnet18"))
    assert isinstance(inbox.get(), Open)
    inbox.put(Prefetch(10, (), zeros=True))
    inbox.weighed()
    inbox.close()
    assert inbox.get() is None


def test_the_engine_counts_when_idle_and_its_results_carry_it(engine: Engine, folder: Path) -> None:
    engine.send(Open(1, source(folder, "resnet18")), Analyze(2, at(1, 3, 64, 64)))
    assert engine.until(Opened).counts_zeros
    early = engine.until(Analyzed).analysis
    assert early.totals.zeros is None
    engine.send(Prefetch(3, (at(1, 3, 96, 96),), zeros=True))
    assert engine.until(Point).totals is not None
    weighed = engine.until(Weighed)
    assert weighed.error is None and weighed.zeros is not None
    engine.send(Analyze(4, at(1, 3, 64, 64)))
    late = engine.until(Analyzed).analysis
    assert late == with_zeros(early, weighed.zeros)
    assert late.is_weighed
    engine.send(Prefetch(5, (at(1, 3, 96, 96),), zeros=True))
    point = engine.until(Point)
    assert point.totals is not None and point.totals.zeros == late.totals.zeros
    assert engine.until(Weighed).zeros == weighed.zeros
    engine.send(Open(6, "torchvision:resnet18"))
    assert not engine.until(Opened).counts_zeros
    engine.send(Prefetch(7, (), zeros=True))
    assert engine.until(Weighed).zeros is None


def test_the_api_gives_the_zeros_of_a_module_in_memory() -> None:
    report = analyze(small(), (1, 3, 9, 9))
    assert (report.totals.zeros, report.totals.sparsity) == (144, 0.5)
    assert report.layers[0].nonzero_macs == 2646


def test_what_nobody_asks_the_weights_of_multiplies_nothing() -> None:
    families = known_ops()
    multiply = ("convolution", "linear", "attention", "recurrent")
    assert not [op for op in NO_PRODUCTS if families.get(op) in multiply]
    assert len(NO_PRODUCTS & families.keys()) > 20


FILES: dict[str, Callable[[nn.Module, Tensor, Path], None]] = {
    "net.pt": lambda module, example, path: torch.save(module, path),
    "script.pt": save_script,
    "net.pt2": save_exported,
}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("kind", [Convolutional, Transformer, Recurrent])
def test_every_kind_of_file_has_the_zeros_of_its_module(
    tmp_path: Path, file: str, kind: type[nn.Module]
) -> None:
    module, example = build(kind)
    prune_all(module, 0.8)
    FILES[file](module, example, tmp_path / file)
    loaded = load(str(tmp_path / file), LoadOptions(trust=True))
    dtype = str(example.dtype).removeprefix("torch.")
    inputs = [
        InputShape(spec.name, tuple(example.shape), dtype) for spec in loaded.specs or (InputSpec("", ()),)
    ]
    found = analyze_columns(Session(loaded, tuple(inputs)), inputs).totals
    wanted = columns(module, example).totals
    assert (found.macs, found.nonzero_macs) == (wanted.macs, wanted.nonzero_macs)
    assert (found.zeros, found.unweighed_params) == (wanted.zeros, 0)
