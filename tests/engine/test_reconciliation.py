"""Why an export has other parameters than its model, and where that is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from engine.api import analyze
from engine.export.report import Report
from engine.export.summary import pair_rows
from engine.onnx.loading import load
from engine.onnx.session import OnnxSession
from engine.reconciliation import reconcile
from engine.results import Analysis
from engine.summary import summarise
from engine.tree_values import compared
from tests.onnx_models import export, randomised


class Net(nn.Module):
    """Everything that exporters change: norms, tied weights, identical tensors, an unused head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.with_bias = nn.Conv2d(8, 8, 1)
        self.bn2 = nn.BatchNorm2d(8)
        self.act = nn.ReLU()
        self.first = nn.Linear(8, 8)
        self.second = nn.Linear(8, 8)
        self.tied = nn.Linear(8, 8)
        self.tied.weight = self.first.weight
        self.unused = nn.Linear(5, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.bn2(self.with_bias(self.bn(self.conv(x)))))
        x = x.mean((2, 3))
        return self.tied(self.second(self.first(x)))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Analysis, Analysis]:
    """(the export, the PyTorch model); the biases of two layers are the same numbers."""
    module = randomised(Net())
    with torch.no_grad():
        module.second.bias.copy_(module.first.bias)  # type: ignore[union-attr, operator]
    path = export(module, (torch.randn(1, 3, 8, 8),), tmp_path_factory.mktemp("net") / "net.onnx")
    session = OnnxSession(load(path))
    return session.analyze(session.default_configuration()), analyze(module, (1, 3, 8, 8)).to_analysis()


def test_every_reason_is_named_and_they_sum_to_the_difference(pair: tuple[Analysis, Analysis]) -> None:
    exported, original = pair
    found = reconcile(exported, original)
    assert found is not None
    reasons = {line.kind: (line.layers, line.params) for line in found.lines}
    assert reasons["folded"] == (("bn", "bn2"), -4 * 8)
    assert reasons["biases"] == (("conv",), 8)
    assert reasons["unused"] == (("unused",), -(5 * 7 + 7))
    assert sum(line.params for line in found.lines) == exported.totals.params - original.totals.params
    assert (found.before, found.after) == (original.totals.params, exported.totals.params)
    merged = reasons.get("merged", ((), 0))[1]
    # Both have the tied weight once; the equal biases are one tensor in the file.
    assert merged == -8
    assert "apart" not in reasons
    assert not {"absent", "constants", "tables"} & set(reasons)


def test_the_other_way_round_the_signs_are_the_opposite(pair: tuple[Analysis, Analysis]) -> None:
    exported, original = pair
    there, back = reconcile(exported, original), reconcile(original, exported)
    assert there is not None and back is not None
    assert [line.params for line in back.lines] == [-line.params for line in there.lines]
    assert (back.before, back.after) == (there.after, there.before)


def test_models_of_one_format_need_no_reasons(pair: tuple[Analysis, Analysis]) -> None:
    exported, original = pair
    assert reconcile(exported, exported) is None
    assert reconcile(original, original) is None
    assert reconcile(exported, None) is None


def test_layers_are_compared_by_path(pair: tuple[Analysis, Analysis]) -> None:
    exported, original = pair
    ids = {
        (exported.layers.id[now], original.layers.id[before])
        for now, before in pair_rows(exported.layers, original.layers)
        if now is not None and before is not None
    }
    assert {("conv:Conv", "conv:conv2d"), ("act:Relu", "act:relu")} <= ids
    comparison = compared(exported, original)
    node = comparison.structure.find("conv")
    assert node is not None
    assert comparison.before(node, "macs") == comparison.values.value(node, "macs") == 36 * 8 * 27


def test_reports_and_what_changed_say_it(pair: tuple[Analysis, Analysis]) -> None:
    exported, original = pair
    report, against = Report.from_analysis(exported), Report.from_analysis(original)
    markdown = report.render("md", against).decode()
    html = report.render("html", against).decode()
    data = json.loads(report.render("json", against))
    for text in (markdown, html):
        assert "norms folded into the layer before" in text
        assert "−32" in text
    found = reconcile(exported, original)
    assert found is not None
    assert [line["params"] for line in data["reconciliation"]["lines"]] == [
        line.params for line in found.lines
    ]
    assert "reconciliation" not in report.render("md").decode()
    summary = summarise(compared(exported, original), "macs")
    assert summary.params == found
    assert found.sentence in summary.circumstances


def test_a_report_with_reasons_opens_again(pair: tuple[Analysis, Analysis], tmp_path: Path) -> None:
    from engine.export.report import load_report

    exported, original = pair
    path = tmp_path / "net.json"
    path.write_bytes(Report.from_analysis(exported).render("json", Report.from_analysis(original)))
    assert load_report(path).reconciliation == reconcile(exported, original)


class Language(nn.Module):
    """A head on the weights of the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 16)
        self.head = nn.Linear(16, 50, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.head(self.embed(ids))
        return logits


def test_tied_weights_that_the_file_has_twice(tmp_path: Path) -> None:
    module = Language().eval()
    ids = torch.tensor([[1, 2, 3]])
    session = OnnxSession(load(export(module, (ids,), tmp_path / "tied.onnx")))
    exported = session.analyze(session.default_configuration())
    original = analyze(module, ids).to_analysis()
    found = reconcile(exported, original)
    assert found is not None
    # For the product the exporter stores the table once more, transposed.
    assert [(line.kind, set(line.layers), line.params) for line in found.lines] == [
        ("apart", {"embed", "head"}, 50 * 16)
    ]
    assert exported.totals.params == 2 * original.totals.params == 2 * 50 * 16
