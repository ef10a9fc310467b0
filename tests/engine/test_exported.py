"""Exported programs: the numbers of the module they were made from, its names, edits, sizes, and what is refused."""

from __future__ import annotations

import importlib
import io
import json
import warnings
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch._export.serde.schema import SCHEMA_VERSION
from torch._export.serde.serialize import serialize
from torch.export import Dim, ExportedProgram
from torch.utils import _pytree as pytree
from torch.utils.flop_counter import FlopCounterMode

from engine import latency
from engine.api import analyze
from engine.cli import main
from engine.configuration import Configuration
from engine.edits import Edit, RemoveLayer, SetAttribute
from engine.errors import ConsentRequiredError, InputError, LayerError, LoadError, UnsupportedModelError
from engine.graph import InputShape
from engine.loaders import load
from engine.loaders.exported_guards import Guards
from engine.loaders.loaded import LoadOptions
from engine.results import EXPORTED_FROM, Analysis
from engine.session import FailedAnalysisError, Session
from tests.conftest import sampled

TRUSTED = LoadOptions(trust=True)
RESIDUAL = (2, 3, 64, 64)
"""Input of the fixture ``residual``."""


class Block(nn.Module):
    """Attention under ``no_grad``-free code with a tied weight, a constant and a layer that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(50, 16)
        self.mix = nn.Linear(16, 16)
        self.norm = nn.LayerNorm(16)
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
        self.out = nn.Linear(16, 50, bias=False)
        self.out.weight = self.tokens.weight
        self.unused = nn.Linear(3, 3)
        self.scale: Tensor
        self.register_buffer("scale", torch.full((16,), 0.5), persistent=False)

    def forward(self, tokens: Tensor, *, keep: Tensor | None = None) -> dict[str, Any]:
        x = self.tokens(tokens) * self.scale + torch.arange(16, device=tokens.device) * torch.tensor(0.1)
        x = self.norm(self.mix(self.mix(x)))
        with torch.no_grad():
            x = self.norm(x)
        x = self.attention(x, x, x, key_padding_mask=keep)[0]
        return {"logits": (self.out(x), x.mean()), "first": x[:, 0]}


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU]) -> None:
        super().__init__()
        self.cells = kind(6, 5, 2, bidirectional=True, batch_first=True)
        self.out = nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.cells(x)[0])  # type: ignore[no-any-return]


class Convolutions(nn.Module):
    """Every field that can be set, with a convolution whose padding is none of its operation's."""

    def __init__(self) -> None:
        super().__init__()
        self.wrap = nn.Conv2d(3, 3, 3, padding=1, padding_mode="circular")
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.same = nn.Conv2d(8, 8, 3, padding="same", dilation=2)
        self.up = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.line = nn.Conv1d(4, 4, 3)
        self.mean = nn.AvgPool1d(2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(self.same(self.pool(torch.relu(self.stem(self.wrap(x))))))
        return self.mean(self.line(x.flatten(2)))  # type: ignore[no-any-return]


def resnet() -> nn.Module:
    net: nn.Module = torchvision.models.ResNet(
        torchvision.models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=10
    )
    return net


def mobilenet() -> nn.Module:
    settings = [[1, 16, 1, 1], [6, 24, 2, 2]]
    net: nn.Module = torchvision.models.MobileNetV2(num_classes=10, inverted_residual_setting=settings)
    return net


def encoder() -> nn.Module:
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2)


def vit() -> nn.Module:
    return torchvision.models.VisionTransformer(32, 8, 2, 4, 32, 64, num_classes=10)  # type: ignore[no-any-return]


def swin() -> nn.Module:
    return torchvision.models.SwinTransformer([4, 4], 16, [1, 1], [2, 4], [4, 4], num_classes=10)  # type: ignore[no-any-return]


