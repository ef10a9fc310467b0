"""If, Loop and Scan: what runs in their bodies, how often, and with which sizes; against runs by onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import pytest
from onnx import numpy_helper

from engine.configuration import Configuration
from engine.graph import InputShape, Shape
from engine.loaders.options import LoadOptions
from engine.onnx.shapes import NodeError, Shapes
from engine.opening import open_model
from tests.engine.onnx_text import document, parsed, run_shapes, shapes_of

BRANCHES = """agraph (float[N,6] x, bool flag) => (y) {{
    {before}
    [choice] y = If ({condition}) <
        then_branch = big () => (t) {{ a = MatMul(x, w) b = Relu(a) t = MatMul(b, v) }},
        else_branch = small () => (e) {{ e = MatMul(x, u) }}
    >
}}"""
WEIGHTS: dict[str, Shape] = {"w": (6, 8), "v": (8, 3), "u": (6, 5)}


def _body(shapes: Shapes, node: str, attribute: str = "body") -> Any:
    return shapes.main.bodies[node, attribute]


def _zeros(**shapes: Shape) -> dict[str, Any]:
    return {name: numpy.zeros(shape, numpy.float32) for name, shape in shapes.items()}


def test_the_branch_is_an_assumption_where_data_decide(tmp_path: Path) -> None:
    """The larger one unless the user says otherwise; only what runs has shapes and rows."""
    model = parsed(BRANCHES.format(before="", condition="flag"), WEIGHTS)
    inputs: dict[str, Shape] = {"x": (4, 6), "flag": ()}
    shapes = shapes_of(model, tmp_path, inputs)
    (assumption,) = shapes.assumptions
    assert (assumption.key, assumption.value) == ("choice.branch", 1)
    assert (assumption.minimum, assumption.maximum) == (0, 1)
    assert assumption.label == "choice: branch of If (1 then, 0 else)"
    assert shapes.main.of("y").shape == (4, 3)
    assert _body(shapes, "choice", "then_branch").taken
    assert _body(shapes, "choice", "then_branch").of("b").shape == (4, 8)
    assert not _body(shapes, "choice", "else_branch").taken
    other = shapes_of(model, tmp_path, inputs, {"choice.branch": 0})
    assert other.main.of("y").shape == (4, 5)
    assert other.unknown == ()
    for flag, width in ((True, 3), (False, 5)):
        ran = run_shapes(tmp_path / "model.onnx", {**_zeros(x=(4, 6)), "flag": numpy.array(flag)})
        assert ran["y"] == (4, width)


def test_the_branch_follows_from_sizes_where_they_decide(tmp_path: Path) -> None:
    before = "s = Shape(x) n = Gather(s, zero) c = Greater(n, three)"
    text = BRANCHES.format(before=before, condition="c").replace(
        "=> (y) {", "=> (y) <int64 zero = {0}, int64 three = {3}> {", 1
    )
    model = parsed(text, WEIGHTS)
    for batch, width in ((4, 3), (2, 5)):
        shapes = shapes_of(model, tmp_path, {"x": (batch, 6), "flag": ()})
        assert shapes.assumptions == ()
        assert shapes.main.of("y").shape == (batch, width)
        feeds = {**_zeros(x=(batch, 6)), "flag": numpy.array(True)}
        assert run_shapes(tmp_path / "model.onnx", feeds)["y"] == (batch, width)


def test_a_guessed_branch_that_does_not_fit_is_not_insisted_on(tmp_path: Path) -> None:
    """At 5 features only the smaller branch runs; chosen, the larger one is refused."""
    model = parsed(BRANCHES.format(before="", condition="flag"), {**WEIGHTS, "u": (5, 5)})
    inputs: dict[str, Shape] = {"x": (4, 5), "flag": ()}
    shapes = shapes_of(model, tmp_path, inputs)
    assert shapes.assumptions[0].value == 0
    assert shapes.main.of("y").shape == (4, 5)
    with pytest.raises(NodeError, match=r"MatMul.*expects 6 features and gets 5"):
        shapes_of(model, tmp_path, inputs, {"choice.branch": 1})


LOOP = """agraph (float[N,4] x, int64 count, bool go) => (last, all) <int64 five = {{5}}, bool yes = {{1}}> {{
    [loop] last, all = Loop ({trips}, {condition}, x) <
        body = once (int64 i, bool c, v) => (c2, w, out) {{
            {goes_on}
            w = MatMul(v, weight)
            out = MatMul(w, head)
        }}
    >
}}"""


def _loop(trips: str, condition: str, goes_on: str = "c2 = Identity(c)") -> Any:
    text = LOOP.format(trips=trips, condition=condition, goes_on=goes_on)
    return parsed(text, {"weight": (4, 4), "head": (4, 2)})


LOOP_INPUTS: dict[str, Shape] = {"x": (3, 4), "count": (), "go": ()}


@pytest.mark.parametrize("condition", ["yes", ""])
def test_a_trip_count_in_the_file_is_taken(condition: str, tmp_path: Path) -> None:
    model = _loop("five", condition)
    shapes = shapes_of(model, tmp_path, LOOP_INPUTS)
    assert shapes.assumptions == ()
    assert _body(shapes, "loop").trips == 5
    assert _body(shapes, "loop").of("w").shape == (3, 4)
    assert shapes.main.of("last").shape == (3, 4)
    assert shapes.main.of("all").shape == (5, 3, 2)
    feeds = {**_zeros(x=(3, 4)), "count": numpy.array(1), "go": numpy.array(True)}
    ran = run_shapes(tmp_path / "model.onnx", feeds)
    assert {name: shapes.main.of(name).shape for name in ran} == ran


def test_a_large_trip_count_in_the_file_is_taken_too(tmp_path: Path) -> None:
    """The largest integer is none: it stands for a loop that only its condition ends."""
    for count in (20_000, 10**6):
        model = _loop("many", "yes")
        model.graph.initializer.append(numpy_helper.from_array(numpy.array(count, numpy.int64), "many"))
        session = open_model(str(document(model, tmp_path).path), LoadOptions())
        analysis = session.analyze(Configuration((InputShape("x", (3, 4)),)))
        assert analysis.assumptions == ()
        assert analysis.totals.macs == count * (3 * 4 * 4 + 3 * 4 * 2)
        assert analysis.output_shapes == ((3, 4), (count, 3, 2))
    may_stop = _loop("many", "go")
    may_stop.graph.initializer.append(numpy_helper.from_array(numpy.array(20_000), "many"))
    (assumption,) = shapes_of(may_stop, tmp_path, LOOP_INPUTS).assumptions
    assert (assumption.value, assumption.maximum) == (20_000, 20_000)
    endless = _loop("most", "yes")
    endless.graph.initializer.append(numpy_helper.from_array(numpy.array(2**63 - 1), "most"))
    (assumption,) = shapes_of(endless, tmp_path, LOOP_INPUTS).assumptions
    assert (assumption.value, assumption.maximum) == (1, 10_000)


def test_a_trip_count_from_an_input_is_that_input_s_value(tmp_path: Path) -> None:
    model = _loop("count", "yes")
    shapes = shapes_of(model, tmp_path, LOOP_INPUTS, {"count": 7})
    assert [each.key for each in shapes.assumptions] == ["count"]
    assert _body(shapes, "loop").trips == 7
    assert shapes.main.of("all").shape == (7, 3, 2)


def test_how_often_a_loop_runs_until_its_data_stop_it_is_assumed(tmp_path: Path) -> None:
    goes_on = "total = ReduceSum<keepdims = 0>(v) c2 = Greater(total, limit)"
    model = _loop("", "yes", goes_on)
    model.graph.initializer.extend(parsed("agraph () => () <float limit = {1}> {}").graph.initializer)
    shapes = shapes_of(model, tmp_path, LOOP_INPUTS)
    (assumption,) = shapes.assumptions
    assert assumption.key == "loop.trips"
    assert (assumption.value, assumption.minimum, assumption.maximum) == (1, 0, 10_000)
    assert assumption.label == "loop: how often the body of Loop runs"
    assert shapes.main.of("all").shape == (1, 3, 2)
    longer = shapes_of(model, tmp_path, LOOP_INPUTS, {"loop.trips": 9})
    assert _body(longer, "loop").trips == 9
    assert longer.main.of("all").shape == (9, 3, 2)


def test_a_loop_that_may_stop_early_is_assumed_to_run_to_its_end(tmp_path: Path) -> None:
    model = _loop("five", "go")
    (assumption,) = shapes_of(model, tmp_path, LOOP_INPUTS).assumptions
    assert (assumption.value, assumption.maximum) == (5, 5)


def test_what_grows_from_trip_to_trip_has_no_one_shape(tmp_path: Path) -> None:
    """The row of the concatenation is not counted; what does not depend on it is."""
    model = parsed(
        """agraph (float[N,4] x) => (cache, last) <int64 five = {5}, bool yes = {1}> {
            [loop] cache, last = Loop (five, yes, x, x) <
                body = once (int64 i, bool c, k, v) => (c2, k2, w) {
                    c2 = Identity(c)
                    w = MatMul(v, weight)
                    k2 = Concat<axis = 0>(k, w)
                }
            >
        }""",
        {"weight": (4, 4)},
    )
    shapes = shapes_of(model, tmp_path, {"x": (3, 4)})
    assert _body(shapes, "loop").of("w").shape == (3, 4)
    assert _body(shapes, "loop").of("k2").shape is None
    assert shapes.main.of("last").shape == (3, 4)
    assert shapes.main.of("cache").shape is None
    assert [name.partition("_")[0] for name in shapes.unknown] == ["loop", "Concat"]


def test_scan_runs_along_its_axis(tmp_path: Path) -> None:
    model = parsed(
        """agraph (float[N,4] state, float[N,T,6] x) => (last, all) {
            [scan] last, all = Scan <
                num_scan_inputs = 1, scan_input_axes = [1], scan_output_axes = [1],
                body = once (float[N,4] h, float[N,6] step) => (h2, out) {
                    a = MatMul(step, w)
                    h2 = Add(a, h)
                    out = MatMul(h2, v)
                }
            > (state, x)
        }""",
        {"w": (6, 4), "v": (4, 2)},
    )
    for length in (5, 9):
        shapes = shapes_of(model, tmp_path, {"state": (3, 4), "x": (3, length, 6)})
        assert _body(shapes, "scan").trips == length
        assert _body(shapes, "scan").of("a").shape == (3, 4)
        ran = run_shapes(tmp_path / "model.onnx", _zeros(state=(3, 4), x=(3, length, 6)))
        assert {name: shapes.main.of(name).shape for name in ran} == ran
        assert ran["all"] == (3, length, 2)


def test_nodes_in_bodies_within_bodies_see_what_is_around_them(tmp_path: Path) -> None:
    model = parsed(
        """agraph (float[N,4] x, bool flag) => (y) <int64 three = {3}, bool yes = {1}> {
            big = MatMul(x, w)
            [outer] y = Loop (three, yes, x) <
                body = once (int64 i, bool c, v) => (c2, u) {
                    c2 = Identity(c)
                    [inner] u = If (flag) <
                        then_branch = t () => (a) { s = MatMul(v, w) r = Add(s, big) a = MatMul(r, back) },
                        else_branch = e () => (b) { b = Identity(v) }
                    >
                }
            >
        }""",
        {"w": (4, 8), "back": (8, 4)},
    )
    shapes = shapes_of(model, tmp_path, {"x": (2, 4), "flag": ()})
    assert shapes.unknown == ()
    inner = _body(shapes, "outer").bodies["inner", "then_branch"]
    assert inner.of("r").shape == (2, 8)
    assert inner.of("big").shape == (2, 8)
    assert [each.key for each in shapes.assumptions] == ["outer.inner.branch"]


def test_a_refusal_inside_a_body_is_of_the_layer_there(tmp_path: Path) -> None:
    model = _loop("five", "yes")
    with pytest.raises(NodeError) as caught:
        shapes_of(model, tmp_path, {**LOOP_INPUTS, "x": (3, 5)})
    assert "MatMul" in caught.value.message
    assert "expects 4 features and gets 5 (3×5 @ 4×4)" in caught.value.message
    assert caught.value.layer.startswith("loop.")
    assert caught.value.node == "loop"


def test_what_the_user_assumes_changes_the_totals(tmp_path: Path) -> None:
    """MACs of a body times its trips, and those of the branch that is taken."""
    model = _loop("", "go")
    session = open_model(str(document(model, tmp_path).path), LoadOptions())
    once = 3 * 4 * 4 + 3 * 4 * 2
    inputs = (InputShape("x", (3, 4)), InputShape("count", (), "int64"), InputShape("go", (), "bool"))
    for trips in (1, 0, 12):
        analysis = session.analyze(Configuration(inputs, assumptions=(("loop.trips", trips),)))
        assert analysis.totals.macs == once * trips
        assert [(each.key, each.value) for each in analysis.assumptions] == [("loop.trips", trips)]


def test_loops_in_loops_take_no_longer_than_they_are_deep(tmp_path: Path) -> None:
    """Each carries a value that doubles, so that its body is looked at twice."""
    depth = 20
    text = "k2 = Concat<axis = 0>(k, k)"
    for level in range(depth):
        body = (
            f"(int64 i{level}, bool c{level}, k) => (d{level}, k2) {{ d{level} = Identity(c{level}) {text} }}"
        )
        text = f"[loop{level}] k2 = Loop (two, yes, k) < body = b{level} {body} >"
    model = parsed(f"agraph (float[N,4] k) => (k2) <int64 two = {{2}}, bool yes = {{1}}> {{ {text} }}")
    shapes = shapes_of(model, tmp_path, {"k": (3, 4)})
    assert len(shapes.unknown) == depth + 1
    graph = shapes.main
    for level in reversed(range(depth)):
        graph = graph.bodies[f"loop{level}", "body"]
        assert graph.trips == 2
