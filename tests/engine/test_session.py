"""Sessions: ways of tracing and their fallbacks, refused sizes, assumptions, kept results, cancelling, inputs."""

from __future__ import annotations

from threading import Event
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine.api import analyze, analyze_columns, open_session
from engine.configuration import Configuration
from engine.errors import CancelledError, InputError, LayerError, RealRunRequiredError
from engine.graph import InputShape
from engine.loaders import load
from engine.loaders.loaded import LoadOptions
from engine.session import FailedAnalysisError, Session


class MixesDevices(nn.Module):
    """Makes a CPU tensor in forward, which cannot meet a meta tensor; fake tensors know they are on the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x + torch.arange(8, device="cpu") * torch.ones(8, device="cpu"))  # type: ignore[no-any-return]


class ReadsValues(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        steps = 2 + len([v for v in x.flatten().numpy() if v > 1e9])
        for _ in range(steps):
            x = self.fc(x)
        return x


class Selects(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(4, 1)
        self.fc = nn.Linear(4, 10)

    def forward(self, x: Tensor) -> Tensor:
        chosen = x[self.gate(x).squeeze(-1) > 0]
        return self.fc(chosen)  # type: ignore[no-any-return]


def test_fake_tensors_where_meta_cannot_go_on() -> None:
    session = open_session(MixesDevices(), (5, 8))
    analysis = analyze_columns(session, (5, 8))
    assert analysis.mode == "fake"
    assert analysis.totals.macs == 5 * 8 * 8
    assert analysis.totals.untouched_params == 0
    assert analyze_columns(session, (7, 8)).totals.macs == 7 * 8 * 8


def test_a_real_run_needs_consent_and_says_what_it_takes() -> None:
    session = open_session(ReadsValues(), (5, 8))
    with pytest.raises(RealRunRequiredError) as caught:
        analyze_columns(session, (5, 8))
    text = "\n".join(caught.value.info().details)
    assert "MiB of weights" in text
    assert "free" in text
    analysis = analyze_columns(session, (5, 8), allow_real_run=True)
    assert analysis.mode == "cpu"
    assert analysis.totals.macs == 2 * 5 * 8 * 8


def test_real_run_counts_the_fused_attention_path() -> None:
    """On the CPU TransformerEncoderLayer takes a fast path of its own; it must not count 0."""

    class Model(ReadsValues):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            x.sum().numpy()
            return self.layer(x)  # type: ignore[no-any-return]

    b, n, e, f = 2, 6, 8, 16
    report = analyze(Model(), (b, n, e), allow_real_run=True)
    assert report.totals.macs == b * (4 * n * e * e + 2 * n * n * e + 2 * n * e * f)


def test_values_read_with_tolist_are_assumed() -> None:
    class Model(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.repeat(int(x[:, 0].sum().tolist()), 1) @ x.T

    session = open_session(Model(), (5, 8))
    analysis = analyze_columns(session, (5, 8))
    assert analysis.mode in ("meta", "fake")
    assert [(a.key, a.value) for a in analysis.assumptions] == [(":item", 1)]
    assert analyze_columns(session, (5, 8), assumptions={":item": 3}).totals.macs == 3 * 5 * 8 * 5


class Checks(nn.Module):
    """Each condition on values costs a product of its own where it holds."""

    def forward(self, x: Tensor) -> Tensor:
        costs = (x == x).all(), (x > 0).sum() == x.numel(), torch.isnan(x).any(), x.max() > 9
        for number, condition in enumerate(costs, 1):
            if condition:
                x = x @ x.new_empty(4, 10**number) @ x.new_empty(10**number, 4)
        torch._check_tensor_all(x == x)
        return x


def test_checks_of_all_values_hold_and_searches_for_bad_ones_find_none() -> None:
    session = open_session(Checks(), (3, 4))
    analysis = analyze_columns(session, (3, 4))
    assert [(a.key, a.value, a.maximum) for a in analysis.assumptions] == [
        (":all", 1, 1),
        (":is_nonzero", 0, 1),
    ]
    assert analysis.totals.macs == 2 * 3 * 4 * (10 + 100)
    none = analyze_columns(session, (3, 4), assumptions={":is_nonzero": 1})
    assert none.totals.macs == 2 * 3 * 4 * (10 + 100 + 1000 + 10_000)
    assert not analysis.coverage.not_counted


def test_a_data_dependent_size_is_a_stated_assumption() -> None:
    session = open_session(Selects(), (12, 4))
    analysis = analyze_columns(session, (12, 4))
    assert [(a.key, a.value, a.maximum) for a in analysis.assumptions] == [(":index", 12, 12)]
    assert analysis.totals.macs == 12 * 4 + 12 * 4 * 10
    fewer = analyze_columns(session, (12, 4), assumptions={":index": 3})
    assert fewer.assumptions[0].value == 3
    assert fewer.totals.macs == 12 * 4 + 3 * 4 * 10


def test_proposals_and_detections_can_be_set() -> None:
    session = Session(load("torchvision:maskrcnn_resnet50_fpn_v2", LoadOptions()))
    inputs = session.default_configuration().inputs
    full = session.analyze(Configuration(inputs)).totals.macs
    fewer = session.analyze(Configuration(inputs, assumptions=(("roi_heads:nms", 10),))).totals.macs
    none = session.analyze(Configuration(inputs, assumptions=(("roi_heads:nms", 0),))).totals.macs
    # The mask head works once per detection: 100 of them by default.
    assert (full - none) * 10 == (fewer - none) * 100


def test_a_fixed_size_is_explained() -> None:
    session = Session(load("torchvision:vit_b_16", LoadOptions()))
    with pytest.raises(FailedAnalysisError) as caught:
        session.analyze(Configuration((InputShape("x", (1, 3, 256, 224)),)))
    info = caught.value.error.info()
    assert "Wrong image height! Expected 224 but got 256" in info.message
    assert info.kind == "layer"
    assert "choose a size" in info.hint


def test_too_small_an_input_names_the_layer() -> None:
    session = Session(load("torchvision:alexnet", LoadOptions()))
    with pytest.raises(FailedAnalysisError) as caught:
        session.analyze(Configuration((InputShape("x", (1, 3, 32, 32)),)))
    error = caught.value.error
    assert isinstance(error, LayerError)
    assert error.layer.startswith("features.")
    assert caught.value.partial is not None
    assert len(caught.value.partial.layers) > 0


def test_a_bug_in_the_users_forward_is_told_with_its_layer() -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return x.no_such_thing

    with pytest.raises(LayerError, match="0 stopped with AttributeError: 'Tensor' object has no attribute"):
        analyze(nn.Sequential(Broken()), (3,))


def test_results_are_kept_and_stopping_works() -> None:
    session = Session(load("torchvision:resnet18", LoadOptions()))
    configuration = session.default_configuration()
    stop = Event()
    stop.set()
    with pytest.raises(CancelledError):
        session.analyze(configuration, stop=stop)
    first = session.analyze(configuration)
    assert session.analyze(configuration, stop=stop) is first
    assert session.kept(configuration) is first


def test_modules_are_put_back_after_a_failure_and_a_cancel() -> None:
    call = nn.Module.__call__
    session = Session(load("torchvision:alexnet", LoadOptions()))
    with pytest.raises(FailedAnalysisError):
        session.analyze(Configuration((InputShape("x", (1, 3, 8, 8)),)))
    stop = Event()
    stop.set()
    with pytest.raises(CancelledError):
        session.analyze(session.default_configuration(), stop=stop)
    assert nn.Module.__call__ is call


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        (InputShape("y", (1, 3, 224, 224)), "The model has no input 'y'."),
        (InputShape("x", (3, 224, 224)), "Input 'x' has 4 dimensions, 3×224×224 has 3."),
        (InputShape("x", (1, 3, 0, 224)), "every size must be at least 1"),
        (InputShape("x", (1, 3, 224, 224), "float33"), "unknown dtype 'float33'"),
    ],
)
def test_inputs_that_do_not_fit(shape: InputShape, sentence: str) -> None:
    session = Session(load("torchvision:resnet18", LoadOptions()))
    with pytest.raises(InputError) as caught:
        session.analyze(Configuration((shape,)))
    assert sentence in caught.value.message


def test_inputs_of_the_python_call() -> None:
    model = nn.Linear(8, 4)
    assert analyze(model, (3, 8)).totals.macs == 3 * 32
    assert analyze(model, torch.randn(3, 8)).totals.macs == 3 * 32
    assert analyze(model, [torch.randn(3, 8)]).totals.macs == 3 * 32
    assert analyze(model, {"input": (5, 8)}).totals.macs == 5 * 32
    assert analyze(model, [InputShape("input", (6, 8))]).totals.macs == 6 * 32
    assert analyze(model).totals.macs == 32
    assert analyze("torchvision:resnet18", (1, 3, 32, 32)).inputs[0].shape == (1, 3, 32, 32)


def test_half_precision_moves_half_the_bytes() -> None:
    whole = analyze(nn.Linear(8, 4), torch.randn(3, 8))
    half = analyze(nn.Linear(8, 4).half(), torch.randn(3, 8).half())
    assert 2 * half.totals.weight_bytes == whole.totals.weight_bytes
    assert 2 * half.totals.activation_bytes == whole.totals.activation_bytes
    assert half.totals.macs == whole.totals.macs
