"""What a change really costs, in words."""

from __future__ import annotations

import msgspec
import pytest

from engine.measured_summary import latency_sentences, paired
from engine.measurement import Flag
from engine.numbers import THIN
from engine.results import Analysis, with_latency
from engine.summary import plain
from engine.tree_values import compared
from tests.engine.measuring import measured
from tests.gui.analyses import small_net

NOW, BEFORE = small_net(pool=False), small_net()
LAYERS_BEFORE = {"conv1:conv2d": 0.010, "blocks.0.conv:conv2d": 0.006, "blocks.1.conv:conv2d": 0.006}
LAYERS_NOW = {"conv1:conv2d": 0.010, "blocks.0.conv:conv2d": 0.018, "blocks.1.conv:conv2d": 0.018}


def said(analysis: Analysis, baseline: Analysis | None, mode: str = "macs") -> str:
    return plain(latency_sentences(compared(analysis, baseline), mode)).replace(THIN, " ")


def test_ratio_and_verdict_stand_in_one_sentence() -> None:
    now = measured(NOW, 0.070, against=BEFORE, ratio=3.21)
    assert said(now, BEFORE) == "MACs × 2.71, latency × 3.21 (3.19–3.23), slower."
    assert said(now, BEFORE, "flops").startswith("FLOPs × ")


@pytest.mark.parametrize(
    ("ratio", "pairs", "words"),
    [
        (0.5, 20, "latency × 0.500 (0.497–0.502), faster."),
        (1.0, 20, "latency × 1.000 (0.995–1.005), the same within 2 %."),
        (1.025, 20, "latency × 1.025 (1.020–1.030), unclear: the samples do not settle it."),
        (1.5, 3, "latency × 1.48, unclear: too few samples."),
    ],
)
def test_every_verdict_has_its_words(ratio: float, pairs: int, words: str) -> None:
    assert said(measured(NOW, 0.070, against=BEFORE, ratio=ratio, pairs=pairs), BEFORE).endswith(words)


def test_a_flagged_comparison_says_what_was_wrong() -> None:
    now = measured(NOW, 0.070, against=BEFORE, ratio=3.0, flags=(Flag("preempted", "9 of 20"),))
    assert said(now, BEFORE).endswith("slower. The machine was not quiet: other programs took the cores.")


def test_the_layers_say_why_the_ratios_differ() -> None:
    now = measured(NOW, 0.070, LAYERS_NOW, against=BEFORE, ratio=2.1)
    before = measured(BEFORE, 0.033, LAYERS_BEFORE)
    macs = 576 * 112 * 112 * 2
    slow, fast = macs / 0.012 / 1e9, 4 * macs / 0.036 / 1e9
    assert said(now, before).endswith(
        "slower. 100 % of the added time is in blocks.0 and blocks.1: "
        f"MACs × 4.00 there, at {fast:.2f} G MAC/s instead of {slow:.2f} G MAC/s."
    )
    links = [span.node for sentence in latency_sentences(compared(now, before), "macs") for span in sentence]
    assert [node for node in links if node] == ["blocks.0", "blocks.1"]


def test_layers_without_macs_are_said_to_have_none() -> None:
    now = measured(NOW, 0.070, {"relu:relu": 0.05}, against=BEFORE, ratio=2.1)
    assert said(now, measured(BEFORE, 0.033, {"relu:relu": 0.01})).endswith("is in relu, which has no MACs.")


def test_no_reason_without_a_difference() -> None:
    now = measured(NOW, 0.033, LAYERS_NOW, against=BEFORE, ratio=1.0)
    assert "time is in" not in said(now, measured(BEFORE, 0.033, LAYERS_BEFORE))


def test_two_separate_measurements_have_no_verdict() -> None:
    now, before = measured(NOW, 0.070), measured(BEFORE, 0.035)
    assert said(now, before) == (
        "MACs × 2.71, latency × 2.0 (70.0 ± 0.7 ms, before 35.0 ± 0.4 ms), measured apart, so without a verdict."
    )


def test_other_circumstances_are_named() -> None:
    before = measured(BEFORE, 0.035, fingerprint="def")
    assert "different machines or settings (fingerprints abc and def)" in said(measured(NOW, 0.070), before)
    assert "with 1 instead of 2 threads" in said(measured(NOW, 0.070, threads=1), before)


def test_the_same_state_measured_again_may_have_changed() -> None:
    """A report of another day or machine against one of today."""
    assert said(measured(BEFORE, 0.070), measured(BEFORE, 0.035, fingerprint="def")).startswith(
        "The same MACs, latency × 2.0 (70.0 ± 0.7 ms, before 35.0 ± 0.4 ms), measured apart on different machines"
    )


def test_a_comparison_with_something_else_is_not_taken() -> None:
    other = small_net(256)
    now = measured(NOW, 0.070, against=other, ratio=3.0)
    assert paired(now, BEFORE) is None
    assert said(now, BEFORE) == ""
    elsewhere = msgspec.structs.replace(BEFORE, environment={"torch": "1.0"})
    assert paired(measured(NOW, 0.070, against=BEFORE), elsewhere) is None


def test_nothing_is_said_without_measurements() -> None:
    assert said(NOW, BEFORE) == ""
    assert said(measured(NOW, 0.07), BEFORE) == ""
    assert said(NOW, measured(BEFORE, 0.07)) == ""
    assert said(measured(BEFORE, 0.07), measured(BEFORE, 0.07)) == ""
    assert said(measured(BEFORE, 0.07), None) == ""


def test_times_of_another_configuration_explain_nothing() -> None:
    now, before = measured(NOW, 0.070, against=BEFORE, ratio=2.0), measured(BEFORE, 0.035, LAYERS_BEFORE)
    stale = with_latency(now, now.latency, before.layer_times)
    assert stale.stale_times
    assert said(stale, before).endswith("slower.")


def with_layer_flags(analysis: Analysis, *flags: Flag) -> Analysis:
    assert analysis.latency is not None
    assert analysis.latency.layers is not None
    layers = msgspec.structs.replace(analysis.latency.layers, flags=flags)
    return with_latency(analysis, analysis.latency.with_part(layers))


def test_layers_of_a_busy_machine_are_said_to_be_measured_apart() -> None:
    now = measured(NOW, 0.070, LAYERS_NOW, against=BEFORE, ratio=2.1)
    before = with_layer_flags(measured(BEFORE, 0.033, LAYERS_BEFORE), Flag("preempted", "9 of 20"))
    sentence = "Measured apart, layer by layer (other programs took the cores): 100 % of the added time is in blocks.0"
    assert sentence in said(now, before)
    both = said(with_layer_flags(now, Flag("preempted", "3 of 9")), before)
    assert both.count("took the cores") == 1


def test_layers_that_say_the_opposite_say_nothing() -> None:
    now = measured(NOW, 0.070, LAYERS_BEFORE, against=BEFORE, ratio=2.9)
    assert said(now, measured(BEFORE, 0.033, LAYERS_NOW)).endswith("slower.")
