"""How formulas are found, and what happens when there is none or it fails."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from engine.cost import Work, cost_formula, cost_of, explanation, known_ops
from engine.cost import registry as cost_registry
from engine.graph import OpCall
from engine.results import FAMILIES


def test_operation_without_formula_is_unknown_not_zero() -> None:
    family, work = cost_of(OpCall("frobnicate", ((2, 3),), ((2, 3),), {}))
    assert family == "other"
    assert work == Work(None, None, None, "not counted: no formula for op frobnicate")


def test_second_registration_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'conv2d' has a formula already: engine\.cost\.convolution"):
        cost_formula("conv2d", family="convolution")(lambda call: Work(0, 0, 0, ""))


def test_unknown_family_is_refused() -> None:
    with pytest.raises(ValueError, match="Unknown family 'dense'"):
        cost_formula("some_op", family="dense")


@pytest.mark.expects_log
def test_failing_formula_is_logged_once_and_not_counted(caplog: pytest.LogCaptureFixture) -> None:
    broken = OpCall("conv2d", ((2, 3),), ((2, 3),), {})
    cost_registry._failed.discard("conv2d")
    with caplog.at_level(logging.ERROR, "engine.cost.registry"):
        family, work = cost_of(broken)
        cost_of(broken)
    assert family == "convolution"
    assert (work.macs, work.flops, work.special_ops) == (None, None, None)
    assert work.formula.startswith("not counted: the formula of conv2d failed (IndexError")
    assert len(caplog.records) == 1
    cost_registry._failed.discard("conv2d")


def test_every_formula_says_what_it_counts() -> None:
    assert set(known_ops().values()) == set(FAMILIES)
    assert [op for op in known_ops() if len(explanation(op)) < 30] == []
    assert "5 n + 2" in explanation("layer_norm")
    assert explanation("frobnicate") == ""


def test_formulas_need_no_framework() -> None:
    code = "import sys, engine.cost; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
