"""A metric that is a ratio of others is one entry: everything that shows metrics follows."""

from __future__ import annotations

import json

import pytest

from engine import metrics
from engine.api import analyze
from engine.export import render
from engine.export.compare import parse_condition
from engine.metrics import Metric, column


@pytest.fixture
def bytes_per_mac(monkeypatch: pytest.MonkeyPatch) -> Metric:
    metric = Metric(
        "bytes_per_mac",
        "Bytes per MAC",
        "ratio",
        "ratio",
        "Bytes moved per MAC.",
        parts=("bytes_moved", "macs"),
    )
    everything = (*metrics.METRICS, metric)
    for module in (
        "engine.metrics",
        "engine.export.measured",
        "engine.export.csv_report",
    ):
        monkeypatch.setattr(f"{module}.METRICS", everything)
    monkeypatch.setitem(metrics.METRIC, metric.key, metric)
    return metric


def test_totals_rows_reports_and_conditions_know_a_new_ratio(bytes_per_mac: Metric) -> None:
    report = analyze("torchvision:resnet18", (1, 3, 64, 64))
    totals = report.totals
    assert totals.bytes_per_mac == totals.bytes_moved / totals.macs  # type: ignore[attr-defined]
    analysis = report.to_analysis()
    values = column(analysis.layers, bytes_per_mac.key)
    assert values[0] == analysis.layers.bytes_moved[0] / (analysis.layers.macs[0] or 1)
    assert json.loads(report.to_json())["derived"]["bytes_per_mac"] == totals.bytes_moved / totals.macs
    for format in ("html", "md", "csv", "json"):
        assert render(analysis, format)
    assert parse_condition("bytes_per_mac>0").holds(totals, None)


def test_what_is_no_metric_is_no_total() -> None:
    totals = analyze("torchvision:resnet18", (1, 3, 64, 64)).totals
    with pytest.raises(AttributeError, match="no total 'speed'"):
        totals.speed  # type: ignore[attr-defined]  # noqa: B018