IMAGE: Callable[[], tuple[Any, ...]] = lambda: (torch.zeros(2, 3, 32, 32),)  # noqa: E731
SEQUENCE: Callable[[], tuple[Any, ...]] = lambda: (torch.zeros(2, 7, 16),)  # noqa: E731
MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[], tuple[Any, ...]], dict[int, str]]] = {
    "resnet": (resnet, IMAGE, {0: "batch", 2: "height", 3: "width"}),
    "mobilenet": (mobilenet, IMAGE, {0: "batch"}),
    "encoder": (encoder, SEQUENCE, {0: "batch", 1: "sequence"}),
    "vit": (vit, IMAGE, {0: "batch"}),
    "swin": (swin, IMAGE, {0: "batch"}),
    "lstm": (lambda: Recurrent(nn.LSTM), lambda: (torch.zeros(2, 7, 6),), {0: "batch"}),
    "gru": (lambda: Recurrent(nn.GRU), lambda: (torch.zeros(2, 7, 6),), {0: "batch"}),
    "block": (Block, lambda: (torch.zeros(2, 7, dtype=torch.int64),), {0: "batch"}),
}
"""Name → module, example, dimensions of the first input that can be exported as dynamic."""
WAYS = {
    "plain": (False, False, False),
    "strict": (True, False, False),
    "dynamic": (False, True, False),
    "strict dynamic": (True, True, False),
    "decomposed": (False, False, True),
    "dynamic decomposed": (False, True, True),
}
"""Name → strict, with dynamic shapes, in core operations."""
CASES = [(model, way) for model in MODELS for way in WAYS]


def build(name: str) -> tuple[nn.Module, tuple[Any, ...]]:
    torch.manual_seed(0)
    make, example, _ = MODELS[name]
    return make().eval(), example()


def exported(module: nn.Module, args: tuple[Any, ...], **options: Any) -> ExportedProgram:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.export(module, args, **options)


def save(program: ExportedProgram, path: Path) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(program, path)
    return str(path)


def opened(source: str) -> Session:
    return Session(load(source, TRUSTED))


def run(session: Session, *edits: Edit, **shapes: tuple[int, ...]) -> Analysis:
    inputs = session.complete([InputShape(name, shape, "") for name, shape in shapes.items()])
    return session.analyze(Configuration(inputs, edits))


def counted_macs(module: nn.Module, args: tuple[Any, ...]) -> int:
    """Half of what torch's own counter says on meta."""
    on_meta = [each.to("meta") for each in args]
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        module.to("meta")(*on_meta)
    return int(counter.get_total_flops()) // 2


@pytest.mark.parametrize(("name", "way"), sampled(CASES, 2, "exported"))
def test_numbers_of_the_module_it_was_exported_from(name: str, way: str, tmp_path: Path) -> None:
    module, args = build(name)
    expected = analyze(module, args).totals
    strict, is_dynamic, decomposed = WAYS[way]
    options: dict[str, Any] = {"strict": strict}
    if is_dynamic:
        options["dynamic_shapes"] = (dict.fromkeys(MODELS[name][2], Dim.DYNAMIC),)
    program = exported(module, args, **options)
    if decomposed:
        program = program.run_decompositions()
    analysis = run(opened(save(program, tmp_path / "net.pt2")))
    assert analysis.mode == "meta"
    assert analysis.coverage.not_counted == ()
    assert (analysis.totals.params, analysis.totals.macs) == (expected.params, expected.macs)
    if name not in ("lstm", "gru"):  # torch's counter knows no recurrent operation
        assert analysis.totals.macs == counted_macs(module, args)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exported")


@pytest.fixture(scope="module")
def residual(folder: Path) -> str:
    """A small ResNet that may have other batches and images."""
    module, _ = build("resnet")
    sizes = {0: Dim("batch", max=8), 2: Dim("height", min=33, max=256), 3: Dim("width", min=33, max=256)}
    program = exported(module, (torch.zeros(RESIDUAL),), dynamic_shapes=(sizes,))
    return save(program, folder / "residual.pt2")


@pytest.fixture(scope="module")
def residual_session(residual: str) -> Session:
    return opened(residual)


@pytest.fixture(scope="module")
def fixed(folder: Path) -> str:
    """Exported for one size."""
    module, args = build("vit")
    return save(exported(module, args), folder / "fixed.pt2")


def test_rows_are_those_of_the_module(residual_session: Session) -> None:
    report = analyze(build("resnet")[0], RESIDUAL)
    analysis = run(residual_session)
    assert list(analysis.layers.id) == [layer.id for layer in report.layers]
    assert list(analysis.layers.macs) == [layer.macs for layer in report.layers]
    assert list(analysis.modules.path) == [row.path for row in report.modules]
    row = analysis.modules.path.index("layer1.0.conv1")
    assert analysis.modules.class_name[row] == "Conv2d"
    assert analysis.modules.attributes[row] == {
        "in_channels": 64, "out_channels": 64, "kernel_size": (3, 3), "bias": False,
        "stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1,
    }  # fmt: skip
    assert analysis.modules.attributes[row + 1] == {"eps": 1e-5}


