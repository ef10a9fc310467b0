"""What executes is counted, whatever the module class promises: tiny modules whose counts are written as formulas."""

from __future__ import annotations

import csv
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision.ops
from torch import Tensor, nn

from engine.api import analyze
from engine.export.report import Report
from tests.conftest import DATA


class Call(nn.Module):
    """A function as a module; ``parts`` are its submodules and parameters by name."""

    def __init__(self, function: Callable[..., Any], **parts: nn.Module | nn.Parameter) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.function = function

    def forward(self, *args: Tensor) -> Any:
        return self.function(self, *args)


def heads(x: Tensor) -> Tensor:
    return x.unflatten(-1, (4, 16)).transpose(-2, -3)


def by_matmul(m: Any, x: Tensor) -> Tensor:
    q = heads(x)
    return m.out(((q @ q.transpose(-1, -2)).softmax(-1) @ q).transpose(-2, -3).flatten(-2))


def by_sdpa(m: Any, x: Tensor) -> Tensor:
    q = heads(x)
    return m.out(F.scaled_dot_product_attention(q, q, q).transpose(-2, -3).flatten(-2))


def six_times(m: Any, x: Tensor) -> Tensor:
    for _ in range(6):
        x = m.linear(x)
    return x


def micro_module(text: str) -> nn.Module:
    described = {
        "q = x split": lambda: Call(by_matmul, out=nn.Linear(64, 64)),
        "the same with F.scaled": lambda: Call(by_sdpa, out=nn.Linear(64, 64)),
        "nn.MultiheadAttention": lambda: Call(
            lambda m, x: m.attention(x, x, x)[0], attention=nn.MultiheadAttention(64, 4, batch_first=True)
        ),
        "x @ w": lambda: Call(lambda m, x: x @ m.w, w=nn.Parameter(torch.randn(64, 64))),
        "one nn.Linear": lambda: Call(six_times, linear=nn.Linear(64, 64)),
    }
    for start, make in described.items():
        if text.startswith(start):
            return make()
    module: nn.Module = eval(text, {"nn": nn})
    return module


with (DATA / "micro_cases.csv").open(newline="") as file:
    MICRO = list(csv.DictReader(file))


@pytest.mark.parametrize("row", MICRO, ids=lambda row: row["case"])
def test_micro_case(row: dict[str, str]) -> None:
    shape = tuple(int(size) for size in row["input"].split("x"))
    report = analyze(micro_module(row["module"]), shape)
    assert report.totals.macs == int(row["macs"])
    assert report.coverage.counted_calls == report.coverage.calls


def macs(function: Callable[..., Any], *shapes: tuple[int, ...], **parts: Any) -> int:
    return analyze(Call(function, **parts), [torch.empty(shape) for shape in shapes]).totals.macs


def test_functional_operations() -> None:
    b, n, k, p = 3, 7, 11, 13
    assert macs(lambda m, x, y: torch.einsum("bnk,bkp->bnp", x, y), (b, n, k), (b, k, p)) == b * n * k * p
    assert macs(lambda m, x, y: torch.einsum("bik,bjk->bij", x, y), (b, n, k), (b, p, k)) == b * n * k * p
    assert macs(lambda m, x, y: x @ y, (b, n, k), (k, p)) == b * n * k * p
    assert macs(lambda m, x, y: x @ y, (b, 1, n, k), (5, k, p)) == b * 5 * n * k * p
    assert macs(lambda m, x, y: torch.mv(x, y), (n, k), (k,)) == n * k
    assert macs(lambda m, x, y: torch.dot(x, y), (k,), (k,)) == k
    assert macs(lambda m, x, y, z: torch.baddbmm(x, y, z), (b, n, p), (b, n, k), (b, k, p)) == b * n * k * p
    weight = nn.Parameter(torch.randn(8, 3, 5, 5))
    assert (
        macs(lambda m, x: F.conv2d(x, m.w, stride=2), (2, 3, 33, 33), w=weight) == 2 * 8 * 15 * 15 * 3 * 5 * 5
    )


