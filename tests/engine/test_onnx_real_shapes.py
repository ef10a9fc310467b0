"""Shapes that only a run by onnxruntime tells: asked for where most depend on it, and taken once it is allowed."""

from __future__ import annotations

from pathlib import Path
from threading import Event, Timer

import msgspec
import pytest

from engine import guard
from engine.configuration import Configuration
from engine.errors import CancelledError, RealRunRequiredError
from engine.graph import InputShape
from engine.guard import NotEnoughMemoryError
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


def test_a_size_that_an_input_gives_is_the_same_in_the_run(tmp_path: Path) -> None:
    text = f"""agraph (float[1,8] x, int64[2] times) => (y) {{
        t = Tile(x, times) [unfold] a = {UNFOLD}(t) y = Relu(a)
    }}"""
    session = open_model(str(document(parsed(text), tmp_path).path), LoadOptions())
    asked = msgspec.structs.replace(
        session.default_configuration(), allow_real_run=True, assumptions=(("times[0]", 5), ("times[1]", 3))
    )
    analysis = session.analyze(asked)
    assert analysis.layers.output_shapes == (((5, 24),), ((5, 12, 2),), ((5, 12, 2),))


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


def test_a_run_ends_when_it_is_asked_to(tmp_path: Path) -> None:
    """Within a loop that would take weeks."""
    text = f"""agraph (float[N,8] x) => (y) <int64 many = {{1000000000000}}, bool yes = {{1}}> {{
        a = {UNFOLD}(x)
        b = Loop (many, yes, a) <body = once (int64 i, bool c, v) => (d, w) {{ d = Identity(c) w = Relu(v) }}>
        y = Relu(b)
    }}"""
    session = open_model(str(document(parsed(text), tmp_path).path), LoadOptions())
    stop = Event()
    timer = Timer(0.2, stop.set)
    timer.start()
    with pytest.raises(CancelledError):
        session.analyze(Configuration((InputShape("x", (3, 8)),), allow_real_run=True), stop=stop)
    timer.join()


def test_values_that_no_memory_holds_are_refused(tmp_path: Path) -> None:
    text = f"""agraph (float[N,8] x) => (y) <int64[3] many = {{8388608, 8388608, 1}}> {{
        a = {UNFOLD}(x) b = ReduceSum<keepdims = 0>(a) c = Expand(b, many) y = Relu(c)
    }}"""
    session = open_model(str(document(parsed(text), tmp_path).path), LoadOptions())
    with pytest.raises(
        NotEnoughMemoryError, match=r"^(agraph needed more memory than|Running agraph needs) "
    ):
        session.analyze(Configuration((InputShape("x", (3, 8)),), allow_real_run=True))


def test_what_is_known_of_a_run_has_to_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its values too, not the weights alone: 2 × 1,000 × 1,000 numbers are there while Relu runs."""
    text = f"agraph (float[N,1000] x) => (y) {{ b = Sigmoid(x) c = Relu(b) y = {UNFOLD}(c) }}"
    session = open_model(str(document(parsed(text), tmp_path).path), LoadOptions())
    asked = Configuration((InputShape("x", (1000, 1000), "float32"),), allow_real_run=True)
    activations, inputs = 1.5 * 2 * 1000 * 1000 * 4, 1000 * 1000 * 4
    monkeypatch.setattr(guard, "free_bytes", lambda: int(activations + inputs) - 1)
    with pytest.raises(NotEnoughMemoryError, match=r"^Running agraph needs .* activations .* inputs"):
        session.analyze(asked)


def test_a_graph_that_onnx_infers_whole_says_so(tmp_path: Path) -> None:
    text = "agraph (float[N,8] x) => (y) { y = Relu(x) }"
    session = open_model(str(document(parsed(text), tmp_path).path), LoadOptions())
    assert session.analyze(session.default_configuration()).mode == "inference"