def test_module_called_several_times_is_one_layer(folder: Path) -> None:
    module, args = build("block")
    analysis = run(opened(save(exported(module, args), folder / "block.pt2")))
    calls = dict(zip(analysis.modules.path, analysis.modules.calls, strict=True))
    assert (calls["mix"], calls["norm"], calls["unused"]) == (2, 2, 0)
    assert not [path for path in calls if "@" in path]
    assert [shared.names for shared in analysis.shared] == [("tokens.weight", "out.weight")]
    assert {each.name for each in analysis.untouched} == {"unused.weight", "unused.bias"}
    assert analysis.totals.params == sum(p.numel() for p in module.parameters())
    assert analysis.output_shapes == ((2, 7, 50), (), (2, 16))


def test_keyword_inputs_and_constants(folder: Path) -> None:
    module, args = build("block")
    keep = torch.zeros(2, 7, dtype=torch.bool)
    session = opened(save(exported(module, args, kwargs={"keep": keep}), folder / "keyword.pt2"))
    assert [(spec.name, spec.dtype) for spec in session.specs] == [("tokens", "int64"), ("keep", "bool")]
    assert run(session).totals.macs == analyze(module, {"tokens": args[0], "keep": keep}).totals.macs


def test_outputs_are_those_of_the_module(folder: Path) -> None:
    module, args = build("swin")
    path = save(exported(module, args), folder / "swin.pt2")
    loaded = load(path, TRUSTED)
    x = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(loaded.build_real()(x), module(x))


class Quantized(nn.Module):
    """As PT2E quantisation writes it: integers in, between and out of floating-point operations."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        ops = torch.ops.quantized_decomposed
        x = ops.quantize_per_tensor(x, 0.1, 0, -128, 127, torch.int8)
        x = self.conv(ops.dequantize_per_tensor(x, 0.1, 0, -128, 127, torch.int8))
        scale, zero = ops.choose_qparams(x, -128, 127, 1e-5, torch.int8)
        return ops.quantize_per_tensor(x, scale, zero, -128, 127, torch.int8)  # type: ignore[no-any-return]


def test_quantised_program(folder: Path) -> None:
    importlib.import_module("torch.ao.quantization.fx._decomposed")
    path = save(exported(Quantized(), (torch.zeros(1, 3, 10, 10),)), folder / "quantized.pt2")
    analysis = run(opened(path))
    inputs, outputs, macs = 3 * 10 * 10, 8 * 8 * 8, 8 * 8 * 8 * 3 * 9
    assert analysis.coverage.not_counted == ()
    assert analysis.totals.macs == macs
    assert analysis.totals.flops == (5 + 2) * inputs + 2 * macs + outputs + (2 + 5) * outputs


class Answer(NamedTuple):
    logits: Tensor
    hidden: list[Tensor]


class Answers(nn.Module):
    """With a layer called ``self``, as BERT has one."""

    def __init__(self) -> None:
        super().__init__()
        self.add_module("self", nn.Linear(4, 4))
        self.out = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Answer:
        return Answer(self.out(self.get_submodule("self")(x)), [x, x + 1])


def test_containers_of_libraries_that_are_not_here(folder: Path) -> None:
    """torch itself refuses a program whose named tuple is registered nowhere."""
    name = "somewhere.Answer"
    pytree._register_namedtuple(Answer, serialized_type_name=name)
    path = save(exported(Answers(), (torch.zeros(2, 4),)), folder / "answers.pt2")
    pytree._deregister_pytree_node(Answer)
    with pytest.raises(RuntimeError):
        torch.export.load(path)
    analysis = run(opened(path))
    assert (analysis.totals.macs, analysis.output_shapes) == (2 * 4 * 4 + 2 * 4 * 3, ((2, 3), (2, 4), (2, 4)))


class Branches(nn.Module):
    """A condition on values, and a block under ``no_grad``."""

    def __init__(self) -> None:
        super().__init__()
        self.small = nn.Linear(4, 4)
        self.large = nn.Sequential(nn.Linear(4, 16), nn.Linear(16, 4))

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = self.small(x)
        return torch.cond(x.sum() > 0, self.large, self.small, (x,))  # type: ignore[no-any-return]


def test_branch_is_an_assumption(folder: Path) -> None:
    session = opened(save(exported(Branches(), (torch.zeros(2, 4),)), folder / "branches.pt2"))
    inputs = session.default_configuration().inputs
    otherwise = session.analyze(Configuration(inputs))
    (assumption,) = otherwise.assumptions
    taken = session.analyze(Configuration(inputs, assumptions=((assumption.key, 1),)))
    assert otherwise.totals.macs == 2 * 4 * 4 + 2 * 4 * 4
    assert taken.totals.macs == 2 * 4 * 4 + 2 * 4 * 16 * 2
    assert dict(zip(taken.modules.path, taken.modules.calls, strict=True))["small"] == 1


class Counts(nn.Module):
    """Writes to a buffer, which export makes an output of the program."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Tensor
        self.register_buffer("seen", torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        self.seen.add_(1)
        return x + self.seen


def test_writes_to_buffers(folder: Path) -> None:
    program = exported(Counts(), (torch.zeros(2, 3),)).run_decompositions()
    real = load(save(program, folder / "counts.pt2"), TRUSTED).build_real()
    with torch.inference_mode():
        assert [float(real(torch.zeros(2, 3))[0, 0]) for _ in range(3)] == [1, 2, 3]


# -- sizes ---------------------------------------------------------------------------------------------------------


def test_sliders_for_what_was_exported_as_dynamic(residual_session: Session) -> None:
    (spec,) = residual_session.specs
    assert [(dim.label, dim.symbol) for dim in spec.dims] == [
        ("batch", "batch"), ("channels", None), ("height", "height"), ("width", "width")
    ]  # fmt: skip
    batch, height = spec.dims[0], spec.dims[2]
    assert (batch.minimum, batch.maximum) == (1, 8)
    assert (height.minimum, height.maximum) == (33, 256)
    assert (residual_session.info.fixed_sizes, residual_session.info.unguarded) == ("", "")
    other = run(residual_session, x=(1, 3, 96, 64))
    assert other.totals.macs == analyze(build("resnet")[0], (1, 3, 96, 64)).totals.macs


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((9, 3, 64, 64), "residual.pt2 was exported for x with batch 1 to 8, not 9."),
        ((2, 3, 32, 64), "residual.pt2 was exported for x with height 33 to 256, not 32."),
        ((2, 4, 64, 64), "residual.pt2 was exported for x with channels 3, not 4."),
    ],
)
def test_sizes_out_of_range_are_refused(
    residual_session: Session, shape: tuple[int, ...], words: str
) -> None:
    with pytest.raises(InputError) as caught:
        run(residual_session, x=shape)
    assert caught.value.message == words
    assert "residual.pt2#unguarded" in caught.value.hint