def test_convolutions() -> None:
    def conv(module: nn.Module, *shape: int) -> int:
        return analyze(module, shape).totals.macs

    assert conv(nn.Conv2d(8, 12, 3, groups=4), 1, 8, 10, 10) == 12 * 8 * 8 * (8 // 4) * 9
    assert conv(nn.Conv2d(8, 12, 3, dilation=2, padding=2, stride=2), 1, 8, 11, 11) == 12 * 6 * 6 * 8 * 9
    assert conv(nn.Conv2d(8, 8, 3, groups=8, padding="same"), 1, 8, 10, 10) == 8 * 10 * 10 * 9
    # A transposed convolution multiplies every input position with the whole kernel.
    assert conv(nn.ConvTranspose2d(8, 6, 4, stride=2, groups=2), 2, 8, 5, 5) == 2 * 8 * 5 * 5 * (6 // 2) * 16
    assert conv(nn.Conv1d(3, 5, 7), 2, 3, 20) == 2 * 5 * 14 * 3 * 7
    assert conv(nn.Conv3d(2, 4, 3), 1, 2, 6, 6, 6) == 4 * 4**3 * 2 * 27

    def deform(m: Any, x: Tensor, offset: Tensor) -> Tensor:
        result: Tensor = torchvision.ops.deform_conv2d(x, offset, m.w)
        return result

    weight = nn.Parameter(torch.randn(6, 4, 3, 3))
    assert macs(deform, (1, 4, 10, 10), (1, 18, 8, 8), w=weight) == 6 * 8 * 8 * 4 * 9


def test_bilinear_and_recurrent() -> None:
    rows, a, b, out = 5, 6, 7, 8
    assert (
        macs(lambda m, x, y: m.f(x, y), (rows, a), (rows, b), f=nn.Bilinear(a, b, out)) == rows * out * a * b
    )
    steps, inputs, hidden, batch = 10, 32, 64, 2
    # Four gates for LSTM, three for GRU; each reads the input (or the layer below, both directions) and the state.
    lstm = nn.LSTM(inputs, hidden, num_layers=2, batch_first=True)
    assert analyze(lstm, (batch, steps, inputs)).totals.macs == batch * steps * 4 * hidden * (
        (inputs + hidden) + (hidden + hidden)
    )
    both = nn.GRU(inputs, hidden, bidirectional=True)
    assert analyze(both, (steps, batch, inputs)).totals.macs == 2 * batch * steps * 3 * hidden * (
        inputs + hidden
    )


def test_attention() -> None:
    b, h, n, s, d = 2, 8, 10, 12, 16

    def attend(**options: Any) -> Callable[..., Tensor]:
        return lambda m, q, k, v: F.scaled_dot_product_attention(q, k, v, **options)

    shapes = ((b, h, n, d), (b, h, s, d), (b, h, s, d))
    assert macs(attend(), *shapes) == 2 * b * h * n * s * d
    square = ((b, h, n, d),) * 3
    assert macs(attend(is_causal=True), *square) == 2 * b * h * n * n * d
    grouped = ((b, h, n, d), (b, 2, s, d), (b, 2, s, d))
    assert macs(attend(enable_gqa=True), *grouped) == 2 * b * h * n * s * d

    e, f = 32, 64
    layer = nn.TransformerEncoderLayer(e, 4, dim_feedforward=f, batch_first=True)
    projections, attention, feed_forward = 4 * n * e * e, 2 * n * n * e, 2 * n * e * f
    assert analyze(layer, (b, n, e)).totals.macs == b * (projections + attention + feed_forward)


def rows(report: Report) -> dict[str, Any]:
    return {layer.id: layer for layer in report.layers}


def test_a_module_called_six_times_is_one_row_and_one_weight() -> None:
    report = analyze(Call(six_times, linear=nn.Linear(64, 64)), (1, 50, 64))
    row = rows(report)["linear:linear"]
    assert row.calls == 6
    assert row.macs == 6 * 50 * 64 * 64
    assert row.params == report.totals.params == 64 * 64 + 64
    assert "6 calls" in row.formula


def test_tied_embedding_counts_its_tensor_once_and_marks_both_rows() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(100, 16)
            self.head = nn.Linear(16, 100, bias=False)
            self.head.weight = self.embedding.weight

        def forward(self, tokens: Tensor) -> Tensor:
            return self.head(self.embedding(tokens))  # type: ignore[no-any-return]

    report = analyze(Tied(), torch.zeros(1, 7, dtype=torch.int64))
    assert report.totals.params == 100 * 16
    found = rows(report)
    assert found["embedding:embedding"].shared
    assert found["head:linear"].shared
    assert report.totals.macs == 7 * 16 * 100
    assert [shared.names for shared in report.shared] == [("embedding.weight", "head.weight")]


def test_parameters_the_forward_pass_does_not_touch_are_named() -> None:
    model = Call(lambda m, x: m.used(x), used=nn.Linear(4, 4), spare=nn.Linear(4, 9))
    report = analyze(model, (1, 4))
    assert report.totals.untouched_params == 4 * 9 + 9
    assert {entry.name for entry in report.untouched} == {"spare.weight", "spare.bias"}


def test_rows_are_named_after_the_owner_of_the_weight() -> None:
    """nn.MultiheadAttention never calls its out_proj; its weight is used by a functional linear all the same."""
    model = nn.MultiheadAttention(32, 4, batch_first=True)
    report = analyze(
        Call(lambda m, x: m.attention(x, x, x, need_weights=False)[0], attention=model), (2, 5, 32)
    )
    out = [layer for layer in report.layers if layer.path == "attention.out_proj"]
    assert [layer.op for layer in out] == ["linear"]
    assert out[0].macs == 2 * 5 * 32 * 32


def test_parameter_used_through_views() -> None:
    weight = nn.Parameter(torch.randn(96, 32))
    model = Call(lambda m, x: [x @ part.t() for part in m.w.chunk(3)], w=weight)
    report = analyze(model, (5, 32))
    assert report.totals.macs == 3 * 5 * 32 * 32
    assert sum(layer.params for layer in report.layers if layer.macs) == 96 * 32
    assert report.totals.untouched_params == 0


def test_unknown_operations_are_not_counted_and_the_rest_stays() -> None:
    model = Call(lambda m, x: torch.sort(m.linear(x))[0], linear=nn.Linear(8, 8))
    report = analyze(model, (3, 8))
    assert report.totals.macs == 3 * 8 * 8
    assert [(entry.op, entry.calls) for entry in report.coverage.not_counted] == [("sort", 1)]
    sort = next(layer for layer in report.layers if layer.op == "sort")
    assert sort.flops is None
    assert report.coverage.calls - report.coverage.counted_calls == 1


def test_custom_operator_without_formula() -> None:
    @torch.library.custom_op("misnomer_test::double", mutates_args=())
    def double(x: Tensor) -> Tensor:
        return x * 2

    @double.register_fake
    def _(x: Tensor) -> Tensor:
        return torch.empty_like(x)

    report = analyze(Call(lambda m, x: double(x)), (4,))
    assert [entry.op for entry in report.coverage.not_counted] == ["misnomer_test::double"]
    assert report.layers[-1].macs is None


def test_the_engine_imports_no_flop_registry() -> None:
    from pathlib import Path

    import engine

    for file in Path(engine.__file__).parent.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        assert "flop_counter" not in text
        assert "fvcore" not in text


def test_lstm_language_model_reuse() -> None:
    """PTB LSTM, 2 × 650, vocabulary 10,000: each weight works about once per token; the embedding never."""

    class Model(nn.Module):
        def __init__(self, hidden: int) -> None:
            super().__init__()
            self.embedding = nn.Embedding(10_000, hidden)
            self.lstm = nn.LSTM(hidden, hidden, 2, batch_first=True)
            self.head = nn.Linear(hidden, 10_000)

        def forward(self, tokens: Tensor) -> Tensor:
            return self.head(self.lstm(self.embedding(tokens))[0])  # type: ignore[no-any-return]

    for hidden, params, per_token in ((1500, 66_034_000, 51_000_000), (650, 19_780_400, 13_260_000)):
        with torch.device("meta"):
            model = Model(hidden)
        report = analyze(model, torch.zeros(1, 35, dtype=torch.int64))
        assert report.totals.params == params
        assert report.totals.macs == 35 * per_token
