"""Bridges to tools that show the graph: Netron's attachment and Model Explorer's node data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest
from torch import nn, randn

from engine.errors import ExportError
from engine.export import render
from engine.loaders.options import LoadOptions
from engine.opening import open_model
from engine.results import Analysis
from tests.onnx_models import export


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 5))
    return export(net, (randn(1, 3, 8, 8),), tmp_path_factory.mktemp("nodes") / "net.onnx")


def analysis_of(source: str) -> Analysis:
    model = open_model(source, LoadOptions())
    return model.analyze(model.default_configuration())


def written(analysis: Analysis, format: str) -> Any:
    return json.loads(render(analysis, format))


def test_netron_finds_every_target(file: Path) -> None:
    document = written(analysis_of(str(file)), "netron")
    assert document["signature"] == "netron:attachment"
    names = {node.name for node in onnx.load(file).graph.node}
    targets = {item["target"] for item in document["metrics"] if item["kind"] == "node"}
    assert targets and targets <= names
    keys = [(item["kind"], item["target"], item["name"]) for item in document["metrics"]]
    assert len(keys) == len(set(keys)), "of two alike Netron would keep the last"


def test_netron_gets_exact_integers(file: Path) -> None:
    document = written(analysis_of(str(file)), "netron")
    macs = {item["target"]: item["value"] for item in document["metrics"] if item["name"] == "MACs"}
    conv = 4 * 6 * 6 * 3 * 9
    linear = 4 * 6 * 6 * 5
    assert macs[""] == conv + linear
    assert sorted(macs.values()) == sorted([conv, linear, conv + linear, *[0] * (len(macs) - 3)])


def test_model_explorer_is_keyed_by_tensors(file: Path) -> None:
    ((graph, data),) = written(analysis_of(str(file)), "model-explorer").items()
    assert graph == onnx.load(file).graph.name
    tensors = {name for node in onnx.load(file).graph.node for name in node.output}
    assert set(data["results"]) <= tensors
    assert sum(entry["value"] for entry in data["results"].values()) == 4 * 6 * 6 * 3 * 9 + 4 * 6 * 6 * 5
    assert [stop["stop"] for stop in data["gradient"]] == [0, 1]


def test_times_have_to_be_measured_first(file: Path) -> None:
    with pytest.raises(ExportError, match="has this number"):
        render(analysis_of(str(file)), "model-explorer-latency")


def test_a_model_without_nodes_is_refused() -> None:
    with pytest.raises(ExportError, match="no nodes that another tool would know"):
        render(analysis_of("torchvision:squeezenet1_1"), "netron")