def test_fixed_sizes_are_explained(fixed: str) -> None:
    session = opened(fixed)
    assert [dim.symbol for dim in session.specs[0].dims] == [None] * 4
    assert session.info.fixed_sizes == (
        "fixed.pt2 was exported for x of 2×3×32×32; these sizes are written into it."
    )
    assert session.info.unguarded == f"{fixed}#unguarded"
    with pytest.raises(InputError, match="exported for x with batch 2, not 1"):
        run(session, x=(1, 3, 32, 32))
    with pytest.raises(InputError, match="exported for x of float32, not float16"):
        session.analyze(Configuration((InputShape("x", (2, 3, 32, 32), "float16"),)))


def test_guards_off(fixed: str) -> None:
    session = opened(f"{fixed}#unguarded")
    assert session.info.note == (
        "Sizes other than those of the export (x of 2×3×32×32) were not promised by it."
    )
    assert [dim.symbol for dim in session.specs[0].dims] == ["batch", None, "height", "width"]
    assert run(session).totals == run(opened(fixed)).totals
    with pytest.raises(FailedAnalysisError) as caught:
        run(session, x=(2, 3, 64, 64))
    assert isinstance(caught.value.error, LayerError)


class Written(nn.Module):
    """Takes the sizes it is exported with into a reshape and an initial state."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.GRU(6, 5, batch_first=True)
        self.out = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.cells(x)[0]
        return self.out(x.reshape(x.shape[0] * x.shape[1], 5))  # type: ignore[no-any-return]


def test_sizes_that_are_written_into_it_are_named(folder: Path) -> None:
    path = save(exported(Written(), (torch.zeros(2, 7, 6),)), folder / "written.pt2")
    session = opened(f"{path}#unguarded")
    with pytest.raises(FailedAnalysisError) as batch:
        run(session, x=(3, 7, 6))
    assert batch.value.error.message == (
        "cells cannot run gru: it expects a batch of 2 like its initial state and gets 3 (3×7×6)."
    )
    with pytest.raises(FailedAnalysisError) as length:
        run(session, x=(2, 9, 6))
    assert "cannot run reshape: it expects 70 elements (14×5) and gets 90 (2×9×5)." in (
        length.value.error.message.replace("view", "reshape")
    )
    with pytest.raises(FailedAnalysisError) as features:
        run(session, x=(2, 7, 4))
    assert features.value.error.message == "cells cannot run gru: it expects 6 features and gets 4 (2×7×4)."


def test_guards_off_where_nothing_is_written_into_it(folder: Path) -> None:
    """A network of convolutions works at other sizes, although it was exported for one."""
    module, args = build("resnet")
    path = save(exported(module, args), folder / "unguarded.pt2")
    analysis = run(opened(f"{path}#unguarded"), x=(2, 3, 64, 96))
    assert analysis.totals.macs == analyze(module, (2, 3, 64, 96)).totals.macs


class TwoInputs(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x[:, 1:] + y


def test_sizes_that_belong_together(folder: Path) -> None:
    step = Dim("half", min=2, max=16)
    shapes = ({1: 2 * step + 1}, {1: 2 * step})
    program = exported(TwoInputs(), (torch.zeros(3, 9), torch.zeros(3, 8)), dynamic_shapes=shapes)
    session = opened(save(program, folder / "two.pt2"))
    assert [dim.symbol for spec in session.specs for dim in spec.dims] == [None] * 4
    assert run(session, x=(3, 13), y=(3, 12)).output_shapes == ((3, 12),)
    with pytest.raises(InputError, match=r"The size of y must be 12 .* not 10"):
        run(session, x=(3, 13), y=(3, 10))
    with pytest.raises(InputError, match="x with size 3 to 33 in steps of 2, not 12"):
        run(session, x=(3, 12), y=(3, 12))


class Patches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 4, 4, stride=4)

    def forward(self, x: Tensor) -> Tensor:
        return self.patches(x)  # type: ignore[no-any-return]


def test_multiples_are_steps(folder: Path) -> None:
    program = exported(
        Patches().eval(),
        (torch.zeros(1, 3, 40, 40),),
        dynamic_shapes=({2: 4 * Dim("rows", max=64), 3: 4 * Dim("columns", max=64)},),
    )
    session = opened(save(program, folder / "patches.pt2"))
    height = session.specs[0].dims[2]
    assert (height.minimum, height.maximum, height.step) == (8, 128, 8)
    assert run(session, x=(1, 3, 44, 48)).totals.macs == 4 * 11 * 12 * 3 * 16
    with pytest.raises(InputError, match="x with height 4 to 256 in steps of 4, not 42"):
        run(session, x=(1, 3, 42, 40))


class Pairs(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0] // 2, 2, -1) if x.shape[1] % 3 == 0 else x.view(1, -1)


@pytest.mark.parametrize("strict", [False, True])
def test_guards_are_kept(folder: Path, strict: bool) -> None:
    """What the export assumed of a size, because the code asked for it, and what no range can say."""
    shapes = ({0: Dim.AUTO, 1: Dim.AUTO},)
    program = exported(Pairs(), (torch.zeros(6, 9),), dynamic_shapes=shapes, strict=strict)
    path = save(program, folder / "pairs.pt2")
    session = opened(path)
    assert run(session, x=(8, 12)).output_shapes == ((4, 2, 12),)
    for shape in ((8, 10), (7, 9)):
        with pytest.raises(AssertionError):
            program.module()(torch.zeros(shape))
        with pytest.raises(InputError, match=r"exported with the guard .*x\.shape\[\d\].* do not keep"):
            run(session, x=shape)
    assert run(opened(f"{path}#unguarded"), x=(8, 10)).output_shapes == ((4, 2, 10),)


@pytest.mark.parametrize(
    "code",
    [
        "__import__('os').system('true')", "L['x'].size()[0] ** 10**9 > 0", "L['y'].size()[0] == 1", "f(", "L['x']",
        "L['x'].size()[0] // 0 == 1", "(" * 500 + "1" + ")" * 500, "L['x'].size()[9] == 1", "x.size()[0] == 5",
    ],
)  # fmt: skip
def test_guards_that_are_no_arithmetic_are_left_out(code: str) -> None:
    guards = Guards([code, "L['x'].size()[0] % 2 == 0"], {"x": (4, 4)})
    assert guards.broken({"x": (2, 1)}) == ""
    assert guards.broken({"x": (5, 4)}) == "x.shape[0] % 2 == 0"


# -- edits ---------------------------------------------------------------------------------------------------------


def test_removed_layer(residual_session: Session) -> None:
    edits = (RemoveLayer("maxpool"), RemoveLayer("layer1.0"))
    analysis = run(residual_session, *edits)
    expected = analyze(build("resnet")[0], RESIDUAL, edits).totals
    assert (analysis.totals.macs, analysis.totals.params) == (expected.macs, expected.params)
    row = analysis.modules.path.index("maxpool")
    assert (analysis.modules.removed[row], analysis.modules.class_name[row]) == (True, "MaxPool2d")
    assert run(residual_session).totals == run(opened(str(residual_session.info.source))).totals


def test_stride(residual_session: Session) -> None:
    edits = (
        SetAttribute("conv1", "stride", 1),
        SetAttribute("layer2.0.conv1", "stride", (1, 2)),
        SetAttribute("layer2.0.downsample.0", "stride", (1, 2)),
    )
    assert (
        run(residual_session, *edits).totals.macs == analyze(build("resnet")[0], RESIDUAL, edits).totals.macs
    )


SETTINGS = (
    SetAttribute("wrap", "stride", 2),
    SetAttribute("stem", "stride", 1),
    SetAttribute("stem", "padding", (0, 2)),
    SetAttribute("same", "padding", 1),
    SetAttribute("same", "dilation", 1),
    SetAttribute("up", "stride", 3),
    SetAttribute("pool", "kernel_size", 2),
    SetAttribute("line", "stride", 2),
)


@pytest.mark.parametrize(("decomposed", "settings"), [(False, SETTINGS), (True, SETTINGS[-1:])])
def test_what_can_be_set(folder: Path, decomposed: bool, settings: tuple[SetAttribute, ...]) -> None:
    """In core operations ``flatten`` is a view with its sizes written into it, so that only the last edit fits."""
    module = Convolutions().eval()
    args = (torch.zeros(1, 3, 32, 32),)
    program = exported(module, args)
    if decomposed:
        program = program.run_decompositions()
    session = opened(save(program, folder / "settings.pt2"))
    modules = run(session).modules
    fields = dict(zip(modules.path, modules.editable, strict=True))
    assert fields["stem"] == fields["same"] == fields["up"] == ("stride", "padding", "dilation")
    assert fields["pool"] == ("kernel_size", "stride", "padding", "dilation")
    assert fields["wrap"] == ("stride", "dilation")
    attributes = dict(zip(modules.path, modules.attributes, strict=True))
    assert attributes["stem"]["stride"] == (2, 2)
    assert (attributes["up"]["in_channels"], attributes["up"]["out_channels"]) == (8, 4)
    for edit in settings:
        assert run(session, edit).totals.macs == analyze(module, args, (edit,)).totals.macs, edit


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (SetAttribute("conv1", "kernel_size", 5), "conv1 is a Conv2d; its kernel_size cannot be set."),
        (SetAttribute("conv1", "stride", 0), "conv1.stride must be 1 to 1,000,000, not 0."),
        (SetAttribute("conv1", "padding", "same"), "conv1.padding cannot be 'same'."),
        (SetAttribute("conv1", "stride", (1, 1, 1)), "conv1.stride takes 1 or 2 numbers, not 3."),
        (RemoveLayer("nothing"), "The model has no layer 'nothing'."),
    ],
)
def test_edits_that_are_refused(residual_session: Session, edit: Edit, words: str) -> None:
    with pytest.raises(InputError) as caught:
        run(residual_session, edit)
    assert caught.value.message == words


def test_layers_that_cannot_be_removed(folder: Path) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cells = nn.LSTM(6, 5, batch_first=True)
            self.blocks = nn.ModuleList([nn.Linear(5, 5), nn.ReLU()])

        def forward(self, x: Tensor) -> Tensor:
            out, (hidden, _) = self.cells(x)
            for block in self.blocks:
                out = block(out)
            return out + hidden.sum()  # type: ignore[no-any-return]

    session = opened(save(exported(Net().eval(), (torch.zeros(2, 7, 6),)), folder / "several.pt2"))
    with pytest.raises(InputError, match=r"cells cannot be removed .*: it gives 2 values"):
        run(session, RemoveLayer("cells"))
    with pytest.raises(InputError, match="blocks cannot be removed: the exported program never calls it"):
        run(session, RemoveLayer("blocks"))
    assert run(session, RemoveLayer("blocks.0")).totals.macs < run(session).totals.macs


# -- weights and time ----------------------------------------------------------------------------------------------


def test_weights_are_those_of_the_file(residual: str) -> None:
    module, _ = build("resnet")
    loaded = load(residual, TRUSTED)
    state = loaded.build_real().state_dict()
    assert state.keys() == module.state_dict().keys()
    for name, tensor in module.state_dict().items():
        torch.testing.assert_close(state[name], tensor)
    assert all(parameter.is_meta for parameter in loaded.module.parameters())


def test_zeros_are_counted(folder: Path) -> None:
    from threading import Event

    module = Convolutions().eval()
    with torch.no_grad():
        module.stem.weight[:4] = 0
    path = save(exported(module, (torch.zeros(1, 3, 32, 32),)), folder / "zeros.pt2")
    count = load(path, TRUSTED).count_zeros
    assert count is not None
    zeros = {name: number for name, number in count(Event()) if name}
    assert zeros["stem.weight"] == 4 * 3 * 9
    assert zeros["same.weight"] == 0


def test_layers_are_timed(residual_session: Session) -> None:
    from threading import Event

    analysis = run(residual_session)
    times = latency.layer_times(residual_session, analysis.configuration, 1, Event())
    timed = {row for row, seconds in zip(times.row_id, times.latency_s, strict=True) if seconds}
    assert {"conv1:conv2d", "layer4.0.conv2:conv2d", "fc:linear"} <= timed


@pytest.mark.parametrize(
    ("name", "edits"),
    [
        ("resnet", ["--set", "conv1.stride=1", "--remove", "maxpool"]),
        ("encoder", ["--remove", "layers.1"]),
        ("lstm", ["--remove", "out"]),
    ],
)
def test_command_line(
    name: str, edits: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module, args = build(name)
    path = save(exported(module, args), tmp_path / "net.pt2")
    assert main(["report", path]) == 2
    assert "--trust" in capsys.readouterr().err
    assert main(["report", path, "--trust", "--format", "json", *edits]) == 0
    report = json.loads(capsys.readouterr().out)
    wanted: list[Edit] = [RemoveLayer(edits[-1])]
    if name == "resnet":
        wanted.append(SetAttribute("conv1", "stride", 1))
    totals = analyze(module, args, wanted).totals
    assert (report["totals"]["params"], report["totals"]["macs"]) == (totals.params, totals.macs)
    assert report["model"]["format"] == "pt2"


# -- refusals --------------------------------------------------------------------------------------------------------


def test_contents_without_consent(fixed: str) -> None:
    with pytest.raises(ConsentRequiredError) as caught:
        load(fixed, LoadOptions())
    error = caught.value
    assert error.contents is not None and error.contents.operations
    assert any("torch.export.load" in line for line in error.details)
    assert load(fixed, LoadOptions(trust=True, digest=error.digest)).info.sha256 == error.digest
    with pytest.raises(ConsentRequiredError):
        load(fixed, LoadOptions(trust=True, digest="0" * 64))


def rewritten(
    path: str, to: Path, change: Callable[[str, bytes], bytes | None], order: Sequence[str] = ()
) -> str:
    """A copy of an archive with other contents: ``change(entry's name, data)``, None leaves it out."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in order or old.namelist():
            data = change(name, old.read(name))
            if data is not None:
                new.writestr(name, data)
    to.write_bytes(buffer.getvalue())
    return str(to)


def replaced(ending: str, old: bytes, new: bytes) -> Callable[[str, bytes], bytes]:
    def change(name: str, data: bytes) -> bytes:
        assert not name.endswith(ending) or old in data
        return data.replace(old, new) if name.endswith(ending) else data

    return change


def test_program_from_a_gpu(tmp_path: Path) -> None:
    """Only the devices differ: of weights, of values, and of the tensors that the program makes."""

    def moved(name: str, data: bytes) -> bytes:
        here, there = b'{"type": "cpu", "index": null}', b'{"type": "cuda", "index": 0}'
        assert not name.endswith(("model.json", "weights_config.json")) or here in data
        return data.replace(here, there) if name.endswith(".json") else data

    module, args = build("block")
    here = save(exported(module, args), tmp_path / "block.pt2")
    session = opened(rewritten(here, tmp_path / "gpu.pt2", moved))
    assert run(session).mode == "meta"
    assert run(session).totals == run(opened(here)).totals
    with session.real(session.default_configuration()) as real, torch.inference_mode():
        outputs: Any = real.forward()
        torch.testing.assert_close(outputs[-1], module(*args)["first"])


def test_pickled_weights(residual: str, tmp_path: Path) -> None:
    """As torch writes weights of a tensor subclass: listed before anything is agreed to, loaded by torch afterwards."""
    weight = torch.nn.Parameter(torch.full((10,), 3.0))
    buffer = io.BytesIO()
    torch.save(weight, buffer)
    place: list[str] = []

    def pickled(name: str, data: bytes) -> bytes:
        if name.endswith("model_weights_config.json"):
            config = json.loads(data)
            config["config"]["fc.bias"]["use_pickle"] = True
            place.append(config["config"]["fc.bias"]["path_name"])
            return json.dumps(config).encode()
        return buffer.getvalue() if place and name.endswith(f"/{place[0]}") else data

    with zipfile.ZipFile(residual) as archive:
        order = sorted(archive.namelist(), key=lambda name: not name.endswith(".json"))
    path = rewritten(residual, tmp_path / "pickled.pt2", pickled, order)
    with pytest.raises(ConsentRequiredError) as caught:
        load(path, LoadOptions())
    assert any("fc.bias is a pickle" in line for line in caught.value.details)
    real = load(path, TRUSTED).build_real()
    assert torch.equal(real.get_parameter("fc.bias"), weight)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (replaced("model.json", b'"major": 8', b'"major": 9'), "cannot load damaged.pt2"),
        (
            replaced("model.json", b"aten.add.Tensor", b"aten.plus.Tensor"),
            "uses the operation aten.plus.Tensor",
        ),
        (
            replaced("model.json", b"aten.add.Tensor", b"mylib.add.Tensor"),
            "uses the operation mylib.add.Tensor",
        ),
        (replaced("archive_version", b"0", b"7"), "cannot load damaged.pt2"),
        (lambda name, data: None if "sample_inputs" in name else data, "cannot load damaged.pt2"),
        (replaced("model.json", b'["TRAINING"]', b'["NOTHING"]'), "cannot load damaged.pt2"),
    ],
)
def test_damaged_and_foreign_versions(
    fixed: str, tmp_path: Path, change: Callable[[str, bytes], bytes | None], words: str
) -> None:
    path = rewritten(fixed, tmp_path / "damaged.pt2", change)
    with pytest.raises(LoadError) as caught:
        load(path, TRUSTED)
    assert words in caught.value.message
    assert caught.value.hint
    assert caught.value.file == path


