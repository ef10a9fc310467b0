"""Shapes that only a run by onnxruntime tells: asked for where most depend on it, and taken once it is allowed."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from engine.configuration import Configuration
from engine.errors import RealRunRequiredError
from engine.graph import InputShape
from engine.loaders.options import LoadOptions
from engine.opening import open_model
from tests.engine.onnx_text import document, parsed

UNFOLD = "com.microsoft.UnfoldTensor<dim = 1, size = 2, step = 2>"
"""An operator of onnxruntime that has no rule here."""


def test_most_nodes_after_an_operator_without_a_rule_need_a_run(tmp_path: Path) -> None:
    text = f"agraph (float[N,8] x) => (y) {{ [unfold] a = {UNFOLD}(x) b = MatMul(a, w) y = Relu(b) }}"
    session = open_model(str(document(parsed(text, {"w": (2, 5)}), tmp_path).path), LoadOptions())
    asked = Configuration((InputShape("x", (3, 8)),))
    with pytest.raises(RealRunRequiredError) as caught:
        session.analyze(asked)
    assert caught.value.layer == "unfold"
    assert caught.value.details[0] == "3 of 3 nodes have no known shapes, from unfold on."
    analysis = session.analyze(msgspec.structs.replace(asked, allow_real_run=True))
    assert analysis.mode == "run"
    assert analysis.layers.output_shapes == (((3, 4, 2),), ((3, 4, 5),), ((3, 4, 5),))
    assert analysis.totals.macs == 3 * 4 * 2 * 5


def test_a_few_blanks_are_rows_that_are_not_counted(tmp_path: Path) -> None:
    text = f"""agraph (float[N,8] x) => (y, z) {{
        a = MatMul(x, v) b = Relu(a) c = Sigmoid(b) y = Neg(c)
        [unfold] d = {UNFOLD}(c) z = Tanh(d)
    }}"""
    session = open_model(str(document(parsed(text, {"v": (8, 8)}), tmp_path).path), LoadOptions())
    asked = Configuration((InputShape("x", (3, 8)),))
    analysis = session.analyze(asked)
    assert analysis.mode == "propagation"
    assert analysis.totals.macs == 3 * 8 * 8
    # The operator itself only moves data, of whatever size; what follows it has work.
    assert [each.op for each in analysis.coverage.not_counted] == ["Tanh"]
    ran = session.analyze(msgspec.structs.replace(asked, allow_real_run=True))
    assert ran.layers.output_shapes[-2:] == (((3, 4, 2),), ((3, 4, 2),))
    assert ran.coverage.not_counted == ()


def test_a_run_that_fails_leaves_the_rows_open(tmp_path: Path) -> None:
    """Nobody has code of this operator: it is not even asked for."""
    text = "agraph (float[N,8] x) => (y) { a = mine.Special(x) b = Relu(a) y = Neg(b) }"
    session = open_model(str(document(parsed(text), tmp_path).path), LoadOptions())
    for allowed in (False, True):
        analysis = session.analyze(Configuration((InputShape("x", (3, 8)),), allow_real_run=allowed))
        assert analysis.coverage.counted_calls == 0
        assert len(analysis.layers) == 3


def test_a_graph_that_onnx_infers_whole_says_so(tmp_path: Path) -> None:
    text = "agraph (float[N,8] x) => (y) { y = Relu(x) }"
    session = open_model(str(document(parsed(text), tmp_path).path), LoadOptions())
    assert session.analyze(session.default_configuration()).mode == "inference"
