"""Runs do what was counted: assumed sizes, trips and branches are the values of inputs, or a flag says what is not."""

from __future__ import annotations

from pathlib import Path
from threading import Event

import numpy
import onnx
import pytest
from msgspec import structs
from onnx import TensorProto, helper

from engine import latency
from engine.configuration import Configuration
from engine.errors import UnsupportedModelError
from engine.graph import Assumption, InputShape
from engine.measurement import RuntimeOptions
from engine.onnx.assumed_inputs import assumed_inputs
from engine.onnx.real_shapes import run_for_shapes
from engine.onnx.run_model import RunModel, seeded_inputs
from engine.onnx.running import run_once
from engine.onnx.runtime import onnxruntime
from engine.onnx.session import OnnxSession
from engine.onnx.values import Value
from tests.engine.onnx_files import save, value
from tests.engine.test_latency_onnx import opened

BOOL, FLOAT, INT64 = TensorProto.BOOL, TensorProto.FLOAT, TensorProto.INT64
SIDE = 8
EVERY_KERNEL = RuntimeOptions("disable")


def made(
    folder: Path,
    nodes: list[onnx.NodeProto],
    *more: onnx.ValueInfoProto,
    stored: dict[str, numpy.ndarray] | None = None,  # type: ignore[type-arg]
) -> OnnxSession:
    """From ``x`` of 8×8 and ``more`` to ``y``."""
    graph = helper.make_graph(
        nodes,
        "made",
        [value("x", [SIDE, SIDE]), *more],
        [value("y", None)],
        [onnx.numpy_helper.from_array(array, name) for name, array in (stored or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return opened(save(model, folder / "made.onnx"))


def branch(op_type: str, name: str) -> onnx.GraphProto:
    inputs = ["x", "x"] if op_type == "MatMul" else ["x"]
    return helper.make_graph([helper.make_node(op_type, inputs, [name], name)], name, [], [value(name, None)])


def chosen(condition: str, output: str = "y") -> onnx.NodeProto:
    """A product in the one branch, a sine in the other."""
    return helper.make_node(
        "If", [condition], [output], "choice", then_branch=branch("MatMul", f"{output}_then"),
        else_branch=branch("Sin", f"{output}_else"),
    )  # fmt: skip


def loop(count: str, condition: str, goes_on: str = "go") -> onnx.NodeProto:
    """``goes_on``: what the body returns as its condition, ``go`` being the one that it got."""
    body = helper.make_graph(
        [
            helper.make_node("Exp", ["state"], ["next"], "grow"),
            helper.make_node("ReduceMax", ["next"], ["largest"], "largest", keepdims=0),
            helper.make_node("Cast", ["largest"], ["positive"], "positive", to=BOOL),
            helper.make_node("Identity", [goes_on], ["on"], "on"),
        ],
        "body",
        [value("i", [], INT64), value("go", [], BOOL), value("state", [SIDE, SIDE])],
        [value("on", [], BOOL), value("next", [SIDE, SIDE])],
    )
    return helper.make_node("Loop", [count, condition, "x"], ["y"], "loop", body=body)


def set_to(session: OnnxSession, **values: int) -> Configuration:
    here = session.default_configuration()
    keys = {each.key for each in session.analyze(here).assumptions}
    assert set(values) <= keys, keys
    return structs.replace(here, assumptions=tuple(values.items()))


def ran(session: OnnxSession, configuration: Configuration) -> tuple[str, ...]:
    """Operators of the kernels that one run executes."""
    return latency.op_times(session, configuration, 1, Event(), EVERY_KERNEL).op


def flags(session: OnnxSession, configuration: Configuration) -> list[str]:
    measured = latency.measure(session, configuration, "live", 1, stop=Event())
    return [flag.detail for flag in measured.flags if flag.key == "assumed"]


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("taken", [0, 1])
def test_the_branch_that_is_counted_is_the_one_that_runs(tmp_path: Path, turned: bool, taken: int) -> None:
    between = [helper.make_node("Not", ["given"], ["turned"], "not")] if turned else []
    nodes = [*between, chosen("turned" if turned else "given")]
    session = made(tmp_path, nodes, value("given", [], BOOL))
    (assumption,) = session.analyze(session.default_configuration()).assumptions
    here = set_to(session, **{assumption.key: taken})
    assert session.analyze(here).totals.macs == (SIDE**3 if taken else 0)
    assert ("MatMul" in ran(session, here), "Sin" in ran(session, here)) == (bool(taken), not taken)
    assert flags(session, here) == []


def test_two_branches_that_one_input_cannot_both_take_are_told(tmp_path: Path) -> None:
    nodes = [
        chosen("given", "a"),
        helper.make_node("Not", ["given"], ["turned"], "not"),
        chosen("turned", "b"),
    ]
    nodes[0].name, nodes[2].name = "first", "second"
    session = made(tmp_path, [*nodes, helper.make_node("Add", ["a", "b"], ["y"])], value("given", [], BOOL))
    both = session.analyze(session.default_configuration()).assumptions
    assert len(both) == 2
    (told,) = flags(session, set_to(session, **{each.key: 1 for each in both}))
    assert told == f"{both[1].label}: counted with 1"
    assert flags(session, set_to(session, **{both[0].key: 1, both[1].key: 0})) == []


def test_a_number_of_trips_that_an_input_gives_is_that_of_the_run(tmp_path: Path) -> None:
    session = made(tmp_path, [loop("trips", "")], value("trips", [], INT64))
    for trips in (0, 3, 7):
        here = set_to(session, trips=trips)
        assert ran(session, here).count("Exp") == trips
        assert flags(session, here) == []
    times = latency.layer_times(session, set_to(session, trips=7), 1, Event(), EVERY_KERNEL)
    assert not [flag for flag in times.flags if flag.key == "assumed"]


def test_a_loop_begins_where_its_condition_is_an_input(tmp_path: Path) -> None:
    stored = {"five": numpy.array(5, numpy.int64)}
    session = made(tmp_path, [loop("five", "given")], value("given", [], BOOL), stored=stored)
    (assumption,) = session.analyze(session.default_configuration()).assumptions
    assert assumption.value == 5
    here = session.default_configuration()
    assert ran(session, here).count("Exp") == 5
    assert flags(session, here) == []
    never = set_to(session, **{assumption.key: 0})
    assert ran(session, never).count("Exp") == 0
    assert flags(session, never) == []
    (told,) = flags(session, set_to(session, **{assumption.key: 2}))
    assert told == f"{assumption.label}: counted with 2"


def test_what_depends_on_the_data_is_told_everywhere(tmp_path: Path) -> None:
    stored = {"five": numpy.array(5, numpy.int64)}
    session = made(tmp_path, [loop("five", "", "positive")], stored=stored)
    here = session.default_configuration()
    (assumption,) = session.analyze(here).assumptions
    told = [f"{assumption.label}: counted with 5"]
    assert flags(session, here) == told
    times = latency.layer_times(session, here, 1, Event(), EVERY_KERNEL)
    assert [flag.detail for flag in times.flags if flag.key == "assumed"] == told
    less = set_to(session, **{assumption.key: 1})
    compared = latency.compare(session, less, here, 1, stop=Event())
    assert [flag.key for flag in compared.flags].count("assumed") == 1


def test_elements_that_nonzero_finds_are_those_of_random_numbers(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["kept"], "relu"),
        helper.make_node("NonZero", ["kept"], ["where"], "find"),
        helper.make_node("Cast", ["where"], ["y"], "cast", to=FLOAT),
    ]
    session = made(tmp_path, nodes)
    (told,) = flags(session, session.default_configuration())
    assert told.endswith(f"elements found by NonZero: counted with {SIDE * SIDE}")


def test_elements_of_an_input_are_set_one_by_one(tmp_path: Path) -> None:
    session = made(tmp_path, [helper.make_node("Tile", ["x", "times"], ["y"])], value("times", [2], INT64))
    assumptions = [Assumption("times[0]", "", 3, 0, 9), Assumption("times[1]", "", 2, 0, 9)]
    found = assumed_inputs(session.document.graph, assumptions)
    assert (found.values, found.open) == ({"times": {0: 3, 1: 2}}, ())
    assert seeded_inputs((InputShape("times", (2,), "int64"),), found.values)["times"].tolist() == [3, 2]


def test_a_saved_model_is_tried_with_the_sizes_that_were_assumed(tmp_path: Path) -> None:
    """Zeros instead would be a shape that 64 elements do not have."""
    nodes = [helper.make_node("Reshape", ["x", "sizes"], ["y"], "reshape", allowzero=1)]
    session = made(tmp_path, nodes, value("sizes", [2], INT64))
    here = set_to(session, **{"sizes[0]": 4, "sizes[1]": 16})
    assert "onnxruntime runs neither" not in session.save(here, str(tmp_path / "copy.onnx"))


# -- dtypes ------------------------------------------------------------------------------------------------------


def outputs(file: Path, inputs: tuple[InputShape, ...]) -> numpy.ndarray:  # type: ignore[type-arg]
    given = RunModel(str(file), "", inputs)
    session = onnxruntime().InferenceSession(given.model, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, seeded_inputs(inputs, {"x": {4: 3}}))
    return numpy.asarray(found)


@pytest.mark.parametrize(
    ("dtype", "number", "places"),
    [
        ("bfloat16", TensorProto.BFLOAT16, 2**-8), ("float8_e4m3fn", TensorProto.FLOAT8E4M3FN, 2**-4),
        ("float8_e5m2", TensorProto.FLOAT8E5M2, 2**-3), ("float16", TensorProto.FLOAT16, 2**-11),
    ],
)  # fmt: skip
def test_inputs_of_small_floats_are_made_up(tmp_path: Path, dtype: str, number: int, places: float) -> None:
    nodes = [helper.make_node("Cast", ["x"], ["y"], "cast", to=FLOAT)]
    graph = helper.make_graph(nodes, "cast", [value("x", [16, 16], number)], [value("y", [16, 16])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    session = opened(save(model, tmp_path / "cast.onnx"))
    here = session.default_configuration()
    assert here.inputs[0].dtype == dtype
    normal = seeded_inputs((InputShape("x", (16, 16)),), {"x": {4: 3}})["x"]
    found = outputs(session.document.path, here.inputs)
    numpy.testing.assert_allclose(found, normal, rtol=places, atol=2**-9)
    assert latency.measure(session, here, "live", 1, stop=Event()).median_s > 0


@pytest.mark.parametrize(("dtype", "number"), [("int4", TensorProto.INT4), ("uint4", TensorProto.UINT4)])
def test_inputs_of_four_bits_are_made_up(tmp_path: Path, dtype: str, number: int) -> None:
    nodes = [helper.make_node("DequantizeLinear", ["x", "scale"], ["y"], "dequantise")]
    scale = onnx.numpy_helper.from_array(numpy.array(0.5, numpy.float32), "scale")
    graph = helper.make_graph(nodes, "four", [value("x", [3, 3], number)], [value("y", [3, 3])], [scale])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    session = opened(save(model, tmp_path / "four.onnx"))
    here = session.default_configuration()
    assert here.inputs[0].dtype == dtype
    expected = numpy.zeros(9)
    expected[4] = 3 * 0.5
    assert outputs(session.document.path, here.inputs).reshape(-1).tolist() == expected.tolist()
    assert latency.measure(session, here, "live", 1, stop=Event()).median_s > 0


@pytest.mark.parametrize("dtype", ["string", "float6_e2m3", "type 99"])
def test_what_has_no_numbers_is_refused(dtype: str) -> None:
    with pytest.raises(UnsupportedModelError, match=f"Input 'x' is of {dtype}, which cannot be made up"):
        seeded_inputs((InputShape("x", (2,), dtype),))


def test_a_single_number_is_an_array_too() -> None:
    made_up = seeded_inputs((InputShape("x", ()),))["x"]
    assert isinstance(made_up, numpy.ndarray) and made_up.shape == ()


def test_values_that_numpy_has_no_dtype_for_come_out_of_a_run(tmp_path: Path) -> None:
    small = TensorProto.BFLOAT16
    nodes = [helper.make_node("Identity", ["x"], ["y"], "same")]
    graph = helper.make_graph(nodes, "same", [value("x", [4, 2], small)], [value("y", None, small)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    given = RunModel(model.SerializeToString(), "", (InputShape("x", (4, 2), "bfloat16"),))
    (found,) = run_once(given, Event())
    assert (found.shape(), found.data_type()) == ([4, 2], "tensor(bfloat16)")
    assert run_for_shapes(given, ["y"], Event(), "same") == {"y": Value((4, 2), "bfloat16")}
    session = opened(save(model, tmp_path / "same.onnx"))
    assert "not run" not in session.save(session.default_configuration(), str(tmp_path / "copy.onnx"))