def test_archive_of_an_older_torch(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Up to 2.7 graph and pickled weights lay side by side in a plain zip, which torch still loads, with advice."""
    module, args = build("resnet")
    whole = serialize(exported(module, args))
    path = tmp_path / "old.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("serialized_exported_program.json", whole.exported_program)
        archive.writestr("serialized_state_dict.pt", whole.state_dict)
        archive.writestr("serialized_constants.pt", whole.constants)
        archive.writestr("serialized_example_inputs.pt", whole.example_inputs)
        archive.writestr("version", ".".join(map(str, SCHEMA_VERSION)))
    capfd.readouterr()
    loaded = load(str(path), TRUSTED)
    assert run(Session(loaded)).totals.macs == analyze(module, args).totals.macs
    assert torch.equal(
        loaded.build_real().get_parameter("conv1.weight"), module.get_parameter("conv1.weight")
    )
    assert capfd.readouterr().err == ""


def test_parts_that_are_none(fixed: str) -> None:
    with pytest.raises(LoadError, match=r"fixed\.pt2 has no part 'ema'"):
        load(f"{fixed}#ema", TRUSTED)


def test_compiled_code_is_not_started(fixed: str, tmp_path: Path) -> None:
    path = rewritten(fixed, tmp_path / "compiled.pt2", lambda name, data: data)
    with zipfile.ZipFile(path, "a") as archive:
        root = archive.namelist()[0].partition("/")[0]
        archive.writestr(f"{root}/data/aotinductor/model/model.so", b"\x7fELF")
    with pytest.raises(UnsupportedModelError, match="AOTInductor"):
        load(path, TRUSTED)


def test_python_lines_say_what_they_are_for(residual_session: Session) -> None:
    analysis = run(residual_session, SetAttribute("conv1", "stride", 1))
    assert analysis.python_lines() == [EXPORTED_FROM, "model.conv1.stride = 1"]
    assert run(residual_session).python_lines() == []
